/*
 * scan_gradient_template.h - the reverse of a state space's scan and convolution, sixteen
 * channels at a time.
 *
 * Included after gradient_template.h; the same rules hold (no fused multiply-add, sums lane
 * by lane, equal bits for every width). Lanes past the last channel have dt = u = dy = 0:
 * their states and gradients are zeros.
 */
#ifndef UCB_BACKEND_SCAN_GRADIENT_TEMPLATE_H
#define UCB_BACKEND_SCAN_GRADIENT_TEMPLATE_H

#include "backend/gradient.h"
#include "backend/gradient_template.h"

/* The states of a stretch as the forward pass had them, and exp(dt a) of each row. */
static void scan_states(const struct ucb_scan *scan, const struct ucb_scan_part *part)
{
    uint32_t channel = part->channel, n = part->n;
    size_t size = (size_t)scan->state * UCB_LANES;
    for (size_t i = 0; i < part->n_rows; i++) {
        size_t row = part->row + i;
        const float *b = scan->bc + row * scan->bc_stride,
                    *before = part->states + i * size;
        float *after = part->states + (i + 1) * size, *decay = part->decays + i * size;
        v16 u = load_some(scan->u + row * scan->width + channel, n),
            dt = load_some(scan->dt + row * scan->width + channel, n), in = v16_mul(dt, u);
        for (uint32_t s = 0; s < scan->state; s++) {
            v16 a = load_some(scan->a + s * scan->width + channel, n),
                e = exp16(v16_mul(dt, a)), h = v16_load(before + s * UCB_LANES);
            v16_store(decay + s * UCB_LANES, e);
            h = v16_add(v16_mul(e, h), v16_mul(in, v16_set1(b[s])));
            v16_store(after + s * UCB_LANES, h);
        }
    }
}

/*
 * Of one row, with g = dL/dh of its states and in = dt u:
 *     g = carry + dy c, db = sum g in, dc = sum dy h, carry = g e,
 *     ddt = sum (carry h') a + din u, din = sum g b, du = din dt + dy skip
 * h' being the state before. Sums over states rise from +0; those over channels are made of
 * sixteen lanes.
 */
static void scan_gradient_row(const struct ucb_scan *scan,
                              const struct ucb_scan_gradient *gradient,
                              const struct ucb_scan_part *part, size_t i)
{
    uint32_t channel = part->channel, n = part->n;
    size_t row = part->row + i, at = row * scan->width + channel,
           size = (size_t)scan->state * UCB_LANES;
    const float *b = scan->bc + row * scan->bc_stride, *c = b + scan->state,
                *before = part->states + i * size, *after = before + size,
                *decay = part->decays + i * size;
    float *db = part->sums + i * 2 * scan->state, *dc = db + scan->state;
    v16 u = load_some(scan->u + at, n), dt = load_some(scan->dt + at, n),
        dy = load_some(gradient->dy + at, n), in = v16_mul(dt, u), din = v16_set1(0.0f),
        ddt = din;
    for (uint32_t s = 0; s < scan->state; s++) {
        float *carry = part->carry + s * UCB_LANES;
        v16 g = v16_add(v16_load(carry), v16_mul(dy, v16_set1(c[s]))),
            a = load_some(scan->a + s * scan->width + channel, n);
        db[s] = fold_sum(v16_mul(g, in));
        dc[s] = fold_sum(v16_mul(dy, v16_load(after + s * UCB_LANES)));
        din = v16_add(din, v16_mul(g, v16_set1(b[s])));
        g = v16_mul(g, v16_load(decay + s * UCB_LANES));
        v16_store(carry, g);
        ddt = v16_add(ddt, v16_mul(v16_mul(g, v16_load(before + s * UCB_LANES)), a));
    }
    v16 skip = v16_mul(dy, load_some(scan->skip + channel, n));
    store_some(gradient->ddt + at, v16_add(ddt, v16_mul(din, u)), n);
    store_some(gradient->du + at, v16_add(v16_mul(din, dt), skip), n);
}

static void scan_gradient(const struct ucb_scan *scan,
                          const struct ucb_scan_gradient *gradient,
                          const struct ucb_scan_part *part)
{
    for (size_t i = part->n_rows; i-- > 0;) scan_gradient_row(scan, gradient, part, i);
}

/* First du becomes the gradient of the sums before silu, then each row adds the taps that
 * reached later rows from it, by rising tap. */
static void convolve_gradient(const struct ucb_scan *scan, uint32_t channel, uint32_t n,
                              float *du, float *din)
{
    for (size_t t = 0; t < scan->n_rows; t++) {
        float *at = du + t * scan->width + channel;
        v16 sum = convolve_row(scan, channel, n, t);
        v16 slope = gate_curve(sum, sum, v16_set1(1.0f)).slope;
        store_some(at, v16_mul(load_some(at, n), slope), n);
    }
    for (size_t t = 0; t < scan->n_rows; t++) {
        v16 sum = v16_set1(0.0f);
        for (uint32_t k = 0; k < scan->kernel; k++) {
            size_t later = t + scan->kernel - 1 - k;
            if (later >= scan->n_rows) continue;
            v16 d = load_some(du + later * scan->width + channel, n);
            sum = v16_add(sum,
                          v16_mul(load_some(scan->conv + k * scan->width + channel, n), d));
        }
        store_some(din + t * scan->in_stride + channel, sum, n);
    }
}

/* The members of struct ucb_kernel_table that this file fills. */
#define UCB_SCAN_GRADIENT_FUNCTIONS                             \
    .scan_states = scan_states, .scan_gradient = scan_gradient, \
    .convolve_gradient = convolve_gradient

/* Every function of a kernel table but its products. */
#define UCB_KERNEL_FUNCTIONS                                           \
    UCB_VECTOR_FUNCTIONS, UCB_SHAPE_FUNCTIONS, UCB_GRADIENT_FUNCTIONS, \
        UCB_SCAN_GRADIENT_FUNCTIONS

#endif
