/*
 * made_up.c - see made_up.h. Everything is drawn from named random streams, so every
 * database comes out the same.
 */
#include "made_up.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/pcg.h"
#include "test.h"

enum {
    N_DOCUMENTS = 12,
    ITEMS_PER_DOCUMENT = 3,
    N_ITEMS = N_DOCUMENTS * ITEMS_PER_DOCUMENT,
    TOKENS_PER_ITEM = 40
};

#define GRID_NOTE                                                                                                      \
    "smollm2-135m: the original's matrices already lie on a 4-bit grid (Q4_1), which flatters 4-bit min/max methods; " \
    "compare methods on smollm2-135m-smooth"

static const struct made_up_point on_the_grid[] = {
    {"none", "none", GRID_NOTE, 5.0, 0, 1},
    {"int8", "int8", GRID_NOTE, 8.07, 0.0011, 0.982},
    {"nf4", "nf4", GRID_NOTE, 4.5, 0.034, 0.902},
    {"nf4", "nf4:double_quant=1", GRID_NOTE, 4.127, 0.036, 0.899},
    {"fp4", "fp4", GRID_NOTE, 4.5, 0.071, 0.861},
    {"hqq", "hqq:bits=4,group=64", GRID_NOTE, 4.51, 0.019, 0.928},
    {"hqq", "hqq:bits=3,group=64", GRID_NOTE, 3.51, 0.152, 0.801},
    {"hqq", "hqq:bits=2,group=16", GRID_NOTE, 4.02, 0.55, 0.652},
    {"hqq", "hqq:bits=2,group=64", GRID_NOTE, 2.51, 2.9, 0.31},
    {"gptq", "gptq:bits=4",
     "layer.3.q_proj: 100 columns, needs a multiple of 128; try group=-1", 0, 0, 0},
    {0},
};
static const struct made_up_point off_the_grid[] = {
    {"none", "none", NULL, 16.0, 0, 1},
    {"int8", "int8", NULL, 8.07, 0.0012, 0.981},
    {"nf4", "nf4", NULL, 4.5, 0.039, 0.898},
    {"nf4", "nf4:double_quant=1", NULL, 4.127, 0.041, 0.896},
    {"fp4", "fp4", NULL, 4.5, 0.069, 0.863},
    {"hqq", "hqq:bits=4,group=64", NULL, 4.51, 0.037, 0.9},
    {"hqq", "hqq:bits=3,group=64", NULL, 3.51, 0.19, 0.789},
    {"hqq", "hqq:bits=2,group=16", NULL, 4.02, 0.62, 0.64},
    {"hqq", "hqq:bits=2,group=64", NULL, 2.51, 3.1, 0.3},
    {"gptq", "gptq:bits=4",
     "layer.3.q_proj: 100 columns, needs a multiple of 128; try group=-1", 0, 0, 0},
    {0},
};

const struct made_up_point *made_up_points(bool smooth)
{
    return smooth ? off_the_grid : on_the_grid;
}

static void hex_of(const char *text, char hex[UCB_SHA256_HEX])
{
    ucb_sha256_hex(text, strlen(text), hex);
}

static void fill_cell(struct ucb_arena *arena, const struct made_up_point *point,
                      const char *model, const char *task, struct ucb_cell *cell)
{
    char *model_digest = ucb_arena_alloc(arena, UCB_SHA256_HEX),
         *data_digest = ucb_arena_alloc(arena, UCB_SHA256_HEX);
    hex_of(model, model_digest);
    hex_of(task, data_digest);
    *cell = (struct ucb_cell){
        .model = model,
        .model_digest = model_digest,
        .scope = "body",
        .method = point->method,
        .spec = point->spec,
        .identity = point->spec,
        .calib = "",
        .task = task,
        .task_revision = 1,
        .dataset = strcmp(task, "lambada") == 0 ? "lambada_mini" : "wiki_mini",
        .dataset_digest = data_digest,
        .arithmetic = "fp32",
        .arithmetic_revision = 1,
        .seed = 1,
    };
    ucb_cell_identify(cell);
}

static void fill_sizes(const struct made_up_point *point, struct ucb_sizes *sizes)
{
    *sizes = (struct ucb_sizes){.n_weights = 106168320,
                                .n_parameters = 134515008,
                                .rest_bytes = 30159360,
                                .model_file_bytes = 91727872,
                                .bpw_nominal = floor(point->bpw)};
    uint64_t total = (uint64_t)(point->bpw * (double)sizes->n_weights / 8);
    sizes->part_bytes[UCB_PART_CODES] = (uint64_t)(floor(point->bpw) *
                                                   (double)sizes->n_weights / 8);
    sizes->part_bytes[UCB_PART_SCALES] = total - sizes->part_bytes[UCB_PART_CODES];
}

static struct ucb_sample *draw_samples(struct ucb_arena *arena,
                                       const struct made_up_point *point, struct ucb_pcg *r)
{
    struct ucb_sample *samples = UCB_NEW(arena, struct ucb_sample, N_ITEMS);
    for (size_t i = 0; i < N_ITEMS; i++) {
        struct ucb_sample *s = &samples[i];
        float *kld = UCB_NEW(arena, float, TOKENS_PER_ITEM);
        *s = (struct ucb_sample){.n_tokens = TOKENS_PER_ITEM,
                                 .kld = kld,
                                 .ear_sum = TOKENS_PER_ITEM * point->agree,
                                 .target_correct = ucb_pcg_unit(r) < 0.4f};
        for (size_t t = 0; t < TOKENS_PER_ITEM; t++) {
            kld[t] = (float)point->kld *
                     -logf(1 - ucb_pcg_unit(r)); /* exponential: skewed, as real ones are */
            s->kld_sum += kld[t];
            s->sum_logp -= 3 + point->kld;
            s->t1_gt_hits += ucb_pcg_unit(r) < 0.4f;
            s->t1_agree_hits += ucb_pcg_unit(r) < (float)point->agree;
        }
        s->t10_gt_hits = s->t1_gt_hits + 6;
        s->t10_agree_hits = s->t1_agree_hits;
        s->t10_overlap_sum = 8 * TOKENS_PER_ITEM;
    }
    return samples;
}

static void fill_items(struct ucb_arena *arena, struct ucb_cell_result *result)
{
    struct ucb_items *items = UCB_NEW(arena, struct ucb_items, 1);
    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, N_DOCUMENTS);
    uint32_t *document = UCB_NEW(arena, uint32_t, N_ITEMS);
    for (size_t d = 0; d < N_DOCUMENTS; d++)
        documents[d] = (struct ucb_document){90 + d, 500 + 7 * d,
                                             ucb_arena_printf(arena, "Article %zu", d)};
    for (size_t i = 0; i < N_ITEMS; i++) document[i] = (uint32_t)(i / ITEMS_PER_DOCUMENT);
    *items = (struct ucb_items){
        .n_items = N_ITEMS, .documents = documents, .n_documents = N_DOCUMENTS};
    result->items = items;
    result->samples.document = document;
    result->samples.n = N_ITEMS;
}

/* Half widths are invented too: a tenth of the value for a KLD, a few points for a rate. */
static size_t fill_metrics(const struct made_up_point *point, bool lambada,
                           struct ucb_metric *out)
{
    struct ucb_metric *m = out;
    bool original = strcmp(point->spec, "none") == 0;
    double ratio = exp(1.1 * point->kld), ppl = (lambada ? 31.2 : 17.4) * ratio,
           agree = point->agree;
    *m++ = (struct ucb_metric){"ppl",       ppl,         ppl * 0.86, ppl * 1.16,
                               N_DOCUMENTS, "t-cluster", NULL};
    if (lambada)
        *m++ = (struct ucb_metric){
            "accuracy", 0.42 * agree, 0.42 * agree - 0.11, 0.42 * agree + 0.12, N_ITEMS,
            "wilson",   NULL};
    if (original) return (size_t)(m - out);
    *m++ = (struct ucb_metric){
        "ppl_ratio",
        ratio,
        ratio * 0.985,
        ratio * 1.016,
        N_DOCUMENTS,
        "t-cluster",
        point->kld > 1 ? "t and BCa intervals differ by 23% of the former's width" : NULL};
    if (lambada)
        *m++ = (struct ucb_metric){"retention", agree,       agree - 0.05, agree + 0.05,
                                   N_ITEMS,     "bootstrap", NULL};
    *m++ = (struct ucb_metric){"t1_agree",  agree,       agree - 0.01, agree + 0.01,
                               N_DOCUMENTS, "t-cluster", NULL};
    *m++ = (struct ucb_metric){
        "kld_mean",  point->kld, point->kld * 0.9, point->kld * 1.11, N_DOCUMENTS,
        "t-cluster", NULL};
    *m++ = (struct ucb_metric){"kld_p99", point->kld * 4.6, NAN, NAN,
                               N_ITEMS,   "none",           NULL};
    *m++ = (struct ucb_metric){"ear",       agree,       agree - 0.01, agree + 0.01,
                               N_DOCUMENTS, "t-cluster", NULL};
    return (size_t)(m - out);
}

void made_up_cell(struct ucb_arena *arena, const struct made_up_point *point,
                  const char *model, const char *task, struct ucb_cell *cell,
                  struct ucb_cell_result *result)
{
    struct ucb_pcg r;
    fill_cell(arena, point, model, task, cell);
    *result = (struct ucb_cell_result){.message = point->message,
                                       .failed = point->bpw == 0};
    if (result->failed) {
        result->reason = "UCB_UNSUPPORTED";
        return;
    }
    ucb_pcg_named(&r, 1, cell->id);
    fill_sizes(point, &result->sizes);
    fill_items(arena, result);
    result->samples.samples = draw_samples(arena, point, &r);
    struct ucb_metric *metrics = UCB_NEW(arena, struct ucb_metric, UCB_MAX_METRICS);
    result->n_metrics = fill_metrics(point, strcmp(task, "lambada") == 0, metrics);
    result->metrics = metrics;
    hex_of(cell->id, result->weights_digest);
    result->encode_seconds = 1.5;
    result->decode_seconds = 0.5;
    result->tokens_per_second = 900;
    result->peak_rss_bytes = 400u << 20;
    result->checks[0].name = "decode_deterministic";
    result->checks[0].status = "PASS";
    result->checks[0].detail = "two decodes, equal bits";
}

static void put(struct ucb_store *store, int64_t run_id, const char *build_id,
                const struct made_up_point *point, const char *model, const char *task)
{
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_err err;
    ucb_arena_init(&arena);
    made_up_cell(&arena, point, model, task, &cell, &result);
    CHECK_OK(ucb_store_put_cell(store, run_id, build_id, &cell, &result, &err), err);
    ucb_arena_free(&arena);
}

void made_up_database(const char *path, const char *build_id, bool reverse)
{
    static const char *const models[] = {"smollm2-135m", "smollm2-135m-smooth"},
                             *const tasks[] = {"lambada", "wikitext"};
    struct ucb_run_info info = {build_id, "ucbench sweep (made up)",
                                "{\"cpu\": \"made up\", \"threads\": 2}"};
    struct ucb_store *store = NULL;
    struct ucb_err err;
    int64_t run_id;
    size_t n = 0;
    while (on_the_grid[n].spec != NULL) n++;
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    for (size_t k = 0; k < 4 * n; k++) {
        size_t at = reverse ? 4 * n - 1 - k : k, model = at % 2, task = at / 2 % 2;
        put(store, run_id, build_id, &made_up_points(model == 1)[at / 4], models[model],
            tasks[task]);
    }
    CHECK_OK(ucb_store_end_run(store, run_id, &err), err);
    ucb_store_close(store);
}

void made_up_change(const char *path, const char *sql)
{
    sqlite3 *connection = NULL;
    CHECK_EQ(sqlite3_open(path, &connection), SQLITE_OK);
    if (sqlite3_exec(connection, sql, NULL, NULL, NULL) != SQLITE_OK)
        ucb_test_fail(__FILE__, __LINE__, "%s: %s", sql, sqlite3_errmsg(connection));
    sqlite3_close(connection);
}

long long made_up_ask(const char *path, const char *sql)
{
    sqlite3 *connection = NULL;
    sqlite3_stmt *row = NULL;
    CHECK_EQ(sqlite3_open(path, &connection), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(connection, sql, -1, &row, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(row), SQLITE_ROW);
    long long value = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(connection);
    return value;
}
