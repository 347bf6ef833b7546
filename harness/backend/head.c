/*
 * head.c - scores of positions from hidden states, a block of rows at a time; logits live
 * only in scratch.
 *
 * For a block of rows: logits of the reference, its statistics, then the same for each
 * model beside it. Logits are made 1024 ids at a time by all workers, with all rows of the
 * block per panel, so the head's weight passes through the caches once per block and model
 * (once for the reference and the first model, where they share it); statistics go row by
 * row, while the row is in the second cache. A weight that is not in memory is read and
 * packed panel by panel, which is why its blocks have more rows.
 *
 * With M = max z, e_v = exp(z_v - M), S = sum e_v (reference: index 0):
 *     logp = z_t - M - ln S
 *     KLD  = (sum e0_v ((z0_v - M0) - (z_v - M))) / S0 + (ln S - ln S0)
 *     EAR  = 1 - 1/2 sum |P_v - Q_v|,  P_v = e0_v fl(1 / S0),  Q_v = e_v fl(1 / S)
 *
 * EAR is sum min(P_v, Q_v). A model with the reference's logits has a KLD of exactly 0 and
 * an EAR of exactly 1. Sums over the vocabulary: fp32 in 16 lanes within 1024 ids, then
 * doubles in index order.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "backend/cuda_internal.h"
#include "core/fmath.h"

enum {
    TILE_IDS = 1024, /* ids of one item, and of one fp32 sum: part of the arithmetic */
    LOGIT_BYTES = 16 << 20,      /* of one model's logits in a block; three such buffers */
    LOGIT_BYTES_READ = 40 << 20, /* the same where the weight is read for every block */
    MIN_ROWS = 32,
    MAX_ROWS = 128
};

/* What the models of a row are compared with. */
struct reference_row {
    float peak;
    double sum;
    struct ucb_top top;
};

/* A model whose logits are made. */
struct side {
    const struct ucb_head *model;
    struct ucb_slab slab;
    float *logits;
};

/* Of one worker: where it packs a panel, and the first thing that went wrong. */
struct reader {
    float *rows; /* [UCB_PANEL][n_in] */
    void *panel;
    ucb_status status;
    struct ucb_err err;
};

struct head_run {
    const struct ucb_backend *backend;
    struct side side[2]; /* at work; all read the weight of the first */
    uint32_t n_sides;
    struct reader *reader;  /* [threads], NULL where all weights are in memory */
    const uint32_t *target; /* of the block's first row, like the two below */
    struct ucb_position *out;
    size_t row, n_rows;
    uint32_t n_ids;
    bool is_reference;
    size_t stride; /* of a row of logits, in floats */
    struct ucb_slab slab[2];
    float *logits0, *exp0, *logits; /* of the reference, its exponentials, of the model */
    struct reference_row *rows;
};

static const struct ucb_backend *backend_of(const struct head_run *run,
                                            const struct ucb_head *model)
{
    return model->backend != NULL ? model->backend : run->backend;
}

/* Bias, then cap, on the ids [first, end) of every row: where a model has them. */
static void finish_logits(const struct head_run *run, const struct side *side, size_t first,
                          size_t end)
{
    const struct ucb_kernel_table *table = run->backend->table;
    const struct ucb_head *model = side->model;
    if (model->bias == NULL && model->softcap == 0) return;
    for (size_t row = 0; row < run->n_rows; row++) {
        float *z = side->logits + row * run->stride + first;
        if (model->bias != NULL) table->add(z, model->bias + first, end - first);
        if (model->softcap != 0) table->cap(z, end - first, 1.0f, model->softcap);
    }
}

/* The panel of 32 ids from `id` on; NULL after an error, which the reader keeps. */
static const void *panel_at(const struct head_run *run, size_t id, unsigned worker)
{
    const struct ucb_head *model = run->side[0].model;
    const struct ucb_packed *weight = model->weight;
    enum ucb_arithmetic arithmetic = backend_of(run, model)->arithmetic;
    if (weight->data != NULL)
        return (const unsigned char *)weight->data +
               id / UCB_PANEL * ucb_panel_bytes(arithmetic, weight->n_in);
    struct reader *reader = &run->reader[worker];
    uint32_t n = run->n_ids - (uint32_t)id < UCB_PANEL ? run->n_ids - (uint32_t)id
                                                       : (uint32_t)UCB_PANEL;
    if (reader->status == UCB_OK)
        reader->status = model->rows->read(model->rows->context, (uint32_t)id, n,
                                           reader->rows, &reader->err);
    if (reader->status != UCB_OK) return NULL;
    struct ucb_source source = {reader->rows, weight->n_in, 1};
    ucb_panel_pack(arithmetic, &source, n, weight->n_in, reader->panel);
    return reader->panel;
}

static void logits_item(void *context, size_t index, unsigned worker)
{
    const struct head_run *run = context;
    const struct ucb_head *model = run->side[0].model;
    const struct ucb_products *products = backend_of(run, model)->products;
    uint32_t n_in = model->weight->n_in;
    size_t first = index * TILE_IDS,
           end = first + TILE_IDS < run->n_ids ? first + TILE_IDS : run->n_ids;
    for (size_t id = first; id < end; id += UCB_PANEL) {
        const void *panel = panel_at(run, id, worker);
        if (panel == NULL) return;
        uint32_t state = products->begin();
        for (uint32_t s = 0; s < run->n_sides; s++)
            products->multiply(&run->side[s].slab, (uint32_t)run->n_rows, n_in, panel,
                               run->side[s].logits + id, run->stride);
        products->end(state);
    }
    for (uint32_t s = 0; s < run->n_sides; s++)
        finish_logits(run, &run->side[s], first, end);
}

static uint32_t tile_size(const struct head_run *run, uint32_t first)
{
    return run->n_ids - first < TILE_IDS ? run->n_ids - first : TILE_IDS;
}

static uint32_t count_above(const struct head_run *run, const float *z, uint32_t id)
{
    return run->backend->table->count_above(z, run->n_ids, z[id]);
}

/* NaN has many encodings, and which one an operation yields is not defined: results hold
 * one. */
static double one_nan(double x)
{
    return isnan(x) ? (double)NAN : x;
}

static uint32_t best_id(const struct ucb_top *top)
{
    return top->id[0] == UINT32_MAX ? 0 : top->id[0]; /* no logit is a number above -inf */
}

static void score_reference(struct head_run *run, size_t row, uint32_t target,
                            struct ucb_position *out)
{
    const struct ucb_kernel_table *table = run->backend->table;
    const float *z = run->logits0 + row * run->stride;
    float *e = run->exp0 + row * run->stride;
    struct reference_row *reference = &run->rows[row];
    table->top(z, run->n_ids, &reference->top);
    reference->peak = reference->top.value[0];
    reference->sum = 0.0;
    for (uint32_t id = 0; id < run->n_ids; id += TILE_IDS)
        reference->sum += (double)table->exp_sum(z + id, tile_size(run, id),
                                                 reference->peak, e + id);
    *out = (struct ucb_position){
        .ear = 1.0f, .overlap10 = UCB_TOP, .argmax = best_id(&reference->top)};
    out->logp = one_nan((double)z[target] - (double)reference->peak -
                        ucb_log(reference->sum));
    out->rank = count_above(run, z, target);
}

static uint32_t count_common(const struct ucb_top *a, const struct ucb_top *b)
{
    uint32_t n = 0;
    for (int i = 0; i < UCB_TOP; i++)
        for (int j = 0; j < UCB_TOP; j++)
            n += a->id[i] == b->id[j] && a->id[i] != UINT32_MAX;
    return n;
}

static float agreement(const struct head_run *run, const float *e0, double sum0,
                       const float *e, double sum)
{
    float factor0 = (float)(1.0 / sum0), factor = (float)(1.0 / sum);
    double distance = 0.0;
    for (uint32_t id = 0; id < run->n_ids; id += TILE_IDS)
        distance += (double)run->backend->table->distance(e0 + id, factor0, e + id, factor,
                                                          tile_size(run, id));
    return (float)one_nan(1.0 - 0.5 * distance);
}

static void score_model(struct head_run *run, size_t row, uint32_t target,
                        struct ucb_position *out)
{
    const struct ucb_kernel_table *table = run->backend->table;
    const struct reference_row *reference = &run->rows[row];
    const float *z0 = run->logits0 + row * run->stride, *e0 = run->exp0 + row * run->stride;
    float *z = run->logits + row * run->stride, target_logit = z[target];
    struct ucb_top top;
    table->top(z, run->n_ids, &top);
    out->argmax = best_id(&top);
    out->overlap10 = count_common(&top, &reference->top);
    out->rank = count_above(run, z, target);
    out->teacher_rank = count_above(run, z, best_id(&reference->top));

    double sum = 0.0, divergence = 0.0;
    for (uint32_t id = 0; id < run->n_ids;
         id += TILE_IDS) { /* the exponentials take the place of the logits */
        float part = 0.0f;
        sum += (double)table->exp_sum_beside(z + id, tile_size(run, id), top.value[0],
                                             z0 + id, reference->peak, e0 + id, z + id,
                                             &part);
        divergence += (double)part;
    }
    out->logp = one_nan((double)target_logit - (double)top.value[0] - ucb_log(sum));
    out->kld = (float)one_nan(divergence / reference->sum +
                              (ucb_log(sum) - ucb_log(reference->sum)));
    out->ear = agreement(run, e0, reference->sum, z, sum);
}

static void score_row(void *context, size_t index)
{
    struct head_run *run = context;
    uint32_t target = run->target[run->row + index];
    struct ucb_position *out = &run->out[run->row + index];
    assert(target < run->n_ids);
    if (run->is_reference) {
        score_reference(run, index, target, out);
    } else {
        score_model(run, index, target, out);
    }
}

/* The logits of `n` models that share a weight: the reference's first, where it is one. */
static ucb_status make_logits(struct head_run *run, const struct ucb_head *models,
                              uint32_t n, struct ucb_err *err)
{
    uint32_t n_in = models[0].weight->n_in;
    run->n_sides = n;
    for (uint32_t s = 0; s < n; s++) {
        run->side[s] = (struct side){&models[s], run->slab[s],
                                     run->is_reference && s == 0 ? run->logits0
                                                                 : run->logits};
        ucb_slab_pack(backend_of(run, models)->products, models[s].hidden + run->row * n_in,
                      n_in, run->n_rows, n_in, &run->slab[s]);
    }
    ucb_parallel_workers(run->backend->pool, ucb_n_units(run->n_ids, TILE_IDS), logits_item,
                         run);
    for (unsigned i = 0; run->reader != NULL && i < ucb_pool_threads(run->backend->pool);
         i++) {
        if (run->reader[i].status == UCB_OK) continue;
        if (err != NULL) *err = run->reader[i].err;
        return run->reader[i].status;
    }
    return UCB_OK;
}

static bool share_weight(const struct ucb_head *a, const struct ucb_head *b)
{
    return a->weight == b->weight && a->rows == b->rows && a->backend == b->backend;
}

static ucb_status score_block(struct head_run *run, const struct ucb_head *models,
                              uint32_t n_models, size_t n_all, struct ucb_position *out,
                              struct ucb_err *err)
{
    for (uint32_t m = 0, n = 0; m < n_models; m += n) {
        n = m == 0 && n_models > 1 && share_weight(&models[0], &models[1]) ? 2 : 1;
        run->is_reference = m == 0;
        UCB_TRY(make_logits(run, models + m, n, err));
        for (uint32_t s = 0; s < n; s++) {
            run->is_reference = m + s == 0;
            run->out = out + (m + s) * n_all;
            ucb_parallel_for(run->backend->pool, run->n_rows, score_row, run);
        }
    }
    return UCB_OK;
}

/* Rows of logits are one cache line longer than whole panels: a power of two between rows
 * would share cache sets. */
static size_t row_stride(uint32_t n_ids)
{
    return ucb_round_up(n_ids, UCB_PANEL) + UCB_LANES;
}

static size_t choose_block_rows(const struct ucb_backend *backend, uint32_t n_ids,
                                bool reads, size_t n_rows)
{
    size_t fit = (reads ? LOGIT_BYTES_READ : LOGIT_BYTES) /
                 (row_stride(n_ids) * sizeof(float)),
           tile = backend->products->tile_rows;
    size_t rows = fit < MIN_ROWS ? MIN_ROWS : fit > MAX_ROWS ? MAX_ROWS : fit;
    rows = rows / tile * tile;
    return rows < n_rows ? rows : n_rows;
}

/* Whether a weight is not in memory; *n_in: the widest input. */
static bool any_read(const struct ucb_head *models, uint32_t n_models, uint32_t *n_in)
{
    bool reads = false;
    *n_in = 0;
    for (uint32_t m = 0; m < n_models; m++) {
        assert(models[m].weight->n_out == models[0].weight->n_out);
        assert(models[m].weight->data != NULL || models[m].rows != NULL);
        reads = reads || models[m].weight->data == NULL;
        if (models[m].weight->n_in > *n_in) *n_in = models[m].weight->n_in;
    }
    return reads;
}

/* Of the arithmetic that has the largest panels. */
static size_t panel_bytes(const struct head_run *run, const struct ucb_head *models,
                          uint32_t n_models, uint32_t n_in)
{
    size_t most = 0;
    for (uint32_t m = 0; m < n_models; m++) {
        size_t n = ucb_panel_bytes(backend_of(run, &models[m])->arithmetic, n_in);
        if (n > most) most = n;
    }
    return most;
}

static ucb_status place(struct head_run *run, size_t block_rows, uint32_t n_in,
                        size_t panel, bool reads, struct ucb_err *err)
{
    unsigned n_readers = reads ? ucb_pool_threads(run->backend->pool) : 0;
    size_t logits = block_rows * run->stride * sizeof(float),
           slab = ucb_slab_bytes(block_rows, n_in),
           rows = ucb_round_up(block_rows * sizeof(*run->rows), 64),
           readers = ucb_round_up(n_readers * sizeof(*run->reader), 64),
           read = ucb_round_up((size_t)UCB_PANEL * n_in * sizeof(float), 64);
    unsigned char *at;
    UCB_TRY(ucb_backend_scratch((struct ucb_backend *)run->backend,
                                3 * logits + 2 * slab + rows + readers +
                                    n_readers * (read + panel),
                                "head", &at, err));
    run->logits0 = (float *)at;
    run->exp0 = (float *)(at + logits);
    run->logits = (float *)(at + 2 * logits);
    at += 3 * logits;
    run->slab[0] = ucb_slab_place(at, block_rows);
    run->slab[1] = ucb_slab_place(at + slab, block_rows);
    run->rows = (struct reference_row *)(at + 2 * slab);
    run->reader = reads ? (struct reader *)(at + 2 * slab + rows) : NULL;
    at += 2 * slab + rows + readers;
    for (unsigned i = 0; i < n_readers; i++, at += read + panel)
        run->reader[i] = (struct reader){
            .rows = (float *)at, .panel = at + read, .status = UCB_OK};
    return UCB_OK;
}

ucb_status ucb_head_score(struct ucb_backend *backend, const struct ucb_head *models,
                          uint32_t n_models, const uint32_t *target, size_t n_rows,
                          struct ucb_position *out, struct ucb_err *err)
{
    assert(n_models > 0);
    struct head_run run = {
        .backend = backend, .target = target, .n_ids = models[0].weight->n_out};
    uint32_t n_in;
    bool reads = any_read(models, n_models, &n_in);
    if (n_rows == 0) return UCB_OK;
    if (backend->cuda != NULL)
        return ucb_cuda_head_score(backend, models, n_models, target, n_rows, out, err);
    run.stride = row_stride(run.n_ids);
    size_t block_rows = choose_block_rows(backend, run.n_ids, reads, n_rows);
    UCB_TRY(place(&run, block_rows, n_in, panel_bytes(&run, models, n_models, n_in), reads,
                  err));
    for (run.row = 0; run.row < n_rows; run.row += block_rows) {
        run.n_rows = n_rows - run.row < block_rows ? n_rows - run.row : block_rows;
        UCB_TRY(score_block(&run, models, n_models, n_rows, out, err));
    }
    return UCB_OK;
}
