/*
 * packfile_write.h - writes a pack: a model's matrices as a chain leaves them, and all that
 * is needed to put a checkpoint together again.
 */
#ifndef UCB_PACK_PACKFILE_WRITE_H
#define UCB_PACK_PACKFILE_WRITE_H

#include "eval/layer_work.h"
#include "pack/packfile.h"

/* Everything is borrowed. */
struct ucb_packfile_options {
    const struct ucb_checkpoint *checkpoint;
    const struct ucb_chain *chain;
    /* NULL where ucb_packfile_is_whole(): the rest is then not looked at. */
    const struct ucb_model *model;
    struct ucb_loader *loader;         /* of this model; it is watched */
    struct ucb_calibrator *calibrator; /* NULL: the chain needs none */
    struct ucb_layer_work *work;       /* NULL: the chain tunes nothing */
    const struct ucb_writer *shared;   /* side data; empty: it has none */
    struct ucb_pool *pool;
    enum ucb_scope scope;
    uint64_t seed;
    const char *calib; /* ucb_calib_identity, "" for a chain that needs none */
    const char *out, *label;
};

/* `lossless` alone codes every tensor of the files, whatever the scope and whether or not
 * the engine knows the architecture; `none` stores them. */
bool ucb_packfile_is_whole(const struct ucb_chain *chain);

/*
 * Writes `options->out`, which is left as it was on any failure. The bytes depend on model,
 * chain, scope, seed, calibration and build only. UNSUPPORTED: a tensor that the chain
 * takes only in part; gains that the model's files cannot hold. What loading, compressing
 * and writing may answer.
 */
ucb_status ucb_packfile_write(const struct ucb_packfile_options *options,
                              struct ucb_err *err);

#endif
