/*
 * model.h - a language model as the engine sees it: an architecture (numbers), matrices by
 * role, vectors by use.
 *
 * Whatever the file format, names are those of the Hugging Face checkpoint
 * ("model.layers.3.self_attn.q_proj.weight", with ":q_proj" behind it where a tensor holds
 * several), matrices are [out][in] of y = W x, and rope is half-split (latent attention:
 * adjacent): the reader undoes GGUF's row order.
 */
#ifndef UCB_MODEL_MODEL_H
#define UCB_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h" /* enum ucb_activation */
#include "core/dtype.h"
#include "core/err.h"
#include "core/pool.h"

/* What a matrix of a layer is used for. Experts' matrices are GATE, UP and DOWN with an
 * index; a plain MLP has UP and DOWN only. */
enum ucb_role {
    UCB_ROLE_Q,
    UCB_ROLE_K,
    UCB_ROLE_V,
    UCB_ROLE_O,
    UCB_ROLE_GATE,
    UCB_ROLE_UP,
    UCB_ROLE_DOWN,
    UCB_ROLE_SHARED_GATE, /* of the experts that every token visits */
    UCB_ROLE_SHARED_UP,
    UCB_ROLE_SHARED_DOWN,
    UCB_ROLE_Q_A, /* latent attention: down to the rank and up from it */
    UCB_ROLE_KV_A,
    UCB_ROLE_Q_B,
    UCB_ROLE_KV_B,
    UCB_ROLE_SSM_IN, /* state space */
    UCB_ROLE_SSM_X,
    UCB_ROLE_SSM_DT,
    UCB_ROLE_SSM_OUT,
    UCB_N_LAYER_ROLES,
    UCB_ROLE_EMBED = UCB_N_LAYER_ROLES,
    UCB_ROLE_HEAD,
    UCB_N_ROLES
};
const char *
ucb_role_name(enum ucb_role role); /* "q_proj" ... "down_proj", "embed_tokens", "lm_head" */

/* What a layer multiplies, in the order it computes: the matrices of one input are
 * compressed together, after those of the inputs before it (GPTQ's true-sequential order).
 */
enum ucb_input {
    UCB_INPUT_QKV,       /* the normed residual: q, k, v, q_a, kv_a */
    UCB_INPUT_LATENT_Q,  /* q_b */
    UCB_INPUT_LATENT_KV, /* kv_b */
    UCB_INPUT_O,
    UCB_INPUT_SHARED_GATE_UP,
    UCB_INPUT_GATE_UP, /* dense gate and up; of an expert: the rows sent to it */
    UCB_INPUT_DOWN,    /* dense down; of an expert: its own */
    UCB_INPUT_SHARED_DOWN,
    UCB_INPUT_SSM_IN,
    UCB_INPUT_SSM_X,
    UCB_INPUT_SSM_DT,
    UCB_INPUT_SSM_OUT,
    UCB_N_INPUTS
};
enum ucb_input ucb_role_input(enum ucb_role role); /* of a layer's role */
const char *ucb_input_name(enum ucb_input input);  /* "qkv", "o", "gate_up", "down", ... */

/* Small tensors that no method touches: norms, biases, routers, what a state space model
 * keeps beside its matrices. Widened to fp32 whole. A layer has those its architecture
 * needs. */
enum ucb_vector {
    UCB_VECTOR_ATTN_NORM, /* before the mixer (attention or state space) */
    UCB_VECTOR_ATTN_NORM_BIAS,
    UCB_VECTOR_MLP_NORM, /* before the MLP */
    UCB_VECTOR_MLP_NORM_BIAS,
    UCB_VECTOR_POST_ATTN_NORM, /* after the mixer, before it is added (Gemma) */
    UCB_VECTOR_POST_MLP_NORM,
    UCB_VECTOR_Q_NORM, /* [head_dim], or [n_heads * head_dim] */
    UCB_VECTOR_K_NORM,
    UCB_VECTOR_Q_A_NORM,
    UCB_VECTOR_KV_A_NORM,
    UCB_VECTOR_ROUTER,   /* [n_experts][hidden] */
    UCB_VECTOR_SSM_CONV, /* [width][kernel] */
    UCB_VECTOR_SSM_CONV_BIAS,
    UCB_VECTOR_SSM_A_LOG, /* [width][state] */
    UCB_VECTOR_SSM_D,
    /* of the model, not of a layer */
    UCB_VECTOR_FINAL_NORM,
    UCB_VECTOR_FINAL_NORM_BIAS,
    UCB_VECTOR_POSITIONS, /* [max_positions][hidden] */
    UCB_VECTOR_HEAD_BIAS,
    /* the bias of each layer role, in role order */
    UCB_VECTOR_BIAS,
    UCB_N_VECTORS = UCB_VECTOR_BIAS + UCB_N_LAYER_ROLES
};
static inline enum ucb_vector ucb_bias_of(enum ucb_role role)
{
    return (enum ucb_vector)((int)UCB_VECTOR_BIAS + (int)role);
}

enum ucb_mixer { UCB_MIXER_ATTENTION, UCB_MIXER_LATENT, UCB_MIXER_SSM };
enum ucb_norm { UCB_NORM_RMS, UCB_NORM_LAYER };
enum ucb_positions {
    UCB_POSITIONS_HALVES,
    UCB_POSITIONS_PAIRS,
    UCB_POSITIONS_LEARNED,
    UCB_POSITIONS_NONE
};
enum ucb_qk_norm { UCB_QK_NORM_NONE, UCB_QK_NORM_HEAD, UCB_QK_NORM_PROJECTION };
enum ucb_routing { UCB_ROUTING_SOFTMAX, UCB_ROUTING_SPARSEMIXER };

/* Rotary frequencies, scaling applied; computed in double, rounded to fp32 once. A window
 * of more than `original` tokens turns by the long ones, where there are such. */
struct ucb_rope_set {
    float *inv_freq,
        *long_inv_freq; /* [rotary_dim / 2]; long: NULL where nothing switches */
    float magnitude, long_magnitude; /* multiply cosine and sine */
    uint32_t original;
};
enum { UCB_MAX_ROPE_SETS = 2 };

struct ucb_experts {
    uint32_t n, used, width; /* n 0: none */
    uint32_t shared_width;   /* 0: none */
    enum ucb_routing routing;
    bool normalise;                 /* weights of the chosen divided by their sum */
    float scale;                    /* times this */
    uint32_t n_groups, groups_used; /* 1, 1: no limit by groups */
    float jitter;                   /* of the sparse mixer */
};
struct ucb_latent {
    uint32_t q_rank;                     /* 0: q_proj as usual */
    uint32_t kv_rank, nope, rope, value; /* sizes of a head's parts */
};
struct ucb_ssm {
    uint32_t width, state, kernel, rank;
};
/* What differs from layer to layer. */
struct ucb_layer_arch {
    uint32_t window; /* sliding window, 0: none */
    uint32_t ffn;    /* width of the dense MLP, 0: experts, or no MLP */
    uint32_t rope;   /* which of arch->rope */
    float
        score_scale; /* replaces arch->attention_scale where it is not 0 (GPT-2 by layer) */
};

/* The numbers of an architecture: one description for all families. A layer is
 *
 *     a = norm(x); m = mixer(a); x += post_norm(m)
 *     b = norm(x); y = mlp(b);   x += post_norm(y)
 *
 * with what is absent left out; parallel residual takes b from the same x as a. */
struct ucb_arch {
    char model_type[32];
    uint32_t n_layers, hidden, n_heads, n_kv_heads, head_dim, ffn, vocabulary;
    uint32_t rotary_dim;    /* r: elements of a head that turn */
    uint32_t max_positions; /* 0 when the file does not say; a limit where learned */
    enum ucb_mixer mixer;
    enum ucb_norm norm;
    float norm_eps;
    enum ucb_activation activation;
    bool gated; /* down(act(gate) * up); otherwise down(act(up)) */
    bool parallel_residual;
    enum ucb_positions positions;
    double rope_theta;
    struct ucb_rope_set rope[UCB_MAX_ROPE_SETS];
    enum ucb_qk_norm qk_norm;
    float clip_qkv;        /* 0: none */
    float attention_scale; /* 1 / sqrt(head_dim) unless the architecture says otherwise */
    float attention_softcap, final_softcap; /* 0: none */
    float embed_scale;                      /* 1 but for Gemma */
    bool norm_plus_one; /* the file holds w of norms that multiply by 1 + w; the vectors
                           handed out are 1 + w already */
    bool qkv_bias, o_bias, mlp_bias, head_bias, ssm_bias, conv_bias, tied_head;
    struct ucb_experts experts;
    struct ucb_latent latent;
    struct ucb_ssm ssm;
    struct ucb_layer_arch *layers; /* [n_layers] */
};

/* One matrix; the struct of a model lives as long as the model. */
struct ucb_matrix {
    const char *name; /* Hugging Face name */
    enum ucb_role role;
    uint32_t layer;  /* 0 for embed and head */
    uint32_t expert; /* of GATE, UP, DOWN in a layer of experts; else 0 */
    uint32_t n_out, n_in;
    enum ucb_dtype dtype;        /* as stored */
    uint64_t stored_bytes;       /* its bytes in the file */
    const struct ucb_arch *arch; /* of its model; NULL for a matrix that has none */
};

/* Whether two matrices of one layer multiply the same rows. */
static inline bool ucb_reads_same(const struct ucb_matrix *a, const struct ucb_matrix *b)
{
    return a->expert == b->expert && ucb_role_input(a->role) == ucb_role_input(b->role);
}

struct ucb_model;
struct ucb_tensor;
/*
 * `path` as for ucb_checkpoint_open; with safetensors, config.json lies beside. Checks
 * every shape against the configuration and refuses a configuration field that changes
 * results and is not honoured, naming it. Looks at every weight: CORRUPT names tensor, row
 * and column (from 0) of the first NaN or infinity. MISSING, CORRUPT, UNSUPPORTED, IO,
 * NOMEM.
 */
ucb_status ucb_model_open(const char *path, struct ucb_model **out, struct ucb_err *err);
/*
 * The same without the look at the weights, in time that does not depend on their size: for
 * describing a model. ucb_model_look() makes up for it before anything is computed.
 */
ucb_status ucb_model_open_unread(const char *path, struct ucb_model **out,
                                 struct ucb_err *err);
ucb_status ucb_model_look(const struct ucb_model *model, struct ucb_err *err);
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
 * embedding's matrix. Of experts: the first one's. NULL where the layer has none. */
const struct ucb_matrix *ucb_model_matrix(const struct ucb_model *model, uint32_t layer,
                                          enum ucb_role role);
/* All matrices of a layer in the order of their inputs; those of one input stand together,
 * experts by index: gate and up of each, then down of each. */
const struct ucb_matrix *const *ucb_model_layer_matrices(const struct ucb_model *model,
                                                         uint32_t layer, size_t *n);
/* Where in that list the first matrix of each role stands: [UCB_N_LAYER_ROLES], UINT32_MAX
 * where the layer has none. Of expert e: gate and up stand 2 e further, down e further. */
const uint32_t *ucb_model_layer_slots(const struct ucb_model *model, uint32_t layer);
/*
 * Widens rows [row, row + n_rows) of a matrix exactly to out[n_rows][n_in], all finite:
 * opening has looked at every weight. The file's pages are released behind. USAGE for rows
 * past the last; IO when the file was cut short meanwhile. Uses the pool (may be NULL);
 * without one, any number of threads may read at a time.
 */
ucb_status ucb_model_read_rows(const struct ucb_model *model,
                               const struct ucb_matrix *matrix, uint32_t row,
                               uint32_t n_rows, struct ucb_pool *pool, float *out,
                               struct ucb_err *err);
/*
 * The bits of those rows as the file holds them, in the matrix's dtype and the order of its
 * rows: no float is made of them. UNSUPPORTED for blocks whose rows the file does not hold
 * as such (turned matrices).
 */
ucb_status ucb_model_read_bits(const struct ucb_model *model,
                               const struct ucb_matrix *matrix, uint32_t row,
                               uint32_t n_rows, void *out, struct ucb_err *err);
/* The same as ucb_model_read_rows for scattered rows: out[i] = row ids[i]. For embeddings.
 * USAGE for an id past the last row. */
ucb_status ucb_model_gather(const struct ucb_model *model, const struct ucb_matrix *matrix,
                            const uint32_t *ids, size_t n, struct ucb_pool *pool,
                            float *out, struct ucb_err *err);

/*
 * Where a matrix lies in its tensor: row r is the tensor's row (turned: its column)
 * base + r / block * stride + r % block, after rows of a head of `head_dim` (0: no such
 * order) were put from halves into neighbours: i to 2 i, i + head_dim / 2 to 2 i + 1.
 */
struct ucb_place {
    const struct ucb_tensor *tensor;
    uint32_t base, block, stride, head_dim;
    uint32_t columns; /* elements of a row of the tensor */
    bool turned;
};
void ucb_model_place(const struct ucb_model *model, const struct ucb_matrix *matrix,
                     struct ucb_place *out);
static inline uint64_t ucb_place_of(const struct ucb_place *p, uint32_t row)
{
    uint32_t d = p->head_dim, i = d == 0 ? 0 : row % d;
    if (d != 0) row = row - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
    return (uint64_t)p->base + (uint64_t)(row / p->block) * p->stride + row % p->block;
}
/* The tensor that is a vector, NULL: none; *plus_one: the engine multiplies by 1 + it. */
const struct ucb_tensor *ucb_model_vector_tensor(const struct ucb_model *model,
                                                 uint32_t layer, enum ucb_vector which,
                                                 bool *plus_one);

/* Number of elements of a vector, 0 where the model has none. `layer` is ignored for those
 * of the model. */
uint32_t ucb_model_vector_size(const struct ucb_model *model, uint32_t layer,
                               enum ucb_vector which);
/* Its bytes in the file. */
uint64_t ucb_model_vector_bytes(const struct ucb_model *model, uint32_t layer,
                                enum ucb_vector which);
ucb_status ucb_model_read_vector(const struct ucb_model *model, uint32_t layer,
                                 enum ucb_vector which, float *out, struct ucb_err *err);

#endif
