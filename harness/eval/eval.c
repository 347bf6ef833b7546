/*
 * eval.c - see eval.h. Windows of all sets lie one after the other as rows of the hidden
 * states. Only scored rows are kept after the last norm, in item order, so an item's
 * positions are neighbours and sums run in one fixed order.
 */
#include "eval/eval.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "eval/score.h"
#include "eval/shared.h"
#include "eval/states.h"

enum { MAX_GROUP = 4, HEAD_ROWS = 2048 };

struct ucb_eval {
    struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_eval_options options;
    const struct ucb_items *const *sets;
    size_t n_sets, n_windows, n_rows, n_items, n_scored;
    struct ucb_arena arena;
    size_t *start;      /* [n_windows + 1] first row of each window */
    uint32_t *ids;      /* [n_rows] input of each row */
    size_t *scored_row; /* [n_scored] row of each scored position */
    uint32_t *target;   /* [n_scored] */
    size_t *item_end;   /* [n_items] scored positions up to and including the item */
    size_t longest, longest_item;
    /* [n_scored][hidden], the original's, after the last norm */
    struct ucb_states reference;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    const float *head_bias; /* NULL: none */
};

/* One method on its way through the layers. */
struct variant {
    const struct ucb_chain *chain;
    struct ucb_eval_result *result;
    struct ucb_states x;
    double seconds;
    struct ucb_layer layer;
    struct ucb_calibrator *calibrator; /* NULL: the chain needs none */
    struct ucb_writer shared;          /* side data; empty: the chain has none */
};

void ucb_eval_result_free(struct ucb_eval_result *result)
{
    ucb_arena_free(&result->arena);
}

static ucb_status count_rows(struct ucb_eval *e, struct ucb_err *err)
{
    for (size_t s = 0; s < e->n_sets; s++) {
        const struct ucb_items *set = e->sets[s];
        e->n_windows += set->n_windows;
        e->n_items += set->n_items;
        for (size_t w = 0; w < set->n_windows; w++) {
            size_t n = set->windows[w].n_ids - 1;
            e->n_rows += n;
            if (n > e->longest) e->longest = n;
        }
        for (size_t i = 0; i < set->n_items; i++) {
            size_t n = set->items[i].to - set->items[i].from;
            e->n_scored += n;
            if (n > e->longest_item) e->longest_item = n;
        }
    }
    if (e->n_items == 0)
        return UCB_FAIL(err, UCB_USAGE, "there is nothing to score: every task is empty");
    if (e->arch->max_positions == 0 || e->longest <= e->arch->max_positions) return UCB_OK;
    if (e->arch->positions == UCB_POSITIONS_LEARNED)
        return UCB_FAIL(
            err, UCB_USAGE,
            "a window has %zu tokens, the model has %u positions; try a smaller ctx",
            e->longest, e->arch->max_positions);
    fprintf(
        stderr,
        "a window has %zu tokens, the model was made for %u positions: scored as asked\n",
        e->longest, e->arch->max_positions);
    return UCB_OK;
}

static ucb_status check_ids(const struct ucb_eval *e, const struct ucb_window *window,
                            struct ucb_err *err)
{
    for (uint32_t i = 0; i < window->n_ids; i++)
        if (window->ids[i] >= e->arch->vocabulary)
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "the tokenizer gives id %u, the model's vocabulary has %u entries; are the two of one model?",
                window->ids[i], e->arch->vocabulary);
    return UCB_OK;
}

/* Lays the windows of all sets one after the other and notes where each scored position
 * lies. */
static ucb_status lay_rows(struct ucb_eval *e, struct ucb_err *err)
{
    size_t window = 0, row = 0, scored = 0, item = 0;
    for (size_t s = 0; s < e->n_sets; s++) {
        const struct ucb_items *set = e->sets[s];
        size_t first_window = window;
        for (size_t w = 0; w < set->n_windows; w++) {
            const struct ucb_window *source = &set->windows[w];
            UCB_TRY(check_ids(e, source, err));
            e->start[window++] = row;
            memcpy(e->ids + row, source->ids, (source->n_ids - 1) * sizeof(*e->ids));
            row += source->n_ids - 1;
        }
        for (size_t i = 0; i < set->n_items; i++) {
            const struct ucb_item *it = &set->items[i];
            const struct ucb_window *source = &set->windows[it->window];
            for (uint32_t p = it->from; p < it->to; p++) {
                e->scored_row[scored] = e->start[first_window + it->window] + p;
                e->target[scored++] = source->ids[p + 1];
            }
            e->item_end[item++] = scored;
        }
    }
    e->start[window] = row;
    return UCB_OK;
}

static ucb_status prepare(struct ucb_eval *e, struct ucb_err *err)
{
    UCB_TRY(count_rows(e, err));
    e->start = UCB_NEW(&e->arena, size_t, e->n_windows + 1);
    e->ids = UCB_NEW(&e->arena, uint32_t, e->n_rows);
    e->scored_row = UCB_NEW(&e->arena, size_t, e->n_scored);
    e->target = UCB_NEW(&e->arena, uint32_t, e->n_scored);
    e->item_end = UCB_NEW(&e->arena, size_t, e->n_items);
    if (e->start == NULL || e->ids == NULL || e->scored_row == NULL || e->target == NULL ||
        e->item_end == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the windows of %zu tokens",
                        e->n_rows);
    UCB_TRY(lay_rows(e, err));
    UCB_TRY(ucb_loader_open(e->model, e->options.backend, e->options.pool, e->options.scope,
                            e->options.seed, e->options.model_digest, &e->loader, err));
    UCB_TRY(ucb_loader_head_bias(e->loader, &e->head_bias, err));
    return ucb_forward_open(e->options.backend, e->arch, e->options.batch, e->longest,
                            &e->forward, err);
}

ucb_status ucb_eval_open(struct ucb_model *model, const struct ucb_eval_options *options,
                         const struct ucb_items *const *sets, size_t n_sets,
                         struct ucb_eval **out, struct ucb_err *err)
{
    struct ucb_eval *e = ucb_mem_alloc(sizeof(*e));
    if (e == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for an evaluation");
    e->model = model;
    e->arch = ucb_model_arch(model);
    e->options = *options;
    e->sets = sets;
    e->n_sets = n_sets;
    ucb_arena_init(&e->arena);
    ucb_status status = prepare(e, err);
    if (status != UCB_OK)
        ucb_eval_close(e);
    else
        *out = e;
    return status;
}

void ucb_eval_close(struct ucb_eval *e)
{
    if (e == NULL) return;
    ucb_forward_close(e->forward);
    ucb_loader_close(e->loader);
    ucb_states_free(&e->reference);
    ucb_arena_free(&e->arena);
    ucb_mem_free(e);
}

size_t ucb_eval_n_tokens(const struct ucb_eval *e)
{
    return e->n_rows;
}

void ucb_eval_set_calib(struct ucb_eval *e, const struct ucb_calib_text *calib)
{
    e->options.calib = calib;
}

static uint64_t state_bytes(const struct ucb_eval *e, size_t n_rows)
{
    return (uint64_t)n_rows * e->arch->hidden * sizeof(float);
}

/* Hidden states of the calibration text, which a sequential chain keeps beside its own. */
static uint64_t calib_bytes(const struct ucb_eval *e)
{
    const struct ucb_calib_text *t = e->options.calib;
    return t == NULL ? 0 : state_bytes(e, t->n_windows * t->spec.ctx);
}

size_t ucb_eval_group_limit(const struct ucb_eval *e)
{
    uint64_t kept = state_bytes(e, e->n_scored),
             each = state_bytes(e, e->n_rows + e->n_scored) + calib_bytes(e);
    uint64_t room = e->options.memory_bytes > kept ? e->options.memory_bytes - kept : 0;
    uint64_t n = each == 0 ? MAX_GROUP : room / each;
    return n < 1 ? 1 : n > MAX_GROUP ? MAX_GROUP : (size_t)n;
}

static ucb_status alloc_states(const struct ucb_eval *e, size_t n_rows,
                               struct ucb_states *out, struct ucb_err *err)
{
    bool spill = state_bytes(e, n_rows) + state_bytes(e, e->n_scored) >
                 e->options.memory_bytes;
    return ucb_states_alloc(n_rows * e->arch->hidden, spill, e->options.cache, out, err);
}

/* A method that failed keeps its error and takes no further part; its states stay until
   finish_variant, because a head pass in progress still reads them. */
static void fail_variant(struct variant *v, ucb_status status, const char *where)
{
    v->result->status = status;
    ucb_err_prefix(&v->result->err, "%s", where);
}

static ucb_status open_calibrator(struct ucb_eval *e, struct variant *v,
                                  struct ucb_progress *progress, struct ucb_err *err)
{
    const struct ucb_eval_options *o = &e->options;
    uint64_t used = state_bytes(e, e->n_rows + 2 * e->n_scored);
    struct ucb_calibrator_options options = {
        .model = e->model,
        .backend = o->backend,
        .pool = o->pool,
        .text = o->calib,
        .model_digest = o->model_digest,
        .scope = ucb_scope_name(o->scope),
        .seed = o->seed,
        .batch = o->batch,
        .memory_bytes = o->memory_bytes > used ? o->memory_bytes - used : 0,
        .cache = o->cache};
    if (ucb_chain_needs(v->chain) == UCB_NEEDS_NONE) return UCB_OK;
    if (o->calib == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s needs a calibration text; name one with --calib",
                        ucb_chain_spec(v->chain));
    return ucb_calibrator_open(&options, v->chain, progress, &v->calibrator, err);
}

static ucb_status fit_shared(struct ucb_eval *e, struct variant *v,
                             struct ucb_progress *progress, struct ucb_err *err)
{
    const struct ucb_eval_options *o = &e->options;
    const struct ucb_shared_options options = {.model = e->model,
                                               .pool = o->pool,
                                               .scope = o->scope,
                                               .seed = o->seed,
                                               .model_digest = o->model_digest,
                                               .progress = progress};
    return ucb_shared_fit(&options, v->chain, v->calibrator, &v->result->tally, &v->shared,
                          err);
}

static void begin_variant(struct ucb_eval *e, struct variant *v,
                          struct ucb_progress *progress)
{
    struct ucb_eval_result *r = v->result;
    *r = (struct ucb_eval_result){0};
    ucb_arena_init(&r->arena);
    ucb_tally_begin(&r->tally);
    r->status = open_calibrator(e, v, progress, &r->err);
    if (r->status != UCB_OK) {
        fail_variant(v, r->status, "calibration");
        return;
    }
    r->status = fit_shared(e, v, progress, &r->err);
    if (r->status != UCB_OK) {
        fail_variant(v, r->status, "side data");
        return;
    }
    r->status = alloc_states(e, e->n_rows, &v->x, &r->err);
    ucb_loader_set_shared(e->loader, &v->shared);
    if (r->status == UCB_OK)
        r->status = ucb_loader_embed(e->loader, v->chain, &r->tally, e->ids, e->n_windows,
                                     e->start, v->x.x, &r->err);
    if (r->status != UCB_OK) fail_variant(v, r->status, "embedding");
}

static void step_layer(struct ucb_eval *e, struct variant *v, uint32_t layer)
{
    struct ucb_eval_result *r = v->result;
    char where[32];
    snprintf(where, sizeof(where), "layer %u", layer);
    ucb_loader_set_shared(e->loader, &v->shared);
    ucb_status status = ucb_loader_layer(e->loader, v->chain, layer, &r->tally,
                                         v->calibrator, &v->layer, &r->err);
    uint64_t start = ucb_clock_ns();
    if (status == UCB_OK)
        status = ucb_forward_layer(e->forward, &v->layer, e->n_windows, e->start, v->x.x,
                                   &r->err);
    v->seconds += (double)(ucb_clock_ns() - start) * 1e-9;
    if (status != UCB_OK) fail_variant(v, status, where);
}

/* x[n_rows] becomes the normed rows that are scored, in place: a scored row never lies
 * before its slot. */
static ucb_status keep_scored(struct ucb_eval *e, float *x, struct ucb_err *err)
{
    size_t hidden = e->arch->hidden;
    for (size_t i = 0; i < e->n_scored; i++) {
        assert(e->scored_row[i] >= i);
        memmove(x + i * hidden, x + e->scored_row[i] * hidden, hidden * sizeof(*x));
    }
    return ucb_loader_final_norm(e->loader, x, e->n_scored, x, err);
}

static ucb_status alloc_samples(const struct ucb_eval *e, struct ucb_eval_result *r)
{
    r->samples = UCB_NEW(&r->arena, struct ucb_sample *, e->n_sets);
    for (size_t s = 0; r->samples != NULL && s < e->n_sets; s++) {
        r->samples[s] = UCB_NEW(&r->arena, struct ucb_sample, e->sets[s]->n_items);
        if (r->samples[s] == NULL) r->samples = NULL;
    }
    return r->samples != NULL
               ? UCB_OK
               : UCB_FAIL(&r->err, UCB_NOMEM, "no memory for %zu samples", e->n_items);
}

/* The models of one head pass: 0 is the reference, the others belong to the variants. */
struct head_pass {
    struct ucb_head models[MAX_GROUP + 1];
    struct variant *variant[MAX_GROUP + 1]; /* [0] is NULL unless the reference's own
                                               samples are wanted */
    uint32_t n_models;
    struct ucb_position *positions; /* [n_models][rows] */
};

/* Turns the positions [first, first + n_rows) of model m into samples of the items [item,
 * item_to). */
static void store_samples(struct ucb_eval *e, struct head_pass *pass, uint32_t m,
                          size_t item, size_t item_to, size_t first, size_t n_rows)
{
    struct variant *v = pass->variant[m];
    if (v == NULL || v->result->status != UCB_OK) return;
    size_t set = 0, before = 0;
    for (size_t i = item; i < item_to; i++) {
        while (i - before >= e->sets[set]->n_items) before += e->sets[set++]->n_items;
        size_t from = i == 0 ? 0 : e->item_end[i - 1], n = e->item_end[i] - from;
        const struct ucb_position *own = pass->positions + m * n_rows + (from - first);
        const struct ucb_position *reference = pass->positions + (from - first);
        ucb_status status = ucb_score_item(
            own, reference, e->target + from, (uint32_t)n, &v->result->arena,
            &v->result->samples[set][i - before], &v->result->err);
        if (status == UCB_OK) continue;
        char where[96];
        uint32_t document = e->sets[set]->items[i - before].document;
        snprintf(where, sizeof(where), "%s, item %zu (%s)", e->sets[set]->dataset,
                 i - before, e->sets[set]->documents[document].name);
        fail_variant(v, status, where);
        return;
    }
}

/* Scores all items, some thousand rows at a time; a chunk ends where an item ends. */
static ucb_status run_head(struct ucb_eval *e, struct head_pass *pass, struct ucb_err *err)
{
    size_t capacity = HEAD_ROWS + e->longest_item, hidden = e->arch->hidden;
    struct ucb_head models[MAX_GROUP + 1];
    pass->positions = ucb_mem_alloc(pass->n_models * capacity * sizeof(*pass->positions));
    if (pass->positions == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the scores of %zu positions",
                        capacity);
    ucb_status status = UCB_OK;
    for (size_t item = 0, first = 0; item < e->n_items && status == UCB_OK;) {
        size_t item_to = item + 1;
        while (item_to < e->n_items && e->item_end[item_to - 1] - first < HEAD_ROWS)
            item_to++;
        size_t n_rows = e->item_end[item_to - 1] - first;
        for (uint32_t m = 0; m < pass->n_models; m++) {
            models[m] = pass->models[m];
            models[m].hidden += first * hidden;
        }
        status = ucb_head_score(e->options.backend, models, pass->n_models,
                                e->target + first, n_rows, pass->positions, err);
        for (uint32_t m = 0; m < pass->n_models && status == UCB_OK; m++)
            store_samples(e, pass, m, item, item_to, first, n_rows);
        first += n_rows;
        item = item_to;
    }
    ucb_mem_free(pass->positions);
    pass->positions = NULL;
    return status;
}

static struct ucb_head head_of(const struct ucb_eval *e, const struct ucb_packed *weight,
                               const float *hidden)
{
    return (struct ucb_head){.weight = weight,
                             .hidden = hidden,
                             .bias = e->head_bias,
                             .softcap = e->arch->final_softcap};
}

static ucb_status alloc_head(const struct ucb_eval *e, struct ucb_packed *out,
                             struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(e->model, 0, UCB_ROLE_HEAD);
    size_t n_bytes = ucb_pack_bytes(e->options.backend, m->n_out, m->n_in);
    *out = (struct ucb_packed){ucb_mem_alloc(n_bytes), m->n_out, m->n_in};
    if (out->data == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes", m->name, n_bytes);
    return UCB_OK;
}

/* The original's head, whatever the scope: no method has touched it. */
static ucb_status original_head(struct ucb_eval *e, const struct ucb_chain *none,
                                struct ucb_packed *head, struct ucb_tally *tally,
                                struct ucb_err *err)
{
    UCB_TRY(alloc_head(e, head, err));
    return ucb_loader_head(e->loader, none, tally, head, err);
}

static void finish_variant(const struct ucb_eval *e, struct variant *v)
{
    ucb_sha256_final_hex(&v->result->tally.digest, v->result->weights_digest);
    v->result->tokens_per_second = v->seconds > 0 ? (double)e->n_rows / v->seconds : 0;
    ucb_states_free(&v->x);
    ucb_writer_free(&v->shared);
    ucb_loader_set_shared(e->loader, NULL);
    ucb_calibrator_close(v->calibrator);
    v->calibrator = NULL;
}

ucb_status ucb_eval_original(struct ucb_eval *e, const struct ucb_chain *none,
                             struct ucb_progress *progress, struct ucb_eval_result *result,
                             struct ucb_err *err)
{
    assert(ucb_chain_is_none(none) && e->reference.x == NULL);
    struct variant v = {.chain = none, .result = result};
    struct ucb_packed head = {0};
    double work = (double)e->n_rows / (e->arch->n_layers + 1);
    begin_variant(e, &v, progress);
    for (uint32_t layer = 0; layer < e->arch->n_layers && result->status == UCB_OK;
         layer++) {
        step_layer(e, &v, layer);
        ucb_progress_add(progress, work, "original");
    }
    ucb_status status = result->status;
    if (status == UCB_OK)
        status = alloc_states(e, e->n_scored, &e->reference, &result->err);
    if (status == UCB_OK) status = keep_scored(e, v.x.x, &result->err);
    if (status == UCB_OK)
        status = original_head(e, none, &head, &result->tally, &result->err);
    if (status == UCB_OK) status = alloc_samples(e, result);
    if (status == UCB_OK) {
        memcpy(e->reference.x, v.x.x, state_bytes(e, e->n_scored));
        struct head_pass pass = {
            .models = {head_of(e, &head, e->reference.x)}, .variant = {&v}, .n_models = 1};
        uint64_t start = ucb_clock_ns();
        status = run_head(e, &pass, &result->err);
        v.seconds += (double)(ucb_clock_ns() - start) * 1e-9;
    }
    ucb_progress_add(progress, work, "original");
    if (status == UCB_OK) status = result->status;
    result->status = status;
    finish_variant(e, &v);
    ucb_mem_free(head.data);
    if (status != UCB_OK && err != NULL) *err = result->err;
    return status;
}

/* Variants that leave the head alone share the original's, and its logits are made once for
 * all of them. */
static ucb_status heads_shared(struct ucb_eval *e, const struct ucb_packed *head,
                               struct variant *variants, size_t n, struct ucb_err *err)
{
    struct head_pass pass = {.models = {head_of(e, head, e->reference.x)}, .n_models = 1};
    for (size_t i = 0; i < n; i++) {
        if (variants[i].result->status != UCB_OK ||
            ucb_loader_has_own_head(e->loader, variants[i].chain))
            continue;
        pass.models[pass.n_models] = head_of(e, head, variants[i].x.x);
        pass.variant[pass.n_models++] = &variants[i];
    }
    if (pass.n_models == 1) return UCB_OK;
    uint64_t start = ucb_clock_ns();
    UCB_TRY(run_head(e, &pass, err));
    double seconds = (double)(ucb_clock_ns() - start) * 1e-9 / (pass.n_models - 1);
    for (uint32_t m = 1; m < pass.n_models; m++) pass.variant[m]->seconds += seconds;
    return UCB_OK;
}

/* The others have a head of their own. */
static ucb_status heads_apart(struct ucb_eval *e, const struct ucb_packed *head,
                              struct variant *variants, size_t n, struct ucb_err *err)
{
    struct ucb_packed own = {0};
    ucb_status status = UCB_OK;
    for (size_t i = 0; i < n && status == UCB_OK; i++) {
        struct variant *v = &variants[i];
        if (v->result->status != UCB_OK || !ucb_loader_has_own_head(e->loader, v->chain))
            continue;
        if (own.data == NULL) UCB_TRY(alloc_head(e, &own, err));
        ucb_loader_set_shared(e->loader, &v->shared);
        ucb_status loaded = ucb_loader_head(e->loader, v->chain, &v->result->tally, &own,
                                            &v->result->err);
        if (loaded != UCB_OK) {
            fail_variant(v, loaded, "head");
            continue;
        }
        struct head_pass pass = {
            .models = {head_of(e, head, e->reference.x), head_of(e, &own, v->x.x)},
            .variant = {NULL, v},
            .n_models = 2};
        uint64_t start = ucb_clock_ns();
        status = run_head(e, &pass, err);
        v->seconds += (double)(ucb_clock_ns() - start) * 1e-9;
    }
    ucb_mem_free(own.data);
    return status;
}

/* From the last layer's states to samples. */
static ucb_status score_group(struct ucb_eval *e, const struct ucb_chain *none,
                              struct variant *variants, size_t n, struct ucb_err *err)
{
    struct ucb_packed head = {0};
    struct ucb_tally uncounted = {0};
    for (size_t i = 0; i < n; i++) {
        struct ucb_eval_result *r = variants[i].result;
        if (r->status != UCB_OK) continue;
        ucb_status status = keep_scored(e, variants[i].x.x, &r->err);
        if (status == UCB_OK) status = alloc_samples(e, r);
        if (status != UCB_OK) fail_variant(&variants[i], status, "last norm");
    }
    ucb_sha256_init(&uncounted.digest);
    ucb_status status = original_head(e, none, &head, &uncounted, err);
    if (status == UCB_OK) status = heads_shared(e, &head, variants, n, err);
    if (status == UCB_OK) status = heads_apart(e, &head, variants, n, err);
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_sha256_final(&uncounted.digest, unused);
    ucb_mem_free(head.data);
    return status;
}

ucb_status ucb_eval_group(struct ucb_eval *e, const struct ucb_chain *const *chains,
                          size_t n_chains, struct ucb_progress *progress,
                          struct ucb_eval_result *results, struct ucb_err *err)
{
    assert(e->reference.x != NULL && n_chains <= MAX_GROUP);
    struct variant variants[MAX_GROUP] = {0};
    struct ucb_chain *none;
    double work = (double)e->n_rows / (e->arch->n_layers + 1);
    UCB_TRY(ucb_chain_parse("none", &e->arena, &none, err));
    for (size_t i = 0; i < n_chains; i++) {
        variants[i] = (struct variant){.chain = chains[i], .result = &results[i]};
        begin_variant(e, &variants[i], progress);
    }
    for (uint32_t layer = 0; layer < e->arch->n_layers; layer++)
        for (size_t i = 0; i < n_chains; i++) {
            if (results[i].status == UCB_OK) step_layer(e, &variants[i], layer);
            ucb_progress_add(progress, work, ucb_chain_spec(chains[i]));
        }
    ucb_status status = score_group(e, none, variants, n_chains, err);
    for (size_t i = 0; i < n_chains; i++) {
        finish_variant(e, &variants[i]);
        ucb_progress_add(progress, work, "scoring");
    }
    if (status != UCB_OK)
        for (size_t i = 0; i < n_chains; i++) ucb_eval_result_free(&results[i]);
    return status;
}
