/*
 * product_template.h - register tiles of fp32 and bf16, for any vector width.
 *
 * Before including it, a kernel file defines the type `vec` (VEC_LANES floats), inline
 * functions, and the tiles:
 *
 * - vec_zero(), vec_set1(f), vec_load(p), vec_store(p, v), vec_add(a, b)
 * - vec_fma(a, b, c): a b + c
 * - vec_even(p), vec_odd(p): the even, the odd halves of VEC_LANES pairs of bf16, as floats
 * - FP32_ROWS x FP32_VECS and BF16_ROWS x BF16_VECS: the tile; its sums must fit the
 *   registers (bf16 needs two each)
 * - EACH_FP32_HEIGHT(X), EACH_BF16_HEIGHT(X): X(1) X(2) ... X(rows)
 *
 * A tile of every height is compiled, and rows are cut evenly (512 as 14, 14, ..., 13
 * rather than 14, ..., 14, 8).
 */
#ifndef UCB_BACKEND_PRODUCT_TEMPLATE_H
#define UCB_BACKEND_PRODUCT_TEMPLATE_H

#include <stdint.h>

#include "backend/register_tile.h"

/* One chunk of n_k <= 256: sums = fma chains from +0; y = sums in the first chunk, y + sums
 * after. */
INLINE void tile_fp32(const float *x, uint32_t n_k, const float *w, float *y,
                      size_t y_stride, bool first, const int rows)
{
    vec sum[FP32_ROWS][FP32_VECS];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < FP32_VECS; v++)
        sum[i][v] = vec_zero();
    for (size_t k = 0; k < n_k; k++, w += UCB_PANEL) {
        vec b[FP32_VECS];
        UNROLL for (int v = 0; v < FP32_VECS; v++) b[v] = vec_load(w + v * VEC_LANES);
        UNROLL for (int i = 0; i < rows; i++)
        {
            vec a = vec_set1(x[i * UCB_ROW_FLOATS + k]);
            UNROLL for (int v = 0; v < FP32_VECS; v++)
                sum[i][v] = vec_fma(a, b[v], sum[i][v]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < FP32_VECS; v++)
    {
        float *out = y + i * y_stride + v * VEC_LANES;
        vec_store(out, first ? sum[i][v] : vec_add(vec_load(out), sum[i][v]));
    }
}

/* One chunk: for each 32 k, total += (chain over even k + chain over odd k). w: the pairs
 * of VEC_LANES columns. */
INLINE void tile_bf16(const float *x, uint32_t n_k, const uint16_t *w, float *y,
                      size_t y_stride, bool first, const int rows)
{
    vec total[BF16_ROWS][BF16_VECS];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < BF16_VECS; v++)
        total[i][v] = first ? vec_zero() : vec_load(y + i * y_stride + v * VEC_LANES);
    for (uint32_t block = 0; block < n_k;
         block += UCB_BLOCK, x += UCB_BLOCK, w += UCB_BLOCK * UCB_PANEL) {
        vec even[BF16_ROWS][BF16_VECS], odd[BF16_ROWS][BF16_VECS];
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < BF16_VECS; v++)
            even[i][v] = odd[i][v] = vec_zero();
        for (int pair = 0; pair < UCB_BLOCK / 2; pair++) {
            vec w_even[BF16_VECS], w_odd[BF16_VECS];
            UNROLL for (int v = 0; v < BF16_VECS; v++)
            {
                const uint16_t *pairs = w + pair * UCB_PANEL + v * BF16_VEC_STEP;
                w_even[v] = vec_even(pairs);
                w_odd[v] = vec_odd(pairs);
            }
            UNROLL for (int i = 0; i < rows; i++)
            {
                vec a = vec_set1(x[i * UCB_ROW_FLOATS + 2 * pair]),
                    b = vec_set1(x[i * UCB_ROW_FLOATS + 2 * pair + 1]);
                UNROLL for (int v = 0; v < BF16_VECS; v++)
                    even[i][v] = vec_fma(a, w_even[v], even[i][v]);
                UNROLL for (int v = 0; v < BF16_VECS; v++)
                    odd[i][v] = vec_fma(b, w_odd[v], odd[i][v]);
            }
        }
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < BF16_VECS; v++)
            total[i][v] = vec_add(total[i][v], vec_add(even[i][v], odd[i][v]));
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < BF16_VECS; v++)
        vec_store(y + i * y_stride + v * VEC_LANES, total[i][v]);
}

#define FP32_TILE(height)                                                                  \
    static void tile_fp32_##height(const float *x, uint32_t n_k, const float *w, float *y, \
                                   size_t y_stride, bool first)                            \
    {                                                                                      \
        tile_fp32(x, n_k, w, y, y_stride, first, height);                                  \
    }
#define BF16_TILE(height)                                                           \
    static void tile_bf16_##height(const float *x, uint32_t n_k, const uint16_t *w, \
                                   float *y, size_t y_stride, bool first)           \
    {                                                                               \
        tile_bf16(x, n_k, w, y, y_stride, first, height);                           \
    }
EACH_FP32_HEIGHT(FP32_TILE)
EACH_BF16_HEIGHT(BF16_TILE)

#define FP32_TILE_NAME(height) tile_fp32_##height,
#define BF16_TILE_NAME(height) tile_bf16_##height,
typedef void fp32_tile(const float *x, uint32_t n_k, const float *w, float *y,
                       size_t y_stride, bool first);
typedef void bf16_tile(const float *x, uint32_t n_k, const uint16_t *w, float *y,
                       size_t y_stride, bool first);
static fp32_tile *const fp32_tiles[] = {NULL, EACH_FP32_HEIGHT(FP32_TILE_NAME)};
static bf16_tile *const bf16_tiles[] = {NULL, EACH_BF16_HEIGHT(BF16_TILE_NAME)};

/* Columns [column, column + FP32_VECS * VEC_LANES) of one chunk, all rows. */
static void multiply_chunk_fp32(const struct ucb_slab *slab, size_t chunk, uint32_t n_rows,
                                uint32_t n_k, const float *w, float *y, size_t y_stride)
{
    size_t n_tiles = ucb_n_units(n_rows, FP32_ROWS);
    for (size_t tile = 0; tile < n_tiles; tile++) {
        size_t row = ucb_part_start(n_rows, n_tiles, tile),
               end = ucb_part_start(n_rows, n_tiles, tile + 1);
        fp32_tiles[end - row]((const float *)ucb_slab_at(slab, chunk, row), n_k, w,
                              y + row * y_stride, y_stride, chunk == 0);
    }
}

static void multiply_fp32(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                          const void *panel, float *y, size_t y_stride)
{
    for (uint32_t k = 0; k < n_in; k += UCB_CHUNK) {
        uint32_t n_k = n_in - k < UCB_CHUNK ? n_in - k : UCB_CHUNK;
        const float *w = (const float *)panel + (size_t)k * UCB_PANEL;
        for (uint32_t column = 0; column < UCB_PANEL; column += FP32_VECS * VEC_LANES)
            multiply_chunk_fp32(slab, k / UCB_CHUNK, n_rows, n_k, w + column, y + column,
                                y_stride);
    }
}

static void multiply_chunk_bf16(const struct ucb_slab *slab, size_t chunk, uint32_t n_rows,
                                uint32_t n_k, const uint16_t *w, float *y, size_t y_stride)
{
    size_t n_tiles = ucb_n_units(n_rows, BF16_ROWS);
    for (size_t tile = 0; tile < n_tiles; tile++) {
        size_t row = ucb_part_start(n_rows, n_tiles, tile),
               end = ucb_part_start(n_rows, n_tiles, tile + 1);
        bf16_tiles[end - row]((const float *)ucb_slab_at(slab, chunk, row), n_k, w,
                              y + row * y_stride, y_stride, chunk == 0);
    }
}

static void multiply_bf16(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                          const void *panel, float *y, size_t y_stride)
{
    for (uint32_t k = 0; k < n_in; k += UCB_CHUNK) {
        uint32_t n_k = n_in - k < UCB_CHUNK ? n_in - k : UCB_CHUNK;
        const uint16_t *w = (const uint16_t *)panel + (size_t)k * UCB_PANEL;
        for (uint32_t column = 0; column < UCB_PANEL; column += BF16_VECS * VEC_LANES)
            multiply_chunk_bf16(slab, k / UCB_CHUNK, n_rows, n_k, w + pairs_at(column),
                                y + column, y_stride);
    }
}

#define UCB_PRODUCTS_FP32                                                          \
    {                                                                              \
        .tile_rows = FP32_ROWS, .row_bytes = UCB_CHUNK * sizeof(float),            \
        .begin = ucb_begin_plain, .end = ucb_end_plain, .pack_row = pack_row_fp32, \
        .multiply = multiply_fp32                                                  \
    }
#define UCB_PRODUCTS_BF16                                                                \
    {                                                                                    \
        .tile_rows = BF16_ROWS, .row_bytes = UCB_CHUNK * sizeof(float),                  \
        .begin = ucb_begin_flushing, .end = ucb_end_flushing, .pack_row = pack_row_bf16, \
        .multiply = multiply_bf16                                                        \
    }

#endif
