/*
 * gradient_template.h - the reverse of vector_template.h and shape_template.h: from dL/dy
 * of an operation to dL/dx, row by row.
 *
 * Included after shape_template.h; the same rules hold (no fused multiply-add, sums lane by
 * lane, equal bits for every width).
 */
#ifndef UCB_BACKEND_GRADIENT_TEMPLATE_H
#define UCB_BACKEND_GRADIENT_TEMPLATE_H

#include "backend/shape_template.h"

static float dot_row(const float *x, const float *y, size_t n)
{
    v16 sum = v16_set1(0.0f);
    for (size_t i = 0; i < n; i += UCB_LANES)
        sum = v16_add(sum, v16_mul(load_some(x + i, n - i), load_some(y + i, n - i)));
    return fold_sum(sum);
}

/* sum[i] += y[i] */
static inline void add_at(float *sum, v16 y, uint32_t i, uint32_t n)
{
    if (sum != NULL) store_some(sum + i, v16_add(load_some(sum + i, n - i), y), n - i);
}

/* With h = x s, g = dy w: dx = s (g - h sum(g h) / n), dw += dy h. */
static void rmsnorm_gradient_row(const float *x, const float *dy, uint32_t n,
                                 const float *weight, float eps, float *dx, float *dweight)
{
    v16 sum = v16_set1(0.0f);
    v16 scale = v16_set1(1.0f / sqrtf(dot_row(x, x, n) / (float)n + eps));
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 g = v16_mul(load_some(dy + i, n - i), load_some(weight + i, n - i));
        sum = v16_add(sum, v16_mul(g, v16_mul(load_some(x + i, n - i), scale)));
    }
    v16 mean = v16_set1(fold_sum(sum) / (float)n);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 d = load_some(dy + i, n - i), g = v16_mul(d, load_some(weight + i, n - i)),
            h = v16_mul(load_some(x + i, n - i), scale);
        add_at(dweight, v16_mul(d, h), i, n);
        store_some(dx + i, v16_mul(scale, v16_sub(g, v16_mul(h, mean))), n - i);
    }
}

/* The mean and 1 / sqrt(variance + eps) of a row. */
static void row_moments(const float *x, uint32_t n, float eps, float *mean, float *scale)
{
    v16 sum = v16_set1(0.0f), squares = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) sum = v16_add(sum, load_some(x + i, n - i));
    *mean = fold_sum(sum) / (float)n;
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 d = v16_sub(load_some(x + i, n - i), v16_set1(*mean));
        if (n - i < UCB_LANES) d = v16_select(m16_between(0, 0, n - i), d, v16_set1(0.0f));
        squares = v16_add(squares, v16_mul(d, d));
    }
    *scale = 1.0f / sqrtf(fold_sum(squares) / (float)n + eps);
}

/* With h = (x - mean) s, g = dy w: dx = s (g - sum(g) / n - h sum(g h) / n), dw += dy h,
 * db += dy. Lanes past the end have g = 0. */
static void layernorm_gradient_row(const float *x, const float *dy, uint32_t n,
                                   const float *weight, float eps, float *dx,
                                   float *dweight, float *dbias)
{
    float mean, scale;
    row_moments(x, n, eps, &mean, &scale);
    v16 m = v16_set1(mean), s = v16_set1(scale), sum = v16_set1(0.0f), along = sum;
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 g = v16_mul(load_some(dy + i, n - i), load_some(weight + i, n - i));
        v16 h = v16_mul(v16_sub(load_some(x + i, n - i), m), s);
        sum = v16_add(sum, g);
        along = v16_add(along, v16_mul(g, h));
    }
    v16 mean_g = v16_set1(fold_sum(sum) / (float)n),
        mean_gh = v16_set1(fold_sum(along) / (float)n);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 d = load_some(dy + i, n - i), g = v16_mul(d, load_some(weight + i, n - i)),
            h = v16_mul(v16_sub(load_some(x + i, n - i), m), s);
        add_at(dweight, v16_mul(d, h), i, n);
        add_at(dbias, d, i, n);
        g = v16_sub(v16_sub(g, mean_g), v16_mul(h, mean_gh));
        store_some(dx + i, v16_mul(s, g), n - i);
    }
}

/* What an activation is at x, and its slope. */
struct curve16 {
    v16 y, slope;
};

/* y = x p, p = 1 / (1 + exp(-v)), dv/dx = rise: slope = p + x p (1 - p) rise. */
static inline struct curve16 gate_curve(v16 x, v16 v, v16 rise)
{
    v16 one = v16_set1(1.0f), p = v16_div(one, v16_add(one, exp16(v16_negate(v)))),
        y = v16_mul(x, p);
    return (struct curve16){y, v16_add(p, v16_mul(v16_mul(y, v16_sub(one, p)), rise))};
}

static inline struct curve16 gelu_tanh_curve(v16 x)
{
    v16 square = v16_mul(x, x), factor = v16_set1(2 * 0x1.988454p-1f);
    v16 v = v16_add(x, v16_mul(v16_set1(0.044715f), v16_mul(square, x)));
    v16 rise = v16_add(v16_set1(1.0f), v16_mul(v16_set1(3 * 0.044715f), square));
    return gate_curve(x, v16_mul(factor, v), v16_mul(factor, rise));
}

/* x Phi(x): slope = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi). Phi is gelu16(x) / x, where x is
 * not too small for that. */
static inline struct curve16 gelu_curve(v16 x)
{
    const v16 half = v16_set1(0.5f), density = v16_set1(0x1.988454p-2f);
    v16 y = gelu16(x), square = v16_mul(x, x),
        bell = v16_mul(density, exp16(v16_negate(v16_mul(half, square))));
    v16 phi = v16_select(v16_above(v16_abs(x), v16_set1(0x1p-12f)), v16_div(y, x),
                         v16_add(half, v16_mul(density, x)));
    return (struct curve16){y, v16_add(phi, v16_mul(x, bell))};
}

static inline struct curve16 curve16_of(enum ucb_activation activation, v16 x)
{
    if (activation == UCB_ACT_GELU) return gelu_curve(x);
    if (activation == UCB_ACT_GELU_TANH) return gelu_tanh_curve(x);
    return gate_curve(x, x, v16_set1(1.0f));
}

static void activate_gradient(enum ucb_activation activation, const float *gate,
                              const float *up, const float *dy, size_t n, float *dgate,
                              float *dup)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        struct curve16 c = curve16_of(activation, load_some(gate + i, n - i));
        v16 d = load_some(dy + i, n - i), slope = v16_mul(d, c.slope);
        if (up != NULL) {
            slope = v16_mul(slope, load_some(up + i, n - i));
            store_some(dup + i, v16_mul(d, c.y), n - i);
        }
        store_some(dgate + i, slope, n - i);
    }
}

static void clamp_gradient(const float *y, size_t n, float limit, float *dx)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        m16 inside = v16_above(v16_set1(limit), v16_abs(load_some(y + i, n - i)));
        store_some(dx + i, v16_select(inside, load_some(dx + i, n - i), v16_set1(0.0f)),
                   n - i);
    }
}

/* P = e / sum, dS = P (dP - sum(P dP)) scale, and with a soft cap times
 * 1 - (s / limit)^2. */
static void softmax_gradient_row(float *e, float *dp, const float *capped,
                                 size_t chunk_stride, uint32_t n, uint32_t first, float sum,
                                 float scale, float limit)
{
    uint32_t seen = first / UCB_LANES * UCB_LANES;
    v16 factor = v16_set1(1.0f / sum), along = v16_set1(0.0f), one = v16_set1(1.0f);
    for (uint32_t key = 0; key < seen; key += UCB_LANES)
        v16_store(score_at(dp, chunk_stride, key), v16_set1(0.0f));
    for (uint32_t key = seen; key < n; key += UCB_LANES) {
        v16 p = v16_mul(v16_load(score_at(e, chunk_stride, key)), factor);
        v16_store(score_at(e, chunk_stride, key), p);
        along = v16_add(along, v16_mul(p, v16_load(score_at(dp, chunk_stride, key))));
    }
    v16 mean = v16_set1(fold_sum(along));
    for (uint32_t key = seen; key < n; key += UCB_LANES) {
        v16 p = v16_load(score_at(e, chunk_stride, key));
        v16 d = v16_sub(v16_load(score_at(dp, chunk_stride, key)), mean);
        d = v16_mul(v16_mul(p, d), v16_set1(scale));
        if (capped != NULL) {
            const float *at = capped + key / UCB_CHUNK * chunk_stride + key % UCB_CHUNK;
            v16 t = v16_div(v16_load(at), v16_set1(limit));
            d = v16_mul(d, v16_sub(one, v16_mul(t, t)));
        }
        v16_store(score_at(dp, chunk_stride, key), d);
    }
}

/* out = e factor - e0 factor0; with capped values times 1 - (capped / limit)^2. */
static void softmax_difference(const float *e, float factor, const float *e0, float factor0,
                               const float *capped, float limit, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        v16 d = v16_sub(v16_mul(load_some(e + i, n - i), v16_set1(factor)),
                        v16_mul(load_some(e0 + i, n - i), v16_set1(factor0)));
        if (capped != NULL) {
            v16 t = v16_div(load_some(capped + i, n - i), v16_set1(limit));
            d = v16_mul(d, v16_sub(v16_set1(1.0f), v16_mul(t, t)));
        }
        store_some(out + i, d, n - i);
    }
}

/* The members of struct ucb_kernel_table that this file fills. */
#define UCB_GRADIENT_FUNCTIONS                                                \
    .dot = dot_row, .rmsnorm_gradient_row = rmsnorm_gradient_row,             \
    .layernorm_gradient_row = layernorm_gradient_row,                         \
    .activate_gradient = activate_gradient, .clamp_gradient = clamp_gradient, \
    .softmax_gradient_row = softmax_gradient_row, .softmax_difference = softmax_difference

#endif
