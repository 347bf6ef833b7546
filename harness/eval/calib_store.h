/*
 * calib_store.h - statistics of a model's inputs on disk.
 *
 * A set is the folder <cache>/calib/<key>: a safetensors file for each layer and slot (the
 * first matrix that reads an input), and `complete`, written last, with the SHA-256 of
 * every file. Files appear whole (written beside, then renamed), a set without `complete`
 * does not exist, and two programs that save one set write the same bytes. Second moments
 * are stored as their upper triangle, row after row.
 */
#ifndef UCB_EVAL_CALIB_STORE_H
#define UCB_EVAL_CALIB_STORE_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/sha256.h"
#include "eval/calib.h"

struct ucb_calib_store {
    char folder[3072], key[UCB_SHA256_HEX];
    uint32_t n_layers, n_slots;     /* n_slots: of the fullest layer */
    char (*digest)[UCB_SHA256_HEX]; /* [n_layers][n_slots], "" where none was saved */
};
/* Names a set; touches no file. `cache` NULL: there is none, the set is absent and begin
 * fails with ENVIRONMENT. USAGE: too long a folder name. NOMEM. */
ucb_status ucb_calib_store_open(const char *cache, const char *key, uint32_t n_layers,
                                uint32_t n_slots, struct ucb_calib_store *out,
                                struct ucb_err *err);
void ucb_calib_store_close(struct ucb_calib_store *store); /* zeroed is fine */

/* Whether the set is there. Every file is read and its digest compared; a set with a file
 * that differs is told of on stderr and counts as absent. */
bool ucb_calib_store_complete(struct ucb_calib_store *store);

/* Saving: begin, any number of put, commit. IO, NOMEM. Statistics of an input never put are
 * absent from the set. */
ucb_status ucb_calib_store_begin(struct ucb_calib_store *store, struct ucb_err *err);
ucb_status ucb_calib_store_put(struct ucb_calib_store *store, uint32_t layer, size_t slot,
                               uint32_t n_in, const struct ucb_calib *calib,
                               struct ucb_err *err);
ucb_status ucb_calib_store_commit(struct ucb_calib_store *store, struct ucb_err *err);
/*
 * Of a complete set: the members that `needs` names, from `arena`, which is emptied first.
 * CORRUPT when the file changed after the set was checked; MISSING; NOMEM.
 */
ucb_status ucb_calib_store_get(const struct ucb_calib_store *store, uint32_t layer,
                               size_t slot, uint32_t n_in, uint32_t needs,
                               struct ucb_pool *pool, struct ucb_arena *arena,
                               struct ucb_calib *out, struct ucb_err *err);

#endif
