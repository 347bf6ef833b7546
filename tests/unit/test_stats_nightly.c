/* The nightly statistics: evidence that may be looked at every night, and change points. */
#include "test.h"

#include <math.h>

#include "core/pcg.h"
#include "stats/changepoint.h"
#include "stats/eprocess.h"

TEST(the_wealth_is_the_product_of_its_bets)
{
    struct ucb_eprocess e = {0};
    ucb_eprocess_feed(&e, 3, 1, 0.5);
    CHECK_NEAR(exp(e.log_e), 1.5 * 1.5 * 1.5 * 0.5, 1e-14);
    ucb_eprocess_feed(&e, 0, 2, 0.5);
    CHECK_NEAR(exp(e.log_e), 1.5 * 1.5 * 1.5 * 0.125, 1e-14);
    CHECK_EQ(e.n_flips, 6);
    CHECK(!ucb_eprocess_alarm(&e, 0.05));
}

TEST(the_alarm_sounds_at_one_over_alpha)
{
    struct ucb_eprocess e = {0};
    ucb_eprocess_feed(&e, 16, 0, 0.2); /* 1.2^16 = 18.5 */
    CHECK(!ucb_eprocess_alarm(&e, 0.05));
    ucb_eprocess_feed(&e, 1, 0, 0.2); /* 22.2 */
    CHECK(ucb_eprocess_alarm(&e, 0.05));
}

TEST(a_year_of_nights_without_a_change_alarms_at_most_as_often_as_alpha)
{
    enum { YEARS = 400, NIGHTS = 365, FLIPS = 6 };
    unsigned n_alarms = 0;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "null nights");
    for (int year = 0; year < YEARS; year++) {
        struct ucb_eprocess e = {0};
        bool alarmed = false;
        for (int night = 0; night < NIGHTS; night++) {
            uint64_t lost = 0;
            for (int k = 0; k < FLIPS; k++) lost += ucb_pcg_next(&r) >> 31;
            ucb_eprocess_feed(&e, lost, FLIPS - lost, UCB_EPROCESS_BET);
            alarmed |= ucb_eprocess_alarm(&e, 0.05);
        }
        n_alarms += alarmed;
    }
    /* Ville's bound is 20 of 400; the seed is fixed, so is the outcome. */
    CHECK(n_alarms <= YEARS / 20);
    CHECK(n_alarms > 0);
}

TEST(a_steady_loss_is_found_within_weeks)
{
    struct ucb_eprocess e = {0};
    struct ucb_pcg r;
    int night = 0;
    ucb_pcg_named(&r, 1, "bad nights");
    for (; night < 365 && !ucb_eprocess_alarm(&e, 0.05); night++) {
        uint64_t lost = 0;
        for (int k = 0; k < 6; k++) lost += ucb_pcg_below(&r, 10) < 7;
        ucb_eprocess_feed(&e, lost, 6 - lost, UCB_EPROCESS_BET);
    }
    CHECK(night < 40);
}

/* ---- change points ---- */

enum { N = 40 };
static double values[N], scratch[N];
static size_t points[N], n_points;

static void find(const struct ucb_change_options *options)
{
    struct ucb_pcg stream;
    struct ucb_err err;
    ucb_pcg_named(&stream, 1, "permutations");
    CHECK_OK(
        ucb_change_points(values, N, options, &stream, scratch, points, &n_points, &err),
        err);
}

/* 100 with 1% of noise, times `factor` in [from, N). */
static void make_series(double factor, size_t from)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "series");
    for (size_t i = 0; i < N; i++)
        values[i] = (99 + 2 * (double)ucb_pcg_unit(&r)) * (i >= from ? factor : 1);
}

TEST(a_level_that_jumps_is_cut_where_it_jumps)
{
    make_series(1.1, 23);
    find(&ucb_change_defaults);
    CHECK_EQ(n_points, 1);
    CHECK_EQ(points[0], 23);
}

TEST(two_jumps_are_two_cuts_in_order)
{
    make_series(1.1, 12);
    for (size_t i = 30; i < N; i++) values[i] *= 0.8;
    find(&ucb_change_defaults);
    CHECK_EQ(n_points, 2);
    CHECK_EQ(points[0], 12);
    CHECK_EQ(points[1], 30);
}

TEST(an_effect_below_the_smallest_wanted_is_joined_again)
{
    struct ucb_change_options finer = ucb_change_defaults;
    make_series(1.02, 20);
    find(&ucb_change_defaults);
    CHECK_EQ(n_points, 0);
    finer.min_effect = 0.01;
    find(&finer);
    CHECK_EQ(n_points, 1);
    CHECK_EQ(points[0], 20);
}

TEST(noise_and_a_constant_have_no_cut_and_no_segment_is_shorter_than_allowed)
{
    make_series(1, 0);
    find(&ucb_change_defaults);
    CHECK_EQ(n_points, 0);
    for (size_t i = 0; i < N; i++) values[i] = 7;
    find(&ucb_change_defaults);
    CHECK_EQ(n_points, 0);
    make_series(1, 0);
    values[N - 1] = values[N - 2] = 1000; /* two values are an accident, not a level */
    find(&ucb_change_defaults);
    for (size_t k = 0; k < n_points; k++) CHECK(points[k] <= N - 3);
}

TEST(a_series_with_a_hole_or_segments_of_one_is_refused)
{
    struct ucb_change_options tiny = ucb_change_defaults;
    struct ucb_pcg stream;
    struct ucb_err err;
    ucb_pcg_named(&stream, 1, "permutations");
    make_series(1, 0);
    tiny.min_segment = 1;
    CHECK_STATUS(
        ucb_change_points(values, N, &tiny, &stream, scratch, points, &n_points, &err),
        UCB_USAGE, err);
    values[5] = NAN;
    CHECK_STATUS(ucb_change_points(values, N, &ucb_change_defaults, &stream, scratch,
                                   points, &n_points, &err),
                 UCB_USAGE, err);
    CHECK_HAS(err.text, "value 5");
}
