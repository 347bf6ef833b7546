/*
 * report_data.h - the newest result of every cell of a database, with the metrics that
 * tables and charts show.
 */
#ifndef UCB_REPORT_REPORT_DATA_H
#define UCB_REPORT_REPORT_DATA_H

#include "core/bytes.h" /* enum ucb_part */
#include "report/report.h"

/* name in v_results, heading, decimals, factor (100: shown in percent) */
#define UCB_SHOWN_LIST(X)               \
    X(ppl, "ppl", 2, 1)                 \
    X(ppl_ratio, "ppl ratio", 3, 1)     \
    X(accuracy, "accuracy %", 1, 100)   \
    X(retention, "retention %", 1, 100) \
    X(t1_agree, "t1 agree %", 1, 100)   \
    X(kld_mean, "KLD mean", 4, 1)
enum ucb_shown {
#define UCB_SHOWN_ENUM(name, heading, decimals, factor) UCB_SHOWN_##name,
    UCB_SHOWN_LIST(UCB_SHOWN_ENUM)
#undef UCB_SHOWN_ENUM
        UCB_N_SHOWN
};
struct ucb_shown_info {
    const char *name, *heading;
    int decimals;
    double factor;
};
extern const struct ucb_shown_info ucb_shown[UCB_N_SHOWN];

struct ucb_value {
    bool present;
    double value, low, high; /* low and high NaN: no interval */
    int64_t n;               /* what the interval rests on */
    const char *interval;    /* a kind of docs/metrics.md */
    size_t note;             /* its place in the data's notes, from 1; 0: none */
};
struct ucb_report_cell {
    const char *model, *task, *dataset, *dataset_digest, *method, *spec;
    const char *setting; /* scope, arithmetic and seed where they are not as usual; ""
                            otherwise. Only cells of one setting are compared */
    const char *label;   /* the spec, the calibration and the setting */
    const char *name;    /* among cells of one setting: the spec, and the calibration where
                            the database holds several */
    const char *calib_shown; /* the calibration without its text's digest, unless that is
                                what differs; "" for none */
    const char *message;     /* why it failed, or a caveat; NULL */
    const char *cell_id, *build_id;
    const char *scope, *arithmetic, *calib;
    int64_t seed;
    double bpw_nominal, bpw_matrices, bpw_model; /* NaN where unknown */
    double bpw_parts[UCB_N_PARTS];               /* they sum to bpw_matrices */
    int64_t n_items;
    int64_t n_documents;   /* n of its first metric; a metric that rests on another n shows
                              that n */
    double peak_rss_bytes; /* on the machine of the run; NaN where unknown */
    bool failed;
    bool original; /* the file's own weights: in this arithmetic, or as a noise floor */
    bool floor;    /* the original scored against itself in another arithmetic; it belongs
                      to the setting of the cells that are above it or not */
    const char *reference; /* of a floor: the arithmetic of that setting; "" otherwise */
    const char
        *verdict;    /* against its original, as one sentence: ucb_report_verdicts; NULL */
    double change_q; /* of its perplexity against the original's, two-sided, by Benjamini
                        and Hochberg over the cells of its table; NaN: not one of them */
    struct ucb_value values[UCB_N_SHOWN];
};
/* One table: the cells of a model on a task, the original first, then its noise floor, then
 * by bpw_matrices, failed ones last. */
struct ucb_report_group {
    const char *model, *task, *dataset, *dataset_digest;
    const struct ucb_report_cell *cells;
    size_t n_cells;
    bool has[UCB_N_SHOWN]; /* some cell has the metric */
};
struct ucb_report_data {
    struct ucb_report_cell *cells;
    size_t n_cells;
    struct ucb_report_group *groups;
    size_t n_groups;
    const char **notes; /* of the values that are shown, each text once */
    size_t n_notes;
    char digest[UCB_SHA256_HEX]; /* of the whole database */
};

/*
 * What bits were spent on: one cell of each model, setting and method, in table order; *n
 * of them, NULL without memory. `used` tells which parts any of them has. From the arena.
 */
const struct ucb_report_cell **ucb_report_sizes(struct ucb_arena *arena,
                                                const struct ucb_report_data *data,
                                                size_t *n, bool used[UCB_N_PARTS]);

/* Compares every cell with the original of its setting, from stored items (report/pair.h),
 * and fills `verdict` where both are there, and `change_q` of what was compressed. */
ucb_status ucb_report_verdicts(struct ucb_report_job *job, struct ucb_report_data *data,
                               struct ucb_err *err);

/* Everything in *out lives in job->arena. MISSING when the database has no cell of the
 * models asked for. */
ucb_status ucb_report_load(struct ucb_report_job *job, struct ucb_report_data *out,
                           struct ucb_err *err);

enum { UCB_VALUE_TEXT = 128 };
/* The value as people read it, "0.0340"; "-" when absent. */
const char *ucb_value_text(const struct ucb_value *v, enum ucb_shown which,
                           char out[UCB_VALUE_TEXT]);
/* Its interval, "[0.0306, 0.0377]", and its n, " n=60", where that is not `n_documents`;
 * "[-]": it has none. */
const char *ucb_interval_text(const struct ucb_value *v, enum ucb_shown which,
                              int64_t n_documents, char out[UCB_VALUE_TEXT]);
/* What a kind of interval is, "linearised t, clustered by document"; an unknown kind is its
 * own name. */
const char *ucb_interval_meaning(const char *kind);
/* Appends which metrics have which kind of interval: "linearised t, clustered by document:
 * ppl, KLD mean; ...". */
void ucb_interval_legend(const struct ucb_report_data *data, struct ucb_text *out);

/* Messages of finished cells, each once, in order; *n of them. From the arena. */
const char **ucb_report_caveats(struct ucb_arena *arena, const struct ucb_report_data *data,
                                size_t *n);

#endif
