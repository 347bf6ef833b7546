/* export: every table in every format reads back as it is stored, whatever stands in it. */
#include "test.h"

#include <csv.h>
#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "made_up.h"
#include "report/rows.h"
#include "report/tables.h"
#include "store/store_internal.h"
#include "tiny.h"

static const char *const hostile[] = {
    "comma, \"quotes\", 'single' and ; semicolon",
    "line one\nline two\r\nline three\rfour",
    "tab\there, backslash \\ and \\n and \\N and \\t",
    "\\N",
    "",
    " spaces around ",
    "unicode: \xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\xa5 \xe2\x80\xa8 \xc2\x85 \xef\xbb\xbf",
    "NULL",
    "{\"json\": [1, null]}",
    "\x01\x1b[31m\x7f",
    "#comment",
    "=1+1",
};
enum { N_HOSTILE = sizeof(hostile) / sizeof(hostile[0]) };

static const double awkward[] = {0.1,
                                 1.0 / 3,
                                 5e-324,
                                 2.2250738585072014e-308,
                                 1.7976931348623157e308,
                                 -0.0,
                                 9007199254740993.0,
                                 -1e-7,
                                 5.0,
                                 123456789012345680.0};
enum { N_AWKWARD = sizeof(awkward) / sizeof(awkward[0]) };

static void set_each(sqlite3 *db, const char *sql, int (*bind)(sqlite3_stmt *, int))
{
    sqlite3_stmt *update = NULL;
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &update, NULL), SQLITE_OK);
    for (int i = 0; bind(update, i) == SQLITE_OK; i++) {
        CHECK_EQ(sqlite3_bind_int(update, 2, i + 1), SQLITE_OK);
        CHECK_EQ(sqlite3_step(update), SQLITE_DONE);
        sqlite3_reset(update);
    }
    sqlite3_finalize(update);
}

static int bind_text(sqlite3_stmt *update, int i)
{
    return i == N_HOSTILE ? SQLITE_DONE
                          : sqlite3_bind_text(update, 1, hostile[i], -1, SQLITE_STATIC);
}

static int bind_real(sqlite3_stmt *update, int i)
{
    return i == N_AWKWARD ? SQLITE_DONE : sqlite3_bind_double(update, 1, awkward[i]);
}

static const char *make_database(void)
{
    static char path[512]; /* outlives the rotating buffers of ucb_test_path */
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/r.db", ucb_test_folder());
    made_up_database(path, "b1", false);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    set_each(db, "UPDATE cells SET message = ?1 WHERE cell_key = ?2", bind_text);
    set_each(db, "UPDATE cells SET model = ?1 WHERE cell_key = ?2", bind_text);
    set_each(db, "UPDATE documents SET name = ?1 WHERE document = ?2", bind_text);
    set_each(db, "UPDATE runs SET command_line = ?1 WHERE run_id = ?2", bind_text);
    set_each(db, "UPDATE metrics SET value = ?1 WHERE cell_key = ?2 AND metric = 'ppl'",
             bind_real);
    CHECK_EQ(sqlite3_exec(db,
                          "UPDATE metrics SET ci_high = 9e999, ci_low = -9e999 WHERE "
                          "metric = 'ear'; INSERT INTO claims (claim_id, source, model, "
                          "method, metric, verdict) VALUES ('1', 's', 'm', '', 'x', "
                          "'not run'); INSERT INTO layers VALUES (1, 0, 0.1, 2, NULL, 3);"
                          "INSERT INTO timings VALUES ('2026-11-22', 'm/nf4 encode', "
                          "'candidate', 0, 1, 'b1', 0.1); INSERT INTO evidence VALUES "
                          "(1, 'c', '2026-11-22', 1, 2, 0, -0.1, x'00000000ff000000')",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(db);
    return path;
}

static char *export(const char *db, const char *table, enum ucb_row_format format,
                    size_t *n_chars)
{
    static char out[4096];
    struct ucb_file file;
    struct ucb_err err;
    const char *path = ucb_test_path("%s/out", ucb_test_folder());
    int code = ucb_run_program(out, sizeof(out), "export --db %s --table %s --%s --out %s",
                               db, table, ucb_row_format_name(format), path);
    if (code != 0) ucb_test_fail(__FILE__, __LINE__, "exit %d: %s", code, out);
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    char *text = malloc(file.n_bytes + 1);
    CHECK(text != NULL && file.n_bytes > 0);
    memcpy(text, file.data, file.n_bytes);
    text[file.n_bytes] = '\0';
    *n_chars = file.n_bytes;
    ucb_file_unmap(&file);
    return text;
}

/* ---- one value of a file against the stored one ---- */

struct walk {
    sqlite3_stmt *rows;
    const char *what;
    int column;
    bool in_header;
    long n_rows;
};

static void differs(const struct walk *w, const char *found)
{
    ucb_test_fail(__FILE__, __LINE__, "%s, row %ld, %s: found `%s`, stored `%s`", w->what,
                  w->n_rows, sqlite3_column_name(w->rows, w->column), found,
                  sqlite3_column_text(w->rows, w->column));
}

static void hex_of(const struct walk *w, char **out)
{
    const uint8_t *bytes = sqlite3_column_blob(w->rows, w->column);
    int n = sqlite3_column_bytes(w->rows, w->column);
    *out = malloc(2 * (size_t)n + 1);
    CHECK(*out != NULL);
    for (int i = 0; i < n; i++) sprintf(*out + 2 * i, "%02x", bytes[i]);
}

/* `field` NULL: a NULL. */
static void check_field(const struct walk *w, const char *field, size_t n)
{
    int type = sqlite3_column_type(w->rows, w->column);
    char *end = NULL, *hex = NULL;
    if ((type == SQLITE_NULL) != (field == NULL))
        differs(w, field == NULL ? "NULL" : field);
    if (field == NULL) return;
    double stored = sqlite3_column_double(w->rows, w->column), read = strtod(field, &end);
    const char *text = (const char *)sqlite3_column_text(w->rows, w->column);
    switch (type) {
    case SQLITE_INTEGER:
        if (strtoll(field, &end, 10) != sqlite3_column_int64(w->rows, w->column) ||
            *end != '\0')
            differs(w, field);
        break;
    case SQLITE_FLOAT:
        if (memcmp(&stored, &read, sizeof(read)) != 0 || *end != '\0') differs(w, field);
        break;
    case SQLITE_BLOB:
        hex_of(w, &hex);
        if (strcmp(hex, field) != 0) differs(w, field);
        free(hex);
        break;
    default:
        if (n != strlen(text) || memcmp(text, field, n) != 0) differs(w, field);
    }
}

static void next_row(struct walk *w)
{
    w->column = 0;
    if (sqlite3_step(w->rows) == SQLITE_ROW) w->n_rows++;
}

static void on_csv_field(void *data, size_t n, void *context)
{
    struct walk *w = context;
    if (w->in_header)
        CHECK_TEXT((const char *)data, sqlite3_column_name(w->rows, w->column));
    else
        check_field(w, data, n);
    w->column++;
}

static void on_csv_row(int c, void *context)
{
    struct walk *w = context;
    (void)c;
    CHECK_EQ(w->column, sqlite3_column_count(w->rows));
    w->in_header = false;
    next_row(w);
}

static void walk_csv(struct walk *w, const char *text, size_t n)
{
    struct csv_parser parser;
    CHECK_EQ(csv_init(&parser,
                      CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL | CSV_EMPTY_IS_NULL),
             0);
    CHECK_EQ(csv_parse(&parser, text, n, on_csv_field, on_csv_row, w), n);
    CHECK_EQ(csv_fini(&parser, on_csv_field, on_csv_row, w), 0);
    csv_free(&parser);
}

/* Undoes \\, \t, \n, \r in place. */
static size_t unescape(char *field)
{
    size_t n = 0;
    for (const char *p = field; *p != '\0'; p++) {
        const char *letters = "\\tnr", *special = "\\\t\n\r";
        if (*p != '\\') {
            field[n++] = *p;
            continue;
        }
        const char *found = strchr(letters, *++p);
        CHECK(found != NULL && *p != '\0');
        field[n++] = special[found - letters];
    }
    field[n] = '\0';
    return n;
}

/* In plain TSV an empty field is NULL or an empty text. */
static void check_tsv_field(struct walk *w, char *field, bool parquet)
{
    bool is_null = sqlite3_column_type(w->rows, w->column) == SQLITE_NULL;
    if (strcmp(field, parquet ? "\\N" : "") == 0 && (parquet || is_null))
        check_field(w, NULL, 0);
    else if (sqlite3_column_type(w->rows, w->column) == SQLITE_TEXT)
        check_field(w, field, unescape(field));
    else
        check_field(w, field, strlen(field));
}

static void walk_tsv(struct walk *w, char *text, bool parquet)
{
    CHECK(strchr(text, '\r') == NULL);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        for (char *field = line, *tab; field != NULL;
             field = tab == NULL ? NULL : tab + 1) {
            if ((tab = strchr(field, '\t')) != NULL) *tab = '\0';
            CHECK(w->column < sqlite3_column_count(w->rows));
            if (w->in_header)
                CHECK_TEXT(field, sqlite3_column_name(w->rows, w->column));
            else
                check_tsv_field(w, field, parquet);
            w->column++;
        }
        on_csv_row(0, w);
    }
}

static void check_json(const struct walk *w, const json_t *value)
{
    char number[64];
    int type = sqlite3_column_type(w->rows, w->column);
    bool no_number = type == SQLITE_FLOAT &&
                     !isfinite(sqlite3_column_double(w->rows, w->column));
    if (json_is_integer(value)) {
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
        check_field(w, number, strlen(number));
    } else if (json_is_real(value)) {
        snprintf(number, sizeof(number), "%a", json_real_value(value));
        check_field(w, number, strlen(number));
    } else if (json_is_string(value)) {
        check_field(w, json_string_value(value), json_string_length(value));
    } else if (!no_number) {
        CHECK(json_is_null(value));
        check_field(w, NULL, 0);
    }
}

static void walk_json(struct walk *w, const char *text, size_t n)
{
    json_t *root = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_json_parse("export", text, n, &root, &err), err);
    w->in_header = false;
    next_row(w);
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *row = json_array_get(root, i);
        CHECK_EQ(json_object_size(row), sqlite3_column_count(w->rows));
        for (w->column = 0; w->column < sqlite3_column_count(w->rows); w->column++)
            check_json(w, json_object_get(row, sqlite3_column_name(w->rows, w->column)));
        next_row(w);
    }
    json_decref(root);
}

static void check_table(sqlite3 *db, const char *path, const struct ucb_export_table *table,
                        enum ucb_row_format format)
{
    struct walk w = {
        .what = ucb_test_path("%s as %s", table->name, ucb_row_format_name(format)),
        .in_header = true};
    size_t n;
    char *text = export(path, table->name, format, &n);
    CHECK_EQ(sqlite3_prepare_v2(db, table->sql, -1, &w.rows, NULL), SQLITE_OK);
    if (format == UCB_ROWS_CSV)
        walk_csv(&w, text, n);
    else if (format == UCB_ROWS_JSON)
        walk_json(&w, text, n);
    else
        walk_tsv(&w, text, format == UCB_ROWS_PARQUET);
    sqlite3_reset(w.rows);
    long expected = 0;
    while (sqlite3_step(w.rows) == SQLITE_ROW) expected++;
    CHECK_EQ(w.n_rows, expected);
    sqlite3_finalize(w.rows);
    free(text);
}

TEST(every_table_reads_back_to_the_bit_in_every_format)
{
    const char *path = make_database();
    sqlite3 *db = NULL;
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    for (const struct ucb_export_table *t = ucb_export_tables(); t->name != NULL; t++)
        for (int format = 0; format < UCB_N_ROW_FORMATS; format++)
            check_table(db, path, t, (enum ucb_row_format)format);
    sqlite3_close(db);
}

/* An authorizer of SQLite that notes the tables a query reads, "name," each. */
static int note_table(void *read, int action, const char *table, const char *column,
                      const char *database, const char *view)
{
    (void)column, (void)database, (void)view;
    if (action == SQLITE_READ) ucb_text_add(read, "%s,", table);
    return SQLITE_OK;
}

TEST(no_table_of_the_schema_stays_behind)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *rows = NULL;
    struct ucb_text read = {0};
    ucb_text_add(&read, ",");
    CHECK_EQ(sqlite3_open(make_database(), &db), SQLITE_OK);
    sqlite3_set_authorizer(db, note_table, &read);
    for (const struct ucb_export_table *t = ucb_export_tables(); t->name != NULL; t++) {
        CHECK_EQ(sqlite3_prepare_v2(db, t->sql, -1, &rows, NULL), SQLITE_OK);
        sqlite3_finalize(rows);
    }
    sqlite3_set_authorizer(db, NULL, NULL);
    CHECK_EQ(sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master WHERE type = 'table'",
                                -1, &rows, NULL),
             SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW)
        CHECK_HAS(ucb_text_get(&read),
                  ucb_test_path(",%s,", (const char *)sqlite3_column_text(rows, 0)));
    sqlite3_finalize(rows);
    sqlite3_close(db);
    ucb_text_free(&read);
}

TEST(a_text_that_is_not_utf8_is_written_as_utf8)
{
    const char *path = make_database();
    sqlite3 *db = NULL;
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db,
                          "UPDATE runs SET command_line = CAST(x'61ff62c3' AS TEXT) || "
                          "char(0) || 'c'",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(db);
    for (int format = 0; format < UCB_N_ROW_FORMATS; format++) {
        size_t n;
        char *text = export(path, "runs", (enum ucb_row_format)format, &n);
        CHECK_EQ(strlen(text), n); /* no zero byte */
        CHECK_HAS(text, "a\xef\xbf\xbd"
                        "b\xef\xbf\xbd\xef\xbf\xbd"
                        "c");
        free(text);
    }
}

/* One type a column, the same for every database: also for one without rows. */
TEST(the_schema_beside_a_parquet_ready_file_names_a_type_for_every_column)
{
    const char *path = make_database();
    sqlite3 *db = NULL;
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    for (const struct ucb_export_table *t = ucb_export_tables(); t->name != NULL; t++) {
        struct ucb_file file;
        struct ucb_err err;
        json_t *root = NULL;
        sqlite3_stmt *rows = NULL;
        size_t n;
        free(export(path, t->name, UCB_ROWS_PARQUET, &n));
        CHECK_OK(ucb_file_map(ucb_test_path("%s/out.schema.json", ucb_test_folder()), &file,
                              &err),
                 err);
        CHECK_OK(
            ucb_json_parse("schema", (const char *)file.data, file.n_bytes, &root, &err),
            err);
        const json_t *columns = json_object_get(root, "columns");
        CHECK_HAS(json_string_value(json_object_get(root, "duckdb")), "read_csv('out'");
        CHECK_EQ(sqlite3_prepare_v2(db, t->sql, -1, &rows, NULL), SQLITE_OK);
        CHECK_EQ(json_array_size(columns), sqlite3_column_count(rows));
        while (sqlite3_step(rows) == SQLITE_ROW)
            for (int i = 0; i < sqlite3_column_count(rows); i++) {
                const json_t *c = json_array_get(columns, (size_t)i);
                const char *type = json_string_value(json_object_get(c, "type")),
                           *name = json_string_value(json_object_get(c, "name"));
                static const char *const of[] = {"", "int64", "double", "string", "hex"};
                int stored = sqlite3_column_type(rows, i);
                CHECK_TEXT(name, sqlite3_column_name(rows, i));
                bool fits = stored == SQLITE_NULL || strcmp(type, of[stored]) == 0 ||
                            (strcmp(type, "timestamp") == 0 && stored == SQLITE_TEXT);
                if (!fits)
                    ucb_test_fail(__FILE__, __LINE__, "%s.%s: a %s in a column of %s",
                                  t->name, name, of[stored], type);
            }
        sqlite3_finalize(rows);
        json_decref(root);
        ucb_file_unmap(&file);
    }
    sqlite3_close(db);
}

static bool same_files(const char *a, const char *b)
{
    struct ucb_file one, other;
    struct ucb_err err;
    CHECK_OK(ucb_file_map(a, &one, &err), err);
    CHECK_OK(ucb_file_map(b, &other, &err), err);
    bool same = one.n_bytes == other.n_bytes &&
                memcmp(one.data, other.data, one.n_bytes) == 0;
    ucb_file_unmap(&one);
    ucb_file_unmap(&other);
    return same;
}

TEST(the_report_named_export_writes_the_files_that_the_verb_would)
{
    const char *path = make_database(),
               *folder = ucb_test_path("%s/all", ucb_test_folder());
    static char listed[1 << 14], out[1 << 14];
    CHECK_EQ(ucb_run_program(listed, sizeof(listed), "report export --db %s --out %s", path,
                             folder),
             0);
    for (const struct ucb_export_table *t = ucb_export_tables(); t->name != NULL; t++) {
        const char *own = ucb_test_path("%s/%s.tsv", ucb_test_folder(), t->name);
        CHECK_HAS(listed, ucb_test_path("%s/%s.tsv\n", folder, t->name));
        CHECK_EQ(ucb_run_program(out, sizeof(out),
                                 "export --db %s --table %s --parquet-ready --out %s", path,
                                 t->name, own),
                 0);
        CHECK(same_files(own, ucb_test_path("%s/%s.tsv", folder, t->name)));
        CHECK(same_files(ucb_test_path("%s.schema.json", own),
                         ucb_test_path("%s/%s.tsv.schema.json", folder, t->name)));
    }
    const char *csv = ucb_test_path("%s/r.csv", ucb_test_folder());
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --csv --out %s", path, csv),
             0);
    CHECK(same_files(csv, ucb_test_path("%s/results.csv", folder)));
}

/* A pager that shows the first page holds its pipe still: nobody who stores may wait for
 * it. */
TEST(an_export_that_nobody_reads_on_does_not_hold_the_database)
{
    const char *path = make_database();
    struct ucb_store *store = NULL;
    struct ucb_err err;
    struct ucb_run_info info = {"b1", "ucbench sweep", "{}"};
    int64_t run_id;
    char first[64];
    FILE *pipe = popen(ucb_test_path("%s export --db %s --table items 2>/dev/null",
                                     ucb_test_program(), path),
                       "r");
    CHECK(pipe != NULL && fgets(first, sizeof(first), pipe) != NULL);
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    store->patience_ms = 1000;
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    ucb_store_close(store);
    pclose(pipe);
}

TEST(a_dash_is_standard_output)
{
    static char text[1 << 16];
    const char *path = make_database();
    CHECK_EQ(
        ucb_run_program(text, sizeof(text), "export --db %s --table runs --out -", path),
        0);
    CHECK_HAS(text, "run_id,build_id,started,");
    CHECK(access("-", F_OK) != 0);
}

TEST(export_says_what_it_cannot_do)
{
    static char out[4096];
    const char *db = make_database();
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --table resuls", db), 2);
    CHECK_HAS(out, "did you mean `results`");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --parquet-ready", db), 2);
    CHECK_HAS(out, "name the first with --out");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --csv --json", db), 2);
    CHECK_HAS(out, "--json and --csv contradict each other");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --format tsv --csv", db), 2);
    CHECK_HAS(out, "--csv and --format tsv contradict each other");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s --format csv --csv", db), 0);
}
