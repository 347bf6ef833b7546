/*
 * gate_store.c - see gate_store.h.
 *
 * Two cells belong together when they have one id. What is left is matched by its words
 * (model, scope, method, calibration, task, arithmetic, seed): the id of a cell whose
 * method was given a new revision is another, its question is not.
 */
#include "gate/gate_store.h"

#include <stdlib.h>
#include <string.h>

#include "core/text.h"

/* ---- runs ---- */

/* "  3  2026-11-22T01:00  build 0123456789ab  20 cells" a line, the newest last. */
static const char *list_runs(const struct ucb_stored_run *runs, size_t n,
                             struct ucb_arena *arena)
{
    enum { SHOWN = 8 };
    const char *text = n == 0 ? " none, `ucbench sweep --db` makes them" : "";
    for (size_t i = n > SHOWN ? n - SHOWN : 0; i < n && text != NULL; i++)
        text = ucb_arena_printf(arena, "%s\n  %lld  %.16s  build %.12s  %zu cells", text,
                                (long long)runs[i].run_id, runs[i].started,
                                runs[i].build_id, runs[i].n_cells);
    return text == NULL ? "" : text;
}

static const struct ucb_stored_run *run_of_build(const struct ucb_stored_run *runs,
                                                 size_t n, const char *prefix,
                                                 size_t *n_builds)
{
    const struct ucb_stored_run *found = NULL;
    *n_builds = 0;
    for (size_t i = 0; strlen(prefix) >= 4 && i < n; i++) {
        if (strncmp(runs[i].build_id, prefix, strlen(prefix)) != 0) continue;
        *n_builds += found == NULL || strcmp(found->build_id, runs[i].build_id) != 0;
        found = &runs[i];
    }
    return found;
}

static const struct ucb_stored_run *run_of_number(const struct ucb_stored_run *runs,
                                                  size_t n, const char *name)
{
    uint64_t number;
    if (!ucb_parse_u64(name, &number)) return NULL;
    for (size_t i = 0; i < n; i++)
        if ((uint64_t)runs[i].run_id == number) return &runs[i];
    return NULL;
}

ucb_status ucb_gate_find_run(const struct ucb_stored_run *runs, size_t n_runs,
                             const char *name, const struct ucb_stored_run *candidate,
                             struct ucb_arena *arena, const struct ucb_stored_run **out,
                             struct ucb_err *err)
{
    const struct ucb_stored_run *found = NULL;
    size_t n_builds = 1;
    if (strcmp(name, "latest") == 0 && n_runs > 0) {
        found = &runs[n_runs - 1];
    } else if (strcmp(name, "previous") == 0 && candidate != NULL) {
        found = candidate > runs ? candidate - 1 : NULL;
    } else {
        found = run_of_number(runs, n_runs, name);
        if (found == NULL) found = run_of_build(runs, n_runs, name, &n_builds);
    }
    if (found == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: no such run; a number, the first digits of a build, latest%s; "
                        "the runs:%s",
                        name, candidate != NULL ? " or previous" : "",
                        list_runs(runs, n_runs, arena));
    if (n_builds > 1)
        return UCB_FAIL(err, UCB_USAGE, "%s: fits %zu builds; say more; the runs:%s", name,
                        n_builds, list_runs(runs, n_runs, arena));
    *out = found;
    return UCB_OK;
}

ucb_status ucb_gate_open(const struct ucb_gate_job *job, struct ucb_gate *out,
                         struct ucb_err *err)
{
    struct ucb_stored_run *runs = NULL;
    size_t n_runs = 0;
    *out = (struct ucb_gate){.rules = job->rules, .unrecorded = job->unrecorded};
    UCB_TRY(ucb_store_runs(job->store, job->arena, &runs, &n_runs, err));
    UCB_TRY(ucb_gate_find_run(runs, n_runs, job->candidate, NULL, job->arena, &out->run[1],
                              err));
    UCB_TRY(ucb_gate_find_run(runs, n_runs, job->baseline, out->run[1], job->arena,
                              &out->run[0], err));
    out->night = job->night != NULL
                     ? job->night
                     : ucb_arena_printf(job->arena, "%.10s", out->run[1]->started);
    return out->night == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for a date") : UCB_OK;
}

/* ---- cells ---- */

/* The two runs, and which of their cells are taken. */
struct matching {
    struct ucb_run_cell *cells[2];
    size_t n[2];
    bool *taken; /* of the candidate's */
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool same_words(const struct ucb_run_cell *x, const struct ucb_run_cell *y)
{
    const struct ucb_stored_cell *a = x->cell, *b = y->cell;
    return same(a->model, b->model) && same(a->scope, b->scope) && same(a->spec, b->spec) &&
           same(a->calib, b->calib) && same(a->task, b->task) &&
           same(a->arithmetic, b->arithmetic) && a->seed == b->seed &&
           same(a->reference, b->reference);
}

static bool same_id(const struct ucb_run_cell *x, const struct ucb_run_cell *y)
{
    return same(x->cell->cell_id, y->cell->cell_id);
}

static const struct ucb_run_cell *
take(struct matching *m, const struct ucb_run_cell *before,
     bool fits(const struct ucb_run_cell *, const struct ucb_run_cell *))
{
    for (size_t i = 0; i < m->n[1]; i++)
        if (!m->taken[i] && fits(before, &m->cells[1][i])) {
            m->taken[i] = true;
            return &m->cells[1][i];
        }
    return NULL;
}

/* Every cell of the baseline with its other half, then what only the candidate has. */
static size_t match(struct matching *m, struct ucb_gate_cell *out)
{
    size_t n = m->n[0];
    for (size_t i = 0; i < n; i++) {
        out[i].side[0] = &m->cells[0][i];
        out[i].side[1] = take(m, out[i].side[0], same_id);
    }
    for (size_t i = 0; i < n; i++) {
        if (out[i].side[1] != NULL) continue;
        out[i].side[1] = take(m, out[i].side[0], same_words);
        out[i].revised = out[i].side[1] != NULL;
    }
    for (size_t i = 0; i < m->n[1]; i++)
        if (!m->taken[i]) out[n++].side[1] = &m->cells[1][i];
    return n;
}

/* What a revised cell would have to share to be compared: model, data and protocol. */
static const char *why_not(const struct ucb_stored_cell *a, const struct ucb_stored_cell *b)
{
    if (!same(a->model_digest, b->model_digest)) return "the model's file is another";
    if (!same(a->dataset_digest, b->dataset_digest)) return "the data are others";
    if (a->task_revision != b->task_revision) return "the task's protocol was revised";
    return NULL;
}

static void find_state(struct ucb_gate_cell *c)
{
    const struct ucb_stored_cell *a = c->side[0] == NULL ? NULL : c->side[0]->cell,
                                 *b = c->side[1] == NULL ? NULL : c->side[1]->cell;
    if (a == NULL) {
        c->state = b->failed ? UCB_GATE_NEW_FAILED : UCB_GATE_NEW;
    } else if (b == NULL) {
        c->state = UCB_GATE_MISSING;
    } else if (a->failed || b->failed) {
        c->state = !b->failed  ? UCB_GATE_RECOVERED
                   : a->failed ? UCB_GATE_STILL_FAILED
                               : UCB_GATE_FAILED;
    } else if (a->cell_key == b->cell_key) {
        c->state = UCB_GATE_SAME_ROW;
    } else {
        c->message = why_not(a, b);
        c->state = c->message != NULL ? UCB_GATE_INCOMPARABLE : UCB_GATE_CHANGED;
    }
    if (b != NULL && b->failed) c->message = b->message;
}

/* Takes digests, and reads the items where they differ. */
static ucb_status load_pair(struct ucb_store *store, struct ucb_gate_cell *c,
                            struct ucb_arena *arena, struct ucb_err *err)
{
    for (int k = 0; k < 2; k++)
        UCB_TRY(ucb_store_digest_cell(store, (struct ucb_run_cell *)c->side[k], err));
    if (!c->revised && same(c->side[0]->digest, c->side[1]->digest)) {
        c->state = UCB_GATE_IDENTICAL;
        return UCB_OK;
    }
    for (int k = 0; k < 2; k++)
        UCB_TRY(
            ucb_store_read_samples(store, c->side[k]->cell, arena, &c->samples[k], err));
    return UCB_OK;
}

static ucb_status load_cells(const struct ucb_gate_job *job, struct ucb_gate *gate,
                             struct ucb_err *err)
{
    struct ucb_stored_cell *all = NULL;
    struct matching m = {0};
    size_t n_all = 0;
    UCB_TRY(ucb_store_cells(job->store, job->arena, &all, &n_all, err));
    for (int k = 0; k < 2; k++)
        UCB_TRY(ucb_store_run_cells(job->store, gate->run[k]->run_id, all, n_all,
                                    job->arena, &m.cells[k], &m.n[k], err));
    m.taken = UCB_NEW(job->arena, bool, m.n[1]);
    gate->cells = UCB_NEW(job->arena, struct ucb_gate_cell, m.n[0] + m.n[1]);
    if (m.taken == NULL || gate->cells == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu cells", m.n[0] + m.n[1]);
    gate->n_cells = match(&m, gate->cells);
    for (size_t i = 0; i < gate->n_cells; i++) {
        find_state(&gate->cells[i]);
        if (gate->cells[i].state == UCB_GATE_CHANGED)
            UCB_TRY(load_pair(job->store, &gate->cells[i], job->arena, err));
    }
    return UCB_OK;
}

/* ---- evidence ---- */

/* A cell of the baseline whose items are each right or wrong. Decided by the task, so that
 * the number of processes is known before any night. */
static ucb_status takes_part(const struct ucb_gate_cell *c, bool *out, struct ucb_err *err)
{
    struct ucb_task_run task;
    *out = false;
    if (c->side[0] == NULL || c->side[0]->cell->failed) return UCB_OK;
    UCB_TRY(ucb_task_parse(c->side[0]->cell->task, &task, err));
    *out = task.task->has_accuracy;
    return UCB_OK;
}

/* What other nights fed, and whether this one has fed already. */
static void remember(struct ucb_gate_cell *c, const char *night, double bet,
                     const struct ucb_stored_evidence *stored, size_t n)
{
    struct ucb_gate_evidence *e = &c->evidence;
    size_t n_items = (size_t)c->side[0]->cell->n_items;
    for (size_t i = 0; i < n; i++) {
        const struct ucb_stored_evidence *s = &stored[i];
        if (!same(s->cell_id, c->side[0]->cell->cell_id)) continue;
        ucb_eprocess_feed(&e->process, s->n_lost, s->n_won, bet);
        for (size_t k = 0; k < s->n_items; k++)
            if (s->items[k] < n_items) e->fed[s->items[k]] = true;
        if (!same(s->night, night)) continue;
        e->fed_tonight_before = true;
        e->n_items = s->n_items;
        e->n_lost = s->n_lost;
        e->n_won = s->n_won;
    }
}

static ucb_status load_evidence(const struct ucb_gate_job *job, struct ucb_gate *gate,
                                struct ucb_err *err)
{
    struct ucb_stored_evidence *stored = NULL;
    size_t n = 0;
    UCB_TRY(
        ucb_store_evidence(job->store, gate->run[0]->run_id, job->arena, &stored, &n, err));
    for (size_t i = 0; i < gate->n_cells; i++) {
        struct ucb_gate_cell *c = &gate->cells[i];
        UCB_TRY(takes_part(c, &c->evidence.takes_part, err));
        if (!c->evidence.takes_part) continue;
        c->evidence.fed = UCB_NEW(job->arena, bool, (size_t)c->side[0]->cell->n_items);
        if (c->evidence.fed == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "no memory for %lld items",
                            (long long)c->side[0]->cell->n_items);
        remember(c, gate->night, gate->rules.bet, stored, n);
    }
    return UCB_OK;
}

static ucb_status store_evidence(const struct ucb_gate_job *job,
                                 const struct ucb_gate *gate, struct ucb_err *err)
{
    size_t n = 0;
    struct ucb_stored_evidence *rows = UCB_NEW(job->arena, struct ucb_stored_evidence,
                                               gate->n_cells);
    if (rows == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the evidence of %zu cells",
                        gate->n_cells);
    for (size_t i = 0; i < gate->n_cells; i++) {
        const struct ucb_gate_cell *c = &gate->cells[i];
        const struct ucb_gate_evidence *e = &c->evidence;
        if (e->items == NULL || e->n_items == 0) continue;
        rows[n++] = (struct ucb_stored_evidence){.cell_id = c->side[0]->cell->cell_id,
                                                 .night = gate->night,
                                                 .baseline_run = gate->run[0]->run_id,
                                                 .candidate_run = gate->run[1]->run_id,
                                                 .n_lost = e->n_lost,
                                                 .n_won = e->n_won,
                                                 .log_e = e->process.log_e,
                                                 .items = e->items,
                                                 .n_items = e->n_items};
    }
    return n == 0 ? UCB_OK : ucb_store_put_evidence(job->store, rows, n, err);
}

/* ---- the night ---- */

/* What a reader looks for first. */
static int urgency(const struct ucb_gate_cell *c)
{
    if (ucb_gate_cell_is_regression(c)) return 0;
    if (ucb_gate_cell_is_warning(c)) return 1;
    return ucb_gate_cell_is_as_before(c) ? 3 : 2;
}

static int by_urgency(const void *x, const void *y)
{
    const struct ucb_gate_cell *a = x, *b = y;
    const struct ucb_stored_cell *c = ucb_gate_cell_of(a)->cell,
                                 *d = ucb_gate_cell_of(b)->cell;
    int order = urgency(a) - urgency(b);
    if (order == 0) order = (int)a->state - (int)b->state;
    if (order == 0) order = strcmp(c->model, d->model);
    if (order == 0) order = strcmp(c->task, d->task);
    if (order == 0) order = strcmp(c->spec, d->spec);
    return order != 0 ? order : strcmp(c->cell_id, d->cell_id);
}

/* Times are compared since the day of the baseline. */
static ucb_status pace(const struct ucb_gate_job *job, struct ucb_gate *gate,
                       struct ucb_err *err)
{
    struct ucb_timing *timings = NULL;
    size_t n = 0;
    if (job->rules.no_timings) return UCB_OK;
    const char *since = ucb_arena_printf(job->arena, "%.10s", gate->run[0]->started);
    if (since == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a date");
    UCB_TRY(ucb_store_timings(job->store, job->arena, &timings, &n, err));
    return ucb_gate_pace(timings, n, since, gate->night, job->arena, &gate->timings,
                         &gate->n_timings, err);
}

ucb_status ucb_gate_run(const struct ucb_gate_job *job, struct ucb_gate *gate,
                        struct ucb_err *err)
{
    UCB_TRY(load_cells(job, gate, err));
    UCB_TRY(load_evidence(job, gate, err));
    UCB_TRY(ucb_gate_judge(gate->cells, gate->n_cells, &gate->rules, job->arena,
                           &gate->n_family, err));
    UCB_TRY(ucb_gate_feed(gate->cells, gate->n_cells, gate->night, &gate->rules, job->arena,
                          &gate->wealth, err));
    if (job->unrecorded == NULL) UCB_TRY(store_evidence(job, gate, err));
    UCB_TRY(pace(job, gate, err));
    qsort(gate->cells, gate->n_cells, sizeof(*gate->cells), by_urgency);
    return UCB_OK;
}
