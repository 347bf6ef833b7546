/* Models made here: heads, biases, row order, values that are not finite, GGUF metadata,
 * the smooth model. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/half.h"
#include "core/pcg.h"
#include "core/sha256.h"
#include "gguf_build.h"
#include "model/model_internal.h"
#include "model/catalog.h"
#include "model/smooth.h"

enum {
    HIDDEN = 32,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 8,
    FFN = 64,
    VOCABULARY = 6,
    N_LARGEST = FFN * HIDDEN
};

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":6%s}";

/* ---- safetensors ---- */

/* The tensors of a one-layer model: element i of any of them is i + 1. */
struct made {
    float values[N_LARGEST];
    struct ucb_tensor tensors[32];
    size_t n;
};

static struct ucb_tensor *add(struct made *m, const char *name, uint64_t n_out,
                              uint64_t n_in)
{
    struct ucb_tensor *t = &m->tensors[m->n++];
    *t = (struct ucb_tensor){.name = name,
                             .dtype = UCB_F32,
                             .n_dims = n_in == 0 ? 1 : 2,
                             .shape = {n_out, n_in}};
    t->data = (const uint8_t *)m->values;
    CHECK(ucb_tensor_measure(t));
    return t;
}

static void make_tensors(struct made *m)
{
    for (int i = 0; i < N_LARGEST; i++) m->values[i] = (float)(i + 1);
    m->n = 0;
    add(m, "model.embed_tokens.weight", VOCABULARY, HIDDEN);
    add(m, "model.layers.0.self_attn.q_proj.weight", 32, HIDDEN);
    add(m, "model.layers.0.self_attn.k_proj.weight", 16, HIDDEN);
    add(m, "model.layers.0.self_attn.v_proj.weight", 16, HIDDEN);
    add(m, "model.layers.0.self_attn.o_proj.weight", HIDDEN, 32);
    add(m, "model.layers.0.mlp.gate_proj.weight", FFN, HIDDEN);
    add(m, "model.layers.0.mlp.up_proj.weight", FFN, HIDDEN);
    add(m, "model.layers.0.mlp.down_proj.weight", HIDDEN, FFN);
    add(m, "model.layers.0.input_layernorm.weight", HIDDEN, 0);
    add(m, "model.layers.0.post_attention_layernorm.weight", HIDDEN, 0);
    add(m, "model.norm.weight", HIDDEN, 0);
}

static ucb_status open_made(const struct made *made, const char *more,
                            struct ucb_model **out, struct ucb_err *err)
{
    const char *folder = ucb_test_folder(), *text = ucb_test_path(config, more);
    CHECK_OK(
        ucb_file_write(ucb_test_path("%s/config.json", folder), text, strlen(text), err),
        *err);
    CHECK_OK(ucb_safetensors_write(ucb_test_path("%s/model.safetensors", folder),
                                   made->tensors, made->n, err),
             *err);
    return ucb_model_open(folder, out, err);
}

static struct made made;

TEST(a_tied_head_is_the_embedding_and_counts_once)
{
    struct ucb_model *m;
    struct ucb_err err;
    make_tensors(&made);
    CHECK_OK(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), err);
    CHECK(ucb_model_matrix(m, 0, UCB_ROLE_HEAD) == ucb_model_matrix(m, 0, UCB_ROLE_EMBED));
    uint64_t without = ucb_model_n_parameters(m);
    CHECK_EQ(without, 6 * 32 + 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 64 * 32 + 3 * 32);
    ucb_model_close(m);
    add(&made, "lm_head.weight", VOCABULARY, HIDDEN); /* the same values: still tied */
    CHECK_OK(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), err);
    CHECK(ucb_model_arch(m)->tied_head && ucb_model_warning(m) == NULL);
    CHECK_EQ(ucb_model_n_parameters(m), without);
    ucb_model_close(m);
}

TEST(a_tied_head_that_differs_is_used_with_a_warning)
{
    struct ucb_model *m;
    struct ucb_err err;
    float first[32];
    make_tensors(&made);
    add(&made, "lm_head.weight", VOCABULARY, HIDDEN)->data = (const uint8_t *)(made.values +
                                                                               5);
    CHECK_OK(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), err);
    const struct ucb_matrix *head = ucb_model_matrix(m, 0, UCB_ROLE_HEAD);
    CHECK_TEXT(head->name, "lm_head.weight");
    CHECK(!ucb_model_arch(m)->tied_head && ucb_model_warning(m) != NULL);
    CHECK_OK(ucb_model_read_rows(m, head, 0, 1, NULL, first, &err), err);
    CHECK(first[0] == 6.0f);
    ucb_model_close(m);
}

TEST(an_untied_model_without_a_head_is_refused)
{
    struct ucb_model *m;
    struct ucb_err err;
    make_tensors(&made);
    CHECK_STATUS(open_made(&made, "", &m, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "the tensor lm_head.weight is missing");
}

TEST(biases_are_asked_for_by_the_configuration)
{
    static const char *const names[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    static const uint32_t sizes[] = {32, 16, 16, 32, 64, 64, 32};
    static char full[7][64];
    static const char fields[] =
        ",\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true";
    struct ucb_model *m;
    struct ucb_err err;
    make_tensors(&made);
    for (int i = 0; i < 7; i++) {
        snprintf(full[i], sizeof(full[i]), "model.layers.0.%s.bias", names[i]);
        CHECK_STATUS(open_made(&made, fields, &m, &err), UCB_MISSING, err);
        CHECK_HAS(err.text, ".bias is missing");
        add(&made, full[i], sizes[i], 0);
    }
    CHECK_OK(open_made(&made, fields, &m, &err), err);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(ucb_model_vector_size(m, 0, (enum ucb_vector)(UCB_VECTOR_BIAS + i)),
                 sizes[i]);
    ucb_model_close(m);
    CHECK_OK(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err),
             err); /* there, not asked for: not used */
    CHECK_EQ(ucb_model_vector_size(m, 0, ucb_bias_of(UCB_ROLE_Q)), 0);
    ucb_model_close(m);
}

TEST(shapes_and_types_other_than_asked_for_are_refused)
{
    struct ucb_model *m;
    struct ucb_err err;
    make_tensors(&made);
    made.tensors[0].shape[0] = 5;
    CHECK(ucb_tensor_measure(&made.tensors[0]));
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text,
              "model.embed_tokens.weight: has [5, 32], config.json asks for [6, 32]");
    make_tensors(&made);
    made.tensors[10].n_dims = 2;
    made.tensors[10].shape[1] = 1;
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "model.norm.weight: has [32, 1], config.json asks for [32]");
    make_tensors(&made);
    made.tensors[4].dtype = UCB_I32;
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err),
                 UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "o_proj.weight: is stored as I32");
    make_tensors(&made);
    CHECK_STATUS(open_made(&made, ",\"num_hidden_layers\":2147483647", &m, &err),
                 UCB_CORRUPT, err); /* given twice */
}

TEST(more_layers_than_tensors_is_a_missing_tensor_and_not_much_memory)
{
    struct ucb_model *m;
    struct ucb_err err;
    const char *folder = ucb_test_folder();
    make_tensors(&made);
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":false", &m, &err), UCB_MISSING,
                 err);
    const char text[] =
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":65536,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":6}";
    CHECK_OK(
        ucb_file_write(ucb_test_path("%s/config.json", folder), text, strlen(text), &err),
        err);
    CHECK_STATUS(ucb_model_open(folder, &m, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "the tensor model.layers.1.self_attn.q_proj.weight is missing");
}

TEST(infinities_and_nans_are_found_before_anything_is_read)
{
    struct ucb_model *m;
    struct ucb_err err;
    float values[32];
    make_tensors(&made);
    memcpy(values, made.values, sizeof(values));
    values[9] = -INFINITY;
    made.tensors[10].data = (const uint8_t *)values;
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "model.norm.weight holds an infinity at element 9");
    make_tensors(&made);
    made.values[64 * 32 - 1] = NAN;
    CHECK_STATUS(open_made(&made, ",\"tie_word_embeddings\":true", &m, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "mlp.gate_proj.weight holds a NaN at row 63, column 31");
}

TEST(a_model_without_its_configuration_is_refused)
{
    struct ucb_model *m;
    struct ucb_err err;
    make_tensors(&made);
    const char *path = ucb_test_path("%s/model.safetensors", ucb_test_folder());
    CHECK_OK(ucb_safetensors_write(path, made.tensors, made.n, &err), err);
    CHECK_STATUS(ucb_model_open(path, &m, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "needs its config.json beside it");
}

/* ---- GGUF ---- */

/* A one-layer llama: q and k hold their row's number, matrices may be Q4_1. */
static void put_matrix(struct gguf_build *b, const char *name, uint32_t n_out,
                       uint32_t n_in, bool q4_1)
{
    struct ucb_writer w = {0};
    for (uint32_t row = 0; row < n_out; row++) {
        for (uint32_t i = 0; i < n_in && !q4_1; i++) ucb_put_f32(&w, (float)row);
        for (uint32_t i = 0; i < n_in / 32 && q4_1; i++) {
            ucb_put_u16(&w, ucb_f16_from_f32(0.125f));
            ucb_put_u16(&w, ucb_f16_from_f32((float)row));
            for (uint32_t j = 0; j < 16; j++) ucb_put_u8(&w, (uint8_t)(j * 17 + row));
        }
    }
    gguf_tensor(b, name, n_out, n_in, q4_1 ? 3 : 0, w.data, w.n_bytes);
    ucb_writer_free(&w);
}

static void put_metadata(struct gguf_build *b)
{
    gguf_text(b, "general.architecture", "llama");
    gguf_u32(b, "llama.block_count", 1);
    gguf_u32(b, "llama.context_length", 77);
    gguf_u32(b, "llama.embedding_length", HIDDEN);
    gguf_u32(b, "llama.feed_forward_length", FFN);
    gguf_u32(b, "llama.attention.head_count", HEADS);
    gguf_u32(b, "llama.attention.head_count_kv", KV_HEADS);
    gguf_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

static void put_tensors(struct gguf_build *b, bool q4_1)
{
    float ones[32];
    for (int i = 0; i < 32; i++) ones[i] = 1.0f + (float)i / 64;
    put_matrix(b, "token_embd.weight", VOCABULARY, HIDDEN, false);
    put_matrix(b, "blk.0.attn_q.weight", 32, HIDDEN, q4_1);
    put_matrix(b, "blk.0.attn_k.weight", 16, HIDDEN, q4_1);
    put_matrix(b, "blk.0.attn_v.weight", 16, HIDDEN, q4_1);
    put_matrix(b, "blk.0.attn_output.weight", HIDDEN, 32, q4_1);
    put_matrix(b, "blk.0.ffn_gate.weight", FFN, HIDDEN, q4_1);
    put_matrix(b, "blk.0.ffn_up.weight", FFN, HIDDEN, q4_1);
    put_matrix(b, "blk.0.ffn_down.weight", HIDDEN, FFN, q4_1);
    gguf_tensor(b, "blk.0.attn_norm.weight", 0, HIDDEN, 0, ones, sizeof(ones));
    gguf_tensor(b, "blk.0.ffn_norm.weight", 0, HIDDEN, 0, ones, sizeof(ones));
    gguf_tensor(b, "output_norm.weight", 0, HIDDEN, 0, ones, sizeof(ones));
}

static ucb_status open_built(struct gguf_build *b, struct ucb_model **out,
                             struct ucb_err *err)
{
    const char *path = ucb_test_path("%s/model.gguf", ucb_test_folder());
    gguf_finish(b);
    CHECK_OK(ucb_file_write(path, b->file.data, b->file.n_bytes, err), *err);
    gguf_free(b);
    *b = (struct gguf_build){0};
    return ucb_model_open(path, out, err);
}

TEST(the_row_order_of_q_k_and_their_biases_is_undone)
{ /* head_dim 8: the file has rows 0 4 1 5 2 6 3 7 of a head, so model row i finds these
     file rows */
    static const float order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    float bias[32], rows[32 * 32], picked[2 * 32];
    for (int i = 0; i < 32; i++) bias[i] = (float)i;
    put_metadata(&b);
    put_tensors(&b, false);
    gguf_tensor(&b, "blk.0.attn_q.bias", 0, 32, 0, bias, sizeof(bias));
    gguf_tensor(&b, "blk.0.attn_v.bias", 0, 16, 0, bias, sizeof(bias) / 2);
    CHECK_OK(open_built(&b, &m, &err), err);
    const struct ucb_matrix *q = ucb_model_matrix(m, 0, UCB_ROLE_Q),
                            *v = ucb_model_matrix(m, 0, UCB_ROLE_V);
    CHECK_OK(ucb_model_read_rows(m, q, 0, 32, NULL, rows, &err), err);
    for (int i = 0; i < 32; i++) CHECK(rows[i * 32] == order[i % 8] + (float)(i / 8 * 8));
    CHECK_OK(ucb_model_read_rows(m, q, 9, 2, NULL, rows, &err), err);
    CHECK(rows[0] == 10.0f && rows[32] == 12.0f);
    CHECK_OK(ucb_model_gather(m, q, (const uint32_t[]){12, 0}, 2, NULL, picked, &err), err);
    CHECK(picked[0] == 9.0f && picked[32] == 0.0f);
    CHECK_OK(ucb_model_read_rows(m, v, 0, 16, NULL, rows, &err), err);
    for (int i = 0; i < 16; i++) CHECK(rows[i * 32] == (float)i);
    CHECK(ucb_model_arch(m)->qkv_bias &&
          ucb_model_vector_size(m, 0, ucb_bias_of(UCB_ROLE_K)) == 0);
    CHECK_OK(ucb_model_read_vector(m, 0, ucb_bias_of(UCB_ROLE_Q), rows, &err), err);
    for (int i = 0; i < 32; i++) CHECK(rows[i] == order[i % 8] + (float)(i / 8 * 8));
    CHECK_OK(ucb_model_read_vector(m, 0, ucb_bias_of(UCB_ROLE_V), rows, &err), err);
    for (int i = 0; i < 16; i++) CHECK(rows[i] == (float)i);
    CHECK_STATUS(ucb_model_read_vector(m, 0, ucb_bias_of(UCB_ROLE_K), rows, &err),
                 UCB_USAGE, err);
    ucb_model_close(m);
}

TEST(file_rows_and_model_rows_are_inverse)
{
    for (uint32_t d = 2; d <= 64; d += 2)
        for (uint32_t i = 0; i < 3 * d; i++)
            CHECK_EQ(ucb_model_row(ucb_file_row(i, d), d), i);
}

TEST(gguf_metadata_become_the_numbers_of_the_architecture)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    float factors[4] = {1, 2, 4, 8};
    put_metadata(&b);
    gguf_text(&b, "llama.rope.scaling.type", "linear");
    gguf_f32(&b, "llama.rope.scaling.factor", 2.0f);
    gguf_f32(&b, "llama.rope.freq_base", 16.0f);
    put_tensors(&b, false);
    gguf_tensor(&b, "rope_freqs.weight", 0, 4, 0, factors, sizeof(factors));
    CHECK_OK(open_built(&b, &m, &err), err);
    const struct ucb_arch *a = ucb_model_arch(m);
    CHECK(a->n_layers == 1 && a->hidden == 32 && a->n_heads == 4 && a->n_kv_heads == 2 &&
          a->head_dim == 8 && a->ffn == 64);
    CHECK(a->vocabulary == 6 && a->max_positions == 77 && a->rotary_dim == 8 &&
          a->norm_eps == 1e-5f && a->tied_head);
    const float expected[4] = {0.5f, 0.25f / 2, 0.125f / 4,
                               0.0625f / 8}; /* 16^(-i/4) = 2^-i, halved, divided */
    for (int i = 0; i < 4; i++) CHECK(a->rope[0].inv_freq[i] == expected[i]);
    ucb_model_close(m);
}

TEST(gguf_metadata_that_cannot_be_honoured_are_refused_by_name)
{
    static const char *const parts[] = {
        "rope scaling type spiral is not supported",
        "llama.expert_used_count is missing",
        "llama.vocab_size",
        "llama.attention.value_length is 4",
        "rope.dimension_count is 4",
        "llama.attention.key_length is 0",
        "llama.final_logit_softcapping is 30",
        "is one of 2 parts",
    };
    for (int way = 0; way < 8; way++) {
        struct gguf_build b = {0};
        struct ucb_model *m;
        struct ucb_err err = {0};
        put_metadata(&b);
        if (way == 0) gguf_text(&b, "llama.rope.scaling.type", "spiral");
        if (way == 1) gguf_u32(&b, "llama.expert_count", 8);
        if (way == 2) gguf_text(&b, "llama.vocab_size", "6");
        if (way == 3) gguf_u32(&b, "llama.attention.value_length", 4);
        if (way == 4) gguf_u32(&b, "llama.rope.dimension_count", 4);
        if (way == 5) gguf_u32(&b, "llama.attention.key_length", 0);
        if (way == 6) gguf_f32(&b, "llama.final_logit_softcapping", 30);
        if (way == 7) gguf_u32(&b, "split.count", 2);
        put_tensors(&b, false);
        CHECK(open_built(&b, &m, &err) != UCB_OK);
        CHECK_HAS(err.text, parts[way]);
    }
}

TEST(another_architecture_or_a_bare_vocabulary_is_no_model)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    gguf_text(&b, "general.architecture", "zebra");
    CHECK_STATUS(open_built(&b, &m, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "architecture zebra is not supported; supported: llama");
    put_metadata(&b);
    CHECK_STATUS(open_built(&b, &m, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "vocabulary and no tensors");
}

TEST(a_scale_that_is_not_finite_is_found_in_the_models_rows)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    put_metadata(&b);
    put_tensors(&b, true);
    const uint16_t infinity = 0x7c00;
    const size_t q_begin = 6 * 32 *
                           4; /* after the embedding; a row of q is one block of 20 bytes */
    memcpy(b.data.data + q_begin + 11 * 20 + 2, &infinity, 2);
    CHECK_STATUS(open_built(&b, &m, &err), UCB_CORRUPT, err);
    CHECK_HAS(
        err.text,
        "model.layers.0.self_attn.q_proj.weight holds a block scale that is not finite at row 13, column 0");
}

TEST(one_thread_and_many_read_the_same_rows)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_pool *pool;
    struct ucb_err err;
    enum { N_IDS = 9000 };
    uint32_t *ids = malloc(N_IDS * sizeof(*ids));
    float *one = malloc(N_IDS * 32 * sizeof(*one)),
          *many = malloc(N_IDS * 32 * sizeof(*many));
    CHECK(ids != NULL && one != NULL && many != NULL);
    put_metadata(&b);
    put_tensors(&b, true);
    CHECK_OK(open_built(&b, &m, &err), err);
    CHECK_OK(ucb_pool_open(3, &pool, &err), err);
    for (uint32_t i = 0; i < N_IDS; i++) ids[i] = i * 7 % 32;
    CHECK_OK(ucb_model_gather(m, ucb_model_matrix(m, 0, UCB_ROLE_Q), ids, N_IDS, NULL, one,
                              &err),
             err);
    CHECK_OK(ucb_model_gather(m, ucb_model_matrix(m, 0, UCB_ROLE_Q), ids, N_IDS, pool, many,
                              &err),
             err);
    CHECK(memcmp(one, many, N_IDS * 32 * sizeof(*one)) == 0);
    ucb_pool_close(pool);
    ucb_model_close(m);
    free(ids);
    free(one);
    free(many);
}

/* ---- smooth ---- */

TEST(the_smooth_model_moves_each_q4_1_element_within_half_a_step)
{
    struct gguf_build b = {0};
    struct ucb_model *m, *s;
    struct ucb_err err;
    struct ucb_pcg stream;
    float w[16 * 32], x[16 * 32], norm[32];
    const char *folder = ucb_test_path("%s/smooth", ucb_test_folder());
    put_metadata(&b);
    put_tensors(&b, true);
    CHECK_OK(open_built(&b, &m, &err), err);
    CHECK_OK(ucb_smooth_build(ucb_model_path(m), folder, NULL, &err), err);
    CHECK_OK(ucb_model_open(folder, &s, &err), err);
    CHECK_OK(
        ucb_model_read_rows(m, ucb_model_matrix(m, 0, UCB_ROLE_V), 0, 16, NULL, w, &err),
        err);
    CHECK_OK(
        ucb_model_read_rows(s, ucb_model_matrix(s, 0, UCB_ROLE_V), 0, 16, NULL, x, &err),
        err);
    ucb_pcg_named(&stream, 1, "blk.0.attn_v.weight");
    for (int i = 0; i < 16 * 32; i++)
        CHECK(x[i] == ucb_bf16_round(w[i] + (ucb_pcg_unit(&stream) - 0.5f) * 0.125f));
    CHECK_OK(ucb_model_read_vector(s, 0, UCB_VECTOR_MLP_NORM, norm, &err), err);
    for (int i = 0; i < 32; i++) CHECK(norm[i] == 1.0f + (float)i / 64); /* exact in bf16 */
    CHECK_OK(ucb_model_read_rows(s, ucb_model_matrix(s, 0, UCB_ROLE_EMBED), 5, 1, NULL,
                                 norm, &err),
             err);
    CHECK(norm[31] == 5.0f);
    CHECK(ucb_model_arch(s)->norm_eps == ucb_model_arch(m)->norm_eps &&
          ucb_model_arch(s)->tied_head);
    ucb_model_close(m);
    ucb_model_close(s);
}

TEST(the_smooth_model_is_the_same_with_one_thread_and_many)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_pool *pool;
    struct ucb_err err;
    static const char *const files[] = {"model.safetensors", "config.json",
                                        "vocabulary.gguf"};
    const char *folder = ucb_test_folder();
    char one[UCB_SHA256_HEX], many[UCB_SHA256_HEX];
    put_metadata(&b);
    put_tensors(&b, true);
    CHECK_OK(open_built(&b, &m, &err), err);
    CHECK_OK(ucb_pool_open(3, &pool, &err), err);
    CHECK_OK(
        ucb_smooth_build(ucb_model_path(m), ucb_test_path("%s/one", folder), NULL, &err),
        err);
    CHECK_OK(
        ucb_smooth_build(ucb_model_path(m), ucb_test_path("%s/many", folder), pool, &err),
        err);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ucb_sha256_file(ucb_test_path("%s/one/%s", folder, files[i]), one, &err),
                 err);
        CHECK_OK(ucb_sha256_file(ucb_test_path("%s/many/%s", folder, files[i]), many, &err),
                 err);
        CHECK_TEXT(one, many);
    }
    struct ucb_checkpoint *c;
    uint64_t value;
    CHECK_OK(ucb_checkpoint_open(ucb_test_path("%s/one/vocabulary.gguf", folder), &c, &err),
             err);
    CHECK(ucb_checkpoint_n_tensors(c) == 0 &&
          ucb_checkpoint_u64(c, "llama.context_length", &value) && value == 77);
    ucb_checkpoint_close(c);
    ucb_pool_close(pool);
    ucb_model_close(m);
}

TEST(a_scaled_source_cannot_be_made_smooth)
{
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    put_metadata(&b);
    gguf_text(&b, "llama.rope.scaling.type", "linear");
    gguf_f32(&b, "llama.rope.scaling.factor", 2.0f);
    put_tensors(&b, true);
    CHECK_OK(open_built(&b, &m, &err), err);
    CHECK_STATUS(ucb_smooth_build(ucb_model_path(m),
                                  ucb_test_path("%s/s", ucb_test_folder()), NULL, &err),
                 UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "scaled");
    ucb_model_close(m);
}

/* The real one, where the cache holds it. */
TEST(the_smooth_model_of_smollm2_has_its_pinned_digest)
{
    struct ucb_err err;
    char hex[UCB_SHA256_HEX];
    char gguf[4096];
    const char *folder = ucb_test_folder();
    if (ucb_model_locate("smollm2-135m", NULL, gguf, sizeof(gguf), &err) != UCB_OK)
        SKIP("%s", err.text);
    CHECK_OK(ucb_sha256_file(gguf, hex, &err), err);
    CHECK_TEXT(hex, UCB_SMOOTH_SOURCE_SHA256);
    CHECK_OK(ucb_smooth_build(gguf, folder, NULL, &err), err);
    CHECK_OK(ucb_sha256_file(ucb_test_path("%s/model.safetensors", folder), hex, &err),
             err);
    CHECK_TEXT(hex, UCB_SMOOTH_WEIGHTS_SHA256);
}
