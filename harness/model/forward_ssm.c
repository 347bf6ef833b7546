/*
 * forward_ssm.c - the mixer of a state space model (Mamba): specification, section 7.
 *
 *     [u | z] = in(x);  u = silu(conv(u));  [delta | b | c] = x_proj(u)
 *     dt = softplus(dt_proj(delta));  h = exp(dt A) h + dt u b;  y = h c + D u
 *     out = out_proj(y silu(z))
 */
#include "model/forward_internal.h"
#include "model/ssm_rows.h"

/* The scan of one window, from its first row. */
static struct ucb_scan scan_of(const struct ucb_forward *f, const struct ucb_layer *layer,
                               size_t row, size_t n_rows)
{
    return ucb_ssm_scan(&f->arch->ssm, &f->ssm, layer->vector[UCB_VECTOR_SSM_CONV_BIAS],
                        layer->vector[UCB_VECTOR_SSM_D], row, n_rows);
}

/* Columns [from, from + n) of rows of `width`. */
static void take_columns(struct ucb_forward *f, const float *x, size_t n_rows, size_t width,
                         size_t from, size_t n, float *out)
{
    ucb_backend_read(f->backend, x, n_rows * width * sizeof(*x));
    ucb_backend_write(f->backend, out, n_rows * n * sizeof(*out));
    ucb_columns_take(x, n_rows, width, from, n, out);
}

static void convolve_windows(struct ucb_forward *f, const struct ucb_layer_run *run)
{
    const size_t *start = run->rows.start;
    for (size_t w = 0; w < run->rows.n_windows; w++) {
        struct ucb_scan scan = scan_of(f, run->layer, start[w], start[w + 1] - start[w]);
        ucb_convolve(f->backend, &scan);
    }
}

static void scan_windows(struct ucb_forward *f, const struct ucb_layer_run *run)
{
    const size_t *start = run->rows.start;
    for (size_t w = 0; w < run->rows.n_windows; w++) {
        struct ucb_scan scan = scan_of(f, run->layer, start[w], start[w + 1] - start[w]);
        ucb_scan(f->backend, &scan);
    }
}

/* y *= silu(z); z is the second half of the input's rows. */
static void gate_rows(struct ucb_forward *f, size_t n)
{
    const struct ucb_ssm *s = &f->arch->ssm;
    take_columns(f, f->ssm.in, n, 2 * (size_t)s->width, s->width, s->width, f->ssm.u);
    ucb_activate(f->backend, UCB_ACT_SILU, f->ssm.u, f->ssm.y, n * s->width, f->ssm.y);
}

/* Shows an input, and answers whether the run ends there. */
static ucb_status show(const struct ucb_layer_run *run, enum ucb_input input,
                       const float *x, uint32_t n_in, bool *done, struct ucb_err *err)
{
    *done = ucb_run_ends(run, input);
    return ucb_forward_show(run, input, 0, x, ucb_n_rows(&run->rows), n_in, err);
}

ucb_status ucb_forward_ssm(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err)
{
    const struct ucb_ssm *s = &f->arch->ssm;
    const struct ucb_rows *rows = &run->rows;
    size_t n = ucb_n_rows(rows), x_width = ucb_ssm_x_width(s);
    UCB_TRY(show(run, UCB_INPUT_SSM_IN, f->normed, f->arch->hidden, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(
        ucb_forward_linear(f, run, UCB_ROLE_SSM_IN, 0, rows, f->normed, f->ssm.in, err));
    ucb_backend_write(f->backend, f->ssm.weights,
                      (size_t)s->width * (s->kernel + s->state) * sizeof(float));
    ucb_ssm_turn(s, run->layer->vector[UCB_VECTOR_SSM_CONV],
                 run->layer->vector[UCB_VECTOR_SSM_A_LOG], f->ssm.weights);
    convolve_windows(f, run);
    UCB_TRY(show(run, UCB_INPUT_SSM_X, f->ssm.u, s->width, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_SSM_X, 0, rows, f->ssm.u, f->ssm.x, err));
    take_columns(f, f->ssm.x, n, x_width, 0, s->rank, f->mixed);
    UCB_TRY(show(run, UCB_INPUT_SSM_DT, f->mixed, s->rank, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_SSM_DT, 0, rows, f->mixed, f->ssm.dt, err));
    ucb_softplus(f->backend, f->ssm.dt, n * s->width);
    scan_windows(f, run);
    gate_rows(f, n);
    UCB_TRY(show(run, UCB_INPUT_SSM_OUT, f->ssm.y, s->width, done, err));
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, UCB_ROLE_SSM_OUT, 0, rows, f->ssm.y, f->out, err);
}
