/* Rates and paired rates: against exact enumeration. Vectors: tests/golden/stats. */
#include "test.h"

#include <math.h>

#include "stats/distribution.h"
#include "stats/proportion.h"

/* Wilson's ends are where the score test just accepts: |x - n p| = z sqrt(n p (1 - p)). */
TEST(wilson_ends_solve_the_score_equation)
{
    double z = ucb_normal_quantile(0.975);
    for (uint64_t n = 1; n <= 60; n++) {
        for (uint64_t x = 0; x <= n; x++) {
            struct ucb_estimate e;
            struct ucb_err err;
            CHECK_OK(ucb_wilson(x, n, 0.95, &e, &err), err);
            CHECK(e.low <= e.value && e.value <= e.high && e.low >= 0 && e.high <= 1);
            double ends[] = {e.low, e.high};
            for (int k = 0; k < 2; k++) {
                double off = fabs((double)x - (double)n * ends[k]);
                bool pinned = ends[k] == (double)k &&
                              off == 0; /* 0 of n from below, n of n from above */
                if (!pinned)
                    CHECK_NEAR(off, z * sqrt((double)n * ends[k] * (1 - ends[k])), 1e-11);
            }
        }
    }
}

/* The probability, over all outcomes of n trials at rate p, that the interval holds p. */
static double wilson_coverage(unsigned n, double p)
{
    double covered = 0, weight = pow(1 - p, n);
    for (unsigned x = 0; x <= n; x++) {
        struct ucb_estimate e;
        if (ucb_wilson(x, n, 0.95, &e, NULL) == UCB_OK && e.low <= p && p <= e.high)
            covered += weight;
        weight *= (double)(n - x) / (x + 1) * p / (1 - p);
    }
    return covered;
}

TEST(wilson_covers_what_it_says_by_exact_enumeration)
{
    double sum = 0;
    for (unsigned k = 0; k < 99; k++) {
        double coverage = wilson_coverage(60, 0.01 * (k + 1));
        CHECK(coverage > 0.87); /* it dips near 0 and 1 (Brown, Cai and DasGupta 2001,
                                   figure 5), never far */
        sum += coverage;
    }
    CHECK_NEAR(sum / 99, 0.95, 0.005);
}

TEST(impossible_counts_are_refused)
{
    struct ucb_estimate e;
    struct ucb_err err;
    struct ucb_paired_counts none = {0, 0, 0, 0}, one = {1, 0, 0, 0};
    CHECK_STATUS(ucb_wilson(0, 0, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_wilson(2, 1, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_wilson(1, 2, 1, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_wilson(1, 2, 0, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_newcombe(&none, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_OK(ucb_newcombe(&one, 0.95, &e, &err), err);
}

TEST(newcombe_gives_the_ends_of_its_published_example)
{
    /* 36 right twice, 12 lost, 2 won: Newcombe 1998,
     * 0.0569 to 0.3404 for before - after. */
    struct ucb_paired_counts counts = {36, 12, 2, 0};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_newcombe(&counts, 0.95, &e, &err), err);
    CHECK_NEAR(e.value, -0.2, 1e-15);
    CHECK_NEAR(e.low, -0.3404, 5e-5);
    CHECK_NEAR(e.high, -0.0569, 5e-5);
}

TEST(newcombe_mirrors_when_before_and_after_are_exchanged)
{
    for (uint64_t lost = 0; lost < 6; lost++) {
        for (uint64_t won = 0; won < 6; won++) {
            struct ucb_paired_counts there = {7, lost, won, 4}, back = {7, won, lost, 4};
            struct ucb_estimate a, b;
            struct ucb_err err;
            CHECK_OK(ucb_newcombe(&there, 0.95, &a, &err), err);
            CHECK_OK(ucb_newcombe(&back, 0.95, &b, &err), err);
            CHECK_NEAR(a.low, -b.high, 1e-15);
            CHECK(a.low <= a.value && a.value <= a.high);
        }
    }
}

/* Counts the outcomes of n fair coins one by one, for each split of n flips. */
TEST(mcnemar_counts_as_enumeration_does)
{
    for (unsigned n = 1; n <= 14; n++) {
        for (unsigned lost = 0; lost <= n; lost++) {
            unsigned fewer = lost < n - lost ? lost : n - lost, below = 0, at = 0,
                     worse = 0, all = 1u << n;
            for (unsigned coins = 0; coins < all; coins++) {
                unsigned heads = (unsigned)__builtin_popcount(coins);
                below += heads <= fewer;
                at += heads == fewer;
                worse += heads >= lost;
            }
            struct ucb_mcnemar test = ucb_mcnemar_test(lost, n - lost);
            CHECK_NEAR(test.p, fmin(1, 2.0 * below / all), 1e-15);
            CHECK_NEAR(test.mid_p, fmin(1, (2.0 * below - at) / all), 1e-15);
            CHECK_NEAR(test.worse_p, (double)worse / all, 1e-15);
            CHECK_NEAR(test.worse_mid, (worse - at / 2.0) / all, 1e-15);
        }
    }
}

TEST(mcnemar_without_flips_proves_nothing)
{
    struct ucb_mcnemar test = ucb_mcnemar_test(0, 0);
    CHECK(test.p == 1 && test.mid_p == 1 && test.worse_p == 1 && test.worse_mid == 1);
}

TEST(mcnemar_survives_counts_whose_powers_of_two_underflow)
{
    struct ucb_mcnemar test = ucb_mcnemar_test(5153, 0),
                       even = ucb_mcnemar_test(50000, 50000);
    CHECK(test.p >= 0 && test.p < 1e-300 && test.worse_p < 1e-300);
    CHECK(even.p == 1);
    CHECK_NEAR(even.worse_p, 0.5 + 0.5 * 0.0025231262141967,
               1e-9); /* half the middle term: 1 / sqrt(pi n / 2) / 2 */
}
