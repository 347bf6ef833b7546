/* Every function of gradient.h: the same bits on every kernel path and for any number of
 * threads, and the values of plain loops in double. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gradient.h"
#include "core/arena.h"
#include "kernel_cases.h"

static float *room(size_t n)
{
    float *p = calloc(n + 1, sizeof(*p));
    CHECK(p != NULL);
    return p;
}

/* ---- attention ---- */

/* Windows longer than a chunk of 256 queries, of one row, and shorter than a group. */
enum { WINDOWS = 4, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 20 };
static const size_t start[WINDOWS + 1] = {0, 300, 301, 318, 418};
static const struct ucb_attention shapes[] = {
    {HEADS, KV_HEADS, HEAD_DIM, 0, 0.25f, 0},
    {HEADS, KV_HEADS, HEAD_DIM, 40, 0.25f, 0},
    {HEADS, KV_HEADS, HEAD_DIM, 270, 0.25f, 2},
    {HEADS, HEADS / 4, HEAD_DIM, 1, 0.25f, 2},
};

struct attention_case {
    const struct ucb_attention *shape;
    size_t n_q, n_kv;
    float *q, *k, *v, *dout, *dq, *dk, *dv;
};

static struct attention_case attention_case(const struct ucb_attention *shape)
{
    size_t q = start[WINDOWS] * shape->n_heads * HEAD_DIM,
           kv = start[WINDOWS] * shape->n_kv_heads * HEAD_DIM;
    return (struct attention_case){.shape = shape,
                                   .n_q = q,
                                   .n_kv = kv,
                                   .q = named_values("q", q, 2),
                                   .k = named_values("k", kv, 2),
                                   .v = named_values("v", kv, 1),
                                   .dout = named_values("dout", q, 1),
                                   .dq = room(q),
                                   .dk = room(kv),
                                   .dv = room(kv)};
}

static void free_attention(struct attention_case *c)
{
    free(c->q);
    free(c->k);
    free(c->v);
    free(c->dout);
    free(c->dq);
    free(c->dk);
    free(c->dv);
}

static void run_attention(struct ucb_backend *backend, struct attention_case *c)
{
    struct ucb_err err;
    CHECK_OK(ucb_attention_gradient(backend, c->shape, c->q, c->k, c->v, c->dout, WINDOWS,
                                    start, c->dq, c->dk, c->dv, &err),
             err);
}

static double dot_double(const float *x, const float *y)
{
    double sum = 0;
    for (int i = 0; i < HEAD_DIM; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/* One query of one head, added to the gradients in double. */
static void plain_query(const struct attention_case *c, size_t window, size_t position,
                        size_t head, double *dq, double *dk, double *dv)
{
    const struct ucb_attention *s = c->shape;
    size_t query = ((start[window] + position) * s->n_heads + head) * HEAD_DIM,
           kv_head = head / (s->n_heads / s->n_kv_heads),
           first = s->sliding != 0 && position >= s->sliding ? position - s->sliding + 1
                                                             : 0;
    double p[512], slope[512], dp[512], sum = 0, along = 0, cap = (double)s->softcap;
    for (size_t j = first; j <= position; j++) {
        size_t key = ((start[window] + j) * s->n_kv_heads + kv_head) * HEAD_DIM;
        double score = (double)s->scale * dot_double(c->q + query, c->k + key),
               t = cap != 0 ? tanh(score / cap) : 0;
        slope[j] = (double)s->scale * (1 - t * t);
        sum += p[j] = exp(cap != 0 ? cap * t : score);
        dp[j] = dot_double(c->dout + query, c->v + key);
    }
    for (size_t j = first; j <= position; j++) along += p[j] / sum * dp[j];
    for (size_t j = first; j <= position; j++) {
        size_t key = ((start[window] + j) * s->n_kv_heads + kv_head) * HEAD_DIM;
        double weight = p[j] / sum, ds = weight * (dp[j] - along) * slope[j];
        for (size_t i = 0; i < HEAD_DIM; i++) {
            dq[query + i] += ds * (double)c->k[key + i];
            dk[key + i] += ds * (double)c->q[query + i];
            dv[key + i] += weight * (double)c->dout[query + i];
        }
    }
}

/* Off by the rounding of sums of some hundred products near 1. */
static void check_near(const float *found, const double *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) CHECK_NEAR((double)found[i], expected[i], 2e-5);
}

static void check_attention(const struct ucb_attention *shape)
{
    struct attention_case c = attention_case(shape);
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    double *sums = calloc(c.n_q + 2 * c.n_kv, sizeof(*sums)), *dk = sums + c.n_q,
           *dv = dk + c.n_kv;
    CHECK(sums != NULL);
    run_attention(backend, &c);
    for (size_t w = 0; w < WINDOWS; w++)
        for (size_t i = 0; i < start[w + 1] - start[w]; i++)
            for (size_t h = 0; h < shape->n_heads; h++)
                plain_query(&c, w, i, h, sums, dk, dv);
    check_near(c.dq, sums, c.n_q);
    check_near(c.dk, dk, c.n_kv);
    check_near(c.dv, dv, c.n_kv);
    free(sums);
    ucb_backend_close(backend);
    free_attention(&c);
}

TEST(gradients_of_attention_are_those_of_plain_loops_in_double)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        check_attention(&shapes[i]);
}

/* ---- state space ---- */

/* Two stretches of rows and a part of one, channels that fill no last sixteen. */
enum { SCAN_ROWS = 77, WIDTH = 37, STATE = 5, TAPS = 4, BC = 2 * STATE + 3 };

struct scan_case {
    struct ucb_scan scan;
    struct ucb_scan_gradient gradient;
    float *in, *conv, *bias, *dt, *bc, *a, *skip, *u, *y, *dy, *du, *ddt, *dbc, *din;
};

static struct scan_case scan_case(struct ucb_backend *backend)
{
    struct scan_case c = {.in = named_values("in", SCAN_ROWS * 2 * WIDTH, 2),
                          .conv = named_values("conv", TAPS * WIDTH, 1),
                          .bias = named_values("bias", WIDTH, 1),
                          .dt = named_values("dt", SCAN_ROWS * WIDTH, 3),
                          .bc = named_values("bc", SCAN_ROWS * BC, 1),
                          .a = named_values("a", STATE * WIDTH, 2),
                          .skip = named_values("skip", WIDTH, 1),
                          .dy = named_values("dy", SCAN_ROWS * WIDTH, 1),
                          .u = room(SCAN_ROWS * WIDTH),
                          .y = room(SCAN_ROWS * WIDTH),
                          .du = room(SCAN_ROWS * WIDTH),
                          .ddt = room(SCAN_ROWS * WIDTH),
                          .dbc = room(SCAN_ROWS * BC),
                          .din = room(SCAN_ROWS * 2 * WIDTH)};
    c.scan = (struct ucb_scan){SCAN_ROWS, WIDTH,  STATE,  TAPS,   c.in,
                               2 * WIDTH, c.conv, c.bias, c.u,    c.dt,
                               c.bc,      BC,     c.a,    c.skip, c.y};
    c.gradient = (struct ucb_scan_gradient){c.dy, c.du, c.ddt, c.dbc};
    for (size_t i = 0; i < STATE * WIDTH; i++) c.a[i] = -fabsf(c.a[i]);
    ucb_softplus(backend, c.dt, SCAN_ROWS * WIDTH);
    ucb_convolve(backend, &c.scan);
    return c;
}

static void free_scan(struct scan_case *c)
{
    float *all[] = {c->in, c->conv, c->bias, c->dt, c->bc,  c->a,   c->skip,
                    c->u,  c->y,    c->dy,   c->du, c->ddt, c->dbc, c->din};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

static void run_scan(struct ucb_backend *backend, struct scan_case *c)
{
    struct ucb_err err;
    CHECK_OK(ucb_scan_gradient(backend, &c->scan, &c->gradient, &err), err);
    ucb_softplus_gradient(backend, c->dt, SCAN_ROWS * WIDTH, c->ddt);
    ucb_convolve_gradient(backend, &c->scan, c->du, c->din);
}

/* Gradients of a scan in double. */
struct plain_scan {
    double du[SCAN_ROWS][WIDTH], ddt[SCAN_ROWS][WIDTH], dbc[SCAN_ROWS][2 * STATE];
};

/* One state element of one channel, all of its states in memory. */
static void plain_element(const struct scan_case *c, size_t d, size_t s,
                          struct plain_scan *out)
{
    double h[SCAN_ROWS + 1] = {0}, e[SCAN_ROWS], carry = 0, a = (double)c->a[s * WIDTH + d];
    for (size_t t = 0; t < SCAN_ROWS; t++) {
        double dt = (double)c->dt[t * WIDTH + d];
        e[t] = exp(dt * a);
        h[t + 1] = e[t] * h[t] +
                   dt * (double)c->u[t * WIDTH + d] * (double)c->bc[t * BC + s];
    }
    for (size_t t = SCAN_ROWS; t-- > 0;) {
        double dt = (double)c->dt[t * WIDTH + d], u = (double)c->u[t * WIDTH + d],
               b = (double)c->bc[t * BC + s], dy = (double)c->dy[t * WIDTH + d],
               g = carry + dy * (double)c->bc[t * BC + STATE + s];
        out->dbc[t][s] += g * dt * u;
        out->dbc[t][STATE + s] += dy * h[t + 1];
        out->du[t][d] += g * dt * b;
        out->ddt[t][d] += g * (u * b + e[t] * h[t] * a);
        carry = g * e[t];
    }
}

TEST(gradients_of_a_scan_are_those_of_plain_loops_in_double)
{
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct scan_case c = scan_case(backend);
    static struct plain_scan plain;
    struct ucb_err err;
    memset(&plain, 0, sizeof(plain));
    for (size_t d = 0; d < WIDTH; d++) {
        for (size_t s = 0; s < STATE; s++) plain_element(&c, d, s, &plain);
        for (size_t t = 0; t < SCAN_ROWS; t++)
            plain.du[t][d] += (double)c.dy[t * WIDTH + d] * (double)c.skip[d];
    }
    for (size_t i = 0; i < SCAN_ROWS * BC; i++) c.dbc[i] = 7;
    CHECK_OK(ucb_scan_gradient(backend, &c.scan, &c.gradient, &err), err);
    check_near(c.du, plain.du[0], SCAN_ROWS * WIDTH);
    check_near(c.ddt, plain.ddt[0], SCAN_ROWS * WIDTH);
    for (size_t t = 0; t < SCAN_ROWS; t++) {
        check_near(c.dbc + t * BC, plain.dbc[t], 2 * STATE);
        for (size_t i = 2 * STATE; i < BC; i++) CHECK(c.dbc[t * BC + i] == 7);
    }
    free_scan(&c);
    ucb_backend_close(backend);
}

/* Slopes from 1e-26 to 1. */
TEST(the_slope_of_softplus_comes_from_its_value)
{
    enum { N = 1201 };
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    float *y = room(N), *dx = room(N);
    for (int i = 0; i < N; i++) y[i] = (float)(i - 600) / 10, dx[i] = -3;
    ucb_softplus(backend, y, N);
    ucb_softplus_gradient(backend, y, N, dx);
    for (int i = 0; i < N; i++) {
        double slope = 1 / (1 + exp(-(double)((float)(i - 600) / 10)));
        CHECK_NEAR((double)dx[i] / slope, -3, 1e-6);
    }
    free(y);
    free(dx);
    ucb_backend_close(backend);
}

static void digest_scan(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    struct scan_case c = scan_case(backend);
    run_scan(backend, &c);
    ucb_sha256_update(digest, c.du, SCAN_ROWS * WIDTH * sizeof(float));
    ucb_sha256_update(digest, c.ddt, SCAN_ROWS * WIDTH * sizeof(float));
    ucb_sha256_update(digest, c.dbc, SCAN_ROWS * BC * sizeof(float));
    ucb_sha256_update(digest, c.din, SCAN_ROWS * 2 * WIDTH * sizeof(float));
    free_scan(&c);
}

/* ---- the other functions ---- */

TEST(a_product_of_a_transposed_pack_is_the_product_with_the_transpose)
{
    enum { ROWS = 37, IN = 45, OUT = 70 };
    float *w = named_values("w", IN * OUT, 1), *x = named_values("x", ROWS * IN, 1),
          *turned = room(OUT * IN), *y = room(ROWS * OUT), *z = room(ROWS * OUT);
    struct ucb_err err;
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        struct ucb_backend *backend = backend_for_test((enum ucb_arithmetic)a,
                                                       UCB_KERNEL_AUTO, NULL);
        ucb_transpose(backend, w, IN, OUT, turned);
        for (size_t i = 0; i < IN * OUT; i++) CHECK(turned[i % OUT * IN + i / OUT] == w[i]);
        struct ucb_packed p = packed_for_test(backend, turned, OUT, IN);
        CHECK_OK(ucb_linear(backend, &p, NULL, x, ROWS, y, &err), err);
        ucb_pack_transposed(backend, w, &p);
        CHECK_OK(ucb_linear(backend, &p, NULL, x, ROWS, z, &err), err);
        CHECK(memcmp(y, z, ROWS * OUT * sizeof(*y)) == 0);
        ucb_mem_free(p.data);
        ucb_backend_close(backend);
    }
    free(w);
    free(x);
    free(turned);
    free(y);
    free(z);
}

/* All of them on ragged shapes, into one digest. */
static void digest_rows(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 131, N = 100 };
    struct ucb_err err;
    float *x = named_values("x", ROWS * N, 3), *dy = named_values("dy", ROWS * N, 1),
          *weight = named_values("weight", N, 1), *dx = room(ROWS * N), *sums = room(3 * N);
    CHECK_OK(ucb_rmsnorm_gradient(backend, x, dy, ROWS, N, weight, 1e-5f, dx, sums, &err),
             err);
    ucb_sha256_update(digest, dx, ROWS * N * sizeof(*dx));
    CHECK_OK(ucb_layernorm_gradient(backend, x, dy, ROWS, N, weight, 1e-5f, dx, sums + N,
                                    sums + 2 * N, &err),
             err);
    ucb_sha256_update(digest, dx, ROWS * N * sizeof(*dx));
    ucb_sha256_update(digest, sums, 3 * N * sizeof(*sums));
    CHECK_OK(ucb_column_sums(backend, dy, ROWS, N, sums, &err), err);
    CHECK(memcmp(sums, sums + 2 * N, N * sizeof(*sums)) == 0);
    free(x);
    free(dy);
    free(weight);
    free(dx);
    free(sums);
}

static void digest_elements(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { N = 40003 };
    float *gate = named_values("gate", N, 100), *up = named_values("up", N, 2),
          *dy = named_values("dy", N, 1), *dgate = room(N), *dup = room(N);
    for (int a = UCB_ACT_SILU; a <= UCB_ACT_GELU_TANH; a++) {
        ucb_activate_gradient(backend, (enum ucb_activation)a, gate, a ? up : NULL, dy, N,
                              dgate, dup);
        ucb_sha256_update(digest, dgate, N * sizeof(*dgate));
        ucb_sha256_update(digest, dup, N * sizeof(*dup));
    }
    ucb_clamp_gradient(backend, gate, N, 40, dy);
    ucb_sha256_update(digest, dy, N * sizeof(*dy));
    free(gate);
    free(up);
    free(dy);
    free(dgate);
    free(dup);
}

static void digest_all(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                       unsigned n_threads, char hex[UCB_SHA256_HEX])
{
    struct ucb_pool *pool = NULL;
    struct ucb_err err;
    struct ucb_sha256 digest;
    CHECK_OK(ucb_pool_open(n_threads, &pool, &err), err);
    struct ucb_backend *backend = backend_for_test(arithmetic, kernel, pool);
    ucb_sha256_init(&digest);
    digest_rows(backend, &digest);
    digest_elements(backend, &digest);
    digest_scan(backend, &digest);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct attention_case c = attention_case(&shapes[i]);
        run_attention(backend, &c);
        ucb_sha256_update(&digest, c.dq, c.n_q * sizeof(float));
        ucb_sha256_update(&digest, c.dk, c.n_kv * sizeof(float));
        ucb_sha256_update(&digest, c.dv, c.n_kv * sizeof(float));
        free_attention(&c);
    }
    ucb_sha256_final_hex(&digest, hex);
    ucb_backend_close(backend);
    ucb_pool_close(pool);
}

TEST(gradients_have_the_same_bits_on_every_path)
{
    static const unsigned thread_counts[] = {1, 2, 8};
    char expected[UCB_SHA256_HEX], hex[UCB_SHA256_HEX];
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        digest_all((enum ucb_arithmetic)a, UCB_KERNEL_SCALAR, 1, expected);
        for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
            for (int t = 0; t < 3; t++) {
                if (!ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a, NULL))
                    continue;
                digest_all((enum ucb_arithmetic)a, (enum ucb_kernel)k, thread_counts[t],
                           hex);
                if (strcmp(hex, expected) != 0)
                    ucb_test_fail(__FILE__, __LINE__,
                                  "%s on %s with %u threads: other bits",
                                  ucb_arithmetic_name((enum ucb_arithmetic)a),
                                  ucb_kernel_name((enum ucb_kernel)k), thread_counts[t]);
            }
    }
}
