/*
 * report_data.c - see report_data.h. One query, ordered as the tables are, grouped here: rows of one cell, cells of a
 * table.
 */
#include "report/report_data.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

const struct ucb_shown_info ucb_shown[UCB_N_SHOWN] = {
#define SHOWN_INFO(name, heading, decimals, factor) {#name, heading, decimals, factor},
    UCB_SHOWN_LIST(SHOWN_INFO)
#undef SHOWN_INFO
};

/* The columns, and where to find them in a row. */
#define COLUMN_LIST(X)                                                                                                 \
    X(model) X(task) X(dataset) X(dataset_digest) X(method) X(spec) X(scope) X(calib) X(arithmetic) X(seed) X(cell_id) \
    X(build_id) X(bpw_nominal) X(bpw_matrices) X(bpw_model) X(n_items) X(status) X(message) X(metric) X(value)         \
    X(ci_low) X(ci_high) X(n)
enum column {
#define COLUMN_ENUM(name) COLUMN_##name,
    COLUMN_LIST(COLUMN_ENUM)
#undef COLUMN_ENUM
};
#define COLUMN_TEXT(name) #name ", "
static const char query[] =
    "SELECT " COLUMN_LIST(COLUMN_TEXT) "0 FROM v_latest"
                                       " ORDER BY model, task, dataset, status = 'FAILED', spec <> 'none', "
                                       "bpw_matrices, spec, arithmetic, cell_id, metric";

/* ---- rows -> cells ---- */

static const char *text_at(struct ucb_arena *arena, sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text == NULL ? NULL : ucb_arena_strdup(arena, text);
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL ? NAN : sqlite3_column_double(row, column);
}

/* The spec alone where everything else is as it usually is. */
static const char *label_of(struct ucb_arena *arena, sqlite3_stmt *row)
{
    const char *spec = (const char *)sqlite3_column_text(row, COLUMN_spec);
    const char *scope = (const char *)sqlite3_column_text(row, COLUMN_scope);
    const char *arithmetic = (const char *)sqlite3_column_text(row, COLUMN_arithmetic);
    bool usual_scope = strcmp(scope, "body") == 0, usual_arithmetic = strncmp(arithmetic, "fp32", 4) == 0;
    return ucb_arena_printf(arena, "%s%s%s%s%s", spec, usual_scope ? "" : " scope=", usual_scope ? "" : scope,
                            usual_arithmetic ? "" : " ", usual_arithmetic ? "" : arithmetic);
}

static bool read_cell(struct ucb_arena *arena, sqlite3_stmt *row, struct ucb_report_cell *c)
{
    *c = (struct ucb_report_cell){
        .model = text_at(arena, row, COLUMN_model), .task = text_at(arena, row, COLUMN_task),
        .dataset = text_at(arena, row, COLUMN_dataset), .dataset_digest = text_at(arena, row, COLUMN_dataset_digest),
        .method = text_at(arena, row, COLUMN_method), .spec = text_at(arena, row, COLUMN_spec),
        .label = label_of(arena, row), .message = text_at(arena, row, COLUMN_message),
        .cell_id = text_at(arena, row, COLUMN_cell_id), .build_id = text_at(arena, row, COLUMN_build_id),
        .bpw_nominal = real_at(row, COLUMN_bpw_nominal), .bpw_matrices = real_at(row, COLUMN_bpw_matrices),
        .bpw_model = real_at(row, COLUMN_bpw_model), .n_items = sqlite3_column_int64(row, COLUMN_n_items),
    };
    if (c->model == NULL || c->task == NULL || c->dataset == NULL || c->dataset_digest == NULL || c->method == NULL ||
        c->spec == NULL || c->label == NULL || c->cell_id == NULL || c->build_id == NULL)
        return false;
    c->failed = strcmp((const char *)sqlite3_column_text(row, COLUMN_status), "FAILED") == 0;
    c->original = strcmp(c->spec, "none") == 0;
    return true;
}

static void read_metric(sqlite3_stmt *row, struct ucb_report_cell *c)
{
    const char *metric = (const char *)sqlite3_column_text(row, COLUMN_metric);
    for (int i = 0; metric != NULL && i < UCB_N_SHOWN; i++)
        if (strcmp(metric, ucb_shown[i].name) == 0)
            c->values[i] = (struct ucb_value){true, real_at(row, COLUMN_value), real_at(row, COLUMN_ci_low),
                                              real_at(row, COLUMN_ci_high), sqlite3_column_int64(row, COLUMN_n)};
}

static bool model_wanted(const struct ucb_report_job *job, const char *model)
{
    for (size_t i = 0; i < job->n_models; i++)
        if (strcmp(job->models[i], model) == 0) return true;
    return job->n_models == 0;
}

static ucb_status fail_query(struct ucb_report_job *job, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the results: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

static ucb_status read_cells(struct ucb_report_job *job, sqlite3_stmt *rows, struct ucb_report_data *out,
                             size_t capacity, struct ucb_err *err)
{
    struct ucb_report_cell *last = NULL;
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(rows, COLUMN_cell_id);
        if (!model_wanted(job, (const char *)sqlite3_column_text(rows, COLUMN_model))) continue;
        if (last == NULL || strcmp(last->cell_id, id) != 0) {
            if (out->n_cells == capacity)
                return UCB_FAIL(err, UCB_IO, "%s: grew while it was read; run again", job->database);
            last = &out->cells[out->n_cells++];
            if (!read_cell(job->arena, rows, last))
                return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its cells", job->database);
        }
        read_metric(rows, last);
    }
    return code == SQLITE_DONE ? UCB_OK : fail_query(job, err);
}

static ucb_status count_cells(struct ucb_report_job *job, size_t *n, struct ucb_err *err)
{
    sqlite3_stmt *count = NULL;
    ucb_status status = UCB_OK;
    if (sqlite3_prepare_v2(ucb_store_db(job->store), "SELECT count(*) FROM cells", -1, &count, NULL) != SQLITE_OK ||
        sqlite3_step(count) != SQLITE_ROW)
        status = fail_query(job, err);
    else
        *n = (size_t)sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    return status;
}

static ucb_status load_cells(struct ucb_report_job *job, struct ucb_report_data *out, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    size_t capacity = 0;
    UCB_TRY(count_cells(job, &capacity, err));
    out->cells = UCB_NEW(job->arena, struct ucb_report_cell, capacity);
    out->groups = UCB_NEW(job->arena, struct ucb_report_group, capacity);
    if (out->cells == NULL || out->groups == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu cells", job->database, capacity);
    ucb_status status = sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows, NULL) != SQLITE_OK
                            ? fail_query(job, err)
                            : read_cells(job, rows, out, capacity, err);
    sqlite3_finalize(rows);
    return status;
}

/* ---- cells -> groups ---- */

static bool same_group(const struct ucb_report_group *g, const struct ucb_report_cell *c)
{
    return strcmp(g->model, c->model) == 0 && strcmp(g->task, c->task) == 0 && strcmp(g->dataset, c->dataset) == 0;
}

static void make_groups(struct ucb_report_data *data)
{
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_report_cell *c = &data->cells[i];
        struct ucb_report_group *g = data->n_groups == 0 ? NULL : &data->groups[data->n_groups - 1];
        if (g == NULL || !same_group(g, c)) {
            g = &data->groups[data->n_groups++];
            *g = (struct ucb_report_group){.model = c->model, .task = c->task, .dataset = c->dataset,
                                           .dataset_digest = c->dataset_digest, .cells = c};
        }
        g->n_cells++;
        for (int k = 0; k < UCB_N_SHOWN; k++) g->has[k] |= c->values[k].present;
    }
}

ucb_status ucb_report_load(struct ucb_report_job *job, struct ucb_report_data *out, struct ucb_err *err)
{
    struct ucb_report_data data = {0};
    UCB_TRY(load_cells(job, &data, err));
    UCB_TRY(ucb_store_digest(job->store, data.digest, err));
    if (data.n_cells == 0)
        return UCB_FAIL(err, UCB_MISSING,
                        "%s: no results%s%s; `ucbench sweep --db` makes some, `ucbench export --db` shows "
                        "what is there",
                        job->database, job->n_models > 0 ? " of --model " : "",
                        job->n_models > 0 ? job->models[0] : "");
    make_groups(&data);
    *out = data;
    return UCB_OK;
}

/* ---- for people ---- */

const char *ucb_value_text(const struct ucb_value *v, enum ucb_shown which, bool with_interval, char out[96])
{
    const struct ucb_shown_info *info = &ucb_shown[which];
    int decimals = info->decimals;
    double f = info->factor, value = v->value * f;
    if (!v->present || isnan(v->value)) return strcpy(out, "-");
    if (fabs(value) >= 1e6) { /* a broken model: digits would only widen the column */
        snprintf(out, 96, "%.1e", value);
        return out;
    }
    while (decimals > 0 && fabs(value) >= 1000) decimals--, value /= 10;
    int n = snprintf(out, 96, "%.*f", decimals, v->value * f);
    if (with_interval && !isnan(v->low) && !isnan(v->high))
        snprintf(out + n, 96 - (size_t)n, " [%.*f, %.*f]", decimals, v->low * f, decimals, v->high * f);
    return out;
}

const char **ucb_report_caveats(struct ucb_arena *arena, const struct ucb_report_data *data, size_t *n)
{
    const char **caveats = UCB_NEW(arena, const char *, data->n_cells);
    *n = 0;
    for (size_t i = 0; caveats != NULL && i < data->n_cells; i++) {
        const char *message = data->cells[i].message;
        bool known = data->cells[i].failed || message == NULL || message[0] == '\0';
        for (size_t k = 0; k < *n && !known; k++) known = strcmp(caveats[k], message) == 0;
        if (!known) caveats[(*n)++] = message;
    }
    return caveats;
}
