/* store_night.c - see store_night.h. */
#include "store/store_night.h"

#include <math.h>
#include <string.h>

#include "store/store_internal.h"

/* The number of rows of a table or query, for the size of a list. */
static ucb_status list_of(struct ucb_store *store, const char *count_sql,
                          struct ucb_arena *arena, size_t item_bytes, void **list,
                          size_t *capacity, struct ucb_err *err)
{
    int64_t n = 0;
    UCB_TRY(ucb_sql_integer(store, count_sql, &n, err));
    *capacity = (size_t)n;
    *list = ucb_arena_array(arena, *capacity, item_bytes);
    if (*list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu rows", *capacity);
    return UCB_OK;
}

/* A text column as the arena's copy; "" for NULL. NOMEM through *enough. */
static const char *text_at(struct ucb_arena *arena, sqlite3_stmt *row, int column,
                           bool *enough)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    const char *copy = ucb_arena_strdup(arena, text == NULL ? "" : text);
    *enough = *enough && copy != NULL;
    return copy;
}

/* ---- runs ---- */

/* As v_results: what only checks (ucbench verify) left is no result. */
#define RESULT_ROWS \
    " FROM run_cells JOIN cells USING (cell_key) WHERE (status <> 'OK' OR n_items > 0)"

ucb_status ucb_store_runs(struct ucb_store *store, struct ucb_arena *arena,
                          struct ucb_stored_run **runs, size_t *n_runs, struct ucb_err *err)
{
    static const char doing[] = "read the runs";
    sqlite3_stmt *rows = NULL;
    struct ucb_stored_run *list = NULL;
    size_t capacity, n = 0;
    bool row = false, enough = true;
    UCB_TRY(list_of(store, "SELECT count(*) FROM runs", arena, sizeof(*list),
                    (void **)&list, &capacity, err));
    UCB_TRY(ucb_sql_prepare(
        store,
        "SELECT run_id, build_id, started, ended IS NOT NULL, n FROM runs JOIN"
        " (SELECT run_id, count(*) AS n" RESULT_ROWS " GROUP BY run_id) USING (run_id)"
        " ORDER BY run_id",
        doing, &rows, err));
    ucb_status status = ucb_sql_step(store, rows, doing, &row, err);
    while (status == UCB_OK && row && n < capacity) {
        struct ucb_stored_run *r = &list[n++];
        r->run_id = sqlite3_column_int64(rows, 0);
        r->build_id = text_at(arena, rows, 1, &enough);
        r->started = text_at(arena, rows, 2, &enough);
        r->ended = sqlite3_column_int(rows, 3) != 0;
        r->n_cells = (size_t)sqlite3_column_int64(rows, 4);
        status = ucb_sql_step(store, rows, doing, &row, err);
    }
    sqlite3_finalize(rows);
    if (status == UCB_OK && !enough)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for %zu runs", capacity);
    *runs = list;
    *n_runs = n;
    return status;
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

#define METRIC(name)                                                                \
    ", (SELECT value FROM metrics WHERE metrics.cell_key = run_cells.cell_key AND " \
    "metric = '" name "')"

/* Looks a cell of this run up: its size and metrics. */
static ucb_status look_up(struct ucb_store *store, sqlite3_stmt *select,
                          const struct ucb_stored_cell *cell, struct ucb_run_cell *out,
                          bool *found, struct ucb_err *err)
{
    sqlite3_reset(select);
    sqlite3_bind_int64(select, 2, cell->cell_key);
    UCB_TRY(ucb_sql_step(store, select, "read the cells of a run", found, err));
    if (!*found) return UCB_OK;
    *out = (struct ucb_run_cell){.cell = cell,
                                 .bpw_matrices = real_at(select, 0),
                                 .ppl = real_at(select, 1),
                                 .accuracy = real_at(select, 2),
                                 .kld_mean = real_at(select, 3)};
    return UCB_OK;
}

ucb_status ucb_store_run_cells(struct ucb_store *store, int64_t run_id,
                               const struct ucb_stored_cell *all, size_t n_all,
                               struct ucb_arena *arena, struct ucb_run_cell **cells,
                               size_t *n_cells, struct ucb_err *err)
{
    sqlite3_stmt *select = NULL;
    size_t n = 0;
    struct ucb_run_cell *list = UCB_NEW(arena, struct ucb_run_cell, n_all);
    if (list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu cells", n_all);
    UCB_TRY(ucb_sql_prepare(
        store,
        "SELECT (SELECT bpw_matrices FROM sizes WHERE sizes.cell_key = run_cells.cell_key)" METRIC(
            "ppl") METRIC("accuracy") METRIC("kld_mean") RESULT_ROWS
        " AND run_id = ? AND cell_key = ?",
        "read the cells of a run", &select, err));
    ucb_status status = UCB_OK;
    sqlite3_bind_int64(select, 1, run_id);
    for (size_t i = 0; i < n_all && status == UCB_OK; i++) {
        bool found = false;
        status = look_up(store, select, &all[i], &list[n], &found, err);
        n += status == UCB_OK && found;
    }
    sqlite3_finalize(select);
    *cells = list;
    *n_cells = n;
    return status;
}

ucb_status ucb_store_digest_cell(struct ucb_store *store, struct ucb_run_cell *cell,
                                 struct ucb_err *err)
{
    return ucb_store_cell_digest(store, cell->cell->cell_key, cell->digest, err);
}

/* ---- timings ---- */

ucb_status ucb_store_timings(struct ucb_store *store, struct ucb_arena *arena,
                             struct ucb_timing **timings, size_t *n_timings,
                             struct ucb_err *err)
{
    static const char doing[] = "read the timings";
    sqlite3_stmt *rows = NULL;
    struct ucb_timing *list = NULL;
    size_t capacity, n = 0;
    bool row = false, enough = true;
    UCB_TRY(list_of(store, "SELECT count(*) FROM timings", arena, sizeof(*list),
                    (void **)&list, &capacity, err));
    UCB_TRY(ucb_sql_prepare(
        store,
        "SELECT night, name, build_id, side = 'candidate', rerun, round, seconds"
        " FROM timings ORDER BY name, night, rerun, side, round",
        doing, &rows, err));
    ucb_status status = ucb_sql_step(store, rows, doing, &row, err);
    while (status == UCB_OK && row && n < capacity) {
        struct ucb_timing *t = &list[n++];
        t->night = text_at(arena, rows, 0, &enough);
        t->name = text_at(arena, rows, 1, &enough);
        t->build_id = text_at(arena, rows, 2, &enough);
        t->is_candidate = sqlite3_column_int(rows, 3) != 0;
        t->is_rerun = sqlite3_column_int(rows, 4) != 0;
        t->round = (uint32_t)sqlite3_column_int64(rows, 5);
        t->seconds = sqlite3_column_double(rows, 6);
        status = ucb_sql_step(store, rows, doing, &row, err);
    }
    sqlite3_finalize(rows);
    if (status == UCB_OK && !enough)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for %zu timings", capacity);
    *timings = list;
    *n_timings = n;
    return status;
}

/* Name, seconds and build of everything that a repeat's database has timed. Cells of one
 * model and method share their encoding and decoding: the mean over them. Of a model's path
 * its last part. */
#define MODEL_NAME "replace(model, rtrim(model, replace(model, '/', '')), '')"
static const char times_query[] =
    "SELECT " MODEL_NAME
    " || '/' || spec || ' ' || replace(metric, '_seconds', ''), avg(value),"
    "   min(build_id) FROM v_results"
    " WHERE metric IN ('encode_seconds', 'decode_seconds') AND status = 'OK'"
    " GROUP BY 1 HAVING avg(value) >= 0.01"
    " UNION ALL SELECT " MODEL_NAME
    " || '/' || spec || '/' || task || ' score', avg(1000 / value),"
    "   min(build_id) FROM v_results"
    " WHERE metric = 'tokens_per_second' AND value > 0 AND status = 'OK'"
    " GROUP BY 1 ORDER BY 1";

static ucb_status put_time(struct ucb_store *store, sqlite3_stmt *insert,
                           const struct ucb_timing *which, sqlite3_stmt *row,
                           struct ucb_err *err)
{
    struct ucb_binder b = {.statement = insert};
    ucb_bind_text(&b, which->night);
    ucb_bind_text(&b, (const char *)sqlite3_column_text(row, 0));
    ucb_bind_text(&b, which->is_candidate ? "candidate" : "baseline");
    ucb_bind_integer(&b, which->is_rerun);
    ucb_bind_integer(&b, which->round);
    ucb_bind_text(&b, (const char *)sqlite3_column_text(row, 2));
    ucb_bind_real(&b, sqlite3_column_double(row, 1));
    return ucb_bind_run(store, &b, "store a timing", err);
}

/* A first round that is taken again makes the rerun of the old one void. */
static ucb_status forget_times(struct ucb_store *store, const struct ucb_timing *which,
                               struct ucb_err *err)
{
    sqlite3_stmt *delete = NULL;
    UCB_TRY(ucb_sql_prepare(store,
                            "DELETE FROM timings WHERE night = ? AND side = ? AND"
                            " rerun >= ? AND round = ?",
                            "store a timing", &delete, err));
    struct ucb_binder b = {.statement = delete};
    ucb_bind_text(&b, which->night);
    ucb_bind_text(&b, which->is_candidate ? "candidate" : "baseline");
    ucb_bind_integer(&b, which->is_rerun);
    ucb_bind_integer(&b, which->round);
    ucb_status status = ucb_bind_run(store, &b, "store a timing", err);
    sqlite3_finalize(delete);
    return status;
}

/* Cells that all failed have no times, and the gate says that they failed. */
static ucb_status check_swept(struct ucb_store *repeat, struct ucb_err *err)
{
    int64_t n_rows = 0;
    UCB_TRY(ucb_sql_integer(repeat, "SELECT count(*) FROM v_results", &n_rows, err));
    if (n_rows > 0) return UCB_OK;
    return UCB_FAIL(err, UCB_MISSING,
                    "%s: no cell in it, so nothing was timed; it must be the database of a "
                    "sweep of its own",
                    repeat->path);
}

static ucb_status copy_times(struct ucb_store *store, struct ucb_store *repeat,
                             const struct ucb_timing *which, struct ucb_err *err)
{
    static const char doing[] = "read the times of a repeat";
    sqlite3_stmt *rows = NULL, *insert = NULL;
    bool row = false;
    size_t n = 0;
    ucb_status status = forget_times(store, which, err);
    if (status != UCB_OK) return status;
    UCB_TRY_OUT(ucb_sql_prepare(repeat, times_query, doing, &rows, err));
    UCB_TRY_OUT(ucb_sql_prepare(store, "INSERT INTO timings VALUES (?, ?, ?, ?, ?, ?, ?)",
                                "store a timing", &insert, err));
    UCB_TRY_OUT(ucb_sql_step(repeat, rows, doing, &row, err));
    for (; row; n++) {
        UCB_TRY_OUT(put_time(store, insert, which, rows, err));
        UCB_TRY_OUT(ucb_sql_step(repeat, rows, doing, &row, err));
    }
    if (n == 0) UCB_TRY_OUT(check_swept(repeat, err));
out:
    sqlite3_finalize(insert);
    sqlite3_finalize(rows);
    return status;
}

ucb_status ucb_store_import_times(struct ucb_store *store, const char *path,
                                  const struct ucb_timing *which, struct ucb_err *err)
{
    struct ucb_store *repeat = NULL;
    /* Opened for reading first, which refuses a file that is not there; a baseline's older
     * program leaves an older schema, which opening for writing brings up to date. */
    struct ucb_err why = {0};
    if (ucb_store_open(path, UCB_STORE_READ, &repeat, &why) == UCB_MISSING)
        return UCB_FAIL(err, UCB_MISSING, "%s", why.text);
    ucb_store_close(repeat);
    UCB_TRY(ucb_store_open(path, UCB_STORE_WRITE, &repeat, err));
    ucb_status status = ucb_sql_run(store, "BEGIN IMMEDIATE", "store timings", err);
    if (status == UCB_OK) {
        status = copy_times(store, repeat, which, err);
        ucb_sql_end(store, "store timings", &status, err);
    }
    ucb_store_close(repeat);
    return status;
}

/* ---- evidence ---- */

static ucb_status read_evidence(struct ucb_arena *arena, sqlite3_stmt *row,
                                int64_t baseline_run, struct ucb_stored_evidence *out,
                                struct ucb_err *err)
{
    bool enough = true;
    size_t n_bytes = (size_t)sqlite3_column_bytes(row, 6);
    *out = (struct ucb_stored_evidence){.baseline_run = baseline_run,
                                        .cell_id = text_at(arena, row, 0, &enough),
                                        .night = text_at(arena, row, 1, &enough),
                                        .candidate_run = sqlite3_column_int64(row, 2),
                                        .n_lost = (uint64_t)sqlite3_column_int64(row, 3),
                                        .n_won = (uint64_t)sqlite3_column_int64(row, 4),
                                        .log_e = sqlite3_column_double(row, 5),
                                        .n_items = n_bytes / sizeof(uint32_t)};
    uint32_t *items = UCB_NEW(arena, uint32_t, out->n_items);
    if (!enough || items == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the evidence of earlier nights");
    /* x86: little-endian as it lies in memory */
    if (out->n_items > 0) memcpy(items, sqlite3_column_blob(row, 6), n_bytes);
    out->items = items;
    return UCB_OK;
}

ucb_status ucb_store_evidence(struct ucb_store *store, int64_t baseline_run,
                              struct ucb_arena *arena,
                              struct ucb_stored_evidence **evidence, size_t *n,
                              struct ucb_err *err)
{
    static const char doing[] = "read the evidence of earlier nights";
    sqlite3_stmt *rows = NULL;
    struct ucb_stored_evidence *list = NULL;
    size_t capacity;
    bool row = false;
    *n = 0;
    UCB_TRY(list_of(store, "SELECT count(*) FROM evidence", arena, sizeof(*list),
                    (void **)&list, &capacity, err));
    *evidence = list;
    UCB_TRY(ucb_sql_prepare(
        store,
        "SELECT cell_id, night, candidate_run, n_lost, n_won, log_e, items FROM evidence"
        " WHERE baseline_run = ? ORDER BY cell_id, night",
        doing, &rows, err));
    sqlite3_bind_int64(rows, 1, baseline_run);
    ucb_status status = ucb_sql_step(store, rows, doing, &row, err);
    while (status == UCB_OK && row && *n < capacity) {
        status = read_evidence(arena, rows, baseline_run, &list[(*n)++], err);
        if (status == UCB_OK) status = ucb_sql_step(store, rows, doing, &row, err);
    }
    sqlite3_finalize(rows);
    return status;
}

static ucb_status put_row(struct ucb_store *store, sqlite3_stmt *insert,
                          const struct ucb_stored_evidence *e, struct ucb_err *err)
{
    struct ucb_binder b = {.statement = insert};
    ucb_bind_integer(&b, (uint64_t)e->baseline_run);
    ucb_bind_text(&b, e->cell_id);
    ucb_bind_text(&b, e->night);
    ucb_bind_integer(&b, (uint64_t)e->candidate_run);
    ucb_bind_integer(&b, e->n_lost);
    ucb_bind_integer(&b, e->n_won);
    ucb_bind_real(&b, e->log_e);
    ucb_bind_blob(&b, e->items, e->n_items * sizeof(*e->items));
    return ucb_bind_run(store, &b, "store the evidence of a night", err);
}

ucb_status ucb_store_put_evidence(struct ucb_store *store,
                                  const struct ucb_stored_evidence *evidence, size_t n,
                                  struct ucb_err *err)
{
    static const char doing[] = "store the evidence of a night";
    sqlite3_stmt *insert = NULL;
    UCB_TRY(ucb_sql_run(store, "BEGIN IMMEDIATE", doing, err));
    ucb_status status = ucb_sql_prepare(
        store, "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?)", doing,
        &insert, err);
    for (size_t i = 0; i < n && status == UCB_OK; i++)
        status = put_row(store, insert, &evidence[i], err);
    sqlite3_finalize(insert);
    ucb_sql_end(store, doing, &status, err);
    return status;
}
