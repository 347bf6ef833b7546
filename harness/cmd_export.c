/* cmd_export.c - ucbench export: a table or view of a database as a file other programs
 * read.
 */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "report/rows.h"
#include "report/tables.h"

static const char help[] =
    "usage: ucbench export --db FILE [--table NAME] [--csv|--json|--tsv|--parquet-ready] [--out FILE]\n"
    "\n"
    "Writes every result, one row for each run, cell and metric, with the columns of v_results (db/README.md), or\n"
    "another table. Numbers read back to the same bits (docs/export.md).\n"
    "\n"
    "  --db FILE       the database\n"
    "  --table NAME    results (default), latest, cells, items, documents, checks, layers, claims, models, runs, files,\n"
    "                  timings, evidence\n"
    "  --csv           comma-separated, texts between quotes (default)\n"
    "  --json          an array of objects\n"
    "  --tsv           tab-separated, nothing quoted\n"
    "  --parquet-ready tab-separated with NULL as \\N, and FILE.schema.json beside it with the type of each column,\n"
    "                  as DuckDB and pyarrow want it; needs --out\n"
    "  --format NAME   the same: csv, json, tsv or parquet-ready\n"
    "  --out FILE      write there instead of standard output, which - names too\n"
    "\n"
    "Examples: ucbench export --db results.db --csv --out results.csv\n"
    "          ucbench export --db results.db --table items --parquet-ready --out items.tsv\n";

/* Into memory first: a reader that holds its end of a pipe still (a pager) would otherwise
 * hold the database, and with it whoever stores into it. */
static ucb_status export_to_stdout(struct ucb_store *store,
                                   const struct ucb_export_table *table,
                                   enum ucb_row_format format, struct ucb_err *err)
{
    char *text = NULL;
    size_t n_chars = 0;
    FILE *memory = open_memstream(&text, &n_chars);
    if (memory == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the rows");
    ucb_status status = ucb_rows_write(store, table->sql, format, memory, err);
    if (fclose(memory) != 0 && status == UCB_OK)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the rows; use --out FILE");
    if (status == UCB_OK &&
        (fwrite(text, 1, n_chars, stdout) != n_chars || fflush(stdout) != 0))
        status = UCB_FAIL(err, UCB_IO, "standard output: %s; use --out FILE",
                          strerror(errno));
    free(text);
    return status;
}

struct export_args {
    const char *db, *format, *table, *path;
    bool on[UCB_N_ROW_FORMATS]; /* --csv and its siblings */
};

/* The one format that the options name, in whichever way; csv where none does. */
static ucb_status choose_format(const struct export_args *a, enum ucb_row_format *out,
                                struct ucb_err *err)
{
    bool chosen = a->format != NULL;
    *out = UCB_ROWS_CSV;
    if (chosen) UCB_TRY(ucb_row_format_parse(a->format, out, err));
    for (int i = 0; i < UCB_N_ROW_FORMATS; i++) {
        enum ucb_row_format format = (enum ucb_row_format)i;
        if (!a->on[i]) continue;
        if (chosen && *out != format)
            return UCB_FAIL(
                err, UCB_USAGE, "export: --%s and %s%s contradict each other; give one",
                ucb_row_format_name(format), a->format != NULL ? "--format " : "--",
                ucb_row_format_name(*out));
        *out = format;
        chosen = true;
    }
    if (*out == UCB_ROWS_PARQUET && a->path == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "export: --parquet-ready writes two files, FILE and "
                        "FILE.schema.json; name the first with --out");
    return UCB_OK;
}

static ucb_status run_export(int n_args, char **args, struct ucb_err *err)
{
    struct export_args a = {0};
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &a.db},
        {.name = "--table", .kind = UCB_OPTION_TEXT, .text = &a.table},
        {.name = "--format", .kind = UCB_OPTION_TEXT, .text = &a.format},
        {.name = "--out", .kind = UCB_OPTION_TEXT, .text = &a.path},
        {.name = "--csv", .kind = UCB_OPTION_SWITCH, .on = &a.on[UCB_ROWS_CSV]},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &a.on[UCB_ROWS_JSON]},
        {.name = "--tsv", .kind = UCB_OPTION_SWITCH, .on = &a.on[UCB_ROWS_TSV]},
        {.name = "--parquet-ready",
         .kind = UCB_OPTION_SWITCH,
         .on = &a.on[UCB_ROWS_PARQUET]},
    };
    enum ucb_row_format format;
    const struct ucb_export_table *table = ucb_export_tables();
    struct ucb_store *store = NULL;
    size_t n_operands = 0;
    UCB_TRY(ucb_options_parse("export", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), NULL, &n_operands, 0,
                              err));
    if (a.db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "export: no --db FILE was given; name the database of a sweep");
    if (a.path != NULL && strcmp(a.path, "-") == 0) a.path = NULL;
    if (a.path != NULL && ucb_file_same(a.path, a.db))
        return UCB_FAIL(err, UCB_USAGE,
                        "export: --out %s is the database; name another file", a.path);
    UCB_TRY(choose_format(&a, &format, err));
    if (a.table != NULL) UCB_TRY(ucb_export_table_find(a.table, &table, err));
    UCB_TRY(ucb_store_open(a.db, UCB_STORE_READ, &store, err));
    ucb_status status = a.path == NULL ? export_to_stdout(store, table, format, err)
                                       : ucb_export_file(store, table, format, a.path, err);
    ucb_store_close(store);
    return status;
}

const struct ucb_command ucb_command_export = {
    "export", "results and other tables as CSV, JSON, TSV or ready for Parquet", help,
    run_export};
