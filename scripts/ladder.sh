#!/bin/sh
# The seed's tiers and its head-to-head table: sweep, then the ladder beside the claims.
#
#     sh scripts/ladder.sh PLAN OUT [sweep options]
#
# make ladder: plans/ladder.csv in full, with the data of $UCBENCH_DATA; some seven hours of two cores; a killed one goes on
# where it was. make ladder-ci: plans/ladder-ci.csv, 50 steps and 20 windows on the mini sets; about 9 minutes of two cores.
set -eu
plan=$1 out=$2
shift 2
cd "$(dirname "$0")/.."
for model in $(sed 1d "$plan" | cut -d, -f1 | sort -u); do sh scripts/fetch.sh model "$model"; done
mkdir -p "$out"
status=0
./ucbench sweep "$plan" --db "$out/ladder.db" "$@" || status=$?
[ "$status" -le 1 ] || exit "$status"
set -- --db "$out/ladder.db" --out "$out"
for model in $(sed 1d "$plan" | cut -d, -f1 | sort -u); do set -- "$@" --model "$model"; done
./ucbench report ladder "$@"
./ucbench report table "$@" --json >/dev/null
echo "ladder: results in $out/ladder.db, ladder in $out/ladder.txt and ladder.csv, layers in $out/layers.csv"
exit "$status"
