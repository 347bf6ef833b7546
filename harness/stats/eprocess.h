/*
 * eprocess.h - evidence that accumulates over nights and may be looked at after each.
 *
 * A bet against "an item that flips is as often won as lost": the wealth after n flips is
 * E_n = prod(1 + lambda (2 X_i - 1)), X_i = 1 for a lost item. While that hypothesis holds,
 * E is a martingale from 1, and the probability that it EVER reaches 1 / alpha is at most
 * alpha (Ville 1939); a p-value looked at every night has no such bound. Feed each item
 * once: a rerun of equal code is no new evidence. Pure functions.
 */
#ifndef UCB_STATS_EPROCESS_H
#define UCB_STATS_EPROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* The bet that gains most when 60% of the flips are losses; it gains from 55% on. */
#define UCB_EPROCESS_BET 0.2

/* From {0} on. In logarithms: a product would overflow after some thousand flips. */
struct ucb_eprocess {
    double log_e;
    uint64_t n_flips;
};
/* One night's flips; 0 < bet < 1. */
void ucb_eprocess_feed(struct ucb_eprocess *process, uint64_t n_lost, uint64_t n_won,
                       double bet);
/* E >= 1 / alpha. */
bool ucb_eprocess_alarm(const struct ucb_eprocess *process, double alpha);

#endif
