/*
 * sum.h - sums that keep what rounding drops.
 *
 * Neumaier's compensated sum (1974): beside the running total stands the exact sum of all
 * rounding errors, each found without a branch by Knuth's two-sum. n additions err by about
 * one rounding of the result, not n of them. The value depends on the order of the
 * additions: callers add in index order.
 */
#ifndef UCB_STATS_SUM_H
#define UCB_STATS_SUM_H

#include <stddef.h>

/* Zero-initialise. Not finite once a term or the total was not: the dropped part is then
 * NaN, see ucb_sum_value. */
struct ucb_sum {
    double total, dropped;
};

static inline void ucb_sum_add(struct ucb_sum *sum, double x)
{
    double next = sum->total + x, moved = next - sum->total;
    sum->dropped += (sum->total - (next - moved)) + (x - moved);
    sum->total = next;
}

/* An infinite total stays infinite: its dropped part is inf - inf and says nothing. */
static inline double ucb_sum_value(const struct ucb_sum *sum)
{
    double corrected = sum->total + sum->dropped;
    return corrected == corrected ? corrected : sum->total;
}

static inline double ucb_sum_of(const double *values, size_t n_values)
{
    struct ucb_sum sum = {0};
    for (size_t i = 0; i < n_values; i++) ucb_sum_add(&sum, values[i]);
    return ucb_sum_value(&sum);
}

#endif
