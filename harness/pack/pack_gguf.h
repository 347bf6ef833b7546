/*
 * pack_gguf.h - a model, compressed or not, as one GGUF file that llama.cpp loads.
 */
#ifndef UCB_PACK_PACK_GGUF_H
#define UCB_PACK_PACK_GGUF_H

#include "eval/loader.h"

/* In what form the matrices that a method took stand in the file. */
enum ucb_pack_form {
    UCB_PACK_SOURCE, /* nothing was compressed: the source's own bytes */
    UCB_PACK_LAYOUT, /* the method's payload is a GGUF type */
    UCB_PACK_DECODED /* the values that the method's payload decodes to, in the dtype it
                        deploys */
};

/* Everything is borrowed. */
struct ucb_pack_options {
    const struct ucb_model *model;
    const struct ucb_chain *chain;
    struct ucb_loader *loader;         /* of this model; pack watches it */
    struct ucb_calibrator *calibrator; /* of this chain; NULL: it needs none */
    enum ucb_scope scope;              /* the loader's */
    const char *out, *label;           /* label: for the progress line */
};

struct ucb_pack_result {
    enum ucb_pack_form form;
    enum ucb_dtype dtype; /* of the compressed matrices where form is DECODED */
    uint64_t file_bytes, tensor_bytes, n_elements;
    uint64_t matrix_bytes, n_weights; /* written for matrices in scope, and their weights */
    uint64_t extra_bytes; /* written for matrices that the method took beside the scope */
    uint64_t type_tensors[UCB_N_DTYPES], type_elements[UCB_N_DTYPES],
        type_bytes[UCB_N_DTYPES];
};

/*
 * Writes `options->out`, which is left as it was on any failure. Holds one matrix beside
 * what the loader holds. USAGE: rows that are no whole blocks; what loading, compressing
 * and writing may answer.
 */
ucb_status ucb_pack_gguf(const struct ucb_pack_options *options,
                         struct ucb_pack_result *out, struct ucb_err *err);

#endif
