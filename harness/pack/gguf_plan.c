/*
 * gguf_plan.c - the tensors of a GGUF file before they exist: every size follows from
 * shapes and types, so the head is written first and tensors go to their places in whatever
 * order they are made.
 *
 * From a GGUF the list and its order are the source's, and the chain's matrices change
 * their type; from safetensors the list is made.
 */
#include <string.h>

#include "pack/pack_internal.h"

static const struct ucb_arch *arch_of(const struct ucb_pack_options *o)
{
    return ucb_model_arch(o->model);
}

static ucb_status no_memory(const struct ucb_pack_options *o, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its list of tensors", o->out);
}

bool ucb_pack_takes(const struct ucb_pack_options *o, enum ucb_role role)
{
    return !ucb_chain_is_none(o->chain) &&
           ucb_chain_takes(o->chain, role, ucb_scope_holds(o->scope, role));
}

/* A tied head is a tensor of its own only where it is compressed and the
 * embedding is not. */
static bool has_head(const struct ucb_pack_options *o)
{
    return !arch_of(o)->tied_head ||
           (ucb_pack_takes(o, UCB_ROLE_HEAD) && !ucb_pack_takes(o, UCB_ROLE_EMBED));
}

static uint64_t align_up(uint64_t n, uint32_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

static struct ucb_gguf_item *new_item(struct ucb_gguf_plan *plan, const char *name)
{
    struct ucb_gguf_item *item = &plan->items[plan->n_items++];
    item->n_parts = 1;
    item->name = ucb_arena_strdup(&plan->arena, name);
    return item->name == NULL ? NULL : item;
}

/* ---- what the chain writes ---- */

static enum ucb_dtype deployed_dtype(const struct ucb_pack_options *o,
                                     const struct ucb_matrix *m)
{
    enum ucb_dtype dtype = ucb_chain_decoded_dtype(o->chain, m->dtype);
    return dtype == UCB_F16 || dtype == UCB_BF16 ? dtype : UCB_F32;
}

static void set_shape(const struct ucb_pack_options *o, struct ucb_gguf_item *item,
                      const struct ucb_matrix *m, enum ucb_role role)
{
    uint32_t n_parts = ucb_gguf_n_parts(arch_of(o), role, m->layer), d = 0;
    item->role = role;
    item->layer = m->layer;
    item->n_parts = n_parts;
    if (n_parts > 1) item->shape[d++] = n_parts;
    item->shape[d++] = m->n_out;
    item->shape[d++] = m->n_in;
    item->n_dims = d;
    item->n_elements = (uint64_t)n_parts * m->n_out * m->n_in;
}

/* Of gate and up of each expert, then down of each. */
const struct ucb_matrix *ucb_pack_part(const struct ucb_pack_options *o,
                                       const struct ucb_gguf_item *item, uint32_t part)
{
    if (item->n_parts == 1) return ucb_model_matrix(o->model, item->layer, item->role);
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(o->model, item->layer,
                                                                    &n);
    uint32_t first = ucb_model_layer_slots(o->model, item->layer)[item->role];
    return list[first + part * (item->role == UCB_ROLE_DOWN ? 1 : 2)];
}

/* A tensor of the file has one type. */
static ucb_status check_parts(const struct ucb_pack_options *o,
                              const struct ucb_gguf_item *item, const struct ucb_matrix *m,
                              struct ucb_err *err)
{
    for (uint32_t i = 1; i < item->n_parts; i++) {
        const struct ucb_matrix *other = ucb_pack_part(o, item, i);
        if (other->dtype != m->dtype)
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s is %s and %s is %s: a GGUF stacks experts of one type",
                            m->name, ucb_dtype_name(m->dtype), other->name,
                            ucb_dtype_name(other->dtype));
    }
    return UCB_OK;
}

static ucb_status set_written(const struct ucb_pack_options *o, struct ucb_gguf_item *item,
                              const struct ucb_matrix *m, enum ucb_role role,
                              struct ucb_err *err)
{
    struct ucb_layout layout;
    bool own = !ucb_chain_layout(o->chain, m, &layout);
    set_shape(o, item, m, role);
    item->content = UCB_CONTENT_WRITTEN;
    item->dtype = own ? deployed_dtype(o, m) : layout.dtype;
    uint32_t block = ucb_dtype_block_elements(item->dtype);
    item->n_bytes = item->n_elements / block * ucb_dtype_block_bytes(item->dtype);
    if (m->n_in % block == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE, "%s: %u columns, %s needs a multiple of %u", m->name,
                    m->n_in, ucb_dtype_name(item->dtype), block);
}

/* ---- from a GGUF ---- */

static ucb_status copy_source(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan,
                              struct ucb_err *err)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(o->model);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        struct ucb_gguf_item *item = new_item(plan, t->name);
        if (item == NULL) return no_memory(o, err);
        item->content = UCB_CONTENT_COPY;
        item->source = t;
        item->dtype = t->dtype;
        item->n_dims = t->n_dims;
        memcpy(item->shape, t->shape, sizeof(item->shape));
        item->n_elements = t->n_elements;
        item->n_bytes = t->n_bytes;
    }
    return UCB_OK;
}

static struct ucb_gguf_item *find_item(struct ucb_gguf_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (strcmp(plan->items[i].name, name) == 0) return &plan->items[i];
    return NULL;
}

static ucb_status mark_written(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan,
                               uint32_t layer, enum ucb_role role, struct ucb_err *err)
{
    char name[UCB_GGUF_NAME_TEXT];
    struct ucb_gguf_item *item;
    if (!ucb_pack_takes(o, role) || (role == UCB_ROLE_HEAD && !has_head(o))) return UCB_OK;
    if (ucb_model_matrix(o->model, layer, role) == NULL) return UCB_OK;
    ucb_gguf_matrix_name(arch_of(o), role, layer, name);
    item = find_item(plan, name);
    if (item == NULL) item = new_item(plan, name); /* a tied head that is now its own */
    if (item == NULL) return no_memory(o, err);
    return set_written(o, item, ucb_model_matrix(o->model, layer, role), role, err);
}

static ucb_status plan_from_gguf(const struct ucb_pack_options *o,
                                 struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    UCB_TRY(copy_source(o, plan, err));
    UCB_TRY(mark_written(o, plan, 0, UCB_ROLE_EMBED, err));
    for (uint32_t layer = 0; layer < arch_of(o)->n_layers; layer++)
        for (unsigned role = 0; role < UCB_N_LAYER_ROLES; role++)
            UCB_TRY(mark_written(o, plan, layer, (enum ucb_role)role, err));
    return mark_written(o, plan, 0, UCB_ROLE_HEAD, err);
}

/* ---- from safetensors ---- */

static ucb_status add_matrix(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan,
                             uint32_t layer, enum ucb_role role, struct ucb_err *err)
{
    char name[UCB_GGUF_NAME_TEXT];
    const struct ucb_matrix *m = ucb_model_matrix(o->model, layer, role);
    if (m == NULL) return UCB_OK;
    struct ucb_gguf_item *item = new_item(
        plan, ucb_gguf_matrix_name(arch_of(o), role, layer, name));
    if (item == NULL) return no_memory(o, err);
    set_shape(o, item, m, role);
    UCB_TRY(check_parts(o, item, m, err));
    if (ucb_pack_takes(o, role)) return set_written(o, item, m, role, err);
    item->content = UCB_CONTENT_ROWS;
    item->dtype = m->dtype;
    item->n_bytes = m->stored_bytes * item->n_parts;
    return UCB_OK;
}

static ucb_status add_vector(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan,
                             uint32_t layer, enum ucb_vector which, struct ucb_err *err)
{
    char name[UCB_GGUF_NAME_TEXT];
    uint32_t n = ucb_model_vector_size(o->model, layer, which);
    if (n == 0) return UCB_OK;
    struct ucb_gguf_item *item = new_item(
        plan, ucb_gguf_vector_name(arch_of(o), which, layer, name));
    if (item == NULL) return no_memory(o, err);
    item->content = UCB_CONTENT_VECTOR;
    item->vector = which;
    item->layer = layer;
    item->dtype = UCB_F32;
    item->n_dims = 1;
    item->shape[0] = item->n_elements = n;
    if (which == UCB_VECTOR_ROUTER) {
        item->n_dims = 2;
        item->shape[0] = arch_of(o)->experts.n;
        item->shape[1] = arch_of(o)->hidden;
    }
    item->n_bytes = n * sizeof(float);
    return UCB_OK;
}

static ucb_status add_rope_factors(const struct ucb_pack_options *o,
                                   struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    uint32_t half = arch_of(o)->rotary_dim / 2;
    float *factors = UCB_NEW(&plan->arena, float, half);
    if (factors == NULL) return no_memory(o, err);
    if (!ucb_gguf_rope_factors(arch_of(o), factors)) return UCB_OK;
    struct ucb_gguf_item *item = new_item(plan, "rope_freqs.weight");
    if (item == NULL) return no_memory(o, err);
    item->content = UCB_CONTENT_ROPE;
    item->dtype = UCB_F32;
    item->n_dims = 1;
    item->shape[0] = item->n_elements = half;
    item->n_bytes = half * sizeof(float);
    return UCB_OK;
}

static ucb_status plan_from_safetensors(const struct ucb_pack_options *o,
                                        struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    UCB_TRY(add_matrix(o, plan, 0, UCB_ROLE_EMBED, err));
    UCB_TRY(add_rope_factors(o, plan, err));
    for (uint32_t layer = 0; layer < arch_of(o)->n_layers; layer++) {
        for (unsigned role = 0; role < UCB_N_LAYER_ROLES; role++)
            UCB_TRY(add_matrix(o, plan, layer, (enum ucb_role)role, err));
        for (unsigned which = 0; which < UCB_N_VECTORS; which++)
            if (which < UCB_VECTOR_FINAL_NORM || which >= UCB_VECTOR_BIAS)
                UCB_TRY(add_vector(o, plan, layer, (enum ucb_vector)which, err));
    }
    UCB_TRY(add_vector(o, plan, 0, UCB_VECTOR_FINAL_NORM, err));
    return has_head(o) ? add_matrix(o, plan, 0, UCB_ROLE_HEAD, err) : UCB_OK;
}

/* ---- all ---- */

ucb_status ucb_gguf_plan_tensors(const struct ucb_pack_options *o,
                                 struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(o->model);
    bool gguf = ucb_checkpoint_is_gguf(c);
    size_t room = (gguf ? ucb_checkpoint_n_tensors(c)
                        : (size_t)arch_of(o)->n_layers *
                              (UCB_N_LAYER_ROLES + UCB_N_VECTORS)) +
                  8;
    uint64_t at = 0;
    ucb_arena_init(&plan->arena);
    UCB_TRY(ucb_gguf_check_arch(arch_of(o), gguf, err));
    plan->items = UCB_NEW(&plan->arena, struct ucb_gguf_item, room);
    if (plan->items == NULL) return no_memory(o, err);
    plan->alignment = ucb_checkpoint_alignment(c);
    UCB_TRY(gguf ? plan_from_gguf(o, plan, err) : plan_from_safetensors(o, plan, err));
    for (size_t i = 0; i < plan->n_items; i++) {
        plan->items[i].offset = at;
        at = align_up(at + plan->items[i].n_bytes, plan->alignment);
    }
    plan->file_bytes = at; /* from data_begin; ucb_gguf_plan_metadata adds that */
    return UCB_OK;
}

void ucb_gguf_plan_free(struct ucb_gguf_plan *plan)
{
    ucb_writer_free(&plan->metadata.bytes);
    ucb_arena_free(&plan->arena);
}
