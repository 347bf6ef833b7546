/*
 * lanes_avx2.h - sixteen floats in two registers; what the functions mean stands in
 * lanes_scalar.h.
 */
#ifndef UCB_BACKEND_LANES_AVX2_H
#define UCB_BACKEND_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    __m256 low, high;
} v16;
typedef v16 m16; /* all bits of a lane, or none */

#define BOTH(operation, a, b) \
    ((v16){operation((a).low, (b).low), operation((a).high, (b).high)})

static inline v16 v16_set1(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline v16 v16_load(const float *p)
{
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline v16 v16_load_part(const float *p, uint32_t n)
{
    float all[16] = {0};
    memcpy(all, p, n * sizeof(*p));
    return v16_load(all);
}
static inline void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}
static inline void v16_store_part(float *p, v16 x, uint32_t n)
{
    float all[16];
    v16_store(all, x);
    memcpy(p, all, n * sizeof(*p));
}
static inline v16 v16_add(v16 a, v16 b)
{
    return BOTH(_mm256_add_ps, a, b);
}
static inline v16 v16_sub(v16 a, v16 b)
{
    return BOTH(_mm256_sub_ps, a, b);
}
static inline v16 v16_mul(v16 a, v16 b)
{
    return BOTH(_mm256_mul_ps, a, b);
}
static inline v16 v16_div(v16 a, v16 b)
{
    return BOTH(_mm256_div_ps, a, b);
}
/* vmaxps answers its second operand unless the first is greater. */
static inline v16 v16_max(v16 x, v16 m)
{
    return BOTH(_mm256_max_ps, x, m);
}
static inline v16 v16_abs(v16 x)
{
    v16 sign = v16_set1(-0.0f);
    return BOTH(_mm256_andnot_ps, sign, x);
}
static inline v16 v16_negate(v16 x)
{
    v16 sign = v16_set1(-0.0f);
    return BOTH(_mm256_xor_ps, x, sign);
}
static inline m16 v16_above(v16 a, v16 b)
{
    return (m16){_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ),
                 _mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ)};
}
/* Indices stay below 2^31, so that the signed comparison is right. */
static inline __m256 between8(uint32_t first, uint32_t from, uint32_t to)
{
    __m256i index = _mm256_add_epi32(_mm256_set1_epi32((int)first),
                                     _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)from), index);
    __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)to), index);
    return _mm256_castsi256_ps(_mm256_andnot_si256(before, inside));
}
static inline m16 m16_between(uint32_t first, uint32_t from, uint32_t to)
{
    return (m16){between8(first, from, to), between8(first + 8, from, to)};
}
static inline v16 v16_select(m16 mask, v16 yes, v16 no)
{
    return (v16){_mm256_blendv_ps(no.low, yes.low, mask.low),
                 _mm256_blendv_ps(no.high, yes.high, mask.high)};
}
static inline uint32_t m16_bits(m16 mask)
{
    return (uint32_t)_mm256_movemask_ps(mask.low) | (uint32_t)_mm256_movemask_ps(mask.high)
                                                        << 8;
}
static inline __m256 power_of_shifted8(__m256 x)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(x), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
}
static inline v16 v16_power_of_shifted(v16 x)
{
    return (v16){power_of_shifted8(x.low), power_of_shifted8(x.high)};
}
static inline __m256 round_bf16_8(__m256 x)
{
    __m256i u = _mm256_castps_si256(x),
            odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, quiet, is_nan);
    return _mm256_castsi256_ps(
        _mm256_and_si256(rounded, _mm256_set1_epi32((int)0xffff0000)));
}
static inline v16 v16_round_bf16(v16 x)
{
    return (v16){round_bf16_8(x.low), round_bf16_8(x.high)};
}

#undef BOTH
#endif
