/*
 * gate: exit codes, which run is meant, what trips, what is stored, the schema of --json.
 */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "made_up.h"
#include "tiny.h"

static char out[1 << 18];

/* Two builds that found the same: run 1 of build1, run 2 of build2. */
static const char *two_runs(void)
{
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    made_up_database(db, "build1", false);
    made_up_database(db, "build2", false);
    made_up_change(db,
                   "UPDATE runs SET started = '2026-11-2' || run_id || 'T01:00:00.000Z'");
    return db;
}

/* The cells of the second build with this spec. */
#define SECOND(spec) \
    "(SELECT cell_key FROM cells WHERE build_id = 'build2' AND spec = '" spec "')"

/* Of 0.05 to 0.15 nats a token, in one method of run 2. */
static void plant_a_loss(const char *db)
{
    made_up_change(db,
                   "UPDATE items SET sum_logp = sum_logp - 0.05 * n_tokens * (1 + item % 3)"
                   " WHERE cell_key IN " SECOND("nf4"));
}

TEST(equal_digests_pass_and_one_build_is_no_evidence)
{
    const char *db = two_runs();
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK(strncmp(out, "pass: night 2026-11-22, run 2 against 1: 40 cells: ", 50) == 0);
    CHECK_HAS(out, "bit-identical");
    CHECK(strstr(out, "the same row") == NULL);
    made_up_database(db, "build2", false); /* run 3 adopts the rows of run 2 */
    RUN(0, "gate --db %s --baseline 2 --candidate latest", db);
    CHECK_HAS(out, "the same row");
    CHECK_HAS(out, "equal rows are no evidence");
    CHECK_EQ(made_up_ask(db, "SELECT count(*) FROM evidence"), 0);
}

TEST(a_run_is_named_by_number_build_latest_or_previous)
{
    const char *db = two_runs();
    RUN(0, "gate --db %s --baseline build1 --candidate build2", db);
    CHECK_HAS(out, "run 2 against 1");
    RUN(0, "gate --db %s --baseline previous", db);
    CHECK_HAS(out, "run 2 against 1");
    RUN(2, "gate --db %s --baseline 7", db);
    CHECK_HAS(out, "7: no such run");
    CHECK_HAS(out, "build build1");
    RUN(2, "gate --db %s --baseline 1 --candidate 9", db);
    RUN(2, "gate --db %s --baseline build", db);
    CHECK_HAS(out, "fits 2 builds");
    RUN(2, "gate --db %s --baseline previous --candidate 1", db);
    RUN(2, "gate --db %s", db);
    CHECK_HAS(out, "--baseline");
    RUN(2, "gate --baseline 1");
    RUN(2, "gate --db %s --baseline 1 --alpha 2", db);
    RUN(2, "gate --db %s --baseline 1 --night today", db);
    RUN(2, "gate --db %s --baseline 1 --timings maybe", db);
    RUN(2, "gate --db %s --baseline 1 --band-ppl 2", db);
    RUN(3, "gate --db %s.no --baseline 1", db);
}

TEST(a_planted_loss_trips_the_gate_and_its_opposite_does_not)
{
    const char *db = two_runs();
    plant_a_loss(db);
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK(strncmp(out, "regression: ", 12) == 0);
    CHECK_HAS(out, "! worse        smollm2-135m/nf4/lambada");
    CHECK_HAS(out, "Holm");
    RUN(0, "gate --db %s --baseline 2 --candidate 1", db);
    CHECK_HAS(out, "better");
    RUN(0, "gate --db %s --baseline 1 --candidate 2 --band-ppl 0.01,100", db);
    CHECK_HAS(out, "equivalent");
}

TEST(a_change_that_cannot_be_decided_warns_and_trips_only_a_strict_gate)
{
    const char *db = two_runs();
    made_up_change(db,
                   "UPDATE items SET target_correct = 1 - target_correct WHERE item = 3 AND"
                   " cell_key IN " SECOND("nf4"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK(strncmp(out, "warning: ", 9) == 0);
    CHECK_HAS(out, "would decide");
    RUN(1, "gate --db %s --baseline 1 --candidate 2 --strict", db);
}

TEST(a_cell_that_is_missing_or_failed_trips_the_gate_with_its_message)
{
    const char *db = two_runs();
    made_up_change(db,
                   "DELETE FROM run_cells WHERE run_id = 2 AND cell_key IN " SECOND("fp4"));
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "! missing      smollm2-135m/fp4/lambada");
    RUN(0, "gate --db %s --baseline 2 --candidate 1", db);
    CHECK_HAS(out, "new          smollm2-135m/fp4/lambada");
    db = ucb_test_path("%s/f.db", ucb_test_folder());
    made_up_database(db, "build1", false);
    made_up_database(db, "build2", false);
    made_up_change(
        db, "UPDATE cells SET status = 'FAILED', message = 'no <room> & no time' WHERE"
            " cell_key IN " SECOND("int8"));
    RUN(1, "gate --db %s --baseline 1 --candidate 2 --out %s/night", db, ucb_test_folder());
    CHECK_HAS(out, "! failed       smollm2-135m/int8/lambada");
    CHECK_HAS(out, "no <room> & no time");
    RUN(0, "gate --db %s --baseline 2 --candidate 1", db);
    CHECK_HAS(out, "recovered");
}

TEST(other_weights_with_equal_scores_and_other_sizes_are_told)
{
    const char *db = two_runs();
    made_up_change(
        db, "UPDATE cells SET weights_digest = 'other' WHERE cell_key IN " SECOND("int8"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "every score is the same bits; the decoded weights are other bits");
    made_up_change(db, "UPDATE sizes SET codes_bytes = codes_bytes + 1000000 WHERE"
                       " cell_key IN " SECOND("fp4"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "bits per weight ");
    CHECK(strncmp(out, "warning: ", 9) == 0);
}

TEST(metrics_that_contradict_equal_scores_trip_the_gate_when_they_are_worse)
{
    const char *db = two_runs();
    made_up_change(
        db, "UPDATE metrics SET value = value * 1.0005 WHERE metric = 'ppl' AND cell_key"
            " IN " SECOND("nf4"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "what was made of the scores (metrics, intervals) is not");
    made_up_change(
        db, "UPDATE metrics SET value = value * 1.1 WHERE metric = 'ppl' AND cell_key IN"
            " " SECOND("nf4"));
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "every score is the same bits, but its metrics are worse: ppl");
}

TEST(a_metric_that_is_no_number_any_more_is_worse_and_one_that_was_none_is_not)
{
    static const char *const metrics[][2] = {
        {"ppl", "ppl ratio"}, {"accuracy", "accuracy"}, {"kld_mean", "KLD mean"}};
    for (size_t k = 0; k < 3; k++) {
        const char *db = ucb_test_path("%s/%s.db", ucb_test_folder(), metrics[k][0]);
        made_up_database(db, "build1", false);
        made_up_database(db, "build2", false);
        made_up_change(
            db, ucb_test_path("UPDATE metrics SET value = NULL WHERE metric = '%s' AND"
                              " cell_key IN " SECOND("nf4"),
                              metrics[k][0]));
        RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
        CHECK_HAS(out, ucb_test_path("its metrics are worse: %s", metrics[k][1]));
        RUN(0, "gate --db %s --baseline 2 --candidate 1", db);
    }
}

TEST(a_run_against_itself_and_a_run_without_an_end_are_told)
{
    const char *db = two_runs();
    RUN(0, "gate --db %s --baseline 2 --candidate 2", db);
    CHECK_HAS(out, "; a run held against itself");
    CHECK(strstr(out, "one build") == NULL && strstr(out, "has no end") == NULL);
    made_up_change(db, "UPDATE runs SET ended = NULL WHERE run_id = 1");
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "; the baseline has no end, it was killed or still goes on");
    CHECK(strstr(out, "the run has no end") == NULL);
    RUN(0, "gate --db %s --baseline 2 --candidate 1", db);
    CHECK_HAS(out, "; the run has no end");
    CHECK(strstr(out, "the baseline has no end") == NULL);
}

TEST(the_name_of_a_cell_has_its_calibration)
{
    const char *db = two_runs();
    made_up_change(db, "UPDATE cells SET calib = 'calib-mini:n=8' WHERE spec = 'nf4'");
    plant_a_loss(db);
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "smollm2-135m/nf4/lambada, calib-mini:n=8");
}

TEST(a_raised_revision_is_matched_by_its_words_and_compared)
{
    const char *db = two_runs();
    made_up_change(db, "UPDATE cells SET cell_id = replace(hex(zeroblob(28)), '0', 'e') ||"
                       " printf('%08d', cell_key) WHERE cell_key IN " SECOND("nf4"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "revision changed");
    CHECK(strstr(out, "missing") == NULL);
    plant_a_loss(db);
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    made_up_change(db,
                   "UPDATE cells SET task_revision = 2 WHERE cell_key IN " SECOND("nf4"));
    RUN(0, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_HAS(out, "not comparable");
    CHECK_HAS(out, "the task's protocol was revised");
}

static json_t *json_of(const char *db, const char *options, int code)
{
    RUN(code, "gate --db %s --json %s", db, options);
    json_t *object = json_loads(out, 0, NULL);
    if (object == NULL) ucb_test_fail(__FILE__, __LINE__, "not JSON: %s", out);
    return object;
}

static void check_keys(json_t *object, const char *const *keys)
{
    size_t n = 0;
    for (; keys[n] != NULL; n++)
        if (json_object_get(object, keys[n]) == NULL)
            ucb_test_fail(__FILE__, __LINE__, "no key %s", keys[n]);
    CHECK_EQ(json_object_size(object), n);
}

TEST(json_has_the_documented_keys)
{
    static const char *const top[] = {"outcome",  "regression",  "line",   "night",
                                      "baseline", "candidate",   "strict", "alpha",
                                      "family",   "wants_rerun", "counts", "cells",
                                      "evidence", "timings",     NULL};
    static const char *const cell[] = {
        "name",           "model",          "spec",         "task",       "scope",
        "calib",          "arithmetic",     "reference",    "seed",       "baseline_cell",
        "candidate_cell", "state",          "revised",      "regression", "verdict",
        "text",           "weights_differ", "size_differs", "documents",  "n_decides",
        "flips_lost",     "flips_won",      "criteria",     "evidence",   NULL};
    const char *db = two_runs();
    plant_a_loss(db);
    json_t *o = json_of(db, "--baseline 1 --candidate 2", 1);
    check_keys(o, top);
    CHECK(json_is_true(json_object_get(o, "regression")));
    CHECK_TEXT(json_string_value(json_object_get(o, "outcome")), "regression");
    json_t *first = json_array_get(json_object_get(o, "cells"), 0);
    check_keys(first, cell);
    CHECK_TEXT(json_string_value(json_object_get(first, "verdict")), "worse");
    json_t *ppl = json_object_get(json_object_get(first, "criteria"), "ppl_ratio");
    CHECK(json_number_value(json_object_get(ppl, "low")) > 1);
    json_decref(o);
}

TEST(json_of_names_and_messages_that_are_not_utf8_has_replacement_characters)
{
    const char *db = two_runs();
    made_up_change(
        db, "UPDATE cells SET model = CAST(x'2f78ff' AS TEXT);"
            "UPDATE cells SET status = 'FAILED', message = CAST(x'c320' AS TEXT) WHERE"
            " cell_key IN " SECOND("int8"));
    made_up_change(db,
                   "INSERT INTO timings VALUES ('2026-11-22', CAST(x'ff' AS TEXT) || '/nf4"
                   " encode', 'candidate', 0, 0, 'b', 1.5)");
    json_t *o = json_of(db, "--baseline 1 --candidate 2", 1), *value;
    size_t i, n_failed = 0;
    json_array_foreach(json_object_get(o, "cells"), i, value)
    {
        CHECK_TEXT(json_string_value(json_object_get(value, "model")), "/x\xef\xbf\xbd");
        CHECK_HAS(json_string_value(json_object_get(value, "name")), "x\xef\xbf\xbd/");
        if (strcmp(json_string_value(json_object_get(value, "state")), "failed") != 0)
            continue;
        n_failed++;
        CHECK_HAS(json_string_value(json_object_get(value, "text")), "\xef\xbf\xbd ");
    }
    CHECK(n_failed > 0);
    json_t *time = json_array_get(json_object_get(o, "timings"), 0);
    CHECK_TEXT(json_string_value(json_object_get(time, "name")), "\xef\xbf\xbd/nf4 encode");
    json_decref(o);
}

TEST(the_page_the_text_the_line_and_the_json_are_written)
{
    const char *db = two_runs();
    struct stat info;
    RUN(0, "gate --db %s --baseline 1 --out %s/night", db, ucb_test_folder());
    static const char *const names[] = {"gate.html", "gate.txt", "gate.json", "line.txt"};
    for (int k = 0; k < 4; k++)
        CHECK_EQ(stat(ucb_test_path("%s/night/%s", ucb_test_folder(), names[k]), &info), 0);
    FILE *page = fopen(ucb_test_path("%s/night/gate.html", ucb_test_folder()), "r");
    CHECK(page != NULL);
    out[fread(out, 1, sizeof(out) - 1, page)] = '\0';
    fclose(page);
    CHECK_HAS(out, "<p class=\"outcome pass\">");
    CHECK_HAS(out, "--accent:");
    CHECK(strstr(out, "{{") == NULL);
    CHECK(strstr(out, "http") == NULL);
}

/* ---- evidence and times, on a real sweep of a made-up model ---- */

static const char *tiny_sweep(const char *name)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/%s", ucb_test_folder(), name);
    struct stat info;
    if (stat(model, &info) != 0) ucb_tiny_model(model);
    RUN(0,
        "sweep --model %s --method none --method nf4 --task lambada:n=40 --noise-floor off "
        "--db %s --quiet",
        model, db);
    return db;
}

/* A copy of run 1 under another build, as run 2. */
static void copy_run(const char *db)
{
    made_up_change(
        db, "INSERT INTO runs SELECT 2, 'other', '2026-11-23T01:00:00.000Z', ended,"
            " command_line, environment FROM runs;"
            "UPDATE cells SET weights_digest = 'x' WHERE 0;"
            "CREATE TEMP TABLE c AS SELECT * FROM cells;"
            "UPDATE c SET cell_key = cell_key + 100, build_id = 'other';"
            "INSERT INTO cells SELECT * FROM c;"
            "CREATE TEMP TABLE i AS SELECT * FROM items;"
            "UPDATE i SET cell_key = cell_key + 100; INSERT INTO items SELECT * FROM i;"
            "CREATE TEMP TABLE m AS SELECT * FROM metrics;"
            "UPDATE m SET cell_key = cell_key + 100; INSERT INTO metrics SELECT * FROM m;"
            "INSERT INTO run_cells SELECT 2, cell_key + 100 FROM run_cells");
}

TEST(evidence_is_stored_once_a_night_and_a_new_baseline_starts_anew)
{
    const char *db = tiny_sweep("r.db");
    copy_run(db);
    made_up_change(db, "UPDATE items SET target_correct = 1 WHERE cell_key < 100;"
                       "UPDATE items SET target_correct = 0 WHERE cell_key > 100");
    RUN(1, "gate --db %s --baseline 1 --candidate 2 --read-only", db);
    CHECK_HAS(out, "not recorded");
    CHECK_EQ(made_up_ask(db, "SELECT count(*) FROM evidence"), 0);
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_EQ(made_up_ask(db, "SELECT sum(n_lost) FROM evidence"),
             8); /* a tenth of two cells */
    CHECK_EQ(made_up_ask(db, "SELECT min(night = '2026-11-23') FROM evidence"), 1);
    RUN(1, "gate --db %s --baseline 1 --candidate 2", db);
    CHECK_EQ(made_up_ask(db, "SELECT sum(n_lost) FROM evidence"), 8);
    for (int night = 1; night <= 4; night++)
        RUN(1, "gate --db %s --baseline 1 --candidate 2 --night 2026-12-%02d", db, night);
    CHECK_EQ(made_up_ask(db, "SELECT sum(n_lost) FROM evidence"), 40);
    CHECK_HAS(out, "ALARM: E = 38.3"); /* 1.2^20 */
    CHECK_EQ(made_up_ask(db, "SELECT sum(length(items)) FROM evidence"), 4 * 40);
    RUN(0, "gate --db %s --baseline 2 --candidate 1 --night 2026-12-05", db);
    CHECK_EQ(made_up_ask(db, "SELECT count(*) FROM evidence WHERE baseline_run = 2"), 2);
    CHECK_HAS(out, "72 of 80 items still to be fed");
}

TEST(times_are_taken_from_small_sweeps_and_replaced_when_taken_again)
{
    const char *db = tiny_sweep("r.db"), *a = tiny_sweep("a.db"), *b = tiny_sweep("b.db");
    made_up_change(a, "UPDATE metrics SET value = 1.5 WHERE metric = 'encode_seconds'");
    made_up_change(b, "UPDATE metrics SET value = 3 WHERE metric = 'encode_seconds'");
    RUN(0,
        "gate --db %s --baseline 1 --night 2026-11-23 --baseline-times %s --candidate-times %s",
        db, a, b);
    CHECK_HAS(out, "with too few nights");
    CHECK_EQ(made_up_ask(
                 db, "SELECT seconds FROM timings WHERE name = 'tiny/nf4 encode' AND side ="
                     " 'candidate'"),
             3);
    RUN(0, "gate --db %s --baseline 1 --night 2026-11-23 --candidate-times %s", db, a);
    CHECK_EQ(made_up_ask(
                 db, "SELECT 10 * seconds FROM timings WHERE name = 'tiny/nf4 encode' AND"
                     " side = 'candidate'"),
             15);
    RUN(3, "gate --db %s --baseline 1 --candidate-times %s.no", db, a);
    RUN(2, "gate --db %s --baseline 1 --read-only --candidate-times %s", db, a);
}

TEST(a_planted_slowdown_trips_the_gate_once_its_rerun_confirms_it)
{
    const char *db = two_runs();
    made_up_change(
        db,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 22)"
        "INSERT INTO timings SELECT date('2026-11-21', '+' || i || ' days'), 'm/nf4 encode',"
        " side, 0, 0, side, CASE WHEN side = 'candidate' AND i >= 19 THEN 1.05 ELSE 1 END"
        " + 0.001 * (i % 5) FROM n, (SELECT 'baseline' AS side UNION SELECT 'candidate')");
    RUN(0, "gate --db %s --baseline 1 --night 2026-12-13", db);
    CHECK_HAS(out, "slower, unconfirmed: +5.0% since 2026-12-10");
    CHECK_HAS(out, "--rerun");
    made_up_change(
        db, "INSERT INTO timings SELECT night, name, side, 1, 0, build_id, seconds FROM"
            " timings WHERE night = '2026-12-13'");
    RUN(1, "gate --db %s --baseline 1 --night 2026-12-13", db);
    CHECK_HAS(out, "slower, confirmed by a rerun");
    RUN(0, "gate --db %s --baseline 1 --night 2026-12-13 --timings off", db);
}

TEST(the_history_is_drawn_and_drawn_again_the_same)
{
    const char *db = two_runs();
    struct stat info;
    made_up_change(
        db, "UPDATE metrics SET value = value * 1.1 WHERE metric = 'ppl' AND cell_key IN"
            " " SECOND("nf4"));
    made_up_change(
        db, "INSERT INTO timings VALUES ('2026-11-21', 'm/nf4 encode', 'candidate', 0, 0,"
            " 'b', 1.5), ('2026-11-22', 'm/nf4 encode', 'candidate', 0, 0, 'b', 1.6)");
    RUN(0, "report history --db %s --out %s/1", db, ucb_test_folder());
    RUN(0, "report history --db %s --out %s/2 --json", db, ucb_test_folder());
    static const char *const kinds[] = {"tsv", "gp", "svg", "png"};
    for (int k = 0; k < 8; k++) {
        const char *name = ucb_test_path("history-%s.%s", k < 4 ? "quality" : "times",
                                         kinds[k % 4]);
        CHECK_EQ(stat(ucb_test_path("%s/1/%s", ucb_test_folder(), name), &info), 0);
        CHECK(info.st_size > 0);
    }
    CHECK_EQ(
        system(ucb_test_path("diff -r %s/1 %s/2", ucb_test_folder(), ucb_test_folder())),
        0);
    RUN(3, "report history --db %s --out %s/3 --task nothing", db, ucb_test_folder());
}

/* Points of a table of the history that begin a level, or differ from the one before. */
static size_t n_changed(const char *table, size_t *n_panels)
{
    size_t n = 0;
    char *line = strtok((char *)(uintptr_t)ucb_test_content(table), "\n");
    for (*n_panels = 0; line != NULL; line = strtok(NULL, "\n")) {
        *n_panels += line[0] == '#' && strncmp(line, "# panel", 7) != 0;
        n += line[0] != '#' && line[strlen(line) - 1] == '1';
    }
    return n;
}

static void insert_times(const char *db, int n, int slow_at)
{
    made_up_change(
        db, ucb_test_path(
                "DELETE FROM timings; WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL"
                " SELECT i + 1 FROM n WHERE i < %d) INSERT INTO timings SELECT"
                " date('2026-11-22', '+' || i || ' days'), 'm/nf4 encode', 'candidate',"
                " 0, 0, 'b', CASE WHEN i >= %d THEN 1.05 ELSE 1 END + 0.001 * (i %% 5)"
                " FROM n",
                n - 1, slow_at));
}

TEST(the_history_marks_a_new_level_of_times_exactly_where_the_gate_finds_one)
{
    const char *db = two_runs();
    size_t n_panels;
    /* Two of the 70 ways to split 8 nights are as extreme: 3%,
     * too often for every night. */
    insert_times(db, 8, 4);
    RUN(0, "gate --db %s --baseline 1 --night 2026-11-29", db);
    CHECK(strstr(out, "unconfirmed") == NULL);
    RUN(0, "report history --db %s --out %s", db, ucb_test_folder());
    CHECK_EQ(n_changed("history-times.tsv", &n_panels), 0);
    insert_times(db, 22, 18);
    RUN(0, "gate --db %s --baseline 1 --night 2026-12-13", db);
    CHECK_HAS(out, "slower, unconfirmed: +5.0% since 2026-12-10");
    RUN(0, "report history --db %s --out %s", db, ucb_test_folder());
    CHECK_EQ(n_changed("history-times.tsv", &n_panels), 1);
    CHECK_EQ(n_panels, 1);
    /* Nights that the gate does not look back to have no level. */
    insert_times(db, 100, 30);
    RUN(0, "report history --db %s --out %s", db, ucb_test_folder());
    CHECK_EQ(n_changed("history-times.tsv", &n_panels), 0);
}

TEST(a_cell_of_other_bytes_keeps_its_panel_and_cells_of_two_seeds_have_two)
{
    const char *db = two_runs();
    size_t n_panels, n_same;
    RUN(0, "report history --db %s --out %s --metric ppl", db, ucb_test_folder());
    CHECK_EQ(n_changed("history-quality.tsv", &n_panels), 0);
    made_up_change(db, "UPDATE sizes SET codes_bytes = 3 * codes_bytes WHERE cell_key IN"
                       " " SECOND("nf4"));
    RUN(0, "report history --db %s --out %s --metric ppl", db, ucb_test_folder());
    CHECK_EQ(n_changed("history-quality.tsv", &n_same), 0);
    CHECK_EQ(n_same, n_panels);
    made_up_change(db, "UPDATE cells SET seed = 7 WHERE cell_key IN " SECOND("nf4"));
    RUN(0, "report history --db %s --out %s --metric ppl", db, ucb_test_folder());
    CHECK_HAS(ucb_test_content("history-quality.tsv"), ", seed 7, lambada: ppl");
    n_changed("history-quality.tsv", &n_same);
    CHECK_EQ((long long)made_up_ask(db, "SELECT count(*) FROM cells WHERE seed = 7"),
             (long long)(n_same - n_panels));
}
