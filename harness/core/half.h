/*
 * half.h - IEEE half precision and bfloat16 by integer arithmetic: the same bits from every
 * compiler.
 *
 * Widening is exact for every pattern (NaN payloads are kept). Rounding is to nearest, ties
 * to even; a value past the largest finite one becomes infinity, a NaN stays a NaN (quiet,
 * upper payload bits kept).
 */
#ifndef UCB_CORE_HALF_H
#define UCB_CORE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ucb_f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static inline float ucb_f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

static inline float ucb_bf16_widen(uint16_t h)
{
    return ucb_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t ucb_bf16_from_f32(float x)
{
    uint32_t u = ucb_f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float ucb_bf16_round(float x)
{
    return ucb_bf16_widen(ucb_bf16_from_f32(x));
}

static inline float ucb_f16_widen(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu,
             mantissa = h & 0x3ffu;
    if (exponent == 31) return ucb_f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return ucb_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    /* subnormal: mantissa * 2^-24 is exact in fp32 */
    float magnitude = (float)mantissa * 0x1p-24f;
    return ucb_f32_from_bits(sign | ucb_f32_bits(magnitude));
}

static inline uint16_t ucb_f16_from_f32(float x)
{
    uint32_t u = ucb_f32_bits(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (a >= 0x38800000u) {                /* normal: at least 2^-14 */
        uint32_t rounded = a + 0xfffu + (a >> 13 & 1u);
        return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
    }
    if (a < 0x33000000u) return (uint16_t)sign; /* below 2^-25: zero */
    uint32_t shift = 126u - (a >> 23),
             mantissa = (a & 0x7fffffu) | 0x800000u; /* 14..24 bits go */
    uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1),
             half = 1u << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1u));
    return (uint16_t)(sign | kept);
}

static inline float ucb_f16_round(float x)
{
    return ucb_f16_widen(ucb_f16_from_f32(x));
}

#endif
