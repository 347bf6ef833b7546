/*
 * cuda_internal.h - an opened device, as the files cuda*.c share it.
 */
#ifndef UCB_BACKEND_CUDA_INTERNAL_H
#define UCB_BACKEND_CUDA_INTERNAL_H

#include "backend/cuda.h"

struct ucb_cuda_piece {
    void *p;
    size_t n_bytes;
};

struct ucb_cuda {
    const struct ucb_cuda_backend *table;
    struct ucb_cuda_device *device; /* NULL: not opened */
    enum ucb_arithmetic arithmetic;
    struct ucb_cuda_piece memory[UCB_CUDA_N_PURPOSES];
};

#endif
