/*
 * chart_script.c - a laid-out page as gnuplot text: variables, arrays and data blocks, then
 * the script of reports/pareto.gp, which reads them.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart_layout.h"
#include "report/rows.h"

/* Texts of labels off the frontier: darker than their grey marks, to stay readable. */
enum {
    QUIET_RGB = 0x707070,
    FRONTIER_RGB = 0x222222,
    LIMIT_RGB = 0x0072b2,
    BAND_RGB = 0xe9e9e9
};

/* ---- texts ---- */

/*
 * As LaTeX where the page is: at so many points, and what LaTeX would take for commands
 * stands for itself. In a data block gnuplot reads \\ as a backslash.
 */
static const char *shown(const struct ucb_chart_layout *l, const char *text, double size,
                         bool in_data)
{
    const char *backslash = in_data ? "\\\\" : "\\";
    struct ucb_text out = {0};
    if (!l->page->latex) return text;
    ucb_text_add(&out, "%sfontsize{%.3g}{%.3g}%sselectfont ", backslash, size, 1.2 * size,
                 backslash);
    for (; *text != '\0'; text++) {
        if (strchr("#$%&_{}", *text) != NULL)
            ucb_text_add(&out, "%s%c", backslash, *text);
        else if (strchr("~^\\<>|", *text) != NULL)
            ucb_text_add(&out, "%schar%d{}", backslash, *text);
        else
            ucb_text_add(&out, "%c", *text);
    }
    const char *copy = ucb_arena_strdup(l->arena, ucb_text_get(&out));
    ucb_text_free(&out);
    return copy == NULL ? "" : copy;
}

/* A gnuplot string: single quotes, a quote inside is doubled. */
static void add_quoted(const struct ucb_chart_layout *l, struct ucb_text *out,
                       const char *text, double size)
{
    ucb_text_add(out, "'");
    for (text = shown(l, text, size, false); *text != '\0'; text++)
        ucb_text_add(out, *text == '\'' ? "''" : "%c", *text);
    ucb_text_add(out, "'");
}

static void add_array(struct ucb_text *out, const char *name, size_t n)
{
    ucb_text_add(out, "array %s[%zu]\n", name, n == 0 ? 1 : n);
}

/* ---- the axes ---- */

/* The text of a named tick, in double quotes: as powers of ten where plain numbers get
 * long.
 */
static void add_tick_text(const struct ucb_chart_layout *l, bool powers, int digit, int e,
                          struct ucb_text *out)
{
    const char *dollar = l->page->latex ? "$" : "",
               *dot = l->page->latex ? "\\\\cdot " : "·";
    if (!powers)
        ucb_text_add(out, "\"%g\"", digit * pow(10, e));
    else if (digit == 1)
        ucb_text_add(out, "\"%s10^{%d}%s\"", dollar, e, dollar);
    else
        ucb_text_add(out, "\"%s%d%s10^{%d}%s\"", dollar, digit, dot, e, dollar);
}

/* Ticks at 1, 2 and 5 where the axis spans so few decades that powers of ten would leave it
 * with one number or none; smaller ones between. */
static void add_log_ticks(const struct ucb_chart_layout *l,
                          const struct ucb_chart_axis *axis, bool bare,
                          struct ucb_text *out)
{
    double decades = log10(axis->high / axis->low);
    bool powers = axis->low < 1e-4 || axis->high > 1e4;
    const char *comma = "(";
    for (int e = (int)floor(log10(axis->low)); e <= (int)ceil(log10(axis->high)); e++) {
        for (int digit = 1; digit <= 9; digit++) {
            double at = digit * pow(10, e);
            bool named = digit == 1 || (decades < 2.2 && (digit == 2 || digit == 5));
            if (at < axis->low || at > axis->high || (!named && decades > 7)) continue;
            ucb_text_add(out, "%s", comma);
            if (bare || !named)
                ucb_text_add(out, "\"\"");
            else
                add_tick_text(l, powers, digit, e, out);
            ucb_text_add(out, " %.6g %d", at, !named);
            comma = ", ";
        }
    }
    ucb_text_add(out, ")");
}

/* About six steps of 1, 2 or 5 times a power of ten: one tick alone is no scale. */
static void add_linear_ticks(const struct ucb_chart_axis *axis, bool bare,
                             struct ucb_text *out)
{
    double raw = (axis->high - axis->low) / 7, power = pow(10, floor(log10(raw)));
    double step = raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10;
    ucb_text_add(out, "%.6g format \"%s\"", step * power, bare ? "" : "%g");
}

/* A command to evaluate; bare: for a panel whose neighbour has the numbers. */
static void write_ticks(const struct ucb_chart_layout *l, const struct ucb_chart_axis *axis,
                        char which, bool bare, struct ucb_text *out)
{
    ucb_text_add(out, "%c_ticks%s = 'set %ctics ", which, bare ? "_bare" : "", which);
    if (axis->log)
        add_log_ticks(l, axis, bare, out);
    else
        add_linear_ticks(axis, bare, out);
    ucb_text_add(out, " nomirror out scale 0.6 textcolor rgb ink'\n");
}

static void write_axis(const struct ucb_chart_layout *l, const struct ucb_chart_axis *axis,
                       char which, struct ucb_text *out)
{
    ucb_text_add(out, "%c_low = %.6g; %c_high = %.6g; %c_is_log = %d\n", which, axis->low,
                 which, axis->high, which, axis->log);
    write_ticks(l, axis, which, false, out);
    write_ticks(l, axis, which, true, out);
}

/* ---- the page ---- */

static void write_page(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const y_labels[] = {
        [UCB_CHART_KLD] = "mean KL divergence, nats per token",
        [UCB_CHART_RATIO] = "perplexity ratio - 1",
        [UCB_CHART_RETENTION] = "retention of accuracy"};
    ucb_text_add(out, "base = '%s'; data = '%s'\n", l->page->base, l->page->table);
    ucb_text_add(out, "width = %.2f; height = %.2f; font_size = %g; label_size = %.4g\n",
                 l->page->width, l->height, l->page->font_size, l->label_size);
    ucb_text_add(out, "title_x = %d; title_y = %.5g; caption_y = %.5g\n", UCB_CHART_RIGHT,
                 l->title_y, l->caption_y);
    ucb_text_add(out, "ink = '#222222'; quiet = '#8c8c8c'\n");
    write_axis(l, &l->x, 'x', out);
    write_axis(l, &l->y, 'y', out);
    ucb_text_add(out, "x_label = '%s'\ny_label = '%s'\n",
                 l->page->by_size ? "size of the whole model, GiB"
                                  : "bits per weight of the quantized matrices",
                 y_labels[l->chart->quantity]);
    ucb_text_add(out, "figure_title = ");
    add_quoted(l, out, l->title, UCB_CHART_TITLE_SIZE * l->page->font_size);
    ucb_text_add(out, "\n");
}

/* A text for each line: terminals disagree on how far apart the lines of one text are. */
static void write_caption(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const char *text = ucb_text_get(&l->caption);
    ucb_text_add(out, "n_captions = %zu; caption_step = %.5g\n", l->n_caption_lines,
                 l->line);
    add_array(out, "caption", l->n_caption_lines);
    for (size_t k = 1; *text != '\0'; k++) {
        size_t n = strcspn(text, "\n");
        const char *line = ucb_arena_printf(l->arena, "%.*s", (int)n, text);
        ucb_text_add(out, "caption[%zu] = ", k);
        add_quoted(l, out, line == NULL ? "" : line, l->label_size);
        ucb_text_add(out, "\n");
        text += n + (text[n] == '\n');
    }
}

static void write_panels(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const arrays[] = {"panel_left", "panel_right", "panel_bottom",
                                         "panel_top",  "panel_has_y", "panel_has_x",
                                         "panel_title"};
    size_t columns = l->page->columns;
    ucb_text_add(out, "n_panels = %zu\n", l->n_panels);
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        add_array(out, arrays[i], l->n_panels);
    for (size_t i = 0; i < l->n_panels; i++) {
        const struct ucb_box *b = &l->panels[i].box;
        size_t k = i + 1;
        ucb_text_add(out, "panel_left[%zu] = %.2f; panel_right[%zu] = %.2f; ", k, b->left,
                     k, b->right);
        ucb_text_add(out, "panel_bottom[%zu] = %.2f; panel_top[%zu] = %.2f\n", k, b->bottom,
                     k, b->top);
        ucb_text_add(out,
                     "panel_has_y[%zu] = %d; panel_has_x[%zu] = %d; panel_title[%zu] = ", k,
                     i % columns == 0, k, i + columns >= l->n_panels, k);
        add_quoted(l, out, l->panels[i].title, l->page->font_size);
        ucb_text_add(out, "\n");
    }
}

/* Where several models share a panel, what belongs to one model ends with its points. */
static void find_extent(const struct ucb_chart_layout *l, size_t series, double *from,
                        double *to)
{
    double low = l->x.high, high = l->x.low,
           pad = l->x.log ? 0 : 0.03 * (l->x.high - l->x.low);
    for (size_t i = 0; i < l->chart->n_points; i++) {
        const struct ucb_chart_point *p = &l->chart->points[i];
        if (p->series != series) continue;
        low = fmin(low, ucb_chart_x(l, p));
        high = fmax(high, ucb_chart_x(l, p));
    }
    bool alone = !ucb_chart_colours_models(l);
    *from = alone ? l->x.low : low - pad;
    *to = alone ? l->x.high : high + pad;
}

/* A number of gnuplot's; NaN where there is nothing to draw. */
static void add_number(struct ucb_text *out, const char *name, size_t k, double value)
{
    char text[UCB_REAL_TEXT];
    if (isfinite(value))
        snprintf(text, sizeof(text), "%.6g", value);
    else
        snprintf(text, sizeof(text), "NaN");
    ucb_text_add(out, "%s[%zu] = %s; ", name, k, text);
}

static void write_one_series(const struct ucb_chart_layout *l, size_t i,
                             struct ucb_text *out)
{
    const struct ucb_chart_series *s = &l->chart->series[i];
    bool retention = l->chart->quantity == UCB_CHART_RETENTION;
    size_t k = i + 1;
    double from, to;
    find_extent(l, i, &from, &to);
    ucb_text_add(
        out, "series_panel[%zu] = %zu; series_rgb[%zu] = '#%06x'; series_dash[%zu] = %d\n",
        k, l->panel_of[i] + 1, k, (unsigned)ucb_chart_series_rgb(l, i), k,
        ucb_chart_series_dash(l, i));
    add_number(out, "series_from", k, from);
    add_number(out, "series_to", k, to);
    add_number(out, "original_x", k, ucb_chart_x_of_bpw(l, s, s->original_bpw));
    ucb_text_add(out, "\n");
    add_number(out, "floor_from", k, retention ? 1 - s->floor.high : l->y.low);
    add_number(out, "floor_to", k, retention ? 1 + s->floor.high : s->floor.high);
    add_number(out, "floor_value", k, retention ? NAN : s->floor.value);
    add_number(out, "reference_y", k, s->reference);
    add_number(out, "reference_low", k, s->reference_low);
    add_number(out, "reference_high", k, s->reference_high);
    ucb_text_add(out, "\n");
}

static void write_series(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const arrays[] = {"series_panel", "series_rgb",    "series_dash",
                                         "series_from",  "series_to",     "original_x",
                                         "floor_from",   "floor_to",      "floor_value",
                                         "reference_y",  "reference_low", "reference_high"};
    size_t n = l->chart->n_series;
    ucb_text_add(out, "n_series = %zu; limit_rgb = '#%06x'; band_rgb = '#%06x'\n", n,
                 LIMIT_RGB, BAND_RGB);
    ucb_text_add(out, "models_share_panels = %d; limit_dash = %d\n",
                 ucb_chart_colours_models(l), ucb_chart_limit_dash(l));
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        add_array(out, arrays[i], n);
    for (size_t i = 0; i < n; i++) write_one_series(l, i, out);
}

/* ---- the legend ---- */

/* Marks and texts as data (x, y, type, colour; x, y, text), lines and bands as arrays. */
static void write_legend_lines(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const arrays[] = {"line_x",   "line_y",    "line_length",
                                         "line_rgb", "line_dash", "line_kind"};
    size_t k = 0;
    for (size_t i = 0; i < l->n_entries; i++) k += l->entries[i].kind != UCB_LEGEND_MARK;
    ucb_text_add(out, "n_lines = %zu\n", k);
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        add_array(out, arrays[i], k);
    k = 0;
    for (size_t i = 0; i < l->n_entries; i++) {
        const struct ucb_legend_entry *e = &l->entries[i];
        if (e->kind == UCB_LEGEND_MARK) continue;
        k++;
        add_number(out, "line_x", k, e->x);
        add_number(out, "line_y", k, l->legend_top - e->y);
        add_number(out, "line_length", k, e->sample_width);
        ucb_text_add(out, "line_rgb[%zu] = '#%06x'; line_dash[%zu] = %d; ", k,
                     (unsigned)e->rgb, k, e->dash);
        ucb_text_add(out, "line_kind[%zu] = '%s'\n", k,
                     e->kind == UCB_LEGEND_BAND   ? "band"
                     : e->kind == UCB_LEGEND_TICK ? "tick"
                                                  : "line");
    }
}

static void write_legend(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    write_legend_lines(l, out);
    ucb_text_add(out, "$legend << END\n");
    for (size_t i = 0; i < l->n_entries; i++) {
        const struct ucb_legend_entry *e = &l->entries[i];
        if (e->kind == UCB_LEGEND_MARK)
            ucb_text_add(out, "%.5g\t%.5g\t%d\t%d\n", e->x + e->sample_width / 2,
                         l->legend_top - e->y, e->mark, e->rgb);
    }
    ucb_text_add(out, "\n\n");
    for (size_t i = 0; i < l->n_entries; i++) {
        const struct ucb_legend_entry *e = &l->entries[i];
        ucb_text_add(out, "%.5g\t%.5g\t%s\n",
                     e->x + e->sample_width + 0.5 * l->page->font_size,
                     l->legend_top - e->y, shown(l, e->text, l->page->font_size, true));
    }
    ucb_text_add(out, "END\n");
}

/* ---- curves: a datablock with one index per series ---- */

static void write_steps(const struct ucb_chart_layout *l, size_t series,
                        struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    double y = NAN, from, to;
    find_extent(l, series, &from, &to);
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        if (p->series != series || !p->frontier) continue;
        if (isnan(y)) /* nothing is known left of it */
            ucb_text_add(out, "%.6g\t%.6g\n", ucb_chart_x(l, p),
                         c->quantity == UCB_CHART_RETENTION ? c->y_low : c->y_high);
        y = fmax(p->y, c->y_low);
        ucb_text_add(out, "%.6g\t%.6g\n", ucb_chart_x(l, p), y);
    }
    if (isnan(y))
        ucb_text_add(out, "NaN\tNaN\n");
    else
        ucb_text_add(out, "%.6g\t%.6g\n", to, y);
}

static void write_limit(const struct ucb_chart_layout *l, size_t series,
                        struct ucb_text *out)
{
    double x[UCB_CHART_CURVE_POINTS], y[UCB_CHART_CURVE_POINTS];
    size_t n = ucb_chart_limit_curve(l, &l->chart->series[series], x, y);
    for (size_t i = 0; i < n; i++) ucb_text_add(out, "%.6g\t%.6g\n", x[i], y[i]);
    if (n == 0) ucb_text_add(out, "NaN\tNaN\n");
}

static void write_curves(const struct ucb_chart_layout *l, const char *name,
                         void (*write)(const struct ucb_chart_layout *, size_t,
                                       struct ucb_text *),
                         struct ucb_text *out)
{
    ucb_text_add(out, "$%s << END\n", name);
    for (size_t i = 0; i < l->chart->n_series; i++) {
        if (i > 0) ucb_text_add(out, "\n\n");
        write(l, i, out);
    }
    ucb_text_add(out, "END\n");
}

/* ---- labels ---- */

static double axis_x(const struct ucb_chart_layout *l, double x)
{
    return ucb_chart_from_page(&l->x, l->panel_width, x);
}

static double axis_y(const struct ucb_chart_layout *l, double y)
{
    return ucb_chart_from_page(&l->y, l->page->panel_height, y);
}

/* The leader goes from the mark's edge to the box's edge nearest to the point. */
static void write_leader(const struct ucb_chart_layout *l, const struct ucb_label *label,
                         struct ucb_text *out)
{
    double to_x = fmin(fmax(label->x, label->box.left), label->box.right),
           to_y = fmin(fmax(label->y, label->box.bottom), label->box.top),
           length = hypot(to_x - label->x, to_y - label->y),
           start = fmin(1, UCB_CHART_MARK_RADIUS / fmax(length, 1e-9)),
           x = label->x + start * (to_x - label->x),
           y = label->y + start * (to_y - label->y);
    ucb_text_add(out, "%.6g\t%.6g\t%.6g\t%.6g", axis_x(l, x), axis_y(l, y),
                 axis_x(l, to_x) - axis_x(l, x), axis_y(l, to_y) - axis_y(l, y));
}

/* In the colour of its model where colours tell models apart,
 * half of it off the frontier. */
static int label_rgb(const struct ucb_chart_layout *l, const struct ucb_chart_point *p)
{
    int rgb = ucb_chart_series_rgb(l, p->series);
    if (!ucb_chart_colours_models(l)) return p->frontier ? FRONTIER_RGB : QUIET_RGB;
    return p->frontier ? rgb : (rgb >> 1 & 0x7f7f7f) + (QUIET_RGB >> 1 & 0x7f7f7f);
}

/* A record for each line of it. */
static void write_label(const struct ucb_chart_layout *l, size_t i, struct ucb_text *out)
{
    const struct ucb_label *label = &l->labels[i];
    const char *text = l->texts[i];
    int rgb = label_rgb(l, &l->chart->points[i]);
    double line = UCB_CHART_LABEL_LINE * l->label_size, y = label->box.top - line / 2;
    for (bool first = true; *text != '\0'; first = false, y -= line) {
        size_t n = strcspn(text, "\n");
        const char *words = ucb_arena_printf(l->arena, "%.*s", (int)n, text);
        ucb_text_add(out, "%.6g\t%.6g\t%s\t", axis_x(l, label->box.left), axis_y(l, y),
                     words == NULL ? "" : shown(l, words, l->label_size, true));
        if (first && label->leader)
            write_leader(l, label, out);
        else
            ucb_text_add(out, "NaN\tNaN\tNaN\tNaN");
        ucb_text_add(out, "\t%d\n", rgb);
        text += n + (text[n] == '\n');
    }
}

/* A datablock with one index per panel: two empty lines between them. */
static void write_labels(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    ucb_text_add(out, "$labels << END\n# x\ty\ttext\tleader x\ty\tdx\tdy\tcolour\n");
    for (size_t panel = 0; panel < l->n_panels; panel++) {
        size_t n = 0;
        if (panel > 0) ucb_text_add(out, "\n\n");
        for (size_t i = 0; i < c->n_points; i++) {
            if (l->panel_of[c->points[i].series] != panel || l->labels[i].dropped) continue;
            write_label(l, i, out);
            n++;
        }
        if (n == 0) ucb_text_add(out, "NaN\tNaN\t\tNaN\tNaN\tNaN\tNaN\t0\n");
    }
    ucb_text_add(out, "END\n");
}

/* ---- all of it ---- */

static ucb_status lay_out(struct ucb_chart_layout *l, struct ucb_err *err)
{
    const struct ucb_chart *c = l->chart;
    snprintf(l->title, sizeof(l->title), "%s, task %s", c->title, c->task);
    if (ucb_chart_text_width(l->title) * UCB_CHART_TITLE_SIZE * l->page->font_size >
        l->page->width - 2 * UCB_CHART_RIGHT)
        snprintf(l->title, sizeof(l->title), "%s", c->title); /* the caption has the task */
    ucb_chart_place_panels(l);
    UCB_TRY(ucb_chart_place_labels(l, err));
    ucb_chart_write_caption(l);
    ucb_chart_place_legend(l);
    ucb_chart_place_boxes(l);
    return UCB_OK;
}

ucb_status ucb_chart_script(const struct ucb_chart *chart,
                            const struct ucb_chart_page *page, struct ucb_arena *arena,
                            struct ucb_text *out, struct ucb_err *err)
{
    struct ucb_chart_layout l = {.chart = chart,
                                 .page = page,
                                 .arena = arena,
                                 .line = page->font_size,
                                 .label_size = 0.82 * page->font_size};
    ucb_status status = lay_out(&l, err);
    if (status == UCB_OK) {
        write_page(&l, out);
        write_caption(&l, out);
        write_panels(&l, out);
        write_series(&l, out);
        write_legend(&l, out);
        write_curves(&l, "frontier", write_steps, out);
        write_curves(&l, "limit", write_limit, out);
        write_labels(&l, out);
        ucb_text_add(out, "\n%s", chart->script);
        if (l.caption.failed || out->failed)
            status = UCB_FAIL(err, UCB_NOMEM, "no memory for the chart");
    }
    ucb_text_free(&l.caption);
    return status;
}

void ucb_chart_table(const struct ucb_chart *chart, const struct ucb_chart_page *page,
                     struct ucb_text *out)
{
    char text[6][UCB_REAL_TEXT];
    struct ucb_chart_layout l = {.chart = chart, .page = page};
    ucb_chart_place_panels(&l);
    ucb_text_add(out,
                 "# panel\tmethod\tfrontier\tmodel\tmethod name\tspec\t%s\ty\tlow\thigh\t"
                 "n\tmembership\tvalue\t%s\tmark\tcolour\n",
                 page->by_size ? "size_gib" : "bpw_matrices",
                 page->by_size ? "bpw_matrices" : "size_gib");
    for (size_t i = 0; i < chart->n_points; i++) {
        const struct ucb_chart_point *p = &chart->points[i];
        ucb_text_add(
            out, "%zu\t%zu\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%lld\t",
            l.panel_of[p->series] + 1, p->method + 1, p->frontier, p->cell->model,
            p->cell->method, p->label, ucb_real_text(ucb_chart_x(&l, p), text[0]),
            ucb_real_text(fmax(p->y, chart->y_low), text[1]),
            ucb_real_text(fmin(fmax(p->low, chart->y_low), chart->y_high), text[2]),
            ucb_real_text(fmin(fmax(p->high, chart->y_low), chart->y_high), text[3]),
            (long long)p->n);
        if (isnan(p->membership))
            ucb_text_add(out, "?");
        else
            ucb_text_add(out, "%s", ucb_real_text(p->membership, text[4]));
        ucb_text_add(out, "\t%s\t", ucb_real_text(p->y, text[4]));
        ucb_text_add(out, "%s\t%d\t%d\n",
                     ucb_real_text(page->by_size ? p->bpw : p->size_gib, text[5]),
                     ucb_chart_point_mark(p), ucb_chart_point_rgb(&l, p));
    }
}
