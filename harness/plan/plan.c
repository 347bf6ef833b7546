/* plan.c - see plan.h. CSV by libcsv: quoted fields may hold commas, as method specs do. */
#include "plan/plan.h"

#include <csv.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/text.h"

enum column {
#define COLUMN_ENUM(name) COLUMN_##name,
    UCB_PLAN_COLUMNS(COLUMN_ENUM)
#undef COLUMN_ENUM
        N_FIELDS,
    COLUMN_bits = N_FIELDS, /* a column that is no field of its own */
    N_COLUMNS
};
static const char *const column_names[N_COLUMNS] = {
#define COLUMN_NAME(name) #name,
    UCB_PLAN_COLUMNS(COLUMN_NAME)
#undef COLUMN_NAME
        "bits",
};
enum { MAX_ROWS = 100000 };

/* Everything of a plan in progress. */
struct reader {
    const char *path;
    const struct ucb_plan_defaults *flags;
    struct ucb_arena *arena;
    struct ucb_err *err;
    ucb_status status;
    size_t capacity;
    struct ucb_plan plan;
    size_t line, field;
    enum column order[N_COLUMNS]; /* column of each field of a line */
    size_t n_columns;
    const char *value[N_COLUMNS]; /* of the line being read; NULL: absent or empty */
};

static const char **row_field(struct ucb_plan_row *row, enum column column)
{
    switch (column) {
#define FIELD_OF(name) \
    case COLUMN_##name: return &row->name;
        UCB_PLAN_COLUMNS(FIELD_OF)
#undef FIELD_OF
    default: return NULL;
    }
}

static const struct ucb_plan_values *flag_values(const struct ucb_plan_defaults *flags,
                                                 enum column column)
{
    switch (column) {
#define VALUES_OF(name) \
    case COLUMN_##name: return &flags->name;
        UCB_PLAN_COLUMNS(VALUES_OF)
#undef VALUES_OF
    default: return NULL;
    }
}

static bool rows_equal(struct ucb_plan_row *a, struct ucb_plan_row *b)
{
    for (int c = 0; c < N_FIELDS; c++)
        if (strcmp(*row_field(a, (enum column)c), *row_field(b, (enum column)c)) != 0)
            return false;
    return true;
}

static ucb_status add_row(struct reader *r, struct ucb_plan_row *row)
{
    for (size_t i = 0; i < r->plan.n_rows; i++)
        if (rows_equal(&r->plan.rows[i], row)) return UCB_OK;
    if (r->plan.n_rows == MAX_ROWS)
        return UCB_FAIL(r->err, UCB_USAGE, "a plan has at most %d rows", MAX_ROWS);
    if (r->plan.n_rows == r->capacity) {
        size_t capacity = r->capacity == 0 ? 64 : r->capacity * 2;
        struct ucb_plan_row *rows = UCB_NEW(r->arena, struct ucb_plan_row, capacity);
        if (rows == NULL)
            return UCB_FAIL(r->err, UCB_NOMEM, "no memory for %zu plan rows", capacity);
        if (r->plan.n_rows > 0) memcpy(rows, r->plan.rows, r->plan.n_rows * sizeof(*rows));
        r->plan.rows = rows;
        r->capacity = capacity;
    }
    row->line = r->line;
    r->plan.rows[r->plan.n_rows++] = *row;
    return UCB_OK;
}

/* One line (or the flags alone) multiplied by the values of every column it leaves open. */
static ucb_status expand(struct reader *r, enum column column, struct ucb_plan_row *row)
{
    if (column == N_FIELDS) return add_row(r, row);
    const struct ucb_plan_values *open = flag_values(r->flags, column);
    const char *const *values = r->value[column] != NULL ? &r->value[column] : open->values;
    size_t n = r->value[column] != NULL ? 1 : open->n;
    if (n == 0)
        return r->line == 0
                   ? UCB_FAIL(r->err, UCB_USAGE, "no %s: give --%s", column_names[column],
                              column_names[column])
                   : UCB_FAIL(r->err, UCB_USAGE,
                              "%s, line %zu: no %s; fill the column or give --%s", r->path,
                              r->line, column_names[column], column_names[column]);
    for (size_t i = 0; i < n; i++) {
        *row_field(row, column) = values[i];
        UCB_TRY(expand(r, (enum column)(column + 1), row));
    }
    return UCB_OK;
}

ucb_status ucb_plan_from_flags(const struct ucb_plan_defaults *flags,
                               struct ucb_arena *arena, struct ucb_plan *out,
                               struct ucb_err *err)
{
    struct reader r = {.path = "", .flags = flags, .arena = arena, .err = err};
    struct ucb_plan_row row = {0};
    UCB_TRY(expand(&r, (enum column)0, &row));
    *out = r.plan;
    return UCB_OK;
}

static ucb_status add_column(struct reader *r, const char *name)
{
    for (int c = 0; c < N_COLUMNS; c++) {
        if (strcmp(name, column_names[c]) != 0) continue;
        for (size_t i = 0; i < r->n_columns; i++)
            if (r->order[i] == (enum column)c)
                return UCB_FAIL(r->err, UCB_USAGE, "%s: column `%s` stands twice", r->path,
                                name);
        r->order[r->n_columns++] = (enum column)c;
        return UCB_OK;
    }
    char near[256];
    ucb_text_near(name, column_names, N_COLUMNS, near, sizeof(near));
    return UCB_FAIL(r->err, UCB_USAGE, "%s: unknown column `%s` in the header; %s", r->path,
                    name, near);
}

/* libcsv: one field. */
static void on_field(void *data, size_t n_bytes, void *context)
{
    struct reader *r = context;
    if (r->status != UCB_OK) return;
    char *text = ucb_arena_printf(r->arena, "%.*s", (int)n_bytes, (const char *)data);
    if (text == NULL) {
        r->status = UCB_FAIL(r->err, UCB_NOMEM, "%s: no memory for line %zu", r->path,
                             r->line);
    } else if (r->line == 1) {
        r->status = add_column(r, text);
    } else if (r->field >= r->n_columns) {
        r->status = UCB_FAIL(
            r->err, UCB_CORRUPT,
            "%s, line %zu: more fields than the header's %zu; a spec with commas needs \"quotes\"",
            r->path, r->line, r->n_columns);
    } else {
        r->value[r->order[r->field]] = *text == '\0' ? NULL : text;
    }
    r->field++;
}

/* "hqq" and "4" give "hqq:bits=4"; "hqq:group=64" gives "hqq:group=64,bits=4". */
static ucb_status add_bits(struct reader *r)
{
    if (r->value[COLUMN_bits] == NULL) return UCB_OK;
    const char *method = r->value[COLUMN_method];
    if (method == NULL)
        return UCB_FAIL(r->err, UCB_USAGE, "%s, line %zu: bits without a method", r->path,
                        r->line);
    const char *plus = strchr(method, '+');
    int n = plus == NULL ? (int)strlen(method) : (int)(plus - method);
    bool has_knobs = memchr(method, ':', (size_t)n) != NULL;
    r->value[COLUMN_method] = ucb_arena_printf(r->arena, "%.*s%cbits=%s%s", n, method,
                                               has_knobs ? ',' : ':', r->value[COLUMN_bits],
                                               plus == NULL ? "" : plus);
    if (r->value[COLUMN_method] == NULL)
        return UCB_FAIL(r->err, UCB_NOMEM, "%s: no memory for a spec", r->path);
    return UCB_OK;
}

/* libcsv: the end of a line. */
static void on_line(int end, void *context)
{
    struct reader *r = context;
    (void)end;
    if (r->status == UCB_OK && r->line > 1) {
        struct ucb_plan_row row = {0};
        r->status = add_bits(r);
        if (r->status == UCB_OK) r->status = expand(r, (enum column)0, &row);
    }
    memset(r->value, 0, sizeof(r->value));
    r->field = 0;
    r->line++;
}

ucb_status ucb_plan_read(const char *path, const struct ucb_plan_defaults *flags,
                         struct ucb_arena *arena, struct ucb_plan *out, struct ucb_err *err)
{
    struct reader r = {.path = path, .flags = flags, .arena = arena, .err = err, .line = 1};
    struct csv_parser parser;
    struct ucb_file file;
    UCB_TRY(ucb_file_map(path, &file, err));
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0) {
        ucb_file_unmap(&file);
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the CSV parser", path);
    }
    /* Spreadsheets put a byte order mark before the header. */
    size_t skip = file.n_bytes >= 3 && memcmp(file.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0,
           n = file.n_bytes - skip;
    bool parsed = csv_parse(&parser, file.data + skip, n, on_field, on_line, &r) == n &&
                  csv_fini(&parser, on_field, on_line, &r) == 0;
    if (r.status == UCB_OK && !parsed)
        r.status = UCB_FAIL(
            err, UCB_CORRUPT,
            "%s, line %zu: a quoted field is not closed, or a quote stands inside a field (%s)",
            path, r.line, csv_strerror(csv_error(&parser)));
    csv_free(&parser);
    ucb_file_unmap(&file);
    if (r.status == UCB_OK && r.plan.n_rows == 0)
        r.status = UCB_FAIL(err, UCB_CORRUPT,
                            "%s: no rows; a plan is a header line and at least one row",
                            path);
    r.plan.path = ucb_arena_strdup(arena, path);
    if (r.status == UCB_OK && r.plan.path == NULL)
        r.status = UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its name", path);
    if (r.status == UCB_OK) *out = r.plan;
    return r.status;
}
