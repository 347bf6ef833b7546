/*
 * fmath.h - exp, log, pow, sin, cos in double by our own polynomials: the same bits with
 * every C library.
 *
 * Scalar, for tables (rope angles) and for the last step of a log-sum-exp; the vector forms
 * live in the backend. Errors are stated in docs/arithmetic.md and checked by tests against
 * a correctly rounded reference.
 */
#ifndef UCB_CORE_FMATH_H
#define UCB_CORE_FMATH_H

double ucb_exp(double x);
double ucb_log(double x);                                /* -inf for 0, NaN below */
double ucb_pow(double x, double y);                      /* x > 0 */
void ucb_sincos(double x, double *sine, double *cosine); /* |x| <= 2^22 */

#endif
