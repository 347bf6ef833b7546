/*
 * tuner.h - the work of a TUNE stage on a model, one layer at a time: the original's hidden
 * states of the calibration text on both sides of the layer, the layer's loss and its
 * gradients, and what is stored in the end.
 *
 * In memory are the text's states before and after one layer and a few copies of that
 * layer, whatever the depth.
 */
#ifndef UCB_EVAL_TUNER_H
#define UCB_EVAL_TUNER_H

#include "eval/calib.h"
#include "eval/loader.h"

/* How a layer came out. Losses are means over the same windows, spaced evenly over the
 * text, of what is stored: before the stage and after it. */
struct ucb_tuned {
    double loss_before, loss_after;
    double seconds;
};

struct ucb_tuner;
/* The original's embedding of the text. The options are those of a calibration; everything
 * is borrowed. The chain ends in a TUNE stage. UNSUPPORTED: a head that does not fit the
 * memory where the objective wants it; USAGE: nothing in the chain can be moved. NOMEM,
 * IO. */
ucb_status ucb_tuner_open(const struct ucb_calibrator_options *options,
                          const struct ucb_chain *chain, struct ucb_tuner **out,
                          struct ucb_err *err);
/*
 * Tunes one layer; layers ascend from 0. payload[slot] of ucb_model_layer_matrices() is
 * what the stages before wrote, empty where the chain does not take the matrix, and is
 * rewritten; `context` has the chain's side data. `gains` is reset and gets the layer's
 * tuned norm gains, nothing where they stay.
 */
ucb_status ucb_tuner_layer(struct ucb_tuner *tuner, uint32_t layer,
                           const struct ucb_chain_context *context,
                           struct ucb_writer *payload, struct ucb_writer *gains,
                           struct ucb_tuned *out, struct ucb_err *err);
/* The layer as it will run: where inputs come from tuned layers, the text goes on through
 * it. To be called after each layer, also where an earlier run has tuned it. */
ucb_status ucb_tuner_layer_done(struct ucb_tuner *tuner, uint32_t layer,
                                const struct ucb_layer *built, struct ucb_err *err);
/* The original's states go through a layer that an earlier run has tuned. */
ucb_status ucb_tuner_skip(struct ucb_tuner *tuner, uint32_t layer, struct ucb_err *err);
void ucb_tuner_close(struct ucb_tuner *tuner); /* NULL is fine */

#endif
