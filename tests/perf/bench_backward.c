/*
 * bench_backward.c - one layer of SmolLM2-135M, forward and backward, as distillation runs
 * it: 8 windows of 128 tokens, packing of the weights included.
 *
 * Work counts the multiply-adds (two each) of the products: of each matrix three, forward,
 * dx and dW; and of attention two forward and five backward under the causal mask. A row
 * before it is the forward pass alone; one after it the divergence from a teacher's logits
 * and its gradient, with three products of the head.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/pcg.h"
#include "model/backward.h"
#include "model/catalog.h"
#include "model/head_gradient.h"

enum {
    WINDOWS = 8,
    LENGTH = 128,
    ROWS = WINDOWS * LENGTH,
    LAYER = 7,
    MOST_SLOTS = 16,
    HEAD_ROWS = 128
};

static struct layer_bench {
    struct ucb_model *model;
    struct ucb_backend *backend;
    struct ucb_backward *backward;
    struct ucb_arena arena;
    struct ucb_layer_arrays arrays, gradient;
    float *weight[MOST_SLOTS], *dweight[MOST_SLOTS];
    size_t start[WINDOWS + 1];
    float *x, *y, *dy, *dx;
} bench_state;

static float *room(struct layer_bench *s, size_t n)
{
    float *p = UCB_NEW(&s->arena, float, n);
    if (p == NULL) abort();
    return p;
}

static void load(struct layer_bench *s)
{
    struct ucb_err err;
    size_t n, hidden = ucb_model_arch(s->model)->hidden;
    struct ucb_pcg random;
    const struct ucb_matrix *const *m = ucb_model_layer_matrices(s->model, LAYER, &n);
    for (size_t i = 0; i < n && i < MOST_SLOTS; i++) {
        s->weight[i] = room(s, (size_t)m[i]->n_out * m[i]->n_in);
        s->dweight[i] = room(s, (size_t)m[i]->n_out * m[i]->n_in);
        bench_require(ucb_model_read_rows(s->model, m[i], 0, m[i]->n_out, bench_pool(),
                                          s->weight[i], &err),
                      &err);
    }
    for (int v = 0; v < UCB_VECTOR_ROUTER; v++) {
        n = ucb_model_vector_size(s->model, LAYER, (enum ucb_vector)v);
        if (n == 0) continue;
        s->arrays.vector[v] = room(s, n);
        s->gradient.vector[v] = room(s, n);
        bench_require(ucb_model_read_vector(s->model, LAYER, (enum ucb_vector)v,
                                            s->arrays.vector[v], &err),
                      &err);
    }
    s->arrays.weight = s->weight;
    s->gradient.weight = s->dweight;
    float **rows[] = {&s->x, &s->y, &s->dy, &s->dx};
    ucb_pcg_named(&random, 1, "bench_backward");
    for (int k = 0; k < 4; k++) {
        *rows[k] = room(s, ROWS * hidden);
        for (size_t i = 0; i < ROWS * hidden; i++)
            (*rows[k])[i] = 2.0f * ucb_pcg_unit(&random) - 1.0f;
    }
    for (size_t w = 0; w <= WINDOWS; w++) s->start[w] = w * LENGTH;
}

static void run_forward(void *context)
{
    struct layer_bench *s = context;
    struct ucb_err err;
    bench_require(ucb_backward_forward(s->backward, LAYER, &s->arrays, WINDOWS, s->start,
                                       s->x, s->y, &err),
                  &err);
}

static void run_both_ways(void *context)
{
    struct layer_bench *s = context;
    struct ucb_err err;
    run_forward(s);
    bench_require(ucb_backward_run(s->backward, s->dy, &s->gradient, s->dx, &err), &err);
}

/* On one thread the same bits. */
static bool is_right(struct layer_bench *s, enum ucb_arithmetic arithmetic)
{
    struct layer_bench again = *s;
    struct ucb_err err;
    size_t n = ROWS * (size_t)ucb_model_arch(s->model)->hidden;
    again.dx = room(s, n);
    bench_require(ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, NULL, &again.backend, &err),
                  &err);
    bench_require(ucb_backward_open(again.backend, NULL, s->model, ROWS, LENGTH,
                                    &again.backward, &err),
                  &err);
    run_both_ways(s);
    run_both_ways(&again);
    ucb_backward_close(again.backward);
    ucb_backend_close(again.backend);
    return memcmp(s->dx, again.dx, n * sizeof(float)) == 0;
}

static double flops_of(const struct ucb_arch *a, bool is_both)
{
    double q = (double)a->n_heads * a->head_dim, kv = (double)a->n_kv_heads * a->head_dim,
           h = a->hidden, layer = 2 * h * q + 2 * h * kv + 3 * h * a->ffn,
           pairs = WINDOWS * LENGTH * (LENGTH + 1) / 2.0;
    return 2 * (ROWS * layer * (is_both ? 3 : 1) + pairs * q * (is_both ? 7 : 2));
}

static void measure(enum ucb_arithmetic arithmetic)
{
    struct layer_bench *s = &bench_state;
    const struct ucb_arch *a = ucb_model_arch(s->model);
    struct ucb_err err;
    bench_require(
        ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, bench_pool(), &s->backend, &err),
        &err);
    bench_require(ucb_backward_open(s->backend, bench_pool(), s->model, ROWS, LENGTH,
                                    &s->backward, &err),
                  &err);
    struct bench_row row = {.what = "SmolLM2 layer, 1024 tokens",
                            .kernel = ucb_backend_kernel(s->backend),
                            .arithmetic = ucb_arithmetic_name(arithmetic),
                            .work = flops_of(a, false),
                            .unit = "GFLOP/s",
                            .run = run_forward,
                            .context = s,
                            .verified = is_right(s, arithmetic)};
    bench_row(&row);
    row.what = "the same, forward and backward";
    row.work = flops_of(a, true);
    row.run = run_both_ways;
    bench_row(&row);
    ucb_backward_close(s->backward);
    ucb_backend_close(s->backend);
}

/* ---- the head ---- */

struct head_bench {
    const struct layer_bench *layer;
    struct ucb_packed weight, turned;
    struct ucb_final final;
    double loss;
};

static void run_head(void *context)
{
    struct head_bench *h = context;
    const struct layer_bench *s = h->layer;
    struct ucb_err err;
    bench_require(ucb_head_gradient(s->backend, ucb_model_arch(s->model), &h->final, s->x,
                                    s->dy, HEAD_ROWS, &h->loss, s->dx, &err),
                  &err);
}

static void measure_head(enum ucb_arithmetic arithmetic)
{
    struct layer_bench *s = &bench_state;
    const struct ucb_matrix *m = ucb_model_matrix(s->model, 0, UCB_ROLE_HEAD);
    struct head_bench h = {.layer = s};
    struct ucb_err err;
    float *w = malloc((size_t)m->n_out * m->n_in * sizeof(*w));
    if (w == NULL) abort();
    bench_require(
        ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, bench_pool(), &s->backend, &err),
        &err);
    bench_require(ucb_model_read_rows(s->model, m, 0, m->n_out, bench_pool(), w, &err),
                  &err);
    h.weight = (struct ucb_packed){
        ucb_mem_alloc(ucb_pack_bytes(s->backend, m->n_out, m->n_in)), m->n_out, m->n_in};
    h.turned = (struct ucb_packed){
        ucb_mem_alloc(ucb_pack_bytes(s->backend, m->n_in, m->n_out)), m->n_in, m->n_out};
    if (h.weight.data == NULL || h.turned.data == NULL) abort();
    ucb_pack(s->backend, w, &h.weight);
    ucb_pack_transposed(s->backend, w, &h.turned);
    h.final = (struct ucb_final){&h.weight, &h.turned, NULL,
                                 s->arrays.vector[UCB_VECTOR_ATTN_NORM], NULL};
    run_head(&h);
    const struct bench_row row = {.what = "divergence of 128 rows, gradient",
                                  .kernel = ucb_backend_kernel(s->backend),
                                  .arithmetic = ucb_arithmetic_name(arithmetic),
                                  .work = 2.0 * 3 * HEAD_ROWS * (double)m->n_out * m->n_in,
                                  .unit = "GFLOP/s",
                                  .run = run_head,
                                  .context = &h,
                                  .verified = h.loss > 0,
                                  .slow = true};
    bench_row(&row);
    ucb_mem_free(h.weight.data);
    ucb_mem_free(h.turned.data);
    ucb_backend_close(s->backend);
    free(w);
}

BENCH(backward)
{
    struct layer_bench *s = &bench_state;
    struct ucb_err err;
    char path[4096];
    if (ucb_model_locate("smollm2-135m", NULL, path, sizeof(path), &err) != UCB_OK) {
        printf("a layer forward and backward: left out, %s\n", err.text);
        return;
    }
    bench_require(ucb_model_open(path, &s->model, &err), &err);
    ucb_arena_init(&s->arena);
    load(s);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        measure((enum ucb_arithmetic)a);
        measure_head((enum ucb_arithmetic)a);
    }
    ucb_arena_free(&s->arena);
    ucb_model_close(s->model);
}
