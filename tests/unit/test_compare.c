/* Comparing two cells made by hand: intervals, flips, verdicts, the noise floor, what is
 * refused. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "eval/compare.h"

enum { MAX_ITEMS = 600, TOKENS = 4 };

static const struct ucb_task per_token = {.name = "windows", .ppl_unit = UCB_PPL_PER_TOKEN};
static const struct ucb_task passages = {
    .name = "last-word", .ppl_unit = UCB_PPL_PER_PASSAGE, .has_accuracy = true};

/* Item i belongs to document i, scores -8 and is right when i is below `n_right`. */
struct made {
    struct ucb_sample samples[MAX_ITEMS];
    uint32_t document[MAX_ITEMS];
    float kld[MAX_ITEMS][TOKENS];
    struct ucb_samples all;
};
static struct made a, b;

static void make(struct made *m, size_t n, size_t n_right, bool original)
{
    memset(m, 0, sizeof(*m));
    for (size_t i = 0; i < n; i++) {
        m->document[i] = (uint32_t)i;
        m->samples[i] = (struct ucb_sample){.n_tokens = TOKENS,
                                            .sum_logp = -8,
                                            .target_correct = i < n_right,
                                            .ear_sum = TOKENS,
                                            .kld = original ? NULL : m->kld[i]};
    }
    m->all = (struct ucb_samples){m->samples, m->document, n, NULL, n};
}

static struct ucb_comparison c;

static ucb_status compare(const struct ucb_task *task, enum ucb_divergence_of divergence,
                          struct ucb_err *err)
{
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    struct ucb_compare_job job = {
        .task = task,
        .task_spec = task->name,
        .before = &a.all,
        .after = &b.all,
        .divergence = divergence,
        .bands = ucb_bands_default,
        .seed = 1,
        .n_replicates = 999,
        .arena = &arena,
    };
    ucb_status status = ucb_compare(&job, &c, err);
    ucb_arena_free(&arena);
    return status;
}

static void compare_well(const struct ucb_task *task, enum ucb_divergence_of divergence)
{
    struct ucb_err err;
    CHECK_OK(compare(task, divergence, &err), err);
}

TEST(equal_items_are_bit_identical_and_one_bit_is_enough_to_differ)
{
    make(&a, 50, 20, true);
    make(&b, 50, 20, false);
    compare_well(&passages, UCB_AFTER_FROM_BEFORE);
    CHECK(c.items_equal);
    CHECK_EQ(c.verdict, UCB_VERDICT_IDENTICAL);
    CHECK(isnan(c.n_decides));
    CHECK(!c.divergence[0].present && c.divergence[1].present);

    b.samples[49].sum_logp = nextafter(-8, 0);
    compare_well(&passages, UCB_AFTER_FROM_BEFORE);
    CHECK(!c.items_equal);
    CHECK_EQ(c.criteria[UCB_CRITERION_PPL].verdict, UCB_VERDICT_EQUIVALENT);
    /* 50 items cannot show half a point. */
    CHECK_EQ(c.criteria[UCB_CRITERION_ACCURACY].verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);

    b.samples[49].sum_logp = -8;
    b.kld[3][2] = 1e-9f;
    compare_well(&passages, UCB_AFTER_FROM_BEFORE);
    CHECK(!c.items_equal);
}

TEST(the_ratio_and_its_interval_are_those_of_the_document_sums)
{
    make(&a, 4, 0, true);
    make(&b, 4, 0, false);
    static const double losses[] = {0.1, 0.2, 0.4, 0.1};
    for (int i = 0; i < 4; i++) b.samples[i].sum_logp = -8 - losses[i];
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    struct ucb_estimate e = c.criteria[UCB_CRITERION_PPL].evidence.wide;
    /* m = 0.8 / 16; u = d - 4 m = -.1, 0, .2, -.1; SE = sqrt(4/3 0.06) / 16 */
    double half = 3.182446305284263 * sqrt(4.0 / 3 * 0.06) / 16;
    CHECK_NEAR(e.value, exp(0.05), 1e-14);
    CHECK_NEAR(e.low, exp(0.05 - half), 1e-13);
    CHECK_NEAR(e.high, exp(0.05 + half), 1e-13);
    CHECK(!c.has_accuracy && !c.criteria[UCB_CRITERION_EAR].present);
    CHECK(c.ratio_bca.low < e.value && e.value < c.ratio_bca.high);
    CHECK_EQ(c.n_tokens, 16);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(c.n_decides > 4);
}

TEST(a_loss_in_every_document_is_worse_and_the_other_way_round_better)
{
    make(&a, 60, 30, true);
    make(&b, 60, 30, false);
    for (int i = 0; i < 60; i++) b.samples[i].sum_logp = -8.2 - 0.01 * (i % 5);
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    struct ucb_estimate forth = c.criteria[UCB_CRITERION_PPL].evidence.wide;
    struct made swap = a;
    a = b;
    b = swap;
    a.all = (struct ucb_samples){a.samples, a.document, 60, NULL, 60};
    b.all = (struct ucb_samples){b.samples, b.document, 60, NULL, 60};
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    CHECK_EQ(c.verdict, UCB_VERDICT_BETTER);
    CHECK_NEAR(c.criteria[UCB_CRITERION_PPL].evidence.wide.low, 1 / forth.high, 1e-14);
}

TEST(flips_are_counted_both_ways_with_the_first_of_each)
{
    make(&a, 600, 300, true);
    make(&b, 600, 300, false);
    for (size_t i = 40; i < 76; i++) b.samples[i].target_correct = 0;
    for (size_t i = 311; i < 320; i++) b.samples[i].target_correct = 1;
    compare_well(&passages, UCB_AFTER_FROM_BEFORE);
    CHECK_EQ(c.n_lost, 36);
    CHECK_EQ(c.n_won, 9);
    CHECK_EQ(c.lost_item, 40);
    CHECK_EQ(c.won_item, 311);
    const struct ucb_criterion *accuracy = &c.criteria[UCB_CRITERION_ACCURACY];
    CHECK_NEAR(accuracy->evidence.wide.value, -27.0 / 600, 1e-15);
    CHECK_EQ(accuracy->verdict, UCB_VERDICT_WORSE);
    CHECK_TEXT(accuracy->interval, "tango");
    CHECK(c.has_tests && c.mcnemar.worse_p < 1e-4);
    CHECK_NEAR(c.accuracy[0].value, 0.5, 0);
    CHECK_NEAR(c.retention.value, 273.0 / 300, 1e-15);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
}

TEST(a_claimed_two_thirds_of_a_point_at_500_passages_is_inconclusive)
{
    make(&a, 500, 300, true);
    make(&b, 500, 300, false);
    /* 14 lost, 11 won: 5% flips, -0.6 points */
    for (size_t i = 0; i < 14; i++) b.samples[i].target_correct = 0;
    for (size_t i = 300; i < 311; i++) b.samples[i].target_correct = 1;
    compare_well(&passages, UCB_DIVERGES_UNKNOWN);
    const struct ucb_criterion *accuracy = &c.criteria[UCB_CRITERION_ACCURACY];
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK_NEAR(accuracy->mde, 0.028, 0.00005);
    /* (1.64485 + 1.28155)^2 0.05 / 0.005^2: more than the 15,698 that would find 0.5 pp */
    CHECK_EQ(accuracy->n_decides, 17128);
    CHECK_EQ(c.n_decides, 17128);
}

TEST(a_low_acceptance_rate_is_worse_and_contradicts_a_better_ratio)
{
    make(&a, 60, 0, true);
    make(&b, 60, 0, false);
    for (int i = 0; i < 60; i++) {
        b.samples[i].ear_sum = TOKENS * (0.9 + 0.001 * (i % 5));
        b.samples[i].sum_logp = -7.5 - 0.01 * (i % 5);
    }
    compare_well(&per_token, UCB_AFTER_FROM_BEFORE);
    CHECK_EQ(c.criteria[UCB_CRITERION_EAR].verdict, UCB_VERDICT_WORSE);
    CHECK_EQ(c.criteria[UCB_CRITERION_PPL].verdict, UCB_VERDICT_BETTER);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(c.contradicted && isnan(c.n_decides));
}

TEST(below_the_noise_floor_no_difference_is_claimed)
{
    struct ucb_comparison noise;
    make(&a, 60, 0, true);
    make(&b, 60, 0, true);
    for (int i = 0; i < 60; i++) b.samples[i].sum_logp = -8.1 - 0.01 * (i % 5);
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    noise = c;
    for (int i = 0; i < 60; i++) b.samples[i].sum_logp = -8.09 - 0.01 * (i % 5);
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(c.below_floor && c.criteria[UCB_CRITERION_PPL].below_floor);
    CHECK(isnan(c.n_decides));

    for (int i = 0; i < 60; i++) b.samples[i].sum_logp = -8.3 - 0.01 * (i % 5);
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    CHECK(!c.below_floor);
}

/* Documents that lose `loss`, with a divergence of `kld` and an EAR of `ear`, both spread a
 * little. */
static void diverge(double loss, double kld, double ear)
{
    make(&a, 60, 0, true);
    make(&b, 60, 0, false);
    for (int i = 0; i < 60; i++) {
        double spread = 0.9 + 0.05 * (i % 5);
        b.samples[i].sum_logp = -8 - loss * spread;
        b.samples[i].kld_sum = TOKENS * kld * spread;
        b.samples[i].ear_sum = TOKENS * (1 - (1 - ear) * spread);
        for (int t = 0; t < TOKENS; t++) b.kld[i][t] = (float)(kld * spread);
    }
    compare_well(&per_token, UCB_AFTER_FROM_BEFORE);
}

TEST(a_divergence_not_above_the_floors_is_no_difference_whatever_else_is_seen)
{
    struct ucb_comparison noise;
    diverge(0.0001, 0.001, 0.97);
    noise = c;
    CHECK(noise.divergence[1].present);
    /* Every document loses, and more than the floor: worse, but for its divergence. */
    diverge(0.1, 0.0009, 0.999);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(c.below_floor && c.kld_below_floor && isnan(c.n_decides));
    CHECK(c.criteria[UCB_CRITERION_PPL].below_floor);
    /* A mean above the floor's is not enough, the interval must be. */
    diverge(0.1, 0.00101, 0.999);
    CHECK(c.divergence[1].kld_mean.low < noise.divergence[1].kld_mean.value);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    diverge(0.1, 0.0011, 0.999);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    CHECK(!c.below_floor && !c.kld_below_floor);
}

TEST(the_floor_takes_back_an_acceptance_rate_that_rounding_alone_has)
{
    struct ucb_comparison noise;
    diverge(0.0001, 0.001, 0.97);
    noise = c;
    diverge(0.0001, 0.01, 0.975);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(c.criteria[UCB_CRITERION_EAR].below_floor && !c.kld_below_floor);
    diverge(0.0001, 0.01, 0.9);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
}

TEST(what_is_equivalent_stays_so_below_the_floor_and_a_floor_of_zero_hides_nothing)
{
    struct ucb_comparison noise;
    diverge(0.0001, 0.001, 0.97);
    noise = c;
    diverge(0.00001, 0.0001, 0.999);
    CHECK_EQ(c.verdict, UCB_VERDICT_EQUIVALENT);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_EQUIVALENT);
    CHECK(c.kld_below_floor && !c.below_floor);
    diverge(0, 0, 1);
    noise = c;
    diverge(0.1, 0.0009, 0.9);
    ucb_compare_apply_floor(&c, &noise);
    CHECK_EQ(c.verdict, UCB_VERDICT_WORSE);
}

TEST(one_document_has_no_interval_and_no_n)
{
    make(&a, 1, 0, true);
    make(&b, 1, 0, false);
    b.samples[0].sum_logp = -9;
    compare_well(&per_token, UCB_DIVERGES_UNKNOWN);
    CHECK_EQ(c.verdict, UCB_VERDICT_INCONCLUSIVE);
    CHECK(isnan(c.criteria[UCB_CRITERION_PPL].evidence.wide.low));
    CHECK(isnan(c.n_decides));
}

TEST(cells_on_other_items_are_refused)
{
    struct ucb_err err;
    make(&a, 10, 0, true);
    make(&b, 9, 0, false);
    CHECK_STATUS(compare(&per_token, UCB_DIVERGES_UNKNOWN, &err), UCB_USAGE, err);
    make(&b, 10, 0, false);
    b.samples[7].n_tokens = 3;
    CHECK_STATUS(compare(&per_token, UCB_DIVERGES_UNKNOWN, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "item 7");
}
