/* The mixes behind llama.cpp's file types, layer by layer, worked out by hand from the
 * rules of docs/gguf-recipes.md. */
#include "test.h"

#include <string.h>

#include "../../methods/gguf/gguf_recipe.h"

static const struct ucb_gguf_facts smollm = {
    .n_layers = 30, .n_heads = 9, .n_kv_heads = 3, .tied_head = true};
static const struct ucb_gguf_facts llama3_8b = {
    .n_layers = 32, .n_heads = 32, .n_kv_heads = 4};
static const struct ucb_gguf_facts mixtral = {
    .n_layers = 32, .n_heads = 32, .n_kv_heads = 8, .n_experts = 8};

static size_t recipe(const char *name)
{
    for (size_t i = 1; ucb_gguf_recipe_names[i] != NULL; i++)
        if (strcmp(ucb_gguf_recipe_names[i], name) == 0) return i;
    ucb_test_fail(__FILE__, __LINE__, "no recipe %s", name);
}

static enum ucb_dtype type_of(const char *name, const struct ucb_gguf_facts *facts,
                              enum ucb_role role, uint32_t layer, uint32_t n_in)
{
    return ucb_gguf_recipe_type(recipe(name), facts, role, layer, n_in);
}

#define CHECK_TYPE(name, facts, role, layer, n_in, expected)                      \
    CHECK_TEXT(ucb_dtype_name(type_of((name), (facts), (role), (layer), (n_in))), \
               (expected))

/* The layers, '1' for each, whose matrix of a role has a type. */
static const char *layers_with(const char *name, const struct ucb_gguf_facts *facts,
                               enum ucb_role role, enum ucb_dtype type)
{
    static char marks[128];
    for (uint32_t i = 0; i < facts->n_layers; i++)
        marks[i] = type_of(name, facts, role, i, 1536) == type ? '1' : '.';
    marks[facts->n_layers] = '\0';
    return marks;
}

TEST(of_30_layers_q4_k_m_gives_more_bits_to_the_ends_and_every_third)
{
    static const char thirds[] = "111..1..1..1..1..1..1..1..1111";
    CHECK_TEXT(layers_with("Q4_K_M", &smollm, UCB_ROLE_V, UCB_Q6_K), thirds);
    CHECK_TEXT(layers_with("Q4_K_M", &smollm, UCB_ROLE_DOWN, UCB_Q6_K), thirds);
    CHECK_TEXT(layers_with("Q5_K_M", &smollm, UCB_ROLE_DOWN, UCB_Q6_K), thirds);
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_V, 3, 1536, "Q4_K");
    CHECK_TYPE("Q5_K_M", &smollm, UCB_ROLE_V, 3, 1536, "Q5_K");
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_O, 0, 1536, "Q4_K");
}

TEST(of_32_layers_the_thirds_begin_at_the_seventh)
{
    CHECK_TEXT(layers_with("Q4_K_M", &llama3_8b, UCB_ROLE_DOWN, UCB_Q6_K),
               "1111..1..1..1..1..1..1..1..11111");
}

TEST(the_small_mixes_raise_the_first_layers_only)
{
    CHECK_TEXT(layers_with("Q4_K_S", &smollm, UCB_ROLE_V, UCB_Q5_K),
               "1111..........................");
    CHECK_TEXT(layers_with("Q4_K_S", &smollm, UCB_ROLE_DOWN, UCB_Q5_K),
               "111...........................");
    CHECK_TEXT(layers_with("Q3_K_M", &smollm, UCB_ROLE_V, UCB_Q5_K),
               "11............................");
    CHECK_TEXT(layers_with("Q3_K_M", &smollm, UCB_ROLE_DOWN, UCB_Q5_K),
               "1.............................");
    CHECK_TYPE("Q3_K_M", &smollm, UCB_ROLE_DOWN, 1, 1536, "Q4_K");
    CHECK_TYPE("Q3_K_M", &smollm, UCB_ROLE_O, 1, 1536, "Q4_K");
    CHECK_TYPE("Q3_K_L", &smollm, UCB_ROLE_O, 29, 1536, "Q5_K");
    CHECK_TYPE("Q3_K_S", &smollm, UCB_ROLE_V, 0, 1536, "Q3_K");
}

TEST(values_shared_by_four_heads_get_more_bits_than_by_three)
{
    CHECK_TYPE("Q2_K", &smollm, UCB_ROLE_V, 9, 1536, "Q3_K");
    CHECK_TYPE("Q2_K", &llama3_8b, UCB_ROLE_V, 9, 1536, "Q4_K");
    CHECK_TYPE("Q2_K_S", &smollm, UCB_ROLE_V, 9, 1536, "Q2_K");
    CHECK_TYPE("Q2_K_S", &llama3_8b, UCB_ROLE_V, 9, 1536, "Q4_K");
    CHECK_TYPE("IQ4_XS", &smollm, UCB_ROLE_V, 9, 1536, "IQ4_XS");
    CHECK_TYPE("IQ4_XS", &llama3_8b, UCB_ROLE_V, 9, 1536, "Q5_K");
}

TEST(rows_of_576_fall_back_to_blocks_of_32)
{
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_Q, 0, 576, "Q5_0");
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_V, 0, 576, "Q8_0");
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_V, 3, 576, "Q5_0");
    CHECK_TYPE("Q5_K_M", &smollm, UCB_ROLE_Q, 0, 576, "Q5_1");
    CHECK_TYPE("Q2_K", &smollm, UCB_ROLE_Q, 0, 576, "Q4_0");
    CHECK_TYPE("Q3_K_M", &smollm, UCB_ROLE_Q, 0, 576, "Q4_0");
    CHECK_TYPE("IQ4_XS", &smollm, UCB_ROLE_Q, 0, 576, "IQ4_NL");
    CHECK_TYPE("Q6_K", &smollm, UCB_ROLE_Q, 0, 576, "Q8_0");
    CHECK_TYPE("Q6_K", &smollm, UCB_ROLE_Q, 0, 100, "F16");
    CHECK_TYPE("Q4_0", &smollm, UCB_ROLE_Q, 0, 100, "F16");
    CHECK_TYPE("F16", &smollm, UCB_ROLE_Q, 0, 100, "F16");
}

TEST(a_head_gets_six_bits_and_an_embedding_of_its_own_the_default_type)
{
    CHECK_TYPE("Q4_K_M", &smollm, UCB_ROLE_EMBED, 0, 576, "Q8_0");
    CHECK_TYPE("Q4_0", &smollm, UCB_ROLE_EMBED, 0, 576, "Q8_0"); /* Q6_K does not fit */
    CHECK_TYPE("Q4_0", &smollm, UCB_ROLE_EMBED, 0, 1024, "Q6_K");
    CHECK_TYPE("Q4_K_M", &llama3_8b, UCB_ROLE_EMBED, 0, 4096, "Q4_K");
    CHECK_TYPE("Q4_K_M", &llama3_8b, UCB_ROLE_HEAD, 0, 4096, "Q6_K");
    CHECK_TYPE("Q8_0", &llama3_8b, UCB_ROLE_HEAD, 0, 4096, "Q8_0");
    CHECK_TYPE("BF16", &llama3_8b, UCB_ROLE_HEAD, 0, 4096, "BF16");
}

TEST(an_importance_matrix_moves_the_first_down_projections)
{
    struct ucb_gguf_facts with = smollm;
    with.importance = true;
    CHECK_TYPE("IQ4_XS", &smollm, UCB_ROLE_DOWN, 2, 1536, "Q5_K");
    CHECK_TYPE("IQ4_XS", &with, UCB_ROLE_DOWN, 2, 1536, "IQ4_XS");
    CHECK_TYPE("Q4_0", &smollm, UCB_ROLE_DOWN, 2, 1536, "Q4_0");
    CHECK_TYPE("Q4_0", &with, UCB_ROLE_DOWN, 2, 1536, "Q4_1");
    CHECK_TYPE("Q4_0", &with, UCB_ROLE_DOWN, 3, 1536, "Q4_0");
    CHECK_TYPE("Q5_0", &with, UCB_ROLE_DOWN, 0, 1536, "Q5_1");
    CHECK(ucb_gguf_recipe_needs_importance(recipe("Q2_K_S")));
    CHECK(!ucb_gguf_recipe_needs_importance(recipe("Q2_K")));
}

TEST(eight_experts_get_eight_bits_for_keys_and_values)
{
    CHECK_TYPE("Q4_K_M", &mixtral, UCB_ROLE_K, 9, 4096, "Q8_0");
    CHECK_TYPE("Q4_K_M", &mixtral, UCB_ROLE_V, 9, 4096, "Q8_0");
    CHECK_TYPE("Q4_K_M", &mixtral, UCB_ROLE_O, 9, 4096, "Q5_K");
    CHECK_TYPE("Q3_K_L", &mixtral, UCB_ROLE_O, 9, 4096, "Q3_K");
    CHECK_TYPE("Q5_K_M", &mixtral, UCB_ROLE_O, 9, 4096, "Q5_K");
    CHECK_TYPE("Q6_K", &mixtral, UCB_ROLE_O, 9, 4096, "Q6_K");
}

TEST(the_70b_class_never_keeps_three_or_four_bits_for_values)
{
    struct ucb_arch arch = {.n_layers = 80, .n_heads = 64, .n_kv_heads = 8};
    struct ucb_gguf_facts big = ucb_gguf_facts_of(&arch, false);
    CHECK_TYPE("Q3_K_S", &big, UCB_ROLE_V, 40, 8192, "Q5_K");
    CHECK_TYPE("Q4_K_M", &big, UCB_ROLE_V, 40, 8192, "Q5_K");
    CHECK_TYPE("Q4_K_M", &big, UCB_ROLE_V, 0, 8192, "Q6_K");
    arch.n_kv_heads = 64; /* LLaMA 65B */
    big = ucb_gguf_facts_of(&arch, false);
    CHECK_TYPE("Q4_K_M", &big, UCB_ROLE_V, 13, 8192, "Q4_K");
}

TEST(every_recipe_gives_every_matrix_a_type_that_fits_its_rows)
{
    static const uint32_t columns[] = {96, 100, 576, 1536};
    for (size_t r = 1; ucb_gguf_recipe_names[r] != NULL; r++)
        for (uint32_t role = 0; role < UCB_N_ROLES; role++)
            for (uint32_t layer = 0; layer < smollm.n_layers; layer++)
                for (size_t c = 0; c < 4; c++) {
                    enum ucb_dtype type = ucb_gguf_recipe_type(
                        r, &smollm, (enum ucb_role)role, layer, columns[c]);
                    CHECK_EQ(columns[c] % ucb_dtype_block_elements(type), 0);
                }
}
