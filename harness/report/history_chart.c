/*
 * history_chart.c - see history_chart.h. Ranges and ticks are chosen here, so that three
 * nights and a year are both read at a glance; reports/history.gp draws.
 */
#include "report/history_chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/resource.h"
#include "report/gnuplot.h"
#include "report/rows.h"

/* Points of a page two columns wide. */
enum {
    WIDTH = 540,
    PANEL_LEFT = 34, /* from the column's left edge: room for the ticks' texts */
    PANEL_HEIGHT = 52,
    ROW_HEIGHT = 76,
    TOP = 46,    /* title and caption */
    BOTTOM = 24, /* ticks of the last row */
    DAY = 86400
};

/* ---- scales ---- */

/* The largest of 1, 2 and 5 times a power of ten of which two multiples lie
 * in [low, high]. */
static double tick_step(double low, double high)
{
    static const double factors[] = {0.5, 0.4, 0.5}; /* 10 -> 5 -> 2 -> 1 */
    double step = pow(10, ceil(log10(high - low)));
    for (int k = 0; floor(high / step) - ceil(low / step) < 1; k = (k + 1) % 3)
        step *= factors[k];
    return step;
}

/* From the lowest to the highest end, with room around, and steps for two to five ticks. */
static void value_scale(const struct ucb_history_panel *p, double *low, double *high,
                        double *step)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < p->n; i++) {
        const struct ucb_history_point *q = &p->points[i];
        *low = fmin(*low, isnan(q->low) ? q->value : q->low);
        *high = fmax(*high, isnan(q->high) ? q->value : q->high);
    }
    double room = 0.1 * (*high - *low);
    if (!(room > 0)) room = *high == 0 ? 1 : 0.02 * fabs(*high);
    *low -= room;
    *high += room;
    *step = tick_step(*low, *high);
}

static void time_scale(const struct ucb_history_figure *f, int64_t *from, int64_t *to)
{
    *from = INT64_MAX;
    *to = INT64_MIN;
    for (size_t i = 0; i < f->n_panels; i++) {
        const struct ucb_history_panel *p = &f->panels[i];
        if (p->n == 0) continue;
        if (p->points[0].time < *from) *from = p->points[0].time;
        if (p->points[p->n - 1].time > *to) *to = p->points[p->n - 1].time;
    }
}

/* The first of the month `n` months after that of t. */
static int64_t month_start(int64_t t, int n)
{
    time_t at = (time_t)t;
    struct tm date;
    gmtime_r(&at, &date);
    date = (struct tm){.tm_year = date.tm_year, .tm_mon = date.tm_mon + n, .tm_mday = 1};
    return (int64_t)timegm(&date);
}

static void add_tick(struct ucb_text *out, int64_t t, const char *format)
{
    char text[32];
    time_t at = (time_t)t;
    struct tm date;
    gmtime_r(&at, &date);
    strftime(text, sizeof(text), format, &date);
    ucb_text_add(out, "%s\\\"%s\\\" %lld", out->n_chars > 0 ? ", " : "", text,
                 (long long)t);
}

/* At most six ticks from `from` on: whole days, or the first of months. */
static void time_ticks(double from, double to, struct ucb_text *out)
{
    double days = (to - from) / DAY;
    if (days <= 90) {
        int64_t step = ((int64_t)days / 5 + 1) * DAY;
        for (int64_t t = ((int64_t)from / DAY + 1) * DAY; (double)t <= to; t += step)
            add_tick(out, t, "%d %b");
        return;
    }
    int step = (int)(days / 150) + 1;
    for (int n = 1; (double)month_start((int64_t)from, n) <= to; n += step)
        add_tick(out, month_start((int64_t)from, n), days > 360 ? "%b %y" : "%b");
}

/* ---- files ---- */

static ucb_status write_text(struct ucb_report_job *job, const char *base, const char *kind,
                             const struct ucb_text *text, struct ucb_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.%s", base, kind);
    const char *path = ucb_report_path(job, name);
    if (path == NULL || text->failed)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for it", name);
    return ucb_file_write(path, ucb_text_get(text), text->n_chars, err);
}

static void add_number(struct ucb_text *out, double x)
{
    char text[UCB_REAL_TEXT];
    ucb_text_add(out, "\t%s", isnan(x) ? "NaN" : ucb_real_text(x, text));
}

/* One block of rows for each panel, with two empty lines between: gnuplot's index. */
static void make_table(const struct ucb_history_figure *f, struct ucb_text *out)
{
    ucb_text_add(out, "# panel\ttime\tvalue\tlow\thigh\tlevel\tchanged\n");
    for (size_t i = 0; i < f->n_panels; i++) {
        ucb_text_add(out, "%s# %s\n", i == 0 ? "" : "\n\n", f->panels[i].name);
        for (size_t k = 0; k < f->panels[i].n; k++) {
            const struct ucb_history_point *q = &f->panels[i].points[k];
            ucb_text_add(out, "%zu\t%lld", i + 1, (long long)q->time);
            add_number(out, q->value);
            add_number(out, q->low);
            add_number(out, q->high);
            add_number(out, q->level);
            ucb_text_add(out, "\t%d\n", q->changed);
        }
    }
}

/* A text between double quotes of a script. */
static void add_quoted(struct ucb_text *out, const char *text)
{
    ucb_text_add(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') ucb_text_add(out, "\\");
        ucb_text_add_chars(out, text, 1);
    }
    ucb_text_add(out, "\"");
}

/* No panel stands below in its column. */
static bool is_lowest(const struct ucb_history_figure *f, size_t at)
{
    for (size_t i = at + 1; i < f->n_panels; i++)
        if (f->panels[i].column == f->panels[at].column) return false;
    return true;
}

/* As much of a title as its panel is wide. */
static void add_title(struct ucb_text *out, const char *title)
{
    enum { LONGEST = 46 };
    char cut[LONGEST + 4];
    bool is_long = strlen(title) > LONGEST;
    snprintf(cut, sizeof(cut), "%.*s%s", is_long ? LONGEST - 3 : LONGEST, title,
             is_long ? "..." : "");
    add_quoted(out, cut);
}

static void add_panels(const struct ucb_history_figure *f, double height,
                       struct ucb_text *out)
{
    enum { N_NAMES = 7 };
    static const char *const names[N_NAMES] = {"left", "bottom", "low",  "high",
                                               "step", "n",      "has_x"};
    for (int k = 0; k < N_NAMES; k++)
        ucb_text_add(out, "array panel_%s[n_panels]; ", names[k]);
    ucb_text_add(out, "array panel_title[n_panels]\n");
    for (size_t i = 0; i < f->n_panels; i++) {
        const struct ucb_history_panel *p = &f->panels[i];
        double values[N_NAMES] = {
            (double)p->column * WIDTH / UCB_HISTORY_COLUMNS + PANEL_LEFT,
            height - TOP - (double)p->row * ROW_HEIGHT - PANEL_HEIGHT - 12};
        value_scale(p, &values[2], &values[3], &values[4]);
        values[5] = (double)p->n;
        values[6] = is_lowest(f, i);
        for (int k = 0; k < N_NAMES; k++)
            ucb_text_add(out, "panel_%s[%zu] = %.10g; ", names[k], i + 1, values[k]);
        ucb_text_add(out, "panel_title[%zu] = ", i + 1);
        add_title(out, p->title);
        ucb_text_add(out, "\n");
    }
}

static void make_script(const struct ucb_history_figure *f, const char *drawing,
                        struct ucb_text *out)
{
    struct ucb_text ticks = {0};
    int64_t from, to;
    size_t n_rows = f->panels[f->n_panels - 1].row + 1;
    double height = (double)(TOP + BOTTOM) + (double)n_rows * ROW_HEIGHT;
    time_scale(f, &from, &to);
    double room = fmax(0.03 * (double)(to - from), DAY / 4.0);
    time_ticks((double)from - room, (double)to, &ticks);
    ucb_text_add(out, "base = \"%s\"; data = \"%s.tsv\"; n_panels = %zu\n", f->base,
                 f->base, f->n_panels);
    ucb_text_add(out,
                 "width = %d.0; height = %.1f; panel_width = %d.0; panel_height = %d.0\n",
                 WIDTH, height, WIDTH / UCB_HISTORY_COLUMNS - PANEL_LEFT - 8, PANEL_HEIGHT);
    ucb_text_add(out, "x_low = %.10g; x_high = %.10g\n", (double)from - room,
                 (double)to + room);
    ucb_text_add(out, "x_ticks = \"%s\"\nfigure_title = ", ucb_text_get(&ticks));
    add_quoted(out, f->title);
    ucb_text_add(out, "\ncaption = ");
    add_quoted(out, f->caption);
    ucb_text_add(out, "\n");
    add_panels(f, height, out);
    ucb_text_add(out, "\n%s", drawing);
    out->failed |= ticks.failed;
    ucb_text_free(&ticks);
}

static ucb_status write_script(struct ucb_report_job *job,
                               const struct ucb_history_figure *f, struct ucb_err *err)
{
    struct ucb_text text = {0};
    const struct ucb_resource *drawing = ucb_resource_find("reports/history.gp");
    if (drawing == NULL)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "reports/history.gp is missing from this build; build it again");
    make_script(f, drawing->data, &text);
    ucb_status status = write_text(job, f->base, "gp", &text, err);
    ucb_text_free(&text);
    return status;
}

ucb_status ucb_history_draw(struct ucb_report_job *job, const struct ucb_history_figure *f,
                            struct ucb_err *err)
{
    static const char *const kinds[] = {"svg", "png"};
    struct ucb_text table = {0};
    char name[64];
    make_table(f, &table);
    ucb_status status = write_text(job, f->base, "tsv", &table, err);
    ucb_text_free(&table);
    if (status == UCB_OK) status = write_script(job, f, err);
    snprintf(name, sizeof(name), "%s.gp", f->base);
    for (int k = 0; k < 2 && status == UCB_OK; k++) {
        char picture[64];
        const char *const made[] = {picture, NULL};
        snprintf(picture, sizeof(picture), "%s.%s", f->base, kinds[k]);
        status = ucb_gnuplot_run(job->folder, name, kinds[k], made, err);
        if (status == UCB_OK && ucb_report_path(job, picture) == NULL)
            status = UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its path", picture);
    }
    return status;
}
