/*
 * report_data.c - see report_data.h. One query, ordered as the tables are, grouped here:
 * rows of one cell, cells of a table.
 */
#include "report/report_data.h"

#include <assert.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "eval/calib_spec.h"

const struct ucb_shown_info ucb_shown[UCB_N_SHOWN] = {
#define SHOWN_INFO(name, heading, decimals, factor) {#name, heading, decimals, factor},
    UCB_SHOWN_LIST(SHOWN_INFO)
#undef SHOWN_INFO
};

/* The columns, and where to find them in a row. */
#define COLUMN_LIST(X)                                                                     \
    X(model)                                                                               \
    X(task)                                                                                \
    X(dataset)                                                                             \
    X(dataset_digest) X(method) X(spec) X(scope) X(calib) X(arithmetic) X(seed) X(cell_id) \
        X(build_id) X(bpw_nominal) X(bpw_matrices) X(bpw_model) X(n_items) X(status)       \
            X(message) X(metric) X(value) X(ci_low) X(ci_high) X(n) X(interval) X(note)    \
                X(n_weights) X(codes_bytes) X(scales_bytes) X(zeros_bytes)                 \
                    X(codebook_bytes) X(factors_bytes) X(tables_bytes) X(header_bytes)     \
                        X(padding_bytes) X(reference)
enum column {
#define COLUMN_ENUM(name) COLUMN_##name,
    COLUMN_LIST(COLUMN_ENUM)
#undef COLUMN_ENUM
};
#define COLUMN_TEXT(name) #name ", "
static const char query[] = "SELECT " COLUMN_LIST(
    COLUMN_TEXT) "0 FROM v_latest"
                 " ORDER BY model, task, dataset, status = 'FAILED', spec <> 'none', "
                 "reference <> '', bpw_matrices, spec, calib, arithmetic, cell_id, metric";

/* ---- rows -> cells ---- */

static const char *text_at(struct ucb_arena *arena, sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text == NULL ? NULL : ucb_arena_strdup(arena, text);
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

/* The columns stand in the order of enum ucb_part. */
_Static_assert(COLUMN_padding_bytes - COLUMN_codes_bytes == (int)UCB_PART_PADDING,
               "a column for each part");
static void read_parts(sqlite3_stmt *row, struct ucb_report_cell *c)
{
    double n_weights = real_at(row, COLUMN_n_weights);
    for (int part = 0; part < UCB_N_PARTS; part++)
        c->bpw_parts[part] = 8.0 * real_at(row, COLUMN_codes_bytes + part) / n_weights;
}

static bool read_cell(struct ucb_arena *arena, sqlite3_stmt *row, struct ucb_report_cell *c)
{
    *c = (struct ucb_report_cell){
        .model = text_at(arena, row, COLUMN_model),
        .task = text_at(arena, row, COLUMN_task),
        .dataset = text_at(arena, row, COLUMN_dataset),
        .dataset_digest = text_at(arena, row, COLUMN_dataset_digest),
        .method = text_at(arena, row, COLUMN_method),
        .spec = text_at(arena, row, COLUMN_spec),
        .message = text_at(arena, row, COLUMN_message),
        .scope = text_at(arena, row, COLUMN_scope),
        .arithmetic = text_at(arena, row, COLUMN_arithmetic),
        .calib = text_at(arena, row, COLUMN_calib),
        .reference = text_at(arena, row, COLUMN_reference),
        .cell_id = text_at(arena, row, COLUMN_cell_id),
        .build_id = text_at(arena, row, COLUMN_build_id),
        .seed = sqlite3_column_int64(row, COLUMN_seed),
        .n_items = sqlite3_column_int64(row, COLUMN_n_items),
        .bpw_nominal = real_at(row, COLUMN_bpw_nominal),
        .bpw_matrices = real_at(row, COLUMN_bpw_matrices),
        .bpw_model = real_at(row, COLUMN_bpw_model),
        .peak_rss_bytes = NAN,
    };
    read_parts(row, c);
    if (c->model == NULL || c->task == NULL || c->dataset == NULL ||
        c->dataset_digest == NULL || c->method == NULL || c->spec == NULL ||
        c->scope == NULL || c->arithmetic == NULL || c->calib == NULL ||
        c->reference == NULL || c->cell_id == NULL || c->build_id == NULL)
        return false;
    c->failed = strcmp((const char *)sqlite3_column_text(row, COLUMN_status), "FAILED") ==
                0;
    c->original = strcmp(c->spec, "none") == 0;
    c->floor = c->reference[0] != '\0';
    return true;
}

/* The place of a note among all, from 1; 0 when memory ran out. */
static size_t note_place(struct ucb_arena *arena, struct ucb_report_data *data,
                         const char *note)
{
    for (size_t i = 0; i < data->n_notes; i++)
        if (strcmp(data->notes[i], note) == 0) return i + 1;
    data->notes[data->n_notes] = ucb_arena_strdup(arena, note);
    return data->notes[data->n_notes] == NULL ? 0 : ++data->n_notes;
}

/* False when memory ran out. */
static bool read_value(struct ucb_arena *arena, sqlite3_stmt *row,
                       struct ucb_report_data *data, struct ucb_value *v)
{
    const char *note = (const char *)sqlite3_column_text(row, COLUMN_note);
    *v = (struct ucb_value){
        .present = true,
        .value = real_at(row, COLUMN_value),
        .low = real_at(row, COLUMN_ci_low),
        .high = real_at(row, COLUMN_ci_high),
        .n = sqlite3_column_int64(row, COLUMN_n),
        .interval = text_at(arena, row, COLUMN_interval),
    };
    if (note != NULL) v->note = note_place(arena, data, note);
    return v->interval != NULL && (note == NULL || v->note > 0);
}

static bool read_metric(struct ucb_arena *arena, sqlite3_stmt *row,
                        struct ucb_report_data *data, struct ucb_report_cell *c)
{
    const char *metric = (const char *)sqlite3_column_text(row, COLUMN_metric);
    for (int i = 0; metric != NULL && i < UCB_N_SHOWN; i++)
        if (strcmp(metric, ucb_shown[i].name) == 0)
            return read_value(arena, row, data, &c->values[i]);
    if (metric != NULL && strcmp(metric, "peak_rss_bytes") == 0)
        c->peak_rss_bytes = real_at(row, COLUMN_value);
    return true;
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

static ucb_status read_cells(struct ucb_report_job *job, sqlite3_stmt *rows,
                             struct ucb_report_data *out, size_t capacity,
                             struct ucb_err *err)
{
    struct ucb_report_cell *last = NULL;
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(rows, COLUMN_cell_id);
        if (!model_wanted(job, (const char *)sqlite3_column_text(rows, COLUMN_model)))
            continue;
        bool enough = true;
        if (last == NULL || strcmp(last->cell_id, id) != 0) {
            assert(out->n_cells < capacity);
            last = &out->cells[out->n_cells++];
            enough = read_cell(job->arena, rows, last);
        }
        if (!enough || !read_metric(job->arena, rows, out, last))
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its cells", job->database);
    }
    return code == SQLITE_DONE ? UCB_OK : fail_query(job, err);
}

static ucb_status count_cells(struct ucb_report_job *job, size_t *n, struct ucb_err *err)
{
    sqlite3_stmt *count = NULL;
    ucb_status status = UCB_OK;
    if (sqlite3_prepare_v2(ucb_store_db(job->store), "SELECT count(*) FROM cells", -1,
                           &count, NULL) != SQLITE_OK ||
        sqlite3_step(count) != SQLITE_ROW)
        status = fail_query(job, err);
    else
        *n = (size_t)sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    return status;
}

static ucb_status load_cells(struct ucb_report_job *job, struct ucb_report_data *out,
                             struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    size_t capacity = 0;
    UCB_TRY(count_cells(job, &capacity, err));
    out->cells = UCB_NEW(job->arena, struct ucb_report_cell, capacity);
    out->groups = UCB_NEW(job->arena, struct ucb_report_group, capacity);
    out->notes = UCB_NEW(job->arena, const char *, capacity *UCB_N_SHOWN);
    if (out->cells == NULL || out->groups == NULL || out->notes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu cells", job->database,
                        capacity);
    ucb_status status = sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows,
                                           NULL) != SQLITE_OK
                            ? fail_query(job, err)
                            : read_cells(job, rows, out, capacity, err);
    sqlite3_finalize(rows);
    return status;
}

/* ---- what follows from the cells ---- */

/* What the cells differ in, and labels therefore have to say. */
struct differences {
    bool seeds;
    bool calibs;        /* several calibrations */
    bool calib_digests; /* one calibration spec on different texts */
};

/* The spec in "spec digest". */
static size_t calib_spec_length(const char *calib)
{
    return strcspn(calib, " ");
}

static struct differences find_differences(const struct ucb_report_data *data)
{
    struct differences d = {0};
    const char *first = NULL;
    const struct ucb_report_cell *seeded = NULL;
    for (size_t i = 0; i < data->n_cells; i++) {
        const char *calib = data->cells[i].calib;
        if (data->cells[i].floor) continue; /* of every seed */
        if (seeded == NULL) seeded = &data->cells[i];
        d.seeds |= data->cells[i].seed != seeded->seed;
        if (calib[0] == '\0') continue;
        if (first == NULL) first = calib;
        d.calibs |= strcmp(calib, first) != 0;
        for (size_t j = 0; j < i && d.calibs; j++) {
            const char *other = data->cells[j].calib;
            size_t n = calib_spec_length(calib);
            d.calib_digests |= n == calib_spec_length(other) &&
                               strncmp(calib, other, n) == 0 && strcmp(calib, other) != 0;
        }
    }
    return d;
}

/*
 * A label is the spec alone where everything else is as it usually is. Calibration is part
 * of the method: cells that differ in it are compared. The setting is what cells must share
 * to be compared: two have equal ones exactly when scope, arithmetic and seed are equal; a
 * seed is named only when there are several.
 */
static bool label_cell(struct ucb_arena *arena, struct ucb_report_cell *c,
                       const struct differences *d)
{
    bool scope = strcmp(c->scope, "body") != 0,
         arithmetic = strcmp(c->arithmetic, "fp32") != 0;
    size_t n_calib = d->calib_digests ? strlen(c->calib) : calib_spec_length(c->calib);
    const char *seed = d->seeds ? ucb_arena_printf(arena, " seed=%llu",
                                                   (unsigned long long)c->seed)
                                : "",
               *calib = n_calib == 0 ? ""
                                     : ucb_arena_printf(arena, " calib=%.*s", (int)n_calib,
                                                        c->calib);
    if (seed == NULL || calib == NULL) return false;
    const char *setting = ucb_arena_printf(arena, "%s%s%s%s%s", scope ? " scope=" : "",
                                           scope ? c->scope : "", arithmetic ? " " : "",
                                           arithmetic ? c->arithmetic : "", seed);
    if (setting == NULL) return false;
    c->setting = setting[0] == ' ' ? setting + 1 : setting;
    c->calib_shown = calib[0] == ' ' ? strchr(calib, '=') + 1 : "";
    const char *mark = ucb_calib_is_contaminated(c->calib) ? " [contaminated]" : "";
    c->label = ucb_arena_printf(arena, "%s%s%s%s", c->spec, calib, setting, mark);
    c->name = d->calibs || mark[0] != '\0'
                  ? ucb_arena_printf(arena, "%s%s%s", c->spec, d->calibs ? calib : "", mark)
                  : c->spec;
    return c->label != NULL && c->name != NULL;
}

/* "noise floor: bf16 arithmetic", in the setting of the cells in its reference. */
static bool label_floor(struct ucb_arena *arena, struct ucb_report_cell *c)
{
    bool usual = strcmp(c->reference, "fp32") == 0;
    c->setting = usual ? "" : c->reference;
    c->calib_shown = "";
    c->label = ucb_arena_printf(arena, "noise floor: %s arithmetic%s%s", c->arithmetic,
                                usual ? "" : " against ", c->setting);
    c->name = c->label;
    return c->label != NULL;
}

static ucb_status finish_cells(struct ucb_report_job *job, struct ucb_report_data *data,
                               struct ucb_err *err)
{
    struct differences d = find_differences(data);
    for (size_t i = 0; i < data->n_cells; i++) {
        struct ucb_report_cell *c = &data->cells[i];
        if (c->floor ? !label_floor(job->arena, c) : !label_cell(job->arena, c, &d))
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its labels", job->database);
        for (int k = UCB_N_SHOWN - 1; k >= 0; k--)
            if (c->values[k].present) c->n_documents = c->values[k].n;
    }
    return UCB_OK;
}

static bool same_group(const struct ucb_report_group *g, const struct ucb_report_cell *c)
{
    return strcmp(g->model, c->model) == 0 && strcmp(g->task, c->task) == 0 &&
           strcmp(g->dataset, c->dataset) == 0;
}

static void make_groups(struct ucb_report_data *data)
{
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_report_cell *c = &data->cells[i];
        struct ucb_report_group *g = data->n_groups == 0
                                         ? NULL
                                         : &data->groups[data->n_groups - 1];
        if (g == NULL || !same_group(g, c)) {
            g = &data->groups[data->n_groups++];
            *g = (struct ucb_report_group){.model = c->model,
                                           .task = c->task,
                                           .dataset = c->dataset,
                                           .dataset_digest = c->dataset_digest,
                                           .cells = c};
        }
        g->n_cells++;
        for (int k = 0; k < UCB_N_SHOWN; k++) g->has[k] |= c->values[k].present;
    }
}

ucb_status ucb_report_load(struct ucb_report_job *job, struct ucb_report_data *out,
                           struct ucb_err *err)
{
    struct ucb_report_data data = {0};
    /* The digest is that of the cells shown, also while a sweep goes on. */
    UCB_TRY(ucb_store_begin_read(job->store, err));
    ucb_status status = load_cells(job, &data, err);
    if (status == UCB_OK) status = ucb_store_digest(job->store, data.digest, err);
    ucb_store_end_read(job->store);
    UCB_TRY(status);
    if (data.n_cells == 0)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no results%s%s; `ucbench sweep --db` makes some, `ucbench export --db` shows "
            "what is there",
            job->database, job->n_models > 0 ? " of --model " : "",
            job->n_models > 0 ? job->models[0] : "");
    UCB_TRY(finish_cells(job, &data, err));
    make_groups(&data);
    *out = data;
    return UCB_OK;
}

/* ---- for people ---- */

/* x with the decimals that suit `value`; of a broken model as 1.2e+09, where digits would
 * only widen a column. */
static int put_number(char *out, size_t size, double x, double value, int decimals)
{
    if (fabs(value) >= 1e6 || fabs(x) >= 1e6) return snprintf(out, size, "%.1e", x);
    for (double rest = fabs(value); decimals > 0 && rest >= 1000; rest /= 10) decimals--;
    return snprintf(out, size, "%.*f", decimals, x);
}

const char *ucb_value_text(const struct ucb_value *v, enum ucb_shown which,
                           char out[UCB_VALUE_TEXT])
{
    double value = v->value * ucb_shown[which].factor;
    if (!v->present || isnan(value)) return strcpy(out, "-");
    put_number(out, UCB_VALUE_TEXT, value, value, ucb_shown[which].decimals);
    return out;
}

const char *ucb_interval_text(const struct ucb_value *v, enum ucb_shown which,
                              int64_t n_documents, char out[UCB_VALUE_TEXT])
{
    const struct ucb_shown_info *info = &ucb_shown[which];
    double value = v->value * info->factor;
    size_t n = 0;
    if (!v->present || isnan(value)) return strcpy(out, "");
    if (isnan(v->low) || isnan(v->high)) {
        n += (size_t)snprintf(out, UCB_VALUE_TEXT, "[-]");
    } else {
        out[n++] = '[';
        n += (size_t)put_number(out + n, UCB_VALUE_TEXT - n, v->low * info->factor, value,
                                info->decimals);
        n += (size_t)snprintf(out + n, UCB_VALUE_TEXT - n, ", ");
        n += (size_t)put_number(out + n, UCB_VALUE_TEXT - n, v->high * info->factor, value,
                                info->decimals);
        n += (size_t)snprintf(out + n, UCB_VALUE_TEXT - n, "]");
    }
    if (v->n != n_documents)
        snprintf(out + n, UCB_VALUE_TEXT - n, " n=%lld", (long long)v->n);
    return out;
}

static const struct {
    const char *kind, *meaning;
} interval_kinds[] = {
    {"t-cluster", "linearised t, clustered by document"},
    {"wilson", "Wilson score over documents"},
    {"newcombe", "Newcombe paired score"},
    {"bootstrap", "percentile bootstrap over documents, paired with the original"},
    {"bca", "BCa bootstrap over documents, paired with the original"},
};
enum { N_INTERVAL_KINDS = sizeof(interval_kinds) / sizeof(interval_kinds[0]) };

const char *ucb_interval_meaning(const char *kind)
{
    for (size_t i = 0; i < N_INTERVAL_KINDS; i++)
        if (strcmp(interval_kinds[i].kind, kind) == 0) return interval_kinds[i].meaning;
    return kind;
}

static bool has_kind(const struct ucb_report_data *data, enum ucb_shown which,
                     const char *kind)
{
    for (size_t i = 0; i < data->n_cells; i++) {
        const struct ucb_value *v = &data->cells[i].values[which];
        if (v->present && strcmp(v->interval, kind) == 0) return true;
    }
    return false;
}

void ucb_interval_legend(const struct ucb_report_data *data, struct ucb_text *out)
{
    const char *between_kinds = "";
    for (size_t i = 0; i < N_INTERVAL_KINDS; i++) {
        const char *before = ": ";
        for (int k = 0; k < UCB_N_SHOWN; k++) {
            if (!has_kind(data, (enum ucb_shown)k, interval_kinds[i].kind)) continue;
            if (before[0] == ':')
                ucb_text_add(out, "%s%s", between_kinds, interval_kinds[i].meaning);
            ucb_text_add(out, "%s%s", before, ucb_shown[k].heading);
            before = ", ";
            between_kinds = "; ";
        }
    }
}

const char **ucb_report_caveats(struct ucb_arena *arena, const struct ucb_report_data *data,
                                size_t *n)
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

/* ---- sizes ---- */

static bool sized_alike(const struct ucb_report_cell *a, const struct ucb_report_cell *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->label, b->label) == 0;
}

const struct ucb_report_cell **ucb_report_sizes(struct ucb_arena *arena,
                                                const struct ucb_report_data *data,
                                                size_t *n, bool used[UCB_N_PARTS])
{
    const struct ucb_report_cell **list = UCB_NEW(arena, const struct ucb_report_cell *,
                                                  data->n_cells + 1);
    *n = 0;
    memset(used, 0, UCB_N_PARTS * sizeof(*used));
    for (size_t i = 0; list != NULL && i < data->n_cells; i++) {
        const struct ucb_report_cell *c = &data->cells[i];
        size_t k = 0;
        while (k < *n && !sized_alike(list[k], c)) k++;
        if (k < *n || c->failed || c->floor || isnan(c->bpw_matrices)) continue;
        list[(*n)++] = c;
        for (int part = 0; part < UCB_N_PARTS; part++)
            used[part] = used[part] || c->bpw_parts[part] > 0;
    }
    return list;
}
