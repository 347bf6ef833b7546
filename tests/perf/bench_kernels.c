/* Products, attention and the head, on every path of this CPU, against the fma peak of the
 * path. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

#include "bench.h"
#include "core/arena.h"
#include "core/pcg.h"

#define EACH_CHAIN(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h)
#define START(chain) __m128 chain = x;
#define STEP(chain) chain = _mm_add_ps(_mm_mul_ps(chain, x), y);
#define KEEP(chain) __asm__ volatile("" : "+x"(chain));

/* x86-64-v2 has no fma: a plain multiplication and addition, four wide. */
double bench_fma_scalar(void)
{
    enum { CHAINS = 8, STEPS = 400000 };
    __m128 x = _mm_set1_ps(0.999999f), y = _mm_set1_ps(1e-6f);
    EACH_CHAIN(START)
    for (int step = 0; step < STEPS; step++) {
        EACH_CHAIN(STEP)
        EACH_CHAIN(KEEP)
    }
    return 2.0 * CHAINS * STEPS * 4;
}

static float *random_floats(size_t n, const char *name)
{
    struct ucb_pcg r;
    float *x = malloc(n * sizeof(*x));
    if (x == NULL) abort();
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) x[i] = 2.0f * ucb_pcg_unit(&r) - 1.0f;
    return x;
}

static struct ucb_backend *open_backend(enum ucb_arithmetic arithmetic,
                                        enum ucb_kernel kernel)
{
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    bench_require(ucb_backend_open(arithmetic, kernel, bench_pool(), &backend, &err), &err);
    return backend;
}

static struct ucb_packed packed_copy(const struct ucb_backend *backend, const float *w,
                                     uint32_t n_out, uint32_t n_in)
{
    struct ucb_packed packed = {ucb_mem_alloc(ucb_pack_bytes(backend, n_out, n_in)), n_out,
                                n_in};
    if (packed.data == NULL) abort();
    ucb_pack(backend, w, &packed);
    return packed;
}

/* Calls measure for every pair that runs here. */
static void on_every_path(void (*measure)(enum ucb_arithmetic, enum ucb_kernel))
{
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
        for (int k = UCB_N_KERNELS - 1; k >= UCB_KERNEL_SCALAR; k--)
            if (ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a, NULL))
                measure((enum ucb_arithmetic)a, (enum ucb_kernel)k);
}

struct product {
    struct ucb_backend *backend;
    struct ucb_packed weight;
    size_t n_rows;
    float *x, *y;
};

static void run_product(void *context)
{
    struct product *p = context;
    struct ucb_err err;
    bench_require(ucb_linear(p->backend, &p->weight, NULL, p->x, p->n_rows, p->y, &err),
                  &err);
}

/* The first rows once more on the scalar path. */
static bool product_is_right(const struct product *p, const float *w)
{
    enum { SOME_ROWS = 3 };
    size_t rows = p->n_rows < SOME_ROWS ? p->n_rows : SOME_ROWS, n = rows * p->weight.n_out;
    struct ucb_backend *scalar = open_backend(ucb_backend_arithmetic(p->backend),
                                              UCB_KERNEL_SCALAR);
    struct product again = {scalar, packed_copy(scalar, w, p->weight.n_out, p->weight.n_in),
                            rows, p->x, random_floats(n, "y")};
    run_product(&again);
    bool right = memcmp(again.y, p->y, n * sizeof(float)) == 0;
    ucb_mem_free(again.weight.data);
    ucb_backend_close(scalar);
    free(again.y);
    return right;
}

static void measure_product(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                            size_t n_rows, uint32_t n_in, uint32_t n_out)
{
    char what[64];
    float *w = random_floats((size_t)n_out * n_in, "w");
    struct product p = {.backend = open_backend(arithmetic, kernel), .n_rows = n_rows};
    p.weight = packed_copy(p.backend, w, n_out, n_in);
    p.x = random_floats(n_rows * n_in, "x");
    p.y = random_floats(n_rows * n_out, "y");
    run_product(&p);
    snprintf(what, sizeof(what), "product %zu x %u x %u", n_rows, n_in, n_out);
    const struct bench_row row = {
        .what = what,
        .kernel = kernel,
        .arithmetic = ucb_arithmetic_name(arithmetic),
        .work = 2.0 * (double)n_rows * n_in * n_out,
        .unit = "GFLOP/s",
        .run = run_product,
        .context = &p,
        .verified = product_is_right(&p, w),
    };
    bench_row(&row);
    ucb_mem_free(p.weight.data);
    ucb_backend_close(p.backend);
    free(p.x);
    free(p.y);
    free(w);
}

static void measure_products(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel)
{
    measure_product(arithmetic, kernel, 512, 576, 576);
    measure_product(arithmetic, kernel, 512, 576, 1536);
    measure_product(arithmetic, kernel, 512, 1536, 576);
    if (kernel == UCB_KERNEL_SCALAR) return;
    measure_product(arithmetic, kernel, 512, 4096, 4096);
    measure_product(arithmetic, kernel, 8, 576, 1536);
}

BENCH(products)
{
    on_every_path(measure_products);
}

enum { HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64 };

struct attention {
    struct ucb_backend *backend;
    struct ucb_attention shape;
    size_t start[5], n_windows;
    float *q, *k, *v, *out;
};

static void run_attention(void *context)
{
    struct attention *a = context;
    struct ucb_err err;
    bench_require(ucb_attention(a->backend, &a->shape, a->q, a->k, a->v, a->n_windows,
                                a->start, a->out, &err),
                  &err);
}

static bool attention_is_right(const struct attention *a)
{
    size_t n = a->start[1] * HEADS * HEAD_DIM;
    struct attention again = *a;
    again.backend = open_backend(ucb_backend_arithmetic(a->backend), UCB_KERNEL_SCALAR);
    again.n_windows = 1;
    again.out = random_floats(n, "out");
    run_attention(&again);
    bool right = memcmp(again.out, a->out, n * sizeof(float)) == 0;
    ucb_backend_close(again.backend);
    free(again.out);
    return right;
}

static void measure_attention(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                              size_t n_windows, size_t length)
{
    char what[64];
    struct attention a = {.backend = open_backend(arithmetic, kernel),
                          .n_windows = n_windows};
    a.shape = (struct ucb_attention){HEADS, KV_HEADS, HEAD_DIM, 0, 0.125f, 0};
    for (size_t w = 0; w <= n_windows; w++) a.start[w] = w * length;
    size_t rows = n_windows * length;
    a.q = random_floats(rows * HEADS * HEAD_DIM, "q");
    a.k = random_floats(rows * KV_HEADS * HEAD_DIM, "k");
    a.v = random_floats(rows * KV_HEADS * HEAD_DIM, "v");
    a.out = random_floats(rows * HEADS * HEAD_DIM, "out");
    run_attention(&a);
    snprintf(what, sizeof(what), "attention %zu windows of %zu", n_windows, length);
    double pairs = 0.5 * (double)length * (double)(length + 1) *
                   (double)n_windows; /* of query and seen key */
    const struct bench_row row = {
        .what = what,
        .kernel = kernel,
        .arithmetic = ucb_arithmetic_name(arithmetic),
        .work = 4.0 * HEAD_DIM * HEADS * pairs,
        .unit = "GFLOP/s",
        .run = run_attention,
        .context = &a,
        .verified = attention_is_right(&a),
    };
    bench_row(&row);
    ucb_backend_close(a.backend);
    free(a.q);
    free(a.k);
    free(a.v);
    free(a.out);
}

static void measure_attentions(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel)
{
    if (kernel == UCB_KERNEL_SCALAR) return;
    measure_attention(arithmetic, kernel, 4, 128);
    measure_attention(arithmetic, kernel, 2, 512);
    measure_attention(arithmetic, kernel, 1, 2048);
}

BENCH(attention)
{
    on_every_path(measure_attentions);
}

struct head {
    struct ucb_backend *backend;
    struct ucb_packed weight[2];
    struct ucb_head models[2];
    uint32_t *target, n_models;
    size_t n_rows;
    struct ucb_position *out;
};

static void run_head(void *context)
{
    struct head *h = context;
    struct ucb_err err;
    bench_require(ucb_head_score(h->backend, h->models, h->n_models, h->target, h->n_rows,
                                 h->out, &err),
                  &err);
}

/* Both models are equal here, which is a check of its own. */
static bool head_is_right(const struct head *h)
{
    const struct ucb_position *second = h->out + h->n_rows;
    for (size_t i = 0; i < h->n_rows; i++)
        if (second[i].kld != 0.0f || second[i].ear != 1.0f ||
            second[i].logp != h->out[i].logp)
            return false;
    return true;
}

static void measure_head(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel)
{
    enum { IDS = 49152, HIDDEN = 576, ROWS = 256 };
    if (kernel == UCB_KERNEL_SCALAR) return;
    float *w = random_floats((size_t)IDS * HIDDEN, "w"),
          *hidden = random_floats(ROWS * HIDDEN, "hidden");
    struct head h = {
        .backend = open_backend(arithmetic, kernel), .n_models = 2, .n_rows = ROWS};
    h.target = calloc(ROWS, sizeof(*h.target));
    h.out = calloc(2 * ROWS, sizeof(*h.out));
    if (h.target == NULL || h.out == NULL) abort();
    for (int m = 0; m < 2; m++) h.weight[m] = packed_copy(h.backend, w, IDS, HIDDEN);
    for (int m = 0; m < 2; m++)
        h.models[m] = (struct ucb_head){.weight = &h.weight[m], .hidden = hidden};
    run_head(&h);
    const struct bench_row row = {
        .what = "head 256 x 576 x 49152, 2 models",
        .kernel = kernel,
        .arithmetic = ucb_arithmetic_name(arithmetic),
        .work = 2.0 * 2 * ROWS * (double)HIDDEN * IDS,
        .unit = "GFLOP/s",
        .run = run_head,
        .context = &h,
        .verified = head_is_right(&h),
    };
    bench_row(&row);
    for (int m = 0; m < 2; m++) ucb_mem_free(h.weight[m].data);
    ucb_backend_close(h.backend);
    free(h.target);
    free(h.out);
    free(hidden);
    free(w);
}

BENCH(head)
{
    on_every_path(measure_head);
}
