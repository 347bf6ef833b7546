/* report ladder: measured beside claimed, what was not run, what distillation gained. On a
 * made-up model of two layers; the real one is `make ladder-ci`. */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "report/ladder_cells.h"
#include "report/ladder_data.h"
#include "tiny.h"

static char out[1 << 17];

static const char *model_path(void)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/tiny", ucb_test_folder());
    return path;
}

static const char *database(void)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/r.db", ucb_test_folder());
    return path;
}

static void sweep(const char *methods)
{
    ucb_tiny_model(model_path());
    RUN(0,
        "sweep --quiet --data mini --model %s --task "
        "lambada-windows:n=5,seed=42 --calib calib-mini:n=6,ctx=24 "
        "--cache %s/cache --db %s %s",
        model_path(), ucb_test_folder(), database(), methods);
}

static const char *ladder(void)
{
    RUN(0, "report ladder --db %s --out %s --model %s", database(), ucb_test_folder(),
        model_path());
    return out;
}

static const char *csv(void)
{
    return ucb_test_content("ladder.csv");
}

TEST(the_ladder_puts_measured_beside_claimed_and_says_what_was_not_run)
{
    sweep("--method gsq:bits=4 --method nf4:double_quant=1");
    const char *text = ladder();
    CHECK_HAS(text, "Production tiers");
    CHECK_HAS(text,
              "4.000    4.250"); /* the tier of 4 bits: claimed, and with its scales */
    CHECK_HAS(text, "90.14");    /* its claimed retention */
    CHECK_HAS(text,
              ucb_test_path("6: not run: ucbench sweep --model '%s' --method "
                            "'gsq:bits=6' --task 'lambada-windows:n=5,seed=42' --data "
                            "mini --db %s",
                            model_path(), database()));
    CHECK_HAS(text, "bnb_nf4       1        4.000     4.");
    CHECK_HAS(text, "The claim's protocol is lambada-windows:n=500,seed=42");
    CHECK_HAS(text, "No distilled chain was run.");
    CHECK_HAS(csv(), "\"cohort\",\"bnb_nf4\"");
    CHECK_HAS(csv(), "\"not run\"");
}

/* The commands that the report prints fill the gaps it names. */
TEST(the_printed_command_fills_the_gap_it_stands_for)
{
    sweep("--method gsq:bits=4");
    const char *text = strstr(ladder(), "3: not run: ucbench ");
    CHECK(text != NULL);
    static char command[1024];
    text += strlen("3: not run: ucbench ");
    snprintf(command, sizeof(command), "%.*s", (int)strcspn(text, "\n"), text);
    RUN(0, "%s", command);
    CHECK(strstr(ladder(), "3: not run") == NULL);
    CHECK_HAS(out, "80.97");
}

TEST(each_number_of_steps_has_its_gain_against_the_undistilled_chain)
{
    sweep("--method gsq:bits=5+lowrank:rank=32 --method "
          "gsq:bits=5+lowrank:rank=32+distill:steps=0,batch=3 --method "
          "gsq:bits=5+lowrank:rank=32+distill:steps=4");
    const char *text = ladder();
    CHECK_HAS(text, "5: 4 steps of distillation instead of 200; not run:");
    /* No steps leave every bit as it is. */
    CHECK_HAS(csv(), "distill:steps=0,batch=3\",\"OK\",,,,,,,,,,,,,,1,1,1,");
    CHECK_HAS(csv(), "distill:steps=4\",\"OK\"");
    CHECK_HAS(text, "gain %");
}

TEST(a_distilled_chain_alone_says_what_to_run_for_a_comparison)
{
    sweep("--method gsq:bits=5+lowrank:rank=32+distill:steps=1");
    CHECK_HAS(ladder(), "nothing to compare with; not run: ucbench sweep");
    CHECK_HAS(csv(), "\"distillation\",\"gsq:bits=5+lowrank:rank=32\"");
}

TEST(a_contaminated_cell_is_marked_in_the_ladder)
{
    sqlite3 *handle;
    sweep("--method gsq:bits=5+lowrank:rank=32+distill:steps=1");
    CHECK(strstr(ladder(), "[contaminated]") == NULL);
    CHECK_EQ(sqlite3_open(database(), &handle), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(handle,
                          "UPDATE cells SET calib = 'wikitext-test:n=32,ctx=512,seed=123 "
                          "0123456789ab' WHERE calib <> ''",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(handle);
    CHECK_HAS(ladder(), "distill:steps=1 [contaminated]");
}

TEST(a_task_that_was_not_run_is_missing_and_one_per_word_is_refused)
{
    ucb_tiny_model(model_path());
    RUN(0,
        "sweep --quiet --data mini --model %s --task "
        "wikitext-words:ctx=64,n=1 --db %s --method nf4",
        model_path(), database());
    RUN(3, "report ladder --db %s --out %s --task lambada", database(), ucb_test_folder());
    CHECK_HAS(out, "no results of --task lambada");
    RUN(2, "report ladder --db %s --out %s", database(), ucb_test_folder());
    CHECK_HAS(out, "per word");
}

/* One definition of a paired ratio: that of the metrics. */
TEST(the_ratio_against_the_original_is_the_stored_one_to_the_bit)
{
    struct ucb_store *store = NULL;
    struct ucb_arena arena;
    struct ucb_err err;
    struct ucb_ladder_cells cells;
    struct ucb_estimate ratio;
    ucb_arena_init(&arena);
    sweep("--method nf4 --method gsq:bits=3 --task lambada:n=9");
    CHECK_OK(ucb_store_open(database(), UCB_STORE_READ, &store, &err), err);
    for (int passage = 0; passage < 2; passage++) {
        struct ucb_report_job job = {.store = store,
                                     .database = database(),
                                     .task = passage ? "lambada" : "lambada-windows",
                                     .arena = &arena};
        CHECK_OK(ucb_ladder_cells_load(&job, "lambada-windows", &cells, &err), err);
        CHECK_EQ(cells.n_cells, 3);
        const struct ucb_ladder_cell *original = ucb_ladder_exact(&cells, model_path(),
                                                                  "none"),
                                     *cell = ucb_ladder_exact(&cells, model_path(), "nf4");
        CHECK(original != NULL && cell != NULL);
        CHECK_OK(ucb_ladder_ratio(&job, &cells, cell, original, &ratio, &err), err);
        const struct ucb_estimate *stored = &cell->metrics[UCB_LADDER_ppl_ratio];
        CHECK(ratio.value == stored->value);
        CHECK(ratio.low == stored->low);
        CHECK(ratio.high == stored->high);
    }
    ucb_store_close(store);
    ucb_arena_free(&arena);
}

/* What docs/distillation.md says of the two tiers of 5 bits. */
TEST(tier_5_plus_decodes_to_the_weights_of_tier_5)
{
    sqlite3 *handle;
    sqlite3_stmt *rows;
    sweep("--method gsq:bits=5+lowrank:rank=16+distill:steps=3 --method "
          "gsq:bits=5+lowrank:rank=16,store=packed+distill:steps=3");
    CHECK_EQ(sqlite3_open(database(), &handle), SQLITE_OK);
    CHECK_EQ(
        sqlite3_prepare_v2(handle,
                           "SELECT count(*), count(DISTINCT weights_digest) FROM cells "
                           "WHERE spec LIKE '%+distill%' AND status = 'OK'",
                           -1, &rows, NULL),
        SQLITE_OK);
    CHECK_EQ(sqlite3_step(rows), SQLITE_ROW);
    CHECK_EQ(sqlite3_column_int(rows, 0), 2);
    CHECK_EQ(sqlite3_column_int(rows, 1), 1);
    sqlite3_finalize(rows);
    sqlite3_close(handle);
}

TEST(several_models_make_a_cohort_with_an_interval)
{
    const char *second = ucb_test_path("%s/second", ucb_test_folder());
    sweep("--method nf4:double_quant=1");
    ucb_tiny_model_scaled(second, 1.5f);
    RUN(0,
        "sweep --quiet --data mini --model %s --task "
        "lambada-windows:n=5,seed=42 --db %s --method "
        "nf4:double_quant=1",
        second, database());
    RUN(0, "report ladder --db %s --out %s --model %s --model %s", database(),
        ucb_test_folder(), model_path(), second);
    const char *row = strstr(csv(), "\"cohort\",\"bnb_nf4\"");
    CHECK(row != NULL);
    double agree, low, high;
    const char *claimed = strstr(row, ",0.851");
    CHECK(claimed != NULL); /* the claimed agreement, then the measured one */
    CHECK_EQ(sscanf(claimed, ",%*[^,],%lf,%lf,%lf", &agree, &low, &high), 3);
    CHECK(low < agree && agree < high);
    CHECK_HAS(row, ",\"0 of 6 (rows)\",2,");
}

TEST(cells_that_do_not_share_their_items_are_refused_by_name)
{
    sqlite3 *handle;
    sweep("--method nf4:double_quant=1");
    CHECK_EQ(sqlite3_open(database(), &handle), SQLITE_OK);
    CHECK_EQ(
        sqlite3_exec(handle,
                     "DELETE FROM items WHERE item = 1 AND cell_key = (SELECT cell_key "
                     "FROM cells WHERE spec = 'none')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(handle);
    RUN(3, "report ladder --db %s --out %s --model %s", database(), ucb_test_folder(),
        model_path());
    CHECK_HAS(out, "not scored on the same items");
}

/* ---- layers ---- */

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part)) n++;
    return n;
}

TEST(the_table_says_what_tuning_did_and_lists_every_layer)
{
    sweep("--method nf4 --method gsq:bits=3+lowrank:rank=4+distill:steps=20,batch=3");
    RUN(0, "report table --db %s --out %s", database(), ucb_test_folder());
    CHECK_HAS(out, "What tuning did, layer by layer (layers.csv)");
    CHECK_HAS(out, "layer loss fell by ");
    CHECK_HAS(out, "0 of 2 layers worse; ");
    const char *rows = ucb_test_content("layers.csv");
    CHECK_EQ(count(rows, "distill:steps=20"), 2);
    CHECK_EQ(count(rows, "nf4"), 0);
}

TEST(the_page_has_a_table_of_the_tuned_layers)
{
    if (access("/usr/bin/gnuplot", X_OK) != 0) SKIP("gnuplot is not installed");
    sweep("--method gsq:bits=3+lowrank:rank=4+distill:steps=2,batch=3");
    RUN(0, "report html --db %s --out %s", database(), ucb_test_folder());
    const char *page = ucb_test_content("report.html");
    CHECK_HAS(page, "<h2 id=\"layers\">");
    CHECK_EQ(count(page, "<tr><th scope=\"row\" data-v=\""), 2);
}

TEST(without_tuned_layers_no_report_speaks_of_them)
{
    sweep("--method nf4");
    RUN(0, "report table --db %s --out %s", database(), ucb_test_folder());
    CHECK(strstr(out, "What tuning did") == NULL);
    CHECK(access(ucb_test_path("%s/layers.csv", ucb_test_folder()), F_OK) != 0);
}

/* ---- reports/ladder.csv ---- */

static ucb_status parse(const char *text, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_ladder ladder_rows;
    ucb_arena_init(&arena);
    ucb_status status = ucb_ladder_parse(text, strlen(text), &arena, &ladder_rows, err);
    ucb_arena_free(&arena);
    return status;
}

#define HEADER                                                             \
    "section,name,spec,bpw,t1_ret,t1_agree,ppl_ratio,catastrophic,claims," \
    "discrepancies,note\n"

TEST(a_ladder_file_with_a_mistake_is_refused_with_its_line)
{
    struct ucb_err err;
    CHECK_OK(parse(HEADER "tier,6,gsq:bits=6,6,96.72,,1.0024,,,,\n", &err), err);
    CHECK_STATUS(parse("section,name\n", &err), UCB_CORRUPT, err);
    CHECK_STATUS(parse(HEADER "tier,6,gsq:bits=6,6,96.72\n", &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "line 2");
    CHECK_STATUS(parse(HEADER "tier,6,gsq:bits=6,six,,,,,,,\n", &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "six");
    CHECK_STATUS(parse(HEADER "tier,6,gsq:bots=6,6,,,,,,,\n", &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "gsq:bots=6");
}

/* Every discrepancy that a row names is explained. */
TEST(the_ladder_file_of_the_program_explains_every_discrepancy_it_names)
{
    struct ucb_arena arena;
    struct ucb_ladder l;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_ladder_load(&arena, &l, &err), err);
    size_t n_tiers = 0, n_methods = 0;
    for (size_t i = 0; i < l.n_rows; i++) {
        n_tiers += strcmp(l.rows[i].section, "tier") == 0;
        n_methods += strcmp(l.rows[i].section, "method") == 0;
        for (const char *at = l.rows[i].discrepancies; *at != '\0'; at += strspn(at, " ")) {
            size_t n = strcspn(at, " ");
            bool known = false;
            for (size_t k = 0; k < l.n_rows; k++)
                known |= strcmp(l.rows[k].section, "note") == 0 &&
                         strlen(l.rows[k].name) == n &&
                         strncmp(l.rows[k].name, at, n) == 0 && l.rows[k].note[0] != '\0';
            if (!known) ucb_test_fail(__FILE__, __LINE__, "no note for %.*s", (int)n, at);
            at += n;
        }
    }
    CHECK_EQ(n_tiers, 5);
    CHECK_EQ(n_methods, 8);
    ucb_arena_free(&arena);
}
