/*
 * linear_tiles.c - y = x w^T + bias, where w is decoded on the way.
 *
 * The panels of w are cut into shares of neighbours. A worker decodes some panels of its
 * share and packs them into a tile of its own; then it packs one slab of x after the other
 * and multiplies it with the panels of the tile. Where there are fewer panels than threads
 * the slabs are cut as well, and a tile is decoded once for each part. An element of y is
 * the same chain of sums as in ucb_linear(), so no cut shows in a bit.
 */
#include "backend/backend_internal.h"

#include <assert.h>

#include "backend/cuda_internal.h"

/*
 * Every tile reads all of x, and every slab all of the tile. So a tile is as large as the
 * third cache allows, and a slab stays in the second; tiles of 32 to 192 rows were up to a
 * third slower with 2048 rows of x. One slab alone needs no tile: its panels are multiplied
 * as they come.
 */
enum {
    TILE_BYTES = 2 << 20,
    SLAB_BYTES = 384 << 10,
    MOST_SLAB_ROWS = 128,
    SHARES_PER_THREAD = 2, /* so that a thread which is held up does not hold up the rest */
    SHARE_PANELS = 8       /* the fewest of one, where every thread has one */
};

/* Of one worker. */
struct worker {
    float *rows;                /* [32][n_in], as decoded */
    unsigned char *tile, *slab; /* packed */
    size_t slab_index;          /* which one is packed; SIZE_MAX: none */
    float *product;             /* [slab rows][32] */
    ucb_status status;          /* the first thing that went wrong */
    struct ucb_err err;
};

struct tiles_run {
    struct ucb_linear_call call;
    const struct ucb_tiles *weight;
    size_t n_slabs, slab_rows, slab_bytes;
    size_t n_panels, tile_panels, panel_bytes, n_shares, n_parts; /* of the slabs */
    struct worker *workers;
};

static size_t min_u(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_u(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whole register tiles, two at least. */
static size_t choose_slab_rows(const struct tiles_run *run)
{
    size_t unit = run->call.backend->products->tile_rows,
           fit = SLAB_BYTES / (ucb_n_units(run->weight->n_in, UCB_CHUNK) * UCB_ROW_PITCH);
    return min_u(max_u(min_u(fit, MOST_SLAB_ROWS) / unit, 2) * unit, run->call.n_rows);
}

static size_t choose_tile_panels(const struct tiles_run *run)
{
    if (run->weight->tile_rows > 0) return run->weight->tile_rows / UCB_PANEL;
    return run->n_slabs == 1 ? 1 : max_u(TILE_BYTES / run->panel_bytes, 1);
}

static void plan(struct tiles_run *run)
{
    const struct ucb_tiles *w = run->weight;
    size_t threads = ucb_pool_threads(run->call.backend->pool);
    run->n_panels = ucb_n_units(w->n_out, UCB_PANEL);
    run->panel_bytes = ucb_panel_bytes(run->call.backend->arithmetic, w->n_in);
    run->slab_rows = choose_slab_rows(run);
    run->slab_bytes = ucb_slab_bytes(run->slab_rows, w->n_in);
    run->n_slabs = ucb_n_units(run->call.n_rows, run->slab_rows);
    run->n_shares = min_u(
        threads * SHARES_PER_THREAD,
        max_u(run->n_panels / SHARE_PANELS, min_u(threads, run->n_panels)));
    if (w->share_rows > 0)
        run->n_shares = min_u(
            run->n_shares, max_u(w->n_out / w->share_rows, min_u(threads, run->n_panels)));
    run->n_parts = min_u(ucb_n_units(threads, run->n_shares), run->n_slabs);
    run->tile_panels = min_u(choose_tile_panels(run),
                             ucb_n_units(run->n_panels, run->n_shares));
}

/* Panels [panel, panel + n) into the worker's tile, of a share that ends at `end`. */
static void fill_tile(const struct tiles_run *run, struct worker *own, unsigned worker,
                      size_t panel, size_t n, size_t end)
{
    const struct ucb_tiles *w = run->weight;
    uint32_t end_row = (uint32_t)min_u(end * UCB_PANEL, w->n_out);
    for (size_t i = 0; i < n && own->status == UCB_OK; i++) {
        uint32_t row = (uint32_t)(panel + i) * UCB_PANEL,
                 n_rows = (uint32_t)min_u(UCB_PANEL, w->n_out - row);
        own->status = w->decode(w->context, worker, row, n_rows, end_row, own->rows,
                                &own->err);
        struct ucb_source source = {own->rows, w->n_in, 1};
        if (own->status == UCB_OK)
            ucb_panel_pack(run->call.backend->arithmetic, &source, n_rows, w->n_in,
                           own->tile + i * run->panel_bytes);
    }
}

static void multiply_tile(const struct tiles_run *run, struct worker *own, size_t part,
                          size_t panel, size_t n)
{
    const struct ucb_linear_call *call = &run->call;
    size_t slab_index = ucb_part_start(run->n_slabs, run->n_parts, part),
           slab_end = ucb_part_start(run->n_slabs, run->n_parts, part + 1);
    for (; slab_index < slab_end; slab_index++) {
        size_t row = slab_index * run->slab_rows,
               n_rows = min_u(run->slab_rows, call->n_rows - row);
        struct ucb_slab slab = ucb_slab_place(own->slab, n_rows);
        if (own->slab_index != slab_index)
            ucb_slab_pack(call->backend->products, call->x + row * call->n_in, call->n_in,
                          n_rows, call->n_in, &slab);
        own->slab_index = slab_index;
        for (size_t i = 0; i < n; i++)
            ucb_linear_panel(call, &slab, row, n_rows, own->tile + i * run->panel_bytes,
                             panel + i, own->product);
    }
}

static void multiply_share(void *context, size_t index, unsigned worker)
{
    const struct tiles_run *run = context;
    struct worker *own = &run->workers[worker];
    size_t share = index / run->n_parts, part = index % run->n_parts;
    size_t panel = ucb_part_start(run->n_panels, run->n_shares, share),
           end = ucb_part_start(run->n_panels, run->n_shares, share + 1);
    for (size_t n; panel < end && own->status == UCB_OK; panel += n) {
        n = min_u(run->tile_panels, end - panel);
        fill_tile(run, own, worker, panel, n, end);
        if (own->status == UCB_OK) multiply_tile(run, own, part, panel, n);
    }
}

static ucb_status place(struct tiles_run *run, struct ucb_backend *backend,
                        struct ucb_err *err)
{
    unsigned threads = ucb_pool_threads(run->call.backend->pool);
    size_t workers = ucb_round_up(threads * sizeof(*run->workers), 64),
           rows = ucb_round_up((size_t)UCB_PANEL * run->weight->n_in * sizeof(float), 64),
           tile = run->tile_panels * run->panel_bytes,
           product = run->slab_rows * UCB_PANEL * sizeof(float),
           each = rows + tile + run->slab_bytes + product;
    unsigned char *at;
    UCB_TRY(ucb_backend_scratch(backend, workers + threads * each, "linear", &at, err));
    run->workers = (struct worker *)at;
    at += workers;
    for (unsigned i = 0; i < threads; i++, at += each)
        run->workers[i] = (struct worker){
            .rows = (float *)at,
            .tile = at + rows,
            .slab = at + rows + tile,
            .slab_index = SIZE_MAX,
            .product = (float *)(at + rows + tile + run->slab_bytes),
            .status = UCB_OK};
    return UCB_OK;
}

ucb_status ucb_linear_tiles(struct ucb_backend *backend, const struct ucb_tiles *weight,
                            const float *bias, const float *x, size_t n_rows, float *y,
                            struct ucb_err *err)
{
    assert(weight->n_out > 0);
    assert(weight->n_in > 0);
    assert(weight->tile_rows % UCB_PANEL == 0);
    if (n_rows == 0) return UCB_OK;
    if (backend->cuda != NULL)
        return ucb_cuda_linear_tiles(backend, weight, bias, x, n_rows, y, err);
    struct tiles_run run = {
        .call = {backend, weight->n_out, weight->n_in, bias, x, y, n_rows},
        .weight = weight};
    plan(&run);
    UCB_TRY(place(&run, backend, err));
    ucb_parallel_workers(backend->pool, run.n_shares * run.n_parts, multiply_share, &run);
    for (unsigned i = 0; i < ucb_pool_threads(backend->pool); i++) {
        if (run.workers[i].status == UCB_OK) continue;
        if (err != NULL) *err = run.workers[i].err;
        return run.workers[i].status;
    }
    return UCB_OK;
}
