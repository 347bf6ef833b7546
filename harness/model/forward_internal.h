/*
 * forward_internal.h - what the files of the forward pass share: work buffers, a run of a
 * layer, products by role.
 */
#ifndef UCB_MODEL_FORWARD_INTERNAL_H
#define UCB_MODEL_FORWARD_INTERNAL_H

#include "core/arena.h"
#include "model/forward.h"
#include "model/ssm_rows.h"

enum {
    UCB_MOST_WINDOWS = 1024, /* of a group */
    UCB_MOST_KEPT = 32
};

struct ucb_forward {
    struct ucb_backend *backend;
    const struct ucb_arch *arch;
    size_t batch, capacity; /* rows of a product, rows of the buffers */
    struct ucb_arena arena;
    float *rope[UCB_MAX_ROPE_SETS][2]; /* [longest][rotary_dim / 2] {cos, sin}; [1]: long */
    uint32_t *position;                /* [capacity] */
    float *normed, *mixed, *out;       /* [capacity] rows of hidden, of O's input, hidden */
    float *q, *k, *v;                  /* attention */
    float *latent, *latent_kv, *kv_normed; /* latent attention */
    float *gate, *up;                      /* [capacity][widest MLP] */
    struct ucb_ssm_rows ssm;               /* a state space */
    struct ucb_packed router;              /* of the layer at work */
    uint32_t *expert;                      /* [capacity][used] */
    float *expert_weight;
    float *scores, *sent, *answer;   /* [capacity] rows of n_experts, hidden, hidden */
    size_t *sent_row;                /* [capacity] */
    size_t *sent_start;              /* [MOST_WINDOWS + 1] */
    float *copy;                     /* [capacity][hidden], made by the first peek */
    const void *kept[UCB_MOST_KEPT]; /* what the backend keeps of these */
    size_t n_kept;
};

/* Rows of windows: window w owns [start[w], start[w + 1]). */
struct ucb_rows {
    const size_t *start;
    size_t n_windows;
};
static inline size_t ucb_n_rows(const struct ucb_rows *rows)
{
    return rows->start[rows->n_windows];
}

/* One run of a layer: who looks on, how far it goes, and the windows of the group that is
 * being run. */
struct ucb_layer_run {
    const struct ucb_layer *layer;
    const struct ucb_tap *tap; /* NULL: nobody */
    enum ucb_input last;       /* the only input shown, and the end; UCB_N_INPUTS: all */
    struct ucb_rows rows;
    struct ucb_backend *backend;
};
static inline bool ucb_run_ends(const struct ucb_layer_run *run, enum ucb_input input)
{
    return run->last == input;
}

/* y = W x + b of a role (of an expert), at most `batch` rows in one product. */
ucb_status ucb_forward_linear(struct ucb_forward *f, const struct ucb_layer_run *run,
                              enum ucb_role role, uint32_t expert,
                              const struct ucb_rows *rows, const float *x, float *y,
                              struct ucb_err *err);
/* Shows an input to the tap, where one looks on; it is current on the host then. */
ucb_status ucb_forward_show(const struct ucb_layer_run *run, enum ucb_input input,
                            uint32_t expert, const float *x, size_t n_rows, uint32_t n_in,
                            struct ucb_err *err);
/* The architecture's norm with the layer's weights, rows of hidden size. */
void ucb_forward_norm(struct ucb_forward *f, const struct ucb_layer_run *run,
                      enum ucb_vector weight, enum ucb_vector bias, const float *x,
                      size_t n_rows, float *y);

/* {cosine, sine} of positions [0, n_positions): table[n_positions][half][2]. */
void ucb_forward_rope(const float *inv_freq, float magnitude, size_t half,
                      size_t n_positions, float *table);
/* What a layer's attention looks like to the backend. */
struct ucb_attention ucb_forward_attention(const struct ucb_arch *a, uint32_t layer);

/* out = mixer(normed), out = mlp(normed): the parts between the norms and the residual.
 * *done: the run ended at the input it was made for. */
ucb_status ucb_forward_mix(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err);
ucb_status ucb_forward_ssm(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err);
ucb_status ucb_forward_mlp(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err);

#endif
