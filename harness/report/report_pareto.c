/*
 * report_pareto.c - the Pareto chart in every format: scripts and data first, then gnuplot.
 */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/chart.h"
#include "report/gnuplot.h"

static ucb_status write_text(struct ucb_report_job *job, const char *name,
                             const struct ucb_text *text, struct ucb_err *err)
{
    const char *path = ucb_report_path(job, name);
    if (path == NULL || text->failed)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for it", name);
    return ucb_file_write(path, text->data, text->n_chars, err);
}

static ucb_status write_table(struct ucb_report_job *job, const struct ucb_chart *chart,
                              const struct ucb_chart_page *page, struct ucb_err *err)
{
    struct ucb_text text = {0};
    ucb_chart_table(chart, page, &text);
    ucb_status status = write_text(job, page->table, &text, err);
    ucb_text_free(&text);
    return status;
}

static ucb_status write_json(struct ucb_report_job *job, const struct ucb_chart *chart,
                             struct ucb_err *err)
{
    struct ucb_text text = {0};
    ucb_status status = ucb_chart_json(chart, &text, err);
    if (status == UCB_OK) status = write_text(job, "pareto.json", &text, err);
    ucb_text_free(&text);
    return status;
}

static ucb_status draw_kind(struct ucb_report_job *job, const char *script,
                            const char *base, const char *kind, struct ucb_err *err)
{
    char name[64], drawing[64];
    /* LaTeX: the drawing goes to a PDF of its own, which the texts include */
    bool latex = strcmp(kind, "tex") == 0;
    snprintf(name, sizeof(name), "%s.%s", base, kind);
    snprintf(drawing, sizeof(drawing), "%s.pdf", base);
    const char *const made[] = {name, latex ? drawing : NULL, NULL};
    UCB_TRY(ucb_gnuplot_run(job->folder, script, kind, made, err));
    for (size_t i = 0; made[i] != NULL; i++)
        if (ucb_report_path(job, made[i]) == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its path", made[i]);
    return UCB_OK;
}

static ucb_status draw_page(struct ucb_report_job *job, const struct ucb_chart *chart,
                            const struct ucb_chart_page *page, struct ucb_err *err)
{
    static const char *const pictures[] = {"svg", "png", "pdf"}, *const latex[] = {"tex"};
    const char *const *kinds = page->latex ? latex : pictures;
    size_t n_kinds = page->latex ? 1 : 3;
    struct ucb_text text = {0};
    char script[64];
    snprintf(script, sizeof(script), "%s.gp", page->base);
    ucb_status status = ucb_chart_script(chart, page, job->arena, &text, err);
    if (status == UCB_OK) status = write_text(job, script, &text, err);
    for (size_t i = 0; i < n_kinds && status == UCB_OK; i++)
        status = draw_kind(job, script, page->base, kinds[i], err);
    ucb_text_free(&text);
    return status;
}

ucb_status ucb_chart_draw(struct ucb_report_job *job, const struct ucb_chart *chart,
                          struct ucb_err *err)
{
    UCB_TRY(write_json(job, chart, err));
    for (size_t i = 0; i < UCB_CHART_N_PAGES; i++) {
        const struct ucb_chart_page *page = &ucb_chart_pages[i];
        if (i == 0 || strcmp(page->table, page[-1].table) != 0)
            UCB_TRY(write_table(job, chart, page, err));
        UCB_TRY(draw_page(job, chart, page, err));
    }
    return job->latex ? draw_page(job, chart, &ucb_chart_latex, err) : UCB_OK;
}

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct ucb_report_data data;
    struct ucb_chart chart;
    UCB_TRY(ucb_report_load(job, &data, err));
    UCB_TRY(ucb_chart_load(job, &data, &chart, err));
    return ucb_chart_draw(job, &chart, err);
}

const struct ucb_report ucb_report_pareto = {"pareto",
                                             "the chart of quality against true size", run};
