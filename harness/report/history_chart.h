/*
 * history_chart.h - small multiples over time: one panel for each series, as a gnuplot
 * script and its table.
 */
#ifndef UCB_REPORT_HISTORY_CHART_H
#define UCB_REPORT_HISTORY_CHART_H

#include "report/report.h"

enum { UCB_HISTORY_COLUMNS = 3 };

struct ucb_history_point {
    int64_t time;            /* seconds since 1970, UTC */
    double value, low, high; /* low and high NaN: no interval */
    double level; /* of the level it belongs to; NaN: levels are not looked for */
    bool changed; /* from the point before it */
};
struct ucb_history_panel {
    const char *name;   /* of the series, in the table */
    const char *title;  /* above the panel; shortened where it is too long for it */
    size_t row, column; /* its place; column below UCB_HISTORY_COLUMNS */
    struct ucb_history_point *points; /* ascending times */
    size_t n;
};
/* One figure, its panels in the order of their places. */
struct ucb_history_figure {
    const char *base, *title, *caption;
    const struct ucb_history_panel *panels;
    size_t n_panels;
};

/* Writes BASE.tsv and BASE.gp and has gnuplot draw BASE.svg and BASE.png. NOMEM, IO,
 * ENVIRONMENT (no gnuplot). */
ucb_status ucb_history_draw(struct ucb_report_job *job,
                            const struct ucb_history_figure *figure, struct ucb_err *err);

#endif
