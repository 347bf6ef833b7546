/*
 * cpu_level.h - whether this CPU runs files that are compiled for x86-64-v3 (*_avx2.c) and
 * -v4 (*_avx512.c). All of a level is asked for, because the compiler may use any of it.
 *
 * Cheap enough to ask before every matrix; any thread.
 */
#ifndef UCB_CORE_CPU_LEVEL_H
#define UCB_CORE_CPU_LEVEL_H

#include <stdbool.h>

/* clang 14 cannot ask for these three; CPUs with AVX2 have them. */
#ifdef __clang__
#define UCB_CPU_HAS_REST_OF_V3 true
#else
#define UCB_CPU_HAS_REST_OF_V3                                            \
    (__builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt") && \
     __builtin_cpu_supports("movbe"))
#endif

static inline bool ucb_cpu_runs_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           UCB_CPU_HAS_REST_OF_V3;
}

static inline bool ucb_cpu_runs_v4(void)
{
    return ucb_cpu_runs_v3() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif
