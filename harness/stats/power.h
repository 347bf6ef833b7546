/*
 * power.h - what a number of documents can show, and how many a question needs.
 *
 * `scatter` is what one document contributes: error * sqrt(n) of a mean over n documents,
 * or sqrt(share of items that flip) of a paired difference of rates. Where the scatter is
 * itself estimated from the n documents (a t interval), quantiles are Student's with n - 1
 * degrees of freedom instead of the normal distribution's; that power is shifted, not
 * noncentral, and right to a document or two. Pure functions.
 */
#ifndef UCB_STATS_POWER_H
#define UCB_STATS_POWER_H

#include <stdbool.h>

struct ucb_power {
    double
        confidence; /* of the two-sided test; the one-sided ones of a TOST have as much */
    double power;
    bool student; /* the scatter is estimated */
};

/* The smallest true difference that a two-sided test over n documents finds with this
 * power: (q(1/2 + confidence/2) + q(power)) scatter / sqrt(n). inf for student and n < 2.
 */
double ucb_mde(const struct ucb_power *p, double scatter, double n);

/* The documents after which that difference is found; inf when it is 0. Whole. */
double ucb_n_to_find(const struct ucb_power *p, double scatter, double difference);

/* The documents after which a true difference of 0 is shown to lie within +- margin by a
 * TOST whose two tests have size 1 - confidence each; inf when the margin is 0. Whole. */
double ucb_n_to_equate(const struct ucb_power *p, double scatter, double margin);

#endif
