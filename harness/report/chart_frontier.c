/*
 * chart_frontier.c - which points are on the frontier, and in what share of resamples of
 * the documents they are.
 *
 * Points of a series are compared on the same resamples, so all that decides is the sum
 * over documents: of divergence, of minus log-likelihood, of minus right answers. What the
 * sums would be divided by (tokens, words, the original's own sum) is the same for all of
 * them.
 */
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "report/chart.h"
#include "stats/bootstrap.h"
#include "stats/pareto.h"
#include "stats/sum.h"

static const char query[] =
    "SELECT document, n_tokens, kld_sum, sum_logp, target_correct FROM items"
    " JOIN cells USING (cell_key) WHERE cell_id = ?1 AND build_id = ?2"
    " ORDER BY document, item";
enum column { DOCUMENT, N_TOKENS, KLD_SUM, SUM_LOGP, TARGET_CORRECT };

/* One cell's items added up by document. */
struct tally {
    int64_t *document, *n_tokens;
    double *loss;
    size_t n;
};
struct group {
    struct ucb_chart_point **points;
    size_t n;
    struct tally *tallies; /* of each point */
};

static double loss_of(const struct ucb_chart *c, sqlite3_stmt *row)
{
    enum column column = c->quantity == UCB_CHART_KLD     ? KLD_SUM
                         : c->quantity == UCB_CHART_RATIO ? SUM_LOGP
                                                          : TARGET_CORRECT;
    double value = sqlite3_column_type(row, column) == SQLITE_NULL
                       ? NAN
                       : sqlite3_column_double(row, column);
    return c->quantity == UCB_CHART_KLD ? value : -value;
}

static ucb_status read_rows(struct ucb_report_job *job, const struct ucb_chart *c,
                            sqlite3_stmt *rows, size_t capacity, struct tally *out,
                            struct ucb_err *err)
{
    struct ucb_sum sum = {0};
    int code;
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        int64_t document = sqlite3_column_int64(rows, DOCUMENT);
        if (out->n == 0 || out->document[out->n - 1] != document) {
            if (out->n == capacity)
                return UCB_FAIL(err, UCB_IO, "%s: grew while it was read; run again",
                                job->database);
            sum = (struct ucb_sum){0};
            out->document[out->n] = document;
            out->n_tokens[out->n++] = 0;
        }
        ucb_sum_add(&sum, loss_of(c, rows));
        out->loss[out->n - 1] = ucb_sum_value(&sum);
        out->n_tokens[out->n - 1] += sqlite3_column_int64(rows, N_TOKENS);
    }
    if (code == SQLITE_DONE) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the items: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

static ucb_status read_tally(struct ucb_report_job *job, const struct ucb_chart *c,
                             const struct ucb_report_cell *cell, struct tally *out,
                             struct ucb_err *err)
{
    size_t capacity = cell->n_items < 0 ? 0 : (size_t)cell->n_items;
    sqlite3_stmt *rows = NULL;
    *out = (struct tally){UCB_NEW(job->arena, int64_t, capacity),
                          UCB_NEW(job->arena, int64_t, capacity),
                          UCB_NEW(job->arena, double, capacity), 0};
    if (out->document == NULL || out->n_tokens == NULL || out->loss == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu documents", capacity);
    if (sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows, NULL) != SQLITE_OK)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the items: %s", job->database,
                        sqlite3_errmsg(ucb_store_db(job->store)));
    sqlite3_bind_text(rows, 1, cell->cell_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(rows, 2, cell->build_id, -1, SQLITE_STATIC);
    ucb_status status = read_rows(job, c, rows, capacity, out, err);
    sqlite3_finalize(rows);
    return status;
}

static bool same_items(const struct tally *a, const struct tally *b)
{
    return a->n == b->n &&
           memcmp(a->document, b->document, a->n * sizeof(*a->document)) == 0 &&
           memcmp(a->n_tokens, b->n_tokens, a->n * sizeof(*a->n_tokens)) == 0;
}

static bool are_paired(const struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (!same_items(&g->tallies[0], &g->tallies[i])) return false;
    return g->tallies[0].n > 0;
}

/* Up to UCB_BOOTSTRAP_RATIOS points from `first` on share a pass. Every pass seeds the
 * stream anew, so all draw the same documents. */
static void draw(const struct ucb_chart *c, const struct group *g, size_t first,
                 const char *name, struct ucb_bootstrap_row *rows, uint32_t *counts,
                 double *replicates)
{
    struct ucb_pcg stream;
    size_t n_documents = g->tallies[0].n, n = g->n - first;
    if (n > UCB_BOOTSTRAP_RATIOS) n = UCB_BOOTSTRAP_RATIOS;
    for (size_t d = 0; d < n_documents; d++) {
        rows[d] = (struct ucb_bootstrap_row){0};
        for (size_t k = 0; k < n; k++) {
            const struct tally *t = &g->tallies[first + k];
            rows[d].above[k] = t->loss[d];
            rows[d].below[k] = c->quantity == UCB_CHART_KLD ? (double)t->n_tokens[d] : 1;
        }
    }
    ucb_pcg_named(&stream, (uint64_t)g->points[0]->cell->seed, name);
    ucb_bootstrap_draw(rows, n_documents, UCB_CHART_REPLICATES, &stream, counts,
                       replicates + first * UCB_CHART_REPLICATES);
}

static ucb_status find_membership(struct ucb_report_job *job, const struct ucb_chart *c,
                                  const struct group *g, const double *sizes, double *share,
                                  struct ucb_err *err)
{
    size_t n_documents = g->tallies[0].n,
           n_padded = g->n + UCB_BOOTSTRAP_RATIOS; /* the last pass fills all its columns */
    const char *name = ucb_arena_printf(job->arena, "%s bootstrap", c->task);
    struct ucb_bootstrap_row *rows = UCB_NEW(job->arena, struct ucb_bootstrap_row,
                                             n_documents);
    uint32_t *counts = UCB_NEW(job->arena, uint32_t, n_documents);
    double *replicates = UCB_NEW(job->arena, double, n_padded *UCB_CHART_REPLICATES);
    if (name == NULL || rows == NULL || counts == NULL || replicates == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for resamples of %zu points", g->n);
    for (size_t first = 0; first < g->n; first += UCB_BOOTSTRAP_RATIOS)
        draw(c, g, first, name, rows, counts, replicates);
    ucb_pareto_membership(sizes, replicates, g->n, UCB_CHART_REPLICATES, share);
    for (size_t i = 0; i < g->n; i++) g->points[i]->membership = share[i];
    return UCB_OK;
}

static ucb_status find_in_group(struct ucb_report_job *job, const struct ucb_chart *c,
                                struct group *g, struct ucb_err *err)
{
    double *sizes = UCB_NEW(job->arena, double, g->n),
           *losses = UCB_NEW(job->arena, double, g->n),
           *share = UCB_NEW(job->arena, double, g->n);
    g->tallies = UCB_NEW(job->arena, struct tally, g->n);
    if (sizes == NULL || losses == NULL || share == NULL || g->tallies == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu points", g->n);
    for (size_t i = 0; i < g->n; i++) {
        sizes[i] = g->points[i]->bpw;
        losses[i] = c->quantity == UCB_CHART_RETENTION ? -g->points[i]->y : g->points[i]->y;
        UCB_TRY(read_tally(job, c, g->points[i]->cell, &g->tallies[i], err));
    }
    ucb_pareto_membership(sizes, losses, g->n, 1, share);
    for (size_t i = 0; i < g->n; i++) g->points[i]->frontier = share[i] == 1;
    return are_paired(g) ? find_membership(job, c, g, sizes, share, err) : UCB_OK;
}

ucb_status ucb_chart_find_frontier(struct ucb_report_job *job, struct ucb_chart *chart,
                                   struct ucb_err *err)
{
    struct group g = {UCB_NEW(job->arena, struct ucb_chart_point *, chart->n_points), 0,
                      NULL};
    if (g.points == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu points", chart->n_points);
    for (size_t s = 0; s < chart->n_series; s++) {
        g.n = 0;
        for (size_t i = 0; i < chart->n_points; i++)
            if (chart->points[i].series == s) g.points[g.n++] = &chart->points[i];
        if (g.n > 0) UCB_TRY(find_in_group(job, chart, &g, err));
    }
    return UCB_OK;
}
