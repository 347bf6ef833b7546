/*
 * calibrator.c - the calibration of one chain on its way through the layers, see calib.h.
 *
 * Parallel: one pass of the original over the text, all inputs of a layer collected as it
 * runs, saved, and read back layer by layer; every parallel chain of a model shares the
 * set. Sequential: the hidden states of the text go through the layers as the chain leaves
 * them; an input is collected by running the layer up to it. What was collected is saved
 * too, for the day when the same chain is measured on other tasks.
 *
 * A set is named by SHA-256 over everything its bits depend on, and nothing else.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/resource.h"
#include "core/text.h"
#include "eval/calib_store.h"
#include "eval/pass.h"

enum {
    REVISION = 1,     /* raise when the bits of a statistic change */
    SAMPLE = 512,     /* tokens kept; what AWQ's clip search looks at */
    ALL_NEEDS = 0x0f, /* every UCB_NEEDS_* */
};
_Static_assert(ALL_NEEDS ==
                   (UCB_NEEDS_DIAG | UCB_NEEDS_ABS | UCB_NEEDS_H | UCB_NEEDS_SAMPLE),
               "all kinds of statistics");

/* A sequential set serves one chain only: past this size writing it costs more than it is
 * likely to save. */
static const uint64_t most_saved_bytes = (uint64_t)2 << 30;

struct ucb_calibrator {
    struct ucb_calibrator_options options;
    const struct ucb_arch *arch;
    uint32_t needs;
    size_t *start, n_rows; /* start[n_windows + 1] */
    struct ucb_calib_store store;
    bool is_stored, is_saving;
    struct ucb_arena kept, arena; /* as long as the calibrator; of what was read last */
    struct ucb_states x;
    struct ucb_pass pass; /* over x */
    uint64_t room;        /* memory that x leaves to statistics */
    struct ucb_forward *forward;
    struct ucb_collector **collector; /* [n_slots], NULL where none is open */
    size_t n_slots;                   /* of the fullest layer */
    uint32_t layer;                   /* whose inputs are being collected */
};

static const struct ucb_matrix *const *list_of(const struct ucb_calibrator *c,
                                               uint32_t layer, size_t *n)
{
    return ucb_model_layer_matrices(c->options.model, layer, n);
}

static uint32_t width_of(const struct ucb_calibrator *c, uint32_t layer, size_t slot)
{
    size_t n;
    return list_of(c, layer, &n)[slot]->n_in;
}

/* Whether the matrix at a slot is the first that reads its rows. */
static bool is_first(const struct ucb_matrix *const *list, size_t slot)
{
    return slot == 0 || !ucb_reads_same(list[slot - 1], list[slot]);
}

static bool is_expert(const struct ucb_calibrator *c, const struct ucb_matrix *m)
{
    return c->arch->layers[m->layer].ffn == 0 &&
           (m->role == UCB_ROLE_GATE || m->role == UCB_ROLE_UP || m->role == UCB_ROLE_DOWN);
}

/* ---- the name of a set ---- */

static void text_key(const struct ucb_calibrator *c, struct ucb_text *text)
{
    const struct ucb_calib_text *t = c->options.text;
    char ids[UCB_SHA256_HEX];
    enum ucb_arithmetic arithmetic = ucb_backend_arithmetic(c->options.backend);
    ucb_sha256_hex(t->ids, c->n_rows * sizeof(*t->ids), ids);
    /* The build: hidden states are the work of code that no revision here covers. */
    ucb_text_add(text, "calibration %d, sample %d, build %s\n", REVISION, SAMPLE,
                 ucb_build_id());
    ucb_text_add(text, "model %s\n", c->options.model_digest);
    ucb_text_add(text, "text %s %s:n=%u,ctx=%u,seed=%llu\n", t->digest, t->spec.dataset,
                 t->spec.n, t->spec.ctx, (unsigned long long)t->spec.seed);
    ucb_text_add(text, "ids %zu %s\n", t->n_windows, ids);
    ucb_text_add(text, "arithmetic %s %u\n", ucb_backend_identity(c->options.backend),
                 ucb_arithmetic_revision(arithmetic));
}

/* `chain` is NULL where the original is what runs. */
static ucb_status make_key(const struct ucb_calibrator *c, const struct ucb_chain *chain,
                           uint32_t needs, char key[UCB_SHA256_HEX], struct ucb_err *err)
{
    struct ucb_text text = {0};
    text_key(c, &text);
    ucb_text_add(&text, "needs %u\n", needs);
    if (chain != NULL)
        ucb_text_add(&text, "chain %s\nscope %s\nseed %llu\n", ucb_chain_identity(chain),
                     c->options.scope, (unsigned long long)c->options.seed);
    bool failed = text.failed;
    if (!failed) ucb_sha256_hex(text.data, text.n_chars, key);
    ucb_text_free(&text);
    return failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for the name of a calibration")
                  : UCB_OK;
}

static ucb_status name_store(struct ucb_calibrator *c, const struct ucb_chain *chain,
                             uint32_t needs, struct ucb_err *err)
{
    char key[UCB_SHA256_HEX];
    UCB_TRY(make_key(c, chain, needs, key, err));
    ucb_calib_store_close(&c->store);
    return ucb_calib_store_open(c->options.cache, key, c->arch->n_layers,
                                (uint32_t)c->n_slots, &c->store, err);
}

/* A saved set that holds what is needed, and perhaps more; where there is none, the store
 * is named after what is needed. */
static ucb_status find_stored(struct ucb_calibrator *c, const struct ucb_chain *chain,
                              struct ucb_err *err)
{
    for (uint32_t needs = c->needs; needs <= ALL_NEEDS; needs++) {
        if ((needs & c->needs) != c->needs) continue;
        UCB_TRY(name_store(c, chain, needs, err));
        c->is_stored = ucb_calib_store_complete(&c->store);
        if (c->is_stored) return UCB_OK;
    }
    return name_store(c, chain, c->needs, err);
}

/* ---- collecting ---- */

/* On disk, of one input: of the second moment, a triangle. */
static uint64_t input_bytes(const struct ucb_calibrator *c, uint64_t n)
{
    uint64_t n_bytes = 0;
    if (c->needs & UCB_NEEDS_DIAG) n_bytes += n * sizeof(double);
    if (c->needs & UCB_NEEDS_ABS) n_bytes += 2 * n * sizeof(double);
    if (c->needs & UCB_NEEDS_H) n_bytes += n * (n + 1) / 2 * sizeof(double);
    if (c->needs & UCB_NEEDS_SAMPLE) n_bytes += n * SAMPLE * sizeof(float);
    return n_bytes;
}

static uint64_t set_bytes(const struct ucb_calibrator *c)
{
    uint64_t n_bytes = 0;
    for (uint32_t layer = 0; layer < c->arch->n_layers; layer++) {
        size_t n;
        const struct ucb_matrix *const *list = list_of(c, layer, &n);
        for (size_t slot = 0; slot < n; slot++)
            if (is_first(list, slot)) n_bytes += input_bytes(c, list[slot]->n_in);
    }
    return n_bytes;
}

/* How many rows an expert will get is not known before: about its share. */
static ucb_status open_collector(struct ucb_calibrator *c, const struct ucb_matrix *m,
                                 size_t slot, struct ucb_err *err)
{
    const struct ucb_experts *x = &c->arch->experts;
    uint64_t n_rows = c->n_rows;
    if (is_expert(c, m)) n_rows = n_rows * x->used / x->n + 1;
    return ucb_collector_open(c->needs, m->n_in, n_rows, c->options.text->n_windows, SAMPLE,
                              c->options.pool, &c->collector[slot], err);
}

/* Rows go to the collector of the first matrix that reads them, where one is open. */
static ucb_status see(void *context, enum ucb_input input, uint32_t expert, const float *x,
                      size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    struct ucb_calibrator *c = context;
    size_t n;
    const struct ucb_matrix *const *list = list_of(c, c->layer, &n);
    (void)n_in;
    (void)err;
    for (size_t slot = 0; slot < n; slot++)
        if (c->collector[slot] != NULL && list[slot]->expert == expert &&
            ucb_role_input(list[slot]->role) == input)
            ucb_collector_add(c->collector[slot], x, n_rows);
    return UCB_OK;
}

static bool all_finite(const double *values, size_t n, size_t step)
{
    for (size_t i = 0; values != NULL && i < n; i++)
        if (!isfinite(values[i * step])) return false;
    return true;
}

/* One infinity in the hidden states makes a square or a sum of sizes that is not finite. */
static ucb_status finish(struct ucb_calibrator *c, uint32_t layer, size_t slot,
                         struct ucb_calib *out, struct ucb_err *err)
{
    size_t n_list;
    const struct ucb_matrix *m = list_of(c, layer, &n_list)[slot];
    uint32_t n = m->n_in;
    ucb_collector_finish(c->collector[slot], out);
    bool finite = all_finite(out->sq_mean, n, 1) && all_finite(out->abs_mean, n, 1) &&
                  all_finite(out->second_moment, n, n + 1u);
    for (size_t i = 0; finite && i < (size_t)out->n_sample * n; i++)
        finite = isfinite(out->sample[i]);
    if (finite) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "calibration, layer %u: the input of %s is not finite; the model cannot be run on this text",
        layer, ucb_input_name(ucb_role_input(m->role)));
}

/* ---- running a model ---- */

static ucb_status lay_windows(struct ucb_calibrator *c, struct ucb_err *err)
{
    const struct ucb_calib_text *t = c->options.text;
    if (t->n_windows == 0 || t->spec.ctx == 0)
        return UCB_FAIL(err, UCB_USAGE, "calibration %s: the text has no windows",
                        t->spec.spec);
    if (c->arch->positions == UCB_POSITIONS_LEARNED && t->spec.ctx > c->arch->max_positions)
        return UCB_FAIL(
            err, UCB_USAGE,
            "calibration %s: the model was made for %u positions; try a smaller ctx",
            t->spec.spec, c->arch->max_positions);
    c->start = UCB_NEW(&c->kept, size_t, t->n_windows + 1);
    if (c->start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu windows", t->n_windows);
    for (size_t w = 0; w <= t->n_windows; w++) c->start[w] = w * t->spec.ctx;
    c->n_rows = c->start[t->n_windows];
    return UCB_OK;
}

static ucb_status open_loader(const struct ucb_calibrator *c, struct ucb_loader **out,
                              struct ucb_err *err)
{
    const struct ucb_calibrator_options *o = &c->options;
    enum ucb_scope scope;
    UCB_TRY(ucb_scope_find(o->scope, &scope, err));
    return ucb_loader_open(o->model, o->backend, o->pool, scope, o->seed, o->model_digest,
                           out, err);
}

/* Hidden states of the text as `chain` embeds it, and what a layer runs in. */
static ucb_status begin_states(struct ucb_calibrator *c, struct ucb_loader *loader,
                               const struct ucb_chain *chain, struct ucb_tally *tally,
                               struct ucb_err *err)
{
    const struct ucb_calib_text *t = c->options.text;
    size_t n_floats = c->n_rows * c->arch->hidden;
    UCB_TRY(ucb_forward_open(c->options.backend, c->arch, c->options.batch, t->spec.ctx,
                             &c->forward, err));
    UCB_TRY(ucb_states_alloc(n_floats, n_floats * sizeof(float) > c->options.memory_bytes,
                             c->options.cache, &c->x, err));
    ucb_backend_keep(c->options.backend, c->x.x, c->x.n_bytes);
    c->pass = (struct ucb_pass){t->n_windows, c->start, c->arch->hidden, &c->x};
    c->room = c->options.memory_bytes - (c->x.spilled ? 0 : c->x.n_bytes);
    return ucb_pass_embed(&c->pass, loader, chain, tally, t->ids, err);
}

static void close_collectors(struct ucb_calibrator *c)
{
    for (size_t i = 0; c->collector != NULL && i < c->n_slots; i++) {
        ucb_collector_close(c->collector[i]);
        c->collector[i] = NULL;
    }
}

static void end_states(struct ucb_calibrator *c)
{
    ucb_backend_forget(c->options.backend, c->x.x);
    ucb_states_free(&c->x);
    ucb_forward_close(c->forward);
    c->forward = NULL;
    close_collectors(c);
}

static uint64_t bytes_at(const struct ucb_calibrator *c, const struct ucb_matrix *m)
{
    return ucb_collector_bytes(c->needs, m->n_in, SAMPLE);
}

/*
 * Collects what the matrix at `slot` reads, by running the layer up to it: and in the same
 * run what the next experts read at the same place, as many as the memory holds.
 */
static ucb_status collect(struct ucb_calibrator *c, uint32_t layer, size_t slot,
                          const struct ucb_layer *built, struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = list_of(c, layer, &n);
    enum ucb_input input = ucb_role_input(list[slot]->role);
    struct ucb_tap tap = {.see = see, .context = c};
    uint64_t n_bytes = 0;
    close_collectors(c);
    c->layer = layer;
    for (size_t i = slot; i < n && ucb_role_input(list[i]->role) == input; i++) {
        if (!is_first(list, i)) continue;
        n_bytes += bytes_at(c, list[i]);
        if (i != slot && n_bytes > c->room) break;
        UCB_TRY(open_collector(c, list[i], i, err));
    }
    return ucb_pass_peek(&c->pass, c->forward, built, input, &tap, err);
}

static ucb_status put_finished(struct ucb_calibrator *c, uint32_t layer, size_t slot,
                               struct ucb_err *err)
{
    struct ucb_calib calib;
    UCB_TRY(finish(c, layer, slot, &calib, err));
    UCB_TRY(
        ucb_calib_store_put(&c->store, layer, slot, width_of(c, layer, slot), &calib, err));
    ucb_collector_close(c->collector[slot]);
    c->collector[slot] = NULL;
    return UCB_OK;
}

/* Whether what all but experts read can be collected in one run. */
static bool fit_together(const struct ucb_calibrator *c, uint32_t layer)
{
    size_t n;
    uint64_t n_bytes = 0;
    const struct ucb_matrix *const *list = list_of(c, layer, &n);
    for (size_t slot = 0; slot < n; slot++)
        if (is_first(list, slot) && !is_expert(c, list[slot]))
            n_bytes += bytes_at(c, list[slot]);
    return n_bytes <= c->room;
}

/* Inputs that are collected in runs of their own: those of experts always, some at a time;
 * the others one after the other, where all at once would not fit. */
static ucb_status save_apart(struct ucb_calibrator *c, uint32_t layer,
                             const struct ucb_layer *weights, bool all, struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = list_of(c, layer, &n);
    for (size_t slot = 0; slot < n; slot++) {
        if (!is_first(list, slot) || (!all && !is_expert(c, list[slot]))) continue;
        if (c->collector[slot] == NULL) UCB_TRY(collect(c, layer, slot, weights, err));
        UCB_TRY(put_finished(c, layer, slot, err));
    }
    close_collectors(c);
    return UCB_OK;
}

static ucb_status run_original_layer(struct ucb_calibrator *c, struct ucb_loader *loader,
                                     const struct ucb_chain *none, uint32_t layer,
                                     struct ucb_tally *tally, struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = list_of(c, layer, &n);
    struct ucb_layer weights;
    struct ucb_tap tap = {.see = see, .context = c};
    bool together = fit_together(c, layer);
    UCB_TRY(ucb_loader_layer(loader, none, layer, tally, NULL, &weights, err));
    UCB_TRY(save_apart(c, layer, &weights, !together, err));
    c->layer = layer;
    for (size_t slot = 0; slot < n && together; slot++)
        if (is_first(list, slot) && !is_expert(c, list[slot]))
            UCB_TRY(open_collector(c, list[slot], slot, err));
    UCB_TRY(ucb_pass_layer(&c->pass, c->forward, &weights, &tap, err));
    for (size_t slot = 0; slot < n; slot++)
        if (c->collector[slot] != NULL) UCB_TRY(put_finished(c, layer, slot, err));
    return UCB_OK;
}

static ucb_status run_original(struct ucb_calibrator *c, struct ucb_loader *loader,
                               const struct ucb_chain *none, struct ucb_tally *tally,
                               struct ucb_progress *progress, struct ucb_err *err)
{
    UCB_TRY(ucb_calib_store_begin(&c->store, err));
    for (uint32_t layer = 0; layer < c->arch->n_layers; layer++) {
        UCB_TRY(run_original_layer(c, loader, none, layer, tally, err));
        if (progress != NULL) ucb_progress_add(progress, 1, "calibration");
    }
    return ucb_calib_store_commit(&c->store, err);
}

/* The pass has a line of its own, because its length says nothing about the rest of the
 * work. */
static ucb_status collect_parallel(struct ucb_calibrator *c, struct ucb_loader *loader,
                                   struct ucb_tally *tally, struct ucb_progress *outer,
                                   struct ucb_err *err)
{
    struct ucb_progress own;
    struct ucb_chain *none;
    char label[96];
    UCB_TRY(ucb_chain_parse("none", &c->kept, &none, err));
    UCB_TRY(begin_states(c, loader, none, tally, err));
    if (outer != NULL) {
        snprintf(label, sizeof(label), "calibration, %zu tokens", c->n_rows);
        ucb_progress_end(outer);
        ucb_progress_start(&own, label, c->arch->n_layers);
    }
    ucb_status status = run_original(c, loader, none, tally, outer == NULL ? NULL : &own,
                                     err);
    if (outer != NULL) ucb_progress_end(&own);
    end_states(c);
    c->is_stored = status == UCB_OK;
    return status;
}

/* Keeping a set of one chain is a convenience: where it cannot be kept,
 * the work goes on. */
static void stop_saving(struct ucb_calibrator *c, const struct ucb_err *why)
{
    fprintf(stderr, "calibration is not kept: %s\n", why->text);
    c->is_saving = false;
}

static ucb_status begin_sequential(struct ucb_calibrator *c, struct ucb_loader *loader,
                                   const struct ucb_chain *chain, struct ucb_tally *tally,
                                   struct ucb_err *err)
{
    struct ucb_err why;
    c->is_saving = set_bytes(c) <= most_saved_bytes;
    if (c->is_saving && ucb_calib_store_begin(&c->store, &why) != UCB_OK)
        stop_saving(c, &why);
    return begin_states(c, loader, chain, tally, err);
}

static ucb_status begin(struct ucb_calibrator *c, const struct ucb_chain *chain,
                        struct ucb_progress *progress, struct ucb_err *err)
{
    enum ucb_calib_mode mode = c->options.text->spec.mode;
    bool is_sequential = mode == UCB_CALIB_AUTO ? ucb_chain_is_sequential(chain)
                                                : mode == UCB_CALIB_SEQUENTIAL;
    struct ucb_loader *loader = NULL;
    struct ucb_tally tally;
    uint8_t unused[UCB_SHA256_BYTES];
    UCB_TRY(lay_windows(c, err));
    UCB_TRY(find_stored(c, is_sequential ? chain : NULL, err));
    if (c->is_stored) return UCB_OK;
    UCB_TRY(open_loader(c, &loader, err));
    ucb_tally_begin(&tally);
    ucb_status status = is_sequential ? begin_sequential(c, loader, chain, &tally, err)
                                      : collect_parallel(c, loader, &tally, progress, err);
    ucb_sha256_final(&tally.digest, unused);
    ucb_loader_close(loader);
    return status;
}

static ucb_status count_slots(struct ucb_calibrator *c, struct ucb_err *err)
{
    for (uint32_t layer = 0; layer < c->arch->n_layers; layer++) {
        size_t n;
        list_of(c, layer, &n);
        if (n > c->n_slots) c->n_slots = n;
    }
    c->collector = UCB_NEW(&c->kept, struct ucb_collector *, c->n_slots);
    return c->collector != NULL
               ? UCB_OK
               : UCB_FAIL(err, UCB_NOMEM, "no memory for a calibration's list");
}

ucb_status ucb_calibrator_open(const struct ucb_calibrator_options *options,
                               const struct ucb_chain *chain, struct ucb_progress *progress,
                               struct ucb_calibrator **out, struct ucb_err *err)
{
    assert(ucb_chain_needs(chain) != UCB_NEEDS_NONE && options->text != NULL);
    struct ucb_calibrator *c = ucb_mem_alloc(sizeof(*c));
    if (c == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a calibration");
    c->options = *options;
    c->arch = ucb_model_arch(options->model);
    c->needs = ucb_chain_needs(chain);
    ucb_arena_init(&c->kept);
    ucb_arena_init(&c->arena);
    ucb_status status = count_slots(c, err);
    if (status == UCB_OK) status = begin(c, chain, progress, err);
    if (status != UCB_OK)
        ucb_calibrator_close(c);
    else
        *out = c;
    return status;
}

void ucb_calibrator_close(struct ucb_calibrator *c)
{
    if (c == NULL) return;
    end_states(c);
    ucb_calib_store_close(&c->store);
    ucb_arena_free(&c->arena);
    ucb_arena_free(&c->kept);
    ucb_mem_free(c);
}

bool ucb_calibrator_has_all(const struct ucb_calibrator *c)
{
    return c->is_stored;
}

ucb_status ucb_calibrator_input(struct ucb_calibrator *c, uint32_t layer, size_t slot,
                                const struct ucb_layer *built, struct ucb_calib *out,
                                struct ucb_err *err)
{
    uint32_t n_in = width_of(c, layer, slot);
    struct ucb_err why;
    if (c->is_stored)
        return ucb_calib_store_get(&c->store, layer, slot, n_in, c->needs, c->options.pool,
                                   &c->arena, out, err);
    if (c->layer != layer || c->collector[slot] == NULL)
        UCB_TRY(collect(c, layer, slot, built, err));
    UCB_TRY(finish(c, layer, slot, out, err));
    if (c->is_saving &&
        ucb_calib_store_put(&c->store, layer, slot, n_in, out, &why) != UCB_OK)
        stop_saving(c, &why);
    return UCB_OK;
}

void ucb_calibrator_incomplete(struct ucb_calibrator *c)
{
    c->is_saving = false;
}

ucb_status ucb_calibrator_layer_done(struct ucb_calibrator *c, uint32_t layer,
                                     const struct ucb_layer *built, struct ucb_err *err)
{
    struct ucb_err why;
    if (c->is_stored) return UCB_OK;
    close_collectors(c);
    if (layer + 1 < c->arch->n_layers)
        return ucb_pass_layer(&c->pass, c->forward, built, NULL, err);
    if (c->is_saving && ucb_calib_store_commit(&c->store, &why) != UCB_OK)
        stop_saving(c, &why);
    return UCB_OK;
}
