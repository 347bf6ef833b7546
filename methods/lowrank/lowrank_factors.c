/*
 * lowrank_factors.c - what is done with u and v in fp32: adding u v to weights, and the
 * gradients of both. Every sum has one order, whatever the pool and the instruction set.
 */
#include <string.h>

#include "core/clones.h"
#include "lowrank.h"
#include "method/lanes.h"

enum { PIECE = 4 * UCB_LANES, TILE = 4, ITEM_ROWS = 16 };

/* ---- acc += u v ---- */

/* Up to PIECE columns of one row. */
UCB_LANES_INLINE void add_piece(const float *u, size_t rank, const float *v, size_t n_in,
                                size_t n, float *acc)
{
    ucb_f32x16 sum[4] = {{0}};
    for (size_t j = 0; j < rank; j++, v += n_in)
        for (size_t k = 0; k < 4 && k * UCB_LANES < n; k++)
            sum[k] += ucb_lanes_all(u[j]) *
                      ucb_lanes_load_some(v + k * UCB_LANES, n - k * UCB_LANES);
    for (size_t k = 0; k < 4 && k * UCB_LANES < n; k++) {
        float *to = acc + k * UCB_LANES;
        size_t left = n - k * UCB_LANES;
        ucb_lanes_store_some(to, ucb_lanes_load_some(to, left) + sum[k], left);
    }
}

UCB_LANES_INLINE void add_whole(const float *u, size_t rank, const float *v, size_t n_in,
                                float *acc)
{
    ucb_f32x16 sum[4] = {{0}};
    for (size_t j = 0; j < rank; j++, v += n_in) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            sum[k] += ucb_lanes_all(u[j]) * ucb_lanes_load(v + k * UCB_LANES);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        ucb_lanes_store(acc + k * UCB_LANES, ucb_lanes_load(acc + k * UCB_LANES) + sum[k]);
}

UCB_CLONES static void add_rows(const float *u, size_t rank, const float *v, size_t n_in,
                                size_t n_rows, float *acc)
{
    for (size_t i = 0; i < n_in; i += PIECE)
        for (size_t row = 0; row < n_rows; row++) {
            float *to = acc + row * n_in + i;
            if (i + PIECE <= n_in)
                add_whole(u + row * rank, rank, v + i, n_in, to);
            else
                add_piece(u + row * rank, rank, v + i, n_in, n_in - i, to);
        }
}

void lowrank_add(const struct lowrank_layout *l, const float *u, const float *v,
                 uint32_t row, uint32_t n, float *acc)
{
    add_rows(u + row * l->rank, l->rank, v, l->n_in, n, acc);
}

/* ---- gradients ---- */

struct pull_run {
    const struct lowrank_layout *layout;
    const float *u, *v, *d_weight;
    float *d_u, *d_v;
};

/* d_u[row..][j..] of a tile of TILE x TILE; rows and components past the last repeat it. */
UCB_CLONES static void pull_u_tile(const struct pull_run *run, size_t row, size_t j)
{
    const struct lowrank_layout *l = run->layout;
    const float *d[TILE], *v[TILE];
    ucb_f32x16 sum[TILE][TILE] = {{{0}}};
    for (size_t k = 0; k < TILE; k++) {
        size_t r = row + k < l->n_out ? row + k : l->n_out - 1,
               c = j + k < l->rank ? j + k : l->rank - 1;
        d[k] = run->d_weight + r * l->n_in;
        v[k] = run->v + c * l->n_in;
    }
    for (size_t i = 0; i < l->n_in; i += UCB_LANES) {
        ucb_f32x16 some[TILE];
        for (int k = 0; k < TILE; k++) some[k] = ucb_lanes_load_some(v[k] + i, l->n_in - i);
        for (int r = 0; r < TILE; r++) {
            ucb_f32x16 x = ucb_lanes_load_some(d[r] + i, l->n_in - i);
            for (int k = 0; k < TILE; k++) sum[r][k] += x * some[k];
        }
    }
    for (size_t r = 0; r < TILE && row + r < l->n_out; r++)
        for (size_t k = 0; k < TILE && j + k < l->rank; k++)
            run->d_u[(row + r) * l->rank + j + k] = ucb_lanes_sum(sum[r][k]);
}

static void pull_u(void *context, size_t item)
{
    const struct pull_run *run = context;
    size_t first = item * ITEM_ROWS, end = first + ITEM_ROWS;
    if (end > run->layout->n_out) end = run->layout->n_out;
    for (size_t row = first; row < end; row += TILE)
        for (size_t j = 0; j < run->layout->rank; j += TILE) pull_u_tile(run, row, j);
}

/* d_v of TILE components and up to PIECE columns from `column`. */
UCB_CLONES static void pull_v_tile(const struct pull_run *run, size_t j, size_t column)
{
    const struct lowrank_layout *l = run->layout;
    size_t n = l->n_in - column < PIECE ? l->n_in - column : PIECE, left[TILE], at[TILE];
    ucb_f32x16 sum[TILE][TILE] = {{{0}}};
    for (size_t k = 0; k < TILE;
         k++) { /* vectors and components past the last: see above */
        at[k] = j + k < l->rank ? j + k : l->rank - 1;
        left[k] = k * UCB_LANES < n ? n - k * UCB_LANES : 0;
    }
    for (size_t row = 0; row < l->n_out; row++) {
        const float *d = run->d_weight + row * l->n_in + column,
                    *u = run->u + row * l->rank;
        ucb_f32x16 some[TILE];
        for (int k = 0; k < TILE; k++)
            some[k] = ucb_lanes_load_some(d + k * UCB_LANES, left[k]);
        for (int c = 0; c < TILE; c++)
            for (int k = 0; k < TILE; k++) sum[c][k] += ucb_lanes_all(u[at[c]]) * some[k];
    }
    for (size_t c = 0; c < TILE && j + c < l->rank; c++)
        for (size_t k = 0; k < TILE && left[k] > 0; k++)
            ucb_lanes_store_some(run->d_v + (j + c) * l->n_in + column + k * UCB_LANES,
                                 sum[c][k], left[k]);
}

static void pull_v(void *context, size_t item)
{
    const struct pull_run *run = context;
    for (size_t j = 0; j < run->layout->rank; j += TILE) pull_v_tile(run, j, item * PIECE);
}

void lowrank_pull_back(struct ucb_pool *pool, const struct lowrank_layout *l,
                       const float *u, const float *v, const float *d_weight, float *d_u,
                       float *d_v)
{
    struct pull_run run = {l, u, v, d_weight, d_u, d_v};
    ucb_parallel_for(pool, (l->n_out + ITEM_ROWS - 1) / ITEM_ROWS, pull_u, &run);
    ucb_parallel_for(pool, (l->n_in + PIECE - 1) / PIECE, pull_v, &run);
}
