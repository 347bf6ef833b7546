/*
 * holm.h - many tests at once: Holm's step-down adjustment (Holm 1979).
 */
#ifndef UCB_STATS_HOLM_H
#define UCB_STATS_HOLM_H

#include <stddef.h>

/*
 * adjusted[i] for p[0..n): the k-th smallest p times n - k + 1, made monotone, at most 1.
 * Rejecting where adjusted < alpha keeps the chance of any false rejection below alpha,
 * whatever the dependence. `adjusted` may not overlap p. n^2 steps.
 */
void ucb_holm(const double *p, size_t n, double *adjusted);

#endif
