/*
 * backward_ssm.c - a state space mixer kept and reversed:
 *
 *     [c | z] = in(x);  u = silu(conv(c));  [delta | b | c'] = x_proj(u)
 *     dt = softplus(dt_proj(delta));  y = scan(u, dt, b, c');  out = out_proj(y silu(z))
 *
 * u is read twice: its gradient is that of the scan plus that of x_proj. The taps of the
 * convolution, its bias, A and D are constants here.
 */
#include "model/backward_internal.h"
#include "model/ssm_rows.h"

static struct ucb_scan scan_of(const struct ucb_backward *b, size_t window)
{
    size_t row = b->start[window];
    return ucb_ssm_scan(
        &b->arch->ssm, &b->ssm.rows, b->arrays.vector[UCB_VECTOR_SSM_CONV_BIAS],
        b->arrays.vector[UCB_VECTOR_SSM_D], row, b->start[window + 1] - row);
}

static void convolve_windows(struct ucb_backward *b)
{
    for (size_t w = 0; w < b->n_windows; w++) {
        struct ucb_scan scan = scan_of(b, w);
        ucb_convolve(b->backend, &scan);
    }
}

static void scan_windows(struct ucb_backward *b)
{
    for (size_t w = 0; w < b->n_windows; w++) {
        struct ucb_scan scan = scan_of(b, w);
        ucb_scan(b->backend, &scan);
    }
}

ucb_status ucb_backward_ssm(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_ssm *s = &b->arch->ssm;
    struct ucb_ssm_rows *r = &b->ssm.rows;
    float *const *vector = b->arrays.vector;
    size_t n = b->n_rows, width = s->width;
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_SSM_IN, 0, b->normed, n, r->in, err));
    ucb_ssm_turn(s, vector[UCB_VECTOR_SSM_CONV], vector[UCB_VECTOR_SSM_A_LOG], r->weights);
    convolve_windows(b);
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_SSM_X, 0, r->u, n, r->x, err));
    ucb_columns_take(r->x, n, ucb_ssm_x_width(s), 0, s->rank, b->ssm.delta);
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_SSM_DT, 0, b->ssm.delta, n, r->dt, err));
    ucb_softplus(b->backend, r->dt, n * width);
    scan_windows(b);
    ucb_columns_take(r->in, n, 2 * width, width, width, b->ssm.z);
    ucb_activate(b->backend, UCB_ACT_SILU, b->ssm.z, r->y, n * width, b->ssm.gated);
    return ucb_backward_multiply(b, UCB_ROLE_SSM_OUT, 0, b->ssm.gated, n, b->mixed_out,
                                 err);
}

/* ---- the reverse ---- */

/* From dpart to the gradients of z and of the scan's y, each in its own place. */
static ucb_status ungate(struct ucb_backward *b, struct ucb_err *err)
{
    struct ucb_backward_ssm *m = &b->ssm;
    size_t n = b->n_rows, width = b->arch->ssm.width;
    ucb_backward_input(b, m->gated, n, b->arch->ssm.width);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_SSM_OUT, 0, b->dpart, err));
    UCB_TRY(ucb_backward_multiply_back(b, UCB_ROLE_SSM_OUT, 0, b->dpart, n, m->dpart, err));
    ucb_activate_gradient(b->backend, UCB_ACT_SILU, m->z, m->rows.y, m->dpart, n * width,
                          m->z, m->rows.y);
    return UCB_OK;
}

static ucb_status unscan_windows(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_ssm *s = &b->arch->ssm;
    for (size_t w = 0; w < b->n_windows; w++) {
        struct ucb_scan scan = scan_of(b, w);
        size_t row = b->start[w];
        struct ucb_scan_gradient gradient = {.dy = b->ssm.rows.y + row * s->width,
                                             .du = b->ssm.du + row * s->width,
                                             .ddt = b->ssm.ddt + row * s->width,
                                             .dbc = b->ssm.dx + row * ucb_ssm_x_width(s) +
                                                    s->rank};
        UCB_TRY(ucb_scan_gradient(b->backend, &scan, &gradient, err));
    }
    return UCB_OK;
}

/* From ddt to delta's part of dx, and from dx to du. */
static ucb_status unproject_x(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_ssm *s = &b->arch->ssm;
    struct ucb_backward_ssm *m = &b->ssm;
    size_t n = b->n_rows;
    ucb_softplus_gradient(b->backend, m->rows.dt, n * s->width, m->ddt);
    ucb_backward_input(b, m->delta, n, s->rank);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_SSM_DT, 0, m->ddt, err));
    UCB_TRY(ucb_backward_multiply_back(b, UCB_ROLE_SSM_DT, 0, m->ddt, n, m->delta, err));
    ucb_columns_put(m->delta, n, ucb_ssm_x_width(s), 0, s->rank, m->dx);
    ucb_backward_input(b, m->rows.u, n, s->width);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_SSM_X, 0, m->dx, err));
    UCB_TRY(ucb_backward_multiply_back(b, UCB_ROLE_SSM_X, 0, m->dx, n, m->dpart, err));
    ucb_add(b->backend, m->du, m->dpart, n * s->width);
    return UCB_OK;
}

/* The rows of the input projection become their own gradients. */
static void unconvolve_windows(struct ucb_backward *b)
{
    size_t width = b->arch->ssm.width;
    float *in = b->ssm.rows.in;
    for (size_t w = 0; w < b->n_windows; w++) {
        struct ucb_scan scan = scan_of(b, w);
        ucb_convolve_gradient(b->backend, &scan, b->ssm.du + b->start[w] * width,
                              in + b->start[w] * 2 * width);
    }
    ucb_columns_put(b->ssm.z, b->n_rows, 2 * width, width, width, in);
}

ucb_status ucb_backward_ssm_run(struct ucb_backward *b, bool wants_dnormed,
                                struct ucb_err *err)
{
    float *in = b->ssm.rows.in;
    UCB_TRY(ungate(b, err));
    UCB_TRY(unscan_windows(b, err));
    UCB_TRY(unproject_x(b, err));
    unconvolve_windows(b);
    ucb_backward_input(b, b->normed, b->n_rows, b->arch->hidden);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_SSM_IN, 0, in, err));
    if (!wants_dnormed) return UCB_OK;
    return ucb_backward_add_back(b, UCB_ROLE_SSM_IN, in, true, err);
}
