/* `sweep --resident`: what it prints and stores, and that no result depends on it. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "tiny.h"

static char out[1 << 16];

static void sweep(const char *options, const char *db)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    int code;
    ucb_tiny_model(model);
    code = ucb_run_program(
        out, sizeof(out),
        "sweep --quiet --data mini --model %s --task wikitext:ctx=64,n=2 "
        "--method nf4 --method lossless --method int8:threshold=6.0 %s "
        "--db %s",
        model, options, db);
    if (code != 0) ucb_test_fail(__FILE__, __LINE__, "sweep %s: %s", options, out);
}

static void digest_of(const char *db, char hex[65])
{
    static char text[4096];
    CHECK_EQ(ucb_run_program(text, sizeof(text), "digest --db %s", db), 0);
    snprintf(hex, 65, "%.64s", text);
}

/* The one number of a query. */
static double number(const char *db_path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    CHECK(sqlite3_open(db_path, &db) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(db, sql, -1, &query, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(query) == SQLITE_ROW);
    double x = sqlite3_column_double(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(db);
    return x;
}

TEST(resident_encoded_prints_and_stores_its_overhead_and_changes_no_result)
{
    char decoded[65], encoded[65];
    const char *a = ucb_test_path("%s/a.db", ucb_test_folder()),
               *b = ucb_test_path("%s/b.db", ucb_test_folder());
    sweep("--resident decoded", a);
    CHECK(strstr(out, "encoded form") == NULL);
    sweep("--resident encoded --batch 96", b);
    CHECK(strstr(out, "inference from the encoded form: ") != NULL);
    CHECK(strstr(out, "96 rows a product") != NULL);
    CHECK(strstr(out, "the article claims < 2 %") != NULL);
    CHECK(strstr(out, "largest layer in memory: ") != NULL);
    CHECK(strstr(out, "int8:threshold") != NULL);
    CHECK(strstr(out, "nothing stays encoded") != NULL);
    char *energy = strstr(out, "energy");
    CHECK(energy != NULL); /* joules, or once that there are none */
    if (strncmp(energy, "energy: not exposed", 19) == 0)
        CHECK(strstr(energy + 1, "energy") == NULL);
    digest_of(a, decoded);
    digest_of(b, encoded);
    CHECK_TEXT(encoded, decoded);
    CHECK_EQ(number(a, "SELECT COUNT(*) FROM metrics WHERE metric LIKE 'resident%'"), 0);
    CHECK_EQ(number(b,
                    "SELECT COUNT(*) FROM metrics WHERE metric = 'resident_overhead' AND "
                    "NOT is_quality AND n BETWEEN 3 AND 9 AND value > -1 AND ci_low <= "
                    "value AND value <= ci_high AND interval = 't-cluster'"),
             2);
    CHECK_EQ(number(b,
                    "SELECT COUNT(*) FROM checks WHERE check_name = 'resident_same_bits' "
                    "AND status = 'PASS'"),
             2);
}

/* Four bits and an absmax for 64 weights, against 32 bits a weight. */
TEST(an_encoded_layer_takes_the_bytes_that_the_method_wrote)
{
    const char *db = ucb_test_path("%s/a.db", ucb_test_folder());
    sweep("--resident encoded", db);
    double kept = number(db, "SELECT value FROM v_latest WHERE spec = 'nf4' AND metric = "
                             "'resident_layer_bytes'"),
           decoded = number(db,
                            "SELECT value FROM v_latest WHERE spec = 'nf4' AND metric = "
                            "'decoded_layer_bytes'");
    CHECK(decoded > 0);
    CHECK(kept > decoded * 4.5 / 32);
    CHECK(kept < decoded / 2); /* a layer this small has states as large as its payloads */
}

TEST(resident_takes_two_words)
{
    int code = ucb_run_program(out, sizeof(out), "sweep --db %s/x.db --resident packed",
                               ucb_test_folder());
    CHECK_EQ(code, 2);
    CHECK(strstr(out, "--resident packed: a layer is kept decoded or encoded") != NULL);
}
