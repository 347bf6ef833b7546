/* Statistics of an input against plain loops, to the last bit. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/pcg.h"
#include "eval/collector_internal.h"

enum {
    ALL = UCB_NEEDS_DIAG | UCB_NEEDS_ABS | UCB_NEEDS_H | UCB_NEEDS_SAMPLE,
    N_SAMPLE = 7
};

/* Values of widely different sizes, some of them zero, from a named stream. */
static float *make_rows(size_t n_rows, uint32_t n_in)
{
    struct ucb_pcg r;
    float *x = malloc(n_rows * n_in * sizeof(*x));
    CHECK(x != NULL);
    ucb_pcg_named(&r, 5, "collector rows");
    for (size_t i = 0; i < n_rows * n_in; i++) {
        float u = ucb_pcg_unit(&r) - 0.5f;
        x[i] = ucb_pcg_below(&r, 9) == 0 ? 0.0f
                                         : ldexpf(u, (int)ucb_pcg_below(&r, 40) - 20);
    }
    return x;
}

/* How the rows come in. */
struct feed {
    enum ucb_kernel kernel;
    struct ucb_pool *pool;
    size_t step;
};

static struct ucb_collector *collect(const struct feed *feed, uint32_t needs,
                                     const float *x, size_t n_rows, uint32_t n_in,
                                     struct ucb_calib *out)
{
    struct ucb_collector *c;
    struct ucb_err err = {0};
    CHECK_OK(ucb_collector_open_path(feed->kernel, needs, n_in, n_rows, 3, N_SAMPLE,
                                     feed->pool, &c, &err),
             err);
    for (size_t row = 0; row < n_rows; row += feed->step)
        ucb_collector_add(c, x + row * n_in,
                          n_rows - row < feed->step ? n_rows - row : feed->step);
    ucb_collector_finish(c, out);
    return c;
}

static void check_sums(const struct ucb_calib *found, const float *x, size_t n_rows,
                       uint32_t n_in)
{
    for (uint32_t j = 0; j < n_in; j++) {
        double sq = 0, size = 0, peak = 0;
        for (size_t row = 0; row < n_rows; row++) {
            double v = (double)x[row * n_in + j];
            sq += v * v;
            size += fabs(v);
            peak = fmax(peak, fabs(v));
        }
        CHECK(found->sq_mean[j] == sq / (double)n_rows);
        CHECK(found->abs_mean[j] == size / (double)n_rows);
        CHECK(found->abs_max[j] == peak);
    }
}

static void check_moment(const double *found, const float *x, size_t n_rows, uint32_t n_in)
{
    for (uint32_t i = 0; i < n_in; i++)
        for (uint32_t j = 0; j < n_in; j++) {
            double sum = 0;
            for (size_t row = 0; row < n_rows; row++)
                sum += (double)x[row * n_in + i] * (double)x[row * n_in + j];
            CHECK(found[(size_t)i * n_in + j] == sum / (double)n_rows);
        }
}

static void check_shape(size_t n_rows, uint32_t n_in)
{
    float *x = make_rows(n_rows, n_in);
    struct ucb_calib found;
    struct ucb_collector *c = collect(&(struct feed){UCB_KERNEL_AUTO, NULL, n_rows}, ALL, x,
                                      n_rows, n_in, &found);
    CHECK_EQ(found.n_tokens, n_rows);
    CHECK_EQ(found.n_sequences, 3);
    check_sums(&found, x, n_rows, n_in);
    check_moment(found.second_moment, x, n_rows, n_in);
    ucb_collector_close(c);
    free(x);
}

/* Around the panel (24), the square of panels (96), the band of the mirror (64) and the
 * buffer (512 rows). */
TEST(collected_sums_equal_a_plain_loop_to_the_bit)
{
    static const uint32_t widths[] = {1, 23, 24, 25, 48, 63, 64, 65, 95, 96, 97, 130, 200};
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
        check_shape(33, widths[i]);
    check_shape(1, 30);
    check_shape(511, 26);
    check_shape(512, 26);
    check_shape(513, 26);
    check_shape(1100, 98);
}

static bool same_calib(const struct ucb_calib *a, const struct ucb_calib *b, uint32_t n_in)
{
    size_t n = n_in * sizeof(double);
    return memcmp(a->sq_mean, b->sq_mean, n) == 0 &&
           memcmp(a->abs_mean, b->abs_mean, n) == 0 &&
           memcmp(a->abs_max, b->abs_max, n) == 0 &&
           memcmp(a->second_moment, b->second_moment, n * n_in) == 0 &&
           a->n_sample == b->n_sample &&
           memcmp(a->sample, b->sample, a->n_sample * n_in * sizeof(float)) == 0;
}

TEST(collected_bits_depend_on_no_path_thread_or_batch)
{
    enum { ROWS = 1111, IN = 115 };
    static const size_t steps[] = {1, 3, 64, 512, 600, ROWS};
    float *x = make_rows(ROWS, IN);
    struct ucb_pool *pool;
    struct ucb_err err;
    struct ucb_calib expected, found;
    CHECK_OK(ucb_pool_open(7, &pool, &err), err);
    struct ucb_collector *c = collect(&(struct feed){UCB_KERNEL_SCALAR, NULL, ROWS}, ALL, x,
                                      ROWS, IN, &expected);
    for (int k = UCB_KERNEL_SCALAR; k <= UCB_KERNEL_AVX512; k++)
        for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
            struct feed feed = {(enum ucb_kernel)k, s % 2 ? pool : NULL, steps[s]};
            if (!ucb_kernel_available(feed.kernel, UCB_ARITH_FP32, NULL)) continue;
            struct ucb_collector *other = collect(&feed, ALL, x, ROWS, IN, &found);
            CHECK(same_calib(&expected, &found, IN));
            ucb_collector_close(other);
        }
    ucb_collector_close(c);
    ucb_pool_close(pool);
    free(x);
}

TEST(the_sample_of_s_tokens_holds_token_i_n_over_s)
{
    enum { IN = 5 };
    static const size_t totals[] = {1, 6, 7, 8, 14, 100, 1000};
    for (size_t t = 0; t < sizeof(totals) / sizeof(totals[0]); t++) {
        size_t n = totals[t], kept = n < N_SAMPLE ? n : N_SAMPLE;
        float *x = make_rows(n, IN);
        struct ucb_calib found;
        struct ucb_collector *c = collect(&(struct feed){UCB_KERNEL_AUTO, NULL, 3},
                                          UCB_NEEDS_SAMPLE, x, n, IN, &found);
        CHECK_EQ(found.n_sample, kept);
        for (size_t i = 0; i < kept; i++)
            CHECK(memcmp(found.sample + i * IN, x + i * n / kept * IN, IN * sizeof(*x)) ==
                  0);
        ucb_collector_close(c);
        free(x);
    }
}

TEST(statistics_not_asked_for_are_null)
{
    static const uint32_t needs[] = {UCB_NEEDS_NONE, UCB_NEEDS_DIAG, UCB_NEEDS_ABS,
                                     UCB_NEEDS_H, UCB_NEEDS_SAMPLE};
    const float x[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        struct ucb_calib found;
        struct ucb_collector *c = collect(&(struct feed){UCB_KERNEL_AUTO, NULL, 2},
                                          needs[i], x, 2, 2, &found);
        CHECK((found.sq_mean != NULL) == (needs[i] == UCB_NEEDS_DIAG));
        CHECK((found.abs_mean != NULL) == (needs[i] == UCB_NEEDS_ABS));
        CHECK((found.abs_max != NULL) == (needs[i] == UCB_NEEDS_ABS));
        CHECK((found.second_moment != NULL) == (needs[i] == UCB_NEEDS_H));
        CHECK((found.sample != NULL) == (needs[i] == UCB_NEEDS_SAMPLE));
        ucb_collector_close(c);
    }
}

TEST(an_input_that_no_token_reached_has_means_of_zero)
{
    struct ucb_collector *c;
    struct ucb_calib found;
    struct ucb_err err;
    CHECK_OK(ucb_collector_open(ALL, 3, 100, 2, N_SAMPLE, NULL, &c, &err), err);
    ucb_collector_finish(c, &found);
    CHECK_EQ(found.n_tokens, 0);
    CHECK_EQ(found.n_sample, 0);
    for (int j = 0; j < 3; j++) CHECK(found.sq_mean[j] == 0 && found.abs_mean[j] == 0);
    for (int j = 0; j < 9; j++) CHECK(found.second_moment[j] == 0);
    ucb_collector_close(c);
}

TEST(every_refused_allocation_of_a_collector_is_reported)
{
    for (long n = 1;; n++) {
        struct ucb_collector *c = NULL;
        struct ucb_err err = {0};
        ucb_mem_fail_after(n);
        ucb_status status = ucb_collector_open(ALL, 40, 100, 2, N_SAMPLE, NULL, &c, &err);
        ucb_mem_fail_after(0);
        if (status == UCB_OK) {
            CHECK_EQ(n, 8); /* itself, three sums, moment, buffer, sample */
            ucb_collector_close(c);
            return;
        }
        CHECK_EQ(status, UCB_NOMEM);
        CHECK_HAS(err.text, "no memory");
        CHECK(c == NULL);
    }
}

TEST(an_input_too_wide_for_memory_is_refused)
{
    struct ucb_collector *c = NULL;
    struct ucb_err err;
    CHECK_STATUS(ucb_collector_open(UCB_NEEDS_H, UINT32_MAX, 1, 1, 0, NULL, &c, &err),
                 UCB_NOMEM, err);
    CHECK_HAS(err.text, "4294967295");
}
