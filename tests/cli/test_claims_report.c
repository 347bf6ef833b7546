/* `report claims`: its files and rows, the same bytes twice, and every verdict a
 * measurement can reach. No number in the databases was measured. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "core/file.h"
#include "made_up.h"
#include "report/claims.h"

/* ---- a database with one cell a row ---- */

struct cell {
    const char *model, *dataset;
    double value, low, high; /* of t1_ret */
    const char *calib;       /* NULL: the one that is claimed */
};

static void put(struct ucb_store *store, int64_t run_id, const struct cell *made)
{
    static const struct made_up_point point = {
        "row_overlay", "row_overlay:bpw=2.79,rows=fp8", NULL, 2.8, 0.1, 0.9};
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_err err;
    ucb_arena_init(&arena);
    made_up_cell(&arena, &point, made->model, "lambada-windows", &cell, &result);
    cell.dataset = made->dataset;
    cell.calib = made->calib == NULL ? "wikitext-test:n=32,ctx=512,seed=123 0123456789ab"
                                     : made->calib;
    cell.dataset_digest = cell.model_digest; /* some digest */
    ucb_cell_identify(&cell);
    struct ucb_metric metric = {"t1_ret", made->value, made->low, made->high,
                                500,      "bootstrap", NULL};
    result.metrics = &metric;
    result.n_metrics = 1;
    CHECK_OK(ucb_store_put_cell(store, run_id, "build", &cell, &result, &err), err);
    ucb_arena_free(&arena);
}

static struct ucb_store *database(const char *path, const struct cell *cells, size_t n)
{
    struct ucb_run_info info = {"build", "ucbench sweep (made up)", "{}"};
    struct ucb_store *store = NULL;
    struct ucb_err err;
    int64_t run_id;
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    for (size_t i = 0; i < n; i++) put(store, run_id, &cells[i]);
    CHECK_OK(ucb_store_end_run(store, run_id, &err), err);
    return store;
}

/* ---- verdicts ---- */

/* "verdict; reason" of R4-001 (Qwen3-8B, claims 97.57) or R4-006 (Mistral-7B, 98.03). */
static const char *verdict_from(struct ucb_store *store, const char *id)
{
    struct ucb_arena arena;
    struct ucb_claims claims;
    struct ucb_err err;
    const char *out = "none";
    ucb_arena_init(&arena);
    CHECK_OK(ucb_claims_load(&arena, &claims, &err), err);
    CHECK_OK(ucb_claims_check(&claims, &err), err);
    CHECK_OK(ucb_claims_measure(&claims, store, "r.db", &err), err);
    for (size_t i = 0; i < claims.n; i++)
        if (strcmp(claims.list[i].id, id) == 0)
            out = ucb_test_path("%s; %s", ucb_claim_verdict_name(claims.list[i].verdict),
                                claims.list[i].reason);
    ucb_claims_close(&claims);
    ucb_arena_free(&arena);
    return out;
}

static const char *verdict(const char *id, const struct cell *cells, size_t n)
{
    static int serial;
    struct ucb_store *store = database(
        ucb_test_path("%s/%d.db", ucb_test_folder(), serial++), cells, n);
    const char *out = verdict_from(store, id);
    ucb_store_close(store);
    return out;
}

TEST(a_claim_is_reproduced_where_a_narrow_interval_holds_it)
{
    const struct cell near[] = {{"qwen3-8b", "lambada", 0.974, 0.968, 0.980, NULL}},
                      rounded[] = {{"qwen3-8b", "lambada", 0.9750, 0.9743, 0.97566, NULL}};
    CHECK_HAS(verdict("R4-001", near, 1), "reproduced; the interval holds the claim, p = ");
    CHECK_HAS(verdict("R4-001", near, 1), "the author's result row: 97.57");
    CHECK_HAS(verdict("R4-001", rounded, 1), "reproduced; "); /* 97.566 rounds to 97.57 */
}

TEST(a_claim_is_refuted_where_the_adjusted_p_is_small)
{
    const struct cell far[] = {{"qwen3-8b", "lambada", 0.94, 0.93, 0.95, NULL}};
    CHECK_HAS(verdict("R4-001", far, 1), "refuted; the claim lies outside, p = ");
    CHECK_HAS(verdict("R4-006", far, 1), "not comparable; "); /* the other model's */
}

TEST(two_tests_of_a_table_are_adjusted_together)
{
    /* 97.57 lies 2.2 standard errors off: p = 0.028 alone, 0.056 as one of two */
    const struct cell cells[] = {{"qwen3-8b", "lambada", 0.9756 - 0.0044,
                                  0.9756 - 0.0044 - 0.00393, 0.9756 - 0.0044 + 0.00393,
                                  NULL},
                                 {"mistral-7b-v0.3", "lambada", 0.98, 0.975, 0.985, NULL}};
    CHECK_HAS(verdict("R4-001", cells, 1), "refuted; ");
    CHECK_HAS(verdict("R4-001", cells, 2),
              "inconclusive; outside the interval, not significantly");
    CHECK_HAS(verdict("R4-006", cells, 2), "reproduced; ");
}

TEST(a_wide_interval_or_none_decides_nothing)
{
    const struct cell wide[] = {{"qwen3-8b", "lambada", 0.96, 0.92, 1.0, NULL}},
                      none[] = {{"qwen3-8b", "lambada", 0.9757, NAN, NAN, NULL}};
    CHECK_HAS(verdict("R4-001", wide, 1),
              "inconclusive; the interval holds the claim, and much else");
    CHECK_HAS(verdict("R4-001", none, 1), "inconclusive; the measurement has no interval");
}

TEST(another_model_another_data_set_and_nothing_are_told_apart)
{
    const struct cell small[] = {{"smollm2-135m", "lambada", 0.9757, 0.97, 0.98, NULL}},
                      mini[] = {{"qwen3-8b", "lambada_mini", 0.9757, 0.97, 0.98, NULL}},
                      clean[] = {{"qwen3-8b", "lambada", 0.9757, 0.97, 0.98,
                                  "wikitext-valid:n=32,ctx=512,seed=0 00"}};
    CHECK_HAS(
        verdict("R4-001", small, 1),
        "not comparable; measured for smollm2-135m on lambada, calibrated on wikitext-test");
    CHECK_HAS(
        verdict("R4-001", clean, 1),
        "not comparable; measured for qwen3-8b on lambada, calibrated on wikitext-valid");
    CHECK_HAS(verdict("R4-001", mini, 1),
              "not comparable; measured for qwen3-8b on lambada_mini");
    CHECK_HAS(
        verdict("R4-001", NULL, 0),
        "not run; run: ucbench sweep --model qwen3-8b --method row_overlay:bpw=2.79,rows=fp8"
        " --task lambada-windows --compat --calib wikitext-test:n=32,ctx=512,seed=123"
        " --data DIR --db r.db");
}

TEST(a_source_that_had_been_quantized_never_counts)
{
    const struct cell good = {"qwen3-8b", "lambada", 0.9757, 0.97, 0.98, NULL};
    struct ucb_store *store = database(ucb_test_path("%s/l.db", ucb_test_folder()), &good,
                                       1);
    CHECK_HAS(verdict_from(store, "R4-001"), "reproduced; ");
    CHECK_EQ(sqlite3_exec(ucb_store_db(store),
                          "INSERT INTO models SELECT DISTINCT model_digest, 1,"
                          " 'a 4-bit grid in blocks of 32', 0.8 FROM cells",
                          NULL, NULL, NULL),
             SQLITE_OK);
    CHECK_HAS(
        verdict_from(store, "R4-001"),
        "not comparable; measured on a source whose weights had been quantized before");
    ucb_store_close(store);
}

TEST(a_cohort_is_measured_when_all_six_models_are)
{
    const struct cell six[] = {{"olmo-2-1b", "lambada", 0.942, 0.932, 0.952, NULL},
                               {"tinyllama-1.1b", "lambada", 0.964, 0.954, 0.974, NULL},
                               {"qwen3-1.7b", "lambada", 0.938, 0.928, 0.948, NULL},
                               {"smollm2-1.7b", "lambada", 0.936, 0.926, 0.946, NULL},
                               {"mistral-7b-v0.3", "lambada", 0.98, 0.97, 0.99, NULL},
                               {"qwen3-8b", "lambada", 0.976, 0.966, 0.986, NULL}};
    CHECK_HAS(verdict("R2-014", six, 6),
              "reproduced; the interval holds the claim, p = 0.961 (Holm); mean of "
              "6 cells; from the author's rows: 95.57");
    CHECK_HAS(verdict("R2-014", six, 5),
              "reproduced; from the author's own rows, no model was run: ");
    CHECK_HAS(verdict("R2-014", six, 5),
              "; to measure it: ucbench sweep --model olmo-2-1b --model tinyllama-1.1b");
}

/* ---- the command ---- */

static ucb_status report(const char *db, const char *out, struct ucb_err *err)
{
    char words[5][600] = {"report", "claims"};
    char *args[] = {words[0], words[1], "--db", words[2], "--out", words[3], "--json"};
    snprintf(words[2], sizeof(words[2]), "%s", db);
    snprintf(words[3], sizeof(words[3]), "%s", out);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    CHECK(freopen(ucb_test_path("%s/stdout", ucb_test_folder()), "w", stdout) != NULL);
    ucb_status status = ucb_command_report.run(7, args, err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return status;
}

static const char *content(const char *name, char *text, size_t size)
{
    struct ucb_err err;
    struct ucb_file file;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", ucb_test_folder(), name), &file, &err),
             err);
    CHECK(file.n_bytes < size);
    memcpy(text, file.data, file.n_bytes);
    text[file.n_bytes] = '\0';
    ucb_file_unmap(&file);
    return text;
}

static char first_text[1 << 19], second_text[1 << 19];

TEST(a_database_that_does_not_exist_is_made_and_all_arithmetic_is_checked)
{
    struct ucb_err err;
    const char *db = ucb_test_path("%s/new.db", ucb_test_folder()),
               *out = ucb_test_path("%s/a", ucb_test_folder());
    sqlite3 *sql = NULL;
    sqlite3_stmt *row = NULL;
    CHECK_OK(report(db, out, &err), err);
    CHECK_HAS(content("stdout", first_text, sizeof(first_text)), "/a/claims.tex\"");
    CHECK_HAS(
        content("a/claims.txt", first_text, sizeof(first_text)),
        "R5-001  reproduced: HQ5 h256, HQ5, trainable_params: claimed 1509916 params, "
        "recomputed 1509916\n");
    CHECK_HAS(first_text, "A1-007  refuted: ");
    CHECK_HAS(first_text, "Of the reproduced, 0 were measured, ");
    CHECK_HAS(
        content("a/claims.csv", first_text, sizeof(first_text)),
        "claim_id,source,model,method,metric,claimed,measured,ci_low,ci_high,n,verdict,"
        "reason,note,");
    CHECK_HAS(content("a/claims.html", first_text, sizeof(first_text)), "&lt;2 %");
    CHECK_HAS(content("a/claims.tex", first_text, sizeof(first_text)),
              "compressed\\_size & 4.3 GB & 8.81048 & refuted & ");
    CHECK_HAS(first_text, "\\begin{longtable}");
    CHECK_EQ(sqlite3_open(db, &sql), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(sql,
                                "SELECT count(*), sum(verdict = 'not run') FROM v_claims"
                                " WHERE reason <> '' AND note IS NOT NULL",
                                -1, &row, NULL),
             SQLITE_OK);
    CHECK_EQ(sqlite3_step(row), SQLITE_ROW);
    CHECK_EQ(sqlite3_column_int(row, 0), 340);
    CHECK(sqlite3_column_int(row, 1) > 100);
    sqlite3_finalize(row);
    sqlite3_close(sql);
}

TEST(options_of_other_reports_are_refused)
{
    char *args[] = {"report",  "claims",  "--db",
                    "x.db",    "--out",   (char *)ucb_test_folder(),
                    "--model", "qwen3-8b"};
    struct ucb_err err;
    char *db = strdup(ucb_test_path("%s/x.db", ucb_test_folder()));
    args[3] = db;
    CHECK_STATUS(ucb_command_report.run(8, args, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "--model");
    free(db);
}

TEST(the_same_database_gives_the_same_bytes_and_keeps_its_digest)
{
    static const char *const names[] = {"claims.txt", "claims.csv", "claims.html",
                                        "claims.tex"};
    char db[512], before[UCB_SHA256_HEX], after[UCB_SHA256_HEX];
    struct ucb_store *store = NULL;
    struct ucb_err err;
    snprintf(db, sizeof(db), "%s/r.db", ucb_test_folder());
    made_up_database(db, "build", false);
    CHECK_OK(ucb_store_open(db, UCB_STORE_READ, &store, &err), err);
    CHECK_OK(ucb_store_digest(store, before, &err), err);
    ucb_store_close(store);
    CHECK_OK(report(db, ucb_test_path("%s/a", ucb_test_folder()), &err), err);
    CHECK_OK(report(db, ucb_test_path("%s/b", ucb_test_folder()), &err), err);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        content(ucb_test_path("a/%s", names[i]), first_text, sizeof(first_text));
        content(ucb_test_path("b/%s", names[i]), second_text, sizeof(second_text));
        CHECK(strcmp(first_text, second_text) == 0);
    }
    CHECK_OK(ucb_store_open(db, UCB_STORE_READ, &store, &err), err);
    CHECK_OK(ucb_store_digest(store, after, &err), err);
    ucb_store_close(store);
    CHECK_TEXT(after, before);
}
