/*
 * store_write.c - runs and cells into the database, each cell in one transaction.
 *
 * A key (cell id, build id) that is already there:
 *     stored FAILED                   replaced
 *     stored OK, new one FAILED       the stored one stays, the run adopts it
 *     stored OK, new one equal        the stored one stays, the run adopts it
 *     stored OK, new one differs      CORRUPT: one build gave two answers, and neither is
 *                                     thrown away silently
 *
 * Equal is decided by writing the new one, taking its digest, and rolling back: one
 * definition of equal for all uses.
 */
#include "store/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "store/store_internal.h"

/* ---- runs and files ---- */

ucb_status ucb_store_begin_run(struct ucb_store *store, const struct ucb_run_info *info,
                               int64_t *run_id, struct ucb_err *err)
{
    static const char doing[] = "store a run";
    sqlite3_stmt *insert = NULL;
    UCB_TRY(
        ucb_sql_prepare(store,
                        "INSERT INTO runs (started, build_id, command_line, environment)"
                        " VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?, ?, ?)",
                        doing, &insert, err));
    struct ucb_binder b = {.statement = insert};
    ucb_bind_text(&b, info->build_id);
    ucb_bind_text(&b, info->command_line);
    ucb_bind_text(&b, info->environment_json == NULL ? "{}" : info->environment_json);
    ucb_status status = ucb_bind_run(store, &b, doing, err);
    sqlite3_finalize(insert);
    if (status == UCB_OK) *run_id = sqlite3_last_insert_rowid(store->db);
    return status;
}

ucb_status ucb_store_end_run(struct ucb_store *store, int64_t run_id, struct ucb_err *err)
{
    static const char doing[] = "store the end of a run";
    sqlite3_stmt *update = NULL;
    UCB_TRY(ucb_sql_prepare(
        store,
        "UPDATE runs SET ended = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE run_id = ?",
        doing, &update, err));
    struct ucb_binder b = {.statement = update};
    ucb_bind_integer(&b, (uint64_t)run_id);
    ucb_status status = ucb_bind_run(store, &b, doing, err);
    sqlite3_finalize(update);
    return status;
}

ucb_status ucb_store_put_file(struct ucb_store *store, int64_t run_id, const char *kind,
                              const char *path, uint64_t n_bytes, const char *sha256,
                              struct ucb_err *err)
{
    static const char doing[] = "store the digest of a file";
    sqlite3_stmt *insert = NULL;
    /* A run may name the same file twice (two tasks, one data set): the later entry says
     * the same. */
    UCB_TRY(ucb_sql_prepare(store, "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                            doing, &insert, err));
    struct ucb_binder b = {.statement = insert};
    ucb_bind_integer(&b, (uint64_t)run_id);
    ucb_bind_text(&b, kind);
    ucb_bind_text(&b, path);
    ucb_bind_integer(&b, n_bytes);
    ucb_bind_text(&b, sha256);
    ucb_status status = ucb_bind_run(store, &b, doing, err);
    sqlite3_finalize(insert);
    return status;
}

/* ---- looking for a cell ---- */

enum found { FOUND_NONE, FOUND_FAILED, FOUND_OK };

static ucb_status find_cell(struct ucb_store *store, const char *cell_id,
                            const char *build_id, enum found *found, int64_t *cell_key,
                            struct ucb_err *err)
{
    static const char doing[] = "look for a cell";
    sqlite3_stmt *select = NULL;
    bool row = false;
    UCB_TRY(ucb_sql_prepare(
        store,
        "SELECT cell_key, status = 'OK' FROM cells WHERE cell_id = ? AND build_id = ?",
        doing, &select, err));
    struct ucb_binder b = {.statement = select};
    ucb_bind_text(&b, cell_id);
    ucb_bind_text(&b, build_id);
    ucb_status status = ucb_sql_step(store, select, doing, &row, err);
    if (status == UCB_OK) {
        *found = !row                            ? FOUND_NONE
                 : sqlite3_column_int(select, 1) ? FOUND_OK
                                                 : FOUND_FAILED;
        *cell_key = row ? sqlite3_column_int64(select, 0) : 0;
    }
    sqlite3_finalize(select);
    return status;
}

ucb_status ucb_store_has_cell(struct ucb_store *store, const char *cell_id,
                              const char *build_id, bool *found, struct ucb_err *err)
{
    enum found what = FOUND_NONE;
    int64_t cell_key;
    UCB_TRY(find_cell(store, cell_id, build_id, &what, &cell_key, err));
    *found = what == FOUND_OK;
    return UCB_OK;
}

static ucb_status link_run(struct ucb_store *store, int64_t run_id, int64_t cell_key,
                           struct ucb_err *err)
{
    static const char doing[] = "count a cell to a run";
    sqlite3_stmt *insert = NULL;
    UCB_TRY(ucb_sql_prepare(store, "INSERT OR IGNORE INTO run_cells VALUES (?, ?)", doing,
                            &insert, err));
    struct ucb_binder b = {.statement = insert};
    ucb_bind_integer(&b, (uint64_t)run_id);
    ucb_bind_integer(&b, (uint64_t)cell_key);
    ucb_status status = ucb_bind_run(store, &b, doing, err);
    sqlite3_finalize(insert);
    return status;
}

ucb_status ucb_store_adopt_cell(struct ucb_store *store, int64_t run_id,
                                const char *build_id, const char *cell_id,
                                struct ucb_err *err)
{
    enum found found = FOUND_NONE;
    int64_t cell_key = 0;
    UCB_TRY(find_cell(store, cell_id, build_id, &found, &cell_key, err));
    if (found != FOUND_OK)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: cell %.12s is %s under build %.12s, only a finished one can be adopted; run it",
            store->path, cell_id, found == FOUND_NONE ? "not stored" : "stored as failed",
            build_id);
    return link_run(store, run_id, cell_key, err);
}

/* ---- writing a cell ---- */

/* What a put works on. */
struct put {
    struct ucb_store *store;
    const char *build_id;
    const struct ucb_cell *cell;
    const struct ucb_cell_result *result;
    int64_t cell_key;
    char documents_digest[UCB_SHA256_HEX];
};

static const char doing_put[] = "store a cell";

/* One list for column and value: text, integer or real. The cell's key is column 1 and
 * bound by the caller. */
#define CELL_COLUMNS(X)                                                                    \
    X(cell_id, text, p->cell->id)                                                          \
    X(build_id, text, p->build_id)                                                         \
    X(model, text, p->cell->model)                                                         \
    X(model_digest, text, p->cell->model_digest)                                           \
    X(scope, text, p->cell->scope)                                                         \
    X(method, text, p->cell->method)                                                       \
    X(spec, text, p->cell->spec)                                                           \
    X(identity, text, p->cell->identity)                                                   \
    X(calib, text, p->cell->calib == NULL ? "" : p->cell->calib)                           \
    X(task, text, p->cell->task)                                                           \
    X(task_revision, integer, p->cell->task_revision)                                      \
    X(dataset, text, p->cell->dataset)                                                     \
    X(dataset_digest, text, p->cell->dataset_digest)                                       \
    X(arithmetic, text, p->cell->arithmetic)                                               \
    X(arithmetic_revision, integer, p->cell->arithmetic_revision)                          \
    X(seed, integer, p->cell->seed)                                                        \
    X(status, text, p->result->failed ? "FAILED" : "OK")                                   \
    X(reason, text, p->result->failed ? p->result->reason : NULL)                          \
    X(message, text, p->result->message)                                                   \
    X(weights_digest, text, p->result->weights_digest)                                     \
    X(documents_digest, text, p->documents_digest[0] == '\0' ? NULL : p->documents_digest) \
    X(n_items, integer, p->result->samples.n)                                              \
    X(reference, text, p->cell->reference == NULL ? "" : p->cell->reference)

#define SIZE_COLUMNS(X)                                             \
    X(n_weights, integer, s->n_weights)                             \
    X(n_parameters, integer, s->n_parameters)                       \
    X(rest_bytes, integer, s->rest_bytes)                           \
    X(model_file_bytes, integer, s->model_file_bytes)               \
    X(bpw_nominal, real, s->bpw_nominal)                            \
    X(bpw_claimed, real, s->bpw_claimed > 0 ? s->bpw_claimed : NAN) \
    X(codes_bytes, integer, s->part_bytes[UCB_PART_CODES])          \
    X(scales_bytes, integer, s->part_bytes[UCB_PART_SCALES])        \
    X(zeros_bytes, integer, s->part_bytes[UCB_PART_ZEROS])          \
    X(codebook_bytes, integer, s->part_bytes[UCB_PART_CODEBOOK])    \
    X(factors_bytes, integer, s->part_bytes[UCB_PART_FACTORS])      \
    X(tables_bytes, integer, s->part_bytes[UCB_PART_TABLES])        \
    X(header_bytes, integer, s->part_bytes[UCB_PART_HEADER])        \
    X(padding_bytes, integer, s->part_bytes[UCB_PART_PADDING])
_Static_assert(UCB_N_PARTS == 8,
               "a new part needs a column in db/schema.sql, a migration and a line above");

#define ITEM_COLUMNS(X)                             \
    X(document, integer, document)                  \
    X(n_tokens, integer, s->n_tokens)               \
    X(sum_logp, real, s->sum_logp)                  \
    X(t1_gt_hits, integer, s->t1_gt_hits)           \
    X(t10_gt_hits, integer, s->t10_gt_hits)         \
    X(t1_agree_hits, integer, s->t1_agree_hits)     \
    X(t10_agree_hits, integer, s->t10_agree_hits)   \
    X(t10_overlap_sum, integer, s->t10_overlap_sum) \
    X(target_correct, integer, s->target_correct)   \
    X(last_t1_gt, integer, s->last_t1_gt)           \
    X(last_t10_gt, integer, s->last_t10_gt)         \
    X(last_t1_agree, integer, s->last_t1_agree)     \
    X(kld_sum, real, s->kld_sum)                    \
    X(ear_sum, real, s->ear_sum)

#define COLUMN_NAME(name, kind, value) ", " #name
#define COLUMN_MARK(name, kind, value) ", ?"
#define COLUMN_BIND(name, kind, value) ucb_bind_##kind(&b, value);

static ucb_status put_cell_row(struct put *p, struct ucb_err *err)
{
    static const char sql[] = "INSERT INTO cells (cell_key" CELL_COLUMNS(
        COLUMN_NAME) ") VALUES (NULL" CELL_COLUMNS(COLUMN_MARK) ")";
    sqlite3_stmt *insert = NULL;
    UCB_TRY(ucb_sql_prepare(p->store, sql, doing_put, &insert, err));
    struct ucb_binder b = {.statement = insert};
    CELL_COLUMNS(COLUMN_BIND)
    ucb_status status = ucb_bind_run(p->store, &b, doing_put, err);
    sqlite3_finalize(insert);
    p->cell_key = sqlite3_last_insert_rowid(p->store->db);
    return status;
}

static ucb_status put_sizes(struct put *p, struct ucb_err *err)
{
    static const char sql[] = "INSERT INTO sizes (cell_key" SIZE_COLUMNS(
        COLUMN_NAME) ") VALUES (?" SIZE_COLUMNS(COLUMN_MARK) ")";
    const struct ucb_sizes *s = &p->result->sizes;
    sqlite3_stmt *insert = NULL;
    if (p->result->failed && s->n_weights == 0)
        return UCB_OK; /* it failed before anything was counted */
    UCB_TRY(ucb_sql_prepare(p->store, sql, doing_put, &insert, err));
    struct ucb_binder b = {.statement = insert};
    ucb_bind_integer(&b, (uint64_t)p->cell_key);
    SIZE_COLUMNS(COLUMN_BIND)
    ucb_status status = ucb_bind_run(p->store, &b, doing_put, err);
    sqlite3_finalize(insert);
    return status;
}

static ucb_status put_items(struct put *p, struct ucb_err *err)
{
    static const char sql[] = "INSERT INTO items (cell_key, item, kld" ITEM_COLUMNS(
        COLUMN_NAME) ") VALUES (?, ?, ?" ITEM_COLUMNS(COLUMN_MARK) ")";
    const struct ucb_samples *samples = &p->result->samples;
    /* All its divergences are 0 by definition: stored as NULL. */
    bool original = strcmp(p->cell->spec, "none") == 0 &&
                    (p->cell->reference == NULL || p->cell->reference[0] == '\0');
    sqlite3_stmt *insert = NULL;
    ucb_status status = ucb_sql_prepare(p->store, sql, doing_put, &insert, err);
    for (size_t i = 0; i < samples->n && status == UCB_OK; i++) {
        const struct ucb_sample *s = &samples->samples[i];
        uint32_t document = samples->document[i];
        struct ucb_binder b = {.statement = insert};
        ucb_bind_integer(&b, (uint64_t)p->cell_key);
        ucb_bind_integer(&b, i);
        /* x86: little-endian as it lies in memory */
        ucb_bind_blob(&b, original ? NULL : s->kld, (size_t)s->n_tokens * sizeof(float));
        ITEM_COLUMNS(COLUMN_BIND)
        status = ucb_bind_run(p->store, &b, doing_put, err);
    }
    sqlite3_finalize(insert);
    return status;
}

static ucb_status put_metric(struct put *p, sqlite3_stmt *insert,
                             const struct ucb_metric *m, bool is_quality,
                             struct ucb_err *err)
{
    struct ucb_binder b = {.statement = insert};
    ucb_bind_integer(&b, (uint64_t)p->cell_key);
    ucb_bind_text(&b, m->name);
    ucb_bind_real(&b, m->value);
    ucb_bind_real(&b, m->low);
    ucb_bind_real(&b, m->high);
    ucb_bind_integer(&b, m->n);
    ucb_bind_text(&b, m->interval == NULL ? "none" : m->interval);
    ucb_bind_text(&b, m->note);
    ucb_bind_integer(&b, is_quality);
    return ucb_bind_run(p->store, &b, doing_put, err);
}

static ucb_status put_metrics(struct put *p, struct ucb_err *err)
{
    const struct ucb_cell_result *r = p->result;
    const struct ucb_metric costs[] = {
        {"encode_seconds", r->encode_seconds, NAN, NAN, 1, "none", NULL},
        {"decode_seconds", r->decode_seconds, NAN, NAN, 1, "none", NULL},
        {"tokens_per_second", r->tokens_per_second, NAN, NAN, 1, "none", NULL},
        {"peak_rss_bytes", (double)r->peak_rss_bytes, NAN, NAN, 1, "none", NULL},
    };
    sqlite3_stmt *insert = NULL;
    if (r->failed) return UCB_OK;
    ucb_status status = ucb_sql_prepare(
        p->store, "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", doing_put,
        &insert, err);
    for (size_t i = 0; i < r->n_metrics && status == UCB_OK; i++)
        status = put_metric(p, insert, &r->metrics[i], true, err);
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]) && status == UCB_OK; i++)
        status = put_metric(p, insert, &costs[i], false, err);
    for (size_t i = 0; i < r->n_costs && status == UCB_OK; i++)
        status = put_metric(p, insert, &r->costs[i], false, err);
    sqlite3_finalize(insert);
    return status;
}

static ucb_status put_layers(struct put *p, struct ucb_err *err)
{
    const struct ucb_cell_result *r = p->result;
    sqlite3_stmt *insert = NULL;
    if (r->failed || r->layers == NULL) return UCB_OK;
    ucb_status status = ucb_sql_prepare(
        p->store, "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?)", doing_put, &insert, err);
    for (size_t i = 0; i < r->n_layers && status == UCB_OK; i++) {
        const struct ucb_layer_record *layer = &r->layers[i];
        struct ucb_binder b = {.statement = insert};
        ucb_bind_integer(&b, (uint64_t)p->cell_key);
        ucb_bind_integer(&b, i);
        ucb_bind_real(&b, layer->seconds);
        ucb_bind_integer(&b, layer->peak_rss_bytes);
        ucb_bind_real(&b, layer->is_tuned ? layer->loss_before : NAN);
        ucb_bind_real(&b, layer->is_tuned ? layer->loss_after : NAN);
        status = ucb_bind_run(p->store, &b, doing_put, err);
    }
    sqlite3_finalize(insert);
    return status;
}

static ucb_status put_checks(struct put *p, struct ucb_err *err)
{
    sqlite3_stmt *insert = NULL;
    ucb_status status = ucb_sql_prepare(p->store, "INSERT INTO checks VALUES (?, ?, ?, ?)",
                                        doing_put, &insert, err);
    size_t n = sizeof(p->result->checks) / sizeof(p->result->checks[0]);
    for (size_t i = 0; i < n && p->result->checks[i].name != NULL && status == UCB_OK;
         i++) {
        struct ucb_binder b = {.statement = insert};
        ucb_bind_integer(&b, (uint64_t)p->cell_key);
        ucb_bind_text(&b, p->result->checks[i].name);
        ucb_bind_text(&b, p->result->checks[i].status);
        ucb_bind_text(&b, p->result->checks[i].detail);
        status = ucb_bind_run(p->store, &b, doing_put, err);
    }
    sqlite3_finalize(insert);
    return status;
}

/* ---- documents: stored once for every set of equal content ---- */

static void digest_documents(struct put *p)
{
    const struct ucb_items *items = p->result->items;
    struct ucb_sha256 h;
    if (items == NULL || items->documents == NULL || items->n_documents == 0) return;
    ucb_sha256_init(&h);
    for (size_t i = 0; i < items->n_documents; i++) {
        const struct ucb_document *d = &items->documents[i];
        const char *name = d->name == NULL ? "" : d->name;
        uint64_t head[3] = {strlen(name), d->n_words, d->n_bytes};
        ucb_sha256_update(&h, head, sizeof(head));
        ucb_sha256_update(&h, name, strlen(name));
    }
    ucb_sha256_final_hex(&h, p->documents_digest);
}

static ucb_status has_documents(struct put *p, bool *found, struct ucb_err *err)
{
    sqlite3_stmt *select = NULL;
    UCB_TRY(ucb_sql_prepare(p->store,
                            "SELECT 1 FROM documents WHERE documents_digest = ? LIMIT 1",
                            doing_put, &select, err));
    sqlite3_bind_text(select, 1, p->documents_digest, -1, SQLITE_STATIC);
    ucb_status status = ucb_sql_step(p->store, select, doing_put, found, err);
    sqlite3_finalize(select);
    return status;
}

static ucb_status put_documents(struct put *p, struct ucb_err *err)
{
    sqlite3_stmt *insert = NULL;
    bool found = false;
    digest_documents(p);
    if (p->documents_digest[0] == '\0') return UCB_OK;
    UCB_TRY(has_documents(p, &found, err));
    if (found) return UCB_OK;
    ucb_status status = ucb_sql_prepare(
        p->store, "INSERT INTO documents VALUES (?, ?, ?, ?, ?)", doing_put, &insert, err);
    for (size_t i = 0; i < p->result->items->n_documents && status == UCB_OK; i++) {
        const struct ucb_document *d = &p->result->items->documents[i];
        struct ucb_binder b = {.statement = insert};
        ucb_bind_text(&b, p->documents_digest);
        ucb_bind_integer(&b, i);
        ucb_bind_text(&b, d->name == NULL ? "" : d->name);
        ucb_bind_integer(&b, d->n_words);
        ucb_bind_integer(&b, d->n_bytes);
        status = ucb_bind_run(p->store, &b, doing_put, err);
    }
    sqlite3_finalize(insert);
    return status;
}

/* ---- the transaction ---- */

static ucb_status put_all(struct put *p, struct ucb_err *err)
{
    UCB_TRY(put_documents(p, err));
    UCB_TRY(put_cell_row(p, err));
    UCB_TRY(put_sizes(p, err));
    UCB_TRY(put_items(p, err));
    UCB_TRY(put_metrics(p, err));
    UCB_TRY(put_layers(p, err));
    return put_checks(p, err);
}

static ucb_status delete_cell(struct ucb_store *store, int64_t cell_key,
                              struct ucb_err *err)
{
    sqlite3_stmt *delete =
        NULL; /* everything that hangs on the cell goes with it: ON DELETE CASCADE */
    UCB_TRY(ucb_sql_prepare(store, "DELETE FROM cells WHERE cell_key = ?", doing_put,
                            &delete, err));
    struct ucb_binder b = {.statement = delete};
    ucb_bind_integer(&b, (uint64_t)cell_key);
    ucb_status status = ucb_bind_run(store, &b, doing_put, err);
    sqlite3_finalize(delete);
    return status;
}

/* *equal: the stored cell is what the new one would be. The database is left as it was. */
static ucb_status compare_with_stored(struct put *p, int64_t stored_key, bool *equal,
                                      struct ucb_err *err)
{
    char stored[UCB_SHA256_HEX], fresh[UCB_SHA256_HEX];
    UCB_TRY(ucb_store_cell_digest(p->store, stored_key, stored, err));
    UCB_TRY(ucb_sql_run(p->store, "SAVEPOINT compare", doing_put, err));
    ucb_status status = delete_cell(p->store, stored_key, err);
    if (status == UCB_OK) status = put_all(p, err);
    if (status == UCB_OK) status = ucb_store_cell_digest(p->store, p->cell_key, fresh, err);
    if (status != UCB_OK) return status; /* the caller rolls everything back */
    *equal = strcmp(stored, fresh) == 0;
    return ucb_sql_run(p->store, "ROLLBACK TO compare; RELEASE compare", doing_put, err);
}

static ucb_status keep_stored(struct put *p, int64_t run_id, int64_t stored_key,
                              struct ucb_err *err)
{
    bool equal = p->result->failed; /* a failure never takes the place of a result */
    if (!equal) UCB_TRY(compare_with_stored(p, stored_key, &equal, err));
    if (!equal)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: %s, %s, %s: this build already stored another result for cell %.12s; one "
            "build must give one result, so look for a machine fault or an unpinned input (the stored result "
            "is kept)",
            p->store->path, p->cell->model, p->cell->spec, p->cell->task, p->cell->id);
    return link_run(p->store, run_id, stored_key, err);
}

static ucb_status put_in_transaction(struct put *p, int64_t run_id, struct ucb_err *err)
{
    enum found found = FOUND_NONE;
    int64_t stored_key = 0;
    UCB_TRY(find_cell(p->store, p->cell->id, p->build_id, &found, &stored_key, err));
    if (found == FOUND_OK) return keep_stored(p, run_id, stored_key, err);
    if (found == FOUND_FAILED) UCB_TRY(delete_cell(p->store, stored_key, err));
    UCB_TRY(put_all(p, err));
    return link_run(p->store, run_id, p->cell_key, err);
}

ucb_status ucb_store_put_cell(struct ucb_store *store, int64_t run_id, const char *build_id,
                              const struct ucb_cell *cell,
                              const struct ucb_cell_result *result, struct ucb_err *err)
{
    struct put p = {.store = store, .build_id = build_id, .cell = cell, .result = result};
    UCB_TRY(ucb_sql_run(store, "BEGIN IMMEDIATE", doing_put, err));
    ucb_status status = put_in_transaction(&p, run_id, err);
    ucb_sql_end(store, doing_put, &status, err);
    return status;
}
