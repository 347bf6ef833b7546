/*
 * chart.h - the Pareto chart: points from a query, the frontier among them and how sure it
 * is, what they are measured against, pages to put them on.
 *
 * A series is a model under one setting (scope, arithmetic, seed): only points of one
 * series are compared. A calibration belongs to its method and makes no series. The rows
 * come from the query in reports/pareto.gp; chart_layout.c, chart_labels.c, chart_caption.c
 * and chart_script.c turn them into the figures of that script. docs/figures.md explains
 * them to a reader.
 */
#ifndef UCB_REPORT_CHART_H
#define UCB_REPORT_CHART_H

#include "report/chart_limit.h"
#include "report/report_data.h"

enum ucb_chart_quantity { UCB_CHART_KLD, UCB_CHART_RATIO, UCB_CHART_RETENTION };

struct ucb_chart_point {
    const struct ucb_report_cell *cell;
    const char *label;
    double bpw, size_gib; /* of the matrices; of the whole model, 2^30 bytes */
    double y, low,
        high;          /* a KLD, a perplexity ratio less 1, or a retention; y of a
                          logarithmic axis may be 0 or less: it stands on the lower edge */
    double membership; /* share of resamples in which it is on the frontier; NaN: unknown */
    int64_t n;
    size_t series, model, method; /* places in the chart's lists */
    bool frontier, has_interval;
};

/* What the original differs by from itself in another arithmetic, in units of y. */
struct ucb_chart_floor {
    double value, high;                 /* NaN: not measured */
    const char *arithmetic, *reference; /* of the two */
};
struct ucb_chart_series {
    const char *model,
        *setting; /* setting: as in ucb_report_cell, "" where all is as usual */
    size_t model_index;
    double original_bpw;        /* NaN: the original was not run */
    double weights, rest_bytes; /* size in GiB = (bpw * weights / 8 + rest_bytes) / 2^30 */
    /* The original's own value with its interval, in units of y; NaN where y has none. */
    double reference, reference_low, reference_high;
    struct ucb_chart_floor floor;
    struct ucb_chart_limit limit;
};
enum { UCB_CHART_MAX_SERIES = 8, UCB_CHART_MAX_METHODS = 24, UCB_CHART_REPLICATES = 2000 };

struct ucb_chart {
    const char *task, *metric, *dataset, *dataset_digest, *title;
    enum ucb_chart_quantity quantity;
    const char *script;   /* the gnuplot text, after what layout puts before it */
    const char *interval; /* what the bars are, in words; NULL: no point has one */
    struct ucb_chart_point *points; /* by model, then bits */
    size_t n_points,
        n_not_finite; /* cells without a finite value, which are not among the points */
    struct ucb_chart_series series[UCB_CHART_MAX_SERIES];
    size_t n_series;
    const char *models[UCB_CHART_MAX_SERIES];
    size_t n_models;
    const char *methods[UCB_CHART_MAX_METHODS]; /* in name order */
    size_t n_methods;
    double y_low, y_high;    /* of the axis */
    bool cuts_bars;          /* some bar goes on beyond y_low or y_high */
    int64_t n_low, n_high;   /* smallest and largest n of a point */
    const char *calibration; /* of the methods that need one; NULL: none does, or there are
                                several and labels say which */
    const char **caveats;
    size_t n_caveats;
};

static inline bool ucb_chart_is_log(const struct ucb_chart *chart)
{
    return chart->quantity != UCB_CHART_RETENTION;
}

/* The value of a cell that a quantity shows. */
enum ucb_shown ucb_chart_shown(enum ucb_chart_quantity quantity);

/*
 * Chooses task and metric (job->task and job->metric where given, otherwise a wikitext task
 * with kld_mean where there is one), reads the points and finds the frontier. MISSING:
 * nothing to draw, saying what is there; USAGE: an unknown metric; UNSUPPORTED: more models
 * and settings than series.
 */
ucb_status ucb_chart_load(struct ucb_report_job *job, const struct ucb_report_data *data,
                          struct ucb_chart *out, struct ucb_err *err);

/*
 * Fills `frontier` and `membership` of every point: the share of UCB_CHART_REPLICATES
 * resamples of documents, the same ones for all points of a series and those of the stored
 * intervals. Unknown where the cells of a series were not scored on the same items.
 * CORRUPT, NOMEM.
 */
ucb_status ucb_chart_find_frontier(struct ucb_report_job *job, struct ucb_chart *chart,
                                   struct ucb_err *err);

/* Fills the noise floor of a series whose cells are in `arithmetic`: of several the
 * largest; NaN where the database has none. Its texts are the data's. */
void ucb_chart_find_floor(const struct ucb_report_data *data, const struct ucb_chart *chart,
                          struct ucb_chart_series *series, const char *arithmetic);

/* What the limit rests on: fills `limit` of every series. CORRUPT. */
ucb_status ucb_chart_find_limits(struct ucb_report_job *job, struct ucb_chart *chart,
                                 struct ucb_err *err);

/* A page: two columns of a paper wide or one; against bits per weight or against the size
 * of the whole model. */
struct ucb_chart_page {
    const char *base;  /* of its files' names */
    const char *table; /* name of the points' file */
    double width;      /* points */
    size_t columns;    /* of panels */
    double panel_height, font_size;
    bool by_size, latex; /* latex: texts are LaTeX */
};
/* pareto, pareto-1col, pareto-size, pareto-size-1col; and pareto-latex for cairolatex. */
enum { UCB_CHART_N_PAGES = 4 };
extern const struct ucb_chart_page ucb_chart_pages[UCB_CHART_N_PAGES], ucb_chart_latex;

/* The complete gnuplot text of a page, appended to `out`. NOMEM. */
ucb_status ucb_chart_script(const struct ucb_chart *chart,
                            const struct ucb_chart_page *page, struct ucb_arena *arena,
                            struct ucb_text *out, struct ucb_err *err);
/* The points as the page's script reads them. */
void ucb_chart_table(const struct ucb_chart *chart, const struct ucb_chart_page *page,
                     struct ucb_text *out);

/* The points as one JSON object, with what they are of; docs/figures.md lists the keys.
 * NOMEM.
 */
ucb_status ucb_chart_json(const struct ucb_chart *chart, struct ucb_text *out,
                          struct ucb_err *err);

/* Writes scripts and tables into the job's folder and draws every picture. */
ucb_status ucb_chart_draw(struct ucb_report_job *job, const struct ucb_chart *chart,
                          struct ucb_err *err);

#endif
