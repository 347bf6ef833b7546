/*
 * report_history.c - the nights as pictures: each cell's metrics over the runs, each time
 * over the nights with its levels.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report/history_chart.h"
#include "stats/changepoint.h"
#include "stats/quantile.h"
#include "store/store_night.h"

/* ---- a list of panels that grows ---- */

struct panels {
    struct ucb_report_job *job;
    struct ucb_history_panel *list;
    size_t n, capacity, point_capacity; /* of the last panel */
    size_t n_cells;                     /* of quality; `cell` is the last one's number */
    int cell;
};

static ucb_status grow(struct ucb_arena *arena, void **list, size_t n, size_t *capacity,
                       size_t item_bytes, struct ucb_err *err)
{
    if (n < *capacity) return UCB_OK;
    size_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
    void *more = ucb_arena_array(arena, wanted, item_bytes);
    if (more == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the history");
    if (n > 0) memcpy(more, *list, n * item_bytes);
    *list = more;
    *capacity = wanted;
    return UCB_OK;
}

static ucb_status add_panel(struct panels *p, const char *title, struct ucb_err *err)
{
    UCB_TRY(
        grow(p->job->arena, (void **)&p->list, p->n, &p->capacity, sizeof(*p->list), err));
    if (title == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the history");
    p->list[p->n++] = (struct ucb_history_panel){.name = title, .title = title};
    p->point_capacity = 0;
    return UCB_OK;
}

static ucb_status add_point(struct panels *p, const struct ucb_history_point *point,
                            struct ucb_err *err)
{
    struct ucb_history_panel *last = &p->list[p->n - 1];
    UCB_TRY(grow(p->job->arena, (void **)&last->points, last->n, &p->point_capacity,
                 sizeof(*point), err));
    last->points[last->n++] = *point;
    return UCB_OK;
}

/* ---- quality ---- */

/* One row for each run, cell and metric that is drawn. A cell is its words, as for the
 * gate; its first size keeps its place when a later program writes other bytes. */
#define CELL_WORDS "model, task, spec, arithmetic, reference, scope, calib, seed"
static const char quality_query[] =
    "WITH shown (metric, place, label, factor) AS"
    " (VALUES ('ppl', 1, 'ppl', 1), ('kld_mean', 2, 'KLD mean', 1),"
    "  ('accuracy', 3, 'accuracy %', 100)),"
    " models AS (SELECT count(DISTINCT model) AS n FROM v_results),"
    /* A task is cut at its knobs where no other one has that name. */
    " tasks AS (SELECT DISTINCT task, substr(task, 1, instr(task || ':', ':') - 1) AS short"
    "  FROM v_results),"
    " results AS (SELECT *, first_value(bpw_matrices) OVER (PARTITION BY " CELL_WORDS
    "  ORDER BY run_id) AS first_size FROM v_results)"
    "SELECT strftime('%s', runs.started), value * factor, ci_low * factor, ci_high * factor,"
    "  CASE (SELECT n FROM models) WHEN 1 THEN '' ELSE model || ', ' END || spec"
    "  || CASE arithmetic WHEN 'fp32' THEN '' ELSE ' ' || arithmetic END"
    "  || CASE reference WHEN '' THEN '' ELSE ' against ' || reference END"
    "  || CASE scope WHEN 'body' THEN '' ELSE ', scope ' || scope END"
    "  || CASE results.seed WHEN 0 THEN '' ELSE ', seed ' || results.seed END"
    "  || CASE (SELECT count(DISTINCT calib) FROM v_results WHERE calib <> '') > 1"
    "     AND calib <> '' WHEN 1 THEN ', ' || calib ELSE '' END || ', '"
    "  || CASE (SELECT count(*) FROM tasks AS t WHERE t.short = tasks.short)"
    "     WHEN 1 THEN short ELSE task END || ': ' || label,"
    "  model, place - 1, dense_rank() OVER (ORDER BY model, task, spec = 'none' DESC,"
    "  first_size, spec, arithmetic, reference, scope, calib, results.seed) AS cell"
    " FROM results JOIN shown USING (metric) JOIN runs USING (run_id) JOIN tasks USING (task)"
    " WHERE status = 'OK' AND value IS NOT NULL AND (?1 IS NULL OR task = ?1 OR short = ?1"
    "  OR dataset = ?1) AND (?2 IS NULL OR metric = ?2)"
    " ORDER BY cell, place, run_id";

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

static bool is_wanted(const struct ucb_report_job *job, const char *model)
{
    for (size_t i = 0; i < job->n_models; i++)
        if (strcmp(job->models[i], model) == 0) return true;
    return job->n_models == 0;
}

static ucb_status add_row(struct panels *p, sqlite3_stmt *row, struct ucb_err *err)
{
    const char *name = (const char *)sqlite3_column_text(row, 4);
    size_t column = (size_t)sqlite3_column_int(row, 6);
    int cell = sqlite3_column_int(row, 7);
    struct ucb_history_point point = {sqlite3_column_int64(row, 0),
                                      sqlite3_column_double(row, 1),
                                      real_at(row, 2),
                                      real_at(row, 3),
                                      NAN,
                                      false};
    if (!is_wanted(p->job, (const char *)sqlite3_column_text(row, 5))) return UCB_OK;
    if (p->n == 0 || p->cell != cell || p->list[p->n - 1].column != column) {
        UCB_TRY(add_panel(p, ucb_arena_strdup(p->job->arena, name), err));
        p->list[p->n - 1].column = column;
        p->n_cells += p->n == 1 || p->cell != cell;
        p->list[p->n - 1].row = p->n_cells - 1;
        p->cell = cell;
    }
    const struct ucb_history_panel *last = &p->list[p->n - 1];
    if (last->n > 0) point.changed = last->points[last->n - 1].value != point.value;
    return add_point(p, &point, err);
}

/* One panel beside the other. */
static void flow(struct panels *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->list[i].row = i / UCB_HISTORY_COLUMNS;
        p->list[i].column = i % UCB_HISTORY_COLUMNS;
    }
}

/* A row for each cell, a column for each metric that any has; so far the columns are the
 * places of the query. */
static void lay_out(struct panels *p)
{
    size_t n_used[UCB_HISTORY_COLUMNS] = {0}, rank[UCB_HISTORY_COLUMNS] = {0};
    for (size_t i = 0; i < p->n; i++) n_used[p->list[i].column]++;
    for (int k = 1; k < UCB_HISTORY_COLUMNS; k++)
        rank[k] = rank[k - 1] + (n_used[k - 1] > 0);
    for (size_t i = 0; i < p->n; i++) p->list[i].column = rank[p->list[i].column];
    /* The first of a row names the cell. */
    for (size_t i = p->n; i-- > 1;)
        if (p->list[i].row == p->list[i - 1].row)
            p->list[i].title = strrchr(p->list[i].title, ':') + 2;
    if (p->n_cells == p->n) flow(p); /* one metric */
}

static ucb_status load_quality(struct panels *p, struct ucb_err *err)
{
    sqlite3 *db = ucb_store_db(p->job->store);
    sqlite3_stmt *rows = NULL;
    ucb_status status = UCB_OK;
    int code = sqlite3_prepare_v2(db, quality_query, -1, &rows, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(rows, 1, p->job->task, -1, SQLITE_STATIC);
        sqlite3_bind_text(rows, 2, p->job->metric, -1, SQLITE_STATIC);
        while (status == UCB_OK && (code = sqlite3_step(rows)) == SQLITE_ROW)
            status = add_row(p, rows, err);
    }
    if (status == UCB_OK && code != SQLITE_DONE)
        status = UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read its results: %s",
                          p->job->database, sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    return status;
}

/* ---- times ---- */

/* Midnight of a date, UTC; 0 for a text that is none. */
static int64_t time_of(const char *night)
{
    int year = 0, month = 0, day = 0;
    if (sscanf(night, "%d-%d-%d", &year, &month, &day) != 3) return 0;
    struct tm date = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return (int64_t)timegm(&date);
}

/* The candidate's first repeats of one night, from timings[0] on: their median and ends. */
static struct ucb_history_point night_point(const struct ucb_timing *timings, size_t n,
                                            double *scratch)
{
    size_t n_taken = 0;
    for (size_t i = 0; i < n; i++)
        if (timings[i].is_candidate && !timings[i].is_rerun)
            scratch[n_taken++] = timings[i].seconds;
    struct ucb_history_point point = {time_of(timings[0].night), NAN, NAN, NAN, NAN, false};
    if (n_taken == 0) return point;
    ucb_sort(scratch, n_taken);
    point.value = ucb_quantile_sorted(scratch, n_taken, 0.5);
    point.low = scratch[0];
    point.high = scratch[n_taken - 1];
    return point;
}

/* The levels of the newest nights, by the rule and at the significance of the gate, which
 * looks at the ratio to the baseline's times where it has them. */
static ucb_status find_levels(const struct panels *p, struct ucb_history_panel *panel,
                              struct ucb_err *err)
{
    const struct ucb_change_options options = ucb_change_of_nights(p->n);
    struct ucb_pcg stream;
    size_t n_before = panel->n > UCB_CHANGE_NIGHTS ? panel->n - UCB_CHANGE_NIGHTS : 0,
           n = panel->n - n_before, n_points = 0;
    struct ucb_history_point *nights = panel->points + n_before;
    double values[UCB_CHANGE_NIGHTS], scratch[UCB_CHANGE_NIGHTS];
    size_t points[UCB_CHANGE_NIGHTS + 1];
    for (size_t i = 0; i < n; i++) values[i] = nights[i].value;
    ucb_pcg_named(&stream, 1, panel->name);
    UCB_TRY(
        ucb_change_points(values, n, &options, &stream, scratch, points, &n_points, err));
    points[n_points] = n;
    for (size_t k = 0, from = 0; k <= n_points; from = points[k++]) {
        memcpy(scratch, values + from, (points[k] - from) * sizeof(*values));
        ucb_sort(scratch, points[k] - from);
        double level = ucb_quantile_sorted(scratch, points[k] - from, 0.5);
        for (size_t i = from; i < points[k]; i++) nights[i].level = level;
        if (k < n_points) nights[points[k]].changed = true;
    }
    return UCB_OK;
}

static ucb_status load_times(struct panels *p, struct ucb_err *err)
{
    struct ucb_timing *timings = NULL;
    size_t n = 0;
    UCB_TRY(ucb_store_timings(p->job->store, p->job->arena, &timings, &n, err));
    double *scratch = UCB_NEW(p->job->arena, double, n);
    if (scratch == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu times", n);
    for (size_t at = 0, end; at < n; at = end) {
        for (end = at; end < n && strcmp(timings[end].name, timings[at].name) == 0 &&
                       strcmp(timings[end].night, timings[at].night) == 0;)
            end++;
        struct ucb_history_point point = night_point(timings + at, end - at, scratch);
        if (isnan(point.value)) continue;
        if (p->n == 0 || strcmp(p->list[p->n - 1].title, timings[at].name) != 0)
            UCB_TRY(add_panel(p, timings[at].name, err));
        UCB_TRY(add_point(p, &point, err));
    }
    for (size_t i = 0; i < p->n; i++) UCB_TRY(find_levels(p, &p->list[i], err));
    return UCB_OK;
}

/* "MODEL/" where all series are of one model. */
static void cut_model(struct panels *p)
{
    size_t n = p->n == 0 ? 0 : strcspn(p->list[0].title, "/");
    for (size_t i = 0; i < p->n; i++)
        if (strncmp(p->list[i].title, p->list[0].title, n + 1) != 0) return;
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].title[n] == '/') p->list[i].title += n + 1;
}

/* ---- the report ---- */

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct panels quality = {.job = job}, times = {.job = job};
    UCB_TRY(load_quality(&quality, err));
    if (quality.n == 0)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no ppl, accuracy or kld_mean of this model, task and metric in "
            "it; without --model, --task and --metric all are drawn",
            job->database);
    lay_out(&quality);
    UCB_TRY(load_times(&times, err));
    cut_model(&times);
    flow(&times);
    const struct ucb_history_figure figures[] = {
        {"history-quality", "Quality over runs",
         "Band: 95% interval, documents the unit. Circle: not the value of the run before.",
         quality.list, quality.n},
        {"history-times", "Seconds over nights (score: for 1,000 tokens)",
         "Dots: median of the candidate's repeats, band: range. Bars: levels of the last 60 nights, "
         "at the gate's 0.5%; the gate looks at the ratio to the baseline's.",
         times.list, times.n}};
    UCB_TRY(ucb_history_draw(job, &figures[0], err));
    return times.n > 0 ? ucb_history_draw(job, &figures[1], err) : UCB_OK;
}

const struct ucb_report ucb_report_history = {
    "history", "metrics over runs and times over nights", run};
