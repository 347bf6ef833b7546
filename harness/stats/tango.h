/*
 * tango.h - the score test and interval of a difference of two rates on the same items.
 *
 * Tango 1998, "Equivalence test and confidence interval for the difference in proportions
 * for the paired-sample design". The interval holds the differences that the score test
 * accepts, so test, interval and equivalence test never disagree. Pure functions.
 */
#ifndef UCB_STATS_TANGO_H
#define UCB_STATS_TANGO_H

#include "stats/proportion.h"

/*
 * The score statistic of "the rate after less the rate before is `difference`", about
 * standard normal when that is so, falling in `difference`. difference in (-1, 1), at least
 * one item.
 */
double ucb_tango_score(const struct ucb_paired_counts *counts, double difference);

/*
 * (won - lost) / n with its score interval. USAGE: no items, confidence outside (0, 1).
 */
ucb_status ucb_tango(const struct ucb_paired_counts *counts, double confidence,
                     struct ucb_estimate *out, struct ucb_err *err);

#endif
