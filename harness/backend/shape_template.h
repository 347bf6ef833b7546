/*
 * shape_template.h - what other architectures than Llama need outside the products: layer
 * norm, the two gelus, soft caps, the scan of a state space model; written once on sixteen
 * lanes.
 *
 * Included after vector_template.h; the same rules hold (no fused multiply-add, sums lane
 * by lane, equal bits for every width).
 */
#ifndef UCB_BACKEND_SHAPE_TEMPLATE_H
#define UCB_BACKEND_SHAPE_TEMPLATE_H

#include "backend/vector_template.h"

static void layernorm_row(const float *x, uint32_t n, const float *weight,
                          const float *bias, float eps, float *y)
{
    v16 sum = v16_set1(0.0f), squares = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) sum = v16_add(sum, load_some(x + i, n - i));
    v16 mean = v16_set1(fold_sum(sum) / (float)n);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 d = v16_sub(load_some(x + i, n - i), mean);
        if (n - i < UCB_LANES) /* missing elements are no deviations */
            d = v16_select(m16_between(0, 0, n - i), d, v16_set1(0.0f));
        squares = v16_add(squares, v16_mul(d, d));
    }
    v16 scale = v16_set1(1.0f / sqrtf(fold_sum(squares) / (float)n + eps));
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 d = v16_mul(v16_sub(load_some(x + i, n - i), mean), scale);
        v16 w = load_some(weight + i, n - i), b = load_some(bias + i, n - i);
        store_some(y + i, v16_add(v16_mul(w, d), b), n - i);
    }
}

/* p[n - 1] + x (p[n - 2] + ...): coefficients from the highest power down. */
static inline v16 polynomial(const float *p, int n, v16 x)
{
    v16 sum = v16_set1(p[0]);
    for (int i = 1; i < n; i++) sum = v16_add(v16_mul(sum, x), v16_set1(p[i]));
    return sum;
}

/* x / (1 + exp(-v)) */
static inline v16 gate_by(v16 x, v16 v)
{
    return v16_div(x, v16_add(v16_set1(1.0f), exp16(v16_negate(v))));
}

/*
 * x Phi(x) = x (1 - erfc(|x| / sqrt 2) / 2), or x erfc(|x| / sqrt 2) / 2 below 0. With
 * t = 1 / (1 + z / 2): erfc(z) = t exp(p(t) - z^2), p a polynomial fitted to
 * ln(erfc(z) / t) + z^2 over z in [0, 10], off by 4.5e-8 at most. The result is off by
 * 6e-8 max(1, |x|) at most.
 */
static inline v16 gelu16(v16 x)
{
    static const float p[] = {
        0x1.232f0cp-3f, -0x1.54fc62p-1f, 0x1.1f4acep+0f, -0x1.4d554ep-1f, -0x1.df050ap-4f,
        0x1.4c3466p-6f, 0x1.d02e9ep-6f,  0x1.8d36eap-2f, 0x1.ff3a56p-1f,  -0x1.43f3f8p+0f};
    const v16 one = v16_set1(1.0f), half = v16_set1(0.5f);
    v16 z = v16_mul(v16_abs(x), v16_set1(0x1.6a09e6p-1f));
    v16 t = v16_div(one, v16_add(one, v16_mul(half, z)));
    v16 exponent = v16_sub(polynomial(p, 10, t), v16_mul(z, z));
    v16 tail = v16_mul(half, v16_mul(t, exp16(exponent)));
    return v16_mul(x, v16_select(v16_above(v16_set1(0.0f), x), tail, v16_sub(one, tail)));
}

/* 0.5 (1 + tanh v) = 1 / (1 + exp(-2 v)), v = sqrt(2 / pi) (x + 0.044715 x^3). */
static inline v16 gelu_tanh16(v16 x)
{
    v16 cube = v16_mul(v16_mul(x, x), x);
    v16 v = v16_add(x, v16_mul(v16_set1(0.044715f), cube));
    return gate_by(x, v16_mul(v16_set1(2 * 0x1.988454p-1f), v));
}

/* tanh: odd polynomial of degree 13 below 0.75 (off by 8e-8 of the value), 1 - 2 /
 * (exp(2u) + 1) above (1.2e-7). */
static inline v16 tanh16(v16 x)
{
    static const float p[] = {0x1.c936e4p-10f, -0x1.f69c46p-8f, 0x1.5f976ep-6f,
                              -0x1.b9819ap-5f, 0x1.110ddap-3f,  -0x1.55554ap-2f};
    const v16 one = v16_set1(1.0f), two = v16_set1(2.0f);
    v16 u = v16_abs(x), s = v16_mul(u, u);
    v16 small = v16_add(u, v16_mul(u, v16_mul(s, polynomial(p, 6, s))));
    v16 large = v16_sub(one, v16_div(two, v16_add(exp16(v16_mul(two, u)), one)));
    v16 y = v16_select(v16_above(v16_set1(0.75f), u), small, large);
    return v16_select(v16_above(v16_set1(0.0f), x), v16_negate(y), y);
}

static inline v16 activate16(enum ucb_activation activation, v16 x)
{
    if (activation == UCB_ACT_GELU) return gelu16(x);
    if (activation == UCB_ACT_GELU_TANH) return gelu_tanh16(x);
    return gate_by(x, x);
}

static void activate(enum ucb_activation activation, const float *gate, const float *up,
                     size_t n, float *out)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        v16 y = activate16(activation, load_some(gate + i, n - i));
        if (up != NULL) y = v16_mul(y, load_some(up + i, n - i));
        store_some(out + i, y, n - i);
    }
}

static void cap(float *x, size_t n, float scale, float limit)
{
    v16 factor = v16_set1(scale), most = v16_set1(limit);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        v16 v = v16_div(v16_mul(load_some(x + i, n - i), factor), most);
        store_some(x + i, v16_mul(most, tanh16(v)), n - i);
    }
}

static void scale_by(float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        store_some(x + i, v16_mul(load_some(x + i, n - i), v16_set1(factor)), n - i);
}

static void clamp(float *x, size_t n, float limit)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        v16 v = load_some(x + i, n - i), most = v16_set1(limit), least = v16_set1(-limit);
        v = v16_select(v16_above(v, most), most, v);
        store_some(x + i, v16_select(v16_above(least, v), least, v), n - i);
    }
}

static void add_scaled(float *y, const float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        v16 v = v16_mul(load_some(x + i, n - i), v16_set1(factor));
        store_some(y + i, v16_add(load_some(y + i, n - i), v), n - i);
    }
}

/* Row t of the convolution, before silu: the taps by rising k,
 * zeros before the first row. */
static inline v16 convolve_row(const struct ucb_scan *scan, uint32_t channel, uint32_t n,
                               size_t t)
{
    v16 sum = scan->conv_bias != NULL ? load_some(scan->conv_bias + channel, n)
                                      : v16_set1(0.0f);
    for (uint32_t k = 0; k < scan->kernel; k++) {
        if (t + k + 1 < scan->kernel) continue;
        const float *in = scan->in + (t + k + 1 - scan->kernel) * scan->in_stride;
        sum = v16_add(sum, v16_mul(load_some(scan->conv + k * scan->width + channel, n),
                                   load_some(in + channel, n)));
    }
    return sum;
}

static void convolve(const struct ucb_scan *scan, uint32_t channel, uint32_t n)
{
    for (size_t t = 0; t < scan->n_rows; t++) {
        v16 sum = convolve_row(scan, channel, n, t);
        store_some(scan->u + t * scan->width + channel, gate_by(sum, sum), n);
    }
}

static void scan_channels(const struct ucb_scan *scan, uint32_t channel, uint32_t n,
                          float *states)
{
    for (uint32_t s = 0; s < scan->state; s++)
        v16_store(states + s * UCB_LANES, v16_set1(0.0f));
    for (size_t t = 0; t < scan->n_rows; t++) {
        const float *b = scan->bc + t * scan->bc_stride, *c = b + scan->state;
        v16 u = load_some(scan->u + t * scan->width + channel, n),
            dt = load_some(scan->dt + t * scan->width + channel, n), in = v16_mul(dt, u),
            y = v16_set1(0.0f);
        for (uint32_t s = 0; s < scan->state; s++) {
            v16 a = load_some(scan->a + s * scan->width + channel, n),
                h = v16_load(states + s * UCB_LANES);
            h = v16_add(v16_mul(exp16(v16_mul(dt, a)), h), v16_mul(in, v16_set1(b[s])));
            v16_store(states + s * UCB_LANES, h);
            y = v16_add(y, v16_mul(h, v16_set1(c[s])));
        }
        v16 skip = v16_mul(load_some(scan->skip + channel, n), u);
        store_some(scan->y + t * scan->width + channel, v16_add(y, skip), n);
    }
}

/* The members of struct ucb_kernel_table that this file fills. */
#define UCB_SHAPE_FUNCTIONS                                                               \
    .layernorm_row = layernorm_row, .activate = activate, .cap = cap,                     \
    .scale_by = scale_by, .clamp = clamp, .add_scaled = add_scaled, .convolve = convolve, \
    .scan_channels = scan_channels

#endif
