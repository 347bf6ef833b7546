/*
 * bootstrap.c - see bootstrap.h.
 *
 * A replicate is drawn as multiplicities first (how often each document came), then one
 * pass in document order adds count * total for all eight sums side by side. That order
 * makes a replicate the same bits however the documents were drawn, and reads memory in a
 * straight line instead of jumping.
 */
#include "stats/bootstrap.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/clones.h"
#include "stats/distribution.h"
#include "stats/quantile.h"
#include "stats/sum.h"

/* The eight sums of a row in one vector; wider than a register of most machines, which the
 * compiler splits. */
enum { N_SUMS = 2 * UCB_BOOTSTRAP_RATIOS };
typedef double sums __attribute__((vector_size(N_SUMS * sizeof(double))));
_Static_assert(sizeof(struct ucb_bootstrap_row) == sizeof(sums),
               "a row is loaded as one vector");

/*
 * Uniform in [0, n) without bias and almost always without a division (Lemire, 2019): the
 * high half of x * n; the few low halves below 2^32 mod n are drawn again. ucb_pcg_below
 * divides twice for each draw, which would double the time of a bootstrap.
 */
static inline uint32_t draw_below(struct ucb_pcg *stream, uint32_t n)
{
    uint64_t product = (uint64_t)ucb_pcg_next(stream) * n;
    if ((uint32_t)product < n) {
        uint32_t reject = (0u - n) % n;
        while ((uint32_t)product < reject) product = (uint64_t)ucb_pcg_next(stream) * n;
    }
    return (uint32_t)(product >> 32);
}

/* struct ucb_sum eight wide: sum.h's two-sum in each lane, in document order. */
UCB_CLONES static void weighted_sums(const struct ucb_bootstrap_row *rows,
                                     const uint32_t *counts, size_t n_rows,
                                     double out[N_SUMS])
{
    sums total = {0}, dropped = {0};
    for (size_t i = 0; i < n_rows; i++) {
        sums row;
        memcpy(&row, &rows[i], sizeof(row));
        sums x = row * (double)counts[i], next = total + x, moved = next - total;
        dropped += (total - (next - moved)) + (x - moved);
        total = next;
    }
    total += dropped;
    memcpy(out, &total, sizeof(total));
}

static double ratio(double above, double below)
{
    return below == 0 ? NAN : above / below;
}

static double column_sum(const struct ucb_bootstrap_row *rows, size_t n_rows, size_t column)
{
    struct ucb_sum sum = {0};
    for (size_t i = 0; i < n_rows; i++) {
        const struct ucb_bootstrap_row *row = &rows[i];
        ucb_sum_add(&sum, column < UCB_BOOTSTRAP_RATIOS
                              ? row->above[column]
                              : row->below[column - UCB_BOOTSTRAP_RATIOS]);
    }
    return ucb_sum_value(&sum);
}

double ucb_bootstrap_value(const struct ucb_bootstrap_row *rows, size_t n_rows, size_t k)
{
    return ratio(column_sum(rows, n_rows, k),
                 column_sum(rows, n_rows, k + UCB_BOOTSTRAP_RATIOS));
}

void ucb_bootstrap_draw(const struct ucb_bootstrap_row *rows, size_t n_rows,
                        size_t n_replicates, struct ucb_pcg *stream, uint32_t *counts,
                        double *replicates)
{
    assert(n_rows > 0);
    assert(n_rows <= UINT32_MAX);
    struct ucb_pcg r =
        *stream; /* a copy stays in registers; the caller's cannot, counts might alias it */
    for (size_t b = 0; b < n_replicates; b++) {
        double total[N_SUMS];
        memset(counts, 0, n_rows * sizeof(*counts));
        for (size_t i = 0; i < n_rows; i++) counts[draw_below(&r, (uint32_t)n_rows)]++;
        weighted_sums(rows, counts, n_rows, total);
        for (size_t k = 0; k < UCB_BOOTSTRAP_RATIOS; k++)
            replicates[k * n_replicates + b] = ratio(total[k],
                                                     total[k + UCB_BOOTSTRAP_RATIOS]);
    }
    *stream = r;
}

/* Ratio k without document i, from the sums of all. */
static double left_out(const struct ucb_bootstrap_row *row, size_t k, double above,
                       double below)
{
    return ratio(above - row->above[k], below - row->below[k]);
}

double ucb_bootstrap_acceleration(const struct ucb_bootstrap_row *rows, size_t n_rows,
                                  size_t k)
{
    double above = column_sum(rows, n_rows, k),
           below = column_sum(rows, n_rows, k + UCB_BOOTSTRAP_RATIOS);
    struct ucb_sum mean = {0}, squares = {0}, cubes = {0};
    for (size_t i = 0; i < n_rows; i++)
        ucb_sum_add(&mean, left_out(&rows[i], k, above, below));
    double middle = ucb_sum_value(&mean) / (double)n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        double off = middle - left_out(&rows[i], k, above, below);
        ucb_sum_add(&squares, off * off);
        ucb_sum_add(&cubes, off * off * off);
    }
    double spread = ucb_sum_value(&squares);
    return spread == 0 ? 0 : ucb_sum_value(&cubes) / (6 * spread * sqrt(spread));
}

/* Sorts what can be sorted; false when a NaN is among it. */
static bool sort_defined(double value, double *replicates, size_t n_replicates)
{
    if (isnan(value) || n_replicates == 0) return false;
    for (size_t b = 0; b < n_replicates; b++)
        if (isnan(replicates[b])) return false;
    ucb_sort(replicates, n_replicates);
    return true;
}

struct ucb_estimate ucb_bootstrap_percentile(double value, double *replicates,
                                             size_t n_replicates, double confidence)
{
    struct ucb_estimate e = {value, NAN, NAN};
    if (!sort_defined(value, replicates, n_replicates)) return e;
    e.low = ucb_quantile_sorted(replicates, n_replicates, 0.5 - confidence / 2);
    e.high = ucb_quantile_sorted(replicates, n_replicates, 0.5 + confidence / 2);
    return e;
}

/* The share of replicates below the value, equal ones counting half. */
static double share_below(double value, const double *replicates, size_t n_replicates)
{
    size_t halves = 0;
    for (size_t b = 0; b < n_replicates; b++)
        halves += replicates[b] < value ? 2 : replicates[b] == value;
    return (double)halves / (2 * (double)n_replicates);
}

/* Where the nominal quantile z moves to; NaN when the acceleration carries it past infinity
 * (Efron 1987, 3.9). */
static double bca_level(double bias, double acceleration, double z)
{
    double shifted = bias + z, room = 1 - acceleration * shifted;
    return room > 0 ? ucb_normal_cdf(bias + shifted / room) : NAN;
}

struct ucb_estimate ucb_bootstrap_bca(double value, double acceleration, double *replicates,
                                      size_t n_replicates, double confidence)
{
    struct ucb_estimate e = {value, NAN, NAN};
    if (isnan(acceleration) || !sort_defined(value, replicates, n_replicates)) return e;
    double bias = ucb_normal_quantile(share_below(value, replicates, n_replicates));
    if (isinf(bias)) return e;
    double z = ucb_normal_quantile(0.5 + confidence / 2);
    double p_low = bca_level(bias, acceleration, -z),
           p_high = bca_level(bias, acceleration, z);
    if (isnan(p_low) || isnan(p_high)) return e;
    e.low = ucb_quantile_sorted(replicates, n_replicates, p_low);
    e.high = ucb_quantile_sorted(replicates, n_replicates, p_high);
    return e;
}
