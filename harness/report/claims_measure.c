/*
 * claims_measure.c - claims that need a model, beside the cells of the database.
 *
 * Only a cell of the claimed model, method, task, data set and metric counts, and only of
 * weights that had not been quantized before. From its interval comes a standard error,
 * (end - value) / t(n - 1) on the side of the claim, on the log scale for perplexities; the
 * null hypothesis is that the truth rounds to the claimed number, so the distance is to the
 * nearest end of what rounds to it. Holm's adjustment within a table.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/claims.h"
#include "stats/distribution.h"
#include "stats/estimate.h"
#include "stats/multiple.h"

static const double alpha = 1 - UCB_CONFIDENCE;

/* Newest results of one spec, task and metric; %s: the column that says whether the source
 * had been quantized before. */
static const char cells_sql[] =
    "SELECT model, dataset, cell_id, value, ci_low, ci_high, n, calib, lattice_source"
    " FROM v_latest"
    " WHERE spec = ?1 AND task = ?2 AND metric = ?3 AND status = 'OK' AND value IS NOT NULL"
    " AND reference = ''"
    " ORDER BY model <> ?4, dataset <> ?5, scope <> 'body', arithmetic <> 'fp32', model,"
    " dataset, scope, arithmetic, calib, seed, cell_id";

/* What there is that comes near, the nearest first. */
struct found {
    bool exact, lattice, no_memory;
    const char *other; /* of another model, data set or calibration: "model on dataset" */
    char cell[13];
};

static bool is_cohort(const struct ucb_claim *c)
{
    return strcmp(c->map_model, "cohort") == 0;
}

const char *ucb_claim_command(const struct ucb_claims *claims, const struct ucb_claim *c,
                              const char *database)
{
    struct ucb_arena *arena = claims->arena;
    const char *models = "";
    for (size_t i = 0; is_cohort(c) && models != NULL && i < claims->n_cohort; i++)
        models = ucb_arena_printf(arena, "%s --model %s", models, claims->cohort[i]);
    if (!is_cohort(c)) models = ucb_arena_printf(arena, " --model %s", c->map_model);
    return models == NULL
               ? NULL
               : ucb_arena_printf(
                     arena, "ucbench sweep%s --method %s --task %s%s%s --data DIR --db %s",
                     models, c->spec, c->task,
                     *c->calib == '\0' ? "" : " --compat --calib ", c->calib, database);
}

/* ---- the cell ---- */

static double real_or_nan(sqlite3_stmt *row, int column)
{
    return sqlite3_column_type(row, column) == SQLITE_NULL
               ? NAN
               : sqlite3_column_double(row, column);
}

/* A stored calibration is its spec and some digits of its text's digest. */
static bool same_calib(const char *wanted, const char *stored)
{
    size_t n = strlen(wanted);
    return n == 0 ? *stored == '\0' : strncmp(stored, wanted, n) == 0;
}

static void take_row(struct ucb_claims *claims, struct ucb_claim *c, sqlite3_stmt *row,
                     struct found *found)
{
    const char *model = (const char *)sqlite3_column_text(row, 0),
               *dataset = (const char *)sqlite3_column_text(row, 1),
               *calib = (const char *)sqlite3_column_text(row, 7),
               *lattice = (const char *)sqlite3_column_text(row, 8);
    bool same = strcmp(model, c->map_model) == 0 && strcmp(dataset, c->dataset) == 0 &&
                same_calib(c->calib, calib);
    if (same && lattice != NULL && *lattice != '\0') {
        found->lattice = true;
    } else if (same) {
        found->exact = true;
        snprintf(found->cell, sizeof(found->cell), "%s",
                 (const char *)sqlite3_column_text(row, 2));
        c->measured = c->scale * sqlite3_column_double(row, 3);
        c->ci_low = c->scale * real_or_nan(row, 4);
        c->ci_high = c->scale * real_or_nan(row, 5);
        c->n = sqlite3_column_int64(row, 6);
    } else if (found->other == NULL) {
        found->other = ucb_arena_printf(claims->arena, "%s on %s%s%s", model, dataset,
                                        *calib == '\0' ? "" : ", calibrated on ", calib);
        found->no_memory = found->other == NULL;
    }
}

static ucb_status find_cell(struct ucb_claims *claims, struct ucb_claim *c, sqlite3 *db,
                            struct found *found, struct ucb_err *err)
{
    sqlite3_stmt *row = NULL;
    int code;
    const char *const values[] = {c->spec, c->task, c->measure, c->map_model, c->dataset};
    *found = (struct found){0};
    code = sqlite3_prepare_v2(db, cells_sql, -1, &row, NULL);
    for (int i = 0; i < 5; i++) sqlite3_bind_text(row, i + 1, values[i], -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        while (!found->exact && (code = sqlite3_step(row)) == SQLITE_ROW)
            take_row(claims, c, row, found);
    sqlite3_finalize(row);
    if (found->no_memory) return UCB_FAIL(err, UCB_NOMEM, "no memory for reasons");
    return code == SQLITE_DONE || code == SQLITE_ROW
               ? UCB_OK
               : UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read the results: %s",
                          sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
}

/* ---- a cohort ---- */

struct value {
    double value, low, high;
};

static int by_value(const void *a, const void *b)
{
    const struct value *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/*
 * The cohort's cells, or fewer where some are missing. Their errors are not independent
 * (the texts are the same), so ends are averaged as values are: the interval of perfectly
 * correlated errors, the widest there is.
 */
static void average(struct ucb_claim *c, struct value *values, size_t n)
{
    bool median = strstr(c->metric, "median") != NULL;
    size_t first = median ? (n - 1) / 2 : 0, last = median ? n / 2 + 1 : n;
    struct value sum = {0, 0, 0};
    qsort(values, n, sizeof(values[0]), by_value);
    for (size_t i = first; i < last; i++) {
        sum.value += values[i].value;
        sum.low += values[i].low;
        sum.high += values[i].high;
    }
    c->measured = sum.value / (double)(last - first);
    c->ci_low = sum.low / (double)(last - first);
    c->ci_high = sum.high / (double)(last - first);
}

/* *complete: all of the cohort were measured, and the claim holds their summary. */
static ucb_status find_cohort(struct ucb_claims *claims, struct ucb_claim *c, sqlite3 *db,
                              bool *complete, struct ucb_err *err)
{
    struct value *values = UCB_NEW(claims->arena, struct value, claims->n_cohort);
    struct ucb_claim one = *c;
    int64_t least = INT64_MAX;
    *complete = false;
    if (values == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the cohort");
    for (size_t i = 0; i < claims->n_cohort; i++) {
        struct found found;
        one.map_model = claims->cohort[i];
        UCB_TRY(find_cell(claims, &one, db, &found, err));
        if (!found.exact) return UCB_OK;
        values[i] = (struct value){one.measured, one.ci_low, one.ci_high};
        if (one.n < least) least = one.n;
    }
    *complete = true;
    c->n = least;
    average(c, values, claims->n_cohort);
    return UCB_OK;
}

/* ---- the test ---- */

static bool is_log_scale(const char *measure)
{
    return strncmp(measure, "ppl", 3) == 0;
}

/* The end of what rounds to the claim that lies nearest to x; x where it rounds to it. */
static double nearest_claimed(const struct ucb_claim *c, double x)
{
    const struct ucb_quantity *q = &c->quantity;
    double low = q->low - q->slack, high = q->high + q->slack;
    if (q->relation == UCB_RELATION_BELOW) low = -INFINITY, high = q->high;
    if (q->relation == UCB_RELATION_ABOVE) low = q->low, high = INFINITY;
    return x < low ? low : x > high ? high : x;
}

static double p_value(const struct ucb_claim *c)
{
    double claimed = nearest_claimed(c, c->measured), x = c->measured,
           end = claimed > x ? c->ci_high : c->ci_low, freedom = (double)c->n - 1;
    if (isnan(c->ci_low) || isnan(c->ci_high) || freedom < 1) return NAN;
    if (claimed == x) return 1;
    if (is_log_scale(c->measure)) {
        if (!(claimed > 0)) return 0;
        claimed = log(claimed), x = log(x), end = log(end);
    }
    double error = fabs(end - x) / ucb_student_quantile(1 - alpha / 2, freedom);
    if (error == 0) return 0;
    double tail = ucb_student_tail(fabs(claimed - x) / error, freedom);
    bool bound = c->quantity.relation == UCB_RELATION_BELOW ||
                 c->quantity.relation == UCB_RELATION_ABOVE;
    return bound ? tail : fmin(1, 2 * tail);
}

/* ---- verdicts ---- */

static const char *evidence(struct ucb_claims *claims, struct ucb_claim *c,
                            struct ucb_err *err, ucb_status *status)
{
    double value;
    if (*c->expression == '\0') return "";
    *status = ucb_claims_evaluate(claims, c, c->expression, &value, err);
    if (*status != UCB_OK) return NULL;
    const char *number = ucb_claim_number(claims->arena, value);
    return number == NULL
               ? NULL
               : ucb_arena_printf(claims->arena, "; %s: %s", c->honest_label, number);
}

/* Why there is nothing to compare with. */
static void without_cell(struct ucb_claims *claims, struct ucb_claim *c,
                         const struct found *found, const char *said, const char *database)
{
    struct ucb_arena *arena = claims->arena;
    const char *command = ucb_claim_command(claims, c, database);
    c->verdict = found->lattice || found->other != NULL ? UCB_VERDICT_NOT_COMPARABLE
                                                        : UCB_VERDICT_NOT_RUN;
    if (command == NULL || said == NULL)
        c->reason = NULL;
    else if (*c->task == '\0')
        c->reason = ucb_arena_printf(arena, "cannot be rerun: %s%s%s%s", c->why,
                                     *c->spec == '\0' ? "" : "; the method is ", c->spec,
                                     said);
    else if (found->lattice)
        c->reason = ucb_arena_printf(
            arena,
            "measured on a source whose weights had been quantized "
            "before, which flatters it%s; with the original: %s",
            said, command);
    else if (found->other != NULL)
        c->reason = ucb_arena_printf(
            arena, "measured for %s only, which is not what is claimed%s; run: %s",
            found->other, said, command);
    else
        c->reason = ucb_arena_printf(arena, "run: %s%s", command, said);
}

static ucb_status look(struct ucb_claims *claims, struct ucb_claim *c, sqlite3 *db,
                       const char *database, struct ucb_err *err)
{
    struct found found = {0};
    ucb_status status = UCB_OK;
    if (*c->task != '\0') UCB_TRY(find_cell(claims, c, db, &found, err));
    const char *said = evidence(claims, c, err, &status);
    UCB_TRY(status);
    if (found.exact) {
        c->p = p_value(c);
        c->verdict = UCB_VERDICT_INCONCLUSIVE; /* until judged with its table */
        c->reason = said == NULL
                        ? NULL
                        : ucb_arena_printf(claims->arena, "cell %s%s", found.cell, said);
    } else {
        without_cell(claims, c, &found, said, database);
    }
    return c->reason == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for reasons") : UCB_OK;
}

static ucb_status judge(struct ucb_claims *claims, struct ucb_claim *c, struct ucb_err *err)
{
    double nearest = nearest_claimed(c, c->measured);
    bool inside = nearest == c->measured || (nearest >= c->ci_low && nearest <= c->ci_high),
         wide = !isnan(c->tolerance) &&
                fmax(c->ci_high - c->measured, c->measured - c->ci_low) > c->tolerance;
    const char *why;
    if (isnan(c->p)) {
        why = "the measurement has no interval";
    } else if (inside && wide) {
        why = "the interval holds the claim, and much else";
    } else if (inside) {
        c->verdict = UCB_VERDICT_REPRODUCED;
        why = "the interval holds the claim";
    } else if (c->p_adjusted < alpha) {
        c->verdict = UCB_VERDICT_REFUTED;
        why = "the claim lies outside";
    } else {
        why = "outside the interval, not significantly so within its table";
    }
    const char *p = isnan(c->p) ? ""
                                : ucb_arena_printf(claims->arena, ", p = %.3g (Holm)",
                                                   c->p_adjusted);
    if (p != NULL)
        c->reason = ucb_arena_printf(claims->arena, "%s%s; %s", why, p, c->reason);
    return p == NULL || c->reason == NULL
               ? UCB_FAIL(err, UCB_NOMEM, "no memory for reasons")
               : UCB_OK;
}

static bool same_table(const struct ucb_claim *a, const struct ucb_claim *b)
{
    return a->table_chars == b->table_chars &&
           strncmp(a->id, b->id, (size_t)a->table_chars) == 0;
}

/* claims[first .. last) are a table. */
static ucb_status adjust(struct ucb_claims *claims, size_t first, size_t last,
                         struct ucb_err *err)
{
    size_t n = 0;
    double *p = UCB_NEW(claims->arena, double, last - first),
           *adjusted = UCB_NEW(claims->arena, double, last - first);
    size_t *order = UCB_NEW(claims->arena, size_t, last - first);
    if (p == NULL || adjusted == NULL || order == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for p");
    for (size_t i = first; i < last; i++)
        if (!isnan(claims->list[i].p)) p[n++] = claims->list[i].p;
    UCB_TRY(ucb_holm(p, n, order, adjusted, err));
    n = 0;
    for (size_t i = first; i < last; i++)
        if (!isnan(claims->list[i].p)) claims->list[i].p_adjusted = adjusted[n++];
    return UCB_OK;
}

/* Of a claim that the author's rows bear out or not: the six models' own cells outweigh
 * them; without those it keeps its verdict and says how to get them. */
static ucb_status look_at_cohort(struct ucb_claims *claims, struct ucb_claim *c,
                                 sqlite3 *db, const char *database, struct ucb_err *err)
{
    bool complete;
    const char *rows = ucb_claim_number(claims->arena, c->measured),
               *command = ucb_claim_command(claims, c, database);
    UCB_TRY(find_cohort(claims, c, db, &complete, err));
    if (rows == NULL || command == NULL) {
        c->reason = NULL;
    } else if (complete) {
        c->p = p_value(c);
        c->verdict = UCB_VERDICT_INCONCLUSIVE;
        c->reason = ucb_arena_printf(
            claims->arena, "%s of %zu cells; from the author's rows: %s",
            strstr(c->metric, "median") != NULL ? "median" : "mean", claims->n_cohort,
            rows);
    } else {
        c->reason = ucb_arena_printf(claims->arena, "%s; to measure it: %s", c->reason,
                                     command);
    }
    return c->reason == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for reasons") : UCB_OK;
}

ucb_status ucb_claims_measure(struct ucb_claims *claims, struct ucb_store *store,
                              const char *database, struct ucb_err *err)
{
    sqlite3 *db = ucb_store_db(store);
    for (size_t i = 0; i < claims->n; i++) {
        struct ucb_claim *c = &claims->list[i];
        if (c->kind == UCB_CLAIM_MEASURED)
            UCB_TRY(look(claims, c, db, database, err));
        else if (is_cohort(c))
            UCB_TRY(look_at_cohort(claims, c, db, database, err));
    }
    for (size_t first = 0, last; first < claims->n; first = last) {
        last = first;
        while (last < claims->n && same_table(&claims->list[first], &claims->list[last]))
            last++;
        UCB_TRY(adjust(claims, first, last, err));
    }
    for (size_t i = 0; i < claims->n; i++)
        if (claims->list[i].n > 0) UCB_TRY(judge(claims, &claims->list[i], err));
    return UCB_OK;
}
