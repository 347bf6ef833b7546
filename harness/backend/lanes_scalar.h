/*
 * lanes_scalar.h - sixteen floats as one value, in plain C; the definition that the vector
 * versions match to the bit.
 *
 * The three files lanes_*.h offer the same functions; vector_template.h is written on them.
 * Every operation is one IEEE operation per lane. v16_max(x, m) is m unless x > m, so a NaN
 * in x is passed over.
 */
#ifndef UCB_BACKEND_LANES_SCALAR_H
#define UCB_BACKEND_LANES_SCALAR_H

#include <math.h>
#include <stdint.h>

#include "core/half.h"

typedef struct {
    float lane[16];
} v16;
typedef uint32_t m16; /* bit j: lane j */

#define EACH_LANE for (int j = 0; j < 16; j++)

static inline v16 v16_set1(float x)
{
    v16 r;
    EACH_LANE r.lane[j] = x;
    return r;
}
static inline v16 v16_load(const float *p)
{
    v16 r;
    EACH_LANE r.lane[j] = p[j];
    return r;
}
/* The first n < 16 elements, +0 in the other lanes. */
static inline v16 v16_load_part(const float *p, uint32_t n)
{
    v16 r;
    EACH_LANE r.lane[j] = (uint32_t)j < n ? p[j] : 0.0f;
    return r;
}
static inline void v16_store(float *p, v16 x)
{
    EACH_LANE p[j] = x.lane[j];
}
static inline void v16_store_part(float *p, v16 x, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++) p[j] = x.lane[j];
}
static inline v16 v16_add(v16 a, v16 b)
{
    EACH_LANE a.lane[j] = a.lane[j] + b.lane[j];
    return a;
}
static inline v16 v16_sub(v16 a, v16 b)
{
    EACH_LANE a.lane[j] = a.lane[j] - b.lane[j];
    return a;
}
static inline v16 v16_mul(v16 a, v16 b)
{
    EACH_LANE a.lane[j] = a.lane[j] * b.lane[j];
    return a;
}
static inline v16 v16_div(v16 a, v16 b)
{
    EACH_LANE a.lane[j] = a.lane[j] / b.lane[j];
    return a;
}
static inline v16 v16_max(v16 x, v16 m)
{
    EACH_LANE m.lane[j] = x.lane[j] > m.lane[j] ? x.lane[j] : m.lane[j];
    return m;
}
static inline v16 v16_abs(v16 x)
{
    EACH_LANE x.lane[j] = fabsf(x.lane[j]);
    return x;
}
static inline v16 v16_negate(v16 x)
{
    EACH_LANE x.lane[j] = -x.lane[j];
    return x;
}
static inline m16 v16_above(v16 a, v16 b)
{
    m16 r = 0;
    EACH_LANE r |= (m16)(a.lane[j] > b.lane[j]) << j;
    return r;
}
/* Lanes whose index first + j lies in [from, to). */
static inline m16 m16_between(uint32_t first, uint32_t from, uint32_t to)
{
    m16 r = 0;
    EACH_LANE r |= (m16)(first + (uint32_t)j >= from && first + (uint32_t)j < to) << j;
    return r;
}
static inline v16 v16_select(m16 mask, v16 yes, v16 no)
{
    EACH_LANE no.lane[j] = mask >> j & 1 ? yes.lane[j] : no.lane[j];
    return no;
}
static inline uint32_t m16_bits(m16 mask)
{
    return mask;
}
/* 2^i of every lane that holds 1.5 * 2^23 + i, -126 <= i <= 127:
 * i stands in the low bits. */
static inline v16 v16_power_of_shifted(v16 x)
{
    EACH_LANE x.lane[j] = ucb_f32_from_bits((ucb_f32_bits(x.lane[j]) << 23) + 0x3f800000u);
    return x;
}
static inline v16 v16_round_bf16(v16 x)
{
    EACH_LANE x.lane[j] = ucb_bf16_round(x.lane[j]);
    return x;
}

#undef EACH_LANE
#endif
