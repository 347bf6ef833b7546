/*
 * tango.c - see tango.h.
 *
 * With d the difference that is tested and q the probability that an item is lost, n (won -
 * lost) varies by n (2 q + d (1 - d)). The likelihood's q under d is the larger root of
 *
 *   2 n q^2 + B q + C      B = (2 n - won + lost) d - won - lost      C = -lost d (1 - d)
 *
 * (Tango 1998, equation 5). The ends are found by bisection: the score falls in d, and a
 * hundred halvings leave no double between the bounds.
 */
#include "stats/tango.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "stats/distribution.h"

static double count_of(const struct ucb_paired_counts *c)
{
    return (double)c->both + (double)c->lost + (double)c->won + (double)c->neither;
}

/* The probability of a lost item that is likeliest when the difference is d. */
static double likeliest_lost(double lost, double won, double n, double d)
{
    double b = (2 * n - won + lost) * d - won - lost, c = -lost * d * (1 - d);
    double root = sqrt(fmax(b * b - 8 * n * c, 0));
    /* Of the two forms of one root the one that does not cancel. */
    double q = b <= 0 ? (root - b) / (4 * n) : -2 * c / (b + root);
    return fmax(q, fmax(0, -d));
}

double ucb_tango_score(const struct ucb_paired_counts *counts, double difference)
{
    double lost = (double)counts->lost, won = (double)counts->won, n = count_of(counts);
    assert(n > 0);
    double off = won - lost - n * difference;
    double q = likeliest_lost(lost, won, n, difference);
    double variance = n * (2 * q + difference * (1 - difference));
    if (off == 0) return 0;
    return off / sqrt(fmax(variance, 0));
}

/* The difference in (low, high) whose score is `goal`. */
static double solve(const struct ucb_paired_counts *counts, double goal, double low,
                    double high)
{
    for (;;) {
        double middle = low + (high - low) / 2;
        if (!(middle > low && middle < high) || high - low < 0x1p-60) return middle;
        if (ucb_tango_score(counts, middle) > goal)
            low = middle;
        else
            high = middle;
    }
}

ucb_status ucb_tango(const struct ucb_paired_counts *counts, double confidence,
                     struct ucb_estimate *out, struct ucb_err *err)
{
    double n = count_of(counts);
    if (!(confidence > 0 && confidence < 1))
        return UCB_FAIL(err, UCB_USAGE, "confidence is %g, expected between 0 and 1",
                        confidence);
    if (n == 0) return UCB_FAIL(err, UCB_USAGE, "a difference over no items is undefined");
    double z = ucb_normal_quantile(0.5 + confidence / 2);
    double value = ((double)counts->won - (double)counts->lost) / n;
    out->value = value;
    /* At -1 and 1 every item was lost or won; there is no room beyond. */
    out->low = value == -1 ? -1 : solve(counts, z, -1, value);
    out->high = value == 1 ? 1 : solve(counts, -z, value, 1);
    return UCB_OK;
}
