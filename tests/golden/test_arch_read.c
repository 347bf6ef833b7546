/* Model files of other implementations: every case read, its twins compared, every
 * bad-* folder refused. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/sha256.h"
#include "model/model_internal.h"

static const char *arch_path(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

static json_t *load_index(void)
{
    json_t *root;
    struct ucb_err err;
    CHECK_OK(ucb_json_load(arch_path("index.json"), &root, &err), err);
    return root;
}

static struct ucb_model *open_model(const char *name)
{
    struct ucb_model *m;
    struct ucb_err err;
    CHECK_OK(ucb_model_open(arch_path(name), &m, &err), err);
    return m;
}

/* The bits of the file, whatever its layout, are those that the rows are widened from. */
static void check_bits(const struct ucb_model *m, const struct ucb_matrix *x,
                       const float *rows)
{
    struct ucb_err err;
    size_t n = (size_t)x->n_out * x->n_in;
    uint8_t *bits = malloc(n * ucb_dtype_block_bytes(x->dtype));
    float *widened = malloc(n * sizeof(*widened));
    CHECK(bits != NULL && widened != NULL);
    CHECK_OK(ucb_model_read_bits(m, x, 0, x->n_out, bits, &err), err);
    ucb_widen(x->dtype, bits, n, widened);
    CHECK(memcmp(widened, rows, n * sizeof(*rows)) == 0);
    CHECK_STATUS(ucb_model_read_bits(m, x, x->n_out, 1, bits, &err), UCB_USAGE, err);
    free(bits);
    free(widened);
}

static float *read_matrix(const struct ucb_model *m, const struct ucb_matrix *x)
{
    struct ucb_err err;
    float *out = malloc((size_t)x->n_out * x->n_in * sizeof(*out));
    CHECK(out != NULL);
    CHECK_OK(ucb_model_read_rows(m, x, 0, x->n_out, NULL, out, &err), err);
    check_bits(m, x, out);
    return out;
}

/* The index counts every element of the files; masks and frequencies that old GPT-2 and
 * GPT-NeoX files carry along are no parameters. */
static uint64_t buffer_elements(const struct ucb_model *m)
{
    static const char *const endings[] = {".attn.bias", ".attention.bias", ".masked_bias",
                                          ".inv_freq"};
    const struct ucb_checkpoint *c = ucb_model_checkpoint(m);
    uint64_t n = 0;
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++)
        for (size_t k = 0; k < sizeof(endings) / sizeof(endings[0]); k++) {
            const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
            size_t length = strlen(t->name), ending = strlen(endings[k]);
            if (length > ending && strcmp(t->name + length - ending, endings[k]) == 0)
                n += t->n_elements;
        }
    return n;
}

TEST(every_case_opens_with_the_sizes_its_index_gives)
{
    json_t *root = load_index(), *one;
    size_t i;
    json_array_foreach(json_object_get(root, "cases"), i, one)
    {
        struct ucb_model *m = open_model(json_string_value(json_object_get(one, "name")));
        CHECK_EQ(ucb_model_n_parameters(m) + buffer_elements(m),
                 json_integer_value(json_object_get(one, "parameters")));
        CHECK(ucb_model_warning(m) == NULL);
        ucb_model_close(m);
    }
    json_decref(root);
}

TEST(the_golden_files_are_the_ones_the_index_was_made_with)
{
    json_t *root = load_index(), *one, *file;
    static const char *const lists[] = {"cases", "malformed"};
    for (size_t k = 0; k < 2; k++) {
        size_t i;
        json_array_foreach(json_object_get(root, lists[k]), i, one)
        {
            const char *name = json_string_value(json_object_get(one, "name")), *key;
            json_object_foreach(json_object_get(one, "files"), key, file)
            {
                char hex[UCB_SHA256_HEX];
                struct ucb_err err;
                CHECK_OK(ucb_sha256_file(ucb_test_path("%s/%s", arch_path(name), key), hex,
                                         &err),
                         err);
                CHECK_TEXT(hex, json_string_value(json_object_get(file, "sha256")));
            }
        }
    }
    json_decref(root);
}

/* The widened rows of a safetensors case are its tensors' elements, in order. */
TEST(rows_of_a_safetensors_model_are_the_bytes_of_its_tensors)
{
    struct ucb_model *m = open_model("llama-headdim-fp16");
    const struct ucb_matrix *x = ucb_model_matrix(m, 1, UCB_ROLE_K);
    CHECK_TEXT(x->name, "model.layers.1.self_attn.k_proj.weight");
    CHECK_EQ(x->n_out, 32);
    CHECK_EQ(x->n_in, 40);
    CHECK_EQ(x->stored_bytes, 32 * 40 * 2);
    float *rows = read_matrix(m, x), three[3 * 40],
          *whole = malloc(32 * 40 * sizeof(float));
    struct ucb_err err;
    const struct ucb_tensor *t = ucb_checkpoint_find(ucb_model_checkpoint(m), x->name);
    CHECK(whole != NULL);
    CHECK_OK(ucb_tensor_widen(t, 0, 32 * 40, whole, &err), err);
    CHECK(memcmp(rows, whole, 32 * 40 * sizeof(float)) == 0);
    CHECK_OK(ucb_model_gather(m, x, (const uint32_t[]){31, 0, 31}, 3, NULL, three, &err),
             err);
    CHECK(memcmp(three, whole + 31 * 40, 160) == 0 && memcmp(three + 40, whole, 160) == 0);
    CHECK(memcmp(three + 80, whole + 31 * 40, 160) == 0);
    CHECK_STATUS(ucb_model_gather(m, x, (const uint32_t[]){0, 32}, 2, NULL, three, &err),
                 UCB_USAGE, err);
    CHECK_STATUS(ucb_model_read_rows(m, x, 30, 3, NULL, three, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_model_read_rows(m, x, UINT32_MAX, 2, NULL, three, &err), UCB_USAGE,
                 err);
    free(rows);
    free(whole);
    ucb_model_close(m);
}

static void check_same_matrix(const struct ucb_model *a, const struct ucb_matrix *x,
                              const struct ucb_model *b, const struct ucb_matrix *y)
{
    CHECK_TEXT(x->name, y->name);
    CHECK(x->role == y->role && x->expert == y->expert);
    CHECK_EQ(x->n_out, y->n_out);
    CHECK_EQ(x->n_in, y->n_in);
    float *p = read_matrix(a, x), *q = read_matrix(b, y);
    CHECK(memcmp(p, q, (size_t)x->n_out * x->n_in * sizeof(float)) == 0);
    free(p);
    free(q);
}

static void check_same_vector(const struct ucb_model *a, const struct ucb_model *b,
                              uint32_t layer, enum ucb_vector which)
{
    static float p[4096], q[4096];
    struct ucb_err err;
    uint32_t n = ucb_model_vector_size(a, layer, which);
    CHECK(n == ucb_model_vector_size(b, layer, which) && n <= 4096);
    if (n == 0) return;
    CHECK_OK(ucb_model_read_vector(a, layer, which, p, &err), err);
    CHECK_OK(ucb_model_read_vector(b, layer, which, q, &err), err);
    CHECK(memcmp(p, q, n * sizeof(float)) == 0);
}

static void check_same_layer(const struct ucb_model *a, const struct ucb_model *b,
                             uint32_t layer)
{
    size_t n, n_b;
    const struct ucb_matrix *const *x = ucb_model_layer_matrices(a, layer, &n),
                                   *const *y = ucb_model_layer_matrices(b, layer, &n_b);
    const struct ucb_layer_arch *p = &ucb_model_arch(a)->layers[layer],
                                *q = &ucb_model_arch(b)->layers[layer];
    CHECK_EQ(n, n_b);
    for (size_t i = 0; i < n; i++) check_same_matrix(a, x[i], b, y[i]);
    for (int v = 0; v < UCB_N_VECTORS; v++)
        check_same_vector(a, b, layer, (enum ucb_vector)v);
    CHECK(p->window == q->window && p->ffn == q->ffn && p->rope == q->rope &&
          p->score_scale == q->score_scale);
}

static void check_same_numbers(const struct ucb_arch *x, const struct ucb_arch *y)
{
    CHECK_TEXT(x->model_type, y->model_type);
    CHECK(x->n_layers == y->n_layers && x->head_dim == y->head_dim &&
          x->max_positions == y->max_positions);
    CHECK(x->norm_eps == y->norm_eps && x->rope_theta == y->rope_theta &&
          x->tied_head == y->tied_head && x->qkv_bias == y->qkv_bias);
    CHECK(x->activation == y->activation && x->qk_norm == y->qk_norm &&
          x->embed_scale == y->embed_scale && x->attention_scale == y->attention_scale);
    CHECK(x->experts.n == y->experts.n && x->experts.used == y->experts.used &&
          x->experts.width == y->experts.width &&
          x->experts.normalise == y->experts.normalise);
    for (int set = 0; set < UCB_MAX_ROPE_SETS; set++) {
        const struct ucb_rope_set *p = &x->rope[set], *q = &y->rope[set];
        CHECK((p->inv_freq == NULL) == (q->inv_freq == NULL));
        CHECK(p->magnitude == q->magnitude);
        for (uint32_t k = 0; p->inv_freq != NULL && k < x->rotary_dim / 2; k++)
            /* rope_freqs.weight holds fp32 factors: two roundings, half an ulp each */
            CHECK_NEAR(q->inv_freq[k] / p->inv_freq[k], 1.0, 1.3e-7);
    }
}

/* So the row order of q and k is undone, stacked experts taken apart, norms of Gemma
 * multiply by the same, names and shapes turned: the GGUF was written by another program.
 */
TEST(a_gguf_reads_as_its_safetensors_twin)
{
    static const char *const pairs[][2] = {
        {"llama-headdim-fp16", "llama-headdim-fp16/model-f16.gguf"},
        {"llama-rope-llama3", "llama-rope-llama3/model-f16.gguf"},
        {"llama-tied-gqa", "llama-tied-gqa/model-f16.gguf"},
        {"llama-tied-gqa", "llama-tied-gqa/model-f32.gguf"},
        {"gemma3-pattern6", "gemma3-pattern6/model-f16.gguf"},
        {"mixtral-8x2", "mixtral-8x2/model-f16.gguf"},
        {"qwen2-tied-bias", "qwen2-tied-bias/model-f16.gguf"},
        {"qwen3-qknorm", "qwen3-qknorm/model-f16.gguf"},
        {"qwen3-yarn", "qwen3-yarn/model-f16.gguf"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct ucb_model *a = open_model(pairs[i][0]), *b = open_model(pairs[i][1]);
        check_same_numbers(ucb_model_arch(a), ucb_model_arch(b));
        for (int role = UCB_ROLE_EMBED; role < UCB_N_ROLES; role++)
            check_same_matrix(a, ucb_model_matrix(a, 0, (enum ucb_role)role), b,
                              ucb_model_matrix(b, 0, (enum ucb_role)role));
        for (uint32_t layer = 0; layer < ucb_model_arch(a)->n_layers; layer++)
            check_same_layer(a, b, layer);
        for (int v = 0; v < UCB_N_VECTORS; v++)
            check_same_vector(a, b, 0, (enum ucb_vector)v);
        CHECK_EQ(ucb_model_n_parameters(a), ucb_model_n_parameters(b));
        ucb_model_close(a);
        ucb_model_close(b);
    }
}

TEST(the_digest_of_several_files_is_what_sha256sum_would_print)
{ /* cd llama-sharded && sha256sum config.json model-* model.safetensors.index.json |
     sha256sum */
    struct ucb_model *m = open_model("llama-sharded");
    const char *hex;
    struct ucb_err err;
    CHECK_OK(ucb_model_digest(m, &hex, &err), err);
    CHECK_TEXT(hex, "3039fb205fb952f4c13935d08fac1a9cb3053006fa05dcd2d8779f7ce5883c86");
    CHECK_EQ(ucb_model_file_bytes(m), 623 + 44848 + 41816 + 41792 + 2460);
    ucb_model_close(m);
}

TEST(every_bad_folder_is_refused_and_the_message_names_what_is_wrong)
{
    static const struct {
        const char *name;
        ucb_status status;
        const char *part, *also;
    } cases[] = {
        {"bad-config-trailing-comma", UCB_CORRUPT,
         "config.json is not valid JSON: line 14, column 1", ""},
        {"bad-gguf-truncated", UCB_CORRUPT,
         "model.gguf is cut short: a tensor's data ends after the end of the file",
         "ffn_up"},
        {"bad-missing-tensor", UCB_MISSING,
         "the tensor model.layers.1.mlp.down_proj.weight is missing", ""},
        {"bad-model-type", UCB_UNSUPPORTED, "model_type zebra is not supported", "llama"},
        {"bad-nan-weight", UCB_CORRUPT,
         "model.layers.0.mlp.up_proj.weight holds a NaN at row 3, column 5",
         "model.safetensors"},
        {"bad-quantized", UCB_UNSUPPORTED,
         "quantization_config with quant_method gptq is not supported: the weights are not plain "
         "floating point",
         "config.json"},
        {"bad-rope-type", UCB_UNSUPPORTED, "rope_scaling type spiral is not supported",
         "llama3"},
        {"bad-shape", UCB_CORRUPT,
         "model.layers.0.self_attn.k_proj.weight: has [16, 16], config.json asks for [8, 16]",
         ""},
        {"bad-shard-lost", UCB_MISSING,
         "the file model-00002-of-00002.safetensors, named by model.safetensors.index.json, does not "
         "exist",
         ""},
        {"bad-truncated-safetensors", UCB_CORRUPT,
         "model.safetensors is cut short: a tensor's data ends after the end of the file",
         ""},
    };
    json_t *root = load_index();
    CHECK_EQ(json_array_size(json_object_get(root, "malformed")),
             sizeof(cases) / sizeof(cases[0]));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_model *m;
        struct ucb_err err = {0};
        CHECK_STATUS(ucb_model_open(arch_path(cases[i].name), &m, &err), cases[i].status,
                     err);
        CHECK_HAS(err.text, cases[i].part);
        CHECK_HAS(err.text, cases[i].also);
    }
    json_decref(root);
}

/* ggml's own decode of the 32-element types; tests/golden/blocks/README.md
 * says which ggml. */
TEST(blocks_widen_to_the_bits_of_ggml)
{
    static const enum ucb_dtype types[] = {UCB_Q4_0, UCB_Q4_1, UCB_Q5_0, UCB_Q5_1,
                                           UCB_Q8_0};
    struct ucb_checkpoint *c;
    struct ucb_err err;
    static float out[16 * 256];
    CHECK_OK(ucb_checkpoint_open(ucb_test_path("%s/tests/golden/blocks/blocks.safetensors",
                                               ucb_test_root()),
                                 &c, &err),
             err);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const char *name = ucb_dtype_name(types[i]);
        const struct ucb_tensor *packed = ucb_checkpoint_find(
                                    c, ucb_test_path("edge.%s/packed", name)),
                                *expected = ucb_checkpoint_find(
                                    c, ucb_test_path("edge.%s/deq", name));
        CHECK(packed != NULL && expected != NULL);
        struct ucb_tensor blocks = *packed;
        blocks.dtype = types[i];
        blocks.shape[1] = 256;
        CHECK(ucb_tensor_measure(&blocks) && blocks.n_bytes == packed->n_bytes);
        CHECK_OK(ucb_tensor_widen(&blocks, 0, blocks.n_elements, out, &err), err);
        CHECK(memcmp(out, expected->data, expected->n_bytes) == 0);
    }
    ucb_checkpoint_close(c);
}
