/* eprocess.c - see eprocess.h. */
#include "stats/eprocess.h"

#include <assert.h>

#include "core/fmath.h"

void ucb_eprocess_feed(struct ucb_eprocess *process, uint64_t n_lost, uint64_t n_won,
                       double bet)
{
    assert(bet > 0);
    assert(bet < 1);
    process->log_e += (double)n_lost * ucb_log(1 + bet) + (double)n_won * ucb_log(1 - bet);
    process->n_flips += n_lost + n_won;
}

bool ucb_eprocess_alarm(const struct ucb_eprocess *process, double alpha)
{
    return process->log_e >= -ucb_log(alpha);
}
