/*
 * bootstrap.h - intervals by resampling documents, for up to four ratios of sums at once.
 *
 * A replicate draws n documents with replacement and forms every ratio from that one draw.
 * Whatever two cells share a stream and a number of documents, they share the draws: a
 * comparison of them is paired. Works on document totals, so a replicate costs one pass
 * over the documents, not over the tokens. Pure functions; the stream is the caller's.
 * Sources: Efron and Tibshirani 1993, chapters 13 (percentile) and 14 (BCa); Efron 1987.
 */
#ifndef UCB_STATS_BOOTSTRAP_H
#define UCB_STATS_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/pcg.h"
#include "stats/estimate.h"

enum { UCB_BOOTSTRAP_RATIOS = 4, UCB_BOOTSTRAP_REPLICATES = 10000 };

/* What one document adds to each ratio's numerator and denominator; zeros for a ratio that
 * is not used. */
struct ucb_bootstrap_row {
    double above[UCB_BOOTSTRAP_RATIOS], below[UCB_BOOTSTRAP_RATIOS];
};

/* Ratio k of all documents; NaN where its denominator is 0. */
double ucb_bootstrap_value(const struct ucb_bootstrap_row *rows, size_t n_rows, size_t k);

/*
 * Fills replicates[k * n_replicates + b] with ratio k of replicate b; NaN where its
 * denominator is 0. `counts` is scratch of n_rows, 0 < n_rows < 2^32.
 */
void ucb_bootstrap_draw(const struct ucb_bootstrap_row *rows, size_t n_rows,
                        size_t n_replicates, struct ucb_pcg *stream, uint32_t *counts,
                        double *replicates);

/*
 * The acceleration of ratio k for the BCa interval: a sixth of the skewness of its
 * leave-one-document-out values. 0 where they are all equal; NaN where one is undefined.
 */
double ucb_bootstrap_acceleration(const struct ucb_bootstrap_row *rows, size_t n_rows,
                                  size_t k);

/*
 * The percentile interval, and the bias-corrected and accelerated one (a replicate equal to
 * the value counts half below it). Both sort `replicates` in place and take type 7
 * quantiles. No interval (NaN ends) when a replicate or the value is NaN; BCa also when all
 * replicates lie on one side of the value.
 */
struct ucb_estimate ucb_bootstrap_percentile(double value, double *replicates,
                                             size_t n_replicates, double confidence);
struct ucb_estimate ucb_bootstrap_bca(double value, double acceleration, double *replicates,
                                      size_t n_replicates, double confidence);

#endif
