/* Calibration as a person meets it: what is refused before anything runs, what a dry run
 * says, what is stored. */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/file.h"
#include "core/json.h"
#include "tiny.h"

static char out[1 << 16];

#define AWQ "awq:bits=4,group=32,grid=4"
#define NEXT " --calib calib-mini:n=4,ctx=32"

static const char *tiny, *db, *cache;

static void setup(void)
{
    tiny = ucb_test_path("%s/tiny", ucb_test_folder());
    db = ucb_test_path("%s/r.db", ucb_test_folder());
    cache = ucb_test_path("%s/cache", ucb_test_folder());
    ucb_tiny_model(tiny);
}

/* A sweep of the tiny model; `rest` is more of the command line. */
static int sweep(const char *rest)
{
    return ucb_run_program(out, sizeof(out),
                           "sweep --model %s --task lambada:n=4 --data mini --db %s "
                           "--cache %s --quiet %s",
                           tiny, db, cache, rest);
}

static void check_sweep(int expected, const char *rest)
{
    int code = sweep(rest);
    if (code != expected)
        ucb_test_fail(__FILE__, __LINE__, "%s: exit code %d, expected %d; it said: %s",
                      rest, code, expected, out);
}

/* The rows of a query, "a|b\n" each. */
static const char *query(const char *sql)
{
    static char text[1 << 14];
    sqlite3 *handle;
    sqlite3_stmt *row;
    size_t n = 0;
    CHECK(sqlite3_open_v2(db, &handle, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(handle, sql, -1, &row, NULL) == SQLITE_OK);
    text[0] = '\0';
    while (sqlite3_step(row) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(row); i++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
                                  (const char *)sqlite3_column_text(row, i),
                                  i + 1 < sqlite3_column_count(row) ? "|" : "\n");
    sqlite3_finalize(row);
    sqlite3_close(handle);
    return text;
}

TEST(a_calibration_that_cannot_be_is_refused_before_a_database_is_made)
{
    setup();
    check_sweep(2, "--method " AWQ " --calib wikitext:n=16");
    CHECK_HAS(out, "calibration must never see the test text");
    CHECK_HAS(out, "use wikitext-valid");
    check_sweep(2, "--method " AWQ " --calib wiki_mini");
    CHECK_HAS(out, "calibration must never see the test text");
    check_sweep(2, "--method " AWQ " --calib calib-min");
    CHECK_HAS(out, "did you mean `calib-mini`");
    check_sweep(2, "--method nf4 --calib lambada"); /* not even where nothing needs it */
    check_sweep(3, "--method " AWQ " --calib wikitext-valid");
    CHECK_HAS(out, "use `--calib calib-mini`");
    CHECK(access(db, F_OK) != 0);
}

TEST(a_plans_calibration_is_refused_with_its_line)
{
    static const char plan[] = "method,calib\nnf4,\n" AWQ ",wikitext-test\n",
                      quoted[] = "method,calib\nnf4,\n\"" AWQ "\",wikitext-test\n";
    struct ucb_err err;
    setup();
    const char *path = ucb_test_path("%s/plan.csv", ucb_test_folder());
    CHECK_OK(ucb_file_write(path, quoted, strlen(quoted), &err), err);
    check_sweep(2, path);
    CHECK_HAS(out, "plan.csv: plan, line 3");
    CHECK_HAS(out, "never see the test text");
    CHECK_OK(ucb_file_write(path, plan, strlen(plan), &err), err);
    check_sweep(3, path); /* a comma without quotes is another column */
    CHECK(access(db, F_OK) != 0);
}

TEST(a_window_longer_than_the_text_is_usage)
{
    setup();
    check_sweep(2, "--method " AWQ " --calib calib-mini:ctx=100000");
    CHECK_HAS(out, "fewer than one window of ctx=100000");
}

TEST(a_dry_run_lists_the_calibration_of_the_cells_that_have_one)
{
    setup();
    check_sweep(0, "--method nf4 --method " AWQ NEXT " --dry-run");
    CHECK_HAS(out, "4 cells, 0 finished, 4 to do");
    const char *awq = strstr(out, "awq:"), *nf4 = strstr(out, "nf4");
    CHECK(awq != NULL && nf4 != NULL);
    CHECK_HAS(awq, "fp32  calib-mini:n=4,ctx=32,seed=0 140acb1348bd\n");
    CHECK(strstr(nf4, "fp32\n") != NULL && strstr(nf4, "fp32\n") < awq);
    CHECK(strstr(out, "calibration: ") == NULL); /* nothing by default */
    check_sweep(0, "--method nf4 --method " AWQ NEXT " --dry-run --json");
    struct ucb_err err;
    json_t *root;
    CHECK_OK(ucb_json_parse("stdout", out, strlen(out), &root, &err), err);
    const json_t *plan = json_object_get(root, "plan");
    CHECK_EQ(json_array_size(plan), 4);
    CHECK_TEXT(json_string_value(json_object_get(json_array_get(plan, 0), "calib")), "");
    CHECK_TEXT(json_string_value(json_object_get(json_array_get(plan, 2), "calib")),
               "calib-mini:n=4,ctx=32,seed=0 140acb1348bd");
    json_decref(root);
}

TEST(the_default_calibration_is_named_on_one_line)
{
    setup();
    check_sweep(0, "--method " AWQ " --method awq:group=64 --dry-run");
    const char *line = strstr(out, "calibration: calib-mini:n=32,ctx=256,seed=0");
    CHECK(line != NULL);
    CHECK(strstr(line + 1, "calibration: ") == NULL);
    check_sweep(0, "--method nf4 --dry-run");
    CHECK(strstr(out, "calibration: ") == NULL);
}

TEST(a_calibration_is_part_of_the_cells_that_need_it_and_of_no_other)
{
    static const char cells[] =
        "SELECT DISTINCT spec, calib FROM v_latest ORDER BY spec, calib";
    setup();
    check_sweep(0, "--method nf4 --method " AWQ NEXT);
    CHECK_HAS(strstr(out, "  " AWQ), "  calib-mini:n=4,ctx=32,seed=0 140acb1348bd\n");
    CHECK_TEXT(query(cells), AWQ "|calib-mini:n=4,ctx=32,seed=0 140acb1348bd\n"
                                 "nf4|\nnone|\n");
    CHECK_TEXT(query("SELECT sha256 LIKE '140acb1348bd%', n_bytes FROM files "
                     "WHERE path LIKE '%calib_mini.txt'"),
               "1|42828\n");
    /* Another calibration: only what needs it is new. */
    check_sweep(0,
                "--method nf4 --method " AWQ " --calib calib-mini:n=4,ctx=32,seed=1" NEXT);
    CHECK_HAS(out, "5 cells, 1 new, 4 finished before");
    CHECK_TEXT(query(cells), AWQ "|calib-mini:n=4,ctx=32,seed=0 140acb1348bd\n" AWQ
                                 "|calib-mini:n=4,ctx=32,seed=1 140acb1348bd\n"
                                 "nf4|\nnone|\n");
    CHECK_TEXT(
        query("SELECT count(DISTINCT weights_digest) FROM cells WHERE method = 'awq'"),
        "2\n");
    /* Written otherwise, it is the same. */
    check_sweep(0, "--method " AWQ " --calib calib-mini:ctx=32,mode=auto,n=4");
    CHECK_HAS(out, "3 cells, 0 new, 3 finished before");
}

TEST(one_group_of_methods_gives_what_each_gives_alone)
{
    char together[65], apart[65];
    setup();
    check_sweep(0, "--method nf4 --method " AWQ NEXT
                   " --calib calib-mini:n=4,ctx=32,mode=sequential --threads 2");
    RUN(0, "digest --db %s", db);
    snprintf(together, sizeof(together), "%s", out);
    db = ucb_test_path("%s/apart.db", ucb_test_folder());
    cache = ucb_test_path("%s/other", ucb_test_folder());
    check_sweep(0, "--method " AWQ NEXT " --threads 1");
    check_sweep(0, "--method nf4");
    check_sweep(0, "--method " AWQ " --calib calib-mini:n=4,ctx=32,mode=sequential");
    RUN(0, "digest --db %s", db);
    snprintf(apart, sizeof(apart), "%s", out);
    CHECK_TEXT(apart, together);
}

TEST(lists_say_what_is_calibrated_and_on_what)
{
    RUN(0, "list datasets");
    CHECK_HAS(out, "use: calibration");
    CHECK_HAS(out, "use: tasks wikitext, wikitext-words");
    RUN(0, "list methods");
    CHECK_HAS(out, "calibration: needed; auto is parallel");
    CHECK_HAS(out, "calibration: needed; auto is sequential");
    CHECK_HAS(out, "calibration: needed with some knobs"); /* gguf:imatrix=1 */
}

/* ---- quantize ---- */

static int quantize(const char *spec, const char *tensor, const char *calib)
{
    const char *inputs = ucb_test_path("%s/tests/golden/inputs.safetensors",
                                       ucb_test_root());
    return ucb_run_program(
        out, sizeof(out), "quantize --method %s --in %s --tensor %s --out %s/made%s%s",
        spec, inputs, tensor, ucb_test_folder(),
        calib == NULL ? "" : ucb_test_path(" --calib %s --calib-tensor ", inputs),
        calib == NULL ? "" : calib);
}

TEST(quantize_needs_the_calibration_that_its_method_needs)
{
    CHECK_EQ(quantize("awq", "minilm_ffn", NULL), 2);
    CHECK_HAS(out, "awq needs calibration: give --calib FILE --calib-tensor NAME");
    CHECK_EQ(quantize("awq", "minilm_ffn", "imatrix_256"), 3);
    CHECK_HAS(out, "256 columns, the matrix reads 384 inputs");
    CHECK_EQ(quantize("awq", "gauss", "imatrix_256"), 3);
    CHECK_HAS(out, "awq needs more than that");
    CHECK_EQ(quantize("awq", "minilm_ffn", "calib_y"), 3);
    CHECK_HAS(out, "did you mean `calib_x`");
    CHECK_EQ(quantize("awq", "minilm_ffn", "calib_x"), 0);
    CHECK_HAS(out, "\"bits_per_weight\"");
    CHECK_EQ(quantize("nf4", "gauss", "imatrix_256"), 0); /* read, and not needed */
}

#define OVERLAY "row_overlay:bpw=2.79,rows=mixed,rho=0.05,iters=1,k1=32,k2=16"

TEST(side_data_is_counted_once_and_no_thread_changes_what_comes_of_it)
{
    setup();
    check_sweep(0, "--method " OVERLAY NEXT " --threads 1");
    /* seven roles: a count and seven heads; 32 + 16 entries of 8 halves each */
    CHECK_TEXT(query("SELECT codebook_bytes, header_bytes FROM sizes JOIN cells USING "
                     "(cell_key) WHERE method = 'row_overlay'"),
               "5376|22\n");
    CHECK_HAS(query("SELECT check_name, status FROM v_checks WHERE spec LIKE 'row%'"),
              "decode_deterministic|PASS");
    char first[80];
    snprintf(first, sizeof(first), "%s",
             query("SELECT weights_digest FROM cells WHERE method = 'row_overlay'"));
    CHECK(unlink(db) == 0);
    check_sweep(0, "--method nf4 --method " OVERLAY " --method rtn" NEXT " --threads 3");
    CHECK_TEXT(query("SELECT weights_digest FROM cells WHERE method = 'row_overlay'"),
               first);
}

TEST(a_matrix_that_gptq_saw_no_input_of_is_told_of_in_the_cells_note)
{
    setup();
    check_sweep(0, "--method gptq:bits=4,group=32" NEXT);
    CHECK_TEXT(query("SELECT count(*) FROM cells WHERE message LIKE '%round-to-nearest%'"),
               "0\n");
    check_sweep(0, "--scope all --method gptq:bits=4,group=32" NEXT);
    CHECK_HAS(query("SELECT message FROM cells WHERE method = 'gptq' AND scope = 'all'"),
              "had no calibration input but zeros or none at all, and fell back to "
              "round-to-nearest");
    check_sweep(
        0, "--scope all --method gptq:bits=4,group=32+lowrank:rank=2+distill:steps=1" NEXT);
    CHECK_HAS(query("SELECT message FROM cells WHERE spec LIKE '%distill%'"),
              "fell back to round-to-nearest");
}

TEST(side_data_covers_head_and_embedding_where_the_scope_does)
{
    setup();
    check_sweep(0, "--scope all --method " OVERLAY NEXT);
    CHECK_TEXT(query("SELECT status FROM cells WHERE method = 'row_overlay'"), "OK\n");
    check_sweep(0, "--scope linear --method " OVERLAY NEXT);
    /* Two originals, two methods, and the noise floor, in which the scope has no part. */
    CHECK_TEXT(query("SELECT count(*) FROM cells WHERE status = 'OK'"), "5\n");
}

TEST(side_data_refuses_a_calibration_that_follows_the_compressed_layers)
{
    setup();
    check_sweep(1, "--method " OVERLAY NEXT ",mode=sequential");
    CHECK_HAS(query("SELECT message FROM cells WHERE status = 'FAILED'"),
              "try mode=parallel");
}

TEST(the_test_text_is_calibrated_on_only_with_compat)
{
    setup();
    check_sweep(2, "--method " AWQ " --calib wikitext-test");
    CHECK_HAS(out, "calibration must never see the test text");
    CHECK_HAS(out, "--compat");
    check_sweep(3, "--compat --method " AWQ " --calib wikitext-test");
    CHECK_HAS(out, "wikitext-2-raw.test.txt");
    check_sweep(2, "--compat --method " AWQ " --calib lambada");
}

TEST(a_method_that_saw_the_test_text_is_marked_wherever_it_is_shown)
{
    static const char *const reports[] = {"table", "html"};
    sqlite3 *handle;
    setup();
    check_sweep(0, "--method " AWQ NEXT);
    CHECK_TEXT(query("SELECT DISTINCT spec, contaminated FROM v_results ORDER BY spec"),
               AWQ "|0\nnone|0\n");
    CHECK(sqlite3_open(db, &handle) == SQLITE_OK);
    CHECK(sqlite3_exec(handle,
                       "UPDATE cells SET calib = 'wikitext-test:n=32,ctx=512,seed=123 "
                       "0123456789ab' WHERE calib <> ''",
                       NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(handle);
    CHECK_TEXT(query("SELECT DISTINCT spec, contaminated FROM v_results ORDER BY spec"),
               AWQ "|1\nnone|0\n");
    for (size_t i = 0; i < sizeof(reports) / sizeof(*reports); i++) {
        const char *folder = ucb_test_path("%s/%s", ucb_test_folder(), reports[i]);
        RUN(0, "report %s --db %s --out %s", reports[i], db, folder);
        const char *file = ucb_test_path("%s/%s", folder,
                                         i == 0 ? "table.txt" : "report.html");
        struct ucb_file shown;
        CHECK(ucb_file_map(file, &shown, NULL) == UCB_OK);
        CHECK(memmem(shown.data, shown.n_bytes, "[contaminated]", 14) != NULL);
        ucb_file_unmap(&shown);
    }
    RUN(0, "export --db %s --format csv", db);
    CHECK_HAS(out, ",contaminated");
}
