/*
 * proportion.c - Wilson's, Newcombe's and McNemar's answers about counts.
 *
 * Wilson, with z the normal quantile: (x + z^2/2 -+ z sqrt(x (n - x) / n + z^2/4)) / (n +
 * z^2) for x hits in n trials.
 */
#include "stats/proportion.h"

#include <math.h>

#include "stats/distribution.h"
#include "stats/sum.h"

ucb_status ucb_wilson(uint64_t n_hits, uint64_t n_trials, double confidence,
                      struct ucb_estimate *out, struct ucb_err *err)
{
    if (!(confidence > 0 && confidence < 1))
        return UCB_FAIL(err, UCB_USAGE, "confidence is %g, expected between 0 and 1",
                        confidence);
    if (n_trials == 0) return UCB_FAIL(err, UCB_USAGE, "a rate of no trials is undefined");
    if (n_hits > n_trials)
        return UCB_FAIL(err, UCB_USAGE, "%llu hits in %llu trials",
                        (unsigned long long)n_hits, (unsigned long long)n_trials);
    double x = (double)n_hits, n = (double)n_trials, misses = n - x;
    double z = ucb_normal_quantile(0.5 + confidence / 2), z2 = z * z;
    double middle = x + z2 / 2, half = z * sqrt(x * misses / n + z2 / 4);
    /* At no hit and at no miss an end is 0 or 1 exactly; the formula would leave a rounding
     * error there. */
    out->value = x / n;
    out->low = n_hits == 0 ? 0 : (middle - half) / (n + z2);
    out->high = n_hits == n_trials ? 1 : (middle + half) / (n + z2);
    return UCB_OK;
}

/*
 * The correlation of the two verdicts, with Newcombe's correction: a positive product is
 * drawn towards 0 by n / 2, not past it. The four margins' product is 0 when one verdict
 * never varied; there is then nothing to correlate.
 */
static double corrected_correlation(const struct ucb_paired_counts *c)
{
    double both = (double)c->both, lost = (double)c->lost, won = (double)c->won,
           neither = (double)c->neither;
    double margins = (both + lost) * (won + neither) * (both + won) * (lost + neither);
    double product = both * neither - lost * won, n = both + lost + won + neither;
    if (margins == 0) return 0;
    if (product > 0) product = fmax(product - n / 2, 0);
    return product / sqrt(margins);
}

/* The length of a vector sum: sides a and b with the cosine of the angle between them. */
static double joined(double a, double b, double cosine)
{
    return sqrt(fmax(a * a - 2 * cosine * a * b + b * b, 0));
}

ucb_status ucb_newcombe(const struct ucb_paired_counts *counts, double confidence,
                        struct ucb_estimate *out, struct ucb_err *err)
{
    struct ucb_estimate before, after;
    uint64_t n = counts->both + counts->lost + counts->won + counts->neither;
    UCB_TRY(ucb_wilson(counts->both + counts->lost, n, confidence, &before, err));
    UCB_TRY(ucb_wilson(counts->both + counts->won, n, confidence, &after, err));

    double correlation = corrected_correlation(counts);
    out->value = ((double)counts->won - (double)counts->lost) / (double)n;
    out->low = out->value -
               joined(after.value - after.low, before.high - before.value, correlation);
    out->high = out->value +
                joined(after.high - after.value, before.value - before.low, correlation);
    return UCB_OK;
}

/*
 * P(X <= k) and P(X = k) of a binomial (n, 1/2), k < n / 2. The weights n choose j are
 * built from the middle outwards as fractions of the largest, so nothing overflows at any
 * n, and divided by their own sum; where a far weight underflows to 0 it is below 1e-300 of
 * that sum.
 */
static void half_binomial_tail(uint64_t n, uint64_t k, double *below_or_at, double *at)
{
    struct ucb_sum half = {0}, tail = {0};
    uint64_t middle = n / 2;
    double weight = 1, at_k = 0;
    for (uint64_t j = middle;; j--) {
        /* Both halves mirror each other; an even n has a middle of its own. */
        ucb_sum_add(&half, n % 2 == 0 && j == middle ? weight / 2 : weight);
        if (j <= k) ucb_sum_add(&tail, weight);
        if (j == k) at_k = weight;
        if (j == 0) break;
        weight *= (double)j / (double)(n - j + 1);
    }
    double all = 2 * ucb_sum_value(&half);
    *below_or_at = ucb_sum_value(&tail) / all;
    *at = at_k / all;
}

struct ucb_mcnemar ucb_mcnemar_test(uint64_t n_lost, uint64_t n_won)
{
    uint64_t n = n_lost + n_won, fewer = n_lost < n_won ? n_lost : n_won;
    if (n == 0) return (struct ucb_mcnemar){1, 1, 1, 1};
    double tail, at;
    half_binomial_tail(n, fewer, &tail, &at);
    /* By symmetry P(X >= lost) = P(X <= won): the small tail when more were lost, the rest
     * of it otherwise. */
    double worse = n_lost >= n_won ? tail : 1 - tail + at;
    return (struct ucb_mcnemar){
        .p = fmin(1, 2 * tail),
        .mid_p = fmin(1, 2 * tail - at),
        .worse_p = worse,
        .worse_mid = worse - at / 2,
    };
}
