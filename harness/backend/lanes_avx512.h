/*
 * lanes_avx512.h - sixteen floats in one register; what the functions mean stands in
 * lanes_scalar.h.
 */
#ifndef UCB_BACKEND_LANES_AVX512_H
#define UCB_BACKEND_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 v16;
typedef __mmask16 m16;

static inline v16 v16_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline v16 v16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline m16 m16_first(uint32_t n)
{
    return (m16)((1u << n) - 1);
}
static inline v16 v16_load_part(const float *p, uint32_t n)
{
    return _mm512_maskz_loadu_ps(m16_first(n), p);
}
static inline void v16_store(float *p, v16 x)
{
    _mm512_storeu_ps(p, x);
}
static inline void v16_store_part(float *p, v16 x, uint32_t n)
{
    _mm512_mask_storeu_ps(p, m16_first(n), x);
}
static inline v16 v16_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
static inline v16 v16_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
static inline v16 v16_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
static inline v16 v16_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
/* vmaxps answers its second operand unless the first is greater. */
static inline v16 v16_max(v16 x, v16 m)
{
    return _mm512_max_ps(x, m);
}
static inline v16 v16_abs(v16 x)
{
    return _mm512_abs_ps(x);
}
static inline v16 v16_negate(v16 x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}
static inline m16 v16_above(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
static inline m16 m16_between(uint32_t first, uint32_t from, uint32_t to)
{
    const __m512i step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1,
                                          0);
    __m512i index = _mm512_add_epi32(_mm512_set1_epi32((int)first), step);
    m16 not_before = _mm512_cmpge_epu32_mask(index, _mm512_set1_epi32((int)from));
    return _mm512_mask_cmplt_epu32_mask(not_before, index, _mm512_set1_epi32((int)to));
}
static inline v16 v16_select(m16 mask, v16 yes, v16 no)
{
    return _mm512_mask_blend_ps(mask, no, yes);
}
static inline uint32_t m16_bits(m16 mask)
{
    return mask;
}
static inline v16 v16_power_of_shifted(v16 x)
{
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(x), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)));
}
static inline v16 v16_round_bf16(v16 x)
{
    __m512i u = _mm512_castps_si512(x),
            odd = _mm512_and_epi32(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __m512i quiet = _mm512_or_epi32(u, _mm512_set1_epi32(0x400000));
    rounded = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded,
                                      quiet);
    return _mm512_castsi512_ps(
        _mm512_and_epi32(rounded, _mm512_set1_epi32((int)0xffff0000)));
}
/* The values of x, which were rounded to bf16, as 16 halves. */
static inline void v16_store_bf16(uint16_t *p, v16 x)
{
    __m512i u = _mm512_srli_epi32(_mm512_castps_si512(x), 16);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(u));
}

#endif
