/*
 * gate_page.c - a night as one page that needs nothing else; reports/gate.html is the page
 * with {{marks}}, each written by one function below.
 */
#include <math.h>
#include <string.h>

#include "gate/gate_text.h"
#include "report/html.h"

struct page {
    const struct ucb_gate *gate;
    const char *database;
    struct ucb_arena *arena;
    struct ucb_text *out;
};

static void write_title(struct page *p)
{
    ucb_text_add(p->out, "Night %s: %s", p->gate->night,
                 ucb_gate_outcome_text(ucb_gate_outcome(p->gate)));
}

static void write_style(struct page *p)
{
    ucb_html_style(p->out);
}

static void write_outcome(struct page *p)
{
    struct ucb_text line = {0};
    ucb_gate_line(p->gate, p->arena, &line);
    ucb_text_add(p->out, "<p class=\"outcome %s\">",
                 ucb_gate_outcome_text(ucb_gate_outcome(p->gate)));
    ucb_html_escape(p->out, ucb_text_get(&line));
    ucb_text_add(p->out, "</p>\n");
    p->out->failed |= line.failed;
    ucb_text_free(&line);
}

static void write_runs(struct page *p)
{
    ucb_html_escape(p->out, ucb_gate_runs_text(p->gate, p->arena));
    ucb_text_add(p->out, ".");
}

/* ---- cells ---- */

static void open_table(struct ucb_text *out, const char *const *headings, size_t n)
{
    ucb_text_add(out, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>");
    for (size_t i = 0; i < n; i++)
        ucb_text_add(out, "<th scope=\"col\">%s</th>", headings[i]);
    ucb_text_add(out, "</tr></thead>\n<tbody>\n");
}

static void close_table(struct ucb_text *out)
{
    ucb_text_add(out, "</tbody></table></div>\n");
}

static void add_words(struct ucb_text *out, const char *words)
{
    ucb_text_add(out, "<td class=\"words\">");
    ucb_html_escape(out, words);
    ucb_text_add(out, "</td>");
}

static void add_cell(struct page *p, const struct ucb_gate_cell *c)
{
    const char *state = c->state == UCB_GATE_CHANGED ? ucb_verdict_text(c->verdict)
                                                     : ucb_gate_state_text(c->state);
    ucb_text_add(p->out, "<tr><th scope=\"row\">");
    ucb_html_escape(p->out, ucb_gate_cell_name(c, p->arena));
    ucb_text_add(p->out, "</th><td class=\"state%s\">%s</td>",
                 ucb_gate_cell_is_regression(c) ? " failed" : "", state);
    if (c->state == UCB_GATE_CHANGED)
        ucb_text_add(p->out, "<td>%zu</td>", c->result.n_documents);
    else
        ucb_text_add(p->out, "<td>-</td>");
    add_words(p->out, ucb_gate_cell_text(c, p->arena));
    ucb_text_add(p->out, "</tr>\n");
}

static void add_normal(struct page *p, size_t n)
{
    if (n == 0) return;
    ucb_text_add(p->out, "<details><summary>%zu cell%s as before</summary>\n<ul>\n", n,
                 n == 1 ? " is" : "s are");
    for (size_t i = 0; i < p->gate->n_cells; i++) {
        if (!ucb_gate_cell_is_as_before(&p->gate->cells[i])) continue;
        ucb_text_add(p->out, "<li>");
        ucb_html_escape(p->out, ucb_gate_cell_name(&p->gate->cells[i], p->arena));
        ucb_text_add(p->out, ": %s</li>\n", ucb_gate_state_text(p->gate->cells[i].state));
    }
    ucb_text_add(p->out, "</ul></details>\n");
}

static void write_cells(struct page *p)
{
    static const char *const headings[] = {"cell", "verdict", "documents", "what changed"};
    size_t n_normal = 0, n = p->gate->n_cells;
    for (size_t i = 0; i < n; i++)
        n_normal += ucb_gate_cell_is_as_before(&p->gate->cells[i]);
    if (n_normal == n) ucb_text_add(p->out, "<p>Every cell is as it was.</p>\n");
    if (n_normal < n) {
        open_table(p->out, headings, 4);
        for (size_t i = 0; i < n; i++)
            if (!ucb_gate_cell_is_as_before(&p->gate->cells[i]))
                add_cell(p, &p->gate->cells[i]);
        close_table(p->out);
        ucb_text_add(
            p->out,
            "<p class=\"quiet\">Intervals are 95%%, documents the unit; p-values "
            "one-sided for worse, corrected for the %zu tests of the night (Holm), "
            "alpha %g.</p>\n",
            p->gate->n_family, p->gate->rules.alpha);
    }
    add_normal(p, n_normal);
}

static void write_evidence(struct page *p)
{
    ucb_html_escape(p->out, ucb_gate_wealth_text(p->gate, p->arena));
    ucb_text_add(p->out, ".");
    if (p->gate->unrecorded == NULL) return;
    ucb_text_add(p->out, " Not recorded: ");
    ucb_html_escape(p->out, p->gate->unrecorded);
    ucb_text_add(p->out, ".");
}

/* ---- timings ---- */

/* The series as a small line, changes of level as upright ones. */
static void add_spark(struct ucb_text *out, const struct ucb_gate_timing *t)
{
    double low = INFINITY, high = -INFINITY;
    if (t->n < 2) return;
    for (size_t i = 0; i < t->n; i++) {
        low = fmin(low, t->values[i]);
        high = fmax(high, t->values[i]);
    }
    double span = high > low ? high - low : 1;
    ucb_text_add(out,
                 "<svg class=\"spark\" viewBox=\"0 0 %zu 100\" "
                 "preserveAspectRatio=\"none\" aria-hidden=\"true\"><path d=\"",
                 t->n - 1);
    for (size_t i = 0; i < t->n; i++)
        ucb_text_add(out, "%c%zu %.1f", i == 0 ? 'M' : 'L', i,
                     95 - 90 * (t->values[i] - low) / span);
    ucb_text_add(out, "\"/>");
    for (size_t i = 0; i < t->n_points; i++)
        ucb_text_add(out, "<line x1=\"%zu\" x2=\"%zu\" y1=\"0\" y2=\"100\"/>", t->points[i],
                     t->points[i]);
    ucb_text_add(out, "</svg>");
}

static void add_timing(struct page *p, const struct ucb_gate_timing *t)
{
    ucb_text_add(p->out, "<tr><th scope=\"row\">");
    ucb_html_escape(p->out, t->name);
    ucb_text_add(p->out, "</th>");
    if (isnan(t->seconds))
        ucb_text_add(p->out, "<td>-</td>");
    else
        ucb_text_add(p->out, "<td>%.3g</td>", t->seconds);
    if (t->is_ratio && t->n > 0)
        ucb_text_add(p->out, "<td>%.3f</td>", t->values[t->n - 1]);
    else
        ucb_text_add(p->out, "<td>-</td>");
    ucb_text_add(p->out, "<td>%zu</td><td>", t->n);
    add_spark(p->out, t);
    ucb_text_add(p->out, "</td><td class=\"words%s\">",
                 t->pace == UCB_PACE_SLOWER ? " failed" : "");
    ucb_html_escape(p->out, ucb_gate_timing_text(t, p->arena));
    ucb_text_add(p->out, "</td></tr>\n");
}

static void write_timings(struct page *p)
{
    static const char *const headings[] = {"what",   "seconds", "over the baseline's",
                                           "nights", "series",  "level"};
    const struct ucb_gate *g = p->gate;
    if (g->n_timings == 0) {
        ucb_text_add(p->out, "<p>%s.</p>\n",
                     g->rules.no_timings ? "Not looked at" : "None were taken");
        return;
    }
    open_table(p->out, headings, 6);
    for (size_t i = 0; i < g->n_timings; i++) add_timing(p, &g->timings[i]);
    close_table(p->out);
}

static void write_bands(struct page *p)
{
    const struct ucb_gate_rules *r = &p->gate->rules;
    ucb_text_add(p->out,
                 "perplexity ratio %g to %g, accuracy %+g to %+g pp, mean KLD &plusmn;%g%%",
                 r->bands.ppl.low, r->bands.ppl.high, 100 * r->bands.accuracy.low,
                 100 * r->bands.accuracy.high, 100 * r->kld_band);
}

static void write_database(struct page *p)
{
    ucb_html_escape(p->out, p->database);
}

static ucb_status write_mark(void *page, const char *name, size_t n, struct ucb_err *err)
{
    static const struct {
        const char *name;
        void (*write)(struct page *p);
    } marks[] = {
        {"title", write_title},     {"style", write_style}, {"outcome", write_outcome},
        {"runs", write_runs},       {"cells", write_cells}, {"evidence", write_evidence},
        {"timings", write_timings}, {"bands", write_bands}, {"database", write_database}};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (strlen(marks[i].name) == n && memcmp(marks[i].name, name, n) == 0) {
            marks[i].write(page);
            return UCB_OK;
        }
    return UCB_FAIL(err, UCB_CORRUPT, "reports/gate.html: unknown mark {{%.*s}}", (int)n,
                    name);
}

ucb_status ucb_gate_page(const struct ucb_gate *gate, const char *database,
                         struct ucb_arena *arena, struct ucb_text *out, struct ucb_err *err)
{
    struct page page = {gate, database, arena, out};
    UCB_TRY(ucb_html_fill("reports/gate.html", write_mark, &page, out, err));
    return out->failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for the night's page")
                       : UCB_OK;
}
