/* gguf_path.c - which of the encoders' compilations this machine can run. */
#include <stdbool.h>

#include "gguf.h"

extern const struct gguf_path gguf_path_sse, gguf_path_avx2, gguf_path_avx512;

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}

const struct gguf_path *gguf_path_at(size_t index)
{
    if (index == 0) return &gguf_path_sse;
    if (index == 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return &gguf_path_avx2;
    if (index == 2 && gguf_path_at(1) != NULL && has_avx512()) return &gguf_path_avx512;
    return NULL;
}
