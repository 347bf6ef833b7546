/*
 * scan_gradient.c - the reverse of a state space's scan, convolution and softplus.
 *
 * The scan runs backward over its rows and needs every state of the forward pass. They are
 * made again, a stretch of rows at a time: a first sweep keeps the states in front of each
 * stretch, then the stretches come from the last to the first, each made again from its
 * kept states and reversed while it lies in a worker's scratch. Blocks of sixteen channels
 * are independent but for the gradients of b and c, which add the blocks in order once a
 * stretch is done. Where a stretch begins shows in no result.
 */
#include "backend/gradient.h"

#include <assert.h>
#include <string.h>

#include "backend/backend_internal.h"
#include "core/fmath.h"

enum { STRETCH = 32, ITEM_ELEMENTS = 1 << 14 };

struct reverse_run {
    const struct ucb_kernel_table *table;
    const struct ucb_scan *scan;
    const struct ucb_scan_gradient *gradient;
    size_t n_blocks, n_stretches, stretch; /* the stretch being reversed */
    size_t state_floats;                   /* of a block: [state][16] */
    float *kept;  /* [n_blocks][n_stretches][state][16]: in front of each stretch */
    float *carry; /* [n_blocks][state][16] */
    float *sums;  /* [n_blocks][STRETCH][2][state] */
    float *work;  /* of each worker: STRETCH + 1 states, STRETCH decays */
    size_t work_floats;
};

static size_t sums_of_block(const struct reverse_run *run)
{
    return (size_t)STRETCH * 2 * run->scan->state;
}

/* One stretch of one block, its first states not yet there. */
static struct ucb_scan_part part_of(const struct reverse_run *run, size_t block,
                                    size_t stretch, unsigned worker)
{
    size_t channel = block * UCB_LANES, row = stretch * STRETCH,
           left = run->scan->width - channel, rows_left = run->scan->n_rows - row;
    float *work = run->work + worker * run->work_floats;
    return (struct ucb_scan_part){.channel = (uint32_t)channel,
                                  .n = left < UCB_LANES ? (uint32_t)left
                                                        : (uint32_t)UCB_LANES,
                                  .row = row,
                                  .n_rows = rows_left < STRETCH ? rows_left : STRETCH,
                                  .states = work,
                                  .decays = work + (STRETCH + 1) * run->state_floats,
                                  .carry = run->carry + block * run->state_floats,
                                  .sums = run->sums + block * sums_of_block(run)};
}

static float *kept_of(const struct reverse_run *run, size_t block, size_t stretch)
{
    return run->kept + (block * run->n_stretches + stretch) * run->state_floats;
}

static void keep_item(void *context, size_t block, unsigned worker)
{
    const struct reverse_run *run = context;
    size_t n_bytes = run->state_floats * sizeof(float);
    memset(run->carry + block * run->state_floats, 0, n_bytes);
    memset(kept_of(run, block, 0), 0, n_bytes);
    for (size_t i = 0; i + 1 < run->n_stretches; i++) {
        struct ucb_scan_part part = part_of(run, block, i, worker);
        memcpy(part.states, kept_of(run, block, i), n_bytes);
        run->table->scan_states(run->scan, &part);
        memcpy(kept_of(run, block, i + 1), part.states + STRETCH * run->state_floats,
               n_bytes);
    }
}

static void reverse_item(void *context, size_t block, unsigned worker)
{
    const struct reverse_run *run = context;
    struct ucb_scan_part part = part_of(run, block, run->stretch, worker);
    memcpy(part.states, kept_of(run, block, run->stretch),
           run->state_floats * sizeof(float));
    run->table->scan_states(run->scan, &part);
    run->table->scan_gradient(run->scan, run->gradient, &part);
}

/* b and c of one row of the stretch. */
static void add_blocks_item(void *context, size_t index)
{
    const struct reverse_run *run = context;
    size_t n = 2 * (size_t)run->scan->state;
    float *row = run->gradient->dbc +
                 (run->stretch * STRETCH + index) * run->scan->bc_stride;
    memset(row, 0, n * sizeof(*row));
    for (size_t block = 0; block < run->n_blocks; block++)
        run->table->add(row, run->sums + block * sums_of_block(run) + index * n, n);
}

static ucb_status plan_memory(struct ucb_backend *backend, struct reverse_run *run,
                              struct ucb_err *err)
{
    unsigned char *scratch;
    size_t kept = run->n_blocks * run->n_stretches * run->state_floats,
           carry = run->n_blocks * run->state_floats,
           sums = run->n_blocks * sums_of_block(run);
    run->work_floats = (2 * STRETCH + 1) * run->state_floats;
    UCB_TRY(ucb_backend_scratch(
        backend,
        (kept + carry + sums + ucb_pool_threads(backend->pool) * run->work_floats) *
            sizeof(float),
        "gradient of a scan", &scratch, err));
    run->kept = (float *)scratch;
    run->carry = run->kept + kept;
    run->work = run->carry + carry;
    run->sums = run->work + ucb_pool_threads(backend->pool) * run->work_floats;
    return UCB_OK;
}

ucb_status ucb_scan_gradient(struct ucb_backend *backend, const struct ucb_scan *scan,
                             const struct ucb_scan_gradient *gradient, struct ucb_err *err)
{
    struct reverse_run run = {.table = backend->table,
                              .scan = scan,
                              .gradient = gradient,
                              .n_blocks = ucb_n_units(scan->width, UCB_LANES),
                              .n_stretches = ucb_n_units(scan->n_rows, STRETCH),
                              .state_floats = (size_t)scan->state * UCB_LANES};
    assert(scan->state <= UCB_SCAN_STATE_MAX);
    if (scan->n_rows == 0) return UCB_OK;
    UCB_TRY(plan_memory(backend, &run, err));
    ucb_parallel_workers(backend->pool, run.n_blocks, keep_item, &run);
    for (run.stretch = run.n_stretches; run.stretch-- > 0;) {
        size_t left = scan->n_rows - run.stretch * STRETCH;
        ucb_parallel_workers(backend->pool, run.n_blocks, reverse_item, &run);
        ucb_parallel_for(backend->pool, left < STRETCH ? left : STRETCH, add_blocks_item,
                         &run);
    }
    return UCB_OK;
}

/* ---- the parts around the scan ---- */

struct convolve_run {
    const struct ucb_kernel_table *table;
    const struct ucb_scan *scan;
    float *du, *din;
};

static void convolve_item(void *context, size_t index)
{
    const struct convolve_run *run = context;
    size_t channel = index * UCB_LANES, left = run->scan->width - channel;
    run->table->convolve_gradient(run->scan, (uint32_t)channel,
                                  left < UCB_LANES ? (uint32_t)left : (uint32_t)UCB_LANES,
                                  run->du, run->din);
}

void ucb_convolve_gradient(struct ucb_backend *backend, const struct ucb_scan *scan,
                           float *du, float *din)
{
    struct convolve_run run = {backend->table, scan, du, din};
    ucb_parallel_for(backend->pool, ucb_n_units(scan->width, UCB_LANES), convolve_item,
                     &run);
}

struct softplus_run {
    const float *y;
    float *dx;
    size_t n;
};

/* The slope 1 / (1 + exp(-x)) is 1 - exp(-y), in double; of a small y by its series, where
 * the difference would lose its digits. */
static void softplus_item(void *context, size_t index)
{
    const struct softplus_run *run = context;
    size_t first = index * ITEM_ELEMENTS,
           end = run->n - first < ITEM_ELEMENTS ? run->n : first + ITEM_ELEMENTS;
    for (size_t i = first; i < end; i++) {
        double y = (double)run->y[i];
        double slope = y < 0x1p-10 ? y * (1 - y / 2 * (1 - y / 3)) : 1 - ucb_exp(-y);
        run->dx[i] = (float)((double)run->dx[i] * slope);
    }
}

void ucb_softplus_gradient(struct ucb_backend *backend, const float *y, size_t n, float *dx)
{
    struct softplus_run run = {y, dx, n};
    ucb_parallel_for(backend->pool, ucb_n_units(n, ITEM_ELEMENTS), softplus_item, &run);
}
