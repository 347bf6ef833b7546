/* report_export.c - every table as a file: results for people's tools, all of them ready
 * for Parquet. */
#include "report/report.h"
#include "report/tables.h"

static ucb_status write_table(struct ucb_report_job *job,
                              const struct ucb_export_table *table,
                              enum ucb_row_format format, const char *ending,
                              struct ucb_err *err)
{
    const char *name = ucb_arena_printf(job->arena, "%s.%s", table->name, ending),
               *path = name == NULL ? NULL : ucb_report_path(job, name);
    if (path == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its path", table->name);
    if (format == UCB_ROWS_PARQUET) ucb_text_add(job->files, "%s.schema.json\n", path);
    return ucb_export_file(job->store, table, format, path, err);
}

static ucb_status write_all(struct ucb_report_job *job, struct ucb_err *err)
{
    const struct ucb_export_table *tables = ucb_export_tables();
    UCB_TRY(write_table(job, &tables[0], UCB_ROWS_CSV, "csv", err));
    UCB_TRY(write_table(job, &tables[0], UCB_ROWS_JSON, "json", err));
    for (const struct ucb_export_table *t = tables; t->name != NULL; t++)
        UCB_TRY(write_table(job, t, UCB_ROWS_PARQUET, "tsv", err));
    return UCB_OK;
}

/* One instant for all of them, whatever a sweep stores meanwhile. */
static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    UCB_TRY(ucb_store_begin_read(job->store, err));
    ucb_status status = write_all(job, err);
    ucb_store_end_read(job->store);
    return status;
}

const struct ucb_report ucb_report_export = {
    "export",
    "every table as TSV with its types (ready for Parquet), results as CSV and JSON", run};
