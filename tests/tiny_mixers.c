/* tiny_mixers.c - see tiny_mixers.h. */
#include "tiny_mixers.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/pcg.h"
#include "model/checkpoint.h"
#include "test.h"

enum { LAYERS = 2, MAX_TENSORS = 96 };

struct writer {
    struct ucb_tensor tensors[MAX_TENSORS];
    size_t n;
};

/* A tensor of uniform values around `mean`; `columns` is 0 for a vector. */
struct part {
    const char *name;
    uint64_t rows, columns;
    float mean, spread;
};

static void add_tensor(struct writer *w, const char *name, const struct part *part)
{
    uint64_t n = part->columns == 0 ? part->rows : part->rows * part->columns;
    float *data = malloc(n * sizeof(*data));
    struct ucb_pcg random;
    bool has_middle = strstr(name, "conv1d.weight") != NULL; /* [rows][1][columns] */
    CHECK(data != NULL && w->n < MAX_TENSORS);
    ucb_pcg_named(&random, 7, name);
    for (uint64_t i = 0; i < n; i++)
        data[i] = part->mean + (2 * ucb_pcg_unit(&random) - 1) * part->spread;
    struct ucb_tensor *t = &w->tensors[w->n++];
    *t = (struct ucb_tensor){.name = strdup(name),
                             .dtype = UCB_F32,
                             .n_dims = part->columns == 0 ? 1
                                       : has_middle       ? 3
                                                          : 2,
                             .shape = {part->rows, part->columns},
                             .n_elements = n,
                             .data = (uint8_t *)data,
                             .n_bytes = n * sizeof(*data)};
    if (has_middle) t->shape[1] = 1, t->shape[2] = part->columns;
}

static void add_parts(struct writer *w, const char *prefix, const struct part *parts,
                      size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_tensor(w, ucb_test_path("%s%s", prefix, parts[i].name), &parts[i]);
}

static void write_model(struct writer *w, const char *folder, const char *config)
{
    struct ucb_err err;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/config.json", folder), config, strlen(config),
                            &err),
             err);
    CHECK_OK(ucb_safetensors_write(ucb_test_path("%s/model.safetensors", folder),
                                   w->tensors, w->n, &err),
             err);
    for (size_t i = 0; i < w->n; i++) {
        free((void *)(uintptr_t)w->tensors[i].name);
        free((void *)(uintptr_t)w->tensors[i].data);
    }
}

#define N_OF(parts) (sizeof(parts) / sizeof((parts)[0]))

/* ---- latent attention ---- */

enum {
    HIDDEN = 40,
    VOCABULARY = 258,
    HEADS = 3,
    Q_RANK = 14,
    KV_RANK = 18,
    NOPE = 6,
    ROPE = 4,
    VALUE = 17, /* wider than a key's ten */
    FFN = 44,
    EXPERTS = 8,
    EXPERT_FFN = 20
};

static const char latent_config[] =
    "{\"model_type\": \"deepseek_v2\", \"hidden_size\": 40, \"vocab_size\": 258,\n"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"num_key_value_heads\": 3,\n"
    " \"q_lora_rank\": 14, \"kv_lora_rank\": 18, \"qk_nope_head_dim\": 6,\n"
    " \"qk_rope_head_dim\": 4, \"v_head_dim\": 17, \"attention_bias\": true,\n"
    " \"hidden_act\": \"silu\", \"intermediate_size\": 44, \"first_k_dense_replace\": 1,\n"
    " \"n_routed_experts\": 8, \"num_experts_per_tok\": 3, \"moe_intermediate_size\": 20,\n"
    " \"n_shared_experts\": 1, \"topk_method\": \"group_limited_greedy\", \"n_group\": 4,\n"
    " \"topk_group\": 2, \"routed_scaling_factor\": 2.5, \"norm_topk_prob\": false,\n"
    " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000, \"max_position_embeddings\": 256,\n"
    " \"tie_word_embeddings\": true, \"torch_dtype\": \"float32\"}\n";

static const struct part latent_mixer[] = {
    {"input_layernorm.weight", HIDDEN, 0, 1, 0.2f},
    {"self_attn.q_a_proj.weight", Q_RANK, HIDDEN, 0, 0.3f},
    {"self_attn.q_a_proj.bias", Q_RANK, 0, 0, 0.2f},
    {"self_attn.q_a_layernorm.weight", Q_RANK, 0, 1, 0.2f},
    {"self_attn.q_b_proj.weight", HEADS *(NOPE + ROPE), Q_RANK, 0, 0.4f},
    {"self_attn.kv_a_proj_with_mqa.weight", KV_RANK + ROPE, HIDDEN, 0, 0.3f},
    {"self_attn.kv_a_proj_with_mqa.bias", KV_RANK + ROPE, 0, 0, 0.2f},
    {"self_attn.kv_a_layernorm.weight", KV_RANK, 0, 1, 0.2f},
    {"self_attn.kv_b_proj.weight", HEADS *(NOPE + VALUE), KV_RANK, 0, 0.4f},
    {"self_attn.o_proj.weight", HIDDEN, HEADS *VALUE, 0, 0.3f},
    {"self_attn.o_proj.bias", HIDDEN, 0, 0, 0.2f},
    {"post_attention_layernorm.weight", HIDDEN, 0, 1, 0.2f},
};
static const struct part dense_mlp[] = {
    {"mlp.gate_proj.weight", FFN, HIDDEN, 0, 0.3f},
    {"mlp.up_proj.weight", FFN, HIDDEN, 0, 0.3f},
    {"mlp.down_proj.weight", HIDDEN, FFN, 0, 0.3f},
};
static const struct part one_expert[] = {
    {"gate_proj.weight", EXPERT_FFN, HIDDEN, 0, 0.3f},
    {"up_proj.weight", EXPERT_FFN, HIDDEN, 0, 0.3f},
    {"down_proj.weight", HIDDEN, EXPERT_FFN, 0, 0.3f},
};
static const struct part router[] = {{"mlp.gate.weight", EXPERTS, HIDDEN, 0, 0.3f}};

void tiny_latent_model(const char *folder)
{
    static const struct part ends[] = {
        {"model.embed_tokens.weight", VOCABULARY, HIDDEN, 0, 0.5f},
        {"model.norm.weight", HIDDEN, 0, 1, 0.2f},
    };
    struct writer w = {.n = 0};
    add_parts(&w, "", ends, N_OF(ends));
    for (int layer = 0; layer < LAYERS; layer++)
        add_parts(&w, ucb_test_path("model.layers.%d.", layer), latent_mixer,
                  N_OF(latent_mixer));
    add_parts(&w, "model.layers.0.", dense_mlp, N_OF(dense_mlp));
    add_parts(&w, "model.layers.1.", router, N_OF(router));
    for (int e = 0; e < EXPERTS; e++)
        add_parts(&w, ucb_test_path("model.layers.1.mlp.experts.%d.", e), one_expert,
                  N_OF(one_expert));
    add_parts(&w, "model.layers.1.mlp.shared_experts.", one_expert, N_OF(one_expert));
    write_model(&w, folder, latent_config);
}

/* ---- state space ---- */

enum { WIDTH = 37, STATE = 5, TAPS = 3, RANK = 4 };

static const char ssm_config[] =
    "{\"model_type\": \"mamba\", \"hidden_size\": 40, \"vocab_size\": 258,\n"
    " \"num_hidden_layers\": 2, \"intermediate_size\": 37, \"state_size\": 5,\n"
    " \"conv_kernel\": 3, \"time_step_rank\": 4, \"use_bias\": true,\n"
    " \"use_conv_bias\": false, \"hidden_act\": \"silu\", \"layer_norm_epsilon\": 1e-05,\n"
    " \"torch_dtype\": \"float32\"}\n";

static const struct part ssm_layer[] = {
    {"norm.weight", HIDDEN, 0, 1, 0.2f},
    {"mixer.in_proj.weight", 2 * WIDTH, HIDDEN, 0, 0.3f},
    {"mixer.in_proj.bias", 2 * WIDTH, 0, 0, 0.2f},
    {"mixer.conv1d.weight", WIDTH, TAPS, 0, 0.7f},
    {"mixer.x_proj.weight", RANK + 2 * STATE, WIDTH, 0, 0.4f},
    {"mixer.dt_proj.weight", WIDTH, RANK, 0, 0.5f},
    {"mixer.dt_proj.bias", WIDTH, 0, -1.5f, 1},
    {"mixer.A_log", WIDTH, STATE, 0.5f, 1},
    {"mixer.D", WIDTH, 0, 1, 0.3f},
    {"mixer.out_proj.weight", HIDDEN, WIDTH, 0, 0.4f},
    {"mixer.out_proj.bias", HIDDEN, 0, 0, 0.2f},
};

void tiny_ssm_model(const char *folder)
{
    static const struct part ends[] = {
        {"backbone.embeddings.weight", VOCABULARY, HIDDEN, 0, 0.5f},
        {"backbone.norm_f.weight", HIDDEN, 0, 1, 0.2f},
    };
    struct writer w = {.n = 0};
    add_parts(&w, "", ends, N_OF(ends));
    for (int layer = 0; layer < LAYERS; layer++)
        add_parts(&w, ucb_test_path("backbone.layers.%d.", layer), ssm_layer,
                  N_OF(ssm_layer));
    write_model(&w, folder, ssm_config);
}
