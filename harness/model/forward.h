/*
 * forward.h - one transformer layer over many windows, and the tables it needs.
 *
 * Hidden states are x[n_rows][hidden] in fp32; window w owns rows [start[w], start[w + 1]),
 * positions count from 0 in each.
 */
#ifndef UCB_MODEL_FORWARD_H
#define UCB_MODEL_FORWARD_H

#include <stddef.h>

#include "backend/backend.h"
#include "model/model.h"

/* The weights of one layer as the engine runs them; all memory is the caller's. */
struct ucb_layer {
    struct ucb_packed weight[UCB_N_LAYER_ROLES];
    const float *bias[UCB_N_LAYER_ROLES]; /* NULL: none */
    const float *attn_norm, *mlp_norm;    /* [hidden] */
};

struct ucb_forward; /* work buffers and the rope table */
/*
 * batch: rows of one product, at least 1; longest: the most rows a window has. Neither
 * changes a result. NOMEM. The backend and the architecture are borrowed.
 */
ucb_status ucb_forward_open(struct ucb_backend *backend, const struct ucb_arch *arch,
                            size_t batch, size_t longest, struct ucb_forward **out,
                            struct ucb_err *err);
void ucb_forward_close(struct ucb_forward *f); /* NULL is fine */

/* x = layer(x), in place, for every window. */
ucb_status ucb_forward_layer(struct ucb_forward *f, const struct ucb_layer *layer,
                             size_t n_windows, const size_t *start, float *x,
                             struct ucb_err *err);

#endif
