/*
 * chart_labels.c - the names of the points: which have one, what it says, and where it
 * goes.
 *
 * A name is the spec, and in brackets how sure the point's place on or off the frontier is,
 * where that is open.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart_layout.h"

/* In a crowd only the frontier and our own methods are named. */
enum { MAX_LABELLED = 16 };
/* Beyond these shares of resamples a point is where it seems to be. */
static const double SURELY_ON = 0.995, SURELY_OFF = 0.005;
/* A name wider than this part of its panel is broken where a stage of its chain begins; one
 * still wider than the second behind its commas, too. */
static const double WIDEST = 0.3, WIDEST_WITH_COMMAS = 0.4;

/* Methods that were made for this program's own line, not taken from another project. */
static bool is_own(const struct ucb_chart_point *p)
{
    static const char *const words[] = {"gsq", "lowrank", "distill", "int5", "row_overlay"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(p->cell->spec, words[i]) != NULL) return true;
    return false;
}

bool ucb_chart_place_is_open(const struct ucb_chart_point *p)
{
    return p->frontier ? p->membership < SURELY_ON : p->membership > SURELY_OFF;
}

static int importance(const struct ucb_chart_point *p)
{
    return p->frontier ? 3 : is_own(p) ? 2 : p->membership > SURELY_OFF ? 1 : 0;
}

static const char *text_of(const struct ucb_chart_layout *l,
                           const struct ucb_chart_point *p)
{
    char *text = ucb_chart_place_is_open(p)
                     ? ucb_arena_printf(l->arena, "%s (%.0f%%)", p->label,
                                        100 * p->membership)
                     : ucb_arena_strdup(l->arena, p->label);
    double share = text == NULL
                       ? 0
                       : ucb_chart_text_width(text) * l->label_size / l->panel_width;
    if (share <= WIDEST) return text;
    bool at_commas = share > WIDEST_WITH_COMMAS;
    struct ucb_text broken = {0};
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '+' && at > text) ucb_text_add(&broken, "\n");
        ucb_text_add(&broken, *at == ' ' ? "\n" : "%c", *at);
        if (*at == ',' && at_commas) ucb_text_add(&broken, "\n");
    }
    text = broken.failed ? NULL : ucb_arena_strdup(l->arena, ucb_text_get(&broken));
    ucb_text_free(&broken);
    return text;
}

/* With a little room behind, so that two names on one line do not read as one. */
static void measure(const struct ucb_chart_layout *l, const char *text,
                    struct ucb_label *label)
{
    label->width = label->height = 0;
    while (*text != '\0') {
        char line[256];
        size_t n = strcspn(text, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)n, text);
        label->width = fmax(label->width, ucb_chart_text_width(line) * l->label_size);
        label->height += UCB_CHART_LABEL_LINE * l->label_size;
        text += n + (text[n] == '\n');
    }
    label->width += 0.4 * l->label_size;
}

/* ---- what labels must keep clear of ---- */

static struct ucb_box line_box(double x0, double y0, double x1, double y1)
{
    return (struct ucb_box){fmin(x0, x1) - 1, fmin(y0, y1) - 1, fmax(x0, x1) + 1,
                            fmax(y0, y1) + 1};
}

static double page_x(const struct ucb_chart_layout *l, double x)
{
    return ucb_chart_to_page(&l->x, l->panel_width, x);
}

static double page_y(const struct ucb_chart_layout *l, double y)
{
    return ucb_chart_to_page(&l->y, l->page->panel_height, y);
}

/* Bars and the steps of the frontier. */
static size_t add_series(const struct ucb_chart_layout *l, size_t series,
                         struct ucb_box *out)
{
    const struct ucb_chart *c = l->chart;
    double last_x = NAN,
           last_y = c->quantity == UCB_CHART_RETENTION ? 0 : l->page->panel_height;
    size_t n = 0;
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        if (p->series != series) continue;
        double x = page_x(l, ucb_chart_x(l, p)), y = page_y(l, p->y);
        out[n++] = line_box(x, page_y(l, p->low), x, page_y(l, p->high));
        if (!p->frontier) continue;
        if (!isnan(last_x)) out[n++] = line_box(last_x, last_y, x, last_y);
        out[n++] = line_box(x, last_y, x, y);
        last_x = x;
        last_y = y;
    }
    if (!isnan(last_x)) out[n++] = line_box(last_x, last_y, l->panel_width, last_y);
    return n;
}

static size_t add_limit(const struct ucb_chart_layout *l, const struct ucb_chart_series *s,
                        struct ucb_box *out)
{
    double x[UCB_CHART_CURVE_POINTS], y[UCB_CHART_CURVE_POINTS];
    size_t n = ucb_chart_limit_curve(l, s, x, y);
    for (size_t i = 1; i < n; i++)
        out[i - 1] = line_box(page_x(l, x[i - 1]), page_y(l, y[i - 1]), page_x(l, x[i]),
                              page_y(l, y[i]));
    return n == 0 ? 0 : n - 1;
}

/* The lines at the original's size and at its own value. */
static size_t add_original(const struct ucb_chart_layout *l,
                           const struct ucb_chart_series *s, struct ucb_box *out)
{
    const double lines[] = {s->reference, s->reference_low, s->reference_high};
    double x = ucb_chart_x_of_bpw(l, s, s->original_bpw);
    size_t n = 0;
    if (x > l->x.low && x < l->x.high)
        out[n++] = line_box(page_x(l, x), 0, page_x(l, x), 0.07 * l->page->panel_height);
    for (int i = 0; i < 3; i++)
        if (lines[i] > l->y.low && lines[i] < l->y.high)
            out[n++] = line_box(0, page_y(l, lines[i]), l->panel_width,
                                page_y(l, lines[i]));
    return n;
}

static size_t add_obstacles(const struct ucb_chart_layout *l, size_t panel,
                            struct ucb_box *out)
{
    size_t n = 0;
    for (size_t s = 0; s < l->chart->n_series; s++) {
        if (l->panel_of[s] != panel) continue;
        n += add_series(l, s, out + n);
        n += add_limit(l, &l->chart->series[s], out + n);
        n += add_original(l, &l->chart->series[s], out + n);
    }
    return n;
}

/* ---- placing them ---- */

static ucb_status place_in_panel(struct ucb_chart_layout *l, size_t panel,
                                 struct ucb_err *err)
{
    const struct ucb_chart *c = l->chart;
    size_t n = 0, at = 0,
           max_obstacles = 3 * c->n_points + c->n_series * (UCB_CHART_CURVE_POINTS + 6);
    struct ucb_label *labels = UCB_NEW(l->arena, struct ucb_label, c->n_points);
    struct ucb_box *obstacles = UCB_NEW(l->arena, struct ucb_box, max_obstacles),
                   frame = {3, 2, l->panel_width, l->page->panel_height};
    if (labels == NULL || obstacles == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu labels", c->n_points);
    for (size_t i = 0; i < c->n_points; i++)
        if (l->panel_of[c->points[i].series] == panel) labels[n++] = l->labels[i];
    bool crowd = n > MAX_LABELLED;
    for (size_t k = 0; k < n; k++) labels[k].dropped = crowd && labels[k].importance < 2;
    UCB_TRY(ucb_labels_place(labels, n, obstacles, add_obstacles(l, panel, obstacles),
                             frame, UCB_CHART_MARK_RADIUS, 1, l->arena, err));
    for (size_t i = 0; i < c->n_points; i++)
        if (l->panel_of[c->points[i].series] == panel) l->labels[i] = labels[at++];
    for (size_t k = 0; k < n; k++) l->n_unlabelled += labels[k].dropped;
    return UCB_OK;
}

ucb_status ucb_chart_place_labels(struct ucb_chart_layout *l, struct ucb_err *err)
{
    const struct ucb_chart *c = l->chart;
    l->labels = UCB_NEW(l->arena, struct ucb_label, c->n_points);
    l->texts = UCB_NEW(l->arena, const char *, c->n_points);
    if (l->labels == NULL || l->texts == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu labels", c->n_points);
    for (size_t i = 0; i < c->n_points; i++) {
        const struct ucb_chart_point *p = &c->points[i];
        l->texts[i] = text_of(l, p);
        if (l->texts[i] == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a label");
        l->labels[i] = (struct ucb_label){.x = page_x(l, ucb_chart_x(l, p)),
                                          .y = page_y(l, p->y),
                                          .importance = importance(p)};
        measure(l, l->texts[i], &l->labels[i]);
    }
    for (size_t panel = 0; panel < l->n_panels; panel++)
        UCB_TRY(place_in_panel(l, panel, err));
    return UCB_OK;
}
