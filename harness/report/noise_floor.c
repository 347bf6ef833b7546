/* noise_floor.c - see noise_floor.h. */
#include "report/noise_floor.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

/* Rows of one cell: those of the run that came last. */
static const char query[] =
    "SELECT cell_id, arithmetic, n_items, metric, value, ci_low, ci_high, n FROM v_latest"
    " WHERE spec = 'none' AND reference = ?1 AND status = 'OK' AND model = ?2 AND task = ?3"
    " AND dataset = ?4 ORDER BY run_id DESC, cell_id";
enum { CELL_ID, ARITHMETIC, N_ITEMS, METRIC, VALUE, LOW, HIGH, N };

static ucb_status fail_query(struct ucb_report_job *job, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the noise floor: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

static bool begin_floor(struct ucb_arena *arena, sqlite3_stmt *row,
                        struct ucb_noise_floor *f)
{
    const struct ucb_estimate unknown = {NAN, NAN, NAN};
    *f = (struct ucb_noise_floor){
        .arithmetic = ucb_arena_strdup(arena,
                                       (const char *)sqlite3_column_text(row, ARITHMETIC)),
        .cell_id = ucb_arena_strdup(arena, (const char *)sqlite3_column_text(row, CELL_ID)),
        .kld_mean = unknown,
        .ear = unknown,
        .ppl_ratio = unknown,
        .n_items = sqlite3_column_int64(row, N_ITEMS),
        .flips_lost = -1,
        .flips_won = -1,
    };
    return f->arithmetic != NULL && f->cell_id != NULL;
}

static void read_metric(sqlite3_stmt *row, struct ucb_noise_floor *f)
{
    const char *metric = (const char *)sqlite3_column_text(row, METRIC);
    const struct ucb_estimate e = {real_at(row, VALUE), real_at(row, LOW),
                                   real_at(row, HIGH)};
    if (metric == NULL) return;
    if (strcmp(metric, "kld_mean") == 0) {
        f->kld_mean = e;
        f->n_documents = sqlite3_column_int64(row, N);
    }
    if (strcmp(metric, "ear") == 0) f->ear = e;
    if (strcmp(metric, "ppl_ratio") == 0) f->ppl_ratio = e;
    if (strcmp(metric, "flips_lost") == 0) f->flips_lost = (int64_t)e.value;
    if (strcmp(metric, "flips_won") == 0) f->flips_won = (int64_t)e.value;
}

static ucb_status read_rows(struct ucb_report_job *job, sqlite3_stmt *rows, bool *found,
                            struct ucb_noise_floor *out, struct ucb_err *err)
{
    struct ucb_noise_floor f;
    bool any = false;
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        if (!any && !begin_floor(job->arena, rows, &f))
            return UCB_FAIL(err, UCB_NOMEM, "no memory for a noise floor");
        any = true;
        if (strcmp(f.cell_id, (const char *)sqlite3_column_text(rows, CELL_ID)) != 0) break;
        read_metric(rows, &f);
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW) return fail_query(job, err);
    *found = any;
    if (any) *out = f;
    return UCB_OK;
}

ucb_status ucb_report_noise_floor(struct ucb_report_job *job, const char *model,
                                  const char *task, const char *dataset,
                                  const char *arithmetic, bool *found,
                                  struct ucb_noise_floor *out, struct ucb_err *err)
{
    const char *const texts[] = {arithmetic, model, task, dataset};
    sqlite3_stmt *rows = NULL;
    if (sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows, NULL) != SQLITE_OK)
        return fail_query(job, err);
    for (int i = 0; i < 4; i++) sqlite3_bind_text(rows, i + 1, texts[i], -1, SQLITE_STATIC);
    ucb_status status = read_rows(job, rows, found, out, err);
    sqlite3_finalize(rows);
    return status;
}
