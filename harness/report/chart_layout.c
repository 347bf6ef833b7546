/*
 * chart_layout.c - from the points of a chart to a page: boxes of panels, places of labels,
 * the words around them.
 *
 * Everything is worked out in points of the page with y upwards, and handed to gnuplot as
 * fractions of the page (boxes) or in the units of the axes (labels), so that one layout
 * serves SVG, PNG and PDF.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart.h"
#include "report/labels.h"
#include "report/rows.h"

const struct ucb_chart_page ucb_chart_wide = {"pareto", 486, 2, 190, 7.5}; /* 6.75 inches */
const struct ucb_chart_page ucb_chart_narrow = {"pareto-1col", 234, 1, 165,
                                                7}; /* 3.25 inches */

/* Okabe and Ito's colours without black and yellow, which white paper swallows; filled
 * marks first. */
static const int colours[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9};
static const int marks[] = {7, 5, 9, 13, 11, 15, 6, 4, 8, 12, 10, 14};
enum {
    N_COLOURS = sizeof(colours) / sizeof(colours[0]),
    N_MARKS = sizeof(marks) / sizeof(marks[0])
};
/* Dominated points, and their labels, which are darker to stay readable. */
enum { GREY_RGB = 0x8c8c8c, QUIET_RGB = 0x707070 };

/* In points, but for the sizes that follow the font. */
enum { LEFT = 50, RIGHT = 10, GAP = 16, MARK_RADIUS = 3, MAX_LABELLED = 16 };

/* After the methods: what is not on the frontier, the frontier, the original's size. */
enum { N_FIXED_ENTRIES = 3 };
struct legend_entry {
    const char *text;
    double x, y,
        mark_width; /* x of the mark's left end; y counted down from the legend's top */
};

struct layout {
    const struct ucb_chart *chart;
    const struct ucb_chart_page *page;
    double height, line; /* of the page; of a line of caption */
    double label_size;
    struct ucb_box panels[UCB_CHART_MAX_PANELS];
    double title_y, caption_y;
    struct legend_entry entries[UCB_CHART_MAX_METHODS + N_FIXED_ENTRIES];
    size_t n_entries;
    double legend_x, legend_y; /* of the next entry; y counted down from legend_top */
    double legend_top;
    char title[256];
    struct ucb_text caption; /* with newlines */
    size_t n_caption_lines;
};

/* ---- text ---- */

/* Of the title in units of the font, as reports/pareto.gp draws it. */
static const double TITLE_SIZE = 1.2;

/* Width of a text in a sans-serif font at size 1, on the wide side (DejaVu Sans), so that
 * narrower fonts fit too. */
static double text_width(const char *text)
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

static void add_wrapped(struct layout *l, const char *sentence)
{
    double limit = (l->page->width - 2 * RIGHT) / (0.82 * l->page->font_size), used = 0;
    while (*sentence != '\0') {
        size_t n = strcspn(sentence, " ");
        char word[256];
        snprintf(word, sizeof(word), "%.*s", (int)n, sentence);
        double width = text_width(word);
        bool breaks = used > 0 && used + 0.34 + width > limit;
        if (l->n_caption_lines == 0 || breaks || used == 0) {
            ucb_text_add(&l->caption, "%s%s", l->n_caption_lines == 0 ? "" : "\n", word);
            l->n_caption_lines++;
            used = width;
        } else {
            ucb_text_add(&l->caption, " %s", word);
            used += 0.34 + width;
        }
        sentence += n;
        sentence += strspn(sentence, " ");
    }
}

static void write_caption(struct layout *l)
{
    const struct ucb_chart *c = l->chart;
    bool kld = strcmp(c->metric, "kld_mean") == 0, bars = c->interval != NULL;
    char n[64], text[1024];
    snprintf(n, sizeof(n), c->n_low == c->n_high ? "%lld" : "%lld to %lld",
             (long long)c->n_low, (long long)c->n_high);
    snprintf(text, sizeof(text),
             "%s, task %s on %s (sha256 %.12s), n = %s document%s. Bars: %s%s.%s "
             "bpw: 8 x every byte written for the quantized matrices / their weights.",
             kld ? "Mean KL divergence of the next-token distribution from the original's"
                 : "Perplexity over the original's, less 1",
             c->task, c->dataset, c->dataset_digest, n, c->n_high == 1 ? "" : "s",
             bars ? "95% intervals, " : "none, the documents are too few",
             bars ? c->interval : "",
             c->cuts_bars ? " A bar cut off by the frame goes on." : "");
    add_wrapped(l, text);
    snprintf(
        text, sizeof(text),
        "Steps: the best seen at no more bits. No information limit is drawn: rate-distortion theory bounds "
        "the error of weights, not this quantity.%s",
        kld ? ""
            : " Cells at or below the original's perplexity are not on a logarithmic axis.");
    add_wrapped(l, text);
    if (c->calibration != NULL) {
        snprintf(text, sizeof(text), "Calibration, of the methods that need one: %s.",
                 c->calibration);
        add_wrapped(l, text);
    }
    for (size_t i = 0; i < c->n_caveats; i++) {
        snprintf(text, sizeof(text), "Caveat: %s", c->caveats[i]);
        add_wrapped(l, text);
    }
}

/* ---- boxes ---- */

/* Entries of the legend follow each other like the words of a text. */
static void add_entry(struct layout *l, const char *text, double mark_width)
{
    double font = l->page->font_size,
           width = mark_width + 0.5 * font + text_width(text) * font;
    if (l->legend_x > RIGHT && l->legend_x + width > l->page->width - RIGHT) {
        l->legend_x = RIGHT;
        l->legend_y += 1.5 * font;
    }
    l->entries[l->n_entries++] = (struct legend_entry){text, l->legend_x, l->legend_y,
                                                       mark_width};
    l->legend_x += width + 1.4 * font;
}

static void place_legend(struct layout *l)
{
    double font = l->page->font_size;
    l->legend_x = RIGHT;
    for (size_t i = 0; i < l->chart->n_methods; i++)
        add_entry(l, l->chart->methods[i], 0.8 * font);
    add_entry(l, "grey: above the frontier", 0.8 * font);
    add_entry(l, "frontier", 2.2 * font);
    add_entry(l, "size of the original", 2.2 * font);
}

static void place_boxes(struct layout *l)
{
    const struct ucb_chart_page *page = l->page;
    double font = page->font_size, title = 2.4 * font, panel_title = 1.8 * font,
           x_axis = 5.4 * font, between = 1.4 * font;
    size_t columns = l->chart->n_panels < page->columns ? l->chart->n_panels
                                                        : page->columns;
    size_t rows = (l->chart->n_panels + columns - 1) / columns;
    double legend = l->legend_y + 1.5 * font,
           caption = ((double)l->n_caption_lines + 0.9) * l->line;
    double panel_width = (page->width - LEFT - RIGHT - GAP * (double)(columns - 1)) /
                         (double)columns;
    l->height = title + (double)rows * (panel_title + page->panel_height) +
                (double)(rows - 1) * between + x_axis + legend + caption;
    l->title_y = l->height - 1.1 * font;
    for (size_t i = 0; i < l->chart->n_panels; i++) {
        double left = LEFT + (double)(i % columns) * (panel_width + GAP);
        double top = l->height - title - panel_title -
                     (double)(i / columns) * (panel_title + page->panel_height + between);
        l->panels[i] = (struct ucb_box){left, top - page->panel_height, left + panel_width,
                                        top};
    }
    l->legend_top = legend + caption;
    l->caption_y = caption - 0.7 * l->line;
}

/* ---- points of the page <-> units of the axes ---- */

static double page_x(const struct layout *l, size_t panel, double x)
{
    const struct ucb_box *b = &l->panels[panel];
    return b->left + (x - l->chart->x_low) / (l->chart->x_high - l->chart->x_low) *
                         (b->right - b->left);
}

static double page_y(const struct layout *l, size_t panel, double y)
{
    const struct ucb_box *b = &l->panels[panel];
    return b->bottom + log(fmax(y, l->chart->y_low) / l->chart->y_low) /
                           log(l->chart->y_high / l->chart->y_low) * (b->top - b->bottom);
}

static double axis_x(const struct layout *l, size_t panel, double x)
{
    const struct ucb_box *b = &l->panels[panel];
    return l->chart->x_low +
           (x - b->left) / (b->right - b->left) * (l->chart->x_high - l->chart->x_low);
}

static double axis_y(const struct layout *l, size_t panel, double y)
{
    const struct ucb_box *b = &l->panels[panel];
    return l->chart->y_low *
           pow(l->chart->y_high / l->chart->y_low, (y - b->bottom) / (b->top - b->bottom));
}

/* ---- labels ---- */

static struct ucb_box line_box(double x0, double y0, double x1, double y1)
{
    return (struct ucb_box){fmin(x0, x1) - 0.5, fmin(y0, y1) - 0.5, fmax(x0, x1) + 0.5,
                            fmax(y0, y1) + 0.5};
}

/* What a panel's labels must keep clear of: bars, the steps of the frontier, the line at
 * the original's size. */
static size_t collect_obstacles(const struct layout *l, size_t panel, struct ucb_box *out)
{
    const struct ucb_chart *c = l->chart;
    const struct ucb_box *b = &l->panels[panel];
    double last_x = NAN, last_y = b->top, original = c->panels[panel].original_bpw;
    size_t n = 0;
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        double x = page_x(l, panel, p->x), y = page_y(l, panel, p->y);
        if (p->panel != panel) continue;
        out[n++] = line_box(x, page_y(l, panel, p->low), x, page_y(l, panel, p->high));
        if (!p->frontier) continue;
        if (!isnan(last_x)) out[n++] = line_box(last_x, last_y, x, last_y);
        out[n++] = line_box(x, last_y, x, y);
        last_x = x;
        last_y = y;
    }
    if (!isnan(last_x)) out[n++] = line_box(last_x, last_y, b->right, last_y);
    if (original > c->x_low && original < c->x_high) {
        double x = page_x(l, panel, original);
        out[n++] = line_box(x, b->bottom, x, b->bottom + 0.15 * (b->top - b->bottom));
    }
    return n;
}

static void write_label(const struct layout *l, const struct ucb_chart_point *p,
                        const struct ucb_label *label, struct ucb_text *out)
{
    double middle = (label->box.bottom + label->box.top) / 2;
    /* The leader ends at the box's edge nearest to the point. */
    double x = axis_x(l, p->panel, fmin(fmax(label->x, label->box.left), label->box.right));
    double y = axis_y(l, p->panel, fmin(fmax(label->y, label->box.bottom), label->box.top));
    ucb_text_add(out, "%.6g\t%.6g\t%s\t", axis_x(l, p->panel, label->box.left),
                 axis_y(l, p->panel, middle), p->label);
    if (label->leader)
        ucb_text_add(out, "%.6g\t%.6g\t%.6g\t%.6g", p->x, p->y, x - p->x, y - p->y);
    else
        ucb_text_add(out, "NaN\tNaN\tNaN\tNaN");
    ucb_text_add(out, "\t%d\n", p->frontier ? 0x222222 : QUIET_RGB);
}

/* In a crowd only the frontier is named; the table has the rest. */
static bool is_labelled(const struct ucb_chart *c, size_t panel,
                        const struct ucb_chart_point *p)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_points; i++) n += c->points[i].panel == panel;
    return p->panel == panel && (p->frontier || n <= MAX_LABELLED);
}

static ucb_status write_panel_labels(const struct layout *l, size_t panel,
                                     struct ucb_arena *arena, struct ucb_text *out,
                                     struct ucb_err *err)
{
    const struct ucb_chart *c = l->chart;
    struct ucb_label *labels = UCB_NEW(arena, struct ucb_label, c->n_points);
    struct ucb_box *obstacles = UCB_NEW(arena, struct ucb_box, 3 * c->n_points + 2);
    size_t n = 0, at = 0;
    if (labels == NULL || obstacles == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu labels", c->n_points);
    for (size_t i = 0; i < c->n_points; i++)
        if (is_labelled(c, panel, &c->points[i]))
            labels[n++] = (struct ucb_label){.x = page_x(l, panel, c->points[i].x),
                                             .y = page_y(l, panel, c->points[i].y),
                                             .width = text_width(c->points[i].label) *
                                                      l->label_size,
                                             .height = 1.15 * l->label_size};
    size_t n_obstacles = collect_obstacles(l, panel, obstacles);
    UCB_TRY(ucb_labels_place(labels, n, obstacles, n_obstacles, l->panels[panel],
                             MARK_RADIUS, 1, arena, err));
    for (size_t i = 0; i < c->n_points; i++)
        if (is_labelled(c, panel, &c->points[i]))
            write_label(l, &c->points[i], &labels[at++], out);
    if (n == 0) ucb_text_add(out, "NaN\tNaN\t\tNaN\tNaN\tNaN\tNaN\t0\n");
    return UCB_OK;
}

/* A datablock with one index per panel: two empty lines between them. */
static ucb_status write_labels(const struct layout *l, struct ucb_arena *arena,
                               struct ucb_text *out, struct ucb_err *err)
{
    ucb_text_add(out, "$labels << END\n# x\ty\ttext\tleader x\ty\tdx\tdy\tcolour\n");
    for (size_t i = 0; i < l->chart->n_panels; i++) {
        if (i > 0) ucb_text_add(out, "\n\n");
        UCB_TRY(write_panel_labels(l, i, arena, out, err));
    }
    ucb_text_add(out, "END\n");
    return UCB_OK;
}

static void write_frontier(const struct layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    ucb_text_add(out, "$frontier << END\n");
    for (size_t panel = 0; panel < c->n_panels; panel++) {
        double y = NAN;
        if (panel > 0) ucb_text_add(out, "\n\n");
        for (size_t i = 0; i < c->n_points; i++) {
            if (c->points[i].panel != panel || !c->points[i].frontier) continue;
            if (isnan(y))
                ucb_text_add(out, "%.6g\t%.6g\n", c->points[i].x,
                             c->y_high); /* nothing is known left of it */
            y = c->points[i].y;
            ucb_text_add(out, "%.6g\t%.6g\n", c->points[i].x, y);
        }
        ucb_text_add(out, "%.6g\t%.6g\n", c->x_high, y);
    }
    ucb_text_add(out, "END\n");
}

static void write_legend_lines(const struct layout *l, size_t which, struct ucb_text *out)
{
    const struct legend_entry *e = &l->entries[which];
    ucb_text_add(out, "\n\n%.5g\t%.5g\t%.5g\n", e->x, l->legend_top - e->y, e->mark_width);
}

/* Index 0: marks (x, y, type, colour); 1: the frontier's line and 2: the original's (x, y,
 * length); 3: texts. */
static void write_legend(const struct layout *l, struct ucb_text *out)
{
    size_t n_methods = l->chart->n_methods;
    ucb_text_add(out, "$legend << END\n");
    for (size_t i = 0; i <= n_methods; i++) {
        const struct legend_entry *e = &l->entries[i];
        int rgb = i < n_methods ? colours[i % N_COLOURS] : GREY_RGB,
            mark = i < n_methods ? marks[i % N_MARKS] : 5;
        ucb_text_add(out, "%.5g\t%.5g\t%d\t%d\n", e->x + e->mark_width / 2,
                     l->legend_top - e->y, mark, rgb);
    }
    write_legend_lines(l, n_methods + 1, out);
    write_legend_lines(l, n_methods + 2, out);
    ucb_text_add(out, "\n\n");
    for (size_t i = 0; i < l->n_entries; i++) {
        const struct legend_entry *e = &l->entries[i];
        ucb_text_add(out, "%.5g\t%.5g\t%s\n",
                     e->x + e->mark_width + 0.5 * l->page->font_size, l->legend_top - e->y,
                     e->text);
    }
    ucb_text_add(out, "END\n");
}

/* ---- the script ---- */

/* A gnuplot string: single quotes, a quote inside is doubled. */
static void add_quoted(struct ucb_text *out, const char *text)
{
    ucb_text_add(out, "'");
    for (; *text != '\0'; text++) ucb_text_add(out, *text == '\'' ? "''" : "%c", *text);
    ucb_text_add(out, "'");
}

/* Several lines: double quotes, so that gnuplot reads \n. */
static void add_lines(struct ucb_text *out, const char *text)
{
    ucb_text_add(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            ucb_text_add(out, "\\n");
        else
            ucb_text_add(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    ucb_text_add(out, "\"");
}

static void add_array(struct ucb_text *out, const char *name, size_t n)
{
    ucb_text_add(out, "array %s[%zu]\n", name, n);
}

static void write_page(const struct layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    bool kld = strcmp(c->metric, "kld_mean") == 0;
    ucb_text_add(out, "base = '%s'; data = 'pareto.tsv'\n", l->page->base);
    ucb_text_add(out, "width = %.2f; height = %.2f; font_size = %g; label_size = %.4g\n",
                 l->page->width, l->height, l->page->font_size, l->label_size);
    ucb_text_add(out, "x_low = %.6g; x_high = %.6g; y_low = %.6g; y_high = %.6g\n",
                 c->x_low, c->x_high, c->y_low, c->y_high);
    ucb_text_add(out, "title_x = %d; title_y = %.5g; caption_y = %.5g\n", RIGHT, l->title_y,
                 l->caption_y);
    ucb_text_add(out,
                 "x_label = 'bits per weight of the quantized matrices'\ny_label = '%s'\n",
                 kld ? "mean KL divergence, nats per token" : "perplexity ratio - 1");
    ucb_text_add(out, "figure_title = ");
    add_quoted(out, l->title);
    ucb_text_add(out, "\ncaption = ");
    add_lines(out, ucb_text_get(&l->caption));
    ucb_text_add(out, "\n");
}

static void write_methods(const struct ucb_chart *c, struct ucb_text *out)
{
    ucb_text_add(out, "n_methods = %zu\n", c->n_methods);
    add_array(out, "method_colour", c->n_methods);
    add_array(out, "method_point", c->n_methods);
    for (size_t i = 0; i < c->n_methods; i++) {
        ucb_text_add(out, "method_colour[%zu] = '#%06x'; method_point[%zu] = %d\n", i + 1,
                     (unsigned)colours[i % N_COLOURS], i + 1, marks[i % N_MARKS]);
    }
}

static void write_panel(const struct layout *l, size_t i, struct ucb_text *out)
{
    const struct ucb_chart_panel *panel = &l->chart->panels[i];
    const struct ucb_box *b = &l->panels[i];
    size_t columns = l->page->columns, k = i + 1;
    char title[512];
    const char *slash = strrchr(panel->model, '/'),
               *name = slash == NULL ? panel->model : slash + 1;
    const char *comma = panel->setting[0] == '\0' ? "" : ", ";
    snprintf(title, sizeof(title),
             isnan(panel->original_bpw) ? "%s%s%s" : "%s%s%s (original: %.3g bpw)", name,
             comma, panel->setting, panel->original_bpw);
    ucb_text_add(
        out,
        "panel_left[%zu] = %.2f; panel_right[%zu] = %.2f; panel_bottom[%zu] = %.2f; panel_top[%zu] = %.2f\n",
        k, b->left, k, b->right, k, b->bottom, k, b->top);
    ucb_text_add(out, "panel_has_y[%zu] = %d; panel_has_x[%zu] = %d\n", k, i % columns == 0,
                 k, i + columns >= l->chart->n_panels);
    ucb_text_add(out, "panel_original[%zu] = %.6g; panel_title[%zu] = ", k,
                 isnan(panel->original_bpw) ? 0 : panel->original_bpw, k);
    add_quoted(out, title);
    ucb_text_add(out, "\n");
}

static void write_panels(const struct layout *l, struct ucb_text *out)
{
    static const char *const arrays[] = {"panel_left",     "panel_right", "panel_bottom",
                                         "panel_top",      "panel_has_y", "panel_has_x",
                                         "panel_original", "panel_title"};
    size_t n = l->chart->n_panels;
    ucb_text_add(out, "n_panels = %zu\n", n);
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        add_array(out, arrays[i], n);
    for (size_t i = 0; i < n; i++) write_panel(l, i, out);
}

ucb_status ucb_chart_script(const struct ucb_chart *chart,
                            const struct ucb_chart_page *page, struct ucb_arena *arena,
                            struct ucb_text *out, struct ucb_err *err)
{
    struct layout l = {.chart = chart,
                       .page = page,
                       .line = 1.15 * page->font_size,
                       .label_size = 0.82 * page->font_size};
    snprintf(l.title, sizeof(l.title), "%s, task %s", chart->title, chart->task);
    if (text_width(l.title) * TITLE_SIZE * page->font_size > page->width - 2 * RIGHT)
        snprintf(l.title, sizeof(l.title), "%s",
                 chart->title); /* the caption has the task */
    write_caption(&l);
    place_legend(&l);
    place_boxes(&l);
    write_page(&l, out);
    write_methods(chart, out);
    write_panels(&l, out);
    write_legend(&l, out);
    write_frontier(&l, out);
    ucb_status status = write_labels(&l, arena, out, err);
    ucb_text_add(out, "\n%s", chart->script);
    if (status == UCB_OK && (l.caption.failed || out->failed))
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the chart");
    ucb_text_free(&l.caption);
    return status;
}

void ucb_chart_table(const struct ucb_chart *chart, struct ucb_text *out)
{
    char text[4][UCB_REAL_TEXT];
    ucb_text_add(
        out,
        "# panel\tmethod\tfrontier\tmodel\tmethod name\tspec\tbpw_matrices\ty\tlow\thigh\tn\n");
    for (size_t i = 0; i < chart->n_points; i++) {
        const struct ucb_chart_point *p = &chart->points[i];
        ucb_text_add(out, "%zu\t%zu\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%lld\n", p->panel + 1,
                     p->method_index + 1, p->frontier, p->model, p->method, p->label,
                     ucb_real_text(p->x, text[0]), ucb_real_text(p->y, text[1]),
                     ucb_real_text(fmax(p->low, chart->y_low), text[2]),
                     ucb_real_text(fmin(p->high, chart->y_high), text[3]), (long long)p->n);
    }
}
