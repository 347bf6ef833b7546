/* Store under faults: full disks, foreign files, kill -9, two writers. Nothing that was
 * stored is ever lost. */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "made_up.h"
#include "store/store_internal.h"

static const struct ucb_run_info info = {"b1", "ucbench sweep", "{}"};

/* Cell number k of an endless row of cells: the seed makes each another cell. */
static ucb_status put_numbered(struct ucb_store *store, int64_t run_id, uint64_t k,
                               struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    ucb_arena_init(&arena);
    made_up_cell(&arena, &made_up_points(true)[1 + k % 8], "m", "wikitext", &cell, &result);
    cell.seed = k;
    ucb_cell_identify(&cell);
    ucb_status status = ucb_store_put_cell(store, run_id, "b1", &cell, &result, err);
    ucb_arena_free(&arena);
    return status;
}

/* Stores cells [from, to) the way a sweep does; stops at the first failure. */
static ucb_status fill(const char *path, uint64_t from, uint64_t to, struct ucb_err *err)
{
    struct ucb_store *store = NULL;
    int64_t run_id;
    UCB_TRY(ucb_store_open(path, UCB_STORE_WRITE, &store, err));
    ucb_status status = ucb_store_begin_run(store, &info, &run_id, err);
    for (uint64_t k = from; k < to && status == UCB_OK; k++)
        status = put_numbered(store, run_id, k, err);
    ucb_store_close(store);
    return status;
}

static const char *digest_of(const char *path)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    char hex[UCB_SHA256_HEX];
    CHECK_OK(ucb_store_open(path, UCB_STORE_READ, &store, &err), err);
    CHECK_OK(ucb_store_digest(store, hex, &err), err);
    ucb_store_close(store);
    return ucb_test_path("%s", hex);
}

static int64_t ask(const char *path, const char *sql)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    int64_t answer = 0;
    CHECK_OK(ucb_store_open(path, UCB_STORE_READ, &store, &err), err);
    CHECK_OK(ucb_sql_integer(store, sql, &answer, &err), err);
    ucb_store_close(store);
    return answer;
}

/* Every cell has all its items and the file is sound. */
static void check_whole(const char *path)
{
    CHECK_EQ(
        ask(path,
            "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
        0);
    CHECK_EQ(ask(path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    CHECK_EQ(
        ask(path,
            "SELECT count(*) FROM cells WHERE n_items <> (SELECT count(*) FROM items WHERE items.cell_key"
            " = cells.cell_key) OR cell_key NOT IN (SELECT cell_key FROM run_cells)"),
        0);
}

TEST(a_full_disk_is_an_io_error_and_keeps_what_was_stored)
{
    const char *path = ucb_test_path("%s/full.db", ucb_test_folder());
    const char *whole = ucb_test_path("%s/whole.db", ucb_test_folder());
    struct ucb_err err;
    struct stat before;
    CHECK_OK(fill(path, 0, 3, &err), err);
    CHECK_EQ(stat(path, &before), 0);
    pid_t child = fork();
    if (child == 0) { /* the limit on file sizes stands in for a full disk; it cannot be
                         raised again here */
        struct rlimit limit = {(rlim_t)before.st_size + 8192,
                               (rlim_t)before.st_size + 8192};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        ucb_status status = fill(path, 3, 9, &err);
        bool named = status == UCB_IO &&
                     strstr(err.text, "full.db: cannot store a cell") != NULL;
        if (!named) fprintf(stderr, "%s\n", err.text);
        _exit(named ? 0 : 1);
    }
    int state = -1;
    CHECK_EQ(waitpid(child, &state, 0), child);
    CHECK_EQ(state, 0);
    check_whole(path);
    CHECK_EQ(ask(path, "SELECT count(*) FROM cells WHERE seed < 3"), 3);
    CHECK(ask(path, "SELECT count(*) FROM cells") < 9);
    CHECK_OK(fill(path, 0, 9, &err), err); /* space again: the same command goes on */
    CHECK_OK(fill(whole, 0, 9, &err), err);
    CHECK_TEXT(digest_of(path), digest_of(whole));
}

TEST(a_folder_that_cannot_be_written_is_an_io_error_with_the_path)
{
    const char *folder = ucb_test_path("%s/locked", ucb_test_folder());
    const char *path = ucb_test_path("%s/r.db", folder);
    struct ucb_err err = {0};
    CHECK_EQ(mkdir(folder, 0555), 0);
    CHECK_EQ(chmod(ucb_test_folder(), 0755), 0);
    pid_t child = fork();
    if (child == 0) { /* permissions do not bind root */
        if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
        struct ucb_store *store = NULL;
        ucb_status status = ucb_store_open(path, UCB_STORE_WRITE, &store, &err);
        bool named = status == UCB_IO && strstr(err.text, path) != NULL &&
                     strstr(err.text, "Permission denied") != NULL;
        if (!named) fprintf(stderr, "%s\n", err.text);
        _exit(named ? 0 : 1);
    }
    int state = -1;
    CHECK_EQ(waitpid(child, &state, 0), child);
    CHECK_EQ(WIFEXITED(state) ? WEXITSTATUS(state) : -1, 0);
    chmod(folder, 0755);
}

TEST(a_path_below_a_file_is_an_io_error)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    const char *file = ucb_test_path("%s/file", ucb_test_folder());
    CHECK_OK(ucb_file_write(file, "x", 1, &err), err);
    CHECK_STATUS(
        ucb_store_open(ucb_test_path("%s/r.db", file), UCB_STORE_WRITE, &store, &err),
        UCB_IO, err);
    CHECK_STATUS(
        ucb_store_open(ucb_test_path("%s/r.db", file), UCB_STORE_READ, &store, &err),
        UCB_MISSING, err);
}

TEST(files_that_are_not_ours_are_refused_and_left_alone)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    sqlite3 *db = NULL;
    const char *garbage = ucb_test_path("%s/garbage.db", ucb_test_folder());
    const char *foreign = ucb_test_path("%s/foreign.db", ucb_test_folder());
    char text[4096], before[UCB_SHA256_HEX], after[UCB_SHA256_HEX];
    memset(text, 'x', sizeof(text));
    CHECK_OK(ucb_file_write(garbage, text, sizeof(text), &err), err);
    CHECK_EQ(sqlite3_open(foreign, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "CREATE TABLE theirs (a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    CHECK_OK(ucb_sha256_file(foreign, before, &err), err);
    for (int mode = UCB_STORE_READ; mode <= UCB_STORE_WRITE; mode++) {
        CHECK_STATUS(ucb_store_open(garbage, (enum ucb_store_mode)mode, &store, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, "garbage.db");
        CHECK_STATUS(ucb_store_open(foreign, (enum ucb_store_mode)mode, &store, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, "another program");
    }
    CHECK_OK(ucb_sha256_file(foreign, after, &err), err);
    CHECK_TEXT(after, before);
    CHECK_STATUS(ucb_store_open("/nowhere/at/all.db", UCB_STORE_READ, &store, &err),
                 UCB_MISSING, err);
}

TEST(a_newer_schema_is_refused_with_both_numbers)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    const char *path = ucb_test_path("%s/newer.db", ucb_test_folder());
    CHECK_OK(fill(path, 0, 1, &err), err);
    const char *up_to = ucb_test_path("up to %d; use a newer ucbench",
                                      (int)ask(path, "PRAGMA user_version"));
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_sql_run(store, "PRAGMA user_version = 7000", "age", &err), err);
    ucb_store_close(store);
    for (int mode = UCB_STORE_READ; mode <= UCB_STORE_WRITE; mode++) {
        CHECK_STATUS(ucb_store_open(path, (enum ucb_store_mode)mode, &store, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, "schema 7000");
        CHECK_HAS(err.text, up_to);
    }
}

TEST(a_truncated_database_is_corrupt_at_every_length)
{
    struct ucb_err err;
    struct stat whole;
    const char *path = ucb_test_path("%s/t.db", ucb_test_folder());
    CHECK_OK(fill(path, 0, 2, &err), err);
    CHECK_EQ(stat(path, &whole), 0);
    for (long keep = (long)whole.st_size - 1; keep > 0; keep = keep * 2 / 3) {
        struct ucb_store *store = NULL;
        char hex[UCB_SHA256_HEX];
        CHECK_EQ(truncate(path, keep), 0);
        ucb_status status = ucb_store_open(path, UCB_STORE_READ, &store, &err);
        if (status == UCB_OK) status = ucb_store_digest(store, hex, &err);
        ucb_store_close(store);
        CHECK_STATUS(status, UCB_CORRUPT, err);
    }
}

TEST(kill_at_any_instant_leaves_whole_cells_and_a_rerun_completes_them)
{
    enum { N_CELLS = 40, N_KILLS = 12 };
    struct ucb_err err;
    const char *path = ucb_test_path("%s/kill.db", ucb_test_folder());
    const char *whole = ucb_test_path("%s/whole.db", ucb_test_folder());
    CHECK_OK(fill(whole, 0, N_CELLS, &err), err);
    CHECK_OK(fill(path, 0, 1, &err), err);
    for (long i = 0; i < N_KILLS; i++) {
        struct timespec moment = {
            0, (1 + 2 * i) * 3000000L}; /* 3 to 69 ms: from the first cell to the last */
        pid_t child = fork();
        if (child == 0) _exit(fill(path, 0, N_CELLS, NULL) != UCB_OK);
        nanosleep(&moment, NULL);
        kill(child, SIGKILL);
        CHECK_EQ(waitpid(child, NULL, 0), child);
        check_whole(path); /* opened for reading, it still has to roll the journal back */
    }
    CHECK_OK(fill(path, 0, N_CELLS, &err), err);
    CHECK_TEXT(digest_of(path), digest_of(whole));
}

TEST(two_processes_write_one_file_and_lose_nothing)
{
    enum { N_CELLS = 24, N_WRITERS = 3 };
    struct ucb_err err;
    pid_t child[N_WRITERS];
    const char *path = ucb_test_path("%s/two.db", ucb_test_folder());
    const char *whole = ucb_test_path("%s/whole.db", ucb_test_folder());
    for (uint64_t w = 0; w < N_WRITERS; w++) { /* they overlap: every cell is put by two of
                                                  them, and all make the tables */
        child[w] = fork();
        if (child[w] == 0) {
            uint64_t end = w * 8 + 16 < N_CELLS ? w * 8 + 16 : N_CELLS;
            bool good = fill(path, w * 8, end, &err) == UCB_OK;
            if (!good) fprintf(stderr, "writer %d: %s\n", (int)w, err.text);
            _exit(!good);
        }
    }
    for (int w = 0; w < N_WRITERS; w++) {
        int state = -1;
        CHECK_EQ(waitpid(child[w], &state, 0), child[w]);
        CHECK_EQ(state, 0);
    }
    CHECK_OK(fill(whole, 0, N_CELLS, &err), err);
    check_whole(path);
    CHECK_TEXT(digest_of(path), digest_of(whole));
}

TEST(waiting_for_another_process_ends_with_a_message)
{
    struct ucb_store *holder = NULL, *waiter = NULL;
    struct ucb_err err;
    int64_t run_id;
    const char *path = ucb_test_path("%s/busy.db", ucb_test_folder());
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &holder, &err), err);
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &waiter, &err), err);
    waiter->patience_ms = 100;
    CHECK_OK(ucb_sql_run(holder, "BEGIN IMMEDIATE", "hold", &err), err);
    CHECK_STATUS(ucb_store_begin_run(waiter, &info, &run_id, &err), UCB_IO, err);
    CHECK_HAS(err.text, "another process holds the database");
    CHECK_OK(ucb_sql_run(holder, "COMMIT", "let go", &err), err);
    CHECK_OK(ucb_store_begin_run(waiter, &info, &run_id, &err), err);
    ucb_store_close(holder);
    ucb_store_close(waiter);
}
