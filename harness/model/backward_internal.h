/*
 * backward_internal.h - what the files of the backward pass share: kept activations, the
 * layer at work, products of its matrices forward and backward.
 */
#ifndef UCB_MODEL_BACKWARD_INTERNAL_H
#define UCB_MODEL_BACKWARD_INTERNAL_H

#include "backend/gradient.h"
#include "core/arena.h"
#include "model/backward.h"
#include "model/ssm_rows.h"

/* Sizes of rows, in floats. */
struct ucb_backward_sizes {
    size_t hidden, q, kv; /* a row of x, of all query heads, of all key/value heads */
    size_t mlp;           /* all rows of the widest MLP: [max_rows][ffn], or experts' */
    size_t sent;          /* rows sent to experts: max_rows * used */
};

/* Of latent attention, [max_rows] rows each. */
struct ucb_backward_latent {
    float *q_raw, *q;   /* [q_rank], before and after its norm */
    float *kv_raw, *kv; /* [kv_rank] */
    float *key;         /* [rope], turned; in the reverse its gradient */
    float *heads;       /* [n_heads][nope + value]: kv_b's product; its gradient */
    float *both;        /* [kv_rank + rope]: kv_a's product; its gradient */
    float *dlatent;     /* [the larger rank] */
};

/* Of a state space, [max_rows] rows each. */
struct ucb_backward_ssm {
    struct ucb_ssm_rows rows;
    float *delta;            /* [rank]: what dt is projected from; its gradient */
    float *z, *gated;        /* [width]: the gate; y silu(z) */
    float *du, *ddt, *dpart; /* [width] */
    float *dx;               /* [rank + 2 state] */
};

struct ucb_backward {
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    const struct ucb_model *model;
    const struct ucb_arch *arch;
    size_t max_rows, longest;
    struct ucb_backward_sizes size;
    struct ucb_arena arena;
    float *rope[UCB_MAX_ROPE_SETS][2][2]; /* set, long, reverse (sines negated) */
    uint32_t *position;                   /* [max_rows] */
    size_t *start;                        /* [max_rows + 1] */

    /* The layer at work. */
    uint32_t layer;
    const uint32_t *first; /* slots, see ucb_model_layer_slots */
    const struct ucb_matrix *const *matrix;
    struct ucb_layer_arrays arrays, gradient;
    size_t n_windows, n_rows;
    const float *x;
    bool is_kept; /* activations of a forward pass are there */

    /* Kept by the forward pass, [max_rows] rows each; NULL where the architecture has no
     * use for it. */
    float *normed, *q_raw, *k_raw; /* q_raw, k_raw: before their norm */
    float *q_still, *k_still;      /* before they turn: where clipped */
    float *q, *k, *v, *mixed, *mixed_out;
    struct ucb_backward_latent latent;
    struct ucb_backward_ssm ssm;
    float *middle; /* x after the mixer was added */
    float *normed_mlp, *gate, *up, *active, *mlp_out;
    /* of experts: rows [expert_start[e], expert_start[e + 1]) were sent to expert e; in
     * gate, up and active the rows of the shared ones stand behind size.sent others */
    float *scores, *expert_weight, *sent, *answer;
    uint32_t *expert;     /* [max_rows][used] */
    size_t *expert_start; /* [n + 1] */
    size_t *place;        /* [sent]: which of [max_rows][used] */

    /* Of the backward pass. */
    float *dstream, *dpart, *dnormed, *aside; /* rows of hidden size */
    float *dq, *dk, *dv, *dmixed;
    float *dactive, *dsent, *dscores, *dexpert_weight;

    /* Packed weight; the turned rows of an input, packed; turned rows of dy. */
    void *packed, *packed_input;
    float *turned;
    /* The input that matrices are weighed with, packed at the first use. */
    const float *input;
    size_t input_rows;
    uint32_t input_width;
    bool input_is_packed;
};

/* All arrays; false: no memory, and what there is stays the arena's. */
bool ucb_backward_make(struct ucb_backward *b);

/* y = x W^T + b, dx = dy W of a role (of an expert). */
ucb_status ucb_backward_multiply(struct ucb_backward *b, enum ucb_role role,
                                 uint32_t expert, const float *x, size_t n_rows, float *y,
                                 struct ucb_err *err);
ucb_status ucb_backward_multiply_back(struct ucb_backward *b, enum ucb_role role,
                                      uint32_t expert, const float *dy, size_t n_rows,
                                      float *dx, struct ucb_err *err);
/* The rows that the matrices of the next calls were multiplied with. */
void ucb_backward_input(struct ucb_backward *b, const float *x, size_t n_rows,
                        uint32_t n_in);
/* dW and db of a role from dy[n_rows][n_out], where they are wanted. */
ucb_status ucb_backward_weigh(struct ucb_backward *b, enum ucb_role role, uint32_t expert,
                              const float *dy, struct ucb_err *err);
/* out[n_out][input width] = dy^T input; the last step of the above. */
ucb_status ucb_backward_outer(struct ucb_backward *b, const float *dy, uint32_t n_out,
                              float *out, struct ucb_err *err);
/* dx of a norm of rows of hidden size, and the gradients of its vectors where wanted. dx
 * may be dy. */
ucb_status ucb_backward_norm(struct ucb_backward *b, enum ucb_vector weight,
                             enum ucb_vector bias, const float *x, const float *dy,
                             float *dx, struct ucb_err *err);

/* dnormed += dy W of a role, or = for the first. */
ucb_status ucb_backward_add_back(struct ucb_backward *b, enum ucb_role role,
                                 const float *dy, bool is_first, struct ucb_err *err);
/* Rotates a part of each head of x[n_rows][n_heads][head_dim], or turns a gradient back. */
struct ucb_backward_turn {
    uint32_t n_heads, head_dim, offset;
    bool is_reverse;
};
void ucb_backward_turn(struct ucb_backward *b, const struct ucb_backward_turn *turn,
                       float *x);

/* mixed_out = mixer(normed), mlp_out = mlp(normed_mlp); and dnormed from dpart, the
 * gradient of their results. dnormed is left alone where nobody wants it. */
ucb_status ucb_backward_mix(struct ucb_backward *b, struct ucb_err *err);
ucb_status ucb_backward_mix_run(struct ucb_backward *b, bool wants_dnormed,
                                struct ucb_err *err);
ucb_status ucb_backward_latent(struct ucb_backward *b, struct ucb_err *err);
ucb_status ucb_backward_latent_run(struct ucb_backward *b, bool wants_dnormed,
                                   struct ucb_err *err);
ucb_status ucb_backward_ssm(struct ucb_backward *b, struct ucb_err *err);
ucb_status ucb_backward_ssm_run(struct ucb_backward *b, bool wants_dnormed,
                                struct ucb_err *err);
ucb_status ucb_backward_mlp(struct ucb_backward *b, struct ucb_err *err);
ucb_status ucb_backward_mlp_run(struct ucb_backward *b, struct ucb_err *err);

#endif
