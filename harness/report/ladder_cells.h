/*
 * ladder_cells.h - the cells of one task that the ladder report compares, with their items,
 * and what is computed from two cells or from the cells of several models.
 *
 * Taken are cells of scope body in fp32, of each model and spec one: of several
 * calibrations the first that did not see the test text, of several seeds the lowest.
 */
#ifndef UCB_REPORT_LADDER_CELLS_H
#define UCB_REPORT_LADDER_CELLS_H

#include "report/report.h"
#include "stats/bootstrap.h"
#include "stats/estimate.h"
#include "task/task.h"

/* Replicates of the cohort's intervals; 2.5% of them are 50. */
enum { UCB_LADDER_REPLICATES = 2000 };

/* The metrics shown, as they stand in v_results. */
#define UCB_LADDER_METRICS(X) X(t1_ret) X(t1_agree) X(ppl_ratio)
enum ucb_ladder_metric {
#define UCB_LADDER_METRIC(name) UCB_LADDER_##name,
    UCB_LADDER_METRICS(UCB_LADDER_METRIC)
#undef UCB_LADDER_METRIC
        UCB_LADDER_N_METRICS
};

struct ucb_ladder_cell {
    int64_t cell_key;
    const char *model, *spec, *calib;
    const char *message; /* why it failed, or a caveat; NULL */
    bool failed, contaminated;
    double bpw_nominal, bpw_matrices, bpw_model; /* NaN where unknown */
    int64_t seed, n_items;
    struct ucb_estimate metrics[UCB_LADDER_N_METRICS]; /* NaN where absent */
};
struct ucb_ladder_cells {
    struct ucb_task_run task;
    const char *dataset;
    struct ucb_ladder_cell *cells; /* by model, then spec */
    size_t n_cells;
};

/*
 * Of job->task, a spec or a task's name; NULL: of `preferred`, or where the database does
 * not have it of the task most like it. In job->arena. MISSING lists the tasks there are;
 * USAGE: perplexity per word.
 */
ucb_status ucb_ladder_cells_load(struct ucb_report_job *job, const char *preferred,
                                 struct ucb_ladder_cells *out, struct ucb_err *err);

/* The model's cell of exactly this spec, else of the one that differs in the steps of its
 * distillation alone, the most steps first; NULL: there is none. */
const struct ucb_ladder_cell *ucb_ladder_find(const struct ucb_ladder_cells *cells,
                                              const char *model, const char *spec);
/* The model's cell of exactly this spec, or NULL. */
const struct ucb_ladder_cell *ucb_ladder_exact(const struct ucb_ladder_cells *cells,
                                               const char *model, const char *spec);
/* The steps of a chain that ends in a distillation; -1: it does not. */
long ucb_ladder_steps(const char *spec);

/* What a cell's documents add to ratios against another cell of the same items. */
struct ucb_ladder_pair {
    struct ucb_bootstrap_row *rows; /* [n_documents]; ratio k: enum ucb_ladder_metric; of
                                       ppl_ratio its logarithm */
    size_t n_documents;
};
/* In job->arena. CORRUPT: items that do not match. */
ucb_status ucb_ladder_pair(struct ucb_report_job *job, const struct ucb_ladder_cells *cells,
                           const struct ucb_ladder_cell *cell,
                           const struct ucb_ladder_cell *reference,
                           struct ucb_ladder_pair *out, struct ucb_err *err);
/* The perplexity of a cell over the reference's, clustered by document: ppl_ratio where the
 * reference is the original. */
ucb_status ucb_ladder_ratio(struct ucb_report_job *job,
                            const struct ucb_ladder_cells *cells,
                            const struct ucb_ladder_cell *cell,
                            const struct ucb_ladder_cell *reference,
                            struct ucb_estimate *out, struct ucb_err *err);

/* A method on several models: means, of ppl_ratio the median. */
struct ucb_ladder_cohort {
    size_t n_models, n_catastrophic; /* ppl_ratio past 10 */
    size_t n_contaminated;
    double bpw_matrices;
    double low[UCB_LADDER_N_METRICS], high[UCB_LADDER_N_METRICS]; /* the models' extremes */
    struct ucb_estimate metrics[UCB_LADDER_N_METRICS];
};
/* Of the models' finished cells of `spec`; n_models 0: there is none. */
ucb_status ucb_ladder_cohort(struct ucb_report_job *job,
                             const struct ucb_ladder_cells *cells,
                             const char *const *models, size_t n_models, const char *spec,
                             struct ucb_ladder_cohort *out, struct ucb_err *err);

#endif
