/* report_verdicts.c - what may be said of every cell of a table against its original. */
#include <math.h>
#include <string.h>

#include "report/pair.h"
#include "report/report_data.h"
#include "stats/multiple.h"

/* The stored row of a cell that the report shows; NULL: it is gone. */
static const struct ucb_stored_cell *stored(const struct ucb_stored_cell *cells, size_t n,
                                            const struct ucb_report_cell *c)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(cells[i].cell_id, c->cell_id) == 0 &&
            strcmp(cells[i].build_id, c->build_id) == 0)
            return &cells[i];
    return NULL;
}

/*
 * What a cell is compared with: the original of the same scope, arithmetic and seed; of a
 * noise floor the original that it was scored against; for an original in a second
 * arithmetic the first one, which is a noise floor without divergence. NULL: nothing.
 */
static const struct ucb_report_cell *original_of(const struct ucb_report_group *g,
                                                 const struct ucb_report_cell *c)
{
    for (size_t i = 0; i < g->n_cells; i++) {
        const struct ucb_report_cell *o = &g->cells[i];
        if (!o->original || o->floor || o->failed) continue;
        if (c->floor) {
            if (strcmp(o->arithmetic, c->reference) == 0) return o;
            continue;
        }
        if (c->original) {
            bool exact = strcmp(o->arithmetic, "fp32") == 0;
            if (exact && strcmp(c->arithmetic, "fp32") != 0) return o;
            continue;
        }
        if (strcmp(o->setting, c->setting) == 0) return o;
    }
    return NULL;
}

/* Two-sided, of a change of perplexity; NaN where nothing changed or nothing was tested. */
static double change_p(const struct ucb_pair *pair)
{
    const struct ucb_criterion *c = &pair->result.criteria[UCB_CRITERION_PPL];
    if (!c->present || isnan(c->worse_p) || pair->result.items_equal) return NAN;
    return fmin(1, 2 * fmin(c->worse_p, 1 - c->worse_p));
}

/* One pair in an arena of its own: the items of a whole table need not fit. */
static ucb_status judge(struct ucb_report_job *job, const struct ucb_stored_cell *cells,
                        size_t n, const struct ucb_stored_cell *before,
                        const struct ucb_stored_cell *after, const char **verdict,
                        double *p, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_pair pair;
    struct ucb_text text = {0};
    ucb_arena_init(&arena);
    ucb_status status = ucb_pair_compare(job->store, cells, n, before, after,
                                         &ucb_bands_default, 0, &arena, &pair, err);
    if (status == UCB_OK) {
        if (pair.is_floor) ucb_text_add(&text, "noise floor; ");
        ucb_pair_sentence(&pair, &text);
        *p = change_p(&pair);
        const char *sentence = ucb_text_get(&text);
        *verdict = text.failed ? NULL
                               : ucb_arena_printf(job->arena, "%.*s",
                                                  (int)strcspn(sentence, "\n"), sentence);
        if (*verdict == NULL)
            status = UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its verdicts",
                              job->database);
    }
    ucb_text_free(&text);
    ucb_arena_free(&arena);
    return status;
}

/* From p-values to q-values, in place. Originals and floors explore nothing. */
static ucb_status adjust(struct ucb_report_job *job, struct ucb_report_cell *cells,
                         size_t n, struct ucb_err *err)
{
    size_t n_tests = 0, at = 0;
    double *p = UCB_NEW(job->arena, double, n);
    size_t *order = UCB_NEW(job->arena, size_t, n);
    if (p == NULL || order == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu tests", job->database, n);
    for (size_t i = 0; i < n; i++) {
        if (cells[i].original || cells[i].floor) cells[i].change_q = NAN;
        if (!isnan(cells[i].change_q)) p[n_tests++] = cells[i].change_q;
    }
    UCB_TRY(ucb_benjamini_hochberg(p, n_tests, order, p, err));
    for (size_t i = 0; i < n; i++)
        if (!isnan(cells[i].change_q)) cells[i].change_q = p[at++];
    return UCB_OK;
}

ucb_status ucb_report_verdicts(struct ucb_report_job *job, struct ucb_report_data *data,
                               struct ucb_err *err)
{
    struct ucb_stored_cell *cells = NULL;
    size_t n = 0;
    UCB_TRY(ucb_store_cells(job->store, job->arena, &cells, &n, err));
    for (size_t k = 0; k < data->n_groups; k++) {
        const struct ucb_report_group *g = &data->groups[k];
        for (size_t i = 0; i < g->n_cells; i++) {
            /* Groups are runs of data->cells, which is ours to fill. */
            struct ucb_report_cell *c = &data->cells[&g->cells[i] - data->cells];
            c->change_q = NAN;
            const struct ucb_report_cell *original = original_of(g, c);
            if (c->failed || original == NULL) continue;
            const struct ucb_stored_cell *before = stored(cells, n, original),
                                         *after = stored(cells, n, c);
            if (before == NULL || after == NULL) continue;
            /* Cells of two builds may lie on other items; a table is no place to refuse. */
            struct ucb_err why = {0};
            ucb_status status = judge(job, cells, n, before, after, &c->verdict,
                                      &c->change_q, &why);
            if (status != UCB_OK && status != UCB_USAGE) {
                *err = why;
                return status;
            }
        }
        UCB_TRY(adjust(job, &data->cells[g->cells - data->cells], g->n_cells, err));
    }
    return UCB_OK;
}
