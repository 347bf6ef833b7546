/*
 * decode_row_overlay.cuh - row_overlay (layout: methods/row_overlay.c; plan:
 * overlay_plan.h): a block a row, which is its own memory: entries of both books, times the
 * row's scale, rotated back, divided by the columns' scales; or the kept values.
 */
#ifndef UCB_CUDA_DECODE_ROW_OVERLAY_CUH
#define UCB_CUDA_DECODE_ROW_OVERLAY_CUH

#include "../methods/row_overlay/overlay_plan.h"
#include "decode.cuh"

enum { OVERLAY_D = 8, OVERLAY_THREADS = 128 };

/* e4m3 as core/fp8.h has it; finite codes only. */
__device__ static inline float e4m3_widen(unsigned code)
{
    unsigned sign = (code & 0x80u) << 24, exponent = code >> 3 & 0xfu, mantissa = code & 7u;
    if (exponent != 0)
        return __uint_as_float(sign | (exponent + 120) << 23 | mantissa << 20);
    return __uint_as_float(sign | __float_as_uint(mul((float)mantissa, 0x1p-9f)));
}

/* n bits (13 at most) from bit `at`, highest first. */
__device__ static inline unsigned load_high_bits(const uint8_t *stream, size_t at,
                                                 unsigned n)
{
    unsigned window = 0;
    size_t last = (at + n + 7) / 8;
    for (size_t i = at / 8; i < last; i++) window = window << 8 | stream[i];
    return window >> (8 * last - (at + n)) & ((1u << n) - 1);
}

struct overlay_call {
    struct overlay_device_plan plan;
    const uint8_t *bytes, *shared, *rest; /* rest: what follows the struct in the plan */
    uint32_t n_in;
};

__device__ static inline void overlay_kept_row(const struct overlay_call &call, bool fp16,
                                               uint32_t place, float *out)
{
    size_t at = (size_t)place * call.n_in;
    float scale = fp16 ? 1.0f : load_f16(call.bytes + call.plan.fp8_scales + 2 * place);
    for (uint32_t i = threadIdx.x; i < call.n_in; i += blockDim.x)
        out[i] = fp16 ? load_f16(call.bytes + call.plan.fp16 + 2 * (at + i))
                      : mul(e4m3_widen(call.bytes[call.plan.fp8 + at + i]), scale);
}

/* (c1 + c2) rs, times the rotation's signs. */
__device__ static inline void overlay_entries(const struct overlay_call &call,
                                              uint32_t place, float *out)
{
    const struct overlay_device_plan &p = call.plan;
    uint32_t n_vectors = call.n_in / OVERLAY_D;
    float rs = load_f16(call.bytes + p.row_scales + 2 * (size_t)place);
    for (uint32_t v = threadIdx.x; v < n_vectors; v += blockDim.x) {
        size_t at = ((size_t)place * n_vectors + v) * (p.b1 + p.b2);
        unsigned first = load_high_bits(call.bytes + p.codes, at, p.b1),
                 second = load_high_bits(call.bytes + p.codes, at + p.b1, p.b2);
        const uint8_t *a = call.shared + p.first_book + 2 * OVERLAY_D * (size_t)first,
                      *b = call.shared + p.second_book + 2 * OVERLAY_D * (size_t)second;
        for (unsigned d = 0; d < OVERLAY_D; d++) {
            uint32_t i = v * OVERLAY_D + d;
            float sign = load_f32(call.rest + 4 * (size_t)i);
            out[i] = mul(mul(add(load_f16(a + 2 * d), load_f16(b + 2 * d)), rs), sign);
        }
    }
}

/* The Hadamard transform of blocks; a pair of values a thread, one step after the other. */
__device__ static inline void overlay_transform(uint32_t n_in, uint32_t block, float *x)
{
    for (uint32_t step = 1; step < block; step *= 2) {
        __syncthreads();
        for (uint32_t pair = threadIdx.x; pair < n_in / 2; pair += blockDim.x) {
            uint32_t i = pair / step * 2 * step + pair % step;
            float a = x[i], b = x[i + step];
            x[i] = add(a, b);
            x[i + step] = sub(a, b);
        }
    }
    __syncthreads();
}

__global__ void overlay_kernel(struct overlay_call call, float *w)
{
    uint32_t row = blockIdx.x, stored = load_u32(call.rest + 4 * ((size_t)call.n_in + row)),
             kind = stored % 4, place = stored / 4;
    float *out = w + (size_t)row * call.n_in;
    if (kind != OVERLAY_PLAN_CODED) {
        overlay_kept_row(call, kind == OVERLAY_PLAN_FP16, place, out);
        return;
    }
    overlay_entries(call, place, out);
    overlay_transform(call.n_in, call.plan.rotation, out);
    for (uint32_t i = threadIdx.x; i < call.n_in; i += blockDim.x)
        out[i] = divide(mul(out[i], call.plan.rotation_scale),
                        load_f16(call.bytes + 2 * (size_t)i));
}

static const char *row_overlay_decode(struct ucb_cuda_device *device,
                                      enum ucb_cuda_stream stream,
                                      const struct ucb_cuda_payload *payload, void *,
                                      void *out)
{
    struct overlay_call call;
    memcpy(&call.plan, payload->host_plan, sizeof(call.plan));
    call.bytes = payload->bytes;
    call.shared = payload->shared;
    call.rest = payload->plan + sizeof(call.plan);
    call.n_in = payload->n_in;
    UCB_LAUNCH(overlay_kernel, payload->n_out, OVERLAY_THREADS, device->stream[stream],
               call, (float *)out);
    return launched(device, "row_overlay");
}

#endif
