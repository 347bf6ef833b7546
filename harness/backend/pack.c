/*
 * pack.c - weights into panels, activations into slabs (layouts: backend_internal.h).
 *
 * A panel is filled source row by source row in blocks of 32 k: the reads are consecutive,
 * and the 2-4 KB that are written stay in the first cache, whatever power of two lies
 * between the rows of the source.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <string.h>

#include "backend/cuda_internal.h"
#include "core/arena.h"
#include "core/clones.h"
#include "core/half.h"

enum { HALF_COLUMNS = 16, BLOCK_VALUES = UCB_BLOCK * UCB_PANEL };

size_t ucb_panel_bytes(enum ucb_arithmetic arithmetic, size_t n_in)
{
    return ucb_round_up(n_in, UCB_BLOCK) * UCB_PANEL *
           (ucb_panels_are_bf16(arithmetic) ? 2 : 4);
}

size_t ucb_slab_bytes(size_t n_rows, size_t n_in)
{
    return ucb_n_units(n_in, UCB_CHUNK) * ucb_round_up(n_rows, UCB_SLAB_ROWS) *
           UCB_ROW_PITCH;
}

struct ucb_slab ucb_slab_place(unsigned char *data, size_t n_rows)
{
    return (struct ucb_slab){data, ucb_round_up(n_rows, UCB_SLAB_ROWS) * UCB_ROW_PITCH};
}

/* ---- whole blocks of rows: 16 x 16 transposes ---- */

typedef uint32_t word16 __attribute__((vector_size(64), aligned(4), may_alias));
#define ALWAYS static inline __attribute__((always_inline))

/* Element i of a, element i of b, for i of the lower or the upper half. */
ALWAYS word16 zip_low(word16 a, word16 b)
{
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7,
                                   23);
}

ALWAYS word16 zip_high(word16 a, word16 b)
{
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
                                   30, 15, 31);
}

/* Zipping row i with row i + 8 four times moves element (i, j) to (j, i). */
ALWAYS void transpose(word16 *rows)
{
    for (int round = 0; round < 4; round++) {
        word16 out[16];
        for (int i = 0; i < 8; i++) {
            out[2 * i] = zip_low(rows[i], rows[i + 8]);
            out[2 * i + 1] = zip_high(rows[i], rows[i + 8]);
        }
        memcpy(rows, out, sizeof(out));
    }
}

/* ucb_bf16_from_f32() of 16 floats. */
ALWAYS word16 bf16_of(word16 u)
{
    word16 nan = (word16)((u & 0x7fffffffu) > 0x7f800000u);
    return (nan & (u >> 16 | 0x40u)) | (~nan & ((u + 0x7fffu + (u >> 16 & 1u)) >> 16));
}

ALWAYS word16 load16(const float *w)
{
    return *(const word16 *)w;
}

/* 32 columns of 32 k, which are neighbours: w[column * stride + k]. */
UCB_CLONES static void pack_rows_fp32(const float *w, size_t stride, float *block)
{
    for (int part = 0; part < 4; part++) {
        int column = part / 2 * HALF_COLUMNS, k = part % 2 * 16;
        word16 rows[16];
        for (int i = 0; i < 16; i++) rows[i] = load16(w + (column + i) * stride + k);
        transpose(rows);
        for (int i = 0; i < 16; i++)
            memcpy(block + (k + i) * UCB_PANEL + column, &rows[i], sizeof(rows[i]));
    }
}

UCB_CLONES static void pack_rows_bf16(const float *w, size_t stride, uint16_t *block)
{
    for (int half = 0; half < 2; half++) {
        word16 rows[16]; /* a column's 16 pairs of k */
        for (int i = 0; i < 16; i++) {
            const float *column = w + (half * HALF_COLUMNS + i) * stride;
            word16 low = bf16_of(load16(column)), high = bf16_of(load16(column + 16));
            word16 even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16,
                                                  18, 20, 22, 24, 26, 28, 30);
            word16 odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17,
                                                 19, 21, 23, 25, 27, 29, 31);
            rows[i] = even | odd << 16;
        }
        transpose(rows);
        memcpy(block + half * (BLOCK_VALUES / 2), rows, sizeof(rows));
    }
}

static bool is_whole(const struct ucb_source *source, uint32_t n_columns, uint32_t n_k)
{
    return n_columns == UCB_PANEL && n_k == UCB_BLOCK && source->k_stride == 1;
}

/* ---- any block ---- */

/* Of cublas: rows, filled up with zeros. */
static void pack_panel_rows(const struct ucb_source *source, uint32_t n_columns,
                            uint32_t n_in, float *panel)
{
    size_t width = ucb_round_up(n_in, UCB_BLOCK);
    memset(panel, 0, UCB_PANEL * width * sizeof(*panel));
    for (uint32_t column = 0; column < n_columns; column++)
        for (uint32_t k = 0; k < n_in; k++)
            panel[column * width + k] =
                source->w[column * source->column_stride + k * source->k_stride];
}

static void pack_block_fp32(const struct ucb_source *source, uint32_t n_columns, uint32_t k,
                            uint32_t n_k, float *block)
{
    const float *w = source->w + k * source->k_stride;
    if (is_whole(source, n_columns, n_k)) {
        pack_rows_fp32(w, source->column_stride, block);
        return;
    }
    if (n_columns < UCB_PANEL || n_k < UCB_BLOCK)
        memset(block, 0, BLOCK_VALUES * sizeof(*block));
    if (source->column_stride == 1) {
        for (uint32_t i = 0; i < n_k; i++)
            memcpy(block + i * UCB_PANEL, w + i * source->k_stride, 4 * n_columns);
        return;
    }
    for (uint32_t column = 0; column < n_columns; column++, w += source->column_stride)
        for (uint32_t i = 0; i < n_k; i++)
            block[i * UCB_PANEL + column] = w[i * source->k_stride];
}

static void pack_block_bf16(const struct ucb_source *source, uint32_t n_columns, uint32_t k,
                            uint32_t n_k, uint16_t *block)
{
    const float *w = source->w + k * source->k_stride;
    if (is_whole(source, n_columns, n_k)) {
        pack_rows_bf16(w, source->column_stride, block);
        return;
    }
    if (n_columns < UCB_PANEL || n_k < UCB_BLOCK)
        memset(block, 0, BLOCK_VALUES * sizeof(*block));
    for (uint32_t column = 0; column < n_columns; column++, w += source->column_stride) {
        uint16_t *out = block + column / HALF_COLUMNS * (BLOCK_VALUES / 2) +
                        column % HALF_COLUMNS * 2;
        for (uint32_t i = 0; i < n_k; i++)
            out[i / 2 * UCB_PANEL + i % 2] = ucb_bf16_from_f32(w[i * source->k_stride]);
    }
}

void ucb_panel_pack(enum ucb_arithmetic arithmetic, const struct ucb_source *source,
                    uint32_t n_columns, uint32_t n_in, void *panel)
{
    assert(n_columns <= UCB_PANEL);
    if (arithmetic == UCB_ARITH_CUBLAS) {
        pack_panel_rows(source, n_columns, n_in, panel);
        return;
    }
    for (uint32_t k = 0; k < n_in; k += UCB_BLOCK) {
        uint32_t n_k = n_in - k < UCB_BLOCK ? n_in - k : UCB_BLOCK;
        if (ucb_panels_are_bf16(arithmetic)) {
            pack_block_bf16(source, n_columns, k, n_k,
                            (uint16_t *)panel + (size_t)k * UCB_PANEL);
        } else {
            pack_block_fp32(source, n_columns, k, n_k,
                            (float *)panel + (size_t)k * UCB_PANEL);
        }
    }
}

size_t ucb_pack_bytes(const struct ucb_backend *backend, uint32_t n_out, uint32_t n_in)
{
    return ucb_n_units(n_out, UCB_PANEL) * ucb_panel_bytes(backend->arithmetic, n_in);
}

struct pack_run {
    enum ucb_arithmetic arithmetic;
    const struct ucb_packed *weight;
    const float *w; /* of the first row */
    uint32_t row, n_rows;
};

static void pack_one_panel(void *context, size_t index)
{
    const struct pack_run *run = context;
    uint32_t n_in = run->weight->n_in, first = (uint32_t)index * UCB_PANEL,
             left = run->n_rows - first;
    struct ucb_source source = {run->w + (size_t)first * n_in, n_in, 1};
    size_t panel = (run->row + first) / UCB_PANEL;
    ucb_panel_pack(run->arithmetic, &source, left < UCB_PANEL ? left : UCB_PANEL, n_in,
                   (unsigned char *)run->weight->data +
                       panel * ucb_panel_bytes(run->arithmetic, n_in));
}

void ucb_pack_rows(const struct ucb_backend *backend, const float *w, uint32_t row,
                   uint32_t n_rows, const struct ucb_packed *weight)
{
    assert(row % UCB_PANEL == 0);
    assert(row + n_rows <= weight->n_out);
    assert(n_rows % UCB_PANEL == 0 || row + n_rows == weight->n_out);
    struct pack_run run = {backend->arithmetic, weight, w, row, n_rows};
    ucb_parallel_for(backend->pool, ucb_n_units(n_rows, UCB_PANEL), pack_one_panel, &run);
    size_t panel_bytes = ucb_panel_bytes(backend->arithmetic, weight->n_in);
    if (backend->cuda != NULL)
        ucb_cuda_packed(
            backend->cuda, weight, ucb_pack_bytes(backend, weight->n_out, weight->n_in),
            row / UCB_PANEL * panel_bytes, ucb_n_units(n_rows, UCB_PANEL) * panel_bytes);
}

void ucb_pack(const struct ucb_backend *backend, const float *w,
              const struct ucb_packed *weight)
{
    ucb_pack_rows(backend, w, 0, weight->n_out, weight);
}

void ucb_packed_free(const struct ucb_backend *backend, struct ucb_packed *weight)
{
    if (backend->cuda != NULL) ucb_cuda_forget(backend->cuda, weight);
    ucb_mem_free(weight->data);
    weight->data = NULL;
}

void ucb_slab_pack(const struct ucb_products *products, const float *x, size_t x_stride,
                   size_t n_rows, uint32_t n_in, const struct ucb_slab *slab)
{
    for (uint32_t k = 0; k < n_in; k += UCB_CHUNK) {
        uint32_t n_k = n_in - k < UCB_CHUNK ? n_in - k : UCB_CHUNK;
        for (size_t row = 0; row < n_rows; row++)
            products->pack_row(x + row * x_stride + k, n_k,
                               ucb_slab_at(slab, k / UCB_CHUNK, row));
    }
}
