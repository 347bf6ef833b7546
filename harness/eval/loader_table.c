/*
 * loader_table.c - the loader outside the layers: embedding, last norm and head. Neither
 * table is ever in memory whole unless a method takes it; then it is, once as the method
 * reads it and once decoded, because a method sees a whole matrix.
 */
#include "eval/loader_internal.h"

#include <string.h>

/* Logits are made in the backend's arithmetic only (and LLM.int8 in transformers leaves the
 * head alone). Said before a layer is run. */
static ucb_status check_products(const struct ucb_loader *l, const struct ucb_chain *chain,
                                 struct ucb_err *err)
{
    if (!ucb_chain_has_product(chain)) return UCB_OK;
    if (!ucb_loader_takes(l, chain, UCB_ROLE_HEAD) &&
        !ucb_loader_takes(l, chain, UCB_ROLE_EMBED))
        return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "--scope %s: %s multiplies in its own arithmetic, in which neither the "
                    "head nor the embedding is run; try --scope body",
                    ucb_scope_name(l->scope), ucb_chain_spec(chain));
}

/* A tied head that is also written, or counted, as the embedding: the file has one matrix
 * for both. */
static bool head_is_embedding(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    return l->arch->tied_head && (ucb_loader_takes(l, chain, UCB_ROLE_EMBED) ||
                                  (ucb_scope_holds(l->scope, UCB_ROLE_EMBED) &&
                                   !ucb_loader_takes(l, chain, UCB_ROLE_HEAD)));
}

bool ucb_loader_has_own_head(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    return ucb_loader_takes(l, chain, UCB_ROLE_HEAD) ||
           ucb_scope_holds(l->scope, UCB_ROLE_HEAD) || head_is_embedding(l, chain);
}

/* A tied head that was already written as the embedding is decoded again for its product
 * but counted once. */
static ucb_status load_head(struct ucb_loader *l, const struct ucb_chain *chain,
                            struct ucb_tally *tally, const struct ucb_packed *head,
                            struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_HEAD);
    struct ucb_loader_group g = {.matrix = {m}, .role = {UCB_ROLE_HEAD}, .n = 1};
    struct ucb_tally uncounted = {0};
    if (head_is_embedding(l, chain)) {
        if (!ucb_loader_takes(l, chain, UCB_ROLE_EMBED))
            return head == NULL ? UCB_OK : ucb_loader_slabs(l, m, head, NULL, err);
        UCB_TRY(ucb_loader_encode(l, chain, &g, NULL, &uncounted, err));
        UCB_TRY(ucb_loader_decode(l, chain, &g, 0, &uncounted, err));
        if (head != NULL) ucb_pack(l->backend, l->decoded, head);
        return UCB_OK;
    }
    if (!ucb_loader_takes(l, chain, UCB_ROLE_HEAD))
        return ucb_loader_original(l, m, UCB_ROLE_HEAD, tally, head, err);
    return ucb_loader_chain(l, chain, &g, NULL, tally, &head, err);
}

ucb_status ucb_loader_head(struct ucb_loader *l, const struct ucb_chain *chain,
                           struct ucb_tally *tally, const struct ucb_packed *head,
                           struct ucb_err *err)
{
    UCB_TRY(check_products(l, chain, err));
    ucb_status status = load_head(l, chain, tally, head, err);
    ucb_loader_drop_sources(l);
    return status;
}

static ucb_status read_stored(void *context, uint32_t row, uint32_t n_rows, float *out,
                              struct ucb_err *err)
{
    const struct ucb_loader *l = context;
    return ucb_model_read_rows(l->model, ucb_model_matrix(l->model, 0, UCB_ROLE_HEAD), row,
                               n_rows, NULL, out, err);
}

static ucb_status read_decoded(void *context, uint32_t row, uint32_t n_rows, float *out,
                               struct ucb_err *err)
{
    const struct ucb_loader *l = context;
    size_t n_in = ucb_model_matrix(l->model, 0, UCB_ROLE_HEAD)->n_in;
    (void)err;
    memcpy(out, l->decoded + row * n_in, n_rows * n_in * sizeof(*out));
    return UCB_OK;
}

struct ucb_weight_rows ucb_loader_head_rows(struct ucb_loader *l,
                                            const struct ucb_chain *chain)
{
    bool taken = ucb_loader_takes(l, chain, UCB_ROLE_HEAD) ||
                 (l->arch->tied_head && ucb_loader_takes(l, chain, UCB_ROLE_EMBED));
    return (struct ucb_weight_rows){taken ? read_decoded : read_stored, l};
}

/* What comes between a row of the table and the first layer. */
static ucb_status place_rows(struct ucb_loader *l, size_t n_windows, const size_t *start,
                             float *x, struct ucb_err *err)
{
    size_t hidden = l->arch->hidden;
    const float *positions;
    if (l->arch->embed_scale != 1.0f)
        ucb_scale(l->backend, x + start[0] * hidden, (start[n_windows] - start[0]) * hidden,
                  l->arch->embed_scale);
    if (l->arch->positions != UCB_POSITIONS_LEARNED) return UCB_OK;
    UCB_TRY(ucb_loader_vector(l, 0, UCB_VECTOR_POSITIONS, &positions, err));
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

/* The embedding stays decoded where the chain takes it, until its rows are read. */
ucb_status ucb_loader_embed_begin(struct ucb_loader *l, const struct ucb_chain *chain,
                                  struct ucb_tally *tally, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_EMBED);
    struct ucb_loader_group g = {.matrix = {m}, .role = {UCB_ROLE_EMBED}, .n = 1};
    UCB_TRY(check_products(l, chain, err));
    if (!ucb_loader_takes(l, chain, UCB_ROLE_EMBED))
        return ucb_loader_original(l, m, UCB_ROLE_EMBED, tally, NULL, err);
    ucb_status status = ucb_loader_chain(l, chain, &g, NULL, tally, NULL, err);
    ucb_loader_drop_sources(l);
    return status;
}

static ucb_status decoded_rows(const struct ucb_loader *l, const struct ucb_matrix *m,
                               const uint32_t *ids, size_t n, float *out,
                               struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= m->n_out)
            return UCB_FAIL(err, UCB_USAGE, "id %u: the vocabulary has %u entries", ids[i],
                            m->n_out);
        memcpy(out + i * m->n_in, l->decoded + (size_t)ids[i] * m->n_in,
               m->n_in * sizeof(float));
    }
    return UCB_OK;
}

ucb_status ucb_loader_embed_rows(struct ucb_loader *l, const struct ucb_chain *chain,
                                 const uint32_t *ids, size_t n_windows, const size_t *start,
                                 float *out, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(l->model, 0, UCB_ROLE_EMBED);
    size_t first = start[0], n = start[n_windows] - first;
    float *x = out == NULL ? NULL : out + first * m->n_in;
    ucb_backend_write(l->backend, x, n * m->n_in * sizeof(*x));
    UCB_TRY(ucb_loader_takes(l, chain, UCB_ROLE_EMBED)
                ? decoded_rows(l, m, ids + first, n, x, err)
                : ucb_model_gather(l->model, m, ids + first, n, l->pool, x, err));
    return place_rows(l, n_windows, start, out, err);
}

ucb_status ucb_loader_embed(struct ucb_loader *l, const struct ucb_chain *chain,
                            struct ucb_tally *tally, const uint32_t *ids, size_t n_windows,
                            const size_t *start, float *out, struct ucb_err *err)
{
    UCB_TRY(ucb_loader_embed_begin(l, chain, tally, err));
    return ucb_loader_embed_rows(l, chain, ids, n_windows, start, out, err);
}

ucb_status ucb_loader_head_bias(struct ucb_loader *l, const float **bias,
                                struct ucb_err *err)
{
    return ucb_loader_vector(l, 0, UCB_VECTOR_HEAD_BIAS, bias, err);
}

ucb_status ucb_loader_final_norm(struct ucb_loader *l, const float *x, size_t n, float *out,
                                 struct ucb_err *err)
{
    const struct ucb_arch *a = l->arch;
    const float *weight, *bias;
    UCB_TRY(ucb_loader_vector(l, 0, UCB_VECTOR_FINAL_NORM, &weight, err));
    UCB_TRY(ucb_loader_vector(l, 0, UCB_VECTOR_FINAL_NORM_BIAS, &bias, err));
    if (a->norm == UCB_NORM_LAYER)
        ucb_layernorm(l->backend, x, n, a->hidden, weight, bias, a->norm_eps, out);
    else
        ucb_rmsnorm(l->backend, x, n, a->hidden, weight, a->norm_eps, out);
    return UCB_OK;
}
