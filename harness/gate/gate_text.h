/*
 * gate_text.h - a night as one line, as a page of text, as JSON and as HTML.
 */
#ifndef UCB_GATE_GATE_TEXT_H
#define UCB_GATE_GATE_TEXT_H

#include "core/text.h"
#include "gate/gate.h"

/* "regression: 1 of 20 cells worse ...", without a line end: for mail and chat. */
void ucb_gate_line(const struct ucb_gate *gate, struct ucb_arena *arena,
                   struct ucb_text *out);
/* The line, and everything that is not as it was. NOMEM. */
ucb_status ucb_gate_text(const struct ucb_gate *gate, struct ucb_arena *arena,
                         struct ucb_text *out, struct ucb_err *err);
/* One object; docs/nightly.md lists its keys. NOMEM. */
ucb_status ucb_gate_json(const struct ucb_gate *gate, struct ucb_arena *arena,
                         struct ucb_text *out, struct ucb_err *err);
/* A page that needs nothing else. NOMEM. */
ucb_status ucb_gate_page(const struct ucb_gate *gate, const char *database,
                         struct ucb_arena *arena, struct ucb_text *out,
                         struct ucb_err *err);

/* ---- what the four share ---- */

/* "accuracy -0.29 pp [-0.44, -0.15], p 3e-05" of one criterion; "" where it is absent. */
const char *ucb_gate_criterion_text(const struct ucb_gate_cell *cell,
                                    enum ucb_gate_criterion k, struct ucb_arena *arena);
/* What to know of a cell beyond its state, as one sentence; "" for nothing. */
const char *ucb_gate_cell_text(const struct ucb_gate_cell *cell, struct ucb_arena *arena);
/* The same of a series of times, of the evidence, and of the two runs. */
const char *ucb_gate_timing_text(const struct ucb_gate_timing *t, struct ucb_arena *arena);
const char *ucb_gate_wealth_text(const struct ucb_gate *gate, struct ucb_arena *arena);
const char *ucb_gate_runs_text(const struct ucb_gate *gate, struct ucb_arena *arena);
/* Cells in this state. */
size_t ucb_gate_count(const struct ucb_gate *gate, enum ucb_gate_state state);
size_t ucb_gate_count_verdict(const struct ucb_gate *gate, enum ucb_verdict verdict);
size_t ucb_gate_count_pace(const struct ucb_gate *gate, enum ucb_gate_pace pace);

#endif
