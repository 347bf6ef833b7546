/*
 * forward_ssm.c - the mixer of a state space model (Mamba): specification, section 7.
 *
 *     [u | z] = in(x);  u = silu(conv(u));  [delta | b | c] = x_proj(u)
 *     dt = softplus(dt_proj(delta));  h = exp(dt A) h + dt u b;  y = h c + D u
 *     out = out_proj(y silu(z))
 */
#include <string.h>

#include "core/fmath.h"
#include "model/forward_internal.h"

/* The convolution's taps and -exp(A_log), channel by channel, turned so that channels are
 * neighbours. */
static void turn_weights(struct ucb_forward *f, const struct ucb_layer *layer)
{
    const struct ucb_ssm *s = &f->arch->ssm;
    const float *conv = layer->vector[UCB_VECTOR_SSM_CONV],
                *log_a = layer->vector[UCB_VECTOR_SSM_A_LOG];
    float *a = f->ssm_weights + (size_t)s->kernel * s->width;
    for (size_t d = 0; d < s->width; d++) {
        for (size_t k = 0; k < s->kernel; k++)
            f->ssm_weights[k * s->width + d] = conv[d * s->kernel + k];
        for (size_t i = 0; i < s->state; i++)
            a[i * s->width + d] = (float)-ucb_exp((double)log_a[d * s->state + i]);
    }
}

/* Columns [from, from + n) of rows of `width`. */
static void take_columns(const float *x, size_t n_rows, size_t width, size_t from, size_t n,
                         float *out)
{
    for (size_t i = 0; i < n_rows; i++)
        memcpy(out + i * n, x + i * width + from, n * sizeof(*x));
}

/* The scan of one window, from its first row. */
static struct ucb_scan scan_of(const struct ucb_forward *f, const struct ucb_layer *layer,
                               size_t row, size_t n_rows)
{
    const struct ucb_ssm *s = &f->arch->ssm;
    size_t x_width = s->rank + 2 * (size_t)s->state, width = s->width;
    return (struct ucb_scan){.n_rows = n_rows,
                             .width = s->width,
                             .state = s->state,
                             .kernel = s->kernel,
                             .in = f->ssm_in + row * 2 * width,
                             .in_stride = 2 * width,
                             .conv = f->ssm_weights,
                             .conv_bias = layer->vector[UCB_VECTOR_SSM_CONV_BIAS],
                             .u = f->ssm_u + row * width,
                             .dt = f->ssm_dt + row * width,
                             .bc = f->ssm_x + row * x_width + s->rank,
                             .bc_stride = x_width,
                             .a = f->ssm_weights + (size_t)s->kernel * width,
                             .skip = layer->vector[UCB_VECTOR_SSM_D],
                             .y = f->ssm_y + row * width};
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
    take_columns(f->ssm_in, n, 2 * (size_t)s->width, s->width, s->width, f->ssm_u);
    ucb_activate(f->backend, UCB_ACT_SILU, f->ssm_u, f->ssm_y, n * s->width, f->ssm_y);
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
    size_t n = ucb_n_rows(rows), x_width = s->rank + 2 * (size_t)s->state;
    UCB_TRY(show(run, UCB_INPUT_SSM_IN, f->normed, f->arch->hidden, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(
        ucb_forward_linear(f, run, UCB_ROLE_SSM_IN, 0, rows, f->normed, f->ssm_in, err));
    turn_weights(f, run->layer);
    convolve_windows(f, run);
    UCB_TRY(show(run, UCB_INPUT_SSM_X, f->ssm_u, s->width, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_SSM_X, 0, rows, f->ssm_u, f->ssm_x, err));
    take_columns(f->ssm_x, n, x_width, 0, s->rank, f->mixed);
    UCB_TRY(show(run, UCB_INPUT_SSM_DT, f->mixed, s->rank, done, err));
    if (*done) return UCB_OK;
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_SSM_DT, 0, rows, f->mixed, f->ssm_dt, err));
    ucb_softplus(f->backend, f->ssm_dt, n * s->width);
    scan_windows(f, run);
    gate_rows(f, n);
    UCB_TRY(show(run, UCB_INPUT_SSM_OUT, f->ssm_y, s->width, done, err));
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, UCB_ROLE_SSM_OUT, 0, rows, f->ssm_y, f->out, err);
}
