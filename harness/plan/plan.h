/*
 * plan.h - what a sweep shall do: rows of model x method x task, from a CSV file, from
 * flags, or both.
 *
 * A plan file is CSV with a header line. Columns (any order, none obligatory): model,
 * method, bits, task, scope, arithmetic, calib, seed. `bits` is added to the method's spec
 * ("hqq" and 4 give "hqq:bits=4"). A column that is absent, or a field that is empty, takes
 * the values of the flags: several values multiply the row. Equal rows are kept once, in
 * first order.
 */
#ifndef UCB_PLAN_PLAN_H
#define UCB_PLAN_PLAN_H

#include <stddef.h>

#include "core/arena.h"
#include "core/err.h"

/* Columns of a plan: name, and what --help says. */
#define UCB_PLAN_COLUMNS(X) \
    X(model) X(method) X(task) X(scope) X(arithmetic) X(calib) X(seed)

struct ucb_plan_row {
#define UCB_PLAN_FIELD(name) const char *name;
    UCB_PLAN_COLUMNS(UCB_PLAN_FIELD)
#undef UCB_PLAN_FIELD
    size_t line; /* of the plan file; 0: from flags */
};

/* The values of one column as the flags give them. */
struct ucb_plan_values {
    const char *const *values;
    size_t n;
};
struct ucb_plan_defaults {
#define UCB_PLAN_VALUES(name) struct ucb_plan_values name;
    UCB_PLAN_COLUMNS(UCB_PLAN_VALUES)
#undef UCB_PLAN_VALUES
};

struct ucb_plan {
    struct ucb_plan_row *rows;
    size_t n_rows;
    const char *path; /* of the plan file, for messages; NULL: from flags */
};

/* The product of the flags. Rows and texts come from `arena`. USAGE names the flag that is
 * missing. */
ucb_status ucb_plan_from_flags(const struct ucb_plan_defaults *flags,
                               struct ucb_arena *arena, struct ucb_plan *out,
                               struct ucb_err *err);
/* A plan file; USAGE for an unknown column (near matches), CORRUPT names file and line. */
ucb_status ucb_plan_read(const char *path, const struct ucb_plan_defaults *flags,
                         struct ucb_arena *arena, struct ucb_plan *out,
                         struct ucb_err *err);

#endif
