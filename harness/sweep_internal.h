/*
 * sweep_internal.h - what the two halves of a sweep share: cells on their way from the plan
 * to the store.
 */
#ifndef UCB_SWEEP_INTERNAL_H
#define UCB_SWEEP_INTERNAL_H

#include "core/progress.h"
#include "eval/eval.h"
#include "model/tokenizer.h"
#include "sweep.h"

enum { UCB_SWEEP_MAX_TASKS = 32, UCB_SWEEP_MAX_METHODS = 1024 };

struct ucb_sweep_task {
    struct ucb_task_run run;
    const char *dataset;
    char dataset_digest[UCB_SHA256_HEX];
    struct ucb_items items;
    bool loaded;
};

struct ucb_sweep_method {
    struct ucb_chain *chain;
    uint32_t wanted, pending; /* bit t: task slot t */
    struct ucb_cell cell[UCB_SWEEP_MAX_TASKS];
};

/* Everything that shares one original's pass. */
struct ucb_sweep_group {
    const struct ucb_sweep_options *options;
    struct ucb_sweep_counts *counts;
    const char *model_name;
    struct ucb_model *model;
    struct ucb_tokenizer *tokenizer;
    const char *model_digest, *note;
    enum ucb_scope scope;
    enum ucb_arithmetic arithmetic;
    uint64_t seed;
    struct ucb_backend *backend;
    struct ucb_arena arena;
    struct ucb_sweep_task tasks[UCB_SWEEP_MAX_TASKS];
    size_t n_tasks;
    struct ucb_sweep_method *methods; /* [0] is the original */
    size_t n_methods;
    struct ucb_progress progress;
};

/*
 * Stores all pending cells of one method; set[i] is the task of the i-th set of the
 * evaluation. A method that failed becomes failed rows. `own` is `original` for the
 * original itself.
 */
ucb_status ucb_sweep_store_method(struct ucb_sweep_group *g,
                                  const struct ucb_sweep_method *m, const size_t *set,
                                  size_t n_sets, const struct ucb_eval_result *own,
                                  const struct ucb_eval_result *original,
                                  struct ucb_err *err);

/* What must be said with every result on the group's model, or NULL: the catalogue's caveat
   and the reader's warning. From the group's arena. */
const char *ucb_sweep_note(struct ucb_sweep_group *g);

#endif
