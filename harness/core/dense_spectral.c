/*
 * dense_spectral.c - Gram-Schmidt on rows, Householder and QL, back substitution.
 *
 * Everything heavy is one of three loops over contiguous rows: a dot product, an axpy, a
 * plane rotation. QL therefore turns ROWS (an eigenvector is a row), where the textbook
 * turns columns.
 */
#include "core/dense_spectral.h"

#include <assert.h>
#include <float.h>
#include <math.h>

#include "core/clones.h"
#include "core/f64_lanes.h"

enum {
    STRIP = 4 * UCB_F64_LANES,
    MAX_TURNS = 60,
    SOLVED_TOGETHER = 8,
    WORTH_THREADS = 512
};
/* ---- rows ---- */

UCB_CLONES static double dot(const double *x, const double *y, size_t n)
{
    ucb_f64x8 sum[4] = {{0}};
    double tail_x[STRIP] = {0}, tail_y[STRIP] = {0};
    size_t i = 0;
    for (; i + STRIP <= n; i += STRIP)
        for (int k = 0; k < 4; k++)
            sum[k] += ucb_f64_load(x + i + k * UCB_F64_LANES) *
                      ucb_f64_load(y + i + k * UCB_F64_LANES);
    memcpy(tail_x, x + i, (n - i) * sizeof(*x));
    memcpy(tail_y, y + i, (n - i) * sizeof(*y));
    for (int k = 0; k < 4; k++)
        sum[k] += ucb_f64_load(tail_x + k * UCB_F64_LANES) *
                  ucb_f64_load(tail_y + k * UCB_F64_LANES);
    return ucb_f64_sum((sum[0] + sum[2]) + (sum[1] + sum[3]));
}

/* y -= factor x */
UCB_CLONES static void subtract(double factor, const double *x, double *y, size_t n)
{
    size_t i = 0;
    for (; i + UCB_F64_LANES <= n; i += UCB_F64_LANES)
        ucb_f64_store(y + i,
                      ucb_f64_load(y + i) - ucb_f64_all(factor) * ucb_f64_load(x + i));
    for (; i < n; i++) y[i] -= factor * x[i];
}

static void multiply_row(double factor, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

/* (low, high) <- (c low - s high, s low + c high) */
UCB_CLONES static void rotate(double c, double s, double *low, double *high, size_t n)
{
    size_t i = 0;
    for (; i + UCB_F64_LANES <= n; i += UCB_F64_LANES) {
        ucb_f64x8 a = ucb_f64_load(low + i), b = ucb_f64_load(high + i);
        ucb_f64_store(low + i, ucb_f64_all(c) * a - ucb_f64_all(s) * b);
        ucb_f64_store(high + i, ucb_f64_all(s) * a + ucb_f64_all(c) * b);
    }
    for (; i < n; i++) {
        double a = low[i], b = high[i];
        low[i] = c * a - s * b;
        high[i] = s * a + c * b;
    }
}

/* ---- orthonormal rows ---- */

struct project_run {
    double *rows;
    size_t n_columns, n_done;
};

/* Takes what the finished rows hold out of new row `index`. */
static void project_row(void *context, size_t index)
{
    const struct project_run *run = context;
    double *row = run->rows + (run->n_done + index) * run->n_columns;
    for (size_t i = 0; i < run->n_done; i++) {
        const double *done = run->rows + i * run->n_columns;
        subtract(dot(done, row, run->n_columns), done, row, run->n_columns);
    }
}

/* To length 1; to zeros where it is at most `least` long. */
static size_t normalise_row(double *row, size_t n, double least)
{
    double length = sqrt(dot(row, row, n));
    bool is_kept = length > least;
    if (is_kept)
        multiply_row(1 / length, row, n);
    else
        memset(row, 0, n * sizeof(*row));
    return is_kept;
}

size_t ucb_dense_orthonormalise(double *rows, size_t n_columns, size_t n_done, size_t n_new,
                                struct ucb_pool *pool)
{
    /* In the second round a row of length 1 is orthogonal to the others but for rounding,
     * unless it was rounding itself. */
    static const double least[] = {1e-12, 0.1};
    struct project_run run = {rows, n_columns, n_done};
    double *first = rows + n_done * n_columns;
    size_t n_kept = 0;
    for (size_t i = 0; i < n_new; i++) normalise_row(first + i * n_columns, n_columns, 0);
    for (int round = 0; round < 2; round++) {
        ucb_parallel_for(pool, n_new, project_row, &run);
        n_kept = 0;
        for (size_t i = 0; i < n_new; i++) {
            double *row = first + i * n_columns;
            for (size_t j = 0; j < i; j++) {
                const double *other = first + j * n_columns;
                subtract(dot(other, row, n_columns), other, row, n_columns);
            }
            n_kept += normalise_row(row, n_columns, least[round]);
        }
    }
    return n_kept;
}

/* ---- eigenvectors ---- */

/* On its way: `a` keeps the reflections, row k of it the vector of the reflection that
 * cleared column k (its first k + 1 elements stand for zeros). */
struct eigen_run {
    double *a;
    size_t n;
    double *diagonal, *beside; /* beside[i] couples i and i + 1 */
    double *factor;            /* of reflection k: 1 - factor v v^T */
    double rounding;           /* of the largest sum of a row; couplings below are zeros */
    double *turned;            /* [n], scratch of a reflection */
    double *vectors;           /* [n][n], rows */
    struct ucb_pool *pool;
    const double *v; /* of the reflection being applied */
    size_t first;    /* of its elements that is not zero */
};

/* An exact power of two that brings the largest element to [0.5, 1); 1 for zeros. */
static double find_scale(const double *a, size_t n)
{
    double peak = 0;
    int exponent;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) peak = fmax(peak, fabs(a[i * n + j]));
    if (peak == 0) return 1;
    frexp(peak, &exponent);
    return ldexp(1, -exponent);
}

static bool scale_and_mirror(double *a, size_t n, double scale)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            a[j * n + i] = a[i * n + j] *= scale;
            finite &= isfinite(a[i * n + j]) != 0;
        }
    return finite;
}

static void times_vector(void *context, size_t index)
{
    struct eigen_run *run = context;
    size_t i = run->first + index, length = run->n - run->first;
    run->turned[i] = dot(run->a + i * run->n + run->first, run->v + run->first, length);
}

static void rank_two(void *context, size_t index)
{
    struct eigen_run *run = context;
    size_t i = run->first + index, length = run->n - run->first;
    double *row = run->a + i * run->n + run->first;
    subtract(run->v[i], run->turned + run->first, row, length);
    subtract(run->turned[i], run->v + run->first, row, length);
}

/* Clears column k below its second diagonal. Row k is the column, as `a` is symmetric, and
 * keeps v. */
static void reflect_column(struct eigen_run *run, size_t k)
{
    size_t first = k + 1, length = run->n - first;
    double *v = run->a + k * run->n;
    double norm = sqrt(dot(v + first, v + first, length));
    run->diagonal[k] = v[k];
    run->beside[k] = v[first] > 0 ? -norm : norm;
    v[first] -= run->beside[k];
    double square = dot(v + first, v + first, length);
    run->factor[k] = square == 0 ? 0 : 2 / square;
    if (square == 0) return;
    struct ucb_pool *pool = length < WORTH_THREADS ? NULL : run->pool;
    run->v = v;
    run->first = first;
    ucb_parallel_for(pool, length, times_vector, run);
    multiply_row(run->factor[k], run->turned + first, length);
    double half = 0.5 * run->factor[k] * dot(run->turned + first, v + first, length);
    subtract(half, v + first, run->turned + first, length);
    ucb_parallel_for(pool, length, rank_two, run);
}

static void reduce(struct eigen_run *run)
{
    size_t n = run->n;
    for (size_t k = 0; k + 2 < n; k++) reflect_column(run, k);
    if (n >= 2) {
        run->diagonal[n - 2] = run->a[(n - 2) * n + n - 2];
        run->beside[n - 2] = run->a[(n - 2) * n + n - 1];
    }
    run->diagonal[n - 1] = run->a[n * n - 1];
    for (size_t i = 0; i < n; i++)
        run->rounding = fmax(run->rounding,
                             DBL_EPSILON / 2 *
                                 (fabs(run->diagonal[i]) + fabs(run->beside[i])));
}

/* One implicit QL step from `last` up to `first`, where beside[last] is negligible. */
static void ql_step(struct eigen_run *run, size_t first, size_t last)
{
    double *d = run->diagonal, *e = run->beside;
    double half = (d[first + 1] - d[first]) / (2 * e[first]), root = sqrt(half * half + 1);
    double g = d[last] - d[first] + e[first] / (half + (half < 0 ? -root : root));
    double s = 1, c = 1, carried = 0;
    e[last] = 0;
    for (size_t i = last; i-- > first;) {
        double f = s * e[i], b = c * e[i], length = sqrt(f * f + g * g);
        if (i + 1 < last) e[i + 1] = length;
        if (length == 0) { /* what is left is already split here */
            d[i + 1] -= carried;
            return;
        }
        s = f / length;
        c = g / length;
        g = d[i + 1] - carried;
        double t = (d[i] - g) * s + 2 * c * b;
        carried = s * t;
        d[i + 1] = g + carried;
        g = c * t - b;
        rotate(c, s, run->vectors + i * run->n, run->vectors + (i + 1) * run->n, run->n);
    }
    d[first] -= carried;
    e[first] = g;
}

/* The first i >= first whose coupling to i + 1 is below rounding: of its neighbours, or of
 * the matrix. Without the second, noise around equal values of zero would never settle. */
static size_t find_split(const struct eigen_run *run, size_t first)
{
    const double *d = run->diagonal, *e = run->beside;
    size_t i = first;
    for (; i + 1 < run->n; i++) {
        double size = fabs(d[i]) + fabs(d[i + 1]);
        if (size + fabs(e[i]) == size || fabs(e[i]) <= run->rounding) break;
    }
    return i;
}

static bool diagonalise(struct eigen_run *run)
{
    for (size_t i = 0; i < run->n; i++) run->vectors[i * run->n + i] = 1;
    for (size_t first = 0; first < run->n; first++)
        for (int turn = 0;; turn++) {
            size_t last = find_split(run, first);
            if (last == first) break;
            if (turn == MAX_TURNS) return false;
            ql_step(run, first, last);
        }
    return true;
}

/* Takes a vector of the three diagonals back to one of the matrix. */
static void take_back(const struct eigen_run *run, double *x)
{
    for (size_t k = run->n < 2 ? 0 : run->n - 2; k-- > 0;) {
        const double *v = run->a + k * run->n + k + 1;
        size_t length = run->n - k - 1;
        subtract(run->factor[k] * dot(v, x + k + 1, length), v, x + k + 1, length);
    }
}

/* The index of the largest value not taken yet; the lower one of equals. */
static size_t largest(const double *value, const bool *is_taken, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!is_taken[i] && (best == n || value[i] > value[best])) best = i;
    return best;
}

ucb_status ucb_dense_eigen(double *a, size_t n, size_t n_wanted, double *values,
                           double *vectors, struct ucb_pool *pool,
                           struct ucb_arena *scratch, struct ucb_err *err)
{
    struct eigen_run run = {.a = a, .n = n, .pool = pool};
    size_t count;
    assert(n_wanted <= n);
    if (n == 0) return UCB_OK;
    run.diagonal = UCB_NEW(scratch, double, n);
    run.beside = UCB_NEW(scratch, double, n);
    run.factor = UCB_NEW(scratch, double, n);
    run.turned = UCB_NEW(scratch, double, n);
    run.vectors = ucb_size_mul(n, n, &count) ? UCB_NEW(scratch, double, count) : NULL;
    bool *is_taken = UCB_NEW(scratch, bool, n);
    if (run.diagonal == NULL || run.beside == NULL || run.factor == NULL ||
        run.turned == NULL || run.vectors == NULL || is_taken == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu eigenvectors", n);
    double scale = find_scale(a, n);
    if (!scale_and_mirror(a, n, scale))
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "a matrix of %zu rows holds values that are not finite", n);
    reduce(&run);
    if (!diagonalise(&run))
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "the eigenvalues of a matrix of %zu rows do not settle", n);
    for (size_t i = 0; i < n_wanted; i++) {
        size_t best = largest(run.diagonal, is_taken, n);
        is_taken[best] = true;
        values[i] = run.diagonal[best] / scale;
        memcpy(vectors + i * n, run.vectors + best * n, n * sizeof(*vectors));
        take_back(&run, vectors + i * n);
    }
    return UCB_OK;
}

/* ---- the inverse of a triangle, from the right ---- */

struct solve_run {
    const double *l;
    size_t n, n_rows;
    double *x;
};

/* A few rows together, so that a row of l is read once for all of them. */
static void solve_some(void *context, size_t index)
{
    const struct solve_run *run = context;
    size_t first = index * SOLVED_TOGETHER, last = first + SOLVED_TOGETHER;
    if (last > run->n_rows) last = run->n_rows;
    for (size_t i = run->n; i-- > 0;) {
        const double *row = run->l + i * run->n;
        for (size_t k = first; k < last; k++) {
            double *x = run->x + k * run->n;
            x[i] /= row[i];
            subtract(x[i], row, x, i);
        }
    }
}

void ucb_dense_solve_rows(const double *l, size_t n, double *x, size_t n_rows,
                          struct ucb_pool *pool)
{
    struct solve_run run = {l, n, n_rows, x};
    size_t n_items = (n_rows + SOLVED_TOGETHER - 1) / SOLVED_TOGETHER;
    ucb_parallel_for(pool, n_items, solve_some, &run);
}
