/*
 * eval.c - see eval.h. Windows of all sets lie one after the other as rows of the hidden
 * states. Only scored rows are kept after the last norm, in item order, so an item's
 * positions are neighbours and sums run in one fixed order.
 */
#include "eval/eval_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda.h"
#include "eval/layer_work.h"
#include "eval/shared.h"
#include "method/payload.h"

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

static ucb_status open_loader(const struct ucb_eval *e, struct ucb_loader **out,
                              struct ucb_err *err)
{
    const struct ucb_eval_options *o = &e->options;
    return ucb_loader_open(e->model, o->backend, o->pool, o->scope, o->seed,
                           o->model_digest, out, err);
}

/* On a device, which decodes a layer beside the products of another: two loaders. */
static ucb_status open_ahead(struct ucb_eval *e, struct ucb_err *err)
{
    UCB_TRY(open_loader(e, &e->ahead, err));
    ucb_loader_decode_on_device(e->loader);
    ucb_loader_decode_on_device(e->ahead);
    return UCB_OK;
}

/* Products are nearly all of the work; experts that a token does not visit count too, for
 * this is an estimate. */
static double find_head_share(const struct ucb_eval *e)
{
    const struct ucb_matrix *head = ucb_model_matrix(e->model, 0, UCB_ROLE_HEAD);
    double scored = (double)ucb_matrix_weights(head) * (double)e->n_scored, layers = 0;
    for (uint32_t layer = 0; layer < e->arch->n_layers; layer++) {
        size_t n;
        const struct ucb_matrix *const *m = ucb_model_layer_matrices(e->model, layer, &n);
        for (size_t i = 0; i < n; i++) layers += (double)ucb_matrix_weights(m[i]);
    }
    return scored / (scored + layers * (double)e->n_rows);
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
    e->head_share = find_head_share(e);
    UCB_TRY(open_loader(e, &e->loader, err));
    if (e->options.keep_encoded)
        UCB_TRY(ucb_loader_keep_encoded(e->loader, err));
    else if (ucb_backend_cuda(e->options.backend) != NULL)
        UCB_TRY(open_ahead(e, err));
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

static void free_states(const struct ucb_eval *e, struct ucb_states *states)
{
    ucb_backend_forget(e->options.backend, states->x);
    ucb_states_free(states);
}

void ucb_eval_close(struct ucb_eval *e)
{
    if (e == NULL) return;
    ucb_forward_close(e->forward);
    ucb_loader_close(e->loader);
    ucb_loader_close(e->ahead);
    free_states(e, &e->reference);
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

uint64_t ucb_eval_state_bytes(const struct ucb_eval *e, size_t n_rows)
{
    return (uint64_t)n_rows * e->arch->hidden * sizeof(float);
}

/* Hidden states of the calibration text, which a sequential chain keeps beside its own. */
static uint64_t calib_bytes(const struct ucb_eval *e)
{
    const struct ucb_calib_text *t = e->options.calib;
    return t == NULL ? 0 : ucb_eval_state_bytes(e, t->n_windows * t->spec.ctx);
}

size_t ucb_eval_group_limit(const struct ucb_eval *e)
{
    uint64_t kept = ucb_eval_state_bytes(e, e->n_scored),
             each = ucb_eval_state_bytes(e, e->n_rows + e->n_scored) + calib_bytes(e);
    uint64_t room = e->options.memory_bytes > kept ? e->options.memory_bytes - kept : 0;
    uint64_t n = each == 0 ? UCB_EVAL_MAX_GROUP : room / each;
    return n < 1 ? 1 : n > UCB_EVAL_MAX_GROUP ? UCB_EVAL_MAX_GROUP : (size_t)n;
}

static ucb_status alloc_states(const struct ucb_eval *e, size_t n_rows,
                               struct ucb_states *out, struct ucb_err *err)
{
    bool spill = ucb_eval_state_bytes(e, n_rows) + ucb_eval_state_bytes(e, e->n_scored) >
                 e->options.memory_bytes;
    UCB_TRY(ucb_states_alloc(n_rows * e->arch->hidden, spill, e->options.cache, out, err));
    ucb_backend_keep(e->options.backend, out->x, out->n_bytes);
    return UCB_OK;
}

void ucb_variant_fail(struct ucb_variant *v, ucb_status status, const char *where)
{
    v->result->status = status;
    ucb_err_prefix(&v->result->err, "%s", where);
}

/* What the states of the group and the original's leave of the memory. */
static uint64_t room_of_calibrator(const struct ucb_eval *e, size_t n_group)
{
    uint64_t used = n_group * ucb_eval_state_bytes(e, e->n_rows + e->n_scored) +
                    ucb_eval_state_bytes(e, e->n_scored) + (n_group - 1) * calib_bytes(e);
    return e->options.memory_bytes > used ? e->options.memory_bytes - used : 0;
}

static ucb_status open_calibration(struct ucb_eval *e, struct ucb_variant *v,
                                   size_t n_group, struct ucb_progress *progress,
                                   struct ucb_err *err)
{
    const struct ucb_eval_options *o = &e->options;
    struct ucb_calibrator_options options = {.model = e->model,
                                             .backend = o->backend,
                                             .pool = o->pool,
                                             .text = o->calib,
                                             .model_digest = o->model_digest,
                                             .scope = ucb_scope_name(o->scope),
                                             .seed = o->seed,
                                             .batch = o->batch,
                                             .memory_bytes = room_of_calibrator(e, n_group),
                                             .cache = o->cache};
    if (!ucb_chain_needs_text(v->chain)) return UCB_OK;
    if (o->calib == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s needs a calibration text; name one with --calib",
                        ucb_chain_spec(v->chain));
    UCB_TRY(ucb_layer_work_open(&options, v->chain, &v->work, err));
    if (ucb_chain_needs(v->chain) == UCB_NEEDS_NONE) return UCB_OK;
    return ucb_calibrator_open(&options, v->chain, progress, &v->calibrator, err);
}

static ucb_status fit_shared(struct ucb_eval *e, struct ucb_variant *v,
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

struct ucb_pass ucb_variant_pass(const struct ucb_eval *e, const struct ucb_variant *v)
{
    return (struct ucb_pass){e->n_windows, e->start, e->arch->hidden, &v->x};
}

/* Before a calibration runs the original through a loader of its own, this one's memory is
 * given back: there is one layer at a time. */
static void begin_variant(struct ucb_eval *e, struct ucb_variant *v, size_t n_group,
                          struct ucb_progress *progress)
{
    struct ucb_eval_result *r = v->result;
    *r = (struct ucb_eval_result){0};
    ucb_arena_init(&r->arena);
    ucb_tally_begin(&r->tally);
    ucb_loader_rest(e->loader);
    r->layers = UCB_NEW(&r->arena, struct ucb_layer_record, e->arch->n_layers);
    if (r->layers == NULL) {
        r->status = UCB_FAIL(&r->err, UCB_NOMEM, "no memory for the notes of %u layers",
                             e->arch->n_layers);
        return;
    }
    r->status = open_calibration(e, v, n_group, progress, &r->err);
    if (r->status != UCB_OK) {
        ucb_variant_fail(v, r->status, "calibration");
        return;
    }
    r->status = fit_shared(e, v, progress, &r->err);
    if (r->status != UCB_OK) {
        ucb_variant_fail(v, r->status, "side data");
        return;
    }
    r->status = alloc_states(e, e->n_rows, &v->x, &r->err);
    ucb_loader_set_shared(e->loader, &v->shared);
    if (r->status == UCB_OK) {
        struct ucb_pass pass = ucb_variant_pass(e, v);
        r->status = ucb_pass_embed(&pass, e->loader, v->chain, &r->tally, e->ids, &r->err);
    }
    if (r->status != UCB_OK) ucb_variant_fail(v, r->status, "embedding");
}

/* Down, or nowhere: the two may overlap. */
static void move_rows(struct ucb_eval *e, const float *from, size_t n_rows, float *to)
{
    size_t n_bytes = n_rows * e->arch->hidden * sizeof(*to);
    if (from == to) return;
    ucb_backend_read(e->options.backend, from, n_bytes);
    ucb_backend_write(e->options.backend, to, n_bytes);
    memmove(to, from, n_bytes);
}

/* x[n_rows] becomes the normed rows that are scored, in place: a scored row never lies
 * before its slot. */
static ucb_status keep_scored(struct ucb_eval *e, const struct ucb_states *states,
                              struct ucb_err *err)
{
    size_t hidden = e->arch->hidden, stretch = ucb_states_stretch(states, hidden);
    for (size_t first = 0, n; first < e->n_scored; first += n) {
        n = e->n_scored - first < stretch ? e->n_scored - first : stretch;
        const size_t *row = e->scored_row + first;
        float *x = states->x + first * hidden;
        for (size_t i = 0, m; i < n; i += m) {
            for (m = 1; i + m < n && row[i + m] == row[i] + m; m++) {
            }
            assert(row[i] >= first + i);
            move_rows(e, states->x + row[i] * hidden, m, x + i * hidden);
        }
        UCB_TRY(ucb_loader_final_norm(e->loader, x, n, x, err));
        ucb_states_release(states, first * hidden, n * hidden);
        ucb_states_release(states, row[0] * hidden, (row[n - 1] - row[0] + 1) * hidden);
    }
    return UCB_OK;
}

/* The scored rows of the original are what every variant is compared with. */
static ucb_status keep_reference(struct ucb_eval *e, const struct ucb_states *x,
                                 struct ucb_err *err)
{
    size_t hidden = e->arch->hidden, stretch = ucb_states_stretch(x, hidden);
    UCB_TRY(keep_scored(e, x, err));
    UCB_TRY(alloc_states(e, e->n_scored, &e->reference, err));
    for (size_t first = 0, n; first < e->n_scored; first += n) {
        n = e->n_scored - first < stretch ? e->n_scored - first : stretch;
        move_rows(e, x->x + first * hidden, n, e->reference.x + first * hidden);
        ucb_states_release(x, first * hidden, n * hidden);
        ucb_states_release(&e->reference, first * hidden, n * hidden);
    }
    return UCB_OK;
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

static void finish_variant(const struct ucb_eval *e, struct ucb_variant *v)
{
    ucb_sha256_final_hex(&v->result->tally.digest, v->result->weights_digest);
    v->result->tokens_per_second = v->seconds > 0 ? (double)e->n_rows / v->seconds : 0;
    free_states(e, &v->x);
    if (v->work != NULL && v->result->status == UCB_OK) ucb_layer_work_finish(v->work);
    ucb_layer_work_close(v->work);
    v->work = NULL;
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
    struct ucb_variant v = {.chain = none, .result = result};
    const struct ucb_scoring scoring = {progress, "original"};
    begin_variant(e, &v, 1, progress);
    ucb_eval_layers(e, &v, 1, progress, "original");
    ucb_status status = result->status;
    if (status == UCB_OK) status = keep_reference(e, &v.x, &result->err);
    free_states(e, &v.x);
    if (status == UCB_OK) status = alloc_samples(e, result);
    if (status == UCB_OK)
        status = ucb_eval_score_original(e, none, &scoring, &v, &result->err);
    if (status == UCB_OK) status = result->status;
    result->status = status;
    finish_variant(e, &v);
    if (status != UCB_OK && err != NULL) *err = result->err;
    return status;
}

/* An evaluation of the same rows by another backend, with a loader of its own; everything
 * else is e's. It has no forward pass yet. */
static ucb_status open_other(const struct ucb_eval *e, struct ucb_backend *backend,
                             struct ucb_eval *other, struct ucb_err *err)
{
    *other = *e;
    other->options.backend = backend;
    other->options.scope = UCB_SCOPE_BODY;
    other->options.keep_encoded = false;
    other->loader = NULL;
    other->ahead = NULL;
    other->forward = NULL;
    return open_loader(other, &other->loader, err);
}

static ucb_status run_other(struct ucb_eval *e, struct ucb_eval *other,
                            const struct ucb_chain *none, struct ucb_progress *progress,
                            struct ucb_variant *v, struct ucb_err *err)
{
    struct ucb_eval_result *r = v->result;
    const struct ucb_scoring scoring = {progress, "noise floor"};
    UCB_TRY(ucb_forward_open(other->options.backend, e->arch, e->options.batch, e->longest,
                             &other->forward, err));
    begin_variant(other, v, 1, progress);
    ucb_eval_layers(other, v, 1, progress, "noise floor");
    ucb_forward_close(other->forward); /* its memory serves the head */
    other->forward = NULL;
    if (r->status == UCB_OK) {
        ucb_status status = keep_scored(other, &v->x, &r->err);
        if (status == UCB_OK) status = alloc_samples(e, r);
        if (status != UCB_OK) ucb_variant_fail(v, status, "last norm");
    }
    ucb_status status = UCB_OK;
    if (r->status == UCB_OK)
        status = ucb_eval_score_floor(e, other, none, &scoring, v, err);
    finish_variant(other, v);
    return status;
}

ucb_status ucb_eval_noise_floor(struct ucb_eval *e, struct ucb_backend *reference,
                                struct ucb_backend *backend, struct ucb_progress *progress,
                                struct ucb_eval_result *result, struct ucb_err *err)
{
    struct ucb_eval other = {.loader = NULL}, own = {.loader = NULL};
    struct ucb_chain *none;
    struct ucb_variant v = {.result = result};
    assert(e->reference.x != NULL);
    UCB_TRY(ucb_chain_parse("none", &e->arena, &none, err));
    v.chain = none;
    *result = (struct ucb_eval_result){0};
    ucb_loader_rest(e->loader); /* there is one layer at a time */
    ucb_status status = open_other(e, backend, &other, err);
    if (status == UCB_OK && reference != NULL) status = open_other(e, reference, &own, err);
    if (status == UCB_OK)
        status = run_other(reference == NULL ? e : &own, &other, none, progress, &v, err);
    ucb_forward_close(other.forward);
    ucb_loader_close(other.loader);
    ucb_loader_close(own.loader);
    if (status != UCB_OK) ucb_eval_result_free(result);
    return status;
}

/* From the last layer's states to samples. */
static ucb_status score_group(struct ucb_eval *e, const struct ucb_chain *none,
                              struct ucb_variant *variants, size_t n,
                              struct ucb_progress *progress, struct ucb_err *err)
{
    const struct ucb_scoring scoring = {progress, "scoring"};
    for (size_t i = 0; i < n; i++) {
        struct ucb_eval_result *r = variants[i].result;
        if (r->status != UCB_OK) {
            ucb_progress_add(progress, e->head_share * (double)e->n_rows, NULL);
            continue;
        }
        ucb_status status = keep_scored(e, &variants[i].x, &r->err);
        if (status == UCB_OK) status = alloc_samples(e, r);
        if (status != UCB_OK) ucb_variant_fail(&variants[i], status, "last norm");
    }
    return ucb_eval_score_variants(e, none, &scoring, variants, n, err);
}

ucb_status ucb_eval_group(struct ucb_eval *e, const struct ucb_chain *const *chains,
                          size_t n_chains, struct ucb_progress *progress,
                          struct ucb_eval_result *results, struct ucb_err *err)
{
    assert(e->reference.x != NULL && n_chains <= UCB_EVAL_MAX_GROUP);
    struct ucb_variant variants[UCB_EVAL_MAX_GROUP] = {0};
    struct ucb_chain *none;
    UCB_TRY(ucb_chain_parse("none", &e->arena, &none, err));
    for (size_t i = 0; i < n_chains; i++) {
        variants[i] = (struct ucb_variant){.chain = chains[i], .result = &results[i]};
        begin_variant(e, &variants[i], n_chains, progress);
    }
    ucb_eval_layers(e, variants, n_chains, progress, NULL);
    ucb_status status = score_group(e, none, variants, n_chains, progress, err);
    for (size_t i = 0; i < n_chains; i++) finish_variant(e, &variants[i]);
    if (status != UCB_OK)
        for (size_t i = 0; i < n_chains; i++) ucb_eval_result_free(&results[i]);
    return status;
}
