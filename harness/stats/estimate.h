/*
 * estimate.h - a number with its confidence interval, as every function of stats/ returns
 * it.
 */
#ifndef UCB_STATS_ESTIMATE_H
#define UCB_STATS_ESTIMATE_H

/* low and high are NaN where the data do not define an interval (one document, a value that
 * is not finite). */
struct ucb_estimate {
    double value, low, high;
};

/* Confidence levels of the project: 95% for what is printed. */
#define UCB_CONFIDENCE 0.95

#endif
