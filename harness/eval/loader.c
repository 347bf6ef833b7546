/*
 * loader.c - see loader.h. The bytes are the only way from encoder to decoder: encode
 * writes a payload, decode sees nothing else. Matrices that the chain does not take, and
 * all of them for `none`, go straight from the file into the packed layout, in slabs.
 */
#include "eval/loader.h"

#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/progress.h"
#include "eval/calib.h"
#include "method/payload.h"

enum { SLAB_BYTES = 64 << 20 };

struct ucb_loader {
    const struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    enum ucb_scope scope;
    struct ucb_arena arena, scratch; /* of the method's job; emptied between matrices */
    struct ucb_arena products;       /* the layer's, with their payloads */
    struct ucb_chain_context context;
    struct ucb_writer payload[UCB_MAX_GROUPED];
    float *w[UCB_MAX_GROUPED],
        *decoded; /* one matrix each, as large as the largest so far */
    size_t w_floats[UCB_MAX_GROUPED], decoded_floats;
    void *bits[UCB_MAX_GROUPED]; /* for exact methods */
    size_t bits_bytes[UCB_MAX_GROUPED];
    /* Of the layer at work, by slot; as many as the fullest layer so far has. */
    struct ucb_packed *weight;
    struct ucb_own_product *product;
    size_t *packed_bytes, n_slots;
    float *vector[UCB_N_VECTORS];
    uint32_t vector_size[UCB_N_VECTORS];
    ucb_loader_wrote *wrote; /* NULL, or told of every matrix that was written */
    void *wrote_context;
};

void ucb_tally_begin(struct ucb_tally *tally)
{
    *tally = (struct ucb_tally){0};
    ucb_sha256_init(&tally->digest);
}

ucb_status ucb_loader_open(const struct ucb_model *model, struct ucb_backend *backend,
                           struct ucb_pool *pool, enum ucb_scope scope, uint64_t seed,
                           const char *model_digest, struct ucb_loader **out,
                           struct ucb_err *err)
{
    struct ucb_loader *l = ucb_mem_alloc(sizeof(*l));
    if (l == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the layer loader");
    l->model = model;
    l->arch = ucb_model_arch(model);
    l->backend = backend;
    l->pool = pool;
    l->scope = scope;
    ucb_arena_init(&l->arena);
    ucb_arena_init(&l->scratch);
    ucb_arena_init(&l->products);
    l->context = (struct ucb_chain_context){.pool = pool,
                                            .arena = &l->arena,
                                            .scratch = &l->scratch,
                                            .seed = seed,
                                            .model_digest = model_digest};
    *out = l;
    return UCB_OK;
}

void ucb_loader_watch(struct ucb_loader *l, ucb_loader_wrote *wrote, void *context)
{
    l->wrote = wrote;
    l->wrote_context = context;
}

void ucb_loader_close(struct ucb_loader *l)
{
    if (l == NULL) return;
    ucb_arena_free(&l->arena);
    ucb_arena_free(&l->scratch);
    ucb_arena_free(&l->products);
    for (int i = 0; i < UCB_MAX_GROUPED; i++) {
        ucb_writer_free(&l->payload[i]);
        ucb_mem_free(l->w[i]);
        ucb_mem_free(l->bits[i]);
    }
    ucb_mem_free(l->decoded);
    for (size_t i = 0; i < l->n_slots; i++) ucb_mem_free(l->weight[i].data);
    ucb_mem_free(l->weight);
    ucb_mem_free(l->product);
    ucb_mem_free(l->packed_bytes);
    for (int i = 0; i < UCB_N_VECTORS; i++) ucb_mem_free(l->vector[i]);
    ucb_mem_free(l);
}

/* Makes *buffer hold n_bytes; what it held is gone. */
static ucb_status reserve(void **buffer, size_t *capacity, size_t n_bytes, const char *what,
                          struct ucb_err *err)
{
    if (*capacity >= n_bytes) return UCB_OK;
    ucb_mem_free(*buffer);
    *capacity = 0;
    *buffer = ucb_mem_alloc(n_bytes);
    if (*buffer == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes", what, n_bytes);
    *capacity = n_bytes;
    return UCB_OK;
}

static ucb_status reserve_floats(float **buffer, size_t *capacity, size_t n,
                                 const char *what, struct ucb_err *err)
{
    if (*capacity >= n) return UCB_OK;
    void *p = *buffer;
    size_t bytes = *capacity * sizeof(float);
    ucb_status status = reserve(&p, &bytes, n * sizeof(float), what, err);
    *buffer = p;
    *capacity = status == UCB_OK ? n : 0;
    return status;
}

/* From the file, a slab of rows at a time, into the packed layout and into the digest;
 * either may be NULL. */
static ucb_status read_slabs(struct ucb_loader *l, const struct ucb_matrix *m,
                             const struct ucb_packed *packed, struct ucb_sha256 *digest,
                             struct ucb_err *err)
{
    size_t slab = SLAB_BYTES / sizeof(float) / m->n_in / 32 * 32;
    if (slab < 32) slab = 32;
    if (slab > m->n_out) slab = m->n_out;
    UCB_TRY(reserve_floats(&l->w[0], &l->w_floats[0], slab * m->n_in, m->name, err));
    for (uint32_t row = 0; row < m->n_out; row += (uint32_t)slab) {
        uint32_t n = m->n_out - row < slab ? m->n_out - row : (uint32_t)slab;
        UCB_TRY(ucb_model_read_rows(l->model, m, row, n, l->pool, l->w[0], err));
        if (digest != NULL)
            ucb_sha256_update(digest, l->w[0], (size_t)n * m->n_in * sizeof(float));
        if (packed != NULL) ucb_pack_rows(l->backend, l->w[0], row, n, packed);
    }
    return UCB_OK;
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(ucb_clock_ns() - start_ns) * 1e-9;
}

/* What a chain is run on: matrices that are encoded together, and what they are used as (a
 * tied head is stored under the embedding's name and role). */
struct group {
    const struct ucb_matrix *matrix[UCB_MAX_GROUPED];
    enum ucb_role role[UCB_MAX_GROUPED];
    size_t slot[UCB_MAX_GROUPED]; /* in the layer */
    uint32_t n;
};

static bool takes(const struct ucb_loader *l, const struct ucb_chain *chain,
                  enum ucb_role role)
{
    return !ucb_chain_is_none(chain) &&
           ucb_chain_takes(chain, role, ucb_scope_holds(l->scope, role));
}

/* Gives an exact method the bits that the file holds. */
static ucb_status read_bits(struct ucb_loader *l, uint32_t i, struct ucb_source *source,
                            struct ucb_err *err)
{
    const struct ucb_matrix *m = source->matrix;
    UCB_TRY(
        reserve(&l->bits[i], &l->bits_bytes[i], ucb_matrix_bits_bytes(m), m->name, err));
    source->bits = l->bits[i];
    return ucb_model_read_bits(l->model, m, 0, m->n_out, l->bits[i], err);
}

/* Reads and encodes a group: l->payload[i] holds the bytes of matrix i. */
static ucb_status encode_group(struct ucb_loader *l, const struct ucb_chain *chain,
                               const struct group *g, const struct ucb_calib *calib,
                               struct ucb_tally *tally, struct ucb_err *err)
{
    struct ucb_source source[UCB_MAX_GROUPED];
    struct ucb_writer *out[UCB_MAX_GROUPED];
    for (uint32_t i = 0; i < g->n; i++) {
        const struct ucb_matrix *m = g->matrix[i];
        UCB_TRY(reserve_floats(&l->w[i], &l->w_floats[i], (size_t)m->n_out * m->n_in,
                               m->name, err));
        UCB_TRY(ucb_model_read_rows(l->model, m, 0, m->n_out, l->pool, l->w[i], err));
        source[i] = (struct ucb_source){
            .matrix = m, .w = l->w[i], .finite = true, .calib = calib};
        out[i] = &l->payload[i];
        if (ucb_chain_is_exact(chain)) UCB_TRY(read_bits(l, i, &source[i], err));
    }
    ucb_arena_reset(&l->arena);
    uint64_t start = ucb_clock_ns();
    UCB_TRY(ucb_chain_encode(chain, &l->context, source, g->n, out, err));
    tally->encode_seconds += seconds_since(start);
    return UCB_OK;
}

/* Layer 0 is decoded a second time, by one thread, over a source that is no longer needed:
 * the bits must be the same. */
static ucb_status decode_again(struct ucb_loader *l, const struct ucb_chain *chain,
                               const struct ucb_matrix *m, uint32_t i,
                               struct ucb_tally *tally, struct ucb_err *err)
{
    struct ucb_chain_context alone = l->context;
    alone.pool = NULL;
    ucb_arena_reset(&l->arena);
    UCB_TRY(ucb_chain_decode(chain, &alone, m, l->payload[i].data, l->payload[i].n_bytes,
                             l->w[i], NULL, err));
    tally->n_decoded_twice++;
    tally->n_decodes_differing += memcmp(l->w[i], l->decoded,
                                         (size_t)m->n_out * m->n_in * sizeof(float)) != 0;
    return UCB_OK;
}

/* l->decoded becomes matrix i of the group as the method leaves it. */
static ucb_status decode_matrix(struct ucb_loader *l, const struct ucb_chain *chain,
                                const struct group *g, uint32_t i, struct ucb_tally *tally,
                                struct ucb_err *err)
{
    const struct ucb_matrix *m = g->matrix[i];
    UCB_TRY(reserve_floats(&l->decoded, &l->decoded_floats, (size_t)m->n_out * m->n_in,
                           m->name, err));
    ucb_arena_reset(&l->arena);
    uint64_t start = ucb_clock_ns();
    UCB_TRY(ucb_chain_decode(chain, &l->context, m, l->payload[i].data,
                             l->payload[i].n_bytes, l->decoded, NULL, err));
    tally->decode_seconds += seconds_since(start);
    return m->role < UCB_N_LAYER_ROLES && m->layer == 0
               ? decode_again(l, chain, m, i, tally, err)
               : UCB_OK;
}

static ucb_status run_product(void *context, const float *bias, const float *x,
                              size_t n_rows, float *y, struct ucb_err *err)
{
    return ucb_product_run(context, bias, x, n_rows, y, NULL, NULL, err);
}

/* Where the method multiplies in its own arithmetic, opens the payloads of a group once
 * more, for as long as the layer lives. */
static ucb_status open_products(struct ucb_loader *l, const struct ucb_chain *chain,
                                const struct group *g, struct ucb_layer *out,
                                struct ucb_err *err)
{
    struct ucb_chain_context kept = l->context;
    if (!ucb_chain_has_product(chain)) return UCB_OK;
    kept.arena = &l->products;
    for (uint32_t i = 0; i < g->n; i++) {
        size_t n_bytes = l->payload[i].n_bytes;
        uint8_t *bytes = ucb_arena_alloc(&l->products, n_bytes);
        struct ucb_product *product;
        if (bytes == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to keep its payload",
                            g->matrix[i]->name);
        memcpy(bytes, l->payload[i].data, n_bytes);
        UCB_TRY(
            ucb_product_open(chain, &kept, g->matrix[i], bytes, n_bytes, &product, err));
        out->product[g->slot[i]] = (struct ucb_own_product){run_product, product};
    }
    return UCB_OK;
}

/* Logits are made in the backend's arithmetic only (and LLM.int8 in transformers leaves the
 * head alone). Said before a layer is run. */
static ucb_status check_products(const struct ucb_loader *l, const struct ucb_chain *chain,
                                 struct ucb_err *err)
{
    if (!ucb_chain_has_product(chain)) return UCB_OK;
    if (!takes(l, chain, UCB_ROLE_HEAD) && !takes(l, chain, UCB_ROLE_EMBED)) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "--scope %s: %s multiplies in its own arithmetic, in which neither the "
                    "head nor the embedding is run; try --scope body",
                    ucb_scope_name(l->scope), ucb_chain_spec(chain));
}

/* Every matrix in scope is counted. The original's bytes are the file's own. */
static void count_original(const struct ucb_matrix *m, struct ucb_tally *tally)
{
    tally->n_weights += (uint64_t)m->n_out * m->n_in;
    tally->stored_bytes += m->stored_bytes;
    tally->part_bytes[UCB_PART_CODES] += m->stored_bytes;
    tally->nominal_bits += 8.0 * (double)m->stored_bytes;
}

/* An embedding that is written is a tied head too, and in scope where that is. */
static bool counts(const struct ucb_loader *l, enum ucb_role role)
{
    bool is_head = role == UCB_ROLE_EMBED && l->arch->tied_head;
    return ucb_scope_holds(l->scope, role) ||
           (is_head && ucb_scope_holds(l->scope, UCB_ROLE_HEAD));
}

/* What the chain wrote. A tied head that a method rewrites stands beside the embedding,
   which look-ups still need: it replaces nothing of the file. */
static void count_compressed(const struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct group *g, uint32_t i, struct ucb_tally *tally)
{
    const struct ucb_matrix *m = g->matrix[i];
    uint64_t stored = g->role[i] == m->role ? m->stored_bytes : 0;
    if (!counts(l, g->role[i])) {
        tally->extra_bytes += l->payload[i].n_bytes;
        tally->extra_stored_bytes += stored;
        return;
    }
    tally->n_weights += (uint64_t)m->n_out * m->n_in;
    tally->stored_bytes += stored;
    tally->nominal_bits += ucb_chain_nominal_bpw(chain, m) * (double)m->n_out * m->n_in;
    for (int part = 0; part < UCB_N_PARTS; part++)
        tally->part_bytes[part] += l->payload[i].part_bytes[part];
}

/* Encodes a group, then decodes, counts and packs matrix after matrix; packed may be NULL
 * where l->decoded is what is wanted (of a group of one). */
static ucb_status load_group(struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct group *g, const struct ucb_calib *calib,
                             struct ucb_tally *tally,
                             const struct ucb_packed *const *packed, struct ucb_err *err)
{
    UCB_TRY(encode_group(l, chain, g, calib, tally, err));
    for (uint32_t i = 0; i < g->n; i++) {
        const struct ucb_matrix *m = g->matrix[i];
        UCB_TRY(decode_matrix(l, chain, g, i, tally, err));
        count_compressed(l, chain, g, i, tally);
        ucb_sha256_update(&tally->digest, l->decoded,
                          (size_t)m->n_out * m->n_in * sizeof(float));
        if (packed != NULL && packed[i] != NULL)
            ucb_pack(l->backend, l->decoded, packed[i]);
        if (l->wrote != NULL)
            UCB_TRY(
                l->wrote(l->wrote_context, m, g->role[i], &l->payload[i], l->decoded, err));
    }
    return UCB_OK;
}

/* A matrix that the chain does not take. */
static ucb_status load_original(struct ucb_loader *l, const struct ucb_matrix *m,
                                enum ucb_role role, struct ucb_tally *tally,
                                const struct ucb_packed *packed, struct ucb_err *err)
{
    bool in_scope = ucb_scope_holds(l->scope, role);
    if (in_scope) count_original(m, tally);
    if (!in_scope && packed == NULL) return UCB_OK;
    return read_slabs(l, m, packed, in_scope ? &tally->digest : NULL, err);
}

static ucb_status load_vector(struct ucb_loader *l, uint32_t layer, enum ucb_vector which,
                              const float **out, struct ucb_err *err)
{
    *out = NULL;
    uint32_t n = ucb_model_vector_size(l->model, layer, which);
    if (n == 0) return UCB_OK;
    if (l->vector_size[which] < n) {
        ucb_mem_free(l->vector[which]);
        l->vector[which] = ucb_mem_alloc(n * sizeof(float));
        l->vector_size[which] = l->vector[which] == NULL ? 0 : n;
    }
    if (l->vector[which] == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "layer %u: no memory for a vector", layer);
    *out = l->vector[which];
    return ucb_model_read_vector(l->model, layer, which, l->vector[which], err);
}

/* Lists of at least n slots; what they held is gone. */
static ucb_status reserve_slots(struct ucb_loader *l, size_t n, struct ucb_err *err)
{
    if (l->n_slots >= n) return UCB_OK;
    for (size_t i = 0; i < l->n_slots; i++) ucb_mem_free(l->weight[i].data);
    ucb_mem_free(l->weight);
    ucb_mem_free(l->product);
    ucb_mem_free(l->packed_bytes);
    l->n_slots = 0;
    l->weight = ucb_mem_alloc(n * sizeof(*l->weight));
    l->product = ucb_mem_alloc(n * sizeof(*l->product));
    l->packed_bytes = ucb_mem_alloc(n * sizeof(*l->packed_bytes));
    if (l->weight == NULL || l->product == NULL || l->packed_bytes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a layer of %zu matrices", n);
    l->n_slots = n;
    return UCB_OK;
}

static bool is_of_layer(int which)
{
    return which < UCB_VECTOR_FINAL_NORM || which >= UCB_VECTOR_BIAS;
}

/* Makes room for a layer and reads its vectors: calibration needs them before any matrix
 * is there. */
static ucb_status begin_layer(struct ucb_loader *l, uint32_t layer, struct ucb_layer *out,
                              struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(l->model, layer, &n);
    ucb_arena_reset(&l->products);
    UCB_TRY(reserve_slots(l, n, err));
    memset(l->product, 0, n * sizeof(*l->product));
    *out = (struct ucb_layer){.index = layer,
                              .n_matrices = n,
                              .first = ucb_model_layer_slots(l->model, layer),
                              .weight = l->weight,
                              .product = l->product};
    for (size_t i = 0; i < n; i++) {
        struct ucb_packed *w = &l->weight[i];
        size_t n_bytes = ucb_pack_bytes(l->backend, list[i]->n_out, list[i]->n_in);
        UCB_TRY(reserve(&w->data, &l->packed_bytes[i], n_bytes, list[i]->name, err));
        w->n_out = list[i]->n_out;
        w->n_in = list[i]->n_in;
    }
    for (int v = 0; v < UCB_N_VECTORS; v++)
        if (is_of_layer(v))
            UCB_TRY(load_vector(l, layer, (enum ucb_vector)v, &out->vector[v], err));
    return UCB_OK;
}

/* The matrix at `slot` and those after it, reading the same input, that go through one
 * encode call with it. */
static void make_group(const struct ucb_loader *l, const struct ucb_chain *chain,
                       const struct ucb_matrix *const *list, size_t n, size_t slot,
                       bool *done, struct group *g)
{
    *g = (struct group){.n = 0};
    for (size_t i = slot; i < n && g->n < UCB_MAX_GROUPED; i++) {
        const struct ucb_matrix *m = list[i];
        if (!ucb_reads_same(list[slot], m)) break;
        if (done[i]) continue;
        if (i != slot &&
            (!takes(l, chain, m->role) || !ucb_chain_groups(chain, list[slot], m)))
            continue;
        done[i] = true;
        g->matrix[g->n] = m;
        g->slot[g->n] = i;
        g->role[g->n++] = m->role;
    }
}

/* The statistics of what a matrix reads; asked for once for neighbours that read the same,
 * and only where one of them is compressed. */
struct seen {
    const struct ucb_matrix *of; /* NULL: none yet */
    struct ucb_calib calib;
};

static ucb_status look(struct ucb_calibrator *calibrator,
                       const struct ucb_matrix *const *list, size_t slot,
                       const struct ucb_layer *built, struct seen *seen,
                       struct ucb_err *err)
{
    size_t first = slot;
    if (seen->of != NULL && ucb_reads_same(seen->of, list[slot])) return UCB_OK;
    while (first > 0 && ucb_reads_same(list[first - 1], list[slot])) first--;
    seen->of = list[slot];
    return ucb_calibrator_input(calibrator, list[slot]->layer, first, built, &seen->calib,
                                err);
}

static ucb_status load_matrices(struct ucb_loader *l, const struct ucb_chain *chain,
                                const struct ucb_matrix *const *list, size_t n, bool *done,
                                struct ucb_tally *tally, struct ucb_calibrator *calibrator,
                                struct ucb_layer *out, struct ucb_err *err)
{
    struct seen seen = {NULL, {0}};
    for (size_t i = 0; i < n; i++) {
        const struct ucb_packed *packed[UCB_MAX_GROUPED];
        struct group g;
        if (done[i]) continue;
        if (!takes(l, chain, list[i]->role)) {
            UCB_TRY(load_original(l, list[i], list[i]->role, tally, &out->weight[i], err));
            continue;
        }
        if (calibrator != NULL) UCB_TRY(look(calibrator, list, i, out, &seen, err));
        make_group(l, chain, list, n, i, done, &g);
        for (uint32_t k = 0; k < g.n; k++) packed[k] = &out->weight[g.slot[k]];
        UCB_TRY(load_group(l, chain, &g, calibrator == NULL ? NULL : &seen.calib, tally,
                           packed, err));
        UCB_TRY(open_products(l, chain, &g, out, err));
    }
    return UCB_OK;
}

ucb_status ucb_loader_layer(struct ucb_loader *l, const struct ucb_chain *chain,
                            uint32_t layer, struct ucb_tally *tally,
                            struct ucb_calibrator *calibrator, struct ucb_layer *out,
                            struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(l->model, layer, &n);
    UCB_TRY(begin_layer(l, layer, out, err));
    bool *done = ucb_mem_alloc(n * sizeof(*done));
    if (done == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a layer of %zu matrices", n);
    ucb_status status = load_matrices(l, chain, list, n, done, tally, calibrator, out, err);
    ucb_mem_free(done);
    ucb_model_forget_layer(l->model, layer);
    return status != UCB_OK || calibrator == NULL
               ? status
               : ucb_calibrator_layer_done(calibrator, layer, out, err);
}

/* A tied head that is also written, or counted, as the embedding: the file has one matrix
 * for both. */
static bool head_is_embedding(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    return l->arch->tied_head &&
           (takes(l, chain, UCB_ROLE_EMBED) ||
            (ucb_scope_holds(l->scope, UCB_ROLE_EMBED) && !takes(l, chain, UCB_ROLE_HEAD)));
}

bool ucb_loader_has_own_head(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    return takes(l, chain, UCB_ROLE_HEAD) || ucb_scope_holds(l->scope, UCB_ROLE_HEAD) ||
           head_is_embedding(l, chain);
}

/* A tied head that was already written as the embedding is decoded again for its product
 * but counted once. */
ucb_status ucb_loader_head(struct ucb_loader *l, const struct ucb_chain *chain,
                           struct ucb_tally *tally, const struct ucb_packed *head,
                           struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_HEAD);
    struct group g = {.matrix = {m}, .role = {UCB_ROLE_HEAD}, .n = 1};
    struct ucb_tally uncounted = {0};
    UCB_TRY(check_products(l, chain, err));
    if (head_is_embedding(l, chain)) {
        if (!takes(l, chain, UCB_ROLE_EMBED)) return read_slabs(l, m, head, NULL, err);
        UCB_TRY(encode_group(l, chain, &g, NULL, &uncounted, err));
        UCB_TRY(decode_matrix(l, chain, &g, 0, &uncounted, err));
        ucb_pack(l->backend, l->decoded, head);
        return UCB_OK;
    }
    if (!takes(l, chain, UCB_ROLE_HEAD))
        return load_original(l, m, UCB_ROLE_HEAD, tally, head, err);
    return load_group(l, chain, &g, NULL, tally, &head, err);
}

/* What comes between a row of the table and the first layer. */
static ucb_status place_rows(struct ucb_loader *l, size_t n_windows, const size_t *start,
                             float *x, struct ucb_err *err)
{
    size_t hidden = l->arch->hidden;
    const float *positions;
    if (l->arch->embed_scale != 1.0f)
        ucb_scale(l->backend, x, start[n_windows] * hidden, l->arch->embed_scale);
    if (l->arch->positions != UCB_POSITIONS_LEARNED) return UCB_OK;
    UCB_TRY(load_vector(l, 0, UCB_VECTOR_POSITIONS, &positions, err));
    for (size_t w = 0; w < n_windows; w++) {
        size_t n = start[w + 1] - start[w];
        if (n > l->arch->max_positions)
            return UCB_FAIL(err, UCB_USAGE,
                            "a window of %zu tokens: the model has %u positions; try a "
                            "smaller ctx",
                            n, l->arch->max_positions);
        ucb_add(l->backend, x + start[w] * hidden, positions, n * hidden);
    }
    return UCB_OK;
}

static ucb_status embed_rows(struct ucb_loader *l, const struct ucb_chain *chain,
                             struct ucb_tally *tally, const uint32_t *ids, size_t n,
                             float *out, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_EMBED);
    struct group g = {.matrix = {m}, .role = {UCB_ROLE_EMBED}, .n = 1};
    UCB_TRY(check_products(l, chain, err));
    if (!takes(l, chain, UCB_ROLE_EMBED)) {
        UCB_TRY(load_original(l, m, UCB_ROLE_EMBED, tally, NULL, err));
        return ucb_model_gather(l->model, m, ids, n, l->pool, out, err);
    }
    UCB_TRY(load_group(l, chain, &g, NULL, tally, NULL, err));
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= m->n_out)
            return UCB_FAIL(err, UCB_USAGE, "id %u: the vocabulary has %u entries", ids[i],
                            m->n_out);
        memcpy(out + i * m->n_in, l->decoded + (size_t)ids[i] * m->n_in,
               m->n_in * sizeof(float));
    }
    return UCB_OK;
}

ucb_status ucb_loader_embed(struct ucb_loader *l, const struct ucb_chain *chain,
                            struct ucb_tally *tally, const uint32_t *ids, size_t n_windows,
                            const size_t *start, float *out, struct ucb_err *err)
{
    UCB_TRY(embed_rows(l, chain, tally, ids, start[n_windows], out, err));
    return place_rows(l, n_windows, start, out, err);
}

ucb_status ucb_loader_head_bias(struct ucb_loader *l, const float **bias,
                                struct ucb_err *err)
{
    return load_vector(l, 0, UCB_VECTOR_HEAD_BIAS, bias, err);
}

ucb_status ucb_loader_final_norm(struct ucb_loader *l, const float *x, size_t n, float *out,
                                 struct ucb_err *err)
{
    const struct ucb_arch *a = l->arch;
    const float *weight, *bias;
    UCB_TRY(load_vector(l, 0, UCB_VECTOR_FINAL_NORM, &weight, err));
    UCB_TRY(load_vector(l, 0, UCB_VECTOR_FINAL_NORM_BIAS, &bias, err));
    if (a->norm == UCB_NORM_LAYER)
        ucb_layernorm(l->backend, x, n, a->hidden, weight, bias, a->norm_eps, out);
    else
        ucb_rmsnorm(l->backend, x, n, a->hidden, weight, a->norm_eps, out);
    return UCB_OK;
}
