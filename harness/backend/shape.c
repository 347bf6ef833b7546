/*
 * shape.c - the operations of shape_template.h over rows and channels, shared out among the
 * workers. Neither threads nor the size of an item can change a bit: rows, elements and
 * channels do not depend on each other.
 */
#include "backend/backend_internal.h"

#include <assert.h>

#include "backend/cuda_internal.h"
#include "core/fmath.h"

enum { ITEM_ELEMENTS = 1 << 14 };

struct shape_run {
    const struct ucb_kernel_table *table;
    const float *x, *weight, *bias, *up;
    float *y, a, b;
    size_t n_rows, item_rows;
    uint32_t n;
    enum ucb_activation activation;
};

static size_t item_end(const struct shape_run *run, size_t first)
{
    return run->n_rows - first < run->item_rows ? run->n_rows : first + run->item_rows;
}

static void norm_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    for (size_t row = first; row < end; row++)
        run->table->layernorm_row(run->x + row * run->n, run->n, run->weight, run->bias,
                                  run->a, run->y + row * run->n);
}

void ucb_layernorm(struct ucb_backend *backend, const float *x, size_t n_rows, uint32_t n,
                   const float *weight, const float *bias, float eps, float *y)
{
    if (backend->cuda != NULL) {
        ucb_cuda_norm(backend, x, n_rows, n, weight, bias, eps, y);
        return;
    }
    struct shape_run run = {.table = backend->table,
                            .x = x,
                            .weight = weight,
                            .bias = bias,
                            .y = y,
                            .a = eps,
                            .n_rows = n_rows,
                            .n = n};
    run.item_rows = n >= ITEM_ELEMENTS ? 1 : ITEM_ELEMENTS / n;
    ucb_parallel_for(backend->pool, ucb_n_units(n_rows, run.item_rows), norm_item, &run);
}

/* Runs of elements: n_rows counts elements. */
static void share_elements(struct ucb_backend *backend, struct shape_run *run, size_t n,
                           ucb_loop_body *body)
{
    run->table = backend->table;
    run->n_rows = n;
    run->item_rows = ITEM_ELEMENTS;
    ucb_parallel_for(backend->pool, ucb_n_units(n, ITEM_ELEMENTS), body, run);
}

static void activate_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    run->table->activate(run->activation, run->x + first,
                         run->up == NULL ? NULL : run->up + first, end - first,
                         run->y + first);
}

void ucb_activate(struct ucb_backend *backend, enum ucb_activation activation,
                  const float *gate, const float *up, size_t n, float *out)
{
    if (backend->cuda != NULL) {
        ucb_cuda_activate(backend, activation, gate, up, n, out);
        return;
    }
    struct shape_run run = {.x = gate, .up = up, .y = out, .activation = activation};
    share_elements(backend, &run, n, activate_item);
}

static void cap_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    run->table->cap(run->y + first, end - first, run->a, run->b);
}

void ucb_softcap(struct ucb_backend *backend, float *x, size_t n, float limit)
{
    if (backend->cuda != NULL) {
        ucb_cuda_change(backend, backend->cuda->table->cap, x, n, limit);
        return;
    }
    struct shape_run run = {.y = x, .a = 1.0f, .b = limit};
    share_elements(backend, &run, n, cap_item);
}

static void scale_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    run->table->scale_by(run->y + first, end - first, run->a);
}

void ucb_scale(struct ucb_backend *backend, float *x, size_t n, float factor)
{
    if (backend->cuda != NULL) {
        ucb_cuda_change(backend, backend->cuda->table->scale, x, n, factor);
        return;
    }
    struct shape_run run = {.y = x, .a = factor};
    share_elements(backend, &run, n, scale_item);
}

static void clamp_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    run->table->clamp(run->y + first, end - first, run->a);
}

void ucb_clamp(struct ucb_backend *backend, float *x, size_t n, float limit)
{
    if (backend->cuda != NULL) {
        ucb_cuda_change(backend, backend->cuda->table->clamp, x, n, limit);
        return;
    }
    struct shape_run run = {.y = x, .a = limit};
    share_elements(backend, &run, n, clamp_item);
}

void ucb_add_scaled(struct ucb_backend *backend, float *y, const float *x, float factor,
                    size_t n)
{
    ucb_backend_read(backend, x, n * sizeof(*x));
    ucb_backend_read(backend, y, n * sizeof(*y));
    ucb_backend_write(backend, y, n * sizeof(*y));
    backend->table->add_scaled(y, x, factor, n);
}

/* log(1 + exp(x)) in double; beyond 40 and below -18 the series is exact enough. */
static void softplus_item(void *context, size_t index)
{
    const struct shape_run *run = context;
    size_t first = index * run->item_rows, end = item_end(run, first);
    for (size_t i = first; i < end; i++) {
        double x = (double)run->y[i], e = x > 40 ? 0 : ucb_exp(x);
        run->y[i] = (float)(x > 40 ? x : x < -18 ? e - e * e / 2 : ucb_log(1 + e));
    }
}

void ucb_softplus(struct ucb_backend *backend, float *x, size_t n)
{
    struct shape_run run = {.y = x};
    ucb_backend_read(backend, x, n * sizeof(*x));
    ucb_backend_write(backend, x, n * sizeof(*x));
    share_elements(backend, &run, n, softplus_item);
}

struct scan_run {
    const struct ucb_kernel_table *table;
    const struct ucb_scan *scan;
};

static uint32_t lanes_of(const struct ucb_scan *scan, uint32_t channel)
{
    return scan->width - channel < UCB_LANES ? scan->width - channel : (uint32_t)UCB_LANES;
}

static void convolve_item(void *context, size_t index)
{
    const struct scan_run *run = context;
    uint32_t channel = (uint32_t)index * UCB_LANES;
    run->table->convolve(run->scan, channel, lanes_of(run->scan, channel));
}

void ucb_convolve(struct ucb_backend *backend, const struct ucb_scan *scan)
{
    if (backend->cuda != NULL) {
        ucb_cuda_convolve(backend, scan);
        return;
    }
    struct scan_run run = {backend->table, scan};
    ucb_parallel_for(backend->pool, ucb_n_units(scan->width, UCB_LANES), convolve_item,
                     &run);
}

static void scan_item(void *context, size_t index)
{
    const struct scan_run *run = context;
    uint32_t channel = (uint32_t)index * UCB_LANES;
    float states[UCB_SCAN_STATE_MAX * UCB_LANES];
    run->table->scan_channels(run->scan, channel, lanes_of(run->scan, channel), states);
}

void ucb_scan(struct ucb_backend *backend, const struct ucb_scan *scan)
{
    struct scan_run run = {backend->table, scan};
    assert(scan->state <= UCB_SCAN_STATE_MAX);
    if (backend->cuda != NULL) {
        ucb_cuda_scan(backend, scan);
        return;
    }
    ucb_parallel_for(backend->pool, ucb_n_units(scan->width, UCB_LANES), scan_item, &run);
}
