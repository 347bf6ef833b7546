/*
 * model_bind.c - finds the tensor of every matrix and vector by the tables of arch.c and
 * holds its shape and dtype against the configuration. Tensors that the tables do not name
 * are ignored.
 */
#include <string.h>

#include "model/model_internal.h"

struct binding {
    struct ucb_model *model;
    const struct ucb_checkpoint *c;
    bool gguf;
    struct ucb_err *err;
};

static ucb_status no_memory(const struct binding *b)
{
    return UCB_FAIL(b->err, UCB_NOMEM, "%s: no memory for its list of weights",
                    b->model->path);
}

static const struct ucb_tensor *find(const struct binding *b, const char *hf,
                                     const char *gguf, uint32_t layer)
{
    char name[UCB_NAME_TEXT];
    return ucb_checkpoint_find(b->c, ucb_name_of_layer(b->gguf ? gguf : hf, layer, name));
}

static ucb_status missing(const struct binding *b, const char *hf, const char *gguf,
                          uint32_t layer, const char *why)
{
    char name[UCB_NAME_TEXT];
    return UCB_FAIL(b->err, UCB_MISSING, "%s: the tensor %s is missing%s", b->model->path,
                    ucb_name_of_layer(b->gguf ? gguf : hf, layer, name), why);
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

static ucb_status bind_matrix(struct binding *b, enum ucb_role role, uint32_t layer,
                              struct ucb_bound_matrix *out)
{
    const struct ucb_matrix_row *row = &ucb_matrix_rows[role];
    const struct ucb_arch *arch = &b->model->arch;
    const struct ucb_family *family = ucb_family_find(arch->model_type);
    char name[UCB_NAME_TEXT];
    uint32_t n_out = ucb_extent_size(arch, row->out), n_in = ucb_extent_size(arch, row->in);
    const struct ucb_tensor *t = find(b, row->hf, row->gguf, layer);
    if (t == NULL)
        return missing(b, row->hf, row->gguf, layer,
                       role == UCB_ROLE_HEAD ? ", and tie_word_embeddings is false" : "");
    UCB_TRY(check_shape(b, t, (const uint64_t[]){n_out, n_in}, 2));
    UCB_TRY(check_dtype(b, t));
    const char *copy = ucb_arena_strdup(&b->model->arena,
                                        ucb_name_of_layer(row->hf, layer, name));
    if (copy == NULL) return no_memory(b);
    out->matrix = (struct ucb_matrix){.name = copy,
                                      .role = role,
                                      .layer = layer,
                                      .n_out = n_out,
                                      .n_in = n_in,
                                      .dtype = t->dtype,
                                      .stored_bytes = t->n_bytes,
                                      .arch = arch};
    out->tensor = t;
    out->interleaved = b->gguf && family->gguf_interleaves && row->rotates;
    b->model->n_parameters += t->n_elements;
    return UCB_OK;
}

/* Whether a vector of the table must be there. In a GGUF the presence of the tensor decides
 * on a bias. */
static bool is_expected(const struct binding *b, const struct ucb_vector_row *row)
{
    const struct ucb_arch *arch = &b->model->arch;
    if (row->presence == UCB_ALWAYS) return true;
    return !b->gguf && (row->presence == UCB_WITH_ATTENTION_BIAS ? arch->attention_bias
                                                                 : arch->mlp_bias);
}

static ucb_status bind_vector(struct binding *b, enum ucb_vector which, uint32_t layer,
                              struct ucb_bound_vector *out)
{
    const struct ucb_vector_row *row = &ucb_vector_rows[which];
    const struct ucb_family *family = ucb_family_find(b->model->arch.model_type);
    char name[UCB_NAME_TEXT];
    bool expected = is_expected(b, row);
    const struct ucb_tensor *t = find(b, row->hf, row->gguf, layer);
    if (t == NULL && expected) return missing(b, row->hf, row->gguf, layer, "");
    if (t == NULL || (!expected && !b->gguf))
        return UCB_OK; /* a bias that config.json does not ask for is not used */
    UCB_TRY(check_shape(
        b, t, (const uint64_t[]){ucb_extent_size(&b->model->arch, row->size)}, 1));
    UCB_TRY(check_dtype(b, t));
    out->name = ucb_arena_strdup(&b->model->arena, ucb_name_of_layer(row->hf, layer, name));
    if (out->name == NULL) return no_memory(b);
    out->tensor = t;
    out->interleaved = b->gguf && family->gguf_interleaves && row->rotates;
    b->model->n_parameters += t->n_elements;
    return UCB_OK;
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
    for (uint32_t layer = 0; layer < m->arch.n_layers; layer++) {
        for (unsigned i = 0; i < UCB_N_LAYER_ROLES; i++)
            UCB_TRY(bind_matrix(b, (enum ucb_role)i, layer, &m->layers[layer].matrices[i]));
        for (unsigned i = 0; i < UCB_N_VECTORS; i++)
            if (i != UCB_VECTOR_FINAL_NORM)
                UCB_TRY(bind_vector(b, (enum ucb_vector)i, layer,
                                    &m->layers[layer].vectors[i]));
    }
    return UCB_OK;
}

/* A tied head needs no tensor; one that is there and equal counts once, one that differs is
 * believed. */
static ucb_status bind_head(struct binding *b)
{
    struct ucb_model *m = b->model;
    const struct ucb_matrix_row *row = &ucb_matrix_rows[UCB_ROLE_HEAD];
    const struct ucb_tensor *head = find(b, row->hf, row->gguf, 0),
                            *embed = m->embed.tensor;
    if (m->arch.tied_head && head == NULL) return UCB_OK;
    if (m->arch.tied_head && head->dtype == embed->dtype &&
        head->n_bytes == embed->n_bytes &&
        memcmp(head->data, embed->data, head->n_bytes) == 0)
        return UCB_OK;
    if (m->arch.tied_head)
        m->warning =
            "tie_word_embeddings is true, but lm_head.weight differs from the embedding: the head tensor is "
            "used";
    m->arch.tied_head = false;
    return bind_matrix(b, UCB_ROLE_HEAD, 0, &m->head);
}

/* Weights of layers that the configuration does not count are not run; the user should
 * know. */
static void warn_of_more_layers(const struct binding *b)
{
    const struct ucb_matrix_row *row = &ucb_matrix_rows[UCB_ROLE_Q];
    if (find(b, row->hf, row->gguf, b->model->arch.n_layers) != NULL &&
        b->model->warning == NULL)
        b->model->warning =
            "the weights hold more layers than the configuration counts: the rest is not run";
}

ucb_status ucb_model_bind(struct ucb_model *model, struct ucb_err *err)
{
    struct binding b = {model, model->checkpoint, ucb_checkpoint_is_gguf(model->checkpoint),
                        err};
    UCB_TRY(bind_matrix(&b, UCB_ROLE_EMBED, 0, &model->embed));
    UCB_TRY(bind_layers(&b));
    UCB_TRY(bind_vector(&b, UCB_VECTOR_FINAL_NORM, 0, &model->final_norm));
    UCB_TRY(bind_head(&b));
    warn_of_more_layers(&b);
    return UCB_OK;
}
