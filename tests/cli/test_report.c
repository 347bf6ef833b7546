/* digest, export, report and list: exit codes, files, the same bytes from the same data.
 * Verbs are called directly. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chart_text.h"
#include "cmd.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "made_up.h"
#include "report/report.h"
#include "task/manifest.h"

enum { MAX_ARGS = 16 };

/* Runs a verb with the words of a line; standard output goes to the file `stdout` of the
 * test's folder. */
static ucb_status verb(const struct ucb_command *command, struct ucb_err *err,
                       const char *line)
{
    static char words[4096];
    char *args[MAX_ARGS];
    int n = 0;
    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word != NULL && n < MAX_ARGS;
         word = strtok(NULL, " "))
        args[n++] = word;
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    CHECK(freopen(ucb_test_path("%s/stdout", ucb_test_folder()), "w", stdout) != NULL);
    ucb_status status = command->run(n, args, err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return status;
}

/* A whole file of the test's folder as text, until the next call. */
static const char *content(const char *name)
{
    struct ucb_err err;
    struct ucb_file file;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", ucb_test_folder(), name), &file, &err),
             err);
    static char text[1 << 19];
    CHECK(file.n_bytes < sizeof(text));
    if (file.n_bytes > 0) memcpy(text, file.data, file.n_bytes);
    text[file.n_bytes] = '\0';
    ucb_file_unmap(&file);
    return text;
}

static const char *make_database(void)
{
    static char path[512]; /* outlives the rotating buffers of ucb_test_path */
    snprintf(path, sizeof(path), "%s/r.db", ucb_test_folder());
    made_up_database(path, "build", false);
    return path;
}

static void skip_without_gnuplot(void)
{
    if (access("/usr/bin/gnuplot", X_OK) != 0) SKIP("gnuplot is not installed");
}

TEST(digest_prints_one_hash_and_as_json)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_digest, &err, ucb_test_path("digest --db %s", db)), err);
    CHECK_EQ(strlen(content("stdout")), 65);
    CHECK_OK(verb(&ucb_command_digest, &err, ucb_test_path("digest --db %s --json", db)),
             err);
    CHECK_HAS(content("stdout"), "{\"digest\": \"");
}

TEST(verbs_name_what_is_missing)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_STATUS(verb(&ucb_command_digest, &err, "digest"), UCB_USAGE, err);
    CHECK_HAS(err.text, "--db");
    CHECK_STATUS(verb(&ucb_command_digest, &err, "digest --db /nowhere.db"), UCB_MISSING,
                 err);
    CHECK_STATUS(
        verb(&ucb_command_export, &err, ucb_test_path("export --db %s --format xml", db)),
        UCB_USAGE, err);
    CHECK_HAS(err.text, "csv");
    CHECK_STATUS(
        verb(&ucb_command_report, &err,
             ucb_test_path("report tabel --db %s --out %s", db, ucb_test_folder())),
        UCB_USAGE, err);
    CHECK_HAS(err.text, "`table`");
    CHECK_STATUS(verb(&ucb_command_report, &err, ucb_test_path("report table --db %s", db)),
                 UCB_USAGE, err);
    CHECK_STATUS(verb(&ucb_command_report, &err,
                      ucb_test_path("report table --db %s --out %s --model other", db,
                                    ucb_test_folder())),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "other");
    CHECK_STATUS(verb(&ucb_command_report, &err,
                      ucb_test_path("report pareto --db %s --out %s --metric ppl", db,
                                    ucb_test_folder())),
                 UCB_USAGE, err);
}

TEST(lists_say_what_the_reports_and_the_manifests_say)
{
    struct ucb_err err;
    const struct ucb_manifest *manifests;
    size_t n;
    CHECK_OK(verb(&ucb_command_list, &err, "list reports"), err);
    for (const struct ucb_report *const *r = ucb_reports(); *r != NULL; r++)
        CHECK_HAS(content("stdout"),
                  ucb_test_path("%s  -  %s\n", (*r)->name, (*r)->summary));
    CHECK_OK(ucb_manifests(&manifests, &n, &err), err);
    CHECK(n > 0);
    CHECK_OK(verb(&ucb_command_list, &err, "list datasets"), err);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < manifests[i].n_files; k++)
            CHECK_HAS(content("stdout"),
                      ucb_test_path("    %s  %llu bytes  sha256 %s\n",
                                    manifests[i].files[k].path,
                                    (unsigned long long)manifests[i].files[k].bytes,
                                    manifests[i].files[k].sha256));
}

TEST(runs_are_listed_and_a_row_that_cannot_be_read_is_an_error)
{
    static const char broken[] =
        "DROP TABLE runs; CREATE VIEW runs AS"
        " SELECT 1 AS run_id, '' AS started, '' AS build_id, json('{') AS command_line";
    struct ucb_err err;
    sqlite3 *db = NULL;
    const char *path = make_database();
    CHECK_OK(verb(&ucb_command_list, &err, ucb_test_path("list runs --db %s", path)), err);
    CHECK_HAS(content("stdout"), "    command: ucbench sweep (made up)\n    cells: 40\n");
    CHECK_OK(verb(&ucb_command_list, &err, ucb_test_path("list runs --db %s --json", path)),
             err);
    CHECK_HAS(content("stdout"), "\"run_id\": 1,");
    CHECK_HAS(content("stdout"), "\"build_id\": \"build\"");
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, broken, NULL, NULL, NULL),
             SQLITE_OK); /* fails in its first step, not before */
    sqlite3_close(db);
    CHECK_STATUS(verb(&ucb_command_list, &err, ucb_test_path("list runs --db %s", path)),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "cannot read its runs");
}

TEST(export_has_the_columns_of_the_view_in_every_format)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_export, &err, ucb_test_path("export --db %s", db)), err);
    CHECK(strncmp(content("stdout"),
                  "run_id,build_id,cell_id,model,method,spec,arithmetic,", 53) == 0);
    CHECK_HAS(content("stdout"), "\"hqq:bits=4,group=64\""); /* a comma inside is quoted */
    CHECK_OK(
        verb(&ucb_command_export, &err, ucb_test_path("export --db %s --format tsv", db)),
        err);
    CHECK_HAS(content("stdout"), "\thqq:bits=4,group=64\t");
    CHECK_OK(verb(&ucb_command_export, &err,
                  ucb_test_path("export --db %s --format json --out %s/o.json", db,
                                ucb_test_folder())),
             err);
    CHECK_HAS(content("o.json"), "\"ci_low\":null");
    CHECK_HAS(content("o.json"), "\"status\":\"FAILED\"");
}

TEST(the_table_shows_every_cell_and_each_caveat_once)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_OK(
        verb(&ucb_command_report, &err,
             ucb_test_path("report table --db %s --out %s/a/b", db, ucb_test_folder())),
        err);
    const char *text = content("a/b/table.txt"), *caveat = strstr(text, "Caveat: ");
    CHECK_HAS(text, "smollm2-135m-smooth, wikitext on wiki_mini");
    CHECK_HAS(text, "0.0340 [0.0306, 0.0377]");
    CHECK_HAS(text, "gptq:bits=4          FAILED: layer.3.q_proj: 100 columns");
    CHECK(caveat != NULL && strstr(caveat + 1, "Caveat: ") == NULL);
    const char *head = ucb_test_path("%.500s", text);
    CHECK(strncmp(content("stdout"), head, strlen(head)) == 0);
    CHECK_HAS(
        content("a/b/table.csv"),
        "model,task,dataset,spec,status,bpw_nominal,bpw_matrices,bpw_model,n_items,ppl,"
        "ppl_low,ppl_high,ppl_n,ppl_interval,ppl_note,ppl_ratio,");
}

TEST(the_table_shows_what_a_method_is_quoted_at_beside_what_its_bytes_are_for)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report html --db %s --out %s", db, ucb_test_folder())),
             err);
    CHECK_HAS(content("report.html"), "<h2 id=\"sizes\">Where the bits go</h2>");
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report table --db %s --out %s", db, ucb_test_folder())),
             err);
    const char *text = content("table.txt"),
               *sizes = strstr(text, "Where the bits per weight");
    CHECK(sizes != NULL);
    CHECK_HAS(text, "  bpw nominal  bpw matrices  bpw model");
    CHECK_HAS(sizes, "  bpw nominal");
    CHECK_HAS(sizes, "  scales  bpw matrices\n");
    const char *row = strstr(sizes, "  nf4 ");
    double nominal, codes, scales, matrices;
    CHECK(row != NULL && sscanf(row + strlen("  nf4 "), "%lf %lf %lf %lf", &nominal, &codes,
                                &scales, &matrices) == 4);
    CHECK(nominal == 4 && codes == 4 && scales == 0.5 && matrices == 4.5);
}

TEST(every_number_of_the_table_has_its_interval_its_n_and_its_note)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report table --db %s --out %s", db, ucb_test_folder())),
             err);
    const char *text = content("table.txt");
    CHECK_HAS(text, "  items  documents  peak GB\n");
    CHECK_HAS(text, "0.0340 [0.0306, 0.0377]     36         12     0.42\n");
    CHECK_HAS(text, "90.2 [89.2, 91.2]");       /* of t1_agree */
    CHECK_HAS(text, "37.9 [26.9, 49.9] n=36 "); /* an accuracy over items, beside
                                                   perplexities over documents */
    CHECK_HAS(text, "] (1) ");                  /* the note of a ratio */
    CHECK_HAS(text, "\n(1) t and BCa intervals differ by 23% of the former's width\n");
    CHECK_HAS(
        text,
        "In brackets: 95% intervals (linearised t, clustered by document: ppl, ppl ratio, t1 agree %, KLD "
        "mean; Wilson score over documents: accuracy %; percentile bootstrap over documents, paired with "
        "the original: retention %).\n");
    CHECK(strstr(text, "resampled") == NULL);
    CHECK_HAS(content("table.csv"), ",0.902,0.892,0.912,12,\"t-cluster\",\"\",0.034,");
}

/* Stores a cell like the made-up one of the first model on wikitext, changed by the caller.
 */
static void put_calibrated(const char *path, const struct made_up_point *point,
                           const char *calib, const char *arithmetic, const char *scope,
                           uint64_t seed, const struct ucb_metric *metrics,
                           size_t n_metrics)
{
    struct ucb_err err;
    struct ucb_store *store = NULL;
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_run_info info = {"build", "c", "{}"};
    int64_t run_id;
    ucb_arena_init(&arena);
    made_up_cell(&arena, point, "smollm2-135m", "wikitext", &cell, &result);
    cell.calib = calib;
    cell.arithmetic = arithmetic;
    cell.scope = scope;
    cell.seed = seed;
    ucb_cell_identify(&cell);
    if (metrics != NULL) {
        result.metrics = metrics;
        result.n_metrics = n_metrics;
    }
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    CHECK_OK(ucb_store_put_cell(store, run_id, "build", &cell, &result, &err), err);
    ucb_store_close(store);
    ucb_arena_free(&arena);
}

static void put_changed(const char *path, const struct made_up_point *point,
                        const char *arithmetic, const char *scope, uint64_t seed,
                        const struct ucb_metric *metrics, size_t n_metrics)
{
    put_calibrated(path, point, "", arithmetic, scope, seed, metrics, n_metrics);
}

TEST(a_number_without_an_interval_says_so)
{
    static const struct ucb_metric metrics[] = {
        {"ppl", 20, NAN, NAN, 1, "none", "one document has no spread: no interval"},
        {"t1_agree", 0.5, NAN, NAN, 1, "none", NULL},
        {"kld_mean", 2e7, 1e7, 3e300, 2, "t-cluster", NULL},
        {"ppl_ratio", INFINITY, NAN, NAN, 1, "none", NULL},
    };
    struct ucb_err err;
    const char *db = ucb_test_path("%s/one.db", ucb_test_folder());
    put_changed(db, &made_up_points(false)[2], "fp32", "body", 1, metrics, 4);
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report table --db %s --out %s", db, ucb_test_folder())),
             err);
    const char *text = content("table.txt");
    CHECK_HAS(text, "20.00 [-] (1)");
    CHECK_HAS(text, "50.0 [-]");
    CHECK_HAS(text, "inf [-]");
    CHECK_HAS(text, "2.0e+07 [1.0e+07, 3.0e+300] n=2");
    CHECK_HAS(text, "(1) one document has no spread: no interval\n");
}

TEST(the_same_data_draws_the_same_bytes)
{
    static const char *const files[] = {"pareto.svg",      "pareto.png", "pareto.pdf",
                                        "pareto.gp",       "pareto.tsv", "pareto-1col.svg",
                                        "pareto-1col.pdf", "report.html"};
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = make_database();
    for (int i = 0; i < 2; i++) {
        const char *line = ucb_test_path("report html --db %s --out %s/%d --json", db,
                                         ucb_test_folder(), i);
        CHECK_OK(verb(&ucb_command_report, &err, line), err);
        if (i == 0) sleep(1); /* another second, so that a date would show */
    }
    CHECK_HAS(content("stdout"), "report.html");
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
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
             err);
    size_t n_points = count_of(content("pareto.json"), "\"frontier\"");
    CHECK(n_points > 0);
    CHECK(count_of(content("pareto.svg"), "xlink:href='#gpPt") >= 2 * n_points);
}

TEST(the_page_needs_nothing_from_outside)
{
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report html --db %s --out %s", db, ucb_test_folder())),
             err);
    const char *page = content("report.html");
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
    skip_without_gnuplot();
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s --model smollm2-135m", db,
                                ucb_test_folder())),
             err);
    const char *rows = content(
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
    const char *points = content("pareto.json");
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
    const char *db = make_database();
    CHECK_STATUS(verb(&ucb_command_report, &err,
                      ucb_test_path("report pareto --db %s --out %s --task foo", db,
                                    ucb_test_folder())),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "on task foo");
    CHECK_HAS(err.text, "it holds task lambada, wikitext in 40 cells");
}

TEST(a_title_that_does_not_fit_the_narrow_page_leaves_the_task_to_the_caption)
{
    struct ucb_err err;
    sqlite3 *open;
    skip_without_gnuplot();
    const char *db = make_database();
    CHECK_EQ(sqlite3_open(db, &open), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(open,
                          "UPDATE cells SET task = 'wikitext:ctx=512,half=1,n=12,spread=1'",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(open);
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
             err);
    CHECK_HAS(content("pareto.gp"),
              "figure_title = 'What a bit per weight costs, task wikitext:ctx=512,half=1,");
    const char *narrow = content("pareto-1col.gp");
    CHECK_HAS(narrow, "figure_title = 'What a bit per weight costs'\n");
    CHECK_HAS(chart_caption(narrow), "task wikitext:ctx=512,half=1,n=12,spread=1");
}

TEST(only_points_of_one_setting_share_a_frontier)
{
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = make_database();
    const struct made_up_point *none = &made_up_points(false)[0],
                               *int8 = &made_up_points(false)[1];
    put_changed(db, none, "bf16", "body", 1, NULL, 0);
    put_changed(db, int8, "bf16", "body", 1, NULL,
                0); /* equal values under three other settings */
    put_changed(db, int8, "fp32", "all", 1, NULL, 0);
    put_changed(db, int8, "fp32", "body", 2, NULL, 0);
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s --model smollm2-135m", db,
                                ucb_test_folder())),
             err);
    const char *rows = content("pareto.tsv");
    for (int panel = 1; panel <= 4; panel++)
        CHECK_HAS(rows, ucb_test_path("%d\t3\t1\tsmollm2-135m\tint8\tint8\t", panel));
    CHECK(strstr(rows, "\n5\t") == NULL);
    static const char *const titles[] = {
        "smollm2-135m, seed=1 (original: 5 bpw)", "smollm2-135m, scope=all seed=1",
        "smollm2-135m, bf16 seed=1 (original: 5 bpw)", "smollm2-135m, seed=2"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
        CHECK_HAS(content("pareto.gp"), titles[i]);
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
        CHECK_OK(verb(&ucb_command_report, &err,
                      ucb_test_path("report %s --db %s --out %s --model smollm2-135m",
                                    reports[i], db, ucb_test_folder())),
                 err);
    return content("table.txt");
}

TEST(a_calibrated_method_is_compared_with_the_others_and_says_on_what_it_was)
{
    skip_without_gnuplot();
    const char *db = make_database();
    put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL, 0);
    CHECK_HAS(make_reports(db), "\ngptq:bits=3 calib=" ON_MINI "  ");
    const char *rows = content("pareto.tsv");
    CHECK_HAS(rows, "1\t2\t1\tsmollm2-135m\tgptq\tgptq:bits=3\t3.2");
    CHECK_HAS(rows,
              "1\t3\t0\tsmollm2-135m\thqq\thqq:bits=3,group=64\t"); /* it lies above */
    CHECK(strstr(rows, "\n2\t") == NULL);                           /* one panel */
    CHECK_HAS(chart_caption(content("pareto.gp")), "Calibration where needed:");
}

TEST(several_calibrations_of_one_method_stand_side_by_side)
{
    skip_without_gnuplot();
    const char *db = make_database();
    put_calibrated(db, &calibrated, ON_VALID " 4cd0f6876d07", "fp32", "body", 1, NULL, 0);
    put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL, 0);
    const char *table = make_reports(db), *mini = strstr(table, " calib=" ON_MINI "  "),
               *valid = strstr(table, " calib=" ON_VALID "  ");
    CHECK(mini != NULL && valid != NULL && mini < valid);
    const char *rows = content("pareto.tsv");
    CHECK_HAS(rows, "gptq:bits=3 calib=" ON_MINI "\t");
    CHECK_HAS(rows, "gptq:bits=3 calib=" ON_VALID "\t");
    CHECK(strstr(rows, "\n2\t") == NULL);
    CHECK(strstr(chart_caption(content("pareto.gp")), "Calibration, of") ==
          NULL); /* the labels say it */
}

TEST(one_calibration_on_two_editions_of_its_text_is_told_apart)
{
    skip_without_gnuplot();
    const char *db = make_database();
    put_calibrated(db, &calibrated, ON_MINI " 140acb1348bd", "fp32", "body", 1, NULL, 0);
    put_calibrated(db, &calibrated, ON_MINI " 000000000000", "fp32", "body", 1, NULL, 0);
    const char *table = make_reports(db);
    CHECK_HAS(table, "calib=" ON_MINI " 140acb1348bd");
    CHECK_HAS(table, "calib=" ON_MINI " 000000000000");
}

TEST(the_caption_says_what_the_bars_are)
{
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = make_database();
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
             err);
    const char *script = chart_caption(content("pareto.gp"));
    CHECK_HAS(
        script,
        "n = 12 documents. Bars: 95% intervals, linearised t, clustered by document.");
    CHECK(strstr(script, "resampled") == NULL);
}

TEST(a_bar_without_bound_does_not_flatten_the_points)
{
    static const struct ucb_metric metrics[] = {
        {"kld_mean", 0.5, 0, 1e300, 2, "t-cluster", NULL}};
    struct ucb_err err;
    skip_without_gnuplot();
    const char *db = ucb_test_path("%s/wide.db", ucb_test_folder());
    put_changed(db, &made_up_points(false)[2], "fp32", "body", 1, metrics, 1);
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
             err);
    CHECK_HAS(content("pareto.gp"),
              "y_high = 12.5;"); /* ten times the point, and room for its label */
    CHECK_HAS(chart_caption(content("pareto.gp")), "A bar cut off by");
    CHECK(strstr(content("pareto.tsv"), "e+300") == NULL);
}

TEST(without_gnuplot_the_chart_says_how_to_install_it)
{
    struct ucb_err err;
    const char *db = make_database();
    CHECK_EQ(setenv("PATH", ucb_test_folder(), 1), 0);
    CHECK_STATUS(
        verb(&ucb_command_report, &err,
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
    skip_without_gnuplot();
    const char *db = make_database();
    const char *line = ucb_test_path("report pareto --db %s --out %s/figures", db,
                                     ucb_test_folder());
    CHECK_OK(verb(&ucb_command_report, &err, line), err);
    CHECK_EQ(stat(ucb_test_path("%s/figures/pareto.svg", ucb_test_folder()), &info), 0);
    off_t before = info.st_size;
    break_gnuplot();
    CHECK_STATUS(verb(&ucb_command_report, &err, line), UCB_ENVIRONMENT, err);
    CHECK_HAS(err.text, "could not draw pareto.gp (signal 9)");
    CHECK_EQ(stat(ucb_test_path("%s/figures/pareto.svg", ucb_test_folder()), &info), 0);
    CHECK_EQ(info.st_size, before);
    /* What a killed report left an hour ago goes with the next one. */
    CHECK_EQ(system(ucb_test_path("cd %s/figures && mkdir .drawing-killed && "
                                  "echo half >.drawing-killed/pareto.svg && "
                                  "touch -d '1 hour ago' .drawing-killed",
                                  ucb_test_folder())),
             0);
    CHECK_STATUS(verb(&ucb_command_report, &err, line), UCB_ENVIRONMENT, err);
    CHECK_EQ(system(ucb_test_path("test -z \"$(ls -A %s/figures | grep drawing)\"",
                                  ucb_test_folder())),
             0);
}

TEST(a_database_with_only_the_original_has_tables_and_no_chart)
{
    struct ucb_err err;
    struct ucb_store *store = NULL;
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_run_info info = {"b", "c", "{}"};
    int64_t run_id;
    const char *db = ucb_test_path("%s/one.db", ucb_test_folder());
    ucb_arena_init(&arena);
    made_up_cell(&arena, &made_up_points(true)[0], "m", "wikitext", &cell, &result);
    CHECK_OK(ucb_store_open(db, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    CHECK_OK(ucb_store_put_cell(store, run_id, "b", &cell, &result, &err), err);
    ucb_store_close(store);
    ucb_arena_free(&arena);
    CHECK_STATUS(
        verb(&ucb_command_report, &err,
             ucb_test_path("report pareto --db %s --out %s", db, ucb_test_folder())),
        UCB_MISSING, err);
    CHECK_OK(verb(&ucb_command_report, &err,
                  ucb_test_path("report html --db %s --out %s", db, ucb_test_folder())),
             err);
    CHECK_HAS(content("report.html"), "No chart: ");
}
