/*
 * arch_tables.c - what the files of each architecture hold, as tables: a matrix or a vector
 * is a row, an architecture a list of tables. Names and shapes: spec of the architectures,
 * sections 3 to 7 and 9.
 */
#include "model/model_internal.h"

#define LAYER "model.layers.N."
#define E(name) UCB_EXTENT_##name
#define MATRIX(r, name, gguf_name, rows, columns) \
    .role = UCB_ROLE_##r, .hf = name, .gguf = gguf_name, .out = E(rows), .in = E(columns)
#define VECTOR(name, gguf_name, size) \
    .hf = name, .gguf = gguf_name, .shape = {E(size)}, .n_dims = 1

/* clang-format off */
static const struct ucb_matrix_row llama_top[] = {
    {MATRIX(EMBED, "model.embed_tokens.weight", "token_embd.weight", VOCABULARY, HIDDEN)},
    {MATRIX(HEAD, "lm_head.weight", "output.weight", VOCABULARY, HIDDEN)},
    {.hf = NULL},
};
static const struct ucb_matrix_row llama_attention[] = {
    {MATRIX(Q, LAYER "self_attn.q_proj.weight", "blk.N.attn_q.weight", Q, HIDDEN), .rotates = true},
    {MATRIX(K, LAYER "self_attn.k_proj.weight", "blk.N.attn_k.weight", KV, HIDDEN), .rotates = true},
    {MATRIX(V, LAYER "self_attn.v_proj.weight", "blk.N.attn_v.weight", KV, HIDDEN)},
    {MATRIX(O, LAYER "self_attn.o_proj.weight", "blk.N.attn_output.weight", HIDDEN, Q)},
    {.hf = NULL},
};
static const struct ucb_matrix_row llama_mlp[] = {
    {MATRIX(GATE, LAYER "mlp.gate_proj.weight", "blk.N.ffn_gate.weight", FFN, HIDDEN), .presence = UCB_WITH_DENSE_MLP},
    {MATRIX(UP, LAYER "mlp.up_proj.weight", "blk.N.ffn_up.weight", FFN, HIDDEN), .presence = UCB_WITH_DENSE_MLP},
    {MATRIX(DOWN, LAYER "mlp.down_proj.weight", "blk.N.ffn_down.weight", HIDDEN, FFN), .presence = UCB_WITH_DENSE_MLP},
    {.hf = NULL},
};
static const struct ucb_matrix_row phi3_attention[] = {
    {MATRIX(Q, LAYER "self_attn.qkv_proj.weight", NULL, Q, HIDDEN), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV, .rotates = true},
    {MATRIX(K, LAYER "self_attn.qkv_proj.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV, .rotates = true},
    {MATRIX(V, LAYER "self_attn.qkv_proj.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV},
    {MATRIX(O, LAYER "self_attn.o_proj.weight", NULL, HIDDEN, Q)},
    {.hf = NULL},
};
static const struct ucb_matrix_row phi3_mlp[] = {
    {MATRIX(GATE, LAYER "mlp.gate_up_proj.weight", NULL, FFN, HIDDEN), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_GATE_UP},
    {MATRIX(UP, LAYER "mlp.gate_up_proj.weight", NULL, FFN, HIDDEN), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_GATE_UP},
    {MATRIX(DOWN, LAYER "mlp.down_proj.weight", NULL, HIDDEN, FFN)},
    {.hf = NULL},
};
static const struct ucb_matrix_row mixtral_experts[] = {
    {MATRIX(GATE, LAYER "block_sparse_moe.experts.E.w1.weight", "blk.N.ffn_gate_exps.weight", EXPERT_FFN, HIDDEN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {MATRIX(UP, LAYER "block_sparse_moe.experts.E.w3.weight", "blk.N.ffn_up_exps.weight", EXPERT_FFN, HIDDEN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {MATRIX(DOWN, LAYER "block_sparse_moe.experts.E.w2.weight", "blk.N.ffn_down_exps.weight", HIDDEN, EXPERT_FFN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {.hf = NULL},
};
static const struct ucb_matrix_row qwen_experts[] = {
    {MATRIX(GATE, LAYER "mlp.experts.E.gate_proj.weight", "blk.N.ffn_gate_exps.weight", EXPERT_FFN, HIDDEN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {MATRIX(UP, LAYER "mlp.experts.E.up_proj.weight", "blk.N.ffn_up_exps.weight", EXPERT_FFN, HIDDEN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {MATRIX(DOWN, LAYER "mlp.experts.E.down_proj.weight", "blk.N.ffn_down_exps.weight", HIDDEN, EXPERT_FFN), .presence = UCB_WITH_EXPERTS, .expert = true},
    {.hf = NULL},
};
static const struct ucb_matrix_row shared_experts[] = {
    {MATRIX(SHARED_GATE, LAYER "mlp.shared_experts.gate_proj.weight", NULL, SHARED_FFN, HIDDEN), .presence = UCB_WITH_SHARED_EXPERTS},
    {MATRIX(SHARED_UP, LAYER "mlp.shared_experts.up_proj.weight", NULL, SHARED_FFN, HIDDEN), .presence = UCB_WITH_SHARED_EXPERTS},
    {MATRIX(SHARED_DOWN, LAYER "mlp.shared_experts.down_proj.weight", NULL, HIDDEN, SHARED_FFN), .presence = UCB_WITH_SHARED_EXPERTS},
    {.hf = NULL},
};
static const struct ucb_matrix_row latent_attention[] = {
    {MATRIX(Q, LAYER "self_attn.q_proj.weight", NULL, LATENT_Q, HIDDEN), .presence = UCB_WITHOUT_Q_RANK},
    {MATRIX(Q_A, LAYER "self_attn.q_a_proj.weight", NULL, Q_RANK, HIDDEN), .presence = UCB_WITH_Q_RANK},
    {MATRIX(Q_B, LAYER "self_attn.q_b_proj.weight", NULL, LATENT_Q, Q_RANK), .presence = UCB_WITH_Q_RANK},
    {MATRIX(KV_A, LAYER "self_attn.kv_a_proj_with_mqa.weight", NULL, KV_A, HIDDEN)},
    {MATRIX(KV_B, LAYER "self_attn.kv_b_proj.weight", NULL, KV_B, KV_RANK)},
    {MATRIX(O, LAYER "self_attn.o_proj.weight", NULL, HIDDEN, VALUES)},
    {.hf = NULL},
};
static const struct ucb_matrix_row gpt2_matrices[] = {
    {MATRIX(EMBED, "wte.weight", NULL, VOCABULARY, HIDDEN)},
    {MATRIX(HEAD, "lm_head.weight", NULL, VOCABULARY, HIDDEN)},
    {MATRIX(Q, "h.N.attn.c_attn.weight", NULL, Q, HIDDEN), .layout = UCB_STORED_COLUMNS, .fusion = UCB_FUSION_QKV},
    {MATRIX(K, "h.N.attn.c_attn.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_COLUMNS, .fusion = UCB_FUSION_QKV},
    {MATRIX(V, "h.N.attn.c_attn.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_COLUMNS, .fusion = UCB_FUSION_QKV},
    {MATRIX(O, "h.N.attn.c_proj.weight", NULL, HIDDEN, Q), .layout = UCB_STORED_COLUMNS},
    {MATRIX(UP, "h.N.mlp.c_fc.weight", NULL, FFN, HIDDEN), .layout = UCB_STORED_COLUMNS},
    {MATRIX(DOWN, "h.N.mlp.c_proj.weight", NULL, HIDDEN, FFN), .layout = UCB_STORED_COLUMNS},
    {.hf = NULL},
};
static const struct ucb_matrix_row neox_matrices[] = {
    {MATRIX(EMBED, "gpt_neox.embed_in.weight", NULL, VOCABULARY, HIDDEN)},
    {MATRIX(HEAD, "embed_out.weight", NULL, VOCABULARY, HIDDEN)},
    {MATRIX(Q, "gpt_neox.layers.N.attention.query_key_value.weight", NULL, Q, HIDDEN), .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV, .rotates = true},
    {MATRIX(K, "gpt_neox.layers.N.attention.query_key_value.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV, .rotates = true},
    {MATRIX(V, "gpt_neox.layers.N.attention.query_key_value.weight", NULL, KV, HIDDEN), .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV},
    {MATRIX(O, "gpt_neox.layers.N.attention.dense.weight", NULL, HIDDEN, Q)},
    {MATRIX(UP, "gpt_neox.layers.N.mlp.dense_h_to_4h.weight", NULL, FFN, HIDDEN)},
    {MATRIX(DOWN, "gpt_neox.layers.N.mlp.dense_4h_to_h.weight", NULL, HIDDEN, FFN)},
    {.hf = NULL},
};
static const struct ucb_matrix_row mamba_matrices[] = {
    {MATRIX(EMBED, "backbone.embeddings.weight", NULL, VOCABULARY, HIDDEN), .hf_older = "backbone.embedding.weight"},
    {MATRIX(HEAD, "lm_head.weight", NULL, VOCABULARY, HIDDEN)},
    {MATRIX(SSM_IN, "backbone.layers.N.mixer.in_proj.weight", NULL, SSM_IN, HIDDEN)},
    {MATRIX(SSM_X, "backbone.layers.N.mixer.x_proj.weight", NULL, SSM_X, SSM_WIDTH)},
    {MATRIX(SSM_DT, "backbone.layers.N.mixer.dt_proj.weight", NULL, SSM_WIDTH, SSM_RANK)},
    {MATRIX(SSM_OUT, "backbone.layers.N.mixer.out_proj.weight", NULL, HIDDEN, SSM_WIDTH)},
    {.hf = NULL},
};

#define BIAS(role) (enum ucb_vector)(UCB_VECTOR_BIAS + UCB_ROLE_##role)
static const struct ucb_vector_row llama_norms[] = {
    {.which = UCB_VECTOR_ATTN_NORM, VECTOR(LAYER "input_layernorm.weight", "blk.N.attn_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM, VECTOR(LAYER "post_attention_layernorm.weight", "blk.N.ffn_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM, VECTOR("model.norm.weight", "output_norm.weight", HIDDEN)},
    {.hf = NULL},
};
static const struct ucb_vector_row llama_biases[] = {
    {.which = BIAS(Q), VECTOR(LAYER "self_attn.q_proj.bias", "blk.N.attn_q.bias", Q), .presence = UCB_WITH_QKV_BIAS, .rotates = true},
    {.which = BIAS(K), VECTOR(LAYER "self_attn.k_proj.bias", "blk.N.attn_k.bias", KV), .presence = UCB_WITH_QKV_BIAS, .rotates = true},
    {.which = BIAS(V), VECTOR(LAYER "self_attn.v_proj.bias", "blk.N.attn_v.bias", KV), .presence = UCB_WITH_QKV_BIAS},
    {.which = BIAS(O), VECTOR(LAYER "self_attn.o_proj.bias", "blk.N.attn_output.bias", HIDDEN), .presence = UCB_WITH_O_BIAS},
    {.which = BIAS(GATE), VECTOR(LAYER "mlp.gate_proj.bias", "blk.N.ffn_gate.bias", FFN), .presence = UCB_WITH_MLP_BIAS},
    {.which = BIAS(UP), VECTOR(LAYER "mlp.up_proj.bias", "blk.N.ffn_up.bias", FFN), .presence = UCB_WITH_MLP_BIAS},
    {.which = BIAS(DOWN), VECTOR(LAYER "mlp.down_proj.bias", "blk.N.ffn_down.bias", HIDDEN), .presence = UCB_WITH_MLP_BIAS},
    {.hf = NULL},
};
static const struct ucb_vector_row head_norms[] = {
    {.which = UCB_VECTOR_Q_NORM, VECTOR(LAYER "self_attn.q_norm.weight", "blk.N.attn_q_norm.weight", HEAD_DIM)},
    {.which = UCB_VECTOR_K_NORM, VECTOR(LAYER "self_attn.k_norm.weight", "blk.N.attn_k_norm.weight", HEAD_DIM)},
    {.hf = NULL},
};
static const struct ucb_vector_row projection_norms[] = {
    {.which = UCB_VECTOR_Q_NORM, VECTOR(LAYER "self_attn.q_norm.weight", "blk.N.attn_q_norm.weight", Q)},
    {.which = UCB_VECTOR_K_NORM, VECTOR(LAYER "self_attn.k_norm.weight", "blk.N.attn_k_norm.weight", KV)},
    {.hf = NULL},
};
static const struct ucb_vector_row mixtral_router[] = {
    {.which = UCB_VECTOR_ROUTER, .hf = LAYER "block_sparse_moe.gate.weight", .gguf = "blk.N.ffn_gate_inp.weight", .shape = {E(N_EXPERTS), E(HIDDEN)}, .n_dims = 2, .presence = UCB_WITH_EXPERTS},
    {.hf = NULL},
};
static const struct ucb_vector_row qwen_router[] = {
    {.which = UCB_VECTOR_ROUTER, .hf = LAYER "mlp.gate.weight", .gguf = "blk.N.ffn_gate_inp.weight", .shape = {E(N_EXPERTS), E(HIDDEN)}, .n_dims = 2, .presence = UCB_WITH_EXPERTS},
    {.hf = NULL},
};
static const struct ucb_vector_row phimoe_extras[] = {
    {.which = UCB_VECTOR_ATTN_NORM_BIAS, VECTOR(LAYER "input_layernorm.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM_BIAS, VECTOR(LAYER "post_attention_layernorm.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM_BIAS, VECTOR("model.norm.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_HEAD_BIAS, VECTOR("lm_head.bias", NULL, VOCABULARY), .presence = UCB_WITH_HEAD_BIAS},
    {.hf = NULL},
};
static const struct ucb_vector_row latent_norms[] = {
    {.which = UCB_VECTOR_Q_A_NORM, VECTOR(LAYER "self_attn.q_a_layernorm.weight", NULL, Q_RANK), .presence = UCB_WITH_Q_RANK},
    {.which = UCB_VECTOR_KV_A_NORM, VECTOR(LAYER "self_attn.kv_a_layernorm.weight", NULL, KV_RANK)},
    {.which = BIAS(Q_A), VECTOR(LAYER "self_attn.q_a_proj.bias", NULL, Q_RANK), .presence = UCB_WITH_Q_RANK_BIAS},
    {.which = BIAS(KV_A), VECTOR(LAYER "self_attn.kv_a_proj_with_mqa.bias", NULL, KV_A), .presence = UCB_WITH_QKV_BIAS},
    {.which = BIAS(O), VECTOR(LAYER "self_attn.o_proj.bias", NULL, HIDDEN), .presence = UCB_WITH_O_BIAS},
    {.hf = NULL},
};
static const struct ucb_vector_row gemma_norms[] = {
    {.which = UCB_VECTOR_ATTN_NORM, VECTOR(LAYER "input_layernorm.weight", "blk.N.attn_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_POST_ATTN_NORM, VECTOR(LAYER "post_attention_layernorm.weight", "blk.N.post_attention_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM, VECTOR(LAYER "pre_feedforward_layernorm.weight", "blk.N.ffn_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_POST_MLP_NORM, VECTOR(LAYER "post_feedforward_layernorm.weight", "blk.N.post_ffw_norm.weight", HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM, VECTOR("model.norm.weight", "output_norm.weight", HIDDEN)},
    {.hf = NULL},
};
static const struct ucb_vector_row gpt2_vectors[] = {
    {.which = UCB_VECTOR_POSITIONS, .hf = "wpe.weight", .gguf = NULL, .shape = {E(POSITIONS), E(HIDDEN)}, .n_dims = 2},
    {.which = UCB_VECTOR_ATTN_NORM, VECTOR("h.N.ln_1.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_ATTN_NORM_BIAS, VECTOR("h.N.ln_1.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM, VECTOR("h.N.ln_2.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM_BIAS, VECTOR("h.N.ln_2.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM, VECTOR("ln_f.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM_BIAS, VECTOR("ln_f.bias", NULL, HIDDEN)},
    {.which = BIAS(Q), VECTOR("h.N.attn.c_attn.bias", NULL, Q), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV},
    {.which = BIAS(K), VECTOR("h.N.attn.c_attn.bias", NULL, KV), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV},
    {.which = BIAS(V), VECTOR("h.N.attn.c_attn.bias", NULL, KV), .layout = UCB_STORED_STACKED, .fusion = UCB_FUSION_QKV},
    {.which = BIAS(O), VECTOR("h.N.attn.c_proj.bias", NULL, HIDDEN)},
    {.which = BIAS(UP), VECTOR("h.N.mlp.c_fc.bias", NULL, FFN)},
    {.which = BIAS(DOWN), VECTOR("h.N.mlp.c_proj.bias", NULL, HIDDEN)},
    {.hf = NULL},
};
static const struct ucb_vector_row neox_vectors[] = {
    {.which = UCB_VECTOR_ATTN_NORM, VECTOR("gpt_neox.layers.N.input_layernorm.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_ATTN_NORM_BIAS, VECTOR("gpt_neox.layers.N.input_layernorm.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM, VECTOR("gpt_neox.layers.N.post_attention_layernorm.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_MLP_NORM_BIAS, VECTOR("gpt_neox.layers.N.post_attention_layernorm.bias", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM, VECTOR("gpt_neox.final_layer_norm.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM_BIAS, VECTOR("gpt_neox.final_layer_norm.bias", NULL, HIDDEN)},
    {.which = BIAS(Q), VECTOR("gpt_neox.layers.N.attention.query_key_value.bias", NULL, Q), .presence = UCB_WITH_QKV_BIAS, .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV, .rotates = true},
    {.which = BIAS(K), VECTOR("gpt_neox.layers.N.attention.query_key_value.bias", NULL, KV), .presence = UCB_WITH_QKV_BIAS, .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV, .rotates = true},
    {.which = BIAS(V), VECTOR("gpt_neox.layers.N.attention.query_key_value.bias", NULL, KV), .presence = UCB_WITH_QKV_BIAS, .layout = UCB_STORED_HEADS, .fusion = UCB_FUSION_QKV},
    {.which = BIAS(O), VECTOR("gpt_neox.layers.N.attention.dense.bias", NULL, HIDDEN), .presence = UCB_WITH_O_BIAS},
    {.which = BIAS(UP), VECTOR("gpt_neox.layers.N.mlp.dense_h_to_4h.bias", NULL, FFN)},
    {.which = BIAS(DOWN), VECTOR("gpt_neox.layers.N.mlp.dense_4h_to_h.bias", NULL, HIDDEN)},
    {.hf = NULL},
};
static const struct ucb_vector_row mamba_vectors[] = {
    {.which = UCB_VECTOR_ATTN_NORM, VECTOR("backbone.layers.N.norm.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_FINAL_NORM, VECTOR("backbone.norm_f.weight", NULL, HIDDEN)},
    {.which = UCB_VECTOR_SSM_CONV, .hf = "backbone.layers.N.mixer.conv1d.weight", .gguf = NULL, .shape = {E(SSM_WIDTH), E(ONE), E(SSM_KERNEL)}, .n_dims = 3},
    {.which = UCB_VECTOR_SSM_CONV_BIAS, VECTOR("backbone.layers.N.mixer.conv1d.bias", NULL, SSM_WIDTH), .presence = UCB_WITH_CONV_BIAS},
    {.which = UCB_VECTOR_SSM_A_LOG, .hf = "backbone.layers.N.mixer.A_log", .gguf = NULL, .shape = {E(SSM_WIDTH), E(SSM_STATE)}, .n_dims = 2},
    {.which = UCB_VECTOR_SSM_D, VECTOR("backbone.layers.N.mixer.D", NULL, SSM_WIDTH)},
    {.which = BIAS(SSM_IN), VECTOR("backbone.layers.N.mixer.in_proj.bias", NULL, SSM_IN), .presence = UCB_WITH_SSM_BIAS},
    {.which = BIAS(SSM_DT), VECTOR("backbone.layers.N.mixer.dt_proj.bias", NULL, SSM_WIDTH)},
    {.which = BIAS(SSM_OUT), VECTOR("backbone.layers.N.mixer.out_proj.bias", NULL, HIDDEN), .presence = UCB_WITH_SSM_BIAS},
    {.hf = NULL},
};

const struct ucb_family ucb_families[] = {
    {.model_type = "llama", .gguf_arch = "llama", .eps_default = 1e-6, .theta_default = 1e4, .gguf_interleaves = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {llama_norms, llama_biases}},
    {.model_type = "mistral", .gguf_arch = "llama", .eps_default = 1e-6, .theta_default = 1e4, .kv_heads_required = true, .gguf_interleaves = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {llama_norms}},
    {.model_type = "qwen2", .gguf_arch = "qwen2", .eps_default = 1e-6, .theta_default = 1e4, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {llama_norms, llama_biases}},
    {.model_type = "qwen3", .gguf_arch = "qwen3", .eps_default = 1e-6, .theta_default = 1e4, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {llama_norms, llama_biases, head_norms}},
    {.model_type = "phi3", .eps_default = 1e-5, .theta_default = 1e4,
     .matrices = {llama_top, phi3_attention, phi3_mlp}, .vectors = {llama_norms}},
    {.model_type = "mixtral", .gguf_arch = "llama", .eps_default = 1e-5, .theta_default = 1e6, .kv_heads_required = true, .gguf_interleaves = true,
     .matrices = {llama_top, llama_attention, mixtral_experts}, .vectors = {llama_norms, llama_biases, mixtral_router}},
    {.model_type = "qwen3_moe", .gguf_arch = "qwen3moe", .eps_default = 1e-6, .theta_default = 1e4, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, llama_mlp, qwen_experts}, .vectors = {llama_norms, llama_biases, head_norms, qwen_router}},
    {.model_type = "olmoe", .gguf_arch = "olmoe", .gguf_plain_weights = true, .eps_default = 1e-5, .theta_default = 1e4,
     .matrices = {llama_top, llama_attention, qwen_experts}, .vectors = {llama_norms, llama_biases, projection_norms, qwen_router}},
    {.model_type = "phimoe", .eps_default = 1e-5, .theta_default = 1e6, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, mixtral_experts}, .vectors = {llama_norms, llama_biases, phimoe_extras, mixtral_router}},
    {.model_type = "deepseek_v2", .eps_default = 1e-6, .theta_default = 1e4,
     .matrices = {llama_top, latent_attention, llama_mlp, qwen_experts, shared_experts}, .vectors = {llama_norms, latent_norms, qwen_router}},
    {.model_type = "gemma2", .eps_default = 1e-6, .theta_default = 1e4, .tied_default = true, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {gemma_norms, llama_biases}},
    {.model_type = "gemma3_text", .gguf_arch = "gemma3", .eps_default = 1e-6, .theta_default = 1e6, .tied_default = true, .kv_heads_required = true,
     .matrices = {llama_top, llama_attention, llama_mlp}, .vectors = {gemma_norms, llama_biases, head_norms}},
    {.model_type = "gpt2", .eps_default = 1e-5, .theta_default = 1e4, .tied_default = true, .hf_prefix = "transformer.", .matrices = {gpt2_matrices}, .vectors = {gpt2_vectors}},
    {.model_type = "gpt_neox", .eps_default = 1e-5, .theta_default = 1e4, .matrices = {neox_matrices}, .vectors = {neox_vectors}},
    {.model_type = "mamba", .eps_default = 1e-5, .theta_default = 1e4, .tied_default = true, .matrices = {mamba_matrices}, .vectors = {mamba_vectors}},
    {.model_type = NULL},
};
/* clang-format on */
