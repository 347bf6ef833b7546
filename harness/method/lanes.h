/*
 * lanes.h - sixteen lanes at a time, as GNU vector types: the compiler makes one AVX-512,
 * two AVX or four SSE operations of each, and the values are the same, lane by lane.
 *
 * Everything is elementwise IEEE arithmetic except ucb_lanes_sum and ucb_lanes_peak, whose
 * order is written out. Sixteen does not mean AVX-512: it is the width in which reductions
 * are defined.
 */
#ifndef UCB_METHOD_LANES_H
#define UCB_METHOD_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { UCB_LANES = 16 };
typedef float ucb_f32x16 __attribute__((vector_size(64)));
typedef int32_t ucb_i32x16 __attribute__((vector_size(64)));
typedef uint32_t ucb_u32x16 __attribute__((vector_size(64)));
typedef uint8_t ucb_u8x16 __attribute__((vector_size(16)));

/* Inlined always: a vector handed over between two instruction sets has no common calling
 * convention. */
#define UCB_LANES_INLINE static inline __attribute__((always_inline))

/*
 * x in every lane: subtracting zero keeps every x, -0 too. A macro because gcc 12 builds
 * the vector lane by lane when it comes out of a function that was compiled for narrower
 * registers.
 */
#define ucb_lanes_all(x) ((float)(x) - (ucb_f32x16){0})

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_load(const float *p)
{
    ucb_f32x16 x;
    memcpy(&x, p, sizeof(x));
    return x;
}

UCB_LANES_INLINE void ucb_lanes_store(float *p, ucb_f32x16 x)
{
    memcpy(p, &x, sizeof(x));
}

/* The first n (at most 16) of p, zeros behind them. */
UCB_LANES_INLINE ucb_f32x16 ucb_lanes_load_some(const float *p, size_t n)
{
    ucb_f32x16 x = {0};
    if (n >= UCB_LANES) return ucb_lanes_load(p);
    memcpy(&x, p, n * sizeof(*p));
    return x;
}

UCB_LANES_INLINE void ucb_lanes_store_some(float *p, ucb_f32x16 x, size_t n)
{
    if (n >= UCB_LANES)
        ucb_lanes_store(p, x);
    else
        memcpy(p, &x, n * sizeof(*p));
}

/* Where mask is -1, a; where it is 0, b. */
UCB_LANES_INLINE ucb_f32x16 ucb_lanes_choose(ucb_i32x16 mask, ucb_f32x16 a, ucb_f32x16 b)
{
    return (ucb_f32x16)(((ucb_i32x16)a & mask) | ((ucb_i32x16)b & ~mask));
}

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_max(ucb_f32x16 a, ucb_f32x16 b)
{
    return ucb_lanes_choose(a > b, a, b);
}

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_min(ucb_f32x16 a, ucb_f32x16 b)
{
    return ucb_lanes_choose(a < b, a, b);
}

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_clamp(ucb_f32x16 x, float low, float high)
{
    return ucb_lanes_min(ucb_lanes_max(x, ucb_lanes_all(low)), ucb_lanes_all(high));
}

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_abs(ucb_f32x16 x)
{
    return (ucb_f32x16)((ucb_i32x16)x & 0x7fffffff);
}

/*
 * Round half to even for |x| <= 2^22: past 1.5 * 2^23 the spacing of fp32 is 1, so the
 * addition itself rounds. Zero comes back as +0.
 */
UCB_LANES_INLINE ucb_f32x16 ucb_lanes_rne(ucb_f32x16 x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/*
 * To half precision and back, as ucb_f16_round does for every non-NaN. Normal: 13 mantissa
 * bits go. Below 2^-14 the spacing is 2^-24, which is the spacing of fp32 in [0.5, 1):
 * adding 0.5 rounds.
 */
UCB_LANES_INLINE ucb_f32x16 ucb_lanes_f16_round(ucb_f32x16 x)
{
    ucb_i32x16 bits = (ucb_i32x16)x, a = bits & 0x7fffffff;
    ucb_i32x16 normal = (a + 0xfff + (a >> 13 & 1)) & ~0x1fff;
    ucb_i32x16 tiny = (ucb_i32x16)(((ucb_f32x16)a + 0.5f) - 0.5f);
    ucb_i32x16 is_tiny = a<0x38800000, is_large = normal> 0x477fe000;
    normal = (normal & ~is_large) | (0x7f800000 & is_large);
    return (ucb_f32x16)((tiny & is_tiny) | (normal & ~is_tiny) | (bits & ~0x7fffffff));
}

UCB_LANES_INLINE ucb_f32x16 ucb_lanes_bf16_round(ucb_f32x16 x)
{
    ucb_u32x16 bits = (ucb_u32x16)x;
    return (ucb_f32x16)((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

/* Folded 8, 4, 2, 1: lane i takes lane i + 8, then i + 4, i + 2, i + 1. */
UCB_LANES_INLINE float ucb_lanes_sum(ucb_f32x16 x)
{
    float lane[UCB_LANES];
    ucb_lanes_store(lane, x);
    for (int i = 0; i < 8; i++) lane[i] += lane[i + 8];
    for (int i = 0; i < 4; i++) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* The largest lane, and the smallest; any order gives the same. */
UCB_LANES_INLINE float ucb_lanes_peak(ucb_f32x16 x)
{
    float lane[UCB_LANES];
    ucb_lanes_store(lane, x);
    for (int i = 0; i < 8; i++) lane[i] = lane[i] > lane[i + 8] ? lane[i] : lane[i + 8];
    for (int i = 0; i < 4; i++) lane[i] = lane[i] > lane[i + 4] ? lane[i] : lane[i + 4];
    for (int i = 0; i < 2; i++) lane[i] = lane[i] > lane[i + 2] ? lane[i] : lane[i + 2];
    return lane[0] > lane[1] ? lane[0] : lane[1];
}

/* The smallest and the largest of n >= 1 values. */
UCB_LANES_INLINE void ucb_lanes_range(const float *w, size_t n, float *low, float *high)
{
    ucb_f32x16 lows = ucb_lanes_all(w[0]), highs = lows;
    size_t i = 0;
    for (; i + UCB_LANES <= n; i += UCB_LANES) {
        lows = ucb_lanes_min(ucb_lanes_load(w + i), lows);
        highs = ucb_lanes_max(ucb_lanes_load(w + i), highs);
    }
    *low = -ucb_lanes_peak(-lows);
    *high = ucb_lanes_peak(highs);
    for (; i < n; i++) {
        *low = w[i] < *low ? w[i] : *low;
        *high = w[i] > *high ? w[i] : *high;
    }
}

/* Codes, to and from bytes. */
UCB_LANES_INLINE ucb_u32x16 ucb_lanes_load_u8(const uint8_t *p)
{
    ucb_u8x16 x;
    memcpy(&x, p, sizeof(x));
    return __builtin_convertvector(x, ucb_u32x16);
}

UCB_LANES_INLINE void ucb_lanes_store_u8(uint8_t *p, ucb_i32x16 code)
{
    ucb_u8x16 bytes = __builtin_convertvector(code, ucb_u8x16);
    memcpy(p, &bytes, sizeof(bytes));
}

/* The same for codes that are still floats. */
UCB_LANES_INLINE void ucb_lanes_store_code(uint8_t *p, ucb_f32x16 whole)
{
    ucb_lanes_store_u8(p, __builtin_convertvector(whole, ucb_i32x16));
}

#endif
