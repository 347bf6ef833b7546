/*
 * ladder_pairs.c - from stored items to numbers of two cells, and of the cells of several
 * models (ladder_cells.h). Sums and intervals are those of docs/metrics.md.
 */
#include <assert.h>
#include <math.h>
#include <sqlite3.h>

#include "core/fmath.h"
#include "core/pcg.h"
#include "report/ladder_cells.h"
#include "stats/cluster.h"
#include "stats/cohort.h"
#include "stats/sum.h"

/* As many documents as a data set of this program can have, and some more: an index past it
 * comes from a damaged file. */
enum { MAX_DOCUMENTS = 1 << 24 };

static const char query[] =
    "SELECT a.document, a.n_tokens, a.sum_logp, a.t1_gt_hits, a.t1_agree_hits,"
    " b.document, b.n_tokens, b.sum_logp, b.t1_gt_hits"
    " FROM items a LEFT JOIN items b ON b.cell_key = ?2 AND b.item = a.item"
    " WHERE a.cell_key = ?1 ORDER BY a.item";

/* The sums of a document. */
struct tally {
    struct ucb_sum gap;
    double n_items, n_tokens, t1, reference_t1, agree;
};

static ucb_status fail_query(struct ucb_report_job *job, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the items: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

static double real_at(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

static bool items_match(sqlite3_stmt *row)
{
    return sqlite3_column_type(row, 5) != SQLITE_NULL &&
           sqlite3_column_int64(row, 0) == sqlite3_column_int64(row, 5) &&
           sqlite3_column_int64(row, 1) == sqlite3_column_int64(row, 6);
}

static void add_item(struct tally *t, sqlite3_stmt *row)
{
    ucb_sum_add(&t->gap, real_at(row, 7) - real_at(row, 2));
    t->n_items++;
    t->n_tokens += (double)sqlite3_column_int64(row, 1);
    t->t1 += (double)sqlite3_column_int64(row, 3);
    t->agree += (double)sqlite3_column_int64(row, 4);
    t->reference_t1 += (double)sqlite3_column_int64(row, 8);
}

/* Doubles the room until `document` fits. */
static bool make_room(struct ucb_arena *arena, struct tally **tallies, size_t *capacity,
                      size_t document)
{
    size_t more = *capacity == 0 ? 1024 : *capacity;
    if (document < *capacity) return true;
    while (more <= document) more *= 2;
    struct tally *grown = UCB_NEW(arena, struct tally, more);
    for (size_t i = 0; grown != NULL && i < *capacity; i++) grown[i] = (*tallies)[i];
    *tallies = grown;
    *capacity = more;
    return grown != NULL;
}

static ucb_status read_tallies(struct ucb_report_job *job, sqlite3_stmt *rows,
                               const struct ucb_ladder_cell *cell,
                               const struct ucb_ladder_cell *reference,
                               struct tally **tallies, size_t *n, struct ucb_err *err)
{
    int code;
    *tallies = NULL;
    *n = 0;
    sqlite3_bind_int64(rows, 1, cell->cell_key);
    sqlite3_bind_int64(rows, 2, reference->cell_key);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        int64_t document = sqlite3_column_int64(rows, 0);
        if (!items_match(rows) || document < 0 || document >= MAX_DOCUMENTS)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s, %s and %s were not scored on the same "
                            "items; run both again",
                            job->database, cell->model, cell->spec, reference->spec);
        if (!make_room(job->arena, tallies, n, (size_t)document))
            return UCB_FAIL(err, UCB_NOMEM, "no memory for the document sums");
        add_item(&(*tallies)[document], rows);
    }
    return code == SQLITE_DONE ? UCB_OK : fail_query(job, err);
}

static void fill_rows(const struct ucb_ladder_cells *cells, const struct tally *tallies,
                      size_t n, struct ucb_ladder_pair *out)
{
    bool passages = cells->task.task->ppl_unit == UCB_PPL_PER_PASSAGE;
    for (size_t i = 0; i < n; i++) {
        const struct tally *t = &tallies[i];
        if (t->n_items == 0) continue;
        out->rows[out->n_documents++] = (struct ucb_bootstrap_row){
            .above = {[UCB_LADDER_t1_ret] = t->t1,
                      [UCB_LADDER_t1_agree] = t->agree,
                      [UCB_LADDER_ppl_ratio] = ucb_sum_value(&t->gap)},
            .below = {[UCB_LADDER_t1_ret] = t->reference_t1,
                      [UCB_LADDER_t1_agree] = t->n_tokens,
                      [UCB_LADDER_ppl_ratio] = passages ? t->n_items : t->n_tokens}};
    }
}

ucb_status ucb_ladder_pair(struct ucb_report_job *job, const struct ucb_ladder_cells *cells,
                           const struct ucb_ladder_cell *cell,
                           const struct ucb_ladder_cell *reference,
                           struct ucb_ladder_pair *out, struct ucb_err *err)
{
    sqlite3_stmt *rows = NULL;
    struct tally *tallies;
    size_t n;
    *out = (struct ucb_ladder_pair){0};
    if (cell->n_items != reference->n_items || cell->n_items == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: %s: %lld items of %s, %lld of %s; run both again",
                        job->database, cell->model, (long long)cell->n_items, cell->spec,
                        (long long)reference->n_items, reference->spec);
    if (sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows, NULL) != SQLITE_OK)
        return fail_query(job, err);
    ucb_status status = read_tallies(job, rows, cell, reference, &tallies, &n, err);
    sqlite3_finalize(rows);
    if (status != UCB_OK) return status;
    out->rows = UCB_NEW(job->arena, struct ucb_bootstrap_row, n);
    if (out->rows == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the document sums");
    fill_rows(cells, tallies, n, out);
    return UCB_OK;
}

ucb_status ucb_ladder_ratio(struct ucb_report_job *job,
                            const struct ucb_ladder_cells *cells,
                            const struct ucb_ladder_cell *cell,
                            const struct ucb_ladder_cell *reference,
                            struct ucb_estimate *out, struct ucb_err *err)
{
    struct ucb_ladder_pair pair;
    UCB_TRY(ucb_ladder_pair(job, cells, cell, reference, &pair, err));
    double *totals = UCB_NEW(job->arena, double, pair.n_documents),
           *weights = UCB_NEW(job->arena, double, pair.n_documents);
    if (totals == NULL || weights == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the document sums");
    for (size_t i = 0; i < pair.n_documents; i++) {
        totals[i] = pair.rows[i].above[UCB_LADDER_ppl_ratio];
        weights[i] = pair.rows[i].below[UCB_LADDER_ppl_ratio];
    }
    UCB_TRY(ucb_cluster_ratio(totals, weights, pair.n_documents, UCB_CONFIDENCE, out, err));
    *out = ucb_estimate_exp(*out);
    return UCB_OK;
}

/* ---- several models ---- */

/* One model's replicates, [metric][replicate]. Every method draws the same ones. */
static ucb_status draw(struct ucb_report_job *job, const struct ucb_ladder_cells *cells,
                       const struct ucb_ladder_cell *cell, double **out,
                       struct ucb_err *err)
{
    struct ucb_ladder_pair pair;
    struct ucb_pcg stream;
    const struct ucb_ladder_cell *original = ucb_ladder_exact(cells, cell->model, "none");
    enum { N = UCB_LADDER_REPLICATES };
    if (original == NULL || original->failed)
        return UCB_FAIL(err, UCB_MISSING, "%s: no result of the original `none` of %s",
                        job->database, cell->model);
    UCB_TRY(ucb_ladder_pair(job, cells, cell, original, &pair, err));
    const char *name = ucb_arena_printf(job->arena, "%s %s ladder", cell->model,
                                        cells->task.spec);
    uint32_t *counts = UCB_NEW(job->arena, uint32_t, pair.n_documents);
    double *drawn = UCB_NEW(job->arena, double, (size_t)UCB_BOOTSTRAP_RATIOS *N);
    if (name == NULL || counts == NULL || drawn == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for resamples of %s", cell->model);
    ucb_pcg_named(&stream, (uint64_t)cell->seed, name);
    ucb_bootstrap_draw(pair.rows, pair.n_documents, N, &stream, counts, drawn);
    for (size_t b = 0; b < N; b++)
        drawn[UCB_LADDER_ppl_ratio * N + b] = ucb_exp(drawn[UCB_LADDER_ppl_ratio * N + b]);
    *out = drawn;
    return UCB_OK;
}

struct member {
    const struct ucb_ladder_cell *cell;
    double *replicates;
};

static void add_member(struct ucb_ladder_cohort *out, const struct ucb_ladder_cell *cell)
{
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++) {
        double value = cell->metrics[k].value;
        out->low[k] = out->n_models == 0 ? value : fmin(out->low[k], value);
        out->high[k] = out->n_models == 0 ? value : fmax(out->high[k], value);
    }
    out->n_models++;
    out->n_contaminated += cell->contaminated;
    out->n_catastrophic += cell->metrics[UCB_LADDER_ppl_ratio].value > 10;
    out->bpw_matrices += cell->bpw_matrices;
}

static ucb_status estimate(struct ucb_report_job *job, const struct ucb_ladder_cells *cells,
                           const struct member *members, size_t n, int metric,
                           struct ucb_estimate *out, struct ucb_err *err)
{
    struct ucb_pcg stream;
    double *values = UCB_NEW(job->arena, double, n),
           *scratch = UCB_NEW(job->arena, double, n + UCB_LADDER_REPLICATES);
    const double **replicates = UCB_NEW(job->arena, const double *, n);
    if (values == NULL || scratch == NULL || replicates == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu models", n);
    for (size_t i = 0; i < n; i++) {
        values[i] = members[i].cell->metrics[metric].value;
        replicates[i] = members[i].replicates + (size_t)metric * UCB_LADDER_REPLICATES;
    }
    ucb_pcg_named(&stream, (uint64_t)members[0].cell->seed, cells->task.spec);
    *out = ucb_cohort(metric == UCB_LADDER_ppl_ratio ? UCB_COHORT_MEDIAN : UCB_COHORT_MEAN,
                      values, replicates, n, UCB_LADDER_REPLICATES, &stream, scratch,
                      UCB_CONFIDENCE);
    return UCB_OK;
}

ucb_status ucb_ladder_cohort(struct ucb_report_job *job,
                             const struct ucb_ladder_cells *cells,
                             const char *const *models, size_t n_models, const char *spec,
                             struct ucb_ladder_cohort *out, struct ucb_err *err)
{
    struct member *members = UCB_NEW(job->arena, struct member, n_models);
    *out = (struct ucb_ladder_cohort){0};
    if (members == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu models", n_models);
    for (size_t i = 0; i < n_models; i++) {
        const struct ucb_ladder_cell *cell = ucb_ladder_exact(cells, models[i], spec);
        if (cell == NULL || cell->failed) continue;
        members[out->n_models].cell = cell;
        UCB_TRY(draw(job, cells, cell, &members[out->n_models].replicates, err));
        add_member(out, cell);
    }
    if (out->n_models == 0) return UCB_OK;
    out->bpw_matrices /= (double)out->n_models;
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++)
        UCB_TRY(estimate(job, cells, members, out->n_models, k, &out->metrics[k], err));
    return UCB_OK;
}
