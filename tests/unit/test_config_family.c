/* config.json of every family: defaults of absent fields, what each honours, and what is
 * refused (specification of the architectures, sections 2 to 8). Values by hand. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model_internal.h"

#define COMMON                                                             \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":4," \
    "\"num_attention_heads\":8,\"vocab_size\":100,\"max_position_embeddings\":1024"
#define KV ",\"num_key_value_heads\":2"

static struct ucb_arena arena;

/* What each family cannot do without. */
static const struct {
    const char *model_type, *needs;
} bases[] = {
    {"llama", COMMON},
    {"mistral", COMMON KV},
    {"qwen2", COMMON KV},
    {"qwen3", COMMON KV},
    {"phi3", COMMON},
    {"mixtral", COMMON KV ",\"num_local_experts\":4,\"num_experts_per_tok\":2"},
    {"qwen3_moe",
     COMMON KV ",\"num_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_size\":24"},
    {"olmoe", COMMON ",\"num_experts\":4,\"num_experts_per_tok\":2"},
    {"phimoe", COMMON KV ",\"num_local_experts\":4,\"num_experts_per_tok\":2"},
    {"deepseek_v2",
     COMMON ",\"kv_lora_rank\":24,\"qk_nope_head_dim\":6,\"qk_rope_head_dim\":4,"
            "\"v_head_dim\":12,\"n_routed_experts\":8,\"num_experts_per_tok\":2,"
            "\"moe_intermediate_size\":24"},
    {"gemma2", COMMON KV},
    {"gemma3_text", COMMON KV},
    {"gpt2",
     "\"n_embd\":64,\"n_layer\":4,\"n_head\":8,\"n_positions\":32,\"vocab_size\":100"},
    {"gpt_neox", COMMON},
    {"mamba", "\"hidden_size\":40,\"num_hidden_layers\":4,\"vocab_size\":100"},
};
enum { N_FAMILIES = sizeof(bases) / sizeof(bases[0]) };

/* `more`: fields after those, each with a comma before it. */
static ucb_status parse(const char *model_type, const char *more, struct ucb_arch *arch,
                        struct ucb_err *err)
{
    static char text[4096];
    for (int i = 0; i < N_FAMILIES; i++) {
        if (strcmp(bases[i].model_type, model_type) != 0) continue;
        int n = snprintf(text, sizeof(text), "{\"model_type\":\"%s\",%s%s}", model_type,
                         bases[i].needs, more);
        CHECK(n > 0 && (size_t)n < sizeof(text));
        return ucb_config_parse("config.json", text, (size_t)n, &arena, arch, err);
    }
    ucb_test_fail(__FILE__, __LINE__, "no base for %s", model_type);
}

static struct ucb_arch read(const char *model_type, const char *more)
{
    struct ucb_arch arch = {0};
    struct ucb_err err;
    CHECK_OK(parse(model_type, more, &arch, &err), err);
    return arch;
}

static void refused(const char *model_type, const char *more, ucb_status status,
                    const char *part)
{
    struct ucb_arch arch;
    struct ucb_err err = {0};
    CHECK_STATUS(parse(model_type, more, &arch, &err), status, err);
    CHECK_HAS(err.text, part);
    CHECK_HAS(err.text, "config.json");
}

/* "w-w-": which layers have a window. */
static const char *windows(const struct ucb_arch *a, uint32_t window)
{
    static char text[64];
    for (uint32_t i = 0; i < a->n_layers; i++) {
        CHECK(a->layers[i].window == 0 || a->layers[i].window == window);
        text[i] = a->layers[i].window == 0 ? '-' : 'w';
    }
    text[a->n_layers] = '\0';
    return text;
}

/* "dxxd": dense layers and layers of experts. */
static const char *kinds(const struct ucb_arch *a)
{
    static char text[64];
    for (uint32_t i = 0; i < a->n_layers; i++) text[i] = a->layers[i].ffn ? 'd' : 'x';
    text[a->n_layers] = '\0';
    return text;
}

TEST(absent_fields_have_the_defaults_of_their_family)
{
    static const struct {
        const char *model_type;
        uint32_t kv, head_dim, rotary;
        double theta;
        float eps;
        enum ucb_activation activation;
        bool tied, qkv_bias, o_bias;
    } expected[] = {
        {"llama", 8, 8, 8, 1e4, 1e-6f, UCB_ACT_SILU, false, false, false},
        {"mistral", 2, 8, 8, 1e4, 1e-6f, UCB_ACT_SILU, false, false, false},
        {"qwen2", 2, 8, 8, 1e4, 1e-6f, UCB_ACT_SILU, false, true, false},
        {"qwen3", 2, 128, 128, 1e4, 1e-6f, UCB_ACT_SILU, false, false, false},
        {"phi3", 8, 8, 8, 1e4, 1e-5f, UCB_ACT_SILU, false, false, false},
        {"mixtral", 2, 8, 8, 1e6, 1e-5f, UCB_ACT_SILU, false, false, false},
        {"qwen3_moe", 2, 8, 8, 1e4, 1e-6f, UCB_ACT_SILU, false, false, false},
        {"olmoe", 8, 8, 8, 1e4, 1e-5f, UCB_ACT_SILU, false, false, false},
        {"phimoe", 2, 8, 8, 1e6, 1e-5f, UCB_ACT_SILU, false, false, false},
        {"deepseek_v2", 8, 10, 4, 1e4, 1e-6f, UCB_ACT_SILU, false, false, false},
        {"gemma2", 2, 256, 256, 1e4, 1e-6f, UCB_ACT_GELU_TANH, true, false, false},
        {"gemma3_text", 2, 256, 256, 1e6, 1e-6f, UCB_ACT_GELU_TANH, true, false, false},
        {"gpt2", 8, 8, 0, 0, 1e-5f, UCB_ACT_GELU_TANH, true, false, false},
        {"gpt_neox", 8, 8, 2, 1e4, 1e-5f, UCB_ACT_GELU, false, true, true},
        {"mamba", 0, 0, 0, 0, 1e-5f, UCB_ACT_SILU, true, false, false},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct ucb_arch a = read(expected[i].model_type, "");
        CHECK_TEXT(a.model_type, expected[i].model_type);
        CHECK_EQ(a.n_kv_heads, expected[i].kv);
        CHECK_EQ(a.head_dim, expected[i].head_dim);
        CHECK_EQ(a.rotary_dim, expected[i].rotary);
        CHECK(a.rope_theta == expected[i].theta && a.norm_eps == expected[i].eps);
        CHECK_EQ(a.activation, expected[i].activation);
        CHECK_EQ(a.tied_head, expected[i].tied);
        CHECK_EQ(a.qkv_bias, expected[i].qkv_bias);
        CHECK_EQ(a.o_bias, expected[i].o_bias);
    }
}

TEST(key_value_heads_must_be_given_where_released_files_give_them)
{
    static const char *const needed[] = {"mistral",   "qwen2",  "qwen3",  "mixtral",
                                         "qwen3_moe", "phimoe", "gemma2", "gemma3_text"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        CHECK(ucb_family_find(needed[i])->kv_heads_required);
    struct ucb_arch arch;
    struct ucb_err err = {0};
    static const char text[] = "{\"model_type\":\"mistral\"," COMMON "}";
    CHECK_STATUS(
        ucb_config_parse("config.json", text, sizeof(text) - 1, &arena, &arch, &err),
        UCB_CORRUPT, err);
    CHECK_HAS(err.text, "num_key_value_heads is missing");
}

/* Both spellings of the same facts. */
TEST(rope_reads_the_same_in_both_spellings)
{
    static const struct {
        const char *model_type, *old, *new;
    } pairs[] = {
        {"llama",
         ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
         "\"original_max_position_embeddings\":64}",
         ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,\"rope_theta\":5e5,"
         "\"original_max_position_embeddings\":64}"},
        {"gpt_neox", ",\"rotary_pct\":0.5,\"rotary_emb_base\":500",
         ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500,"
         "\"partial_rotary_factor\":0.5}"},
        {"phi3", ",\"partial_rotary_factor\":0.5",
         ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}"},
        {"gemma3_text",
         ",\"rope_theta\":2e5,\"rope_local_base_freq\":300,"
         "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}",
         ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8,"
         "\"rope_theta\":2e5},\"sliding_attention\":{\"rope_type\":\"default\","
         "\"rope_theta\":300}}"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct ucb_arch a = read(pairs[i].model_type, pairs[i].old),
                        b = read(pairs[i].model_type, pairs[i].new);
        size_t n_bytes = a.rotary_dim / 2 * sizeof(float);
        CHECK(a.rotary_dim == b.rotary_dim && a.rope_theta == b.rope_theta);
        for (int set = 0; set < UCB_MAX_ROPE_SETS; set++) {
            CHECK(a.rope[set].magnitude == b.rope[set].magnitude);
            if (a.rope[set].inv_freq == NULL) continue;
            CHECK(memcmp(a.rope[set].inv_freq, b.rope[set].inv_freq, n_bytes) == 0);
        }
    }
    struct ucb_arch a = read(pairs[3].model_type, pairs[3].old);
    CHECK(a.rope[0].inv_freq[0] == 0.125f && a.rope[1].inv_freq[0] == 1.0f);
}

TEST(fields_of_other_families_are_unknown_names)
{
    struct ucb_arch a = read(
        "llama", ",\"rotary_pct\":0.5,\"rotary_emb_base\":7,\"sliding_window\":3,"
                 "\"use_parallel_residual\":true,\"clip_qkv\":1,"
                 "\"query_pre_attn_scalar\":9,\"num_experts\":4");
    CHECK(a.rotary_dim == 8 && a.rope_theta == 1e4 && a.clip_qkv == 0);
    CHECK(!a.parallel_residual && a.experts.n == 0);
    CHECK_TEXT(windows(&a, 3), "----");
}

/* r = 8, theta 1e4: dim(n) = 8 ln(64 / (2 pi n)) / (2 ln 1e4), dim(32) = -0.497 so 0;
 * dim(1) = 1.0079, rounded up 2. ramp = 0, 1/2, 1, 1. */
TEST(yarn_blends_between_dimensions_and_sharpens)
{
    static const char scaling[] = ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
                                  "\"original_max_position_embeddings\":64%s}";
    struct ucb_arch a = read("llama", ucb_test_path(scaling, ""));
    const double expected[] = {1, 0.1 * 0.625, 0.01 * 0.25, 0.001 * 0.25};
    for (int i = 0; i < 4; i++) CHECK_NEAR(a.rope[0].inv_freq[i] / expected[i], 1, 1e-7);
    CHECK_NEAR(a.rope[0].magnitude, 0.1 * log(4.0) + 1, 1e-7);
    a = read("llama", ucb_test_path(scaling, ",\"attention_factor\":1.5"));
    CHECK(a.rope[0].magnitude == 1.5f);
    a = read("llama", ucb_test_path(scaling, ",\"mscale\":2,\"mscale_all_dim\":0.5"));
    CHECK_NEAR(a.rope[0].magnitude, (0.2 * log(4.0) + 1) / (0.05 * log(4.0) + 1), 1e-7);
    a = read("llama", ucb_test_path(scaling, ",\"mscale\":2,\"mscale_all_dim\":0"));
    CHECK_NEAR(a.rope[0].magnitude, 0.1 * log(4.0) + 1, 1e-7);
    a = read("llama", ucb_test_path(scaling, ",\"truncate\":false"));
    double high = 8 * log(64 / (2 * 3.14159265358979323846)) / (2 * log(1e4)),
           ramp = 1 / high;
    CHECK_NEAR(a.rope[0].inv_freq[1] / (0.1 * (1 - ramp + ramp / 4)), 1, 1e-6);
}

TEST(longrope_has_two_sets_and_a_magnitude_by_how_far_positions_reach)
{
    static const char factors[] =
        ",\"original_max_position_embeddings\":256,\"rope_scaling\":{\"type\":\"%s\","
        "\"short_factor\":[1,2,4,8],\"long_factor\":[2,4,8,16]%s}";
    struct ucb_arch a = read("phi3", ucb_test_path(factors, "su", ""));
    CHECK(a.rope[0].inv_freq[1] == 0.05f && a.rope[0].long_inv_freq[1] == 0.025f);
    CHECK_EQ(a.rope[0].original, 256);
    CHECK_NEAR(a.rope[0].magnitude, sqrt(1 + log(4.0) / log(256.0)), 1e-7);
    CHECK(a.rope[0].long_magnitude == a.rope[0].magnitude);
    a = read("phi3", ucb_test_path(factors, "longrope",
                                   ",\"attention_factor\":1.25,\"short_mscale\":3"));
    CHECK(a.rope[0].magnitude == 1.25f && a.rope[0].long_magnitude == 1.25f);
    a = read("phimoe", ucb_test_path(factors, "longrope",
                                     ",\"short_mscale\":1.5,\"long_mscale\":1.75"));
    CHECK(a.rope[0].magnitude == 1.5f && a.rope[0].long_magnitude == 1.75f);
    a = read("phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1],"
                     "\"long_factor\":[1,1,1,1]}");
    CHECK(a.rope[0].original == 4096 && a.rope[0].magnitude == 1.0f);
    refused("phi3",
            ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1],"
            "\"long_factor\":[1,1,1,1]}",
            UCB_CORRUPT, "short_factor is [1,1,1], expected a list of 4 numbers above 0");
}

TEST(each_family_has_its_rule_for_windows)
{
    static const struct {
        const char *model_type, *more;
        uint32_t window;
        const char *layers;
    } cases[] = {
        {"mistral", "", 4096, "wwww"},
        {"mistral", ",\"sliding_window\":null", 0, "----"},
        {"mistral", ",\"sliding_window\":9", 9, "wwww"},
        {"mixtral", "", 0, "----"},
        {"mixtral", ",\"sliding_window\":9", 9, "wwww"},
        {"phi3", "", 0, "----"},
        {"phi3", ",\"sliding_window\":9", 9, "wwww"},
        {"phimoe", ",\"sliding_window\":9", 9, "wwww"},
        {"qwen2", ",\"sliding_window\":9", 0, "----"},
        {"qwen2", ",\"sliding_window\":9,\"use_sliding_window\":true", 0, "----"},
        {"qwen2",
         ",\"sliding_window\":9,\"use_sliding_window\":true,\"max_window_layers\":1", 9,
         "-www"},
        {"qwen3", ",\"use_sliding_window\":true,\"max_window_layers\":3", 4096, "---w"},
        {"qwen3", ",\"use_sliding_window\":true,\"max_window_layers\":0", 4096, "wwww"},
        {"qwen3",
         ",\"sliding_window\":9,\"use_sliding_window\":true,\"max_window_layers\":1,"
         "\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\","
         "\"sliding_attention\"]",
         9, "w--w"},
        {"qwen2",
         ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
         "\"full_attention\"]",
         0, "----"},
        {"qwen3_moe", ",\"sliding_window\":9", 0, "----"},
        {"qwen3_moe", ",\"sliding_window\":9,\"use_sliding_window\":true", 9, "wwww"},
        {"gemma2", "", 4096, "w-w-"},
        {"gemma2", ",\"sliding_window\":9", 9, "w-w-"},
        {"gemma2",
         ",\"sliding_window\":9,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"sliding_attention\",\"full_attention\"]",
         9, "--w-"},
        {"gemma3_text", ",\"sliding_window\":9", 9, "wwww"},
        {"gemma3_text", ",\"sliding_window\":9,\"sliding_window_pattern\":2", 9, "w-w-"},
        {"gemma3_text", ",\"sliding_window\":9,\"_sliding_window_pattern\":3", 9, "ww-w"},
        {"olmoe", ",\"sliding_window\":9", 0, "----"},
        {"deepseek_v2", ",\"sliding_window\":9", 0, "----"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_arch a = read(cases[i].model_type, cases[i].more);
        CHECK_TEXT(windows(&a, cases[i].window), cases[i].layers);
        bool gemma3 = strcmp(cases[i].model_type, "gemma3_text") == 0;
        for (uint32_t layer = 0; layer < 4; layer++)
            CHECK_EQ(a.layers[layer].rope, gemma3 && a.layers[layer].window != 0);
    }
}

TEST(experts_stand_where_the_family_says)
{
    static const struct {
        const char *model_type, *more, *layers;
    } cases[] = {
        {"mixtral", "", "xxxx"},
        {"olmoe", "", "xxxx"},
        {"phimoe", "", "xxxx"},
        {"qwen3_moe", "", "xxxx"},
        {"qwen3_moe", ",\"decoder_sparse_step\":2", "dxdx"},
        {"qwen3_moe", ",\"mlp_only_layers\":[0,3,9]", "dxxd"},
        {"qwen3_moe", ",\"decoder_sparse_step\":2,\"mlp_only_layers\":[1]", "dddx"},
        {"deepseek_v2", "", "xxxx"},
        {"deepseek_v2", ",\"first_k_dense_replace\":1", "dxxx"},
        {"deepseek_v2", ",\"first_k_dense_replace\":9", "dddd"},
        {"llama", "", "dddd"},
        {"mamba", "", "xxxx"}, /* no MLP at all */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_arch a = read(cases[i].model_type, cases[i].more);
        CHECK_TEXT(kinds(&a), cases[i].layers);
    }
    struct ucb_arch a = read("qwen3_moe", ",\"decoder_sparse_step\":2");
    CHECK(a.layers[0].ffn == 96 && a.experts.width == 24 && !a.experts.normalise);
}

TEST(routers_are_read_with_their_switches)
{
    struct ucb_arch a = read("mixtral", "");
    CHECK(a.experts.n == 4 && a.experts.used == 2 && a.experts.width == 96);
    CHECK(a.experts.normalise && a.experts.routing == UCB_ROUTING_SOFTMAX);
    CHECK(read("qwen3_moe", ",\"norm_topk_prob\":true").experts.normalise);
    CHECK(!read("olmoe", "").experts.normalise);
    CHECK(read("olmoe", ",\"norm_topk_prob\":true").experts.normalise);
    a = read("phimoe", "");
    CHECK(a.experts.routing == UCB_ROUTING_SPARSEMIXER && a.experts.jitter == 0.01f);
    CHECK(read("phimoe", ",\"router_jitter_noise\":0").experts.jitter == 0);
    CHECK(a.norm == UCB_NORM_LAYER && !a.head_bias);
    CHECK(read("phimoe", ",\"lm_head_bias\":true,\"attention_bias\":true").head_bias);
    a = read("deepseek_v2",
             ",\"routed_scaling_factor\":2.5,\"n_shared_experts\":2,\"q_lora_rank\":20,"
             "\"topk_method\":\"group_limited_greedy\",\"n_group\":4,\"topk_group\":2");
    CHECK(a.experts.scale == 2.5f && a.experts.shared_width == 48);
    CHECK(a.experts.n_groups == 4 && a.experts.groups_used == 2 && a.latent.q_rank == 20);
    CHECK_EQ(read("deepseek_v2", ",\"n_shared_experts\":0").experts.shared_width, 0);
}

/* 1 / sqrt(10) of 6 + 4, times (0.1 * 0.7 ln 40 + 1)^2. */
TEST(latent_attention_sharpens_by_the_second_magnitude)
{
    struct ucb_arch a = read("deepseek_v2", ",\"head_dim\":64,\"num_key_value_heads\":2");
    CHECK(a.mixer == UCB_MIXER_LATENT && a.positions == UCB_POSITIONS_PAIRS);
    CHECK(a.head_dim == 10 && a.n_kv_heads == 8);
    CHECK_NEAR(a.attention_scale, 1 / sqrt(10.0), 1e-7);
    a = read("deepseek_v2",
             ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"mscale\":0.7,"
             "\"mscale_all_dim\":0.7,\"original_max_position_embeddings\":64}");
    double g = 0.07 * log(40.0) + 1;
    CHECK_NEAR(a.attention_scale, g * g / sqrt(10.0), 1e-7);
    CHECK(a.rope[0].magnitude == 1.0f);
}

TEST(gemma_scales_and_caps)
{
    struct ucb_arch a = read("gemma2", "");
    CHECK(a.embed_scale == 8.0f && a.norm_plus_one && a.attention_scale == 0.0625f);
    CHECK(a.attention_softcap == 50.0f && a.final_softcap == 30.0f);
    a = read("gemma2", ",\"attn_logit_softcapping\":null,\"final_logit_softcapping\":null,"
                       "\"query_pre_attn_scalar\":16,\"head_dim\":20");
    CHECK(a.attention_softcap == 0 && a.final_softcap == 0 && a.attention_scale == 0.25f);
    a = read("gemma2", ",\"attn_logit_softcapping\":7.5,\"hidden_act\":\"relu2\"");
    CHECK(a.attention_softcap == 7.5f && a.activation == UCB_ACT_GELU_TANH);
    a = read("gemma3_text",
             ",\"final_logit_softcapping\":12,\"hidden_activation\":\"gelu\"");
    CHECK(a.attention_softcap == 0 && a.final_softcap == 12.0f);
    CHECK(a.activation == UCB_ACT_GELU && a.qk_norm == UCB_QK_NORM_HEAD);
    CHECK(read("gemma3_text", "").final_softcap == 0);
}

TEST(gpt2_scales_scores_by_its_switches)
{
    struct ucb_arch a = read("gpt2", "");
    CHECK(a.positions == UCB_POSITIONS_LEARNED && a.max_positions == 32 && a.ffn == 256);
    CHECK(!a.gated && a.norm == UCB_NORM_LAYER && a.layers[3].score_scale == 0);
    CHECK_EQ(read("gpt2", ",\"n_inner\":null").ffn, 256);
    CHECK_EQ(read("gpt2", ",\"n_inner\":100").ffn, 100);
    CHECK(read("gpt2", ",\"scale_attn_weights\":false").attention_scale == 1.0f);
    a = read("gpt2", ",\"scale_attn_by_inverse_layer_idx\":true");
    for (uint32_t i = 0; i < 4; i++)
        CHECK_NEAR(a.layers[i].score_scale, 1 / sqrt(8.0) / (i + 1), 1e-7);
}

TEST(neox_reads_its_switches)
{
    struct ucb_arch a = read("gpt_neox", "");
    CHECK(a.parallel_residual && a.qkv_bias && a.positions == UCB_POSITIONS_HALVES);
    a = read("gpt_neox", ",\"use_parallel_residual\":false,\"attention_bias\":false,"
                         "\"hidden_act\":\"gelu_new\",\"layer_norm_eps\":0.001");
    CHECK(!a.parallel_residual && !a.qkv_bias && !a.o_bias);
    CHECK(a.activation == UCB_ACT_GELU_TANH && a.norm_eps == 0.001f);
}

TEST(mamba_reads_its_sizes)
{
    struct ucb_arch a = read("mamba", "");
    CHECK(a.mixer == UCB_MIXER_SSM && a.positions == UCB_POSITIONS_NONE);
    CHECK(a.ssm.width == 80 && a.ssm.state == 16 && a.ssm.kernel == 4 && a.ssm.rank == 3);
    CHECK(!a.ssm_bias && a.conv_bias);
    a = read("mamba", ",\"expand\":1.5,\"time_step_rank\":\"auto\",\"use_bias\":true,"
                      "\"use_conv_bias\":false,\"state_size\":8,\"conv_kernel\":3");
    CHECK(a.ssm.width == 60 && a.ssm.rank == 3 && a.ssm.state == 8 && a.ssm.kernel == 3);
    CHECK(a.ssm_bias && !a.conv_bias);
    a = read("mamba", ",\"intermediate_size\":70,\"time_step_rank\":5");
    CHECK(a.ssm.width == 70 && a.ssm.rank == 5);
}

TEST(biases_follow_the_families_switches)
{
    struct ucb_arch a = read("llama", ",\"attention_bias\":true,\"mlp_bias\":true");
    CHECK(a.qkv_bias && a.o_bias && a.mlp_bias);
    a = read("qwen3", ",\"attention_bias\":true");
    CHECK(a.qkv_bias && a.o_bias);
    a = read("qwen2", ",\"attention_bias\":false");
    CHECK(a.qkv_bias && !a.o_bias);
    a = read("mistral", ",\"attention_bias\":true");
    CHECK(!a.qkv_bias && !a.o_bias);
    CHECK(read("olmoe", ",\"clip_qkv\":2.5").clip_qkv == 2.5f);
    CHECK(read("olmoe", ",\"clip_qkv\":null").clip_qkv == 0);
}

TEST(activations_are_found_by_name)
{
    CHECK_EQ(read("llama", ",\"hidden_act\":\"swish\"").activation, UCB_ACT_SILU);
    CHECK_EQ(read("llama", ",\"hidden_act\":\"gelu\"").activation, UCB_ACT_GELU);
    CHECK_EQ(read("gpt2", ",\"activation_function\":\"gelu\"").activation, UCB_ACT_GELU);
    CHECK_EQ(read("gpt_neox", ",\"hidden_act\":\"gelu_fast\"").activation,
             UCB_ACT_GELU_TANH);
    CHECK_EQ(read("gpt2", ",\"activation_function\":\"gelu_pytorch_tanh\"").activation,
             UCB_ACT_GELU_TANH);
}

TEST(what_a_family_cannot_honour_is_refused_by_name)
{
    static const struct {
        const char *model_type, *more;
        ucb_status status;
        const char *part;
    } cases[] = {
        {"llama", ",\"hidden_act\":\"quick_gelu\"", UCB_UNSUPPORTED, "quick_gelu"},
        {"llama", ",\"num_key_value_heads\":3", UCB_CORRUPT, "expected a multiple"},
        {"llama", ",\"head_dim\":9", UCB_CORRUPT, "is 9, expected an even number"},
        {"phi3", ",\"partial_rotary_factor\":0.4", UCB_CORRUPT, "is 3, expected an even"},
        {"llama", ",\"rope_scaling\":{\"rope_type\":\"proportional\"}", UCB_UNSUPPORTED,
         "proportional is not supported"},
        {"qwen2", ",\"layer_types\":[\"full_attention\"]", UCB_CORRUPT,
         "expected a list of 4 names"},
        {"qwen2",
         ",\"sliding_window\":9,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"full_attention\",\"sliding_attention\"]",
         UCB_UNSUPPORTED, "use_sliding_window is not true"},
        {"gemma2",
         ",\"layer_types\":[\"full_attention\",\"chunked_attention\",\"full_attention\","
         "\"full_attention\"]",
         UCB_UNSUPPORTED, "layer_types[1] is chunked_attention"},
        {"qwen3", ",\"max_window_layers\":-1", UCB_CORRUPT, "max_window_layers is -1"},
        {"mistral", ",\"sliding_window\":0", UCB_CORRUPT, "sliding_window is 0"},
        {"qwen3_moe", ",\"mlp_only_layers\":[1.5]", UCB_CORRUPT, "mlp_only_layers"},
        {"qwen3_moe", ",\"mlp_only_layers\":3", UCB_CORRUPT, "mlp_only_layers"},
        {"phimoe", ",\"router_jitter_noise\":-1", UCB_CORRUPT, "router_jitter_noise"},
        {"deepseek_v2", ",\"norm_topk_prob\":true", UCB_UNSUPPORTED, "norm_topk_prob"},
        {"deepseek_v2", ",\"moe_layer_freq\":2", UCB_UNSUPPORTED, "moe_layer_freq"},
        {"deepseek_v2", ",\"scoring_func\":\"sigmoid\"", UCB_UNSUPPORTED, "scoring_func"},
        {"deepseek_v2", ",\"topk_method\":\"noaux_tc\"", UCB_UNSUPPORTED, "noaux_tc"},
        {"deepseek_v2", ",\"mlp_bias\":true", UCB_UNSUPPORTED, "mlp_bias"},
        {"deepseek_v2",
         ",\"topk_method\":\"group_limited_greedy\",\"n_group\":3,\"topk_group\":1",
         UCB_CORRUPT, "n_group"},
        {"gemma3_text", ",\"attn_logit_softcapping\":50", UCB_UNSUPPORTED,
         "attn_logit_softcapping"},
        {"gemma3_text", ",\"use_bidirectional_attention\":true", UCB_UNSUPPORTED,
         "use_bidirectional_attention"},
        {"gemma3_text", ",\"sliding_window\":null", UCB_UNSUPPORTED, "sliding_window"},
        {"gpt2", ",\"add_cross_attention\":true", UCB_UNSUPPORTED, "add_cross_attention"},
        {"mamba", ",\"hidden_act\":\"gelu\"", UCB_UNSUPPORTED, "hidden_act"},
        {"mamba", ",\"state_size\":1025", UCB_CORRUPT, "state_size is 1025"},
        {"mamba", ",\"expand\":1e300", UCB_CORRUPT, "expand"},
        {"mamba", ",\"intermediate_size\":2147483647", UCB_UNSUPPORTED, "both halves"},
        {"mamba", ",\"time_step_rank\":2147483647", UCB_UNSUPPORTED, "rank and states"},
        {"phi3",
         ",\"original_max_position_embeddings\":1,\"rope_scaling\":{\"type\":\"su\","
         "\"short_factor\":[1,1,1,1],\"long_factor\":[1,1,1,1]}",
         UCB_CORRUPT, "not finite with 1 original positions"},
        {"llama", ",\"quantization_config\":{\"quant_method\":\"awq\"}", UCB_UNSUPPORTED,
         "quant_method awq"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(cases[i].model_type, cases[i].more, cases[i].status, cases[i].part);
}

/* Fields that the bases have already: whole texts. */
TEST(hostile_sizes_and_other_models_are_refused_before_memory_is_spent)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"model_type\":\"gemma3\",\"text_config\":{}}",
         "model_type gemma3 is not supported: it holds a vision part"},
        {"{\"model_type\":\"mamba2\"}",
         "model_type mamba2 is not supported; supported: llama"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":2147483647,"
         "\"num_hidden_layers\":1,\"num_attention_heads\":8,\"vocab_size\":9}",
         "gate and up: 4294967294 in all"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":64,"
         "\"num_hidden_layers\":1,\"num_attention_heads\":2147483647,\"head_dim\":65536,"
         "\"vocab_size\":9}",
         "heads times head size"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":64,"
         "\"num_hidden_layers\":2147483647,\"num_attention_heads\":8,\"vocab_size\":9}",
         "2147483647 layers, expected at most 65536"},
        {"{\"model_type\":\"gpt2\",\"n_embd\":1048576,\"n_layer\":1,\"n_head\":1024,"
         "\"n_positions\":1048576,\"vocab_size\":9}",
         "learned positions times the hidden size"},
        {"{\"model_type\":\"phimoe\"," COMMON KV
         ",\"num_local_experts\":4,\"num_experts_per_tok\":3}",
         "its router always takes two"},
        {"{\"model_type\":\"olmoe\"," COMMON
         ",\"num_experts\":4,\"num_experts_per_tok\":5}",
         "num_experts_per_tok is 5, expected at most the number of experts"},
        {"{\"model_type\":\"olmoe\"," COMMON
         ",\"num_experts\":1025,\"num_experts_per_tok\":5}",
         "num_experts is 1025, expected at most 1024 experts"},
        {"{\"model_type\":\"deepseek_v2\"," COMMON
         ",\"kv_lora_rank\":24,\"qk_nope_head_dim\":65537,\"qk_rope_head_dim\":4,"
         "\"v_head_dim\":12,\"n_routed_experts\":8,\"num_experts_per_tok\":2,"
         "\"moe_intermediate_size\":24}",
         "expected at most 65536 each"},
        {"{\"model_type\":\"deepseek_v2\"," COMMON
         ",\"kv_lora_rank\":2147483647,\"qk_nope_head_dim\":6,\"qk_rope_head_dim\":4,"
         "\"v_head_dim\":12,\"n_routed_experts\":8,\"num_experts_per_tok\":2,"
         "\"moe_intermediate_size\":24}",
         "the latent and the rotary key"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_arch arch;
        struct ucb_err err = {0};
        ucb_status status = ucb_config_parse("config.json", cases[i].text,
                                             strlen(cases[i].text), &arena, &arch, &err);
        CHECK(status == UCB_UNSUPPORTED || status == UCB_CORRUPT);
        CHECK_HAS(err.text, cases[i].part);
    }
}
