/* int8_dot_avx512.c - tiles of 8 rows x 32 outputs: 16 sums, 2 vectors of weights. */
#include <immintrin.h>

#include "int8_dot.h"

typedef __m512i vec;
enum { PATH_ROWS = 8, PATH_PANELS = 2, VEC_PAIRS = 16 };

static inline vec vec_zero(void)
{
    return _mm512_setzero_si512();
}
static inline vec vec_widen(const int8_t *pairs)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)pairs));
}
static inline vec vec_pair(const int16_t *pair)
{
    int32_t both;
    memcpy(&both, pair, sizeof(both));
    return _mm512_set1_epi32(both);
}
static inline vec vec_madd(vec a, vec b)
{
    return _mm512_madd_epi16(a, b);
}
static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_epi32(a, b);
}
static inline void vec_store(int32_t *p, vec x)
{
    _mm512_storeu_si512(p, x);
}

#include "int8_dot_template.h"

const struct int8_path int8_path_avx512 = {"avx512", PATH_ROWS, PATH_PANELS, tile};
