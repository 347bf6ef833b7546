/*
 * chart.h - the Pareto chart: points from a query, the frontier among them, a page to put
 * them on.
 *
 * A panel is a model under one setting (scope, arithmetic, seed): only points of one panel
 * are compared. A calibration belongs to its method and makes no panel. The rows come from
 * the query in reports/pareto.gp; chart_layout.c turns them into the figures of that
 * script.
 */
#ifndef UCB_REPORT_CHART_H
#define UCB_REPORT_CHART_H

#include "report/report_data.h"

struct ucb_chart_point {
    const char *model, *method, *label;
    double x, y, low, high; /* y as drawn: a KLD, or a perplexity ratio less 1 */
    int64_t n;
    size_t panel, method_index;
    bool frontier;
};
struct ucb_chart_panel {
    const char *model,
        *setting;        /* setting: as in ucb_report_cell, "" where all is as usual */
    double original_bpw; /* NaN: the original was not run */
};
enum { UCB_CHART_MAX_PANELS = 8, UCB_CHART_MAX_METHODS = 24 };

struct ucb_chart {
    const char *task, *metric, *dataset, *dataset_digest, *title;
    const char *script;   /* the gnuplot text, after what layout puts before it */
    const char *interval; /* what the bars are, in words; NULL: no point has one */
    struct ucb_chart_point *points;
    size_t n_points,
        n_off_axis; /* off: not above zero, so a logarithmic axis cannot show them */
    struct ucb_chart_panel panels[UCB_CHART_MAX_PANELS];
    size_t n_panels;
    const char *methods[UCB_CHART_MAX_METHODS]; /* in name order */
    size_t n_methods;
    double x_low, x_high, y_low, y_high;
    bool cuts_bars;          /* some bar goes on beyond y_low or y_high */
    int64_t n_low, n_high;   /* smallest and largest n of a point */
    const char *calibration; /* of the methods that need one; NULL: none does, or there are
                                several and labels say which */
    const char **caveats;
    size_t n_caveats;
};

/*
 * Chooses task and metric (job->task and job->metric where given, otherwise a wikitext task
 * with kld_mean where there is one), reads the points and finds the frontier. MISSING:
 * nothing to draw, saying what is there; USAGE: an unknown metric; UNSUPPORTED: more models
 * and settings than panels.
 */
ucb_status ucb_chart_load(struct ucb_report_job *job, const struct ucb_report_data *data,
                          struct ucb_chart *out, struct ucb_err *err);

/* A page: "pareto" is two columns of a paper wide, "pareto-1col" one. */
struct ucb_chart_page {
    const char *base;
    double width;   /* points */
    size_t columns; /* of panels */
    double panel_height, font_size;
};
extern const struct ucb_chart_page ucb_chart_wide, ucb_chart_narrow;

/* The complete gnuplot text of a page, appended to `out`. NOMEM. */
ucb_status ucb_chart_script(const struct ucb_chart *chart,
                            const struct ucb_chart_page *page, struct ucb_arena *arena,
                            struct ucb_text *out, struct ucb_err *err);
/* The points as the script reads them (pareto.tsv). */
void ucb_chart_table(const struct ucb_chart *chart, struct ucb_text *out);

/* Writes the scripts and pareto.tsv into the job's folder and draws every picture. */
ucb_status ucb_chart_draw(struct ucb_report_job *job, const struct ucb_chart *chart,
                          struct ucb_err *err);

#endif
