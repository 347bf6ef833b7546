/*
 * sweep.h - from a plan to stored cells: identify, skip what is finished, evaluate per
 * model, store as soon as it is known.
 */
#ifndef UCB_SWEEP_H
#define UCB_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "backend/backend.h"
#include "core/pool.h"
#include "plan/plan.h"
#include "store/store.h"

struct ucb_sweep_options {
    const char *data;  /* "mini" or a folder */
    const char *cache; /* NULL: none is known */
    enum ucb_kernel kernel;
    struct ucb_pool *pool;
    size_t batch;
    uint64_t memory_bytes;
    bool dry_run;
    bool keep_encoded; /* --resident encoded */
    bool noise_floor;  /* one for each model and task that something is compressed on */
    bool compat;     /* the test text that a published protocol calibrated on is allowed */
    json_t *listing; /* a dry run's cells as JSON objects; NULL: as lines on stdout */
    struct ucb_store *store; /* NULL only with dry_run: nothing is finished yet */
    int64_t run_id;
};

/* What became of the plan's cells. */
struct ucb_sweep_counts {
    size_t n_cells, n_new, n_finished_before, n_failed, n_checks_failed;
};

/*
 * Checks every row of a plan as far as that goes without opening a model: specs, data,
 * numbers, names. USAGE names the plan's line. A sweep starts with it, before a database is
 * made or an hour is spent on other rows. Where a method needs calibration and its row
 * names none, a line on stderr says which one is used.
 */
ucb_status ucb_sweep_check(const struct ucb_plan *plan,
                           const struct ucb_sweep_options *options, struct ucb_err *err);

/*
 * Runs a checked plan, one model (and arithmetic, scope, seed) after the other. A cell that
 * fails becomes a row and a line on stderr, and so does every cell of an original that
 * cannot be scored. A model whose files cannot be read is reported, the others run, and its
 * status is the sweep's. What concerns all (the store, memory) ends the sweep at once.
 */
ucb_status ucb_sweep_run(const struct ucb_plan *plan,
                         const struct ucb_sweep_options *options,
                         struct ucb_sweep_counts *counts, struct ucb_err *err);

#endif
