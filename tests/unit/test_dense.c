/* Products, Cholesky and triangular inverse: known answers, and to the bit what the
 * textbook loops give. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/pcg.h"

/* Both sides of every tile (6, 8), item (96, 256) and block (128, 256). */
static const size_t sizes[] = {1, 2, 5, 6, 7, 8, 9, 97, 127, 128, 129, 257, 300};
enum { N_SIZES = sizeof(sizes) / sizeof(*sizes), MOST = 300 };

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

static double *copy_of(const double *x, size_t n)
{
    double *copy = UCB_NEW(&kept, double, n);
    CHECK(copy != NULL);
    memcpy(copy, x, n * sizeof(*x));
    return copy;
}

/* Symmetric and positive definite: x^T x of n + 8 random rows. */
static double *random_moment(size_t n)
{
    size_t n_rows = n + 8;
    struct ucb_dense x = ucb_dense_of(random_values(n_rows * n, "moment"), n_rows, n);
    double *a = UCB_NEW(&kept, double, n *n);
    CHECK_OK(
        ucb_dense_multiply(ucb_dense_turned(x), x, UCB_DENSE_SET, a, NULL, &scratch, &err),
        err);
    return a;
}

static void plain_multiply(struct ucb_dense a, struct ucb_dense b, double sign, double *c)
{
    for (size_t i = 0; i < a.n_rows; i++)
        for (size_t j = 0; j < b.n_columns; j++)
            for (size_t k = 0; k < b.n_rows; k++)
                c[i * b.n_columns + j] += sign * (a.at[i * a.row_step + k * a.column_step] *
                                                  b.at[k * b.row_step + j * b.column_step]);
}

/* The first bad pivot, or n. */
static size_t plain_cholesky(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = j <= i ? a[i * n + j] : 0;
            for (size_t k = 0; k < j && j <= i; k++) sum -= a[i * n + k] * a[j * n + k];
            if (j == i && !(sum > 0)) return i;
            a[i * n + j] = j > i ? 0 : j == i ? sqrt(sum) : sum / a[j * n + j];
        }
    return n;
}

static void plain_invert(const double *l, size_t n, double *x)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = i == j;
            for (size_t k = 0; k < i && j <= i; k++) sum -= l[i * n + k] * x[k * n + j];
            x[i * n + j] = j <= i ? sum / l[i * n + i] : 0;
        }
}

static void each_size(void (*run)(size_t n, struct ucb_pool *pool))
{
    for (unsigned n_threads = 1; n_threads <= 7; n_threads += 3) {
        struct ucb_pool *pool;
        CHECK_OK(ucb_pool_open(n_threads, &pool, &err), err);
        for (size_t i = 0; i < N_SIZES; i++) {
            run(sizes[i], pool);
            ucb_arena_reset(&kept);
            ucb_arena_reset(&scratch);
        }
        ucb_pool_close(pool);
    }
    ucb_arena_free(&kept);
    ucb_arena_free(&scratch);
}

/* [n x 301 - n] times [301 - n x 7], either side turned or not, in every mode. */
static void check_multiply(size_t n, struct ucb_pool *pool)
{
    size_t n_k = MOST + 1 - n, n_c = n * 7;
    const double *x = random_values(n * n_k, "left"), *y = random_values(n_k * 7, "right");
    for (int turned = 0; turned < 4; turned++)
        for (int mode = UCB_DENSE_SET; mode <= UCB_DENSE_SUBTRACT; mode++) {
            struct ucb_dense a = turned & 1 ? ucb_dense_turned(ucb_dense_of(x, n_k, n))
                                            : ucb_dense_of(x, n, n_k);
            struct ucb_dense b = turned & 2 ? ucb_dense_turned(ucb_dense_of(y, 7, n_k))
                                            : ucb_dense_of(y, n_k, 7);
            double *found = random_values(n_c, "sum"), *expected = copy_of(found, n_c);
            if (mode == UCB_DENSE_SET) memset(expected, 0, n_c * sizeof(*expected));
            plain_multiply(a, b, mode == UCB_DENSE_SUBTRACT ? -1 : 1, expected);
            CHECK_OK(ucb_dense_multiply(a, b, (enum ucb_dense_mode)mode, found, pool,
                                        &scratch, &err),
                     err);
            CHECK(memcmp(found, expected, n_c * sizeof(*found)) == 0);
        }
}

TEST(a_product_of_doubles_is_the_plain_loops_to_the_bit)
{
    each_size(check_multiply);
}

static void check_cholesky(size_t n, struct ucb_pool *pool)
{
    double *found = random_moment(n), *expected = copy_of(found, n * n);
    size_t pivot = n;
    CHECK_EQ(plain_cholesky(expected, n), n);
    for (size_t i = 0; i < n; i++) /* what stands above the diagonal is not read */
        for (size_t j = i + 1; j < n; j++) found[i * n + j] = NAN;
    CHECK_OK(ucb_dense_cholesky(found, n, pool, &scratch, &pivot, &err), err);
    CHECK(memcmp(found, expected, n * n * sizeof(*found)) == 0);
}

TEST(a_cholesky_factor_is_the_plain_loops_to_the_bit)
{
    each_size(check_cholesky);
}

static void check_invert(size_t n, struct ucb_pool *pool)
{
    double *l = random_moment(n), *expected = UCB_NEW(&kept, double, n *n);
    CHECK_EQ(plain_cholesky(l, n), n);
    plain_invert(l, n, expected);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) l[i * n + j] = NAN;
    CHECK_OK(ucb_dense_invert_lower(l, n, pool, &scratch, &err), err);
    for (size_t i = 0; i < n * n; i++) CHECK(l[i] == expected[i]);
}

TEST(an_inverse_of_a_triangle_is_forward_substitution_to_the_bit)
{
    each_size(check_invert);
}

/* U^T U a = 1, U upper with a positive diagonal: there is only one such U. */
static void check_inverse_factor(size_t n, struct ucb_pool *pool)
{
    double *a = random_moment(n), *u = copy_of(a, n * n);
    double *inverse = UCB_NEW(&kept, double, n *n), *one = UCB_NEW(&kept, double, n *n);
    size_t pivot = n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) u[i * n + j] = NAN;
    CHECK_OK(ucb_dense_inverse_factor(u, n, pool, &scratch, &pivot, &err), err);
    struct ucb_dense upper = ucb_dense_of(u, n, n);
    CHECK_OK(ucb_dense_multiply(ucb_dense_turned(upper), upper, UCB_DENSE_SET, inverse,
                                pool, &scratch, &err),
             err);
    CHECK_OK(ucb_dense_multiply(ucb_dense_of(inverse, n, n), ucb_dense_of(a, n, n),
                                UCB_DENSE_SET, one, pool, &scratch, &err),
             err);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            CHECK(j >= i ? isfinite(u[i * n + j]) : u[i * n + j] == 0);
            CHECK(u[i * n + i] > 0);
            /* the condition number of these moments is below 1e6 */
            CHECK_NEAR(one[i * n + j], i == j, 1e-8);
            CHECK(memcmp(&inverse[i * n + j], &inverse[j * n + i], sizeof(double)) == 0);
        }
}

TEST(the_factor_of_an_inverse_is_upper_and_multiplies_to_the_inverse)
{
    each_size(check_inverse_factor);
}

TEST(a_factor_of_three_by_three_is_known)
{
    /* a = L L^T of L = 2 0 0 / 6 1 0 / -8 5 3 */
    const double a[] = {4, 12, -16, 12, 37, -43, -16, -43, 98};
    const double l[] = {2, 0, 0, 6, 1, 0, -8, 5, 3};
    /* and a^-1 = U^T U: a = R R^T with R upper, U = R^-1 */
    double found[9], u[9], r[9] = {0};
    size_t pivot;
    memcpy(found, a, sizeof(a));
    CHECK_OK(ucb_dense_cholesky(found, 3, NULL, &scratch, &pivot, &err), err);
    CHECK(memcmp(found, l, sizeof(l)) == 0);
    CHECK_OK(ucb_dense_invert_lower(found, 3, NULL, &scratch, &err), err);
    const double inverse[] = {.5, 0, 0, -3, 1, 0, 19.0 / 3, -5.0 / 3, 1.0 / 3};
    for (int i = 0; i < 9; i++) CHECK_NEAR(found[i], inverse[i], 1e-15);
    memcpy(u, a, sizeof(a));
    CHECK_OK(ucb_dense_inverse_factor(u, 3, NULL, &scratch, &pivot, &err), err);
    r[8] = sqrt(98);
    r[5] = -43 / r[8];
    r[2] = -16 / r[8];
    r[4] = sqrt(37 - r[5] * r[5]);
    r[1] = (12 - r[2] * r[5]) / r[4];
    r[0] = sqrt(4 - r[1] * r[1] - r[2] * r[2]);
    for (int i = 0; i < 3; i++) CHECK_NEAR(u[4 * i] * r[4 * i], 1, 1e-13);
    CHECK_NEAR(u[0] * r[1] + u[1] * r[4], 0, 1e-12);
    CHECK_NEAR(u[0] * r[2] + u[1] * r[5] + u[2] * r[8], 0, 1e-12);
    ucb_arena_free(&scratch);
}

TEST(a_matrix_that_is_not_positive_definite_is_refused_with_its_pivot)
{
    enum { N = 300 };
    for (size_t bad = 0; bad < N; bad += 149) {
        double *a = random_moment(N), *b = copy_of(a, N * N);
        size_t pivot = N;
        a[bad * N + bad] = -1;
        CHECK_STATUS(ucb_dense_cholesky(a, N, NULL, &scratch, &pivot, &err),
                     UCB_UNSUPPORTED, err);
        CHECK_EQ(pivot, bad);
        CHECK_HAS(err.text, ucb_test_path("pivot %zu of 300", bad));
        b[bad * N + bad] = NAN;
        CHECK_STATUS(ucb_dense_inverse_factor(b, N, NULL, &scratch, &pivot, &err),
                     UCB_UNSUPPORTED, err);
        CHECK_EQ(pivot, bad);
        ucb_arena_reset(&kept);
        ucb_arena_reset(&scratch);
    }
    ucb_arena_free(&kept);
    ucb_arena_free(&scratch);
}

TEST(a_factor_without_memory_says_so)
{
    double a[4] = {2, 1, 1, 2};
    size_t pivot;
    for (long n = 1; n <= 3; n++) {
        ucb_mem_fail_after(n);
        ucb_status status = ucb_dense_inverse_factor(a, 2, NULL, &scratch, &pivot, &err);
        ucb_mem_fail_after(0);
        CHECK_STATUS(status, UCB_NOMEM, err);
        CHECK_HAS(err.text, "no memory");
        ucb_arena_free(&scratch);
    }
}
