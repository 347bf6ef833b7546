/* Compensated sums and quantiles. */
#include "test.h"

#include <math.h>

#include "core/pcg.h"
#include "stats/quantile.h"
#include "stats/sum.h"

TEST(a_sum_keeps_what_rounding_would_drop)
{
    const double values[] = {1, 1e100, 1, -1e100};
    CHECK_EQ(ucb_sum_of(values, 4), 2);
    struct ucb_sum tenth = {0};
    for (int i = 0; i < 1000000; i++) ucb_sum_add(&tenth, 0.1);
    CHECK(ucb_sum_value(&tenth) == 100000.0); /* a plain loop ends at 100000.00000133288 */
    CHECK(ucb_sum_of(NULL, 0) == 0);
}

TEST(a_sum_of_something_infinite_is_infinite)
{
    const double values[] = {1, INFINITY, 2}, opposed[] = {INFINITY, -INFINITY};
    CHECK(ucb_sum_of(values, 3) == INFINITY);
    CHECK(isnan(ucb_sum_of(opposed, 2)));
}

TEST(sorting_orders_every_length_and_keeps_every_value)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "sorting");
    for (size_t n = 0; n < 200; n++) {
        double values[200], before = 0, after = 0;
        for (size_t i = 0; i < n; i++)
            before += values[i] = (double)ucb_pcg_below(&r, (uint32_t)(n / 2 + 1));
        ucb_sort(values, n);
        for (size_t i = 0; i < n; i++) after += values[i];
        CHECK(before == after);
        for (size_t i = 1; i < n; i++) CHECK(values[i - 1] <= values[i]);
    }
}

TEST(a_quantile_interpolates_between_neighbours)
{
    const double values[] = {4, 1, 3, 2};
    double scratch[4], q;
    struct ucb_err err;
    CHECK_OK(ucb_quantile(values, 4, 0, scratch, &q, &err), err);
    CHECK(q == 1);
    CHECK_OK(ucb_quantile(values, 4, 1, scratch, &q, &err), err);
    CHECK(q == 4);
    CHECK_OK(ucb_quantile(values, 4, 0.5, scratch, &q, &err), err);
    CHECK(q == 2.5);
    CHECK_OK(ucb_quantile(values, 1, 0.3, scratch, &q, &err), err);
    CHECK(q == 4);
    CHECK(values[0] == 4 && values[3] == 2);
}

TEST(a_quantile_beside_an_infinity_is_not_nan)
{
    const double ascending[] = {-INFINITY, -INFINITY, 0, INFINITY, INFINITY};
    CHECK(ucb_quantile_sorted(ascending, 5, 0.1) == -INFINITY);
    CHECK(ucb_quantile_sorted(ascending, 5, 0.3) == -INFINITY);
    CHECK(ucb_quantile_sorted(ascending, 5, 0.6) == INFINITY);
    CHECK(ucb_quantile_sorted(ascending, 5, 0.5) == 0);
    CHECK(ucb_quantile_sorted(ascending, 5, 0.9) == INFINITY);
}

TEST(a_quantile_of_nothing_or_nan_is_refused)
{
    const double values[] = {1, NAN};
    double scratch[2], q = 7;
    struct ucb_err err;
    CHECK_STATUS(ucb_quantile(values, 0, 0.5, scratch, &q, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_quantile(values, 2, 0.5, scratch, &q, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_quantile(values, 1, -0.001, scratch, &q, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_quantile(values, 1, 1.001, scratch, &q, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_quantile(values, 1, NAN, scratch, &q, &err), UCB_USAGE, err);
    CHECK(q == 7);
}
