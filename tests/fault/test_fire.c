/*
 * Exactly once, under fire: sweeps that are killed at random instants and started again,
 * and sweeps that share a database, end with the cells of a sweep that was left alone: none
 * lost, none double, none changed.
 */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "fault/fire.h"
#include "tiny.h"

/* The tests of the layer kill this often in all;
 * `make fire` does 200 in each kind of work. */
enum { FEW_KILLS = 25, MANY_KILLS = 200, MOST_OF_ONE_RUN = 12 };

/* Sweeps that store cell after cell, with hidden states in files. */
static const char storing[] =
    "--task lambada:n=8 --task wikitext:ctx=64,n=3 --memory 1M --method nf4 --method int8 "
    "--method hqq:bits=4,group=64 --method gptq:bits=4,group=64";
/* Sweeps whose time is spent tuning, with finished layers kept. */
static const char tuning[] =
    "--task lambada:n=8 --calib calib-mini:n=8,ctx=48 "
    "--method gsq:bits=3+lowrank:rank=8+distill:steps=30,batch=4 "
    "--method gsq:bits=3+lowrank:rank=8+distill:steps=15,batch=4,train=all,online=1";

static const char *in_folder(const char *name)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), name);
}

static const char *sweep(const char *name, const char *work)
{
    return ucb_test_path(
        "sweep --quiet --data mini --threads 1 --model %s --cache %s/cache "
        "--db %s/r.db %s",
        in_folder("tiny"), in_folder(name), in_folder(name), work);
}

/* A folder of its own for one run of the work, with a database of the first schema. */
static void make_place(const char *name)
{
    struct ucb_err err;
    CHECK_OK(ucb_folder_make(in_folder(name), &err), err);
    fire_old_database(ucb_test_path("%s/r.db", in_folder(name)));
}

static const char *digest(const char *name)
{
    static char out[1 << 12];
    CHECK_EQ(ucb_run_program(out, sizeof(out), "digest --db %s/r.db", in_folder(name)), 0);
    return ucb_test_path("%.64s", out);
}

static void remove_place(const char *name)
{
    CHECK_EQ(system(ucb_test_path("rm -r %s", in_folder(name))), 0);
}

static void check_place(const char *name, const char *expected)
{
    fire_check_equal(ucb_test_path("%s/r.db", in_folder(name)),
                     ucb_test_path("%s/r.db", in_folder(expected)));
    CHECK_TEXT(digest(name), digest(expected));
    fire_check_tidy(in_folder(name));
}

static void kill_often(const char *work)
{
    unsigned n_kills = 0, n_sweeps = 0, seed = 1,
             wanted = fire_is_long() ? MANY_KILLS : FEW_KILLS;
    double seconds;
    ucb_tiny_model(in_folder("tiny"));
    make_place("whole");
    fire_finish(in_folder("log"), sweep("whole", work), &seconds);
    for (; n_kills < wanted; n_sweeps++) {
        unsigned left = wanted - n_kills;
        make_place("killed");
        n_kills += fire_until_done(in_folder("log"), sweep("killed", work), seconds,
                                   left < MOST_OF_ONE_RUN ? left : MOST_OF_ONE_RUN, &seed);
        check_place("killed", "whole");
        remove_place("killed");
    }
    printf(" %u kills in %u sweeps of %.1f s", n_kills, n_sweeps, seconds);
}

TEST(sweeps_killed_while_they_migrate_and_store_end_with_every_cell_once)
{
    kill_often(storing);
}

TEST(sweeps_killed_while_they_tune_end_with_every_cell_once)
{
    kill_often(tuning);
}

/* ---- two and more on one database ---- */

/* Every writer finds or makes each of its cells; readers look meanwhile, one of which
 * stores claims. */
static void hammer(const char *const *work, size_t n_writers, const char *all)
{
    static const char *const looks[] = {"report table --db %s/r.db --out %s/table",
                                        "export --db %s/r.db --format json --out %s/o.json",
                                        "digest --db %s/r.db", "list runs --db %s/r.db",
                                        "report claims --db %s/r.db --out %s/claims"};
    pid_t writer[8];
    char log[1024];
    size_t n_looks = 0;
    snprintf(log, sizeof(log), "%s/log", in_folder("shared"));
    for (size_t i = 0; i < n_writers; i++)
        writer[i] = fire_start(log, sweep("shared", work[i]));
    for (; n_looks < 10; n_looks++) {
        char words[2048];
        const char *place = in_folder("shared");
        snprintf(words, sizeof(words), looks[n_looks % 5], place, place);
        fire_finish(log, words, NULL);
    }
    for (size_t i = 0; i < n_writers; i++) CHECK_EQ(fire_wait(writer[i]), 0);
    fire_finish(log, sweep("shared", all), NULL); /* finds all, and counts all as its own */
    struct ucb_file text;
    struct ucb_err err;
    CHECK_OK(ucb_file_map(log, &text, &err), err);
    char *words = strndup((const char *)text.data, text.n_bytes);
    CHECK(strstr(words, "locked") == NULL);
    CHECK(strstr(words, " 0 new") != NULL);
    free(words);
    ucb_file_unmap(&text);
}

static const char overlap_all[] =
    "--task lambada:n=8 --task wikitext:ctx=64,n=3 --method nf4 --method int8 "
    "--method hqq:bits=4,group=64";
static const char *const overlapping[] = {
    overlap_all, "--task lambada:n=8 --task wikitext:ctx=64,n=3 --method nf4 --method int8",
    "--task wikitext:ctx=64,n=3 --method int8 --method hqq:bits=4,group=64",
    "--task lambada:n=8 --method hqq:bits=4,group=64 --method nf4", overlap_all};

TEST(sweeps_of_equal_and_overlapping_plans_share_a_database_and_readers_look_on)
{
    unsigned n_rounds = fire_is_long() ? 40 : 2;
    size_t n_writers = fire_is_long() ? 5 : 3;
    ucb_tiny_model(in_folder("tiny"));
    make_place("whole");
    fire_finish(in_folder("log"), sweep("whole", overlap_all), NULL);
    for (unsigned round = 0; round < n_rounds; round++) {
        make_place("shared");
        /* Readers refuse a schema of the past: the first sweep brings it to this one. */
        fire_finish(in_folder("log"), sweep("shared", "--task lambada:n=8"), NULL);
        hammer(overlapping, n_writers - round % 2, overlap_all);
        check_place("shared", "whole");
        remove_place("shared");
    }
}

/* Each keeps the layers it tuned, under the same names, and takes those of the other. */
TEST(sweeps_that_tune_share_a_database_and_the_layers_in_the_cache)
{
    unsigned n_rounds = fire_is_long() ? 40 : 2;
    ucb_tiny_model(in_folder("tiny"));
    make_place("whole");
    fire_finish(in_folder("log"), sweep("whole", tuning), NULL);
    for (unsigned round = 0; round < n_rounds; round++) {
        pid_t writer[3];
        make_place("shared");
        for (size_t i = 0; i < 3; i++)
            writer[i] = fire_start(in_folder("log"), sweep("shared", tuning));
        for (size_t i = 0; i < 3; i++) CHECK_EQ(fire_wait(writer[i]), 0);
        fire_finish(in_folder("log"), sweep("shared", tuning), NULL);
        check_place("shared", "whole");
        remove_place("shared");
    }
}

TEST(sweeps_that_meet_an_old_database_migrate_it_once)
{
    unsigned n_rounds = fire_is_long() ? 40 : 3;
    ucb_tiny_model(in_folder("tiny"));
    make_place("whole");
    fire_finish(in_folder("log"), sweep("whole", "--task lambada:n=4"), NULL);
    for (unsigned round = 0; round < n_rounds; round++) {
        pid_t writer[3];
        make_place("shared");
        for (size_t i = 0; i < 3; i++)
            writer[i] = fire_start(in_folder("log"), sweep("shared", "--task lambada:n=4"));
        for (size_t i = 0; i < 3; i++) CHECK_EQ(fire_wait(writer[i]), 0);
        fire_finish(in_folder("log"), sweep("shared", "--task lambada:n=4"), NULL);
        check_place("shared", "whole");
        remove_place("shared");
    }
}

TEST(a_sweep_that_waits_for_another_process_says_so_and_then_goes_on)
{
    sqlite3 *db = NULL;
    ucb_tiny_model(in_folder("tiny"));
    make_place("shared");
    fire_finish(in_folder("log"), sweep("shared", "--task lambada:n=4"), NULL);
    CHECK_EQ(sqlite3_open(ucb_test_path("%s/r.db", in_folder("shared")), &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    pid_t writer = fire_start(in_folder("waits"),
                              sweep("shared", "--task lambada:n=4 --method nf4"));
    const char *look = ucb_test_path("grep -q 'r.db: another process is using it, waiting' "
                                     "%s",
                                     in_folder("waits"));
    for (int i = 0; i < 600 && system(look) != 0; i++) usleep(100000); /* says it in 3 s */
    CHECK_EQ(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_EQ(fire_wait(writer), 0);
    CHECK_EQ(system(look), 0);
}

/* ---- what is not in the database ---- */

TEST(a_pack_that_was_killed_while_it_was_made_is_absent_or_whole)
{
    static char out[1 << 14];
    unsigned wanted = fire_is_long() ? MANY_KILLS : FEW_KILLS, seed = 1000, n_whole = 0;
    double seconds;
    struct ucb_err err;
    ucb_tiny_model(in_folder("tiny"));
    CHECK_OK(ucb_folder_make(in_folder("packs"), &err), err);
    const char *words = ucb_test_path(
        "pack --model %s --method nf4 --cache %s --out %s/p.ucb", in_folder("tiny"),
        in_folder("cache"), in_folder("packs"));
    char command[2048];
    snprintf(command, sizeof(command), "%s", words);
    fire_finish(in_folder("log"), command, &seconds);
    for (unsigned n = 0; n < wanted; n++) {
        const char *pack = ucb_test_path("%s/p.ucb", in_folder("packs"));
        unlink(pack);
        fire_kill_once(in_folder("log"), command, seconds, seed + n);
        if (access(pack, F_OK) != 0) continue;
        n_whole++;
        CHECK_EQ(ucb_run_program(out, sizeof(out), "verify %s", pack), 0);
    }
    fire_finish(in_folder("log"), command, NULL); /* takes away what the killed ones left */
    fire_check_tidy(in_folder("packs"));
    printf(" %u killed, %u of them with a whole pack", wanted, n_whole);
}

/* The table: charts are drawn by gnuplot, which goes on alone when ucbench is killed. */
TEST(a_report_that_was_killed_leaves_whole_files)
{
    unsigned wanted = fire_is_long() ? MANY_KILLS : FEW_KILLS, seed = 2000;
    double seconds;
    char words[2][2048];
    ucb_tiny_model(in_folder("tiny"));
    make_place("shared");
    fire_finish(in_folder("log"), sweep("shared", storing), NULL);
    for (int i = 0; i < 2; i++)
        snprintf(words[i], sizeof(words[i]), "report table --db %s/r.db --out %s",
                 in_folder("shared"), in_folder(i == 0 ? "whole" : "killed"));
    fire_finish(in_folder("log"), words[0], &seconds);
    for (unsigned n = 0; n < wanted; n++) {
        CHECK_EQ(system(ucb_test_path("rm -rf %s", in_folder("killed"))), 0);
        fire_kill_once(in_folder("log"), words[1], seconds, seed + n);
        CHECK_EQ(system(ucb_test_path("cd %s && for f in *; do [ ! -e ../killed/$f ] || "
                                      "cmp -s $f ../killed/$f || exit 1; done",
                                      in_folder("whole"))),
                 0);
    }
    fire_finish(in_folder("log"), words[1], NULL);
    fire_check_tidy(in_folder("killed"));
}
