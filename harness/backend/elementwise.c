/*
 * elementwise.c - norms, rope and addition: rows or runs of elements, shared out in items
 * worth waking a thread for.
 */
#include "backend/backend_internal.h"

#include <assert.h>

#include "backend/cuda_internal.h"

enum { ITEM_ELEMENTS = 1 << 14 };

static size_t rows_per_item(size_t row_elements)
{
    return row_elements >= ITEM_ELEMENTS
               ? 1
               : ITEM_ELEMENTS / (row_elements == 0 ? 1 : row_elements);
}

struct norm_run {
    const struct ucb_kernel_table *table;
    const float *x, *weight;
    float *y, eps;
    size_t n_rows, item_rows;
    uint32_t n;
};

static void norm_item(void *context, size_t index)
{
    const struct norm_run *run = context;
    size_t row = index * run->item_rows,
           end = row + run->item_rows < run->n_rows ? row + run->item_rows : run->n_rows;
    for (; row < end; row++)
        run->table->rmsnorm_row(run->x + row * run->n, run->n, run->weight, run->eps,
                                run->y + row * run->n);
}

void ucb_rmsnorm(struct ucb_backend *backend, const float *x, size_t n_rows, uint32_t n,
                 const float *weight, float eps, float *y)
{
    if (backend->cuda != NULL) {
        ucb_cuda_norm(backend, x, n_rows, n, weight, NULL, eps, y);
        return;
    }
    struct norm_run run = {backend->table, x, weight, y, eps, n_rows, rows_per_item(n), n};
    ucb_parallel_for(backend->pool, ucb_n_units(n_rows, run.item_rows), norm_item, &run);
}

struct rope_run {
    const struct ucb_kernel_table *table;
    float *x;
    const float *angles;
    const uint32_t *position;
    size_t n_rows, item_rows;
    const struct ucb_rotary *shape;
    uint32_t n_pairs;
};

enum { ANGLES_AT_ONCE = 64 };

/* Adjacent pairs are taken apart, turned and put back. */
static void turn_adjacent(const struct rope_run *run, float *pairs, uint32_t n,
                          const float *cosine, const float *sine)
{
    float even[ANGLES_AT_ONCE], odd[ANGLES_AT_ONCE];
    for (uint32_t i = 0; i < n; i++) even[i] = pairs[2 * i];
    for (uint32_t i = 0; i < n; i++) odd[i] = pairs[2 * i + 1];
    run->table->rotate(even, odd, n, cosine, sine);
    for (uint32_t i = 0; i < n; i++) pairs[2 * i] = even[i];
    for (uint32_t i = 0; i < n; i++) pairs[2 * i + 1] = odd[i];
}

/* Pairs [pair, pair + n) of every head of a row; cosines and sines are taken apart once for
 * all heads. */
static void rope_pairs(const struct rope_run *run, size_t row, uint32_t pair, uint32_t n)
{
    const struct ucb_rotary *shape = run->shape;
    float cosine[ANGLES_AT_ONCE], sine[ANGLES_AT_ONCE];
    const float *angle = run->angles +
                         2 * ((size_t)run->position[row] * run->n_pairs + pair);
    for (uint32_t i = 0; i < n; i++) cosine[i] = angle[2 * i];
    for (uint32_t i = 0; i < n; i++) sine[i] = angle[2 * i + 1];
    float *head = run->x + row * shape->n_heads * shape->head_dim + shape->offset;
    for (uint32_t h = 0; h < shape->n_heads; h++, head += shape->head_dim) {
        if (shape->adjacent)
            turn_adjacent(run, head + 2 * pair, n, cosine, sine);
        else
            run->table->rotate(head + pair, head + run->n_pairs + pair, n, cosine, sine);
    }
}

static void rope_item(void *context, size_t index)
{
    const struct rope_run *run = context;
    size_t row = index * run->item_rows,
           end = row + run->item_rows < run->n_rows ? row + run->item_rows : run->n_rows;
    for (; row < end; row++) {
        for (uint32_t pair = 0; pair < run->n_pairs; pair += ANGLES_AT_ONCE) {
            uint32_t left = run->n_pairs - pair;
            rope_pairs(run, row, pair, left < ANGLES_AT_ONCE ? left : ANGLES_AT_ONCE);
        }
    }
}

void ucb_rope(struct ucb_backend *backend, float *x, size_t n_rows,
              const struct ucb_rotary *shape, const float *table, const uint32_t *position)
{
    assert(shape->r % 2 == 0);
    assert(shape->offset + shape->r <= shape->head_dim);
    if (backend->cuda != NULL) {
        ucb_cuda_rope(backend, x, n_rows, shape, table, position);
        return;
    }
    struct rope_run run = {.table = backend->table,
                           .x = x,
                           .angles = table,
                           .position = position,
                           .n_rows = n_rows,
                           .shape = shape,
                           .n_pairs = shape->r / 2};
    run.item_rows = rows_per_item((size_t)shape->n_heads * shape->head_dim);
    ucb_parallel_for(backend->pool, ucb_n_units(n_rows, run.item_rows), rope_item, &run);
}

struct run_of_elements {
    const struct ucb_kernel_table *table;
    const float *y;
    float *x;
    size_t n;
};

static size_t item_size(const struct run_of_elements *run, size_t first)
{
    return run->n - first < ITEM_ELEMENTS ? run->n - first : ITEM_ELEMENTS;
}

static void add_item(void *context, size_t index)
{
    const struct run_of_elements *run = context;
    size_t first = index * ITEM_ELEMENTS;
    run->table->add(run->x + first, run->y + first, item_size(run, first));
}

void ucb_add(struct ucb_backend *backend, float *x, const float *y, size_t n)
{
    if (backend->cuda != NULL) {
        ucb_cuda_add(backend, x, y, n);
        return;
    }
    struct run_of_elements run = {backend->table, y, x, n};
    ucb_parallel_for(backend->pool, ucb_n_units(n, ITEM_ELEMENTS), add_item, &run);
}
