/*
 * gate_year.h - a year of nights drawn by chance and judged by the gate itself: cells and
 * times are made up, everything that follows is what `ucbench gate` runs.
 */
#ifndef UCB_TESTS_GATE_YEAR_H
#define UCB_TESTS_GATE_YEAR_H

#include <stdbool.h>
#include <stddef.h>

enum { GATE_YEAR_NIGHTS = 365 };

/* One cell of passages that are each right or wrong, 40% of them right. */
struct gate_year_quality {
    unsigned seed;
    size_t n_items;
    double lost, won; /* share of items that a change of the program turns, both ways */
    unsigned every;   /* nights between two such changes, each drawn anew */
    unsigned nights;  /* of the year; GATE_YEAR_NIGHTS at most */
};
struct gate_year_judged {
    unsigned n_worse;             /* nights on which the cell was called worse */
    int worse_night, alarm_night; /* the first, from 0; -1: none */
    double n_decides; /* of the last night: documents that would decide; NaN: decided */
};
struct gate_year_judged gate_year_quality(const struct gate_year_quality *plan);

/* Times of two programs in turn, 4 repeats each, on a machine whose speed drifts by 5%. */
struct gate_year_times {
    unsigned seed, n_series;
    double noise;    /* of one repeat, lognormal */
    int slow_at;     /* the night on which the candidate becomes slower; -1: never */
    double slowdown; /* by this share */
};
struct gate_year_paced {
    int unconfirmed_night, slower_night; /* the first of each; -1: none */
    unsigned n_reruns;
};
struct gate_year_paced gate_year_times(const struct gate_year_times *plan);

#endif
