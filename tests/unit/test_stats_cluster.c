/* Document-clustered ratios: values worked out by hand. */
#include "test.h"

#include <math.h>

#include "stats/cluster.h"
#include "stats/distribution.h"

TEST(a_clustered_ratio_has_the_error_worked_out_by_hand)
{
    /* m = 12 / 6 = 2; u = 1, 0, -1; SE = sqrt(3/2 * 2) / 6 = sqrt(3) / 6; t(2) at 0.975
     * is 4.30265272974946 */
    const double totals[] = {3, 4, 5}, weights[] = {1, 2, 3};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_cluster_ratio(totals, weights, 3, 0.95, &e, &err), err);
    CHECK(e.value == 2);
    CHECK_NEAR(e.high - e.value, 4.30265272974946 * sqrt(3) / 6, 1e-13);
    CHECK_NEAR(e.value - e.low, e.high - e.value, 1e-15);
}

TEST(equal_documents_give_the_classical_t_interval)
{
    const double totals[] = {2, 4, 4, 6}, weights[] = {1, 1, 1, 1};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_cluster_ratio(totals, weights, 4, 0.9, &e, &err), err);
    CHECK_NEAR(e.high, 4 + ucb_student_quantile(0.95, 3) * sqrt(8.0 / 3) / 2, 1e-14);
}

TEST(nothing_that_differs_gives_a_ratio_of_one_to_the_bit)
{
    const double gaps[] = {0, 0, 0}, weights[] = {17, 3, 250};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_cluster_ratio(gaps, weights, 3, 0.95, &e, &err), err);
    e = ucb_estimate_exp(e);
    CHECK(e.value == 1 && e.low == 1 && e.high == 1);
}

TEST(one_document_or_an_infinite_total_has_no_interval)
{
    const double one[] = {3}, broken[] = {3, INFINITY}, weights[] = {2, 2};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_cluster_ratio(one, weights, 1, 0.95, &e, &err), err);
    CHECK(e.value == 1.5 && isnan(e.low) && isnan(e.high));
    CHECK_OK(ucb_cluster_ratio(broken, weights, 2, 0.95, &e, &err), err);
    CHECK(isinf(e.value) && isnan(e.low) && isnan(e.high));
}

TEST(weights_that_cannot_be_counts_are_refused)
{
    const double totals[] = {1, 1}, zero[] = {0, 0}, negative[] = {1, -1},
                 nan_weight[] = {1, NAN};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_STATUS(ucb_cluster_ratio(totals, zero, 2, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_cluster_ratio(totals, negative, 2, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_cluster_ratio(totals, nan_weight, 2, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_cluster_ratio(totals, zero, 0, 0.95, &e, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_cluster_ratio(totals, negative, 1, 1, &e, &err), UCB_USAGE, err);
}
