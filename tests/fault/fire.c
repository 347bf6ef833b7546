/* fire.c - see fire.h. */
#include "fault/fire.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/pcg.h"
#include "test.h"

/* ---- processes ---- */

pid_t fire_start(const char *log, const char *words)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char command[4096];
        snprintf(command, sizeof(command), "exec %s %s >>%s 2>&1", ucb_test_program(),
                 words, log);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return child;
}

int fire_wait(pid_t child)
{
    int state = 0;
    CHECK_EQ(waitpid(child, &state, 0), child);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void fire_finish(const char *log, const char *words, double *seconds)
{
    double start = now();
    int code = fire_wait(fire_start(log, words));
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "`ucbench %s`: exit %d, see %s", words, code,
                      log);
    if (seconds != NULL) *seconds = now() - start;
}

static double instant(double seconds, unsigned seed)
{
    struct ucb_pcg random;
    ucb_pcg_named(&random, seed, "kill");
    double u = (double)ucb_pcg_unit(&random), first = 1e-3;
    return seed % 2 == 0 ? u * seconds : first * pow(seconds / first, u);
}

bool fire_kill_once(const char *log, const char *words, double seconds, unsigned seed)
{
    double at = instant(seconds, seed);
    struct timespec t = {(time_t)at, (long)(1e9 * (at - floor(at)))};
    pid_t child = fire_start(log, words);
    nanosleep(&t, NULL);
    kill(child, SIGKILL);
    int code = fire_wait(child);
    if (code != 0 && code != 128 + SIGKILL)
        ucb_test_fail(__FILE__, __LINE__, "`ucbench %s`: exit %d, see %s", words, code,
                      log);
    return code != 0;
}

unsigned fire_until_done(const char *log, const char *words, double seconds, unsigned most,
                         unsigned *seed)
{
    unsigned n = 0;
    while (n < most && fire_kill_once(log, words, seconds, (*seed)++)) n++;
    if (n == most) fire_finish(log, words, NULL);
    return n;
}

/* ---- databases ---- */

void fire_old_database(const char *path)
{
    struct ucb_file sql;
    struct ucb_err err;
    sqlite3 *db = NULL;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/tests/fault/schema_1.sql", ucb_test_root()),
                          &sql, &err),
             err);
    char *text = strndup((const char *)sql.data, sql.n_bytes);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(text);
    ucb_file_unmap(&sql);
}

static void check_none(sqlite3 *db, const char *path, const char *what, const char *sql)
{
    sqlite3_stmt *row = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) != SQLITE_OK ||
        sqlite3_step(row) != SQLITE_ROW)
        ucb_test_fail(__FILE__, __LINE__, "%s: %s: %s", path, what, sqlite3_errmsg(db));
    long long n = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    if (n != 0) ucb_test_fail(__FILE__, __LINE__, "%s: %lld %s", path, n, what);
}

#define CELLS \
    "SELECT cell_id, build_id, status, n_items, weights_digest, message FROM %s.cells"
#define ITEMS                                                                                 \
    "SELECT cell_id, build_id, i.item, document, n_tokens, sum_logp, kld_sum, ear_sum, kld, " \
    "t1_gt_hits, target_correct FROM %s.items i JOIN %s.cells USING (cell_key)"
#define METRICS                                                                              \
    "SELECT cell_id, build_id, metric, value, ci_low, ci_high, n, interval FROM %s.metrics " \
    "JOIN %s.cells USING (cell_key) WHERE is_quality"
#define SIZES                                                                         \
    "SELECT cell_id, build_id, matrices_bytes, codes_bytes, n_weights FROM %s.sizes " \
    "JOIN %s.cells USING (cell_key)"
#define LAYERS                                                                 \
    "SELECT cell_id, build_id, layer, loss_before, loss_after FROM %s.layers " \
    "JOIN %s.cells USING (cell_key)"

/* Rows that one has and the other has not, or has more often: counts tell doubles. */
static void compare_rows(sqlite3 *db, const char *path, const char *what, const char *rows)
{
    char here[512], there[512];
    snprintf(here, sizeof(here), rows, "main", "main");
    snprintf(there, sizeof(there), rows, "expected", "expected");
    const char *count =
        "SELECT abs((SELECT count(*) FROM (%s)) - (SELECT count(*) FROM (%s)))";
    check_none(db, path, ucb_test_path("%s too few or too many", what),
               ucb_test_path(count, here, there));
    check_none(db, path, ucb_test_path("%s that should not be there", what),
               ucb_test_path("SELECT count(*) FROM (%s EXCEPT %s)", here, there));
    check_none(db, path, ucb_test_path("%s lost", what),
               ucb_test_path("SELECT count(*) FROM (%s EXCEPT %s)", there, here));
}

void fire_check_equal(const char *path, const char *expected)
{
    static const struct {
        const char *what, *rows;
    } parts[] = {{"cells", CELLS},
                 {"items", ITEMS},
                 {"metrics", METRICS},
                 {"sizes", SIZES},
                 {"layers", LAYERS}};
    sqlite3 *db = NULL;
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, ucb_test_path("ATTACH '%s' AS expected", expected), NULL,
                          NULL, NULL),
             SQLITE_OK);
    check_none(db, path, "faults found by SQLite",
               "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'");
    check_none(db, path, "broken references",
               "SELECT count(*) FROM pragma_foreign_key_check");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        compare_rows(db, path, parts[i].what, parts[i].rows);
    check_none(db, path, "cells whose items are not as many as they say",
               "SELECT count(*) FROM main.cells c WHERE n_items <> (SELECT count(*) FROM "
               "main.items i WHERE i.cell_key = c.cell_key)");
    check_none(db, path, "cells of this build that the newest run does not count",
               "SELECT count(*) FROM main.cells WHERE build_id = (SELECT build_id FROM "
               "main.runs ORDER BY run_id DESC LIMIT 1) AND cell_key NOT IN (SELECT "
               "cell_key FROM main.run_cells WHERE run_id = (SELECT max(run_id) FROM "
               "main.runs WHERE ended IS NOT NULL))");
    sqlite3_close(db);
}

/* ---- what lies about ---- */

static bool is_temporary(const char *name)
{
    size_t n = strlen(name);
    return strstr(name, ".tmp") != NULL || strncmp(name, "states-", 7) == 0 ||
           (n > 8 && strcmp(name + n - 8, "-journal") == 0) || strstr(name, "-wal") != NULL;
}

void fire_check_tidy(const char *folder)
{
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat info;
        char path[1024];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        CHECK_EQ(lstat(path, &info), 0);
        if (is_temporary(e->d_name))
            ucb_test_fail(__FILE__, __LINE__, "%s was left behind", path);
        if (S_ISDIR(info.st_mode)) fire_check_tidy(path);
    }
    closedir(dir);
}
