/*
 * chart_floor.c - what the chart's points are measured against: the noise floor and the
 * information limit of each series.
 */
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "report/chart.h"

/* ---- the noise floor ---- */

/* How far from "no change": a ratio below 1 counts as much as one above. */
static double distance(const struct ucb_chart *c, double value)
{
    return c->quantity == UCB_CHART_KLD ? value : fabs(value - 1);
}

/* Whether a cell is a noise floor under the points of a series: the original in another
 * arithmetic, scored against the original in theirs. */
static bool is_under(const struct ucb_chart *c, const struct ucb_chart_series *s,
                     const char *arithmetic, const struct ucb_report_cell *cell)
{
    return cell->floor && !cell->failed && strcmp(cell->reference, arithmetic) == 0 &&
           strcmp(cell->model, s->model) == 0 && strcmp(cell->task, c->task) == 0 &&
           strcmp(cell->dataset_digest, c->dataset_digest) == 0;
}

void ucb_chart_find_floor(const struct ucb_report_data *data, const struct ucb_chart *chart,
                          struct ucb_chart_series *series, const char *arithmetic)
{
    series->floor = (struct ucb_chart_floor){NAN, NAN, NULL, NULL};
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_report_cell *cell = &data->cells[i];
        const struct ucb_value *v = &cell->values[ucb_chart_shown(chart->quantity)];
        if (!is_under(chart, series, arithmetic, cell) || !v->present || isnan(v->value))
            continue;
        double low = isnan(v->low) ? v->value : v->low,
               high = isnan(v->high) ? v->value : v->high,
               top = fmax(distance(chart, low), distance(chart, high));
        if (!isnan(series->floor.high) && top <= series->floor.high) continue;
        series->floor = (struct ucb_chart_floor){distance(chart, v->value), top,
                                                 cell->arithmetic, cell->reference};
    }
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
