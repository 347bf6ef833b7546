/* digest, export, report and list: exit codes, files, the same bytes from the same data.
 * Verbs are called directly. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "report/report.h"
#include "report_verbs.h"
#include "task/manifest.h"

TEST(digest_prints_one_hash_and_as_json)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_OK(report_verb(&ucb_command_digest, &err, ucb_test_path("digest --db %s", db)),
             err);
    CHECK_EQ(strlen(report_content("stdout")), 65);
    CHECK_OK(
        report_verb(&ucb_command_digest, &err, ucb_test_path("digest --db %s --json", db)),
        err);
    CHECK_HAS(report_content("stdout"), "{\"digest\": \"");
}

TEST(verbs_name_what_is_missing)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_STATUS(report_verb(&ucb_command_digest, &err, "digest"), UCB_USAGE, err);
    CHECK_HAS(err.text, "--db");
    CHECK_STATUS(report_verb(&ucb_command_digest, &err, "digest --db /nowhere.db"),
                 UCB_MISSING, err);
    CHECK_STATUS(report_verb(&ucb_command_export, &err,
                             ucb_test_path("export --db %s --format xml", db)),
                 UCB_USAGE, err);
    CHECK_HAS(err.text, "csv");
    CHECK_STATUS(
        report_verb(&ucb_command_report, &err,
                    ucb_test_path("report tabel --db %s --out %s", db, ucb_test_folder())),
        UCB_USAGE, err);
    CHECK_HAS(err.text, "`table`");
    CHECK_STATUS(
        report_verb(&ucb_command_report, &err, ucb_test_path("report table --db %s", db)),
        UCB_USAGE, err);
    CHECK_STATUS(report_verb(&ucb_command_report, &err,
                             ucb_test_path("report table --db %s --out %s --model other",
                                           db, ucb_test_folder())),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "other");
    CHECK_STATUS(report_verb(&ucb_command_report, &err,
                             ucb_test_path("report pareto --db %s --out %s --metric ppl",
                                           db, ucb_test_folder())),
                 UCB_USAGE, err);
}

TEST(lists_say_what_the_reports_and_the_manifests_say)
{
    struct ucb_err err;
    const struct ucb_manifest *manifests;
    size_t n;
    CHECK_OK(report_verb(&ucb_command_list, &err, "list reports"), err);
    for (const struct ucb_report *const *r = ucb_reports(); *r != NULL; r++)
        CHECK_HAS(report_content("stdout"),
                  ucb_test_path("%s  -  %s\n", (*r)->name, (*r)->summary));
    CHECK_OK(ucb_manifests(&manifests, &n, &err), err);
    CHECK(n > 0);
    CHECK_OK(report_verb(&ucb_command_list, &err, "list datasets"), err);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < manifests[i].n_files; k++)
            CHECK_HAS(report_content("stdout"),
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
    const char *path = report_database();
    CHECK_OK(report_verb(&ucb_command_list, &err, ucb_test_path("list runs --db %s", path)),
             err);
    CHECK_HAS(report_content("stdout"),
              "    command: ucbench sweep (made up)\n    cells: 40\n");
    CHECK_OK(report_verb(&ucb_command_list, &err,
                         ucb_test_path("list runs --db %s --json", path)),
             err);
    CHECK_HAS(report_content("stdout"), "\"run_id\": 1,");
    CHECK_HAS(report_content("stdout"), "\"build_id\": \"build\"");
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, broken, NULL, NULL, NULL),
             SQLITE_OK); /* fails in its first step, not before */
    sqlite3_close(db);
    CHECK_STATUS(
        report_verb(&ucb_command_list, &err, ucb_test_path("list runs --db %s", path)),
        UCB_CORRUPT, err);
    CHECK_HAS(err.text, "cannot read its runs");
}

TEST(export_has_the_columns_of_the_view_in_every_format)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_OK(report_verb(&ucb_command_export, &err, ucb_test_path("export --db %s", db)),
             err);
    CHECK(strncmp(report_content("stdout"),
                  "run_id,build_id,cell_id,model,method,spec,arithmetic,", 53) == 0);
    CHECK_HAS(report_content("stdout"),
              "\"hqq:bits=4,group=64\""); /* a comma inside is quoted */
    CHECK_OK(report_verb(&ucb_command_export, &err,
                         ucb_test_path("export --db %s --format tsv", db)),
             err);
    CHECK_HAS(report_content("stdout"), "\thqq:bits=4,group=64\t");
    CHECK_OK(report_verb(&ucb_command_export, &err,
                         ucb_test_path("export --db %s --format json --out %s/o.json", db,
                                       ucb_test_folder())),
             err);
    CHECK_HAS(report_content("o.json"), "\"ci_low\":null");
    CHECK_HAS(report_content("o.json"), "\"status\":\"FAILED\"");
}

TEST(the_table_shows_every_cell_and_each_caveat_once)
{
    struct ucb_err err;
    const char *db = report_database();
    CHECK_OK(report_verb(
                 &ucb_command_report, &err,
                 ucb_test_path("report table --db %s --out %s/a/b", db, ucb_test_folder())),
             err);
    const char *text = report_content("a/b/table.txt"), *caveat = strstr(text, "Caveat: ");
    CHECK_HAS(text, "smollm2-135m-smooth, wikitext on wiki_mini");
    CHECK_HAS(text, "0.0340 [0.0306, 0.0377]");
    CHECK_HAS(text, "gptq:bits=4          FAILED: layer.3.q_proj: 100 columns");
    CHECK(caveat != NULL && strstr(caveat + 1, "Caveat: ") == NULL);
    const char *head = ucb_test_path("%.500s", text);
    CHECK(strncmp(report_content("stdout"), head, strlen(head)) == 0);
    CHECK_HAS(
        report_content("a/b/table.csv"),
        "model,task,dataset,spec,status,bpw_nominal,bpw_matrices,bpw_model,n_items,ppl,"
        "ppl_low,ppl_high,ppl_n,ppl_interval,ppl_note,ppl_ratio,");
}

TEST(the_table_shows_what_a_method_is_quoted_at_beside_what_its_bytes_are_for)
{
    const char *db = report_database();
    report_make("html", db, "");
    CHECK_HAS(report_content("report.html"), "<h2 id=\"sizes\">Where the bits go</h2>");
    report_make("table", db, "");
    const char *text = report_content("table.txt"),
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
    const char *db = report_database();
    report_make("table", db, "");
    const char *text = report_content("table.txt");
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
    CHECK_HAS(report_content("table.csv"),
              ",0.902,0.892,0.912,12,\"t-cluster\",\"\",0.034,");
}

TEST(a_number_without_an_interval_says_so)
{
    static const struct ucb_metric metrics[] = {
        {"ppl", 20, NAN, NAN, 1, "none", "one document has no spread: no interval"},
        {"t1_agree", 0.5, NAN, NAN, 1, "none", NULL},
        {"kld_mean", 2e7, 1e7, 3e300, 2, "t-cluster", NULL},
        {"ppl_ratio", INFINITY, NAN, NAN, 1, "none", NULL},
    };
    const char *db = ucb_test_path("%s/one.db", ucb_test_folder());
    report_put_changed(db, &made_up_points(false)[2], "fp32", "body", 1, metrics, 4);
    report_make("table", db, "");
    const char *text = report_content("table.txt");
    CHECK_HAS(text, "20.00 [-] (1)");
    CHECK_HAS(text, "50.0 [-]");
    CHECK_HAS(text, "inf [-]");
    CHECK_HAS(text, "2.0e+07 [1.0e+07, 3.0e+300] n=2");
    CHECK_HAS(text, "(1) one document has no spread: no interval\n");
}
