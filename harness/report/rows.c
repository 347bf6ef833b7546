/* rows.c - see rows.h. Numbers are bare in CSV; texts go through libcsv, which quotes them.
 */
#include "report/rows.h"

#include <csv.h>
#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

ucb_status ucb_row_format_parse(const char *name, enum ucb_row_format *out,
                                struct ucb_err *err)
{
#define FORMAT_NAME(code, text) text,
    static const char *const names[] = {UCB_ROW_FORMAT_LIST(FORMAT_NAME)};
#undef FORMAT_NAME
    enum { N = sizeof(names) / sizeof(names[0]) };
    char near[256];
    for (size_t i = 0; i < N; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum ucb_row_format)i;
            return UCB_OK;
        }
    ucb_text_near(name, names, N, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "--format %s: no such format; %s", name, near);
}

const char *ucb_real_text(double value, char out[UCB_REAL_TEXT])
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, UCB_REAL_TEXT, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    return out;
}

/* ---- one value ---- */

/* A value that needs no quoting, as text; NULL for a text column. */
static const char *plain_value(sqlite3_stmt *rows, int column, char out[UCB_REAL_TEXT])
{
    switch (sqlite3_column_type(rows, column)) {
    case SQLITE_NULL: return "";
    case SQLITE_INTEGER:
        snprintf(out, UCB_REAL_TEXT, "%lld", (long long)sqlite3_column_int64(rows, column));
        return out;
    case SQLITE_FLOAT: return ucb_real_text(sqlite3_column_double(rows, column), out);
    case SQLITE_BLOB:
        snprintf(out, UCB_REAL_TEXT, "%d", sqlite3_column_bytes(rows, column));
        return out;
    default: return NULL;
    }
}

static void write_escaped(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\t')
            fputs("\\t", stream);
        else if (*text == '\n')
            fputs("\\n", stream);
        else if (*text == '\\')
            fputs("\\\\", stream);
        else
            fputc(*text, stream);
    }
}

static void write_field(FILE *stream, sqlite3_stmt *rows, int column,
                        enum ucb_row_format format)
{
    char buffer[UCB_REAL_TEXT];
    const char *plain = plain_value(rows, column, buffer);
    const char *text = plain == NULL ? (const char *)sqlite3_column_text(rows, column)
                                     : NULL;
    if (plain != NULL)
        fputs(plain, stream);
    else if (format == UCB_ROWS_TSV)
        write_escaped(stream, text);
    else
        csv_fwrite(stream, text, strlen(text));
}

static json_t *json_value(sqlite3_stmt *rows, int column)
{
    switch (sqlite3_column_type(rows, column)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(rows, column));
    case SQLITE_FLOAT:
        if (!isfinite(sqlite3_column_double(rows, column)))
            return json_null(); /* JSON has no infinity */
        return json_real(sqlite3_column_double(rows, column));
    case SQLITE_TEXT: return json_string((const char *)sqlite3_column_text(rows, column));
    case SQLITE_BLOB: return json_integer(sqlite3_column_bytes(rows, column));
    default: return json_null();
    }
}

/* ---- one row ---- */

static void write_header(FILE *stream, sqlite3_stmt *rows, enum ucb_row_format format)
{
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        if (i > 0) fputc(format == UCB_ROWS_TSV ? '\t' : ',', stream);
        fputs(sqlite3_column_name(rows, i),
              stream); /* our own column names need no quotes */
    }
    fputc('\n', stream);
}

static void write_row(FILE *stream, sqlite3_stmt *rows, enum ucb_row_format format)
{
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        if (i > 0) fputc(format == UCB_ROWS_TSV ? '\t' : ',', stream);
        write_field(stream, rows, i, format);
    }
    fputc('\n', stream);
}

static void write_json_row(FILE *stream, sqlite3_stmt *rows, bool first)
{
    json_t *object = json_object();
    for (int i = 0; i < sqlite3_column_count(rows); i++)
        json_object_set_new(object, sqlite3_column_name(rows, i), json_value(rows, i));
    fputs(first ? "\n" : ",\n", stream);
    json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
}

/* ---- all rows ---- */

static int write_rows(sqlite3_stmt *rows, enum ucb_row_format format, FILE *stream)
{
    bool first = true;
    int code;
    if (format == UCB_ROWS_JSON)
        fputc('[', stream);
    else
        write_header(stream, rows, format);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        if (format == UCB_ROWS_JSON)
            write_json_row(stream, rows, first);
        else
            write_row(stream, rows, format);
        first = false;
    }
    if (format == UCB_ROWS_JSON) fputs(first ? "]\n" : "\n]\n", stream);
    return code;
}

ucb_status ucb_rows_write(struct ucb_store *store, const char *sql,
                          enum ucb_row_format format, FILE *stream, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    sqlite3 *db = ucb_store_db(store);
    int code = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    if (code == SQLITE_OK) code = write_rows(rows, format, stream);
    ucb_status status = code == SQLITE_DONE
                            ? UCB_OK
                            : UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the results: %s",
                                       sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    return status;
}
