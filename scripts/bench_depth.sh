#!/bin/sh
# Time and peak memory of a tuned layer against the depth of a model: is the first linear, is the second flat?
#
#     sh scripts/bench_depth.sh SYNTHETIC_MODEL UCBENCH [OUT]
#
# Synthetic models of 4 to 64 equal layers, each swept once with $BENCH_CHAIN by a process of its own and with a cache of
# its own, so that no layer is found finished. OUT (build/depth) keeps the database, layers.csv and the table.
set -eu
tool=$1 program=$2 out=${3:-build/depth}
chain=${BENCH_CHAIN:-gsq:bits=4+lowrank:rank=8+distill:steps=20,batch=4}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
rm -f "$out/depth.db"
for depth in ${BENCH_DEPTHS:-4 8 16 32 64}; do
    mkdir "$work/$depth"
    "$tool" depth "$depth" "$work/$depth"
    "$program" sweep --quiet --model "$work/$depth" --method "$chain" --task wikitext:ctx=64,n=2 --data mini \
        --calib calib-mini:n=16,ctx=64 --cache "$work/cache" --db "$out/depth.db" >/dev/null
done
"$program" report table --db "$out/depth.db" --out "$out" --json >/dev/null
awk -F, -v chain="$chain" -v work="$work/" '
function field(i) { return $(NF - 4 + i) }     # from the right: a spec may hold commas in its quotes
function median(d,   i, j, x, n) {
    n = count[d]
    for (i = 2; i <= n; i++) {
        x = seconds[d, i]
        for (j = i - 1; j >= 1 && seconds[d, j] > x; j--) seconds[d, j + 1] = seconds[d, j]
        seconds[d, j + 1] = x
    }
    return n % 2 ? seconds[d, (n + 1) / 2] : (seconds[d, n / 2] + seconds[d, n / 2 + 1]) / 2
}
function fit(what, unit, y,   i, sx, sy, sxx, sxy, syy, slope) {
    for (i = 1; i <= n_depths; i++) {
        sx += depths[i]; sy += y[i]; sxx += depths[i] ^ 2; sxy += depths[i] * y[i]; syy += y[i] ^ 2
    }
    slope = (sxy - sx * sy / n_depths) / (sxx - sx ^ 2 / n_depths)
    printf "%s: %.4g %s for each layer more, %.4g %s at depth 0", what, slope, unit, (sy - slope * sx) / n_depths, unit
    if (syy > sy ^ 2 / n_depths) printf ", r^2 %.4f", slope ^ 2 * (sxx - sx ^ 2 / n_depths) / (syy - sy ^ 2 / n_depths)
    printf "\n"
}
NR > 1 {
    d = $1; gsub(/"/, "", d); sub(".*/", "", d)
    seconds[d, ++count[d]] = field(1); total[d] += field(1)
    if (field(0) == 3) fourth[d] = field(2)
    if (field(2) > peak[d]) peak[d] = field(2)
    worse[d] += field(4) > field(3)
}
END {
    print chain
    printf "%6s %16s %16s %14s %18s %13s\n", "layers", "s a layer", "s, all layers", "peak MB", "MB after layer 4", "layers worse"
    for (d = 1; d <= 128; d++) if (d in count) {
        depths[++n_depths] = d; all[n_depths] = total[d]; mb[n_depths] = peak[d] / 1e6
        printf "%6d %16.4f %16.3f %14.2f %18.2f %13d\n", d, median(d), total[d], peak[d] / 1e6, fourth[d] / 1e6, worse[d]
    }
    fit("time", "s", all)
    fit("peak", "MB", mb)
}' "$out/layers.csv" | tee "$out/depth.txt"
