/*
 * platform.cuh - the kernels' one door to CUDA: the toolkit under nvcc, the emulation under
 * a C++ compiler. A block declares one shared struct, with UCB_SHARED.
 */
#ifndef UCB_CUDA_PLATFORM_CUH
#define UCB_CUDA_PLATFORM_CUH

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define UCB_LAUNCH(kernel, grid, block, stream, ...) \
    kernel<<<(grid), (block), 0, (stream)>>>(__VA_ARGS__)
#define UCB_SHARED(type, name) __shared__ type name
#else
#include "emulation.h"
#endif

#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "backend/cuda_abi.h"
}

#endif
