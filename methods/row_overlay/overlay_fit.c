/*
 * overlay_fit.c - one bank of two codebooks for each role, fitted to all matrices of it.
 *
 * Pass 1 over the stream draws the pool of each role: 200,000 vectors, each with the same
 * chance (a reservoir: vector t takes the place of a random one of t + 1). k-means on the
 * pool gives the first codebook, k-means on what is left of it the second. Each EM round is
 * one more pass: every vector is assigned by beam search, then
 *
 *     c1[k] = sum of w g over i1 = k / sum of w            w = the row's scale squared
 *     c2[k] = sum of w (g - c1[i1]) over i2 = k / sum of w          with the new c1
 *
 * The second sum needs c1 before it is known; it is the sum of w g less c1 by the weight
 * that each pair of indices shares, so no vector is kept from one matrix to the next.
 *
 * All random numbers come from job->random: pool places as vectors pass, then by role the
 * seeds of the first and the second codebook, then by round and role what refills clusters.
 * Sums are doubles in the order of the stream: a worker owns entries, not vectors.
 */
#include <string.h>

#include "overlay.h"

enum { POOL = 200000, KMEANS_ROUNDS = 6, RANGES = 16 };
static const double least_weight = 1e-8; /* of a cluster; below it is refilled */

/* One role on its way to a bank. */
struct role_fit {
    enum ucb_role role;
    unsigned b1, b2; /* wanted */
    uint64_t n_seen; /* vectors */
    float *pool;     /* [n_pool][8] */
    uint32_t n_pool;
    struct overlay_bank *bank;
    double *sum1, *sum2, *weight1, *weight2; /* by entry: [8] and [1] */
    double *joint;                           /* [K1][K2] weight of each pair of indices */
};

struct fit {
    struct ucb_job *job;
    struct ucb_stream *stream;
    const struct overlay_path *path;
    struct role_fit *role[UCB_N_ROLES];
    struct overlay_frame frame;
    uint32_t most_pool, *index; /* [most_pool] */
    unsigned n_iters, n_beam;
};

static ucb_status no_memory(const char *what, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "row_overlay: no memory for %s", what);
}

/* ---- the pool ---- */

static ucb_status find_role(struct fit *f, const struct ucb_matrix *m,
                            const struct overlay_plan *plan, struct role_fit **out,
                            struct ucb_err *err)
{
    struct role_fit *r = f->role[m->role];
    if (r == NULL) {
        r = UCB_NEW(f->job->arena, struct role_fit, 1);
        if (r == NULL) return no_memory("a role", err);
        *r = (struct role_fit){.role = m->role, .b1 = plan->b1, .b2 = plan->b2};
        r->pool = UCB_NEW(f->job->arena, float, (size_t)f->most_pool *OVERLAY_D);
        if (r->pool == NULL) return no_memory("a sample of vectors", err);
        f->role[m->role] = r;
    }
    *out = r;
    return UCB_OK;
}

static ucb_status draw_pool(struct fit *f, struct role_fit *r, const struct ucb_matrix *m,
                            struct ucb_err *err)
{
    size_t n = (size_t)m->n_out * m->n_in / OVERLAY_D;
    if (r->n_seen + n > UINT32_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: more than 2^32 vectors of its role; try hqq", m->name);
    for (size_t v = 0; v < n; v++, r->n_seen++) {
        uint32_t at = (uint32_t)r->n_seen;
        if (at >= f->most_pool) at = ucb_pcg_below(&f->job->random, at + 1);
        if (at >= f->most_pool) continue;
        memcpy(r->pool + (size_t)at * OVERLAY_D, f->frame.g + v * OVERLAY_D,
               OVERLAY_D * sizeof(float));
    }
    r->n_pool = r->n_seen < f->most_pool ? (uint32_t)r->n_seen : f->most_pool;
    return UCB_OK;
}

/* One pass over the stream: the frame of each matrix, and what is done with it. */
typedef ucb_status each_matrix(struct fit *f, struct role_fit *r,
                               const struct ucb_matrix *m, struct ucb_err *err);

static ucb_status pass(struct fit *f, each_matrix *body, struct ucb_err *err)
{
    const struct ucb_source *src;
    for (;;) {
        UCB_TRY(f->stream->next(f->stream->context, &src, err));
        if (src == NULL) break;
        struct overlay_plan plan = overlay_plan_of(f->job, src->matrix);
        struct role_fit *r = NULL;
        UCB_TRY(find_role(f, src->matrix, &plan, &r, err));
        UCB_TRY(overlay_frame_make(f->job, src, plan.alpha, f->job->arena, &f->frame, err));
        UCB_TRY(body(f, r, src->matrix, err));
    }
    f->stream->rewind(f->stream->context);
    return UCB_OK;
}

/* ---- k-means ---- */

/* Distinct vectors of the pool become the entries. */
static void seed_book(struct fit *f, const float *x, uint32_t n, struct overlay_book *book)
{
    uint32_t *order = f->index;
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t k = 0; k < book->n; k++) {
        uint32_t at = k + ucb_pcg_below(&f->job->random, n - k), chosen = order[at];
        order[at] = order[k];
        order[k] = chosen;
        memcpy(book->entry + (size_t)k * OVERLAY_D, x + (size_t)chosen * OVERLAY_D,
               OVERLAY_D * sizeof(float));
    }
}

static void search_pool(struct fit *f, const float *x, uint32_t n, struct overlay_book *b)
{
    overlay_book_lay(b);
    overlay_nearest(f->path, b, x, n, f->job->pool, f->index);
}

/* An empty cluster keeps its centre. */
static void kmeans(struct fit *f, const float *x, uint32_t n, struct overlay_book *book,
                   double *sum, double *weight)
{
    seed_book(f, x, n, book);
    for (int round = 0; round < KMEANS_ROUNDS; round++) {
        search_pool(f, x, n, book);
        memset(sum, 0, (size_t)book->n * OVERLAY_D * sizeof(*sum));
        memset(weight, 0, book->n * sizeof(*weight));
        for (uint32_t i = 0; i < n; i++) {
            double *s = sum + (size_t)f->index[i] * OVERLAY_D;
            for (int d = 0; d < OVERLAY_D; d++)
                s[d] += (double)x[i * OVERLAY_D + (size_t)d];
            weight[f->index[i]] += 1;
        }
        for (size_t k = 0; k < book->n; k++)
            for (size_t d = 0; d < OVERLAY_D && weight[k] > 0; d++)
                book->entry[k * OVERLAY_D + d] = (float)(sum[k * OVERLAY_D + d] /
                                                         weight[k]);
    }
}

/* As many bits as the pool has vectors for: an entry needs one to start from. */
static unsigned feasible(unsigned bits, uint32_t n_pool)
{
    while (bits > 0 && n_pool >> bits == 0) bits--;
    return bits;
}

static ucb_status start_bank(struct fit *f, struct role_fit *r, struct overlay_bank *bank,
                             struct ucb_err *err)
{
    struct ucb_arena *arena = f->job->arena;
    *bank = (struct overlay_bank){.role = r->role,
                                  .b1 = feasible(r->b1, r->n_pool),
                                  .b2 = feasible(r->b2, r->n_pool)};
    uint32_t k1 = 1u << bank->b1, k2 = 1u << bank->b2;
    r->bank = bank;
    r->sum1 = UCB_NEW(arena, double, (size_t)k1 *OVERLAY_D);
    r->sum2 = UCB_NEW(arena, double, (size_t)k2 *OVERLAY_D);
    r->weight1 = UCB_NEW(arena, double, k1);
    r->weight2 = UCB_NEW(arena, double, k2);
    r->joint = UCB_NEW(arena, double, (size_t)k1 *k2);
    float *rest = UCB_NEW(arena, float, (size_t)r->n_pool *OVERLAY_D);
    if (!overlay_book_alloc(arena, k1, true, &bank->first) ||
        !overlay_book_alloc(arena, k2, true, &bank->second) || r->sum1 == NULL ||
        r->sum2 == NULL || r->weight1 == NULL || r->weight2 == NULL || r->joint == NULL ||
        rest == NULL)
        return no_memory("the codebooks of a role", err);
    kmeans(f, r->pool, r->n_pool, &bank->first, r->sum1, r->weight1);
    search_pool(f, r->pool, r->n_pool, &bank->first);
    for (size_t i = 0; i < r->n_pool; i++)
        for (size_t d = 0; d < OVERLAY_D; d++)
            rest[i * OVERLAY_D + d] =
                r->pool[i * OVERLAY_D + d] -
                bank->first.entry[(size_t)f->index[i] * OVERLAY_D + d];
    kmeans(f, rest, r->n_pool, &bank->second, r->sum2, r->weight2);
    overlay_book_lay(&bank->second);
    return UCB_OK;
}

/* ---- EM ---- */

/* A worker's share: the entries of one codebook from `low` to `high`. */
struct share_run {
    const struct overlay_frame *frame;
    struct role_fit *role;
};

static void add_first(const struct share_run *run, uint32_t low, uint32_t high)
{
    const struct overlay_frame *f = run->frame;
    struct role_fit *r = run->role;
    size_t n_vectors = f->n_in / OVERLAY_D, k2 = r->bank->second.n, v = 0;
    for (uint32_t row = 0; row < f->n_out; row++) {
        double w = (double)f->rs[row] * (double)f->rs[row];
        for (size_t end = v + n_vectors; v < end; v++) {
            uint32_t k = f->first[v];
            if (k - low >= high - low) continue;
            r->weight1[k] += w;
            r->joint[k * k2 + f->second[v]] += w;
            for (size_t d = 0; d < OVERLAY_D; d++)
                r->sum1[k * OVERLAY_D + d] += w * (double)f->g[v * OVERLAY_D + d];
        }
    }
}

static void add_second(const struct share_run *run, uint32_t low, uint32_t high)
{
    const struct overlay_frame *f = run->frame;
    struct role_fit *r = run->role;
    size_t n_vectors = f->n_in / OVERLAY_D, v = 0;
    for (uint32_t row = 0; row < f->n_out; row++) {
        double w = (double)f->rs[row] * (double)f->rs[row];
        for (size_t end = v + n_vectors; v < end; v++) {
            uint32_t k = f->second[v];
            if (k - low >= high - low) continue;
            r->weight2[k] += w;
            for (size_t d = 0; d < OVERLAY_D; d++)
                r->sum2[k * OVERLAY_D + d] += w * (double)f->g[v * OVERLAY_D + d];
        }
    }
}

static uint32_t share_start(uint32_t n, size_t range)
{
    return (uint32_t)((uint64_t)n * range / RANGES);
}

static void add_share(void *context, size_t task)
{
    const struct share_run *run = context;
    const struct overlay_bank *bank = run->role->bank;
    size_t range = task % RANGES;
    if (task < RANGES)
        add_first(run, share_start(bank->first.n, range),
                  share_start(bank->first.n, range + 1));
    else
        add_second(run, share_start(bank->second.n, range),
                   share_start(bank->second.n, range + 1));
}

static ucb_status add_matrix(struct fit *f, struct role_fit *r, const struct ucb_matrix *m,
                             struct ucb_err *err)
{
    struct overlay_frame *frame = &f->frame;
    struct share_run run = {frame, r};
    (void)err;
    overlay_assign(f->path, r->bank, f->n_beam, frame->g,
                   (size_t)m->n_out * m->n_in / OVERLAY_D, f->job->pool, frame->first,
                   frame->second);
    ucb_parallel_for(f->job->pool, 2 * RANGES, add_share, &run);
    return UCB_OK;
}

static void clear_sums(struct role_fit *r)
{
    size_t k1 = r->bank->first.n, k2 = r->bank->second.n;
    memset(r->sum1, 0, k1 * OVERLAY_D * sizeof(double));
    memset(r->sum2, 0, k2 * OVERLAY_D * sizeof(double));
    memset(r->weight1, 0, k1 * sizeof(double));
    memset(r->weight2, 0, k2 * sizeof(double));
    memset(r->joint, 0, k1 * k2 * sizeof(double));
}

static void update_first(struct fit *f, struct role_fit *r)
{
    struct overlay_book *book = &r->bank->first;
    for (size_t k = 0; k < book->n; k++) {
        float *c = book->entry + k * OVERLAY_D;
        if (r->weight1[k] < least_weight) {
            size_t from = ucb_pcg_below(&f->job->random, r->n_pool);
            memcpy(c, r->pool + from * OVERLAY_D, OVERLAY_D * sizeof(float));
            continue;
        }
        for (size_t d = 0; d < OVERLAY_D; d++)
            c[d] = (float)(r->sum1[k * OVERLAY_D + d] / r->weight1[k]);
    }
    overlay_book_lay(book);
}

/* Takes the new first entries out of the second's sums; a cluster without weight keeps its
 * centre. */
static void update_second_range(void *context, size_t range)
{
    struct role_fit *r = context;
    struct overlay_book *book = &r->bank->second;
    size_t k1 = r->bank->first.n, k2 = book->n, low = share_start(book->n, range),
           high = share_start(book->n, range + 1);
    for (size_t i = 0; i < k1; i++) {
        const float *c = r->bank->first.entry + i * OVERLAY_D;
        for (size_t k = low; k < high; k++) {
            double w = r->joint[i * k2 + k];
            for (size_t d = 0; d < OVERLAY_D && w > 0; d++)
                r->sum2[k * OVERLAY_D + d] -= w * (double)c[d];
        }
    }
    for (size_t k = low; k < high; k++)
        for (size_t d = 0; d < OVERLAY_D && r->weight2[k] >= least_weight; d++)
            book->entry[k * OVERLAY_D + d] = (float)(r->sum2[k * OVERLAY_D + d] /
                                                     r->weight2[k]);
}

static ucb_status run_round(struct fit *f, struct ucb_err *err)
{
    for (int i = 0; i < UCB_N_ROLES; i++)
        if (f->role[i] != NULL) clear_sums(f->role[i]);
    UCB_TRY(pass(f, add_matrix, err));
    for (int i = 0; i < UCB_N_ROLES; i++) {
        struct role_fit *r = f->role[i];
        if (r == NULL) continue;
        update_first(f, r);
        ucb_parallel_for(f->job->pool, RANGES, update_second_range, r);
        overlay_book_lay(&r->bank->second);
    }
    return UCB_OK;
}

/* ---- all of it ---- */

static ucb_status begin(struct fit *f, struct ucb_err *err)
{
    uint64_t n = f->stream->n_weights / OVERLAY_D;
    f->path = overlay_path_best();
    f->most_pool = n < POOL ? (uint32_t)n : POOL;
    f->index = UCB_NEW(f->job->arena, uint32_t, f->most_pool);
    f->n_iters = (unsigned)ucb_job_value(f->job, "iters");
    f->n_beam = (unsigned)ucb_job_value(f->job, "beam");
    return f->index != NULL ? UCB_OK : no_memory("a sample of vectors", err);
}

ucb_status overlay_fit(struct ucb_job *job, struct ucb_stream *stream,
                       struct overlay_bank *banks, uint32_t *n_banks, struct ucb_err *err)
{
    struct fit f = {.job = job, .stream = stream};
    UCB_TRY(begin(&f, err));
    UCB_TRY(pass(&f, draw_pool, err));
    *n_banks = 0;
    for (int i = 0; i < UCB_N_ROLES; i++)
        if (f.role[i] != NULL)
            UCB_TRY(start_bank(&f, f.role[i], &banks[(*n_banks)++], err));
    for (unsigned round = 0; round < f.n_iters; round++) UCB_TRY(run_round(&f, err));
    return UCB_OK;
}
