/*
 * progress.h - one line on stderr that says how far long work is and when it will be done.
 *
 * On a terminal the line is redrawn; otherwise a line is printed at most every ten seconds.
 * Nothing is printed for work shorter than a second, or after ucb_progress_quiet(true).
 */
#ifndef UCB_CORE_PROGRESS_H
#define UCB_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ucb_progress {
    char label[96];
    double total, done; /* in any unit of work */
    uint64_t start_ns, shown_ns;
    bool drawn;
};
void ucb_progress_start(struct ucb_progress *p, const char *label, double total);
/* Adds work done and, rarely, shows it. `note` says what is being done now; may be NULL.
 * One thread only. */
void ucb_progress_add(struct ucb_progress *p, double work, const char *note);
void ucb_progress_end(struct ucb_progress *p);
void ucb_progress_quiet(bool quiet);

/* Nanoseconds of a clock that never goes back; with the next one the only clock of the
 * program besides the store's time stamps. */
uint64_t ucb_clock_ns(void);
/* Nanoseconds that processors have spent in this process, all threads together. */
uint64_t ucb_busy_ns(void);

#endif
