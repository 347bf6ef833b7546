/*
 * eval_head.c - from hidden states to samples. A head that is small is packed once; a large
 * one is read from the file, 32 rows at a time, for every block of positions. One that a
 * method wrote stays decoded meanwhile.
 */
#include "eval/eval_internal.h"

#include <stdio.h>

#include "eval/score.h"

enum { HEAD_ROWS = 2048, PACKED_BYTES = 128 << 20 };

/* The models of one head pass: 0 is the reference, the others belong to the variants. */
struct head_pass {
    struct ucb_head models[UCB_EVAL_MAX_GROUP + 1];
    const struct ucb_states *states[UCB_EVAL_MAX_GROUP + 1]; /* of models[m].hidden */
    /* [0] is NULL unless the reference's own samples are wanted */
    struct ucb_variant *variant[UCB_EVAL_MAX_GROUP + 1];
    uint32_t n_models;
    struct ucb_position *positions; /* [n_models][rows] */
    const struct ucb_scoring *scoring;
};

static uint32_t n_variants_of(const struct head_pass *pass)
{
    return pass->variant[0] == NULL ? pass->n_models - 1 : pass->n_models;
}

static void note_rows(const struct ucb_eval *e, const struct head_pass *pass, size_t n_rows)
{
    double work = e->head_share * (double)e->n_rows / (double)e->n_scored;
    ucb_progress_add(pass->scoring->progress, work * (double)n_rows * n_variants_of(pass),
                     pass->scoring->note);
}

/* Turns the positions [first, first + n_rows) of model m into samples of the items [item,
 * item_to). */
static void store_samples(struct ucb_eval *e, struct head_pass *pass, uint32_t m,
                          size_t item, size_t item_to, size_t first, size_t n_rows)
{
    struct ucb_variant *v = pass->variant[m];
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
        if (status == UCB_OK && e->sets[set]->rounds_nll)
            status = ucb_score_round_nll(&v->result->samples[set][i - before],
                                         &v->result->err);
        if (status == UCB_OK) continue;
        char where[96];
        uint32_t document = e->sets[set]->items[i - before].document;
        snprintf(where, sizeof(where), "%s, item %zu (%s)", e->sets[set]->dataset,
                 i - before, e->sets[set]->documents[document].name);
        ucb_variant_fail(v, status, where);
        return;
    }
}

/* Scores all items, some thousand rows at a time; a chunk ends where an item ends. */
static ucb_status run_head(struct ucb_eval *e, struct head_pass *pass, struct ucb_err *err)
{
    size_t capacity = HEAD_ROWS + e->longest_item, hidden = e->arch->hidden;
    struct ucb_head models[UCB_EVAL_MAX_GROUP + 1];
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
        for (uint32_t m = 0; m < pass->n_models && status == UCB_OK; m++) {
            store_samples(e, pass, m, item, item_to, first, n_rows);
            ucb_states_release(pass->states[m], first * hidden, n_rows * hidden);
        }
        note_rows(e, pass, n_rows);
        first += n_rows;
        item = item_to;
    }
    ucb_mem_free(pass->positions);
    pass->positions = NULL;
    return status;
}

/* A head as a chain leaves it: packed where it is small, else given row by row. */
struct loaded_head {
    struct ucb_packed weight;
    struct ucb_weight_rows rows;
};

static void add_model(const struct ucb_eval *e, struct head_pass *pass,
                      const struct loaded_head *head, const struct ucb_states *states,
                      struct ucb_variant *variant)
{
    pass->models[pass->n_models] = (struct ucb_head){.weight = &head->weight,
                                                     .rows = &head->rows,
                                                     .hidden = states->x,
                                                     .bias = e->head_bias,
                                                     .softcap = e->arch->final_softcap,
                                                     .backend = e->options.backend};
    pass->states[pass->n_models] = states;
    pass->variant[pass->n_models++] = variant;
}

/* Packed where that takes no more than most_bytes. */
static ucb_status load_head(struct ucb_eval *e, const struct ucb_chain *chain,
                            struct ucb_tally *tally, size_t most_bytes,
                            struct loaded_head *out, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(e->model, 0, UCB_ROLE_HEAD);
    size_t n_bytes = ucb_pack_bytes(e->options.backend, m->n_out, m->n_in);
    bool packed = n_bytes <= most_bytes;
    *out = (struct loaded_head){{NULL, m->n_out, m->n_in},
                                ucb_loader_head_rows(e->loader, chain)};
    if (packed) out->weight.data = ucb_mem_alloc(n_bytes);
    if (packed && out->weight.data == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes", m->name, n_bytes);
    return ucb_loader_head(e->loader, chain, tally, packed ? &out->weight : NULL, err);
}

/* Runs a pass and shares its seconds out among its variants. */
static ucb_status timed_pass(struct ucb_eval *e, struct head_pass *pass,
                             struct ucb_err *err)
{
    uint64_t start = ucb_clock_ns();
    UCB_TRY(run_head(e, pass, err));
    double seconds = (double)(ucb_clock_ns() - start) * 1e-9 / n_variants_of(pass);
    for (uint32_t m = 0; m < pass->n_models; m++)
        if (pass->variant[m] != NULL) pass->variant[m]->seconds += seconds;
    return UCB_OK;
}

ucb_status ucb_eval_score_original(struct ucb_eval *e, const struct ucb_chain *none,
                                   const struct ucb_scoring *scoring,
                                   struct ucb_variant *original, struct ucb_err *err)
{
    struct loaded_head head = {0};
    struct head_pass pass = {.scoring = scoring};
    ucb_loader_rest(e->loader);
    ucb_status status = load_head(e, none, &original->result->tally, PACKED_BYTES, &head,
                                  err);
    add_model(e, &pass, &head, &e->reference, original);
    if (status == UCB_OK) status = timed_pass(e, &pass, err);
    ucb_packed_free(e->options.backend, &head.weight);
    return status;
}

/* The original's head, whatever the scope: no method has touched it, and nothing is
 * counted. */
static ucb_status load_reference_head(struct ucb_eval *e, const struct ucb_chain *none,
                                      struct loaded_head *out, struct ucb_err *err)
{
    struct ucb_tally uncounted = {0};
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_loader_rest(e->loader);
    ucb_sha256_init(&uncounted.digest);
    ucb_status status = load_head(e, none, &uncounted, PACKED_BYTES, out, err);
    ucb_sha256_final(&uncounted.digest, unused);
    return status;
}

/* Where the original's head is read for every block, the other is too: blocks are as large
 * then as memory allows. */
ucb_status ucb_eval_score_floor(struct ucb_eval *e, struct ucb_eval *other,
                                const struct ucb_chain *none,
                                const struct ucb_scoring *scoring,
                                struct ucb_variant *floor, struct ucb_err *err)
{
    struct loaded_head head = {0}, own = {0};
    struct head_pass pass = {.scoring = scoring};
    ucb_loader_rest(other->loader);
    ucb_status status = load_reference_head(e, none, &head, err);
    if (status == UCB_OK)
        status = load_head(other, none, &floor->result->tally,
                           head.weight.data == NULL ? 0 : PACKED_BYTES, &own, err);
    add_model(e, &pass, &head, &e->reference, NULL);
    ucb_backend_read(other->options.backend, floor->x.x, /* another's to read */
                     e->n_scored * e->arch->hidden * sizeof(float));
    add_model(other, &pass, &own, &floor->x, floor);
    if (status == UCB_OK) status = timed_pass(e, &pass, err);
    ucb_packed_free(other->options.backend, &own.weight);
    ucb_packed_free(e->options.backend, &head.weight);
    return status;
}

/* Variants that leave the head alone share the original's, and its logits are made once for
 * all of them. */
static ucb_status heads_shared(struct ucb_eval *e, const struct loaded_head *head,
                               const struct ucb_scoring *scoring,
                               struct ucb_variant *variants, size_t n, struct ucb_err *err)
{
    struct head_pass pass = {.scoring = scoring};
    add_model(e, &pass, head, &e->reference, NULL);
    for (size_t i = 0; i < n; i++)
        if (variants[i].result->status == UCB_OK &&
            !ucb_loader_has_own_head(e->loader, variants[i].chain))
            add_model(e, &pass, head, &variants[i].x, &variants[i]);
    return pass.n_models == 1 ? UCB_OK : timed_pass(e, &pass, err);
}

static ucb_status score_apart(struct ucb_eval *e, const struct loaded_head *head,
                              const struct ucb_scoring *scoring, struct ucb_variant *v,
                              struct ucb_err *err)
{
    struct loaded_head own = {0};
    struct head_pass pass = {.scoring = scoring};
    ucb_loader_set_shared(e->loader, &v->shared);
    ucb_status loaded = load_head(e, v->chain, &v->result->tally, PACKED_BYTES, &own,
                                  &v->result->err),
               status = UCB_OK;
    add_model(e, &pass, head, &e->reference, NULL);
    add_model(e, &pass, &own, &v->x, v);
    if (loaded != UCB_OK)
        ucb_variant_fail(v, loaded, "head");
    else
        status = timed_pass(e, &pass, err);
    ucb_packed_free(e->options.backend, &own.weight);
    return status;
}

/* Those that have the original's head, then those that have one of their own. */
ucb_status ucb_eval_score_variants(struct ucb_eval *e, const struct ucb_chain *none,
                                   const struct ucb_scoring *scoring,
                                   struct ucb_variant *variants, size_t n,
                                   struct ucb_err *err)
{
    struct loaded_head head = {0};
    ucb_status status = load_reference_head(e, none, &head, err);
    if (status == UCB_OK) status = heads_shared(e, &head, scoring, variants, n, err);
    for (size_t i = 0; i < n && status == UCB_OK; i++)
        if (variants[i].result->status == UCB_OK &&
            ucb_loader_has_own_head(e->loader, variants[i].chain))
            status = score_apart(e, &head, scoring, &variants[i], err);
    ucb_packed_free(e->options.backend, &head.weight);
    return status;
}
