/*
 * chart_layout.h - one page of the Pareto chart while it is laid out; shared by
 * chart_layout.c (boxes, axes, legend), chart_labels.c, chart_caption.c and chart_script.c.
 *
 * Lengths are points of the page, y upwards. A label's place is in points of its panel,
 * from the lower left corner, so that it does not depend on how long the caption gets.
 */
#ifndef UCB_REPORT_CHART_LAYOUT_H
#define UCB_REPORT_CHART_LAYOUT_H

#include "report/chart.h"
#include "report/labels.h"

/* Of the title in units of the font, as reports/pareto.gp draws it; the page's margins. */
static const double UCB_CHART_TITLE_SIZE = 1.2;
/* Of a line of a label, in units of its font. */
static const double UCB_CHART_LABEL_LINE = 1.15;
enum { UCB_CHART_LEFT = 46, UCB_CHART_RIGHT = 10, UCB_CHART_MARK_RADIUS = 3 };

enum ucb_legend_kind { UCB_LEGEND_MARK, UCB_LEGEND_LINE, UCB_LEGEND_BAND, UCB_LEGEND_TICK };
struct ucb_legend_entry {
    enum ucb_legend_kind kind;
    char text[160];
    int rgb, mark, dash;
    double x, y; /* of the sample's left end; y counted down from the legend's top */
    double sample_width;
};
enum { UCB_CHART_MAX_ENTRIES = UCB_CHART_MAX_METHODS + 2 * UCB_CHART_MAX_SERIES + 8 };

struct ucb_chart_axis {
    double low, high;
    bool log;
};
struct ucb_chart_panel {
    struct ucb_box box;
    char title[512];
};
struct ucb_chart_layout {
    const struct ucb_chart *chart;
    const struct ucb_chart_page *page;
    struct ucb_arena *arena;
    struct ucb_chart_axis x, y;
    double height, line; /* of the page; of a line of caption */
    double label_size;
    struct ucb_chart_panel panels[UCB_CHART_MAX_SERIES];
    size_t n_panels;
    size_t panel_of[UCB_CHART_MAX_SERIES]; /* of a series */
    double panel_width, title_y, caption_y;
    struct ucb_legend_entry entries[UCB_CHART_MAX_ENTRIES];
    size_t n_entries;
    double legend_x, legend_y; /* of the next entry; y counted down from legend_top */
    double legend_top;
    char title[256];
    struct ucb_label *labels; /* of each point; dropped: without a text */
    const char **texts;       /* of each point */
    size_t n_unlabelled;      /* dropped points */
    struct ucb_text caption;  /* with newlines */
    size_t n_caption_lines;
    bool shows_limit, shows_floor; /* some part of it lies in some panel */
};

/* ---- chart_layout.c ---- */

/* Width of a text in a sans-serif font at size 1, on the wide side. */
double ucb_chart_text_width(const char *text);
double ucb_chart_x(const struct ucb_chart_layout *l, const struct ucb_chart_point *p);
/* x of so many bits per weight in a series. */
double ucb_chart_x_of_bpw(const struct ucb_chart_layout *l,
                          const struct ucb_chart_series *s, double bpw);
/* Units of an axis -> points from its lower end, clipped to the axis; and back. */
double ucb_chart_to_page(const struct ucb_chart_axis *axis, double length, double value);
double ucb_chart_from_page(const struct ucb_chart_axis *axis, double length, double at);
enum { UCB_CHART_CURVE_POINTS = 64 };
/* The limit where it holds and lies inside the axes; returns how many points. */
size_t ucb_chart_limit_curve(const struct ucb_chart_layout *l,
                             const struct ucb_chart_series *s,
                             double x[UCB_CHART_CURVE_POINTS],
                             double y[UCB_CHART_CURVE_POINTS]);
/* Several models share a panel: colours tell models apart, not methods. */
bool ucb_chart_colours_models(const struct ucb_chart_layout *l);
int ucb_chart_series_rgb(const struct ucb_chart_layout *l, size_t series);
int ucb_chart_series_dash(const struct ucb_chart_layout *l, size_t series);
int ucb_chart_limit_dash(const struct ucb_chart_layout *l);
/* Off the frontier it is grey, or pale where colours tell models apart. */
int ucb_chart_point_rgb(const struct ucb_chart_layout *l, const struct ucb_chart_point *p);
int ucb_chart_point_mark(const struct ucb_chart_point *p);

/* Ranges of the axes, panels and titles; before anything else. */
void ucb_chart_place_panels(struct ucb_chart_layout *l);
void ucb_chart_place_legend(struct ucb_chart_layout *l);
/* Boxes and the page's height, when legend and caption are known. */
void ucb_chart_place_boxes(struct ucb_chart_layout *l);

/* ---- the others ---- */

/* Resamples do not agree whether the point is on the frontier: its name says the share. */
bool ucb_chart_place_is_open(const struct ucb_chart_point *p);
/* Fills labels, texts and n_unlabelled. NOMEM. */
ucb_status ucb_chart_place_labels(struct ucb_chart_layout *l, struct ucb_err *err);
void ucb_chart_write_caption(struct ucb_chart_layout *l);

#endif
