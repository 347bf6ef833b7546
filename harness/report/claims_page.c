/*
 * claims_page.c - the claims as a page that needs nothing else, and as LaTeX for a paper.
 */
#include <math.h>
#include <string.h>

#include "report/claims.h"

/* ---- special characters ---- */

struct escape {
    char c;
    const char *text;
};

static void add_escaped(struct ucb_text *out, const char *text, const struct escape *list)
{
    for (; *text != '\0'; text++) {
        const struct escape *e = list;
        while (e->text != NULL && e->c != *text) e++;
        if (e->text != NULL)
            ucb_text_add(out, "%s", e->text);
        else
            ucb_text_add_chars(out, text, 1);
    }
}

void ucb_tex_escape(struct ucb_text *out, const char *text)
{
    static const struct escape list[] = {{'\\', "\\textbackslash{}"},
                                         {'{', "\\{"},
                                         {'}', "\\}"},
                                         {'%', "\\%"},
                                         {'&', "\\&"},
                                         {'$', "\\$"},
                                         {'#', "\\#"},
                                         {'_', "\\_"},
                                         {'~', "\\textasciitilde{}"},
                                         {'^', "\\textasciicircum{}"},
                                         {'<', "\\textless{}"},
                                         {'>', "\\textgreater{}"},
                                         {'|', "\\textbar{}"},
                                         {'"', "\\textquotedbl{}"},
                                         {0, NULL}};
    add_escaped(out, text, list);
}

/* ---- one row, in either language ---- */

struct page {
    const struct ucb_claims *claims;
    struct ucb_text *out;
    void (*escape)(struct ucb_text *out, const char *text);
    const char *open, *between, *close; /* of a row's fields */
};

/* "17.1 [16.9, 17.3], n=60" */
static const char *measured_text(const struct ucb_claims *claims, const struct ucb_claim *c)
{
    struct ucb_arena *arena = claims->arena;
    if (isnan(c->measured)) return "";
    const char *number = ucb_claim_number(arena, c->measured);
    if (number == NULL || c->n == 0) return number;
    if (isnan(c->ci_low) || isnan(c->ci_high))
        return ucb_arena_printf(arena, "%s, n=%lld", number, (long long)c->n);
    return ucb_arena_printf(arena, "%s [%.6g, %.6g], n=%lld", number, c->ci_low, c->ci_high,
                            (long long)c->n);
}

static void add_row(struct page *p, const struct ucb_claim *c)
{
    struct ucb_arena *arena = p->claims->arena;
    const char *method = ucb_arena_printf(
                   arena, "%s%s%s", c->model,
                   *c->model != '\0' && *c->method != '\0' ? ", " : "", c->method),
               *claimed = ucb_arena_printf(arena, "%s%s%s", c->value,
                                           *c->unit == '\0' ? "" : " ", c->unit),
               *why = ucb_arena_printf(arena, "%s%s%s%s", c->reason,
                                       *c->notes == '\0' ? "" : " (note: ", c->notes,
                                       *c->notes == '\0' ? "" : ")");
    const char *const fields[] = {c->id,
                                  method,
                                  c->metric,
                                  claimed,
                                  measured_text(p->claims, c),
                                  ucb_claim_verdict_name(c->verdict),
                                  why};
    enum { N = sizeof(fields) / sizeof(fields[0]) };
    ucb_text_add(p->out, "%s", p->open);
    for (size_t i = 0; i < N; i++) {
        if (i > 0) ucb_text_add(p->out, "%s", p->between);
        if (fields[i] == NULL)
            p->out->failed = true;
        else
            p->escape(p->out, fields[i]);
    }
    ucb_text_add(p->out, "%s", p->close);
}

static bool starts_table(const struct ucb_claims *claims, size_t i)
{
    const struct ucb_claim *c = &claims->list[i];
    return i == 0 ||
           strncmp(c->id, claims->list[i - 1].id, (size_t)c->table_chars + 1) != 0;
}

/* ---- claims.html ---- */

static const char html_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Claims and what became of them</title>\n"
    "<style>\n"
    "body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }\n"
    "table { border-collapse: collapse; width: 100% } pre { overflow-x: auto }\n"
    "th, td { text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd }\n"
    "td:first-child, td:nth-child(6) { white-space: nowrap }\n"
    ".reproduced td:nth-child(6) { color: #1b6e3c } .refuted td:nth-child(6) { color: #a4262c; font-weight: 600 }\n"
    "@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } th, td { border-color: #444 }\n"
    "  .reproduced td:nth-child(6) { color: #7fc99a } .refuted td:nth-child(6) { color: #f08a8f } }\n"
    "</style>\n<h1>Claims and what became of them</h1>\n";

void ucb_claims_html(const struct ucb_claims *claims, struct ucb_text *out)
{
    struct page p = {claims, out, ucb_html_escape, NULL, "</td><td>", "</td></tr>\n"};
    struct ucb_text summary = {0};
    ucb_text_add(out, "%s<pre>", html_head);
    ucb_claims_summary(claims, &summary);
    ucb_html_escape(out, ucb_text_get(&summary));
    out->failed |= summary.failed;
    ucb_text_free(&summary);
    ucb_text_add(out, "</pre>\n");
    for (size_t i = 0; i < claims->n; i++) {
        const struct ucb_claim *c = &claims->list[i];
        if (starts_table(claims, i)) {
            ucb_text_add(out, "%s<h2>", i == 0 ? "" : "</table>\n");
            ucb_html_escape(out, c->source);
            ucb_text_add(
                out, "</h2>\n<table>\n<tr><th>claim<th>model, method<th>metric<th>claimed"
                     "<th>measured or recomputed<th>verdict<th>reason</tr>\n");
        }
        p.open = c->verdict == UCB_VERDICT_REPRODUCED ? "<tr class=\"reproduced\"><td>"
                 : c->verdict == UCB_VERDICT_REFUTED  ? "<tr class=\"refuted\"><td>"
                                                      : "<tr><td>";
        add_row(&p, c);
    }
    ucb_text_add(out, "</table>\n<h2>Discrepancies that the notes name</h2>\n<dl>\n");
    for (size_t i = 0; i < claims->n_notes; i++) {
        ucb_text_add(out, "<dt>%s<dd>", claims->notes[i].id);
        ucb_html_escape(out, claims->notes[i].text);
        ucb_text_add(out, "\n");
    }
    ucb_text_add(out, "</dl>\n</html>\n");
}

/* ---- claims.tex ---- */

static const char tex_head[] =
    "% \\usepackage{booktabs,longtable,array} and \\usepackage[T1]{fontenc}; made by ucbench report claims\n"
    "{\\footnotesize\\sloppy\\setlength{\\tabcolsep}{3pt}\n"
    "\\begin{longtable}{@{}l>{\\raggedright}p{.17\\linewidth}>{\\raggedright}p{.11\\linewidth}"
    ">{\\raggedright}p{.08\\linewidth}>{\\raggedright}p{.12\\linewidth}>{\\raggedright}p{.1\\linewidth}"
    ">{\\raggedright\\arraybackslash}p{.25\\linewidth}@{}}\n"
    "\\toprule\nClaim & Model, method & Metric & Claimed & Measured or recomputed & Verdict & Reason \\\\\n"
    "\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n";

void ucb_claims_tex(const struct ucb_claims *claims, struct ucb_text *out)
{
    struct page p = {claims, out, ucb_tex_escape, "", " & ", " \\\\\n"};
    ucb_text_add(out, "%s", tex_head);
    for (size_t i = 0; i < claims->n; i++) {
        if (starts_table(claims, i)) {
            ucb_text_add(out, "%s\\multicolumn{7}{@{}l}{\\textbf{",
                         i == 0 ? "" : "\\addlinespace\n");
            ucb_tex_escape(out, claims->list[i].source);
            ucb_text_add(out, "}} \\\\\n\\midrule\n");
        }
        add_row(&p, &claims->list[i]);
    }
    ucb_text_add(out, "\\end{longtable}\n\\begin{description}\n");
    for (size_t i = 0; i < claims->n_notes; i++) {
        ucb_text_add(out, "\\item[%s] ", claims->notes[i].id);
        ucb_tex_escape(out, claims->notes[i].text);
        ucb_text_add(out, "\n");
    }
    ucb_text_add(out, "\\end{description}\n}\n");
}
