/* gguf_path.c - which of the encoders' compilations this machine can run. */
#include "gguf.h"

#include "core/cpu_level.h"

extern const struct gguf_path gguf_path_sse, gguf_path_avx2, gguf_path_avx512;

const struct gguf_path *gguf_path_at(size_t index)
{
    if (index == 0) return &gguf_path_sse;
    if (index == 1 && ucb_cpu_runs_v3()) return &gguf_path_avx2;
    if (index == 2 && ucb_cpu_runs_v4()) return &gguf_path_avx512;
    return NULL;
}
