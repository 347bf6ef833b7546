/*
 * metrics_internal.h - the table of column sums that metrics.c makes its ratios of.
 */
#ifndef UCB_EVAL_METRICS_INTERNAL_H
#define UCB_EVAL_METRICS_INTERNAL_H

#include "eval/metrics.h"

/* One double per document in each. */
enum ucb_metrics_column {
    TOKENS,
    ITEMS,
    WORDS,
    BYTES,       /* what is averaged over */
    TOP10_SLOTS, /* ten per token: where an overlap of top tens counts */
    NLL,
    NLL_GAP,
    KLD,
    EAR, /* NLL_GAP: the cell's less the reference's */
    T1_GT,
    T10_GT,
    CORRECT,
    T1_GT_LAST,
    T10_GT_LAST,
    T1_AGREE,
    T10_AGREE,
    T10_OVERLAP,
    T1_AGREE_LAST,
    REFERENCE_T1_GT,
    REFERENCE_T10_GT,
    REFERENCE_CORRECT,
    LOST,
    WON,
    WON_LESS_LOST,
    N_COLUMNS
};

/* One computation: its inputs, the columns, and the list that grows. */
struct ucb_metrics_run {
    const struct ucb_task *task;
    const struct ucb_samples *cell, *reference;
    const char *task_spec;
    uint64_t seed;
    struct ucb_arena *arena;
    double *columns[N_COLUMNS]; /* n_documents values each */
    size_t n_documents;         /* with items */
    struct ucb_metric *out;
    size_t n_out;
    struct ucb_err *err;
};

/* USAGE names the item that makes no sense, or that the two cells do not share. */
ucb_status ucb_metrics_check_cell(const struct ucb_task *task,
                                  const struct ucb_samples *cell, struct ucb_err *err);
ucb_status ucb_metrics_check_pair(const struct ucb_task *task,
                                  const struct ucb_samples *cell,
                                  const struct ucb_samples *reference, struct ucb_err *err);
/* Fills run->columns and run->n_documents from the samples. NOMEM. */
ucb_status ucb_metrics_make_columns(struct ucb_metrics_run *run);
ucb_status ucb_metrics_no_memory(struct ucb_metrics_run *run, const char *what);

#endif
