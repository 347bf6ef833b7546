/*
 * store_read.h - cells and their items, read back from a database.
 *
 * Everything returned lives in the arena given.
 */
#ifndef UCB_STORE_STORE_READ_H
#define UCB_STORE_STORE_READ_H

#include "core/arena.h"
#include "store/store.h"

/* A row of `cells` with the newest run that counts it as its own. */
struct ucb_stored_cell {
    int64_t cell_key, newest_run;
    const char *cell_id, *build_id, *model, *model_digest, *scope, *spec, *calib, *task,
        *dataset, *dataset_digest, *arithmetic, *weights_digest;
    const char *reference;        /* the arithmetic of the original that a noise floor is
                                     compared with, "" otherwise */
    const char *message;          /* why it failed, or a caveat; NULL */
    const char *documents_digest; /* NULL: it failed */
    int64_t task_revision, arithmetic_revision, n_items;
    uint64_t seed;
    /* A noise floor is the original, too, but none that others are compared with. */
    bool failed, is_original, is_floor;
};

/* What people call the cell's spec: the spec, or "noise-floor". */
const char *ucb_stored_cell_spec(const struct ucb_stored_cell *cell);

/* All cells, by model, task, spec, arithmetic, then newest first. */
ucb_status ucb_store_cells(struct ucb_store *store, struct ucb_arena *arena,
                           struct ucb_stored_cell **cells, size_t *n_cells,
                           struct ucb_err *err);

/*
 * The one cell that `selector` names:
 *
 *     ID               the first digits of a cell id, at least 4
 *     MODEL/SPEC/TASK  each as stored, spec and task also cut at a ':' where nothing is
 *                      stored in just these words; * for any but noise floors, whose SPEC
 *                      is noise-floor; of the model its last part will do
 *
 * and behind either, after an @, an arithmetic or the first digits of a build. Of equal
 * cells of several builds the newest is taken. USAGE lists what is there, or which cells
 * the selector fits.
 */
ucb_status ucb_store_find_cell(const struct ucb_stored_cell *cells, size_t n_cells,
                               const char *selector, struct ucb_arena *arena,
                               const struct ucb_stored_cell **out, struct ucb_err *err);

/* Its items as samples, with its documents; kld is NULL for an original. CORRUPT: a row
 * that contradicts itself. */
ucb_status ucb_store_read_samples(struct ucb_store *store,
                                  const struct ucb_stored_cell *cell,
                                  struct ucb_arena *arena, struct ucb_samples *out,
                                  struct ucb_err *err);

#endif
