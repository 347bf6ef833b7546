/*
 * tuner.c - see tuner.h. Gradients are always fp32, whatever arithmetic the evaluation
 * runs in; hidden states come from the evaluation's own arithmetic.
 */
#include "eval/tuner.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/progress.h"
#include "eval/states.h"
#include "eval/tuner_bench.h"

enum { N_PROBE = 16 };

struct ucb_tuner {
    struct ucb_calibrator_options options;
    const struct ucb_arch *arch;
    const struct ucb_chain *chain, *none;
    const struct ucb_method *method;
    struct ucb_job job; /* of the TUNE stage */
    struct ucb_tune_plan plan;
    struct ucb_arena kept;
    size_t *start, n_rows;
    /* [n_rows][hidden]: the original before and after the layer at work; what the layer
     * reads where that is another (online), NULL x otherwise */
    struct ucb_states before, after, student;
    struct ucb_loader *loader; /* of the original */
    struct ucb_tally uncounted;
    struct ucb_forward *forward;
    struct ucb_backend *fp32; /* of the gradients */
    struct ucb_bench *bench;
};

static ucb_status lay_windows(struct ucb_tuner *t, struct ucb_err *err)
{
    const struct ucb_calib_text *text = t->options.text;
    if (text == NULL || text->n_windows == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s tunes layers on a calibration text; name one with --calib",
                        ucb_chain_spec(t->chain));
    t->start = UCB_NEW(&t->kept, size_t, text->n_windows + 1);
    if (t->start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu windows", text->n_windows);
    for (size_t w = 0; w <= text->n_windows; w++) t->start[w] = w * text->spec.ctx;
    t->n_rows = t->start[text->n_windows];
    return UCB_OK;
}

static ucb_status alloc_states(struct ucb_tuner *t, struct ucb_states *out,
                               struct ucb_err *err)
{
    uint64_t n_floats = (uint64_t)t->n_rows * t->arch->hidden;
    uint32_t n_sets = t->plan.online ? 3 : 2;
    bool spill = n_sets * n_floats * sizeof(float) > t->options.memory_bytes;
    UCB_TRY(ucb_states_alloc(n_floats, spill, t->options.cache, out, err));
    ucb_backend_keep(t->options.backend, out->x, out->n_bytes);
    return UCB_OK;
}

static void free_states(const struct ucb_tuner *t, struct ucb_states *states)
{
    ucb_backend_forget(t->options.backend, states->x);
    ucb_states_free(states);
}

static void copy_states(const struct ucb_tuner *t, const struct ucb_states *from,
                        const struct ucb_states *to)
{
    ucb_backend_read(t->options.backend, from->x, from->n_bytes);
    ucb_backend_write(t->options.backend, to->x, to->n_bytes);
    memcpy(to->x, from->x, from->n_bytes);
}

static ucb_status open_states(struct ucb_tuner *t, struct ucb_err *err)
{
    const struct ucb_calib_text *text = t->options.text;
    UCB_TRY(alloc_states(t, &t->before, err));
    UCB_TRY(alloc_states(t, &t->after, err));
    if (t->plan.online) UCB_TRY(alloc_states(t, &t->student, err));
    UCB_TRY(ucb_loader_embed(t->loader, t->none, &t->uncounted, text->ids, text->n_windows,
                             t->start, t->before.x, err));
    if (t->plan.online) copy_states(t, &t->before, &t->student);
    return UCB_OK;
}

static ucb_status open_engine(struct ucb_tuner *t, struct ucb_err *err)
{
    const struct ucb_calibrator_options *o = &t->options;
    struct ucb_chain *none;
    enum ucb_scope scope;
    UCB_TRY(ucb_scope_find(o->scope, &scope, err));
    UCB_TRY(ucb_chain_parse("none", &t->kept, &none, err));
    t->none = none;
    UCB_TRY(ucb_loader_open(o->model, o->backend, o->pool, scope, o->seed, o->model_digest,
                            &t->loader, err));
    UCB_TRY(ucb_forward_open(o->backend, t->arch, o->batch, o->text->spec.ctx, &t->forward,
                             err));
    UCB_TRY(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, o->pool, &t->fp32, err));
    struct ucb_bench_options bench = {.model = o->model,
                                      .backend = t->fp32,
                                      .pool = o->pool,
                                      .chain = t->chain,
                                      .plan = t->plan,
                                      .ctx = o->text->spec.ctx,
                                      .memory_bytes = o->memory_bytes};
    return ucb_bench_open(&bench, &t->bench, err);
}

static ucb_status open_all(struct ucb_tuner *t, struct ucb_err *err)
{
    t->method = ucb_chain_tuner(t->chain, &t->job);
    assert(t->method != NULL);
    t->method->tune_plan(&t->job, &t->plan);
    UCB_TRY(lay_windows(t, err));
    UCB_TRY(open_engine(t, err));
    return open_states(t, err);
}

ucb_status ucb_tuner_open(const struct ucb_calibrator_options *options,
                          const struct ucb_chain *chain, struct ucb_tuner **out,
                          struct ucb_err *err)
{
    struct ucb_tuner *t = ucb_mem_alloc(sizeof(*t));
    if (t == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to tune layers");
    t->options = *options;
    t->arch = ucb_model_arch(options->model);
    t->chain = chain;
    ucb_arena_init(&t->kept);
    ucb_tally_begin(&t->uncounted);
    ucb_status status = open_all(t, err);
    if (status != UCB_OK)
        ucb_tuner_close(t);
    else
        *out = t;
    return status;
}

void ucb_tuner_close(struct ucb_tuner *t)
{
    uint8_t unused[UCB_SHA256_BYTES];
    if (t == NULL) return;
    ucb_sha256_final(&t->uncounted.digest, unused);
    ucb_bench_close(t->bench);
    ucb_backend_close(t->fp32);
    ucb_forward_close(t->forward);
    ucb_loader_close(t->loader);
    free_states(t, &t->before);
    free_states(t, &t->after);
    free_states(t, &t->student);
    ucb_arena_free(&t->kept);
    ucb_mem_free(t);
}

/* t->after becomes what the original's layer makes of t->before. */
static ucb_status run_original(struct ucb_tuner *t, uint32_t layer, struct ucb_err *err)
{
    struct ucb_layer weights;
    UCB_TRY(
        ucb_loader_layer(t->loader, t->none, layer, &t->uncounted, NULL, &weights, err));
    copy_states(t, &t->before, &t->after);
    ucb_status status = ucb_forward_layer(t->forward, &weights, t->options.text->n_windows,
                                          t->start, t->after.x, err);
    ucb_loader_rest(t->loader); /* tuning needs the memory */
    return status;
}

static void step_on(struct ucb_tuner *t)
{
    struct ucb_states swap = t->before;
    t->before = t->after;
    t->after = swap;
}

/* Windows spaced evenly over the text. */
static uint32_t pick_probe(const struct ucb_tuner *t, uint32_t out[N_PROBE])
{
    size_t n_windows = t->options.text->n_windows;
    uint32_t n = n_windows < N_PROBE ? (uint32_t)n_windows : N_PROBE;
    for (uint32_t i = 0; i < n; i++) out[i] = (uint32_t)(i * n_windows / n);
    return n;
}

/* The stream of a layer is named after all that its tuning depends on. */
static ucb_status start_job(struct ucb_tuner *t, uint32_t layer, struct ucb_arena *arena,
                            struct ucb_arena *scratch, struct ucb_err *err)
{
    const char *digest = t->options.model_digest == NULL ? "" : t->options.model_digest;
    const char *name = ucb_arena_printf(scratch, "%s/layer %u/%s", digest, layer,
                                        t->method->name);
    if (name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "layer %u: no memory for a stream's name", layer);
    ucb_pcg_named(&t->job.random, t->options.seed, name);
    ucb_arena_reset(scratch);
    t->job.arena = arena;
    t->job.scratch = scratch;
    t->job.pool = t->options.pool;
    return UCB_OK;
}

static ucb_status tune_layer(struct ucb_tuner *t, uint32_t layer,
                             const struct ucb_chain_context *context,
                             struct ucb_writer *payload, struct ucb_writer *gains,
                             struct ucb_tuned *out, struct ucb_arena *arena,
                             struct ucb_arena *scratch, struct ucb_err *err)
{
    uint32_t probe[N_PROBE], n_probe = pick_probe(t, probe);
    struct ucb_bench_states states = {.input = t->plan.online ? t->student.x : t->before.x,
                                      .target = t->after.x,
                                      .shared = context->shared,
                                      .n_shared = context->n_shared,
                                      .n_windows = (uint32_t)t->options.text->n_windows};
    struct ucb_tuning *tuning;
    ucb_backend_read(t->options.backend, states.input, t->before.n_bytes);
    ucb_backend_read(t->options.backend, states.target, t->after.n_bytes);
    UCB_TRY(ucb_backend_finish(t->options.backend, err));
    UCB_TRY(ucb_bench_layer(t->bench, layer, payload, &states, &tuning, err));
    UCB_TRY(ucb_bench_loss(t->bench, probe, n_probe, &out->loss_before, err));
    UCB_TRY(start_job(t, layer, arena, scratch, err));
    UCB_TRY(t->method->tune(&t->job, tuning, err));
    UCB_TRY(ucb_bench_store(t->bench, payload, gains, err));
    UCB_TRY(ucb_bench_loss(t->bench, probe, n_probe, &out->loss_after, err));
    return UCB_OK;
}

ucb_status ucb_tuner_layer(struct ucb_tuner *t, uint32_t layer,
                           const struct ucb_chain_context *context,
                           struct ucb_writer *payload, struct ucb_writer *gains,
                           struct ucb_tuned *out, struct ucb_err *err)
{
    struct ucb_arena arena, scratch;
    uint64_t start = ucb_clock_ns();
    UCB_TRY(run_original(t, layer, err));
    ucb_arena_init(&arena);
    ucb_arena_init(&scratch);
    ucb_writer_reset(gains);
    ucb_status status = tune_layer(t, layer, context, payload, gains, out, &arena, &scratch,
                                   err);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    ucb_bench_clear(t->bench);
    step_on(t);
    out->seconds = (double)(ucb_clock_ns() - start) * 1e-9;
    if (status != UCB_OK) ucb_err_prefix(err, "%s", ucb_chain_spec(t->chain));
    return status;
}

ucb_status ucb_tuner_skip(struct ucb_tuner *t, uint32_t layer, struct ucb_err *err)
{
    UCB_TRY(run_original(t, layer, err));
    step_on(t);
    return UCB_OK;
}

ucb_status ucb_tuner_layer_done(struct ucb_tuner *t, uint32_t layer,
                                const struct ucb_layer *built, struct ucb_err *err)
{
    (void)layer;
    if (!t->plan.online) return UCB_OK;
    return ucb_forward_layer(t->forward, built, t->options.text->n_windows, t->start,
                             t->student.x, err);
}
