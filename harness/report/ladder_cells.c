/* ladder_cells.c - see ladder_cells.h: which cells are compared. */
#include "report/ladder_cells.h"

#include <assert.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_LIST(X)                                                            \
    X(cell_key)                                                                   \
    X(model)                                                                      \
    X(spec)                                                                       \
    X(calib)                                                                      \
    X(message)                                                                    \
    X(failed) X(contaminated) X(bpw_nominal) X(bpw_matrices) X(bpw_model) X(seed) \
        X(n_items) X(metric) X(value) X(ci_low) X(ci_high)
enum column {
#define COLUMN_ENUM(name) COLUMN_##name,
    COLUMN_LIST(COLUMN_ENUM)
#undef COLUMN_ENUM
};
#define COLUMN_TEXT(name) #name ", "
static const char cells_query[] = "SELECT " COLUMN_LIST(
    COLUMN_TEXT) "0 FROM ("
                 "SELECT c.cell_key, v.*, v.status = 'FAILED' AS failed FROM v_latest v"
                 " JOIN cells c ON c.cell_id = v.cell_id AND c.build_id = v.build_id)"
                 " WHERE task = ? AND dataset = ? AND scope = 'body' AND arithmetic = 'fp32'"
                 " AND reference = ''"
                 " ORDER BY model, spec, failed, contaminated, seed, calib, cell_key";

/* The task asked for, else the one wanted, else one of its kind, else any; the most cells
 * first. */
static const char task_query[] =
    "SELECT task, dataset FROM v_latest"
    " WHERE ?1 IS NULL OR task = ?1 OR substr(task, 1, length(?1) + 1) = ?1 || ':'"
    " GROUP BY task, dataset"
    " ORDER BY task = ?2 DESC,"
    " substr(task, 1, instr(task || ':', ':')) = substr(?2, 1, instr(?2 || ':', ':')) DESC,"
    " count(DISTINCT cell_id) DESC, task, dataset LIMIT 1";

static const char *const metric_names[] = {
#define METRIC_NAME(name) #name,
    UCB_LADDER_METRICS(METRIC_NAME)
#undef METRIC_NAME
};

static ucb_status fail_query(struct ucb_report_job *job, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the results: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

static const char *text_at(struct ucb_arena *arena, sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text == NULL ? NULL : ucb_arena_strdup(arena, text);
}

/* ---- the task ---- */

static ucb_status choose_task(struct ucb_report_job *job, const char *preferred,
                              struct ucb_ladder_cells *out, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    ucb_status status = UCB_OK;
    const char *task = NULL;
    if (sqlite3_prepare_v2(ucb_store_db(job->store), task_query, -1, &rows, NULL) !=
        SQLITE_OK)
        return fail_query(job, err);
    sqlite3_bind_text(rows, 1, job->task, -1, SQLITE_STATIC);
    sqlite3_bind_text(rows, 2, preferred, -1, SQLITE_STATIC);
    int code = sqlite3_step(rows);
    if (code == SQLITE_ROW) {
        task = text_at(job->arena, rows, 0);
        out->dataset = text_at(job->arena, rows, 1);
    }
    sqlite3_finalize(rows);
    if (code != SQLITE_ROW && code != SQLITE_DONE) return fail_query(job, err);
    if (code == SQLITE_DONE)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no results%s%s; `ucbench sweep plans/ladder.csv --db FILE` makes "
            "those of the ladder, `ucbench export --db` shows what is there",
            job->database, job->task == NULL ? "" : " of --task ",
            job->task == NULL ? "" : job->task);
    if (task == NULL || out->dataset == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a task");
    status = ucb_task_parse(task, &out->task, err);
    /* As the database has it, should defaults have changed since. */
    snprintf(out->task.spec, sizeof(out->task.spec), "%s", task);
    if (status == UCB_OK && out->task.task->ppl_unit == UCB_PPL_PER_WORD)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: perplexity per word; the ladder compares tasks per token or per "
            "passage, such as %s",
            task, preferred);
    return status;
}

/* ---- the cells ---- */

static bool read_cell(struct ucb_arena *arena, sqlite3_stmt *row, struct ucb_ladder_cell *c)
{
    *c = (struct ucb_ladder_cell){
        .cell_key = sqlite3_column_int64(row, COLUMN_cell_key),
        .model = text_at(arena, row, COLUMN_model),
        .spec = text_at(arena, row, COLUMN_spec),
        .calib = text_at(arena, row, COLUMN_calib),
        .message = text_at(arena, row, COLUMN_message),
        .failed = sqlite3_column_int(row, COLUMN_failed) != 0,
        .contaminated = sqlite3_column_int(row, COLUMN_contaminated) != 0,
        .bpw_nominal = real_at(row, COLUMN_bpw_nominal),
        .bpw_matrices = real_at(row, COLUMN_bpw_matrices),
        .bpw_model = real_at(row, COLUMN_bpw_model),
        .seed = sqlite3_column_int64(row, COLUMN_seed),
        .n_items = sqlite3_column_int64(row, COLUMN_n_items),
    };
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++)
        c->metrics[k] = (struct ucb_estimate){NAN, NAN, NAN};
    return c->model != NULL && c->spec != NULL && c->calib != NULL;
}

static void read_metric(sqlite3_stmt *row, struct ucb_ladder_cell *c)
{
    const char *metric = (const char *)sqlite3_column_text(row, COLUMN_metric);
    for (int k = 0; metric != NULL && k < UCB_LADDER_N_METRICS; k++)
        if (strcmp(metric, metric_names[k]) == 0)
            c->metrics[k] = (struct ucb_estimate){real_at(row, COLUMN_value),
                                                  real_at(row, COLUMN_ci_low),
                                                  real_at(row, COLUMN_ci_high)};
}

static ucb_status read_cells(struct ucb_report_job *job, sqlite3_stmt *rows,
                             size_t capacity, struct ucb_ladder_cells *out,
                             struct ucb_err *err)
{
    struct ucb_ladder_cell *last = NULL;
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *model = (const char *)sqlite3_column_text(rows, COLUMN_model),
                   *spec = (const char *)sqlite3_column_text(rows, COLUMN_spec);
        bool same = last != NULL && strcmp(last->model, model) == 0 &&
                    strcmp(last->spec, spec) == 0;
        if (same && last->cell_key != sqlite3_column_int64(rows, COLUMN_cell_key))
            continue; /* another calibration or seed of the same */
        if (!same) {
            assert(out->n_cells < capacity);
            last = &out->cells[out->n_cells++];
            if (!read_cell(job->arena, rows, last))
                return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its cells",
                                job->database);
        }
        read_metric(rows, last);
    }
    return code == SQLITE_DONE ? UCB_OK : fail_query(job, err);
}

static ucb_status load(struct ucb_report_job *job, const char *preferred,
                       struct ucb_ladder_cells *out, struct ucb_err *err)
{
    sqlite3 *db = ucb_store_db(job->store);
    sqlite3_stmt *count = NULL, *rows = NULL;
    ucb_status status = UCB_OK;
    *out = (struct ucb_ladder_cells){0};
    UCB_TRY(choose_task(job, preferred, out, err));
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM cells", -1, &count, NULL) !=
            SQLITE_OK ||
        sqlite3_step(count) != SQLITE_ROW ||
        sqlite3_prepare_v2(db, cells_query, -1, &rows, NULL) != SQLITE_OK) {
        status = fail_query(job, err);
        goto out;
    }
    size_t capacity = (size_t)sqlite3_column_int64(count, 0);
    out->cells = UCB_NEW(job->arena, struct ucb_ladder_cell, capacity);
    if (out->cells == NULL) {
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for %zu cells", capacity);
        goto out;
    }
    sqlite3_bind_text(rows, 1, out->task.spec, -1, SQLITE_STATIC);
    sqlite3_bind_text(rows, 2, out->dataset, -1, SQLITE_STATIC);
    status = read_cells(job, rows, capacity, out, err);
out:
    sqlite3_finalize(rows);
    sqlite3_finalize(count);
    return status;
}

ucb_status ucb_ladder_cells_load(struct ucb_report_job *job, const char *preferred,
                                 struct ucb_ladder_cells *out, struct ucb_err *err)
{
    UCB_TRY(ucb_store_begin_read(job->store, err));
    ucb_status status = load(job, preferred, out, err);
    ucb_store_end_read(job->store);
    return status;
}

/* ---- finding one ---- */

static const char distill[] = "+distill:steps=";

long ucb_ladder_steps(const char *spec)
{
    const char *at = strstr(spec, distill);
    return at == NULL ? -1 : strtol(at + strlen(distill), NULL, 10);
}

/* Equal but for the number of steps. */
static bool same_but_steps(const char *a, const char *b)
{
    const char *in_a = strstr(a, distill), *in_b = strstr(b, distill);
    if (in_a == NULL || in_b == NULL || in_a - a != in_b - b ||
        strncmp(a, b, (size_t)(in_a - a)) != 0)
        return false;
    in_a += strlen(distill);
    in_b += strlen(distill);
    return strcmp(in_a + strspn(in_a, "0123456789"), in_b + strspn(in_b, "0123456789")) ==
           0;
}

const struct ucb_ladder_cell *ucb_ladder_exact(const struct ucb_ladder_cells *cells,
                                               const char *model, const char *spec)
{
    for (size_t i = 0; i < cells->n_cells; i++)
        if (strcmp(cells->cells[i].model, model) == 0 &&
            strcmp(cells->cells[i].spec, spec) == 0)
            return &cells->cells[i];
    return NULL;
}

const struct ucb_ladder_cell *ucb_ladder_find(const struct ucb_ladder_cells *cells,
                                              const char *model, const char *spec)
{
    const struct ucb_ladder_cell *best = ucb_ladder_exact(cells, model, spec);
    if (best != NULL) return best;
    for (size_t i = 0; i < cells->n_cells; i++) {
        const struct ucb_ladder_cell *c = &cells->cells[i];
        if (strcmp(c->model, model) == 0 && same_but_steps(c->spec, spec) &&
            (best == NULL || ucb_ladder_steps(c->spec) > ucb_ladder_steps(best->spec)))
            best = c;
    }
    return best;
}
