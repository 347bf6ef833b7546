/*
 * model_bind.c - finds the tensor of every matrix and vector by the tables of the family
 * and holds its shape and dtype against the configuration. Tensors that the tables do not
 * name are ignored.
 *
 * A matrix is a view into its tensor: rows of a fused one, columns of a transposed one, a
 * slice of stacked experts. Methods and the engine see [out][in] and nothing of that.
 */
#include <stdlib.h>
#include <string.h>

#include "model/model_internal.h"

struct binding {
    struct ucb_model *model;
    const struct ucb_checkpoint *c;
    const struct ucb_family *family;
    bool gguf;
    struct ucb_err *err;
};

static ucb_status no_memory(const struct binding *b)
{
    return UCB_FAIL(b->err, UCB_NOMEM, "%s: no memory for its list of weights",
                    b->model->path);
}

/* ---- tensors ---- */

static const struct ucb_tensor *find_name(const struct binding *b, const char *pattern,
                                          uint32_t layer, uint32_t expert)
{
    char name[UCB_NAME_TEXT], longer[2 * UCB_NAME_TEXT];
    if (pattern == NULL) return NULL;
    ucb_name_of(pattern, layer, expert, name);
    const struct ucb_tensor *t = ucb_checkpoint_find(b->c, name);
    if (t != NULL || b->gguf || b->family->hf_prefix == NULL) return t;
    snprintf(longer, sizeof(longer), "%s%s", b->family->hf_prefix, name);
    return ucb_checkpoint_find(b->c, longer);
}

static ucb_status missing(const struct binding *b, const char *hf, const char *gguf,
                          uint32_t layer, uint32_t expert, const char *why)
{
    char name[UCB_NAME_TEXT];
    const char *pattern = b->gguf && gguf != NULL ? gguf : hf;
    return UCB_FAIL(b->err, UCB_MISSING, "%s: the tensor %s is missing%s", b->model->path,
                    ucb_name_of(pattern, layer, expert, name), why);
}

static ucb_status check_shape(const struct binding *b, const struct ucb_tensor *t,
                              const uint64_t *shape, uint32_t n_dims)
{
    char found[UCB_SHAPE_TEXT], expected[UCB_SHAPE_TEXT];
    bool same = t->n_dims == n_dims;
    for (uint32_t i = 0; same && i < n_dims; i++) same = t->shape[i] == shape[i];
    if (same) return UCB_OK;
    return UCB_FAIL(b->err, UCB_CORRUPT, "%s: %s: has %s, %s asks for %s", t->file, t->name,
                    ucb_shape_text(t->shape, t->n_dims, found),
                    b->gguf ? "the metadata" : "config.json",
                    ucb_shape_text(shape, n_dims, expected));
}

static ucb_status check_dtype(const struct binding *b, const struct ucb_tensor *t)
{
    bool plain = t->dtype == UCB_F32 || t->dtype == UCB_F16 || t->dtype == UCB_BF16;
    if (plain || (b->gguf && t->dtype != UCB_F64 && ucb_dtype_widens(t->dtype)))
        return UCB_OK;
    return UCB_FAIL(b->err, UCB_UNSUPPORTED,
                    "%s: %s: is stored as %s, weights may be F32, F16, BF16%s", t->file,
                    t->name, ucb_dtype_name(t->dtype),
                    b->gguf ? " or one of ggml's block types" : "");
}

/* ---- views ---- */

/* Rows of the parts that share a tensor, in their order. */
struct parts {
    uint32_t n, rows[3], mine;
};

static struct parts parts_of(const struct ucb_arch *a, enum ucb_fusion fusion,
                             uint32_t n_rows, int which)
{
    if (fusion == UCB_FUSION_QKV) {
        uint32_t q = ucb_extent_size(a, UCB_EXTENT_Q),
                 kv = ucb_extent_size(a, UCB_EXTENT_KV);
        return (struct parts){3, {q, kv, kv}, (uint32_t)which};
    }
    if (fusion == UCB_FUSION_GATE_UP)
        return (struct parts){2, {a->ffn, a->ffn, 0}, (uint32_t)which};
    return (struct parts){1, {n_rows, 0, 0}, 0};
}

/* The place of a role among the parts of its fusion. */
static int part_of(enum ucb_role role)
{
    return role == UCB_ROLE_K || role == UCB_ROLE_UP ? 1 : role == UCB_ROLE_V ? 2 : 0;
}

static uint64_t all_rows(const struct parts *p)
{
    return (uint64_t)p->rows[0] + p->rows[1] + p->rows[2];
}

static uint32_t rows_before(const struct parts *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->mine; i++) n += p->rows[i];
    return n;
}

/* `layout` as rows (vectors: n_in 1) of a tensor that check_shape has seen. */
static void set_view(const struct ucb_arch *a, enum ucb_storage layout,
                     const struct parts *p, uint32_t n_in, struct ucb_view *view)
{
    uint32_t mine = p->rows[p->mine];
    view->base = layout == UCB_STORED_HEADS ? p->mine * a->head_dim : rows_before(p);
    view->block = layout == UCB_STORED_HEADS ? a->head_dim : mine;
    view->stride = layout == UCB_STORED_HEADS ? 3 * a->head_dim : mine;
    view->transposed = layout == UCB_STORED_COLUMNS;
    view->columns = view->transposed ? (uint32_t)all_rows(p) : n_in;
}

/* ---- matrices ---- */

static ucb_status check_matrix(const struct binding *b, const struct ucb_tensor *t,
                               const struct ucb_matrix_row *row, const struct parts *p,
                               uint32_t n_in)
{
    uint64_t n_rows = all_rows(p);
    if (row->expert && b->gguf)
        UCB_TRY(check_shape(b, t,
                            (const uint64_t[]){b->model->arch.experts.n, n_rows, n_in}, 3));
    else if (row->layout == UCB_STORED_COLUMNS)
        UCB_TRY(check_shape(b, t, (const uint64_t[]){n_in, n_rows}, 2));
    else
        UCB_TRY(check_shape(b, t, (const uint64_t[]){n_rows, n_in}, 2));
    return check_dtype(b, t);
}

/* Parts of a fused tensor carry their role behind its name. */
static const char *name_matrix(const struct binding *b, const struct ucb_matrix_row *row,
                               uint32_t layer, uint32_t expert)
{
    char name[UCB_NAME_TEXT];
    ucb_name_of(row->hf, layer, expert, name);
    return row->fusion == UCB_FUSION_NONE
               ? ucb_arena_strdup(&b->model->arena, name)
               : ucb_arena_printf(&b->model->arena, "%s:%s", name,
                                  ucb_role_name(row->role));
}

static ucb_status bind_matrix(struct binding *b, const struct ucb_matrix_row *row,
                              uint32_t layer, uint32_t expert, struct ucb_bound_matrix *out)
{
    const struct ucb_arch *arch = &b->model->arch;
    uint32_t n_out = ucb_extent_size(arch, row->out), n_in = ucb_extent_size(arch, row->in);
    struct parts p = parts_of(arch, row->fusion, n_out, part_of(row->role));
    const struct ucb_tensor *t = find_name(b, b->gguf ? row->gguf : row->hf, layer, expert);
    if (t == NULL && !b->gguf) t = find_name(b, row->hf_older, layer, expert);
    if (t == NULL)
        return missing(b, row->hf, row->gguf, layer, expert,
                       row->role == UCB_ROLE_HEAD ? ", and tie_word_embeddings is false"
                                                  : "");
    UCB_TRY(check_matrix(b, t, row, &p, n_in));
    if (t->n_elements / n_in > UCB_SIZE_MAX)
        return UCB_FAIL(b->err, UCB_UNSUPPORTED, "%s: %s: more than %d rows", t->file,
                        t->name, UCB_SIZE_MAX);
    out->matrix = (struct ucb_matrix){.name = name_matrix(b, row, layer, expert),
                                      .role = row->role,
                                      .layer = layer,
                                      .expert = expert,
                                      .n_out = n_out,
                                      .n_in = n_in,
                                      .dtype = t->dtype,
                                      .arch = arch};
    if (out->matrix.name == NULL) return no_memory(b);
    out->view.tensor = t;
    set_view(arch, row->layout, &p, n_in, &out->view);
    if (row->expert && b->gguf) out->view.base = expert * n_out;
    out->view.interleaved = b->gguf && b->family->gguf_interleaves && row->rotates;
    out->first_of_tensor = p.mine == 0 && (!row->expert || !b->gguf || expert == 0);
    out->matrix.stored_bytes = t->n_bytes / (t->n_elements / n_in) * n_out;
    b->model->n_parameters += (uint64_t)n_out * n_in;
    return UCB_OK;
}

static bool has(const struct ucb_arch *arch, enum ucb_presence presence, uint32_t layer)
{
    switch (presence) {
    case UCB_ALWAYS: return true;
    case UCB_WITH_QKV_BIAS: return arch->qkv_bias;
    case UCB_WITH_O_BIAS: return arch->o_bias;
    case UCB_WITH_MLP_BIAS: return arch->mlp_bias;
    case UCB_WITH_HEAD_BIAS: return arch->head_bias;
    case UCB_WITH_SSM_BIAS: return arch->ssm_bias;
    case UCB_WITH_CONV_BIAS: return arch->conv_bias;
    case UCB_WITH_DENSE_MLP: return arch->layers[layer].ffn != 0;
    case UCB_WITH_EXPERTS: return arch->layers[layer].ffn == 0;
    case UCB_WITH_SHARED_EXPERTS:
        return arch->layers[layer].ffn == 0 && arch->experts.shared_width != 0;
    case UCB_WITH_Q_RANK: return arch->latent.q_rank != 0;
    case UCB_WITH_Q_RANK_BIAS: return arch->latent.q_rank != 0 && arch->qkv_bias;
    case UCB_WITHOUT_Q_RANK: return arch->latent.q_rank == 0;
    }
    return false;
}

static bool is_of_layer(const struct ucb_matrix_row *row)
{
    return row->role < UCB_N_LAYER_ROLES;
}

/* Calls for every matrix of a layer; `out` NULL: only counts. */
static ucb_status each_matrix(struct binding *b, uint32_t layer,
                              struct ucb_bound_matrix *out, size_t *n)
{
    const struct ucb_arch *arch = &b->model->arch;
    *n = 0;
    for (const struct ucb_matrix_row *const *table = b->family->matrices; *table != NULL;
         table++)
        for (const struct ucb_matrix_row *row = *table; row->hf != NULL; row++) {
            uint32_t n_experts = row->expert ? arch->experts.n : 1;
            if (!is_of_layer(row) || !has(arch, row->presence, layer)) continue;
            if (out == NULL) *n += n_experts;
            for (uint32_t e = 0; out != NULL && e < n_experts; e++)
                UCB_TRY(bind_matrix(b, row, layer, e, &out[(*n)++]));
        }
    return UCB_OK;
}

static int by_input(const void *a, const void *b)
{
    const struct ucb_matrix *x = &((const struct ucb_bound_matrix *)a)->matrix,
                            *y = &((const struct ucb_bound_matrix *)b)->matrix;
    int input = (int)ucb_role_input(x->role) - (int)ucb_role_input(y->role);
    if (input != 0) return input;
    if (x->expert != y->expert) return x->expert < y->expert ? -1 : 1;
    return (int)x->role - (int)y->role;
}

/* ---- vectors ---- */

static ucb_status check_vector(const struct binding *b, const struct ucb_tensor *t,
                               const struct ucb_vector_row *row, const struct parts *p)
{
    uint64_t shape[3] = {0};
    if (row->fusion != UCB_FUSION_NONE) shape[0] = all_rows(p);
    for (uint32_t i = 0; row->fusion == UCB_FUSION_NONE && i < row->n_dims; i++)
        shape[i] = ucb_extent_size(&b->model->arch, row->shape[i]);
    UCB_TRY(check_shape(b, t, shape, row->n_dims));
    return check_dtype(b, t);
}

/* In a GGUF the presence of the tensor decides on a bias. */
static bool is_optional(const struct binding *b, const struct ucb_vector_row *row)
{
    return b->gguf &&
           (row->presence == UCB_WITH_QKV_BIAS || row->presence == UCB_WITH_O_BIAS ||
            row->presence == UCB_WITH_MLP_BIAS);
}

static ucb_status bind_vector(struct binding *b, const struct ucb_vector_row *row,
                              uint32_t layer, struct ucb_bound_vector *out)
{
    const struct ucb_arch *arch = &b->model->arch;
    bool optional = is_optional(b, row),
         norm = row->which <= UCB_VECTOR_K_NORM || row->which == UCB_VECTOR_FINAL_NORM;
    char name[UCB_NAME_TEXT];
    if (!optional && !has(arch, row->presence, layer)) return UCB_OK;
    const struct ucb_tensor *t = find_name(b, b->gguf ? row->gguf : row->hf, layer, 0);
    if (t == NULL && optional) return UCB_OK;
    if (t == NULL) return missing(b, row->hf, row->gguf, layer, 0, "");
    int part = row->which >= UCB_VECTOR_BIAS
                   ? part_of((enum ucb_role)(row->which - UCB_VECTOR_BIAS))
                   : 0;
    struct parts p = parts_of(arch, row->fusion, (uint32_t)t->n_elements, part);
    UCB_TRY(check_vector(b, t, row, &p));
    out->name = ucb_arena_strdup(&b->model->arena, ucb_name_of(row->hf, layer, 0, name));
    if (out->name == NULL) return no_memory(b);
    out->view.tensor = t;
    set_view(arch, row->layout, &p, 1, &out->view);
    out->view.interleaved = b->gguf && b->family->gguf_interleaves && row->rotates;
    out->n = p.rows[p.mine];
    out->plus_one = norm && arch->norm_plus_one;
    b->model->n_parameters += out->n;
    return UCB_OK;
}

static bool is_of_model(enum ucb_vector which)
{
    return which >= UCB_VECTOR_FINAL_NORM && which < UCB_VECTOR_BIAS;
}

static ucb_status bind_vectors(struct binding *b, bool of_model, uint32_t layer,
                               struct ucb_bound_layer *out)
{
    for (const struct ucb_vector_row *const *table = b->family->vectors; *table != NULL;
         table++)
        for (const struct ucb_vector_row *row = *table; row->hf != NULL; row++)
            if (is_of_model(row->which) == of_model)
                UCB_TRY(bind_vector(b, row, layer, &out->vectors[row->which]));
    return UCB_OK;
}

/* ---- layers and head ---- */

static ucb_status bind_layer(struct binding *b, uint32_t layer, struct ucb_bound_layer *out)
{
    struct ucb_arena *arena = &b->model->arena;
    size_t n;
    UCB_TRY(each_matrix(b, layer, NULL, &n));
    /* A tensor for each, or for each stack of experts: more are missing before memory is
     * spent on them. */
    if (!b->gguf && n > ucb_checkpoint_n_tensors(b->c))
        return UCB_FAIL(b->err, UCB_MISSING,
                        "%s: layer %u has %zu matrices, the files hold %zu tensors",
                        b->model->path, layer, n, ucb_checkpoint_n_tensors(b->c));
    out->matrices = UCB_NEW(arena, struct ucb_bound_matrix, n);
    out->list = UCB_NEW(arena, const struct ucb_matrix *, n);
    if (out->matrices == NULL || out->list == NULL) return no_memory(b);
    UCB_TRY(each_matrix(b, layer, out->matrices, &out->n_matrices));
    qsort(out->matrices, n, sizeof(*out->matrices), by_input);
    memset(out->first, 0xff, sizeof(out->first));
    for (size_t i = n; i-- > 0;) {
        out->list[i] = &out->matrices[i].matrix;
        out->first[out->list[i]->role] = (uint32_t)i;
    }
    return bind_vectors(b, false, layer, out);
}

static ucb_status bind_layers(struct binding *b)
{
    struct ucb_model *m = b->model;
    /* Each layer needs tensors of its own, so with more layers than tensors one of the
     * first is found missing. */
    size_t room = m->arch.n_layers < b->c->n_tensors ? m->arch.n_layers
                                                     : b->c->n_tensors + 1;
    m->layers = UCB_NEW(&m->arena, struct ucb_bound_layer, room);
    if (m->layers == NULL) return no_memory(b);
    for (uint32_t layer = 0; layer < m->arch.n_layers; layer++)
        UCB_TRY(bind_layer(b, layer, &m->layers[layer]));
    return UCB_OK;
}

/* A tied head needs no tensor; one that is there and equal counts once, one that differs is
 * believed. */
static ucb_status bind_head(struct binding *b)
{
    struct ucb_model *m = b->model;
    const struct ucb_matrix_row *row = ucb_matrix_row_of(b->family, UCB_ROLE_HEAD);
    const struct ucb_tensor *head = find_name(b, b->gguf ? row->gguf : row->hf, 0, 0),
                            *embed = m->embed.view.tensor;
    if (m->arch.tied_head && head == NULL) return UCB_OK;
    if (m->arch.tied_head && head->dtype == embed->dtype &&
        head->n_bytes == embed->n_bytes &&
        memcmp(head->data, embed->data, head->n_bytes) == 0)
        return UCB_OK;
    if (m->arch.tied_head)
        m->warning =
            "tie_word_embeddings is true, but the head's tensor differs from the embedding: the head tensor is "
            "used";
    m->arch.tied_head = false;
    return bind_matrix(b, row, 0, 0, &m->head);
}

/* Weights of layers that the configuration does not count are not run; the user should
 * know. */
static void warn_of_more_layers(const struct binding *b)
{
    struct ucb_model *m = b->model;
    const struct ucb_matrix_row *row = ucb_matrix_row_of(b->family,
                                                         m->layers[0].list[0]->role);
    if (find_name(b, b->gguf ? row->gguf : row->hf, m->arch.n_layers, 0) != NULL &&
        m->warning == NULL)
        m->warning =
            "the weights hold more layers than the configuration counts: the rest is not run";
}

ucb_status ucb_model_bind(struct ucb_model *model, struct ucb_err *err)
{
    struct binding b = {model, model->checkpoint, ucb_family_find(model->arch.model_type),
                        ucb_checkpoint_is_gguf(model->checkpoint), err};
    model->family = b.family;
    UCB_TRY(
        bind_matrix(&b, ucb_matrix_row_of(b.family, UCB_ROLE_EMBED), 0, 0, &model->embed));
    UCB_TRY(bind_layers(&b));
    UCB_TRY(bind_vectors(&b, true, 0, &model->top));
    UCB_TRY(bind_head(&b));
    warn_of_more_layers(&b);
    return UCB_OK;
}
