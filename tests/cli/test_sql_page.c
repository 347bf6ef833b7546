/* The queries of docs/sql.md, db/README.md and db/datasette.yaml run, so the pages cannot
 * rot. */
#include "test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/text.h"
#include "made_up.h"

static sqlite3 *open_database(void)
{
    sqlite3 *db = NULL;
    const char *path = ucb_test_path("%s/r.db", ucb_test_folder());
    made_up_database(path, "b1", false);
    made_up_database(path, "b2", false); /* a second build: a history */
    CHECK_EQ(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    return db;
}

/* A page as text; released by the caller. */
static char *read_page(const char *name)
{
    struct ucb_file file;
    struct ucb_err err;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", ucb_test_root(), name), &file, &err), err);
    char *text = strndup((const char *)file.data, file.n_bytes);
    ucb_file_unmap(&file);
    CHECK(text != NULL);
    return text;
}

/* Runs one statement whose parameters, if any, are set by name; how many rows it has. */
static size_t run_query(sqlite3 *db, const char *page, const char *sql)
{
    static const char *const values[][2] = {{":bits", "5"},
                                            {":first", "hqq:bits=4,group=64"},
                                            {":second", "nf4:double_quant=1"},
                                            {":spec", "nf4:double_quant=1"},
                                            {":metric", "kld_mean"}};
    sqlite3_stmt *rows = NULL;
    size_t n = 0;
    int code = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    for (int i = 1; code == SQLITE_OK && i <= sqlite3_bind_parameter_count(rows); i++)
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
            if (strcmp(sqlite3_bind_parameter_name(rows, i), values[v][0]) == 0)
                sqlite3_bind_text(rows, i, values[v][1], -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        while ((code = sqlite3_step(rows)) == SQLITE_ROW) n++;
    if (code != SQLITE_DONE)
        ucb_test_fail(__FILE__, __LINE__, "%s: %s in: %s", page, sqlite3_errmsg(db), sql);
    sqlite3_finalize(rows);
    return n;
}

/* Every ```sql block of a page; how many there are. */
static size_t run_blocks(sqlite3 *db, const char *page, bool rows_wanted)
{
    static const char open[] = "```sql\n";
    char *text = read_page(page);
    size_t n = 0;
    for (char *at = text, *end; (at = strstr(at, open)) != NULL; at = end + 1) {
        at += strlen(open);
        end = strstr(at, "\n```");
        CHECK(end != NULL);
        *end = '\0';
        size_t n_rows = run_query(db, page, at);
        if (rows_wanted && n_rows == 0)
            ucb_test_fail(__FILE__, __LINE__, "%s: no rows from: %s", page, at);
        n++;
    }
    free(text);
    return n;
}

TEST(the_five_queries_of_the_sql_page_run_and_find_something)
{
    sqlite3 *db = open_database();
    CHECK_EQ(run_blocks(db, "docs/sql.md", true), 5);
    sqlite3_close(db);
}

TEST(the_queries_of_the_databases_readme_run)
{
    sqlite3 *db = open_database();
    CHECK(run_blocks(db, "db/README.md", false) > 0);
    sqlite3_close(db);
}

/* A query is the lines after "sql: |-" that are indented further. */
TEST(the_queries_given_to_datasette_run_and_find_something)
{
    sqlite3 *db = open_database();
    char *text = read_page("db/datasette.yaml");
    size_t n = 0;
    for (char *at = text; (at = strstr(at, "        sql: |-\n")) != NULL; n++) {
        struct ucb_text sql = {0};
        at = strchr(at, '\n') + 1;
        while (strncmp(at, "          ", 10) == 0) {
            size_t length = strcspn(at, "\n");
            ucb_text_add(&sql, "%.*s\n", (int)length, at);
            at += length + 1;
        }
        CHECK(run_query(db, "db/datasette.yaml", ucb_text_get(&sql)) > 0);
        ucb_text_free(&sql);
    }
    CHECK_EQ(n, 5);
    free(text);
    sqlite3_close(db);
}
