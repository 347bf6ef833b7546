/* report_verbs.c - see report_verbs.h. */
#include "report_verbs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "test.h"

enum { MAX_ARGS = 16 };

ucb_status report_verb(const struct ucb_command *command, struct ucb_err *err,
                       const char *line)
{
    static char words[4096];
    char *args[MAX_ARGS];
    int n = 0;
    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word != NULL && n < MAX_ARGS;
         word = strtok(NULL, " "))
        args[n++] = word;
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    CHECK(freopen(ucb_test_path("%s/stdout", ucb_test_folder()), "w", stdout) != NULL);
    ucb_status status = command->run(n, args, err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return status;
}

const char *report_content(const char *name)
{
    struct ucb_err err;
    struct ucb_file file;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", ucb_test_folder(), name), &file, &err),
             err);
    static char text[1 << 19];
    CHECK(file.n_bytes < sizeof(text));
    if (file.n_bytes > 0) memcpy(text, file.data, file.n_bytes);
    text[file.n_bytes] = '\0';
    ucb_file_unmap(&file);
    return text;
}

void report_make(const char *name, const char *db, const char *options)
{
    struct ucb_err err;
    CHECK_OK(report_verb(&ucb_command_report, &err,
                         ucb_test_path("report %s --db %s --out %s %s", name, db,
                                       ucb_test_folder(), options)),
             err);
}

const char *report_database(void)
{
    static char path[512]; /* outlives the rotating buffers of ucb_test_path */
    snprintf(path, sizeof(path), "%s/r.db", ucb_test_folder());
    made_up_database(path, "build", false);
    return path;
}

void report_needs_gnuplot(void)
{
    if (access("/usr/bin/gnuplot", X_OK) != 0) SKIP("gnuplot is not installed");
}

void report_put_calibrated(const char *path, const struct made_up_point *point,
                           const char *calib, const char *arithmetic, const char *scope,
                           uint64_t seed, const struct ucb_metric *metrics,
                           size_t n_metrics)
{
    struct ucb_err err;
    struct ucb_store *store = NULL;
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_run_info info = {"build", "c", "{}"};
    int64_t run_id;
    ucb_arena_init(&arena);
    made_up_cell(&arena, point, "smollm2-135m", "wikitext", &cell, &result);
    cell.calib = calib;
    cell.arithmetic = arithmetic;
    cell.scope = scope;
    cell.seed = seed;
    ucb_cell_identify(&cell);
    if (metrics != NULL) {
        result.metrics = metrics;
        result.n_metrics = n_metrics;
    }
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &run_id, &err), err);
    CHECK_OK(ucb_store_put_cell(store, run_id, "build", &cell, &result, &err), err);
    ucb_store_close(store);
    ucb_arena_free(&arena);
}

void report_put_changed(const char *path, const struct made_up_point *point,
                        const char *arithmetic, const char *scope, uint64_t seed,
                        const struct ucb_metric *metrics, size_t n_metrics)
{
    report_put_calibrated(path, point, "", arithmetic, scope, seed, metrics, n_metrics);
}
