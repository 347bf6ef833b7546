/* The bootstrap: its edges. Values: tests/golden/stats. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "stats/bootstrap.h"

enum { N = 12, B = 500 };

static struct ucb_bootstrap_row rows[N];
static uint32_t counts[N];
static double first[UCB_BOOTSTRAP_RATIOS * B], second[UCB_BOOTSTRAP_RATIOS * B];

static void draw(double *replicates, uint64_t seed)
{
    struct ucb_pcg stream;
    ucb_pcg_named(&stream, seed, "bootstrap");
    ucb_bootstrap_draw(rows, N, B, &stream, counts, replicates);
}

TEST(ratios_drawn_together_share_their_documents)
{
    for (size_t i = 0; i < N; i++)
        rows[i] = (struct ucb_bootstrap_row){{(double)i, (double)i, 1, 2.0 * (double)i},
                                             {1, 1, 1, 1}};
    draw(first, 1);
    for (size_t b = 0; b < B; b++) {
        CHECK(first[b] == first[B + b]);
        CHECK(first[2 * B + b] == 1);
        CHECK(first[3 * B + b] == 2 * first[b]);
    }
}

TEST(a_stream_repeats_and_another_differs)
{
    for (size_t i = 0; i < N; i++)
        rows[i] = (struct ucb_bootstrap_row){{(double)(i * i)}, {1}};
    draw(first, 1);
    draw(second, 1);
    CHECK(memcmp(first, second, B * sizeof(double)) == 0);
    draw(second, 2);
    CHECK(memcmp(first, second, B * sizeof(double)) != 0);
}

TEST(documents_that_are_all_alike_give_a_point)
{
    for (size_t i = 0; i < N; i++) rows[i] = (struct ucb_bootstrap_row){{3}, {2}};
    draw(first, 1);
    CHECK(ucb_bootstrap_acceleration(rows, N, 0) == 0);
    struct ucb_estimate p = ucb_bootstrap_percentile(1.5, first, B, 0.95),
                        a = ucb_bootstrap_bca(1.5, 0, first, B, 0.95);
    CHECK(p.low == 1.5 && p.high == 1.5 && a.low == 1.5 && a.high == 1.5);
}

TEST(bca_without_bias_or_acceleration_is_the_percentile_interval)
{
    for (size_t b = 0; b < B; b++) first[b] = (double)b;
    struct ucb_estimate p = ucb_bootstrap_percentile(249.5, first, B, 0.95);
    struct ucb_estimate a = ucb_bootstrap_bca(249.5, 0, first, B, 0.95);
    CHECK_NEAR(p.low, 0.025 * 499, 1e-12);
    CHECK_NEAR(p.high, 0.975 * 499, 1e-12);
    CHECK_NEAR(a.low, p.low, 1e-10);
    CHECK_NEAR(a.high, p.high, 1e-10);
}

TEST(a_denominator_that_can_vanish_leaves_no_interval)
{
    for (size_t i = 0; i < N; i++)
        rows[i] = (struct ucb_bootstrap_row){{1}, {i == 0 ? 1 : 0}};
    draw(first, 1);
    CHECK(ucb_bootstrap_value(rows, N, 0) == N);
    CHECK(isnan(ucb_bootstrap_value(rows, N, 1)));
    CHECK(isnan(ucb_bootstrap_percentile(N, first, B, 0.95).low));
    CHECK(isnan(ucb_bootstrap_acceleration(rows, N, 0)));
    CHECK(isnan(ucb_bootstrap_bca(N, NAN, first, B, 0.95).low));
}

TEST(bca_is_silent_when_all_replicates_lie_on_one_side)
{
    for (size_t b = 0; b < B; b++) first[b] = (double)b;
    CHECK(isnan(ucb_bootstrap_bca(-1, 0, first, B, 0.95).low));
    CHECK(isnan(ucb_bootstrap_bca(B, 0, first, B, 0.95).high));
    CHECK(isnan(ucb_bootstrap_bca(250, 3, first, B, 0.95)
                    .low)); /* the acceleration passes infinity */
}
