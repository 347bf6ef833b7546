/*
 * kernel_scalar.c - the path for every x86-64: plain C, the reference that the other paths
 * equal to the bit.
 *
 * The arithmetic is made of fused multiply-adds, which x86-64-v2 lacks. libm's fmaf is
 * exact but a call for each; so the loops are compiled a second time for CPUs with the
 * instruction, and chosen when a product starts.
 */
#include <math.h>
#include <string.h>

#include "backend/lanes_scalar.h"
#include "backend/scan_gradient_template.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void dot_chunk_fp32(const float *x, uint32_t n_k, const float *w, float *y,
                           bool first)
{
    float sum[UCB_PANEL] = {0};
    for (uint32_t k = 0; k < n_k; k++, w += UCB_PANEL)
        for (int column = 0; column < UCB_PANEL; column++)
            sum[column] = __builtin_fmaf(x[k], w[column], sum[column]);
    for (int column = 0; column < UCB_PANEL; column++)
        y[column] = first ? sum[column] : y[column] + sum[column];
}

/* Sixteen columns of a block; a word holds the pair of a column, the even k in its low
 * half. */
INLINE void dot_half_bf16(const float *x, const unsigned char *pairs, float *y)
{
    enum { COLUMNS = UCB_PANEL / 2 };
    float even[COLUMNS] = {0}, odd[COLUMNS] = {0};
    for (int pair = 0; pair < UCB_BLOCK / 2; pair++, pairs += COLUMNS * sizeof(uint32_t)) {
        uint32_t both[COLUMNS];
        memcpy(both, pairs, sizeof(both));
        for (int column = 0; column < COLUMNS; column++) {
            float w_even = ucb_f32_from_bits(both[column] << 16),
                  w_odd = ucb_f32_from_bits(both[column] & 0xffff0000u);
            even[column] = __builtin_fmaf(x[2 * pair], w_even, even[column]);
            odd[column] = __builtin_fmaf(x[2 * pair + 1], w_odd, odd[column]);
        }
    }
    for (int column = 0; column < COLUMNS; column++)
        y[column] = y[column] + (even[column] + odd[column]);
}

INLINE void dot_chunk_bf16(const float *x, uint32_t n_k, const unsigned char *w, float *y,
                           bool first)
{
    enum { HALF_BYTES = UCB_BLOCK * UCB_PANEL };
    if (first) memset(y, 0, UCB_PANEL * sizeof(*y));
    for (uint32_t k = 0; k < n_k; k += UCB_BLOCK, w += 2 * HALF_BYTES) {
        dot_half_bf16(x + k, w, y);
        dot_half_bf16(x + k, w + HALF_BYTES, y + UCB_PANEL / 2);
    }
}

/* Sixteen columns of a block: the odd product of each pair, then the even one. */
INLINE void dot_half_pairs(const float *x, const unsigned char *pairs, float *sum)
{
    enum { COLUMNS = UCB_PANEL / 2 };
    for (int pair = 0; pair < UCB_BLOCK / 2; pair++, pairs += COLUMNS * sizeof(uint32_t)) {
        uint32_t both[COLUMNS];
        memcpy(both, pairs, sizeof(both));
        for (int column = 0; column < COLUMNS; column++) {
            float w_even = ucb_f32_from_bits(both[column] << 16),
                  w_odd = ucb_f32_from_bits(both[column] & 0xffff0000u);
            sum[column] = __builtin_fmaf(x[2 * pair + 1], w_odd, sum[column]);
            sum[column] = __builtin_fmaf(x[2 * pair], w_even, sum[column]);
        }
    }
}

INLINE void dot_chunk_pairs(const float *x, uint32_t n_k, const unsigned char *w, float *y,
                            bool first)
{
    enum { HALF_BYTES = UCB_BLOCK * UCB_PANEL };
    float sum[UCB_PANEL] = {0};
    for (uint32_t k = 0; k < n_k; k += UCB_BLOCK, w += 2 * HALF_BYTES) {
        dot_half_pairs(x + k, w, sum);
        dot_half_pairs(x + k, w + HALF_BYTES, sum + UCB_PANEL / 2);
    }
    for (int column = 0; column < UCB_PANEL; column++)
        y[column] = first ? sum[column] : y[column] + sum[column];
}

typedef void dot_chunk(const float *x, uint32_t n_k, const void *w, float *y, bool first);

static void dot_fp32_by_library(const float *x, uint32_t n_k, const void *w, float *y,
                                bool first)
{
    dot_chunk_fp32(x, n_k, w, y, first);
}
static void dot_bf16_by_library(const float *x, uint32_t n_k, const void *w, float *y,
                                bool first)
{
    dot_chunk_bf16(x, n_k, w, y, first);
}
static void dot_pairs_by_library(const float *x, uint32_t n_k, const void *w, float *y,
                                 bool first)
{
    dot_chunk_pairs(x, n_k, w, y, first);
}
__attribute__((target("fma"))) static void
dot_fp32_fused(const float *x, uint32_t n_k, const void *w, float *y, bool first)
{
    dot_chunk_fp32(x, n_k, w, y, first);
}
__attribute__((target("fma"))) static void
dot_bf16_fused(const float *x, uint32_t n_k, const void *w, float *y, bool first)
{
    dot_chunk_bf16(x, n_k, w, y, first);
}

__attribute__((target("fma"))) static void
dot_pairs_fused(const float *x, uint32_t n_k, const void *w, float *y, bool first)
{
    dot_chunk_pairs(x, n_k, w, y, first);
}

static void multiply_by(dot_chunk *dot, size_t value_bytes, const struct ucb_slab *slab,
                        uint32_t n_rows, uint32_t n_in, const void *panel, float *y,
                        size_t y_stride)
{
    for (uint32_t k = 0; k < n_in; k += UCB_CHUNK) {
        uint32_t n_k = n_in - k < UCB_CHUNK ? n_in - k : UCB_CHUNK;
        const void *w = (const unsigned char *)panel + (size_t)k * UCB_PANEL * value_bytes;
        for (uint32_t row = 0; row < n_rows; row++)
            dot((const float *)ucb_slab_at(slab, k / UCB_CHUNK, row), n_k, w,
                y + row * y_stride, k == 0);
    }
}

static void multiply_fp32(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                          const void *panel, float *y, size_t y_stride)
{
    multiply_by(ucb_cpu_has_fma() ? dot_fp32_fused : dot_fp32_by_library, sizeof(float),
                slab, n_rows, n_in, panel, y, y_stride);
}

static void multiply_bf16(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                          const void *panel, float *y, size_t y_stride)
{
    multiply_by(ucb_cpu_has_fma() ? dot_bf16_fused : dot_bf16_by_library, sizeof(uint16_t),
                slab, n_rows, n_in, panel, y, y_stride);
}

static void multiply_dot(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                         const void *panel, float *y, size_t y_stride)
{
    multiply_by(ucb_cpu_has_fma() ? dot_pairs_fused : dot_pairs_by_library,
                sizeof(uint16_t), slab, n_rows, n_in, panel, y, y_stride);
}

#define PRODUCTS(begin_, end_, pack_row_, multiply_)                             \
    {                                                                            \
        .tile_rows = 1, .row_bytes = UCB_CHUNK * sizeof(float), .begin = begin_, \
        .end = end_, .pack_row = pack_row_, .multiply = multiply_                \
    }
static const struct ucb_products products_fp32 = PRODUCTS(ucb_begin_plain, ucb_end_plain,
                                                          pack_row_fp32, multiply_fp32),
                                 products_bf16 = PRODUCTS(ucb_begin_flushing,
                                                          ucb_end_flushing, pack_row_bf16,
                                                          multiply_bf16),
                                 products_dot = PRODUCTS(ucb_begin_flushing,
                                                         ucb_end_flushing, pack_row_bf16,
                                                         multiply_dot);

const struct ucb_kernel_table ucb_kernel_table_scalar = {
    .kernel = UCB_KERNEL_SCALAR,
    .products = {[UCB_ARITH_FP32] = &products_fp32,
                 [UCB_ARITH_BF16] = &products_bf16,
                 [UCB_ARITH_BF16_DOT] = &products_dot},
    UCB_KERNEL_FUNCTIONS,
};
