/*
 * chart_data.c - the points of the Pareto chart: which task, which rows, what range the
 * axis has.
 *
 * A value that a logarithmic axis cannot show (at or below the original) stays among the
 * points, for it may keep others off the frontier.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/resource.h"
#include "report/chart.h"

static const char script_name[] = "reports/pareto.gp";
/* The axis follows a bar to this many times its point, or to that part of it. */
enum { BAR_LIMIT = 10 };
/* And down to the noise floor while that is at least this part of the lowest point. */
enum { FLOOR_LIMIT = 20 };

/* ---- which task ---- */

static const enum ucb_shown shown_of[] = {[UCB_CHART_KLD] = UCB_SHOWN_kld_mean,
                                          [UCB_CHART_RATIO] = UCB_SHOWN_ppl_ratio,
                                          [UCB_CHART_RETENTION] = UCB_SHOWN_retention};
enum { N_QUANTITIES = sizeof(shown_of) / sizeof(shown_of[0]) };

enum ucb_shown ucb_chart_shown(enum ucb_chart_quantity quantity)
{
    return shown_of[quantity];
}

/* How much a group is wanted for the chart; 0: it cannot be drawn. */
static int score_group(const struct ucb_report_group *g, const char *task,
                       enum ucb_shown shown)
{
    if (!g->has[shown]) return 0;
    size_t n = task == NULL ? 0 : strlen(task);
    if (task != NULL)
        return strcmp(g->task, task) == 0 || strcmp(g->dataset, task) == 0 ||
               (strncmp(g->task, task, n) == 0 && g->task[n] == ':');
    return strncmp(g->task, "wikitext", strlen("wikitext")) == 0 ? 2 : 1;
}

/* "task lambada:n=2, wikitext:ctx=64", each once. */
static void list_tasks(const struct ucb_report_data *data, struct ucb_text *out)
{
    for (size_t i = 0; i < data->n_groups; i++) {
        size_t k = 0;
        while (strcmp(data->groups[k].task, data->groups[i].task) != 0) k++;
        if (k == i)
            ucb_text_add(out, "%s%s", i == 0 ? "task " : ", ", data->groups[i].task);
    }
}

static ucb_status choose_group(const struct ucb_report_job *job,
                               const struct ucb_report_data *data, struct ucb_chart *c,
                               struct ucb_err *err)
{
    int best = 0;
    for (size_t i = 0; i < data->n_groups; i++) {
        const struct ucb_report_group *g = &data->groups[i];
        int score = score_group(g, job->task, shown_of[c->quantity]);
        if (score <= best) continue;
        best = score;
        c->task = g->task;
        c->dataset = g->dataset;
        c->dataset_digest = g->dataset_digest;
    }
    if (best > 0) return UCB_OK;
    struct ucb_text held = {0};
    list_tasks(data, &held);
    ucb_status status = UCB_FAIL(
        err, UCB_MISSING,
        "%s: no %s of a compressed model%s%s, so there is nothing to draw; it holds %s in %zu "
        "cells, run `ucbench sweep` with `none` and a method",
        job->database, c->metric, job->task == NULL ? "" : " on task ",
        job->task == NULL ? "" : job->task, ucb_text_get(&held), data->n_cells);
    ucb_text_free(&held);
    return status;
}

static ucb_status choose_metric(const struct ucb_report_job *job, struct ucb_chart *c,
                                struct ucb_err *err)
{
    c->metric = job->metric == NULL ? "kld_mean" : job->metric;
    for (int i = 0; i < N_QUANTITIES; i++) {
        c->quantity = (enum ucb_chart_quantity)i;
        if (strcmp(c->metric, ucb_shown[shown_of[i]].name) == 0) return UCB_OK;
    }
    return UCB_FAIL(err, UCB_USAGE,
                    "--metric %s: the chart draws kld_mean, ppl_ratio or retention",
                    c->metric);
}

/* ---- the script's own title and query ---- */

/* The rest of every line of the script that starts with "# key: ", joined by newlines. */
static const char *script_lines(struct ucb_arena *arena, const char *script,
                                const char *key)
{
    struct ucb_text text = {0};
    char start[32];
    int n_start = snprintf(start, sizeof(start), "# %s: ", key);
    for (const char *line = script; *line != '\0';
         line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, start, (size_t)n_start) != 0) continue;
        if (text.n_chars > 0) ucb_text_add(&text, "\n");
        ucb_text_add_chars(&text, line + n_start, strcspn(line, "\n") - (size_t)n_start);
    }
    const char *copy = text.failed ? NULL : ucb_arena_strdup(arena, ucb_text_get(&text));
    ucb_text_free(&text);
    return copy;
}

/* ---- rows -> points ---- */

enum row_column { CELL_ID, BPW, VALUE, LOW, HIGH, N, N_WEIGHTS, REST_BYTES };

static double real_or(sqlite3_stmt *row, int column, double otherwise)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? otherwise
               : sqlite3_column_double(row, column);
}

/* Of the task and the data that were chosen; other data under the same task's name are not
 * on the chart. */
static bool is_on_chart(const struct ucb_chart *c, const struct ucb_report_cell *cell)
{
    return strcmp(cell->task, c->task) == 0 &&
           strcmp(cell->dataset_digest, c->dataset_digest) == 0 && !cell->failed &&
           !cell->floor; /* no point, and of every panel's scope and seed */
}

static bool is_point(const struct ucb_chart *c, const struct ucb_report_cell *cell)
{
    const struct ucb_value *v = &cell->values[shown_of[c->quantity]];
    return is_on_chart(c, cell) && !cell->original && !isnan(cell->bpw_matrices) &&
           v->present && isfinite(v->value);
}

/* The cell of a row; NULL when it was not asked for. */
static const struct ucb_report_cell *cell_of(const struct ucb_report_data *data,
                                             const struct ucb_chart *c, sqlite3_stmt *row)
{
    const char *id = (const char *)sqlite3_column_text(row, CELL_ID);
    for (size_t i = 0; i < data->n_cells; i++)
        if (strcmp(data->cells[i].cell_id, id) == 0)
            return is_on_chart(c, &data->cells[i]) ? &data->cells[i] : NULL;
    return NULL;
}

/* NULL: there is none yet. */
static struct ucb_chart_series *series_of(struct ucb_chart *c,
                                          const struct ucb_report_cell *cell)
{
    for (size_t i = 0; i < c->n_series; i++)
        if (strcmp(c->series[i].model, cell->model) == 0 &&
            strcmp(c->series[i].setting, cell->setting) == 0)
            return &c->series[i];
    return NULL;
}

static size_t method_index(const struct ucb_chart *c, const char *method)
{
    size_t i = 0;
    while (i < c->n_methods && strcmp(c->methods[i], method) != 0) i++;
    return i;
}

/* Keeps the names in order, so that a method's place does not depend on its sizes. */
static bool add_method(struct ucb_chart *c, struct ucb_arena *arena, const char *method)
{
    if (method_index(c, method) < c->n_methods) return true;
    const char *copy = ucb_arena_strdup(arena, method);
    if (copy == NULL || c->n_methods == UCB_CHART_MAX_METHODS) return false;
    size_t at = c->n_methods++;
    for (; at > 0 && strcmp(c->methods[at - 1], copy) > 0; at--)
        c->methods[at] = c->methods[at - 1];
    c->methods[at] = copy;
    return true;
}

static double size_gib(const struct ucb_chart_series *s, double bpw)
{
    return (bpw * s->weights / 8 + s->rest_bytes) / 1073741824.0;
}

static ucb_status add_point(struct ucb_report_job *job, const struct ucb_report_data *data,
                            struct ucb_chart *c, sqlite3_stmt *row, struct ucb_err *err)
{
    const struct ucb_report_cell *cell = cell_of(data, c, row);
    double shift = c->quantity == UCB_CHART_RATIO ? 1 : 0,
           y = real_or(row, VALUE, NAN) - shift, bpw = sqlite3_column_double(row, BPW);
    if (cell == NULL) return UCB_OK;
    if (!is_point(c, cell)) {
        c->n_not_finite++;
        return UCB_OK;
    }
    if (!add_method(c, job->arena, cell->method))
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "the chart has colours and marks for %d methods; choose with --model",
            UCB_CHART_MAX_METHODS);
    if (sqlite3_column_type(row, LOW) != SQLITE_NULL)
        c->interval = ucb_interval_meaning(cell->values[shown_of[c->quantity]].interval);
    struct ucb_chart_series *series = series_of(c, cell);
    series->weights = sqlite3_column_double(row, N_WEIGHTS);
    series->rest_bytes = sqlite3_column_double(row, REST_BYTES);
    c->points[c->n_points++] = (struct ucb_chart_point){
        .cell = cell,
        .label = cell->name,
        .bpw = bpw,
        .size_gib = size_gib(series, bpw),
        .y = y,
        .low = real_or(row, LOW, y + shift) - shift,
        .high = real_or(row, HIGH, y + shift) - shift,
        .membership = NAN,
        .has_interval = sqlite3_column_type(row, LOW) != SQLITE_NULL,
        .n = sqlite3_column_int64(row, N),
        .series = (size_t)(series - c->series),
        .model = series->model_index};
    return UCB_OK;
}

static ucb_status read_points(struct ucb_report_job *job,
                              const struct ucb_report_data *data, const char *sql,
                              struct ucb_chart *c, struct ucb_err *err)
{
    sqlite3 *db = ucb_store_db(job->store);
    sqlite3_stmt *rows = NULL;
    ucb_status status = UCB_OK;
    int code = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(rows, sqlite3_bind_parameter_index(rows, ":task"), c->task, -1,
                          SQLITE_STATIC);
        sqlite3_bind_text(rows, sqlite3_bind_parameter_index(rows, ":metric"), c->metric,
                          -1, SQLITE_STATIC);
        while (status == UCB_OK && c->n_points < data->n_cells &&
               (code = sqlite3_step(rows)) == SQLITE_ROW)
            status = add_point(job, data, c, rows, err);
    }
    if (status == UCB_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        status = UCB_FAIL(err, UCB_CORRUPT, "%s: cannot run the query of %s: %s",
                          job->database, script_name, sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    return status;
}

/*
 * The original's own value, known no better than its interval: its perplexity over its
 * perplexity, its accuracy over its accuracy. A divergence from itself is 0 and has none.
 */
static void set_reference(const struct ucb_chart *c, const struct ucb_report_cell *cell,
                          struct ucb_chart_series *s)
{
    bool ratio = c->quantity == UCB_CHART_RATIO;
    const struct ucb_value *v = &cell->values[ratio ? UCB_SHOWN_ppl : UCB_SHOWN_accuracy];
    if (c->quantity == UCB_CHART_KLD || !v->present || !(v->value > 0)) return;
    s->reference = ratio ? 0 : 1;
    s->reference_low = v->low / v->value - (ratio ? 1 : 0);
    s->reference_high = v->high / v->value - (ratio ? 1 : 0);
}

static size_t model_index(struct ucb_chart *c, const char *model)
{
    size_t i = 0;
    while (i < c->n_models && strcmp(c->models[i], model) != 0) i++;
    if (i == c->n_models) c->models[c->n_models++] = model;
    return i;
}

static ucb_status add_series(const struct ucb_report_data *data, struct ucb_chart *c,
                             const struct ucb_report_cell *cell, struct ucb_err *err)
{
    if (c->n_series == UCB_CHART_MAX_SERIES)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "the chart has room for %d panels, one for each model, scope, arithmetic "
            "and seed; choose with --model",
            UCB_CHART_MAX_SERIES);
    struct ucb_chart_series *s = &c->series[c->n_series++];
    *s = (struct ucb_chart_series){.model = cell->model,
                                   .setting = cell->setting,
                                   .model_index = model_index(c, cell->model),
                                   .original_bpw = NAN,
                                   .reference = NAN,
                                   .reference_low = NAN,
                                   .reference_high = NAN};
    ucb_chart_find_floor(data, c, s, cell->arithmetic);
    return UCB_OK;
}

/* A series for every model and setting that has a point; then what each original says. */
static ucb_status make_series(const struct ucb_report_data *data, struct ucb_chart *c,
                              struct ucb_err *err)
{
    for (size_t i = 0; i < data->n_cells; i++)
        if (is_point(c, &data->cells[i]) && series_of(c, &data->cells[i]) == NULL)
            UCB_TRY(add_series(data, c, &data->cells[i], err));
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_report_cell *cell = &data->cells[i];
        if (!cell->original || !is_on_chart(c, cell)) continue;
        struct ucb_chart_series *s = series_of(c, cell);
        if (s == NULL || !isnan(s->original_bpw)) continue;
        s->original_bpw = cell->bpw_matrices;
        set_reference(c, cell, s);
    }
    return UCB_OK;
}

/* ---- what follows from the points ---- */

static const char *calibration_of(const struct ucb_report_data *data,
                                  const struct ucb_chart *c)
{
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_report_cell *cell = &data->cells[i];
        if (is_on_chart(c, cell) && cell->calib_shown[0] != '\0')
            return strcmp(cell->name, cell->spec) == 0 ? cell->calib_shown : NULL;
    }
    return NULL;
}

/* A bar may reach zero, which a log axis cannot, or so far up that the points would all lie
 * at its foot. */
static void find_log_range(struct ucb_chart *c)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        if (!(p->y > 0)) continue;
        low = fmin(low, fmax(p->low, p->y / BAR_LIMIT));
        high = fmax(high, fmin(p->high, p->y * BAR_LIMIT));
    }
    /* The floor belongs on the chart unless it lies far below everything. */
    for (size_t i = 0; i < c->n_series; i++)
        if (c->series[i].floor.high > low / FLOOR_LIMIT)
            low = fmin(low, c->series[i].floor.high);
    c->y_low = low / 1.6;
    c->y_high = high * 2.5; /* room for the highest point's label */
}

static void find_linear_range(struct ucb_chart *c)
{
    double low = 1, high = 1;
    for (size_t i = 0; i < c->n_points; i++) {
        low = fmin(low, c->points[i].low);
        high = fmax(high, c->points[i].high);
    }
    double pad = 0.08 * (high - low) + 0.005;
    c->y_low = low - pad;
    c->y_high = high + pad;
}

static void find_ranges(struct ucb_chart *c)
{
    c->n_low = INT64_MAX;
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        if (p->n < c->n_low) c->n_low = p->n;
        if (p->n > c->n_high) c->n_high = p->n;
    }
    if (ucb_chart_is_log(c))
        find_log_range(c);
    else
        find_linear_range(c);
    for (size_t i = 0; i < c->n_points; i++)
        c->cuts_bars |= c->points[i].y > 0 &&
                        (c->points[i].low < c->y_low || c->points[i].high > c->y_high);
}

static size_t count_drawable(const struct ucb_chart *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_points; i++)
        n += !ucb_chart_is_log(c) || c->points[i].y > 0;
    return n;
}

static ucb_status load_script(struct ucb_report_job *job, struct ucb_chart *c,
                              const char **sql, struct ucb_err *err)
{
    const struct ucb_resource *script = ucb_resource_find(script_name);
    if (script == NULL)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "%s is missing from this build; build it again", script_name);
    c->script = script->data;
    c->title = script_lines(job->arena, script->data, "title");
    *sql = script_lines(job->arena, script->data, "sql");
    if (c->title == NULL || *sql == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the chart");
    return UCB_OK;
}

ucb_status ucb_chart_load(struct ucb_report_job *job, const struct ucb_report_data *data,
                          struct ucb_chart *out, struct ucb_err *err)
{
    struct ucb_chart c = {0};
    const char *sql = NULL;
    UCB_TRY(choose_metric(job, &c, err));
    UCB_TRY(choose_group(job, data, &c, err));
    UCB_TRY(load_script(job, &c, &sql, err));
    UCB_TRY(make_series(data, &c, err));
    c.points = UCB_NEW(job->arena, struct ucb_chart_point, data->n_cells);
    c.caveats = ucb_report_caveats(job->arena, data, &c.n_caveats);
    if (c.points == NULL || c.caveats == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu points", data->n_cells);
    UCB_TRY(read_points(job, data, sql, &c, err));
    if (count_drawable(&c) == 0)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no %s above zero on task %s, so a logarithmic axis has nothing to show",
            job->database, c.metric, c.task);
    c.calibration = calibration_of(data, &c);
    for (size_t i = 0; i < c.n_points; i++)
        c.points[i].method = method_index(&c, c.points[i].cell->method);
    UCB_TRY(ucb_chart_find_frontier(job, &c, err));
    UCB_TRY(ucb_chart_find_limits(job, &c, err));
    find_ranges(&c);
    *out = c;
    return UCB_OK;
}
