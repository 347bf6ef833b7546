/*
 * dot_template.h - register tiles of bf16-dot, for any vector width.
 *
 * Before including it, a kernel file defines `vec`, VEC_LANES, vec_zero, vec_load,
 * vec_store and vec_add as for product_template.h, and:
 *
 * - dot_value: a value of a row of the slab
 * - dot_weights: pairs of VEC_LANES columns; dot_load(p) reads them
 * - dot_add(t, x, w): t, plus the odd, then the even product of the pair x[0], x[1]
 * - DOT_ROWS x DOT_VECS, EACH_DOT_HEIGHT(X): the tile
 */
#ifndef UCB_BACKEND_DOT_TEMPLATE_H
#define UCB_BACKEND_DOT_TEMPLATE_H

#include "backend/register_tile.h"

enum { DOT_PITCH = UCB_ROW_PITCH / sizeof(dot_value) };

/* One chunk: chains from +0; y = their sums in the first chunk, y + sums after. w: the
 * pairs of VEC_LANES columns. */
INLINE void tile_dot(const dot_value *x, uint32_t n_k, const uint16_t *w, float *y,
                     size_t y_stride, bool first, const int rows)
{
    vec sum[DOT_ROWS][DOT_VECS];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < DOT_VECS; v++)
        sum[i][v] = vec_zero();
    for (uint32_t block = 0; block < n_k;
         block += UCB_BLOCK, x += UCB_BLOCK, w += UCB_BLOCK * UCB_PANEL)
        for (int pair = 0; pair < UCB_BLOCK / 2; pair++) {
            dot_weights pairs[DOT_VECS];
            UNROLL for (int v = 0; v < DOT_VECS; v++)
                pairs[v] = dot_load(w + pair * UCB_PANEL + pairs_at(v * VEC_LANES));
            UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < DOT_VECS; v++)
                sum[i][v] = dot_add(sum[i][v], x + i * DOT_PITCH + 2 * pair, pairs[v]);
        }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int v = 0; v < DOT_VECS; v++)
    {
        float *out = y + i * y_stride + v * VEC_LANES;
        vec_store(out, first ? sum[i][v] : vec_add(vec_load(out), sum[i][v]));
    }
}

#define DOT_TILE(height)                                                               \
    static void tile_dot_##height(const dot_value *x, uint32_t n_k, const uint16_t *w, \
                                  float *y, size_t y_stride, bool first)               \
    {                                                                                  \
        tile_dot(x, n_k, w, y, y_stride, first, height);                               \
    }
EACH_DOT_HEIGHT(DOT_TILE)

#define DOT_TILE_NAME(height) tile_dot_##height,
typedef void dot_tile(const dot_value *x, uint32_t n_k, const uint16_t *w, float *y,
                      size_t y_stride, bool first);
static dot_tile *const dot_tiles[] = {NULL, EACH_DOT_HEIGHT(DOT_TILE_NAME)};

static void multiply_chunk_dot(const struct ucb_slab *slab, size_t chunk, uint32_t n_rows,
                               uint32_t n_k, const uint16_t *w, float *y, size_t y_stride)
{
    size_t n_tiles = ucb_n_units(n_rows, DOT_ROWS);
    for (size_t tile = 0; tile < n_tiles; tile++) {
        size_t row = ucb_part_start(n_rows, n_tiles, tile),
               end = ucb_part_start(n_rows, n_tiles, tile + 1);
        dot_tiles[end - row]((const dot_value *)ucb_slab_at(slab, chunk, row), n_k, w,
                             y + row * y_stride, y_stride, chunk == 0);
    }
}

static void multiply_dot(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                         const void *panel, float *y, size_t y_stride)
{
    for (uint32_t k = 0; k < n_in; k += UCB_CHUNK) {
        uint32_t n_k = n_in - k < UCB_CHUNK ? n_in - k : UCB_CHUNK;
        const uint16_t *w = (const uint16_t *)panel + (size_t)k * UCB_PANEL;
        for (uint32_t column = 0; column < UCB_PANEL; column += DOT_VECS * VEC_LANES)
            multiply_chunk_dot(slab, k / UCB_CHUNK, n_rows, n_k, w + pairs_at(column),
                               y + column, y_stride);
    }
}

/* The sums of chunks are added by additions that flush; the instruction needs no state. */
#define UCB_PRODUCTS_DOT(pack)                                                  \
    {                                                                           \
        .tile_rows = DOT_ROWS, .row_bytes = UCB_CHUNK * sizeof(dot_value),      \
        .begin = ucb_begin_flushing, .end = ucb_end_flushing, .pack_row = pack, \
        .multiply = multiply_dot                                                \
    }

#endif
