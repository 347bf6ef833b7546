/*
 * proportion.h - rates of independent trials, and the difference of two rates on the same
 * trials.
 *
 * Never Wald: at 0 of n its interval is a point, and at small n it covers far less than it
 * says (Bowyer et al., 2025). Pure functions.
 */
#ifndef UCB_STATS_PROPORTION_H
#define UCB_STATS_PROPORTION_H

#include <stdint.h>

#include "core/err.h"
#include "stats/estimate.h"

/*
 * The rate n_hits / n_trials with Wilson's score interval (1927).
 * USAGE: no trials, more hits than trials, confidence outside (0, 1).
 */
ucb_status ucb_wilson(uint64_t n_hits, uint64_t n_trials, double confidence,
                      struct ucb_estimate *out, struct ucb_err *err);

/* Two yes-or-no verdicts on each of n = both + lost + won + neither items: before, and
 * after. */
struct ucb_paired_counts {
    uint64_t both;    /* right before and after */
    uint64_t lost;    /* right before, wrong after */
    uint64_t won;     /* wrong before, right after */
    uint64_t neither; /* wrong before and after */
};

/*
 * The rate after minus the rate before, (won - lost) / n, with Newcombe's paired score
 * interval (1998, "Improved confidence intervals for the difference between binomial
 * proportions based on paired data", method 10: Wilson ends of both rates joined with a
 * corrected correlation). Wider than a point even when nothing flipped: n items without a
 * flip do not prove that none ever would. USAGE: no items, confidence outside (0, 1).
 */
ucb_status ucb_newcombe(const struct ucb_paired_counts *counts, double confidence,
                        struct ucb_estimate *out, struct ucb_err *err);

/*
 * McNemar's test: given that an item flipped, was either direction equally likely? X, the
 * number lost of lost + won, is then binomial with p = 1/2. Exact, no approximation; every
 * p is 1 when nothing flipped (mid_p then too).
 */
struct ucb_mcnemar {
    double p;     /* two-sided exact: min(1, 2 P(X <= min(lost, won))) */
    double mid_p; /* two-sided mid-p: the same less P(X = min(lost, won)) */
    double
        worse_p; /* one-sided exact, alternative "more are lost than won": P(X >= lost) */
    double worse_mid; /* one-sided mid-p: P(X > lost) + P(X = lost) / 2 */
};
struct ucb_mcnemar ucb_mcnemar_test(uint64_t n_lost, uint64_t n_won);

#endif
