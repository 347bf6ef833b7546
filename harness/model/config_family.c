/*
 * config_family.c - what the layers of each family are, from its config.json:
 * specification, sections 3 to 8.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config_internal.h"

#define get ucb_config_get
#define get_size ucb_config_get_size
#define get_count ucb_config_get_count
#define get_optional ucb_config_get_optional
#define get_number ucb_config_get_number
#define get_flag ucb_config_get_flag
#define get_activation ucb_config_get_activation
#define wrong ucb_config_wrong
#define reject ucb_config_reject

static bool is(const struct ucb_config *c, const char *model_type)
{
    return strcmp(c->family->model_type, model_type) == 0;
}

/* ---- sizes ---- */

/* head_dim where the file is silent. */
static ucb_status default_head_dim(const struct ucb_config *c, struct ucb_arch *arch)
{
    if (is(c, "qwen3")) arch->head_dim = 128;
    if (is(c, "gemma2") || is(c, "gemma3_text")) arch->head_dim = 256;
    if (arch->head_dim != 0) return UCB_OK;
    if (arch->hidden % arch->n_heads != 0)
        return UCB_FAIL(
            c->err, UCB_CORRUPT,
            "%s: hidden_size is %u, expected a multiple of num_attention_heads (%u) because head_dim is "
            "not given",
            c->name, arch->hidden, arch->n_heads);
    arch->head_dim = arch->hidden / arch->n_heads;
    return UCB_OK;
}

static ucb_status read_gpt2_sizes(const struct ucb_config *c, struct ucb_arch *arch)
{
    UCB_TRY(get_size(c, "n_embd", 0, &arch->hidden));
    UCB_TRY(get_size(c, "n_layer", 0, &arch->n_layers));
    UCB_TRY(get_size(c, "n_head", 0, &arch->n_heads));
    UCB_TRY(get_size(c, "n_positions", 0, &arch->max_positions));
    UCB_TRY(get_size(c, "vocab_size", 0, &arch->vocabulary));
    if (arch->hidden > UCB_SIZE_MAX / 4)
        return wrong(c, "n_embd", get(c->root, "n_embd"), "below 2^29");
    UCB_TRY(get_size(c, "n_inner", 4 * arch->hidden, &arch->ffn));
    arch->n_kv_heads = arch->n_heads;
    return default_head_dim(c, arch);
}

static ucb_status read_mamba_sizes(const struct ucb_config *c, struct ucb_arch *arch)
{
    double expand = 2;
    UCB_TRY(get_size(c, "hidden_size", 0, &arch->hidden));
    UCB_TRY(get_size(c, "num_hidden_layers", 0, &arch->n_layers));
    UCB_TRY(get_size(c, "vocab_size", 0, &arch->vocabulary));
    UCB_TRY(get_number(c, c->root, "expand", expand, &expand));
    double width = floor((double)arch->hidden * expand);
    if (width < 1 || width > UCB_SIZE_MAX / 4)
        return wrong(c, "expand", get(c->root, "expand"), "a smaller factor");
    return get_size(c, "intermediate_size", (uint32_t)width, &arch->ssm.width);
}

ucb_status ucb_config_read_sizes(const struct ucb_config *c, struct ucb_arch *arch)
{
    if (is(c, "gpt2")) return read_gpt2_sizes(c, arch);
    if (is(c, "mamba")) return read_mamba_sizes(c, arch);
    UCB_TRY(get_size(c, "hidden_size", 0, &arch->hidden));
    UCB_TRY(get_size(c, "intermediate_size", 0, &arch->ffn));
    UCB_TRY(get_size(c, "num_hidden_layers", 0, &arch->n_layers));
    UCB_TRY(get_size(c, "vocab_size", 0, &arch->vocabulary));
    UCB_TRY(get_size(c, "num_attention_heads", 0, &arch->n_heads));
    if (is(c, "gpt_neox"))
        arch->n_kv_heads = arch->n_heads;
    else
        UCB_TRY(get_size(c, "num_key_value_heads",
                         c->family->kv_heads_required ? 0 : arch->n_heads,
                         &arch->n_kv_heads));
    if (get(c->root, "max_position_embeddings") != NULL)
        UCB_TRY(get_size(c, "max_position_embeddings", 0, &arch->max_positions));
    if (get(c->root, "head_dim") != NULL && !is(c, "deepseek_v2"))
        return get_size(c, "head_dim", 0, &arch->head_dim);
    return is(c, "deepseek_v2") ? UCB_OK : default_head_dim(c, arch);
}

/* ---- windows ---- */

/* sliding_window; null is none, an absent field `fallback` (0: none). */
static ucb_status get_window(const struct ucb_config *c, uint32_t fallback, uint32_t *out)
{
    *out = json_object_get(c->root, "sliding_window") == NULL ? fallback : 0;
    return get(c->root, "sliding_window") == NULL ? UCB_OK
                                                  : get_size(c, "sliding_window", 0, out);
}

static void set_windows(struct ucb_arch *arch, uint32_t first, uint32_t window)
{
    for (uint32_t i = first; i < arch->n_layers; i++) arch->layers[i].window = window;
}

/* layer_types decides where it is given. */
static ucb_status apply_layer_types(const struct ucb_config *c, uint32_t window,
                                    struct ucb_arch *arch)
{
    const json_t *list = get(c->root, "layer_types");
    char expected[64];
    if (list == NULL) return UCB_OK;
    snprintf(expected, sizeof(expected), "a list of %u names", arch->n_layers);
    if (!json_is_array(list) || json_array_size(list) != arch->n_layers)
        return wrong(c, "layer_types", list, expected);
    for (uint32_t i = 0; i < arch->n_layers; i++) {
        const char *type = json_string_value(json_array_get(list, i));
        bool sliding = type != NULL && strcmp(type, "sliding_attention") == 0;
        if (!sliding && (type == NULL || strcmp(type, "full_attention") != 0))
            return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                            "%s: layer_types[%u] is %.40s; supported: full_attention, "
                            "sliding_attention",
                            c->name, i, type == NULL ? "not a text" : type);
        if (sliding && window == 0)
            return reject(c, "layer_types", "with sliding_attention",
                          "no sliding_window is in use (null, or use_sliding_window is not "
                          "true)");
        arch->layers[i].window = sliding ? window : 0;
    }
    return UCB_OK;
}

/* qwen2, qwen3: a number alone does nothing. */
static ucb_status read_qwen_windows(const struct ucb_config *c, struct ucb_arch *arch)
{
    bool use;
    uint32_t window, first;
    UCB_TRY(get_flag(c, "use_sliding_window", false, &use));
    UCB_TRY(get_window(c, 4096, &window));
    UCB_TRY(get_count(c, "max_window_layers", 28, &first));
    if (use) set_windows(arch, first, window);
    return apply_layer_types(c, use ? window : 0, arch);
}

/* ---- pieces ---- */

static ucb_status read_eps(const struct ucb_config *c, const char *field,
                           struct ucb_arch *arch)
{
    double eps;
    UCB_TRY(get_number(c, c->root, field, c->family->eps_default, &eps));
    arch->norm_eps = (float)eps;
    return UCB_OK;
}

/* RMS norms, silu (Gemma: gelu, under a field of its own) unless said otherwise,
 * attention_bias on all four. */
static ucb_status read_common(const struct ucb_config *c, struct ucb_arch *arch)
{
    bool gemma = is(c, "gemma2") || is(c, "gemma3_text");
    UCB_TRY(read_eps(c, "rms_norm_eps", arch));
    UCB_TRY(get_activation(c, gemma ? "hidden_activation" : "hidden_act",
                           gemma ? "gelu_pytorch_tanh" : "silu", &arch->activation));
    UCB_TRY(get_flag(c, "attention_bias", false, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return UCB_OK;
}

static ucb_status get_experts(const struct ucb_config *c, const char *field,
                              const char *also, struct ucb_arch *arch)
{
    struct ucb_experts *e = &arch->experts;
    if (get(c->root, field) == NULL && also != NULL && get(c->root, also) != NULL)
        field = also;
    UCB_TRY(get_size(c, field, 0, &e->n));
    UCB_TRY(get_size(c, "num_experts_per_tok", 0, &e->used));
    e->scale = 1.0f;
    e->n_groups = e->groups_used = 1;
    e->width = arch->ffn;
    if (e->n > UCB_EXPERTS_MAX)
        return wrong(c, field, get(c->root, field), "at most 1024 experts");
    if (e->used > e->n)
        return wrong(c, "num_experts_per_tok", get(c->root, "num_experts_per_tok"),
                     "at most the number of experts");
    for (uint32_t i = 0; i < arch->n_layers; i++) arch->layers[i].ffn = 0;
    return UCB_OK;
}

static ucb_status get_cap(const struct ucb_config *c, const char *field, double fallback,
                          float *out)
{
    double cap = 0;
    if (json_object_get(c->root, field) == NULL) cap = fallback;
    if (get(c->root, field) != NULL) UCB_TRY(get_number(c, c->root, field, 0, &cap));
    *out = (float)cap;
    return UCB_OK;
}

/* ---- families ---- */

static ucb_status read_llama(const struct ucb_config *c, struct ucb_arch *arch)
{
    UCB_TRY(read_common(c, arch));
    return get_flag(c, "mlp_bias", false, &arch->mlp_bias);
}

static ucb_status read_mistral(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window;
    UCB_TRY(read_common(c, arch));
    arch->qkv_bias = arch->o_bias = false;
    UCB_TRY(get_window(c, 4096, &window));
    set_windows(arch, 0, window);
    return UCB_OK;
}

static ucb_status read_qwen2(const struct ucb_config *c, struct ucb_arch *arch)
{
    UCB_TRY(read_common(c, arch));
    arch->qkv_bias = true;
    arch->o_bias = false;
    return read_qwen_windows(c, arch);
}

static ucb_status read_qwen3(const struct ucb_config *c, struct ucb_arch *arch)
{
    UCB_TRY(read_common(c, arch));
    arch->qk_norm = UCB_QK_NORM_HEAD;
    return read_qwen_windows(c, arch);
}

static ucb_status read_phi3(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window;
    UCB_TRY(read_common(c, arch));
    arch->qkv_bias = arch->o_bias = false;
    UCB_TRY(get_window(c, 0, &window));
    set_windows(arch, 0, window);
    return UCB_OK;
}

static ucb_status read_mixtral(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window;
    UCB_TRY(read_common(c, arch));
    arch->qkv_bias = arch->o_bias = false;
    UCB_TRY(get_experts(c, "num_local_experts", "num_experts", arch));
    arch->experts.normalise = true;
    UCB_TRY(get_window(c, 0, &window));
    set_windows(arch, 0, window);
    return UCB_OK;
}

/* Layers of experts: every decoder_sparse_step-th that mlp_only_layers does not name. */
static ucb_status read_sparse_layers(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t step;
    const json_t *dense = get(c->root, "mlp_only_layers");
    UCB_TRY(get_size(c, "decoder_sparse_step", 1, &step));
    for (uint32_t i = 0; i < arch->n_layers; i++)
        if ((i + 1) % step != 0) arch->layers[i].ffn = arch->ffn;
    if (dense != NULL && !json_is_array(dense))
        return wrong(c, "mlp_only_layers", dense, "a list of layers");
    for (size_t i = 0; i < json_array_size(dense); i++) {
        json_int_t layer = json_integer_value(json_array_get(dense, i));
        if (!json_is_integer(json_array_get(dense, i)) || layer < 0)
            return wrong(c, "mlp_only_layers", dense, "a list of layers");
        if (layer < (json_int_t)arch->n_layers) arch->layers[layer].ffn = arch->ffn;
    }
    return UCB_OK;
}

static ucb_status read_qwen3_moe(const struct ucb_config *c, struct ucb_arch *arch)
{
    bool use;
    uint32_t window;
    UCB_TRY(read_common(c, arch));
    arch->qk_norm = UCB_QK_NORM_HEAD;
    UCB_TRY(get_experts(c, "num_experts", "num_local_experts", arch));
    UCB_TRY(get_size(c, "moe_intermediate_size", 0, &arch->experts.width));
    UCB_TRY(get_flag(c, "norm_topk_prob", false, &arch->experts.normalise));
    UCB_TRY(read_sparse_layers(c, arch));
    UCB_TRY(get_flag(c, "use_sliding_window", false, &use));
    UCB_TRY(get_window(c, 4096, &window));
    set_windows(arch, 0, use ? window : 0);
    return UCB_OK;
}

static ucb_status read_olmoe(const struct ucb_config *c, struct ucb_arch *arch)
{
    UCB_TRY(read_common(c, arch));
    arch->qk_norm = UCB_QK_NORM_PROJECTION;
    UCB_TRY(get_cap(c, "clip_qkv", 0, &arch->clip_qkv));
    UCB_TRY(get_experts(c, "num_experts", "num_local_experts", arch));
    return get_flag(c, "norm_topk_prob", false, &arch->experts.normalise);
}

static ucb_status read_phimoe(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window;
    double jitter = 0.01;
    UCB_TRY(read_common(c, arch));
    arch->norm = UCB_NORM_LAYER;
    UCB_TRY(get_flag(c, "lm_head_bias", false, &arch->head_bias));
    UCB_TRY(get_experts(c, "num_local_experts", "num_experts", arch));
    if (arch->experts.used != 2)
        return wrong(c, "num_experts_per_tok", get(c->root, "num_experts_per_tok"),
                     "2: its router always takes two");
    arch->experts.routing = UCB_ROUTING_SPARSEMIXER;
    if (get(c->root, "router_jitter_noise") != NULL)
        UCB_TRY(get_optional(c, c->root, "router_jitter_noise", &jitter));
    arch->experts.jitter = (float)jitter;
    UCB_TRY(get_window(c, 4096, &window));
    set_windows(arch, 0, window);
    return UCB_OK;
}

static ucb_status read_latent(const struct ucb_config *c, struct ucb_arch *arch)
{
    struct ucb_latent *l = &arch->latent;
    arch->mixer = UCB_MIXER_LATENT;
    arch->positions = UCB_POSITIONS_PAIRS;
    if (get(c->root, "q_lora_rank") != NULL)
        UCB_TRY(get_size(c, "q_lora_rank", 0, &l->q_rank));
    UCB_TRY(get_size(c, "kv_lora_rank", 0, &l->kv_rank));
    UCB_TRY(get_size(c, "qk_nope_head_dim", 0, &l->nope));
    UCB_TRY(get_size(c, "qk_rope_head_dim", 0, &l->rope));
    UCB_TRY(get_size(c, "v_head_dim", 0, &l->value));
    if (l->nope > UCB_HEAD_DIM_MAX || l->rope > UCB_HEAD_DIM_MAX ||
        l->value > UCB_HEAD_DIM_MAX)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                        "%s: a head's parts are %u, %u and %u, expected at most %d each",
                        c->name, l->nope, l->rope, l->value, UCB_HEAD_DIM_MAX);
    arch->head_dim = l->nope + l->rope;
    arch->n_kv_heads = arch->n_heads;
    return UCB_OK;
}

/* Implementations disagree about these. */
static ucb_status reject_deepseek(const struct ucb_config *c)
{
    bool normalise, mlp_bias;
    uint32_t every;
    const json_t *scoring = get(c->root, "scoring_func");
    UCB_TRY(get_flag(c, "norm_topk_prob", false, &normalise));
    UCB_TRY(get_flag(c, "mlp_bias", false, &mlp_bias));
    UCB_TRY(get_size(c, "moe_layer_freq", 1, &every));
    if (mlp_bias)
        return reject(c, "mlp_bias", "true", "experts with biases are not implemented");
    if (normalise)
        return reject(c, "norm_topk_prob", "true", "implementations disagree about it");
    if (every != 1)
        return reject(c, "moe_layer_freq", "other than 1",
                      "implementations disagree about it");
    if (scoring != NULL &&
        (!json_is_string(scoring) || strcmp(json_string_value(scoring), "softmax") != 0))
        return reject(c, "scoring_func", "other than softmax",
                      "implementations disagree about it");
    return UCB_OK;
}

static ucb_status read_deepseek_groups(const struct ucb_config *c, struct ucb_experts *e)
{
    const json_t *value = get(c->root, "topk_method");
    const char *method = value == NULL ? "greedy" : json_string_value(value);
    if (method == NULL) return wrong(c, "topk_method", value, "a text");
    if (strcmp(method, "greedy") == 0) return UCB_OK;
    if (strcmp(method, "group_limited_greedy") != 0)
        return reject(c, "topk_method", method, "supported: greedy, group_limited_greedy");
    UCB_TRY(get_size(c, "n_group", 0, &e->n_groups));
    UCB_TRY(get_size(c, "topk_group", 0, &e->groups_used));
    if (e->n % e->n_groups == 0 && e->groups_used <= e->n_groups) return UCB_OK;
    return UCB_FAIL(c->err, UCB_CORRUPT,
                    "%s: %u experts in n_group %u groups, topk_group %u of them used; "
                    "expected equal groups and no more used than there are",
                    c->name, e->n, e->n_groups, e->groups_used);
}

static ucb_status read_deepseek(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t n_shared, n_dense;
    double scale = 1;
    UCB_TRY(read_common(c, arch));
    UCB_TRY(read_latent(c, arch));
    UCB_TRY(reject_deepseek(c));
    UCB_TRY(get_experts(c, "n_routed_experts", "num_experts", arch));
    UCB_TRY(read_deepseek_groups(c, &arch->experts));
    UCB_TRY(get_number(c, c->root, "routed_scaling_factor", scale, &scale));
    arch->experts.scale = (float)scale;
    UCB_TRY(get_size(c, "moe_intermediate_size", 0, &arch->experts.width));
    UCB_TRY(get_count(c, "n_shared_experts", 0, &n_shared));
    UCB_TRY(get_count(c, "first_k_dense_replace", 0, &n_dense));
    if ((uint64_t)n_shared * arch->experts.width > UCB_SIZE_MAX)
        return wrong(c, "n_shared_experts", get(c->root, "n_shared_experts"), "fewer");
    arch->experts.shared_width = n_shared * arch->experts.width;
    for (uint32_t i = 0; i < arch->n_layers && i < n_dense; i++)
        arch->layers[i].ffn = arch->ffn;
    return UCB_OK;
}

static ucb_status read_gemma(const struct ucb_config *c, struct ucb_arch *arch)
{
    double scalar;
    UCB_TRY(read_common(c, arch));
    UCB_TRY(get_number(c, c->root, "query_pre_attn_scalar", 256, &scalar));
    arch->attention_scale = (float)(1.0 / sqrt(scalar));
    arch->embed_scale = (float)sqrt((double)arch->hidden);
    arch->norm_plus_one = true;
    return UCB_OK;
}

static ucb_status read_gemma2(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window;
    UCB_TRY(read_gemma(c, arch));
    UCB_TRY(get_cap(c, "attn_logit_softcapping", 50, &arch->attention_softcap));
    UCB_TRY(get_cap(c, "final_logit_softcapping", 30, &arch->final_softcap));
    UCB_TRY(get_window(c, 4096, &window));
    for (uint32_t i = 0; i < arch->n_layers; i += 2) arch->layers[i].window = window;
    return apply_layer_types(c, window, arch);
}

static ucb_status read_gemma3(const struct ucb_config *c, struct ucb_arch *arch)
{
    uint32_t window, pattern;
    bool both_ways;
    const char *field = get(c->root, "sliding_window_pattern") != NULL
                            ? "sliding_window_pattern"
                            : "_sliding_window_pattern";
    UCB_TRY(read_gemma(c, arch));
    arch->qk_norm = UCB_QK_NORM_HEAD;
    UCB_TRY(get_flag(c, "use_bidirectional_attention", false, &both_ways));
    if (both_ways)
        return reject(c, "use_bidirectional_attention", "true",
                      "this program scores causal models");
    if (get(c->root, "attn_logit_softcapping") != NULL)
        return reject(c, "attn_logit_softcapping", "other than null",
                      "the reference implementation of gemma3 does not apply it");
    UCB_TRY(get_cap(c, "final_logit_softcapping", 0, &arch->final_softcap));
    UCB_TRY(get_window(c, 4096, &window));
    UCB_TRY(get_size(c, field, 6, &pattern));
    if (window == 0)
        return reject(c, "sliding_window", "null",
                      "layers with a window turn by another base than those without");
    for (uint32_t i = 0; i < arch->n_layers; i++)
        if ((i + 1) % pattern != 0) arch->layers[i].window = window;
    UCB_TRY(apply_layer_types(c, window, arch));
    for (uint32_t i = 0; i < arch->n_layers; i++)
        arch->layers[i].rope = arch->layers[i].window != 0;
    return UCB_OK;
}

static ucb_status read_gpt2(const struct ucb_config *c, struct ucb_arch *arch)
{
    bool scale, by_layer, cross;
    arch->norm = UCB_NORM_LAYER;
    arch->gated = false;
    arch->positions = UCB_POSITIONS_LEARNED;
    arch->rotary_dim = 0;
    UCB_TRY(read_eps(c, "layer_norm_epsilon", arch));
    UCB_TRY(get_activation(c, "activation_function", "gelu_new", &arch->activation));
    UCB_TRY(get_flag(c, "add_cross_attention", false, &cross));
    if (cross)
        return reject(c, "add_cross_attention", "true",
                      "there is no second text to attend to");
    UCB_TRY(get_flag(c, "scale_attn_weights", true, &scale));
    UCB_TRY(get_flag(c, "scale_attn_by_inverse_layer_idx", false, &by_layer));
    arch->attention_scale = scale ? (float)(1.0 / sqrt((double)arch->head_dim)) : 1.0f;
    for (uint32_t i = 0; by_layer && i < arch->n_layers; i++)
        arch->layers[i].score_scale = arch->attention_scale / (float)(i + 1);
    return UCB_OK;
}

static ucb_status read_neox(const struct ucb_config *c, struct ucb_arch *arch)
{
    arch->norm = UCB_NORM_LAYER;
    arch->gated = false;
    UCB_TRY(read_eps(c, "layer_norm_eps", arch));
    UCB_TRY(get_activation(c, "hidden_act", "gelu", &arch->activation));
    UCB_TRY(get_flag(c, "attention_bias", true, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return get_flag(c, "use_parallel_residual", true, &arch->parallel_residual);
}

static ucb_status read_mamba(const struct ucb_config *c, struct ucb_arch *arch)
{
    const json_t *rank = get(c->root, "time_step_rank");
    const char *text = json_string_value(rank);
    uint32_t automatic = (arch->hidden + 15) / 16;
    arch->mixer = UCB_MIXER_SSM;
    arch->positions = UCB_POSITIONS_NONE;
    UCB_TRY(read_eps(c, "layer_norm_epsilon", arch));
    UCB_TRY(get_activation(c, "hidden_act", "silu", &arch->activation));
    if (arch->activation != UCB_ACT_SILU)
        return reject(c, "hidden_act", "other than silu", "Mamba's gates are silu");
    UCB_TRY(get_size(c, "state_size", 16, &arch->ssm.state));
    if (arch->ssm.state > UCB_SCAN_STATE_MAX)
        return wrong(c, "state_size", get(c->root, "state_size"), "at most 1024");
    UCB_TRY(get_size(c, "conv_kernel", 4, &arch->ssm.kernel));
    arch->ssm.rank = automatic;
    if (text == NULL || strcmp(text, "auto") != 0)
        UCB_TRY(get_size(c, "time_step_rank", automatic, &arch->ssm.rank));
    UCB_TRY(get_flag(c, "use_bias", false, &arch->ssm_bias));
    return get_flag(c, "use_conv_bias", true, &arch->conv_bias);
}

ucb_status ucb_config_read_family(const struct ucb_config *c, struct ucb_arch *arch)
{
    static const struct {
        const char *model_type;
        ucb_status (*read)(const struct ucb_config *c, struct ucb_arch *arch);
    } readers[] = {
        {"llama", read_llama},         {"mistral", read_mistral},
        {"qwen2", read_qwen2},         {"qwen3", read_qwen3},
        {"phi3", read_phi3},           {"mixtral", read_mixtral},
        {"qwen3_moe", read_qwen3_moe}, {"olmoe", read_olmoe},
        {"phimoe", read_phimoe},       {"deepseek_v2", read_deepseek},
        {"gemma2", read_gemma2},       {"gemma3_text", read_gemma3},
        {"gpt2", read_gpt2},           {"gpt_neox", read_neox},
        {"mamba", read_mamba},
    };
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (is(c, readers[i].model_type)) return readers[i].read(c, arch);
    return UCB_FAIL(c->err, UCB_UNSUPPORTED, "%s: model_type %s has no reader", c->name,
                    c->family->model_type);
}
