/* What may be said of a difference: Tango's interval by exact enumeration, equivalence,
 * power, families, frontiers. Vectors of other libraries: tests/golden/stats. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "stats/equivalence.h"
#include "stats/multiple.h"
#include "stats/pareto.h"
#include "stats/power.h"

static struct ucb_estimate tango(uint64_t both, uint64_t lost, uint64_t won,
                                 uint64_t neither, double confidence)
{
    struct ucb_paired_counts counts = {both, lost, won, neither};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_tango(&counts, confidence, &e, &err), err);
    return e;
}

TEST(tango_ends_are_where_the_score_test_just_accepts)
{
    enum { N = 12 };
    double z = 1.959963984540054;
    for (uint64_t lost = 0; lost <= N; lost++)
        for (uint64_t won = 0; lost + won <= N; won++) {
            struct ucb_paired_counts counts = {N - lost - won, lost, won, 0};
            struct ucb_estimate e = tango(counts.both, lost, won, 0, 0.95);
            CHECK(-1 <= e.low && e.low <= e.value && e.value <= e.high && e.high <= 1);
            CHECK(e.high - e.low > 0.1); /* 12 items prove little, also without a flip */
            if (e.low > -1) CHECK_NEAR(ucb_tango_score(&counts, e.low), z, 1e-9);
            if (e.high < 1) CHECK_NEAR(ucb_tango_score(&counts, e.high), -z, 1e-9);
        }
}

TEST(tango_without_a_flip_has_the_closed_form)
{
    /* All weight on d > 0: z^2 = n d / (1 - d). */
    struct ucb_estimate e = tango(40, 0, 0, 60, 0.95);
    double z2 = 1.959963984540054 * 1.959963984540054;
    CHECK_NEAR(e.high, z2 / (100 + z2), 1e-14);
    CHECK_NEAR(e.low, -z2 / (100 + z2), 1e-14);
    CHECK(e.value == 0);
    CHECK(tango(0, 5, 0, 0, 0.95).low == -1);
    CHECK(tango(0, 0, 5, 0, 0.95).high == 1);
}

TEST(exchanging_the_cells_mirrors_the_interval)
{
    struct ucb_estimate e = tango(30, 7, 2, 11, 0.95), m = tango(30, 2, 7, 11, 0.95);
    CHECK_NEAR(e.low, -m.high, 1e-15);
    CHECK_NEAR(e.high, -m.low, 1e-15);
}

/* The probability, over all outcomes of n pairs, that the interval holds the truth. */
static double tango_coverage(unsigned n, double p_lost, double p_won)
{
    double covered = 0;
    for (unsigned lost = 0; lost <= n; lost++)
        for (unsigned won = 0; lost + won <= n; won++) {
            struct ucb_estimate e = tango(n - lost - won, lost, won, 0, 0.95);
            if (e.low > p_won - p_lost || e.high < p_won - p_lost) continue;
            double chance = lgamma(n + 1.0) - lgamma(lost + 1.0) - lgamma(won + 1.0) -
                            lgamma(n - lost - won + 1.0) + lost * log(p_lost) +
                            won * log(p_won) + (n - lost - won) * log(1 - p_lost - p_won);
            covered += exp(chance);
        }
    return covered;
}

TEST(tango_covers_what_it_says_by_exact_enumeration)
{
    static const double rates[] = {0.02, 0.05, 0.1, 0.2, 0.3};
    double sum = 0;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            double coverage = tango_coverage(30, rates[i], rates[j]);
            CHECK(coverage >
                  0.925); /* a discrete sample dips; Wald's goes below 0.8 here */
            sum += coverage;
        }
    CHECK_NEAR(sum / 25, 0.95, 0.02);
}

TEST(mcnemar_is_the_sum_over_all_orders_of_the_flips)
{
    for (unsigned n = 1; n <= 10; n++)
        for (unsigned lost = 0; lost <= n; lost++) {
            unsigned as_many = 0, as_far = 0;
            for (unsigned order = 0; order < 1u << n; order++) {
                unsigned x = (unsigned)__builtin_popcount(order);
                as_many += x >= lost;
                as_far += abs((int)(2 * x - n)) >= abs((int)(2 * lost - n));
            }
            struct ucb_mcnemar test = ucb_mcnemar_test(lost, n - lost);
            CHECK_NEAR(test.worse_p, as_many / (double)(1u << n), 1e-14);
            CHECK_NEAR(test.p, as_far / (double)(1u << n), 1e-14);
        }
}

/* ---- equivalence ---- */

static enum ucb_verdict judge(double low, double low90, double value, double high90,
                              double high, double sign)
{
    struct ucb_evidence e = {.wide = {value, low, high},
                             .narrow = {value, low90, high90},
                             .no_change = 1,
                             .band = {0.995, 1.005},
                             .worse_sign = sign};
    return ucb_judge(&e);
}

TEST(verdicts_follow_the_intervals_and_the_band)
{
    CHECK_EQ(judge(0.994, 0.9951, 1, 1.0049, 1.006, 1), UCB_VERDICT_EQUIVALENT);
    /* Inside the band and not equal to no change: equivalent all the same. */
    CHECK_EQ(judge(1.001, 1.0012, 1.002, 1.0028, 1.003, 1), UCB_VERDICT_EQUIVALENT);
    CHECK_EQ(judge(1.01, 1.011, 1.02, 1.029, 1.03, 1), UCB_VERDICT_WORSE);
    CHECK_EQ(judge(1.01, 1.011, 1.02, 1.029, 1.03, -1), UCB_VERDICT_BETTER);
    CHECK_EQ(judge(0.97, 0.971, 0.98, 0.989, 0.99, 1), UCB_VERDICT_BETTER);
    /* A change that is sure but smaller than the band, and not surely inside it. */
    CHECK_EQ(judge(1.001, 1.002, 1.004, 1.006, 1.007, 1), UCB_VERDICT_INCONCLUSIVE);
    CHECK_EQ(judge(0.9, 0.92, 1.02, 1.13, 1.15, 1), UCB_VERDICT_INCONCLUSIVE);
    CHECK_EQ(judge(NAN, NAN, 1.5, NAN, NAN, 1), UCB_VERDICT_INCONCLUSIVE);
    /* On the edge is not inside. */
    CHECK_EQ(judge(0.99, 0.995, 1, 1.004, 1.01, 1), UCB_VERDICT_INCONCLUSIVE);
}

TEST(a_pair_is_worse_when_one_quantity_is_and_equivalent_only_when_all_are)
{
    enum ucb_verdict e = UCB_VERDICT_EQUIVALENT, w = UCB_VERDICT_WORSE,
                     b = UCB_VERDICT_BETTER, i = UCB_VERDICT_INCONCLUSIVE;
    CHECK_EQ(ucb_judge_all((enum ucb_verdict[]){e, e, e}, 3), e);
    CHECK_EQ(ucb_judge_all((enum ucb_verdict[]){e, i, e}, 3), i);
    CHECK_EQ(ucb_judge_all((enum ucb_verdict[]){e, i, w}, 3), w);
    CHECK_EQ(ucb_judge_all((enum ucb_verdict[]){b, i, e}, 3), b);
    CHECK_EQ(ucb_judge_all((enum ucb_verdict[]){b, w, e}, 3), i);
}

TEST(the_test_of_equivalence_rejects_exactly_when_the_interval_lies_inside)
{
    struct ucb_cluster_fit fit = {0.002, 0.0015, 19};
    struct ucb_estimate e = ucb_cluster_interval(&fit, UCB_TOST_CONFIDENCE);
    CHECK_NEAR(ucb_tost_cluster(&fit, (struct ucb_band){-1, e.high}), 0.05, 1e-12);
    CHECK_NEAR(ucb_tost_cluster(&fit, (struct ucb_band){e.low, 1}), 0.05, 1e-12);
    CHECK_NEAR(ucb_tost_cluster(&fit, (struct ucb_band){e.low, INFINITY}), 0.05, 1e-12);
    fit.error = 0;
    CHECK(ucb_tost_cluster(&fit, (struct ucb_band){-0.01, 0.01}) == 0);
    CHECK(ucb_tost_cluster(&fit, (struct ucb_band){-0.01, 0.001}) == 1);
    fit.error = NAN;
    CHECK(isnan(ucb_tost_cluster(&fit, (struct ucb_band){-0.01, 0.01})));

    struct ucb_paired_counts counts = {4000, 12, 9, 1132};
    struct ucb_estimate t;
    struct ucb_err err;
    CHECK_OK(ucb_tango(&counts, UCB_TOST_CONFIDENCE, &t, &err), err);
    CHECK_NEAR(ucb_tost_paired(&counts, (struct ucb_band){t.low, 1}), 0.05, 1e-9);
    CHECK_NEAR(ucb_tost_paired(&counts, (struct ucb_band){-1, t.high}), 0.05, 1e-9);
}

/* ---- power ---- */

TEST(five_hundred_passages_with_five_percent_flips_show_2_8_points)
{
    struct ucb_power power = {0.95, 0.8, false};
    CHECK_NEAR(ucb_mde(&power, sqrt(0.05), 500), 0.028, 0.00005);
    double n = ucb_n_to_find(&power, sqrt(0.05), 0.0067);
    CHECK_EQ(n, 8743); /* what a claimed -0.67 points needs: 2.80159^2 0.05 / 0.0067^2 */
    CHECK(ucb_mde(&power, sqrt(0.05), n) <= 0.0067);
    CHECK(ucb_mde(&power, sqrt(0.05), n - 1) > 0.0067);
    CHECK(isinf(ucb_n_to_find(&power, 1, 0)));
    /* (1.64485 + 1.28155)^2 / 0.1^2 */
    CHECK_EQ(ucb_n_to_equate(&power, 1, 0.1), 857);
}

TEST(an_estimated_scatter_needs_more_documents)
{
    struct ucb_power power = {0.95, 0.8, true};
    double n = ucb_n_to_find(&power, 1, 1);
    CHECK(ucb_mde(&power, 1, n) <= 1);
    CHECK(ucb_mde(&power, 1, n - 1) > 1);
    CHECK(isinf(ucb_mde(&power, 1, 1)));
    CHECK(ucb_n_to_find(&power, 0, 1) == 2);
}

/* ---- families and frontiers ---- */

TEST(adjusted_p_values_keep_their_order_and_refuse_what_is_none)
{
    double p[] = {0.5, 0.01, NAN}, out[3];
    size_t order[3];
    struct ucb_err err;
    CHECK_STATUS(ucb_holm(p, 3, order, out, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_benjamini_hochberg(p, 3, order, out, &err), UCB_USAGE, err);
    CHECK_OK(ucb_holm(p, 2, order, p, &err), err); /* in place */
    CHECK_NEAR(p[0], 0.5, 0);
    CHECK_NEAR(p[1], 0.02, 0);
    CHECK_OK(ucb_benjamini_hochberg(p, 0, order, out, &err), err);
}

TEST(membership_is_the_share_of_resamples_on_the_frontier)
{
    /* Three sizes; in resample 1 the middle one is beaten by the smallest. The last costs
     * more than the first two together gain, but is best. A fourth is never defined. */
    double sizes[] = {2, 3, 4, 1},
           losses[] = {5, 5, 5, 5, 4, 6, 5, 4, 1, 1, 1, 4, NAN, NAN, NAN, NAN}, share[4];
    ucb_pareto_membership(sizes, losses, 4, 4, share);
    CHECK_NEAR(share[0], 1, 0);
    CHECK_NEAR(share[1], 0.5, 0);  /* resample 2: as good and larger is beaten */
    CHECK_NEAR(share[2], 0.75, 0); /* resample 3: ties with the smaller middle one */
    CHECK_NEAR(share[3], 0, 0);
}
