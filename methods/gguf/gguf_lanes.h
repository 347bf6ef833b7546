/*
 * gguf_lanes.h - as many lanes as the file that includes it has in a register: 16, 8 or 4.
 *
 * harness/method/lanes.h is 16 wide everywhere; gcc 12 takes comparisons of vectors that
 * are wider than its registers apart, lane by lane, and the searches compare all the time
 * (on AVX2 they ran ten times slower). Everything here is elementwise IEEE arithmetic.
 */
#ifndef UCB_GGUF_LANES_H
#define UCB_GGUF_LANES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define GGUF_LANES 16
#elif defined(__AVX2__)
#define GGUF_LANES 8
#else
#define GGUF_LANES 4
#endif

typedef float gguf_lanes __attribute__((vector_size(4 * GGUF_LANES)));
typedef int32_t gguf_ints __attribute__((vector_size(4 * GGUF_LANES)));
typedef uint8_t gguf_bytes __attribute__((vector_size(GGUF_LANES)));

#define GGUF_INLINE static inline __attribute__((always_inline))

/* x in every lane; subtracting zero keeps every x, -0 too. */
#define lanes_all(x) ((float)(x) - (gguf_lanes){0})

GGUF_INLINE gguf_lanes lanes_load(const float *p)
{
    gguf_lanes x;
    memcpy(&x, p, sizeof(x));
    return x;
}

GGUF_INLINE void lanes_store(float *p, gguf_lanes x)
{
    memcpy(p, &x, sizeof(x));
}

/* Whole numbers of -128 to 127, to bytes. */
GGUF_INLINE void lanes_store_ints(uint8_t *p, gguf_ints x)
{
#if GGUF_LANES == 16
    gguf_bytes bytes = __builtin_convertvector(x, gguf_bytes);
#elif defined(__SSE2__)
#if GGUF_LANES == 8
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x),
                                    _mm256_extracti128_si256((__m256i)x, 1));
#else
    __m128i words = _mm_packs_epi32((__m128i)x, (__m128i)x);
#endif
    __m128i bytes = _mm_packs_epi16(words, words);
#else
    gguf_bytes bytes = __builtin_convertvector(x, gguf_bytes);
#endif
    memcpy(p, &bytes, GGUF_LANES);
}

GGUF_INLINE void lanes_store_codes(uint8_t *p, gguf_lanes whole)
{
    lanes_store_ints(p, __builtin_convertvector(whole, gguf_ints));
}

/* Where mask is -1, a; where it is 0, b. */
GGUF_INLINE gguf_lanes lanes_choose(gguf_ints mask, gguf_lanes a, gguf_lanes b)
{
#if GGUF_LANES == 8
    return (gguf_lanes)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#else
    return (gguf_lanes)(((gguf_ints)a & mask) | ((gguf_ints)b & ~mask));
#endif
}

/* a > b ? a : b, and a < b ? a : b: of a NaN and a bound, the bound,
 * when it stands second. */
GGUF_INLINE gguf_lanes lanes_max(gguf_lanes a, gguf_lanes b)
{
#if GGUF_LANES == 16
    return (gguf_lanes)_mm512_max_ps((__m512)a, (__m512)b);
#elif GGUF_LANES == 8
    return (gguf_lanes)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (gguf_lanes)_mm_max_ps((__m128)a, (__m128)b);
#else
    return lanes_choose(a > b, a, b);
#endif
}

GGUF_INLINE gguf_lanes lanes_min(gguf_lanes a, gguf_lanes b)
{
#if GGUF_LANES == 16
    return (gguf_lanes)_mm512_min_ps((__m512)a, (__m512)b);
#elif GGUF_LANES == 8
    return (gguf_lanes)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (gguf_lanes)_mm_min_ps((__m128)a, (__m128)b);
#else
    return lanes_choose(a < b, a, b);
#endif
}

GGUF_INLINE gguf_lanes lanes_clamp(gguf_lanes x, float low, float high)
{
    return lanes_min(lanes_max(x, lanes_all(low)), lanes_all(high));
}

GGUF_INLINE gguf_lanes lanes_abs(gguf_lanes x)
{
    return (gguf_lanes)((gguf_ints)x & 0x7fffffff);
}

GGUF_INLINE gguf_lanes lanes_sqrt(gguf_lanes x)
{
#if GGUF_LANES == 16
    return (gguf_lanes)_mm512_sqrt_ps((__m512)x);
#elif GGUF_LANES == 8
    return (gguf_lanes)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (gguf_lanes)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < GGUF_LANES; i++) x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* Round half to even for |x| < 2^22, where adding 1.5 * 2^23 itself rounds. */
GGUF_INLINE gguf_lanes lanes_whole(gguf_lanes x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/*
 * The same for every x as ggml does it: the low 23 bits of the sum, less 2^22. Quotients of
 * two small differences can be past 2^22, or not a number, and then this is what ggml gets.
 */
GGUF_INLINE gguf_lanes lanes_nearest(gguf_lanes x)
{
    gguf_ints i = ((gguf_ints)(x + 0x1.8p23f) & 0x7fffff) - 0x400000;
    return __builtin_convertvector(i, gguf_lanes);
}

/* Bit i: lane i of a mask. */
GGUF_INLINE uint32_t lanes_bits(gguf_ints mask)
{
#if GGUF_LANES == 16
    return _mm512_movepi32_mask((__m512i)mask);
#elif GGUF_LANES == 8
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < GGUF_LANES; i++) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

GGUF_INLINE bool lanes_any(gguf_ints mask)
{
    int32_t any = 0;
    for (int i = 0; i < GGUF_LANES; i++) any |= mask[i];
    return any != 0;
}

/* The largest lane; no lane is NaN. */
GGUF_INLINE float lanes_peak(gguf_lanes x)
{
#if GGUF_LANES == 16
    return _mm512_reduce_max_ps((__m512)x);
#elif defined(__SSE2__)
#if GGUF_LANES == 8
    __m128 four = _mm_max_ps(_mm256_castps256_ps128((__m256)x),
                             _mm256_extractf128_ps((__m256)x, 1));
#else
    __m128 four = (__m128)x;
#endif
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    float peak = x[0];
    for (int i = 1; i < GGUF_LANES; i++) peak = x[i] > peak ? x[i] : peak;
    return peak;
#endif
}

/* table[code], codes of 0 to 15. */
GGUF_INLINE gguf_lanes lanes_lookup(const float *table, gguf_ints code)
{
#if GGUF_LANES == 16
    return (gguf_lanes)_mm512_permutexvar_ps((__m512i)code, _mm512_loadu_ps(table));
#elif GGUF_LANES == 8
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)code),
           high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), (__m256i)code);
    return (gguf_lanes)_mm256_blendv_ps(low, high, (__m256)(code > 7));
#else
    gguf_lanes x;
    for (int i = 0; i < GGUF_LANES; i++) x[i] = table[code[i]];
    return x;
#endif
}

/* t[e] lane i = from[i][e], for e below n. */
GGUF_INLINE void lanes_turn(const float *const *from, int n, gguf_lanes *t)
{
    float *to = (float *)t;
    for (int i = 0; i < GGUF_LANES; i++)
        for (int e = 0; e < n; e++) to[e * GGUF_LANES + i] = from[i][e];
}

#endif
