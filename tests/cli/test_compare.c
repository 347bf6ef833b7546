/* compare: how cells are named, what is refused, the verdict as text and as JSON. */
#include "test.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "made_up.h"
#include "tiny.h"

static char out[1 << 16];

static const char *made_up(void)
{
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    made_up_database(db, "build1", false);
    return db;
}

TEST(cells_are_named_by_id_or_by_model_spec_and_task)
{
    const char *db = made_up();
    RUN(0, "compare --db %s smollm2-135m/none/lambada smollm2-135m/int8/lambada", db);
    const char *id = strstr(out, "A  ");
    CHECK(id != NULL);
    char prefix[9] = {0};
    memcpy(prefix, id + 3, 8);
    RUN(0, "compare --db %s %s smollm2-135m/int8/lambada", db, prefix);
    CHECK_HAS(out, ucb_test_path("A  %s", prefix));
    RUN(0, "compare --db %s %s@fp32 'smollm2-135m/hqq:bits=4,group=64/lambada@buil'", db,
        prefix);
    /* In full words it is not nf4:double_quant=1. */
    RUN(0, "compare --db %s %s smollm2-135m/nf4/lambada", db, prefix);
    CHECK_HAS(out, "smollm2-135m/nf4/lambada@fp32");
    RUN(0, "compare --db %s '%s@build1' smollm2-135m/fp4/lambada", db, prefix);
}

TEST(a_name_that_fits_no_cell_or_several_lists_them)
{
    const char *db = made_up();
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/nf5/lambada", db);
    CHECK_HAS(out, "no such cell");
    CHECK_HAS(out, "smollm2-135m/fp4/lambada@fp32");
    CHECK_HAS(out, "more");
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/hqq/lambada", db);
    CHECK_HAS(out, "fits 4 cells");
    CHECK_HAS(out, "hqq:bits=2,group=16");
    CHECK(strstr(out, "wikitext") == NULL);
    RUN(2, "compare --db %s smollm2-135m/none/lambada xyz", db);
    CHECK_HAS(out, "MODEL/SPEC/TASK");
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/gptq/lambada", db);
    CHECK_HAS(out, "this cell failed");
    CHECK_HAS(out, "100 columns");
    RUN(2, "compare --db %s smollm2-135m/none/lambada", db);
    CHECK_HAS(out, "takes two");
}

TEST(cells_of_other_models_tasks_or_protocols_are_refused_with_the_field)
{
    const char *db = made_up();
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m-smooth/none/lambada",
        db);
    CHECK_HAS(out, "differ in their model: smollm2-135m and smollm2-135m-smooth");
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/int8/wikitext", db);
    CHECK_HAS(out, "differ in their task");
    made_up_change(db, "UPDATE cells SET task_revision = 2 WHERE spec = 'int8'");
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/int8/lambada", db);
    CHECK_HAS(out, "protocol");
    made_up_change(db, "UPDATE cells SET dataset_digest = 'x' WHERE spec = 'fp4'");
    RUN(2, "compare --db %s smollm2-135m/none/lambada smollm2-135m/fp4/lambada", db);
    CHECK_HAS(out, "differ in their data set digest");
}

TEST(the_verdict_stands_first_and_as_json_with_stable_keys)
{
    static const char *const keys[] = {"verdict",
                                       "sentence",
                                       "n_decides",
                                       "below_floor",
                                       "weights_equal",
                                       "a",
                                       "b",
                                       "task",
                                       "dataset",
                                       "dataset_digest",
                                       "n_documents",
                                       "n_items",
                                       "n_tokens",
                                       "criteria",
                                       "ppl_ratio_bca",
                                       "accuracy",
                                       "divergence_a",
                                       "divergence_b",
                                       "noise_floor"};
    const char *db = made_up();
    RUN(0,
        "compare --db %s smollm2-135m/none/lambada 'smollm2-135m/hqq:bits=2,group=64/lambada'",
        db);
    CHECK(strncmp(out, "worse: ppl ratio B / A ", 23) == 0);
    CHECK_HAS(out, "n = 12 documents, 36 items, 1440 scored tokens on lambada_mini");
    CHECK_HAS(out, "noise floor: none");
    RUN(0,
        "compare --json --db %s smollm2-135m/none/lambada 'smollm2-135m/hqq:bits=2,group=64/lambada'",
        db);
    json_t *object = json_loads(out, 0, NULL);
    CHECK(object != NULL);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (json_object_get(object, keys[i]) == NULL)
            ucb_test_fail(__FILE__, __LINE__, "no key %s", keys[i]);
    CHECK_EQ(json_object_size(object), sizeof(keys) / sizeof(keys[0]));
    CHECK_TEXT(json_string_value(json_object_get(object, "verdict")), "worse");
    json_decref(object);
}

TEST(bands_are_changed_by_options_and_impossible_ones_refused)
{
    const char *db = made_up(),
               *pair = "smollm2-135m/none/wikitext smollm2-135m/int8/wikitext";
    RUN(0, "compare --db %s %s --band-ppl 0.9,1.1 --band-ear 0.97", db, pair);
    CHECK(strncmp(out, "equivalent: ", 12) == 0);
    CHECK_HAS(out, "[0.9000, 1.1000]");
    RUN(2, "compare --db %s %s --band-ppl 1.1", db, pair);
    RUN(2, "compare --db %s %s --band-ppl 1.1,1.2", db, pair);
    RUN(2, "compare --db %s %s --band-ppl 0.9,1.1x", db, pair);
    RUN(2, "compare --db %s %s --band-accuracy 0", db, pair);
    RUN(2, "compare --db %s %s --band-ear 1", db, pair);
    CHECK_HAS(out, "0.99");
}

TEST(the_original_in_a_second_arithmetic_is_the_noise_floor)
{
    const char *db = made_up();
    made_up_change(
        db, "UPDATE cells SET arithmetic = 'bf16', spec = 'none' WHERE spec = 'fp4'");
    RUN(0, "compare --db %s smollm2-135m/none/wikitext@fp32 smollm2-135m/int8/wikitext",
        db);
    CHECK_HAS(out, "noise floor: the original in bf16 against fp32: ppl ratio 1.07");
    CHECK_HAS(out, "below the noise floor");
    RUN(0,
        "compare --db %s smollm2-135m/none/wikitext@fp32 smollm2-135m/none/wikitext@bf16",
        db);
    CHECK_HAS(out, "this pair is the noise floor");
    RUN(0,
        "compare --db %s smollm2-135m/none/wikitext@fp32 smollm2-135m/none/wikitext@fp32",
        db);
    CHECK(strncmp(out, "bit-identical: ", 15) == 0);
    RUN(0, "report table --db %s --out %s/out", db, ucb_test_folder());
    CHECK_HAS(out, "\nnone bf16            noise floor; ");
    CHECK_HAS(out, "\nint8                 worse: EAR 0.98");
}

TEST(one_cell_of_two_builds_is_compared_by_naming_the_builds)
{
    const char *db = made_up();
    made_up_database(db, "other2", false);
    made_up_change(db, "UPDATE items SET sum_logp = sum_logp - 1 WHERE cell_key IN"
                       " (SELECT cell_key FROM cells WHERE build_id = 'other2')");
    RUN(0,
        "compare --db %s smollm2-135m/int8/lambada@build1 smollm2-135m/int8/lambada@other2",
        db);
    CHECK(strncmp(out, "worse: ppl ratio B / A", 22) == 0);
    /* The newest where none is named. */
    RUN(0, "compare --db %s smollm2-135m/int8/lambada smollm2-135m/int8/lambada@other2",
        db);
    CHECK(strncmp(out, "bit-identical", 13) == 0);
}

TEST(items_that_contradict_their_cell_are_corrupt)
{
    const char *db = made_up(),
               *pair = "smollm2-135m/none/lambada smollm2-135m/int8/lambada";
    made_up_change(db, "UPDATE items SET kld = x'00' WHERE item = 3");
    RUN(3, "compare --db %s %s", db, pair);
    CHECK_HAS(out, "item 3");
    made_up_change(db, "DELETE FROM items WHERE item = 35");
    RUN(3, "compare --db %s %s", db, pair);
}

/* The number under a path of keys. */
static double number(json_t *object, const char *a, const char *b, const char *key)
{
    object = json_object_get(object, a);
    if (b != NULL) object = json_object_get(object, b);
    json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        ucb_test_fail(__FILE__, __LINE__, "no number %s %s", a, key);
    return json_number_value(value);
}

/* A column of a metric that the sweep stored for nf4. */
static double stored(const char *db, const char *metric, const char *column)
{
    sqlite3 *connection = NULL;
    sqlite3_stmt *row = NULL;
    CHECK_EQ(sqlite3_open(db, &connection), SQLITE_OK);
    CHECK_EQ(
        sqlite3_prepare_v2(connection,
                           ucb_test_path("SELECT %s FROM v_results WHERE metric = '%s' "
                                         "AND spec = 'nf4'",
                                         column, metric),
                           -1, &row, NULL),
        SQLITE_OK);
    CHECK_EQ(sqlite3_step(row), SQLITE_ROW);
    double value = sqlite3_column_double(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(connection);
    return value;
}

TEST(a_cell_against_its_original_has_the_numbers_that_the_sweep_stored)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(0, "sweep --model %s --method nf4 --task lambada:n=40 --db %s --quiet", model, db);
    RUN(0, "compare --json --db %s tiny/none/lambada tiny/nf4/lambada", db);
    json_t *o = json_loads(out, 0, NULL);
    CHECK(o != NULL);
    static const struct {
        const char *a, *b, *key, *metric, *column;
    } same[] = {
        {"criteria", "ppl_ratio", "value", "ppl_ratio", "value"},
        {"criteria", "ppl_ratio", "low", "ppl_ratio", "ci_low"},
        {"criteria", "ppl_ratio", "high", "ppl_ratio", "ci_high"},
        {"ppl_ratio_bca", NULL, "low", "ppl_ratio_bootstrap", "ci_low"},
        {"ppl_ratio_bca", NULL, "high", "ppl_ratio_bootstrap", "ci_high"},
        {"criteria", "accuracy_difference", "value", "accuracy_difference", "value"},
        {"accuracy", "newcombe", "low", "accuracy_difference", "ci_low"},
        {"accuracy", "mcnemar", "worse_p", "mcnemar_worse_p", "value"},
        {"accuracy", "b", "high", "accuracy", "ci_high"},
        {"divergence_b", "kld_mean", "value", "kld_mean", "value"},
        {"divergence_b", NULL, "kld_p99", "kld_p99", "value"},
        {"divergence_b", "ear", "value", "ear", "value"},
        {"criteria", "ear", "low", "ear", "ci_low"},
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        CHECK_NEAR(number(o, same[i].a, same[i].b, same[i].key),
                   stored(db, same[i].metric, same[i].column), 0);
    json_decref(o);
}

TEST(a_real_sweep_is_compared_without_its_model)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(0,
        "sweep --model %s --method none --method nf4 --method lossless --task lambada:n=12 --db %s --quiet",
        model, db);
    CHECK_EQ(rename(model, ucb_test_path("%s/gone", ucb_test_folder())), 0);
    RUN(0, "compare --db %s tiny/none/lambada tiny/nf4/lambada", db);
    CHECK_HAS(out, "EAR");
    CHECK_HAS(out, "McNemar exact p");
    RUN(0, "compare --db %s tiny/none/lambada tiny/lossless/lambada", db);
    CHECK(strncmp(out, "bit-identical: ", 15) == 0);
    CHECK_HAS(out, "so are the decoded weights");
    RUN(0, "compare --db %s tiny/lossless/lambada tiny/nf4/lambada", db);
    CHECK_HAS(out, "EAR is no criterion here");
}
