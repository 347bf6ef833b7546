/*
 * store_digest.c - what a cell is (its id), and what its result is (its digest).
 *
 * Both hash a sequence of fields whose lengths are hashed before them, so that no two
 * sequences run into one another. A stored value is hashed as
 *
 *     'N'                     NULL (also NaN, which SQLite stores as NULL)
 *     'I' + 8 bytes           an integer, little-endian
 *     'F' + 8 bytes           a real, its IEEE bits
 *     'T' + length + bytes    text
 *     'B' + length + bytes    a blob
 *
 * The digest of a database is over the SET of (cell id, cell digest): builds are left out.
 * Two builds that compute the same bits therefore leave the digest alone, which is the
 * question a nightly run asks, and a cell whose bits changed is in the set twice.
 */
#include "store/store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "store/store_internal.h"

/* ---- the id of a cell ---- */

static void id_text(struct ucb_sha256 *h, const char *name, const char *text)
{
    char head[96];
    assert(text != NULL);
    int n = snprintf(head, sizeof(head), "%s %zu ", name, strlen(text));
    ucb_sha256_update(h, head, (size_t)n);
    ucb_sha256_update(h, text, strlen(text));
    ucb_sha256_update(h, "\n", 1);
}

static void id_number(struct ucb_sha256 *h, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    id_text(h, name, text);
}

void ucb_cell_identify(struct ucb_cell *cell)
{
    struct ucb_sha256 h;
    ucb_sha256_init(&h);
    id_text(&h, "format", "ucbench cell 1");
    id_text(&h, "model_digest", cell->model_digest);
    id_text(&h, "scope", cell->scope);
    id_text(&h, "identity", cell->identity);
    id_text(&h, "calib", cell->calib == NULL ? "" : cell->calib);
    id_text(&h, "task", cell->task);
    id_number(&h, "task_revision", cell->task_revision);
    id_text(&h, "dataset_digest", cell->dataset_digest);
    id_text(&h, "arithmetic", cell->arithmetic);
    id_number(&h, "arithmetic_revision", cell->arithmetic_revision);
    id_number(&h, "seed", cell->seed);
    if (cell->reference != NULL && cell->reference[0] != '\0') {
        id_text(&h, "reference", cell->reference);
        id_number(&h, "reference_revision", cell->reference_revision);
    }
    ucb_sha256_final_hex(&h, cell->id);
}

/* ---- the digest of a cell ---- */

static void hash_number(struct ucb_sha256 *h, char tag, uint64_t bits)
{
    uint8_t bytes[9] = {(uint8_t)tag};
    for (int i = 0; i < 8; i++) bytes[1 + i] = (uint8_t)(bits >> (8 * i));
    ucb_sha256_update(h, bytes, sizeof(bytes));
}

static void hash_column(struct ucb_sha256 *h, sqlite3_stmt *row, int column)
{
    int type = sqlite3_column_type(row, column); /* before any read, which may convert */
    double real = type == SQLITE_FLOAT ? sqlite3_column_double(row, column) : 0;
    uint64_t bits;
    size_t n_bytes;
    switch (type) {
    case SQLITE_NULL: ucb_sha256_update(h, "N", 1); break;
    case SQLITE_INTEGER:
        hash_number(h, 'I', (uint64_t)sqlite3_column_int64(row, column));
        break;
    case SQLITE_FLOAT:
        memcpy(&bits, &real, sizeof(bits));
        hash_number(h, 'F', bits);
        break;
    case SQLITE_TEXT:
    default:
        n_bytes = (size_t)sqlite3_column_bytes(row, column);
        hash_number(h, type == SQLITE_TEXT ? 'T' : 'B', n_bytes);
        if (n_bytes > 0) ucb_sha256_update(h, sqlite3_column_blob(row, column), n_bytes);
    }
}

/* Hashes every row of a query whose only parameter, if it has one, is a cell's key. */
static ucb_status hash_rows(struct ucb_store *store, const char *sql, int64_t cell_key,
                            struct ucb_sha256 *h, struct ucb_err *err)
{
    static const char doing[] = "read a cell for the digest";
    sqlite3_stmt *rows = NULL;
    bool row = false;
    UCB_TRY(ucb_sql_prepare(store, sql, doing, &rows, err));
    if (sqlite3_bind_parameter_count(rows) > 0) sqlite3_bind_int64(rows, 1, cell_key);
    ucb_status status = ucb_sql_step(store, rows, doing, &row, err);
    while (status == UCB_OK && row) {
        for (int i = 0; i < sqlite3_column_count(rows); i++) hash_column(h, rows, i);
        status = ucb_sql_step(store, rows, doing, &row, err);
    }
    sqlite3_finalize(rows);
    return status;
}

/*
 * A failed cell is its key and status only: how far it came depends on the machine. Checks
 * are left out because which of them run depends on the CPU; a check that fails shows in
 * the status of the sweep.
 */
static const char *const digest_queries[] = {
    "SELECT cell_id, status FROM cells WHERE cell_key = ?",
    "SELECT n_items, weights_digest, documents_digest FROM cells WHERE cell_key = ? AND status = 'OK'",
    "SELECT n_weights, n_parameters, rest_bytes, model_file_bytes, bpw_nominal, bpw_claimed, codes_bytes, scales_bytes,"
    " zeros_bytes, codebook_bytes, factors_bytes, tables_bytes, header_bytes, padding_bytes"
    " FROM sizes JOIN cells USING (cell_key) WHERE cell_key = ? AND status = 'OK'",
    "SELECT metric, value, ci_low, ci_high, n, interval FROM metrics"
    " WHERE cell_key = ? AND is_quality ORDER BY metric",
    "SELECT item, document, n_tokens, sum_logp, t1_gt_hits, t10_gt_hits, t1_agree_hits, t10_agree_hits,"
    " t10_overlap_sum, target_correct, last_t1_gt, last_t10_gt, last_t1_agree, kld_sum, ear_sum, kld"
    " FROM items WHERE cell_key = ? ORDER BY item",
};

ucb_status ucb_store_cell_digest(struct ucb_store *store, int64_t cell_key,
                                 char hex[UCB_SHA256_HEX], struct ucb_err *err)
{
    struct ucb_sha256 h;
    ucb_status status = UCB_OK;
    ucb_sha256_init(&h);
    for (size_t i = 0;
         i < sizeof(digest_queries) / sizeof(digest_queries[0]) && status == UCB_OK; i++) {
        hash_number(&h, 'Q', i); /* where one query's rows end and the next one's begin */
        status = hash_rows(store, digest_queries[i], cell_key, &h, err);
    }
    ucb_sha256_final_hex(&h, hex);
    return status;
}

/* ---- the digest of a database ---- */

static ucb_status collect_digests(struct ucb_store *store, struct ucb_err *err)
{
    static const char doing[] = "collect digests";
    sqlite3_stmt *cells = NULL, *insert = NULL;
    char hex[UCB_SHA256_HEX];
    bool row = false;
    ucb_status status = UCB_OK;
    UCB_TRY_OUT(ucb_sql_prepare(store,
                                "SELECT cell_key, cell_id FROM cells"
                                " WHERE status <> 'OK' OR n_items > 0", /* as v_results */
                                doing, &cells, err));
    UCB_TRY_OUT(ucb_sql_prepare(store,
                                "INSERT OR IGNORE INTO temp.cell_digests VALUES (?, ?)",
                                doing, &insert, err));
    UCB_TRY_OUT(ucb_sql_step(store, cells, doing, &row, err));
    while (row) {
        UCB_TRY_OUT(ucb_store_cell_digest(store, sqlite3_column_int64(cells, 0), hex, err));
        sqlite3_reset(insert);
        sqlite3_bind_value(insert, 1, sqlite3_column_value(cells, 1));
        sqlite3_bind_text(insert, 2, hex, -1, SQLITE_STATIC);
        UCB_TRY_OUT(ucb_sql_step(store, insert, doing, NULL, err));
        UCB_TRY_OUT(ucb_sql_step(store, cells, doing, &row, err));
    }
out:
    sqlite3_finalize(insert);
    sqlite3_finalize(cells);
    return status;
}

static ucb_status hash_collected(struct ucb_store *store, char hex[UCB_SHA256_HEX],
                                 struct ucb_err *err)
{
    static const char sql[] = "SELECT cell_id, digest FROM temp.cell_digests ORDER BY 1, 2";
    struct ucb_sha256 h;
    char scratch[UCB_SHA256_HEX];
    ucb_sha256_init(&h);
    ucb_status status = hash_rows(store, sql, 0, &h, err);
    ucb_sha256_final_hex(&h, status == UCB_OK ? hex : scratch);
    return status;
}

ucb_status ucb_store_digest(struct ucb_store *store, char hex[UCB_SHA256_HEX],
                            struct ucb_err *err)
{
    static const char table[] =
        "PRAGMA temp_store = MEMORY; DROP TABLE IF EXISTS temp.cell_digests;"
        "CREATE TEMP TABLE cell_digests (cell_id TEXT, digest TEXT, PRIMARY KEY (cell_id, digest))";
    UCB_TRY(ucb_sql_run(store, table, "collect digests", err));
    /* One read transaction, or a part of the caller's: a sweep that writes meanwhile is
     * either in the digest whole or not at all. */
    UCB_TRY(ucb_sql_run(store, "SAVEPOINT digest", "collect digests", err));
    ucb_status status = collect_digests(store, err);
    if (status == UCB_OK) status = hash_collected(store, hex, err);
    if (status == UCB_OK)
        return ucb_sql_run(store, "RELEASE digest", "collect digests", err);
    sqlite3_exec(store->db, "ROLLBACK TO digest; RELEASE digest", NULL, NULL, NULL);
    return status;
}
