/*
 * chart_floor.c - what the chart's points are measured against: the noise floor and the
 * information limit of each series.
 */
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "report/chart.h"

/* ---- the noise floor ---- */

/* The original in another arithmetic, scored against the original in the series'. */
static const char floor_query[] =
    "SELECT value, ci_low, ci_high, arithmetic, reference FROM v_latest"
    " WHERE spec = 'none' AND reference <> '' AND status = 'OK' AND model = ?1 AND task = ?2"
    " AND dataset_digest = ?3 AND metric = ?4 AND reference = ?5"
    " ORDER BY arithmetic, reference, cell_id";
enum floor_column { VALUE, LOW, HIGH, ARITHMETIC, REFERENCE };

static double real_or(sqlite3_stmt *row, int column, double otherwise)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? otherwise
               : sqlite3_column_double(row, column);
}

/* How far from "no change": a ratio below 1 counts as much as one above. */
static double distance(const struct ucb_chart *c, double value)
{
    return c->quantity == UCB_CHART_KLD ? value : fabs(value - 1);
}

static bool take_floor(struct ucb_report_job *job, const struct ucb_chart *c,
                       sqlite3_stmt *row, struct ucb_chart_floor *floor)
{
    double value = real_or(row, VALUE, NAN), low = real_or(row, LOW, value),
           high = real_or(row, HIGH, value);
    double top = fmax(distance(c, low), distance(c, high));
    if (isnan(value) || (!isnan(floor->high) && top <= floor->high)) return true;
    *floor = (struct ucb_chart_floor){
        distance(c, value), top,
        ucb_arena_strdup(job->arena, (const char *)sqlite3_column_text(row, ARITHMETIC)),
        ucb_arena_strdup(job->arena, (const char *)sqlite3_column_text(row, REFERENCE))};
    return floor->arithmetic != NULL && floor->reference != NULL;
}

ucb_status ucb_chart_find_floor(struct ucb_report_job *job, const struct ucb_chart *chart,
                                struct ucb_chart_series *series, const char *arithmetic,
                                struct ucb_err *err)
{
    const char *const words[] = {series->model, chart->task, chart->dataset_digest,
                                 chart->metric, arithmetic};
    sqlite3 *db = ucb_store_db(job->store);
    sqlite3_stmt *rows = NULL;
    bool enough = true;
    series->floor = (struct ucb_chart_floor){NAN, NAN, NULL, NULL};
    int code = sqlite3_prepare_v2(db, floor_query, -1, &rows, NULL);
    for (int i = 0; i < 5 && code == SQLITE_OK; i++)
        code = sqlite3_bind_text(rows, i + 1, words[i], -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        while (enough && (code = sqlite3_step(rows)) == SQLITE_ROW)
            enough = take_floor(job, chart, rows, &series->floor);
    sqlite3_finalize(rows);
    if (!enough) return UCB_FAIL(err, UCB_NOMEM, "no memory for a noise floor");
    if (code == SQLITE_DONE) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the noise floor: %s", job->database,
                    sqlite3_errmsg(db));
}

/* ---- the information limit ---- */

static ucb_status is_on_grid(struct ucb_report_job *job, const char *model, bool *out,
                             struct ucb_err *err)
{
    static const char query[] = "SELECT 1 FROM v_latest WHERE model = ?1 AND"
                                " lattice_source <> '' LIMIT 1";
    sqlite3 *db = ucb_store_db(job->store);
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(db, query, -1, &row, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_text(row, 1, model, -1, SQLITE_STATIC);
    if (code == SQLITE_OK) code = sqlite3_step(row);
    sqlite3_finalize(row);
    *out = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read what is known of %s: %s",
                    job->database, model, sqlite3_errmsg(db));
}

/* In nats; NaN where it is of no use: unknown error, too large for second order, or lost in
 * the noise. */
static double anchor_nats(const struct ucb_chart *c, const struct ucb_chart_point *p)
{
    bool ratio = c->quantity == UCB_CHART_RATIO;
    double nats = ratio ? log1p(p->y) : p->y, floor = c->series[p->series].floor.high;
    bool usable = ucb_limit_gaussian_error(p->cell->spec) > 0 && p->low > 0 &&
                  nats <= UCB_LIMIT_LARGEST && !(p->y <= floor);
    return usable ? nats : NAN;
}

static void find_limit(const struct ucb_chart *c, size_t series,
                       struct ucb_chart_limit *limit)
{
    bool seen[UCB_CHART_MAX_METHODS] = {false};
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        double nats = p->series == series ? anchor_nats(c, p) : NAN;
        if (isnan(nats)) continue;
        ucb_limit_add(limit, p->cell->spec, nats, !seen[p->method]);
        seen[p->method] = true;
    }
    ucb_limit_finish(limit);
}

ucb_status ucb_chart_find_limits(struct ucb_report_job *job, struct ucb_chart *chart,
                                 struct ucb_err *err)
{
    for (size_t i = 0; i < chart->n_series; i++) {
        struct ucb_chart_series *s = &chart->series[i];
        bool on_grid = false;
        s->limit = (struct ucb_chart_limit){.state = UCB_LIMIT_NO_LAW};
        if (chart->quantity == UCB_CHART_RETENTION) continue;
        UCB_TRY(is_on_grid(job, s->model, &on_grid, err));
        if (on_grid)
            s->limit.state = UCB_LIMIT_ON_GRID;
        else
            find_limit(chart, i, &s->limit);
    }
    return UCB_OK;
}
