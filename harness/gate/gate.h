/*
 * gate.h - did tonight's program make a result worse than the baseline's?
 *
 * Quality is deterministic, so an equal digest ends a comparison. Where a digest changed,
 * old is tested against new on the same items, corrected for how many changed (Holm), and
 * flips of items that no earlier night fed go into an e-process per cell. Times are noisy:
 * change points over nights, and a rerun before an alarm. docs/nightly.md has the rules.
 *
 * Everything here works on arrays; gate_store.c fills them from a database and writes the
 * evidence back, so a simulated year takes the same way as a night.
 */
#ifndef UCB_GATE_GATE_H
#define UCB_GATE_GATE_H

#include "eval/compare.h"
#include "stats/eprocess.h"
#include "store/store_night.h"

struct ucb_gate_rules {
    double alpha; /* of the changed cells of a night together, and of the e-process over
                     all its nights */
    struct ucb_bands bands; /* changes too small to matter; `ear` is not used */
    double kld_band;        /* the same for mean KLD, as a share of the baseline's */
    double bet;             /* of the e-process */
    size_t share;           /* a night feeds one item in so many */
    bool strict;            /* what is undecided trips the gate too */
    bool no_timings;
};
/* alpha 5%; accuracy +-0.1 pp, perplexity +-0.1%, KLD +-1%: ten and five times as narrow as
 * where methods are compared, for here nothing was meant to change. */
extern const struct ucb_gate_rules ucb_gate_rules_default;

/* ---- quality ---- */

#define UCB_GATE_STATE_LIST(X)                 \
    X(UCB_GATE_SAME_ROW, "same row")           \
    X(UCB_GATE_IDENTICAL, "identical")         \
    X(UCB_GATE_CHANGED, "changed")             \
    X(UCB_GATE_MISSING, "missing")             \
    X(UCB_GATE_FAILED, "failed")               \
    X(UCB_GATE_INCOMPARABLE, "not comparable") \
    X(UCB_GATE_STILL_FAILED, "still failed")   \
    X(UCB_GATE_RECOVERED, "recovered")         \
    X(UCB_GATE_NEW, "new")                     \
    X(UCB_GATE_NEW_FAILED, "new and failed")
enum ucb_gate_state {
#define UCB_GATE_STATE_ENUM(code, text) code,
    UCB_GATE_STATE_LIST(UCB_GATE_STATE_ENUM)
#undef UCB_GATE_STATE_ENUM
        UCB_GATE_N_STATES
};
const char *ucb_gate_state_text(enum ucb_gate_state state);

enum ucb_gate_criterion {
    UCB_GATE_PPL,
    UCB_GATE_ACCURACY,
    UCB_GATE_KLD, /* difference of mean KLD to the original, nats a token */
    UCB_GATE_N_CRITERIA
};

/* What the e-process of one cell has seen. */
struct ucb_gate_evidence {
    bool takes_part; /* every item is right or wrong and a document of its own */
    bool *fed;       /* [n items] by an earlier night, and by tonight after feeding */
    bool fed_tonight_before;     /* this night has fed this cell: a gate run again */
    struct ucb_eprocess process; /* up to and with tonight */
    uint32_t *items;             /* fed tonight, ascending */
    size_t n_items;
    uint64_t n_lost, n_won; /* tonight */
    size_t n_left;          /* items never fed */
};

/* One cell of the baseline and the one it is held against. */
struct ucb_gate_cell {
    const struct ucb_run_cell *side[2]; /* baseline, candidate; NULL: it has none */
    enum ucb_gate_state state;
    bool revised;                  /* matched by its words: the method's or the
                                      arithmetic's revision is another, so is the id */
    struct ucb_samples samples[2]; /* of a CHANGED cell */
    const char *message;           /* why it failed or cannot be compared; NULL */

    struct ucb_comparison result;                       /* of a CHANGED cell */
    struct ucb_criterion criteria[UCB_GATE_N_CRITERIA]; /* verdicts after correction */
    double adjusted_p[UCB_GATE_N_CRITERIA];             /* Holm, one-sided for worse */
    enum ucb_verdict verdict;
    double n_decides;    /* documents that would decide; NaN: none, or decided */
    size_t n_broken;     /* items whose score is a number in the baseline and none now */
    bool weights_differ; /* both have a digest of their weights, not the same one */
    /* Beyond a band, though every score is the same bits. */
    bool metric_worse[UCB_GATE_N_CRITERIA];
    bool size_differs; /* of bits per weight */
    struct ucb_gate_evidence evidence;
};
/* The cell's side that exists; the candidate's where both do. */
const struct ucb_run_cell *ucb_gate_cell_of(const struct ucb_gate_cell *cell);
/* "MODEL/SPEC/TASK", with calibration where it has one, and with scope, arithmetic,
 * reference and seed where not as usual. */
const char *ucb_gate_cell_name(const struct ucb_gate_cell *cell, struct ucb_arena *arena);
bool ucb_gate_cell_is_regression(const struct ucb_gate_cell *cell);
/* Undecided, or to be looked at: trips a strict gate. */
bool ucb_gate_cell_is_warning(const struct ucb_gate_cell *cell);
/* Bit-identical, one row of two runs, or failed as it did. */
bool ucb_gate_cell_is_as_before(const struct ucb_gate_cell *cell);

/*
 * Compares every CHANGED cell and fills in all from `result` to `weights_differ`; a cell
 * whose items do not fit becomes INCOMPARABLE. *n_family: how many tests were corrected
 * together. NOMEM, USAGE for an unknown task.
 */
ucb_status ucb_gate_judge(struct ucb_gate_cell *cells, size_t n_cells,
                          const struct ucb_gate_rules *rules, struct ucb_arena *arena,
                          size_t *n_family, struct ucb_err *err);

/* ---- evidence over nights ---- */

/* The e-processes of all cells that take part, together. */
struct ucb_gate_wealth {
    size_t n_processes;
    double log_e; /* of their mean, which is an e-process whatever their dependence */
    bool stands;  /* some cell is changed tonight, so that it speaks of tonight's program */
    bool alarm;
    size_t n_left, n_items; /* items never fed, and all, summed over the processes */
};
/*
 * Feeds tonight's sample of each CHANGED cell's unfed items: a share of all, drawn by a
 * stream named `night` and the cell. NOMEM.
 */
ucb_status ucb_gate_feed(struct ucb_gate_cell *cells, size_t n_cells, const char *night,
                         const struct ucb_gate_rules *rules, struct ucb_arena *arena,
                         struct ucb_gate_wealth *out, struct ucb_err *err);

/* ---- timings ---- */

#define UCB_GATE_PACE_LIST(X)                                     \
    X(UCB_PACE_UNMEASURED, "not measured tonight")                \
    X(UCB_PACE_SHORT, "too few nights")                           \
    X(UCB_PACE_STEADY, "steady")                                  \
    X(UCB_PACE_FASTER, "faster")                                  \
    X(UCB_PACE_UNCONFIRMED, "slower, unconfirmed")                \
    X(UCB_PACE_REFUTED, "not slower: the rerun does not show it") \
    X(UCB_PACE_SLOWER, "slower, confirmed by a rerun")
enum ucb_gate_pace {
#define UCB_GATE_PACE_ENUM(code, text) code,
    UCB_GATE_PACE_LIST(UCB_GATE_PACE_ENUM)
#undef UCB_GATE_PACE_ENUM
};
const char *ucb_gate_pace_text(enum ucb_gate_pace pace);

/* One series over nights. */
struct ucb_gate_timing {
    const char *name;
    const char **nights; /* [n], oldest first; the last is tonight where it was measured */
    double *values;      /* medians of the repeats: the candidate's over the baseline's of
                            the same night where is_ratio, else seconds */
    size_t n;
    bool is_ratio;
    double seconds; /* tonight's candidate; NaN */
    size_t n_repeats;
    size_t *points, n_points; /* where new levels begin */
    double before, after;     /* medians of the last two levels; NaN: one level */
    double rerun;             /* tonight's rerun as a value; NaN: none */
    enum ucb_gate_pace pace;
};
/*
 * Makes the series of `timings` (in the order of ucb_store_timings) from `since` to
 * `night`, and looks for changes in each. Where the baseline's program was timed tonight,
 * only nights beside the same program count. NOMEM, USAGE for a time that is no number.
 */
ucb_status ucb_gate_pace(const struct ucb_timing *timings, size_t n_timings,
                         const char *since, const char *night, struct ucb_arena *arena,
                         struct ucb_gate_timing **out, size_t *n_out, struct ucb_err *err);

/* ---- the night ---- */

#define UCB_GATE_OUTCOME_LIST(X) \
    X(UCB_GATE_PASS, "pass")     \
    X(UCB_GATE_WARNING, "warning") X(UCB_GATE_REGRESSION, "regression")
enum ucb_gate_outcome {
#define UCB_GATE_OUTCOME_ENUM(code, text) code,
    UCB_GATE_OUTCOME_LIST(UCB_GATE_OUTCOME_ENUM)
#undef UCB_GATE_OUTCOME_ENUM
};
const char *ucb_gate_outcome_text(enum ucb_gate_outcome outcome);

struct ucb_gate {
    struct ucb_gate_rules rules;
    const struct ucb_stored_run *run[2]; /* baseline, candidate */
    const char *night;
    struct ucb_gate_cell *cells; /* regressions first, then by how much they matter */
    size_t n_cells, n_family;
    struct ucb_gate_wealth wealth;
    struct ucb_gate_timing *timings;
    size_t n_timings;
    const char *unrecorded; /* why tonight's evidence is not in the database; NULL: it is */
};
/* Regression where a cell, the evidence or a pace is; with --strict a warning is one. */
enum ucb_gate_outcome ucb_gate_outcome(const struct ucb_gate *gate);
/* A slowdown waits for its rerun. */
bool ucb_gate_wants_rerun(const struct ucb_gate *gate);

#endif
