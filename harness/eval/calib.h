/*
 * calib.h - what the inputs of a layer's matrices look like on a calibration text: the
 * statistics that GPTQ, AWQ and importance matrices are made from.
 *
 * A calibration is named by a spec, "wikitext-valid:n=128,ctx=512,seed=0": a text that is
 * never one the tasks test on, how many windows of how many tokens, and the stream that
 * places them. `mode` says whose inputs are seen: `parallel`, the original model's;
 * `sequential`, those of the model as far as it is already compressed, inside a layer in
 * the order qkv, o, gate and up, down; `auto`, as each method's original does.
 *
 * Statistics are sums of doubles in token order: they do not depend on threads or batch.
 */
#ifndef UCB_EVAL_CALIB_H
#define UCB_EVAL_CALIB_H

#include "backend/backend.h"
#include "core/arena.h"
#include "core/progress.h"
#include "core/sha256.h"
#include "method/chain.h"
#include "model/forward.h"
#include "model/model.h"

struct ucb_tokenizer;

enum ucb_calib_mode { UCB_CALIB_AUTO, UCB_CALIB_SEQUENTIAL, UCB_CALIB_PARALLEL };

/* A parsed spec; `spec` is canonical (dataset, n, ctx, seed, then what is not default). */
struct ucb_calib_spec {
    const char *dataset; /* "wikitext-valid", "calib-mini" */
    uint32_t n, ctx;
    uint64_t seed;
    enum ucb_calib_mode mode;
    char spec[128];
};
/*
 * USAGE: a text that tasks test on ("wikitext-test", "lambada", "wiki_mini", ...; the
 * message says why), an unknown one or an unknown key (near matches are named), a number
 * out of range.
 */
ucb_status ucb_calib_parse(const char *text, struct ucb_calib_spec *out,
                           struct ucb_err *err);
/* The same, and takes the test text that a published protocol calibrated on,
 * "wikitext-test:n=32,ctx=512,seed=123": whatever comes of it must be marked. */
ucb_status ucb_calib_parse_compat(const char *text, struct ucb_calib_spec *out,
                                  struct ucb_err *err);
/* The spec that a sweep uses when none is given, for `data` as in task.h. */
const char *ucb_calib_default(const char *data);

/* The windows of a spec, tokenized. */
struct ucb_calib_text {
    struct ucb_calib_spec spec;
    char digest[UCB_SHA256_HEX]; /* of the data set's file */
    uint32_t *ids;               /* [n_windows][ctx] */
    size_t n_windows;
};
/* Everything in *out comes from `arena`. MISSING says which file to put where; USAGE when
 * the text is shorter than one window; CORRUPT for a digest that differs. */
ucb_status ucb_calib_load(const struct ucb_calib_spec *spec, const char *data,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_calib_text *out, struct ucb_err *err);

/* Statistics of one input from its rows: begin, add in order, finish. */
struct ucb_collector;
/* needs: UCB_NEEDS_*. n_tokens: how many rows will come in all (places the sample); at most
 * n_sample of them are kept. NOMEM. */
ucb_status ucb_collector_open(uint32_t needs, uint32_t n_in, uint64_t n_tokens,
                              uint64_t n_sequences, uint32_t n_sample,
                              struct ucb_pool *pool, struct ucb_collector **out,
                              struct ucb_err *err);
void ucb_collector_add(struct ucb_collector *c, const float *x, size_t n_rows);
/* Points into the collector; nothing is added afterwards. Without a row,
 * all values are 0. */
void ucb_collector_finish(struct ucb_collector *c, struct ucb_calib *out);
void ucb_collector_close(struct ucb_collector *c); /* NULL is fine */
/* What one takes in memory. */
uint64_t ucb_collector_bytes(uint32_t needs, uint32_t n_in, uint32_t n_sample);

/* The calibration of one chain (or of the original, for all parallel ones) as it goes
 * through the layers beside the evaluation. */
struct ucb_calibrator;
struct ucb_calibrator_options {
    struct ucb_model *model;
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    const struct ucb_calib_text *text;
    const char *model_digest, *scope; /* with text and chain they name saved statistics */
    uint64_t seed;
    size_t batch;
    /* Of hidden states, which go to a file beyond it, and of statistics: where those of a
     * layer's inputs do not fit together, they are collected in several runs of the layer,
     * at least one input at a time. */
    uint64_t memory_bytes;
    const char *cache; /* folder; statistics are kept under it, by digest */
};
/*
 * For a chain that needs calibration. Statistics saved by an earlier run are reused;
 * otherwise, in parallel mode, this call runs the original over the text (with progress)
 * and saves them. NOMEM, IO, and what reading the model may answer.
 */
ucb_status ucb_calibrator_open(const struct ucb_calibrator_options *options,
                               const struct ucb_chain *chain, struct ucb_progress *progress,
                               struct ucb_calibrator **out, struct ucb_err *err);
/*
 * Statistics of what the matrix at `slot` of `layer` reads (the first of those that read
 * the same rows; see ucb_model_layer_matrices), valid until the next call. In sequential
 * mode the weights of `built` that come before the input are the compressed ones. Layers
 * ascend from 0, slots in their order. An expert's statistics are those of the rows sent to
 * it; where there were none, n_tokens is 0.
 */
ucb_status ucb_calibrator_input(struct ucb_calibrator *c, uint32_t layer, size_t slot,
                                const struct ucb_layer *built, struct ucb_calib *out,
                                struct ucb_err *err);
/* Whether ucb_calibrator_input() may be asked about every layer, at any time and without
 * weights: the statistics are on disk. */
bool ucb_calibrator_has_all(const struct ucb_calibrator *c);
/* The layer is complete: sequential calibration moves on through it. */
ucb_status ucb_calibrator_layer_done(struct ucb_calibrator *c, uint32_t layer,
                                     const struct ucb_layer *built, struct ucb_err *err);
/* Some inputs are not asked for in this run: what is collected is not saved. */
void ucb_calibrator_incomplete(struct ucb_calibrator *c);
void ucb_calibrator_close(struct ucb_calibrator *c); /* NULL is fine */

#endif
