/*
 * backward.h - gradients of one layer with respect to its matrices and vectors:
 * the forward pass of forward.h that keeps what it computed, and its reverse.
 *
 * Sums run in a fixed order: the same bits for any thread count and kernel path. The
 * products are those of the backend's arithmetic, forward and backward (bf16 rounds their
 * operands both ways); all else is fp32. docs/arithmetic.md has the formulas.
 */
#ifndef UCB_MODEL_BACKWARD_H
#define UCB_MODEL_BACKWARD_H

#include "backend/backend.h"
#include "model/model.h"

/* A layer by plain arrays, all the caller's. Matrices stand in the order of
 * ucb_model_layer_matrices(), vectors by enum ucb_vector (NULL: the layer has none); the
 * same shapes hold gradients. */
struct ucb_layer_arrays {
    float *const *weight; /* [slot]: [n_out][n_in] */
    float *vector[UCB_N_VECTORS];
};

struct ucb_backward;
/*
 * For at most max_rows rows in windows of at most `longest`. NOMEM. All three are borrowed;
 * the pool (may be NULL) is the backend's.
 */
ucb_status ucb_backward_open(struct ucb_backend *backend, struct ucb_pool *pool,
                             const struct ucb_model *model, size_t max_rows, size_t longest,
                             struct ucb_backward **out, struct ucb_err *err);
void ucb_backward_close(struct ucb_backward *b); /* NULL is fine */

/*
 * y[n_rows][hidden] = layer(x), the bits of ucb_forward_layer(), activations kept for the
 * next ucb_backward_run(). x and what the arrays point to stay as they are until then; `y`
 * may not be x. Rows of window w are [start[w], start[w + 1]). USAGE: more rows, or a
 * longer window, than asked for. NOMEM.
 */
ucb_status ucb_backward_forward(struct ucb_backward *b, uint32_t layer,
                                const struct ucb_layer_arrays *arrays, size_t n_windows,
                                const size_t *start, const float *x, float *y,
                                struct ucb_err *err);
/*
 * From dy = dL/dy[n_rows][hidden]: dL/dW into gradient->weight[slot] (NULL entries are not
 * computed, nor is anything if `weight` is NULL), dL/dv into gradient->vector[v]
 * (likewise), dL/dx into dx (may be NULL, may not be dy). Written, not added. Norm gains
 * are those of the arrays, so of a norm that multiplies by 1 + w the gradient of w is the
 * same. The choice of experts counts as a constant, and the small tensors of a state space
 * (taps, their bias, A_log, D) have no gradient: their entries are NULL. Once for each
 * forward pass, whose activations are used up: USAGE without one. NOMEM.
 */
ucb_status ucb_backward_run(struct ucb_backward *b, const float *dy,
                            const struct ucb_layer_arrays *gradient, float *dx,
                            struct ucb_err *err);

#endif
