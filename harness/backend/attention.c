/*
 * attention.c - causal attention: 32 queries of one head at a time, with the register tiles
 * of the linear products.
 *
 * Keys and values of a (window, key/value head) pair are packed into panels once: keys as a
 * matrix [keys][head_dim], values as its transposed sister [head_dim][keys]. A group of 32
 * queries then needs
 *
 *     scores = q K^T -> softmax over the seen keys -> out = (weights V) / sum
 *
 * and all of it stays in the scratch of a worker. The keys of a group run from a multiple
 * of 256 to the end of its own 32: where a chain begins and ends depends on the position
 * alone, so every path and every batch adds in one order. Keys that a query does not see
 * have weight +0. Pairs are packed in lots that fit PACKED_BYTES, so the scratch stays
 * bounded.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <string.h>

#include "backend/cuda_internal.h"

/* A group ends where a panel of keys and a block of the bf16 arithmetic end, and its scores
 * are one slab. */
enum { GROUP = 32, PACKED_BYTES = 32 << 20 };
_Static_assert(GROUP == (int)UCB_PANEL, "a group ends with a panel");
_Static_assert(GROUP == (int)UCB_BLOCK, "a group ends with a block");
_Static_assert(GROUP <= (int)UCB_SLAB_ROWS, "the scores of a group are one slab");

struct attention_run {
    const struct ucb_backend *backend;
    const struct ucb_attention *shape;
    const float *q, *k, *v;
    float *out;
    const size_t *start;

    /* The current lot: pairs [first_pair, first_pair + n_pairs), pair = window * n_kv_heads
     * + key/value head. */
    size_t first_pair, n_pairs, n_groups;
    unsigned char *packed;
    size_t pair_bytes, values_at; /* of one pair: keys, then values */

    unsigned char *scratch;
    size_t worker_bytes, query_bytes, score_bytes;
};

static size_t longest_window(size_t n_windows, const size_t *start)
{
    size_t longest = 0;
    for (size_t w = 0; w < n_windows; w++)
        if (start[w + 1] - start[w] > longest) longest = start[w + 1] - start[w];
    return longest;
}

static size_t window_rows(const struct attention_run *run, size_t pair)
{
    size_t window = pair / run->shape->n_kv_heads;
    return run->start[window + 1] - run->start[window];
}

static void pack_pair(void *context, size_t index)
{
    const struct attention_run *run = context;
    const struct ucb_attention *shape = run->shape;
    size_t pair = run->first_pair + index, n_keys = window_rows(run, pair),
           d = shape->head_dim;
    size_t stride = (size_t)shape->n_kv_heads * d;
    size_t offset = run->start[pair / shape->n_kv_heads] * stride +
                    pair % shape->n_kv_heads * d;
    unsigned char *keys = run->packed + index * run->pair_bytes,
                  *values = keys + run->values_at;
    enum ucb_arithmetic arithmetic = run->backend->arithmetic;

    for (size_t key = 0; key < n_keys; key += UCB_PANEL) {
        struct ucb_source source = {run->k + offset + key * stride, stride, 1};
        size_t left = n_keys - key;
        ucb_panel_pack(arithmetic, &source, left < UCB_PANEL ? (uint32_t)left : UCB_PANEL,
                       (uint32_t)d,
                       keys + key / UCB_PANEL * ucb_panel_bytes(arithmetic, d));
    }
    for (size_t column = 0; column < d; column += UCB_PANEL) {
        struct ucb_source source = {run->v + offset + column, 1, stride};
        size_t left = d - column;
        ucb_panel_pack(arithmetic, &source, left < UCB_PANEL ? (uint32_t)left : UCB_PANEL,
                       (uint32_t)n_keys,
                       values + column / UCB_PANEL * ucb_panel_bytes(arithmetic, n_keys));
    }
}

/* One group of queries of one head: what score_group and its helpers pass on. */
struct group {
    size_t row, n_rows; /* of the inputs */
    size_t position;    /* of the first query in its window */
    uint32_t head;
    uint32_t key, end; /* keys [key, end): key a multiple of 256, end of 32 */
    const unsigned char *keys, *values;
    size_t n_window;
    struct ucb_slab queries, scores;
    float *tile;
};

static uint32_t first_seen(const struct ucb_attention *shape, size_t position)
{
    return shape->sliding > 0 && position >= shape->sliding
               ? (uint32_t)(position - shape->sliding + 1)
               : 0;
}

static void score_group(const struct attention_run *run, const struct group *g)
{
    const struct ucb_products *products = run->backend->products;
    uint32_t d = run->shape->head_dim;
    size_t stride = (size_t)run->shape->n_heads * d,
           panel_bytes = ucb_panel_bytes(run->backend->arithmetic, d);
    ucb_slab_pack(products, run->q + g->row * stride + (size_t)g->head * d, stride,
                  g->n_rows, d, &g->queries);
    uint32_t seen = first_seen(run->shape, g->position) / UCB_PANEL *
                    UCB_PANEL; /* panels before hold no seen key */
    uint32_t state = products->begin();
    for (uint32_t key = seen > g->key ? seen : g->key; key < g->end; key += UCB_PANEL) {
        float *y = (float *)ucb_slab_at(&g->scores, (key - g->key) / UCB_CHUNK, 0) +
                   key % UCB_CHUNK;
        products->multiply(&g->queries, (uint32_t)g->n_rows, d,
                           g->keys + key / UCB_PANEL * panel_bytes, y, UCB_ROW_FLOATS);
    }
    products->end(state);
}

/* A soft cap comes before the mask: scores that some query of the group sees. */
static float cap_scores(const struct attention_run *run, const struct group *g, size_t row)
{
    const struct ucb_attention *shape = run->shape;
    if (shape->softcap == 0) return shape->scale;
    uint32_t seen = first_seen(shape, g->position) / UCB_PANEL * UCB_PANEL;
    for (uint32_t key = seen > g->key ? seen : g->key; key < g->end; key += UCB_PANEL)
        run->backend->table->cap(
            (float *)ucb_slab_at(&g->scores, (key - g->key) / UCB_CHUNK, row) +
                key % UCB_CHUNK,
            UCB_PANEL, shape->scale, shape->softcap);
    return 1.0f;
}

/* Weights replace scores, ready to be multiplied; sum[i] is of the weights before any
 * rounding to bf16. */
static void weigh_group(const struct attention_run *run, const struct group *g, float *sum)
{
    const struct ucb_products *products = run->backend->products;
    uint32_t n = g->end - g->key;
    for (size_t i = 0; i < g->n_rows; i++) {
        size_t position = g->position + i;
        uint32_t first = first_seen(run->shape, position) - g->key,
                 end = (uint32_t)position + 1 - g->key;
        float scale = cap_scores(run, g, i);
        sum[i] = run->backend->table->softmax_row((float *)ucb_slab_at(&g->scores, 0, i),
                                                  g->scores.chunk_bytes / 4, n, first, end,
                                                  scale);
        for (uint32_t k = 0; k < n; k += UCB_CHUNK) {
            void *row = ucb_slab_at(&g->scores, k / UCB_CHUNK, i);
            products->pack_row(row, n - k < UCB_CHUNK ? n - k : UCB_CHUNK, row);
        }
    }
}

static void sum_group(const struct attention_run *run, const struct group *g,
                      const float *sum)
{
    const struct ucb_products *products = run->backend->products;
    enum ucb_arithmetic arithmetic = run->backend->arithmetic;
    uint32_t d = run->shape->head_dim;
    size_t stride = (size_t)run->shape->n_heads * d,
           panel_bytes = ucb_panel_bytes(arithmetic, g->n_window);
    for (uint32_t column = 0; column < d; column += UCB_PANEL) {
        const unsigned char *panel = g->values + column / UCB_PANEL * panel_bytes +
                                     ucb_panel_bytes(arithmetic, g->key);
        uint32_t n = d - column < UCB_PANEL ? d - column : UCB_PANEL,
                 state = products->begin();
        products->multiply(&g->scores, (uint32_t)g->n_rows, g->end - g->key, panel, g->tile,
                           UCB_PANEL);
        products->end(state);
        for (size_t i = 0; i < g->n_rows; i++)
            run->backend->table->divide(g->tile + i * UCB_PANEL, sum[i], n,
                                        run->out + (g->row + i) * stride +
                                            (size_t)g->head * d + column);
    }
}

/* Items: groups from the last, the longest, to the first; in each all pairs of the lot and
 * their query heads. */
static void attend_item(void *context, size_t index, unsigned worker)
{
    const struct attention_run *run = context;
    const struct ucb_attention *shape = run->shape;
    uint32_t heads_per_pair = shape->n_heads / shape->n_kv_heads;
    size_t n_heads = run->n_pairs * heads_per_pair,
           local = index % n_heads / heads_per_pair;
    size_t pair = run->first_pair + local, n_window = window_rows(run, pair);
    size_t position = (run->n_groups - 1 - index / n_heads) * GROUP;
    if (position >= n_window) return; /* a shorter window than the longest of the lot */

    unsigned char *own = run->scratch + worker * run->worker_bytes;
    struct group g = {.position = position, .n_window = n_window};
    g.row = run->start[pair / shape->n_kv_heads] + position;
    g.n_rows = n_window - position < GROUP ? n_window - position : GROUP;
    g.head = (uint32_t)(pair % shape->n_kv_heads * heads_per_pair + index % heads_per_pair);
    g.key = first_seen(shape, position) / UCB_CHUNK * UCB_CHUNK;
    g.end = (uint32_t)position + GROUP;
    g.keys = run->packed + local * run->pair_bytes;
    g.values = g.keys + run->values_at;
    g.queries = ucb_slab_place(own, GROUP);
    g.scores = ucb_slab_place(own + run->query_bytes, GROUP);
    g.tile = (float *)(own + run->query_bytes + run->score_bytes);

    float sum[GROUP];
    score_group(run, &g);
    weigh_group(run, &g, sum);
    sum_group(run, &g, sum);
}

static size_t longest_of_lot(const struct attention_run *run)
{
    size_t longest = 0;
    for (size_t pair = run->first_pair; pair < run->first_pair + run->n_pairs; pair++)
        if (window_rows(run, pair) > longest) longest = window_rows(run, pair);
    return longest;
}

static void attend_lot(struct attention_run *run)
{
    struct ucb_pool *pool = run->backend->pool;
    size_t heads_per_pair = run->shape->n_heads / run->shape->n_kv_heads;
    run->n_groups = ucb_n_units(longest_of_lot(run), GROUP);
    ucb_parallel_for(pool, run->n_pairs, pack_pair, run);
    ucb_parallel_workers(pool, run->n_groups * run->n_pairs * heads_per_pair, attend_item,
                         run);
}

static void plan_memory(struct attention_run *run, size_t longest)
{
    enum ucb_arithmetic arithmetic = run->backend->arithmetic;
    size_t d = run->shape->head_dim;
    run->values_at = ucb_n_units(longest, UCB_PANEL) * ucb_panel_bytes(arithmetic, d);
    run->pair_bytes = run->values_at +
                      ucb_n_units(d, UCB_PANEL) * ucb_panel_bytes(arithmetic, longest);
    run->query_bytes = ucb_slab_bytes(GROUP, d);
    run->score_bytes = ucb_slab_bytes(GROUP, ucb_round_up(longest, UCB_PANEL));
    run->worker_bytes = run->query_bytes + run->score_bytes +
                        GROUP * UCB_PANEL * sizeof(float);
}

ucb_status ucb_attention(struct ucb_backend *backend, const struct ucb_attention *shape,
                         const float *q, const float *k, const float *v, size_t n_windows,
                         const size_t *start, float *out, struct ucb_err *err)
{
    assert(shape->n_kv_heads > 0);
    assert(shape->n_heads % shape->n_kv_heads == 0);
    struct attention_run run = {.backend = backend,
                                .shape = shape,
                                .q = q,
                                .k = k,
                                .v = v,
                                .out = out,
                                .start = start};
    size_t longest = longest_window(n_windows, start),
           n_pairs = n_windows * shape->n_kv_heads;
    if (longest == 0) return UCB_OK;
    if (backend->cuda != NULL)
        return ucb_cuda_attention(backend, shape, q, k, v, n_windows, start, out, err);
    plan_memory(&run, longest);
    size_t lot = run.pair_bytes < PACKED_BYTES ? PACKED_BYTES / run.pair_bytes : 1;
    if (lot > n_pairs) lot = n_pairs;
    size_t workers_bytes = ucb_pool_threads(backend->pool) * run.worker_bytes;
    UCB_TRY(ucb_backend_scratch(backend, workers_bytes + lot * run.pair_bytes, "attention",
                                &run.scratch, err));
    run.packed = run.scratch + workers_bytes;
    for (run.first_pair = 0; run.first_pair < n_pairs; run.first_pair += lot) {
        run.n_pairs = n_pairs - run.first_pair < lot ? n_pairs - run.first_pair : lot;
        attend_lot(&run);
    }
    return UCB_OK;
}
