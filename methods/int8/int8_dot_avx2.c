/* int8_dot_avx2.c - tiles of 4 rows x 16 outputs: 8 sums, 2 vectors of weights. */
#include <immintrin.h>

#include "int8_dot.h"

typedef __m256i vec;
enum { PATH_ROWS = 4, PATH_PANELS = 1, VEC_PAIRS = 8 };

static inline vec vec_zero(void)
{
    return _mm256_setzero_si256();
}
static inline vec vec_widen(const int8_t *pairs)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)pairs));
}
static inline vec vec_pair(const int16_t *pair)
{
    int32_t both;
    memcpy(&both, pair, sizeof(both));
    return _mm256_set1_epi32(both);
}
static inline vec vec_madd(vec a, vec b)
{
    return _mm256_madd_epi16(a, b);
}
static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_epi32(a, b);
}
static inline void vec_store(int32_t *p, vec x)
{
    _mm256_storeu_si256((__m256i *)p, x);
}

#include "int8_dot_template.h"

const struct int8_path int8_path_avx2 = {"avx2", PATH_ROWS, PATH_PANELS, tile};
