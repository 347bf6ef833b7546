/* Coverage by simulation with fixed seeds: an interval must hold the truth as often as it
 * says. */
#include "test.h"

#include <math.h>

#include "core/pcg.h"
#include "stats/cluster.h"
#include "stats/equivalence.h"

enum { N_SETS = 4000, MAX_DOCUMENTS = 60 };

/* A roughly normal deviate with mean 0: twelve uniforms less six (its tails end at 6, which
 * no 95% interval feels). */
static double deviate(struct ucb_pcg *r)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += (double)ucb_pcg_unit(r);
    return sum - 6;
}

static double coverage(size_t n_documents, struct ucb_pcg *r)
{
    double totals[MAX_DOCUMENTS], weights[MAX_DOCUMENTS];
    unsigned covered = 0;
    for (unsigned set = 0; set < N_SETS; set++) {
        struct ucb_estimate e;
        struct ucb_err err;
        for (size_t i = 0; i < n_documents; i++) {
            weights[i] = 50;
            totals[i] = 50 * (0.7 + deviate(r));
        }
        CHECK_OK(ucb_cluster_ratio(totals, weights, n_documents, 0.95, &e, &err), err);
        covered += e.low <= 0.7 && 0.7 <= e.high;
    }
    return (double)covered / N_SETS;
}

TEST(the_clustered_interval_covers_95_percent_of_equal_documents)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "coverage");
    static const size_t sizes[] = {5, 20, 60};
    /* 94 to 96%: three standard errors of 4,000 sets, and the fixed seed makes the outcome
     * the same every time */
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
        CHECK_NEAR(coverage(sizes[k], &r), 0.95, 0.01);
}

/* One night, judged without a band: n items of which each is lost or won with the given
 * probability. */
static enum ucb_verdict night(uint64_t n, double p_lost, double p_won, struct ucb_pcg *r,
                              struct ucb_paired_counts *counts)
{
    struct ucb_evidence e = {.band = {-1e-9, 1e-9}, .worse_sign = -1};
    struct ucb_err err;
    *counts = (struct ucb_paired_counts){0};
    for (uint64_t i = 0; i < n; i++) {
        double u = (double)ucb_pcg_unit(r);
        counts->lost += u < p_lost;
        counts->won += u >= p_lost && u < p_lost + p_won;
    }
    counts->both = n - counts->lost - counts->won;
    CHECK_OK(ucb_tango(counts, UCB_CONFIDENCE, &e.wide, &err), err);
    CHECK_OK(ucb_tango(counts, UCB_TOST_CONFIDENCE, &e.narrow, &err), err);
    return ucb_judge_pairs(&e, counts);
}

TEST(a_year_without_a_change_is_called_worse_on_at_most_five_percent_of_nights)
{
    unsigned n_worse = 0;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "nights");
    for (int i = 0; i < 365; i++) {
        struct ucb_paired_counts counts;
        n_worse += night(500, 0.02, 0.02, &r, &counts) == UCB_VERDICT_WORSE;
    }
    CHECK(n_worse <= 18);
    CHECK(n_worse > 0); /* a rule that never speaks would pass, too */
}

TEST(a_loss_of_0_3_points_is_found_in_5153_passages_and_not_in_500)
{
    enum { NIGHTS = 100 };
    unsigned n_large = 0, n_small = 0;
    struct ucb_paired_counts counts;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "planted");
    for (int i = 0; i < NIGHTS; i++) {
        n_large += night(5153, 0.004, 0.001, &r, &counts) == UCB_VERDICT_WORSE;
        n_small += night(500, 0.004, 0.001, &r, &counts) == UCB_VERDICT_WORSE;
    }
    CHECK(n_large >= 80); /* 90% by simulation, docs/statistics.md */
    CHECK(n_small <= 12); /* 4% */
}
