/*
 * decode_int8.cuh - int8 (layout: methods/int8.c): (code * absmax) * (1 / 127), a thread a
 * weight. The threshold is of the activations: bytes and weights are the same with it.
 */
#ifndef UCB_CUDA_DECODE_INT8_CUH
#define UCB_CUDA_DECODE_INT8_CUH

#include "../methods/int8/int8_inverse.h"
#include "decode.cuh"

__global__ void int8_kernel(const uint8_t *codes, size_t n, uint32_t n_in, float *out)
{
    size_t i = thread_index();
    if (i >= n) return;
    float absmax = load_f32(codes + n + 4 * (i / n_in));
    out[i] = mul(mul((float)(int8_t)codes[i], absmax), INT8_INVERSE_127);
}

static const char *int8_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, void *, void *out)
{
    size_t n = n_weights(payload);
    UCB_LAUNCH(int8_kernel, n_blocks(n, 256), 256, device->stream[stream], payload->bytes,
               n, payload->n_in, (float *)out);
    return launched(device, "int8");
}

#endif
