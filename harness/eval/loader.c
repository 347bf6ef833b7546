/*
 * loader.c - see loader.h. The bytes are the only way from encoder to decoder: encode
 * writes a payload, decode sees nothing else. Matrices out of scope, and all of them for
 * `none`, go straight from the file into the packed layout, in slabs.
 */
#include "eval/loader.h"

#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/progress.h"
#include "core/text.h"

enum { SLAB_BYTES = 64 << 20 };

struct ucb_loader {
    const struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    enum ucb_scope scope;
    struct ucb_arena arena, scratch; /* of the method's job; emptied between matrices */
    struct ucb_chain_context context;
    struct ucb_writer payload;
    float *w, *decoded; /* one matrix each, as large as the largest so far */
    size_t w_floats, decoded_floats;
    void *packed[UCB_N_LAYER_ROLES];
    size_t packed_bytes[UCB_N_LAYER_ROLES];
    float *vector[UCB_N_VECTORS];
};

static const char *const scope_names[UCB_N_SCOPES] = {"body", "linear", "all"};

const char *ucb_scope_name(enum ucb_scope scope)
{
    return scope_names[scope];
}

ucb_status ucb_scope_find(const char *name, enum ucb_scope *out, struct ucb_err *err)
{
    char near[128];
    for (unsigned i = 0; i < UCB_N_SCOPES; i++)
        if (strcmp(name, scope_names[i]) == 0) {
            *out = (enum ucb_scope)i;
            return UCB_OK;
        }
    ucb_text_near(name, scope_names, UCB_N_SCOPES, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "--scope %s: %s", name, near);
}

bool ucb_scope_holds(enum ucb_scope scope, enum ucb_role role)
{
    if (role < UCB_N_LAYER_ROLES) return true;
    return role == UCB_ROLE_HEAD ? scope != UCB_SCOPE_BODY : scope == UCB_SCOPE_ALL;
}

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
    l->context = (struct ucb_chain_context){.pool = pool,
                                            .arena = &l->arena,
                                            .scratch = &l->scratch,
                                            .seed = seed,
                                            .model_digest = model_digest};
    *out = l;
    return UCB_OK;
}

void ucb_loader_close(struct ucb_loader *l)
{
    if (l == NULL) return;
    ucb_arena_free(&l->arena);
    ucb_arena_free(&l->scratch);
    ucb_writer_free(&l->payload);
    ucb_mem_free(l->w);
    ucb_mem_free(l->decoded);
    for (int i = 0; i < UCB_N_LAYER_ROLES; i++) ucb_mem_free(l->packed[i]);
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
    UCB_TRY(reserve_floats(&l->w, &l->w_floats, slab * m->n_in, m->name, err));
    for (uint32_t row = 0; row < m->n_out; row += (uint32_t)slab) {
        uint32_t n = m->n_out - row < slab ? m->n_out - row : (uint32_t)slab;
        UCB_TRY(ucb_model_read_rows(l->model, m, row, n, l->pool, l->w, err));
        if (digest != NULL)
            ucb_sha256_update(digest, l->w, (size_t)n * m->n_in * sizeof(float));
        if (packed != NULL) ucb_pack_rows(l->backend, l->w, row, n, packed);
    }
    return UCB_OK;
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(ucb_clock_ns() - start_ns) * 1e-9;
}

/* Layer 0 is decoded a second time, by one thread, over the source: the bits must be the
 * same. */
static ucb_status decode_again(struct ucb_loader *l, const struct ucb_chain *chain,
                               const struct ucb_matrix *m, struct ucb_tally *tally,
                               struct ucb_err *err)
{
    struct ucb_chain_context alone = l->context;
    alone.pool = NULL;
    ucb_arena_reset(&l->arena);
    UCB_TRY(ucb_chain_decode(chain, &alone, m, l->payload.data, l->payload.n_bytes, l->w,
                             NULL, err));
    tally->n_decoded_twice++;
    tally->n_decodes_differing += memcmp(l->w, l->decoded,
                                         (size_t)m->n_out * m->n_in * sizeof(float)) != 0;
    return UCB_OK;
}

/* read, encode, decode: l->decoded holds the matrix as the method leaves it. */
static ucb_status run_chain(struct ucb_loader *l, const struct ucb_chain *chain,
                            const struct ucb_matrix *m, struct ucb_tally *tally,
                            struct ucb_err *err)
{
    size_t n = (size_t)m->n_out * m->n_in;
    UCB_TRY(reserve_floats(&l->w, &l->w_floats, n, m->name, err));
    UCB_TRY(reserve_floats(&l->decoded, &l->decoded_floats, n, m->name, err));
    UCB_TRY(ucb_model_read_rows(l->model, m, 0, m->n_out, l->pool, l->w, err));
    struct ucb_source source = {.matrix = m, .w = l->w};
    ucb_arena_reset(&l->arena);
    uint64_t start = ucb_clock_ns();
    struct ucb_writer *payload = &l->payload;
    UCB_TRY(ucb_chain_encode(chain, &l->context, &source, 1, &payload, err));
    tally->encode_seconds += seconds_since(start);
    start = ucb_clock_ns();
    UCB_TRY(ucb_chain_decode(chain, &l->context, m, l->payload.data, l->payload.n_bytes,
                             l->decoded, NULL, err));
    tally->decode_seconds += seconds_since(start);
    for (int i = 0; i < UCB_N_PARTS; i++) tally->part_bytes[i] += l->payload.part_bytes[i];
    tally->nominal_bits += ucb_chain_nominal_bpw(chain, m) * (double)n;
    return m->role < UCB_N_LAYER_ROLES && m->layer == 0
               ? decode_again(l, chain, m, tally, err)
               : UCB_OK;
}

/* Every matrix in scope is counted. The original's bytes are the file's own. */
static void count_original(const struct ucb_matrix *m, struct ucb_tally *tally)
{
    tally->n_weights += (uint64_t)m->n_out * m->n_in;
    tally->stored_bytes += m->stored_bytes;
    tally->part_bytes[UCB_PART_CODES] += m->stored_bytes;
    tally->nominal_bits += 8.0 * (double)m->stored_bytes;
}

/* A tied head that a method rewrites stands beside the embedding, which look-ups still
   need: it replaces nothing of the file. run_chain counts the bytes that were written. */
static void count_compressed(const struct ucb_matrix *m, enum ucb_role role,
                             struct ucb_tally *tally)
{
    tally->n_weights += (uint64_t)m->n_out * m->n_in;
    if (role == m->role) tally->stored_bytes += m->stored_bytes;
}

/* `role` is what the matrix is used as: a tied head is stored under the embedding's name
 * and role. */
static ucb_status load_matrix(struct ucb_loader *l, const struct ucb_chain *chain,
                              const struct ucb_matrix *m, enum ucb_role role,
                              struct ucb_tally *tally, const struct ucb_packed *packed,
                              struct ucb_err *err)
{
    bool in_scope = ucb_scope_holds(l->scope, role);
    if (!in_scope || ucb_chain_is_none(chain)) {
        if (in_scope) count_original(m, tally);
        return read_slabs(l, m, packed, in_scope ? &tally->digest : NULL, err);
    }
    count_compressed(m, role, tally);
    UCB_TRY(run_chain(l, chain, m, tally, err));
    ucb_sha256_update(&tally->digest, l->decoded,
                      (size_t)m->n_out * m->n_in * sizeof(float));
    ucb_pack(l->backend, l->decoded, packed);
    return UCB_OK;
}

static ucb_status load_vector(struct ucb_loader *l, uint32_t layer, enum ucb_vector which,
                              const float **out, struct ucb_err *err)
{
    *out = NULL;
    uint32_t n = ucb_model_vector_size(l->model, layer, which);
    if (n == 0) return UCB_OK;
    if (l->vector[which] == NULL) l->vector[which] = ucb_mem_alloc(n * sizeof(float));
    if (l->vector[which] == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "layer %u: no memory for a vector", layer);
    *out = l->vector[which];
    return ucb_model_read_vector(l->model, layer, which, l->vector[which], err);
}

ucb_status ucb_loader_layer(struct ucb_loader *l, const struct ucb_chain *chain,
                            uint32_t layer, struct ucb_tally *tally, struct ucb_layer *out,
                            struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(l->model, layer, &n);
    *out = (struct ucb_layer){.index = layer};
    for (size_t i = 0; i < n; i++) {
        const struct ucb_matrix *m = list[i];
        size_t n_bytes = ucb_pack_bytes(l->backend, m->n_out, m->n_in);
        UCB_TRY(
            reserve(&l->packed[m->role], &l->packed_bytes[m->role], n_bytes, m->name, err));
        out->weight[m->role] = (struct ucb_packed){l->packed[m->role], m->n_out, m->n_in};
        UCB_TRY(load_matrix(l, chain, m, m->role, tally, &out->weight[m->role], err));
    }
    for (int v = 0; v < UCB_N_VECTORS; v++)
        if (v < UCB_VECTOR_FINAL_NORM || v >= UCB_VECTOR_BIAS)
            UCB_TRY(load_vector(l, layer, (enum ucb_vector)v, &out->vector[v], err));
    ucb_model_forget_layer(l->model, layer);
    return UCB_OK;
}

/* A tied head that scope `all` already wrote as the embedding is decoded again for its
 * product but counted once. */
ucb_status ucb_loader_head(struct ucb_loader *l, const struct ucb_chain *chain,
                           struct ucb_tally *tally, const struct ucb_packed *head,
                           struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_HEAD);
    if (l->scope == UCB_SCOPE_ALL && l->arch->tied_head) {
        if (ucb_chain_is_none(chain)) return read_slabs(l, m, head, NULL, err);
        struct ucb_tally uncounted = {0};
        UCB_TRY(run_chain(l, chain, m, &uncounted, err));
        ucb_pack(l->backend, l->decoded, head);
        return UCB_OK;
    }
    return load_matrix(l, chain, m, UCB_ROLE_HEAD, tally, head, err);
}

ucb_status ucb_loader_embed(struct ucb_loader *l, const struct ucb_chain *chain,
                            struct ucb_tally *tally, const uint32_t *ids, size_t n,
                            float *out, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_EMBED);
    bool in_scope = ucb_scope_holds(l->scope, UCB_ROLE_EMBED);
    if (!in_scope || ucb_chain_is_none(chain)) {
        if (in_scope) count_original(m, tally);
        if (in_scope) UCB_TRY(read_slabs(l, m, NULL, &tally->digest, err));
        return ucb_model_gather(l->model, m, ids, n, l->pool, out, err);
    }
    count_compressed(m, m->role, tally);
    UCB_TRY(run_chain(l, chain, m, tally, err));
    ucb_sha256_update(&tally->digest, l->decoded,
                      (size_t)m->n_out * m->n_in * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= m->n_out)
            return UCB_FAIL(err, UCB_USAGE, "id %u: the vocabulary has %u entries", ids[i],
                            m->n_out);
        memcpy(out + i * m->n_in, l->decoded + (size_t)ids[i] * m->n_in,
               m->n_in * sizeof(float));
    }
    return UCB_OK;
}

ucb_status ucb_loader_final_norm(struct ucb_loader *l, const float *x, size_t n, float *out,
                                 struct ucb_err *err)
{
    const float *weight;
    UCB_TRY(load_vector(l, 0, UCB_VECTOR_FINAL_NORM, &weight, err));
    ucb_rmsnorm(l->backend, x, n, l->arch->hidden, weight, l->arch->norm_eps, out);
    return UCB_OK;
}
