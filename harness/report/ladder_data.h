/*
 * ladder_data.h - what the seed claims of its tiers and of its head-to-head table, and
 * which method here stands for each: reports/ladder.csv.
 */
#ifndef UCB_REPORT_LADDER_DATA_H
#define UCB_REPORT_LADDER_DATA_H

#include <stddef.h>

#include "core/arena.h"
#include "core/err.h"

/* The columns, in the order of the file. */
#define UCB_LADDER_TEXTS(X) X(section) X(name) X(spec)
#define UCB_LADDER_NUMBERS(X) X(bpw) X(t1_ret) X(t1_agree) X(ppl_ratio)
#define UCB_LADDER_TEXTS_AFTER(X) X(catastrophic) X(claims) X(discrepancies) X(note)

/* Sections: "model" and "note" have a name, "task" and "calib" a spec, "tier" and "method"
 * both. Texts are "" where the file has nothing, numbers NaN; rates are in percent. */
struct ucb_ladder_row {
#define UCB_LADDER_TEXT(name) const char *name;
#define UCB_LADDER_NUMBER(name) double name;
    UCB_LADDER_TEXTS(UCB_LADDER_TEXT)
    UCB_LADDER_NUMBERS(UCB_LADDER_NUMBER)
    UCB_LADDER_TEXTS_AFTER(UCB_LADDER_TEXT)
#undef UCB_LADDER_TEXT
#undef UCB_LADDER_NUMBER
};
struct ucb_ladder {
    const struct ucb_ladder_row *rows;
    size_t n_rows;
};

/* Everything in *out lives in `arena`; specs of tiers and methods are canonical. CORRUPT
 * names the line; NOMEM. */
ucb_status ucb_ladder_parse(const char *text, size_t n_chars, struct ucb_arena *arena,
                            struct ucb_ladder *out, struct ucb_err *err);
/* reports/ladder.csv. */
ucb_status ucb_ladder_load(struct ucb_arena *arena, struct ucb_ladder *out,
                           struct ucb_err *err);

/* The next row of the section after `row` (NULL: the first); NULL when there is none. */
const struct ucb_ladder_row *ucb_ladder_next(const struct ucb_ladder *ladder,
                                             const char *section,
                                             const struct ucb_ladder_row *row);

#endif
