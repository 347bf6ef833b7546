/*
 * power.h - what a number of documents can show, and how many a question needs.
 *
 * `scatter` is what one document contributes: error * sqrt(n) of a mean over n documents,
 * or sqrt(share of items that flip) of a paired difference of rates. Normal approximation
 * on both sides; pure functions.
 */
#ifndef UCB_STATS_POWER_H
#define UCB_STATS_POWER_H

#define UCB_POWER 0.8

/* The smallest true difference that a two-sided test at `confidence` finds with
 * probability `power` over n documents: (z(1/2 + confidence/2) + z(power)) scatter /
 * sqrt(n). */
double ucb_mde(double scatter, double n, double confidence, double power);

/* The documents after which that difference is found; inf when it is 0. Whole. */
double ucb_n_to_find(double scatter, double difference, double confidence, double power);

/* The documents after which a true difference of 0 is shown to lie within +- margin by a
 * TOST whose two tests have size 1 - confidence each; inf when the margin is 0. Whole. */
double ucb_n_to_equate(double scatter, double margin, double confidence, double power);

#endif
