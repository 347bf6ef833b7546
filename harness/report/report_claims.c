/*
 * report_claims.c - every claim of the seed documents with its verdict: four files, and the
 * rows of v_claims.
 *
 * The rows of the table are replaced, in one transaction; nothing else of the database
 * changes.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>

#include "core/file.h"
#include "report/claims.h"
#include "report/report.h"

/* ---- the rows of v_claims ---- */

static void bind_text(sqlite3_stmt *row, int at, const char *text)
{
    sqlite3_bind_text(row, at, text, -1, SQLITE_STATIC);
}

static void bind_real(sqlite3_stmt *row, int at, double value)
{
    if (isnan(value))
        sqlite3_bind_null(row, at);
    else
        sqlite3_bind_double(row, at, value);
}

static int put_claim(const struct ucb_claims *claims, const struct ucb_claim *c,
                     sqlite3_stmt *row)
{
    const char *note = ucb_claim_note_text(claims, c);
    if (note == NULL) return SQLITE_NOMEM;
    bind_text(row, 1, c->id);
    bind_text(row, 2, c->source);
    bind_text(row, 3, c->model);
    bind_text(row, 4, c->method);
    bind_text(row, 5, c->metric);
    bind_real(row, 6, c->quantity.n_numbers == 0 ? NAN : c->quantity.high);
    bind_real(row, 7, c->measured);
    bind_real(row, 8, c->ci_low);
    bind_real(row, 9, c->ci_high);
    if (c->n > 0)
        sqlite3_bind_int64(row, 10, c->n);
    else
        sqlite3_bind_null(row, 10);
    bind_text(row, 11, ucb_claim_verdict_name(c->verdict));
    bind_text(row, 12, c->reason);
    bind_text(row, 13, note);
    int code = sqlite3_step(row);
    sqlite3_reset(row);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static ucb_status put_claims(const struct ucb_claims *claims, sqlite3 *db,
                             struct ucb_err *err)
{
    static const char insert[] =
        "INSERT INTO claims (claim_id, source, model, method, metric,"
        " claimed, measured, ci_low, ci_high, n, verdict, reason, note)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    sqlite3_stmt *row = NULL;
    int code = sqlite3_exec(db, "BEGIN IMMEDIATE; DELETE FROM claims", NULL, NULL, NULL);
    if (code == SQLITE_OK) code = sqlite3_prepare_v2(db, insert, -1, &row, NULL);
    for (size_t i = 0; i < claims->n && code == SQLITE_OK; i++)
        code = put_claim(claims, &claims->list[i], row);
    sqlite3_finalize(row);
    if (code == SQLITE_OK) code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (code == SQLITE_OK) return UCB_OK;
    ucb_status status = UCB_FAIL(err, UCB_IO, "%s: cannot store the claims: %s",
                                 sqlite3_db_filename(db, "main"),
                                 code == SQLITE_NOMEM ? "no memory" : sqlite3_errmsg(db));
    if (!sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- the files ---- */

static ucb_status write_files(struct ucb_report_job *job, const struct ucb_claims *claims,
                              struct ucb_err *err)
{
    static const struct {
        const char *name;
        void (*write)(const struct ucb_claims *claims, struct ucb_text *out);
    } files[] = {{"claims.txt", ucb_claims_text},
                 {"claims.csv", ucb_claims_csv},
                 {"claims.html", ucb_claims_html},
                 {"claims.tex", ucb_claims_tex}};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct ucb_text text = {0};
        const char *path = ucb_report_path(job, files[i].name);
        files[i].write(claims, &text);
        ucb_status status = path == NULL || text.failed
                                ? UCB_FAIL(err, UCB_NOMEM, "no memory for %s",
                                           files[i].name)
                                : ucb_file_write(path, text.data, text.n_chars, err);
        ucb_text_free(&text);
        UCB_TRY(status);
    }
    return UCB_OK;
}

static void print_summary(const struct ucb_claims *claims)
{
    struct ucb_text text = {0};
    ucb_claims_summary(claims, &text);
    fputs(ucb_text_get(&text), stdout);
    ucb_text_free(&text);
}

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct ucb_claims claims;
    ucb_status status;
    if (job->n_models > 0 || job->task != NULL || job->metric != NULL)
        return UCB_FAIL(
            err, UCB_USAGE,
            "report claims shows every claim: --model, --task and --metric are of "
            "the other reports");
    UCB_TRY_OUT(ucb_claims_load(job->arena, &claims, err));
    UCB_TRY_OUT(ucb_claims_check(&claims, err));
    UCB_TRY_OUT(ucb_claims_measure(&claims, job->store, job->database, err));
    UCB_TRY_OUT(put_claims(&claims, ucb_store_db(job->store), err));
    UCB_TRY_OUT(write_files(job, &claims, err));
    if (!job->quiet) print_summary(&claims);
out:
    ucb_claims_close(&claims);
    return status;
}

const struct ucb_report ucb_report_claims = {
    "claims", "the claims of two documents, checked: text, CSV, HTML, LaTeX, v_claims",
    run};
