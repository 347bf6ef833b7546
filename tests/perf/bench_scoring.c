/*
 * bench_scoring.c - the whole way: SmolLM2-135M scores 8,192 tokens in 16 windows of 512,
 * every position, as a sweep does; and the same on demand, for windows of another program's
 * choice (bench_serve.c).
 *
 * Work counts multiply-adds of the products (two each): the layers' matrices, attention's
 * two products under the causal mask, and the head once. Norms, rope, softmax and
 * statistics count nothing.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/pcg.h"
#include "eval/eval.h"
#include "model/catalog.h"

enum { WINDOWS = 16, MAX_WINDOWS = 1024, IDS = BENCH_WINDOW_IDS };

static struct scoring {
    struct ucb_model *model;
    struct ucb_backend *backend;
    struct ucb_items items;
    double mean_logp;
} bench_state;

static uint32_t window_ids[MAX_WINDOWS][IDS];

/* Every position of the first n of window_ids. */
static void set_items(size_t n, struct ucb_items *out)
{
    static struct ucb_window windows[MAX_WINDOWS];
    static struct ucb_item items[MAX_WINDOWS];
    static struct ucb_document document = {0, 0, "ids"};
    for (uint32_t w = 0; w < n; w++) {
        windows[w] = (struct ucb_window){window_ids[w], IDS, 0};
        items[w] = (struct ucb_item){w, 0, 0, IDS - 1};
    }
    *out = (struct ucb_items){.windows = windows,
                              .n_windows = n,
                              .items = items,
                              .n_items = n,
                              .documents = &document,
                              .n_documents = 1,
                              .dataset = "ids"};
}

static void make_items(struct ucb_items *out)
{
    struct ucb_pcg random;
    ucb_pcg_named(&random, 1, "bench_scoring");
    for (uint32_t w = 0; w < WINDOWS; w++)
        for (int i = 0; i < IDS; i++) window_ids[w][i] = 17 + ucb_pcg_below(&random, 49000);
    set_items(WINDOWS, out);
}

static double flops_of(const struct ucb_arch *a)
{
    double tokens = WINDOWS * (IDS - 1), pairs = WINDOWS * (IDS - 1) * (IDS / 2.0),
           q = (double)a->n_heads * a->head_dim, kv = (double)a->n_kv_heads * a->head_dim,
           h = a->hidden;
    double layer = 2 * h * q + 2 * h * kv + 3 * h * a->ffn;
    return 2 *
           (a->n_layers * (tokens * layer + pairs * 2 * q) + tokens * h * a->vocabulary);
}

static void score(void *context)
{
    struct scoring *s = context;
    const struct ucb_items *sets[] = {&s->items};
    struct ucb_eval_options options = {.backend = s->backend,
                                       .pool = bench_pool(),
                                       .scope = UCB_SCOPE_BODY,
                                       .model_digest = "",
                                       .batch = 1024,
                                       .memory_bytes = (uint64_t)1 << 30,
                                       .cache = "."};
    struct ucb_eval *eval;
    struct ucb_eval_result result;
    struct ucb_progress progress;
    struct ucb_arena arena;
    struct ucb_chain *none;
    struct ucb_err err;
    ucb_arena_init(&arena);
    ucb_progress_quiet(true);
    ucb_progress_start(&progress, "bench", 1);
    bench_require(ucb_chain_parse("none", &arena, &none, &err), &err);
    bench_require(ucb_eval_open(s->model, &options, sets, 1, &eval, &err), &err);
    bench_require(ucb_eval_original(eval, none, &progress, &result, &err), &err);
    s->mean_logp = 0;
    for (size_t w = 0; w < s->items.n_windows; w++)
        s->mean_logp += result.samples[0][w].sum_logp /
                        ((double)s->items.n_windows * (IDS - 1));
    ucb_eval_result_free(&result);
    ucb_eval_close(eval);
    ucb_arena_free(&arena);
}

/* The other kernel path of the same arithmetic must give the same number to
 * the last bit. */
static bool verify(enum ucb_arithmetic arithmetic)
{
    struct ucb_err err;
    double found[2];
    enum ucb_kernel kernels[2] = {UCB_KERNEL_AUTO, UCB_KERNEL_AVX2};
    for (int i = 0; i < 2; i++) {
        if (!ucb_kernel_available(UCB_KERNEL_AVX2, arithmetic, NULL)) return true;
        bench_require(ucb_backend_open(arithmetic, kernels[i], bench_pool(),
                                       &bench_state.backend, &err),
                      &err);
        score(&bench_state);
        found[i] = bench_state.mean_logp;
        ucb_backend_close(bench_state.backend);
    }
    return memcmp(&found[0], &found[1], sizeof(found[0])) == 0;
}

/* ---- on demand ---- */

ucb_status bench_scoring_open(const char *name, struct ucb_err *err)
{
    char path[4096];
    ucb_model_close(bench_state.model);
    bench_state.model = NULL;
    UCB_TRY(ucb_model_locate(name, NULL, path, sizeof(path), err));
    return ucb_model_open(path, &bench_state.model, err);
}

static ucb_status read_windows(const char *path, struct ucb_err *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return UCB_FAIL(err, UCB_MISSING, "%s: cannot be read", path);
    size_t n = fread(window_ids, sizeof(window_ids[0]), MAX_WINDOWS, file);
    fclose(file);
    if (n == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: shorter than a window of %d ids", path, IDS);
    set_items(n, &bench_state.items);
    return UCB_OK;
}

ucb_status bench_scoring_run(const char *arithmetic, const char *path,
                             struct bench_score *out, struct ucb_err *err)
{
    enum ucb_arithmetic a;
    struct timespec start, end;
    if (bench_state.model == NULL) return UCB_FAIL(err, UCB_USAGE, "no model is open yet");
    UCB_TRY(ucb_arithmetic_find(arithmetic, &a, err));
    UCB_TRY(read_windows(path, err));
    UCB_TRY(ucb_backend_open(a, UCB_KERNEL_AUTO, bench_pool(), &bench_state.backend, err));
    clock_gettime(CLOCK_MONOTONIC, &start);
    score(&bench_state);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ucb_backend_close(bench_state.backend);
    out->seconds = (double)(end.tv_sec - start.tv_sec) +
                   1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    out->mean_logp = bench_state.mean_logp;
    return UCB_OK;
}

BENCH(scoring)
{
    char path[4096];
    struct ucb_err err;
    if (ucb_model_locate("smollm2-135m", NULL, path, sizeof(path), &err) != UCB_OK) {
        printf("scoring SmolLM2-135M: left out, %s\n", err.text);
        return;
    }
    bench_require(ucb_model_open(path, &bench_state.model, &err), &err);
    make_items(&bench_state.items);
    for (unsigned a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        bool verified = verify((enum ucb_arithmetic)a);
        bench_require(ucb_backend_open((enum ucb_arithmetic)a, UCB_KERNEL_AUTO,
                                       bench_pool(), &bench_state.backend, &err),
                      &err);
        struct bench_row row = {.what = "SmolLM2-135M scores 8192 tokens",
                                .kernel = ucb_backend_kernel(bench_state.backend),
                                .arithmetic = ucb_arithmetic_name((enum ucb_arithmetic)a),
                                .work = flops_of(ucb_model_arch(bench_state.model)),
                                .unit = "GFLOP/s",
                                .run = score,
                                .context = &bench_state,
                                .verified = verified,
                                .slow = true};
        bench_row(&row);
        ucb_backend_close(bench_state.backend);
    }
    ucb_model_close(bench_state.model);
}
