/*
 * made_up.h - databases of invented cells, for tests of the store and of reports. No number
 * in them was measured.
 */
#ifndef UCB_TESTS_MADE_UP_H
#define UCB_TESTS_MADE_UP_H

#include "core/arena.h"
#include "store/store.h"

/* A method at a size, and how much it is made to lose. bpw 0: it fails. */
struct made_up_point {
    const char *method, *spec, *message;
    double bpw, kld, agree;
};
/* The cells of the demo: the original first, ended by a NULL spec. `smooth` picks the
 * second model's. */
const struct made_up_point *made_up_points(bool smooth);

/* Fills a cell and a result that look like `point` on `task` ("lambada", "wikitext").
 * Memory comes from `arena`. */
void made_up_cell(struct ucb_arena *arena, const struct made_up_point *point,
                  const char *model, const char *task, struct ucb_cell *cell,
                  struct ucb_cell_result *result);

/* A run with every point of both models on both tasks, in this order or the reverse; ends
 * the test when storing fails.
 */
void made_up_database(const char *path, const char *build_id, bool reverse);

/* Statements on any database, past the program; the first integer that a query gives. Both
 * end the test where SQLite refuses. */
void made_up_change(const char *path, const char *sql);
long long made_up_ask(const char *path, const char *sql);

#endif
