/*
 * The gate on arrays: what trips it, what it corrects for, and a year of nights by chance.
 */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gate/gate.h"
#include "gate/gate_text.h"
#include "gate_year.h"

/* ---- a year under the null, and with something planted ---- */

TEST(a_year_without_a_regression_alarms_at_most_as_often_as_alpha)
{
    enum { YEARS = 8 };
    unsigned n_worse = 0, n_alarms = 0;
    for (unsigned seed = 0; seed < YEARS; seed++) {
        struct gate_year_judged y = gate_year_quality(
            &(struct gate_year_quality){seed, 300, 0.03, 0.03, 1, GATE_YEAR_NIGHTS});
        n_worse += y.n_worse;
        n_alarms += y.alarm_night >= 0;
    }
    /* alpha is 5%: 146 nights of 2,920. The seeds are fixed; make simulate draws more. */
    CHECK(n_worse <= YEARS * GATE_YEAR_NIGHTS / 20);
    CHECK_EQ(n_alarms, 0);
    CHECK(n_worse > 0); /* some night comes near: the test can fail */
}

TEST(a_third_of_a_point_lost_is_found_at_5153_passages_and_cannot_be_at_500)
{
    struct gate_year_quality plan = {1, 5153, 0.004, 0.001, GATE_YEAR_NIGHTS, 1};
    struct gate_year_judged y = gate_year_quality(&plan);
    CHECK_EQ(y.worse_night, 0);
    plan.n_items = 500;
    y = gate_year_quality(&plan);
    CHECK_EQ(y.worse_night, -1);
    CHECK(y.n_decides > 500 && isfinite(y.n_decides));
}

TEST(a_large_loss_is_also_found_by_the_evidence_of_several_nights)
{
    struct gate_year_judged y = gate_year_quality(
        &(struct gate_year_quality){1, 2000, 0.03, 0.003, GATE_YEAR_NIGHTS, 30});
    CHECK(y.alarm_night > 0 && y.alarm_night < 10);
}

TEST(a_year_of_steady_times_on_a_drifting_machine_never_alarms)
{
    struct gate_year_paced y = gate_year_times(
        &(struct gate_year_times){.seed = 1, .n_series = 1, .noise = 0.02, .slow_at = -1});
    CHECK_EQ(y.slower_night, -1);
}

TEST(a_slowdown_of_a_twentieth_is_found_within_days_and_confirmed)
{
    struct gate_year_paced y = gate_year_times(&(struct gate_year_times){
        .seed = 1, .n_series = 1, .noise = 0.01, .slow_at = 40, .slowdown = 0.05});
    CHECK(y.slower_night >= 42 && y.slower_night <= 46);
    CHECK(y.unconfirmed_night <= y.slower_night);
}

/* ---- cells made by hand ---- */

enum { N = 60 };
struct hand {
    struct ucb_sample samples[2][N];
    uint32_t document[N];
    float kld[2][N];
    struct ucb_stored_cell stored;
    struct ucb_run_cell side[2];
    struct ucb_gate_cell cell;
};
static struct hand hands[3];
static struct ucb_arena arena;

static struct hand *make(int at)
{
    struct hand *h = &hands[at];
    *h = (struct hand){0};
    for (uint32_t i = 0; i < N; i++) {
        h->document[i] = i;
        for (int k = 0; k < 2; k++) {
            h->kld[k][i] = 0.1f;
            h->samples[k][i] = (struct ucb_sample){.n_tokens = 1,
                                                   .sum_logp = -3,
                                                   .kld_sum = 0.1,
                                                   .ear_sum = 0.9,
                                                   .kld = &h->kld[k][i],
                                                   .target_correct = i < 30};
        }
    }
    h->stored = (struct ucb_stored_cell){.cell_id = at == 0   ? "aaaa"
                                                    : at == 1 ? "bbbb"
                                                              : "cc",
                                         .model = "m",
                                         .scope = "body",
                                         .spec = "nf4",
                                         .calib = "",
                                         .task = "lambada",
                                         .arithmetic = "fp32",
                                         .reference = "",
                                         .weights_digest = "",
                                         .n_items = N};
    for (int k = 0; k < 2; k++) h->side[k] = (struct ucb_run_cell){.cell = &h->stored};
    h->cell = (struct ucb_gate_cell){.side = {&h->side[0], &h->side[1]},
                                     .state = UCB_GATE_CHANGED,
                                     .samples = {{h->samples[0], h->document, N, NULL, N},
                                                 {h->samples[1], h->document, N, NULL, N}}};
    return h;
}

static size_t judge(struct ucb_gate_cell *cells, size_t n)
{
    struct ucb_err err;
    size_t n_family = 0;
    CHECK_OK(ucb_gate_judge(cells, n, &ucb_gate_rules_default, &arena, &n_family, &err),
             err);
    return n_family;
}

TEST(a_kld_that_grew_trips_the_gate_though_scores_and_answers_did_not)
{
    struct hand *h = make(0);
    ucb_arena_init(&arena);
    for (int i = 0; i < N; i++) {
        h->samples[1][i].kld_sum = 0.105 + 0.0001 * (i % 7);
        h->kld[1][i] = (float)h->samples[1][i].kld_sum;
    }
    CHECK_EQ(judge(&h->cell, 1), 1); /* untouched criteria are no tests */
    CHECK_EQ(h->cell.criteria[UCB_GATE_KLD].verdict, UCB_VERDICT_WORSE);
    CHECK_EQ(h->cell.verdict, UCB_VERDICT_WORSE);
    CHECK(ucb_gate_cell_is_regression(&h->cell));
    /* Within the band of 1% it is equivalent. */
    for (int i = 0; i < N; i++) h->samples[1][i].kld_sum = 0.1005 + 1e-5 * (i % 7);
    judge(&h->cell, 1);
    CHECK_EQ(h->cell.criteria[UCB_GATE_KLD].verdict, UCB_VERDICT_EQUIVALENT);
    ucb_arena_free(&arena);
}

TEST(a_loss_that_stands_alone_is_no_longer_one_among_many_tests)
{
    struct ucb_gate_cell cells[3];
    ucb_arena_init(&arena);
    /* 7 lost, 0 won: p = 1/128 alone; among three cells times 3 it is still below 5%,
     * 6 lost of 6 (p = 1/64) with an adjusted p of 0.047 is, 5 (1/32) is not. */
    static const int n_lost[] = {7, 6, 5};
    for (int k = 0; k < 3; k++) {
        struct hand *h = make(k);
        for (int i = 0; i < n_lost[k]; i++) h->samples[1][i].target_correct = 0;
        cells[k] = h->cell;
    }
    CHECK_EQ(judge(cells, 3), 3);
    CHECK_NEAR(cells[0].adjusted_p[UCB_GATE_ACCURACY], 3.0 / 128, 1e-12);
    CHECK_NEAR(cells[1].adjusted_p[UCB_GATE_ACCURACY], 2.0 / 64, 1e-12);
    CHECK_NEAR(cells[2].adjusted_p[UCB_GATE_ACCURACY], 1.0 / 32, 1e-12);
    /* Holm leaves the largest p alone, so all three stand; a stricter alpha takes two. */
    struct ucb_gate_rules strict = ucb_gate_rules_default;
    struct ucb_err err;
    size_t n_family;
    strict.alpha = 0.025;
    CHECK_OK(ucb_gate_judge(cells, 3, &strict, &arena, &n_family, &err), err);
    CHECK_EQ(cells[0].verdict, UCB_VERDICT_WORSE);
    CHECK_EQ(cells[1].verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK_EQ(cells[2].verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(cells[1].n_decides > N);
    ucb_arena_free(&arena);
}

TEST(a_loss_is_a_regression_whatever_another_criterion_gained)
{
    struct hand *h = make(0);
    ucb_arena_init(&arena);
    for (int i = 0; i < N; i++) h->samples[1][i].sum_logp = -2.5 - 0.01 * (i % 3);
    for (int i = 0; i < 12; i++) h->samples[1][i].target_correct = 0;
    judge(&h->cell, 1);
    CHECK_EQ(h->cell.criteria[UCB_GATE_PPL].verdict, UCB_VERDICT_BETTER);
    CHECK_EQ(h->cell.verdict, UCB_VERDICT_WORSE);
    ucb_arena_free(&arena);
}

TEST(a_score_that_is_no_number_any_more_is_a_regression)
{
    struct hand *h = make(0);
    ucb_arena_init(&arena);
    h->samples[1][7].sum_logp = NAN;
    judge(&h->cell, 1);
    CHECK_EQ(h->cell.n_broken, 1);
    CHECK(ucb_gate_cell_is_regression(&h->cell));
    CHECK_HAS(ucb_gate_cell_text(&h->cell, &arena), "1 of 60 items have no finite score");
    ucb_arena_free(&arena);
}

TEST(cells_of_one_id_with_other_items_trip_the_gate_and_revised_ones_do_not)
{
    struct hand *h = make(0);
    ucb_arena_init(&arena);
    h->samples[1][3].n_tokens = 2;
    judge(&h->cell, 1);
    CHECK_EQ(h->cell.state, UCB_GATE_INCOMPARABLE);
    CHECK(ucb_gate_cell_is_regression(&h->cell));
    h->cell.revised = true;
    CHECK(!ucb_gate_cell_is_regression(&h->cell));
    CHECK(ucb_gate_cell_is_warning(&h->cell));
    ucb_arena_free(&arena);
}

/* ---- evidence ---- */

TEST(an_item_is_fed_once_and_a_night_that_fed_feeds_no_more)
{
    struct hand *h = make(0);
    struct ucb_gate_wealth w;
    struct ucb_err err;
    bool fed[N] = {false};
    size_t n_fed = 0;
    ucb_arena_init(&arena);
    for (int i = 0; i < 12; i++) h->samples[1][i].target_correct = 0;
    judge(&h->cell, 1);
    h->cell.evidence = (struct ucb_gate_evidence){.takes_part = true, .fed = fed};
    for (int night = 0; night < 12; night++) {
        struct ucb_gate_evidence *e = &h->cell.evidence;
        e->n_lost = e->n_won = 0;
        CHECK_OK(ucb_gate_feed(&h->cell, 1, night % 2 ? "2026-01-01" : "2026-01-02",
                               &ucb_gate_rules_default, &arena, &w, &err),
                 err);
        CHECK_EQ(e->n_items, night < 10 ? 6 : 0);
        for (size_t i = 0; i + 1 < e->n_items; i++) CHECK(e->items[i] < e->items[i + 1]);
        n_fed += e->n_items;
        CHECK_EQ(w.n_left, N - n_fed);
    }
    CHECK_EQ(h->cell.evidence.process.n_flips, 12);
    CHECK_NEAR(w.log_e, 12 * log(1.2), 1e-12);
    memset(fed, 0, sizeof(fed));
    h->cell.evidence = (struct ucb_gate_evidence){
        .takes_part = true, .fed = fed, .fed_tonight_before = true};
    CHECK_OK(
        ucb_gate_feed(&h->cell, 1, "2026-01-01", &ucb_gate_rules_default, &arena, &w, &err),
        err);
    CHECK_EQ(h->cell.evidence.n_items, 0);
    ucb_arena_free(&arena);
}

TEST(the_evidence_of_several_cells_is_their_mean)
{
    struct ucb_gate_cell cells[2];
    struct ucb_gate_wealth w;
    struct ucb_err err;
    bool fed[2][N];
    memset(fed, 1, sizeof(fed));
    ucb_arena_init(&arena);
    for (int k = 0; k < 2; k++) {
        struct hand *h = make(k);
        h->samples[1][0].target_correct = 0;
        cells[k] = h->cell;
    }
    judge(cells, 2);
    for (int k = 0; k < 2; k++) {
        cells[k].evidence = (struct ucb_gate_evidence){.takes_part = true, .fed = fed[k]};
        cells[k].evidence.process.log_e = k == 0 ? log(50) : 0;
    }
    CHECK_OK(
        ucb_gate_feed(cells, 2, "2026-01-01", &ucb_gate_rules_default, &arena, &w, &err),
        err);
    CHECK_NEAR(w.log_e, log(25.5), 1e-12);
    CHECK(w.alarm);
    /* Scores that are the baseline's again: the evidence is not about tonight. */
    cells[0].state = cells[1].state = UCB_GATE_IDENTICAL;
    CHECK_OK(
        ucb_gate_feed(cells, 2, "2026-01-02", &ucb_gate_rules_default, &arena, &w, &err),
        err);
    CHECK(!w.alarm);
    ucb_arena_free(&arena);
}

/* ---- times ---- */

TEST(a_slower_level_waits_for_its_rerun)
{
    static struct ucb_timing timings[64];
    static char nights[20][16];
    struct ucb_gate_timing *series;
    struct ucb_err err;
    size_t n = 0, n_series;
    ucb_arena_init(&arena);
    for (int i = 0; i < 20; i++) {
        snprintf(nights[i], sizeof(nights[i]), "2026-01-%02d", i + 1);
        timings[n++] = (struct ucb_timing){nights[i],
                                           "m/nf4 encode",
                                           "b",
                                           true,
                                           false,
                                           0,
                                           (i >= 16 ? 1.06 : 1) + 1e-3 * (i % 5)};
    }
    CHECK_OK(ucb_gate_pace(timings, n, "2026-01-01", nights[19], &arena, &series, &n_series,
                           &err),
             err);
    CHECK_EQ(n_series, 1);
    CHECK(!series->is_ratio);
    CHECK_EQ(series->n_points, 1);
    CHECK_EQ(series->points[0], 16);
    CHECK_EQ(series->pace, UCB_PACE_UNCONFIRMED);
    static const struct {
        double rerun;
        enum ucb_gate_pace pace;
    } cases[] = {{1.06, UCB_PACE_SLOWER}, {1.01, UCB_PACE_REFUTED}};
    for (int k = 0; k < 2; k++) {
        timings[n] = timings[n - 1];
        timings[n].is_rerun = true;
        timings[n].seconds = cases[k].rerun;
        CHECK_OK(ucb_gate_pace(timings, n + 1, "2026-01-01", nights[19], &arena, &series,
                               &n_series, &err),
                 err);
        CHECK_EQ(series->pace, cases[k].pace);
    }
    /* Before the baseline's day nothing counts. */
    CHECK_OK(ucb_gate_pace(timings, n, "2026-01-15", nights[19], &arena, &series, &n_series,
                           &err),
             err);
    CHECK_EQ(series->pace, UCB_PACE_SHORT);
    CHECK_OK(ucb_gate_pace(timings, n, "2026-01-01", "2026-02-01", &arena, &series,
                           &n_series, &err),
             err);
    CHECK_EQ(series->pace, UCB_PACE_UNMEASURED);
    ucb_arena_free(&arena);
}
