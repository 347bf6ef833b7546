#!/bin/sh
# Peak memory of a sweep over a synthetic checkpoint, beside the bound that its shape sets.
#
#     sh scripts/bench_memory.sh SYNTHETIC_MODEL UCBENCH 2B|8B
#
# The checkpoint is made once, under $UCBENCH_CACHE/synthetic (4 GB, or 16 GB); delete it there. $UCBENCH_DATA names the
# folder with WikiText; without it the mini set serves as well. $BENCH_METHODS: methods beside the original (default nf4).
set -eu
tool=$1 program=$2 size=$3
cache=${UCBENCH_CACHE:-$HOME/.cache/ucbench}
folder=$cache/synthetic/$size
db=$(mktemp -d)
trap 'rm -rf "$db"' EXIT

if [ ! -f "$folder/complete" ]; then
    echo "making the synthetic $size checkpoint in $folder"
    mkdir -p "$folder"
    "$tool" write "$size" "$folder"
    touch "$folder/complete"
fi
set -- sweep --model "$folder" --task wikitext:ctx=512,n=4 --db "$db/r.db" --json
for method in ${BENCH_METHODS:-nf4}; do set -- "$@" --method "$method"; done
"$program" "$@" > "$db/summary.json"
peak=$(sed -n 's/.*"peak_rss_bytes": *\([0-9]*\).*/\1/p' "$db/summary.json")
bound=$("$tool" bound "$size" 2048)
awk -v size="$size" -v peak="$peak" -v bound="$bound" 'BEGIN {
    printf "synthetic %s, wikitext:ctx=512,n=4: peak %.3f GB, bound %.3f GB (two layers in fp32, 64 MB, hidden states, 200 MB): %s\n",
           size, peak / 1e9, bound / 1e9, peak <= bound ? "within" : "EXCEEDED"
    exit peak > bound }'
