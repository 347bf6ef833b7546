/*
 * distribution.h - the normal and Student's t distribution: tails and quantiles.
 *
 * Pure functions of their arguments on core/fmath.h: the same bits with every C library.
 * Relative error of tails and quantiles below 1e-12 for degrees of freedom to 1e4, 1e-10 to
 * 1e6 (tests/unit/test_stats_distribution.c).
 */
#ifndef UCB_STATS_DISTRIBUTION_H
#define UCB_STATS_DISTRIBUTION_H

/* P(Z > x) of the standard normal distribution; keeps its relative precision far out,
 * unlike 1 - P(Z <= x). */
double ucb_normal_tail(double x);
static inline double ucb_normal_cdf(double x)
{
    return ucb_normal_tail(-x);
}
/* The x with P(Z <= x) = p; p = 0 and 1 give -inf and inf. NaN outside [0, 1]. */
double ucb_normal_quantile(double p);

/* The regularised incomplete beta function I_x(a, 1/2), a > 0, x in [0, 1]. */
double ucb_beta_half(double x, double a);

/* P(T > x) with n_freedom > 0 degrees of freedom (not necessarily whole). */
double ucb_student_tail(double x, double n_freedom);
/* The x with P(T <= x) = p; p = 0 and 1 give -inf and inf. NaN outside [0, 1] or for
 * n_freedom <= 0. */
double ucb_student_quantile(double p, double n_freedom);

#endif
