/*
 * layer_store.h - layers that a slow chain has finished, kept under the cache folder: a
 * killed sweep goes on at the layer where it was.
 *
 * What is kept is bytes: payloads, and gains. The files of a chain are named by SHA-256
 * over everything their bytes depend on, each carries its own digest, and one that is not
 * whole counts as absent.
 */
#ifndef UCB_EVAL_LAYER_STORE_H
#define UCB_EVAL_LAYER_STORE_H

#include "core/bytes.h"
#include "core/sha256.h"
#include "eval/calib.h"

/* A layer as bytes; owned by the caller. */
struct ucb_layer_bytes {
    size_t n_slots;
    struct ucb_writer *payload; /* [n_slots], empty where the chain leaves a matrix alone */
    struct ucb_writer gains;
    double loss_before, loss_after, tune_seconds, encode_seconds;
    uint64_t n_uncalibrated; /* of its matrices, as struct ucb_tally counts them */
};

struct ucb_layer_store {
    char folder[4096];
};
/* Names the folder; nothing is written yet. Without a cache nothing is found and put fails
 * with ENVIRONMENT. USAGE for a name that is too long, NOMEM. */
ucb_status ucb_layer_store_open(const struct ucb_calibrator_options *options,
                                const struct ucb_chain *chain, struct ucb_layer_store *out,
                                struct ucb_err *err);
/* False: the layer is not there, or not whole. */
bool ucb_layer_store_get(const struct ucb_layer_store *store, uint32_t layer,
                         struct ucb_layer_bytes *out);
/* Written so that a reader sees all of it or nothing. IO. */
ucb_status ucb_layer_store_put(const struct ucb_layer_store *store, uint32_t layer,
                               const struct ucb_layer_bytes *bytes, struct ucb_err *err);
/* Bytes of all layers' files. */
uint64_t ucb_layer_store_bytes(const struct ucb_layer_store *store, uint32_t n_layers);
/* Forgets what was kept. */
void ucb_layer_store_remove(const struct ucb_layer_store *store, uint32_t n_layers);

#endif
