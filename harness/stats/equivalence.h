/*
 * equivalence.h - what an estimate allows to be said: equivalent, worse, better, or nothing
 * yet.
 *
 * Equivalence is shown, never assumed: two one-sided tests (TOST; Schuirmann 1987) of size
 * alpha reject "outside the band" exactly when the 1 - 2 alpha interval lies inside it. Not
 * finding a difference shows nothing. Pure functions.
 */
#ifndef UCB_STATS_EQUIVALENCE_H
#define UCB_STATS_EQUIVALENCE_H

#include "stats/cluster.h"
#include "stats/tango.h"

/* Differences too small to matter, on the scale of the estimate; low < high. An end may be
 * infinite: then only the other is tested. */
struct ucb_band {
    double low, high;
};

/* The interval whose place inside a band is a TOST at the level that the intervals of
 * UCB_CONFIDENCE have. */
#define UCB_TOST_CONFIDENCE (2 * UCB_CONFIDENCE - 1)

/* The larger p-value of the two one-sided tests; NaN where the fit has no error. */
double ucb_tost_cluster(const struct ucb_cluster_fit *fit, struct ucb_band band);
double ucb_tost_paired(const struct ucb_paired_counts *counts, struct ucb_band band);

#define UCB_VERDICT_LIST(X)                   \
    X(UCB_VERDICT_IDENTICAL, "bit-identical") \
    X(UCB_VERDICT_EQUIVALENT, "equivalent")   \
    X(UCB_VERDICT_WORSE, "worse")             \
    X(UCB_VERDICT_BETTER, "better")           \
    X(UCB_VERDICT_INCONCLUSIVE, "inconclusive")
enum ucb_verdict {
#define UCB_VERDICT_ENUM(code, text) code,
    UCB_VERDICT_LIST(UCB_VERDICT_ENUM)
#undef UCB_VERDICT_ENUM
};
const char *ucb_verdict_text(enum ucb_verdict verdict);

/* One quantity as it is judged. */
struct ucb_evidence {
    struct ucb_estimate wide;   /* at UCB_CONFIDENCE */
    struct ucb_estimate narrow; /* at UCB_TOST_CONFIDENCE */
    double no_change;           /* the value of "nothing happened" */
    struct ucb_band band;
    double worse_sign; /* +1: larger is worse; -1: smaller is worse */
};
/*
 * Equivalent: the narrow interval lies strictly inside the band. Worse, better: the wide
 * interval excludes no_change and the value lies outside the band. Inconclusive otherwise,
 * and where an end is NaN.
 */
enum ucb_verdict ucb_judge(const struct ucb_evidence *evidence);

/*
 * The same for a difference of rates on the same items, which must also pass the exact
 * one-sided McNemar test at 1 - UCB_CONFIDENCE to be called worse or better: the score
 * interval is a large-sample one, and few flips would be called a loss too often.
 */
enum ucb_verdict ucb_judge_pairs(const struct ucb_evidence *evidence,
                                 const struct ucb_paired_counts *counts);

/* Several quantities of one pair: worse when one is worse and none better (and the other
 * way round), equivalent when all are, inconclusive otherwise; so also when they
 * contradict. n > 0; no element is IDENTICAL. */
enum ucb_verdict ucb_judge_all(const enum ucb_verdict *verdicts, size_t n);

#endif
