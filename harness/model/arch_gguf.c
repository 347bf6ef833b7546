/*
 * arch_gguf.c - a GGUF's metadata as struct ucb_arch (specification, section 9).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model_internal.h"

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
        {"attention.clamp_kqv", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"logit_scale", 0},
        {"residual_scale", 0},
        {"embedding_scale", 0},
        {"attention.scale", 0},
        {"rope.scaling.attn_factor", 1},
        {"use_parallel_residual", 0},
        {"expert_shared_count", 0},
        {"leading_dense_block_count", 0},
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

static bool text_is(const char *text, size_t n, const char *expected)
{
    return n == strlen(expected) && memcmp(text, expected, n) == 0;
}

static ucb_status read_yarn(const struct metadata *m, const struct ucb_arch *arch,
                            struct ucb_rope *rope)
{
    rope->kind = UCB_ROPE_YARN;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    rope->truncate = true;
    UCB_TRY(get_number(m, "rope.scaling.factor", 0, &rope->factor));
    rope->magnitude = ucb_yarn_magnitude(rope->factor, 1);
    return get_number(m, "rope.scaling.original_context_length",
                      (double)arch->max_positions, &rope->original);
}

static ucb_status read_scaling(const struct metadata *m, const struct ucb_arch *arch,
                               struct ucb_rope *rope)
{
    char full[KEY_TEXT];
    const char *type = "none";
    size_t n = strlen(type);
    full_key(m, "rope.scaling.type", full);
    if (ucb_checkpoint_has(m->c, full) && !ucb_checkpoint_string(m->c, full, &type, &n))
        return UCB_FAIL(m->err, UCB_CORRUPT, "%s: metadata %s is not a text", m->file,
                        full);
    if (text_is(type, n, "yarn")) return read_yarn(m, arch, rope);
    bool linear = text_is(type, n, "linear");
    if (!linear && !text_is(type, n, "none"))
        return UCB_FAIL(
            m->err, UCB_UNSUPPORTED,
            "%s: metadata %s: rope scaling type %.*s is not supported; supported are none, "
            "linear and yarn",
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
    const struct ucb_tensor *t = ucb_checkpoint_find(c, "token_embd.weight");
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

/* A bias on any projection of the first layer: which ones is for the tensors to say. */
static bool any_bias(const struct ucb_checkpoint *c, const struct ucb_family *family,
                     enum ucb_presence presence)
{
    char name[UCB_NAME_TEXT];
    for (const struct ucb_vector_row *const *table = family->vectors; *table != NULL;
         table++)
        for (const struct ucb_vector_row *row = *table; row->hf != NULL; row++)
            if (row->presence == presence && row->gguf != NULL &&
                ucb_checkpoint_find(c, ucb_name_of(row->gguf, 0, 0, name)) != NULL)
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
        double f = ucb_rope_frequency(rope, arch->rotary_dim, i, false);
        arch->rope[0].inv_freq[i] = (float)(f / (double)factor);
    }
    return UCB_OK;
}

static ucb_status check_family(const struct ucb_checkpoint *c, const char *file,
                               const struct ucb_family **family, struct ucb_err *err)
{
    const char *name;
    size_t n;
    uint64_t parts;
    char known[UCB_FAMILIES_TEXT];
    if (!ucb_checkpoint_string(c, "general.architecture", &name, &n))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: metadata general.architecture is missing; supported: %s", file,
                        ucb_families_text(true, known, sizeof(known)));
    *family = ucb_family_find_gguf(name, n);
    if (*family == NULL)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: architecture %.*s is not supported; supported: %s", file,
                        n > 64 ? 64 : (int)n, name,
                        ucb_families_text(true, known, sizeof(known)));
    if (ucb_checkpoint_u64(c, "split.count", &parts) && parts > 1)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: is one of %llu parts of a split GGUF; join them with llama-gguf-split --merge",
            file, (unsigned long long)parts);
    if (ucb_checkpoint_n_tensors(c) > 0) return UCB_OK;
    return UCB_FAIL(err, UCB_MISSING,
                    "%s: holds a vocabulary and no tensors; a model is needed here", file);
}

static ucb_status read_experts(const struct metadata *m, const struct ucb_family *family,
                               struct ucb_arch *arch)
{
    struct ucb_experts *e = &arch->experts;
    UCB_TRY(get_size(m, "expert_count", 0, &e->n));
    UCB_TRY(get_size(m, "expert_used_count", 0, &e->used));
    if (e->n > UCB_EXPERTS_MAX || e->used > e->n)
        return UCB_FAIL(m->err, UCB_CORRUPT,
                        "%s: %u experts of which %u are used, expected at most %d and no "
                        "more used than there are",
                        m->file, e->n, e->used, UCB_EXPERTS_MAX);
    UCB_TRY(get_size(m, "expert_feed_forward_length", arch->ffn, &e->width));
    e->normalise = !family->gguf_plain_weights;
    e->scale = 1.0f;
    e->n_groups = e->groups_used = 1;
    for (uint32_t i = 0; i < arch->n_layers; i++) arch->layers[i].ffn = 0;
    return UCB_OK;
}

/* Windowed layers are all but every sixth and turn by a base of their own. */
static ucb_status read_gemma3(const struct metadata *m, struct ucb_arena *arena,
                              struct ucb_arch *arch)
{
    struct ucb_rope local = {0};
    uint32_t window;
    arch->activation = UCB_ACT_GELU_TANH;
    arch->embed_scale = (float)sqrt((double)arch->hidden);
    UCB_TRY(get_size(m, "attention.sliding_window", 0, &window));
    UCB_TRY(get_number(m, "rope.freq_base_swa", UCB_GGUF_LOCAL_THETA, &local.theta));
    for (uint32_t i = 0; i < arch->n_layers; i++) {
        arch->layers[i].window = (i + 1) % 6 == 0 ? 0 : window;
        arch->layers[i].rope = arch->layers[i].window != 0;
    }
    return ucb_rope_fill(m->file, &local, arch->rotary_dim, arena, &arch->rope[1], m->err);
}

static ucb_status alloc_layers(const struct metadata *m, struct ucb_arena *arena,
                               struct ucb_arch *arch)
{
    if (arch->n_layers > UCB_LAYERS_MAX)
        return UCB_FAIL(m->err, UCB_UNSUPPORTED, "%s: %u layers, expected at most %d",
                        m->file, arch->n_layers, UCB_LAYERS_MAX);
    arch->layers = UCB_NEW(arena, struct ucb_layer_arch, arch->n_layers);
    if (arch->layers == NULL)
        return UCB_FAIL(m->err, UCB_NOMEM, "%s: no memory for %u layers", m->file,
                        arch->n_layers);
    for (uint32_t i = 0; i < arch->n_layers; i++) arch->layers[i].ffn = arch->ffn;
    return UCB_OK;
}

static ucb_status check_sizes(const struct metadata *m, const struct ucb_family *family,
                              const struct ucb_arch *arch)
{
    UCB_TRY(ucb_arch_check(
        arch,
        &(struct ucb_size_names){m->file, "attention.head_count", "attention.head_count_kv",
                                 "attention.key_length", "rope.dimension_count"},
        m->err));
    if (family->gguf_interleaves && arch->rotary_dim != arch->head_dim)
        return UCB_FAIL(
            m->err, UCB_UNSUPPORTED,
            "%s: rope.dimension_count is %u with heads of %u; only whole heads can be turned",
            m->file, arch->rotary_dim, arch->head_dim);
    return UCB_OK;
}

static bool has_experts(const struct ucb_family *family)
{
    const struct ucb_vector_row *router = ucb_vector_row_of(family, UCB_VECTOR_ROUTER);
    return router != NULL && router->gguf != NULL;
}

/* What the family's files say by their architecture alone, and by their tensors. */
static ucb_status read_family(const struct metadata *m, const struct ucb_family *family,
                              struct ucb_arena *arena, struct ucb_arch *arch)
{
    bool gemma3 = strcmp(family->model_type, "gemma3_text") == 0,
         head_norms = gemma3 || strncmp(family->model_type, "qwen3", 5) == 0,
         all_norms = strcmp(family->model_type, "olmoe") == 0;
    arch->qk_norm = head_norms  ? UCB_QK_NORM_HEAD
                    : all_norms ? UCB_QK_NORM_PROJECTION
                                : UCB_QK_NORM_NONE;
    arch->attention_scale = (float)(1.0 / sqrt((double)arch->head_dim));
    arch->qkv_bias = any_bias(m->c, family, UCB_WITH_QKV_BIAS);
    arch->o_bias = any_bias(m->c, family, UCB_WITH_O_BIAS);
    arch->mlp_bias = any_bias(m->c, family, UCB_WITH_MLP_BIAS);
    arch->tied_head = ucb_checkpoint_find(m->c, "output.weight") == NULL;
    if (has_experts(family)) UCB_TRY(read_experts(m, family, arch));
    return gemma3 ? read_gemma3(m, arena, arch) : UCB_OK;
}

ucb_status ucb_arch_from_gguf(const struct ucb_checkpoint *c, struct ucb_arena *arena,
                              struct ucb_arch *out, struct ucb_err *err)
{
    const char *file = ucb_checkpoint_n_files(c) > 0 ? ucb_checkpoint_file(c, 0) : "GGUF";
    const struct ucb_family *family = NULL;
    struct ucb_arch arch = {.embed_scale = 1.0f, .gated = true};
    struct ucb_rope rope = {0};
    double eps = 0;
    uint64_t n_experts = 0;
    char full[KEY_TEXT];
    UCB_TRY(check_family(c, file, &family, err));
    struct metadata m = {c, file, family->gguf_arch, err};
    if (ucb_checkpoint_u64(c, full_key(&m, "expert_count", full), &n_experts) &&
        n_experts > 0 && !has_experts(family)) {
        if (strcmp(family->model_type, "llama") != 0)
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: metadata %s is %llu, and experts of %s are not supported",
                            file, full, (unsigned long long)n_experts, family->model_type);
        family = ucb_family_find("mixtral"); /* its files call themselves llama */
    }
    snprintf(arch.model_type, sizeof(arch.model_type), "%s", family->model_type);
    UCB_TRY(read_sizes(&m, &arch));
    UCB_TRY(reject_switches(&m));
    UCB_TRY(alloc_layers(&m, arena, &arch));
    UCB_TRY(read_scaling(&m, &arch, &rope));
    UCB_TRY(get_number(&m, "attention.layer_norm_rms_epsilon", 0, &eps));
    UCB_TRY(get_number(&m, "rope.freq_base", 10000, &rope.theta));
    UCB_TRY(check_sizes(&m, family, &arch));
    arch.norm_eps = (float)eps;
    arch.rope_theta = rope.theta;
    UCB_TRY(read_family(&m, family, arena, &arch));
    UCB_TRY(ucb_rope_fill(file, &rope, arch.rotary_dim, arena, &arch.rope[0], err));
    UCB_TRY(apply_rope_factors(c, &arch, &rope, err));
    *out = arch;
    return UCB_OK;
}
