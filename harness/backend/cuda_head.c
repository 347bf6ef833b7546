/*
 * cuda_head.c - scores of positions on a device: logits and sums there, a block of rows at
 * a time; logarithms and what follows them here, in the double functions of core/fmath.h
 * (the formulas are those of head.c).
 */
#include "backend/cuda_internal.h"

#include <assert.h>
#include <math.h>

#include "core/arena.h"
#include "core/fmath.h"

enum {
    LOGIT_BYTES = 256 << 20, /* of one model's logits in a block; three such buffers */
    MIN_ROWS = 32,
    MAX_ROWS = 4096,
    TILE_IDS = 1024
};

struct head_run {
    struct ucb_backend *backend;
    const uint32_t *target; /* host; of all rows */
    uint32_t n_ids;
    size_t stride, row, n_rows;
    /* On the device: of the reference, its exponentials, of the model; inputs. */
    float *logits0, *exp0, *logits, *hidden, *bias, *partial;
    uint32_t *targets;
    struct ucb_cuda_score *score0, *score;
    struct ucb_cuda_score *host0, *host; /* the same, here */
};

static double one_nan(double x)
{
    return isnan(x) ? (double)NAN : x;
}

static uint32_t best_id(const struct ucb_cuda_score *s)
{
    return s->id[0] == UINT32_MAX ? 0 : s->id[0]; /* no logit is a number above -inf */
}

static void finish_reference(const struct ucb_cuda_score *s, struct ucb_position *out)
{
    *out = (struct ucb_position){
        .ear = 1.0f, .overlap10 = UCB_TOP, .argmax = best_id(s), .rank = s->rank};
    out->logp = one_nan((double)s->target - (double)s->peak - ucb_log(s->sum));
}

static void finish_model(const struct ucb_cuda_score *s0, const struct ucb_cuda_score *s,
                         struct ucb_position *out)
{
    *out = (struct ucb_position){
        .argmax = best_id(s), .rank = s->rank, .teacher_rank = s->teacher_rank};
    for (int i = 0; i < UCB_TOP; i++)
        for (int j = 0; j < UCB_TOP; j++)
            out->overlap10 += s->id[i] == s0->id[j] && s->id[i] != UINT32_MAX;
    out->logp = one_nan((double)s->target - (double)s->peak - ucb_log(s->sum));
    out->kld = (float)one_nan(s->divergence / s0->sum +
                              (ucb_log(s->sum) - ucb_log(s0->sum)));
    out->ear = (float)one_nan(1.0 - 0.5 * s->distance);
}

/* A weight given by rows, as one that is decoded. */
static ucb_status read_rows(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                            uint32_t end, float *out, struct ucb_err *err)
{
    const struct ucb_weight_rows *rows = context;
    (void)worker;
    (void)end;
    return rows->read(rows->context, row, n_rows, out, err);
}

/* The block's rows of a model's hidden states: where the device holds them, else copied. */
static const float *bring_hidden(const struct head_run *run, const struct ucb_head *model)
{
    struct ucb_cuda *c = run->backend->cuda;
    size_t n_in = model->weight->n_in, n_bytes = run->n_rows * n_in * sizeof(float);
    const float *host = model->hidden + run->row * n_in;
    ucb_cuda_mirror_seek(c, host, n_bytes);
    const float *there = ucb_cuda_mirror_at(c, host, n_bytes);
    if (there != NULL && ucb_cuda_suits(c, there)) {
        ucb_cuda_mirror_in(c, host, n_bytes);
        return there;
    }
    ucb_cuda_host_reads(c, host, n_bytes);
    ucb_cuda_note(
        c, "hidden states",
        c->table->upload(c->device, UCB_CUDA_COMPUTE, run->hidden, host, n_bytes));
    return run->hidden;
}

static ucb_status make_logits(const struct head_run *run, const struct ucb_head *model,
                              float *z, struct ucb_err *err)
{
    struct ucb_backend *b = run->backend;
    struct ucb_cuda *c = b->cuda;
    const struct ucb_packed *w = model->weight;
    const float *bias = model->bias == NULL ? NULL : run->bias;
    if (bias != NULL)
        ucb_cuda_note(c, "a bias",
                      c->table->upload(c->device, UCB_CUDA_COMPUTE, run->bias, model->bias,
                                       run->n_ids * sizeof(float)));
    if (w->data == NULL) {
        const struct ucb_cuda_stream_of_rows rows = {read_rows, (void *)model->rows,
                                                     w->n_out, w->n_in, 0};
        UCB_TRY(ucb_cuda_prepare_rows(b, &rows, err));
        const float *hidden = bring_hidden(run, model);
        UCB_TRY(ucb_cuda_multiply_rows(b, &rows, bias, hidden, run->n_rows, z, run->stride,
                                       err));
    } else {
        const void *packed = ucb_cuda_weight(c, w, ucb_pack_bytes(b, w->n_out, w->n_in));
        const float *hidden = bring_hidden(run, model);
        if (c->failed == UCB_OK)
            ucb_cuda_note(c, "logits",
                          c->table->linear(c->device, b->arithmetic, packed, w->n_out,
                                           w->n_in, bias, hidden, run->n_rows, z,
                                           run->stride));
    }
    if (model->softcap != 0 && c->failed == UCB_OK)
        ucb_cuda_note(
            c, "a soft cap",
            c->table->cap(c->device, z, run->n_rows * run->stride, model->softcap));
    return UCB_OK;
}

static ucb_status score_model(const struct head_run *run, const struct ucb_head *model,
                              bool is_reference, struct ucb_position *out,
                              struct ucb_err *err)
{
    struct ucb_cuda *c = run->backend->cuda;
    float *z = is_reference ? run->logits0 : run->logits;
    struct ucb_cuda_score *score = is_reference ? run->score0 : run->score,
                          *host = is_reference ? run->host0 : run->host;
    ucb_cuda_lock(c);
    ucb_status status = make_logits(run, model, z, err);
    ucb_cuda_unlock(c);
    UCB_TRY(status);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "scores",
                      c->table->score(c->device, z, is_reference ? run->exp0 : NULL,
                                      is_reference ? NULL : run->logits0,
                                      is_reference ? NULL : run->exp0,
                                      is_reference ? NULL : run->score0, run->n_rows,
                                      run->n_ids, run->stride, run->targets, run->partial,
                                      score));
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "scores",
                      c->table->download(c->device, UCB_CUDA_COMPUTE, host, score,
                                         run->n_rows * sizeof(*host)));
    ucb_cuda_note(c, "scores", c->table->finish(c->device, UCB_CUDA_COMPUTE));
    UCB_TRY(ucb_cuda_status(c, err));
    for (size_t i = 0; i < run->n_rows; i++) {
        if (is_reference)
            finish_reference(&host[i], &out[run->row + i]);
        else
            finish_model(&run->host0[i], &host[i], &out[run->row + i]);
    }
    return UCB_OK;
}

static void *take(unsigned char **at, size_t n_bytes)
{
    void *p = *at;
    *at += ucb_cuda_room(n_bytes);
    return p;
}

/* All device memory of a block of `rows` rows. */
static ucb_status place(struct head_run *run, size_t rows, uint32_t n_in,
                        struct ucb_err *err)
{
    size_t logits = rows * run->stride * sizeof(float),
           hidden = rows * n_in * sizeof(float), bias = run->n_ids * sizeof(float),
           targets = rows * sizeof(uint32_t),
           partial = rows * 3 * ucb_n_units(run->n_ids, TILE_IDS) * sizeof(float),
           scores = rows * sizeof(struct ucb_cuda_score);
    size_t all = 3 * ucb_cuda_room(logits) + ucb_cuda_room(hidden) + ucb_cuda_room(bias) +
                 ucb_cuda_room(targets) + ucb_cuda_room(partial) +
                 2 * ucb_cuda_room(scores);
    void *p;
    UCB_TRY(ucb_cuda_memory(run->backend->cuda, UCB_CUDA_FOR_X, all, &p, err));
    unsigned char *at = p;
    run->logits0 = take(&at, logits);
    run->exp0 = take(&at, logits);
    run->logits = take(&at, logits);
    run->hidden = take(&at, hidden);
    run->bias = take(&at, bias);
    run->targets = take(&at, targets);
    run->partial = take(&at, partial);
    run->score0 = take(&at, scores);
    run->score = take(&at, scores);
    return UCB_OK;
}

static size_t choose_rows(const struct head_run *run, size_t n_rows)
{
    size_t rows = LOGIT_BYTES / (run->stride * sizeof(float));
    rows = rows < MIN_ROWS ? MIN_ROWS : rows > MAX_ROWS ? MAX_ROWS : rows;
    return rows < n_rows ? rows : n_rows;
}

static ucb_status score_block(struct head_run *run, const struct ucb_head *models,
                              uint32_t n_models, size_t n_all, struct ucb_position *out,
                              struct ucb_err *err)
{
    struct ucb_cuda *c = run->backend->cuda;
    ucb_cuda_note(c, "targets",
                  c->table->upload(c->device, UCB_CUDA_COMPUTE, run->targets,
                                   run->target + run->row,
                                   run->n_rows * sizeof(*run->target)));
    for (uint32_t m = 0; m < n_models; m++)
        UCB_TRY(score_model(run, &models[m], m == 0, out + m * n_all, err));
    return UCB_OK;
}

ucb_status ucb_cuda_head_score(struct ucb_backend *b, const struct ucb_head *models,
                               uint32_t n_models, const uint32_t *target, size_t n_rows,
                               struct ucb_position *out, struct ucb_err *err)
{
    struct head_run run = {
        .backend = b, .target = target, .n_ids = models[0].weight->n_out};
    uint32_t n_in = 0;
    for (uint32_t m = 0; m < n_models; m++) {
        assert(models[m].backend == NULL || models[m].backend == b);
        if (models[m].weight->n_in > n_in) n_in = models[m].weight->n_in;
    }
    run.stride = ucb_round_up(run.n_ids, UCB_PANEL);
    size_t rows = choose_rows(&run, n_rows);
    run.host0 = ucb_mem_alloc(2 * rows * sizeof(*run.host0));
    if (run.host0 == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the scores of %zu rows", rows);
    run.host = run.host0 + rows;
    ucb_status status = ucb_cuda_status(b->cuda, err);
    if (status == UCB_OK) status = place(&run, rows, n_in, err);
    for (; run.row < n_rows && status == UCB_OK; run.row += rows) {
        run.n_rows = n_rows - run.row < rows ? n_rows - run.row : rows;
        status = score_block(&run, models, n_models, n_rows, out, err);
    }
    ucb_mem_free(run.host0);
    return status;
}
