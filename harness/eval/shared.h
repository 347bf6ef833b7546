/*
 * shared.h - the side data of a chain over a model: all matrices that it takes go by, in
 * the model's order, as often as the fit asks for them. One matrix is in memory.
 */
#ifndef UCB_EVAL_SHARED_H
#define UCB_EVAL_SHARED_H

#include "core/progress.h"
#include "eval/loader.h"

struct ucb_shared_options {
    const struct ucb_model *model;
    struct ucb_pool *pool;
    enum ucb_scope scope;
    uint64_t seed;
    const char *model_digest;
    struct ucb_progress *progress; /* says which pass it is; NULL: nobody is told */
};
/*
 * Fits the side data of a chain before its first layer; `out` is empty afterwards where the
 * chain has none. Bytes and seconds are counted in `tally`. `calibrator` belongs to the
 * chain (NULL: it needs none) and must have all statistics at hand: USAGE where they come
 * layer by layer, from what is already compressed. NOMEM, and what the fit answers.
 */
ucb_status ucb_shared_fit(const struct ucb_shared_options *options,
                          const struct ucb_chain *chain, struct ucb_calibrator *calibrator,
                          struct ucb_tally *tally, struct ucb_writer *out,
                          struct ucb_err *err);

#endif
