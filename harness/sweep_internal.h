/*
 * sweep_internal.h - what the two halves of a sweep share: cells on their way from the plan
 * to the store.
 */
#ifndef UCB_SWEEP_INTERNAL_H
#define UCB_SWEEP_INTERNAL_H

#include "core/progress.h"
#include "eval/calib_spec.h"
#include "eval/eval.h"
#include "model/tokenizer.h"
#include "sweep.h"

enum { UCB_SWEEP_MAX_TASKS = 32, UCB_SWEEP_MAX_METHODS = 1024, UCB_SWEEP_MAX_CALIBS = 16 };

struct ucb_sweep_task {
    struct ucb_task_run run;
    const char *dataset;
    char dataset_digest[UCB_SHA256_HEX];
    struct ucb_items items;
    bool loaded;
};

/* A calibration that some method of the group needs. */
struct ucb_sweep_calib {
    struct ucb_calib_spec spec;
    char digest[UCB_SHA256_HEX]; /* of the text */
    char identity[UCB_CALIB_IDENTITY];
    char file[512]; /* where the text is, and its size */
    uint64_t n_bytes;
    struct ucb_calib_text text; /* its ids are NULL until ucb_sweep_calib_load */
};

struct ucb_sweep_method {
    struct ucb_chain *chain;
    struct ucb_sweep_calib *calib; /* NULL: the chain needs none */
    const char *misfit;       /* why it cannot take the model's matrices; NULL: it can */
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
    const char *arithmetic_identity;
    uint64_t seed;
    struct ucb_backend *backend;
    struct ucb_arena arena;
    struct ucb_sweep_task tasks[UCB_SWEEP_MAX_TASKS];
    size_t n_tasks;
    struct ucb_sweep_calib calibs[UCB_SWEEP_MAX_CALIBS];
    size_t n_calibs;
    struct ucb_sweep_method *methods; /* [0] is the original */
    size_t n_methods;
    struct ucb_sweep_method floor; /* the original in another arithmetic */
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

/* The calibration of a chain where a row says `text` ('': the default); NULL for a chain
 * that needs none. USAGE, MISSING and CORRUPT as ucb_calib_parse and ucb_calib_load. */
ucb_status ucb_sweep_calib_slot(struct ucb_sweep_group *g, const struct ucb_chain *chain,
                                const char *text, struct ucb_sweep_calib **out,
                                struct ucb_err *err);
/* Tokenizes the text, once. */
ucb_status ucb_sweep_calib_load(struct ucb_sweep_group *g, struct ucb_sweep_calib *calib,
                                struct ucb_err *err);
/* What of that can be checked without a model. */
ucb_status ucb_sweep_calib_check(const struct ucb_chain *chain, const char *text,
                                 const char *data, bool compat, struct ucb_err *err);

/* Holds every method against the shapes of the matrices it would be given. */
ucb_status ucb_sweep_find_misfits(struct ucb_sweep_group *g, struct ucb_err *err);
/* Of a dry run: counts the cells that cannot run, and says why; else makes them failed
 * rows. Nothing of them is pending afterwards. */
ucb_status ucb_sweep_store_misfits(struct ucb_sweep_group *g, struct ucb_err *err);

/* What people call a cell: its spec, or "noise-floor". */
const char *ucb_sweep_cell_name(const struct ucb_cell *cell);
/* Whether the group may have a noise floor; cublas has no other arithmetic beside it. */
bool ucb_sweep_floor_asked(const struct ucb_sweep_group *g);
/* Whether row i of a plan, one of `mine`, asks for a noise floor of its task: something is
 * compressed, and no row before it that is not mine asks for the same one. */
bool ucb_sweep_floor_owned(const struct ucb_plan *plan, const bool *mine, size_t i);
/* Turns a cell of the original in the group's arithmetic into the floor's; its id is to be
 * made anew. */
void ucb_sweep_floor_cell(const struct ucb_sweep_group *g, struct ucb_cell *cell);
/* Scores the floor and stores its pending cells. Of an original that is `lost` it fails as
 * the methods do. */
ucb_status ucb_sweep_floor_run(struct ucb_sweep_group *g, struct ucb_eval *eval,
                               const size_t *set, size_t n_sets,
                               const struct ucb_eval_result *original, bool lost,
                               struct ucb_err *err);

/*
 * Sets g->note: what must be said with every result on the group's model, or NULL: that its
 * weights lie on a low-bit grid (as the database knows, or the detector finds now), the
 * catalogue's caveat, the reader's warning. From the group's arena. NOMEM, IO.
 */
ucb_status ucb_sweep_lattice(struct ucb_sweep_group *g, struct ucb_err *err);

enum { UCB_SWEEP_RESIDENT_COSTS = 4 };
/* What a method's layers cost in memory, and its products in time, where they stayed
 * encoded; *n is 0 where they did not. */
ucb_status ucb_sweep_resident_costs(const struct ucb_eval_result *r,
                                    struct ucb_metric out[UCB_SWEEP_RESIDENT_COSTS],
                                    size_t *n, struct ucb_err *err);
/* The same as a line on stderr. */
void ucb_sweep_resident_show(const struct ucb_sweep_method *m,
                             const struct ucb_eval_result *r);

#endif
