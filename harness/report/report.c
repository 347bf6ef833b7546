/* report.c - the list of reports, and the folder they write to. */
#include "report/report.h"

extern const struct ucb_report ucb_report_claims, ucb_report_export, ucb_report_history,
    ucb_report_html, ucb_report_ladder, ucb_report_pareto, ucb_report_table;

const struct ucb_report *const *ucb_reports(void)
{
    static const struct ucb_report *const reports[] = {
        &ucb_report_claims, &ucb_report_export, &ucb_report_history, &ucb_report_html,
        &ucb_report_ladder, &ucb_report_pareto, &ucb_report_table,   NULL};
    return reports;
}

bool ucb_report_stores(const struct ucb_report *report)
{
    return report == &ucb_report_claims;
}

const char *ucb_report_path(struct ucb_report_job *job, const char *name)
{
    const char *path = ucb_arena_printf(job->arena, "%s/%s", job->folder, name);
    if (path != NULL) ucb_text_add(job->files, "%s\n", path);
    return path;
}
