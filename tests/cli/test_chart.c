/* report pareto and report html: the pictures, their points and captions, the same bytes
 * from the same data. Verbs are called directly. */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chart_text.h"
#include "core/json.h"
#include "core/sha256.h"
#include "report/report.h"
#include "report_verbs.h"

TEST(the_same_data_draws_the_same_bytes)
{
    static const char *const files[] = {"pareto.svg",      "pareto.png", "pareto.pdf",
                                        "pareto.gp",       "pareto.tsv", "pareto-1col.svg",
                                        "pareto-1col.pdf", "report.html"};
    struct ucb_err err;
    report_needs_gnuplot();
    const char *db = report_database();
    for (int i = 0; i < 2; i++) {
        const char *line = ucb_test_path("report html --db %s --out %s/%d --json", db,
                                         ucb_test_folder(), i);
        CHECK_OK(report_verb(&ucb_command_report, &err, line), err);
        if (i == 0) sleep(1); /* another second, so that a date would show */
    }
    CHECK_HAS(report_content("stdout"), "report.html");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char one[UCB_SHA256_HEX], two[UCB_SHA256_HEX];
        CHECK_OK(ucb_sha256_file(ucb_test_path("%s/0/%s", ucb_test_folder(), files[i]), one,
                                 &err),
                 err);
        CHECK_OK(ucb_sha256_file(ucb_test_path("%s/1/%s", ucb_test_folder(), files[i]), two,
                                 &err),
                 err);
        CHECK_TEXT(two, one);
    }
}

static size_t count_of(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) n++;
    return n;
}

/* And its bar, which is drawn as a mark without a shape; the legend has few. */
TEST(every_point_of_a_chart_has_its_mark_in_the_picture)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_make("pareto", db, "");
    size_t n_points = count_of(report_content("pareto.json"), "\"frontier\"");
    CHECK(n_points > 0);
    CHECK(count_of(report_content("pareto.svg"), "xlink:href='#gpPt") >= 2 * n_points);
}

TEST(the_page_needs_nothing_from_outside)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_make("html", db, "");
    const char *page = report_content("report.html");
    CHECK(strstr(page, "src=") == NULL && strstr(page, "<link") == NULL &&
          strstr(page, "@import") == NULL);
    CHECK(strstr(page, "{{") == NULL);
    CHECK_HAS(page, "<svg");
    CHECK_HAS(page, "<span class=\"interval\">[89.2, 91.2]</span>");
    CHECK_HAS(page, "<sup><a href=\"#note-1\">1</a></sup>");
    CHECK_HAS(
        page,
        "<li id=\"note-1\">t and BCa intervals differ by 23% of the former's width</li>");
    CHECK_HAS(page, "Wilson score over documents: accuracy %");
    CHECK_HAS(page, "<button type=\"button\">documents</button>");
    CHECK_HAS(page, "gptq:bits=4</code> failed: layer.3.q_proj");
}

TEST(the_chart_marks_the_frontier_by_bits_and_divergence)
{
    struct ucb_err err;
    report_needs_gnuplot();
    const char *db = report_database();
    report_make("pareto", db, "--model smollm2-135m");
    const char *rows = report_content(
        "pareto.tsv"); /* panel, method (fp4 hqq int8 nf4), frontier, model ... */
    CHECK_HAS(rows, "1\t2\t1\tsmollm2-135m\thqq\thqq:bits=2,group=64\t");
    CHECK_HAS(rows,
              "1\t2\t0\tsmollm2-135m\thqq\thqq:bits=2,group=16\t"); /* 3 bits are smaller
                                                                       and better */
    CHECK_HAS(rows, "1\t1\t0\tsmollm2-135m\tfp4\tfp4\t");
    CHECK_HAS(rows, "1\t3\t1\tsmollm2-135m\tint8\tint8\t");
    CHECK(strstr(rows, "smooth") == NULL);

    json_t *root, *point;
    size_t i, n_frontier = 0;
    const char *points = report_content("pareto.json");
    CHECK_OK(ucb_json_parse("pareto.json", points, strlen(points), &root, &err), err);
    CHECK_TEXT(json_string_value(json_object_get(root, "metric")), "kld_mean");
    json_array_foreach(json_object_get(root, "points"), i, point)
    {
        const char *spec = json_string_value(json_object_get(point, "spec"));
        bool frontier = json_is_true(json_object_get(point, "frontier"));
        n_frontier += frontier;
        CHECK(json_real_value(json_object_get(point, "bpw_matrices")) > 1);
        CHECK(strcmp(spec, "fp4") != 0 || !frontier);
        CHECK(strcmp(spec, "int8") != 0 || frontier);
    }
    CHECK(i >= 4 && n_frontier >= 2);
    json_decref(root);
}

TEST(a_chart_of_a_task_that_is_not_there_names_all_that_are)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_STATUS(report_verb(&ucb_command_report, &err,
                             ucb_test_path("report pareto --db %s --out %s --task foo", db,
                                           ucb_test_folder())),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "on task foo");
    CHECK_HAS(err.text, "it holds task lambada, wikitext in 40 cells");
}

TEST(a_title_that_does_not_fit_the_narrow_page_leaves_the_task_to_the_caption)
{
    sqlite3 *open;
    report_needs_gnuplot();
    const char *db = report_database();
    CHECK_EQ(sqlite3_open(db, &open), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(open,
                          "UPDATE cells SET task = 'wikitext:ctx=512,half=1,n=12,spread=1'",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(open);
    report_make("pareto", db, "");
    CHECK_HAS(report_content("pareto.gp"),
              "figure_title = 'What a bit per weight costs, task wikitext:ctx=512,half=1,");
    const char *narrow = report_content("pareto-1col.gp");
    CHECK_HAS(narrow, "figure_title = 'What a bit per weight costs'\n");
    CHECK_HAS(chart_caption(narrow), "task wikitext:ctx=512,half=1,n=12,spread=1");
}

TEST(only_points_of_one_setting_share_a_frontier)
{
    report_needs_gnuplot();
    const char *db = report_database();
    const struct made_up_point *none = &made_up_points(false)[0],
                               *int8 = &made_up_points(false)[1];
    report_put_changed(db, none, "bf16", "body", 1, NULL, 0);
    report_put_changed(db, int8, "bf16", "body", 1, NULL,
                       0); /* equal values under three other settings */
    report_put_changed(db, int8, "fp32", "all", 1, NULL, 0);
    report_put_changed(db, int8, "fp32", "body", 2, NULL, 0);
    report_make("pareto", db, "--model smollm2-135m");
    const char *rows = report_content("pareto.tsv");
    for (int panel = 1; panel <= 4; panel++)
        CHECK_HAS(rows, ucb_test_path("%d\t3\t1\tsmollm2-135m\tint8\tint8\t", panel));
    CHECK(strstr(rows, "\n5\t") == NULL);
    static const char *const titles[] = {
        "smollm2-135m, seed=1 (original: 5 bpw)", "smollm2-135m, scope=all seed=1",
        "smollm2-135m, bf16 seed=1 (original: 5 bpw)", "smollm2-135m, seed=2"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
        CHECK_HAS(report_content("pareto.gp"), titles[i]);
}

#define ON_MINI "calib-mini:n=32,ctx=256,seed=0"
#define ON_VALID "wikitext-valid:n=128,ctx=512,seed=0"
static const struct made_up_point calibrated = {"gptq", "gptq:bits=3", NULL, 3.2, 0.1, 0.8};

/* The tables and the chart of a database; returns table.txt, the rows of the chart stay in
 * pareto.tsv. */
static const char *make_reports(const char *db)
{
    struct ucb_err err;
    static const char *const reports[] = {"pareto", "table"};
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(
            report_verb(&ucb_command_report, &err,
                        ucb_test_path("report %s --db %s --out %s --model smollm2-135m",
                                      reports[i], db, ucb_test_folder())),
            err);
    return report_content("table.txt");
}

TEST(a_calibrated_method_is_compared_with_the_others_and_says_on_what_it_was)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL,
                          0);
    CHECK_HAS(make_reports(db), "\ngptq:bits=3 calib=" ON_MINI "  ");
    const char *rows = report_content("pareto.tsv");
    CHECK_HAS(rows, "1\t2\t1\tsmollm2-135m\tgptq\tgptq:bits=3\t3.2");
    CHECK_HAS(rows,
              "1\t3\t0\tsmollm2-135m\thqq\thqq:bits=3,group=64\t"); /* it lies above */
    CHECK(strstr(rows, "\n2\t") == NULL);                           /* one panel */
    CHECK_HAS(chart_caption(report_content("pareto.gp")), "Calibration where needed:");
}

TEST(several_calibrations_of_one_method_stand_side_by_side)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_put_calibrated(db, &calibrated, ON_VALID " 4cd0f6876d07", "fp32", "body", 1,
                          NULL, 0);
    report_put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL,
                          0);
    const char *table = make_reports(db), *mini = strstr(table, " calib=" ON_MINI "  "),
               *valid = strstr(table, " calib=" ON_VALID "  ");
    CHECK(mini != NULL && valid != NULL && mini < valid);
    const char *rows = report_content("pareto.tsv");
    CHECK_HAS(rows, "gptq:bits=3 calib=" ON_MINI "\t");
    CHECK_HAS(rows, "gptq:bits=3 calib=" ON_VALID "\t");
    CHECK(strstr(rows, "\n2\t") == NULL);
    CHECK(strstr(chart_caption(report_content("pareto.gp")), "Calibration, of") ==
          NULL); /* the labels say it */
}

TEST(one_calibration_on_two_editions_of_its_text_is_told_apart)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL,
                          0);
    report_put_calibrated(db, &calibrated, ON_MINI " 000000000000", "fp32", "body", 1, NULL,
                          0);
    const char *table = make_reports(db);
    CHECK_HAS(table, "calib=" ON_MINI " 140acb1348bd");
    CHECK_HAS(table, "calib=" ON_MINI " 000000000000");
}

TEST(the_caption_says_what_the_bars_are)
{
    report_needs_gnuplot();
    const char *db = report_database();
    report_make("pareto", db, "");
    const char *script = chart_caption(report_content("pareto.gp"));
    CHECK_HAS(
        script,
        "n = 12 documents. Bars: 95% intervals, linearised t, clustered by document.");
    CHECK(strstr(script, "resampled") == NULL);
}

TEST(a_bar_without_bound_does_not_flatten_the_points)
{
    static const struct ucb_metric metrics[] = {
        {"kld_mean", 0.5, 0, 1e300, 2, "t-cluster", NULL}};
    report_needs_gnuplot();
    const char *db = ucb_test_path("%s/wide.db", ucb_test_folder());
    report_put_changed(db, &made_up_points(false)[2], "fp32", "body", 1, metrics, 1);
    report_make("pareto", db, "");
    CHECK_HAS(report_content("pareto.gp"),
              "y_high = 12.5;"); /* ten times the point, and room for its label */
    CHECK_HAS(chart_caption(report_content("pareto.gp")), "A bar cut off by");
    CHECK(strstr(report_content("pareto.tsv"), "e+300") == NULL);
}

TEST(without_gnuplot_the_chart_says_how_to_install_it)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_EQ(setenv("PATH", ucb_test_folder(), 1), 0);
    CHECK_STATUS(
        report_verb(&ucb_command_report, &err,
                    ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
        UCB_ENVIRONMENT, err);
    CHECK_HAS(err.text, "apt-get install gnuplot-nox");
}

/* A gnuplot that is stopped in the middle of a picture. */
static void break_gnuplot(void)
{
    const char *path = ucb_test_path("%s/gnuplot", ucb_test_folder());
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs("#!/bin/sh\necho '<svg' >pareto.svg\nkill -9 $$\n", file);
    fclose(file);
    CHECK_EQ(chmod(path, 0755), 0);
    CHECK_EQ(setenv("PATH", ucb_test_path("%s:/usr/bin:/bin", ucb_test_folder()), 1), 0);
}

TEST(a_chart_that_is_not_finished_leaves_the_one_before_as_it_was)
{
    struct ucb_err err;
    struct stat info;
    report_needs_gnuplot();
    const char *db = report_database();
    const char *line = ucb_test_path("report pareto --db %s --out %s/figures", db,
                                     ucb_test_folder());
    CHECK_OK(report_verb(&ucb_command_report, &err, line), err);
    CHECK_EQ(stat(ucb_test_path("%s/figures/pareto.svg", ucb_test_folder()), &info), 0);
    off_t before = info.st_size;
    break_gnuplot();
    CHECK_STATUS(report_verb(&ucb_command_report, &err, line), UCB_ENVIRONMENT, err);
    CHECK_HAS(err.text, "could not draw pareto.gp (signal 9)");
    CHECK_EQ(stat(ucb_test_path("%s/figures/pareto.svg", ucb_test_folder()), &info), 0);
    CHECK_EQ(info.st_size, before);
    /* What a killed report left an hour ago goes with the next one. */
    CHECK_EQ(system(ucb_test_path("cd %s/figures && mkdir .drawing-killed && "
                                  "echo half >.drawing-killed/pareto.svg && "
                                  "touch -d '1 hour ago' .drawing-killed",
                                  ucb_test_folder())),
             0);
    CHECK_STATUS(report_verb(&ucb_command_report, &err, line), UCB_ENVIRONMENT, err);
    CHECK_EQ(system(ucb_test_path("test -z \"$(ls -A %s/figures | grep drawing)\"",
                                  ucb_test_folder())),
             0);
}

TEST(a_database_with_only_the_original_has_tables_and_no_chart)
{
    struct ucb_err err;
    const char *db = ucb_test_path("%s/one.db", ucb_test_folder());
    report_put_changed(db, &made_up_points(true)[0], "fp32", "body", 0, NULL, 0);
    CHECK_STATUS(
        report_verb(&ucb_command_report, &err,
                    ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
        UCB_MISSING, err);
    report_make("html", db, "");
    CHECK_HAS(report_content("report.html"), "No chart: ");
}
