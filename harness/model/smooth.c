/*
 * smooth.c - see smooth.h. All arithmetic is fp32, rounded at each step, in this order:
 *
 *     u   = unit - 0.5        unit: one draw of the tensor's stream, 24 bits: u is exact
 *     w   = c d + m           as widen.c
 *     out = bf16(w + u d)
 *
 * The stream is pcg32 named (1, the GGUF name of the tensor), one draw per element in the
 * order of the GGUF; rows are written in Hugging Face order.
 */
#include "model/smooth.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/half.h"
#include "core/json.h"
#include "core/pcg.h"
#include "model/model_internal.h"

enum {
    SEED = 1,
    RUN = 32
}; /* RUN: elements of a Q4_1 block, and how many are handled at a time */

struct part {
    const struct ucb_tensor *source;
    bool interleaved;
    uint16_t *target; /* bf16 */
};

struct build {
    const struct ucb_model *model;
    struct ucb_arena arena;
    struct part *parts;
    struct ucb_tensor *outputs; /* one for each part */
    size_t n;
    uint8_t *data;
};

/* ---- weights ---- */

static uint16_t smooth_element(float w, float d, struct ucb_pcg *stream)
{
    float u = ucb_pcg_unit(stream) - 0.5f;
    return ucb_bf16_from_f32(w + u * d);
}

/* `n` elements at `source`, a block where the type has blocks. */
static void make_run(enum ucb_dtype dtype, const uint8_t *source, size_t n,
                     struct ucb_pcg *stream, uint16_t *target)
{
    float w[RUN];
    ucb_widen(dtype, source, n, w);
    if (dtype == UCB_Q4_1) {
        float d = ucb_f16_widen(ucb_load_u16(source));
        for (size_t i = 0; i < n; i++) target[i] = smooth_element(w[i], d, stream);
    } else {
        for (size_t i = 0; i < n; i++) target[i] = ucb_bf16_from_f32(w[i]);
    }
}

static void make_part(void *context, size_t index)
{
    const struct build *b = context;
    const struct part *part = &b->parts[index];
    const struct ucb_tensor *t = part->source;
    uint32_t head_dim = b->model->arch.head_dim, block = ucb_dtype_block_elements(t->dtype);
    size_t row_elements = (size_t)(part->interleaved || t->n_dims > 1
                                       ? t->n_elements / t->shape[0]
                                       : t->n_elements);
    size_t n_rows = (size_t)t->n_elements / row_elements;
    const uint8_t *at = t->data;
    struct ucb_pcg stream;
    ucb_pcg_named(&stream, SEED, t->name);
    for (size_t row = 0; row < n_rows; row++) {
        size_t out_row = part->interleaved ? ucb_model_row((uint32_t)row, head_dim) : row;
        for (size_t i = 0; i < row_elements; i += RUN) {
            size_t n = row_elements - i < RUN ? row_elements - i : RUN;
            make_run(t->dtype, at, n, &stream, part->target + out_row * row_elements + i);
            at += n / block * ucb_dtype_block_bytes(t->dtype);
        }
    }
}

static ucb_status check_source(const struct ucb_tensor *t, struct ucb_err *err)
{
    switch (t->dtype) {
    case UCB_Q4_1:
    case UCB_Q8_0:
    case UCB_F32:
    case UCB_F16:
    case UCB_BF16: return UCB_OK;
    default:
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: %s: is stored as %s; a source may hold Q4_1 beside Q8_0, F32, F16, BF16",
            t->file, t->name, ucb_dtype_name(t->dtype));
    }
}

static ucb_status add_part(struct build *b, const struct ucb_tensor *source,
                           const char *name, bool interleaved, struct ucb_err *err)
{
    if (source == NULL) return UCB_OK; /* a tied head, a bias the model does not have */
    UCB_TRY(check_source(source, err));
    struct ucb_tensor *out = &b->outputs[b->n];
    *out = *source;
    out->name = name;
    out->dtype = UCB_BF16;
    out->n_bytes = 2 * source->n_elements;
    b->parts[b->n++] = (struct part){source, interleaved, NULL};
    return UCB_OK;
}

static ucb_status list_layer(struct build *b, const struct ucb_bound_layer *layer,
                             struct ucb_err *err)
{
    for (size_t i = 0; i < layer->n_matrices; i++) {
        const struct ucb_bound_matrix *x = &layer->matrices[i];
        UCB_TRY(add_part(b, x->view.tensor, x->matrix.name, x->view.interleaved, err));
    }
    for (unsigned i = 0; i < UCB_N_VECTORS; i++) {
        const struct ucb_bound_vector *x = &layer->vectors[i];
        UCB_TRY(add_part(b, x->view.tensor, x->name, x->view.interleaved, err));
    }
    return UCB_OK;
}

static ucb_status list_parts(struct build *b, struct ucb_err *err)
{
    const struct ucb_model *m = b->model;
    size_t room = (size_t)m->arch.n_layers * (UCB_N_LAYER_ROLES + UCB_N_VECTORS) +
                  UCB_N_VECTORS + 2;
    if (strcmp(m->arch.model_type, "llama") != 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: is of architecture %s; only llama models are made smooth",
                        m->path, m->arch.model_type);
    b->parts = UCB_NEW(&b->arena, struct part, room);
    b->outputs = UCB_NEW(&b->arena, struct ucb_tensor, room);
    if (b->parts == NULL || b->outputs == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to list %zu tensors", room);
    UCB_TRY(add_part(b, m->embed.view.tensor, m->embed.matrix.name, false, err));
    for (uint32_t layer = 0; layer < m->arch.n_layers; layer++)
        UCB_TRY(list_layer(b, &m->layers[layer], err));
    UCB_TRY(list_layer(b, &m->top, err));
    return add_part(b, m->head.view.tensor, m->head.matrix.name, false, err);
}

static ucb_status make_weights(struct build *b, const char *path, struct ucb_pool *pool,
                               struct ucb_err *err)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < b->n; i++) n_bytes += (size_t)b->outputs[i].n_bytes;
    b->data = ucb_mem_alloc(n_bytes);
    if (b->data == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes of weights", path,
                        n_bytes);
    for (size_t i = 0, at = 0; i < b->n; i++) {
        b->outputs[i].data = b->data + at;
        b->parts[i].target = (uint16_t *)(void *)(b->data + at);
        at += (size_t)b->outputs[i].n_bytes;
    }
    ucb_parallel_for(pool, b->n, make_part, b);
    UCB_TRY(ucb_checkpoint_intact(b->model->checkpoint, err));
    return ucb_safetensors_write(path, b->outputs, b->n, err);
}

/* ---- config.json ---- */

/* The shortest decimal that is this float: 1e-05 and not 9.99999975e-06. */
static json_t *shortest_real(float x)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x) break;
    }
    return json_real(strtod(text, NULL));
}

static void set_token_id(json_t *config, const char *field, const struct ucb_checkpoint *c,
                         const char *key)
{
    uint64_t id;
    if (ucb_checkpoint_u64(c, key, &id))
        json_object_set_new(config, field, json_integer((json_int_t)id));
}

static json_t *make_config(const struct ucb_model *m)
{
    const struct ucb_arch *a = &m->arch;
    json_t *config = json_pack(
        "{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:n, s:s}",
        "architectures", "LlamaForCausalLM", "model_type", a->model_type, "hidden_act",
        "silu", "hidden_size", (int)a->hidden, "intermediate_size", (int)a->ffn,
        "num_hidden_layers", (int)a->n_layers, "num_attention_heads", (int)a->n_heads,
        "num_key_value_heads", (int)a->n_kv_heads, "head_dim", (int)a->head_dim,
        "vocab_size", (int)a->vocabulary, "attention_bias", (int)a->qkv_bias, "mlp_bias",
        (int)a->mlp_bias, "tie_word_embeddings", (int)a->tied_head, "rope_scaling",
        "torch_dtype", "bfloat16");
    if (config == NULL) return NULL;
    json_object_set_new(config, "rms_norm_eps", shortest_real(a->norm_eps));
    json_object_set_new(config, "rope_theta", shortest_real((float)a->rope_theta));
    if (a->max_positions != 0)
        json_object_set_new(config, "max_position_embeddings",
                            json_integer(a->max_positions));
    set_token_id(config, "bos_token_id", m->checkpoint, "tokenizer.ggml.bos_token_id");
    set_token_id(config, "eos_token_id", m->checkpoint, "tokenizer.ggml.eos_token_id");
    return config;
}

/* The written configuration must mean what the GGUF's does: a scaling of positions, say,
 * has no place in it. */
static ucb_status check_config(struct build *b, const char *path, const char *text,
                               struct ucb_err *err)
{
    const struct ucb_arch *a = &b->model->arch;
    struct ucb_arch read = {0};
    UCB_TRY(ucb_config_parse(path, text, strlen(text), &b->arena, &read, err));
    size_t table_bytes = a->rotary_dim / 2 * sizeof(float);
    bool same = read.norm_eps == a->norm_eps && read.rope_theta == a->rope_theta &&
                read.rotary_dim == a->rotary_dim &&
                read.max_positions == a->max_positions &&
                read.rope[0].magnitude == a->rope[0].magnitude;
    if (same && memcmp(read.rope[0].inv_freq, a->rope[0].inv_freq, table_bytes) == 0)
        return UCB_OK;
    return UCB_FAIL(
        err, UCB_UNSUPPORTED,
        "%s: its positions are scaled; only models without scaling can be made smooth",
        b->model->path);
}

static ucb_status write_config(struct build *b, const char *path, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    char *text = NULL;
    json_t *config = make_config(b->model);
    if (config != NULL)
        text = json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    if (text == NULL) {
        status = UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its text", path);
        goto out;
    }
    UCB_TRY_OUT(check_config(b, path, text, err));
    status = ucb_file_write(path, text, strlen(text), err);
out:
    free(text);
    json_decref(config);
    return status;
}

/* ---- vocabulary.gguf ---- */

/* The source's header and metadata with a count of 0 tensors, padded as the format asks. */
static ucb_status write_vocabulary(const struct ucb_checkpoint *c, const char *path,
                                   struct ucb_err *err)
{
    struct ucb_writer out = {0};
    ucb_put_bytes(&out, "GGUF", 4);
    ucb_put_u32(&out, c->gguf_version);
    ucb_put_u64(&out, 0);
    ucb_put_u64(&out, c->n_values);
    ucb_put_bytes(&out, c->gguf_metadata, c->gguf_metadata_bytes);
    size_t rest = out.n_bytes % c->gguf_alignment;
    for (size_t i = rest == 0 ? c->gguf_alignment : rest; i < c->gguf_alignment; i++)
        ucb_put_u8(&out, 0);
    ucb_status status = ucb_writer_status(&out, err);
    if (status == UCB_OK) status = ucb_file_write(path, out.data, out.n_bytes, err);
    ucb_writer_free(&out);
    return status;
}

/* ---- all ---- */

static const char *file_in(struct build *b, const char *folder, const char *name)
{
    return ucb_arena_printf(&b->arena, "%s/%s", folder, name);
}

static ucb_status write_folder(struct build *b, const char *folder, struct ucb_pool *pool,
                               struct ucb_err *err)
{
    const char *weights = file_in(b, folder, "model.safetensors"),
               *config = file_in(b, folder, "config.json"),
               *vocabulary = file_in(b, folder, "vocabulary.gguf");
    if (weights == NULL || config == NULL || vocabulary == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for file names", folder);
    UCB_TRY(list_parts(b, err));
    UCB_TRY(ucb_folder_make(folder, err));
    UCB_TRY(write_config(b, config, err));
    UCB_TRY(write_vocabulary(b->model->checkpoint, vocabulary, err));
    return make_weights(b, weights, pool, err);
}

ucb_status ucb_smooth_build(const char *gguf_path, const char *out_folder,
                            struct ucb_pool *pool, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    struct ucb_model *model = NULL;
    struct build b = {0};
    ucb_arena_init(&b.arena);
    UCB_TRY_OUT(ucb_model_open(gguf_path, &model, err));
    b.model = model;
    if (!ucb_checkpoint_is_gguf(model->checkpoint)) {
        status = UCB_FAIL(err, UCB_UNSUPPORTED,
                          "%s: not a GGUF; the smooth model is made from a Q4_1 GGUF",
                          gguf_path);
        goto out;
    }
    status = write_folder(&b, out_folder, pool, err);
out:
    ucb_mem_free(b.data);
    ucb_arena_free(&b.arena);
    ucb_model_close(model);
    return status;
}
