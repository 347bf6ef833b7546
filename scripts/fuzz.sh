#!/bin/sh
# fuzz.sh [SECONDS] [TARGET...] - runs each fuzzer (tests/fuzz/fuzz_*.c) on its corpus under ASan and UBSan.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=${*:-$(ls tests/fuzz/fuzz_*.c | sed 's|.*/fuzz_\(.*\)\.c|\1|')}
command -v clang >/dev/null || { echo "fuzz: needs clang and libclang-rt (apt-get install clang libclang-rt-14-dev)" >&2; exit 4; }
for t in $targets; do
    make --no-print-directory -s -j"$(nproc)" VARIANT=fuzz "build/fuzz/fuzz-$t"
    mkdir -p "build/fuzz/found/$t" "tests/fuzz/corpus/$t"
    echo "fuzz: $t for $seconds s"
    "build/fuzz/fuzz-$t" -max_total_time="$seconds" -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/found/$t/crash-" "build/fuzz/found/$t" "tests/fuzz/corpus/$t"
done
