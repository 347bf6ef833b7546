/*
 * tables.h - what `ucbench export` can write, and the types of its columns.
 */
#ifndef UCB_REPORT_TABLES_H
#define UCB_REPORT_TABLES_H

#include <stdio.h>

#include "core/err.h"
#include "report/rows.h"
#include "store/store.h"

struct ucb_export_table {
    const char *name, *summary;
    const char *sql; /* its rows, in an order that does not depend on when they came */
};
/* All tables, ended by a NULL name; the first is the default. */
const struct ucb_export_table *ucb_export_tables(void);
/* USAGE lists the names. */
ucb_status ucb_export_table_find(const char *name, const struct ucb_export_table **out,
                                 struct ucb_err *err);

/*
 * The types of a table's columns as JSON, for a file `data_name` in the format PARQUET of
 * rows.h: string, int64, double, timestamp (ISO 8601, UTC) or hex (a blob's bytes); the
 * same for every database of a schema. Also the rules of the file, and DuckDB's words to
 * read it. CORRUPT: the query failed.
 */
ucb_status ucb_export_schema(struct ucb_store *store, const struct ucb_export_table *table,
                             const char *data_name, FILE *stream, struct ucb_err *err);

/* The table as a file, whole or not at all; in the format PARQUET `path`.schema.json stands
 * beside it. IO, NOMEM, and as above. */
ucb_status ucb_export_file(struct ucb_store *store, const struct ucb_export_table *table,
                           enum ucb_row_format format, const char *path,
                           struct ucb_err *err);

#endif
