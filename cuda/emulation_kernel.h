/*
 * emulation_kernel.h - what a kernel sees: its place in the grid, barriers, shuffles,
 * shared memory, the intrinsics that ours use; and run_grid(), which runs one.
 */
#ifndef UCB_CUDA_EMULATION_KERNEL_H
#define UCB_CUDA_EMULATION_KERNEL_H

#include <cmath>
#include <mutex>

#ifdef UCB_EMULATION_THREADS
#include "emulation_threads.h"
#else
#include "emulation_fibers.h"
#endif

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __constant__ static const

namespace emulation
{
constexpr size_t SHARED_BYTES = 96 << 10;
alignas(64) inline unsigned char shared_bytes[SHARED_BYTES];
inline std::mutex one_launch; /* shared memory and the block are global */

template <class T> T shuffle(unsigned mask, T value, int source, int line)
{
    static_assert(sizeof(T) <= 8, "what a shuffle moves");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(value));
    slots()[here()->lane] = word;
    sync_warp(mask, line);
    if (source < 0 || source >= WARP || (mask >> source & 1) == 0)
        die(here(), "the source of a shuffle is not in its mask");
    word = slots()[source];
    sync_warp(mask, -line); /* nobody writes again before all have read */
    memcpy(&value, &word, sizeof(value));
    return value;
}

inline unsigned ballot(unsigned mask, bool yes, int line)
{
    unsigned bits = 0;
    slots()[here()->lane] = yes;
    sync_warp(mask, line);
    for (int i = 0; i < WARP; i++)
        if (mask >> i & 1) bits |= (unsigned)slots()[i] << i;
    sync_warp(mask, -line);
    return bits;
}

/* Blocks in the order, each with fresh shared memory. */
template <class F> void run_grid(dim3 grid, dim3 block, const F &body)
{
    std::lock_guard<std::mutex> hold(one_launch);
    order o = order::of_environment();
    grid_size = grid;
    block_size = block;
    int n = (int)(grid.x * grid.y * grid.z);
    for (int i : o.first(n)) {
        unsigned u = (unsigned)i;
        memset(shared_bytes, 0xff, sizeof(shared_bytes));
        run_block(dim3(u % grid.x, u / grid.x % grid.y, u / (grid.x * grid.y)), o, body);
    }
}

template <class T> T &shared()
{
    static_assert(sizeof(T) <= 48 << 10, "more than a block may declare");
    return *reinterpret_cast<T *>(shared_bytes);
}
} // namespace emulation

#define threadIdx (emulation::here()->thread)
#define blockIdx (emulation::here()->block)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)
#define __syncthreads() emulation::sync_block(__LINE__)
#define __syncwarp(...) emulation::sync_warp(0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, source, width)                                           \
    emulation::shuffle(                                                                   \
        mask, value, (emulation::here()->lane & ~((width)-1)) | ((source) & ((width)-1)), \
        __LINE__)
/* Past the end of its part of the warp a lane gets its own value. */
#define __shfl_down_sync(mask, value, delta, width)                                     \
    emulation::shuffle(mask, value,                                                     \
                       (emulation::here()->lane & ((width)-1)) + (int)(delta) < (width) \
                           ? emulation::here()->lane + (int)(delta)                     \
                           : emulation::here()->lane,                                   \
                       __LINE__)
#define __ballot_sync(mask, yes) emulation::ballot(mask, yes, __LINE__)

inline float __uint_as_float(unsigned u)
{
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}
inline unsigned __float_as_uint(float x)
{
    unsigned u;
    memcpy(&u, &x, sizeof(u));
    return u;
}
inline float __fmaf_rn(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

#endif
