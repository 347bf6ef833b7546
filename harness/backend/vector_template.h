/*
 * vector_template.h - everything outside the products, written once on sixteen lanes.
 *
 * A kernel file includes one lanes_*.h, then this. No fused multiply-add occurs here: every
 * operation rounds once, so the three widths agree to the bit. Sums: lane j takes elements
 * j, j + 16, ... in index order, then the lanes are folded 8, 4, 2, 1. Missing elements of
 * the last sixteen add +0, which changes no bit because no lane can hold -0.
 */
#ifndef UCB_BACKEND_VECTOR_TEMPLATE_H
#define UCB_BACKEND_VECTOR_TEMPLATE_H

#include <math.h>
#include <string.h>

#include "backend/backend_internal.h"

static inline v16 load_some(const float *p, size_t n)
{
    return n >= UCB_LANES ? v16_load(p) : v16_load_part(p, (uint32_t)n);
}

static inline void store_some(float *p, v16 x, size_t n)
{
    if (n >= UCB_LANES) {
        v16_store(p, x);
    } else {
        v16_store_part(p, x, (uint32_t)n);
    }
}

static inline float fold_sum(v16 x)
{
    float lane[UCB_LANES];
    v16_store(lane, x);
    for (int width = UCB_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lane[j] = lane[j] + lane[j + width];
    return lane[0];
}

static inline float fold_max(v16 x)
{
    float lane[UCB_LANES], most = -INFINITY;
    v16_store(lane, x);
    for (int j = 0; j < UCB_LANES; j++) most = lane[j] > most ? lane[j] : most;
    return most;
}

/*
 * exp of x in [-87, 88]; +0 below, +inf above. n = round(x / ln 2) comes from adding 1.5 *
 * 2^23, whose unit is 1, and r = x - n ln 2 in two steps: n * LN2_HIGH is exact (9 bits
 * times 8) and so is the first difference. |r| <= 0.3466; the polynomial 1 + (r + r^2 q(r))
 * is Taylor's of degree 7, whose rest is 5e-9. The bounds keep 2^n a normal number: no
 * subnormal is ever made.
 */
#define EXP_LOW (-87.0f)
#define EXP_HIGH 88.0f
#define EXP_SHIFT 12582912.0f
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-0x1.bd0106p-13f)

/* For x <= 88 or NaN. */
static inline v16 exp16_bounded(v16 x)
{
    static const float taylor[] = {0x1.a01a02p-13f, 0x1.6c16c2p-10f, 0x1.111112p-7f,
                                   0x1.555556p-5f,  0x1.555556p-3f,  0.5f};
    v16 shifted = v16_add(v16_mul(x, v16_set1(LOG2_E)), v16_set1(EXP_SHIFT));
    v16 n = v16_sub(shifted, v16_set1(EXP_SHIFT));
    v16 r = v16_sub(x, v16_mul(n, v16_set1(LN2_HIGH)));
    r = v16_sub(r, v16_mul(n, v16_set1(LN2_LOW)));
    v16 q = v16_set1(taylor[0]);
    for (int i = 1; i < 6; i++) q = v16_add(v16_mul(q, r), v16_set1(taylor[i]));
    v16 p = v16_add(v16_set1(1.0f), v16_add(r, v16_mul(v16_mul(r, r), q)));
    v16 y = v16_mul(p, v16_power_of_shifted(shifted));
    return v16_select(v16_above(v16_set1(EXP_LOW), x), v16_set1(0.0f), y);
}

static inline v16 exp16(v16 x)
{
    return v16_select(v16_above(x, v16_set1(EXP_HIGH)), v16_set1(INFINITY),
                      exp16_bounded(x));
}

static void rmsnorm_row(const float *x, uint32_t n, const float *weight, float eps,
                        float *y)
{
    v16 squares = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 v = load_some(x + i, n - i);
        squares = v16_add(squares, v16_mul(v, v));
    }
    v16 scale = v16_set1(1.0f / sqrtf(fold_sum(squares) / (float)n + eps));
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 v = v16_mul(load_some(x + i, n - i), scale);
        store_some(y + i, v16_mul(load_some(weight + i, n - i), v), n - i);
    }
}

static void rotate(float *x, float *y, uint32_t n, const float *cosine, const float *sine)
{
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 c = load_some(cosine + i, n - i), s = load_some(sine + i, n - i);
        v16 a = load_some(x + i, n - i), b = load_some(y + i, n - i);
        store_some(x + i, v16_sub(v16_mul(a, c), v16_mul(b, s)), n - i);
        store_some(y + i, v16_add(v16_mul(b, c), v16_mul(a, s)), n - i);
    }
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        store_some(x + i, v16_add(load_some(x + i, n - i), load_some(y + i, n - i)), n - i);
}

/* Adding +0 first turns -0 into +0: after an underflow the sign of a zero sum tells how
 * many unseen keys followed. */
static void divide(const float *x, float divisor, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 v = v16_add(load_some(x + i, n - i), v16_set1(0.0f));
        store_some(out + i, v16_div(v, v16_set1(divisor)), n - i);
    }
}

static inline float *score_at(float *s, size_t chunk_stride, uint32_t key)
{
    return s + key / UCB_CHUNK * chunk_stride + key % UCB_CHUNK;
}

/* x where the key, the first of sixteen, is in [first, end). */
static inline v16 where_seen(v16 x, float otherwise, uint32_t key, uint32_t first,
                             uint32_t end)
{
    if (key >= first && key + UCB_LANES <= end) return x;
    return v16_select(m16_between(key, first, end), x, v16_set1(otherwise));
}

static float softmax_row(float *s, size_t chunk_stride, uint32_t n, uint32_t first,
                         uint32_t end, float scale)
{
    v16 peaks = v16_set1(-INFINITY), sum = v16_set1(0.0f);
    uint32_t seen = first / UCB_LANES * UCB_LANES;
    for (uint32_t key = seen; key < end; key += UCB_LANES) {
        float *p = score_at(s, chunk_stride, key);
        v16 scaled = v16_mul(v16_load(p), v16_set1(scale));
        v16_store(p, scaled);
        peaks = v16_max(where_seen(scaled, -INFINITY, key, first, end), peaks);
    }
    v16 peak = v16_set1(fold_max(peaks));
    for (uint32_t key = 0; key < seen; key += UCB_LANES)
        v16_store(score_at(s, chunk_stride, key), v16_set1(0.0f));
    for (uint32_t key = seen; key < n; key += UCB_LANES) {
        float *p = score_at(s, chunk_stride, key);
        v16 e = where_seen(exp16_bounded(v16_sub(v16_load(p), peak)), 0.0f, key, first,
                           end);
        v16_store(p, e);
        sum = v16_add(sum, e);
    }
    return fold_sum(sum);
}

static void top_insert(struct ucb_top *top, float value, uint32_t id)
{
    int at = UCB_TOP - 1;
    for (; at > 0 && value > top->value[at - 1]; at--) {
        top->value[at] = top->value[at - 1];
        top->id[at] = top->id[at - 1];
    }
    top->value[at] = value;
    top->id[at] = id;
}

/* Ids come in rising order and only a strictly larger value displaces another: so equal
 * values rank by lower id. */
static void top_of_row(const float *z, uint32_t n, struct ucb_top *top)
{
    for (int i = 0; i < UCB_TOP; i++) top->value[i] = -INFINITY;
    for (int i = 0; i < UCB_TOP; i++) top->id[i] = UINT32_MAX;
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        uint32_t above = m16_bits(
            v16_above(load_some(z + i, n - i), v16_set1(top->value[UCB_TOP - 1])));
        if (n - i < UCB_LANES) above &= (1u << (n - i)) - 1;
        for (; above != 0; above &= above - 1) {
            uint32_t id = i + (uint32_t)__builtin_ctz(above);
            if (z[id] > top->value[UCB_TOP - 1]) top_insert(top, z[id], id);
        }
    }
}

static uint32_t count_above(const float *z, uint32_t n, float threshold)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        uint32_t above = m16_bits(v16_above(load_some(z + i, n - i), v16_set1(threshold)));
        if (n - i < UCB_LANES) above &= (1u << (n - i)) - 1;
        count += (uint32_t)__builtin_popcount(above);
    }
    return count;
}

/* Lanes past the end hold +0 after this: they must not add exp(0 - peak) to a sum. */
static inline v16 clear_past(v16 x, uint32_t i, uint32_t n)
{
    return n - i >= UCB_LANES ? x : v16_select(m16_between(i, i, n), x, v16_set1(0.0f));
}

static float exp_sum(const float *z, uint32_t n, float peak, float *e)
{
    v16 sum = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 y = clear_past(exp16_bounded(v16_sub(load_some(z + i, n - i), v16_set1(peak))),
                           i, n);
        store_some(e + i, y, n - i);
        sum = v16_add(sum, y);
    }
    return fold_sum(sum);
}

static float exp_sum_beside(const float *z, uint32_t n, float peak, const float *z0,
                            float peak0, const float *e0, float *e, float *divergence)
{
    v16 sum = v16_set1(0.0f), products = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 below = v16_sub(load_some(z + i, n - i), v16_set1(peak));
        v16 below0 = v16_sub(load_some(z0 + i, n - i), v16_set1(peak0));
        v16 product = v16_mul(load_some(e0 + i, n - i), v16_sub(below0, below));
        products = v16_add(products, clear_past(product, i, n));
        v16 y = clear_past(exp16_bounded(below), i, n);
        store_some(e + i, y, n - i);
        sum = v16_add(sum, y);
    }
    *divergence = fold_sum(products);
    return fold_sum(sum);
}

static float distance(const float *a, float a_factor, const float *b, float b_factor,
                      uint32_t n)
{
    v16 sum = v16_set1(0.0f);
    for (uint32_t i = 0; i < n; i += UCB_LANES) {
        v16 p = v16_mul(load_some(a + i, n - i), v16_set1(a_factor));
        v16 q = v16_mul(load_some(b + i, n - i), v16_set1(b_factor));
        sum = v16_add(sum, v16_abs(v16_sub(p, q)));
    }
    return fold_sum(sum);
}

static inline void pack_row_fp32(const float *x, uint32_t n, void *out)
{
    if (out != x) memcpy(out, x, n * sizeof(*x));
}

/* Rounded to bf16, kept as floats. */
static inline void pack_row_bf16(const float *x, uint32_t n, void *out)
{
    float *y = out;
    for (uint32_t i = 0; i < n; i += UCB_LANES)
        v16_store(y + i, v16_round_bf16(load_some(x + i, n - i)));
    for (uint32_t i = ucb_round_up(n, UCB_LANES); i < ucb_round_up(n, UCB_BLOCK);
         i += UCB_LANES)
        v16_store(y + i, v16_set1(0.0f));
}

#define UCB_VECTOR_FUNCTIONS                                                              \
    .rmsnorm_row = rmsnorm_row, .rotate = rotate, .add = add, .softmax_row = softmax_row, \
    .divide = divide, .top = top_of_row, .count_above = count_above, .exp_sum = exp_sum,  \
    .exp_sum_beside = exp_sum_beside, .distance = distance

#endif
