/* A layer in double, row by row and head by head. */
#include "layer_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

static double *zeros(size_t n)
{
    double *p = calloc(n + 1, sizeof(*p));
    CHECK(p != NULL);
    return p;
}

static void norm_row(bool is_layer_norm, const double *x, size_t n, double eps,
                     const double *weight, const double *bias, double *y)
{
    double mean = 0, square = 0;
    for (size_t i = 0; is_layer_norm && i < n; i++) mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        y[i] = weight[i] * (x[i] - mean) / sqrt(square + eps) + (bias ? bias[i] : 0);
}

static double *norm(const struct layer_oracle *o, enum ucb_vector weight,
                    enum ucb_vector bias, const double *x, size_t n_rows)
{
    const struct ucb_arch *a = o->arch;
    double *y = zeros(n_rows * a->hidden);
    bool layer = a->norm == UCB_NORM_LAYER;
    for (size_t i = 0; i < n_rows; i++)
        norm_row(layer, x + i * a->hidden, a->hidden, (double)a->norm_eps,
                 o->vector[weight], layer ? o->vector[bias] : NULL, y + i * a->hidden);
    return y;
}

static void linear(const struct layer_oracle *o, enum ucb_role role, uint32_t expert,
                   const double *x, size_t n_rows, size_t n_in, double *y)
{
    size_t slot = o->first[role] + expert * (role == UCB_ROLE_DOWN ? 1u : 2u),
           n_out = o->n_out[slot];
    const double *w = o->weight[slot], *bias = o->vector[UCB_VECTOR_BIAS + role];
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < n_out; j++) {
            double sum = bias ? bias[j] : 0;
            for (size_t k = 0; k < n_in; k++) sum += x[i * n_in + k] * w[j * n_in + k];
            y[i * n_out + j] = sum;
        }
}

/* ---- attention ---- */

static void rotate(const struct ucb_arch *a, const struct ucb_rope_set *rope, bool is_long,
                   size_t position, double *head)
{
    const float *f = is_long ? rope->long_inv_freq : rope->inv_freq;
    double m = (double)(is_long ? rope->long_magnitude : rope->magnitude);
    for (uint32_t i = 0; i < a->rotary_dim / 2; i++) {
        bool pairs = a->positions == UCB_POSITIONS_PAIRS;
        double *p = head + (pairs ? 2 * i : i), *q = pairs ? p + 1 : p + a->rotary_dim / 2;
        double angle = (double)position * (double)f[i], c = m * cos(angle),
               s = m * sin(angle), before = *p;
        *p = before * c - *q * s;
        *q = *q * c + before * s;
    }
}

/* Norms, clamps and turns the heads of q or of k. */
static void finish(const struct layer_oracle *o, enum ucb_vector weight, uint32_t n_heads,
                   bool turns, bool is_long, size_t position, double *row)
{
    const struct ucb_arch *a = o->arch;
    size_t d = a->head_dim, n = n_heads * d;
    const double *w = o->vector[weight];
    if (turns && a->qk_norm == UCB_QK_NORM_PROJECTION)
        norm_row(false, row, n, (double)a->norm_eps, w, NULL, row);
    for (size_t h = 0; turns && a->qk_norm == UCB_QK_NORM_HEAD && h < n_heads; h++)
        norm_row(false, row + h * d, d, (double)a->norm_eps, w, NULL, row + h * d);
    double clip = (double)a->clip_qkv;
    for (size_t i = 0; clip != 0 && i < n; i++) row[i] = fmax(-clip, fmin(clip, row[i]));
    if (!turns || a->positions == UCB_POSITIONS_LEARNED ||
        a->positions == UCB_POSITIONS_NONE)
        return;
    for (size_t h = 0; h < n_heads; h++)
        rotate(a, &a->rope[a->layers[o->layer].rope], is_long, position, row + h * d);
}

/* Keys and values of one head: rows of a key and of a value, so many elements apart. */
struct seen {
    const double *k, *v;
    size_t k_size, v_size, k_stride, v_stride;
};

/* One query of one head over the keys it sees. */
static void attend(const struct layer_oracle *o, const double *q, const struct seen *see,
                   size_t position, double *out)
{
    const struct ucb_arch *a = o->arch;
    const struct ucb_layer_arch *l = &a->layers[o->layer];
    double scale = (double)(l->score_scale != 0 ? l->score_scale : a->attention_scale),
           cap = (double)a->attention_softcap, sum = 0, *p = zeros(position + 1),
           peak = -INFINITY;
    size_t first = l->window != 0 && position + 1 > l->window ? position + 1 - l->window
                                                              : 0;
    for (size_t j = first; j <= position; j++) {
        for (size_t c = 0; c < see->k_size; c++)
            p[j] += scale * q[c] * see->k[j * see->k_stride + c];
        if (cap != 0) p[j] = cap * tanh(p[j] / cap);
        peak = fmax(peak, p[j]);
    }
    for (size_t j = first; j <= position; j++) sum += p[j] = exp(p[j] - peak);
    for (size_t c = 0; c < see->v_size; c++) out[c] = 0;
    for (size_t j = first; j <= position; j++)
        for (size_t c = 0; c < see->v_size; c++)
            out[c] += p[j] / sum * see->v[j * see->v_stride + c];
    free(p);
}

static double *mix(const struct layer_oracle *o, const double *x, size_t n)
{
    const struct ucb_arch *a = o->arch;
    const struct ucb_rope_set *rope = &a->rope[a->layers[o->layer].rope];
    size_t d = a->head_dim, nq = a->n_heads * d, nk = a->n_kv_heads * d;
    bool is_long = rope->long_inv_freq != NULL && n > rope->original;
    double *q = zeros(n * nq), *k = zeros(n * nk), *v = zeros(n * nk), *m = zeros(n * nq),
           *y = zeros(n * a->hidden);
    linear(o, UCB_ROLE_Q, 0, x, n, a->hidden, q);
    linear(o, UCB_ROLE_K, 0, x, n, a->hidden, k);
    linear(o, UCB_ROLE_V, 0, x, n, a->hidden, v);
    for (size_t i = 0; i < n; i++) {
        finish(o, UCB_VECTOR_Q_NORM, a->n_heads, true, is_long, i, q + i * nq);
        finish(o, UCB_VECTOR_K_NORM, a->n_kv_heads, true, is_long, i, k + i * nk);
        finish(o, UCB_VECTOR_K_NORM, a->n_kv_heads, false, is_long, i, v + i * nk);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < a->n_heads; h++) {
            size_t shared = h / (a->n_heads / a->n_kv_heads) * d;
            struct seen see = {k + shared, v + shared, d, d, nk, nk};
            attend(o, q + i * nq + h * d, &see, i, m + i * nq + h * d);
        }
    linear(o, UCB_ROLE_O, 0, m, n, nq, y);
    free(q);
    free(k);
    free(v);
    free(m);
    return y;
}

/* ---- latent attention ---- */

/* The released code norms latents with this epsilon, whatever the configuration says. */
static const double latent_eps = 1e-6;

/* up(norm(down(x))); of down's rows the elements past `rank` go to `rest`. */
static void project_latent(const struct layer_oracle *o, enum ucb_role down,
                           enum ucb_vector weight, enum ucb_role up, size_t rank,
                           size_t n_rest, const double *x, size_t n, double *rest,
                           double *y)
{
    double *both = zeros(n * (rank + n_rest)), *latent = zeros(n * rank);
    linear(o, down, 0, x, n, o->arch->hidden, both);
    for (size_t i = 0; i < n; i++) {
        const double *row = both + i * (rank + n_rest);
        norm_row(false, row, rank, latent_eps, o->vector[weight], NULL, latent + i * rank);
        if (n_rest != 0) memcpy(rest + i * n_rest, row + rank, n_rest * sizeof(*rest));
    }
    linear(o, up, 0, latent, n, rank, y);
    free(both);
    free(latent);
}

static double *mix_latent(const struct layer_oracle *o, const double *x, size_t n)
{
    const struct ucb_arch *a = o->arch;
    const struct ucb_latent *l = &a->latent;
    const struct ucb_rope_set *rope = &a->rope[a->layers[o->layer].rope];
    size_t d = l->nope + l->rope, part = l->nope + l->value, nh = a->n_heads;
    double *q = zeros(n * nh * d), *kv = zeros(n * nh * part), *shared = zeros(n * l->rope),
           *k = zeros(n * nh * d), *m = zeros(n * nh * l->value), *y = zeros(n * a->hidden);
    if (l->q_rank == 0)
        linear(o, UCB_ROLE_Q, 0, x, n, a->hidden, q);
    else
        project_latent(o, UCB_ROLE_Q_A, UCB_VECTOR_Q_A_NORM, UCB_ROLE_Q_B, l->q_rank, 0, x,
                       n, NULL, q);
    project_latent(o, UCB_ROLE_KV_A, UCB_VECTOR_KV_A_NORM, UCB_ROLE_KV_B, l->kv_rank,
                   l->rope, x, n, shared, kv);
    for (size_t i = 0; i < n; i++) {
        rotate(a, rope, false, i, shared + i * l->rope);
        for (size_t h = 0; h < nh; h++) {
            double *key = k + (i * nh + h) * d;
            rotate(a, rope, false, i, q + (i * nh + h) * d + l->nope);
            memcpy(key, kv + (i * nh + h) * part, l->nope * sizeof(*key));
            memcpy(key + l->nope, shared + i * l->rope, l->rope * sizeof(*key));
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < nh; h++) {
            struct seen see = {k + h * d, kv + h * part + l->nope, d, l->value, nh * d,
                               nh * part};
            attend(o, q + (i * nh + h) * d, &see, i, m + (i * nh + h) * l->value);
        }
    linear(o, UCB_ROLE_O, 0, m, n, nh * l->value, y);
    free(q);
    free(kv);
    free(shared);
    free(k);
    free(m);
    return y;
}

/* ---- MLP ---- */

static double activation(enum ucb_activation kind, double x)
{
    if (kind == UCB_ACT_SILU) return x / (1 + exp(-x));
    if (kind == UCB_ACT_GELU) return x / 2 * (1 + erf(x / sqrt(2)));
    return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

/* `gate_role` names the three roles: up and down follow it. */
static void mlp_row(const struct layer_oracle *o, enum ucb_role gate_role, uint32_t expert,
                    size_t width, const double *x, double *y)
{
    const struct ucb_arch *a = o->arch;
    double *gate = zeros(width), *up = zeros(width);
    enum ucb_role up_role = (enum ucb_role)((int)gate_role + 1),
                  down_role = (enum ucb_role)((int)gate_role + 2);
    linear(o, up_role, expert, x, 1, a->hidden, up);
    if (a->gated) linear(o, gate_role, expert, x, 1, a->hidden, gate);
    for (size_t i = 0; i < width; i++)
        up[i] = a->gated ? activation(a->activation, gate[i]) * up[i]
                         : activation(a->activation, up[i]);
    linear(o, down_role, expert, up, 1, width, y);
    free(gate);
    free(up);
}

/* Softmax of those of s that are `in`, at `at`. */
static double softmax_at(const double *s, const bool *in, uint32_t n, uint32_t at)
{
    double sum = 0;
    for (uint32_t e = 0; e < n; e++)
        if (in[e]) sum += exp(s[e] - s[at]);
    return 1 / sum;
}

static uint32_t largest(const double *s, const bool *in, uint32_t n)
{
    uint32_t best = n;
    for (uint32_t e = 0; e < n; e++)
        if (in[e] && (best == n || s[e] > s[best])) best = e;
    return best;
}

/* Only the best groups stay, by their best member. */
static void limit_groups(const struct ucb_experts *e, const double *s, bool *in)
{
    uint32_t size = e->n / e->n_groups;
    bool all[64], kept[64] = {false};
    for (uint32_t i = 0; i < e->n; i++) all[i] = true;
    for (uint32_t round = 0; round < e->groups_used; round++) {
        uint32_t group = largest(s, all, e->n) / size;
        kept[group] = true;
        for (uint32_t i = 0; i < size; i++) all[group * size + i] = false;
    }
    for (uint32_t i = 0; i < e->n; i++) in[i] = in[i] && kept[i / size];
}

/* choice[used] and w[used] of a row. */
static void route(const struct layer_oracle *o, const double *x, uint32_t *choice,
                  double *w)
{
    const struct ucb_experts *e = &o->arch->experts;
    double s[64] = {0};
    bool in[64], all[64], chosen[64] = {false};
    CHECK(e->n <= 64 && e->n_groups > 0);
    for (uint32_t i = 0; i < e->n; i++) {
        in[i] = all[i] = true;
        for (uint32_t k = 0; k < o->arch->hidden; k++)
            s[i] += x[k] * o->vector[UCB_VECTOR_ROUTER][i * o->arch->hidden + k];
    }
    limit_groups(e, s, in);
    for (uint32_t i = 0; i < e->used; i++) {
        if (!o->has_choice) choice[i] = largest(s, in, e->n);
        uint32_t best = choice[i];
        bool near[64];
        for (uint32_t j = 0; j < e->n; j++)
            near[j] = in[j] &&
                      (s[best] - s[j]) / fmax(fabs(s[j]), s[best]) <= 2 * (double)e->jitter;
        w[i] = e->routing == UCB_ROUTING_SPARSEMIXER ? softmax_at(s, near, e->n, best)
                                                     : softmax_at(s, all, e->n, best);
        in[best] = false;
        chosen[best] = true;
    }
    if (e->routing == UCB_ROUTING_SPARSEMIXER) return;
    for (uint32_t i = 0; i < e->used; i++)
        w[i] = e->normalise ? softmax_at(s, chosen, e->n, choice[i])
                            : w[i] * (double)e->scale;
}

static double *mlp(const struct layer_oracle *o, const double *x, size_t first, size_t n)
{
    const struct ucb_arch *a = o->arch;
    uint32_t ffn = a->layers[o->layer].ffn;
    double *y = zeros(n * a->hidden), *part = zeros(a->hidden), w[64];
    for (size_t i = 0; i < n; i++) {
        const double *row = x + i * a->hidden;
        uint32_t *choice = o->choice + (first + i) * a->experts.used;
        if (ffn != 0) mlp_row(o, UCB_ROLE_GATE, 0, ffn, row, y + i * a->hidden);
        if (ffn != 0) continue;
        route(o, row, choice, w);
        for (uint32_t k = 0; k < a->experts.used; k++) {
            mlp_row(o, UCB_ROLE_GATE, choice[k], a->experts.width, row, part);
            for (uint32_t c = 0; c < a->hidden; c++) y[i * a->hidden + c] += w[k] * part[c];
        }
        if (a->experts.shared_width == 0) continue;
        mlp_row(o, UCB_ROLE_SHARED_GATE, 0, a->experts.shared_width, row, part);
        for (uint32_t c = 0; c < a->hidden; c++) y[i * a->hidden + c] += part[c];
    }
    free(part);
    return y;
}

/* ---- state space ---- */

/* u = silu of the causal convolution of the first half of the input's rows. */
static void convolve(const struct layer_oracle *o, const double *in, size_t n, double *u)
{
    const struct ucb_ssm *s = &o->arch->ssm;
    const double *conv = o->vector[UCB_VECTOR_SSM_CONV],
                 *bias = o->vector[UCB_VECTOR_SSM_CONV_BIAS];
    for (size_t t = 0; t < n; t++)
        for (size_t d = 0; d < s->width; d++) {
            double sum = bias ? bias[d] : 0;
            for (size_t k = 0; k < s->kernel; k++)
                if (t + k + 1 >= s->kernel)
                    sum += conv[d * s->kernel + k] *
                           in[(t + k + 1 - s->kernel) * 2 * s->width + d];
            u[t * s->width + d] = activation(UCB_ACT_SILU, sum);
        }
}

/* y of one channel, its states from zeros. */
static void scan(const struct layer_oracle *o, size_t d, const double *x, const double *u,
                 const double *raw_dt, size_t n, double *y)
{
    const struct ucb_ssm *s = &o->arch->ssm;
    double *h = zeros(s->state);
    for (size_t t = 0; t < n; t++) {
        const double *b = x + t * (s->rank + 2 * (size_t)s->state) + s->rank,
                     *c = b + s->state;
        size_t at = t * s->width + d;
        double dt = log1p(exp(raw_dt[at]));
        y[at] = o->vector[UCB_VECTOR_SSM_D][d] * u[at];
        for (size_t i = 0; i < s->state; i++) {
            double a = -exp(o->vector[UCB_VECTOR_SSM_A_LOG][d * s->state + i]);
            h[i] = exp(dt * a) * h[i] + dt * u[at] * b[i];
            y[at] += h[i] * c[i];
        }
    }
    free(h);
}

static double *mix_ssm(const struct layer_oracle *o, const double *normed, size_t n)
{
    const struct ucb_ssm *s = &o->arch->ssm;
    size_t w = s->width, nx = s->rank + 2 * (size_t)s->state;
    double *in = zeros(n * 2 * w), *u = zeros(n * w), *x = zeros(n * nx),
           *delta = zeros(n * s->rank), *dt = zeros(n * w), *y = zeros(n * w),
           *out = zeros(n * o->arch->hidden);
    linear(o, UCB_ROLE_SSM_IN, 0, normed, n, o->arch->hidden, in);
    convolve(o, in, n, u);
    linear(o, UCB_ROLE_SSM_X, 0, u, n, w, x);
    for (size_t t = 0; t < n; t++)
        memcpy(delta + t * s->rank, x + t * nx, s->rank * sizeof(*delta));
    linear(o, UCB_ROLE_SSM_DT, 0, delta, n, s->rank, dt);
    for (size_t d = 0; d < w; d++) scan(o, d, x, u, dt, n, y);
    for (size_t t = 0; t < n; t++)
        for (size_t d = 0; d < w; d++)
            y[t * w + d] *= activation(UCB_ACT_SILU, in[t * 2 * w + w + d]);
    linear(o, UCB_ROLE_SSM_OUT, 0, y, n, w, out);
    free(in);
    free(u);
    free(x);
    free(delta);
    free(dt);
    free(y);
    return out;
}

/* ---- a layer ---- */

static double *mixer(const struct layer_oracle *o, const double *x, size_t n)
{
    if (o->arch->mixer == UCB_MIXER_SSM) return mix_ssm(o, x, n);
    return o->arch->mixer == UCB_MIXER_LATENT ? mix_latent(o, x, n) : mix(o, x, n);
}

static void add(const struct layer_oracle *o, enum ucb_vector post_norm, double *part,
                size_t n, double *y)
{
    const struct ucb_arch *a = o->arch;
    const double *w = o->vector[post_norm];
    for (size_t i = 0; i < n; i++) {
        double *row = part + i * a->hidden;
        if (w != NULL) norm_row(false, row, a->hidden, (double)a->norm_eps, w, NULL, row);
        for (uint32_t c = 0; c < a->hidden; c++) y[i * a->hidden + c] += row[c];
    }
    free(part);
}

static void run_window(const struct layer_oracle *o, size_t first, size_t n,
                       const double *x, double *y)
{
    const struct ucb_arch *a = o->arch;
    double *normed = norm(o, UCB_VECTOR_ATTN_NORM, UCB_VECTOR_ATTN_NORM_BIAS, x, n);
    memcpy(y, x, n * a->hidden * sizeof(*y));
    add(o, UCB_VECTOR_POST_ATTN_NORM, mixer(o, normed, n), n, y);
    free(normed);
    if (a->mixer == UCB_MIXER_SSM) return; /* that is the layer */
    normed = norm(o, UCB_VECTOR_MLP_NORM, UCB_VECTOR_MLP_NORM_BIAS,
                  a->parallel_residual ? x : y, n);
    add(o, UCB_VECTOR_POST_MLP_NORM, mlp(o, normed, first, n), n, y);
    free(normed);
}

void layer_oracle_run(struct layer_oracle *o, size_t n_windows, const size_t *start,
                      const double *x, double *y)
{
    size_t hidden = o->arch->hidden;
    for (size_t w = 0; w < n_windows; w++)
        run_window(o, start[w], start[w + 1] - start[w], x + start[w] * hidden,
                   y + start[w] * hidden);
    o->has_choice = true;
}
