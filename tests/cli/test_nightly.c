/* scripts/nightly.sh: what it refuses, keeps and judges, and what it exits with. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "made_up.h"
#include "tiny.h"

static char out[1 << 18];

/* Names with spaces, for a folder may have any. */
static int nightly(const char *before, const char *options)
{
    const char *folder = ucb_test_folder();
    return ucb_run_program(out, sizeof(out),
                           "--version && cd %s && %s sh %s/scripts/nightly.sh --program %s"
                           " --db 'the n.db' --out 'all nights' --plan 'a plan.csv'"
                           " --times-plan 'a plan.csv' --repeats 1 %s",
                           folder, before, ucb_test_root(), ucb_test_program(), options);
}

#define NIGHT_AFTER(expected, before, options)                                          \
    do {                                                                                \
        int code_ = nightly(before, options);                                           \
        if (code_ != (expected))                                                        \
            ucb_test_fail(__FILE__, __LINE__, "exit code %d, expected %d; it said: %s", \
                          code_, (expected), out);                                      \
    } while (0)
#define NIGHT(expected, options) NIGHT_AFTER(expected, "", options)

static void write_plan(const char *method)
{
    const char *folder = ucb_test_folder();
    FILE *plan = fopen(ucb_test_path("%s/a plan.csv", folder), "w");
    CHECK(plan != NULL);
    fprintf(plan,
            "model,method,task\n%s/tiny,none,lambada:n=8\n%s/tiny,\"%s\",lambada:n=8\n",
            folder, folder, method);
    fclose(plan);
}

static bool is_there(const char *name)
{
    struct stat info;
    return stat(ucb_test_path("%s/%s", ucb_test_folder(), name), &info) == 0;
}

TEST(nights_are_swept_timed_and_judged_and_an_accepted_one_is_the_next_baseline)
{
    const char *db = ucb_test_path("%s/the n.db", ucb_test_folder());
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    write_plan("nf4");
    NIGHT(0, "--night 2026-11-22");
    CHECK_HAS(out, "pass: night 2026-11-22, run 1 against 1: 3 cells: 3 the same row");
    CHECK(is_there("all nights/2026-11-22/gate.html"));
    CHECK(is_there("all nights/history-quality.png"));
    CHECK(!is_there("all nights/2026-11-22/work"));
    CHECK(made_up_ask(db, "SELECT count(*) FROM timings") > 0);
    /* Another build, whose scores were better: tonight's are worse. */
    made_up_change(
        db, "UPDATE cells SET build_id = 'old'; UPDATE runs SET build_id = 'old';"
            "UPDATE items SET sum_logp = sum_logp + 0.1 * n_tokens * (1 + item % 3)");
    NIGHT(1, "--night 2026-11-23");
    CHECK_HAS(out, "regression: night 2026-11-23, run 2 against 1: 3 cells: 3 worse");
    CHECK(is_there("the n.db.baseline/ucbench-1"));
    NIGHT(1, "--night 2026-11-24 --accept");
    CHECK_HAS(out, "run 3 is the new baseline");
    CHECK(is_there("the n.db.baseline/ucbench-3"));
    CHECK(!is_there("the n.db.baseline/ucbench-1"));
    NIGHT(0, "--night 2026-11-25");
    CHECK_HAS(out, "run 4 against 3");
}

TEST(a_night_refuses_what_it_cannot_mean_before_it_sweeps)
{
    static const char *const wrong[][2] = {{"--nonsense 3", "no such option"},
                                           {"--plan", "without its value"},
                                           {"--night ../..", "--night ../..: a date"},
                                           {"--night 2026-11-2", "a date"},
                                           {"--repeats none", "--repeats none"},
                                           {"--repeats 0", "from 1 to 64"},
                                           {"--repeats 65", "from 1 to 64"}};
    for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
        NIGHT(2, wrong[k][0]);
        CHECK_HAS(out, wrong[k][1]);
        CHECK(!is_there("the n.db") && !is_there("all nights"));
    }
    /* A full disk and its like are no regression. */
    NIGHT_AFTER(4, "echo > 'all nights' &&", "");
}

TEST(a_cell_that_fails_in_the_timed_sweep_too_is_left_to_the_gate)
{
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    write_plan("hqq:bits=4,group=100"); /* fits no matrix of the model */
    NIGHT(0, "--night 2026-11-22");
    made_up_change(ucb_test_path("%s/the n.db", ucb_test_folder()),
                   "UPDATE cells SET build_id = 'old', status = 'OK', n_items = 8;"
                   "UPDATE runs SET build_id = 'old'");
    NIGHT(1, "--night 2026-11-23");
    CHECK_HAS(out, "regression: night 2026-11-23, run 2 against 1");
    CHECK_HAS(out, "1 failed");
}

TEST(a_night_that_was_killed_goes_on_where_it_was_and_another_waits_for_its_turn)
{
    static const char kept[] = "all nights/2026-11-23/work/first-candidate-0.db";
    const char *folder = ucb_test_folder();
    ucb_tiny_model(ucb_test_path("%s/tiny", folder));
    write_plan("nf4");
    NIGHT(0, "--night 2026-11-22");
    /* Killed by its own gate, after the times were taken. */
    NIGHT(2, "--night 2026-11-23 --gate --nonsense");
    CHECK(is_there(kept));
    /* Another program's night, while this one runs: it touches nothing. */
    CHECK_EQ(system(ucb_test_path("cd %s && echo other > "
                                  "'all nights/2026-11-23/work/version'",
                                  folder)),
             0);
    NIGHT_AFTER(4, "flock 'the n.db.baseline/lock'", "--night 2026-11-23");
    CHECK_HAS(out, "another night is running");
    CHECK(is_there(kept));
    CHECK_EQ(system(ucb_test_path("cd %s && echo > '%s' && cd 'all nights/2026-11-23/work'"
                                  " && echo \"$(%s --version), baseline 1\" > version",
                                  folder, kept, ucb_test_program())),
             0);
    /* The repeat is taken as it lies there, so what was put in its place is found. */
    NIGHT(3, "--night 2026-11-23");
    CHECK_HAS(out, "first-candidate-0.db");
    CHECK_EQ(system(ucb_test_path("rm %s/'%s'", folder, kept)), 0);
    NIGHT(0, "--night 2026-11-23");
}
