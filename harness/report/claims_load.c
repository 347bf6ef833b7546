/*
 * claims_load.c - the data files as tables of a database in memory, then as claims.
 *
 * The expressions of the map are SQL. They run in a connection of their own that holds only
 * the data files; once those are in, an authorizer lets nothing but reading pass, so a map
 * can neither touch results nor files.
 */
#include <csv.h>
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "core/resource.h"
#include "report/claims.h"

static const char schema_name[] = "reports/claims.sql";
static const struct {
    const char *resource, *table;
} sources[] = {
    {"reports/claims.csv", "claims"},        {"reports/claims-map.csv", "map"},
    {"reports/claims-raw.csv", "raw"},       {"reports/claims-notes.csv", "discrepancies"},
    {"reports/models-shapes.csv", "shapes"},
};

const char *ucb_claim_verdict_name(enum ucb_claim_verdict verdict)
{
#define VERDICT_NAME(code, name) name,
    static const char *const names[] = {UCB_VERDICT_LIST(VERDICT_NAME)};
#undef VERDICT_NAME
    return names[verdict];
}

static const char *const kind_names[] = {
#define KIND_NAME(code, name) name,
    UCB_CLAIM_KIND_LIST(KIND_NAME)
#undef KIND_NAME
};
const char *ucb_claim_kind_name(enum ucb_claim_kind kind)
{
    return kind_names[kind];
}

/* ---- a CSV file into a table ---- */

enum { MAX_FIELDS = 32 };
struct csv_load {
    sqlite3 *db;
    sqlite3_stmt *insert;
    const char *resource, *table;
    size_t line;
    int n_fields, n_columns;
    ucb_status status;
    struct ucb_err *err;
};

static void prepare_insert(struct csv_load *load)
{
    struct ucb_text sql = {0};
    ucb_text_add(&sql, "INSERT INTO %s VALUES (?1", load->table);
    for (int i = 2; i <= load->n_columns; i++) ucb_text_add(&sql, ", ?%d", i);
    ucb_text_add(&sql, ")");
    if (sqlite3_prepare_v2(load->db, ucb_text_get(&sql), -1, &load->insert, NULL) !=
        SQLITE_OK)
        load->status = UCB_FAIL(load->err, UCB_CORRUPT, "%s: %s", load->resource,
                                sqlite3_errmsg(load->db));
    ucb_text_free(&sql);
}

/* The header must name the table's columns in their order. */
static void check_column(struct csv_load *load, const char *name)
{
    sqlite3_stmt *row = NULL;
    sqlite3_prepare_v2(load->db, "SELECT name FROM pragma_table_info(?1) WHERE cid = ?2",
                       -1, &row, NULL);
    sqlite3_bind_text(row, 1, load->table, -1, SQLITE_STATIC);
    sqlite3_bind_int(row, 2, load->n_fields);
    const char *expected = sqlite3_step(row) == SQLITE_ROW
                               ? (const char *)sqlite3_column_text(row, 0)
                               : "no more columns";
    if (strcmp(expected, name) != 0)
        load->status = UCB_FAIL(load->err, UCB_CORRUPT, "%s: column %d is %s, expected %s",
                                load->resource, load->n_fields + 1, name, expected);
    sqlite3_finalize(row);
}

static void on_field(void *data, size_t n_bytes, void *context)
{
    struct csv_load *load = context;
    const char *text = data;
    if (load->status != UCB_OK) return;
    if (load->line == 1)
        check_column(load, text);
    else if (load->n_fields < load->n_columns && n_bytes > 0)
        sqlite3_bind_text(load->insert, load->n_fields + 1, text, (int)n_bytes,
                          SQLITE_TRANSIENT);
    load->n_fields++;
}

static void on_line(int end, void *context)
{
    struct csv_load *load = context;
    (void)end;
    if (load->status == UCB_OK && load->line == 1) {
        load->n_columns = load->n_fields;
        prepare_insert(load);
    } else if (load->status == UCB_OK && load->n_fields != load->n_columns) {
        load->status = UCB_FAIL(load->err, UCB_CORRUPT,
                                "%s, line %zu: %d fields, expected %d", load->resource,
                                load->line, load->n_fields, load->n_columns);
    } else if (load->status == UCB_OK && sqlite3_step(load->insert) != SQLITE_DONE) {
        load->status = UCB_FAIL(load->err, UCB_CORRUPT, "%s, line %zu: %s", load->resource,
                                load->line, sqlite3_errmsg(load->db));
    }
    if (load->insert != NULL) {
        sqlite3_reset(load->insert);
        sqlite3_clear_bindings(load->insert);
    }
    load->n_fields = 0;
    load->line++;
}

static ucb_status load_table(sqlite3 *db, const char *name, const char *table,
                             struct ucb_err *err)
{
    const struct ucb_resource *file = ucb_resource_find(name);
    struct csv_load load = {
        .db = db, .resource = name, .table = table, .line = 1, .err = err};
    struct csv_parser parser;
    if (file == NULL) return UCB_FAIL(err, UCB_MISSING, "%s is not in the program", name);
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the CSV parser", name);
    bool parsed = csv_parse(&parser, file->data, file->n_bytes, on_field, on_line, &load) ==
                      file->n_bytes &&
                  csv_fini(&parser, on_field, on_line, &load) == 0;
    if (load.status == UCB_OK && !parsed)
        load.status = UCB_FAIL(err, UCB_CORRUPT, "%s, line %zu: %s", name, load.line,
                               csv_strerror(csv_error(&parser)));
    csv_free(&parser);
    sqlite3_finalize(load.insert);
    return load.status;
}

/* ---- the database of the checks ---- */

static void add_input(struct ucb_claim *c, const char *id)
{
    for (size_t i = 0; i < c->n_inputs; i++)
        if (c->inputs[i] == id) return;
    if (c->n_inputs < UCB_CLAIM_MAX_INPUTS) c->inputs[c->n_inputs++] = id;
}

/* claim('R5-001'): the number that claim prints. */
static void claim_function(sqlite3_context *context, int n_values, sqlite3_value **values)
{
    struct ucb_claims *claims = sqlite3_user_data(context);
    const char *id = (const char *)sqlite3_value_text(values[0]);
    (void)n_values;
    for (size_t i = 0; id != NULL && i < claims->n; i++) {
        struct ucb_claim *c = &claims->list[i], *now = claims->now;
        if (strcmp(c->id, id) != 0 || c->quantity.n_numbers != 1) continue;
        sqlite3_result_double(context, c->quantity.high);
        if (now != NULL) add_input(now, c->id);
        return;
    }
    sqlite3_result_error(context, "claim() names no claim with one number", -1);
}

static int only_select(void *context, int action, const char *a, const char *b,
                       const char *database, const char *trigger)
{
    (void)context, (void)database, (void)trigger, (void)a;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION:
        return b != NULL && sqlite3_stricmp(b, "load_extension") == 0 ? SQLITE_DENY
                                                                      : SQLITE_OK;
    default: return SQLITE_DENY;
    }
}

static ucb_status open_checks(struct ucb_claims *claims, struct ucb_err *err)
{
    const struct ucb_resource *schema = ucb_resource_find(schema_name);
    if (sqlite3_open_v2(":memory:", &claims->checks,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the database of the checks");
    if (schema == NULL)
        return UCB_FAIL(err, UCB_MISSING, "%s is not in the program", schema_name);
    if (sqlite3_exec(claims->checks, schema->data, NULL, NULL, NULL) != SQLITE_OK)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: %s", schema_name,
                        sqlite3_errmsg(claims->checks));
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        UCB_TRY(load_table(claims->checks, sources[i].resource, sources[i].table, err));
    sqlite3_create_function(claims->checks, "claim", 1, SQLITE_UTF8, claims, claim_function,
                            NULL, NULL);
    return UCB_OK;
}

/* ---- claims ---- */

/* Every claim with its row of the map: a list of patterns of ids, and one of metrics. */
static const char matched[] =
    "SELECT c.claim_id, c.source, c.model, c.method, c.setting_bpw, c.metric, c.value, c.unit,"
    " c.notes, m.kind, m.model, m.spec, m.task, m.dataset, m.calib, m.measure, m.why, m.expression,"
    " m.honest, m.honest_label, m.relation, m.scale, m.tolerance, m.slack"
    " FROM claims c LEFT JOIN map m ON c.metric GLOB ifnull(m.metric, '*') AND EXISTS ("
    "   SELECT 1 FROM json_each('[\"' || replace(m.claims, ' ', '\",\"') || '\"]') AS pattern"
    "   WHERE c.claim_id GLOB pattern.value)"
    " ORDER BY c.rowid";

static const char *text_of(struct ucb_claims *claims, sqlite3_stmt *row, int column,
                           bool *enough)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    char *copy = ucb_arena_strdup(claims->arena, text == NULL ? "" : text);
    if (copy == NULL) *enough = false;
    return copy == NULL ? "" : copy;
}

static double real_of(sqlite3_stmt *row, int column, double otherwise)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? otherwise
               : sqlite3_column_double(row, column);
}

static ucb_status find_kind(struct ucb_claim *c, const char *name, struct ucb_err *err)
{
    if (*name == '\0')
        return UCB_FAIL(err, UCB_CORRUPT,
                        "reports/claims-map.csv: no row matches %s, metric %s; add one",
                        c->id, c->metric);
    for (size_t i = 0; i < UCB_N_CLAIM_KINDS; i++)
        if (strcmp(kind_names[i], name) == 0) {
            c->kind = (enum ucb_claim_kind)i;
            return UCB_OK;
        }
    return UCB_FAIL(err, UCB_CORRUPT, "reports/claims-map.csv: %s has kind \"%s\"", c->id,
                    name);
}

static ucb_status fill_claim(struct ucb_claims *claims, sqlite3_stmt *row,
                             struct ucb_claim *c, struct ucb_err *err)
{
    bool enough = true;
    struct ucb_quantity setting;
    const char **const texts[] = {&c->id,     &c->source,  &c->model,
                                  &c->method, &c->setting, &c->metric,
                                  &c->value,  &c->unit,    &c->notes};
    const char **const mapped[] = {&c->map_model, &c->spec,        &c->task, &c->dataset,
                                   &c->calib,     &c->measure,     &c->why,  &c->expression,
                                   &c->honest,    &c->honest_label};
    enum {
        N_TEXTS = sizeof(texts) / sizeof(texts[0]),
        KIND = N_TEXTS,
        MAPPED,
        N_MAPPED = 10
    };
    for (int i = 0; i < N_TEXTS; i++) *texts[i] = text_of(claims, row, i, &enough);
    for (int i = 0; i < N_MAPPED; i++)
        *mapped[i] = text_of(claims, row, MAPPED + i, &enough);
    const char *relation = text_of(claims, row, MAPPED + N_MAPPED, &enough),
               *kind = text_of(claims, row, KIND, &enough);
    if (!enough) return UCB_FAIL(err, UCB_NOMEM, "no memory for the claims");
    c->table_chars = (int)strcspn(c->id, "-");
    c->at_least = strcmp(relation, "at least") == 0;
    c->scale = real_of(row, MAPPED + N_MAPPED + 1, 1);
    c->tolerance = real_of(row, MAPPED + N_MAPPED + 2, NAN);
    c->measured = c->ci_low = c->ci_high = c->p = c->p_adjusted = NAN;
    c->reason = "";
    ucb_status status = ucb_quantity_parse(c->value, &c->quantity, err);
    c->slack = real_of(row, MAPPED + N_MAPPED + 3, c->quantity.slack);
    if (status == UCB_OK) status = ucb_quantity_parse(c->setting, &setting, err);
    if (status != UCB_OK) {
        if (err != NULL) ucb_err_prefix(err, "reports/claims.csv: %s", c->id);
        return status;
    }
    if (*relation != '\0' && !c->at_least)
        return UCB_FAIL(err, UCB_CORRUPT, "reports/claims-map.csv: %s has relation \"%s\"",
                        c->id, relation);
    return find_kind(c, kind, err);
}

static size_t count_rows(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *row = NULL;
    size_t n = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) == SQLITE_OK &&
        sqlite3_step(row) == SQLITE_ROW)
        n = (size_t)sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    return n;
}

static ucb_status read_claims(struct ucb_claims *claims, struct ucb_err *err)
{
    sqlite3_stmt *row = NULL;
    ucb_status status = UCB_OK;
    size_t n = count_rows(claims->checks, "SELECT count(*) FROM claims");
    claims->list = UCB_NEW(claims->arena, struct ucb_claim, n);
    if (claims->list == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu claims", n);
    if (sqlite3_prepare_v2(claims->checks, matched, -1, &row, NULL) != SQLITE_OK)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: %s", schema_name,
                        sqlite3_errmsg(claims->checks));
    int code = SQLITE_ROW;
    while (status == UCB_OK && (code = sqlite3_step(row)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(row, 0);
        bool again = claims->n > 0 && strcmp(claims->list[claims->n - 1].id, id) == 0;
        if (again)
            status = UCB_FAIL(err, UCB_CORRUPT,
                              "reports/claims-map.csv: %s matches two rows", id);
        else
            status = fill_claim(claims, row, &claims->list[claims->n++], err);
    }
    if (status == UCB_OK && code != SQLITE_DONE)
        status = UCB_FAIL(err, UCB_CORRUPT, "%s: %s", schema_name,
                          sqlite3_errmsg(claims->checks));
    sqlite3_finalize(row);
    return status;
}

static ucb_status read_notes(struct ucb_claims *claims, struct ucb_err *err)
{
    sqlite3_stmt *row = NULL;
    bool enough = true;
    size_t n = count_rows(claims->checks, "SELECT count(*) FROM discrepancies");
    claims->notes = UCB_NEW(claims->arena, struct ucb_claim_note, n);
    if (claims->notes == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the notes");
    sqlite3_prepare_v2(claims->checks, "SELECT id, text FROM discrepancies ORDER BY id", -1,
                       &row, NULL);
    while (claims->n_notes < n && sqlite3_step(row) == SQLITE_ROW) {
        struct ucb_claim_note *note = &claims->notes[claims->n_notes++];
        note->id = text_of(claims, row, 0, &enough);
        note->text = text_of(claims, row, 1, &enough);
    }
    sqlite3_finalize(row);
    return enough ? UCB_OK : UCB_FAIL(err, UCB_NOMEM, "no memory for the notes");
}

static ucb_status read_cohort(struct ucb_claims *claims, struct ucb_err *err)
{
    sqlite3_stmt *row = NULL;
    bool enough = true;
    size_t n = count_rows(claims->checks, "SELECT count(*) FROM shapes WHERE cohort");
    claims->cohort = UCB_NEW(claims->arena, const char *, n);
    if (claims->cohort == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the cohort");
    sqlite3_prepare_v2(claims->checks,
                       "SELECT name FROM shapes WHERE cohort ORDER BY rowid", -1, &row,
                       NULL);
    while (claims->n_cohort < n && sqlite3_step(row) == SQLITE_ROW)
        claims->cohort[claims->n_cohort++] = text_of(claims, row, 0, &enough);
    sqlite3_finalize(row);
    return enough ? UCB_OK : UCB_FAIL(err, UCB_NOMEM, "no memory for the cohort");
}

ucb_status ucb_claims_load(struct ucb_arena *arena, struct ucb_claims *out,
                           struct ucb_err *err)
{
    *out = (struct ucb_claims){.arena = arena};
    UCB_TRY(open_checks(out, err));
    UCB_TRY(read_claims(out, err));
    UCB_TRY(read_notes(out, err));
    UCB_TRY(read_cohort(out, err));
    sqlite3_set_authorizer(out->checks, only_select, NULL);
    return UCB_OK;
}

void ucb_claims_close(struct ucb_claims *claims)
{
    sqlite3_close(claims->checks);
    claims->checks = NULL;
}
