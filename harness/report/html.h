/*
 * html.h - what pages share: escaped text, templates with {{marks}}, one style sheet.
 */
#ifndef UCB_REPORT_HTML_H
#define UCB_REPORT_HTML_H

#include "core/err.h"
#include "core/text.h"

/* `text` (NULL: nothing) with &, <, > and " as entities. */
void ucb_html_escape(struct ucb_text *out, const char *text);

/* Writes what a mark {{name}} stands for, name[0 .. n). */
typedef ucb_status ucb_html_mark(void *page, const char *name, size_t n,
                                 struct ucb_err *err);
/* Copies the template `resource` ("reports/report.html") to `out`; `write` adds each mark's
 * part to the same text. ENVIRONMENT: no such template in this build. */
ucb_status ucb_html_fill(const char *resource, ucb_html_mark *write, void *page,
                         struct ucb_text *out, struct ucb_err *err);

/* The style sheet of reports/report.html, which every page has. */
void ucb_html_style(struct ucb_text *out);

#endif
