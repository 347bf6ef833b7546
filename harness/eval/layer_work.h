/*
 * layer_work.h - the layers of a chain that ends in a TUNE stage: encoded, tuned, kept
 * under the cache folder, and then decoded from the bytes like any other. A run that was
 * killed goes on at the layer where it was.
 */
#ifndef UCB_EVAL_LAYER_WORK_H
#define UCB_EVAL_LAYER_WORK_H

#include "eval/calib.h"
#include "eval/loader.h"

struct ucb_layer_work;
/* As ucb_tuner_open(), which it calls when the first layer has to be made. *out is NULL for
 * a chain that tunes nothing. */
ucb_status ucb_layer_work_open(const struct ucb_calibrator_options *options,
                               const struct ucb_chain *chain, struct ucb_layer_work **out,
                               struct ucb_err *err);
/* In the place of ucb_loader_layer(), with losses in *record; layers ascend from 0. */
ucb_status ucb_layer_work_run(struct ucb_layer_work *work, struct ucb_loader *loader,
                              uint32_t layer, struct ucb_tally *tally,
                              struct ucb_calibrator *calibrator, struct ucb_layer *out,
                              struct ucb_layer_record *record, struct ucb_err *err);
/* The gains of the layer that ran last (see gains.h); no bytes where none were moved. */
const struct ucb_writer *ucb_layer_work_gains(const struct ucb_layer_work *work);
/* The last layer is done: what was kept stays for other tasks, unless it is large. */
void ucb_layer_work_finish(struct ucb_layer_work *work);
void ucb_layer_work_close(struct ucb_layer_work *work); /* NULL is fine */

#endif
