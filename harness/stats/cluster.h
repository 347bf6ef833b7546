/*
 * cluster.h - means over tokens whose documents, not tokens, are independent.
 *
 * A mean over tokens is a ratio of two document sums: totals / weights. Its interval
 * linearises that ratio and lets only documents vary (spec/statistics.md; Miller 2024,
 * clustered errors; Cochran 1977, section 6.3):
 *
 *     m = sum d_c / sum t_c      u_c = d_c - m t_c
 *     SE = sqrt(C / (C - 1) sum u_c^2) / sum t_c      m +- t(C-1) SE
 *
 * Documents are taken in index order; pure functions.
 */
#ifndef UCB_STATS_CLUSTER_H
#define UCB_STATS_CLUSTER_H

#include <stddef.h>

#include "core/err.h"
#include "stats/estimate.h"

/*
 * The ratio of the sums of totals[0 .. n_documents) and weights[0 .. n_documents). With one
 * document, or where the totals are not finite, there is no interval: low and high are NaN.
 * USAGE: no document, a weight that is negative or not finite, weights that sum to 0,
 * confidence outside (0, 1).
 */
ucb_status ucb_cluster_ratio(const double *totals, const double *weights,
                             size_t n_documents, double confidence,
                             struct ucb_estimate *out, struct ucb_err *err);

/* The same ratio with its standard error, for tests and power: (value - x) / error follows
 * t(n_freedom). error is NaN where there is no interval. USAGE as above. */
struct ucb_cluster_fit {
    double value, error, n_freedom;
};
ucb_status ucb_cluster_fit(const double *totals, const double *weights, size_t n_documents,
                           struct ucb_cluster_fit *out, struct ucb_err *err);
/* value +- t error; confidence in (0, 1). */
struct ucb_estimate ucb_cluster_interval(const struct ucb_cluster_fit *fit,
                                         double confidence);

/* exp of the value and of both ends: from mean negative log-likelihood to perplexity, from
 * its gap to their ratio. */
struct ucb_estimate ucb_estimate_exp(struct ucb_estimate log_scale);

#endif
