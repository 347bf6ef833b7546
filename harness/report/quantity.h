/*
 * quantity.h - a number as a document prints it: "~5", "<2", "4;5;8", "10,000+", "68.1%",
 * "0.25-0.5", "TBD".
 */
#ifndef UCB_REPORT_QUANTITY_H
#define UCB_REPORT_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

enum ucb_relation {
    UCB_RELATION_EQUAL,
    UCB_RELATION_ABOUT, /* ~5 */
    UCB_RELATION_BELOW, /* <2 */
    UCB_RELATION_ABOVE, /* >2, 10,000+ */
    UCB_RELATION_NONE   /* a word or nothing: no number was given */
};

struct ucb_quantity {
    enum ucb_relation relation;
    double low,
        high; /* equal for one number; the ends of a range, the extremes of a list */
    size_t n_numbers; /* 2 or more: a range or a list; 0: none */
    /*
     * How far a number that rounds to the last printed digit may lie from it: half a unit
     * of the last decimal; of whole numbers half a unit of the last digit that is not a
     * trailing zero, since 140 may be 138 as well as 140. "~" widens it to a tenth of the
     * number where that is more.
     */
    double slack;
};

/* USAGE for any text that is none of these forms; nothing is skipped. A sign, thousands'
 * commas, one "%" or "x" at the end are read; the words "variable" and "TBD" and the empty
 * text are RELATION_NONE. */
ucb_status ucb_quantity_parse(const char *text, struct ucb_quantity *out,
                              struct ucb_err *err);

#endif
