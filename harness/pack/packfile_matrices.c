/*
 * packfile_matrices.c - runs a chain over a model, as an evaluation does, and keeps what it
 * wrote: payloads, side data, gains, and the digest of what each payload decodes to.
 */
#include <string.h>

#include "eval/gains.h"
#include "method/payload.h"
#include "pack/packfile_write_internal.h"

static bool takes(const struct ucb_pack_writer *w, enum ucb_role role)
{
    const struct ucb_packfile_options *o = w->options;
    return ucb_chain_takes(o->chain, role, ucb_scope_holds(o->scope, role));
}

/* The dtype that a decoded matrix is unpacked in. */
static enum ucb_dtype decoded_dtype(const struct ucb_pack_writer *w,
                                    const struct ucb_matrix *m)
{
    if (w->is_exact) return m->dtype;
    enum ucb_dtype dtype = ucb_chain_decoded_dtype(w->options->chain, m->dtype);
    return dtype == UCB_F16 || dtype == UCB_BF16 ? dtype : UCB_F32;
}

/* Digest of the decoded elements: of an exact chain, of the source's own bits. */
static ucb_status digest_decoded(struct ucb_pack_writer *w, const struct ucb_matrix *m,
                                 enum ucb_dtype dtype, const float *decoded,
                                 char hex[UCB_SHA256_HEX], struct ucb_err *err)
{
    size_t n = ucb_matrix_weights(m),
           n_bytes = n / ucb_dtype_block_elements(dtype) * ucb_dtype_block_bytes(dtype);
    ucb_arena_reset(&w->scratch);
    void *elements = ucb_arena_alloc(&w->scratch, n_bytes);
    if (elements == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory", m->name);
    if (w->is_exact)
        UCB_TRY(ucb_model_read_bits(w->options->model, m, 0, m->n_out, elements, err));
    else
        ucb_pack_elements(w->options->pool, dtype, decoded, n, elements);
    ucb_sha256_hex(elements, n_bytes, hex);
    return UCB_OK;
}

static json_t *describe(const struct ucb_written *x, const struct ucb_writer *payload,
                        uint32_t blob, const char *sha256)
{
    const struct ucb_matrix *m = x->matrix;
    json_t *parts = json_array();
    for (int i = 0; i < UCB_N_PARTS; i++)
        json_array_append_new(parts, json_integer((json_int_t)payload->part_bytes[i]));
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:s, s:s, s:I, s:o}", "name",
        m->name, "role", ucb_role_name(m->role), "used_as", ucb_role_name(x->used_as),
        "layer", (json_int_t)m->layer, "expert", (json_int_t)m->expert, "out",
        (json_int_t)m->n_out, "in", (json_int_t)m->n_in, "stored", ucb_dtype_name(m->dtype),
        "stored_bytes", (json_int_t)m->stored_bytes, "decoded", ucb_dtype_name(x->dtype),
        "sha256", sha256, "blob", (json_int_t)blob, "parts", parts);
}

static ucb_status take_written(void *context, const struct ucb_matrix *m,
                               enum ucb_role role, const struct ucb_writer *payload,
                               const float *decoded, struct ucb_err *err)
{
    struct ucb_pack_writer *w = context;
    struct ucb_written *x = &w->written[w->n_written++];
    char hex[UCB_SHA256_HEX];
    uint32_t blob;
    /* Bits are bits: a tied head restored exactly is the embedding restored. */
    if (w->is_exact) role = m->role;
    *x = (struct ucb_written){.matrix = m, .used_as = role, .dtype = decoded_dtype(w, m)};
    ucb_model_place(w->options->model, m, &x->place);
    UCB_TRY(ucb_pack_put_blob(w, payload->data, payload->n_bytes, &blob, err));
    UCB_TRY(digest_decoded(w, m, x->dtype, decoded, hex, err));
    ucb_progress_add(&w->progress, (double)m->stored_bytes, m->name);
    return json_array_append_new(w->matrices, describe(x, payload, blob, hex)) == 0
               ? UCB_OK
               : UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its manifest", m->name);
}

/* ---- gains ---- */

/* The engine multiplies by 1 + w where a file holds w: w is the gain less 1, and adding 1
 * again must give the gain's own bits. */
static ucb_status store_gain(struct ucb_pack_writer *w, uint32_t layer,
                             enum ucb_vector which, const uint8_t *values, uint32_t n,
                             struct ucb_err *err)
{
    bool plus_one;
    const struct ucb_tensor *t = ucb_model_vector_tensor(w->options->model, layer, which,
                                                         &plus_one);
    struct ucb_tuned_gain *gain = &w->gains[w->n_gains++];
    float *stored = UCB_NEW(&w->scratch, float, n);
    struct ucb_tensor as = {.dtype = UCB_F32,
                            .n_dims = t->n_dims,
                            .data = (const uint8_t *)stored,
                            .n_bytes = n * sizeof(float)};
    if (stored == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory", t->name);
    for (uint32_t i = 0; i < n; i++) {
        float value = ucb_load_f32(values + 4 * i);
        stored[i] = plus_one ? value - 1.0f : value;
        if (plus_one && stored[i] + 1.0f != value)
            return UCB_FAIL(
                err, UCB_UNSUPPORTED,
                "%s[%u]: a gain of %.9g is 1 + no fp32 number, and files of this "
                "architecture hold the gain less 1",
                t->name, i, (double)value);
    }
    memcpy(as.shape, t->shape, sizeof(as.shape));
    gain->tensor = t;
    ucb_pack_tensor_digest(&as, gain->sha256);
    return ucb_pack_put_blob(w, stored, as.n_bytes, &gain->blob, err);
}

static ucb_status store_gains(struct ucb_pack_writer *w, uint32_t layer,
                              struct ucb_err *err)
{
    const struct ucb_writer *bytes = ucb_layer_work_gains(w->options->work);
    struct ucb_reader in = {bytes->data, bytes->n_bytes, 0};
    ucb_arena_reset(&w->scratch);
    while (ucb_reader_left(&in) > 0) {
        uint32_t which, n;
        const uint8_t *values;
        if (!ucb_get_u32(&in, &which) || !ucb_get_u32(&in, &n) ||
            !ucb_get_bytes(&in, 4 * (size_t)n, &values))
            return UCB_FAIL(err, UCB_CORRUPT, "layer %u: its tuned gains are cut", layer);
        UCB_TRY(store_gain(w, layer, (enum ucb_vector)which, values, n, err));
    }
    return UCB_OK;
}

/* ---- the run ---- */

static ucb_status reserve(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_model *model = w->options->model;
    size_t n_matrices = 2, n_layers = ucb_model_arch(model)->n_layers;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        size_t n;
        ucb_model_layer_matrices(model, layer, &n);
        n_matrices += n;
    }
    w->written = UCB_NEW(&w->arena, struct ucb_written, n_matrices);
    w->gains = UCB_NEW(&w->arena, struct ucb_tuned_gain, n_layers * UCB_N_VECTORS);
    return w->written != NULL && w->gains != NULL
               ? UCB_OK
               : UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its lists", w->options->out);
}

static ucb_status run_layer(struct ucb_pack_writer *w, uint32_t layer, struct ucb_err *err)
{
    const struct ucb_packfile_options *o = w->options;
    struct ucb_layer built;
    struct ucb_layer_record record;
    if (o->work == NULL)
        return ucb_loader_layer(o->loader, o->chain, layer, &w->tally, o->calibrator,
                                &built, err);
    UCB_TRY(ucb_layer_work_run(o->work, o->loader, layer, &w->tally, o->calibrator, &built,
                               &record, err));
    return store_gains(w, layer, err);
}

static ucb_status run_chain(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_packfile_options *o = w->options;
    const struct ucb_arch *arch = ucb_model_arch(o->model);
    const size_t nothing = 0;
    if (takes(w, UCB_ROLE_EMBED))
        UCB_TRY(
            ucb_loader_embed(o->loader, o->chain, &w->tally, NULL, 0, &nothing, NULL, err));
    for (uint32_t layer = 0; layer < arch->n_layers; layer++)
        UCB_TRY(run_layer(w, layer, err));
    bool written = arch->tied_head && takes(w, UCB_ROLE_EMBED);
    if (takes(w, UCB_ROLE_HEAD) && !written)
        UCB_TRY(ucb_loader_head(o->loader, o->chain, &w->tally, NULL, err));
    return UCB_OK;
}

ucb_status ucb_pack_write_matrices(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_packfile_options *o = w->options;
    uint8_t unused[UCB_SHA256_BYTES];
    UCB_TRY(reserve(w, err));
    if (o->shared != NULL && o->shared->n_bytes > 0) {
        UCB_TRY(ucb_pack_put_blob(w, o->shared->data, o->shared->n_bytes, &w->shared, err));
        ucb_loader_set_shared(o->loader, o->shared);
    }
    ucb_tally_begin(&w->tally);
    ucb_loader_watch(o->loader, take_written, w);
    ucb_status status = run_chain(w, err);
    ucb_loader_watch(o->loader, NULL, NULL);
    ucb_loader_set_shared(o->loader, NULL);
    ucb_sha256_final(&w->tally.digest, unused);
    return status;
}
