/* cmd_export.c - ucbench export: the view v_results as a file other programs read. */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/rows.h"

static const char help[] =
    "usage: ucbench export --db FILE [--format csv|json|tsv] [--out FILE]\n"
    "\n"
    "Writes every result, one row for each run, cell and metric, with the columns of v_results (db/README.md).\n"
    "\n"
    "  --db FILE       the database\n"
    "  --format NAME   csv (default), json or tsv; --json is short for --format json\n"
    "  --out FILE      write there instead of standard output\n"
    "\n"
    "Example: ucbench export --db results.db --format csv --out results.csv\n";

static const char sql[] =
    "SELECT * FROM v_results ORDER BY run_id, model, task, spec, cell_id, metric";

static ucb_status export_to_file(struct ucb_store *store, enum ucb_row_format format,
                                 const char *path, struct ucb_err *err)
{
    struct ucb_out_file out;
    UCB_TRY(ucb_out_open(path, &out, err));
    ucb_status status = ucb_rows_write(store, sql, format, out.stream, err);
    if (status == UCB_OK) return ucb_out_commit(&out, err);
    ucb_out_discard(&out);
    return status;
}

static ucb_status export_to_stdout(struct ucb_store *store, enum ucb_row_format format,
                                   struct ucb_err *err)
{
    UCB_TRY(ucb_rows_write(store, sql, format, stdout, err));
    if (fflush(stdout) == 0 && !ferror(stdout)) return UCB_OK;
    return UCB_FAIL(err, UCB_IO, "standard output: %s; use --out FILE", strerror(errno));
}

static ucb_status run_export(int n_args, char **args, struct ucb_err *err)
{
    const char *db = NULL, *format_name = NULL, *path = NULL;
    bool json = false;
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &db},
        {.name = "--format", .kind = UCB_OPTION_TEXT, .text = &format_name},
        {.name = "--out", .kind = UCB_OPTION_TEXT, .text = &path},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &json},
    };
    enum ucb_row_format format = UCB_ROWS_CSV;
    struct ucb_store *store = NULL;
    size_t n_operands = 0;
    UCB_TRY(
        ucb_options_parse("export", n_args, args, options, 4, NULL, &n_operands, 0, err));
    if (db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "export: no --db FILE was given; name the database of a sweep");
    if (format_name == NULL) format_name = json ? "json" : "csv";
    UCB_TRY(ucb_row_format_parse(format_name, &format, err));
    if (json && format != UCB_ROWS_JSON)
        return UCB_FAIL(err, UCB_USAGE,
                        "export: --json and --format %s contradict each other; give one",
                        format_name);
    UCB_TRY(ucb_store_open(db, UCB_STORE_READ, &store, err));
    ucb_status status = path == NULL ? export_to_stdout(store, format, err)
                                     : export_to_file(store, format, path, err);
    ucb_store_close(store);
    return status;
}

const struct ucb_command ucb_command_export = {"export", "results as CSV, JSON or TSV",
                                               help, run_export};
