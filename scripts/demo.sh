#!/bin/sh
# demo.sh - the whole line on a real model: fetch, sweep, table, charts, page. Everything lands in demo/.
set -eu
cd "$(dirname "$0")/.."
out=${1:-demo}
sh scripts/fetch.sh model smollm2-135m
mkdir -p "$out"
status=0
# 40 passages and 12 windows: about 10,500 tokens for each of 20 model x method pairs and two noise floors, some
# minutes on two cores; gptq and awq look at 16 windows of the calibration text first.
./ucbench sweep scripts/demo.csv --task lambada:n=40 --task wikitext:ctx=512,half=1,n=12,spread=1 --data mini --calib calib-mini:n=16,ctx=256,seed=0 --db "$out/results.db" || status=$?
[ "$status" -le 1 ] || exit "$status"
./ucbench report table --db "$out/results.db" --out "$out"
./ucbench report pareto --db "$out/results.db" --out "$out"
./ucbench report html --db "$out/results.db" --out "$out"
echo
echo "demo: results in $out/results.db, chart in $out/pareto.svg (.png .pdf .gp .tsv), page in $out/report.html"
exit "$status"
