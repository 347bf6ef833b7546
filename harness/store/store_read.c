/* store_read.c - see store_read.h. */
#include "store/store_read.h"

#include <math.h>
#include <string.h>

#include "store/store_internal.h"

/* ---- cells ---- */

/* clang-format off */
#define TEXT_COLUMNS(X) \
    X(cell_id) X(build_id) X(model) X(model_digest) X(scope) X(spec) X(calib) X(task) X(dataset) \
    X(dataset_digest) X(arithmetic) X(weights_digest) X(reference) X(message) X(documents_digest)
#define INTEGER_COLUMNS(X) X(cell_key) X(task_revision) X(arithmetic_revision) X(n_items)
/* clang-format on */
#define COLUMN_TEXT(name) "cells." #name ", "
static const char cells_query[] = "SELECT " TEXT_COLUMNS(COLUMN_TEXT) INTEGER_COLUMNS(
    COLUMN_TEXT) "cells.seed, cells.status, max(run_cells.run_id) AS newest"
                 " FROM cells LEFT JOIN run_cells USING (cell_key) GROUP BY cells.cell_key"
                 " ORDER BY model, task, spec, arithmetic, cell_id, newest DESC";

static const char doing_cells[] = "read the cells", doing_items[] = "read the items";

static const char *text_at(struct ucb_arena *arena, sqlite3_stmt *row, int column,
                           bool *enough)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    if (text == NULL) return NULL;
    const char *copy = ucb_arena_strdup(arena, text);
    *enough = *enough && copy != NULL;
    return copy;
}

/* False when memory ran out. */
static bool read_cell(struct ucb_arena *arena, sqlite3_stmt *row, struct ucb_stored_cell *c)
{
    bool enough = true;
    int at = 0;
#define READ_TEXT(name) c->name = text_at(arena, row, at++, &enough);
    TEXT_COLUMNS(READ_TEXT)
#undef READ_TEXT
#define READ_INTEGER(name) c->name = sqlite3_column_int64(row, at++);
    INTEGER_COLUMNS(READ_INTEGER)
#undef READ_INTEGER
    c->seed = (uint64_t)sqlite3_column_int64(row, at++);
    c->failed = strcmp((const char *)sqlite3_column_text(row, at++), "FAILED") == 0;
    c->newest_run = sqlite3_column_int64(row, at);
    if (!enough) return false;
    c->is_floor = c->reference[0] != '\0';
    c->is_original = strcmp(c->spec, "none") == 0 && !c->is_floor;
    return true;
}

static const char floor_spec[] = "noise-floor";

const char *ucb_stored_cell_spec(const struct ucb_stored_cell *c)
{
    return c->is_floor ? floor_spec : c->spec;
}

ucb_status ucb_store_cells(struct ucb_store *store, struct ucb_arena *arena,
                           struct ucb_stored_cell **cells, size_t *n_cells,
                           struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    int64_t capacity = 0;
    size_t n = 0;
    bool row = false;
    UCB_TRY(ucb_sql_integer(store, "SELECT count(*) FROM cells", &capacity, err));
    struct ucb_stored_cell *list = UCB_NEW(arena, struct ucb_stored_cell, (size_t)capacity);
    if (list == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %lld cells", (long long)capacity);
    UCB_TRY(ucb_sql_prepare(store, cells_query, doing_cells, &rows, err));
    ucb_status status = ucb_sql_step(store, rows, doing_cells, &row, err);
    while (status == UCB_OK && row && n < (size_t)capacity) {
        if (!read_cell(arena, rows, &list[n++]))
            status = UCB_FAIL(err, UCB_NOMEM, "no memory for %lld cells",
                              (long long)capacity);
        else
            status = ucb_sql_step(store, rows, doing_cells, &row, err);
    }
    sqlite3_finalize(rows);
    *cells = list;
    *n_cells = n;
    return status;
}

/* ---- one of them ---- */

/* A selector in its parts, each a piece of the caller's text; NULL: anything goes. */
struct selector {
    const char *id, *model, *spec, *task, *at;
    bool whole; /* spec and task are not cut: "nf4" is not nf4:double_quant=1 */
};

/* Cuts `text`, which is the caller's copy. */
static bool cut_selector(char *text, struct selector *out)
{
    *out = (struct selector){0};
    char *at = strrchr(text, '@');
    if (at != NULL) {
        *at = '\0';
        out->at = at + 1;
    }
    char *task = strrchr(text, '/');
    if (task == NULL) {
        out->id = text;
        return strlen(text) >= 4 && strspn(text, "0123456789abcdef") == strlen(text);
    }
    *task = '\0';
    char *spec = strrchr(text, '/');
    if (spec == NULL) return false;
    *spec = '\0';
    out->model = text;
    out->spec = spec + 1;
    out->task = task + 1;
    return true;
}

/* `cut`: what is found may go on after a ':'. */
static bool fits(const char *wanted, const char *found, bool cut)
{
    size_t n = strlen(wanted);
    return wanted[0] == '\0' || strcmp(wanted, "*") == 0 || strcmp(wanted, found) == 0 ||
           (cut && strncmp(wanted, found, n) == 0 && found[n] == ':');
}

static bool model_fits(const char *wanted, const char *model)
{
    const char *slash = strrchr(model, '/');
    return fits(wanted, model, false) || (slash != NULL && fits(wanted, slash + 1, false));
}

static bool selected(const struct selector *s, const struct ucb_stored_cell *c)
{
    if (s->at != NULL && strcmp(s->at, c->arithmetic) != 0 &&
        (strlen(s->at) < 4 || strncmp(s->at, c->build_id, strlen(s->at)) != 0))
        return false;
    if (s->id != NULL) return strncmp(s->id, c->cell_id, strlen(s->id)) == 0;
    if (c->is_floor && strcmp(s->spec, floor_spec) != 0) return false;
    return model_fits(s->model, c->model) &&
           fits(s->spec, ucb_stored_cell_spec(c), !s->whole) &&
           fits(s->task, c->task, !s->whole);
}

/* "  0123abcd  model/spec/task@fp32" a line, each cell id once, as many as a message holds.
 * A floor's reference is said too: two floors may differ in nothing else. */
static const char *list_cells(const struct ucb_stored_cell *cells, size_t n_cells,
                              const struct selector *s, struct ucb_arena *arena)
{
    enum { SHOWN = 8 };
    const char *text = "", *last = "";
    size_t n = 0;
    for (size_t i = 0; i < n_cells && text != NULL; i++) {
        if ((s != NULL && !selected(s, &cells[i])) || strcmp(last, cells[i].cell_id) == 0)
            continue;
        last = cells[i].cell_id;
        if (n++ < SHOWN)
            text = ucb_arena_printf(
                arena, "%s\n  %.12s  %s/%s/%s@%s%s%s", text, cells[i].cell_id,
                cells[i].model, ucb_stored_cell_spec(&cells[i]), cells[i].task,
                cells[i].arithmetic, cells[i].is_floor ? " against " : "",
                cells[i].reference);
    }
    if (text != NULL && n > SHOWN)
        text = ucb_arena_printf(arena, "%s\n  and %zu more", text, n - SHOWN);
    return text == NULL ? "" : text;
}

/* A row of this id was selected before; rows of one id may carry several names of one
 * model and then stand apart. */
static bool id_seen(const struct ucb_stored_cell *cells, size_t i, const struct selector *s)
{
    for (size_t k = 0; k < i; k++)
        if (selected(s, &cells[k]) && strcmp(cells[k].cell_id, cells[i].cell_id) == 0)
            return true;
    return false;
}

/* The newest row of the one cell id that fits. */
static const struct ucb_stored_cell *pick(const struct ucb_stored_cell *cells,
                                          size_t n_cells, const struct selector *s,
                                          size_t *n_ids)
{
    const struct ucb_stored_cell *found = NULL;
    *n_ids = 0;
    for (size_t i = 0; i < n_cells; i++) {
        if (!selected(s, &cells[i])) continue;
        *n_ids += !id_seen(cells, i, s);
        if (found == NULL || cells[i].newest_run > found->newest_run) found = &cells[i];
    }
    return found;
}

ucb_status ucb_store_find_cell(const struct ucb_stored_cell *cells, size_t n_cells,
                               const char *selector, struct ucb_arena *arena,
                               const struct ucb_stored_cell **out, struct ucb_err *err)
{
    struct selector s;
    size_t n_ids = 0;
    char *copy = ucb_arena_strdup(arena, selector);
    if (copy == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to find a cell");
    if (!cut_selector(copy, &s))
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: neither the first digits (4 or more) of a cell id nor "
                        "MODEL/SPEC/TASK; the cells:%s",
                        selector, list_cells(cells, n_cells, NULL, arena));
    /* A cell named in full is meant, even where others go on from there. */
    s.whole = true;
    const struct ucb_stored_cell *found = pick(cells, n_cells, &s, &n_ids);
    if (n_ids != 1) {
        s.whole = false;
        found = pick(cells, n_cells, &s, &n_ids);
    }
    if (found == NULL)
        return UCB_FAIL(err, UCB_USAGE, "%s: no such cell; the cells:%s", selector,
                        list_cells(cells, n_cells, NULL, arena));
    if (n_ids > 1)
        return UCB_FAIL(err, UCB_USAGE, "%s: fits %zu cells; say more:%s", selector, n_ids,
                        list_cells(cells, n_cells, &s, arena));
    if (found->failed)
        return UCB_FAIL(err, UCB_USAGE, "%s: this cell failed and has no items: %s",
                        selector, found->message == NULL ? "no reason" : found->message);
    *out = found;
    return UCB_OK;
}

/* ---- items ---- */

/* clang-format off */
#define COUNT_COLUMNS(X) \
    X(n_tokens) X(t1_gt_hits) X(t10_gt_hits) X(t1_agree_hits) X(t10_agree_hits) \
    X(t10_overlap_sum) X(target_correct) X(last_t1_gt) X(last_t10_gt) X(last_t1_agree)
#define REAL_COLUMNS(X) X(sum_logp) X(kld_sum) X(ear_sum)
/* clang-format on */
#define ITEM_COLUMN(name) ", " #name
static const char items_query[] = "SELECT document, kld" COUNT_COLUMNS(ITEM_COLUMN)
    REAL_COLUMNS(ITEM_COLUMN) " FROM items WHERE cell_key = ? ORDER BY item";

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

/* A stored number becomes uint32_t; a negative or huge one is no count. */
static bool count_at(sqlite3_stmt *row, int column, uint32_t *out)
{
    int64_t value = sqlite3_column_int64(row, column);
    *out = (uint32_t)value;
    return value >= 0 && value <= UINT32_MAX;
}

static ucb_status read_kld(sqlite3_stmt *row, int column, struct ucb_arena *arena,
                           struct ucb_sample *s, struct ucb_err *err)
{
    size_t n_bytes = (size_t)s->n_tokens * sizeof(float);
    const void *blob = sqlite3_column_blob(row, column);
    if (sqlite3_column_type(row, column) == SQLITE_NULL) return UCB_OK;
    if ((size_t)sqlite3_column_bytes(row, column) != n_bytes)
        return UCB_FAIL(err, UCB_CORRUPT, "its KLD values are %d bytes, expected %zu",
                        sqlite3_column_bytes(row, column), n_bytes);
    float *kld = UCB_NEW(arena, float, s->n_tokens);
    if (kld == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for its KLD values");
    if (n_bytes > 0) memcpy(kld, blob, n_bytes);
    s->kld = kld;
    return UCB_OK;
}

/* An original has no divergences, whatever an older build stored of them. */
static ucb_status read_item(sqlite3_stmt *row, bool is_original, struct ucb_arena *arena,
                            struct ucb_sample *s, uint32_t *document, struct ucb_err *err)
{
    bool counts = count_at(row, 0, document);
    int at = 2;
#define READ_COUNT(name) counts &= count_at(row, at++, &s->name);
    COUNT_COLUMNS(READ_COUNT)
#undef READ_COUNT
#define READ_REAL(name) s->name = real_at(row, at++);
    REAL_COLUMNS(READ_REAL)
#undef READ_REAL
    if (!counts) return UCB_FAIL(err, UCB_CORRUPT, "a count is negative or too large");
    return is_original ? UCB_OK : read_kld(row, 1, arena, s, err);
}

static ucb_status read_items(struct ucb_store *store, const struct ucb_stored_cell *cell,
                             struct ucb_arena *arena, struct ucb_sample *samples,
                             uint32_t *document, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    size_t n = 0;
    bool row = false;
    UCB_TRY(ucb_sql_prepare(store, items_query, doing_items, &rows, err));
    sqlite3_bind_int64(rows, 1, cell->cell_key);
    ucb_status status = ucb_sql_step(store, rows, doing_items, &row, err);
    while (status == UCB_OK && row && n < (size_t)cell->n_items) {
        status = read_item(rows, cell->is_original, arena, &samples[n], &document[n], err);
        if (status != UCB_OK) ucb_err_prefix(err, "%.12s: item %zu", cell->cell_id, n);
        n++;
        if (status == UCB_OK) status = ucb_sql_step(store, rows, doing_items, &row, err);
    }
    sqlite3_finalize(rows);
    if (status == UCB_OK && (row || n != (size_t)cell->n_items))
        status = UCB_FAIL(err, UCB_CORRUPT, "%.12s: %s %lld items, its row says so many",
                          cell->cell_id, row ? "more than" : "fewer than",
                          (long long)cell->n_items);
    return status;
}

static ucb_status read_documents(struct ucb_store *store,
                                 const struct ucb_stored_cell *cell,
                                 struct ucb_arena *arena, size_t capacity,
                                 struct ucb_samples *out, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    size_t n = 0;
    bool row = false, enough = true;
    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, capacity);
    if (documents == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the documents");
    UCB_TRY(ucb_sql_prepare(store,
                            "SELECT name, n_words, n_bytes FROM documents"
                            " WHERE documents_digest = ? ORDER BY document",
                            doing_items, &rows, err));
    sqlite3_bind_text(rows, 1, cell->documents_digest, -1, SQLITE_STATIC);
    ucb_status status = ucb_sql_step(store, rows, doing_items, &row, err);
    while (status == UCB_OK && row && n < capacity) {
        documents[n].name = text_at(arena, rows, 0, &enough);
        documents[n].n_words = (uint64_t)sqlite3_column_int64(rows, 1);
        documents[n].n_bytes = (uint64_t)sqlite3_column_int64(rows, 2);
        n++;
        status = ucb_sql_step(store, rows, doing_items, &row, err);
    }
    sqlite3_finalize(rows);
    if (status == UCB_OK && !enough)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the documents");
    out->documents = documents;
    out->n_documents = n;
    return status;
}

ucb_status ucb_store_read_samples(struct ucb_store *store,
                                  const struct ucb_stored_cell *cell,
                                  struct ucb_arena *arena, struct ucb_samples *out,
                                  struct ucb_err *err)
{
    int64_t n_documents = 0;
    size_t n = (size_t)cell->n_items;
    if (cell->n_items < 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%.12s: %lld items", cell->cell_id,
                        (long long)cell->n_items);
    struct ucb_sample *samples = UCB_NEW(arena, struct ucb_sample, n);
    uint32_t *document = UCB_NEW(arena, uint32_t, n);
    if (samples == NULL || document == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu items of %.12s", n,
                        cell->cell_id);
    UCB_TRY(read_items(store, cell, arena, samples, document, err));
    *out = (struct ucb_samples){.samples = samples, .document = document, .n = n};
    if (cell->documents_digest == NULL) return UCB_OK;
    UCB_TRY(ucb_sql_integer(store, "SELECT count(*) FROM documents", &n_documents, err));
    return read_documents(store, cell, arena, (size_t)n_documents, out, err);
}
