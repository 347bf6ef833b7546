/*
 * kernel_avx512.c - the path for x86-64-v4: tiles of 14 x 32 (fp32), 6 x 32 (bf16) and
 * 12 x 32 (bf16-dot) in 32 registers of 16 floats.
 *
 * fp32: 28 sums, two vectors of weights, one broadcast activation. bf16: an even and an odd
 * sum for each of 12 vectors, four vectors of widened weights, two broadcasts.
 * bf16-dot: 24 sums, four vectors of widened weights, a broadcast; kernel_avx512bf16.c has
 * the instruction that this makes by fma.
 */
#include "backend/lanes_avx512.h"
#include "backend/scan_gradient_template.h"

typedef __m512 vec;
enum {
    VEC_LANES = 16,
    FP32_ROWS = 14,
    FP32_VECS = 2,
    BF16_ROWS = 6,
    BF16_VECS = 2,
    BF16_VEC_STEP = 16 * 32
};
#define EACH_BF16_HEIGHT(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define EACH_FP32_HEIGHT(X) EACH_BF16_HEIGHT(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

static inline vec vec_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void vec_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}
static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_even(const uint16_t *pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(pairs), 16));
}
static inline vec vec_odd(const uint16_t *pairs)
{
    return _mm512_castsi512_ps(
        _mm512_and_epi32(_mm512_loadu_si512(pairs), _mm512_set1_epi32((int)0xffff0000)));
}

#include "backend/product_template.h"

/* bf16-dot as VDPBF16PS makes it, by fma: MXCSR flushes what the instruction does. */
typedef float dot_value;
typedef struct {
    vec even, odd;
} dot_weights;
enum { DOT_ROWS = 12, DOT_VECS = 2 };
#define EACH_DOT_HEIGHT(X) EACH_BF16_HEIGHT(X) X(7) X(8) X(9) X(10) X(11) X(12)

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

const struct ucb_kernel_table ucb_kernel_table_avx512 = {
    .kernel = UCB_KERNEL_AVX512,
    .products = {[UCB_ARITH_FP32] = &products_fp32,
                 [UCB_ARITH_BF16] = &products_bf16,
                 [UCB_ARITH_BF16_DOT] = &products_dot},
    UCB_KERNEL_FUNCTIONS,
};
