/*
 * chart_layout.c - see chart_layout.h: the axes, boxes of panels, the legend.
 *
 * Everything is worked out in points of the page and handed to gnuplot as fractions of the
 * page (boxes) or in the units of the axes (labels), so that one layout serves SVG, PNG and
 * PDF.
 */
#include "report/chart_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* 6.75 and 3.25 inches: two columns and one of a paper. */
const struct ucb_chart_page ucb_chart_pages[UCB_CHART_N_PAGES] = {
    {"pareto", "pareto.tsv", 486, 2, 190, 7.5, false, false},
    {"pareto-1col", "pareto.tsv", 234, 1, 165, 7, false, false},
    {"pareto-size", "pareto-size.tsv", 486, 2, 230, 7.5, true, false},
    {"pareto-size-1col", "pareto-size.tsv", 234, 1, 200, 7, true, false},
};
const struct ucb_chart_page ucb_chart_latex = {
    "pareto-latex", "pareto.tsv", 486, 2, 190, 7.5, false, true};

/* Okabe and Ito's colours without black and yellow, which white paper swallows; filled
 * marks first. */
static const int colours[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9};
static const int marks[] = {7, 5, 9, 13, 11, 15, 6, 4, 8, 12, 10, 14};
enum {
    N_COLOURS = sizeof(colours) / sizeof(colours[0]),
    N_MARKS = sizeof(marks) / sizeof(marks[0])
};
/* gnuplot's: 1 solid, 2 dashed, 3 dotted, 4 dots and dashes. */
static const int model_dashes[] = {1, 2, 4};
enum { N_DASHES = sizeof(model_dashes) / sizeof(model_dashes[0]) };
enum { LIMIT_DASH = 2, LIMIT_DASH_OF_MODELS = 3, REFERENCE_DASH = 4 };
enum { GREY_RGB = 0x8c8c8c, INK_RGB = 0x222222, BAND_RGB = 0xe9e9e9, LIMIT_RGB = 0x0072b2 };
enum { GAP = 16 };

/* ---- text ---- */

/* Of DejaVu Sans, so that narrower fonts fit too. */
double ucb_chart_text_width(const char *text)
{
    double width = 0;
    for (; *text != '\0'; text++) {
        if (strchr("mwMW=+#%@", *text) != NULL)
            width += 0.9;
        else if (strchr("ijl.,:;|' ", *text) != NULL)
            width += 0.34;
        else if (strchr("frt-()[]/", *text) != NULL)
            width += 0.4;
        else
            width += 0.63;
    }
    return width;
}

/* ---- the axes ---- */

double ucb_chart_x(const struct ucb_chart_layout *l, const struct ucb_chart_point *p)
{
    return l->page->by_size ? p->size_gib : p->bpw;
}

double ucb_chart_x_of_bpw(const struct ucb_chart_layout *l,
                          const struct ucb_chart_series *s, double bpw)
{
    return l->page->by_size ? (bpw * s->weights / 8 + s->rest_bytes) / 1073741824.0 : bpw;
}

static double share_of(const struct ucb_chart_axis *axis, double value)
{
    if (axis->log) return log(value / axis->low) / log(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

double ucb_chart_to_page(const struct ucb_chart_axis *axis, double length, double value)
{
    return length * share_of(axis, fmin(fmax(value, axis->low), axis->high));
}

double ucb_chart_from_page(const struct ucb_chart_axis *axis, double length, double at)
{
    double share = at / length;
    return axis->log ? axis->low * pow(axis->high / axis->low, share)
                     : axis->low + share * (axis->high - axis->low);
}

static double bpw_of_x(const struct ucb_chart_layout *l, const struct ucb_chart_series *s,
                       double x)
{
    return l->page->by_size ? (x * 1073741824.0 - s->rest_bytes) * 8 / s->weights : x;
}

size_t ucb_chart_limit_curve(const struct ucb_chart_layout *l,
                             const struct ucb_chart_series *s,
                             double x[UCB_CHART_CURVE_POINTS],
                             double y[UCB_CHART_CURVE_POINTS])
{
    bool ratio = l->chart->quantity == UCB_CHART_RATIO;
    double high = ratio ? log1p(l->y.high) : l->y.high,
           low = ratio ? log1p(l->y.low) : l->y.low,
           first = ucb_limit_bpw(&s->limit, fmin(high, UCB_LIMIT_LARGEST)),
           last = ucb_limit_bpw(&s->limit, low);
    if (s->limit.state != UCB_LIMIT_DRAWN) return 0;
    first = fmax(fmax(first, 0), bpw_of_x(l, s, l->x.low));
    last = fmin(last, bpw_of_x(l, s, l->x.high));
    if (!(first < last)) return 0;
    for (int i = 0; i < UCB_CHART_CURVE_POINTS; i++) {
        double bpw = first + (last - first) * i / (UCB_CHART_CURVE_POINTS - 1),
               nats = ucb_limit_nats(&s->limit, bpw);
        x[i] = ucb_chart_x_of_bpw(l, s, bpw);
        y[i] = ratio ? expm1(nats) : nats;
    }
    return UCB_CHART_CURVE_POINTS;
}

/* Models of very different sizes share an axis only if it is logarithmic. */
enum { LINEAR_SIZES = 8 };

static void find_x_range(struct ucb_chart_layout *l)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < l->chart->n_points; i++) {
        double x = ucb_chart_x(l, &l->chart->points[i]);
        low = fmin(low, x);
        high = fmax(high, x);
    }
    l->x.log = l->page->by_size && high > LINEAR_SIZES * low;
    if (l->x.log) {
        double pad = pow(high / low, 0.06);
        l->x.low = low / pad;
        l->x.high = high * pad;
        return;
    }
    double pad = fmax(0.06 * (high - low), l->page->by_size ? 0.05 * high : 0.25);
    l->x.low = fmax(0, low - pad);
    l->x.high = high + pad;
}

/* ---- panels ---- */

static const char *short_name(const char *model)
{
    const char *slash = strrchr(model, '/');
    return slash == NULL ? model : slash + 1;
}

static void title_series(const struct ucb_chart_layout *l, size_t i, char *out, size_t size)
{
    const struct ucb_chart_series *s = &l->chart->series[i];
    int n = snprintf(out, size, "%s%s%s", short_name(s->model),
                     s->setting[0] == '\0' ? "" : ", ", s->setting);
    if (!isnan(s->original_bpw) && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n,
                 l->page->by_size ? " (original: %.3g GiB)" : " (original: %.3g bpw)",
                 ucb_chart_x_of_bpw(l, s, s->original_bpw));
}

/* Against bits a panel holds one series, against size all series of a setting. */
static size_t find_panel(const struct ucb_chart_layout *l, size_t series)
{
    const struct ucb_chart_series *all = l->chart->series;
    for (size_t i = 0; i < series && l->page->by_size; i++)
        if (strcmp(all[i].setting, all[series].setting) == 0) return l->panel_of[i];
    return l->n_panels;
}

void ucb_chart_place_panels(struct ucb_chart_layout *l)
{
    const struct ucb_chart *c = l->chart;
    l->y = (struct ucb_chart_axis){c->y_low, c->y_high, ucb_chart_is_log(c)};
    find_x_range(l);
    for (size_t i = 0; i < c->n_series; i++) {
        size_t at = find_panel(l, i);
        struct ucb_chart_panel *panel = &l->panels[at];
        l->panel_of[i] = at;
        if (at < l->n_panels) continue;
        l->n_panels++;
        if (ucb_chart_colours_models(l))
            snprintf(panel->title, sizeof(panel->title), "%s", c->series[i].setting);
        else
            title_series(l, i, panel->title, sizeof(panel->title));
    }
    size_t columns = l->n_panels < l->page->columns ? l->n_panels : l->page->columns;
    l->panel_width = (l->page->width - UCB_CHART_LEFT - UCB_CHART_RIGHT -
                      GAP * (double)(columns - 1)) /
                     (double)columns;
    for (size_t i = 0; i < c->n_series; i++) {
        const struct ucb_chart_series *s = &c->series[i];
        l->shows_floor |= ucb_chart_is_log(c) ? s->floor.high > c->y_low
                                              : s->floor.high > 0;
        l->shows_limit |= s->limit.state == UCB_LIMIT_DRAWN;
    }
}

/* ---- colours ---- */

bool ucb_chart_colours_models(const struct ucb_chart_layout *l)
{
    return l->page->by_size && l->chart->n_models > 1;
}

int ucb_chart_series_rgb(const struct ucb_chart_layout *l, size_t series)
{
    size_t model = l->chart->series[series].model_index;
    return ucb_chart_colours_models(l) ? colours[model % N_COLOURS] : INK_RGB;
}

int ucb_chart_series_dash(const struct ucb_chart_layout *l, size_t series)
{
    size_t model = l->chart->series[series].model_index;
    return ucb_chart_colours_models(l) ? model_dashes[model % N_DASHES] : 1;
}

int ucb_chart_limit_dash(const struct ucb_chart_layout *l)
{
    return ucb_chart_colours_models(l) ? LIMIT_DASH_OF_MODELS : LIMIT_DASH;
}

/* Two thirds of the way to light grey. */
static int pale(int rgb)
{
    int out = 0;
    for (int shift = 0; shift <= 16; shift += 8)
        out |= ((rgb >> shift & 255) + 2 * 0xc8) / 3 << shift;
    return out;
}

int ucb_chart_point_rgb(const struct ucb_chart_layout *l, const struct ucb_chart_point *p)
{
    if (ucb_chart_colours_models(l)) {
        int rgb = colours[p->model % N_COLOURS];
        return p->frontier ? rgb : pale(rgb);
    }
    return p->frontier ? colours[p->method % N_COLOURS] : GREY_RGB;
}

int ucb_chart_point_mark(const struct ucb_chart_point *p)
{
    return marks[p->method % N_MARKS];
}

/* ---- the legend ---- */

/* Entries follow each other like the words of a text. */
static struct ucb_legend_entry *
add_entry(struct ucb_chart_layout *l, enum ucb_legend_kind kind, const char *text, int rgb)
{
    double font = l->page->font_size,
           sample = (kind == UCB_LEGEND_MARK || kind == UCB_LEGEND_TICK ? 0.8 : 3) * font,
           width = sample + 0.5 * font + ucb_chart_text_width(text) * font;
    if (l->legend_x > UCB_CHART_RIGHT &&
        l->legend_x + width > l->page->width - UCB_CHART_RIGHT) {
        l->legend_x = UCB_CHART_RIGHT;
        l->legend_y += 1.5 * font;
    }
    struct ucb_legend_entry *e = &l->entries[l->n_entries++];
    *e = (struct ucb_legend_entry){.kind = kind,
                                   .rgb = rgb,
                                   .dash = 1,
                                   .mark = 5,
                                   .x = l->legend_x,
                                   .y = l->legend_y,
                                   .sample_width = sample};
    snprintf(e->text, sizeof(e->text), "%s", text);
    l->legend_x += width + 1.4 * font;
    return e;
}

static void add_model_entries(struct ucb_chart_layout *l)
{
    const struct ucb_chart *c = l->chart;
    for (size_t m = 0; m < c->n_models; m++) {
        size_t i = 0;
        char text[512];
        while (c->series[i].model_index != m) i++;
        title_series(l, i, text, sizeof(text));
        add_entry(l, UCB_LEGEND_LINE, text, ucb_chart_series_rgb(l, i))->dash =
            ucb_chart_series_dash(l, i);
    }
}

static bool shows_original(const struct ucb_chart_layout *l)
{
    for (size_t i = 0; i < l->chart->n_series; i++) {
        const struct ucb_chart_series *s = &l->chart->series[i];
        double x = ucb_chart_x_of_bpw(l, s, s->original_bpw);
        if (x > l->x.low && x < l->x.high) return true;
    }
    return false;
}

static bool shows_dominated(const struct ucb_chart *c)
{
    for (size_t i = 0; i < c->n_points; i++)
        if (!c->points[i].frontier) return true;
    return false;
}

static bool shows_reference(const struct ucb_chart *c)
{
    for (size_t i = 0; i < c->n_series; i++)
        if (!isnan(c->series[i].reference)) return true;
    return false;
}

void ucb_chart_place_legend(struct ucb_chart_layout *l)
{
    const struct ucb_chart *c = l->chart;
    bool models = ucb_chart_colours_models(l);
    l->legend_x = UCB_CHART_RIGHT;
    for (size_t i = 0; i < c->n_methods; i++)
        add_entry(l, UCB_LEGEND_MARK, c->methods[i],
                  models ? INK_RGB : colours[i % N_COLOURS])
            ->mark = marks[i % N_MARKS];
    if (models)
        add_model_entries(l);
    else
        add_entry(l, UCB_LEGEND_LINE, "frontier", INK_RGB);
    if (shows_dominated(c))
        add_entry(l, UCB_LEGEND_MARK,
                  models ? "pale: off its frontier" : "grey: off the frontier",
                  models ? 0xc8c8c8 : GREY_RGB);
    if (l->shows_limit)
        add_entry(l, UCB_LEGEND_LINE, "information limit", models ? INK_RGB : LIMIT_RGB)
            ->dash = ucb_chart_limit_dash(l);
    if (l->shows_floor) add_entry(l, UCB_LEGEND_BAND, "noise floor", BAND_RGB);
    if (shows_reference(c))
        add_entry(l, UCB_LEGEND_LINE,
                  c->quantity == UCB_CHART_RATIO ? "the original's own interval"
                                                 : "the original, its own interval",
                  INK_RGB)
            ->dash = REFERENCE_DASH;
    if (shows_original(l)) add_entry(l, UCB_LEGEND_TICK, "size of the original", INK_RGB);
}

/* ---- boxes ---- */

static bool has_titles(const struct ucb_chart_layout *l)
{
    for (size_t i = 0; i < l->n_panels; i++)
        if (l->panels[i].title[0] != '\0') return true;
    return false;
}

void ucb_chart_place_boxes(struct ucb_chart_layout *l)
{
    const struct ucb_chart_page *page = l->page;
    double font = page->font_size, title = 2.4 * font,
           panel_title = has_titles(l) ? 1.8 * font : 0, x_axis = 5.4 * font,
           between = 1.4 * font;
    size_t columns = l->n_panels < page->columns ? l->n_panels : page->columns,
           rows = (l->n_panels + columns - 1) / columns;
    double legend = l->legend_y + 1.5 * font,
           caption = ((double)l->n_caption_lines + 0.9) * l->line;
    l->height = title + (double)rows * (panel_title + page->panel_height) +
                (double)(rows - 1) * between + x_axis + legend + caption;
    l->title_y = l->height - 1.1 * font;
    for (size_t i = 0; i < l->n_panels; i++) {
        double left = UCB_CHART_LEFT + (double)(i % columns) * (l->panel_width + GAP);
        double top = l->height - title - panel_title -
                     (double)(i / columns) * (panel_title + page->panel_height + between);
        l->panels[i].box = (struct ucb_box){left, top - page->panel_height,
                                            left + l->panel_width, top};
    }
    l->legend_top = legend + caption;
    l->caption_y = caption - 0.7 * l->line;
}
