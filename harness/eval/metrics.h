/*
 * metrics.h - from the samples of a cell (and of its reference) to metrics with intervals.
 */
#ifndef UCB_EVAL_METRICS_H
#define UCB_EVAL_METRICS_H

#include "task/task.h"

/* docs/metrics.md defines every name, its interval and its n. */
struct ucb_metric {
    const char *name; /* a name of DESIGN.md's list, or one documented in db/README.md */
    double value, low, high; /* 95% interval; low and high NaN where none is defined (a
                                percentile, a maximum) */
    uint64_t n; /* what the interval rests on: documents, or items where each is a document
                   of its own */
    const char
        *interval;    /* "t-cluster", "wilson", "bootstrap", "bca", "newcombe", "none" */
    const char *note; /* a caveat to print beside the number, or NULL; constant, or from the
                         arena given */
};
enum { UCB_MAX_METRICS = 48 };

/* The samples of one cell, in item order. */
struct ucb_samples {
    const struct ucb_sample *samples;
    const uint32_t *document; /* of each sample */
    size_t n;
    const struct ucb_document
        *documents; /* words and bytes; NULL unless the unit is PER_WORD */
    size_t n_documents;
};

/*
 * Fills out[0 .. *n_out), at most UCB_MAX_METRICS. `reference` NULL (the cell is the
 * original itself, or the original failed) leaves out everything that compares. The
 * bootstrap stream is named (seed, task_spec, "bootstrap"), so the same resamples serve
 * every cell. Scratch memory from `arena`. USAGE when the two do not have the same items.
 */
ucb_status ucb_metrics_compute(const struct ucb_task *task, const char *task_spec,
                               const struct ucb_samples *cell,
                               const struct ucb_samples *reference, uint64_t seed,
                               struct ucb_arena *arena, struct ucb_metric *out,
                               size_t *n_out, struct ucb_err *err);

#endif
