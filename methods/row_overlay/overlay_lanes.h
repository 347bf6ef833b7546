/*
 * overlay_lanes.h - as many lanes as the file that includes it has in a register, with a
 * fused multiply-add: 16, 8 or 4 (that one by the C library, for machines with neither).
 */
#ifndef UCB_ROW_OVERLAY_LANES_H
#define UCB_ROW_OVERLAY_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define OVERLAY_LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define OVERLAY_LANES 8
#else
#define OVERLAY_LANES 4
#endif

typedef float overlay_lanes __attribute__((vector_size(4 * OVERLAY_LANES)));
typedef int32_t overlay_ints __attribute__((vector_size(4 * OVERLAY_LANES)));

#define OVERLAY_INLINE static inline __attribute__((always_inline))
/* x in every lane; subtracting zero keeps every x. */
#define lanes_all(x) ((float)(x) - (overlay_lanes){0})

OVERLAY_INLINE overlay_lanes lanes_load(const float *p)
{
    overlay_lanes x;
    memcpy(&x, p, sizeof(x));
    return x;
}

OVERLAY_INLINE void lanes_store(float *p, overlay_lanes x)
{
    memcpy(p, &x, sizeof(x));
}

/* a b + c, rounded once. */
OVERLAY_INLINE overlay_lanes lanes_fma(overlay_lanes a, overlay_lanes b, overlay_lanes c)
{
#if OVERLAY_LANES == 16
    return (overlay_lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif OVERLAY_LANES == 8
    return (overlay_lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    for (int i = 0; i < OVERLAY_LANES; i++) c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

/* a < b ? a : b */
OVERLAY_INLINE overlay_lanes lanes_min(overlay_lanes a, overlay_lanes b)
{
#if OVERLAY_LANES == 16
    return (overlay_lanes)_mm512_min_ps((__m512)a, (__m512)b);
#elif OVERLAY_LANES == 8
    return (overlay_lanes)_mm256_min_ps((__m256)a, (__m256)b);
#else
    overlay_ints below = a < b;
    return (overlay_lanes)(((overlay_ints)a & below) | ((overlay_ints)b & ~below));
#endif
}

/* Where a < b, x; elsewhere y. */
OVERLAY_INLINE overlay_ints lanes_pick_below(overlay_lanes a, overlay_lanes b,
                                             overlay_ints x, overlay_ints y)
{
#if OVERLAY_LANES == 16
    __mmask16 below = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
    return (overlay_ints)_mm512_mask_mov_epi32((__m512i)y, below, (__m512i)x);
#elif OVERLAY_LANES == 8
    __m256 below = _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
    return (overlay_ints)_mm256_blendv_ps((__m256)y, (__m256)x, below);
#else
    overlay_ints below = a < b;
    return (x & below) | (y & ~below);
#endif
}

/* Bit i: a[i] <= b[i]. */
OVERLAY_INLINE uint32_t lanes_bits_up_to(overlay_lanes a, overlay_lanes b)
{
#if OVERLAY_LANES == 16
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ);
#elif OVERLAY_LANES == 8
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LE_OQ));
#else
    uint32_t bits = 0;
    overlay_ints mask = a <= b;
    for (int i = 0; i < OVERLAY_LANES; i++) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

#endif
