/*
 * rows.h - the rows of a query as CSV, TSV or JSON.
 */
#ifndef UCB_REPORT_ROWS_H
#define UCB_REPORT_ROWS_H

#include <stdio.h>

#include "core/err.h"
#include "store/store.h"

#define UCB_ROW_FORMAT_LIST(X) \
    X(UCB_ROWS_CSV, "csv") X(UCB_ROWS_TSV, "tsv") X(UCB_ROWS_JSON, "json")
enum ucb_row_format {
#define UCB_ROW_FORMAT_ENUM(code, name) code,
    UCB_ROW_FORMAT_LIST(UCB_ROW_FORMAT_ENUM)
#undef UCB_ROW_FORMAT_ENUM
};

/* USAGE lists the names. */
ucb_status ucb_row_format_parse(const char *name, enum ucb_row_format *out,
                                struct ucb_err *err);

/*
 * Writes the header and every row of `sql`. Reals are the shortest text that reads back to
 * the same bits. NULL is an empty field, in JSON null; blobs are their lengths. In TSV a
 * tab, newline or backslash of a text is written \t, \n,
 * \\. Errors of the stream stay in it for whoever closes it; only the query's come back.
 */
ucb_status ucb_rows_write(struct ucb_store *store, const char *sql,
                          enum ucb_row_format format, FILE *stream, struct ucb_err *err);

enum { UCB_REAL_TEXT = 32 };
/* The shortest of %.15g, %.16g, %.17g that reads back to the same bits. */
const char *ucb_real_text(double value, char out[UCB_REAL_TEXT]);

#endif
