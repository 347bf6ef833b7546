/* gate_words.c - the sentences that line, text, page and JSON of a night share. */
#include <math.h>
#include <string.h>

#include "core/fmath.h"
#include "gate/gate_text.h"

/* Arena texts are never NULL: a night without memory for a sentence has it empty. */
static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

/* ---- criteria ---- */

static const struct {
    const char *name, *unit;
    int decimals;
    double factor;
} shown[UCB_GATE_N_CRITERIA] = {
    [UCB_GATE_PPL] = {"ppl ratio", "", 5, 1},
    [UCB_GATE_ACCURACY] = {"accuracy", " pp", 2, 100},
    [UCB_GATE_KLD] = {"KLD mean", " nats", 6, 1},
};

const char *ucb_gate_criterion_text(const struct ucb_gate_cell *cell,
                                    enum ucb_gate_criterion k, struct ucb_arena *arena)
{
    const struct ucb_criterion *c = &cell->criteria[k];
    struct ucb_estimate e = c->evidence.wide;
    if (!c->present) return "";
    const char *sign = k == UCB_GATE_PPL ? "" : "+", *ends = "[-]";
    if (!isnan(e.low) && !isnan(e.high))
        ends = ucb_arena_printf(arena, "[%.*f, %.*f]", shown[k].decimals,
                                e.low * shown[k].factor, shown[k].decimals,
                                e.high * shown[k].factor);
    const char *value = ucb_arena_printf(arena, sign[0] != '\0' ? "%+.*f" : "%.*f",
                                         shown[k].decimals, e.value * shown[k].factor);
    const char *text = ucb_arena_printf(arena, "%s %s%s %s", shown[k].name, or_empty(value),
                                        shown[k].unit, or_empty(ends));
    if (text != NULL && !isnan(cell->adjusted_p[k]) && c->verdict != UCB_VERDICT_BETTER)
        text = ucb_arena_printf(arena, "%s, p %.2g", text, cell->adjusted_p[k]);
    return or_empty(text);
}

/* All criteria with one verdict, "; " between them. */
static const char *criteria_text(const struct ucb_gate_cell *cell, enum ucb_verdict verdict,
                                 struct ucb_arena *arena)
{
    const char *text = "";
    for (int k = 0; k < UCB_GATE_N_CRITERIA; k++) {
        if (!cell->criteria[k].present || cell->criteria[k].verdict != verdict) continue;
        text = or_empty(ucb_arena_printf(arena, "%s%s%s", text, text[0] == '\0' ? "" : "; ",
                                         ucb_gate_criterion_text(cell, k, arena)));
    }
    return text;
}

/* ---- cells ---- */

static const char *undecided_text(const struct ucb_gate_cell *cell, struct ucb_arena *arena)
{
    const char *text = criteria_text(cell, UCB_VERDICT_INCONCLUSIVE, arena);
    size_t n = cell->result.n_documents;
    if (isfinite(cell->n_decides))
        return or_empty(ucb_arena_printf(
            arena, "%s; undecided at %zu documents, about %.0f would decide", text, n,
            cell->n_decides));
    return or_empty(ucb_arena_printf(arena, "%s; undecided at %zu document%s", text, n,
                                     n == 1 ? ", one has no spread" : "s"));
}

static const char *worse_metrics_text(const struct ucb_gate_cell *cell,
                                      struct ucb_arena *arena)
{
    const char *text = "every score is the same bits, but its metrics are worse:";
    for (int k = 0; k < UCB_GATE_N_CRITERIA; k++)
        if (cell->metric_worse[k])
            text = or_empty(ucb_arena_printf(arena, "%s %s", text, shown[k].name));
    return text;
}

static const char *changed_text(const struct ucb_gate_cell *cell, struct ucb_arena *arena)
{
    switch (cell->verdict) {
    case UCB_VERDICT_IDENTICAL: return "every score is the same bits";
    case UCB_VERDICT_INCONCLUSIVE: return undecided_text(cell, arena);
    case UCB_VERDICT_WORSE:
        if (cell->n_broken > 0)
            return or_empty(
                ucb_arena_printf(arena, "%zu of %zu items have no finite score any more",
                                 cell->n_broken, cell->samples[1].n));
        if (cell->result.items_equal) return worse_metrics_text(cell, arena);
        break;
    default: break;
    }
    return criteria_text(cell, cell->verdict, arena);
}

static const char *add(const char *text, const char *more, struct ucb_arena *arena)
{
    if (more[0] == '\0') return text;
    return or_empty(
        ucb_arena_printf(arena, "%s%s%s", text, text[0] == '\0' ? "" : "; ", more));
}

const char *ucb_gate_cell_text(const struct ucb_gate_cell *cell, struct ucb_arena *arena)
{
    const char *text = cell->message == NULL ? "" : cell->message;
    if (cell->revised)
        text = add("revision changed: another id for the same question", text, arena);
    if (cell->state != UCB_GATE_CHANGED) return text;
    text = add(text, changed_text(cell, arena), arena);
    if (cell->weights_differ) text = add(text, "the decoded weights are other bits", arena);
    if (cell->size_differs)
        text = add(text,
                   or_empty(ucb_arena_printf(arena, "bits per weight %.4f, were %.4f",
                                             cell->side[1]->bpw_matrices,
                                             cell->side[0]->bpw_matrices)),
                   arena);
    if (cell->verdict == UCB_VERDICT_IDENTICAL && !cell->weights_differ &&
        !cell->size_differs)
        text = add(text, "what was made of the scores (metrics, intervals) is not", arena);
    return text;
}

/* ---- timings, evidence, runs ---- */

const char *ucb_gate_timing_text(const struct ucb_gate_timing *t, struct ucb_arena *arena)
{
    const char *text = ucb_gate_pace_text(t->pace);
    if (t->n_points > 0)
        text = ucb_arena_printf(arena, "%s: %+.1f%% since %s, %zu nights against %zu", text,
                                100 * (t->after / t->before - 1),
                                t->nights[t->points[t->n_points - 1]],
                                t->n - t->points[t->n_points - 1],
                                t->points[t->n_points - 1] -
                                    (t->n_points > 1 ? t->points[t->n_points - 2] : 0));
    if (text != NULL && t->n_points > 0 && !isnan(t->rerun))
        text = ucb_arena_printf(arena, "%s; rerun %+.1f%%", text,
                                100 * (t->rerun / t->before - 1));
    return or_empty(text);
}

const char *ucb_gate_wealth_text(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    const struct ucb_gate_wealth *w = &gate->wealth;
    if (w->n_processes == 0)
        return "no cell of the baseline has accuracy, so nothing accumulates";
    const char *text = ucb_arena_printf(
        arena, "E = %.3g, alarm at %.3g; %zu of %zu items still to be fed",
        ucb_exp(w->log_e), 1 / gate->rules.alpha, w->n_left, w->n_items);
    if (text != NULL && w->alarm) text = ucb_arena_printf(arena, "ALARM: %s", text);
    if (text != NULL && !w->stands)
        text = ucb_arena_printf(
            arena, "%s; no score of tonight differs, so it does not speak of tonight",
            text);
    if (text != NULL && w->n_left == 0)
        text = ucb_arena_printf(arena, "%s: a new baseline starts anew", text);
    return or_empty(text);
}

const char *ucb_gate_runs_text(const struct ucb_gate *gate, struct ucb_arena *arena)
{
    const struct ucb_stored_run *a = gate->run[0], *b = gate->run[1];
    const char *text = ucb_arena_printf(
        arena,
        "run %lld (build %.12s, %.10s) against baseline run %lld (build %.12s, %.10s)",
        (long long)b->run_id, b->build_id, b->started, (long long)a->run_id, a->build_id,
        a->started);
    if (text != NULL && a == b)
        text = ucb_arena_printf(arena, "%s; a run held against itself", text);
    else if (text != NULL && strcmp(a->build_id, b->build_id) == 0)
        text = ucb_arena_printf(
            arena,
            "%s; one build, which scores a cell once: equal rows are no "
            "evidence",
            text);
    for (int k = 0; k < 2; k++)
        if (text != NULL && !gate->run[k]->ended)
            text = ucb_arena_printf(arena,
                                    "%s; the %s has no end, it was killed or still goes on",
                                    text, k == 0 ? "baseline" : "run");
    return or_empty(text);
}

/* ---- counts ---- */

size_t ucb_gate_count(const struct ucb_gate *gate, enum ucb_gate_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_cells; i++) n += gate->cells[i].state == state;
    return n;
}

size_t ucb_gate_count_verdict(const struct ucb_gate *gate, enum ucb_verdict verdict)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_cells; i++)
        n += gate->cells[i].state == UCB_GATE_CHANGED && gate->cells[i].verdict == verdict;
    return n;
}

size_t ucb_gate_count_pace(const struct ucb_gate *gate, enum ucb_gate_pace pace)
{
    size_t n = 0;
    for (size_t i = 0; i < gate->n_timings; i++) n += gate->timings[i].pace == pace;
    return n;
}
