/*
 * quantile.h - order statistics of a sample.
 *
 * Pure functions: nothing is kept or printed; other threads may read the input.
 */
#ifndef UCB_STATS_QUANTILE_H
#define UCB_STATS_QUANTILE_H

#include <stddef.h>

#include "core/err.h"

/* Sorts in place, ascending, in O(n log n) whatever the order was. No value may be NaN. */
void ucb_sort(double *values, size_t n_values);

/*
 * The p-quantile of an ascending sample, n_values > 0, p in [0, 1], interpolating linearly
 * between neighbours (type 7 of Hyndman and Fan, 1996; what R and NumPy print).
 */
double ucb_quantile_sorted(const double *ascending, size_t n_values, double p);

/*
 * The same of a sample in any order. `scratch` holds n_values doubles and may not overlap
 * `values`. USAGE: n_values is 0, p is outside [0, 1], or a value is NaN.
 */
ucb_status ucb_quantile(const double *values, size_t n_values, double p, double *scratch,
                        double *out, struct ucb_err *err);

#endif
