/*
 * moment_template.h - the block of collector_internal.h as register tiles, for any vector
 * width.
 *
 * Before including it, a file defines the type `vec` (VEC_LANES doubles), vec_set1(p) (*p
 * in every lane), vec_load(p), vec_store(p, v), vec_fma(a, b, c) = a b + c, the tile
 * TILE_ROWS x TILE_VECS whose sums fit the registers, and BLOCK, the function's name.
 */
#ifndef UCB_EVAL_MOMENT_TEMPLATE_H
#define UCB_EVAL_MOMENT_TEMPLATE_H

#include "eval/collector_internal.h"

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { TILE_COLUMNS = TILE_VECS * VEC_LANES, LINE = 64 / sizeof(double) };
_Static_assert(UCB_MOMENT_PANEL % TILE_ROWS == 0, "tiles fill a panel");
_Static_assert(UCB_MOMENT_PANEL % TILE_COLUMNS == 0, "tiles fill a panel");

static void add_tile(const double *a, const double *b, size_t n_rows, double *sum,
                     size_t stride)
{
    vec s[TILE_ROWS][TILE_VECS];
    UNROLL for (int i = 0; i < TILE_ROWS; i++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        s[i][v] = vec_load(sum + i * stride + v * VEC_LANES);
    for (size_t row = 0; row < n_rows;
         row++, a += UCB_MOMENT_PANEL, b += UCB_MOMENT_PANEL) {
        vec y[TILE_VECS];
        UNROLL for (int v = 0; v < TILE_VECS; v++) y[v] = vec_load(b + v * VEC_LANES);
        UNROLL for (int i = 0; i < TILE_ROWS; i++)
        {
            vec x = vec_set1(a + i);
            UNROLL for (int v = 0; v < TILE_VECS; v++) s[i][v] = vec_fma(x, y[v], s[i][v]);
        }
    }
    UNROLL for (int i = 0; i < TILE_ROWS; i++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        vec_store(sum + i * stride + v * VEC_LANES, s[i][v]);
}

void BLOCK(const double *a, const double *b, size_t n_rows, double *sum, size_t stride)
{
    /* The sums come from afar: those of the later tiles while the first one runs. */
    for (int i = TILE_ROWS; i < UCB_MOMENT_PANEL; i++)
        for (int j = 0; j <= UCB_MOMENT_PANEL - LINE; j += LINE)
            __builtin_prefetch(sum + i * stride + j, 1);
    for (int i = 0; i < UCB_MOMENT_PANEL; i += TILE_ROWS)
        for (int j = 0; j < UCB_MOMENT_PANEL; j += TILE_COLUMNS)
            add_tile(a + i, b + j, n_rows, sum + i * stride + j, stride);
}

#endif
