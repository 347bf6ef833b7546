/*
 * peak.h - the most memory this program has had resident, by the system's account.
 */
#ifndef UCB_CORE_PEAK_H
#define UCB_CORE_PEAK_H

#include <stdint.h>

/* Highest resident memory since the last ucb_peak_restart that the system granted, or since
 * the program began; bytes. */
uint64_t ucb_peak_rss(void);
/* Of the whole run, restarts or not. */
uint64_t ucb_peak_rss_ever(void);
/* From now on ucb_peak_rss speaks of what follows. Where the system does not let a process
 * restart its own mark, it goes on speaking of all. One thread. */
void ucb_peak_restart(void);

#endif
