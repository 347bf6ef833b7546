/* report pareto: how sure the frontier is, the noise floor, the information limit, the axis
 * of sizes, retention, LaTeX, and equal bytes from equal data. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "chart_text.h"
#include "core/file.h"
#include "core/sha256.h"
#include "made_up.h"
#include "tiny.h"

static char out[1 << 16];

static const char *database(void)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/r.db", ucb_test_folder());
    return path;
}

static void pareto(const char *folder, const char *options)
{
    RUN(0, "report pareto --db %s --out %s/%s %s", database(), ucb_test_folder(), folder,
        options);
}

static const char *caption(const char *name)
{
    return chart_caption(ucb_test_content(name));
}

static void skip_without_gnuplot(void)
{
    if (access("/usr/bin/gnuplot", X_OK) != 0) SKIP("gnuplot is not installed");
}

static void sql(const char *statements)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    CHECK_EQ(sqlite3_open(database(), &db), SQLITE_OK);
    if (sqlite3_exec(db, statements, NULL, NULL, &message) != SQLITE_OK)
        ucb_test_fail(__FILE__, __LINE__, "%s: %s", statements, message);
    sqlite3_close(db);
}

/* A column, from 0, of the row of a TSV that begins with `start`. */
static double column(const char *rows, const char *start, int which)
{
    const char *at = strstr(rows, start);
    double value = NAN;
    CHECK(at != NULL);
    for (int i = 0; i < which; i++) at = strchr(at, '\t') + 1;
    CHECK(sscanf(at, "%lf", &value) == 1);
    return value;
}
enum { X = 6, Y, LOW, HIGH, N, MEMBERSHIP, VALUE, OTHER_X };

/* ---- how sure the frontier is ---- */

enum { N_DOCUMENTS = 12, ITEMS = 3 };

/* A point whose divergence is `usual` on every document but the last, where it is `last`.
 */
static void put_point(struct ucb_store *store, int64_t run_id, const char *spec, double bpw,
                      double usual, double last)
{
    struct made_up_point point = {"nf4", spec, NULL, bpw, usual, 0.9};
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_err err;
    ucb_arena_init(&arena);
    made_up_cell(&arena, &point, "m", "wikitext", &cell, &result);
    struct ucb_sample *samples = (struct ucb_sample *)result.samples.samples;
    for (size_t i = 0; i < result.samples.n; i++)
        samples[i].kld_sum = samples[i].n_tokens *
                             (result.samples.document[i] == N_DOCUMENTS - 1 ? last : usual);
    struct ucb_metric metric = {
        "kld_mean", (11 * usual + last) / 12, NAN, NAN, N_DOCUMENTS, "t-cluster", NULL};
    result.metrics = &metric;
    result.n_metrics = 1;
    CHECK_OK(ucb_store_put_cell(store, run_id, "b", &cell, &result, &err), err);
    ucb_arena_free(&arena);
}

/*
 * b is worse than a by 1 on eleven documents and better by 100 on the last: a is best in a
 * resample exactly when the last document is not in it, which happens in (11/12)^12 of
 * them.
 */
TEST(membership_is_the_share_of_paired_resamples)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    struct ucb_run_info info = {"b", "c", "{}"};
    int64_t run_id;
    skip_without_gnuplot();
    CHECK_OK(ucb_store_open(database(), UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    put_point(store, run_id, "a", 4, 1, 201);
    put_point(store, run_id, "b", 4, 2, 101);
    put_point(store, run_id, "c", 5, 3, 300); /* always worse, and larger */
    put_point(store, run_id, "d", 3, 9, 900); /* the smallest */
    ucb_store_close(store);
    pareto("one", "");
    const char *rows = ucb_test_content("one/pareto.tsv");
    double share = pow(11.0 / 12, 12), sd = sqrt(share * (1 - share) / 2000);
    CHECK_NEAR(column(rows, "1\t1\t0\tm\tnf4\ta\t", MEMBERSHIP), share, 4 * sd);
    CHECK_NEAR(column(rows, "1\t1\t1\tm\tnf4\tb\t", MEMBERSHIP), 1 - share, 4 * sd);
    CHECK(column(rows, "1\t1\t0\tm\tnf4\tc\t", MEMBERSHIP) == 0);
    CHECK(column(rows, "1\t1\t1\tm\tnf4\td\t", MEMBERSHIP) == 1);
    CHECK_HAS(ucb_test_content("one/pareto.gp"), "\ta (3"); /* (35%) or near it */
    CHECK_HAS(ucb_test_content("one/pareto.gp"), "\td\t");
    CHECK_HAS(caption("one/pareto.gp"), "the share of 2000 paired resamples");
}

TEST(points_that_were_not_scored_on_the_same_items_have_no_membership)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    sql("DELETE FROM items WHERE document = 3 AND cell_key IN (SELECT cell_key FROM cells WHERE "
        "spec = 'nf4' AND model = 'smollm2-135m')");
    pareto("one", "--model smollm2-135m");
    CHECK_HAS(ucb_test_content("one/pareto.tsv"), "\t12\t?\t0.034\t");
    CHECK_HAS(caption("one/pareto.gp"), "How sure it is was not computed for all");
}

/* ---- what the points are measured against ---- */

static const char floor_cell[] =
    "CREATE TEMP TABLE f AS SELECT * FROM cells WHERE spec = 'none';"
    "UPDATE f SET cell_key = cell_key + 1000, arithmetic = 'bf16', reference = 'fp32',"
    "    cell_id = substr(cell_id, 1, 60) || 'beef';"
    "INSERT INTO cells SELECT * FROM f;"
    "INSERT INTO run_cells SELECT 1, cell_key FROM f;"
    "INSERT INTO metrics SELECT cell_key, 'kld_mean', 0.0005, 0.0004, 0.0007, 12, 't-cluster',"
    "    NULL, 1 FROM f;"
    "INSERT INTO metrics SELECT cell_key, 'ppl_ratio', 0.999, 0.997, 1.001, 12, 't-cluster',"
    "    NULL, 1 FROM f;";

TEST(a_noise_floor_is_a_band_and_neither_a_point_nor_a_panel)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("without", "--model smollm2-135m");
    CHECK_HAS(caption("without/pareto.gp"), "Noise floor: not measured.");
    CHECK_HAS(ucb_test_content("without/pareto.gp"), "floor_to[1] = NaN");
    sql(floor_cell);
    pareto("with", "--model smollm2-135m");
    CHECK_HAS(ucb_test_content("with/pareto.gp"), "n_panels = 1\n");
    CHECK_HAS(ucb_test_content("with/pareto.gp"),
              "floor_to[1] = 0.0007; floor_value[1] = 0.0005;");
    CHECK_HAS(ucb_test_content("with/pareto.gp"), "\tnoise floor\n");
    CHECK_HAS(caption("with/pareto.gp"), "the original in bf16 against itself in fp32");
    CHECK(strstr(ucb_test_content("with/pareto.tsv"), "none") == NULL);
    pareto("ratio", "--model smollm2-135m --metric ppl_ratio");
    CHECK_HAS(ucb_test_content("ratio/pareto.gp"), "floor_to[1] = 0.003;"); /* 1 - 0.997 */
}

TEST(a_noise_floor_far_below_all_points_is_said_and_not_drawn)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    sql(floor_cell);
    sql("UPDATE metrics SET value = 1e-9, ci_low = 0, ci_high = 2e-9 WHERE cell_key > 1000");
    pareto("one", "--model smollm2-135m");
    CHECK(strstr(ucb_test_content("one/pareto.gp"), "\tnoise floor\n") == NULL);
    CHECK_HAS(caption("one/pareto.gp"), "It lies below the axis, at 2e-09.");
}

TEST(the_information_limit_is_drawn_where_methods_agree_and_weights_are_dense)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("dense", "--model smollm2-135m-smooth");
    const char *text = caption("dense/pareto.gp");
    CHECK_HAS(text, "Information limit: k 2^(-2 bpw)");
    /* nf4 0.039, nf4 twice quantized 0.041, fp4 0.069, hqq:bits=4 0.037, hqq:bits=3 0.19 */
    CHECK_HAS(text, "4.6 from nf4 (the largest of 5 is 1.22 times it)");
    CHECK_HAS(ucb_test_content("dense/pareto.gp"), "\tinformation limit\n");
    pareto("two", "");
    CHECK_HAS(caption("two/pareto.gp"), "4.6 for smollm2-135m-smooth from nf4 (");
    sql("INSERT INTO models SELECT DISTINCT model_digest, 1, 'Q4_1', 1 FROM cells");
    pareto("grid", "--model smollm2-135m-smooth");
    CHECK_HAS(caption("grid/pareto.gp"),
              "No information limit for smollm2-135m-smooth: weights on a grid");
    CHECK(strstr(ucb_test_content("grid/pareto.gp"), "\tinformation limit\n") == NULL);
    CHECK_HAS(ucb_test_content("grid/pareto.gp"), "$limit << END\nNaN\tNaN\nEND\n");
    sql("DELETE FROM models; UPDATE metrics SET value = 0.3, ci_high = 0.4 WHERE metric = "
        "'kld_mean' AND cell_key IN (SELECT cell_key FROM cells WHERE spec = 'fp4')");
    pareto("disagree", "--model smollm2-135m-smooth");
    CHECK_HAS(caption("disagree/pareto.gp"), "not in proportion to squared error");
}

TEST(a_point_at_or_below_the_original_stands_on_the_lower_edge_and_holds_the_frontier)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    sql("UPDATE metrics SET value = 0.9995, ci_low = 0.998, ci_high = 1.0004 WHERE metric = "
        "'ppl_ratio' AND cell_key IN (SELECT cell_key FROM cells WHERE spec = "
        "'nf4:double_quant=1')");
    pareto("one", "--model smollm2-135m --metric ppl_ratio");
    const char *rows = ucb_test_content("one/pareto.tsv");
    CHECK(column(rows, "1\t4\t1\tsmollm2-135m\tnf4\tnf4:double_quant=1\t", VALUE) < 0);
    CHECK(column(rows, "1\t4\t1\tsmollm2-135m\tnf4\tnf4:double_quant=1\t", Y) > 0);
    CHECK_HAS(rows, "1\t3\t0\tsmollm2-135m\tint8\t"); /* larger, and not as good */
    CHECK_HAS(caption("one/pareto.gp"), "On the lower edge: at or below the original");
    CHECK_HAS(ucb_test_content("one/pareto.gp"),
              "reference_high[1] = 0.16;"); /* of its perplexity */
}

/* ---- the other figures of one report ---- */

TEST(a_task_is_chosen_by_its_name_its_whole_spec_or_its_data_set)
{
    skip_without_gnuplot();
    made_up_database(database(), "b1", false);
    sql("UPDATE cells SET task = task || ':n=3', dataset = 'passages' WHERE task = 'lambada'");
    static const char *const asked[] = {"lambada", "lambada:n=3", "passages"};
    for (int i = 0; i < 3; i++) {
        pareto("t", ucb_test_path("--task %s", asked[i]));
        CHECK_HAS(caption("t/pareto.gp"), "task lambada:n=3");
    }
    RUN(3, "report pareto --db %s --out %s/t --task lambad", database(), ucb_test_folder());
}

TEST(against_size_all_models_share_an_axis)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("one", "");
    const char *rows = ucb_test_content("one/pareto-size.tsv");
    CHECK_HAS(rows, "\tsize_gib\t");
    CHECK_HAS(rows, "\n1\t1\t0\tsmollm2-135m\tfp4\tfp4\t");
    CHECK_HAS(rows, "\n1\t1\t0\tsmollm2-135m-smooth\tfp4\tfp4\t");
    /* 106168320 weights of 4.5 bits and 30159360 bytes more */
    CHECK_NEAR(column(rows, "1\t1\t0\tsmollm2-135m\tfp4\tfp4\t", X),
               (106168320 * 4.5 / 8 + 30159360) / 1073741824, 1e-12);
    CHECK(column(rows, "1\t1\t0\tsmollm2-135m\tfp4\tfp4\t", OTHER_X) == 4.5);
    CHECK_HAS(ucb_test_content("one/pareto-size.gp"), "n_panels = 1\n");
    CHECK_HAS(ucb_test_content("one/pareto-size.gp"),
              "\tsmollm2-135m (original: 0.0899 GiB)\n");
    CHECK_HAS(caption("one/pareto-size.gp"), "compared with its own original");
    CHECK_HAS(ucb_test_content("one/pareto.gp"), "n_panels = 2\n");
}

TEST(a_model_without_points_has_no_panel_and_no_name)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    sql("DELETE FROM metrics WHERE metric = 'kld_mean' AND cell_key IN"
        " (SELECT cell_key FROM cells WHERE model = 'smollm2-135m')");
    pareto("one", "");
    CHECK_HAS(ucb_test_content("one/pareto.gp"), "n_panels = 1\n");
    CHECK_HAS(ucb_test_content("one/pareto-size.gp"),
              "panel_title[1] = 'smollm2-135m-smooth (original:");
    CHECK(strstr(ucb_test_content("one/pareto-size.gp"), "\tsmollm2-135m ") == NULL);
}

TEST(retention_has_the_original_as_its_line_and_no_limit)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("one", "--model smollm2-135m --metric retention");
    const char *rows = ucb_test_content("one/pareto.tsv");
    CHECK(column(rows, "1\t3\t1\tsmollm2-135m\tint8\tint8\t", Y) == 0.982);
    CHECK_HAS(rows, "1\t1\t0\tsmollm2-135m\tfp4\t");
    CHECK_HAS(ucb_test_content("one/pareto.gp"), "y_is_log = 0\n");
    CHECK_HAS(ucb_test_content("one/pareto.gp"),
              "reference_y[1] = 1; reference_low[1] = 0.738095;");
    CHECK_HAS(caption("one/pareto.gp"), "No information limit");
}

TEST(latex_is_written_on_request_and_escapes_what_latex_reads)
{
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("plain", "");
    CHECK(access(ucb_test_path("%s/plain/pareto-latex.tex", ucb_test_folder()), F_OK) != 0);
    pareto("latex", "--latex");
    const char *text = ucb_test_content("latex/pareto-latex.tex");
    CHECK_HAS(text, "pareto-latex}"); /* includes the drawing */
    CHECK_HAS(text, "nf4:double\\_quant=1");
    CHECK_HAS(text, "95\\%");
}

TEST(the_same_data_draws_the_same_bytes_in_every_figure)
{
    static const char *const pages[] = {"pareto", "pareto-1col", "pareto-size",
                                        "pareto-size-1col", "pareto-latex"};
    static const char *const kinds[] = {"svg", "png", "pdf", "gp", "tex"};
    size_t n = 0;
    struct ucb_err err;
    skip_without_gnuplot();
    made_up_database(database(), "b", false);
    pareto("0", "--latex");
    sleep(1); /* another second, so that a date would show */
    pareto("1", "--latex");
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            char one[UCB_SHA256_HEX], two[UCB_SHA256_HEX];
            const char *name = ucb_test_path("%s.%s", pages[i], kinds[k]);
            const char *first = ucb_test_path("%s/0/%s", ucb_test_folder(), name);
            if (access(first, F_OK) != 0) continue;
            CHECK_OK(ucb_sha256_file(first, one, &err), err);
            CHECK_OK(ucb_sha256_file(ucb_test_path("%s/1/%s", ucb_test_folder(), name), two,
                                     &err),
                     err);
            if (strcmp(one, two) != 0)
                ucb_test_fail(__FILE__, __LINE__, "%s differs", name);
            n++;
        }
    CHECK_EQ(n, 4 * 4 + 3);
}
