/*
 * attention_gradient.c - the reverse of attention.c: dq, dk, dv of one (window, key/value
 * head) pair at a time, on the register tiles of the products.
 *
 * For a group of 32 queries of one head, scores and weights P are made again as the forward
 * pass made them, then
 *
 *     dP = dO V^T,  dS = P (dP - rowsum(P dP)) scale [times 1 - (s / cap)^2],  dQ = dS K
 *
 * P and dS go, turned, into slabs [key][query] of at most 256 queries. When these are full,
 *
 *     dV += P^T dO,  dK += dS^T Q
 *
 * in one product each: its chain over k is the chain over queries. A pair belongs to one
 * worker and its query heads and chunks come in order, so every sum has one order.
 */
#include "backend/gradient.h"

#include <assert.h>
#include <string.h>

#include "backend/backend_internal.h"

enum { GROUP = 32, QUERIES = UCB_CHUNK };
_Static_assert(GROUP == (int)UCB_PANEL, "a group ends with a panel");

/* The scratch of a worker. */
struct workspace {
    unsigned char *keys, *values; /* panels over head_dim, 32 keys each */
    unsigned char *keys_turned;   /* panels over keys, 32 columns of a head each */
    unsigned char *q, *dout;      /* panels over the queries of a chunk */
    struct ucb_slab query, dout_row, score, dscore, capped; /* rows of a group */
    struct ucb_slab weights_turned, dscores_turned;         /* [key][query of the chunk] */
    float *tile;                                            /* [rows][32] */
    float *dk, *dv;                                         /* [rows][columns] */
};

struct gradient_run {
    const struct ucb_backend *backend;
    const struct ucb_attention *shape;
    const float *q, *k, *v, *dout;
    float *dq, *dk, *dv;
    const size_t *start;
    size_t columns; /* head_dim in whole panels */
    size_t longest;
    unsigned char *scratch;
    size_t worker_bytes;
};

/* One pair, and in it one chunk of queries of one head. */
struct pair {
    const struct gradient_run *run;
    struct workspace space;
    size_t row, n_rows; /* of the window */
    size_t kv_offset;   /* of its first key's head in k and v */
    size_t q_stride, kv_stride;
    size_t q_offset; /* of the head in a row of q */
    size_t chunk, n_queries;
};

static size_t min_u(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t first_seen(const struct ucb_attention *shape, size_t position)
{
    return shape->sliding > 0 && position >= shape->sliding ? position - shape->sliding + 1
                                                            : 0;
}

/* ---- packing ---- */

/* Panels over n_in of n columns; element (column, k) as in struct ucb_source. */
static void pack_panels(const struct pair *p, struct ucb_source source, size_t n,
                        size_t n_in, unsigned char *out)
{
    enum ucb_arithmetic arithmetic = p->run->backend->arithmetic;
    for (size_t column = 0; column < n; column += UCB_PANEL) {
        ucb_panel_pack(arithmetic, &source, (uint32_t)min_u(n - column, UCB_PANEL),
                       (uint32_t)n_in, out);
        source.w += UCB_PANEL * source.column_stride;
        out += ucb_panel_bytes(arithmetic, n_in);
    }
}

static void pack_keys(const struct pair *p)
{
    const struct gradient_run *run = p->run;
    const float *k = run->k + p->kv_offset, *v = run->v + p->kv_offset;
    size_t d = run->shape->head_dim, s = p->kv_stride;
    pack_panels(p, (struct ucb_source){k, s, 1}, p->n_rows, d, p->space.keys);
    pack_panels(p, (struct ucb_source){v, s, 1}, p->n_rows, d, p->space.values);
    pack_panels(p, (struct ucb_source){k, 1, s}, d, p->n_rows, p->space.keys_turned);
}

static void pack_queries(const struct pair *p)
{
    const struct gradient_run *run = p->run;
    size_t at = (p->row + p->chunk) * p->q_stride + p->q_offset, d = run->shape->head_dim;
    pack_panels(p, (struct ucb_source){run->q + at, 1, p->q_stride}, d, p->n_queries,
                p->space.q);
    pack_panels(p, (struct ucb_source){run->dout + at, 1, p->q_stride}, d, p->n_queries,
                p->space.dout);
}

/* ---- a group of queries ---- */

struct group {
    size_t position, n_rows; /* of the first query, in its window */
    size_t base, first, end; /* keys: a multiple of 256, of 32, the end of the group's 32 */
};

static float *score_at(const struct ucb_slab *slab, const struct group *g, size_t row,
                       size_t key)
{
    return (float *)ucb_slab_at(slab, (key - g->base) / UCB_CHUNK, row) + key % UCB_CHUNK;
}

/* out[query][key] = rows of x times the panels of keys. */
static void multiply_keys(const struct pair *p, const struct group *g, const float *x,
                          const struct ucb_slab *rows, const unsigned char *panels,
                          const struct ucb_slab *out)
{
    const struct ucb_products *products = p->run->backend->products;
    uint32_t d = p->run->shape->head_dim;
    size_t panel_bytes = ucb_panel_bytes(p->run->backend->arithmetic, d);
    ucb_slab_pack(products, x + (p->row + g->position) * p->q_stride + p->q_offset,
                  p->q_stride, g->n_rows, d, rows);
    uint32_t state = products->begin();
    for (size_t key = g->first; key < g->end; key += UCB_PANEL)
        products->multiply(rows, (uint32_t)g->n_rows, d,
                           panels + key / UCB_PANEL * panel_bytes, score_at(out, g, 0, key),
                           UCB_ROW_FLOATS);
    products->end(state);
}

/* Scores become weights, the gradient of weights that of scores; as weigh_group() of the
 * forward pass. */
static void weigh_row(const struct pair *p, const struct group *g, size_t row)
{
    const struct workspace *s = &p->space;
    const struct ucb_attention *shape = p->run->shape;
    const struct ucb_kernel_table *table = p->run->backend->table;
    size_t position = g->position + row, stride = s->score.chunk_bytes / sizeof(float);
    uint32_t n = (uint32_t)(g->end - g->base),
             first = (uint32_t)(first_seen(shape, position) - g->base);
    float *e = (float *)ucb_slab_at(&s->score, 0, row),
          *dp = (float *)ucb_slab_at(&s->dscore, 0, row), *capped = NULL;
    for (size_t key = g->first; shape->softcap != 0 && key < g->end; key += UCB_PANEL) {
        float *at = score_at(&s->score, g, row, key);
        table->cap(at, UCB_PANEL, shape->scale, shape->softcap);
        memcpy(score_at(&s->capped, g, row, key), at, UCB_PANEL * sizeof(*at));
        capped = (float *)ucb_slab_at(&s->capped, 0, row);
    }
    float sum = table->softmax_row(e, stride, n, first, (uint32_t)(position + 1 - g->base),
                                   capped == NULL ? shape->scale : 1.0f);
    table->softmax_gradient_row(e, dp, capped, stride, n, first, sum, shape->scale,
                                shape->softcap);
}

/* turned[key][query] of x[query][key]; the rows past the group's last stay as they are. */
static void turn_group(const struct pair *p, const struct group *g,
                       const struct ucb_slab *x, const struct ucb_slab *turned)
{
    size_t query = g->position - p->chunk;
    for (size_t key = g->first; key < min_u(g->end, p->n_rows); key++) {
        float *out = (float *)ucb_slab_at(turned, 0, key) + query;
        const float *in = score_at(x, g, 0, key);
        for (size_t i = 0; i < g->n_rows; i++) out[i] = in[i * UCB_ROW_FLOATS];
    }
}

static void multiply_dscores(const struct pair *p, const struct group *g)
{
    const struct gradient_run *run = p->run;
    const struct ucb_products *products = run->backend->products;
    enum ucb_arithmetic arithmetic = run->backend->arithmetic;
    const struct ucb_slab *slab = &p->space.dscore;
    size_t panel_bytes = ucb_panel_bytes(arithmetic, p->n_rows), n = g->end - g->base;
    for (size_t row = 0; row < g->n_rows; row++)
        for (size_t k = 0; k < n; k += UCB_CHUNK) {
            void *x = ucb_slab_at(slab, k / UCB_CHUNK, row);
            products->pack_row(x, (uint32_t)min_u(n - k, UCB_CHUNK), x);
        }
    for (size_t column = 0; column < run->shape->head_dim; column += UCB_PANEL) {
        const unsigned char *panel = p->space.keys_turned +
                                     column / UCB_PANEL * panel_bytes +
                                     ucb_panel_bytes(arithmetic, g->base);
        float *out = run->dq + (p->row + g->position) * p->q_stride + p->q_offset + column;
        uint32_t state = products->begin();
        products->multiply(slab, (uint32_t)g->n_rows, (uint32_t)n, panel, p->space.tile,
                           UCB_PANEL);
        products->end(state);
        for (size_t row = 0; row < g->n_rows; row++)
            memcpy(out + row * p->q_stride, p->space.tile + row * UCB_PANEL,
                   min_u(run->shape->head_dim - column, UCB_PANEL) * sizeof(*out));
    }
}

static void do_group(const struct pair *p, size_t position)
{
    const struct workspace *s = &p->space;
    struct group g = {.position = position,
                      .n_rows = min_u(GROUP, p->n_rows - position),
                      .end = position + GROUP};
    g.first = first_seen(p->run->shape, position) / UCB_PANEL * UCB_PANEL;
    g.base = g.first / UCB_CHUNK * UCB_CHUNK;
    multiply_keys(p, &g, p->run->q, &s->query, s->keys, &s->score);
    multiply_keys(p, &g, p->run->dout, &s->dout_row, s->values, &s->dscore);
    for (size_t row = 0; row < g.n_rows; row++) weigh_row(p, &g, row);
    turn_group(p, &g, &s->score, &s->weights_turned);
    turn_group(p, &g, &s->dscore, &s->dscores_turned);
    multiply_dscores(p, &g);
}

/* ---- a chunk of queries, a pair ---- */

/* sum[key] += turned[key] times the panels of the chunk's queries, keys [first, end). */
static void add_keys(const struct pair *p, const struct ucb_slab *turned,
                     const unsigned char *panels, size_t first, size_t end, float *sum)
{
    const struct gradient_run *run = p->run;
    const struct ucb_products *products = run->backend->products;
    size_t panel_bytes = ucb_panel_bytes(run->backend->arithmetic, p->n_queries);
    struct ucb_slab rows = {ucb_slab_at(turned, 0, first), turned->chunk_bytes};
    for (size_t key = first; key < end; key++) {
        void *x = ucb_slab_at(turned, 0, key);
        products->pack_row(x, (uint32_t)p->n_queries, x);
    }
    for (size_t column = 0; column < run->columns; column += UCB_PANEL) {
        uint32_t state = products->begin();
        products->multiply(&rows, (uint32_t)(end - first), (uint32_t)p->n_queries,
                           panels + column / UCB_PANEL * panel_bytes, p->space.tile,
                           UCB_PANEL);
        products->end(state);
        for (size_t key = first; key < end; key++)
            run->backend->table->add(sum + key * run->columns + column,
                                     p->space.tile + (key - first) * UCB_PANEL, UCB_PANEL);
    }
}

static void clear_turned(const struct ucb_slab *turned, size_t first, size_t end)
{
    memset(ucb_slab_at(turned, 0, first), 0, (end - first) * UCB_ROW_PITCH);
}

static void do_chunk(struct pair *p)
{
    const struct workspace *s = &p->space;
    p->n_queries = min_u(QUERIES, p->n_rows - p->chunk);
    size_t first = first_seen(p->run->shape, p->chunk) / UCB_PANEL * UCB_PANEL,
           end = p->chunk + p->n_queries;
    pack_queries(p);
    clear_turned(&s->weights_turned, first, end);
    clear_turned(&s->dscores_turned, first, end);
    for (size_t position = p->chunk; position < end; position += GROUP)
        do_group(p, position);
    add_keys(p, &s->weights_turned, s->dout, first, end, s->dv);
    add_keys(p, &s->dscores_turned, s->q, first, end, s->dk);
}

static void store_keys(const struct pair *p)
{
    const struct gradient_run *run = p->run;
    size_t n = run->shape->head_dim * sizeof(float);
    for (size_t key = 0; key < p->n_rows; key++) {
        size_t at = p->kv_offset + key * p->kv_stride;
        memcpy(run->dk + at, p->space.dk + key * run->columns, n);
        memcpy(run->dv + at, p->space.dv + key * run->columns, n);
    }
}

/* ---- memory ---- */

/* Places one after the other; without a base, only their sum. */
struct places {
    unsigned char *base;
    size_t used_bytes;
};

static unsigned char *take(struct places *at, size_t n_bytes)
{
    unsigned char *p = at->base == NULL ? NULL : at->base + at->used_bytes;
    at->used_bytes += ucb_round_up(n_bytes, 64);
    return p;
}

static float *take_floats(struct places *at, size_t n)
{
    return (float *)take(at, n * sizeof(float));
}

static struct ucb_slab take_slab(struct places *at, size_t n_rows, size_t n_in)
{
    return ucb_slab_place(take(at, ucb_slab_bytes(n_rows, n_in)), n_rows);
}

/* Lays out the scratch of a worker; its size. */
static size_t lay_out(const struct gradient_run *run, unsigned char *base,
                      struct workspace *s)
{
    struct places at = {base, 0};
    enum ucb_arithmetic arithmetic = run->backend->arithmetic;
    size_t d = run->shape->head_dim, n = run->longest, n_keys = ucb_round_up(n, UCB_PANEL),
           panels = run->columns / UCB_PANEL,
           key_bytes = n_keys / UCB_PANEL * ucb_panel_bytes(arithmetic, d),
           query_bytes = panels * ucb_panel_bytes(arithmetic, QUERIES);
    s->keys = take(&at, key_bytes);
    s->values = take(&at, key_bytes);
    s->keys_turned = take(&at, panels * ucb_panel_bytes(arithmetic, n));
    s->q = take(&at, query_bytes);
    s->dout = take(&at, query_bytes);
    s->query = take_slab(&at, GROUP, d);
    s->dout_row = take_slab(&at, GROUP, d);
    s->score = take_slab(&at, GROUP, n_keys);
    s->dscore = take_slab(&at, GROUP, n_keys);
    s->capped = take_slab(&at, GROUP, run->shape->softcap != 0 ? n_keys : 0);
    /* a tile may read 31 rows past the last */
    s->weights_turned = take_slab(&at, n_keys + UCB_SLAB_ROWS, QUERIES);
    s->dscores_turned = take_slab(&at, n_keys + UCB_SLAB_ROWS, QUERIES);
    s->tile = take_floats(&at, n_keys * UCB_PANEL);
    s->dk = take_floats(&at, n * run->columns);
    s->dv = take_floats(&at, n * run->columns);
    return at.used_bytes;
}

static void pair_item(void *context, size_t index, unsigned worker)
{
    const struct gradient_run *run = context;
    const struct ucb_attention *shape = run->shape;
    size_t window = index / shape->n_kv_heads, head = index % shape->n_kv_heads,
           heads = shape->n_heads / shape->n_kv_heads, d = shape->head_dim;
    struct pair p = {.run = run,
                     .row = run->start[window],
                     .n_rows = run->start[window + 1] - run->start[window],
                     .q_stride = shape->n_heads * d,
                     .kv_stride = shape->n_kv_heads * d};
    if (p.n_rows == 0) return;
    lay_out(run, run->scratch + worker * run->worker_bytes, &p.space);
    p.kv_offset = p.row * p.kv_stride + head * d;
    memset(p.space.dk, 0, p.n_rows * run->columns * sizeof(float));
    memset(p.space.dv, 0, p.n_rows * run->columns * sizeof(float));
    pack_keys(&p);
    for (size_t i = 0; i < heads; i++) {
        p.q_offset = (head * heads + i) * d;
        for (p.chunk = 0; p.chunk < p.n_rows; p.chunk += QUERIES) do_chunk(&p);
    }
    store_keys(&p);
}

ucb_status ucb_attention_gradient(struct ucb_backend *backend,
                                  const struct ucb_attention *shape, const float *q,
                                  const float *k, const float *v, const float *dout,
                                  size_t n_windows, const size_t *start, float *dq,
                                  float *dk, float *dv, struct ucb_err *err)
{
    assert(shape->n_kv_heads > 0);
    assert(shape->n_heads % shape->n_kv_heads == 0);
    struct gradient_run run = {.backend = backend,
                               .shape = shape,
                               .q = q,
                               .k = k,
                               .v = v,
                               .dout = dout,
                               .dq = dq,
                               .dk = dk,
                               .dv = dv,
                               .start = start,
                               .columns = ucb_round_up(shape->head_dim, UCB_PANEL)};
    struct workspace unused;
    for (size_t w = 0; w < n_windows; w++)
        if (start[w + 1] - start[w] > run.longest) run.longest = start[w + 1] - start[w];
    if (run.longest == 0) return UCB_OK;
    run.worker_bytes = lay_out(&run, NULL, &unused);
    UCB_TRY(ucb_backend_scratch(backend, ucb_pool_threads(backend->pool) * run.worker_bytes,
                                "gradient of attention", &run.scratch, err));
    ucb_parallel_workers(backend->pool, n_windows * shape->n_kv_heads, pair_item, &run);
    return UCB_OK;
}
