/*
 * linear.c - y = x w^T + bias, cut into items of some rows times some panels.
 *
 * An item packs its rows into a slab of its worker (a copy that costs about a hundredth of
 * the product) and multiplies them with its panels one after the other. Rows are cut so
 * that a slab stays in the second cache while the weights stream past it; panels are cut as
 * well only where the rows alone do not keep every thread busy.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <string.h>

#include "backend/cuda_internal.h"

enum {
    SLAB_BYTES = 384 << 10, /* of a second cache of 1 MB or more; the rest is for weights */
    MIN_SLAB_ROWS = 32,     /* below this the weights are read too often */
    MAX_SLAB_ROWS = 128,
    ITEMS_PER_THREAD =
        4 /* so that a thread which is held up does not hold up the product */
};

struct linear_run {
    struct ucb_linear_call call;
    const struct ucb_packed *weight;
    size_t n_slabs, n_splits, n_panels;
    unsigned char *scratch; /* per worker: a slab, then a tile of [slab rows][32] */
    size_t slab_bytes, worker_bytes;
};

static size_t max_u(size_t a, size_t b)
{
    return a > b ? a : b;
}
static size_t min_u(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Rows per slab: a multiple of the path's tile that fits SLAB_BYTES and leaves several
 * items to each thread. */
static size_t choose_slab_rows(const struct ucb_backend *backend, size_t n_rows,
                               uint32_t n_in)
{
    size_t tile = backend->products->tile_rows,
           n_items = ucb_pool_threads(backend->pool) * (size_t)ITEMS_PER_THREAD;
    size_t fit = SLAB_BYTES / (ucb_n_units(n_in, UCB_CHUNK) * backend->products->row_bytes);
    size_t rows = min_u(min_u(fit, MAX_SLAB_ROWS), ucb_n_units(n_rows, n_items));
    return ucb_round_up(max_u(rows, MIN_SLAB_ROWS), tile);
}

static void plan(struct linear_run *run)
{
    const struct ucb_backend *backend = run->call.backend;
    size_t n_items = ucb_pool_threads(backend->pool) * (size_t)ITEMS_PER_THREAD;
    size_t slab_rows = choose_slab_rows(backend, run->call.n_rows, run->call.n_in);
    run->n_panels = ucb_n_units(run->call.n_out, UCB_PANEL);
    run->n_slabs = ucb_n_units(run->call.n_rows, slab_rows);
    run->n_splits = run->n_slabs >= n_items
                        ? 1
                        : min_u(ucb_n_units(n_items, run->n_slabs), run->n_panels);
    run->slab_bytes = ucb_slab_bytes(slab_rows, run->call.n_in);
    run->worker_bytes = run->slab_bytes + slab_rows * UCB_PANEL * sizeof(float);
}

/* Columns [column, column + 32) of y, as far as there are such,
 * become the tile plus bias. */
static void store_tile(const struct ucb_linear_call *call, const float *tile, size_t row,
                       size_t n_rows, size_t column)
{
    size_t n = min_u(UCB_PANEL, call->n_out - column);
    for (size_t i = 0; i < n_rows; i++) {
        float *out = call->y + (row + i) * call->n_out + column;
        memcpy(out, tile + i * UCB_PANEL, n * sizeof(*out));
        if (call->bias != NULL) call->backend->table->add(out, call->bias + column, n);
    }
}

void ucb_linear_panel(const struct ucb_linear_call *call, const struct ucb_slab *slab,
                      size_t row, size_t n_rows, const void *weights, size_t panel,
                      float *tile)
{
    const struct ucb_products *products = call->backend->products;
    uint32_t state = products->begin();
    products->multiply(slab, (uint32_t)n_rows, call->n_in, weights, tile, UCB_PANEL);
    products->end(state);
    store_tile(call, tile, row, n_rows, panel * UCB_PANEL);
}

static void multiply_item(void *context, size_t index, unsigned worker)
{
    const struct linear_run *run = context;
    const struct ucb_linear_call *call = &run->call;
    size_t slab_index = index / run->n_splits, split = index % run->n_splits;
    size_t row = ucb_part_start(call->n_rows, run->n_slabs, slab_index);
    size_t n_rows = ucb_part_start(call->n_rows, run->n_slabs, slab_index + 1) - row;
    size_t panel = ucb_part_start(run->n_panels, run->n_splits, split);
    size_t panel_end = ucb_part_start(run->n_panels, run->n_splits, split + 1);
    size_t panel_bytes = ucb_panel_bytes(call->backend->arithmetic, call->n_in);
    unsigned char *own = run->scratch + worker * run->worker_bytes;
    struct ucb_slab slab = ucb_slab_place(own, n_rows);

    ucb_slab_pack(call->backend->products, call->x + row * call->n_in, call->n_in, n_rows,
                  call->n_in, &slab);
    for (; panel < panel_end; panel++)
        ucb_linear_panel(call, &slab, row, n_rows,
                         (const unsigned char *)run->weight->data + panel * panel_bytes,
                         panel, (float *)(own + run->slab_bytes));
}

ucb_status ucb_linear(struct ucb_backend *backend, const struct ucb_packed *weight,
                      const float *bias, const float *x, size_t n_rows, float *y,
                      struct ucb_err *err)
{
    assert(weight->n_in > 0);
    if (n_rows == 0) return UCB_OK;
    if (backend->cuda != NULL)
        return ucb_cuda_linear(backend, weight, bias, x, n_rows, y, err);
    struct linear_run run = {
        .call = {backend, weight->n_out, weight->n_in, bias, x, y, n_rows},
        .weight = weight};
    plan(&run);
    size_t scratch_bytes = ucb_pool_threads(backend->pool) * run.worker_bytes;
    UCB_TRY(ucb_backend_scratch(backend, scratch_bytes, "linear", &run.scratch, err));
    ucb_parallel_workers(backend->pool, run.n_slabs * run.n_splits, multiply_item, &run);
    return UCB_OK;
}
