/*
 * bench_int8.c - LLM.int8's product, whole: scan, quantize, multiply, outlier columns,
 * rounding. `ucbench-bench products` puts it beside the backend's of the same shape.
 *
 * Three of the inputs are outlier columns. A row is verified when its first rows are what
 * plain loops give.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../methods/int8/int8.h"
#include "bench.h"
#include "core/half.h"
#include "core/pcg.h"

enum { N_OUTLIERS = 3, OUTLIER_STEP = 100, SOME_ROWS = 3 };
static const float threshold = 6.0f;

struct int8_bench {
    struct ucb_job job;
    const struct int8_path *path;
    struct ucb_matrix matrix;
    struct int8_weights weights;
    struct int8_call call;
    uint8_t *codes;
    int8_t *panels;
    float *absmax, *x, *y;
};

static void run_product(void *context)
{
    struct int8_bench *b = context;
    struct ucb_err err;
    bench_require(int8_product(&b->job, b->path, &b->weights, &b->call, &err), &err);
    ucb_arena_reset(b->job.scratch);
}

static void *room(size_t n_bytes)
{
    void *p = ucb_mem_alloc(n_bytes);
    if (p == NULL) abort();
    return p;
}

/* Activations below the threshold but for every OUTLIER_STEP-th column. */
static void fill(struct int8_bench *b, size_t n_rows, uint32_t n_in, uint32_t n_out)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "bench_int8");
    b->codes = room((size_t)n_out * n_in);
    b->absmax = room(n_out * sizeof(float));
    b->x = room(n_rows * n_in * sizeof(float));
    b->y = room(n_rows * n_out * sizeof(float));
    b->panels = room(int8_panel_bytes(n_out, n_in));
    for (size_t i = 0; i < (size_t)n_out * n_in; i++)
        b->codes[i] = (uint8_t)(int8_t)((int)ucb_pcg_below(&r, 255) - 127);
    for (uint32_t i = 0; i < n_out; i++) b->absmax[i] = 0.1f + ucb_pcg_unit(&r);
    for (size_t i = 0; i < n_rows * n_in; i++) {
        bool outlier = i % n_in % OUTLIER_STEP == 1 && i % n_in / OUTLIER_STEP < N_OUTLIERS;
        b->x[i] = (ucb_pcg_unit(&r) - 0.5f) * (outlier ? 100 : 10);
    }
    int8_pack(b->codes, n_out, n_in, NULL, b->panels);
}

static float peak_inside(const float *x, size_t n)
{
    float peak = 0;
    for (size_t i = 0; i < n; i++) {
        float h = fabsf(ucb_f16_round(x[i]));
        if (h < threshold && h > peak) peak = h;
    }
    return peak;
}

/* One output by the formula, entry by entry. */
static float plain_output(const struct int8_bench *b, size_t row, size_t output)
{
    size_t n = b->matrix.n_in;
    const float *x = b->x + row * n;
    const uint8_t *codes = b->codes + output * n;
    float scale = peak_inside(x, n), factor = (1.0f / scale) * 127.0f, sum = 0;
    int64_t acc = 0;
    for (size_t i = 0; i < n; i++) {
        float h = ucb_f16_round(x[i]);
        if (i % OUTLIER_STEP == 1 && i / OUTLIER_STEP < N_OUTLIERS)
            sum += h * ucb_f16_round(int8_value(codes[i], b->absmax[output]));
        else
            acc += (int64_t)rintf(h * factor) * (int8_t)codes[i];
    }
    float y = (float)acc * (scale * b->absmax[output]) * (1.0f / 16129);
    return ucb_f16_round(ucb_f16_round(y) + sum);
}

static bool is_right(const struct int8_bench *b)
{
    for (size_t row = 0; row < SOME_ROWS; row++)
        for (size_t output = 0; output < b->matrix.n_out; output++)
            if (b->y[row * b->matrix.n_out + output] != plain_output(b, row, output))
                return false;
    return true;
}

static void measure(const struct int8_path *path, size_t n_rows, uint32_t n_in,
                    uint32_t n_out)
{
    char what[64];
    struct ucb_arena scratch = {0};
    struct int8_bench b = {
        .job = {.scratch = &scratch, .pool = bench_pool()},
        .path = path,
        .matrix = {.name = "m", .n_out = n_out, .n_in = n_in},
    };
    fill(&b, n_rows, n_in, n_out);
    b.weights = (struct int8_weights){&b.matrix, b.codes, b.absmax, b.panels};
    b.call = (struct int8_call){
        .threshold = threshold, .x = b.x, .n_rows = n_rows, .y = b.y};
    run_product(&b);
    snprintf(what, sizeof(what), "int8 %s %zu x %u x %u", path->name, n_rows, n_in, n_out);
    const struct bench_row row = {.what = what,
                                  .arithmetic = "",
                                  .work = 2.0 * (double)n_rows * n_in * n_out,
                                  .unit = "Gop/s",
                                  .run = run_product,
                                  .context = &b,
                                  .verified = is_right(&b)};
    bench_row(&row);
    ucb_arena_free(&scratch);
    ucb_mem_free(b.codes);
    ucb_mem_free(b.absmax);
    ucb_mem_free(b.x);
    ucb_mem_free(b.y);
    ucb_mem_free(b.panels);
}

BENCH(int8_products)
{
    size_t n_paths = 0;
    while (int8_path_at(n_paths) != NULL) n_paths++;
    while (n_paths-- > 0) {
        measure(int8_path_at(n_paths), 512, 576, 1536);
        measure(int8_path_at(n_paths), 512, 1536, 576);
        measure(int8_path_at(n_paths), 80, 576, 1536);
    }
}
