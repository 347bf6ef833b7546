/*
 * gains.h - a layer's norm gains as a TUNE stage leaves them: stored beside the payloads of
 * its matrices, in fp32.
 */
#ifndef UCB_EVAL_GAINS_H
#define UCB_EVAL_GAINS_H

#include "core/bytes.h"
#include "model/model.h"

/* Weights of the norms before and after mixer and MLP, of queries and keys, of latents. */
bool ucb_vector_is_gain(enum ucb_vector which);
/* Everything but what belongs to the model as a whole. */
bool ucb_vector_is_of_layer(enum ucb_vector which);

/* Bytes of the gains that vector[which] (UCB_N_VECTORS entries, NULL: none) holds; `out` is
 * reset first. Stored is what the engine multiplies by (1 + w where a file holds w). */
ucb_status ucb_gains_write(const struct ucb_model *model, uint32_t layer,
                           float *const *vector, struct ucb_writer *out,
                           struct ucb_err *err);
/* Writes stored gains over vector[which]. CORRUPT names the layer where the bytes do not
 * fit the model; no bytes at all leave every vector as it is. */
ucb_status ucb_gains_apply(const struct ucb_model *model, uint32_t layer,
                           const uint8_t *gains, size_t n_bytes, float *const *vector,
                           struct ucb_err *err);
/* What those vectors take in the model's own file: so many bytes are replaced. */
uint64_t ucb_gains_file_bytes(const struct ucb_model *model, uint32_t layer);

#endif
