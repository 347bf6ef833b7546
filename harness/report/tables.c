/*
 * tables.c - see tables.h. A column that comes straight from a table has the type it was
 * declared with there; those that a view computes are listed here.
 */
#include "report/tables.h"

#include <jansson.h>
#include <libgen.h>
#include <sqlite3.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"

/* cell_key is of one file only and leaves it in no table. */
static const struct ucb_export_table tables[] = {
    {"results", "one row for each run, cell and metric: v_results",
     "SELECT * FROM v_results ORDER BY run_id, model, task, spec, cell_id, metric"},
    {"latest", "results without what a later run measured again: v_latest",
     "SELECT * FROM v_latest ORDER BY run_id, model, task, spec, cell_id, metric"},
    {"cells", "one row for each cell and build, with its sizes",
     "SELECT cell_id, build_id, model, model_digest, scope, method, spec, identity, calib, task, task_revision,"
     " dataset, dataset_digest, arithmetic, arithmetic_revision, reference, seed, status, reason, message,"
     " weights_digest, documents_digest, n_items, n_weights, n_parameters, rest_bytes, model_file_bytes, bpw_nominal,"
     " bpw_claimed, codes_bytes, scales_bytes, zeros_bytes, codebook_bytes, factors_bytes, tables_bytes, header_bytes,"
     " padding_bytes, matrices_bytes, bpw_matrices, bpw_model"
     " FROM cells LEFT JOIN sizes USING (cell_key) ORDER BY model, task, spec, cell_id, build_id"},
    {"items", "every scored item of every cell, with the divergence of each token",
     "SELECT cells.cell_id, cells.build_id, cells.model, cells.spec, cells.task, items.item, items.document,"
     " documents.name AS document_name, items.n_tokens, sum_logp, t1_gt_hits, t10_gt_hits, t1_agree_hits,"
     " t10_agree_hits, t10_overlap_sum, target_correct, last_t1_gt, last_t10_gt, last_t1_agree, kld_sum, ear_sum, kld"
     " FROM items JOIN cells USING (cell_key) LEFT JOIN documents USING (documents_digest, document)"
     " ORDER BY cells.model, cells.task, cells.spec, cells.cell_id, cells.build_id, items.item"},
    {"documents", "the texts that items belong to, by digest of their set",
     "SELECT * FROM documents ORDER BY documents_digest, document"},
    {"checks", "what was verified on the way: v_checks",
     "SELECT * FROM v_checks ORDER BY model, task, spec, cell_id, build_id, check_name"},
    {"layers", "time, memory and loss of every layer: v_layers",
     "SELECT * FROM v_layers ORDER BY model, task, spec, cell_id, build_id, layer"},
    {"claims", "claims and verdicts, filled by `report claims`: v_claims",
     "SELECT * FROM v_claims ORDER BY claim_id"},
    {"models", "the grid detector's verdict on each model",
     "SELECT * FROM models ORDER BY model_digest"},
    {"runs", "when, how and on what machine results were made",
     "SELECT * FROM runs ORDER BY run_id"},
    {"files", "what each run read, with SHA-256",
     "SELECT * FROM files ORDER BY run_id, kind, path"},
    {"timings", "what programs took, each repeat of each night",
     "SELECT * FROM timings ORDER BY night, name, side, rerun, round"},
    {"evidence", "what nights fed to the gate's e-processes",
     "SELECT * FROM evidence ORDER BY baseline_run, cell_id, night"},
    {0},
};

/* Columns that are computed, or hold more than their declared type says. */
static const struct {
    const char *name, *type;
} special[] = {{"bpw_disk", "double"},
               {"contaminated", "int64"},
               {"newest", "int64"},
               {"started", "timestamp"},
               {"ended", "timestamp"}};

static const struct {
    const char *declared, *type;
} declared_types[] = {
    {"INTEGER", "int64"}, {"REAL", "double"}, {"TEXT", "string"}, {"BLOB", "hex"}};

static const struct {
    const char *type, *duckdb;
} duckdb_types[] = {{"int64", "BIGINT"},
                    {"double", "DOUBLE"},
                    {"timestamp", "TIMESTAMP"},
                    {"string", "VARCHAR"},
                    {"hex", "VARCHAR"}};

const struct ucb_export_table *ucb_export_tables(void)
{
    return tables;
}

ucb_status ucb_export_table_find(const char *name, const struct ucb_export_table **out,
                                 struct ucb_err *err)
{
    enum { N = sizeof(tables) / sizeof(tables[0]) - 1 };
    const char *names[N];
    char near[256];
    for (size_t i = 0; i < N; i++) {
        names[i] = tables[i].name;
        if (strcmp(name, names[i]) != 0) continue;
        *out = &tables[i];
        return UCB_OK;
    }
    ucb_text_near(name, names, N, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "--table %s: no such table; %s", name, near);
}

/* What neither was declared nor is listed is a string, which holds anything. */
static const char *type_of(sqlite3_stmt *rows, int column)
{
    const char *name = sqlite3_column_name(rows, column),
               *declared = sqlite3_column_decltype(rows, column);
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        if (strcmp(special[i].name, name) == 0) return special[i].type;
    for (size_t i = 0; i < sizeof(declared_types) / sizeof(declared_types[0]); i++)
        if (declared != NULL && strcmp(declared_types[i].declared, declared) == 0)
            return declared_types[i].type;
    return "string";
}

static void add_duckdb_column(struct ucb_text *sql, const char *name, const char *type,
                              bool first)
{
    const char *word = "VARCHAR";
    for (size_t i = 0; i < sizeof(duckdb_types) / sizeof(duckdb_types[0]); i++)
        if (strcmp(duckdb_types[i].type, type) == 0) word = duckdb_types[i].duckdb;
    ucb_text_add(sql, "%s'%s': '%s'", first ? "" : ", ", name, word);
}

/* A name between SQL's quotes, in which a quote is doubled. */
static void add_quoted(struct ucb_text *sql, const char *text)
{
    ucb_text_add(sql, "'");
    for (; *text != '\0'; text++) ucb_text_add(sql, *text == '\'' ? "''" : "%c", *text);
    ucb_text_add(sql, "'");
}

static json_t *describe(sqlite3_stmt *rows, const struct ucb_export_table *table,
                        const char *data_name)
{
    struct ucb_text sql = {0};
    json_t *columns = json_array();
    ucb_text_add(&sql, "SELECT * FROM read_csv(");
    add_quoted(&sql, data_name);
    ucb_text_add(&sql, ", delim = '\\t', quote = '', escape = '', nullstr = '\\N', "
                       "header = true, columns = {");
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        const char *name = sqlite3_column_name(rows, i), *type = type_of(rows, i);
        json_array_append_new(columns, json_pack("{s:s, s:s}", "name", name, "type", type));
        add_duckdb_column(&sql, name, type, i == 0);
    }
    ucb_text_add(&sql, "})");
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:n, s:s, s:s, s:o, s:o}", "format",
        "ucbench parquet-ready tsv 1", "table", table->name, "encoding", "UTF-8",
        "delimiter", "\t", "line_end", "\n", "quote", "null", "\\N", "escapes",
        "in strings: \\\\ backslash, \\t tab, \\n newline, \\r carriage return", "columns",
        columns, "duckdb", ucb_json_text(ucb_text_get(&sql)));
    if (sql.failed) {
        json_decref(root);
        root = NULL;
    }
    ucb_text_free(&sql);
    return root;
}

ucb_status ucb_export_schema(struct ucb_store *store, const struct ucb_export_table *table,
                             const char *data_name, FILE *stream, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    sqlite3 *db = ucb_store_db(store);
    if (sqlite3_prepare_v2(db, table->sql, -1, &rows, NULL) != SQLITE_OK)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read its %s: %s",
                        sqlite3_db_filename(db, "main"), table->name, sqlite3_errmsg(db));
    json_t *root = describe(rows, table, data_name);
    sqlite3_finalize(rows);
    struct ucb_text text = {0};
    ucb_status status = ucb_json_add(root, table->name, &text, err);
    fputs(ucb_text_get(&text), stream);
    ucb_text_free(&text);
    return status;
}

static ucb_status write_schema(struct ucb_store *store,
                               const struct ucb_export_table *table, const char *path,
                               struct ucb_err *err)
{
    struct ucb_out_file out;
    struct ucb_text name = {0}, data = {0};
    ucb_text_add(&name, "%s.schema.json", path);
    ucb_text_add(&data, "%s", path);
    ucb_status status = name.failed || data.failed
                            ? UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a file name",
                                       path)
                            : ucb_out_open(name.data, &out, err);
    if (status == UCB_OK) {
        status = ucb_export_schema(store, table, basename(data.data), out.stream, err);
        if (status == UCB_OK)
            status = ucb_out_commit(&out, err);
        else
            ucb_out_discard(&out);
    }
    ucb_text_free(&data);
    ucb_text_free(&name);
    return status;
}

ucb_status ucb_export_file(struct ucb_store *store, const struct ucb_export_table *table,
                           enum ucb_row_format format, const char *path,
                           struct ucb_err *err)
{
    struct ucb_out_file out;
    UCB_TRY(ucb_out_open(path, &out, err));
    ucb_status status = ucb_rows_write(store, table->sql, format, out.stream, err);
    if (status != UCB_OK) {
        ucb_out_discard(&out);
        return status;
    }
    UCB_TRY(ucb_out_commit(&out, err));
    return format == UCB_ROWS_PARQUET ? write_schema(store, table, path, err) : UCB_OK;
}
