/* config.json: what is honoured, what is refused, and how it is said. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "model/model_internal.h"

#define SIZES                                                                                       \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2," \
    "\"num_attention_heads\":8,\"vocab_size\":100"

static struct ucb_arena arena;

static ucb_status parse(const char *text, struct ucb_arch *arch, struct ucb_err *err)
{
    return ucb_config_parse("config.json", text, strlen(text), &arena, arch, err);
}

/* The sizes plus some fields. */
static struct ucb_arch parsed(const char *more)
{
    struct ucb_arch arch = {0};
    struct ucb_err err;
    CHECK_OK(parse(ucb_test_path("{" SIZES "%s}", more), &arch, &err), err);
    return arch;
}

TEST(absent_fields_have_the_defaults_of_llama)
{
    struct ucb_arch a = parsed("");
    CHECK_TEXT(a.model_type, "llama");
    CHECK_EQ(a.n_kv_heads, 8);
    CHECK_EQ(a.head_dim, 8);
    CHECK_EQ(a.rotary_dim, 8);
    CHECK_EQ(a.max_positions, 0);
    CHECK(a.norm_eps == 1e-6f && a.rope_theta == 10000.0 && a.rope[0].magnitude == 1.0f);
    CHECK(!a.qkv_bias && !a.mlp_bias && !a.tied_head);
    CHECK_NEAR(a.attention_scale, 0.35355339059, 1e-8); /* 1/sqrt(8), to fp32 */
}

TEST(null_means_absent)
{
    struct ucb_arch a = parsed(
        ",\"num_key_value_heads\":null,\"head_dim\":null,\"rope_scaling\":null,\"rope_theta\":null,"
        "\"quantization_config\":null,\"tie_word_embeddings\":null");
    CHECK_EQ(a.n_kv_heads, 8);
    CHECK(a.rope_theta == 10000.0);
}

TEST(a_free_head_size_need_not_divide_the_hidden_size)
{
    struct ucb_arch a = parsed(
        ",\"head_dim\":20,\"num_key_value_heads\":2,\"attention_bias\":true,\"mlp_bias\":true,"
        "\"tie_word_embeddings\":true");
    CHECK_EQ(a.head_dim, 20);
    CHECK_EQ(ucb_extent_size(&a, UCB_EXTENT_Q), 160);
    CHECK_EQ(ucb_extent_size(&a, UCB_EXTENT_KV), 40);
    CHECK(a.qkv_bias && a.mlp_bias && a.tied_head);
}

TEST(frequencies_are_powers_of_the_base)
{
    struct ucb_arch a = parsed(",\"rope_theta\":10000");
    const float expected[] = {1.0f, 0.1f, 0.01f, 0.001f};
    for (int i = 0; i < 4; i++) CHECK(a.rope[0].inv_freq[i] == expected[i]);
}

TEST(linear_scaling_divides_in_both_spellings)
{
    static const char *const spellings[] = {
        ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}",
        ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}",
        ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4.0,\"rope_theta\":10000.0}",
    };
    for (size_t i = 0; i < 3; i++) {
        struct ucb_arch a = parsed(spellings[i]);
        CHECK(a.rope[0].inv_freq[0] == 0.25f && a.rope[0].inv_freq[1] == 0.025f);
    }
}

TEST(the_base_in_rope_parameters_wins)
{
    struct ucb_arch a = parsed(
        ",\"rope_theta\":10000,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":16}");
    CHECK(a.rope_theta == 16.0 && a.rope[0].inv_freq[1] == 0.5f &&
          a.rope[0].inv_freq[2] == 0.25f);
}

TEST(llama3_scaling_keeps_high_divides_low_and_blends_between)
{ /* theta 1e4, 4 frequencies 1, .1, .01, .001: wavelengths 6.28, 62.8, 628, 6283. L0 1000,
   * high 100, low 1: below 10 keep; above 1000 divide by 8; between s = (1000/w - 1) / 99.
   */
    struct ucb_arch a = parsed(
        ",\"max_position_embeddings\":5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
        "\"low_freq_factor\":1,\"high_freq_factor\":100,\"original_max_position_embeddings\":1000}");
    const double tau = 6.283185307179586;
    double s1 = (1000 / (tau / 0.1) - 1) / 99, s2 = (1000 / (tau / 0.01) - 1) / 99;
    CHECK(a.rope[0].inv_freq[0] == 1.0f && a.rope[0].inv_freq[3] == 0.000125f);
    CHECK_NEAR(a.rope[0].inv_freq[1], (1 - s1) * 0.1 / 8 + s1 * 0.1,
               1e-9); /* half an fp32 step at 0.02 */
    CHECK_NEAR(a.rope[0].inv_freq[2], (1 - s2) * 0.01 / 8 + s2 * 0.01,
               1e-10); /* the same at 0.001 */
}

TEST(the_original_length_at_top_level_comes_first)
{
    static const char scaling[] =
        "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
        "\"high_freq_factor\":100%s}";
    char with[256], without[256], text[512];
    snprintf(with, sizeof(with), scaling, ",\"original_max_position_embeddings\":5");
    snprintf(without, sizeof(without), scaling, "");
    snprintf(text, sizeof(text),
             ",\"original_max_position_embeddings\":1000,\"max_position_embeddings\":7,%s",
             with);
    struct ucb_arch top = parsed(text);
    snprintf(text, sizeof(text), ",\"max_position_embeddings\":1000,%s", without);
    struct ucb_arch last = parsed(text);
    CHECK(memcmp(top.rope[0].inv_freq, last.rope[0].inv_freq, 16) == 0);
    CHECK(top.rope[0].inv_freq[3] == 0.000125f && top.rope[0].inv_freq[0] == 1.0f);
}

TEST(a_partial_rotary_factor_shortens_the_rotary_size)
{
    struct ucb_arch a = parsed(",\"partial_rotary_factor\":0.5");
    CHECK_EQ(a.rotary_dim, 4);
    CHECK(a.rope[0].inv_freq[1] ==
          0.01f); /* theta^(-2/4): by the rotary size, not the head size */
}

TEST(what_cannot_be_honoured_is_refused_by_name)
{
    static const struct {
        const char *text;
        ucb_status status;
        const char *part;
    } cases[] = {
        {"{" SIZES ",}", UCB_CORRUPT, "line 1, column"},
        {"{" SIZES, UCB_CORRUPT, "line 1, column"},
        {"", UCB_CORRUPT, "not valid JSON"},
        {"[]", UCB_CORRUPT, "expected a JSON object"},
        {"{" SIZES ",\"vocab_size\":3}", UCB_CORRUPT, "vocab_size"}, /* given twice */
        {"{}", UCB_CORRUPT, "llama"},
        {"{\"model_type\":\"zebra\"}", UCB_UNSUPPORTED,
         "model_type zebra is not supported; supported: llama"},
        {"{\"model_type\":7}", UCB_CORRUPT, "model_type is 7"},
        {"{\"model_type\":\"llama\"}", UCB_CORRUPT, "hidden_size is missing"},
        {"{" SIZES ",\"num_key_value_heads\":3}", UCB_CORRUPT,
         "num_attention_heads is 8, expected a multiple of num_key_value_heads (3)"},
        {"{" SIZES ",\"num_key_value_heads\":0}", UCB_CORRUPT, "num_key_value_heads is 0"},
        {"{" SIZES ",\"num_key_value_heads\":-8}", UCB_CORRUPT,
         "num_key_value_heads is -8"},
        {"{" SIZES ",\"head_dim\":8.0}", UCB_CORRUPT, "head_dim is 8.0"},
        {"{" SIZES ",\"head_dim\":7}", UCB_CORRUPT, "the rotary size"},
        {"{" SIZES ",\"head_dim\":2147483646}", UCB_UNSUPPORTED, "head_dim is 2147483646"},
        {"{" SIZES ",\"head_dim\":99999999999999999999}", UCB_CORRUPT, "not valid JSON"},
        {"{" SIZES ",\"max_position_embeddings\":\"many\"}", UCB_CORRUPT,
         "max_position_embeddings is \"many\""},
        {"{" SIZES ",\"rms_norm_eps\":-1e-5}", UCB_CORRUPT, "rms_norm_eps"},
        {"{" SIZES ",\"hidden_act\":\"relu2\"}", UCB_UNSUPPORTED,
         "hidden_act relu2 is not supported"},
        {"{" SIZES ",\"attention_bias\":1}", UCB_CORRUPT,
         "attention_bias is 1, expected true or false"},
        {"{" SIZES ",\"tie_word_embeddings\":\"no\"}", UCB_CORRUPT, "tie_word_embeddings"},
        {"{" SIZES ",\"pretraining_tp\":2}", UCB_UNSUPPORTED, "pretraining_tp is 2"},
        {"{" SIZES ",\"quantization_config\":{\"quant_method\":\"gptq\"}}", UCB_UNSUPPORTED,
         "quantization_config with quant_method gptq is not supported"},
        {"{" SIZES ",\"quantization_config\":{}}", UCB_UNSUPPORTED, "quant_method (none)"},
        {"{" SIZES ",\"rope_scaling\":{\"rope_type\":\"spiral\",\"factor\":2}}",
         UCB_UNSUPPORTED, "rope_scaling type spiral is not supported"},
        {"{" SIZES ",\"rope_parameters\":{\"rope_type\":\"dynamic\"}}", UCB_UNSUPPORTED,
         "rope_parameters type dynamic is not supported"},
        {"{" SIZES ",\"rope_scaling\":{\"factor\":2}}", UCB_CORRUPT, "rope_type"},
        {"{" SIZES ",\"rope_scaling\":{\"rope_type\":3}}", UCB_CORRUPT, "rope_type is 3"},
        {"{" SIZES ",\"rope_scaling\":\"linear\"}", UCB_CORRUPT,
         "rope_scaling is \"linear\""},
        {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}", UCB_CORRUPT,
         "factor is missing"},
        {"{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", UCB_CORRUPT,
         "factor is 0"},
        {"{" SIZES
         ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":\"default\"}}",
         UCB_CORRUPT, "rope_scaling and rope_parameters"},
        {"{" SIZES
         ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,"
         "\"original_max_position_embeddings\":64}}",
         UCB_CORRUPT, "high_freq_factor is 4"},
        {"{" SIZES
         ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}}",
         UCB_CORRUPT, "original_max_position_embeddings is missing"},
        {"{" SIZES ",\"rope_theta\":0}", UCB_CORRUPT, "rope_theta is 0"},
        {"{" SIZES ",\"rope_theta\":1e-300}", UCB_CORRUPT, "not finite"},
        {"{" SIZES ",\"partial_rotary_factor\":1.5}", UCB_CORRUPT,
         "partial_rotary_factor is 1.5"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_arch arch;
        struct ucb_err err = {0};
        CHECK_STATUS(parse(cases[i].text, &arch, &err), cases[i].status, err);
        CHECK_HAS(err.text, cases[i].part);
        CHECK_HAS(err.text, "config.json");
    }
}

TEST(unknown_fields_are_ignored)
{
    struct ucb_arch a = parsed(
        ",\"zebra\":{\"stripes\":[1,2]},\"attention_dropout\":0.1,\"torch_dtype\":\"float64\","
        "\"pretraining_tp\":1,\"architectures\":[\"X\"],\"hidden_act\":\"silu\"");
    CHECK_EQ(a.hidden, 64);
}
