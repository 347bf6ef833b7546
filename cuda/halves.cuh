/*
 * halves.cuh - IEEE half precision and bfloat16 as core/half.h has them, by integers.
 */
#ifndef UCB_CUDA_HALVES_CUH
#define UCB_CUDA_HALVES_CUH

#include "device.cuh"

__device__ static inline float bf16_widen(unsigned h)
{
    return __uint_as_float(h << 16);
}

__device__ static inline uint16_t bf16_from(float x)
{
    unsigned u = __float_as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

__device__ static inline float bf16_rounded(float x)
{
    return bf16_widen(bf16_from(x));
}

__device__ static inline float f16_widen(unsigned h)
{
    unsigned sign = (h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
    return __uint_as_float(sign | __float_as_uint((float)mantissa * 0x1p-24f));
}

__device__ static inline uint16_t f16_from(float x)
{
    unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (a >= 0x38800000u)
        return (uint16_t)(sign | ((a + 0xfffu + (a >> 13 & 1u) - 0x38000000u) >> 13));
    if (a < 0x33000000u) return (uint16_t)sign;
    unsigned shift = 126u - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u,
             kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1),
             half = 1u << (shift - 1);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1u)))));
}

__device__ static inline float f16_rounded(float x)
{
    return f16_widen(f16_from(x));
}

__global__ void round_kernel(bool f16, float *w, size_t n)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) w[i] = f16 ? f16_rounded(w[i]) : bf16_rounded(w[i]);
}

static const char *run_round(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                             uint32_t dtype, float *w, size_t n)
{
    if (dtype != UCB_F16 && dtype != UCB_BF16) return NULL;
    UCB_LAUNCH(round_kernel, n_blocks(n, 256), 256, device->stream[stream],
               dtype == UCB_F16, w, n);
    return launched(device, "round");
}

#endif
