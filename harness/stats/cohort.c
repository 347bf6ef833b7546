/* cohort.c - see cohort.h. */
#include "stats/cohort.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "stats/bootstrap.h"
#include "stats/quantile.h"
#include "stats/sum.h"

/* Sorts `values` for a median. */
static double statistic_of(enum ucb_cohort_statistic statistic, double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(values[i])) return NAN;
    if (statistic == UCB_COHORT_MEAN) return ucb_sum_of(values, n) / (double)n;
    ucb_sort(values, n);
    return ucb_quantile_sorted(values, n, 0.5);
}

struct ucb_estimate ucb_cohort(enum ucb_cohort_statistic statistic, const double *values,
                               const double *const *replicates, size_t n_models,
                               size_t n_replicates, struct ucb_pcg *stream, double *scratch,
                               double confidence)
{
    double *drawn = scratch, *out = scratch + n_models;
    assert(n_models > 0);
    for (size_t m = 0; m < n_models; m++) drawn[m] = values[m];
    double value = statistic_of(statistic, drawn, n_models);
    if (n_models == 1 || isnan(value)) return (struct ucb_estimate){value, NAN, NAN};
    for (size_t b = 0; b < n_replicates; b++) {
        for (size_t m = 0; m < n_models; m++)
            drawn[m] = replicates[ucb_pcg_below(stream, (uint32_t)n_models)][b];
        out[b] = statistic_of(statistic, drawn, n_models);
    }
    return ucb_bootstrap_percentile(value, out, n_replicates, confidence);
}
