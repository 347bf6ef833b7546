/*
 * model.h - a language model as the engine sees it: an architecture (numbers), matrices by
 * role, vectors by use.
 *
 * Whatever the file format, names are those of the Hugging Face checkpoint
 * ("model.layers.3.self_attn.q_proj.weight"), matrices are [out][in] of y = W x, and rope
 * is half-split: the reader undoes GGUF's row order.
 */
#ifndef UCB_MODEL_MODEL_H
#define UCB_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/err.h"
#include "core/pool.h"

enum ucb_role {
    UCB_ROLE_Q,
    UCB_ROLE_K,
    UCB_ROLE_V,
    UCB_ROLE_O,
    UCB_ROLE_GATE,
    UCB_ROLE_UP,
    UCB_ROLE_DOWN,
    UCB_N_LAYER_ROLES,
    UCB_ROLE_EMBED = UCB_N_LAYER_ROLES,
    UCB_ROLE_HEAD,
    UCB_N_ROLES
};
const char *
ucb_role_name(enum ucb_role role); /* "q_proj" ... "down_proj", "embed_tokens", "lm_head" */

/* What a layer multiplies: the matrices of one input are compressed together, after those
 * of the inputs before it (GPTQ's true-sequential order). */
enum ucb_input {
    UCB_INPUT_QKV,
    UCB_INPUT_O,
    UCB_INPUT_GATE_UP,
    UCB_INPUT_DOWN,
    UCB_N_INPUTS
};
enum ucb_input ucb_role_input(enum ucb_role role); /* of a layer's role */
const char *ucb_input_name(enum ucb_input input);  /* "qkv", "o", "gate_up", "down" */

enum ucb_vector {
    UCB_VECTOR_ATTN_NORM,
    UCB_VECTOR_MLP_NORM,
    UCB_VECTOR_FINAL_NORM,
    UCB_VECTOR_Q_BIAS,
    UCB_VECTOR_K_BIAS,
    UCB_VECTOR_V_BIAS,
    UCB_VECTOR_O_BIAS,
    UCB_VECTOR_GATE_BIAS,
    UCB_VECTOR_UP_BIAS,
    UCB_VECTOR_DOWN_BIAS,
    UCB_N_VECTORS
};

/* The numbers of an architecture. More architectures add fields here, and rows to the
 * tables in arch.c. */
struct ucb_arch {
    char model_type[32];
    uint32_t n_layers, hidden, n_heads, n_kv_heads, head_dim, ffn, vocabulary;
    uint32_t rotary_dim;    /* r: elements of a head that turn */
    uint32_t max_positions; /* 0 when the file does not say */
    float norm_eps;
    double rope_theta;
    float *rope_inv_freq; /* [rotary_dim / 2], scaling applied; computed in double, rounded
                             to fp32 once */
    float rope_magnitude; /* m: multiplies cosine and sine */
    bool attention_bias, mlp_bias, tied_head;
    float attention_scale; /* 1 / sqrt(head_dim) unless the architecture says otherwise */
};

/* One matrix; the struct of a model lives as long as the model. */
struct ucb_matrix {
    const char *name; /* Hugging Face name */
    enum ucb_role role;
    uint32_t layer; /* 0 for embed and head */
    uint32_t n_out, n_in;
    enum ucb_dtype dtype;        /* as stored */
    uint64_t stored_bytes;       /* its bytes in the file */
    const struct ucb_arch *arch; /* of its model; NULL for a matrix that has none */
};

struct ucb_model;
/*
 * `path` as for ucb_checkpoint_open; with safetensors, config.json lies beside. Checks
 * every shape against the configuration and refuses a configuration field that changes
 * results and is not honoured, naming it. Looks at every weight: CORRUPT names tensor, row
 * and column (from 0) of the first NaN or infinity. MISSING, CORRUPT, UNSUPPORTED, IO,
 * NOMEM.
 */
ucb_status ucb_model_open(const char *path, struct ucb_model **out, struct ucb_err *err);
void ucb_model_close(struct ucb_model *model); /* NULL is fine */

const struct ucb_arch *ucb_model_arch(const struct ucb_model *model);
struct ucb_checkpoint;
const struct ucb_checkpoint *ucb_model_checkpoint(const struct ucb_model *model);
const char *ucb_model_path(const struct ucb_model *model);
/* A sentence the user should see (a tied head that differs from the embedding), or NULL. */
const char *ucb_model_warning(const struct ucb_model *model);
/*
 * SHA-256, hex: of the one file, or of what `sha256sum FILES` prints for several
 * (config.json, weights, their index) in name order. Computed once; not for two threads at
 * a time.
 */
ucb_status ucb_model_digest(struct ucb_model *model, const char **hex, struct ucb_err *err);
/* All parameters (a tied head once), and the bytes of all model files less the tokenizer:
   tokenizer.json is not counted, nor are the tokenizer.* entries of a GGUF. */
uint64_t ucb_model_n_parameters(const struct ucb_model *model);
uint64_t ucb_model_file_bytes(const struct ucb_model *model);

/* The matrix of a role; `layer` is ignored for EMBED and HEAD. A tied head is the
 * embedding's matrix. Never NULL. */
const struct ucb_matrix *ucb_model_matrix(const struct ucb_model *model, uint32_t layer,
                                          enum ucb_role role);
/*
 * Widens rows [row, row + n_rows) of a matrix exactly to out[n_rows][n_in], all finite:
 * opening has looked at every weight. USAGE for rows past the last; IO when the file was
 * cut short meanwhile. Uses the pool (may be NULL).
 */
ucb_status ucb_model_read_rows(const struct ucb_model *model,
                               const struct ucb_matrix *matrix, uint32_t row,
                               uint32_t n_rows, struct ucb_pool *pool, float *out,
                               struct ucb_err *err);
/* The same for scattered rows: out[i] = row ids[i]. For embeddings. USAGE for an id past
 * the last row. */
ucb_status ucb_model_gather(const struct ucb_model *model, const struct ucb_matrix *matrix,
                            const uint32_t *ids, size_t n, struct ucb_pool *pool,
                            float *out, struct ucb_err *err);
/* Tells the system that the file pages of a layer are not needed soon. */
void ucb_model_forget_layer(const struct ucb_model *model, uint32_t layer);

/* Number of elements of a vector, 0 where the model has none. */
uint32_t ucb_model_vector_size(const struct ucb_model *model, uint32_t layer,
                               enum ucb_vector which);
ucb_status ucb_model_read_vector(const struct ucb_model *model, uint32_t layer,
                                 enum ucb_vector which, float *out, struct ucb_err *err);

#endif
