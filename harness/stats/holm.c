/* holm.c - see holm.h. A family is a table of claims, so n is small and no sort is needed.
 */
#include "stats/holm.h"

/* The smallest p that stands after (p[at], at) in ascending order; n: none does. */
static size_t next_of(const double *p, size_t n, size_t at)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        int after = at == n || p[i] > p[at] || (p[i] == p[at] && i > at);
        if (after && (best == n || p[i] < p[best])) best = i;
    }
    return best;
}

void ucb_holm(const double *p, size_t n, double *adjusted)
{
    double floor = 0;
    size_t at = n;
    for (size_t k = 0; k < n; k++) {
        at = next_of(p, n, at);
        double value = p[at] * (double)(n - k);
        if (value > floor) floor = value;
        adjusted[at] = floor < 1 ? floor : 1;
    }
}
