/*
 * amx_tile.h - the five operations on tile registers that the amx path uses, on the
 * hardware or on a model of it.
 *
 * With UCB_AMX_MODELLED (tests only) the operations are C, written after Intel's
 * pseudo-code for TDPBF16PS: both chains by fma, every operand read with denormals as zero,
 * every result flushed when it is tiny after rounding, MXCSR ignored. All eight registers
 * are 16 rows of 64 bytes: one configuration for the life of a thread's work.
 */
#ifndef UCB_BACKEND_AMX_TILE_H
#define UCB_BACKEND_AMX_TILE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64, N_TILES = 8 };

#ifndef UCB_AMX_MODELLED

#include <immintrin.h>

struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_configuration) == 64, "LDTILECFG reads 64 bytes");

static inline void tiles_begin(void)
{
    struct tile_configuration configuration = {.palette = 1};
    for (int t = 0; t < N_TILES; t++) {
        configuration.row_bytes[t] = TILE_ROW_BYTES;
        configuration.rows[t] = TILE_ROWS;
    }
    /* gcc 12 believes that the instruction reads 8 bytes, and drops the stores to the
     * others without this. */
    __asm__ volatile("" ::"r"(&configuration) : "memory");
    _tile_loadconfig(&configuration);
}

static inline void tiles_end(void)
{
    _tile_release();
}

/* The same omission: the loads do not say which memory they read. */
#define TILE_LOAD(tile, from, stride_bytes)    \
    do {                                       \
        __asm__ volatile("" ::: "memory");     \
        _tile_loadd(tile, from, stride_bytes); \
    } while (0)
#define TILE_STORE(tile, to, stride_bytes) _tile_stored(tile, to, stride_bytes)
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_DOT(sum, rows, columns) _tile_dpbf16ps(sum, rows, columns)

#else

#include <math.h>

#include "core/half.h"

static _Thread_local unsigned char tile_data[N_TILES][TILE_ROWS][TILE_ROW_BYTES];

static inline void tiles_begin(void)
{
    memset(tile_data, 0xff,
           sizeof(tile_data)); /* NaN: a tile that is read before it is loaded shows */
}

static inline void tiles_end(void)
{
}

static inline float tile_operand(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* a b + c. Tiny means below 2^-126 when rounded to 24 bits as if exponents went on: decided
   on operands scaled by 2^64, which is exact where it matters, because a result as small as
   this has no large operand on either side of the sum. */
static inline float tile_fma(float a, float b, float c)
{
    float r = fmaf(a, b, c);
    if (fabsf(r) > 0x1p-126f || r != r) return r;
    float scaled = fmaf(a * 0x1p64f, b, c * 0x1p64f);
    return fabsf(scaled) < 0x1p-62f ? copysignf(0.0f, r) : r;
}

static inline float tile_add(float a, float b)
{
    return tile_fma(a, 1.0f, tile_operand(b));
}

static inline void tile_load(int tile, const void *from, size_t stride_bytes)
{
    for (int row = 0; row < TILE_ROWS; row++)
        memcpy(tile_data[tile][row],
               (const unsigned char *)from + (size_t)row * stride_bytes, TILE_ROW_BYTES);
}

static inline void tile_store(int tile, void *to, size_t stride_bytes)
{
    for (int row = 0; row < TILE_ROWS; row++)
        memcpy((unsigned char *)to + (size_t)row * stride_bytes, tile_data[tile][row],
               TILE_ROW_BYTES);
}

static inline float tile_half(int tile, int row, int index)
{
    uint16_t half;
    memcpy(&half, tile_data[tile][row] + 2 * index, sizeof(half));
    return tile_operand(ucb_bf16_widen(half));
}

static inline void tile_dot_element(int sum, int rows, int columns, int m, int n)
{
    float even = 0.0f, odd = 0.0f, total;
    for (int k = 0; k < TILE_ROWS; k++) {
        even = tile_fma(tile_half(rows, m, 2 * k), tile_half(columns, k, 2 * n), even);
        odd = tile_fma(tile_half(rows, m, 2 * k + 1), tile_half(columns, k, 2 * n + 1),
                       odd);
    }
    memcpy(&total, tile_data[sum][m] + 4 * n, sizeof(total));
    total = tile_add(tile_operand(total), tile_add(even, odd));
    memcpy(tile_data[sum][m] + 4 * n, &total, sizeof(total));
}

static inline void tile_dot(int sum, int rows, int columns)
{
    for (int m = 0; m < TILE_ROWS; m++)
        for (int n = 0; n < TILE_ROW_BYTES / 4; n++)
            tile_dot_element(sum, rows, columns, m, n);
}

#define TILE_LOAD(tile, from, stride_bytes) tile_load(tile, from, stride_bytes)
#define TILE_STORE(tile, to, stride_bytes) tile_store(tile, to, stride_bytes)
#define TILE_ZERO(tile) memset(tile_data[tile], 0, sizeof(tile_data[tile]))
#define TILE_DOT(sum, rows, columns) tile_dot(sum, rows, columns)

#endif
#endif
