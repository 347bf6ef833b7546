/* gate_json.c - a night as one JSON object. A number that does not exist is null. */
#include <jansson.h>
#include <math.h>

#include "core/fmath.h"
#include "core/json.h"
#include "gate/gate_text.h"

static json_t *real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static json_t *run(const struct ucb_stored_run *r)
{
    return json_pack("{s:I, s:s, s:s, s:b, s:I}", "run_id", (json_int_t)r->run_id,
                     "build_id", r->build_id, "started", r->started, "ended", r->ended,
                     "cells", (json_int_t)r->n_cells);
}

static json_t *criterion(const struct ucb_gate_cell *cell, int k)
{
    const struct ucb_criterion *c = &cell->criteria[k];
    const struct ucb_evidence *e = &c->evidence;
    if (cell->state != UCB_GATE_CHANGED || !c->present) return json_null();
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:s}", "value",
        real(e->wide.value), "low", real(e->wide.low), "high", real(e->wide.high), "low90",
        real(e->narrow.low), "high90", real(e->narrow.high), "band_low", real(e->band.low),
        "band_high", real(e->band.high), "interval", c->interval, "tost_p", real(c->tost_p),
        "worse_p", real(c->worse_p), "worse_p_holm", real(cell->adjusted_p[k]), "mde",
        real(c->mde), "n_decides", real(c->n_decides), "verdict",
        ucb_verdict_text(c->verdict));
}

static json_t *evidence(const struct ucb_gate_cell *c)
{
    const struct ucb_gate_evidence *e = &c->evidence;
    if (!e->takes_part) return json_null();
    return json_pack("{s:f, s:I, s:I, s:I, s:I}", "log_e", e->process.log_e, "fed",
                     (json_int_t)e->n_items, "lost", (json_int_t)e->n_lost, "won",
                     (json_int_t)e->n_won, "left", (json_int_t)e->n_left);
}

/* "identical" also for one row of two runs: the state says which. */
static const char *verdict(const struct ucb_gate_cell *c)
{
    switch (c->state) {
    case UCB_GATE_SAME_ROW:
    case UCB_GATE_IDENTICAL: return ucb_verdict_text(UCB_VERDICT_IDENTICAL);
    case UCB_GATE_CHANGED: return ucb_verdict_text(c->verdict);
    default: return NULL;
    }
}

static const char *id_of(const struct ucb_run_cell *side)
{
    return side == NULL ? NULL : side->cell->cell_id;
}

static json_t *cell(const struct ucb_gate_cell *c, struct ucb_arena *arena)
{
    const struct ucb_run_cell *r = ucb_gate_cell_of(c);
    bool changed = c->state == UCB_GATE_CHANGED;
    return json_pack(
        "{s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:s, s:b, s:b, s:o, s:o, "
        "s:b, s:b, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o}",
        "name", ucb_json_text(ucb_gate_cell_name(c, arena)), "model",
        ucb_json_text(r->cell->model), "spec", r->cell->spec, "task", r->cell->task,
        "scope", r->cell->scope, "calib", r->cell->calib, "arithmetic", r->cell->arithmetic,
        "reference", r->cell->reference, "seed", (json_int_t)r->cell->seed, "baseline_cell",
        text_or_null(id_of(c->side[0])), "candidate_cell", text_or_null(id_of(c->side[1])),
        "state", ucb_gate_state_text(c->state), "revised", c->revised, "regression",
        ucb_gate_cell_is_regression(c), "verdict", text_or_null(verdict(c)), "text",
        ucb_json_text(ucb_gate_cell_text(c, arena)), "weights_differ", c->weights_differ,
        "size_differs", c->size_differs, "documents",
        changed ? json_integer((json_int_t)c->result.n_documents) : json_null(),
        "n_decides", changed ? real(c->n_decides) : json_null(), "flips_lost",
        changed && c->result.has_accuracy ? json_integer((json_int_t)c->result.n_lost)
                                          : json_null(),
        "flips_won",
        changed && c->result.has_accuracy ? json_integer((json_int_t)c->result.n_won)
                                          : json_null(),
        "criteria", "ppl_ratio", criterion(c, UCB_GATE_PPL), "accuracy_difference",
        criterion(c, UCB_GATE_ACCURACY), "kld_difference", criterion(c, UCB_GATE_KLD),
        "evidence", evidence(c));
}

static json_t *cells(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gate->n_cells; i++)
        json_array_append_new(list, cell(&gate->cells[i], arena));
    return list;
}

static json_t *counts(const struct ucb_gate *gate)
{
    json_t *object = json_object();
    for (int s = 0; s < UCB_GATE_N_STATES; s++)
        json_object_set_new(object, ucb_gate_state_text(s),
                            json_integer((json_int_t)ucb_gate_count(gate, s)));
    for (int v = 0; v <= UCB_VERDICT_INCONCLUSIVE; v++)
        json_object_set_new(object, ucb_verdict_text(v),
                            json_integer((json_int_t)ucb_gate_count_verdict(gate, v)));
    return object;
}

static json_t *wealth(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    const struct ucb_gate_wealth *w = &gate->wealth;
    return json_pack("{s:f, s:o, s:f, s:b, s:I, s:I, s:I, s:b, s:s}", "log_e", w->log_e,
                     "e", real(ucb_exp(w->log_e)), "alarm_at", 1 / gate->rules.alpha,
                     "alarm", w->alarm, "processes", (json_int_t)w->n_processes, "items",
                     (json_int_t)w->n_items, "left", (json_int_t)w->n_left, "recorded",
                     gate->unrecorded == NULL, "text", ucb_gate_wealth_text(gate, arena));
}

static json_t *timing(const struct ucb_gate_timing *t, struct ucb_arena *arena)
{
    json_t *points = json_array();
    for (size_t i = 0; i < t->n_points; i++)
        json_array_append_new(points, json_string(t->nights[t->points[i]]));
    return json_pack("{s:o, s:s, s:s, s:o, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o}", "name",
                     ucb_json_text(t->name), "pace", ucb_gate_pace_text(t->pace), "text",
                     ucb_gate_timing_text(t, arena), "seconds", real(t->seconds), "repeats",
                     (json_int_t)t->n_repeats, "nights", (json_int_t)t->n, "is_ratio",
                     t->is_ratio, "tonight",
                     t->n > 0 ? real(t->values[t->n - 1]) : json_null(), "before",
                     real(t->before), "after", real(t->after), "rerun", real(t->rerun),
                     "changes", points);
}

static json_t *timings(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gate->n_timings; i++)
        json_array_append_new(list, timing(&gate->timings[i], arena));
    return list;
}

static json_t *whole(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    struct ucb_text line = {0};
    enum ucb_gate_outcome outcome = ucb_gate_outcome(gate);
    ucb_gate_line(gate, arena, &line);
    json_t *object = json_pack(
        "{s:s, s:b, s:o, s:s, s:o, s:o, s:b, s:f, s:I, s:b, s:o, s:o, s:o, s:o}", "outcome",
        ucb_gate_outcome_text(outcome), "regression", outcome == UCB_GATE_REGRESSION,
        "line", ucb_json_text(ucb_text_get(&line)), "night", gate->night, "baseline",
        run(gate->run[0]), "candidate", run(gate->run[1]), "strict", gate->rules.strict,
        "alpha", gate->rules.alpha, "family", (json_int_t)gate->n_family, "wants_rerun",
        ucb_gate_wants_rerun(gate), "counts", counts(gate), "cells", cells(gate, arena),
        "evidence", wealth(gate, arena), "timings", timings(gate, arena));
    ucb_text_free(&line);
    return object;
}

ucb_status ucb_gate_json(const struct ucb_gate *gate, struct ucb_arena *arena,
                         struct ucb_text *out, struct ucb_err *err)
{
    return ucb_json_add(whole(gate, arena), "the night", out, err);
}
