#!/bin/sh
# check.sh - what a reader may rely on: headers compile alone, includes point one way, file names are unique, and neither
# methods nor statistics call an allocator, a clock, a printer or a random source of their own.
set -u
cd "$(dirname "$0")/.."
cc=${CC:-gcc}
failed=0
complain() {
    echo "check: $*" >&2
    failed=1
}

for h in $(git ls-files 'harness/*.h' 'methods/*.h' 2>/dev/null || find harness methods -name '*.h'); do
    case $h in *_template.h) continue ;; esac
    echo "#include \"$h\"" | $cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-psabi -Werror -march=x86-64-v4 -mamx-tile -mamx-bf16 -I. -Iharness -Ibuild/release/gen \
        -fsyntax-only -x c - ||
        complain "$h does not compile alone"
done

# Rank of each folder; a file may include its own rank and below.
rank() {
    case $1 in
    core) echo 0 ;; backend) echo 1 ;; stats) echo 1 ;; model) echo 2 ;; method) echo 3 ;; task) echo 3 ;;
    eval) echo 4 ;; plan) echo 4 ;; store) echo 5 ;; report) echo 6 ;; *) echo 9 ;;
    esac
}
for f in $(find harness -mindepth 2 -name '*.[ch]'); do
    own=$(rank "$(echo "$f" | cut -d/ -f2)")
    for i in $(sed -n 's/^#include "\([a-z]*\)\/[^"]*".*/\1/p' "$f" | sort -u); do
        [ "$(rank "$i")" -le "$own" ] || complain "$f includes $i/, which stands above it"
    done
done

twice=$(find harness methods \( -name '*.c' -o -name '*.h' \) -printf '%f\n' | sort | uniq -d)
[ -z "$twice" ] || complain "file names that stand twice: $twice"

b=build/${VARIANT:-release}
for o in $(find "$b/methods" "$b/harness/stats" -name '*.o' 2>/dev/null); do
    calls=$(nm -u "$o" | awk '{print $2}' |
        grep -xE 'malloc|calloc|realloc|free|aligned_alloc|printf|fprintf|puts|time|clock_gettime|rand|random|expf|logf|powf|exp|log|pow|sin|cos')
    [ -z "$calls" ] || complain "$o calls $(echo "$calls" | tr '\n' ' ')"
done
[ "$failed" = 0 ] && echo "check: headers, includes, names and symbols are in order"
exit "$failed"
