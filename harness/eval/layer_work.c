/* layer_work.c - see layer_work.h. */
#include "eval/layer_work.h"

#include <stdio.h>

#include "core/arena.h"
#include "eval/layer_store.h"
#include "eval/loader_internal.h"
#include "eval/tuner.h"
#include "method/tunable.h"

/* Layers kept beyond the run are a convenience; past this size they are not worth it. */
static const uint64_t most_kept_bytes = (uint64_t)2 << 30;

struct ucb_layer_work {
    struct ucb_calibrator_options options;
    const struct ucb_chain *chain;
    uint32_t n_layers;
    struct ucb_arena arena;
    struct ucb_layer_store store;
    bool is_online;
    bool is_kept; /* false: the cache cannot be written */
    struct ucb_tuner *tuner;
    uint32_t n_seen; /* layers that the tuner has gone through */
    size_t n_slots;  /* of the fullest layer */
    struct ucb_layer_bytes bytes;
    const struct ucb_matrix *const *list; /* of the layer at work */
};

ucb_status ucb_layer_work_open(const struct ucb_calibrator_options *options,
                               const struct ucb_chain *chain, struct ucb_layer_work **out,
                               struct ucb_err *err)
{
    struct ucb_tune_plan plan;
    struct ucb_job job;
    const struct ucb_method *tuner = ucb_chain_tuner(chain, &job);
    *out = NULL;
    if (tuner == NULL) return UCB_OK;
    tuner->tune_plan(&job, &plan);
    struct ucb_layer_work *w = ucb_mem_alloc(sizeof(*w));
    if (w == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to keep layers");
    w->options = *options;
    w->chain = chain;
    w->n_layers = ucb_model_arch(options->model)->n_layers;
    w->is_kept = true;
    w->is_online = plan.online;
    ucb_arena_init(&w->arena);
    for (uint32_t layer = 0; layer < w->n_layers; layer++) {
        size_t n;
        ucb_model_layer_matrices(options->model, layer, &n);
        if (n > w->n_slots) w->n_slots = n;
    }
    w->bytes.payload = UCB_NEW(&w->arena, struct ucb_writer, w->n_slots);
    ucb_status status = w->bytes.payload == NULL
                            ? UCB_FAIL(err, UCB_NOMEM, "no memory to keep layers")
                            : ucb_layer_store_open(options, chain, &w->store, err);
    if (status != UCB_OK)
        ucb_layer_work_close(w);
    else
        *out = w;
    return status;
}

void ucb_layer_work_close(struct ucb_layer_work *w)
{
    if (w == NULL) return;
    ucb_tuner_close(w->tuner);
    for (size_t i = 0; i < w->n_slots && w->bytes.payload != NULL; i++)
        ucb_writer_free(&w->bytes.payload[i]);
    ucb_writer_free(&w->bytes.gains);
    ucb_arena_free(&w->arena);
    ucb_mem_free(w);
}

const struct ucb_writer *ucb_layer_work_gains(const struct ucb_layer_work *w)
{
    return &w->bytes.gains;
}

void ucb_layer_work_finish(struct ucb_layer_work *w)
{
    if (ucb_layer_store_bytes(&w->store, w->n_layers) > most_kept_bytes)
        ucb_layer_store_remove(&w->store, w->n_layers);
}

/* Takes what the stages before the tuning wrote, matrix by matrix. */
static ucb_status capture(void *context, const struct ucb_matrix *matrix,
                          enum ucb_role role, const struct ucb_writer *payload,
                          const float *decoded, struct ucb_err *err)
{
    struct ucb_layer_work *w = context;
    (void)role;
    (void)decoded;
    for (size_t slot = 0; slot < w->bytes.n_slots; slot++)
        if (w->list[slot] == matrix)
            return ucb_writer_copy(&w->bytes.payload[slot], payload, err);
    return UCB_OK;
}

static ucb_status encode(struct ucb_layer_work *w, struct ucb_loader *loader,
                         uint32_t layer, struct ucb_calibrator *calibrator,
                         struct ucb_err *err)
{
    ucb_loader_wrote *wrote = loader->wrote;
    void *wrote_context = loader->wrote_context;
    struct ucb_layer untuned;
    struct ucb_tally tally;
    uint8_t unused[UCB_SHA256_BYTES];
    for (size_t slot = 0; slot < w->bytes.n_slots; slot++)
        ucb_writer_reset(&w->bytes.payload[slot]);
    ucb_tally_begin(&tally);
    ucb_loader_watch(loader, capture, w);
    ucb_status status = ucb_loader_build(loader, w->chain, layer, NULL, &tally, calibrator,
                                         &untuned, err);
    ucb_loader_watch(loader, wrote, wrote_context);
    ucb_sha256_final(&tally.digest, unused);
    w->bytes.encode_seconds = tally.encode_seconds;
    w->bytes.n_uncalibrated = tally.n_uncalibrated;
    ucb_loader_rest(loader); /* tuning needs the memory */
    return status;
}

static ucb_status open_tuner(struct ucb_layer_work *w, struct ucb_err *err)
{
    return w->tuner != NULL ? UCB_OK
                            : ucb_tuner_open(&w->options, w->chain, &w->tuner, err);
}

/* The tuner's text goes through the layers before, as the run that made them left it. */
static ucb_status reach(struct ucb_layer_work *w, uint32_t layer, struct ucb_err *err)
{
    UCB_TRY(open_tuner(w, err));
    for (; w->n_seen < layer; w->n_seen++)
        UCB_TRY(ucb_tuner_skip(w->tuner, w->n_seen, err));
    return UCB_OK;
}

static void keep(struct ucb_layer_work *w, uint32_t layer)
{
    struct ucb_err why;
    if (!w->is_kept) return;
    if (ucb_layer_store_put(&w->store, layer, &w->bytes, &why) == UCB_OK) return;
    fprintf(stderr, "tuned layers are not kept: %s\n", why.text);
    w->is_kept = false;
}

static ucb_status make(struct ucb_layer_work *w, struct ucb_loader *loader, uint32_t layer,
                       struct ucb_calibrator *calibrator, struct ucb_err *err)
{
    struct ucb_tuned tuned;
    UCB_TRY(encode(w, loader, layer, calibrator, err));
    UCB_TRY(reach(w, layer, err));
    UCB_TRY(ucb_tuner_layer(w->tuner, layer, &loader->context, w->bytes.payload,
                            &w->bytes.gains, &tuned, err));
    w->n_seen = layer + 1;
    w->bytes.loss_before = tuned.loss_before;
    w->bytes.loss_after = tuned.loss_after;
    w->bytes.tune_seconds = tuned.seconds;
    keep(w, layer);
    return UCB_OK;
}

ucb_status ucb_layer_work_run(struct ucb_layer_work *w, struct ucb_loader *loader,
                              uint32_t layer, struct ucb_tally *tally,
                              struct ucb_calibrator *calibrator, struct ucb_layer *out,
                              struct ucb_layer_record *record, struct ucb_err *err)
{
    w->list = ucb_model_layer_matrices(w->options.model, layer, &w->bytes.n_slots);
    bool is_there = ucb_layer_store_get(&w->store, layer, &w->bytes);
    if (w->is_online) UCB_TRY(open_tuner(w, err)); /* its text sees every tuned layer */
    if (is_there && calibrator != NULL) ucb_calibrator_incomplete(calibrator);
    if (!is_there) UCB_TRY(make(w, loader, layer, calibrator, err));
    UCB_TRY(ucb_loader_build(loader, w->chain, layer, &w->bytes, tally, NULL, out, err));
    record->loss_before = w->bytes.loss_before;
    record->loss_after = w->bytes.loss_after;
    record->is_tuned = true;
    if (calibrator != NULL) UCB_TRY(ucb_calibrator_layer_done(calibrator, layer, out, err));
    return w->tuner == NULL ? UCB_OK : ucb_tuner_layer_done(w->tuner, layer, out, err);
}
