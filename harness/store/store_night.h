/*
 * store_night.h - what the nightly gate reads and leaves in a database: runs and their
 * cells, timings, and the evidence that accumulates over nights.
 *
 * Everything returned lives in the arena given. A night is named by its date, YYYY-MM-DD.
 */
#ifndef UCB_STORE_STORE_NIGHT_H
#define UCB_STORE_STORE_NIGHT_H

#include "store/store_read.h"

/* ---- runs ---- */

struct ucb_stored_run {
    int64_t run_id;
    const char *build_id, *started; /* UTC, ISO 8601 */
    bool ended;                     /* false: killed, or still running */
    size_t n_cells;
};
/* Runs that hold results, oldest first. */
ucb_status ucb_store_runs(struct ucb_store *store, struct ucb_arena *arena,
                          struct ucb_stored_run **runs, size_t *n_runs,
                          struct ucb_err *err);

/* A cell that a run counts as its own. */
struct ucb_run_cell {
    const struct ucb_stored_cell *cell;
    double bpw_matrices;            /* NaN where nothing was counted */
    double ppl, accuracy, kld_mean; /* as stored; NaN where it has none */
    char digest[UCB_SHA256_HEX];
};
/* The results of a run in the order of `all` (ucb_store_cells), digests left empty. */
ucb_status ucb_store_run_cells(struct ucb_store *store, int64_t run_id,
                               const struct ucb_stored_cell *all, size_t n_all,
                               struct ucb_arena *arena, struct ucb_run_cell **cells,
                               size_t *n_cells, struct ucb_err *err);
/* Takes the digest of its result. */
ucb_status ucb_store_digest_cell(struct ucb_store *store, struct ucb_run_cell *cell,
                                 struct ucb_err *err);

/* ---- timings ---- */

struct ucb_timing {
    const char *night, *name, *build_id;
    bool is_candidate; /* else the baseline's program */
    bool is_rerun;     /* measured again to confirm a change */
    uint32_t round;
    double seconds;
};
/* By name, then night, then as they were taken. */
ucb_status ucb_store_timings(struct ucb_store *store, struct ucb_arena *arena,
                             struct ucb_timing **timings, size_t *n_timings,
                             struct ucb_err *err);
/*
 * Takes the costs of the database at `path`, the small sweep of one repeat, as the times of
 * (night, side, rerun, round), in place of what stood there: of each model and method
 * "MODEL/SPEC encode" and "... decode", of each cell "MODEL/SPEC/TASK score", seconds per
 * 1,000 tokens. What took less than 10 ms is left out, a clock's noise, and what failed.
 * MISSING: no such database, or no cell in it.
 */
ucb_status ucb_store_import_times(struct ucb_store *store, const char *path,
                                  const struct ucb_timing *which, struct ucb_err *err);

/* ---- evidence ---- */

struct ucb_stored_evidence {
    const char *cell_id, *night;
    int64_t baseline_run, candidate_run;
    uint64_t n_lost, n_won;
    double log_e;
    const uint32_t *items;
    size_t n_items;
};
/* Of one baseline, by cell, then night. */
ucb_status ucb_store_evidence(struct ucb_store *store, int64_t baseline_run,
                              struct ucb_arena *arena,
                              struct ucb_stored_evidence **evidence, size_t *n,
                              struct ucb_err *err);
/* All rows or none. A night that has fed a cell before is left as it stands. */
ucb_status ucb_store_put_evidence(struct ucb_store *store,
                                  const struct ucb_stored_evidence *evidence, size_t n,
                                  struct ucb_err *err);

#endif
