/* resident_cost.c - see resident_cost.h. */
#include "eval/resident_cost.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/energy.h"
#include "core/pcg.h"
#include "core/progress.h"

enum { PANEL = 32, LEAST_REPEATS = 3 };
static const double budget_seconds = 10;

/* A matrix both ways, and one input for both. */
struct bench {
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    const struct ucb_tiles *tiles;
    struct ucb_packed packed;
    float *x, *y[2]; /* y: of the decoded and of the encoded weight */
    size_t n_rows;
    struct ucb_energy energy;
    bool has_energy;
};

/* The matrix as fp32, by shares that workers decode side by side. */
struct decode_run {
    const struct ucb_tiles *tiles;
    float *w;
    uint32_t n_shares;
    ucb_status *status; /* [threads] */
    struct ucb_err *err;
};

static void decode_share(void *context, size_t index, unsigned worker)
{
    struct decode_run *run = context;
    const struct ucb_tiles *t = run->tiles;
    size_t n_panels = ((size_t)t->n_out + PANEL - 1) / PANEL;
    uint32_t row = (uint32_t)(n_panels * index / run->n_shares) * PANEL,
             end = (uint32_t)(n_panels * (index + 1) / run->n_shares) * PANEL;
    if (end > t->n_out) end = t->n_out;
    for (uint32_t n; row < end && run->status[worker] == UCB_OK; row += n) {
        n = end - row < PANEL ? end - row : (uint32_t)PANEL;
        run->status[worker] = t->decode(t->context, worker, row, n, end,
                                        run->w + (size_t)row * t->n_in, &run->err[worker]);
    }
}

/* The matrix, decoded and packed: what a layer would hold without --resident encoded. */
static ucb_status pack(struct bench *b, struct ucb_arena *arena, struct ucb_err *err)
{
    const struct ucb_tiles *t = b->tiles;
    unsigned threads = ucb_pool_threads(b->pool);
    struct decode_run run = {.tiles = t,
                             .w = UCB_NEW(arena, float, (size_t)t->n_out * t->n_in),
                             .n_shares = threads,
                             .status = UCB_NEW(arena, ucb_status, threads),
                             .err = UCB_NEW(arena, struct ucb_err, threads)};
    b->packed = (struct ucb_packed){
        ucb_mem_alloc(ucb_pack_bytes(b->backend, t->n_out, t->n_in)), t->n_out, t->n_in};
    if (run.w == NULL || run.status == NULL || run.err == NULL || b->packed.data == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to measure an encoded matrix");
    ucb_parallel_workers(b->pool, run.n_shares, decode_share, &run);
    for (unsigned i = 0; i < threads; i++) {
        if (run.status[i] == UCB_OK) continue;
        if (err != NULL) *err = run.err[i];
        return run.status[i];
    }
    ucb_pack(b->backend, run.w, &b->packed);
    return UCB_OK;
}

static ucb_status prepare(struct bench *b, struct ucb_arena *arena, struct ucb_err *err)
{
    size_t n_x = b->n_rows * b->tiles->n_in, n_y = b->n_rows * b->tiles->n_out;
    struct ucb_pcg random;
    UCB_TRY(pack(b, arena, err));
    b->x = UCB_NEW(arena, float, n_x);
    for (int i = 0; i < 2; i++) b->y[i] = UCB_NEW(arena, float, n_y);
    if (b->x == NULL || b->y[0] == NULL || b->y[1] == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a product of %zu rows", b->n_rows);
    ucb_pcg_named(&random, 0, "resident");
    for (size_t i = 0; i < n_x; i++) b->x[i] = ucb_pcg_unit(&random) - 0.5f;
    return UCB_OK;
}

/* One product, its costs into repeat `i`. */
static ucb_status run_once(struct bench *b, bool encoded, uint32_t i,
                           struct ucb_resident_time *time, struct ucb_err *err)
{
    double used = b->has_energy ? ucb_energy_joules(&b->energy) : NAN;
    uint64_t busy = ucb_busy_ns(), start = ucb_clock_ns();
    UCB_TRY(
        encoded
            ? ucb_linear_tiles(b->backend, b->tiles, NULL, b->x, b->n_rows, b->y[1], err)
            : ucb_linear(b->backend, &b->packed, NULL, b->x, b->n_rows, b->y[0], err));
    time->seconds[i] += (double)(ucb_clock_ns() - start) * 1e-9;
    time->busy_seconds[i] += (double)(ucb_busy_ns() - busy) * 1e-9;
    if (b->has_energy) time->joules += ucb_energy_joules(&b->energy) - used;
    return UCB_OK;
}

/* One run of both is a warm-up, whose bits are compared and whose time says how often the
 * whole sample can be repeated; `share`: of the sample's weights in this matrix. */
static ucb_status warm_up(struct bench *b, double share, struct ucb_resident_cost *out,
                          struct ucb_err *err)
{
    struct ucb_resident_time unused = {.joules = 0};
    UCB_TRY(run_once(b, false, 0, &unused, err));
    UCB_TRY(run_once(b, true, 0, &unused, err));
    out->same_bits &= memcmp(b->y[0], b->y[1],
                             b->n_rows * b->tiles->n_out * sizeof(float)) == 0;
    if (out->n_repeats > 0) return UCB_OK;
    double fit = budget_seconds * share / (unused.seconds[0] + 1e-9);
    out->n_repeats = fit < LEAST_REPEATS          ? LEAST_REPEATS
                     : fit > UCB_RESIDENT_REPEATS ? UCB_RESIDENT_REPEATS
                                                  : (uint32_t)fit;
    return UCB_OK;
}

static ucb_status measure_matrix(struct bench *b, double share,
                                 struct ucb_resident_cost *out, struct ucb_err *err)
{
    UCB_TRY(warm_up(b, share, out, err));
    for (uint32_t i = 0; i < out->n_repeats; i++)
        for (uint32_t k = 0; k < 2; k++) { /* who begins changes: clocks and caches drift */
            bool encoded = (i + k) % 2 == 1;
            UCB_TRY(run_once(b, encoded, i, encoded ? &out->encoded : &out->decoded, err));
        }
    out->n_matrices++;
    return UCB_OK;
}

/* Every step-th encoded matrix; how many weights they have. */
static double choose(const struct ucb_layer *layer, size_t *step)
{
    size_t n = 0, at = 0;
    double n_weights = 0;
    for (size_t i = 0; i < layer->n_matrices; i++) n += layer->tiles[i].decode != NULL;
    *step = (n + UCB_RESIDENT_MATRICES - 1) / UCB_RESIDENT_MATRICES;
    for (size_t i = 0; i < layer->n_matrices; i++)
        if (layer->tiles[i].decode != NULL && at++ % *step == 0)
            n_weights += (double)layer->tiles[i].n_out * layer->tiles[i].n_in;
    return n_weights;
}

ucb_status ucb_resident_cost_measure(struct ucb_backend *backend, struct ucb_pool *pool,
                                     const struct ucb_layer *layer, size_t batch,
                                     struct ucb_resident_cost *out, struct ucb_err *err)
{
    struct bench b = {.backend = backend, .pool = pool, .n_rows = batch};
    struct ucb_arena arena;
    size_t step, at = 0;
    ucb_status status = UCB_OK;
    *out = (struct ucb_resident_cost){.batch = batch, .same_bits = true};
    if (layer->tiles == NULL) return UCB_OK;
    double n_weights = choose(layer, &step);
    b.has_energy = ucb_energy_open(NULL, &b.energy);
    if (!b.has_energy) out->decoded.joules = out->encoded.joules = NAN;
    ucb_arena_init(&arena);
    for (size_t i = 0; i < layer->n_matrices && status == UCB_OK; i++) {
        b.tiles = &layer->tiles[i];
        if (b.tiles->decode == NULL || at++ % step != 0) continue;
        ucb_arena_reset(&arena);
        status = prepare(&b, &arena, err);
        if (status == UCB_OK)
            status = measure_matrix(&b, (double)b.tiles->n_out * b.tiles->n_in / n_weights,
                                    out, err);
        ucb_packed_free(backend, &b.packed);
    }
    ucb_arena_free(&arena);
    return status;
}
