/*
 * distribution.c - the normal distribution by series and continued fraction, Student's t by
 * the incomplete beta function, both quantiles by a safeguarded Newton iteration on the
 * logarithm of the tail.
 *
 *     normal  P(0 < Z < x) = phi(x) (x + x^3/3 + x^5/(3 5) + ...)        26.2.11, small x
 *             P(Z > x) = phi(x) / (x + 1/(x + 2/(x + 3/(x + ...))))      26.2.14, large x
 *     t       P(T > x) = I_y(n/2, 1/2) / 2,  y = n / (n + x^2)           26.7.1, x >= 0
 *     beta    continued fraction, evaluated from the front (Lentz's      26.5.8
 *             method as modified by Thompson and Barnett)
 *
 * The numbers are those of Abramowitz and Stegun.
 *
 * Only the beta function's second argument 1/2 is needed. Its factor 1/B(a, 1/2) = G(a +
 * 1/2) / (G(a) G(1/2)) comes from the series of the ratio itself: a difference of two
 * log-gammas would lose the digits it needs when a is large.
 */
#include "stats/distribution.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "core/fmath.h"

static const double LOG_SQRT_2PI =
    0x1.d67f1c864beb5p-1; /* log(2 pi) / 2 = 0.91893853320467274178 */
static const double LOG_SQRT_PI =
    0x1.250d048e7a1bdp-1; /* log(pi) / 2 = 0.57236494292470008707 */

/* Every loop below ends by itself; this bounds what a bug could cost. */
enum { MAX_STEPS = 10000 };

static double normal_log_density(double x)
{
    return -0.5 * x * x - LOG_SQRT_2PI;
}

/* P(0 < Z < x) / phi(x), x >= 0. All terms are positive: nothing cancels. */
static double normal_series(double x)
{
    double term = x, sum = x;
    for (int k = 3; k < MAX_STEPS && term > sum * 0x1p-60; k += 2) {
        term *= x * x / k;
        sum += term;
    }
    return sum;
}

/* P(Z > x) / phi(x), x >= 3: from the back; 60 levels leave less than 1e-17 there (about 13
 * x^2 / 2 would do). */
static double normal_fraction(double x)
{
    double below = x;
    for (int k = 120; k > 0; k--) below = x + k / below;
    return 1 / below;
}

double ucb_normal_tail(double x)
{
    if (isnan(x)) return x;
    double size = fabs(x), density = ucb_exp(normal_log_density(size));
    /* Below 3 the tail exceeds 1e-3, so 1/2 - centre keeps thirteen digits. */
    double tail = size < 3 ? 0.5 - density * normal_series(size)
                           : density * normal_fraction(size);
    if (isinf(size)) tail = 0;
    return x < 0 ? 1 - tail : tail;
}

/* log(G(a + 1/2) / G(a)) for a >= 16: the asymptotic series (DLMF 5.11.13); its next term
 * is below 1e-15 there. */
static double log_gamma_step_large(double a)
{
    double r = 1 / a, r2 = r * r;
    double series = r *
                    (-1.0 / 8 +
                     r2 * (1.0 / 192 +
                           r2 * (-1.0 / 640 + r2 * (17.0 / 14336 + r2 * (-31.0 / 18432)))));
    return 0.5 * ucb_log(a) + series;
}

/* The same for any a > 0: G(a + 1/2) / G(a) = a / (a + 1/2) * G(a + 3/2) / G(a + 1), until
 * a is large. */
static double log_gamma_step(double a)
{
    double factor = 1;
    for (; a < 16; a += 1) factor *= a / (a + 0.5);
    return log_gamma_step_large(a) + ucb_log(factor);
}

/* The continued fraction of I_x(a, b) without its leading factor; converges fast for x < (a
 * + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    double d = 1 / (1 - (a + b) * x / (a + 1)), c = 1, f = d;
    for (int m = 1; m < MAX_STEPS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        f *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        double change = c * d;
        f *= change;
        if (fabs(change - 1) < 0x1p-52) break;
    }
    return f;
}

/* log of x^a (1 - x)^(1/2) / B(a, 1/2), with y = 1 - x given apart because callers know it
 * more exactly. */
static double beta_log_front(double x, double y, double a)
{
    /* log(1 - y) from y where x is so near 1 that its own rounding would be felt: a log(x)
     * multiplies it by a. */
    double log_x = ucb_log(x);
    if (y < 0.5) {
        double s = y / (2 - y), s2 = s * s, term = s, sum = 0;
        for (int k = 1; k < MAX_STEPS && term > sum * 0x1p-60; k += 2) {
            sum += term / k;
            term *= s2;
        }
        log_x = -2 * sum; /* log((1 - s) / (1 + s)) with 1 - y = (1 - s) / (1 + s) */
    }
    return a * log_x + 0.5 * ucb_log(y) + log_gamma_step(a) - LOG_SQRT_PI;
}

/* I_x(a, 1/2) with y = 1 - x. */
static double beta_half(double x, double y, double a)
{
    if (x <= 0) return 0;
    if (y <= 0) return 1;
    double front = ucb_exp(beta_log_front(x, y, a));
    if (x < (a + 1) / (a + 2.5)) return front * beta_fraction(x, a, 0.5) / a;
    return 1 - front * beta_fraction(y, 0.5, a) / 0.5;
}

double ucb_beta_half(double x, double a)
{
    assert(a > 0);
    return isnan(x) ? x : beta_half(x, 1 - x, a);
}

double ucb_student_tail(double x, double n_freedom)
{
    assert(n_freedom > 0);
    if (isnan(x)) return x;
    if (isinf(x)) return x < 0 ? 1 : 0;
    double square = x * x, whole = n_freedom + square;
    double tail = 0.5 * beta_half(n_freedom / whole, square / whole, n_freedom / 2);
    if (isinf(square)) tail = 0;
    return x < 0 ? 1 - tail : tail;
}

static double student_log_density(double x, double n_freedom)
{
    double y = x * x / (n_freedom + x * x);
    /* (1 + x^2/n)^(-(n+1)/2) = (1 - y)^((n+1)/2), which beta_log_front knows with a = (n +
     * 1)/2 but for its factors. */
    double a = (n_freedom + 1) / 2;
    double kernel = beta_log_front(1 - y, y, a) - 0.5 * ucb_log(y) - log_gamma_step(a) +
                    LOG_SQRT_PI;
    return kernel + log_gamma_step(n_freedom / 2) - LOG_SQRT_PI - 0.5 * ucb_log(n_freedom);
}

/* A family of upper tails with its density; n_freedom 0 stands for
 * the normal distribution. */
static double any_tail(double x, double n_freedom)
{
    return n_freedom > 0 ? ucb_student_tail(x, n_freedom) : ucb_normal_tail(x);
}

static double any_log_density(double x, double n_freedom)
{
    return n_freedom > 0 ? student_log_density(x, n_freedom) : normal_log_density(x);
}

/*
 * The x > 0 with P(X > x) = tail, 0 < tail < 1/2. Newton on log(tail(x)) + log(x): with the
 * log(x) a heavy tail c / x^n becomes a straight line in log(x), so the steps are taken
 * there; what leaves the bracket is bisected.
 */
static double tail_inverse(double tail, double n_freedom)
{
    double low = 0, high = 1;
    while (high < 0x1p1000 && any_tail(high, n_freedom) > tail) {
        low = high;
        high *= 2;
    }
    double x = low + (high - low) / 2, goal = ucb_log(tail);
    for (int step = 0; step < 200; step++) {
        double found = any_tail(x, n_freedom);
        if (found > tail)
            low = x;
        else
            high = x;
        /* d log(tail) / d log(x) = -x density / tail */
        double slope = x * ucb_exp(any_log_density(x, n_freedom)) / found;
        double next = x * ucb_exp((ucb_log(found) - goal) / slope);
        if (!(next > low && next < high)) next = low + (high - low) / 2;
        bool settled = fabs(next - x) <= 0x1p-52 * x;
        x = next;
        if (settled) break;
    }
    return x;
}

static double any_quantile(double p, double n_freedom)
{
    if (!(p >= 0 && p <= 1)) return NAN;
    if (p == 0.5) return 0;
    if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
    return p < 0.5 ? -tail_inverse(p, n_freedom) : tail_inverse(1 - p, n_freedom);
}

double ucb_normal_quantile(double p)
{
    return any_quantile(p, 0);
}

double ucb_student_quantile(double p, double n_freedom)
{
    return n_freedom > 0 ? any_quantile(p, n_freedom) : NAN;
}
