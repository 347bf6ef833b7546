/*
 * multiple.h - p-values of many comparisons, adjusted for their number.
 *
 * An adjusted value is compared with alpha as a single one would be. Pure functions.
 */
#ifndef UCB_STATS_MULTIPLE_H
#define UCB_STATS_MULTIPLE_H

#include <stddef.h>

#include "core/err.h"

/*
 * Holm 1979: the probability of any false rejection in the family stays below alpha,
 * however the tests depend on one another. For claims. `order` is scratch of n; `adjusted`
 * may be `p`. USAGE: a p-value outside [0, 1] or NaN.
 */
ucb_status ucb_holm(const double *p, size_t n, size_t *order, double *adjusted,
                    struct ucb_err *err);

/*
 * Benjamini and Hochberg 1995: q-values; the expected share of false ones among all with
 * q <= alpha stays below alpha for independent (or positively dependent) tests. For
 * exploring. The rest as above.
 */
ucb_status ucb_benjamini_hochberg(const double *p, size_t n, size_t *order,
                                  double *adjusted, struct ucb_err *err);

#endif
