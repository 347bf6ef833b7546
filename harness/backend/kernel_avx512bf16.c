/*
 * kernel_avx512bf16.c - bf16-dot on the path avx512, where the CPU has AVX512-BF16: tiles
 * of 14 x 32 in 32 registers of 16 floats.
 *
 * VDPBF16PS defines that arithmetic: for each lane the odd, then the even product of a pair
 * is added by a fused multiply-add that rounds to nearest and takes subnormals for zero,
 * whatever MXCSR says. 28 sums, two vectors of weights, one broadcast pair of activations.
 * Everything outside the products is the AVX-512 code.
 */
#include "backend/lanes_avx512.h"
#include "backend/scan_gradient_template.h"

#include "backend/narrow_template.h"

typedef __m512 vec;
typedef uint16_t dot_value;
typedef __m512i dot_weights;
enum { VEC_LANES = 16, DOT_ROWS = 14, DOT_VECS = 2 };
#define EACH_DOT_HEIGHT(X) \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)

static inline vec vec_zero(void)
{
    return _mm512_setzero_ps();
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
static inline dot_weights dot_load(const uint16_t *pairs)
{
    return _mm512_loadu_si512(pairs);
}
static inline vec dot_add(vec sum, const dot_value *x, dot_weights w)
{
    uint32_t pair;
    memcpy(&pair, x, sizeof(pair));
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)pair), (__m512bh)w);
}

#include "backend/dot_template.h"

static const struct ucb_products products_dot = UCB_PRODUCTS_DOT(pack_row_narrow);

const struct ucb_kernel_table ucb_kernel_table_avx512bf16 = {
    .kernel = UCB_KERNEL_AVX512,
    .products = {[UCB_ARITH_BF16_DOT] = &products_dot},
    UCB_KERNEL_FUNCTIONS,
};
