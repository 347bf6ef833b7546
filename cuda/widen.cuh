/*
 * widen.cuh - elements as model files hold them to floats: harness/model/widen.c and
 * blocks.c, which has the layouts, one weight a thread.
 */
#ifndef UCB_CUDA_WIDEN_CUH
#define UCB_CUDA_WIDEN_CUH

#include "../harness/model/iq4_values.h"
#include "decode.cuh"

__constant__ int8_t iq4_values[16] = {UCB_IQ4_VALUES};

/* ---- 32 elements; e: which of them ---- */

__device__ static inline unsigned nibble_of(const uint8_t *qs, unsigned e)
{
    return e < 16 ? qs[e] & 15u : qs[e - 16] >> 4;
}

__device__ static inline unsigned five_bits_of(const uint8_t *qs, const uint8_t *qh,
                                               unsigned e)
{
    return nibble_of(qs, e) | (load_u32(qh) >> e & 1u) << 4;
}

__device__ static inline float widen_32(uint32_t dtype, const uint8_t *b, unsigned e)
{
    float d = load_f16(b);
    switch (dtype) {
    case UCB_Q4_0: return mul((float)((int)nibble_of(b + 2, e) - 8), d);
    case UCB_Q4_1: return add(mul((float)nibble_of(b + 4, e), d), load_f16(b + 2));
    case UCB_Q5_0: return mul((float)((int)five_bits_of(b + 6, b + 2, e) - 16), d);
    case UCB_Q5_1:
        return add(mul((float)five_bits_of(b + 8, b + 4, e), d), load_f16(b + 2));
    case UCB_Q8_0: return mul((float)(int8_t)b[2 + e], d);
    default: return mul(d, (float)iq4_values[nibble_of(b + 2, e)]);
    }
}

/* ---- 256 elements; j: a sub-block, l: an element in it ---- */

__device__ static inline float widen_q2_k(const uint8_t *b, unsigned e)
{
    unsigned j = e / 16, l = e % 16;
    unsigned code = b[16 + 32 * (j / 8) + 16 * (j % 2) + l] >> j % 8 / 2 * 2 & 3u;
    return sub(mul(mul(load_f16(b + 80), (float)(b[j] & 15)), (float)code),
               mul(load_f16(b + 82), (float)(b[j] >> 4)));
}

__device__ static inline float widen_q3_k(const uint8_t *b, unsigned e)
{
    unsigned j = e / 16, l = e % 16;
    const uint8_t *scales = b + 96;
    int scale = (int)((scales[j % 8] >> 4 * (j / 8) & 15u) |
                      (scales[8 + j % 4] >> 2 * (j / 4) & 3u) << 4);
    unsigned low = b[32 + 32 * (j / 8) + 16 * (j % 2) + l] >> j % 8 / 2 * 2 & 3u,
             high = b[16 * (j % 2) + l] >> j / 2 & 1u;
    return mul(mul(load_f16(b + 108), (float)(scale - 32)),
               (float)((int)(low | high << 2) - 4));
}

/* Q4_K and Q5_K. */
__device__ static inline float widen_q45_k(const uint8_t *b, unsigned e, bool five)
{
    unsigned j = e / 32, l = e % 32, scale, min;
    const uint8_t *s = b + 4, *qs = b + (five ? 48 : 16);
    if (j < 4) {
        scale = s[j] & 63u;
        min = s[j + 4] & 63u;
    } else {
        scale = (s[j + 4] & 15u) | (unsigned)s[j - 4] >> 6 << 4;
        min = s[j + 4] >> 4 | (unsigned)s[j] >> 6 << 4;
    }
    unsigned code = qs[32 * (j / 2) + l] >> 4 * (j % 2) & 15u;
    if (five) code |= (b[16 + l] >> j & 1u) << 4;
    return sub(mul(mul(load_f16(b), (float)scale), (float)code),
               mul(load_f16(b + 2), (float)min));
}

__device__ static inline float widen_q6_k(const uint8_t *b, unsigned e)
{
    unsigned j = e / 16, half = j / 8, k = j % 8 / 2, at = 16 * (j % 2) + e % 16;
    unsigned code = (b[64 * half + 32 * (k % 2) + at] >> k / 2 * 4 & 15u) |
                    (b[128 + 32 * half + at] >> 2 * k & 3u) << 4;
    return mul(mul(load_f16(b + 208), (float)(int8_t)b[192 + j]), (float)((int)code - 32));
}

__device__ static inline float widen_iq4_xs(const uint8_t *b, unsigned e)
{
    unsigned j = e / 32;
    int scale = (int)((b[4 + j / 2] >> 4 * (j % 2) & 15u) | (load_u16(b + 2) >> 2 * j & 3u)
                                                                << 4);
    return mul(mul(load_f16(b), (float)(scale - 32)),
               (float)iq4_values[nibble_of(b + 8 + 16 * j, e % 32)]);
}

__device__ static inline float widen_256(uint32_t dtype, const uint8_t *b, unsigned e)
{
    switch (dtype) {
    case UCB_Q2_K: return widen_q2_k(b, e);
    case UCB_Q3_K: return widen_q3_k(b, e);
    case UCB_Q4_K: return widen_q45_k(b, e, false);
    case UCB_Q5_K: return widen_q45_k(b, e, true);
    case UCB_Q6_K: return widen_q6_k(b, e);
    default: return widen_iq4_xs(b, e);
    }
}

/* ---- all of them ---- */

struct widen_shape {
    uint32_t dtype;
    unsigned elements, bytes; /* of a block */
};

static struct widen_shape widen_shape_of(uint32_t dtype)
{
#define UCB_WIDEN_SHAPE(code, name, elements, bytes) {code, elements, bytes},
    static const struct widen_shape shapes[] = {UCB_DTYPE_LIST(UCB_WIDEN_SHAPE)};
#undef UCB_WIDEN_SHAPE
    return shapes[dtype];
}

__device__ static inline float widen_one(struct widen_shape s, const uint8_t *bits,
                                         size_t i)
{
    const uint8_t *at = bits + i / s.elements * s.bytes;
    switch (s.dtype) {
    case UCB_F32: return load_f32(at);
    case UCB_F16: return load_f16(at);
    case UCB_BF16: return bf16_widen(load_u16(at));
    case UCB_F64: {
        double v;
        memcpy(&v, at, sizeof(v));
        return (float)v;
    }
    default:
        return s.elements == 32 ? widen_32(s.dtype, at, (unsigned)(i % 32))
                                : widen_256(s.dtype, at, (unsigned)(i % 256));
    }
}

__global__ void widen_kernel(struct widen_shape s, const uint8_t *bits, size_t n, float *w)
{
    size_t i = thread_index();
    if (i < n) w[i] = widen_one(s, bits, i);
}

static const char *run_widen(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                             uint32_t dtype, const void *bits, size_t n, float *w)
{
    UCB_LAUNCH(widen_kernel, n_blocks(n, 256), 256, device->stream[stream],
               widen_shape_of(dtype), (const uint8_t *)bits, n, w);
    return launched(device, "widen");
}

/* ---- what does not decode to numbers ---- */

__global__ void find_nonfinite_kernel(const float *w, size_t n, uint32_t *found)
{
    size_t i = thread_index();
    if (i < n && (__float_as_uint(w[i]) & 0x7f800000u) == 0x7f800000u) *found = 1;
}

static const char *run_find_nonfinite(struct ucb_cuda_device *device,
                                      enum ucb_cuda_stream stream, const float *w, size_t n,
                                      uint32_t *found)
{
    UCB_LAUNCH(find_nonfinite_kernel, n_blocks(n, 256), 256, device->stream[stream], w, n,
               found);
    return launched(device, "find_nonfinite");
}

/* ---- gguf (plan: the type, u32) and none: payloads are such elements ---- */

static const char *gguf_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, void *, void *out)
{
    uint32_t dtype;
    memcpy(&dtype, payload->host_plan, sizeof(dtype));
    return run_widen(device, stream, dtype, payload->bytes, n_weights(payload),
                     (float *)out);
}

static const char *none_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, void *, void *out)
{
    bool is_half = payload->dtype == UCB_F16 || payload->dtype == UCB_BF16;
    return run_widen(device, stream, is_half ? payload->dtype : (uint32_t)UCB_F32,
                     payload->bytes, n_weights(payload), (float *)out);
}

#endif
