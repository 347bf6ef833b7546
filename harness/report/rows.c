/*
 * rows.c - see rows.h. Numbers are bare in CSV; texts go through libcsv, which quotes them.
 */
#include "report/rows.h"

#include <csv.h>
#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/text.h"

#define FORMAT_NAME(code, text) text,
static const char *const names[] = {UCB_ROW_FORMAT_LIST(FORMAT_NAME)};
#undef FORMAT_NAME

const char *ucb_row_format_name(enum ucb_row_format format)
{
    return names[format];
}

ucb_status ucb_row_format_parse(const char *name, enum ucb_row_format *out,
                                struct ucb_err *err)
{
    char near[256];
    for (size_t i = 0; i < UCB_N_ROW_FORMATS; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum ucb_row_format)i;
            return UCB_OK;
        }
    ucb_text_near(name, names, UCB_N_ROW_FORMATS, near, sizeof(near));
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

/* A text column with what is not UTF-8 replaced; `out` is emptied first. */
static void clean_text(sqlite3_stmt *rows, int column, struct ucb_text *out)
{
    const char *text = (const char *)sqlite3_column_text(rows, column);
    out->n_chars = 0;
    ucb_text_add_utf8(out, text, (size_t)sqlite3_column_bytes(rows, column));
}

static void write_escaped(FILE *stream, const struct ucb_text *text)
{
    static const char special[] = "\\\t\n\r", letters[] = "\\tnr";
    for (size_t i = 0; i < text->n_chars; i++) {
        const char *found = strchr(special, text->data[i]);
        if (found == NULL)
            fputc(text->data[i], stream);
        else
            fprintf(stream, "\\%c", letters[found - special]);
    }
}

static void write_blob(FILE *stream, sqlite3_stmt *rows, int column)
{
    const uint8_t *bytes = sqlite3_column_blob(rows, column);
    for (int i = 0; i < sqlite3_column_bytes(rows, column); i++)
        fprintf(stream, "%02x", bytes[i]);
}

static void write_field(FILE *stream, sqlite3_stmt *rows, int column,
                        enum ucb_row_format format, struct ucb_text *text)
{
    char buffer[UCB_REAL_TEXT];
    switch (sqlite3_column_type(rows, column)) {
    case SQLITE_NULL:
        if (format == UCB_ROWS_PARQUET) fputs("\\N", stream);
        break;
    case SQLITE_INTEGER:
        fprintf(stream, "%lld", (long long)sqlite3_column_int64(rows, column));
        break;
    case SQLITE_FLOAT:
        fputs(ucb_real_text(sqlite3_column_double(rows, column), buffer), stream);
        break;
    case SQLITE_BLOB: write_blob(stream, rows, column); break;
    default:
        clean_text(rows, column, text);
        if (format == UCB_ROWS_CSV)
            csv_fwrite(stream, ucb_text_get(text), text->n_chars);
        else
            write_escaped(stream, text);
    }
}

static json_t *json_blob(sqlite3_stmt *rows, int column, struct ucb_text *text)
{
    const uint8_t *bytes = sqlite3_column_blob(rows, column);
    text->n_chars = 0;
    for (int i = 0; i < sqlite3_column_bytes(rows, column); i++)
        ucb_text_add(text, "%02x", bytes[i]);
    return json_stringn(ucb_text_get(text), text->n_chars);
}

static json_t *json_value(sqlite3_stmt *rows, int column, struct ucb_text *text)
{
    switch (sqlite3_column_type(rows, column)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(rows, column));
    case SQLITE_FLOAT:
        if (!isfinite(sqlite3_column_double(rows, column)))
            return json_null(); /* JSON has no infinity */
        return json_real(sqlite3_column_double(rows, column));
    case SQLITE_TEXT:
        clean_text(rows, column, text);
        return json_stringn(ucb_text_get(text), text->n_chars);
    case SQLITE_BLOB: return json_blob(rows, column, text);
    default: return json_null();
    }
}

/* ---- one row ---- */

static void write_header(FILE *stream, sqlite3_stmt *rows, enum ucb_row_format format)
{
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        if (i > 0) fputc(format == UCB_ROWS_CSV ? ',' : '\t', stream);
        fputs(sqlite3_column_name(rows, i),
              stream); /* our own column names need no quotes */
    }
    fputc('\n', stream);
}

static void write_row(FILE *stream, sqlite3_stmt *rows, enum ucb_row_format format,
                      struct ucb_text *text)
{
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        if (i > 0) fputc(format == UCB_ROWS_CSV ? ',' : '\t', stream);
        write_field(stream, rows, i, format, text);
    }
    fputc('\n', stream);
}

static void write_json_row(FILE *stream, sqlite3_stmt *rows, bool first,
                           struct ucb_text *text)
{
    json_t *object = json_object();
    for (int i = 0; i < sqlite3_column_count(rows); i++)
        json_object_set_new(object, sqlite3_column_name(rows, i),
                            json_value(rows, i, text));
    fputs(first ? "\n" : ",\n", stream);
    json_dumpf(object, stream, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
}

/* ---- all rows ---- */

static int write_rows(sqlite3_stmt *rows, enum ucb_row_format format, FILE *stream,
                      struct ucb_text *text)
{
    bool first = true;
    int code;
    if (format == UCB_ROWS_JSON)
        fputc('[', stream);
    else
        write_header(stream, rows, format);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        if (format == UCB_ROWS_JSON)
            write_json_row(stream, rows, first, text);
        else
            write_row(stream, rows, format, text);
        first = false;
    }
    if (format == UCB_ROWS_JSON) fputs(first ? "]\n" : "\n]\n", stream);
    return code;
}

ucb_status ucb_rows_write(struct ucb_store *store, const char *sql,
                          enum ucb_row_format format, FILE *stream, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    struct ucb_text text = {0}; /* of the value at hand */
    sqlite3 *db = ucb_store_db(store);
    int code = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    if (code == SQLITE_OK) code = write_rows(rows, format, stream, &text);
    if (text.failed || (format == UCB_ROWS_JSON && ucb_json_lost())) code = SQLITE_NOMEM;
    ucb_status status = code == SQLITE_DONE ? UCB_OK
                        : code == SQLITE_NOMEM
                            ? UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its rows",
                                       sqlite3_db_filename(db, "main"))
                            : UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the results: %s",
                                       sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
    sqlite3_finalize(rows);
    ucb_text_free(&text);
    return status;
}
