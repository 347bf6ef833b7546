/*
 * report_verbs.h - what tests of reports share: verbs called directly, a made-up database,
 * and cells to add to it.
 */
#ifndef UCB_TESTS_REPORT_VERBS_H
#define UCB_TESTS_REPORT_VERBS_H

#include "cmd.h"
#include "made_up.h"

/* Runs a verb with the words of a line; standard output goes to the file `stdout` of the
 * test's folder. */
ucb_status report_verb(const struct ucb_command *command, struct ucb_err *err,
                       const char *line);
/* `report NAME` of a database into the test's folder, with `options` behind (may be ""); it
 * must succeed. */
void report_make(const char *name, const char *db, const char *options);
/* A whole file of the test's folder as text, until the next call. */
const char *report_content(const char *name);
/* A new database of the made-up cells; its path. */
const char *report_database(void);
void report_needs_gnuplot(void); /* skips the test where it is not installed */
/* Stores a cell like the made-up one of the first model on wikitext, changed by the caller;
 * metrics NULL: the made-up ones. */
void report_put_calibrated(const char *path, const struct made_up_point *point,
                           const char *calib, const char *arithmetic, const char *scope,
                           uint64_t seed, const struct ucb_metric *metrics,
                           size_t n_metrics);
void report_put_changed(const char *path, const struct made_up_point *point,
                        const char *arithmetic, const char *scope, uint64_t seed,
                        const struct ucb_metric *metrics, size_t n_metrics);

#endif
