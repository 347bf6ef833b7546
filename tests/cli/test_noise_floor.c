/* The noise floor: when a sweep makes one, what it holds, and how reports and verdicts use
 * it.
 */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "tiny.h"

static char out[1 << 18];

static const char *tiny, *db;

static void setup(void)
{
    tiny = ucb_test_path("%s/tiny", ucb_test_folder());
    db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(tiny);
}

static void sweep(const char *rest)
{
    RUN(0, "sweep --model %s --data mini --db %s --quiet %s", tiny, db, rest);
}

/* Runs a statement; the only column of the last row, "" where there is none. */
static const char *query(const char *sql)
{
    static char text[512];
    sqlite3 *handle;
    sqlite3_stmt *row;
    CHECK_EQ(sqlite3_open(db, &handle), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(handle, sql, -1, &row, NULL), SQLITE_OK);
    text[0] = '\0';
    while (sqlite3_step(row) == SQLITE_ROW)
        snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(row, 0));
    CHECK_EQ(sqlite3_finalize(row), SQLITE_OK);
    sqlite3_close(handle);
    return text;
}

static const char floors[] =
    "SELECT count(*) || ' ' || count(DISTINCT task) || ' ' || min(spec || arithmetic ||"
    " reference) || ' ' || max(scope || seed) FROM cells WHERE reference <> ''";

TEST(a_sweep_makes_one_noise_floor_for_each_task_whatever_scopes_seeds_and_methods)
{
    static const char options[] =
        "--method nf4 --method int8 --scope linear --scope body --seed 3 --seed 4"
        " --task lambada:n=4 --task wikitext:ctx=64,n=2";
    setup();
    sweep(options);
    CHECK_HAS(out, "26 cells, 26 new");
    CHECK_TEXT(query(floors), "2 2 nonebf16fp32 body0");
    sweep(options);
    CHECK_HAS(out, "26 cells, 0 new, 26 finished before");
    sweep(ucb_test_path("%s --dry-run", options));
    CHECK_HAS(out, "26 cells, 26 finished, 0 to do");
    CHECK_HAS(out, "  noise-floor ");
    /* Counted to each of the two runs. */
    CHECK_TEXT(query("SELECT count(*) FROM run_cells JOIN cells USING (cell_key)"
                     " WHERE reference <> ''"),
               "4");
}

TEST(nothing_compressed_needs_no_noise_floor_and_it_can_be_left_out)
{
    setup();
    sweep("--method none --task lambada:n=4");
    CHECK_HAS(out, "1 cells, 1 new");
    sweep("--method nf4 --task lambada:n=4 --noise-floor off");
    CHECK_HAS(out, "2 cells, 1 new, 1 finished before");
    CHECK_TEXT(query("SELECT count(*) FROM cells WHERE reference <> ''"), "0");
    /* Afterwards it is made by itself, beside another task's method. */
    sweep("--method nf4 --task lambada:n=4 --task lambada:n=3");
    CHECK_HAS(out, "6 cells, 4 new, 2 finished before");
    CHECK_TEXT(query(floors), "2 2 nonebf16fp32 body0");
    RUN(2, "sweep --model %s --method nf4 --db %s --noise-floor on", tiny, db);
    CHECK_HAS(out, "auto or off");
    /* What no matrix fits has nothing to be held against it. */
    RUN(1, "sweep --model %s --method hqq:group=100 --task lambada:n=2 --db %s/m.db", tiny,
        ucb_test_folder());
    CHECK_HAS(out, "1 of 2 cells failed");
}

TEST(the_floor_is_the_original_in_the_other_arithmetic_to_the_bit)
{
    static const char differing[] =
        "SELECT count(*) FROM items f JOIN cells cf ON cf.cell_key = f.cell_key"
        " JOIN cells co ON co.spec = 'none' AND co.reference = ''"
        " AND co.arithmetic = cf.arithmetic AND co.task = cf.task"
        " JOIN items o ON o.cell_key = co.cell_key AND o.item = f.item"
        " WHERE cf.reference <> ''";
    setup();
    sweep("--method nf4 --task lambada:n=9 --task wikitext:ctx=64,n=3");
    sweep("--method int8 --task lambada:n=9 --task wikitext:ctx=64,n=3 --arithmetic bf16");
    CHECK_TEXT(query("SELECT group_concat(DISTINCT arithmetic || reference) FROM (SELECT *"
                     " FROM cells WHERE reference <> '' ORDER BY arithmetic)"),
               "bf16fp32,fp32bf16");
    const char *all = query(differing);
    CHECK(strcmp(all, "0") != 0);
    const char *equal = ucb_test_path("%s", all);
    CHECK_TEXT(query(ucb_test_path("%s AND f.sum_logp IS o.sum_logp AND f.target_correct ="
                                   " o.target_correct AND f.t1_gt_hits = o.t1_gt_hits",
                                   differing)),
               equal);
    /* It differs from its reference, and by how much is stored of every token. */
    CHECK_TEXT(query("SELECT min(value > 0 AND value < 0.1) FROM v_latest"
                     " WHERE reference <> '' AND metric = 'kld_mean'"),
               "1");
    CHECK_TEXT(query("SELECT min(length(kld) = 4 * n_tokens) FROM items JOIN cells"
                     " USING (cell_key) WHERE reference <> ''"),
               "1");
    CHECK_TEXT(
        query("SELECT count(DISTINCT weights_digest) FROM cells WHERE spec = 'none'"), "1");
}

TEST(a_table_and_a_page_show_the_floor_as_a_row_of_its_own)
{
    const char *page = ucb_test_path("%s/out/report.html", ucb_test_folder());
    struct ucb_file file;
    struct ucb_err err;
    setup();
    sweep("--method nf4 --scope linear --seed 3 --task lambada:n=12 --task "
          "wikitext:ctx=64,n=3");
    RUN(0, "report table --db %s --out %s/out", db, ucb_test_folder());
    CHECK_HAS(out, "\nnoise floor: bf16 arithmetic  ");
    CHECK_HAS(out, "\nnoise floor: bf16 arithmetic  noise floor; ");
    CHECK_HAS(out, "\nnone scope=linear ");
    CHECK(strstr(out, "seed=") == NULL);
    RUN(0, "report html --db %s --out %s/out", db, ucb_test_folder());
    CHECK_OK(ucb_file_map(page, &file, &err), err);
    snprintf(out, sizeof(out), "%.*s", (int)file.n_bytes, (const char *)file.data);
    ucb_file_unmap(&file);
    CHECK_HAS(out, "noise floor: bf16 arithmetic</th>");
}

/* The last field of the row of `spec` in table.csv. */
static double q_of(const char *spec)
{
    struct ucb_file file;
    struct ucb_err err;
    static char text[1 << 16];
    RUN(0, "report table --db %s --out %s/out", db, ucb_test_folder());
    CHECK_OK(
        ucb_file_map(ucb_test_path("%s/out/table.csv", ucb_test_folder()), &file, &err),
        err);
    snprintf(text, sizeof(text), "%.*s", (int)file.n_bytes, (const char *)file.data);
    ucb_file_unmap(&file);
    CHECK_HAS(text, ",verdict,ppl_ratio_q\n");
    char *row = strstr(text, ucb_test_path("\"%s\",\"OK\"", spec));
    CHECK(row != NULL);
    row[strcspn(row, "\n")] = '\0';
    const char *field = strrchr(row, ',') + 1;
    return *field == '\0' ? NAN : strtod(field, NULL);
}

TEST(a_table_of_several_methods_adjusts_for_their_number)
{
    setup();
    sweep("--method nf4 --task lambada:n=30");
    double nf4 = q_of("nf4"); /* alone: the p-value itself */
    CHECK_HAS(out, "; q = ");
    CHECK(nf4 > 0 && nf4 <= 1);
    CHECK(isnan(q_of("none")) && isnan(q_of("noise floor: bf16 arithmetic")));
    db = ucb_test_path("%s/other.db", ucb_test_folder());
    sweep("--method int8 --task lambada:n=30");
    double int8 = q_of("int8"), low = fmin(nf4, int8), high = fmax(nf4, int8);
    sweep("--method nf4 --method int8 --method lossless --task lambada:n=30");
    CHECK(isnan(q_of("lossless:mode=default"))); /* equal bits are no test */
    CHECK_NEAR(fmax(q_of("nf4"), q_of("int8")), high, 1e-12);
    CHECK_NEAR(fmin(q_of("nf4"), q_of("int8")), fmin(2 * low, high), 1e-12);
}

TEST(a_divergence_below_the_floor_is_called_inconclusive_with_that_reason)
{
    setup();
    sweep("--method nf4 --task lambada:n=40");
    RUN(0, "compare --db %s tiny/none/lambada tiny/nf4/lambada", db);
    CHECK(strstr(out, "below the noise floor: no difference") == NULL);
    CHECK_HAS(out, "noise floor: the original in bf16 against fp32: ppl ratio ");
    CHECK_HAS(out, ", KLD mean ");
    RUN(0, "compare --db %s tiny/none/lambada tiny/noise-floor/lambada", db);
    CHECK_HAS(out, "tiny/noise-floor/lambada:n=40@bf16");
    CHECK_HAS(out, "this pair is the noise floor");
    CHECK(strstr(out, "EAR is no criterion") == NULL);
    query("UPDATE items SET kld_sum = 1000000 * kld_sum WHERE cell_key ="
          " (SELECT cell_key FROM cells WHERE reference <> '')");
    RUN(0, "compare --db %s tiny/none/lambada tiny/nf4/lambada", db);
    CHECK(strncmp(out, "inconclusive: below the noise floor: no difference is claimed",
                  61) == 0);
    RUN(0, "compare --db %s tiny/none/lambada tiny/nf4/lambada --json", db);
    CHECK_HAS(out, "\"below_floor\": true");
    CHECK_HAS(out, "\"reference\": \"fp32\"");
    RUN(0, "report table --db %s --out %s/out", db, ucb_test_folder());
    CHECK_HAS(out, "inconclusive: below the noise floor");
}

/* "floor_value[PANEL] = ...", as the database has the floor of the arithmetic. */
static const char *drawn_floor(int panel, const char *arithmetic)
{
    return query(ucb_test_path("SELECT 'floor_value[%d] = ' || printf('%%.6g', value) FROM"
                               " v_latest WHERE reference = '%s' AND metric = 'kld_mean'",
                               panel, arithmetic));
}

TEST(a_chart_finds_the_floor_of_the_arithmetic_of_each_panel)
{
    if (access("/usr/bin/gnuplot", X_OK) != 0) SKIP("gnuplot is not installed");
    setup();
    sweep("--method nf4 --task lambada:n=12");
    RUN(0, "report pareto --db %s --out %s/one", db, ucb_test_folder());
    CHECK_HAS(ucb_test_content("one/pareto.gp"), drawn_floor(1, "fp32"));
    sweep("--method nf4 --task lambada:n=12 --arithmetic bf16");
    RUN(0, "report pareto --db %s --out %s/two", db, ucb_test_folder());
    CHECK_HAS(ucb_test_content("two/pareto.gp"), "n_panels = 2\n");
    CHECK_HAS(ucb_test_content("two/pareto.gp"), drawn_floor(1, "bf16"));
    CHECK_HAS(ucb_test_content("two/pareto.gp"), drawn_floor(2, "fp32"));
}
