/* Orthonormal rows, eigenvectors and back substitution against their definitions, and
 * against a Jacobi iteration that shares nothing with them. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/dense.h"
#include "core/dense_spectral.h"
#include "core/pcg.h"

static struct ucb_arena kept, scratch;
static struct ucb_err err;

static double *random_values(size_t n, const char *name)
{
    struct ucb_pcg r;
    double *x = UCB_NEW(&kept, double, n);
    CHECK(x != NULL);
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) x[i] = 2 * (double)ucb_pcg_unit(&r) - 1;
    return x;
}

static double inner(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double *random_symmetric(size_t n)
{
    double *a = random_values(n * n, "symmetric");
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
    return a;
}

/* Eigenvalues by cyclic Jacobi rotations, descending. */
static void jacobi(double *a, size_t n, double *values)
{
    for (int sweep = 0; sweep < 30; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0) continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (size_t k = 0; k < n; k++) {
                    double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (size_t k = 0; k < n; k++) {
                    double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
            }
    for (size_t i = 0; i < n; i++) values[i] = a[i * n + i];
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && values[j] > values[j - 1]; j--) {
            double moved = values[j];
            values[j] = values[j - 1];
            values[j - 1] = moved;
        }
}

/* a = values and vectors within rounding; vectors are orthonormal. */
static void check_eigen(const double *a, size_t n, size_t n_wanted, double size)
{
    double *work = UCB_NEW(&kept, double, n *n), *values = UCB_NEW(&kept, double, n),
           *vectors = UCB_NEW(&kept, double, n *n), *expected = UCB_NEW(&kept, double, n);
    double tolerance = 1e-14 * (double)(n + 10);
    memcpy(work, a, n * n * sizeof(*work));
    for (size_t i = 0; i < n; i++) /* what stands above the diagonal is not read */
        for (size_t j = i + 1; j < n; j++) work[i * n + j] = NAN;
    CHECK_OK(ucb_dense_eigen(work, n, n_wanted, values, vectors, NULL, &scratch, &err),
             err);
    memcpy(work, a, n * n * sizeof(*work));
    jacobi(work, n, expected);
    for (size_t i = 0; i < n_wanted; i++) {
        const double *x = vectors + i * n;
        CHECK_NEAR(values[i] / size, expected[i] / size, tolerance);
        for (size_t row = 0; row < n; row++)
            CHECK_NEAR(inner(a + row * n, x, n) / size, values[i] * x[row] / size,
                       tolerance);
        for (size_t j = 0; j <= i; j++)
            CHECK_NEAR(inner(x, vectors + j * n, n), i == j, tolerance);
    }
    ucb_arena_reset(&scratch);
}

TEST(eigenvectors_are_what_they_are_defined_to_be)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 8, 17, 33, 70};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t n = sizes[i];
        double *a = random_symmetric(n);
        check_eigen(a, n, n, sqrt((double)n));
        check_eigen(a, n, (n + 1) / 2, sqrt((double)n));
        for (size_t k = 0; k < n * n; k++) a[k] *= 1e-200; /* the scale does not matter */
        check_eigen(a, n, n, 1e-200 * sqrt((double)n));
        ucb_arena_reset(&kept);
    }
}

TEST(eigenvectors_of_matrices_with_equal_and_missing_values)
{
    enum { N = 24 };
    double zero[N * N] = {0}, one[N * N] = {0}, low[N * N] = {0}, split[N * N] = {0};
    double *x = random_values(3 * N, "low rank");
    for (size_t i = 0; i < N; i++) {
        one[i * N + i] = 1;
        for (size_t j = 0; j < N; j++)
            for (size_t k = 0; k < 3; k++) low[i * N + j] += x[k * N + i] * x[k * N + j];
        split[i * N + i] = i % 3 == 0 ? 1e-120 : (double)(i % 5);
        if (i > 0) split[i * N + i - 1] = split[(i - 1) * N + i] = i % 4 == 0 ? 0 : 1e-110;
    }
    check_eigen(zero, N, N, 1);
    check_eigen(one, N, N, 1);
    check_eigen(low, N, N, 24);
    check_eigen(split, N, N, 5);
    ucb_arena_reset(&kept);
}

TEST(eigenvalues_that_are_mostly_zero_settle)
{ /* x^T x of fewer rows than columns: rounding is all that there is beside 200 zeros */
    enum { N = 288, ROWS = 88 };
    struct ucb_dense x = ucb_dense_of(random_values(ROWS * N, "few rows"), ROWS, N);
    double *a = UCB_NEW(&kept, double, N *N), *values = UCB_NEW(&kept, double, N),
           *vectors = UCB_NEW(&kept, double, N *N), sum = 0, trace = 0;
    CHECK_OK(
        ucb_dense_multiply(ucb_dense_turned(x), x, UCB_DENSE_SET, a, NULL, &scratch, &err),
        err);
    for (size_t i = 0; i < N; i++) trace += a[i * N + i];
    CHECK_OK(ucb_dense_eigen(a, N, N, values, vectors, NULL, &scratch, &err), err);
    for (size_t i = 0; i < N; i++) {
        sum += values[i];
        CHECK(i < ROWS ? values[i] > 0.1 : fabs(values[i]) < 1e-11);
    }
    CHECK_NEAR(sum, trace, 1e-9);
    ucb_arena_reset(&kept);
    ucb_arena_free(&scratch);
}

TEST(eigenvalues_of_three_by_three_are_known)
{
    double a[] = {2, 0, 0, -1, 2, 0, 0, -1, 2}, values[3], vectors[9];
    CHECK_OK(ucb_dense_eigen(a, 3, 3, values, vectors, NULL, &scratch, &err), err);
    CHECK_NEAR(values[0], 2 + sqrt(2), 1e-14);
    CHECK_NEAR(values[1], 2, 1e-14);
    CHECK_NEAR(values[2], 2 - sqrt(2), 1e-14);
    CHECK_NEAR(fabs(vectors[1]), sqrt(0.5), 1e-14);
}

TEST(a_matrix_with_a_nan_has_no_eigenvectors_and_no_memory_says_so)
{
    double a[9] = {1, 0, 0, 0, 1, 0, NAN, 0, 1}, values[3], vectors[9];
    CHECK_STATUS(ucb_dense_eigen(a, 3, 3, values, vectors, NULL, &scratch, &err),
                 UCB_UNSUPPORTED, err);
    for (long n = 1; n <= 6; n++) { /* six pieces of memory */
        ucb_arena_free(&scratch);
        ucb_mem_fail_after(n);
        ucb_status status = ucb_dense_eigen(a, 3, 3, values, vectors, NULL, &scratch, &err);
        ucb_mem_fail_after(0);
        CHECK_STATUS(status, UCB_NOMEM, err);
    }
    ucb_arena_free(&scratch);
}

/* By a pool of 1 and of 5: the same bits. */
static void check_threads(size_t n)
{
    double *a = random_symmetric(n), *found[2];
    for (unsigned i = 0; i < 2; i++) {
        struct ucb_pool *pool;
        double *work = UCB_NEW(&kept, double, n *n), *values = UCB_NEW(&kept, double, n);
        found[i] = UCB_NEW(&kept, double, n *n);
        CHECK_OK(ucb_pool_open(1 + 4 * i, &pool, &err), err);
        memcpy(work, a, n * n * sizeof(*work));
        CHECK_OK(ucb_dense_eigen(work, n, 3, values, found[i], pool, &scratch, &err), err);
        memcpy(found[i] + 3 * n, random_values(70 * n, "rows"), 70 * n * sizeof(double));
        CHECK_EQ(ucb_dense_orthonormalise(found[i], n, 3, 40, pool), 40);
        CHECK_EQ(ucb_dense_orthonormalise(found[i], n, 43, 30, pool), 30);
        for (size_t k = 0; k < n; k++) a[k * n + k] += 2 * sqrt((double)n);
        ucb_dense_solve_rows(a, n, found[i], 73, pool);
        for (size_t k = 0; k < n; k++) a[k * n + k] -= 2 * sqrt((double)n);
        ucb_pool_close(pool);
        ucb_arena_free(&scratch);
    }
    CHECK(memcmp(found[0], found[1], 73 * n * sizeof(double)) == 0);
    ucb_arena_free(&kept);
}

TEST(eigenvectors_and_orthonormal_rows_are_the_same_for_any_thread_count)
{
    check_threads(90);
    check_threads(600);
}

TEST(orthonormal_rows_span_what_the_rows_spanned)
{
    enum { ROWS = 12, N = 77 };
    double *x = random_values(ROWS * N, "span"), q[ROWS * N], left[N];
    memcpy(q, x, sizeof(q));
    CHECK_EQ(ucb_dense_orthonormalise(q, N, 0, 5, NULL), 5);
    CHECK_EQ(ucb_dense_orthonormalise(q, N, 5, 7, NULL), 7);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < ROWS; j++)
            CHECK_NEAR(inner(q + i * N, q + j * N, N), i == j, 1e-15 * N);
        memcpy(left, x + i * N, sizeof(left));
        for (size_t j = 0; j <= i; j++) {
            double c = inner(left, q + j * N, N);
            for (size_t k = 0; k < N; k++) left[k] -= c * q[j * N + k];
        }
        CHECK(sqrt(inner(left, left, N)) < 1e-13);
    }
}

TEST(rows_that_depend_on_others_become_zeros)
{
    enum { ROWS = 9, N = 50 };
    double *q = random_values(ROWS * N, "depend");
    for (size_t k = 0; k < N; k++) {
        q[3 * N + k] = q[k] + 1e-9 * q[8 * N + k]; /* nearly: kept, and orthogonal */
        q[4 * N + k] = 2 * q[1 * N + k] - q[2 * N + k];
        q[5 * N + k] = 0;
        q[7 * N + k] = 1e-150 * q[6 * N + k];
    }
    CHECK_EQ(ucb_dense_orthonormalise(q, N, 0, 2, NULL), 2);
    CHECK_EQ(ucb_dense_orthonormalise(q, N, 2, 7, NULL), 4);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < ROWS; j++) {
            bool is_zero = i == 4 || i == 5 || i == 7;
            CHECK_NEAR(inner(q + i * N, q + j * N, N), i == j && !is_zero, 1e-13);
        }
}

TEST(rows_times_the_inverse_of_a_triangle_times_the_triangle_are_the_rows)
{
    enum { ROWS = 11, N = 61 };
    double *l = random_values(N * N, "triangle"), *x = random_values(ROWS * N, "right");
    double y[ROWS * N];
    for (size_t i = 0; i < N; i++) {
        l[i * N + i] = 8 + l[i * N + i];
        for (size_t j = i + 1; j < N; j++) l[i * N + j] = NAN;
    }
    memcpy(y, x, sizeof(y));
    ucb_dense_solve_rows(l, N, y, ROWS, NULL);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t j = 0; j < N; j++) {
            double sum = 0;
            for (size_t i = j; i < N; i++) sum += y[r * N + i] * l[i * N + j];
            CHECK_NEAR(sum, x[r * N + j], 1e-13);
        }
    ucb_arena_free(&kept);
}
