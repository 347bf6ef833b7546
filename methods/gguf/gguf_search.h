/*
 * gguf_search.h - ggml's searches for a block's scale, one block a lane. The names SYM,
 * Q3FIT, AFF and POS are those of docs/methods.md; ggml calls them make_qx_quants,
 * make_q3_quants, make_qkx2_quants (and 3) and make_qp_quants.
 *
 * x[e] holds element e of each lane's block, w[e] its weight. Sums run in index order.
 * A search answers a scale and what its codes come from, not the codes: most types choose
 * codes again for the rounded scale.
 */
#ifndef UCB_GGUF_SEARCH_H
#define UCB_GGUF_SEARCH_H

#include "gguf_lanes.h"

/* A block whose largest weight is below this is all zero. */
#define GGUF_TINY 1e-15f
enum { GGUF_GROUPS_MAX = 4 };

/* The first of the weights with the largest |x|, with its sign; 0 in a block of zeros. */
GGUF_INLINE gguf_lanes gguf_signed_peak(const gguf_lanes *x, int n)
{
    gguf_lanes peak = {0}, m = {0};
    for (int e = 0; e < n; e++) {
        gguf_lanes a = lanes_abs(x[e]);
        m = lanes_choose(a > peak, x[e], m);
        peak = lanes_max(a, peak);
    }
    return m;
}

GGUF_INLINE gguf_lanes gguf_round_clamp(gguf_lanes x, float low, float high)
{
    return lanes_clamp(lanes_whole(x), low, high);
}

/* As ggml also where an outlier of weight 0, or a range of denormals, takes x past 2^22 or
 * to infinity. */
GGUF_INLINE gguf_lanes gguf_nearest_clamp(gguf_lanes x, float low, float high)
{
    return lanes_clamp(lanes_nearest(x), low, high);
}

/* ---- SYM: codes of -N to N - 1 times a scale ---- */

/* The code of x is round(inverse * x), clamped, plus N; inverse 0 marks a tiny block, whose
 * codes are 0. */
struct gguf_sym {
    gguf_lanes scale, inverse;
};

GGUF_INLINE void gguf_sym_sums(const gguf_lanes *x, const gguf_lanes *w, int n, float N,
                               gguf_lanes inverse, gguf_lanes *A, gguf_lanes *B)
{
    gguf_lanes a = {0}, b = {0};
    for (int e = 0; e < n; e++) {
        gguf_lanes l = gguf_round_clamp(inverse * x[e], -N, N - 1);
        a += w[e] * x[e] * l;
        b += w[e] * l * l;
    }
    *A = a;
    *B = b;
}

GGUF_INLINE struct gguf_sym gguf_sym(const gguf_lanes *x, const gguf_lanes *w, int n,
                                     float N)
{
    gguf_lanes m = gguf_signed_peak(x, n), A, B;
    gguf_ints sound = lanes_abs(m) >= lanes_all(GGUF_TINY);
    struct gguf_sym fit = {.inverse = -N / m};
    gguf_sym_sums(x, w, n, N, fit.inverse, &A, &B);
    fit.scale = lanes_choose(B == 0, lanes_all(0), A / B);
    gguf_lanes best = fit.scale * A;
    for (int k = -9; k <= 9; k++) {
        if (k == 0) continue;
        gguf_lanes inverse = -(N + 0.1f * (float)k) / m;
        gguf_sym_sums(x, w, n, N, inverse, &A, &B);
        gguf_ints better = (B > 0) & (A * A > best * B);
        fit.scale = lanes_choose(better, A / B, fit.scale);
        fit.inverse = lanes_choose(better, inverse, fit.inverse);
        best = lanes_choose(better, fit.scale * A, best);
    }
    fit.scale = (gguf_lanes)((gguf_ints)fit.scale & sound);
    fit.inverse = (gguf_lanes)((gguf_ints)fit.inverse & sound);
    return fit;
}

/* ---- refinement: one code at a time, by what the other elements leave to it ---- */

/* Of sums A = sum w x l and B = sum w l l over elements with codes l in [low, high]. */
struct gguf_sums {
    gguf_lanes A, B;
};

/* Tries to change *l, the code of x; answers where it did. `positive`: the rest must have
 * a positive B too before a new code is looked for. */
GGUF_INLINE gguf_ints gguf_refine_one(struct gguf_sums *s, gguf_lanes x, gguf_lanes w,
                                      gguf_lanes *l, float low, float high, bool positive)
{
    gguf_lanes wx = w * x;
    gguf_lanes a = s->A - wx * *l, b = s->B - w * *l * *l;
    gguf_lanes found = lanes_clamp(lanes_nearest(x * b / a), low, high);
    gguf_ints changed = (a > 0) & (found != *l);
    if (positive) changed &= b > 0;
    a += wx * found;
    b += w * found * found;
    if (!positive) changed &= b > 0;
    changed &= a * a * s->B > s->A * s->A * b;
    *l = lanes_choose(changed, found, *l);
    s->A = lanes_choose(changed, a, s->A);
    s->B = lanes_choose(changed, b, s->B);
    return changed;
}

/*
 * Up to five passes; one that changes nothing is the last. `groups` sets of blocks of n
 * elements at a time: an element waits for the one before it, and what fills the wait is
 * another set's.
 */
GGUF_INLINE void gguf_refine(const gguf_lanes *x, const gguf_lanes *w, int n, int groups,
                             gguf_lanes *l, float low, float high, bool positive,
                             gguf_lanes *scale)
{
    struct gguf_sums s[GGUF_GROUPS_MAX];
    for (int g = 0; g < groups; g++) {
        s[g] = (struct gguf_sums){{0}, {0}};
        for (int e = g * n; e < (g + 1) * n; e++) {
            s[g].A += w[e] * x[e] * l[e];
            s[g].B += w[e] * l[e] * l[e];
        }
    }
    for (int pass = 0; pass < 5; pass++) {
        gguf_ints changed = {0};
        for (int e = 0; e < n; e++)
            for (int g = 0; g < groups; g++)
                changed |= gguf_refine_one(&s[g], x[g * n + e], w[g * n + e], &l[g * n + e],
                                           low, high, positive);
        if (!lanes_any(changed)) break;
    }
    for (int g = 0; g < groups; g++)
        scale[g] = lanes_choose(s[g].B > 0, s[g].A / s[g].B, lanes_all(0));
}

/* ---- Q3FIT: three bits, refined; l gets the codes, 0 to 7 ---- */

/* `groups` sets of blocks of 16 elements. */
GGUF_INLINE void gguf_q3fit(const gguf_lanes *x, int groups, gguf_lanes *l,
                            gguf_lanes *scale)
{
    gguf_lanes w[16 * GGUF_GROUPS_MAX];
    gguf_ints sound[GGUF_GROUPS_MAX];
    for (int g = 0; g < groups; g++) {
        gguf_lanes m = gguf_signed_peak(x + 16 * g, 16);
        sound[g] = lanes_abs(m) >= lanes_all(GGUF_TINY);
        for (int e = 16 * g; e < 16 * g + 16; e++) {
            w[e] = x[e] * x[e];
            l[e] = gguf_round_clamp(-4.0f / m * x[e], -4, 3);
        }
    }
    gguf_refine(x, w, 16, groups, l, -4, 3, false, scale);
    for (int g = 0; g < groups; g++) {
        scale[g] = (gguf_lanes)((gguf_ints)scale[g] & sound[g]);
        for (int e = 16 * g; e < 16 * g + 16; e++)
            l[e] = (gguf_lanes)((gguf_ints)(l[e] + 4.0f) & sound[g]);
    }
}

/* ---- AFF: codes of 0 to N times a scale, less a minimum that is not negative ---- */

struct gguf_aff_grid {
    float N, rmin, rdelta;
    int steps;
    bool absolute; /* errors are counted as such, not squared */
};

/* The code of x is round(inverse * (x - low)), clamped. */
struct gguf_aff {
    gguf_lanes scale, minus, inverse, low;
};

GGUF_INLINE gguf_lanes gguf_aff_error(const gguf_lanes *x, const gguf_lanes *w,
                                      const gguf_lanes *l, int n, bool absolute,
                                      gguf_lanes scale, gguf_lanes low)
{
    gguf_lanes sum = {0};
    for (int e = 0; e < n; e++) {
        gguf_lanes off = scale * l[e] + low - x[e];
        sum += w[e] * (absolute ? lanes_abs(off) : off * off);
    }
    return sum;
}

/* Codes for an inverse scale, and their sums. */
struct gguf_aff_try {
    gguf_lanes l[32], L1, L2, LX;
};

GGUF_INLINE void gguf_aff_codes(struct gguf_aff_try *t, const gguf_lanes *x,
                                const gguf_lanes *w, int n, float N, gguf_lanes inverse,
                                gguf_lanes low)
{
    gguf_lanes L1 = {0}, L2 = {0}, LX = {0};
    for (int e = 0; e < n; e++) {
        gguf_lanes l = gguf_nearest_clamp(inverse * (x[e] - low), 0, N);
        gguf_lanes wl = w[e] * l;
        t->l[e] = l;
        L1 += wl;
        L2 += wl * l;
        LX += wl * x[e];
    }
    t->L1 = L1;
    t->L2 = L2;
    t->LX = LX;
}

GGUF_INLINE struct gguf_aff gguf_aff(const gguf_lanes *x, const gguf_lanes *w, int n,
                                     struct gguf_aff_grid g)
{
    struct gguf_aff_try t;
    gguf_lanes low = x[0], high = x[0], SW = w[0], SX = w[0] * x[0];
    for (int e = 1; e < n; e++) {
        low = lanes_choose(x[e] < low, x[e], low);
        high = lanes_max(x[e], high);
        SW += w[e];
        SX += w[e] * x[e];
    }
    low = lanes_choose(low > 0, lanes_all(0), low);
    gguf_ints flat = high <= low;
    gguf_lanes flat_low = low, inverse = g.N / (high - low);
    struct gguf_aff fit = {.scale = 1.0f / inverse, .inverse = inverse, .low = low};
    gguf_aff_codes(&t, x, w, n, g.N, fit.inverse, low);
    gguf_lanes best = gguf_aff_error(x, w, t.l, n, g.absolute, fit.scale, low);
    for (int k = 0; k <= g.steps; k++) {
        inverse = (g.rmin + g.rdelta * (float)k + g.N) / (high - low);
        gguf_aff_codes(&t, x, w, n, g.N, inverse, low);
        gguf_lanes D = SW * t.L2 - t.L1 * t.L1, scale = (SW * t.LX - SX * t.L1) / D,
                   min = (t.L2 * SX - t.L1 * t.LX) / D;
        gguf_ints above = min > 0;
        scale = lanes_choose(above, t.LX / t.L2, scale);
        min = lanes_choose(above, lanes_all(0), min);
        gguf_lanes error = gguf_aff_error(x, w, t.l, n, g.absolute, scale, min);
        gguf_ints better = (D > 0) & (error < best);
        best = lanes_choose(better, error, best);
        fit.scale = lanes_choose(better, scale, fit.scale);
        fit.inverse = lanes_choose(better, inverse, fit.inverse);
        fit.low = lanes_choose(better, low, fit.low);
        low = lanes_choose(better, min, low); /* the candidates that follow start from it */
    }
    fit.minus = -lanes_choose(flat, flat_low, low);
    fit.scale = (gguf_lanes)((gguf_ints)fit.scale & ~flat);
    fit.inverse = (gguf_lanes)((gguf_ints)fit.inverse & ~flat);
    return fit;
}

/* ---- POS: scales of sub-blocks, not negative, to codes of 0 to N; l gets the codes ----
 */

GGUF_INLINE gguf_lanes gguf_pos(const gguf_lanes *v, const gguf_lanes *w, int n, float N,
                                gguf_lanes *l)
{
    gguf_lanes m = {0}, mse = {0};
    for (int e = 0; e < n; e++) m = lanes_max(v[e], m);
    gguf_ints sound = m >= lanes_all(GGUF_TINY);
    gguf_lanes inverse = N / m, scale = 1.0f / inverse;
    for (int e = 0; e < n; e++) {
        gguf_lanes off = v[e] - scale * lanes_whole(inverse * v[e]);
        mse += w[e] * off * off;
    }
    for (int k = -4; k <= 4; k++) {
        gguf_lanes other = (0.1f * (float)k + N) / m, error = {0};
        if (k == 0) continue;
        scale = 1.0f / other;
        for (int e = 0; e < n; e++) {
            gguf_lanes code = lanes_min(lanes_whole(other * v[e]), lanes_all(N));
            gguf_lanes off = v[e] - scale * code;
            error += w[e] * off * off;
        }
        gguf_ints better = error < mse;
        mse = lanes_choose(better, error, mse);
        inverse = lanes_choose(better, other, inverse);
    }
    for (int e = 0; e < n; e++) l[e] = lanes_min(lanes_whole(inverse * v[e]), lanes_all(N));
    gguf_refine(v, w, n, 1, l, 0, N, true, &scale);
    for (int e = 0; e < n; e++) l[e] = (gguf_lanes)((gguf_ints)l[e] & sound);
    return (gguf_lanes)((gguf_ints)scale & sound);
}

/* ---- NL: one of sixteen values times a scale ---- */

static const float gguf_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};
/* Half way between neighbours: at and above [i], the code is more than i. Exact in fp32,
 * and so are the two differences that ggml compares, wherever they are close. */
static const float gguf_nl_bounds[16] = {-115.5f, -93.5f, -74, -57, -42,   -28.5f,
                                         -16,     -4.5f,  7,   19,  31.5f, 45.5f,
                                         61,      79,     101, 0};

GGUF_INLINE gguf_ints gguf_nl_code(gguf_lanes x)
{
    gguf_ints code = (x >= lanes_all(gguf_nl_bounds[7])) & 8;
    code |= (x >= lanes_lookup(gguf_nl_bounds, code + 3)) & 4;
    code |= (x >= lanes_lookup(gguf_nl_bounds, code + 1)) & 2;
    code |= (x >= lanes_lookup(gguf_nl_bounds, code)) & 1;
    return code;
}

/* The scale of the best of sixteen; 0 for a tiny block. */
GGUF_INLINE gguf_lanes gguf_nl(const gguf_lanes x[32], const gguf_lanes w[32])
{
    gguf_lanes m = gguf_signed_peak(x, 32), scale = {0}, best = {0};
    gguf_ints sound = lanes_abs(m) >= lanes_all(GGUF_TINY);
    for (int k = -8; k <= 7; k++) {
        gguf_lanes inverse = k == -8 ? 1.0f / (m / 127.0f) : (float)(k - 127) / m;
        gguf_lanes A = {0}, B = {0};
        for (int e = 0; e < 32; e++) {
            gguf_lanes t = lanes_lookup(gguf_nl_values, gguf_nl_code(inverse * x[e]));
            gguf_lanes wt = w[e] * t;
            A += wt * x[e];
            B += wt * t;
        }
        gguf_ints better = (B > 0) & (k == -8 ? B > 0 : A * A > best * B);
        scale = lanes_choose(better, A / B, scale);
        best = lanes_choose(better, scale * A, best);
    }
    return (gguf_lanes)((gguf_ints)scale & sound);
}

#endif
