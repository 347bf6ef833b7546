/*
 * metrics_internal.h - the table of column sums that metrics.c makes its ratios of.
 */
#ifndef UCB_EVAL_METRICS_INTERNAL_H
#define UCB_EVAL_METRICS_INTERNAL_H

#include "eval/metrics.h"
#include "stats/proportion.h"

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
/* The half of it that only asks for equal items: sizes and documents. */
ucb_status ucb_metrics_check_items(const struct ucb_task *task,
                                   const struct ucb_samples *cell,
                                   const struct ucb_samples *reference,
                                   struct ucb_err *err);
/* What the task's perplexity is a mean over. */
enum ucb_metrics_column ucb_metrics_ppl_weight(const struct ucb_task *task);
/* Every document holds exactly one trial. */
bool ucb_metrics_one_trial_each(const struct ucb_metrics_run *run,
                                enum ucb_metrics_column trials);
/* above / below is the same in every document: no spread to see. */
bool ucb_metrics_same_ratio(const struct ucb_metrics_run *run,
                            enum ucb_metrics_column above, enum ucb_metrics_column below);
/* Verdicts before and after, of documents that hold one trial each. */
struct ucb_paired_counts ucb_metrics_count_pairs(const struct ucb_metrics_run *run,
                                                 enum ucb_metrics_column before,
                                                 enum ucb_metrics_column after);
/* All items' KLD values in one list, ascending; *n_values 0 when one is NaN and has no
 * rank. NULL without memory. */
double *ucb_metrics_sorted_kld(const struct ucb_samples *cell, struct ucb_arena *arena,
                               size_t *n_values);
/* Fills run->columns and run->n_documents from the samples. NOMEM. */
ucb_status ucb_metrics_make_columns(struct ucb_metrics_run *run);
ucb_status ucb_metrics_no_memory(struct ucb_metrics_run *run, const char *what);

#endif
