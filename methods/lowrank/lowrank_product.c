/*
 * lowrank_product.c - skinny products with the weighted residual and its transpose.
 *
 * One loop does all of them: y[..][16] += a x[..][16], a in tiles of 8 rows packed
 * [k][8], made from the fp32 weights on the way, so that the residual in double is never
 * stored whole. Sums are one chain an element, k rising, without fused multiply-adds.
 */
#include <string.h>

#include "core/clones.h"
#include "core/f64_lanes.h"
#include "lowrank.h"

enum { TALL = 8, DEEP = 256, ITEM_ROWS = 64, HALF = UCB_F64_LANES };
_Static_assert(LOWRANK_BLOCK == 2 * HALF, "two vectors hold a row of y");

/* The left operand: (w - before) or `lower`, perhaps turned. */
struct skinny_run {
    const float *w, *before; /* NULL: `lower` */
    const double *lower;
    size_t n_columns; /* of what is stored */
    bool turned;
    size_t n_rows, n_k; /* of the operand as it is multiplied */
    const double *x;    /* [n_k][LOWRANK_BLOCK] */
    double *y;          /* [n_rows][LOWRANK_BLOCK] */
};

/* Eight neighbours of a row. */
UCB_F64_INLINE ucb_f64x8 residual(const float *w, const float *before)
{
    typedef float f32x8 __attribute__((vector_size(32)));
    f32x8 a, b;
    memcpy(&a, w, sizeof(a));
    memcpy(&b, before, sizeof(b));
    return __builtin_convertvector(a, ucb_f64x8) - __builtin_convertvector(b, ucb_f64x8);
}

UCB_F64_INLINE double element(const struct skinny_run *run, size_t at)
{
    return run->w == NULL ? run->lower[at] : (double)run->w[at] - (double)run->before[at];
}

/* Rows [row, row + n_rows) and columns [k, k + n_k) of the operand; zeros past n_rows. */
UCB_F64_INLINE void pack(const struct skinny_run *run, size_t row, size_t n_rows, size_t k,
                         size_t n_k, double *tile)
{
    size_t row_step = run->turned ? 1 : run->n_columns,
           k_step = run->turned ? run->n_columns : 1, at = row * row_step + k * k_step;
    if (n_rows == TALL && run->turned && run->w != NULL) {
        for (size_t j = 0; j < n_k; j++, at += k_step)
            ucb_f64_store(tile + j * TALL, residual(run->w + at, run->before + at));
        return;
    }
    if (n_rows < TALL) memset(tile, 0, n_k * TALL * sizeof(*tile));
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_k; j++)
            tile[j * TALL + i] = element(run, at + i * row_step + j * k_step);
}

/* Half of the columns of a tile of y. */
UCB_F64_INLINE void add_half(const double *tile, const double *x, size_t n_k, double *y)
{
    ucb_f64x8 sum[TALL];
#pragma GCC unroll 8
    for (int i = 0; i < TALL; i++) sum[i] = ucb_f64_load(y + i * LOWRANK_BLOCK);
    for (size_t k = 0; k < n_k; k++, tile += TALL, x += LOWRANK_BLOCK) {
        ucb_f64x8 b = ucb_f64_load(x);
#pragma GCC unroll 8
        for (int i = 0; i < TALL; i++) sum[i] += ucb_f64_all(tile[i]) * b;
    }
#pragma GCC unroll 8
    for (int i = 0; i < TALL; i++) ucb_f64_store(y + i * LOWRANK_BLOCK, sum[i]);
}

/* The part of [0, n_k) where rows [row, row + TALL) of a triangle are not zero. */
static void find_span(const struct skinny_run *run, size_t row, size_t *first, size_t *end)
{
    *first = 0;
    *end = run->n_k;
    if (run->w != NULL) return;
    if (run->turned)
        *first = row;
    else if (row + TALL < *end)
        *end = row + TALL;
}

UCB_CLONES static void skinny_tile(const struct skinny_run *run, size_t row)
{
    double tile[DEEP * TALL], y[TALL * LOWRANK_BLOCK] = {0};
    size_t n_rows = run->n_rows - row < TALL ? run->n_rows - row : TALL, k, end;
    find_span(run, row, &k, &end);
    for (size_t n_k; k < end; k += n_k) {
        const double *x = run->x + k * LOWRANK_BLOCK;
        n_k = end - k < DEEP ? end - k : DEEP;
        pack(run, row, n_rows, k, n_k, tile);
        add_half(tile, x, n_k, y);
        add_half(tile, x + HALF, n_k, y + HALF);
    }
    memcpy(run->y + row * LOWRANK_BLOCK, y, n_rows * LOWRANK_BLOCK * sizeof(*y));
}

static void skinny_item(void *context, size_t item)
{
    const struct skinny_run *run = context;
    size_t row = item * ITEM_ROWS, end = row + ITEM_ROWS;
    if (end > run->n_rows) end = run->n_rows;
    for (; row < end; row += TALL) skinny_tile(run, row);
}

static void skinny(const struct lowrank_target *target, bool of_weight, bool turned,
                   const double *x, double *y)
{
    struct skinny_run run = {.n_columns = target->n_in, .turned = turned, .x = x, .y = y};
    run.n_rows = of_weight || turned ? target->n_in : target->n_out;
    run.n_k = of_weight || !turned ? target->n_in : target->n_out;
    if (of_weight) {
        run.lower = target->weight.lower;
    } else {
        run.w = target->w;
        run.before = target->before;
    }
    ucb_parallel_for(target->pool, (run.n_rows + ITEM_ROWS - 1) / ITEM_ROWS, skinny_item,
                     &run);
}

/* y = diag(column) x; y may be x. */
static void scale_rows(const double *column, size_t n, const double *x, double *y)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < LOWRANK_BLOCK; k++)
            y[i * LOWRANK_BLOCK + k] = column[i] * x[i * LOWRANK_BLOCK + k];
}

void lowrank_times(const struct lowrank_target *target, const double *x, double *y)
{
    const struct lowrank_weight *weight = &target->weight;
    const double *weighted = x;
    if (weight->lower != NULL)
        skinny(target, true, false, x, target->between);
    else if (weight->column != NULL)
        scale_rows(weight->column, target->n_in, x, target->between);
    if (weight->lower != NULL || weight->column != NULL) weighted = target->between;
    skinny(target, false, false, weighted, y);
}

void lowrank_turned_times(const struct lowrank_target *target, const double *x, double *y)
{
    const struct lowrank_weight *weight = &target->weight;
    if (weight->lower != NULL) {
        skinny(target, false, true, x, target->between);
        skinny(target, true, true, target->between, y);
        return;
    }
    skinny(target, false, true, x, y);
    if (weight->column != NULL) scale_rows(weight->column, target->n_in, y, y);
}
