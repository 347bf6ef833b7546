/*
 * compare.h - any two cells on the same items: paired intervals, tests and a verdict, from
 * their samples alone.
 *
 * "Before" is the first cell, "after" the second; every difference is after against before.
 * docs/statistics.md has the formulas and the rules of the verdicts.
 */
#ifndef UCB_EVAL_COMPARE_H
#define UCB_EVAL_COMPARE_H

#include "eval/metrics.h"
#include "stats/equivalence.h"

/* Differences too small to matter. */
struct ucb_bands {
    struct ucb_band ppl;      /* of the perplexity ratio, around 1 */
    struct ucb_band accuracy; /* of the difference of accuracies, around 0 */
    double ear;               /* an expected acceptance rate above it */
};
extern const struct ucb_bands ucb_bands_default; /* [0.995, 1.005], +-0.005, 0.99 */

/* What a cell's divergences are measured against. */
enum ucb_divergence_of {
    UCB_DIVERGES_UNKNOWN, /* a third cell that both share, or not the same one */
    UCB_AFTER_FROM_BEFORE,
    UCB_BEFORE_FROM_AFTER
};

struct ucb_compare_job {
    const struct ucb_task *task;
    const char *task_spec;
    const struct ucb_samples *before, *after;
    enum ucb_divergence_of divergence;
    struct ucb_bands bands;
    uint64_t seed;       /* of the run: names the bootstrap's stream */
    size_t n_replicates; /* of the bootstrap; 0: none */
    struct ucb_arena *arena;
};

/* One quantity that the verdict rests on. */
struct ucb_criterion {
    const char *name; /* "ppl_ratio", "accuracy_difference", "ear" */
    bool present;
    const char *interval;         /* "t-cluster", "tango", "none" */
    struct ucb_evidence evidence; /* value, 95% and 90% interval, band */
    double tost_p;
    double worse_p;   /* one-sided, against "no worse than no_change"; NaN: no interval */
    double mde;       /* the smallest change from no_change found with 80% power; NaN */
    double n_decides; /* documents that would decide; NaN unless inconclusive, inf: none */
    enum ucb_verdict verdict;
    bool below_floor; /* an arithmetic of the original alone changes as much */
};
enum { UCB_CRITERION_PPL, UCB_CRITERION_ACCURACY, UCB_CRITERION_EAR, UCB_N_CRITERIA };

/* Fills in all but name, band and direction (which `evidence` holds already) from the fit
 * of a mean. */
void ucb_criterion_fit(struct ucb_criterion *c, const struct ucb_cluster_fit *fit);

#define UCB_KLD_SHOWN_LIST(X) \
    X(p50, 0.5) X(p90, 0.9) X(p95, 0.95) X(p99, 0.99) X(p999, 0.999) X(max, 1)
enum {
#define UCB_KLD_SHOWN_ENUM(name, p) UCB_KLD_##name,
    UCB_KLD_SHOWN_LIST(UCB_KLD_SHOWN_ENUM)
#undef UCB_KLD_SHOWN_ENUM
        UCB_N_KLD_SHOWN
};
/* A cell against its original. */
struct ucb_divergence {
    bool present; /* the original itself has none */
    struct ucb_estimate kld_mean, ear;
    double kld[UCB_N_KLD_SHOWN];
};

struct ucb_comparison {
    enum ucb_verdict verdict;
    bool contradicted;    /* inconclusive because criteria point both ways */
    bool below_floor;     /* inconclusive, and no number of documents changes that: what is
                             seen is not above the noise floor */
    bool kld_below_floor; /* no divergence from the original is above the floor's */
    bool items_equal;     /* every stored score is the same bits */
    size_t n_items, n_documents, n_tokens;
    struct ucb_criterion criteria[UCB_N_CRITERIA];
    double n_decides;              /* the largest of the criteria; NaN where none has one */
    struct ucb_estimate ratio_bca; /* of the perplexity ratio; NaN ends without bootstrap */
    bool ends_differ;              /* BCa and t by more than a tenth of the width */
    bool has_accuracy;
    struct ucb_estimate accuracy[2]; /* Wilson or t-cluster, before and after */
    struct ucb_estimate retention;   /* value NaN where nothing can be retained */
    bool has_tests;                  /* each item is a document of its own */
    struct ucb_estimate newcombe; /* of the difference, beside the criterion's interval */
    struct ucb_mcnemar mcnemar;
    uint64_t n_lost, n_won;
    size_t lost_item, won_item;          /* the first of each; SIZE_MAX: none */
    struct ucb_divergence divergence[2]; /* before, after */
};

/* USAGE when the cells do not have the same items; NOMEM. */
ucb_status ucb_compare(const struct ucb_compare_job *job, struct ucb_comparison *out,
                       struct ucb_err *err);

/*
 * Takes back what the noise floor can explain: `floor` compares the original with itself in
 * another arithmetic on the same items. A perplexity ratio nearer to 1 than the floor's
 * farther end, an accuracy difference not above the floor's share of flips, an EAR not
 * below the floor's lower end is marked below_floor, and is no longer worse or better but
 * inconclusive. Where the cells have divergences from the original and the floor has one,
 * and no cell's is shown to be larger (the lower end of the interval of its mean above the
 * floor's mean), all criteria are. What is equivalent stays so.
 */
void ucb_compare_apply_floor(struct ucb_comparison *comparison,
                             const struct ucb_comparison *floor);

#endif
