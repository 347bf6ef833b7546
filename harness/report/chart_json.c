/*
 * chart_json.c - the points of the chart for programs: the same as in the picture, uncut.
 */
#include <math.h>

#include <jansson.h>

#include "core/json.h"
#include "report/chart.h"

/* null: there is none. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *point_json(const struct ucb_chart *chart, const struct ucb_chart_point *p)
{
    const struct ucb_report_cell *c = p->cell;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b, s:o}", "model",
        ucb_json_text(c->model), "setting", ucb_json_text(chart->series[p->series].setting),
        "method", ucb_json_text(c->method), "spec", ucb_json_text(c->spec), "cell_id",
        c->cell_id, "calib", ucb_json_text(c->calib), "bpw_matrices", number(p->bpw),
        "size_gib", number(p->size_gib), "value", number(p->y), "ci_low",
        p->has_interval ? number(p->low) : json_null(), "ci_high",
        p->has_interval ? number(p->high) : json_null(), "n", (json_int_t)p->n, "frontier",
        p->frontier, "membership", number(p->membership));
}

static json_t *series_json(const struct ucb_chart_series *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "model", ucb_json_text(s->model),
                     "setting", ucb_json_text(s->setting), "original_bpw",
                     number(s->original_bpw), "noise_floor", number(s->floor.value),
                     "noise_floor_high", number(s->floor.high));
}

ucb_status ucb_chart_json(const struct ucb_chart *chart, struct ucb_text *out,
                          struct ucb_err *err)
{
    static const char *const meanings[] = {[UCB_CHART_KLD] = "kld_mean, nats",
                                           [UCB_CHART_RATIO] = "ppl_ratio less 1",
                                           [UCB_CHART_RETENTION] = "retention"};
    json_t *points = json_array(), *series = json_array();
    for (size_t i = 0; i < chart->n_points; i++)
        json_array_append_new(points, point_json(chart, &chart->points[i]));
    for (size_t i = 0; i < chart->n_series; i++)
        json_array_append_new(series, series_json(&chart->series[i]));
    json_t *root = json_pack("{s:o, s:s, s:s, s:o, s:s, s:o, s:o}", "task",
                             ucb_json_text(chart->task), "metric", chart->metric, "value",
                             meanings[chart->quantity], "dataset",
                             ucb_json_text(chart->dataset), "dataset_digest",
                             chart->dataset_digest, "series", series, "points", points);
    return ucb_json_add(root, "the chart's points", out, err);
}
