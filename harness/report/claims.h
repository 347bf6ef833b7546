/*
 * claims.h - what two documents claim, beside what follows from their own numbers and what
 * was measured.
 *
 * The data: reports/claims.csv (the claims), claims-map.csv (how each is checked),
 * claims-raw.csv, models-shapes.csv, claims-notes.csv. docs/claims.md has the rules. One
 * thread.
 */
#ifndef UCB_REPORT_CLAIMS_H
#define UCB_REPORT_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/text.h"
#include "report/html.h" /* ucb_html_escape */
#include "report/quantity.h"
#include "store/store.h"

#define UCB_CLAIM_KIND_LIST(X)            \
    X(UCB_CLAIM_ARITHMETIC, "arithmetic") \
    X(UCB_CLAIM_RAW, "raw-verified")      \
    X(UCB_CLAIM_MEASURED, "measured")     \
    X(UCB_CLAIM_OPINION, "opinion")
enum ucb_claim_kind {
#define UCB_CLAIM_ENUM(code, name) code,
    UCB_CLAIM_KIND_LIST(UCB_CLAIM_ENUM) UCB_N_CLAIM_KINDS
};
/* The names of the view v_claims. */
#define UCB_VERDICT_LIST(X)                         \
    X(UCB_VERDICT_REPRODUCED, "reproduced")         \
    X(UCB_VERDICT_REFUTED, "refuted")               \
    X(UCB_VERDICT_INCONCLUSIVE, "inconclusive")     \
    X(UCB_VERDICT_NOT_COMPARABLE, "not comparable") \
    X(UCB_VERDICT_NOT_RUN, "not run")
enum ucb_claim_verdict { UCB_VERDICT_LIST(UCB_CLAIM_ENUM) UCB_N_VERDICTS };
#undef UCB_CLAIM_ENUM
const char *ucb_claim_verdict_name(enum ucb_claim_verdict verdict);
const char *ucb_claim_kind_name(enum ucb_claim_kind kind);

enum { UCB_CLAIM_MAX_INPUTS = 8 };

struct ucb_claim {
    const char *id, *source, *model, *method, *setting, *metric, *value, *unit, *notes;
    struct ucb_quantity quantity; /* of value */
    int table_chars;              /* of id, before the '-': the family of its test */
    /* From the map; "" where absent. */
    enum ucb_claim_kind kind;
    const char *map_model, *spec, *task, *dataset, *calib, *measure, *why;
    const char *expression, *honest, *honest_label;
    bool at_least; /* the claim holds where it is no smaller than the expression's value */
    double scale;  /* of the measured value, to the claim's unit */
    double
        tolerance; /* the farthest an end of a measured interval may lie; NaN: anywhere */
    double slack;  /* how far a recomputed value may lie */
    /* The outcome. NaN where there is none; n 0. */
    double measured, ci_low, ci_high, p, p_adjusted;
    int64_t n;
    enum ucb_claim_verdict verdict;
    const char *reason;
    const char *inputs[UCB_CLAIM_MAX_INPUTS]; /* claims that its expression asked for */
    size_t n_inputs;
};
struct ucb_claim_note {
    const char *id, *text;
};
struct ucb_claims {
    struct ucb_claim *list; /* in the order of claims.csv */
    size_t n;
    struct ucb_claim_note *notes;
    size_t n_notes;
    const char **cohort; /* names of the models that a cohort claim sums up */
    size_t n_cohort;
    struct ucb_arena *arena;
    struct sqlite3 *checks; /* the data files; SELECT only */
    struct ucb_claim *now;  /* the one whose expression runs */
};

/*
 * Loads the data files into a database in memory, matches each claim with its row of the
 * map and parses its value. Texts live in `arena`, as must *out. Close with
 * ucb_claims_close, also after a failure. CORRUPT names the file and the claim: no row of
 * the map or two match, a value that is none, a file whose header is not the table's;
 * NOMEM.
 */
ucb_status ucb_claims_load(struct ucb_arena *arena, struct ucb_claims *out,
                           struct ucb_err *err);
void ucb_claims_close(struct ucb_claims *claims);

/* The one number that a SELECT gives for this claim. CORRUPT: not one statement, not a
 * SELECT of one row and column, not a number; it changes or opens something. */
ucb_status ucb_claims_evaluate(struct ucb_claims *claims, struct ucb_claim *claim,
                               const char *sql, double *value, struct ucb_err *err);

/* Verdicts of what needs no model: arithmetic, raw-verified, opinion. */
ucb_status ucb_claims_check(struct ucb_claims *claims, struct ucb_err *err);
/* Verdicts of the rest, from v_latest; Holm within a table. `database`: its path, for
 * commands. */
ucb_status ucb_claims_measure(struct ucb_claims *claims, struct ucb_store *store,
                              const char *database, struct ucb_err *err);

/* "recomputed 5.11": six digits, whole from a million on. */
const char *ucb_claim_number(struct ucb_arena *arena, double value);
/* The claim's note with the discrepancies it names spelled out; "" for none. NULL: no
 * memory. */
const char *ucb_claim_note_text(const struct ucb_claims *claims, const struct ucb_claim *c);
/* The command that would measure it; NULL without memory. */
const char *ucb_claim_command(const struct ucb_claims *claims, const struct ucb_claim *c,
                              const char *database);

/* The four files' contents. Errors of memory stay in `out`. */
void ucb_claims_text(const struct ucb_claims *claims, struct ucb_text *out);
void ucb_claims_summary(const struct ucb_claims *claims, struct ucb_text *out);
void ucb_claims_csv(const struct ucb_claims *claims, struct ucb_text *out);
void ucb_claims_html(const struct ucb_claims *claims, struct ucb_text *out);
void ucb_claims_tex(const struct ucb_claims *claims, struct ucb_text *out);
/* A text with what is special in LaTeX written so that it is shown. For HTML: html.h. */
void ucb_tex_escape(struct ucb_text *out, const char *text);

#endif
