/*
 * lowrank_svd.c - the truncated singular value decomposition of a weighted residual.
 *
 * What quantization leaves behind has a nearly flat spectrum, where a random sketch finds
 * little and power iterations are slow. So: a block Krylov space (Musco and Musco, 2015),
 * kept orthonormal. With M the target and "a" its shorter side, in rows:
 *
 *     q_0 = orth(M x),  x random on the longer side      q: [.][n_a]
 *     b_t = M^T q_t,    q_(t+1) = orth(M b_t) against all q before      b: [.][n_b]
 *
 * until the space has 6 rank (at least rank + 64) dimensions, or all of side a. In blocks
 * of 16: of one size of space, more powers of fewer vectors find more. The eigenvectors z
 * of b b^T are the singular vectors within that space: z q is one side, z b the other one
 * times its singular value.
 *
 * The factors go back through L, and each pair is balanced: || u_j || = || v_j ||, which
 * for L = 1 is the usual sqrt(S) on both sides, and keeps both within half precision.
 */
#include <math.h>
#include <string.h>

#include "core/dense.h"
#include "core/dense_spectral.h"
#include "lowrank.h"

enum { SPACE_PER_RANK = 6, LEAST_EXTRA = 64 };

static ucb_status no_memory(const char *name, const struct lowrank_layout *l,
                            struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a decomposition of rank %zu", name,
                    l->rank);
}

static double *new_doubles(struct ucb_arena *scratch, size_t n_rows, size_t n_columns)
{
    size_t n;
    return ucb_size_mul(n_rows, n_columns, &n) ? UCB_NEW(scratch, double, n) : NULL;
}

/* ---- the metric ---- */

/* What is added to every mean square, so that no input counts nothing;
 * 0 where all are 0. */
static double damping(const struct lowrank_layout *l, const double *mean_square,
                      size_t step)
{
    double sum = 0;
    for (size_t i = 0; i < l->n_in; i++) sum += mean_square[i * step];
    return l->damp * (sum / (double)l->n_in);
}

static ucb_status weigh_columns(struct ucb_job *job, const struct lowrank_layout *l,
                                const struct ucb_calib *calib, const char *name,
                                struct lowrank_weight *out, struct ucb_err *err)
{
    double added = damping(l, calib->sq_mean, 1),
           *column = new_doubles(job->scratch, l->n_in, 1);
    if (column == NULL) return no_memory(name, l, err);
    if (added == 0) return UCB_OK;
    for (size_t i = 0; i < l->n_in; i++) column[i] = sqrt(calib->sq_mean[i] + added);
    out->column = column;
    return UCB_OK;
}

static ucb_status weigh_fully(struct ucb_job *job, const struct lowrank_layout *l,
                              const struct ucb_calib *calib, const char *name,
                              struct lowrank_weight *out, struct ucb_err *err)
{
    size_t n = l->n_in, pivot = 0;
    double added = damping(l, calib->second_moment, n + 1),
           *lower = new_doubles(job->scratch, n, n);
    if (lower == NULL) return no_memory(name, l, err);
    if (added == 0) return UCB_OK;
    memcpy(lower, calib->second_moment, n * n * sizeof(*lower));
    for (size_t i = 0; i < n; i++) lower[i * n + i] += added;
    ucb_status status = ucb_dense_cholesky(lower, n, job->pool, job->scratch, &pivot, err);
    if (status == UCB_UNSUPPORTED)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: the second moment of its inputs is not positive definite at "
                        "column %zu, damped by %g of the mean diagonal; try damp=%g",
                        name, pivot, l->damp, fmin(100 * l->damp, 1));
    if (status != UCB_OK) return no_memory(name, l, err);
    out->lower = lower;
    return UCB_OK;
}

ucb_status lowrank_weigh(struct ucb_job *job, const struct lowrank_layout *l,
                         const struct ucb_calib *calib, const char *name,
                         struct lowrank_weight *out, struct ucb_err *err)
{
    *out = (struct lowrank_weight){0};
    if (l->metric == LOWRANK_PLAIN || calib == NULL || calib->n_tokens == 0) return UCB_OK;
    return l->metric == LOWRANK_DIAG ? weigh_columns(job, l, calib, name, out, err)
                                     : weigh_fully(job, l, calib, name, out, err);
}

/* ---- the space ---- */

struct krylov {
    struct lowrank_target target;
    bool is_tall;         /* more rows than columns: side a is the columns */
    size_t n_a, n_b;      /* shorter and longer side */
    size_t space, n_rows; /* room, and how much is taken */
    double *q, *b;        /* [space][n_a], [space][n_b] */
    double *on_a, *on_b;  /* [n_a][LOWRANK_BLOCK], [n_b][LOWRANK_BLOCK] */
};

static void to_a(const struct krylov *k)
{
    (k->is_tall ? lowrank_turned_times : lowrank_times)(&k->target, k->on_b, k->on_a);
}

static void to_b(const struct krylov *k)
{
    (k->is_tall ? lowrank_times : lowrank_turned_times)(&k->target, k->on_a, k->on_b);
}

/* rows[n_rows][n] from the first columns of block[n][LOWRANK_BLOCK], and back (the other
 * columns become zeros). */
static void block_to_rows(const double *block, size_t n, size_t n_rows, double *rows)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_rows; k++) rows[k * n + i] = block[i * LOWRANK_BLOCK + k];
}

static void rows_to_block(const double *rows, size_t n, size_t n_rows, double *block)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < LOWRANK_BLOCK; k++)
            block[i * LOWRANK_BLOCK + k] = k < n_rows ? rows[k * n + i] : 0;
}

static ucb_status begin_krylov(struct krylov *k, struct ucb_job *job,
                               const struct lowrank_layout *l, const struct ucb_source *src,
                               const struct lowrank_weight *weight, struct ucb_err *err)
{
    size_t space = SPACE_PER_RANK * l->rank;
    *k = (struct krylov){.is_tall = l->n_out > l->n_in};
    k->target = (struct lowrank_target){.w = src->w,
                                        .before = src->before,
                                        .n_out = l->n_out,
                                        .n_in = l->n_in,
                                        .weight = *weight,
                                        .pool = job->pool};
    k->n_a = k->is_tall ? l->n_in : l->n_out;
    k->n_b = k->is_tall ? l->n_out : l->n_in;
    if (space < l->rank + LEAST_EXTRA) space = l->rank + LEAST_EXTRA;
    k->space = space < k->n_a ? space : k->n_a;
    k->q = new_doubles(job->scratch, k->space, k->n_a);
    k->b = new_doubles(job->scratch, k->space, k->n_b);
    k->on_a = new_doubles(job->scratch, k->n_a, LOWRANK_BLOCK);
    k->on_b = new_doubles(job->scratch, k->n_b, LOWRANK_BLOCK);
    k->target.between = new_doubles(job->scratch, l->n_in, LOWRANK_BLOCK);
    if (k->q == NULL || k->b == NULL || k->on_a == NULL || k->on_b == NULL ||
        k->target.between == NULL)
        return no_memory(src->matrix->name, l, err);
    return UCB_OK;
}

/* Uniform deviates serve as well as normal ones: only the directions count. */
static void fill_random(struct ucb_pcg *random, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (double)ucb_pcg_unit(random) - 0.5;
}

static void grow_krylov(struct krylov *k, struct ucb_job *job)
{
    bool is_fresh = true;
    while (k->n_rows < k->space) {
        size_t left = k->space - k->n_rows,
               n_new = left < LOWRANK_BLOCK ? left : LOWRANK_BLOCK;
        double *q = k->q + k->n_rows * k->n_a, *b = k->b + k->n_rows * k->n_b;
        if (is_fresh) fill_random(&job->random, k->on_b, k->n_b * LOWRANK_BLOCK);
        to_a(k);
        block_to_rows(k->on_a, k->n_a, n_new, q);
        size_t n_kept = ucb_dense_orthonormalise(k->q, k->n_a, k->n_rows, n_new, job->pool);
        if (n_kept == 0 && is_fresh) return; /* the space holds all that the target has */
        /* Powers stop short where singular values repeat: go on from other directions. */
        is_fresh = n_kept < n_new;
        if (n_kept == 0) continue;
        rows_to_block(q, k->n_a, n_new, k->on_a);
        to_b(k);
        block_to_rows(k->on_b, k->n_b, n_new, b);
        k->n_rows += n_new;
    }
}

/* ---- the factors ---- */

/* Rows of one side, by vector: side[rank][n] = z[rank][m] rows[m][n]. */
static ucb_status combine(struct ucb_job *job, const double *z, const double *rows,
                          size_t rank, size_t m, size_t n, double **side,
                          struct ucb_err *err)
{
    *side = new_doubles(job->scratch, rank, n);
    if (*side == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu singular vectors", rank);
    return ucb_dense_multiply(ucb_dense_of(z, rank, m), ucb_dense_of(rows, m, n),
                              UCB_DENSE_SET, *side, job->pool, job->scratch, err);
}

static double norm(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

/* left[rank][n_out] and right[rank][n_in] to u and v, balanced. */
static void balance(const struct lowrank_layout *l, const double *left, const double *right,
                    size_t n_found, const struct lowrank_factors *out)
{
    memset(out->u, 0, l->n_out * l->rank * sizeof(*out->u));
    memset(out->v, 0, l->rank * l->n_in * sizeof(*out->v));
    for (size_t j = 0; j < n_found; j++) {
        const double *a = left + j * l->n_out, *b = right + j * l->n_in;
        double of_a = norm(a, l->n_out), of_b = norm(b, l->n_in);
        if (of_a == 0 || of_b == 0) continue; /* the residual's rank is lower */
        double up = sqrt(of_b / of_a), down = sqrt(of_a / of_b);
        for (size_t i = 0; i < l->n_out; i++) out->u[i * l->rank + j] = (float)(up * a[i]);
        for (size_t i = 0; i < l->n_in; i++) out->v[j * l->n_in + i] = (float)(down * b[i]);
    }
}

/* right <- right L^-1 */
static void unweigh(const struct krylov *k, size_t n_found, double *right)
{
    const struct lowrank_target *t = &k->target;
    if (t->weight.lower != NULL)
        ucb_dense_solve_rows(t->weight.lower, t->n_in, right, n_found, t->pool);
    for (size_t j = 0; j < n_found && t->weight.column != NULL; j++)
        for (size_t i = 0; i < t->n_in; i++) right[j * t->n_in + i] /= t->weight.column[i];
}

static ucb_status find_factors(struct krylov *k, struct ucb_job *job,
                               const struct lowrank_layout *l,
                               const struct lowrank_factors *out, struct ucb_err *err)
{
    size_t m = k->n_rows, n_found = l->rank < m ? l->rank : m;
    double *gram = new_doubles(job->scratch, m, m),
           *z = new_doubles(job->scratch, n_found, m),
           *values = new_doubles(job->scratch, n_found, 1), *on_a, *on_b;
    if (gram == NULL || z == NULL || values == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a space of %zu vectors", m);
    struct ucb_dense b = ucb_dense_of(k->b, m, k->n_b);
    UCB_TRY(ucb_dense_multiply(b, ucb_dense_turned(b), UCB_DENSE_SET, gram, job->pool,
                               job->scratch, err));
    UCB_TRY(ucb_dense_eigen(gram, m, n_found, values, z, job->pool, job->scratch, err));
    UCB_TRY(combine(job, z, k->q, n_found, m, k->n_a, &on_a, err));
    UCB_TRY(combine(job, z, k->b, n_found, m, k->n_b, &on_b, err));
    double *left = k->is_tall ? on_b : on_a, *right = k->is_tall ? on_a : on_b;
    unweigh(k, n_found, right);
    balance(l, left, right, n_found, out);
    return UCB_OK;
}

ucb_status lowrank_fit(struct ucb_job *job, const struct lowrank_layout *l,
                       const struct ucb_source *src, const struct lowrank_weight *weight,
                       const struct lowrank_factors *out, struct ucb_err *err)
{
    struct krylov k;
    UCB_TRY(begin_krylov(&k, job, l, src, weight, err));
    grow_krylov(&k, job);
    ucb_status status = find_factors(&k, job, l, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", src->matrix->name);
    return status;
}
