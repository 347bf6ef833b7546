/*
 * claims_check.c - what needs no model: arithmetic, the author's own rows, opinions.
 *
 * A claim holds where its printed number rounds from the recomputed one. What it leaves out
 * (`honest` in the map) is computed beside it and stands in the reason; it never changes
 * the verdict, which says only whether the number follows from what the document states.
 */
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "report/claims.h"

/* A number printed to six digits cannot tell 99.745 from its neighbour in binary. */
static const double print_error = 1e-6;

const char *ucb_claim_number(struct ucb_arena *arena, double value)
{
    if (value == 0) value = 0; /* no "-0" */
    if (fabs(value) >= 1e6 && fabs(value) < 1e15)
        return ucb_arena_printf(arena, "%.0f", value);
    return ucb_arena_printf(arena, "%.6g", value);
}

/* ---- one expression ---- */

static void bind_claim(sqlite3_stmt *row, const struct ucb_claim *c)
{
    struct ucb_quantity setting;
    const struct {
        const char *name, *text;
    } texts[] = {{":id", c->id},
                 {":model", c->model},
                 {":method", c->method},
                 {":metric", c->metric}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int at = sqlite3_bind_parameter_index(row, texts[i].name);
        if (at > 0) sqlite3_bind_text(row, at, texts[i].text, -1, SQLITE_STATIC);
    }
    int at = sqlite3_bind_parameter_index(row, ":value");
    if (at > 0 && c->quantity.n_numbers > 0) sqlite3_bind_double(row, at, c->quantity.high);
    at = sqlite3_bind_parameter_index(row, ":setting");
    if (at > 0 && ucb_quantity_parse(c->setting, &setting, NULL) == UCB_OK &&
        setting.n_numbers > 0)
        sqlite3_bind_double(row, at, setting.high);
}

/* One row, one column, a number. */
static ucb_status step_once(sqlite3_stmt *row, const struct ucb_claim *c, double *value,
                            struct ucb_err *err)
{
    int code = sqlite3_step(row);
    if (code == SQLITE_ROW) {
        int type = sqlite3_column_type(row, 0);
        *value = sqlite3_column_double(row, 0);
        bool number = type == SQLITE_INTEGER || type == SQLITE_FLOAT;
        code = sqlite3_step(row);
        if (number && isfinite(*value) && code == SQLITE_DONE) return UCB_OK;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return UCB_FAIL(err, UCB_CORRUPT, "reports/claims-map.csv: %s: %s", c->id,
                        sqlite3_errmsg(sqlite3_db_handle(row)));
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "reports/claims-map.csv: %s: the expression gives no number, or more rows "
        "than one: %s",
        c->id, sqlite3_sql(row));
}

ucb_status ucb_claims_evaluate(struct ucb_claims *claims, struct ucb_claim *claim,
                               const char *sql, double *value, struct ucb_err *err)
{
    sqlite3_stmt *row = NULL;
    const char *rest = NULL;
    ucb_status status;
    claims->now = claim;
    int code = sqlite3_prepare_v2(claims->checks, sql, -1, &row, &rest);
    if (code != SQLITE_OK || row == NULL) {
        status = UCB_FAIL(
            err, UCB_CORRUPT, "reports/claims-map.csv: %s: %s: %s", claim->id,
            code == SQLITE_OK ? "no statement" : sqlite3_errmsg(claims->checks), sql);
    } else if (*rest != '\0' || !sqlite3_stmt_readonly(row) ||
               sqlite3_column_count(row) != 1) {
        status = UCB_FAIL(err, UCB_CORRUPT,
                          "reports/claims-map.csv: %s: not one SELECT of one column: %s",
                          claim->id, sql);
    } else {
        bind_claim(row, claim);
        status = step_once(row, claim, value, err);
    }
    sqlite3_finalize(row);
    claims->now = NULL;
    return status;
}

/* ---- one claim ---- */

static bool holds(const struct ucb_claim *c)
{
    const struct ucb_quantity *q = &c->quantity;
    double slack = c->slack + print_error * fabs(c->measured);
    if (c->at_least) return q->high >= c->measured;
    switch (q->relation) {
    case UCB_RELATION_BELOW: return c->measured < q->high;
    case UCB_RELATION_ABOVE: return c->measured >= q->low;
    default: return c->measured >= q->low - slack && c->measured <= q->high + slack;
    }
}

/* "; leaves 5.11 bits", or "" */
static ucb_status honest_text(struct ucb_claims *claims, struct ucb_claim *c,
                              const char **out, struct ucb_err *err)
{
    double value;
    *out = "";
    if (*c->honest == '\0') return UCB_OK;
    UCB_TRY(ucb_claims_evaluate(claims, c, c->honest, &value, err));
    const char *number = ucb_claim_number(claims->arena, value);
    *out = number == NULL
               ? NULL
               : ucb_arena_printf(claims->arena, "; %s: %s", c->honest_label, number);
    return *out == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for reasons") : UCB_OK;
}

/* "not 25.1 but 26.0317: ", or "" where the claim holds. */
static const char *objection(struct ucb_arena *arena, const struct ucb_claim *c, bool held)
{
    const char *number = ucb_claim_number(arena, c->measured);
    if (held || number == NULL) return number == NULL ? NULL : "";
    return c->at_least ? ucb_arena_printf(arena, "%s is less than %s: ", c->value, number)
                       : ucb_arena_printf(arena, "not %s but %s: ", c->value, number);
}

static ucb_status check_one(struct ucb_claims *claims, struct ucb_claim *c,
                            struct ucb_err *err)
{
    const char *honest;
    if (c->quantity.n_numbers == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "reports/claims-map.csv: %s is %s, but claims no number", c->id,
                        ucb_claim_kind_name(c->kind));
    UCB_TRY(ucb_claims_evaluate(claims, c, c->expression, &c->measured, err));
    UCB_TRY(honest_text(claims, c, &honest, err));
    bool held = holds(c);
    c->verdict = held ? UCB_VERDICT_REPRODUCED : UCB_VERDICT_REFUTED;
    const char *but = objection(claims->arena, c, held);
    if (but != NULL)
        c->reason = ucb_arena_printf(claims->arena, "%s%s%s%s", but,
                                     c->kind == UCB_CLAIM_RAW
                                         ? "from the author's own rows, no model was run: "
                                         : "",
                                     c->why, honest);
    return but == NULL || c->reason == NULL
               ? UCB_FAIL(err, UCB_NOMEM, "no memory for reasons")
               : UCB_OK;
}

/* A number that follows from refuted ones stands on refuted ground: say so. */
static ucb_status name_refuted_inputs(struct ucb_claims *claims, struct ucb_claim *c,
                                      struct ucb_err *err)
{
    for (size_t k = 0; k < c->n_inputs; k++)
        for (size_t i = 0; i < claims->n; i++) {
            const struct ucb_claim *input = &claims->list[i];
            if (strcmp(input->id, c->inputs[k]) != 0 ||
                input->verdict != UCB_VERDICT_REFUTED)
                continue;
            c->reason = ucb_arena_printf(claims->arena, "%s; %s, which it uses, is refuted",
                                         c->reason, input->id);
            if (c->reason == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for reasons");
        }
    return UCB_OK;
}

ucb_status ucb_claims_check(struct ucb_claims *claims, struct ucb_err *err)
{
    for (size_t i = 0; i < claims->n; i++) {
        struct ucb_claim *c = &claims->list[i];
        if (c->kind == UCB_CLAIM_ARITHMETIC || c->kind == UCB_CLAIM_RAW)
            UCB_TRY(check_one(claims, c, err));
        if (c->kind != UCB_CLAIM_OPINION) continue;
        c->verdict = UCB_VERDICT_NOT_COMPARABLE;
        c->reason = ucb_arena_printf(claims->arena, "nothing to measure: %s", c->why);
        if (c->reason == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for reasons");
    }
    for (size_t i = 0; i < claims->n; i++)
        UCB_TRY(name_refuted_inputs(claims, &claims->list[i], err));
    return UCB_OK;
}
