/*
 * eval.h - layer-major evaluation: all tokens of all tasks go through one layer, then the
 * next is loaded.
 *
 * The original's pass runs once; its final hidden states are kept and every group of
 * methods is compared with them. What a method's pass yields is samples, one per item.
 */
#ifndef UCB_EVAL_EVAL_H
#define UCB_EVAL_EVAL_H

#include "core/progress.h"
#include "eval/calib.h"
#include "eval/loader.h"
#include "eval/resident_cost.h"
#include "task/task.h"

struct ucb_eval_options {
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    enum ucb_scope scope;
    uint64_t seed;
    const char *model_digest;
    size_t batch;          /* rows of one product */
    uint64_t memory_bytes; /* hidden states beyond it go to files */
    const char *cache; /* folder of those files, and of saved calibrations; NULL: none; what
                          cannot do without fails with ENVIRONMENT */
    const struct ucb_calib_text *calib; /* for chains that need one; NULL: none */
    bool keep_encoded; /* layers stay encoded while they run, and what that costs is
                          measured on the first */
};

/* What one method's pass gave. `status` not OK: `err` says why and there are no samples. */
struct ucb_eval_result {
    ucb_status status;
    struct ucb_err err;
    struct ucb_tally tally;
    char weights_digest[UCB_SHA256_HEX];
    double tokens_per_second;
    struct ucb_resident_cost resident; /* n_matrices is 0 where nothing stayed encoded */
    struct ucb_layer_record *layers;   /* [n_layers]; from `arena` */
    struct ucb_sample **samples;       /* [set][item]; from `arena` */
    struct ucb_arena arena;            /* owned by the result */
};
void ucb_eval_result_free(struct ucb_eval_result *result);

struct ucb_eval;
/* `sets`: the items of each task; borrowed, like the model and the options' members. NOMEM;
   USAGE: a window longer than the model's positions; CORRUPT: an id past the vocabulary. */
ucb_status ucb_eval_open(struct ucb_model *model, const struct ucb_eval_options *options,
                         const struct ucb_items *const *sets, size_t n_sets,
                         struct ucb_eval **out, struct ucb_err *err);
void ucb_eval_close(struct ucb_eval *eval); /* NULL is fine */
/* The calibration text of the groups from now on, in the place of the option's; borrowed.
 * NULL: none. */
void ucb_eval_set_calib(struct ucb_eval *eval, const struct ucb_calib_text *calib);
/* Tokens that go through the model for one method. */
size_t ucb_eval_n_tokens(const struct ucb_eval *eval);
/* How many methods one group may hold: what fits the memory (with a calibration's hidden
 * states where one may be needed), at most 4 so that finished cells are stored soon. */
size_t ucb_eval_group_limit(const struct ucb_eval *eval);

/* The original's own pass; call it once, before any group. Fails as a whole. */
ucb_status ucb_eval_original(struct ucb_eval *eval, const struct ucb_chain *none,
                             struct ucb_progress *progress, struct ucb_eval_result *result,
                             struct ucb_err *err);
/*
 * The original once more, in the arithmetic of `backend` (another one than the options'),
 * scored against its own pass: what rounding alone changes. Call it after
 * ucb_eval_original; results and failures are as in a group of one. Its weights are counted
 * as of scope body, whatever the options': no scope has a part in it. `reference`: a
 * backend of the options' arithmetic that makes the original's logits beside the others,
 * where the options' is a device, which cannot; else NULL.
 */
ucb_status ucb_eval_noise_floor(struct ucb_eval *eval, struct ucb_backend *reference,
                                struct ucb_backend *backend, struct ucb_progress *progress,
                                struct ucb_eval_result *result, struct ucb_err *err);
/*
 * A group of methods, each with a calibration of its own where it needs one (the original's
 * pass over the text is made by the first that finds none saved). A method that fails has
 * its status in its result and the others go on; the call itself fails only for what
 * concerns all (memory). Progress grows by ucb_eval_n_tokens() for each method.
 */
ucb_status ucb_eval_group(struct ucb_eval *eval, const struct ucb_chain *const *chains,
                          size_t n_chains, struct ucb_progress *progress,
                          struct ucb_eval_result *results, struct ucb_err *err);

#endif
