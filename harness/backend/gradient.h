/*
 * gradient.h - the reverse of backend.h: from dL/dy of an operation to dL/dx and to the
 * gradients of its weights.
 *
 * The rules of backend.h hold: sums run in a fixed order, so that no bit depends on threads
 * or on the kernel path. A sum over rows adds them in blocks of 64, then the blocks.
 * Products are those of the backend's arithmetic: where it rounds operands to bf16, both of
 * a backward product are rounded as those of a forward one; all else is fp32. All of it is
 * host code: buffers that a backend keeps are read and written by ucb_backend_read() and
 * _write() before.
 */
#ifndef UCB_BACKEND_GRADIENT_H
#define UCB_BACKEND_GRADIENT_H

#include "backend/backend.h"

/* Fills weight->data, a weight [n_out][n_in], from its transpose w[n_in][n_out]: so that
 * ucb_linear() gives y = x w. */
void ucb_pack_transposed(const struct ucb_backend *backend, const float *w,
                         const struct ucb_packed *weight);
/* The same for rows [row, row + n_rows) of w only, so that a large matrix can be packed
 * slab by slab: w holds these rows and no others. `row` is a multiple of 32, and so is
 * n_rows unless it reaches the last row. */
void ucb_pack_transposed_rows(const struct ucb_backend *backend, const float *w,
                              uint32_t row, uint32_t n_rows,
                              const struct ucb_packed *weight);
/* y[n_columns][n_rows] of x[n_rows][n_columns]; they do not overlap. */
void ucb_transpose(struct ucb_backend *backend, const float *x, size_t n_rows,
                   size_t n_columns, float *y);

/* sum[n] = sum over rows of x[n_rows][n]: the gradient of a bias. NOMEM. */
ucb_status ucb_column_sums(struct ucb_backend *backend, const float *x, size_t n_rows,
                           uint32_t n, float *sum, struct ucb_err *err);
/* Of y = ucb_rmsnorm(x): dx (may be dy) and dweight[n] (may be NULL). NOMEM. */
ucb_status ucb_rmsnorm_gradient(struct ucb_backend *backend, const float *x,
                                const float *dy, size_t n_rows, uint32_t n,
                                const float *weight, float eps, float *dx, float *dweight,
                                struct ucb_err *err);
/* Of y = ucb_layernorm(x); dweight and dbias may each be NULL. NOMEM. */
ucb_status ucb_layernorm_gradient(struct ucb_backend *backend, const float *x,
                                  const float *dy, size_t n_rows, uint32_t n,
                                  const float *weight, float eps, float *dx, float *dweight,
                                  float *dbias, struct ucb_err *err);
/* Of y = activation(gate) * up. Where up is NULL, dup is not written. dgate may be gate or
 * dy, dup may be up. */
void ucb_activate_gradient(struct ucb_backend *backend, enum ucb_activation activation,
                           const float *gate, const float *up, const float *dy, size_t n,
                           float *dgate, float *dup);
/* Of y = ucb_clamp(x): dx becomes 0 where |y| reaches the limit. */
void ucb_clamp_gradient(struct ucb_backend *backend, const float *y, size_t n, float limit,
                        float *dx);
/* Sum of x[i] y[i] in the lanes of a reduction, in this thread. */
float ucb_dot(const struct ucb_backend *backend, const float *x, const float *y, size_t n);

/*
 * Of out = ucb_attention(q, k, v): dq, dk, dv from dout, all shaped as what they are the
 * gradients of; they overlap nothing. The weights are computed again. NOMEM.
 */
ucb_status ucb_attention_gradient(struct ucb_backend *backend,
                                  const struct ucb_attention *shape, const float *q,
                                  const float *k, const float *v, const float *dout,
                                  size_t n_windows, const size_t *start, float *dq,
                                  float *dk, float *dv, struct ucb_err *err);

/*
 * Of ucb_scan(): du, ddt[n_rows][width] and dbc[n_rows][bc_stride] (of b and of c; what
 * stands behind them stays) from dy[n_rows][width]. The gradient of u is the scan's alone,
 * not the convolution's. The states are computed again from u, dt, bc and a; y is not
 * looked at. Nothing for a and skip. They overlap nothing. NOMEM.
 */
struct ucb_scan_gradient {
    const float *dy;
    float *du, *ddt, *dbc;
};
ucb_status ucb_scan_gradient(struct ucb_backend *backend, const struct ucb_scan *scan,
                             const struct ucb_scan_gradient *gradient, struct ucb_err *err);
/* Of ucb_convolve(): din[n_rows][in_stride], the first `width` of a row, from du[n_rows]
 * [width], which becomes the gradient of the sums before silu. din may be scan->in. */
void ucb_convolve_gradient(struct ucb_backend *backend, const struct ucb_scan *scan,
                           float *du, float *din);
/* Of y = ucb_softplus(x): dx, so far dy, is multiplied by the slope. */
void ucb_softplus_gradient(struct ucb_backend *backend, const float *y, size_t n,
                           float *dx);

/*
 * Of the divergence KL(softmax(z0) || softmax(z)) of each row, in nats: divergence[n_rows],
 * and z[n_rows][n_ids] becomes `factor` times its gradient. With a soft cap (0: none) z and
 * z0 are logits after it, and the gradient is that of the logits before.
 */
void ucb_divergence_gradient(struct ucb_backend *backend, const float *z0, size_t n_rows,
                             uint32_t n_ids, float softcap, float factor, float *z,
                             double *divergence);

#endif
