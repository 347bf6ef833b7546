/* kernel_cases.c - see kernel_cases.h. Shapes are multiples of nothing; ranges reach into
 * underflow and overflow. */
#include "kernel_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/pcg.h"
#include "test.h"

struct ucb_backend *backend_for_test(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                                     struct ucb_pool *pool)
{
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_backend_open(arithmetic, kernel, pool, &backend, &err), err);
    return backend;
}

float *named_values(const char *name, size_t n, float scale)
{
    struct ucb_pcg r;
    float *x = malloc((n + 1) * sizeof(*x));
    CHECK(x != NULL);
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) x[i] = scale * (2.0f * ucb_pcg_unit(&r) - 1.0f);
    return x;
}

struct ucb_packed packed_for_test(const struct ucb_backend *backend, const float *w,
                                  uint32_t n_out, uint32_t n_in)
{
    struct ucb_packed packed = {ucb_mem_alloc(ucb_pack_bytes(backend, n_out, n_in)), n_out,
                                n_in};
    CHECK(packed.data != NULL);
    ucb_pack(backend, w, &packed);
    return packed;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void digest_linear(struct ucb_backend *backend, size_t batch,
                          struct ucb_sha256 *digest, const float *x, const float *w,
                          const float *bias, size_t n_rows, uint32_t n_out, uint32_t n_in)
{
    struct ucb_packed packed = packed_for_test(backend, w, n_out, n_in);
    float *y = malloc(n_rows * n_out * sizeof(*y));
    struct ucb_err err;
    for (size_t row = 0; row < n_rows; row += batch)
        CHECK_OK(ucb_linear(backend, &packed, bias, x + row * n_in,
                            min_size(batch, n_rows - row), y + row * n_out, &err),
                 err);
    ucb_sha256_update(digest, y, n_rows * n_out * sizeof(*y));
    ucb_mem_free(packed.data);
    free(y);
}

static void run_linear(struct ucb_backend *backend, size_t batch, struct ucb_sha256 *digest)
{
    static const uint32_t shapes[][3] = {{1, 1, 1},      {5, 33, 31},    {40, 70, 577},
                                         {17, 100, 256}, {67, 64, 1000}, {130, 31, 260},
                                         {3, 300, 513}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        size_t n_rows = shapes[i][0], n_out = shapes[i][1], n_in = shapes[i][2];
        float *x = named_values("x", n_rows * n_in, 1),
              *w = named_values("w", n_out * n_in, 1);
        float *bias = named_values("bias", n_out, 1);
        digest_linear(backend, batch, digest, x, w, i % 2 ? bias : NULL, n_rows,
                      (uint32_t)n_out, (uint32_t)n_in);
        free(x);
        free(w);
        free(bias);
    }
}

/* Products whose values have exponents low_x .. low_x + span: sums and products run through
 * every kind of underflow. */
static void linear_of_exponents(struct ucb_backend *backend, size_t batch,
                                struct ucb_sha256 *digest, int low_x, int low_w, int span)
{
    enum { ROWS = 33, OUT = 37, IN = 300 };
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1);
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "exponents");
    for (size_t i = 0; i < ROWS * IN; i++)
        x[i] = ldexpf(x[i], low_x + (int)ucb_pcg_below(&r, (uint32_t)span));
    for (size_t i = 0; i < OUT * IN; i++)
        w[i] = ldexpf(w[i], low_w + (int)ucb_pcg_below(&r, (uint32_t)span));
    digest_linear(backend, batch, digest, x, w, NULL, ROWS, OUT, IN);
    free(x);
    free(w);
}

static void run_linear_extremes(struct ucb_backend *backend, size_t batch,
                                struct ucb_sha256 *digest)
{
    linear_of_exponents(backend, batch, digest, -76, -76,
                        20); /* products around 2^-126: results flush or do not */
    linear_of_exponents(backend, batch, digest, -149, -20, 40); /* subnormal activations */
    linear_of_exponents(backend, batch, digest, -20, -149, 40); /* subnormal weights */
    linear_of_exponents(backend, batch, digest, -100, -60,
                        8); /* products around the smallest subnormal */
    linear_of_exponents(backend, batch, digest, 40, 40,
                        30); /* sums near the largest float */
}

static void run_rmsnorm(struct ucb_backend *backend, size_t batch,
                        struct ucb_sha256 *digest)
{
    static const uint32_t sizes[] = {1, 15, 16, 17, 100, 576, 1031};
    enum { ROWS = 45 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t n = sizes[i];
        float *x = named_values("x", (size_t)ROWS * n, 3),
              *weight = named_values("weight", n, 1);
        for (size_t row = 0; row < ROWS; row += batch)
            ucb_rmsnorm(backend, x + row * n, min_size(batch, ROWS - row), n, weight, 1e-5f,
                        x + row * n);
        ucb_sha256_update(digest, x, ROWS * n * sizeof(*x));
        free(x);
        free(weight);
    }
}

static void run_rope(struct ucb_backend *backend, size_t batch, struct ucb_sha256 *digest)
{
    static const struct ucb_rotary shapes[] = {
        /* heads, head_dim, offset, r, adjacent */
        {3, 64, 0, 64, false},   {2, 20, 0, 12, false}, {1, 7, 0, 2, false},
        {5, 300, 0, 290, false}, {3, 64, 0, 64, true},  {2, 24, 16, 8, true},
        {2, 41, 7, 34, false},   {1, 300, 9, 258, true}};
    enum { ROWS = 70, POSITIONS = 19 };
    uint32_t position[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) position[i] = i * 7 % POSITIONS;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        uint32_t r = shapes[i].r;
        size_t width = shapes[i].n_heads * shapes[i].head_dim;
        float *x = named_values("x", ROWS * width, 2),
              *table = named_values("table", POSITIONS * r, 1);
        for (size_t row = 0; row < ROWS; row += batch)
            ucb_rope(backend, x + row * width, min_size(batch, ROWS - row), &shapes[i],
                     table, position + row);
        ucb_sha256_update(digest, x, ROWS * width * sizeof(*x));
        free(x);
        free(table);
    }
}

static void run_layernorm(struct ucb_backend *backend, size_t batch,
                          struct ucb_sha256 *digest)
{
    enum { ROWS = 45 };
    static const uint32_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t n = sizes[i];
        float *x = named_values("x", (size_t)ROWS * n, 3),
              *weight = named_values("weight", n, 1), *bias = named_values("bias", n, 1);
        for (size_t row = 0; row < ROWS; row += batch)
            ucb_layernorm(backend, x + row * n, min_size(batch, ROWS - row), n, weight,
                          bias, 1e-5f, x + row * n);
        ucb_sha256_update(digest, x, ROWS * n * sizeof(*x));
        free(x);
        free(weight);
        free(bias);
    }
}

/* One after the other on the same values, n elements in one call. */
static void chain_elements(struct ucb_backend *backend, float *x, const float *up, size_t n)
{
    ucb_activate(backend, UCB_ACT_GELU, x, up, n, x);
    ucb_scale(backend, x, n, 1.7f);
    ucb_softcap(backend, x, n, 30);
    ucb_add_scaled(backend, x, up, 0.3f, n);
    ucb_activate(backend, UCB_ACT_GELU_TANH, x, NULL, n, x);
    ucb_clamp(backend, x, n, 11);
    ucb_activate(backend, UCB_ACT_SILU, x, up, n, x);
    ucb_softplus(backend, x, n);
}

/* The batch is in runs of 1021 elements; 40007 is more than one item of work. */
static void run_elements(struct ucb_backend *backend, size_t batch,
                         struct ucb_sha256 *digest)
{
    enum { PER_ROW = 1021 };
    static const size_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 40007};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        size_t n = sizes[k];
        float *x = named_values("x", n, 100), *up = named_values("up", n, 2);
        for (size_t i = 0; i < n; i += batch * PER_ROW)
            chain_elements(backend, x + i, up + i, min_size(batch * PER_ROW, n - i));
        ucb_sha256_update(digest, x, n * sizeof(*x));
        free(x);
        free(up);
    }
}

static void digest_scan(struct ucb_backend *backend, struct ucb_sha256 *digest,
                        uint32_t width, uint32_t state, uint32_t kernel, bool has_bias)
{
    enum { T = 37 };
    size_t n = (size_t)T * width;
    float *in = named_values("in", 2 * n, 2),
          *conv = named_values("conv", kernel * width, 1),
          *bias = named_values("bias", width, 1), *dt = named_values("dt", n, 1),
          *bc = named_values("bc", T * (2 * state + 3), 1),
          *a = named_values("a", state * width, 3), *skip = named_values("skip", width, 1),
          *u = malloc(n * sizeof(*u)), *y = malloc(n * sizeof(*y));
    const struct ucb_scan scan = {.n_rows = T,
                                  .width = width,
                                  .state = state,
                                  .kernel = kernel,
                                  .in = in,
                                  .in_stride = 2 * width,
                                  .conv = conv,
                                  .conv_bias = has_bias ? bias : NULL,
                                  .u = u,
                                  .dt = dt,
                                  .bc = bc,
                                  .bc_stride = 2 * state + 3,
                                  .a = a,
                                  .skip = skip,
                                  .y = y};
    CHECK(u != NULL && y != NULL);
    ucb_softplus(backend, dt, n);
    ucb_convolve(backend, &scan);
    ucb_scan(backend, &scan);
    ucb_sha256_update(digest, u, n * sizeof(*u));
    ucb_sha256_update(digest, y, n * sizeof(*y));
    float *const all[] = {in, conv, bias, dt, bc, a, skip, u, y};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

/* A call is one window. */
static void run_scan(struct ucb_backend *backend, size_t batch, struct ucb_sha256 *digest)
{
    static const uint32_t widths[] = {1, 15, 16, 17, 33, 257};
    (void)batch;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
        digest_scan(backend, digest, widths[i], 1 + 5 * (uint32_t)i, 1 + (uint32_t)i % 4,
                    i % 2 == 0);
}

/* Gates from -100 to 100 cross both ends of exp; the batch is in elements of 1021. */
static void run_silu_mul_and_add(struct ucb_backend *backend, size_t batch,
                                 struct ucb_sha256 *digest)
{
    enum { N = 40007, PER_ROW = 1021 };
    float *gate = named_values("gate", N, 100), *up = named_values("up", N, 2);
    gate[0] = INFINITY;
    gate[1] = -INFINITY;
    gate[2] = -0.0f;
    for (size_t i = 0; i < N; i += batch * PER_ROW) {
        size_t n = min_size(batch * PER_ROW, N - i);
        ucb_activate(backend, UCB_ACT_SILU, gate + i, up + i, n, gate + i);
        ucb_add(backend, up + i, gate + i, n);
    }
    ucb_sha256_update(digest, gate, N * sizeof(*gate));
    ucb_sha256_update(digest, up, N * sizeof(*up));
    free(gate);
    free(up);
}

static void digest_attention(struct ucb_backend *backend, size_t batch,
                             struct ucb_sha256 *digest, const struct ucb_attention *shape,
                             float size, float value_size)
{
    static const size_t start[] = {0, 1, 6, 38, 71, 71, 171, 511};
    enum { WINDOWS = 7 };
    size_t rows = start[WINDOWS], q_width = shape->n_heads * shape->head_dim,
           k_width = shape->n_kv_heads * shape->head_dim;
    float *q = named_values("q", rows * q_width, size),
          *k = named_values("k", rows * k_width, size);
    float *v = named_values("v", rows * k_width, value_size),
          *out = malloc(rows * q_width * sizeof(*out));
    for (size_t w = 0; w < WINDOWS; w += batch) {
        size_t n = min_size(batch, WINDOWS - w), here[WINDOWS + 1];
        for (size_t i = 0; i <= n; i++) here[i] = start[w + i] - start[w];
        struct ucb_err err;
        CHECK_OK(ucb_attention(backend, shape, q + start[w] * q_width,
                               k + start[w] * k_width, v + start[w] * k_width, n, here,
                               out + start[w] * q_width, &err),
                 err);
    }
    ucb_sha256_update(digest, out, rows * q_width * sizeof(*out));
    free(q);
    free(k);
    free(v);
    free(out);
}

static void run_attention(struct ucb_backend *backend, size_t batch,
                          struct ucb_sha256 *digest)
{
    static const struct ucb_attention shapes[] = {
        {4, 2, 20, 0, 0.25f, 0},    {2, 2, 64, 0, 0.125f, 0},     {3, 1, 33, 40, 0.2f, 0},
        {1, 1, 1, 0, 1.0f, 0},      {1, 1, 264, 100, 0.0625f, 0}, {4, 2, 20, 0, 0.25f, 5},
        {3, 1, 33, 40, 0.2f, 0.5f},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        digest_attention(backend, batch, digest, &shapes[i], 2, 1);
    /* Scores that differ by hundreds: weights of 0 and 1. Then weighted values that
     * underflow. */
    digest_attention(backend, batch, digest, &shapes[0], 20, 1e-10f);
    digest_attention(backend, batch, digest, &shapes[1], 12, 1e-37f);
}

static struct ucb_packed perturbed(const struct ucb_backend *backend, const float *w,
                                   uint32_t n_out, uint32_t n_in, float size)
{
    float *noise = named_values("noise", (size_t)n_out * n_in, size);
    for (size_t i = 0; i < (size_t)n_out * n_in; i++) noise[i] += w[i];
    struct ucb_packed packed = packed_for_test(backend, noise, n_out, n_in);
    free(noise);
    return packed;
}

static void digest_positions(struct ucb_sha256 *digest, const struct ucb_position *p,
                             size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ucb_sha256_update(digest, &p[i].logp, sizeof(p[i].logp));
        ucb_sha256_update(digest, &p[i].kld, sizeof(p[i].kld));
        ucb_sha256_update(digest, &p[i].ear, sizeof(p[i].ear));
        ucb_sha256_update(digest, &p[i].argmax, sizeof(p[i].argmax));
        ucb_sha256_update(digest, &p[i].rank, sizeof(p[i].rank));
        ucb_sha256_update(digest, &p[i].teacher_rank, sizeof(p[i].teacher_rank));
        ucb_sha256_update(digest, &p[i].overlap10, sizeof(p[i].overlap10));
    }
}

enum { HEAD_MODELS = 3, HEAD_ROWS = 150, HEAD_IN = 70 };

static void digest_head(struct ucb_backend *backend, size_t batch,
                        struct ucb_sha256 *digest, size_t n_rows, uint32_t n_ids,
                        float size, float softcap)
{
    float *bias = softcap != 0 ? named_values("bias", n_ids, 3) : NULL;
    float *w = named_values("w", (size_t)n_ids * HEAD_IN, 1),
          *hidden = named_values("hidden", HEAD_ROWS * HEAD_IN, size);
    struct ucb_packed packed[HEAD_MODELS] = {packed_for_test(backend, w, n_ids, HEAD_IN),
                                             perturbed(backend, w, n_ids, HEAD_IN, 0.01f),
                                             perturbed(backend, w, n_ids, HEAD_IN, 1.0f)};
    uint32_t target[HEAD_ROWS];
    for (uint32_t i = 0; i < HEAD_ROWS; i++) target[i] = i * 1009 % n_ids;
    static struct ucb_position all[HEAD_MODELS][HEAD_ROWS], part[HEAD_MODELS * HEAD_ROWS];
    for (size_t row = 0; row < n_rows; row += batch) {
        size_t n = min_size(batch, n_rows - row);
        struct ucb_head models[HEAD_MODELS];
        struct ucb_err err;
        for (size_t m = 0; m < HEAD_MODELS; m++)
            models[m] = (struct ucb_head){.weight = &packed[m],
                                          .hidden = hidden + row * HEAD_IN,
                                          .bias = bias,
                                          .softcap = softcap};
        CHECK_OK(ucb_head_score(backend, models, HEAD_MODELS, target + row, n, part, &err),
                 err);
        for (size_t m = 0; m < HEAD_MODELS; m++)
            memcpy(&all[m][row], part + m * n, n * sizeof(part[0]));
    }
    for (size_t m = 0; m < HEAD_MODELS; m++) digest_positions(digest, all[m], n_rows);
    for (size_t m = 0; m < HEAD_MODELS; m++) ucb_mem_free(packed[m].data);
    free(bias);
    free(w);
    free(hidden);
}

static void run_head(struct ucb_backend *backend, size_t batch, struct ucb_sha256 *digest)
{
    digest_head(backend, batch, digest, 33, 2501, 1, 0);
    digest_head(backend, batch, digest, HEAD_ROWS, 300, 5,
                0); /* more than one block of rows */
    digest_head(backend, batch, digest, 33, 13, 40, 0);
    digest_head(backend, batch, digest, 33, 531, 2, 7.5f);
}

const struct kernel_case kernel_cases[] = {
    {"linear", run_linear, 130},     {"linear_extremes", run_linear_extremes, 33},
    {"rmsnorm", run_rmsnorm, 45},    {"layernorm", run_layernorm, 45},
    {"rope", run_rope, 70},          {"elements", run_elements, 40},
    {"scan", run_scan, 1},           {"silu_mul_and_add", run_silu_mul_and_add, 40},
    {"attention", run_attention, 7}, {"head", run_head, 150},
};
const size_t n_kernel_cases = sizeof(kernel_cases) / sizeof(kernel_cases[0]);

const struct kernel_case *kernel_case_find(const char *name)
{
    for (size_t i = 0; i < n_kernel_cases; i++)
        if (strcmp(kernel_cases[i].name, name) == 0) return &kernel_cases[i];
    ucb_test_fail(__FILE__, __LINE__, "no case %s", name);
}

void kernel_case_digest(const struct kernel_case *which, struct ucb_backend *backend,
                        size_t batch, char hex[UCB_SHA256_HEX])
{
    struct ucb_sha256 digest;
    ucb_sha256_init(&digest);
    which->run(backend, batch, &digest);
    ucb_sha256_final_hex(&digest, hex);
}
