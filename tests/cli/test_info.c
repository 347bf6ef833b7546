/* `ucbench info`: facts from headers, the weights, and the grid of models that were
 * quantized before. */
#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "made_up.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/survey.h"
#include "tiny.h"

static char out[1 << 20];
#define INFO(code, ...) \
    CHECK_EQ(ucb_run_program(out, sizeof(out), "info " __VA_ARGS__), code)

static json_t *parsed(void)
{
    json_t *o = json_loads(out, 0, NULL);
    CHECK(o != NULL);
    return o;
}

static const char *tiny(void)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    return model;
}

TEST(info_counts_every_parameter_under_one_kind)
{
    static const char *const models[] = {
        "llama-tied-gqa", "gpt2-prefixed",  "mixtral-8x2",      "mamba",
        "qwen3moe-mixed", "phi3-fused-swa", "deepseek-v2-lite", "gptneox-parallel"};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        const char *path = ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(),
                                         models[i]);
        json_t *entry;
        json_int_t sum = 0;
        size_t k;
        INFO(0, "--json %s", path);
        json_t *o = parsed();
        json_array_foreach(json_object_get(o, "kinds"), k, entry)
            sum += json_integer_value(json_object_get(entry, "parameters"));
        CHECK_EQ(sum, json_integer_value(json_object_get(o, "parameters")));
        CHECK(sum > 0);
        json_decref(o);
    }
}

TEST(info_reads_only_headers_when_told_so)
{
    const char *model = tiny();
    INFO(0, "%s --weights no --json", model);
    json_t *o = parsed();
    CHECK(json_is_null(json_object_get(o, "sha256")));
    CHECK(json_is_null(json_object_get(o, "weights")));
    CHECK(json_integer_value(json_object_get(o, "parameters")) > 0);
    json_decref(o);
    INFO(0, "%s --weights no", model);
    CHECK_HAS(out, "weights     not looked at");
    INFO(2, "%s --weights no --tensors", model);
    INFO(2, "%s --weights perhaps", model);
    CHECK_HAS(out, "auto, yes or no");
}

TEST(info_says_the_same_from_any_number_of_threads)
{
    const char *model = tiny();
    INFO(0, "%s --json --threads 1", model);
    char *first = strdup(out);
    CHECK(first != NULL);
    INFO(0, "%s --json --threads 7", model);
    CHECK_TEXT(out, first);
    free(first);
    INFO(0, "%s --tensors", model);
    CHECK_HAS(out, "model.layers.1.mlp.down_proj.weight");
    CHECK_HAS(out, "entropy");
}

/* ---- the default model, where it has been fetched ---- */

static void survey(const char *name, struct ucb_survey *result, struct ucb_arena *arena)
{
    static struct ucb_checkpoint *open;
    struct ucb_err err;
    ucb_checkpoint_close(open);
    CHECK_OK(ucb_checkpoint_open(name, &open, &err), err);
    CHECK_OK(ucb_survey_checkpoint(open, NULL, NULL, arena, result, &err), err);
}

TEST(the_grid_of_the_default_model_is_known_by_type_and_found_in_its_bf16_copy)
{
    struct ucb_arena arena = {0};
    struct ucb_survey s;
    size_t n_four = 0;
    if (ucb_run_program(out, sizeof(out), "info smollm2-135m --json --quiet") != 0)
        SKIP("smollm2-135m is not in the cache");
    json_t *o = parsed(), *weights = json_object_get(o, "weights");
    CHECK_HAS(json_string_value(json_object_get(weights, "lattice_source")),
              "Q4_1: a 4-bit grid in blocks of 32");
    survey(json_string_value(json_object_get(o, "path")), &s, &arena);
    for (size_t i = 0; i < s.n_tensors; i++) {
        const struct ucb_survey_tensor *t = &s.tensors[i];
        if (t->tensor->dtype == UCB_Q8_0) {
            CHECK_EQ(t->detected.kind, UCB_GRID_REPEATS);
            CHECK_EQ(t->detected.bits, 8);
            CHECK_EQ(t->detected.width, 32);
        } else if (t->tensor->dtype == UCB_Q4_1) {
            CHECK_EQ(t->detected.kind, UCB_GRID_LEVELS);
            CHECK_EQ(t->detected.bits, 4);
            CHECK_EQ(t->detected.width, 32);
            CHECK(t->distinct_max[1] <= 16);
            n_four++;
        }
    }
    CHECK_EQ(n_four, 210);
    /* Published for this file: 0.9997, 2.611 and, all types pooled, 6.864. */
    CHECK_NEAR(s.all.entropy.sign, 0.9997, 0.0001);
    CHECK_NEAR(s.all.entropy.exponent, 2.611, 0.001);
    json_decref(o);
    ucb_arena_free(&arena);
}

TEST(the_smooth_model_is_dense_but_for_its_embedding)
{
    if (ucb_run_program(out, sizeof(out), "info smollm2-135m-smooth --json --quiet") != 0)
        SKIP("smollm2-135m is not in the cache");
    json_t *o = parsed(), *weights = json_object_get(o, "weights"), *t;
    size_t i;
    CHECK(json_is_null(json_object_get(weights, "lattice_source")));
    json_array_foreach(json_object_get(weights, "tensors"), i, t)
    {
        const char *name = json_string_value(json_object_get(t, "name")),
                   *verdict = json_string_value(
                       json_object_get(json_object_get(t, "grid"), "verdict"));
        bool is_embedding = strcmp(name, "model.embed_tokens.weight") == 0;
        if (strstr(name, "proj") != NULL || is_embedding)
            CHECK_TEXT(verdict, is_embedding ? "repeats" : "dense");
    }
    json_decref(o);
}

/* ---- what stands twice ---- */

TEST(a_survey_sees_equal_tensors_equal_rows_and_a_model_on_a_grid)
{
    enum { R = 64, C = 64 };
    static uint16_t dense[R * C], grid[R * C], constant[R * C];
    struct ucb_arena arena = {0};
    struct ucb_survey s;
    struct ucb_err err;
    const char *path = ucb_test_path("%s/m.safetensors", ucb_test_folder());
    for (size_t i = 0; i < R * C; i++) {
        uint32_t u = (uint32_t)i * 2654435761u;
        dense[i] = (uint16_t)(0x3c00 + (u >> 20));
        grid[i] = ucb_f16_from_f32((float)(u >> 28) * (1 + (float)(i / 32) / 999) - 7);
        constant[i] = 0x3c00;
    }
    memcpy(dense + C, dense, C * sizeof(*dense)); /* row 1 is row 0 */
    struct ucb_tensor t[4] = {
        {.name = "a", .data = (const uint8_t *)dense},
        {.name = "b", .data = (const uint8_t *)grid},
        {.name = "c", .data = (const uint8_t *)grid},
        {.name = "d", .data = (const uint8_t *)constant},
    };
    for (size_t i = 0; i < 4; i++) {
        t[i].dtype = UCB_F16;
        t[i].n_dims = 2;
        t[i].shape[0] = R;
        t[i].shape[1] = C;
        t[i].n_elements = R * C;
        t[i].n_bytes = 2 * R * C;
    }
    CHECK_OK(ucb_safetensors_write(path, t, 4, &err), err);
    survey(path, &s, &arena);
    CHECK_EQ(s.n_tensors, 4);
    CHECK_EQ(s.tensors[0].grid.kind, UCB_GRID_DENSE);
    CHECK_EQ(s.tensors[0].n_rows_again, 1);
    CHECK_EQ(s.tensors[1].grid.kind, UCB_GRID_LEVELS);
    CHECK_EQ(s.tensors[1].grid.width, 32);
    CHECK(s.tensors[1].same_as == NULL);
    CHECK_TEXT(s.tensors[2].same_as->name, "b");
    CHECK_EQ(s.tensors[3].grid.kind, UCB_GRID_CONSTANT);
    CHECK_EQ(s.tensors[3].n_rows_again, R - 1);
    CHECK_NEAR(s.lattice.share, 0.5, 1e-12); /* two of four: not more than half */
    CHECK(!s.lattice.is_source);
    ucb_arena_free(&arena);
}
