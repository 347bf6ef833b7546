/*
 * pareto.h - how surely a cell lies on the frontier of size against loss.
 *
 * A frontier drawn through noisy points favours the lucky ones. Membership is therefore a
 * probability: the share of resamples in which no other cell is as small and as good and in
 * one of the two better. Pure functions.
 */
#ifndef UCB_STATS_PARETO_H
#define UCB_STATS_PARETO_H

#include <stddef.h>

/*
 * sizes[c], smaller is better, known exactly; losses[c * n_replicates + b], smaller is
 * better, of resample b drawn for all cells at once (the same documents: paired).
 * Fills share[0 .. n_cells). A NaN loss is never on the frontier and keeps nothing off it.
 * n_replicates > 0.
 */
void ucb_pareto_membership(const double *sizes, const double *losses, size_t n_cells,
                           size_t n_replicates, double *share);

#endif
