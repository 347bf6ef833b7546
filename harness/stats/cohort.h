/*
 * cohort.h - one number for several models, with an interval that lets both the models and
 * each model's documents vary.
 *
 * A replicate draws as many models as there are, with replacement, and takes for each drawn
 * one its own replicate of the same number, which resampled that model's documents
 * (bootstrap.h). Of few models the interval is too narrow: two or three say little about
 * models in general. Pure functions; the stream is the caller's.
 */
#ifndef UCB_STATS_COHORT_H
#define UCB_STATS_COHORT_H

#include <stddef.h>

#include "core/pcg.h"
#include "stats/estimate.h"

/* The median of an even number is the mean of the two in the middle. */
enum ucb_cohort_statistic { UCB_COHORT_MEAN, UCB_COHORT_MEDIAN };

/*
 * The statistic of values[0 .. n_models), n_models > 0, with its percentile interval from
 * replicates[m][0 .. n_replicates). No interval (NaN ends) for one model or where a value
 * or replicate is NaN. `scratch` holds n_models + n_replicates doubles.
 */
struct ucb_estimate ucb_cohort(enum ucb_cohort_statistic statistic, const double *values,
                               const double *const *replicates, size_t n_models,
                               size_t n_replicates, struct ucb_pcg *stream, double *scratch,
                               double confidence);

#endif
