/*
 * arch.c - what architectures are made of, as tables: an architecture of the same shape is
 * a row, a new kind of matrix or vector a row and an enum value. Also: a GGUF's metadata as
 * struct ucb_arch.
 */
#include <math.h>
#include <stdio.h>
#include <assert.h>
#include <string.h>

#include "model/model_internal.h"

static const struct ucb_family families[] = {
    {.model_type = "llama",
     .gguf_arch = "llama",
     .eps_default = 1e-6,
     .theta_default = 10000.0,
     .gguf_interleaves = true},
};
enum { N_FAMILIES = sizeof(families) / sizeof(families[0]) };

/* clang-format off */
const struct ucb_matrix_row ucb_matrix_rows[UCB_N_ROLES] = {
    [UCB_ROLE_Q]     = {"model.layers.N.self_attn.q_proj.weight", "blk.N.attn_q.weight",      UCB_EXTENT_Q,      UCB_EXTENT_HIDDEN, true},
    [UCB_ROLE_K]     = {"model.layers.N.self_attn.k_proj.weight", "blk.N.attn_k.weight",      UCB_EXTENT_KV,     UCB_EXTENT_HIDDEN, true},
    [UCB_ROLE_V]     = {"model.layers.N.self_attn.v_proj.weight", "blk.N.attn_v.weight",      UCB_EXTENT_KV,     UCB_EXTENT_HIDDEN, false},
    [UCB_ROLE_O]     = {"model.layers.N.self_attn.o_proj.weight", "blk.N.attn_output.weight", UCB_EXTENT_HIDDEN, UCB_EXTENT_Q,      false},
    [UCB_ROLE_GATE]  = {"model.layers.N.mlp.gate_proj.weight",    "blk.N.ffn_gate.weight",    UCB_EXTENT_FFN,    UCB_EXTENT_HIDDEN, false},
    [UCB_ROLE_UP]    = {"model.layers.N.mlp.up_proj.weight",      "blk.N.ffn_up.weight",      UCB_EXTENT_FFN,    UCB_EXTENT_HIDDEN, false},
    [UCB_ROLE_DOWN]  = {"model.layers.N.mlp.down_proj.weight",    "blk.N.ffn_down.weight",    UCB_EXTENT_HIDDEN, UCB_EXTENT_FFN,    false},
    [UCB_ROLE_EMBED] = {"model.embed_tokens.weight",              "token_embd.weight",        UCB_EXTENT_VOCABULARY, UCB_EXTENT_HIDDEN, false},
    [UCB_ROLE_HEAD]  = {"lm_head.weight",                         "output.weight",            UCB_EXTENT_VOCABULARY, UCB_EXTENT_HIDDEN, false},
};

const struct ucb_vector_row ucb_vector_rows[UCB_N_VECTORS] = {
    [UCB_VECTOR_ATTN_NORM]  = {"model.layers.N.input_layernorm.weight",          "blk.N.attn_norm.weight", UCB_EXTENT_HIDDEN, UCB_ALWAYS, false},
    [UCB_VECTOR_MLP_NORM]   = {"model.layers.N.post_attention_layernorm.weight", "blk.N.ffn_norm.weight",  UCB_EXTENT_HIDDEN, UCB_ALWAYS, false},
    [UCB_VECTOR_FINAL_NORM] = {"model.norm.weight",                              "output_norm.weight",     UCB_EXTENT_HIDDEN, UCB_ALWAYS, false},
    [UCB_VECTOR_Q_BIAS]     = {"model.layers.N.self_attn.q_proj.bias", "blk.N.attn_q.bias",      UCB_EXTENT_Q,      UCB_WITH_ATTENTION_BIAS, true},
    [UCB_VECTOR_K_BIAS]     = {"model.layers.N.self_attn.k_proj.bias", "blk.N.attn_k.bias",      UCB_EXTENT_KV,     UCB_WITH_ATTENTION_BIAS, true},
    [UCB_VECTOR_V_BIAS]     = {"model.layers.N.self_attn.v_proj.bias", "blk.N.attn_v.bias",      UCB_EXTENT_KV,     UCB_WITH_ATTENTION_BIAS, false},
    [UCB_VECTOR_O_BIAS]     = {"model.layers.N.self_attn.o_proj.bias", "blk.N.attn_output.bias", UCB_EXTENT_HIDDEN, UCB_WITH_ATTENTION_BIAS, false},
    [UCB_VECTOR_GATE_BIAS]  = {"model.layers.N.mlp.gate_proj.bias",    "blk.N.ffn_gate.bias",    UCB_EXTENT_FFN,    UCB_WITH_MLP_BIAS, false},
    [UCB_VECTOR_UP_BIAS]    = {"model.layers.N.mlp.up_proj.bias",      "blk.N.ffn_up.bias",      UCB_EXTENT_FFN,    UCB_WITH_MLP_BIAS, false},
    [UCB_VECTOR_DOWN_BIAS]  = {"model.layers.N.mlp.down_proj.bias",    "blk.N.ffn_down.bias",    UCB_EXTENT_HIDDEN, UCB_WITH_MLP_BIAS, false},
};
/* clang-format on */

static const char *const role_names[UCB_N_ROLES] = {
    [UCB_ROLE_Q] = "q_proj",       [UCB_ROLE_K] = "k_proj",
    [UCB_ROLE_V] = "v_proj",       [UCB_ROLE_O] = "o_proj",
    [UCB_ROLE_GATE] = "gate_proj", [UCB_ROLE_UP] = "up_proj",
    [UCB_ROLE_DOWN] = "down_proj", [UCB_ROLE_EMBED] = "embed_tokens",
    [UCB_ROLE_HEAD] = "lm_head",
};

const char *ucb_role_name(enum ucb_role role)
{
    return (unsigned)role < UCB_N_ROLES ? role_names[role] : "?";
}

enum ucb_input ucb_role_input(enum ucb_role role)
{
    static const enum ucb_input inputs[UCB_N_LAYER_ROLES] = {
        [UCB_ROLE_Q] = UCB_INPUT_QKV,        [UCB_ROLE_K] = UCB_INPUT_QKV,
        [UCB_ROLE_V] = UCB_INPUT_QKV,        [UCB_ROLE_O] = UCB_INPUT_O,
        [UCB_ROLE_GATE] = UCB_INPUT_GATE_UP, [UCB_ROLE_UP] = UCB_INPUT_GATE_UP,
        [UCB_ROLE_DOWN] = UCB_INPUT_DOWN,
    };
    assert(role < UCB_N_LAYER_ROLES);
    return inputs[role];
}

const char *ucb_input_name(enum ucb_input input)
{
    static const char *const names[UCB_N_INPUTS] = {"qkv", "o", "gate_up", "down"};
    assert(input < UCB_N_INPUTS);
    return names[input];
}

const struct ucb_family *ucb_family_find(const char *model_type)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const struct ucb_family *ucb_family_find_gguf(const char *arch, size_t n_chars)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strlen(families[i].gguf_arch) == n_chars &&
            memcmp(families[i].gguf_arch, arch, n_chars) == 0)
            return &families[i];
    return NULL;
}

const char *ucb_families_text(char *out, size_t out_size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_FAMILIES && n < out_size; i++)
        n += (size_t)snprintf(out + n, out_size - n, i == 0 ? "%s" : ", %s",
                              families[i].model_type);
    return out;
}

uint32_t ucb_extent_size(const struct ucb_arch *arch, enum ucb_extent extent)
{
    switch (extent) {
    case UCB_EXTENT_HIDDEN: return arch->hidden;
    case UCB_EXTENT_Q: return arch->n_heads * arch->head_dim;
    case UCB_EXTENT_KV: return arch->n_kv_heads * arch->head_dim;
    case UCB_EXTENT_FFN: return arch->ffn;
    case UCB_EXTENT_VOCABULARY: return arch->vocabulary;
    }
    return 0;
}

const char *ucb_name_of_layer(const char *pattern, uint32_t layer, char out[UCB_NAME_TEXT])
{
    const char *mark = strstr(pattern, ".N.");
    if (mark == NULL)
        snprintf(out, UCB_NAME_TEXT, "%s", pattern);
    else
        snprintf(out, UCB_NAME_TEXT, "%.*s.%u.%s", (int)(mark - pattern), pattern, layer,
                 mark + 3);
    return out;
}

ucb_status ucb_arch_check(const struct ucb_arch *arch, const struct ucb_size_names *names,
                          struct ucb_err *err)
{
    if (arch->n_heads % arch->n_kv_heads != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: %s is %u, expected a multiple of %s (%u)",
                        names->file, names->heads, arch->n_heads, names->kv_heads,
                        arch->n_kv_heads);
    if (arch->head_dim > UCB_HEAD_DIM_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: %s is %u, expected at most %d",
                        names->file, names->head_dim, arch->head_dim, UCB_HEAD_DIM_MAX);
    if ((uint64_t)arch->n_heads * arch->head_dim > UCB_SIZE_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: %s times %s is %u x %u, expected at most %d", names->file,
                        names->heads, names->head_dim, arch->n_heads, arch->head_dim,
                        UCB_SIZE_MAX);
    if (arch->rotary_dim == 0 || arch->rotary_dim % 2 != 0 ||
        arch->rotary_dim > arch->head_dim)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: the rotary size (%s) is %u, expected an even number from 2 to %s (%u)",
            names->file, names->rotary, arch->rotary_dim, names->head_dim, arch->head_dim);
    return UCB_OK;
}

/* ---- GGUF ---- */

/* The metadata of one architecture: keys without their prefix. */
struct metadata {
    const struct ucb_checkpoint *c;
    const char *file, *arch;
    struct ucb_err *err;
};

enum { KEY_TEXT = 128 };

static const char *full_key(const struct metadata *m, const char *key, char out[KEY_TEXT])
{
    snprintf(out, KEY_TEXT, "%s.%s", m->arch, key);
    return out;
}

static bool has(const struct metadata *m, const char *key)
{
    char full[KEY_TEXT];
    return ucb_checkpoint_has(m->c, full_key(m, key, full));
}

/* A positive whole number; `fallback` 0: the key must be there. */
static ucb_status get_size(const struct metadata *m, const char *key, uint32_t fallback,
                           uint32_t *out)
{
    char full[KEY_TEXT];
    uint64_t value = fallback;
    full_key(m, key, full);
    bool there = ucb_checkpoint_has(m->c, full);
    if (!there && fallback == 0)
        return UCB_FAIL(m->err, UCB_CORRUPT,
                        "%s: metadata %s is missing, expected a positive whole number",
                        m->file, full);
    if (there && !ucb_checkpoint_u64(m->c, full, &value))
        return UCB_FAIL(m->err, UCB_UNSUPPORTED,
                        "%s: metadata %s is not one whole number, expected a positive one",
                        m->file, full);
    if (value == 0 || value > UCB_SIZE_MAX)
        return UCB_FAIL(m->err, UCB_CORRUPT, "%s: metadata %s is %llu, expected 1 to %d",
                        m->file, full, (unsigned long long)value, UCB_SIZE_MAX);
    *out = (uint32_t)value;
    return UCB_OK;
}

/* A finite number above 0; `fallback` 0: the key must be there. */
static ucb_status get_number(const struct metadata *m, const char *key, double fallback,
                             double *out)
{
    char full[KEY_TEXT];
    double value = fallback;
    full_key(m, key, full);
    bool there = ucb_checkpoint_has(m->c, full);
    if (!there && fallback == 0)
        return UCB_FAIL(m->err, UCB_CORRUPT,
                        "%s: metadata %s is missing, expected a number above 0", m->file,
                        full);
    if (there && !ucb_checkpoint_f64(m->c, full, &value))
        return UCB_FAIL(m->err, UCB_CORRUPT, "%s: metadata %s is not a number", m->file,
                        full);
    if (!(value > 0) || isinf(value))
        return UCB_FAIL(m->err, UCB_CORRUPT,
                        "%s: metadata %s is %g, expected a finite number above 0", m->file,
                        full, value);
    *out = value;
    return UCB_OK;
}

/* Keys that change results and that this program does not compute; `neutral` is the value
 * that changes nothing. */
static ucb_status reject_switches(const struct metadata *m)
{
    static const struct {
        const char *key;
        double neutral;
    } switches[] = {
        {"expert_count", 0},
        {"attention.clamp_kqv", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"logit_scale", 0},
        {"residual_scale", 0},
        {"embedding_scale", 0},
        {"attention.scale", 0},
        {"rope.scaling.attn_factor", 1},
        {"use_parallel_residual", 0},
    };
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        char full[KEY_TEXT];
        double value;
        uint64_t whole;
        full_key(m, switches[i].key, full);
        if (!ucb_checkpoint_has(m->c, full)) continue;
        if (!ucb_checkpoint_f64(m->c, full, &value))
            value = ucb_checkpoint_u64(m->c, full, &whole) ? (double)whole : (double)NAN;
        if (value != switches[i].neutral)
            return UCB_FAIL(
                m->err, UCB_UNSUPPORTED,
                "%s: metadata %s is %g, which this program does not compute; expected %g "
                "or none",
                m->file, full, value, switches[i].neutral);
    }
    return UCB_OK;
}

static ucb_status read_scaling(const struct metadata *m, struct ucb_rope *rope)
{
    char full[KEY_TEXT];
    const char *type = "none";
    size_t n = strlen(type);
    full_key(m, "rope.scaling.type", full);
    if (ucb_checkpoint_has(m->c, full) && !ucb_checkpoint_string(m->c, full, &type, &n))
        return UCB_FAIL(m->err, UCB_CORRUPT, "%s: metadata %s is not a text", m->file,
                        full);
    bool none = n == 4 && memcmp(type, "none", 4) == 0,
         linear = n == 6 && memcmp(type, "linear", 6) == 0;
    if (!none && !linear)
        return UCB_FAIL(
            m->err, UCB_UNSUPPORTED,
            "%s: metadata %s: rope scaling type %.*s is not supported; supported are none "
            "and linear",
            m->file, full, n > 64 ? 64 : (int)n, type);
    rope->kind = linear ? UCB_ROPE_LINEAR : UCB_ROPE_PLAIN;
    if (linear) return get_number(m, "rope.scaling.factor", 0, &rope->factor);
    if (!has(m, "rope.scale_linear")) return UCB_OK; /* what files of 2023 have instead */
    rope->kind = UCB_ROPE_LINEAR;
    return get_number(m, "rope.scale_linear", 1, &rope->factor);
}

/* The metadata may leave the vocabulary out; the embedding has a row for each token. */
static uint32_t embedding_rows(const struct ucb_checkpoint *c)
{
    const struct ucb_tensor *t = ucb_checkpoint_find(c,
                                                     ucb_matrix_rows[UCB_ROLE_EMBED].gguf);
    return t != NULL && t->n_dims == 2 && t->shape[0] <= UCB_SIZE_MAX
               ? (uint32_t)t->shape[0]
               : 0;
}

static ucb_status read_sizes(const struct metadata *m, struct ucb_arch *arch)
{
    uint64_t positions = 0;
    uint32_t value_dim = 0;
    char full[KEY_TEXT];
    UCB_TRY(get_size(m, "block_count", 0, &arch->n_layers));
    UCB_TRY(get_size(m, "embedding_length", 0, &arch->hidden));
    UCB_TRY(get_size(m, "feed_forward_length", 0, &arch->ffn));
    UCB_TRY(get_size(m, "attention.head_count", 0, &arch->n_heads));
    UCB_TRY(get_size(m, "attention.head_count_kv", arch->n_heads, &arch->n_kv_heads));
    UCB_TRY(
        get_size(m, "attention.key_length", arch->hidden / arch->n_heads, &arch->head_dim));
    UCB_TRY(get_size(m, "attention.value_length", arch->head_dim, &value_dim));
    UCB_TRY(get_size(m, "rope.dimension_count", arch->head_dim, &arch->rotary_dim));
    UCB_TRY(get_size(m, "vocab_size", embedding_rows(m->c), &arch->vocabulary));
    if (ucb_checkpoint_u64(m->c, full_key(m, "context_length", full), &positions) &&
        positions <= UINT32_MAX)
        arch->max_positions = (uint32_t)positions;
    if (!has(m, "attention.key_length") && arch->hidden % arch->n_heads != 0)
        return UCB_FAIL(
            m->err, UCB_CORRUPT,
            "%s: %s.embedding_length is %u, expected a multiple of the %u heads", m->file,
            m->arch, arch->hidden, arch->n_heads);
    if (value_dim == arch->head_dim) return UCB_OK;
    return UCB_FAIL(m->err, UCB_UNSUPPORTED,
                    "%s: %s.attention.value_length is %u, expected key_length (%u)",
                    m->file, m->arch, value_dim, arch->head_dim);
}

/* A bias on any projection of any layer: which ones is for the tensors to say. */
static bool any_bias(const struct ucb_checkpoint *c, enum ucb_presence presence)
{
    char name[UCB_NAME_TEXT];
    for (unsigned i = 0; i < UCB_N_VECTORS; i++)
        if (ucb_vector_rows[i].presence == presence &&
            ucb_checkpoint_find(c, ucb_name_of_layer(ucb_vector_rows[i].gguf, 0, name)) !=
                NULL)
            return true;
    return false;
}

/* The tensor rope_freqs.weight (llama3 scaling) holds what each frequency is divided by. */
static ucb_status apply_rope_factors(const struct ucb_checkpoint *c, struct ucb_arch *arch,
                                     const struct ucb_rope *rope, struct ucb_err *err)
{
    const struct ucb_tensor *t = ucb_checkpoint_find(c, "rope_freqs.weight");
    uint32_t half = arch->rotary_dim / 2;
    char shape[UCB_SHAPE_TEXT];
    if (t == NULL) return UCB_OK;
    if (t->dtype != UCB_F32 || t->n_dims != 1 || t->shape[0] != half)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: %s: is %s %s, expected F32 [%u]", t->file,
                        t->name, ucb_dtype_name(t->dtype),
                        ucb_shape_text(t->shape, t->n_dims, shape), half);
    for (uint32_t i = 0; i < half; i++) {
        float factor;
        memcpy(&factor, t->data + 4 * (size_t)i, sizeof(factor));
        if (!(factor > 0) || isinf(factor))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s: element %u is %g, expected a finite number above 0",
                            t->file, t->name, i, (double)factor);
        arch->rope_inv_freq[i] = (float)(ucb_rope_frequency(rope, arch->rotary_dim, i) /
                                         (double)factor);
    }
    return UCB_OK;
}

static ucb_status check_family(const struct ucb_checkpoint *c, const char *file,
                               const struct ucb_family **family, struct ucb_err *err)
{
    const char *name;
    size_t n;
    uint64_t parts;
    char known[256];
    if (!ucb_checkpoint_string(c, "general.architecture", &name, &n))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: metadata general.architecture is missing; supported: %s", file,
                        ucb_families_text(known, sizeof(known)));
    *family = ucb_family_find_gguf(name, n);
    if (*family == NULL)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED, "%s: architecture %.*s is not supported; supported: %s",
            file, n > 64 ? 64 : (int)n, name, ucb_families_text(known, sizeof(known)));
    if (ucb_checkpoint_u64(c, "split.count", &parts) && parts > 1)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: is one of %llu parts of a split GGUF; join them with llama-gguf-split --merge",
            file, (unsigned long long)parts);
    if (ucb_checkpoint_n_tensors(c) > 0) return UCB_OK;
    return UCB_FAIL(err, UCB_MISSING,
                    "%s: holds a vocabulary and no tensors; a model is needed here", file);
}

ucb_status ucb_arch_from_gguf(const struct ucb_checkpoint *c, struct ucb_arena *arena,
                              struct ucb_arch *out, struct ucb_err *err)
{
    const char *file = ucb_checkpoint_n_files(c) > 0 ? ucb_checkpoint_file(c, 0) : "GGUF";
    const struct ucb_family *family = NULL;
    struct ucb_arch arch = {.rope_magnitude = 1.0f};
    struct ucb_rope rope = {0};
    double eps = 0;
    UCB_TRY(check_family(c, file, &family, err));
    struct metadata m = {c, file, family->gguf_arch, err};
    snprintf(arch.model_type, sizeof(arch.model_type), "%s", family->model_type);
    UCB_TRY(read_sizes(&m, &arch));
    UCB_TRY(reject_switches(&m));
    UCB_TRY(read_scaling(&m, &rope));
    UCB_TRY(get_number(&m, "attention.layer_norm_rms_epsilon", 0, &eps));
    UCB_TRY(get_number(&m, "rope.freq_base", family->theta_default, &rope.theta));
    UCB_TRY(ucb_arch_check(
        &arch,
        &(struct ucb_size_names){file, "attention.head_count", "attention.head_count_kv",
                                 "attention.key_length", "rope.dimension_count"},
        err));
    if (family->gguf_interleaves && arch.rotary_dim != arch.head_dim)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: rope.dimension_count is %u with heads of %u; only whole heads can be turned",
            file, arch.rotary_dim, arch.head_dim);
    arch.norm_eps = (float)eps;
    arch.attention_scale = (float)(1.0 / sqrt((double)arch.head_dim));
    arch.attention_bias = any_bias(c, UCB_WITH_ATTENTION_BIAS);
    arch.mlp_bias = any_bias(c, UCB_WITH_MLP_BIAS);
    arch.tied_head = ucb_checkpoint_find(c, ucb_matrix_rows[UCB_ROLE_HEAD].gguf) == NULL;
    UCB_TRY(ucb_rope_table(file, &rope, arena, &arch, err));
    UCB_TRY(apply_rope_factors(c, &arch, &rope, err));
    *out = arch;
    return UCB_OK;
}
