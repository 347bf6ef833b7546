/* ladder_data.c - see ladder_data.h. */
#include "report/ladder_data.h"

#include <csv.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/resource.h"
#include "core/text.h"
#include "method/chain.h"
#include "task/task.h"

static const char file_name[] = "reports/ladder.csv";
static const char *const columns[] = {
#define COLUMN_NAME(name) #name,
    UCB_LADDER_TEXTS(COLUMN_NAME) UCB_LADDER_NUMBERS(COLUMN_NAME)
        UCB_LADDER_TEXTS_AFTER(COLUMN_NAME)
#undef COLUMN_NAME
};
enum { N_COLUMNS = sizeof(columns) / sizeof(columns[0]), MAX_ROWS = 256 };

struct reader {
    struct ucb_arena *arena;
    struct ucb_err *err;
    ucb_status status;
    size_t line, n_fields;
    const char *field[N_COLUMNS];
    struct ucb_ladder_row *rows;
    size_t n_rows;
};

static void on_field(void *data, size_t n_chars, void *context)
{
    struct reader *r = context;
    (void)n_chars; /* libcsv ends fields with a zero here */
    if (r->n_fields < N_COLUMNS)
        r->field[r->n_fields] = data == NULL ? "" : ucb_arena_strdup(r->arena, data);
    r->n_fields++;
}

static ucb_status read_number(struct reader *r, size_t column, double *out)
{
    const char *text = r->field[column];
    *out = NAN;
    if (text[0] == '\0' || ucb_parse_f64(text, out)) return UCB_OK;
    return UCB_FAIL(r->err, UCB_CORRUPT, "%s, line %zu: %s `%s` is no number", file_name,
                    r->line, columns[column], text);
}

/* Canonical, as databases have it. */
static ucb_status check_spec(struct reader *r, struct ucb_ladder_row *row)
{
    struct ucb_chain *chain;
    struct ucb_task_run *run;
    if (strcmp(row->section, "task") == 0) {
        run = UCB_NEW(r->arena, struct ucb_task_run, 1);
        if (run == NULL) return UCB_FAIL(r->err, UCB_NOMEM, "no memory for a task");
        UCB_TRY(ucb_task_parse(row->spec, run, r->err));
        row->spec = run->spec;
    } else if (strcmp(row->section, "tier") == 0 || strcmp(row->section, "method") == 0) {
        UCB_TRY(ucb_chain_parse(row->spec, r->arena, &chain, r->err));
        row->spec = ucb_chain_spec(chain);
    }
    return UCB_OK;
}

static ucb_status read_row(struct reader *r)
{
    struct ucb_ladder_row row;
    size_t column = 0;
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (r->field[i] == NULL)
            return UCB_FAIL(r->err, UCB_NOMEM, "%s: no memory for its rows", file_name);
#define READ_TEXT(name) row.name = r->field[column++];
#define READ_NUMBER(name) UCB_TRY(read_number(r, column++, &row.name));
    UCB_LADDER_TEXTS(READ_TEXT)
    UCB_LADDER_NUMBERS(READ_NUMBER)
    UCB_LADDER_TEXTS_AFTER(READ_TEXT)
#undef READ_TEXT
#undef READ_NUMBER
    if (r->n_rows == MAX_ROWS)
        return UCB_FAIL(r->err, UCB_CORRUPT, "%s: more than %d rows", file_name, MAX_ROWS);
    if (check_spec(r, &row) != UCB_OK)
        return UCB_FAIL(r->err, UCB_CORRUPT, "%s, line %zu: `%s` is no spec", file_name,
                        r->line, row.spec);
    r->rows[r->n_rows++] = row;
    return UCB_OK;
}

static ucb_status read_header(struct reader *r)
{
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (r->field[i] == NULL || strcmp(r->field[i], columns[i]) != 0)
            return UCB_FAIL(r->err, UCB_CORRUPT, "%s: column %zu is `%s`, expected `%s`",
                            file_name, i + 1, r->field[i] == NULL ? "" : r->field[i],
                            columns[i]);
    return UCB_OK;
}

static void on_line(int end, void *context)
{
    struct reader *r = context;
    (void)end;
    r->line++;
    if (r->status == UCB_OK && r->n_fields != N_COLUMNS)
        r->status = UCB_FAIL(r->err, UCB_CORRUPT, "%s, line %zu: %zu fields, expected %d",
                             file_name, r->line, r->n_fields, (int)N_COLUMNS);
    else if (r->status == UCB_OK)
        r->status = r->line == 1 ? read_header(r) : read_row(r);
    r->n_fields = 0;
}

ucb_status ucb_ladder_parse(const char *text, size_t n_chars, struct ucb_arena *arena,
                            struct ucb_ladder *out, struct ucb_err *err)
{
    struct csv_parser parser;
    struct reader r = {.arena = arena, .err = err};
    r.rows = UCB_NEW(arena, struct ucb_ladder_row, MAX_ROWS);
    if (r.rows == NULL ||
        csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its rows", file_name);
    bool parsed = csv_parse(&parser, text, n_chars, on_field, on_line, &r) == n_chars &&
                  csv_fini(&parser, on_field, on_line, &r) == 0;
    if (!parsed && r.status == UCB_OK)
        r.status = UCB_FAIL(err, UCB_CORRUPT, "%s, line %zu: %s", file_name, r.line + 1,
                            csv_strerror(csv_error(&parser)));
    csv_free(&parser);
    *out = (struct ucb_ladder){r.rows, r.n_rows};
    return r.status;
}

ucb_status ucb_ladder_load(struct ucb_arena *arena, struct ucb_ladder *out,
                           struct ucb_err *err)
{
    const struct ucb_resource *file = ucb_resource_find(file_name);
    if (file == NULL)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "%s is missing from this build; build it again", file_name);
    return ucb_ladder_parse(file->data, file->n_bytes, arena, out, err);
}

const struct ucb_ladder_row *ucb_ladder_next(const struct ucb_ladder *ladder,
                                             const char *section,
                                             const struct ucb_ladder_row *row)
{
    size_t i = row == NULL ? 0 : (size_t)(row - ladder->rows) + 1;
    for (; i < ladder->n_rows; i++)
        if (strcmp(ladder->rows[i].section, section) == 0) return &ladder->rows[i];
    return NULL;
}
