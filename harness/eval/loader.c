/*
 * loader.c - see loader.h. The bytes are the only way from encoder to decoder: encode
 * writes a payload, decode sees nothing else. Matrices that the chain does not take, and
 * all of them for `none`, go straight from the file into the packed layout, in slabs.
 */
#include "eval/loader_internal.h"

#include <stdio.h>
#include <math.h>
#include <string.h>

#include "backend/cuda.h"
#include "core/arena.h"
#include "core/progress.h"
#include "eval/calib.h"
#include "eval/gains.h"
#include "method/payload.h"

enum { SLAB_BYTES = 64 << 20 };

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

void ucb_loader_set_shared(struct ucb_loader *l, const struct ucb_writer *shared)
{
    l->context.shared = shared == NULL ? NULL : shared->data;
    l->context.n_shared = shared == NULL ? 0 : shared->n_bytes;
}

void ucb_loader_drop_sources(struct ucb_loader *l)
{
    for (int i = 0; i < UCB_MAX_GROUPED; i++) {
        ucb_writer_free(&l->payload[i]);
        ucb_mem_free(l->w[i]);
        l->w[i] = NULL;
        l->w_floats[i] = 0;
        ucb_mem_free(l->bits[i]);
        l->bits[i] = NULL;
        l->bits_bytes[i] = 0;
    }
}

static void drop_layer(struct ucb_loader *l)
{
    for (size_t i = 0; i < l->n_slots; i++) ucb_packed_free(l->backend, &l->weight[i]);
    ucb_mem_free(l->weight);
    ucb_mem_free(l->product);
    ucb_mem_free(l->tiles);
    ucb_mem_free(l->packed_bytes);
    l->weight = NULL;
    l->product = NULL;
    l->tiles = NULL;
    l->packed_bytes = NULL;
    l->n_slots = 0;
}

void ucb_loader_drop_tools(struct ucb_loader *l)
{
    ucb_arena_reset(&l->arena);
    ucb_arena_reset(&l->scratch);
    ucb_loader_drop_sources(l);
    ucb_mem_free(l->decoded);
    l->decoded = NULL;
    l->decoded_floats = 0;
}

void ucb_loader_rest(struct ucb_loader *l)
{
    ucb_loader_drop_tools(l);
    ucb_arena_reset(&l->products);
    drop_layer(l);
    if (l->decodes_there) ucb_cuda_drop_decoding(ucb_backend_cuda(l->backend));
}

void ucb_loader_close(struct ucb_loader *l)
{
    if (l == NULL) return;
    ucb_loader_rest(l);
    ucb_arena_free(&l->arena);
    ucb_arena_free(&l->scratch);
    ucb_arena_free(&l->products);
    ucb_rooms_close(l->rooms);
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
ucb_status ucb_loader_slabs(struct ucb_loader *l, const struct ucb_matrix *m,
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

bool ucb_loader_takes(const struct ucb_loader *l, const struct ucb_chain *chain,
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

/* No statistics, or such of zeros alone. */
static bool is_silent(const struct ucb_calib *calib, size_t n_in)
{
    if (calib == NULL || calib->n_tokens == 0) return true;
    for (size_t j = 0; j < n_in; j++)
        if ((calib->sq_mean != NULL && calib->sq_mean[j] != 0) ||
            (calib->abs_mean != NULL && calib->abs_mean[j] != 0) ||
            (calib->abs_max != NULL && calib->abs_max[j] != 0) ||
            (calib->second_moment != NULL && calib->second_moment[j * n_in + j] != 0))
            return false;
    return true;
}

/* Reads and encodes a group: l->payload[i] holds the bytes of matrix i. */
ucb_status ucb_loader_encode(struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct ucb_loader_group *g,
                             const struct ucb_calib *calib, struct ucb_tally *tally,
                             struct ucb_err *err)
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
    if (ucb_chain_needs(chain) != UCB_NEEDS_NONE && is_silent(calib, g->matrix[0]->n_in))
        tally->n_uncalibrated += g->n;
    return UCB_OK;
}

/* Layer 0 is decoded a second time, by one thread, over a source that is no longer needed,
 * and a third time by a device that decodes: the bits must be the same. */
static ucb_status decode_again(struct ucb_loader *l, const struct ucb_chain *chain,
                               const struct ucb_matrix *m, uint32_t i,
                               struct ucb_tally *tally, struct ucb_err *err)
{
    struct ucb_chain_context alone = l->context;
    alone.pool = NULL;
    ucb_arena_reset(&l->arena);
    UCB_TRY(ucb_chain_decode(chain, &alone, m, l->payload[i].data, l->payload[i].n_bytes,
                             l->w[i], NULL, err));
    bool differs = memcmp(l->w[i], l->decoded,
                          (size_t)m->n_out * m->n_in * sizeof(float)) != 0;
    if (ucb_loader_decodes_on_device(l, chain))
        UCB_TRY(ucb_loader_compare_on_device(l, chain, m, i, &differs, err));
    tally->n_decoded_twice++;
    tally->n_decodes_differing += differs;
    return UCB_OK;
}

/* l->decoded becomes matrix i of the group as the method leaves it. */
ucb_status ucb_loader_decode(struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct ucb_loader_group *g, uint32_t i,
                             struct ucb_tally *tally, struct ucb_err *err)
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
                                const struct ucb_loader_group *g, struct ucb_layer *out,
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

/* Every matrix in scope is counted. The original's bytes are the file's own. */
static void count_original(const struct ucb_matrix *m, struct ucb_tally *tally)
{
    tally->n_weights += (uint64_t)m->n_out * m->n_in;
    tally->stored_bytes += m->stored_bytes;
    tally->part_bytes[UCB_PART_CODES] += m->stored_bytes;
    tally->nominal_bits += 8.0 * (double)m->stored_bytes;
    tally->claimed_bits = NAN;
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
                             const struct ucb_loader_group *g, uint32_t i,
                             struct ucb_tally *tally)
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
    tally->claimed_bits += ucb_chain_claimed_bpw(chain, m) * (double)m->n_out * m->n_in;
    for (int part = 0; part < UCB_N_PARTS; part++)
        tally->part_bytes[part] += l->payload[i].part_bytes[part];
}

/* The payloads of a group as they were kept; nothing is encoded. */
static ucb_status take_kept(struct ucb_loader *l, const struct ucb_loader_group *g,
                            struct ucb_err *err)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const struct ucb_matrix *m = g->matrix[i];
        if (m->layer == 0) /* where a matrix is decoded once more, see decode_again() */
            UCB_TRY(reserve_floats(&l->w[i], &l->w_floats[i], (size_t)m->n_out * m->n_in,
                                   m->name, err));
        UCB_TRY(ucb_writer_copy(&l->payload[i], &l->kept->payload[g->slot[i]], err));
    }
    return UCB_OK;
}

/* Encodes a group, then decodes, counts and packs matrix after matrix; packed may be NULL
 * where l->decoded is what is wanted (of a group of one). */
ucb_status ucb_loader_chain(struct ucb_loader *l, const struct ucb_chain *chain,
                            const struct ucb_loader_group *g, const struct ucb_calib *calib,
                            struct ucb_tally *tally, const struct ucb_packed *const *packed,
                            struct ucb_err *err)
{
    UCB_TRY(l->kept != NULL ? take_kept(l, g, err)
                            : ucb_loader_encode(l, chain, g, calib, tally, err));
    for (uint32_t i = 0; i < g->n; i++) {
        const struct ucb_matrix *m = g->matrix[i];
        UCB_TRY(ucb_loader_decode(l, chain, g, i, tally, err));
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
ucb_status ucb_loader_original(struct ucb_loader *l, const struct ucb_matrix *m,
                               enum ucb_role role, struct ucb_tally *tally,
                               const struct ucb_packed *packed, struct ucb_err *err)
{
    bool in_scope = ucb_scope_holds(l->scope, role);
    if (in_scope) count_original(m, tally);
    if (!in_scope && packed == NULL) return UCB_OK;
    return ucb_loader_slabs(l, m, packed, in_scope ? &tally->digest : NULL, err);
}

ucb_status ucb_loader_vector(struct ucb_loader *l, uint32_t layer, enum ucb_vector which,
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
    drop_layer(l);
    l->weight = ucb_mem_alloc(n * sizeof(*l->weight));
    l->product = ucb_mem_alloc(n * sizeof(*l->product));
    l->tiles = ucb_mem_alloc(n * sizeof(*l->tiles));
    l->packed_bytes = ucb_mem_alloc(n * sizeof(*l->packed_bytes));
    if (l->weight == NULL || l->product == NULL || l->tiles == NULL ||
        l->packed_bytes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a layer of %zu matrices", n);
    l->n_slots = n;
    return UCB_OK;
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
    memset(l->tiles, 0, n * sizeof(*l->tiles));
    *out = (struct ucb_layer){.index = layer,
                              .n_matrices = n,
                              .first = ucb_model_layer_slots(l->model, layer),
                              .weight = l->weight,
                              .product = l->product,
                              .tiles = l->tiles};
    for (size_t i = 0; i < n; i++) {
        l->weight[i].n_out = list[i]->n_out;
        l->weight[i].n_in = list[i]->n_in;
    }
    for (int v = 0; v < UCB_N_VECTORS; v++)
        if (ucb_vector_is_of_layer((enum ucb_vector)v))
            UCB_TRY(ucb_loader_vector(l, layer, (enum ucb_vector)v, &out->vector[v], err));
    return UCB_OK;
}

ucb_status ucb_loader_reserve_packed(struct ucb_loader *l, const struct ucb_matrix *m,
                                     size_t slot, bool there, struct ucb_err *err)
{
    size_t n_bytes = there ? 1 : ucb_pack_bytes(l->backend, m->n_out, m->n_in);
    if (l->packed_bytes[slot] < n_bytes || (there && l->packed_bytes[slot] > 1)) {
        ucb_packed_free(l->backend, &l->weight[slot]); /* a device's copy of it too */
        l->packed_bytes[slot] = 0;
    }
    return reserve(&l->weight[slot].data, &l->packed_bytes[slot], n_bytes, m->name, err);
}

/* The matrix at `slot` and those after it, reading the same input, that go through one
 * encode call with it. */
static void make_group(const struct ucb_loader *l, const struct ucb_chain *chain,
                       const struct ucb_matrix *const *list, size_t n, size_t slot,
                       bool *done, struct ucb_loader_group *g)
{
    *g = (struct ucb_loader_group){.n = 0};
    for (size_t i = slot; i < n && g->n < UCB_MAX_GROUPED; i++) {
        const struct ucb_matrix *m = list[i];
        if (!ucb_reads_same(list[slot], m)) break;
        if (done[i]) continue;
        if (i != slot && (!ucb_loader_takes(l, chain, m->role) ||
                          !ucb_chain_groups(chain, list[slot], m)))
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
    bool encoded = ucb_loader_stays_encoded(l, chain),
         there = ucb_loader_decodes_on_device(l, chain);
    for (size_t i = 0; i < n; i++) {
        const struct ucb_packed *packed[UCB_MAX_GROUPED];
        struct ucb_loader_group g;
        if (done[i]) continue;
        if (!ucb_loader_takes(l, chain, list[i]->role)) {
            UCB_TRY(ucb_loader_reserve_packed(l, list[i], i, false, err));
            UCB_TRY(ucb_loader_original(l, list[i], list[i]->role, tally, &out->weight[i],
                                        err));
            continue;
        }
        if (calibrator != NULL) UCB_TRY(look(calibrator, list, i, out, &seen, err));
        make_group(l, chain, list, n, i, done, &g);
        for (uint32_t k = 0; k < g.n; k++) {
            packed[k] = encoded || there ? NULL : &out->weight[g.slot[k]];
            if (!encoded)
                UCB_TRY(ucb_loader_reserve_packed(l, g.matrix[k], g.slot[k], there, err));
        }
        UCB_TRY(ucb_loader_chain(l, chain, &g, calibrator == NULL ? NULL : &seen.calib,
                                 tally, packed, err));
        UCB_TRY(encoded ? ucb_loader_open_residents(l, chain, &g, err)
                        : open_products(l, chain, &g, out, err));
        if (there) UCB_TRY(ucb_loader_pack_on_device(l, chain, &g, err));
    }
    return UCB_OK;
}

/* Gains that were tuned, over those of the file. */
static ucb_status apply_kept(struct ucb_loader *l, uint32_t layer, struct ucb_tally *tally,
                             struct ucb_err *err)
{
    const struct ucb_writer *gains = &l->kept->gains;
    tally->encode_seconds += l->kept->encode_seconds + l->kept->tune_seconds;
    tally->n_uncalibrated += (uint32_t)l->kept->n_uncalibrated;
    if (gains->n_bytes == 0) return UCB_OK;
    tally->extra_bytes += gains->n_bytes;
    tally->extra_stored_bytes += ucb_gains_file_bytes(l->model, layer);
    return ucb_gains_apply(l->model, layer, gains->data, gains->n_bytes, l->vector, err);
}

ucb_status ucb_loader_build(struct ucb_loader *l, const struct ucb_chain *chain,
                            uint32_t layer, const struct ucb_layer_bytes *kept,
                            struct ucb_tally *tally, struct ucb_calibrator *calibrator,
                            struct ucb_layer *out, struct ucb_err *err)
{
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(l->model, layer, &n);
    UCB_TRY(begin_layer(l, layer, out, err));
    bool *done = ucb_mem_alloc(n * sizeof(*done));
    if (done == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a layer of %zu matrices", n);
    l->kept = kept;
    ucb_status status = kept == NULL ? UCB_OK : apply_kept(l, layer, tally, err);
    if (status == UCB_OK)
        status = load_matrices(l, chain, list, n, done, tally, calibrator, out, err);
    l->kept = NULL;
    if (status == UCB_OK) ucb_loader_count_resident(l, n, tally);
    ucb_mem_free(done);
    return status;
}

ucb_status ucb_loader_layer(struct ucb_loader *l, const struct ucb_chain *chain,
                            uint32_t layer, struct ucb_tally *tally,
                            struct ucb_calibrator *calibrator, struct ucb_layer *out,
                            struct ucb_err *err)
{
    UCB_TRY(ucb_loader_build(l, chain, layer, NULL, tally, calibrator, out, err));
    return calibrator == NULL ? UCB_OK
                              : ucb_calibrator_layer_done(calibrator, layer, out, err);
}

ucb_status ucb_loader_layer_kept(struct ucb_loader *l, const struct ucb_chain *chain,
                                 uint32_t layer, const struct ucb_layer_bytes *kept,
                                 struct ucb_tally *tally, struct ucb_layer *out,
                                 struct ucb_err *err)
{
    return ucb_loader_build(l, chain, layer, kept, tally, NULL, out, err);
}
