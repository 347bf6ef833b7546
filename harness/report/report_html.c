/*
 * report_html.c - one page that needs nothing else: charts inline, tables that sort,
 * caveats, environment, digest.
 *
 * reports/report.html is the page with {{marks}}; each mark is written by one function
 * below. The page holds the chart twice, two panels wide and one above the other, and its
 * style sheet shows the one that fits the screen.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/chart.h"
#include "report/html.h"
#include "report/report_layers.h"
#include "report/rows.h"

static const char template_name[] = "reports/report.html";
static const char page_title[] = "What a bit per weight costs";

struct page {
    struct ucb_report_job *job;
    struct ucb_report_data data;
    struct ucb_chart chart;
    bool has_chart;
    char no_chart[UCB_ERR_TEXT]; /* why not */
    struct ucb_text *out;
};

/* ---- text ---- */

/* "<tag>text</tag>\n" */
static void add_element(struct ucb_text *out, const char *tag, const char *text)
{
    ucb_text_add(out, "<%s>", tag);
    ucb_html_escape(out, text);
    ucb_text_add(out, "</%s>\n", tag);
}

/* ---- {{summary}} ---- */

static ucb_status write_summary(struct page *p, struct ucb_err *err)
{
    size_t n_failed = 0;
    (void)err;
    for (size_t i = 0; i < p->data.n_cells; i++) n_failed += p->data.cells[i].failed;
    ucb_text_add(p->out, "%zu results in %zu tables, from <code>",
                 p->data.n_cells - n_failed, p->data.n_groups);
    ucb_html_escape(p->out, p->job->database);
    ucb_text_add(p->out, "</code>.");
    if (n_failed > 0)
        ucb_text_add(
            p->out,
            " <span class=\"failed\">%zu failed</span> and stand below their tables.",
            n_failed);
    return UCB_OK;
}

/* ---- {{chart}} ---- */

/* Copies an <svg>. Two charts of gnuplot name their parts alike, so on one page the second
 * one's get a prefix. */
static void add_svg(struct ucb_text *out, const char *svg, const char *prefix)
{
    static const char *const names[] = {"gpPt", "gpDot", "gnuplot_", "textbox", "greybox"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    while (*svg != '\0') {
        for (size_t i = 0; i < N_NAMES; i++)
            if (strncmp(svg, names[i], strlen(names[i])) == 0)
                ucb_text_add(out, "%s", prefix);
        ucb_text_add_chars(out, svg++, 1);
    }
}

static ucb_status add_svg_file(struct page *p, const char *name, const char *prefix,
                               struct ucb_err *err)
{
    struct ucb_file file;
    const char *path = ucb_arena_printf(p->job->arena, "%s/%s", p->job->folder, name);
    if (path == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its path", name);
    UCB_TRY(ucb_file_map(path, &file, err));
    char *text = ucb_arena_alloc(p->job->arena, file.n_bytes + 1);
    if (text != NULL && file.n_bytes > 0) memcpy(text, file.data, file.n_bytes);
    ucb_file_unmap(&file);
    const char *svg = text == NULL ? NULL : strstr(text, "<svg");
    if (svg == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: no <svg> in what gnuplot wrote", path);
    add_svg(p->out, svg, prefix);
    return UCB_OK;
}

static ucb_status write_chart(struct page *p, struct ucb_err *err)
{
    if (!p->has_chart) {
        ucb_text_add(p->out, "<p class=\"quiet\">No chart: ");
        ucb_html_escape(p->out, p->no_chart);
        ucb_text_add(p->out, "</p>\n");
        return UCB_OK;
    }
    ucb_text_add(
        p->out,
        "<figure role=\"img\" aria-label=\"%s against bits per weight; the tables below hold every value\">\n",
        p->chart.quantity == UCB_CHART_KLD     ? "Mean KL divergence"
        : p->chart.quantity == UCB_CHART_RATIO ? "Perplexity ratio"
                                               : "Retention of accuracy");
    UCB_TRY(add_svg_file(p, "pareto.svg", "", err));
    UCB_TRY(add_svg_file(p, "pareto-1col.svg", "narrow-", err));
    ucb_text_add(p->out, "</figure>\n");
    return UCB_OK;
}

/* ---- {{tables}} ---- */

static void add_heading(struct ucb_text *out, const char *text)
{
    ucb_text_add(out, "<th scope=\"col\"><button type=\"button\">");
    ucb_html_escape(out, text);
    ucb_text_add(out, "</button></th>");
}

static void open_number(struct ucb_text *out, double value)
{
    char exact[UCB_REAL_TEXT];
    ucb_text_add(out, "<td data-v=\"%s\">",
                 isnan(value) ? "" : ucb_real_text(value, exact));
}

static void add_bpw(struct ucb_text *out, double bpw)
{
    open_number(out, bpw);
    ucb_text_add(out, isnan(bpw) ? "-</td>" : "%.3f</td>", bpw);
}

static void add_count(struct ucb_text *out, int64_t n)
{
    ucb_text_add(out, "<td data-v=\"%lld\">%lld</td>", (long long)n, (long long)n);
}

static void add_peak(struct ucb_text *out, double n_bytes)
{
    open_number(out, n_bytes);
    if (isnan(n_bytes))
        ucb_text_add(out, "-</td>");
    else
        ucb_text_add(out, "%.2f</td>", n_bytes * 1e-9);
}

static void add_value(struct ucb_text *out, const struct ucb_report_cell *c,
                      enum ucb_shown which)
{
    const struct ucb_value *v = &c->values[which];
    char value[UCB_VALUE_TEXT], interval[UCB_VALUE_TEXT];
    open_number(out, v->present ? v->value : NAN);
    ucb_text_add(out, "%s<span class=\"interval\">%s", ucb_value_text(v, which, value),
                 ucb_interval_text(v, which, c->n_documents, interval));
    if (v->note > 0)
        ucb_text_add(out, "<sup><a href=\"#note-%zu\">%zu</a></sup>", v->note, v->note);
    ucb_text_add(out, "</span></td>");
}

static void add_row(struct ucb_text *out, const struct ucb_report_group *g,
                    const struct ucb_report_cell *c)
{
    ucb_text_add(out, "<tr%s><th scope=\"row\">", c->original ? " class=\"original\"" : "");
    ucb_html_escape(out, c->label);
    ucb_text_add(out, "</th>");
    add_bpw(out, c->bpw_nominal);
    add_bpw(out, c->bpw_matrices);
    add_bpw(out, c->bpw_model);
    for (int k = 0; k < UCB_N_SHOWN; k++)
        if (g->has[k]) add_value(out, c, (enum ucb_shown)k);
    add_count(out, c->n_items);
    add_count(out, c->n_documents);
    add_peak(out, c->peak_rss_bytes);
    ucb_text_add(out, "</tr>\n");
}

static void add_failed(struct ucb_text *out, const struct ucb_report_cell *c)
{
    ucb_text_add(out, "<p class=\"failed\"><code>");
    ucb_html_escape(out, c->label);
    ucb_text_add(out, "</code> failed: ");
    ucb_html_escape(out, c->message == NULL ? "no message" : c->message);
    ucb_text_add(out, "</p>\n");
}

static void add_table(struct ucb_text *out, const struct ucb_report_group *g)
{
    ucb_text_add(out, "<div class=\"scroll\" tabindex=\"0\"><table>\n<caption>task ");
    ucb_html_escape(out, g->task);
    ucb_text_add(out, " on ");
    ucb_html_escape(out, g->dataset);
    ucb_text_add(out, ", sha256 %.12s; press a heading to sort</caption>\n<thead><tr>",
                 g->dataset_digest);
    add_heading(out, "spec");
    add_heading(out, "bpw nominal");
    add_heading(out, "bpw matrices");
    add_heading(out, "bpw model");
    for (int k = 0; k < UCB_N_SHOWN; k++)
        if (g->has[k]) add_heading(out, ucb_shown[k].heading);
    add_heading(out, "items");
    add_heading(out, "documents");
    add_heading(out, "peak GB");
    ucb_text_add(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < g->n_cells; i++)
        if (!g->cells[i].failed) add_row(out, g, &g->cells[i]);
    ucb_text_add(out, "</tbody></table></div>\n");
    for (size_t i = 0; i < g->n_cells; i++)
        if (g->cells[i].failed) add_failed(out, &g->cells[i]);
}

static void add_sizes_row(struct ucb_text *out, const struct ucb_report_cell *c,
                          const bool *used)
{
    ucb_text_add(out, "<tr><th scope=\"row\">");
    ucb_html_escape(out, c->model);
    ucb_text_add(out, "</th><td>");
    ucb_html_escape(out, c->label);
    ucb_text_add(out, "</td>");
    add_bpw(out, c->bpw_nominal);
    for (int part = 0; part < UCB_N_PARTS; part++)
        if (used[part]) add_bpw(out, c->bpw_parts[part]);
    add_bpw(out, c->bpw_matrices);
    ucb_text_add(out, "</tr>\n");
}

/* What the bits of each method are spent on. */
static ucb_status write_sizes(struct page *p, struct ucb_err *err)
{
    size_t n;
    bool used[UCB_N_PARTS];
    const struct ucb_report_cell **list = ucb_report_sizes(p->job->arena, &p->data, &n,
                                                           used);
    if (list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a table of sizes");
    ucb_text_add(p->out, "<h2 id=\"sizes\">Where the bits go</h2>\n<div class=\"scroll\" "
                         "tabindex=\"0\"><table>\n<caption>bits per weight, counted "
                         "from the bytes written</caption>\n<thead><tr>");
    add_heading(p->out, "model");
    add_heading(p->out, "spec");
    add_heading(p->out, "bpw nominal");
    for (int part = 0; part < UCB_N_PARTS; part++)
        if (used[part]) add_heading(p->out, ucb_part_name((enum ucb_part)part));
    add_heading(p->out, "bpw matrices");
    ucb_text_add(p->out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < n; i++) add_sizes_row(p->out, list[i], used);
    ucb_text_add(p->out, "</tbody></table></div>\n");
    return UCB_OK;
}

/* ---- {{layers}} ---- */

static void add_loss(struct ucb_text *out, double loss)
{
    open_number(out, loss);
    ucb_text_add(out, isnan(loss) ? "-</td>" : "%.4g</td>", loss);
}

static void add_layer(struct ucb_text *out, const struct ucb_report_layer *l)
{
    double change = l->loss_before > 0 ? 100 * (l->loss_after / l->loss_before - 1) : NAN;
    ucb_text_add(out, "<tr><th scope=\"row\" data-v=\"%u\">%u</th>", l->layer, l->layer);
    open_number(out, l->seconds);
    ucb_text_add(out, "%.2f</td>", l->seconds);
    add_peak(out, l->peak_rss_bytes);
    add_loss(out, l->loss_before);
    add_loss(out, l->loss_after);
    open_number(out, change);
    ucb_text_add(out, isnan(change) ? "-</td>" : "%+.1f</td>", change);
    ucb_text_add(out, "</tr>\n");
}

/* One folded table for each chain that was tuned. */
static ucb_status write_layers(struct page *p, struct ucb_err *err)
{
    static const char *const headings[] = {"layer",       "seconds",    "peak GB",
                                           "loss before", "loss after", "change %"};
    struct ucb_report_layers layers;
    UCB_TRY(ucb_report_layers_load(p->job, &p->data, &layers, err));
    if (layers.n_chains > 0) ucb_text_add(p->out, "<h2 id=\"layers\">Tuned layers</h2>\n");
    for (size_t i = 0; i < layers.n_chains; i++) {
        const struct ucb_report_chain *chain = &layers.chains[i];
        ucb_text_add(p->out, "<details><summary>");
        ucb_html_escape(p->out, chain->cell->model);
        ucb_text_add(p->out, ", <code>");
        ucb_html_escape(p->out, chain->cell->label);
        ucb_text_add(p->out, "</code>: ");
        ucb_report_chain_print(chain, p->out);
        ucb_text_add(p->out, "</summary>\n<div class=\"scroll\" tabindex=\"0\"><table>\n"
                             "<thead><tr>");
        for (size_t k = 0; k < sizeof(headings) / sizeof(headings[0]); k++)
            add_heading(p->out, headings[k]);
        ucb_text_add(p->out, "</tr></thead>\n<tbody>\n");
        for (size_t k = 0; k < chain->n_layers; k++) add_layer(p->out, &chain->layers[k]);
        ucb_text_add(p->out, "</tbody></table></div></details>\n");
    }
    return UCB_OK;
}

static ucb_status write_tables(struct page *p, struct ucb_err *err)
{
    (void)err;
    for (size_t i = 0; i < p->data.n_groups; i++) {
        const struct ucb_report_group *g = &p->data.groups[i];
        ucb_text_add(p->out, "<h2>");
        ucb_html_escape(p->out, g->model);
        ucb_text_add(p->out, ", ");
        ucb_html_escape(p->out, g->task);
        ucb_text_add(p->out, "</h2>\n");
        add_table(p->out, g);
    }
    return UCB_OK;
}

/* ---- {{intervals}}, {{notes}}, {{caveats}}, {{runs}}, the short ones ---- */

static ucb_status write_intervals(struct page *p, struct ucb_err *err)
{
    struct ucb_text legend = {0};
    ucb_interval_legend(&p->data, &legend);
    ucb_status status = legend.failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for the page")
                                      : UCB_OK;
    if (status == UCB_OK) ucb_html_escape(p->out, ucb_text_get(&legend));
    ucb_text_free(&legend);
    return status;
}

static ucb_status write_notes(struct page *p, struct ucb_err *err)
{
    (void)err;
    if (p->data.n_notes > 0) ucb_text_add(p->out, "<ol>\n");
    for (size_t i = 0; i < p->data.n_notes; i++) {
        ucb_text_add(p->out, "<li id=\"note-%zu\">", i + 1);
        ucb_html_escape(p->out, p->data.notes[i]);
        ucb_text_add(p->out, "</li>\n");
    }
    if (p->data.n_notes > 0) ucb_text_add(p->out, "</ol>\n");
    return UCB_OK;
}

static ucb_status write_caveats(struct page *p, struct ucb_err *err)
{
    size_t n = 0;
    const char **caveats = ucb_report_caveats(p->job->arena, &p->data, &n);
    if (caveats == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the caveats");
    ucb_text_add(p->out, "<ul>\n");
    for (size_t i = 0; i < n; i++) add_element(p->out, "li", caveats[i]);
    add_element(p->out, "li",
                "Results hold for the task, data and model they were measured on.");
    ucb_text_add(p->out, "</ul>\n");
    return UCB_OK;
}

static void add_run(struct ucb_text *out, sqlite3_stmt *row)
{
    ucb_text_add(out, "<details><summary>Run %d, %.10s, build %.12s</summary>\n",
                 sqlite3_column_int(row, 0), (const char *)sqlite3_column_text(row, 2),
                 (const char *)sqlite3_column_text(row, 1));
    add_element(out, "pre", (const char *)sqlite3_column_text(row, 3));
    add_element(out, "pre", (const char *)sqlite3_column_text(row, 4));
    ucb_text_add(out, "</details>\n");
}

static ucb_status write_runs(struct page *p, struct ucb_err *err)
{
    sqlite3 *db = ucb_store_db(p->job->store);
    sqlite3_stmt *rows = NULL;
    int code = sqlite3_prepare_v2(
        db,
        "SELECT run_id, build_id, started, command_line, environment FROM runs "
        "WHERE run_id IN (SELECT run_id FROM run_cells) ORDER BY run_id",
        -1, &rows, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(rows);
        if (code == SQLITE_ROW) add_run(p->out, rows);
    }
    ucb_status status = code == SQLITE_DONE
                            ? UCB_OK
                            : UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read its runs: %s",
                                       p->job->database, sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    return status;
}

static ucb_status write_title(struct page *p, struct ucb_err *err)
{
    (void)err;
    ucb_text_add(p->out, "%s", page_title);
    return UCB_OK;
}

static ucb_status write_digest(struct page *p, struct ucb_err *err)
{
    (void)err;
    ucb_text_add(p->out, "%s", p->data.digest);
    return UCB_OK;
}

/* ---- the page ---- */

static ucb_status write_mark(void *page, const char *name, size_t n, struct ucb_err *err)
{
    struct page *p = page;
    static const struct {
        const char *name;
        ucb_status (*write)(struct page *p, struct ucb_err *err);
    } marks[] = {
        {"title", write_title},         {"summary", write_summary}, {"chart", write_chart},
        {"intervals", write_intervals}, {"tables", write_tables},   {"notes", write_notes},
        {"caveats", write_caveats},     {"digest", write_digest},   {"runs", write_runs},
        {"sizes", write_sizes},         {"layers", write_layers}};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (strlen(marks[i].name) == n && memcmp(marks[i].name, name, n) == 0)
            return marks[i].write(p, err);
    return UCB_FAIL(err, UCB_CORRUPT, "%s: unknown mark {{%.*s}}", template_name, (int)n,
                    name);
}

/* A database without compressed cells still has its tables. A missing gnuplot, though, is
 * not passed over. */
static ucb_status make_chart(struct page *p, struct ucb_err *err)
{
    struct ucb_err why;
    ucb_status status = ucb_chart_load(p->job, &p->data, &p->chart, &why);
    p->has_chart = status == UCB_OK;
    if (status == UCB_OK) return ucb_chart_draw(p->job, &p->chart, err);
    if (status != UCB_MISSING) return UCB_FAIL(err, status, "%s", why.text);
    snprintf(p->no_chart, sizeof(p->no_chart), "%s", why.text);
    return UCB_OK;
}

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct ucb_text text = {0};
    struct page p = {.job = job, .out = &text};
    ucb_status status = UCB_OK;
    UCB_TRY(ucb_report_load(job, &p.data, err));
    UCB_TRY(make_chart(&p, err));
    UCB_TRY_OUT(ucb_html_fill(template_name, write_mark, &p, &text, err));
    const char *path = ucb_report_path(job, "report.html");
    if (text.failed || path == NULL)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the page");
    else
        status = ucb_file_write(path, text.data, text.n_chars, err);
out:
    ucb_text_free(&text);
    return status;
}

const struct ucb_report ucb_report_html = {
    "html", "one page: chart, sortable tables, caveats, environment", run};
