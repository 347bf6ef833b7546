/*
 * fp8.h - float8_e4m3fn by integer arithmetic: 1 sign, 4 exponent (bias 7), 3 mantissa
 * bits, no infinity; 0x7f and 0xff are NaN.
 *
 * Widening is exact. Rounding is to nearest, ties to even; what rounds past 448, the
 * largest, saturates there (the OCP specification's saturating mode), and a NaN stays one.
 */
#ifndef UCB_CORE_FP8_H
#define UCB_CORE_FP8_H

#include <stdint.h>

#include "core/half.h"

#define UCB_E4M3_MAX 448.0f

static inline float ucb_e4m3_widen(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, exponent = code >> 3 & 0xfu,
             mantissa = code & 7u;
    if ((code & 0x7fu) == 0x7fu) return ucb_f32_from_bits(sign | 0x7fc00000u);
    if (exponent != 0)
        return ucb_f32_from_bits(sign | (exponent + 120) << 23 | mantissa << 20);
    /* subnormal: mantissa * 2^-9 is exact in fp32 */
    return ucb_f32_from_bits(sign | ucb_f32_bits((float)mantissa * 0x1p-9f));
}

static inline uint8_t ucb_e4m3_from_f32(float x)
{
    uint32_t u = ucb_f32_bits(x), a = u & 0x7fffffffu;
    uint8_t sign = (uint8_t)(u >> 24 & 0x80u);
    if (a > 0x7f800000u) return (uint8_t)(sign | 0x7fu);
    if (a >= 0x43e80000u) return (uint8_t)(sign | 0x7eu); /* 464 and above: past 448 */
    if (a >= 0x3c800000u) {                               /* normal: at least 2^-6 */
        uint32_t rounded = a + 0x7ffffu + (a >> 20 & 1u);
        uint32_t code = (rounded - 0x3c000000u) >> 20;
        return (uint8_t)(sign | (code > 0x7eu ? 0x7eu : code));
    }
    /* The spacing is 2^-9, which is the spacing of fp32 in [2^14, 2^15): adding rounds. */
    float whole = (ucb_f32_from_bits(a) + 0x1p14f) - 0x1p14f;
    return (uint8_t)(sign | (uint8_t)(whole * 512.0f));
}

#endif
