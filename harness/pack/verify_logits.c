/*
 * verify_logits.c - the original and what the pack unpacks to, side by side through every
 * layer and the head, compared as bits.
 *
 * Of an exact pack the original is the source. Of another one it is the source with the
 * matrices decoded from the pack's payloads in memory, as an evaluation has them: what is
 * then compared is the way through files. Both models have their own loader and batch, so
 * equal bits also say that neither matters.
 */
#include <stdio.h>
#include <string.h>

#include "core/pcg.h"
#include "core/progress.h"
#include "eval/gains.h"
#include "eval/layer_store.h"
#include "eval/pass.h"
#include "model/catalog.h"
#include "model/tokenizer.h"
#include "pack/unpack.h"
#include "pack/verify.h"
#include "task/dataset.h"

enum {
    SHORT = 8,
    LONGEST = 512,
    TEXT_TOKENS = 4096,
    HEAD_IDS = 2048, /* of a slab of the head */
    HEAD_ROWS = 256
};
static const size_t batches[2] = {1024, 1000};
static const double head_layers = 8; /* what the head weighs in the progress, in layers */

struct side {
    const char *path;
    struct ucb_model *model;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_chain *chain;
    struct ucb_states x;
    struct ucb_tally tally;
    struct ucb_weight_rows rows;
    struct ucb_packed slab;
    float *w, *y;
    const float *bias;
};

struct both {
    const struct ucb_verify_options *options;
    const struct ucb_packfile *pack;
    struct ucb_arena arena;
    struct ucb_backend *backend;
    struct side side[2]; /* the original, the unpacked */
    const struct ucb_arch *arch;
    uint32_t *ids;
    size_t *start, n_windows, n_rows, longest, n_text;
    struct ucb_layer_bytes kept; /* of the layer at work, where payloads are decoded */
    size_t n_kept;
    struct ucb_writer shared; /* the pack's side data; not owned */
    struct ucb_progress progress;
    char differs[500];
};

/* ---- inputs ---- */

static void add_window(struct both *b, size_t n)
{
    b->n_rows += n;
    b->start[++b->n_windows] = b->n_rows;
    if (n > b->longest) b->longest = n;
}

/* Every fourth all one token, every fourth of the vocabulary's last eighth, where the rare
 * ones stand; the rest from all of it. */
static void fill_short(struct both *b, struct ucb_pcg *random, uint32_t i)
{
    uint32_t *ids = b->ids + b->n_rows, n = b->arch->vocabulary;
    uint32_t rare = n - n / 8;
    for (uint32_t k = 0; k < SHORT; k++) {
        if (i % 4 == 0)
            ids[k] = (uint32_t)((uint64_t)i * n / (b->options->n_inputs + 1));
        else if (i % 4 == 1 && rare < n)
            ids[k] = rare + ucb_pcg_below(random, n - rare);
        else
            ids[k] = ucb_pcg_below(random, n);
    }
    add_window(b, SHORT);
}

static void fill_long(struct both *b, struct ucb_pcg *random, size_t n)
{
    for (size_t k = 0; k < n; k++)
        b->ids[b->n_rows + k] = ucb_pcg_below(random, b->arch->vocabulary);
    add_window(b, n);
}

/* A model without a tokenizer is compared on ids alone. */
static ucb_status fill_text(struct both *b, const char *path, size_t longest,
                            struct ucb_err *err)
{
    struct ucb_tokenizer *tokenizer;
    struct ucb_dataset text;
    struct ucb_ids ids;
    if (ucb_tokenizer_open(path, &tokenizer, NULL) != UCB_OK) return UCB_OK;
    ucb_status status = ucb_dataset_open(
        "wikitext-2-raw.test.txt", "datasets/wiki_mini/wiki_mini.txt", "mini", &text, err);
    if (status == UCB_OK) {
        status = ucb_tokenize(tokenizer, text.text, text.n_bytes, &b->arena, &ids, err);
        ucb_dataset_close(&text);
    }
    ucb_tokenizer_close(tokenizer);
    UCB_TRY(status);
    size_t n_all = ids.n < TEXT_TOKENS ? ids.n : TEXT_TOKENS;
    for (size_t i = 0; i < n_all; i++)
        if (ids.ids[i] >= b->arch->vocabulary) return UCB_OK;
    for (size_t at = 0, n; at < n_all; at += n) {
        n = n_all - at < longest ? n_all - at : longest;
        memcpy(b->ids + b->n_rows, ids.ids + at, n * sizeof(*b->ids));
        add_window(b, n);
    }
    b->n_text = n_all;
    return UCB_OK;
}

static ucb_status make_inputs(struct both *b, const char *source, struct ucb_err *err)
{
    uint32_t n_short = b->options->n_inputs, n_long = (n_short + 99) / 100;
    uint32_t most = b->arch->max_positions;
    size_t longest = most != 0 && most < LONGEST ? most : LONGEST;
    size_t room = (size_t)n_short * SHORT + n_long * longest + TEXT_TOKENS;
    struct ucb_pcg random;
    ucb_pcg_named(&random, 1, "verify inputs");
    b->ids = UCB_NEW(&b->arena, uint32_t, room);
    b->start = UCB_NEW(&b->arena, size_t, (size_t)n_short + n_long + TEXT_TOKENS + 1);
    if (b->ids == NULL || b->start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu tokens", room);
    UCB_TRY(fill_text(b, source, longest, err));
    for (uint32_t i = 0; i < n_short; i++) fill_short(b, &random, i);
    for (uint32_t i = 0; i < n_long; i++)
        fill_long(b, &random, n_long == 1 ? longest : 1 + i * (longest - 1) / (n_long - 1));
    return UCB_OK;
}

/* ---- the two models ---- */

static ucb_status open_side(struct both *b, int which, struct ucb_err *err)
{
    const struct ucb_verify_options *o = b->options;
    struct side *s = &b->side[which];
    const char *digest;
    bool plain = which == 1 || b->pack->is_exact;
    UCB_TRY(ucb_model_open(s->path, &s->model, err));
    UCB_TRY(ucb_model_digest(s->model, &digest, err));
    UCB_TRY(ucb_chain_parse(plain ? "none" : b->pack->spec, &b->arena, &s->chain, err));
    UCB_TRY(ucb_loader_open(s->model, b->backend, o->pool, b->pack->scope, b->pack->seed,
                            digest, &s->loader, err));
    ucb_tally_begin(&s->tally);
    return UCB_OK;
}

static ucb_status alloc_side(struct both *b, int which, struct ucb_err *err)
{
    struct side *s = &b->side[which];
    uint32_t hidden = b->arch->hidden;
    size_t n_floats = b->n_rows * hidden;
    bool spill = 2 * n_floats * sizeof(float) > b->options->memory_bytes;
    char folder[3900];
    if (spill) UCB_TRY(ucb_cache_folder(b->options->cache, folder, sizeof(folder), err));
    UCB_TRY(ucb_states_alloc(n_floats, spill, folder, &s->x, err));
    s->slab = (struct ucb_packed){
        ucb_arena_alloc(&b->arena, ucb_pack_bytes(b->backend, HEAD_IDS, hidden)), HEAD_IDS,
        hidden};
    s->w = UCB_NEW(&b->arena, float, (size_t)HEAD_IDS *hidden);
    s->y = UCB_NEW(&b->arena, float, (size_t)HEAD_IDS *HEAD_ROWS);
    if (s->slab.data == NULL || s->w == NULL || s->y == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a slab of the head");
    return ucb_forward_open(b->backend, ucb_model_arch(s->model), batches[which],
                            b->longest, &s->forward, err);
}

static struct ucb_pass pass_of(const struct both *b, int which)
{
    return (struct ucb_pass){b->n_windows, b->start, b->arch->hidden, &b->side[which].x};
}

/* ---- a layer from the pack's payloads ---- */

static const struct ucb_pack_matrix *find_matrix(const struct ucb_packfile *p,
                                                 const struct ucb_matrix *m)
{
    for (uint32_t i = 0; i < p->n_matrices; i++) {
        const struct ucb_matrix *own = &p->matrices[i].matrix;
        if (own->role == m->role && own->layer == m->layer && own->expert == m->expert)
            return &p->matrices[i];
    }
    return NULL;
}

/* The gains that were tuned stand in the unpacked files. */
static ucb_status keep_gains(struct both *b, uint32_t layer, struct ucb_err *err)
{
    const struct ucb_model *model = b->side[1].model;
    float *vector[UCB_N_VECTORS] = {NULL};
    bool tuned = false;
    ucb_writer_reset(&b->kept.gains);
    for (uint32_t i = 0; i < b->pack->n_pieces && !tuned; i++)
        tuned = b->pack->pieces[i].is_gain;
    if (!tuned) return UCB_OK;
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    ucb_status status = UCB_OK;
    for (int v = 0; v < UCB_N_VECTORS && status == UCB_OK; v++) {
        if (!ucb_vector_is_gain((enum ucb_vector)v)) continue;
        uint32_t n = ucb_model_vector_size(model, layer, (enum ucb_vector)v);
        if (n == 0) continue;
        vector[v] = UCB_NEW(&arena, float, n);
        status = vector[v] == NULL
                     ? UCB_FAIL(err, UCB_NOMEM, "layer %u: no memory for a norm", layer)
                     : ucb_model_read_vector(model, layer, (enum ucb_vector)v, vector[v],
                                             err);
    }
    if (status == UCB_OK)
        status = ucb_gains_write(model, layer, vector, &b->kept.gains, err);
    ucb_arena_free(&arena);
    return status;
}

static ucb_status keep_payloads(struct both *b, uint32_t layer, struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(b->side[0].model, layer,
                                                                    &n);
    b->kept.n_slots = n;
    for (size_t slot = 0; slot < n; slot++) {
        struct ucb_writer *out = &b->kept.payload[slot];
        const struct ucb_pack_matrix *m = find_matrix(b->pack, list[slot]);
        ucb_writer_reset(out);
        if (m == NULL) continue;
        ucb_put_bytes(out, ucb_packfile_blob(b->pack, m->blob),
                      b->pack->blobs[m->blob].n_bytes);
        UCB_TRY(ucb_writer_status(out, err));
    }
    return keep_gains(b, layer, err);
}

static ucb_status alloc_kept(struct both *b, struct ucb_err *err)
{
    size_t most = 0;
    for (uint32_t layer = 0; layer < b->arch->n_layers; layer++) {
        size_t n;
        ucb_model_layer_matrices(b->side[0].model, layer, &n);
        if (n > most) most = n;
    }
    b->n_kept = most;
    b->kept.payload = UCB_NEW(&b->arena, struct ucb_writer, most);
    return b->kept.payload == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for a layer")
                                   : UCB_OK;
}

static ucb_status load_layer(struct both *b, int which, uint32_t layer,
                             struct ucb_layer *out, struct ucb_err *err)
{
    struct side *s = &b->side[which];
    if (which == 1 || b->pack->is_exact)
        return ucb_loader_layer(s->loader, s->chain, layer, &s->tally, NULL, out, err);
    UCB_TRY(keep_payloads(b, layer, err));
    return ucb_loader_layer_kept(s->loader, s->chain, layer, &b->kept, &s->tally, out, err);
}

/* ---- comparing ---- */

static size_t window_of(const struct both *b, size_t row)
{
    size_t window = 0;
    while (b->start[window + 1] <= row) window++;
    return window;
}

static void note(struct both *b, const char *where, size_t row, size_t element)
{
    size_t window = window_of(b, row);
    if (b->differs[0] == '\0')
        snprintf(b->differs, sizeof(b->differs),
                 "%s differs first at input %zu, token %zu, element %zu", where, window,
                 row - b->start[window], element);
}

static bool compare_rows(struct both *b, const char *where, size_t first_row, size_t n_rows,
                         size_t width, const float *x, const float *y, size_t first_element)
{
    if (memcmp(x, y, n_rows * width * sizeof(*x)) == 0) return true;
    for (size_t i = 0; i < n_rows * width; i++)
        if (memcmp(x + i, y + i, sizeof(*x)) != 0) {
            note(b, where, first_row + i / width, first_element + i % width);
            break;
        }
    return false;
}

static bool compare_states(struct both *b, const char *where)
{
    const struct ucb_states *x = &b->side[0].x, *y = &b->side[1].x;
    size_t hidden = b->arch->hidden, stretch = ucb_states_stretch(x, hidden);
    for (size_t row = 0, n; row < b->n_rows; row += n) {
        n = b->n_rows - row < stretch ? b->n_rows - row : stretch;
        if (!compare_rows(b, where, row, n, hidden, x->x + row * hidden,
                          y->x + row * hidden, 0))
            return false;
        ucb_states_release(x, row * hidden, n * hidden);
        ucb_states_release(y, row * hidden, n * hidden);
    }
    return true;
}

static ucb_status run_layers(struct both *b, struct ucb_err *err)
{
    for (int which = 0; which < 2; which++) {
        struct ucb_pass pass = pass_of(b, which);
        struct side *s = &b->side[which];
        UCB_TRY(ucb_pass_embed(&pass, s->loader, s->chain, &s->tally, b->ids, err));
    }
    if (!compare_states(b, "the embedding")) return UCB_OK;
    for (uint32_t layer = 0; layer < b->arch->n_layers; layer++) {
        char where[64];
        snprintf(where, sizeof(where), "the output of layer %u", layer);
        for (int which = 0; which < 2; which++) {
            struct ucb_pass pass = pass_of(b, which);
            struct ucb_layer built;
            UCB_TRY(load_layer(b, which, layer, &built, err));
            UCB_TRY(ucb_pass_layer(&pass, b->side[which].forward, &built, NULL, err));
        }
        ucb_progress_add(&b->progress, 1, where);
        if (!compare_states(b, where)) return UCB_OK;
    }
    return UCB_OK;
}

static ucb_status final_norm(struct both *b, struct ucb_err *err)
{
    for (int which = 0; which < 2; which++) {
        struct side *s = &b->side[which];
        UCB_TRY(ucb_loader_final_norm(s->loader, s->x.x, b->n_rows, s->x.x, err));
        ucb_loader_rest(s->loader);
        s->rows = ucb_loader_head_rows(s->loader, s->chain);
        UCB_TRY(ucb_loader_head(s->loader, s->chain, &s->tally, NULL, err));
        UCB_TRY(ucb_loader_head_bias(s->loader, &s->bias, err));
    }
    return UCB_OK;
}

/* Logits of ids [id, id + n) for all rows, of both, a few rows at a time. */
static ucb_status compare_slab(struct both *b, uint32_t id, uint32_t n, struct ucb_err *err)
{
    size_t hidden = b->arch->hidden;
    for (int which = 0; which < 2; which++) {
        struct side *s = &b->side[which];
        s->slab.n_out = n;
        UCB_TRY(s->rows.read(s->rows.context, id, n, s->w, err));
        ucb_pack(b->backend, s->w, &s->slab);
    }
    for (size_t row = 0, m; row < b->n_rows; row += m) {
        m = b->n_rows - row < HEAD_ROWS ? b->n_rows - row : HEAD_ROWS;
        for (int which = 0; which < 2; which++) {
            struct side *s = &b->side[which];
            UCB_TRY(ucb_linear(b->backend, &s->slab, s->bias == NULL ? NULL : s->bias + id,
                               s->x.x + row * hidden, m, s->y, err));
            if (b->arch->final_softcap != 0)
                ucb_softcap(b->backend, s->y, m * n, b->arch->final_softcap);
        }
        if (!compare_rows(b, "a logit", row, m, n, b->side[0].y, b->side[1].y, id))
            return UCB_OK;
    }
    return UCB_OK;
}

static ucb_status run_both(struct both *b, struct ucb_err *err)
{
    uint32_t vocabulary = b->arch->vocabulary;
    UCB_TRY(run_layers(b, err));
    if (b->differs[0] != '\0') return UCB_OK;
    UCB_TRY(final_norm(b, err));
    for (uint32_t id = 0; id < vocabulary && b->differs[0] == '\0'; id += HEAD_IDS) {
        uint32_t n = vocabulary - id < HEAD_IDS ? vocabulary - id : HEAD_IDS;
        UCB_TRY(compare_slab(b, id, n, err));
        ucb_progress_add(&b->progress, head_layers * n / vocabulary, "logits");
    }
    return UCB_OK;
}

static ucb_status compare_models(struct both *b, struct ucb_verify_result *r,
                                 struct ucb_err *err)
{
    UCB_TRY(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, b->options->pool, &b->backend,
                             err));
    for (int which = 0; which < 2; which++) UCB_TRY(open_side(b, which, err));
    b->arch = ucb_model_arch(b->side[0].model);
    if (ucb_model_arch(b->side[1].model)->vocabulary != b->arch->vocabulary ||
        ucb_model_arch(b->side[1].model)->n_layers != b->arch->n_layers ||
        ucb_model_arch(b->side[1].model)->hidden != b->arch->hidden) {
        ucb_check_add(r, "logits_bit_exact", UCB_CHECK_FAIL,
                      "the source and the pack are models of different sizes");
        return UCB_OK;
    }
    UCB_TRY(make_inputs(b, b->side[0].path, err));
    UCB_TRY(alloc_kept(b, err));
    for (int which = 0; which < 2; which++) UCB_TRY(alloc_side(b, which, err));
    if (b->pack->shared != UINT32_MAX) {
        b->shared.data = (uint8_t *)ucb_packfile_blob(b->pack, b->pack->shared);
        b->shared.n_bytes = b->pack->blobs[b->pack->shared].n_bytes;
        ucb_loader_set_shared(b->side[0].loader, &b->shared);
    }
    ucb_progress_start(&b->progress, "forward pass",
                       (double)b->arch->n_layers + head_layers);
    ucb_status status = run_both(b, err);
    ucb_progress_end(&b->progress);
    UCB_TRY(status);
    if (b->differs[0] != '\0')
        ucb_check_add(r, "logits_bit_exact", UCB_CHECK_FAIL, "%s", b->differs);
    else
        ucb_check_add(
            r, "logits_bit_exact", UCB_CHECK_PASS,
            "%s and the unpacked model: every hidden state and every logit equal "
            "in all bits, on %zu tokens of text, %u inputs of %d tokens and %u of 1 "
            "to %d",
            b->pack->is_exact ? "the source" : "the payloads decoded in memory", b->n_text,
            b->options->n_inputs, SHORT, (b->options->n_inputs + 99) / 100,
            (int)b->longest);
    return UCB_OK;
}

static void close_both(struct both *b)
{
    uint8_t unused[UCB_SHA256_BYTES];
    for (int which = 0; which < 2; which++) {
        struct side *s = &b->side[which];
        if (s->tally.digest.context != NULL) ucb_sha256_final(&s->tally.digest, unused);
        ucb_forward_close(s->forward);
        ucb_loader_close(s->loader);
        ucb_states_free(&s->x);
        ucb_model_close(s->model);
    }
    for (size_t i = 0; b->kept.payload != NULL && i < b->n_kept; i++)
        ucb_writer_free(&b->kept.payload[i]);
    ucb_writer_free(&b->kept.gains);
    ucb_backend_close(b->backend);
    ucb_arena_free(&b->arena);
}

/* Why it cannot be run, or NULL. */
static const char *reason_to_skip(const struct ucb_verify_options *o,
                                  const struct ucb_packfile *p,
                                  const struct ucb_verify_result *r)
{
    if (o->source == NULL) return "no --source to run beside it";
    if (r->failed) return "the weights already differ";
    if (o->n_inputs == 0) return "--inputs 0 leaves it out";
    if (!p->is_exact && ucb_chain_has_product(p->chain))
        return "the method multiplies in an arithmetic of its own, which no unpacked file "
               "carries";
    return NULL;
}

ucb_status ucb_verify_logits(const struct ucb_verify_options *o,
                             const struct ucb_packfile *pack, struct ucb_verify_result *r,
                             struct ucb_err *err)
{
    static const char name[] = "logits_bit_exact";
    struct both b = {.options = o, .pack = pack};
    char unpacked[4096];
    const char *why = reason_to_skip(o, pack, r);
    if (why != NULL) {
        ucb_check_add(r, name, UCB_CHECK_SKIPPED, "%s", why);
        return UCB_OK;
    }
    UCB_TRY(ucb_pack_locate(o->path, r->pack_sha256, o->cache, o->limit_bytes, unpacked,
                            sizeof(unpacked), err));
    ucb_arena_init(&b.arena);
    b.side[0].path = o->source;
    b.side[1].path = unpacked;
    struct ucb_err reason = {0};
    ucb_status status = compare_models(&b, r, &reason);
    close_both(&b);
    /* MISSING: the tensors are there, they have been compared; the configuration is not. */
    if (status == UCB_UNSUPPORTED || status == UCB_CORRUPT || status == UCB_MISSING) {
        ucb_check_add(r, name, UCB_CHECK_SKIPPED, "the engine does not run it: %.500s",
                      reason.text);
        return UCB_OK;
    }
    if (status != UCB_OK && err != NULL) *err = reason;
    return status;
}
