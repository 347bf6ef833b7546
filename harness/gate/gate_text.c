/* gate_text.c - a night for people: see gate_text.h. */
#include "gate/gate_text.h"

#include <string.h>

/* ---- the line ---- */

/* "3 of 20 worse", with what stands between two counts. */
static void add_count(struct ucb_text *out, size_t n, const char *what)
{
    if (n > 0) ucb_text_add(out, "%zu %s, ", n, what);
}

static void cut_comma(struct ucb_text *out)
{
    if (out->failed || out->n_chars < 2 || out->data[out->n_chars - 2] != ',') return;
    out->n_chars -= 2;
    out->data[out->n_chars] = '\0';
}

static void add_cells(const struct ucb_gate *gate, struct ucb_text *out)
{
    size_t n_states[UCB_GATE_N_STATES];
    for (int s = 0; s < UCB_GATE_N_STATES; s++) n_states[s] = ucb_gate_count(gate, s);
    ucb_text_add(out, "%zu cell%s: ", gate->n_cells, gate->n_cells == 1 ? "" : "s");
    add_count(out, ucb_gate_count_verdict(gate, UCB_VERDICT_WORSE), "worse");
    add_count(out, n_states[UCB_GATE_MISSING], "missing");
    add_count(out, n_states[UCB_GATE_FAILED], "failed");
    add_count(out, n_states[UCB_GATE_INCOMPARABLE], "not comparable");
    add_count(out, ucb_gate_count_verdict(gate, UCB_VERDICT_INCONCLUSIVE), "undecided");
    add_count(out, ucb_gate_count_verdict(gate, UCB_VERDICT_EQUIVALENT),
              "changed but equivalent");
    add_count(out, ucb_gate_count_verdict(gate, UCB_VERDICT_BETTER), "better");
    add_count(out, ucb_gate_count_verdict(gate, UCB_VERDICT_IDENTICAL),
              "with equal scores but other weights or metrics");
    add_count(out, n_states[UCB_GATE_NEW_FAILED], "new and failed");
    add_count(out, n_states[UCB_GATE_STILL_FAILED], "failed as before");
    add_count(out, n_states[UCB_GATE_RECOVERED], "recovered");
    add_count(out, n_states[UCB_GATE_NEW], "new");
    add_count(out, n_states[UCB_GATE_IDENTICAL], "bit-identical");
    add_count(out, n_states[UCB_GATE_SAME_ROW], "the same row");
    cut_comma(out);
}

static void add_paces(const struct ucb_gate *gate, struct ucb_text *out)
{
    if (gate->n_timings == 0) return;
    ucb_text_add(out, "; times: ");
    add_count(out, ucb_gate_count_pace(gate, UCB_PACE_SLOWER), "slower");
    add_count(out, ucb_gate_count_pace(gate, UCB_PACE_UNCONFIRMED), "slower (unconfirmed)");
    add_count(out, ucb_gate_count_pace(gate, UCB_PACE_FASTER), "faster");
    add_count(out,
              ucb_gate_count_pace(gate, UCB_PACE_STEADY) +
                  ucb_gate_count_pace(gate, UCB_PACE_REFUTED),
              "steady");
    add_count(out, ucb_gate_count_pace(gate, UCB_PACE_SHORT), "with too few nights");
    add_count(out, ucb_gate_count_pace(gate, UCB_PACE_UNMEASURED), "not measured");
    cut_comma(out);
}

/* The most urgent thing, which stands first. */
static void add_first(const struct ucb_gate *gate, struct ucb_arena *arena,
                      struct ucb_text *out)
{
    if (gate->n_cells > 0 && (ucb_gate_cell_is_regression(&gate->cells[0]) ||
                              ucb_gate_cell_is_warning(&gate->cells[0]))) {
        const struct ucb_gate_cell *c = &gate->cells[0];
        ucb_text_add(out, "; first: %s %s", ucb_gate_cell_name(c, arena),
                     c->state == UCB_GATE_CHANGED ? ucb_verdict_text(c->verdict)
                                                  : ucb_gate_state_text(c->state));
        const char *text = ucb_gate_cell_text(c, arena);
        if (text[0] != '\0') ucb_text_add(out, ": %s", text);
        return;
    }
    for (size_t i = 0; i < gate->n_timings; i++)
        if (gate->timings[i].pace == UCB_PACE_SLOWER) {
            ucb_text_add(out, "; first: %s %s", gate->timings[i].name,
                         ucb_gate_timing_text(&gate->timings[i], arena));
            return;
        }
}

/* A message may hold line ends; a line of chat may not. */
static void flatten(struct ucb_text *out, size_t from)
{
    for (size_t i = from; !out->failed && i < out->n_chars; i++)
        if (out->data[i] == '\n') out->data[i] = ' ';
}

void ucb_gate_line(const struct ucb_gate *gate, struct ucb_arena *arena,
                   struct ucb_text *out)
{
    size_t from = out->n_chars;
    ucb_text_add(out, "%s: night %s, run %lld against %lld: ",
                 ucb_gate_outcome_text(ucb_gate_outcome(gate)), gate->night,
                 (long long)gate->run[1]->run_id, (long long)gate->run[0]->run_id);
    add_cells(gate, out);
    if (gate->wealth.alarm)
        ucb_text_add(out, "; evidence over nights: %s", ucb_gate_wealth_text(gate, arena));
    add_paces(gate, out);
    add_first(gate, arena, out);
    flatten(out, from);
}

/* ---- the page of text ---- */

static void add_cell(const struct ucb_gate_cell *c, struct ucb_arena *arena,
                     struct ucb_text *out)
{
    const char *text = ucb_gate_cell_text(c, arena);
    ucb_text_add(out, "  %s%-12s %s\n", ucb_gate_cell_is_regression(c) ? "! " : "  ",
                 c->state == UCB_GATE_CHANGED ? ucb_verdict_text(c->verdict)
                                              : ucb_gate_state_text(c->state),
                 ucb_gate_cell_name(c, arena));
    if (text[0] != '\0') ucb_text_add(out, "                 %s\n", text);
}

static void add_changes(const struct ucb_gate *gate, struct ucb_arena *arena,
                        struct ucb_text *out)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_cells; i++) {
        if (ucb_gate_cell_is_as_before(&gate->cells[i])) continue;
        if (n++ == 0) ucb_text_add(out, "\nCells that are not as they were\n");
        add_cell(&gate->cells[i], arena, out);
    }
    if (gate->n_family > 0)
        ucb_text_add(
            out,
            "  Intervals are 95%%, p-values one-sided for worse, corrected for the "
            "%zu tests of the night (Holm), alpha %g.\n",
            gate->n_family, gate->rules.alpha);
}

static void add_timings(const struct ucb_gate *gate, struct ucb_arena *arena,
                        struct ucb_text *out)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_timings; i++) {
        const struct ucb_gate_timing *t = &gate->timings[i];
        if (t->n_points == 0) continue;
        if (n++ == 0) ucb_text_add(out, "\nTimes whose level changed\n");
        ucb_text_add(out, "  %s%s\n                 %s\n",
                     t->pace == UCB_PACE_SLOWER ? "! " : "  ", t->name,
                     ucb_gate_timing_text(t, arena));
    }
    if (ucb_gate_wants_rerun(gate))
        ucb_text_add(out, "  A slowdown counts once tonight's times were taken again "
                          "(--rerun); scripts/nightly.sh does that.\n");
}

ucb_status ucb_gate_text(const struct ucb_gate *gate, struct ucb_arena *arena,
                         struct ucb_text *out, struct ucb_err *err)
{
    ucb_gate_line(gate, arena, out);
    ucb_text_add(out, "\n\n%s\n", ucb_gate_runs_text(gate, arena));
    ucb_text_add(out, "evidence over nights: %s%s%s\n", ucb_gate_wealth_text(gate, arena),
                 gate->unrecorded == NULL ? "" : "; not recorded: ",
                 gate->unrecorded == NULL ? "" : gate->unrecorded);
    add_changes(gate, arena, out);
    add_timings(gate, arena, out);
    return out->failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for the night's text")
                       : UCB_OK;
}
