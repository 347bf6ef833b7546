/*
 * rows.h - the rows of a query as CSV, TSV or JSON.
 *
 * One thread. Everything written is UTF-8: a byte of a text that is not, and a zero byte,
 * is written as U+FFFD.
 */
#ifndef UCB_REPORT_ROWS_H
#define UCB_REPORT_ROWS_H

#include <stdio.h>

#include "core/err.h"
#include "store/store.h"

#define UCB_ROW_FORMAT_LIST(X) \
    X(UCB_ROWS_CSV, "csv")     \
    X(UCB_ROWS_TSV, "tsv")     \
    X(UCB_ROWS_JSON, "json")   \
    X(UCB_ROWS_PARQUET, "parquet-ready")
enum ucb_row_format {
#define UCB_ROW_FORMAT_ENUM(code, name) code,
    UCB_ROW_FORMAT_LIST(UCB_ROW_FORMAT_ENUM) UCB_N_ROW_FORMATS
#undef UCB_ROW_FORMAT_ENUM
};

const char *ucb_row_format_name(enum ucb_row_format format);
/* USAGE lists the names. */
ucb_status ucb_row_format_parse(const char *name, enum ucb_row_format *out,
                                struct ucb_err *err);

/*
 * Writes the header and every row of `sql`. Reals are the shortest text that reads back to
 * the same bits, infinities inf and -inf; blobs are hexadecimal digits. NULL is an empty
 * field, in JSON null (as is an infinity, which JSON does not have), in PARQUET \N. CSV
 * puts every text between quotes. In TSV and PARQUET a backslash, tab, newline or carriage
 * return of a text is written \\, \t, \n, \r, and nothing is quoted. Errors of the stream
 * stay in it for whoever closes it; only the query's come back.
 */
ucb_status ucb_rows_write(struct ucb_store *store, const char *sql,
                          enum ucb_row_format format, FILE *stream, struct ucb_err *err);

enum { UCB_REAL_TEXT = 32 };
/* The shortest of %.15g, %.16g, %.17g that reads back to the same bits. */
const char *ucb_real_text(double value, char out[UCB_REAL_TEXT]);

#endif
