/*
 * kernel_amx.c - the path for CPUs with AMX-BF16: 32 x 32 sums in four tile registers, two
 * for rows, two for columns.
 *
 * TDPBF16PS defines the bf16 arithmetic: for each element an even and an odd fma chain over
 * 32 k, their sum added to the total, subnormals read as and flushed to zero whatever MXCSR
 * says; so this path sets none. Everything outside the products is the AVX-512 code. Rows
 * past the last are multiplied too (a slab has room for them) and not stored.
 */
#include "backend/lanes_avx512.h"
#include "backend/scan_gradient_template.h"

#include "backend/amx_tile.h"
#include "backend/narrow_template.h"

enum {
    HALF_BYTES = UCB_BLOCK * UCB_PANEL,
    BLOCK_BYTES = 2 * HALF_BYTES,
    PAIR_ROWS = 2 * TILE_ROWS
};
_Static_assert((int)UCB_BLOCK * 2 == (int)TILE_ROW_BYTES,
               "a block of k is one row of a tile");
_Static_assert((int)UCB_SLAB_ROWS % (int)PAIR_ROWS == 0, "a slab has room for whole tiles");

/* Sums of 16 or 32 rows from `row` on: tiles 0 1 (and 2 3 below them) += rows 4 (5) times
 * columns 6 7. */
static void sum_16_rows(const struct ucb_slab *slab, size_t row, uint32_t n_in,
                        const unsigned char *panel)
{
    for (uint32_t k = 0; k < n_in; k += UCB_BLOCK, panel += BLOCK_BYTES) {
        const unsigned char *x = ucb_slab_at(slab, k / UCB_CHUNK, row) + k % UCB_CHUNK * 2;
        TILE_LOAD(4, x, UCB_ROW_PITCH);
        TILE_LOAD(6, panel, TILE_ROW_BYTES);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(7, panel + HALF_BYTES, TILE_ROW_BYTES);
        TILE_DOT(1, 4, 7);
    }
}

static void sum_32_rows(const struct ucb_slab *slab, size_t row, uint32_t n_in,
                        const unsigned char *panel)
{
    for (uint32_t k = 0; k < n_in; k += UCB_BLOCK, panel += BLOCK_BYTES) {
        const unsigned char *x = ucb_slab_at(slab, k / UCB_CHUNK, row) + k % UCB_CHUNK * 2;
        TILE_LOAD(4, x, UCB_ROW_PITCH);
        TILE_LOAD(6, panel, TILE_ROW_BYTES);
        TILE_DOT(0, 4, 6);
        TILE_LOAD(7, panel + HALF_BYTES, TILE_ROW_BYTES);
        TILE_DOT(1, 4, 7);
        TILE_LOAD(5, x + TILE_ROWS * UCB_ROW_PITCH, UCB_ROW_PITCH);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
}

static void store_32_rows(float *y, size_t y_stride)
{
    size_t stride_bytes = y_stride * sizeof(*y);
    TILE_STORE(0, y, stride_bytes);
    TILE_STORE(1, y + UCB_PANEL / 2, stride_bytes);
    TILE_STORE(2, y + TILE_ROWS * y_stride, stride_bytes);
    TILE_STORE(3, y + TILE_ROWS * y_stride + UCB_PANEL / 2, stride_bytes);
}

static void multiply_bf16(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                          const void *panel, float *y, size_t y_stride)
{
    for (uint32_t row = 0; row < n_rows; row += PAIR_ROWS) {
        uint32_t left = n_rows - row;
        float aside[PAIR_ROWS * UCB_PANEL] __attribute__((aligned(64))),
            *out = y + row * y_stride;
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
        if (left > TILE_ROWS) {
            sum_32_rows(slab, row, n_in, panel);
        } else {
            sum_16_rows(slab, row, n_in, panel);
        }
        if (left >= PAIR_ROWS) {
            store_32_rows(out, y_stride);
            continue;
        }
        store_32_rows(aside, UCB_PANEL);
        for (uint32_t i = 0; i < left; i++)
            memcpy(out + i * y_stride, aside + i * UCB_PANEL, UCB_PANEL * sizeof(*out));
    }
}

static uint32_t begin_tiles(void)
{
    tiles_begin();
    return 0;
}

static void end_tiles(uint32_t state)
{
    (void)state;
    tiles_end();
}

static const struct ucb_products products_bf16 = {
    .tile_rows = PAIR_ROWS,
    .row_bytes = UCB_CHUNK * sizeof(uint16_t),
    .begin = begin_tiles,
    .end = end_tiles,
    .pack_row = pack_row_narrow,
    .multiply = multiply_bf16,
};

#ifndef UCB_AMX_MODELLED
#define TABLE_NAME ucb_kernel_table_amx
#else
#define TABLE_NAME ucb_kernel_table_amx_modelled
#endif
const struct ucb_kernel_table TABLE_NAME = {
    .kernel = UCB_KERNEL_AMX,
    .products = {[UCB_ARITH_BF16] = &products_bf16},
    UCB_KERNEL_FUNCTIONS,
};
