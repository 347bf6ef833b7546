/*
 * decode_bnb4.cuh - nf4 and fp4 (layout: methods/bnb4/bnb4.c): a thread restores the absmax
 * of a block, then a thread decodes a byte, which is two weights.
 */
#ifndef UCB_CUDA_DECODE_BNB4_CUH
#define UCB_CUDA_DECODE_BNB4_CUH

#include "../methods/bnb4/bnb4_tables.h"
#include "decode.cuh"

__constant__ float nf4_values[16] = {BNB4_NF4_VALUES};
__constant__ float fp4_values[16] = {BNB4_FP4_VALUES};
__constant__ float bnb4_map_positive[127] = {BNB4_MAP_POSITIVE};

struct bnb4_layout {
    size_t n, block, n_blocks, nested, n_nested;
    bool double_quant;
};

static struct bnb4_layout bnb4_layout_of(const struct ucb_cuda_payload *payload)
{
    struct bnb4_layout l;
    l.n = n_weights(payload);
    l.block = (size_t)32 << (unsigned)knob(payload, "block");
    l.nested = (size_t)32 << (unsigned)knob(payload, "nested");
    l.double_quant = knob(payload, "double_quant") != 0;
    l.n_blocks = (l.n + l.block - 1) / l.block;
    l.n_nested = (l.n_blocks + l.nested - 1) / l.nested;
    return l;
}

__device__ static inline float bnb4_map(unsigned code)
{
    if (code < 127) return -bnb4_map_positive[126 - code];
    if (code == 127) return 0.0f;
    return code == 255 ? 1.0f : bnb4_map_positive[code - 128];
}

/* `scales`: what follows the codes of the weights. */
__global__ void bnb4_absmax_kernel(struct bnb4_layout l, const uint8_t *scales,
                                   float *absmax)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= l.n_blocks) return;
    if (!l.double_quant) {
        absmax[i] = load_f32(scales + 4 * i);
        return;
    }
    const uint8_t *absmax2 = scales + l.n_blocks;
    float offset = load_f32(absmax2 + 4 * l.n_nested);
    absmax[i] = bnb4_map(scales[i]) * load_f32(absmax2 + 4 * (i / l.nested)) + offset;
}

__global__ void bnb4_decode_kernel(struct bnb4_layout l, bool is_nf4, const uint8_t *packed,
                                   const float *absmax, float *out)
{
    size_t i = 2 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= l.n) return;
    const float *value = is_nf4 ? nf4_values : fp4_values;
    unsigned both = packed[i / 2];
    out[i] = value[both >> 4] * absmax[i / l.block]; /* a block's size is even */
    if (i + 1 < l.n) out[i + 1] = value[both & 15] * absmax[i / l.block];
}

static size_t bnb4_scratch_bytes(const struct ucb_cuda_payload *payload)
{
    return bnb4_layout_of(payload).n_blocks * sizeof(float);
}

static const char *bnb4_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, bool is_nf4,
                               float *absmax, float *out)
{
    struct bnb4_layout l = bnb4_layout_of(payload);
    size_t n_bytes = (l.n + 1) / 2;
    UCB_LAUNCH(bnb4_absmax_kernel, n_blocks(l.n_blocks, 256), 256, device->stream[stream],
               l, payload->bytes + n_bytes, absmax);
    UCB_LAUNCH(bnb4_decode_kernel, n_blocks(n_bytes, 256), 256, device->stream[stream], l,
               is_nf4, payload->bytes, absmax, out);
    return launched(device, "bnb4");
}

static const char *nf4_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *scratch,
                              void *out)
{
    return bnb4_decode(device, stream, payload, true, (float *)scratch, (float *)out);
}

static const char *fp4_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *scratch,
                              void *out)
{
    return bnb4_decode(device, stream, payload, false, (float *)scratch, (float *)out);
}

#endif
