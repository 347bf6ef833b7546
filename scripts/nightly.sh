#!/bin/sh
# nightly.sh - one night: sweep, times, gate, history. Run it again after a kill: what is finished is kept.
#
#   nightly.sh --db FILE --out DIR [--plan FILE] [--times-plan FILE|none] [--repeats N] [--data DIR|mini]
#              [--program FILE] [--night YYYY-MM-DD] [--accept] [--gate "OPTIONS"] [-- SWEEP OPTIONS]
#
#   --plan FILE        what to sweep (plans/nightly.csv)         --times-plan FILE  the small sweep that is timed
#   --repeats N        of each program, taken in turn A B B A (4)   --data           for both sweeps (mini)
#   --program FILE     the ucbench to judge (./ucbench)          --night            its name (today, UTC)
#   --accept           tonight's run is the new baseline, whatever the gate says
#   --gate "OPTIONS"   more options for `ucbench gate`, such as "--strict"
#
# The baseline is a run of the database and the program that made it: FILE.baseline/run is its number N, FILE.baseline/ucbench-N
# the program. The first night makes them; --accept replaces them. Written to DIR/NIGHT: gate.html, gate.txt, gate.json, line.txt;
# to DIR: history pictures. Prints one line. Exit code: the gate's (1: a regression), or that of what failed before it, never 1.
set -eu
start=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
db='' out='' plan=$root/plans/nightly.csv times_plan=$root/plans/nightly-times.csv repeats=4 data=mini
program=$root/ucbench night=$(date -u +%F) accept='' gate_options=''

# What fails without a sentence of its own (a full disk under cp) is the environment, and no regression.
judged=''
trap '[ $? -ne 1 ] || [ -n "$judged" ] || exit 4' EXIT
fail() {
    echo "nightly: $2" >&2
    exit "$1"
}
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$start/$1" ;; esac }
while [ $# -gt 0 ]; do
    case $1 in
    --accept) accept=yes && shift && continue ;;
    --) shift && break ;;
    --help | -h) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/!p;}' "$0" && exit 0 ;;
    esac
    [ $# -ge 2 ] || fail 2 "$1: unknown, or without its value; see nightly.sh --help"
    case $1 in
    --db) db=$(absolute "$2") ;;
    --out) out=$(absolute "$2") ;;
    --plan) plan=$(absolute "$2") ;;
    --times-plan) [ "$2" = none ] && times_plan=none || times_plan=$(absolute "$2") ;;
    --repeats) repeats=$2 ;;
    --data) [ "$2" = mini ] && data=mini || data=$(absolute "$2") ;;
    --program) program=$(absolute "$2") ;;
    --night) night=$2 ;;
    --gate) gate_options=$2 ;;
    *) fail 2 "$1: no such option; see nightly.sh --help" ;;
    esac
    shift 2
done
[ -n "$db" ] && [ -n "$out" ] || fail 2 "needs --db FILE and --out DIR; see nightly.sh --help"
# It names a folder, part of which is removed at the end.
case $night in [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]) ;; *) fail 2 "--night $night: a date such as 2026-11-22" ;; esac
case $repeats in [1-9] | [1-5][0-9] | 6[0-4]) ;; *) fail 2 "--repeats $repeats: a number from 1 to 64" ;; esac
[ -x "$program" ] || fail 4 "$program: no program there; run make"
base=$db.baseline work=$out/$night/work
mkdir -p "$work" "$base"
# One night at a time: a second one would spoil the times of the first. What a night starts holds the lock too: a sweep goes on
# when this script alone is killed.
exec 9>"$base/lock"
if command -v flock >/dev/null; then flock -n 9 || fail 4 "$db: another night is running, or the sweep of one that was killed"; fi

# ---- sweep: exit code 1 is a cell that failed, which the gate judges ----
status=0
"$program" sweep "$plan" --data "$data" --db "$db" --quiet "$@" >"$work/sweep.txt" 2>&1 || status=$?
[ "$status" -le 1 ] || fail "$status" "the sweep failed: $(tail -n 1 "$work/sweep.txt") (all of it: $work/sweep.txt)"
newest=$("$program" list runs --db "$db" --json | sed -n 's/^ *"name": \([0-9]*\),*$/\1/p' | tail -n 1)
[ -n "$newest" ] || fail 3 "$db: no run in it after a sweep; $work/sweep.txt has what it said"

# Run and program change in one instant, that of the second mv.
set_baseline() {
    cp "$program" "$base/new"
    mv "$base/new" "$base/ucbench-$newest"
    echo "$newest" >"$base/new"
    mv "$base/new" "$base/run"
    for old in "$base"/ucbench-*; do [ "$old" = "$base/ucbench-$newest" ] || rm "$old"; done
}
[ -s "$base/run" ] || set_baseline
baseline=$(cat "$base/run")
# Repeats of a killed night count for the same two programs only.
version="$("$program" --version), baseline $baseline"
[ "$(cat "$work/version" 2>/dev/null)" = "$version" ] || rm -f "$work"/*.db
echo "$version" >"$work/version"

# ---- times: NAME-SIDE-N.db is one repeat, renamed when it is whole ----
# repeat NAME SIDE N: as above, a cell that failed is the gate's to judge; it has no time.
repeat() {
    [ ! -e "$work/$1-$2-$3.db" ] || return 0
    rm -f "$work/part.db" "$work/part.db-journal"
    if [ "$2" = baseline ]; then timed=$base/ucbench-$baseline; else timed=$program; fi
    code=0
    "$timed" sweep "$times_plan" --data "$data" --db "$work/part.db" --quiet >"$work/times.txt" 2>&1 || code=$?
    [ "$code" -le 1 ] ||
        fail "$code" "the timed sweep failed with $timed: $(tail -n 1 "$work/times.txt"); --times-plan none does without"
    mv "$work/part.db" "$work/$1-$2-$3.db"
}
# take NAME: A B B A A B B A ...; sets `times` to the gate's options, with paths from $work.
take() {
    times='' n=0
    while [ $n -lt "$repeats" ]; do
        if [ $((n % 2)) = 0 ]; then order='baseline candidate'; else order='candidate baseline'; fi
        for side in $order; do
            repeat "$1" "$side" $n
            times="$times --$side-times $1-$side-$n.db"
        done
        n=$((n + 1))
    done
}
# judge OPTIONS: the gate of tonight.
judge() {
    status=0
    # shellcheck disable=SC2086
    (cd "$work" && "$program" gate --db "$db" --baseline "$baseline" --candidate "$newest" --night "$night" \
        --out "$out/$night" $gate_options "$@" >/dev/null) || status=$?
    [ "$status" -le 1 ] || fail "$status" "the gate failed"
}
times=''
[ "$times_plan" = none ] || take first
# shellcheck disable=SC2086
judge $times
if grep -q '"wants_rerun": true' "$out/$night/gate.json"; then
    take again
    # shellcheck disable=SC2086
    judge --rerun $times
fi

# ---- pictures: a night without gnuplot is a night all the same ----
"$program" report history --db "$db" --out "$out" --json >/dev/null 2>"$work/history.txt" ||
    echo "nightly: no history pictures: $(cat "$work/history.txt")" >&2
[ -z "$accept" ] || set_baseline
rm -rf "$work"
cat "$out/$night/line.txt"
[ -z "$accept" ] || echo "nightly: run $newest is the new baseline"
judged=yes
exit "$status"
