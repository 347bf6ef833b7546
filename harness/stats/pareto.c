/* pareto.c - see pareto.h. */
#include "stats/pareto.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

/* As small and as good, and in one of the two better. */
static bool dominates(double size, double loss, double other_size, double other_loss)
{
    return size <= other_size && loss <= other_loss &&
           (size < other_size || loss < other_loss);
}

static bool on_frontier(const double *sizes, const double *losses, size_t n_cells,
                        size_t n_replicates, size_t cell, size_t b)
{
    double loss = losses[cell * n_replicates + b];
    if (isnan(loss)) return false;
    for (size_t c = 0; c < n_cells; c++)
        if (dominates(sizes[c], losses[c * n_replicates + b], sizes[cell], loss))
            return false;
    return true;
}

void ucb_pareto_membership(const double *sizes, const double *losses, size_t n_cells,
                           size_t n_replicates, double *share)
{
    assert(n_replicates > 0);
    for (size_t cell = 0; cell < n_cells; cell++) {
        size_t n_on = 0;
        for (size_t b = 0; b < n_replicates; b++)
            n_on += on_frontier(sizes, losses, n_cells, n_replicates, cell, b);
        share[cell] = (double)n_on / (double)n_replicates;
    }
}
