/*
 * kernel_avx2.c - the path for x86-64-v3: tiles of 6 x 16 (fp32), 6 x 8 (bf16) and 5 x 16
 * (bf16-dot) in 16 registers of 8 floats.
 *
 * fp32: 12 sums, two vectors of weights, one or two broadcasts. bf16: an even and an odd
 * sum for each of 6 rows, the widened even and odd weights, two broadcasts: all 16.
 * bf16-dot: 10 sums, four vectors of widened weights, a broadcast.
 */
#include "backend/lanes_avx2.h"
#include "backend/scan_gradient_template.h"

typedef __m256 vec;
enum {
    VEC_LANES = 8,
    FP32_ROWS = 6,
    FP32_VECS = 2,
    BF16_ROWS = 6,
    BF16_VECS = 1,
    BF16_VEC_STEP = 0
};
#define EACH_BF16_HEIGHT(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define EACH_FP32_HEIGHT(X) EACH_BF16_HEIGHT(X)

static inline vec vec_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
}
static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void vec_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}
static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec vec_even(const uint16_t *pairs)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)pairs), 16));
}
static inline vec vec_odd(const uint16_t *pairs)
{
    __m256i both = _mm256_loadu_si256((const __m256i *)pairs);
    return _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000)));
}

#include "backend/product_template.h"

/* bf16-dot as VDPBF16PS makes it, by fma: MXCSR flushes what the instruction does. */
typedef float dot_value;
typedef struct {
    vec even, odd;
} dot_weights;
enum { DOT_ROWS = 5, DOT_VECS = 2 };
#define EACH_DOT_HEIGHT(X) X(1) X(2) X(3) X(4) X(5)

static inline dot_weights dot_load(const uint16_t *pairs)
{
    return (dot_weights){vec_even(pairs), vec_odd(pairs)};
}
static inline vec dot_add(vec sum, const dot_value *x, dot_weights w)
{
    return vec_fma(vec_set1(x[0]), w.even, vec_fma(vec_set1(x[1]), w.odd, sum));
}

#include "backend/dot_template.h"

static const struct ucb_products products_fp32 = UCB_PRODUCTS_FP32,
                                 products_bf16 = UCB_PRODUCTS_BF16,
                                 products_dot = UCB_PRODUCTS_DOT(pack_row_bf16);

const struct ucb_kernel_table ucb_kernel_table_avx2 = {
    .kernel = UCB_KERNEL_AVX2,
    .products = {[UCB_ARITH_FP32] = &products_fp32,
                 [UCB_ARITH_BF16] = &products_bf16,
                 [UCB_ARITH_BF16_DOT] = &products_dot},
    UCB_KERNEL_FUNCTIONS,
};
