#!/bin/sh
# check.sh - what a reader may rely on: headers compile alone, includes point one way, file names are unique, and methods
# and statistics call only what is listed here. Builds the program first: its objects are read.
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
    core) echo 0 ;; backend) echo 1 ;; stats) echo 1 ;; codec) echo 1 ;; model) echo 2 ;; method) echo 3 ;; task) echo 3 ;;
    eval) echo 4 ;; plan) echo 4 ;; store) echo 5 ;; pack) echo 5 ;; report) echo 6 ;; gate) echo 7 ;; *) echo 9 ;;
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

# What objects of methods and statistics may call. Each other function is an allocator, clock, printer, random source or
# thread of their own, or (libm) returns other bits with another version of the library: ucb_exp and ucb_log do not.
b=build/release
allowed='memcpy memmove memset memcmp memchr strcmp strlen __memcpy_chk __memset_chk
    __assert_fail __stack_chk_fail _GLOBAL_OFFSET_TABLE_ __cpu_model __cpu_features2 __cpu_indicator_init
    sqrt sqrtf fabs fabsf floor floorf ceil ceilf trunc truncf rint rintf nearbyint nearbyintf round roundf
    fma fmaf fmax fmaxf fmin fminf ldexp ldexpf frexp frexpf
    ucb_fail ucb_err_prefix ucb_job_value ucb_arena_alloc ucb_arena_array ucb_parallel_for ucb_pcg_below ucb_role_name
    ucb_exp ucb_log ucb_pow ucb_mt19937_seed ucb_mt19937_next ucb_adam_step ucb_cosine ucb_role_input ucb_part ucb_part_moved ucb_writer_status ucb_widen ucb_find_nonfinite
    ucb_dtype_name ucb_dtype_block_bytes ucb_dtype_block_elements'
allowed_families='ucb_put_[a-z0-9]*|ucb_dense_[a-z_]*|ucb_entropy_[a-z_]*|ucb_get_[a-z0-9]*|ucb_load_[a-z0-9]*|ucb_payload_[a-z0-9_]*|ucb_codec_[a-z]*'

${MAKE:-make} -s VARIANT=release "$b/ucbench" || complain "the program does not build"
objects=
for c in methods/*.c methods/*/*.c harness/stats/*.c; do
    o=$b/${c%.c}.o
    if [ -f "$o" ]; then objects="$objects $o"; else complain "$o was not built, so its symbols were not read"; fi
done
# They may call each other.
own=$(nm --defined-only -g $objects | awk 'NF == 3 { print $3 }')
known=$(printf '%s\n' $allowed $own)
for o in $objects; do
    calls=$(nm -u "$o" | awk '{ print $2 }' | grep -vxF "$known" | grep -vxE "$allowed_families")
    [ -z "$calls" ] || complain "$o calls $(echo $calls), not among what a method or a statistic may call"
done
[ "$failed" = 0 ] && echo "check: headers, includes, names and symbols are in order"
exit "$failed"
