/*
 * arithmetic.cuh - the operations of docs/arithmetic.md, one value at a time: what one lane
 * of harness/backend/vector_template.h does. Compiled with -fmad=false: nothing is fused
 * but what __fmaf_rn names. Subnormal numbers count, as nvcc's default has it.
 */
#ifndef UCB_CUDA_ARITHMETIC_CUH
#define UCB_CUDA_ARITHMETIC_CUH

#include "halves.cuh"

constexpr unsigned LANES = 16, ALL_LANES = 0xffffffffu;

/* ---- flush to zero, for the products of bf16 and bf16-dot ---- */

__device__ static inline float flushed(float x)
{
    unsigned u = __float_as_uint(x);
    return (u & 0x7f800000u) == 0 ? __uint_as_float(u & 0x80000000u) : x;
}

/*
 * Whether a b + c, which rounds to 2^-126 in gradual underflow, is tiny after rounding to
 * 24 bits as if the exponent had no end: whether it lies below 2^-126 - 2^-151. The product
 * is exact in double, and the error of the sum is one too (Knuth's two-sum).
 */
__device__ static inline bool tiny_at_the_edge(float a, float b, float c)
{
    const double edge = 0x1p-126 - 0x1p-151;
    double p = (double)a * (double)b, s = p + (double)c, t = s - p,
           error = (p - (s - t)) + ((double)c - t);
    double size = s < 0 ? -s : s, outward = s < 0 ? -error : error;
    return size < edge || (size == edge && outward < 0);
}

/* fma of operands that are not subnormal, a result that is tiny after rounding flushed:
 * what x86 does with FTZ and DAZ set. */
__device__ static inline float fma_flushed(float a, float b, float c)
{
    float r = __fmaf_rn(a, b, c);
    unsigned u = __float_as_uint(r), size = u & 0x7fffffffu;
    if (size > 0x00800000u) return r;
    if (size < 0x00800000u || tiny_at_the_edge(a, b, c))
        return __uint_as_float(u & 0x80000000u);
    return r;
}

/* ---- exp and what is made of it ---- */

/* For x <= 88 or NaN. */
__device__ static inline float exp_bounded(float x)
{
    const float shift = 12582912.0f;
    float shifted = x * 0x1.715476p+0f + shift, n = shifted - shift;
    float r = (x - n * 0.693359375f) - n * -0x1.bd0106p-13f;
    float q = 0x1.a01a02p-13f;
    q = q * r + 0x1.6c16c2p-10f;
    q = q * r + 0x1.111112p-7f;
    q = q * r + 0x1.555556p-5f;
    q = q * r + 0x1.555556p-3f;
    q = q * r + 0.5f;
    float p = 1.0f + (r + (r * r) * q);
    float y = p * __uint_as_float((__float_as_uint(shifted) << 23) + 0x3f800000u);
    return -87.0f > x ? 0.0f : y;
}

__device__ static inline float exp_any(float x)
{
    return x > 88.0f ? __uint_as_float(0x7f800000u) : exp_bounded(x);
}

/* x / (1 + exp(-v)) */
__device__ static inline float gate_by(float x, float v)
{
    return x / (1.0f + exp_any(-v));
}

__device__ static inline float gelu(float x)
{
    float z = fabsf(x) * 0x1.6a09e6p-1f, t = 1.0f / (1.0f + 0.5f * z);
    float p = 0x1.232f0cp-3f;
    p = p * t + -0x1.54fc62p-1f;
    p = p * t + 0x1.1f4acep+0f;
    p = p * t + -0x1.4d554ep-1f;
    p = p * t + -0x1.df050ap-4f;
    p = p * t + 0x1.4c3466p-6f;
    p = p * t + 0x1.d02e9ep-6f;
    p = p * t + 0x1.8d36eap-2f;
    p = p * t + 0x1.ff3a56p-1f;
    p = p * t + -0x1.43f3f8p+0f;
    float tail = 0.5f * (t * exp_any(p - z * z));
    return x * (0.0f > x ? tail : 1.0f - tail);
}

__device__ static inline float gelu_tanh(float x)
{
    float v = x + 0.044715f * ((x * x) * x);
    return gate_by(x, (2 * 0x1.988454p-1f) * v);
}

__device__ static inline float tanh_of(float x)
{
    float u = fabsf(x), s = u * u;
    float p = 0x1.c936e4p-10f;
    p = p * s + -0x1.f69c46p-8f;
    p = p * s + 0x1.5f976ep-6f;
    p = p * s + -0x1.b9819ap-5f;
    p = p * s + 0x1.110ddap-3f;
    p = p * s + -0x1.55554ap-2f;
    float small = u + u * (s * p), large = 1.0f - 2.0f / (exp_any(2.0f * u) + 1.0f);
    float y = 0.75f > u ? small : large;
    return 0.0f > x ? -y : y;
}

/* limit tanh(scale x / limit) */
__device__ static inline float capped(float x, float scale, float limit)
{
    return limit * tanh_of((x * scale) / limit);
}

/* ---- sums of sixteen lanes ---- */

/* Lane 0 of each sixteen neighbouring threads gets the sum: lane j += lane j + 8, then 4,
 * 2,
 * 1. All threads of the warp call it. */
__device__ static inline float fold_sum(float lane)
{
    lane = lane + __shfl_down_sync(ALL_LANES, lane, 8, LANES);
    lane = lane + __shfl_down_sync(ALL_LANES, lane, 4, LANES);
    lane = lane + __shfl_down_sync(ALL_LANES, lane, 2, LANES);
    return lane + __shfl_down_sync(ALL_LANES, lane, 1, LANES);
}

/* The same, for all sixteen. */
__device__ static inline float fold_sum_for_all(float lane)
{
    float sum = fold_sum(lane);
    return __shfl_sync(ALL_LANES, sum, 0, LANES);
}

/* The largest, for all sixteen; a NaN is passed over. */
__device__ static inline float fold_max_for_all(float lane)
{
    for (int delta = 8; delta > 0; delta /= 2) {
        float other = __shfl_down_sync(ALL_LANES, lane, delta, LANES);
        lane = other > lane ? other : lane;
    }
    return __shfl_sync(ALL_LANES, lane, 0, LANES);
}

#endif
