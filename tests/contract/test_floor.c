/* Of every task in the registry: a noise floor is measured like a method, to the last
 * metric. */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "task/task.h"
#include "tiny.h"

/* The names of the quality metrics of one cell, by name. */
static const char *metrics_of(sqlite3 *db, const char *task, const char *condition)
{
    sqlite3_stmt *row;
    const char *sql = ucb_test_path(
        "SELECT group_concat(metric) FROM (SELECT metric FROM metrics JOIN cells USING "
        "(cell_key) WHERE is_quality AND task LIKE '%s:%%' AND %s ORDER BY metric)",
        task, condition);
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(row), SQLITE_ROW);
    const char *text = (const char *)sqlite3_column_text(row, 0);
    const char *copy = ucb_test_path("%s", text == NULL ? "" : text);
    sqlite3_finalize(row);
    return copy;
}

TEST(every_task_measures_its_noise_floor_like_a_method)
{
    static char out[1 << 16];
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *path = ucb_test_path("%s/r.db", ucb_test_folder());
    sqlite3 *db;
    ucb_tiny_model(model);
    for (size_t i = 0; ucb_tasks()[i] != NULL; i++)
        CHECK_EQ(ucb_run_program(out, sizeof(out),
                                 "sweep --quiet --data mini --model %s --method nf4 --task "
                                 "%s:n=2 --db %s",
                                 model, ucb_tasks()[i]->name, path),
                 0);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; ucb_tasks()[i] != NULL; i++) {
        const char *task = ucb_tasks()[i]->name,
                   *method = metrics_of(db, task, "spec = 'nf4'");
        CHECK_HAS(method, "kld_mean");
        CHECK_TEXT(metrics_of(db, task, "reference = 'fp32'"), method);
    }
    sqlite3_close(db);
}
