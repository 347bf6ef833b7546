/*
 * multiple.c - see multiple.h. With p ascending, Holm: max over j <= i of (n - j) p_j from
 * j = 0; Benjamini-Hochberg: min over j >= i of n p_j / (j + 1). Both cut at 1.
 */
#include "stats/multiple.h"

#include <math.h>

/* Places in ascending order of p, equal ones in index order. Families have tens of members:
 * insertion is enough. */
static ucb_status sort_places(const double *p, size_t n, size_t *order, struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!(p[i] >= 0 && p[i] <= 1))
            return UCB_FAIL(err, UCB_USAGE, "p-value %zu is %g, expected 0 to 1", i, p[i]);
        size_t at = i;
        for (; at > 0 && p[order[at - 1]] > p[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    return UCB_OK;
}

ucb_status ucb_holm(const double *p, size_t n, size_t *order, double *adjusted,
                    struct ucb_err *err)
{
    double highest = 0;
    UCB_TRY(sort_places(p, n, order, err));
    for (size_t j = 0; j < n; j++) {
        highest = fmax(highest, fmin(1, (double)(n - j) * p[order[j]]));
        adjusted[order[j]] = highest;
    }
    return UCB_OK;
}

ucb_status ucb_benjamini_hochberg(const double *p, size_t n, size_t *order,
                                  double *adjusted, struct ucb_err *err)
{
    double lowest = 1;
    UCB_TRY(sort_places(p, n, order, err));
    for (size_t j = n; j-- > 0;) {
        lowest = fmin(lowest, (double)n * p[order[j]] / (double)(j + 1));
        adjusted[order[j]] = lowest;
    }
    return UCB_OK;
}
