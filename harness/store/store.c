/*
 * store.c - opening a database: whose it is, which schema it has, and what to do about
 * either.
 *
 * Rollback journal (journal_mode=DELETE), not WAL: between transactions the database is one
 * file that can be copied, and it works on network file systems. synchronous=EXTRA is FULL
 * plus a sync of the folder after the journal is deleted; with FULL alone a power cut may
 * bring the journal back and undo the last cell.
 */
#include "store/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/resource.h"
#include "store/store_internal.h"

enum {
    UCB_SCHEMA_NUMBER = 6,
    APPLICATION_ID = 0x75636272, /* "ucbr"; `file` and sqlite3 show it */
    PATIENCE_MS = 600000, /* the longest transaction (one cell) takes well under a second */
    SAY_AFTER_MS = 3000,
    MAX_MIGRATIONS = 64
};

/* ---- errors ---- */

static ucb_status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM: return UCB_NOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return UCB_CORRUPT;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE: return UCB_USAGE;
    default: return UCB_IO;
    }
}

static const char *advice_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return "; free some space and run the same command again, finished cells are kept";
    case SQLITE_IOERR:
        return "; see to the disk and run the same command again, finished cells are kept";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "; another process holds the database, wait for it or use another --db";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return "; the folder must exist, it and the file must be writable";
    case SQLITE_CORRUPT:
        return "; restore a copy, or save what is readable with `sqlite3 FILE .recover`";
    case SQLITE_NOTADB:
        return "; this is not a database of ucbench, give --db another name";
    default: return "";
    }
}

/*
 * The system's reason. Where a file cannot be made, SQLite reports why its second try (open
 * it for reading) failed, which is always "No such file"; the folder knows better.
 */
static int system_reason(struct ucb_store *store, int code)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(store->path, '/');
    if ((code & 0xff) != SQLITE_CANTOPEN || access(store->path, F_OK) == 0)
        return sqlite3_system_errno(store->db);
    snprintf(folder, sizeof(folder), "%.*s",
             slash == NULL ? 1 : (int)(slash - store->path) + 1,
             slash == NULL ? "." : store->path);
    return access(folder, W_OK) == 0 ? sqlite3_system_errno(store->db) : errno;
}

ucb_status ucb_store_fail(struct ucb_store *store, int code, const char *doing,
                          struct ucb_err *err)
{
    int system = system_reason(store, code);
    const char *detail = sqlite3_errcode(store->db) == SQLITE_OK
                             ? sqlite3_errstr(code)
                             : sqlite3_errmsg(store->db);
    bool is_system = status_of(code) == UCB_IO && system != 0 &&
                     (code & 0xff) != SQLITE_BUSY;
    return UCB_FAIL(err, status_of(code), "%s: cannot %s: %s%s%s%s%s", store->path, doing,
                    detail, is_system ? " (" : "", is_system ? strerror(system) : "",
                    is_system ? ")" : "", advice_of(code));
}

ucb_status ucb_sql_run(struct ucb_store *store, const char *sql, const char *doing,
                       struct ucb_err *err)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? UCB_OK : ucb_store_fail(store, code, doing, err);
}

ucb_status ucb_sql_prepare(struct ucb_store *store, const char *sql, const char *doing,
                           sqlite3_stmt **out, struct ucb_err *err)
{
    int code = sqlite3_prepare_v2(store->db, sql, -1, out, NULL);
    return code == SQLITE_OK ? UCB_OK : ucb_store_fail(store, code, doing, err);
}

ucb_status ucb_sql_step(struct ucb_store *store, sqlite3_stmt *statement, const char *doing,
                        bool *row, struct ucb_err *err)
{
    int code = sqlite3_step(statement);
    if (row != NULL) *row = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE) return UCB_OK;
    return ucb_store_fail(store, code, doing, err);
}

ucb_status ucb_sql_integer(struct ucb_store *store, const char *sql, int64_t *out,
                           struct ucb_err *err)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    UCB_TRY(ucb_sql_prepare(store, sql, "read", &statement, err));
    ucb_status status = ucb_sql_step(store, statement, "read", &row, err);
    if (status == UCB_OK) *out = row ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return status;
}

void ucb_sql_end(struct ucb_store *store, const char *doing, ucb_status *status,
                 struct ucb_err *err)
{
    if (*status == UCB_OK) *status = ucb_sql_run(store, "COMMIT", doing, err);
    /* SQLite has already rolled back after some errors (full disk); a second ROLLBACK is
     * harmless. */
    if (*status != UCB_OK) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- binding ---- */

static void keep_code(struct ucb_binder *b, int code)
{
    if (b->code == SQLITE_OK) b->code = code;
}

void ucb_bind_text(struct ucb_binder *b, const char *text)
{
    keep_code(b, sqlite3_bind_text(b->statement, ++b->at, text, -1, SQLITE_STATIC));
}

void ucb_bind_integer(struct ucb_binder *b, uint64_t value)
{
    keep_code(b, sqlite3_bind_int64(b->statement, ++b->at, (int64_t)value));
}

void ucb_bind_real(struct ucb_binder *b, double value)
{
    keep_code(b, sqlite3_bind_double(b->statement, ++b->at, value));
}

void ucb_bind_blob(struct ucb_binder *b, const void *data, size_t n_bytes)
{
    keep_code(b, sqlite3_bind_blob64(b->statement, ++b->at, data, n_bytes, SQLITE_STATIC));
}

ucb_status ucb_bind_run(struct ucb_store *store, struct ucb_binder *b, const char *doing,
                        struct ucb_err *err)
{
    ucb_status status = b->code != SQLITE_OK
                            ? ucb_store_fail(store, b->code, doing, err)
                            : ucb_sql_step(store, b->statement, doing, NULL, err);
    sqlite3_reset(b->statement);
    return status;
}

/* ---- schema ---- */

static ucb_status run_resource(struct ucb_store *store, const char *name,
                               struct ucb_err *err)
{
    const struct ucb_resource *r = ucb_resource_find(name);
    if (r == NULL)
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "%s is missing from this build; build it again", name);
    return ucb_sql_run(store, r->data, "make the tables", err);
}

/* db/migrations/NNN_what.sql, in name order, which is number order. */
static size_t list_migrations(struct ucb_migration out[MAX_MIGRATIONS])
{
    size_t n = 0;
    for (const struct ucb_resource *r = ucb_resources();
         r->name != NULL && n < MAX_MIGRATIONS; r++) {
        int number;
        if (sscanf(r->name, "db/migrations/%d_", &number) == 1)
            out[n++] = (struct ucb_migration){number, r->data};
    }
    return n;
}

ucb_status ucb_store_migrate(struct ucb_store *store, int found, int target,
                             const struct ucb_migration *migrations, size_t n,
                             struct ucb_err *err)
{
    for (size_t i = 0; i < n && found < target; i++) {
        if (migrations[i].number != found + 1) continue;
        UCB_TRY(ucb_sql_run(store, migrations[i].sql, "bring the tables to a newer schema",
                            err));
        found++;
    }
    if (found == target) return UCB_OK;
    return UCB_FAIL(
        err, UCB_UNSUPPORTED,
        "%s: schema %d, and this ucbench knows no way to schema %d; use the release "
        "of ucbench that made it",
        store->path, found, target);
}

/* Runs inside a write transaction, so that of two processes that meet a new file only one
 * makes the tables. */
static ucb_status make_or_migrate(struct ucb_store *store, struct ucb_err *err)
{
    struct ucb_migration migrations[MAX_MIGRATIONS];
    int64_t found = 0;
    char set[96];
    UCB_TRY(ucb_sql_integer(store, "PRAGMA user_version", &found, err));
    if (found == UCB_SCHEMA_NUMBER) return UCB_OK;
    if (found == 0) {
        UCB_TRY(run_resource(store, "db/schema.sql", err));
    } else {
        size_t n = list_migrations(migrations);
        UCB_TRY(
            ucb_store_migrate(store, (int)found, UCB_SCHEMA_NUMBER, migrations, n, err));
    }
    UCB_TRY(run_resource(store, "db/views.sql", err));
    snprintf(set, sizeof(set), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, UCB_SCHEMA_NUMBER);
    return ucb_sql_run(store, set, "make the tables", err);
}

/* Whose file is it? Decided before anything is written to it. */
static ucb_status check_identity(struct ucb_store *store, int64_t *schema,
                                 struct ucb_err *err)
{
    int64_t application = 0, number = 0, n_tables = 0;
    UCB_TRY(ucb_sql_integer(store, "PRAGMA application_id", &application, err));
    UCB_TRY(ucb_sql_integer(store, "PRAGMA user_version", &number, err));
    UCB_TRY(ucb_sql_integer(store, "SELECT count(*) FROM sqlite_master", &n_tables, err));
    *schema = application == APPLICATION_ID ? number : 0;
    if (application != APPLICATION_ID && (application != 0 || n_tables != 0))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: an SQLite database of another program (application id 0x%08x, "
                        "expected 0x%08x); give --db another name",
                        store->path, (unsigned)application, (unsigned)APPLICATION_ID);
    if (number > UCB_SCHEMA_NUMBER)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: schema %lld, and this ucbench understands schemas up to %d; use a newer "
            "ucbench",
            store->path, (long long)number, UCB_SCHEMA_NUMBER);
    return UCB_OK;
}

/* SQLite reads a last page that was cut short as if zeros followed, so the length is
 * compared here. */
static ucb_status check_length(struct ucb_store *store, struct ucb_err *err)
{
    int64_t n_pages = 0, page_bytes = 0;
    struct stat info;
    UCB_TRY(ucb_sql_integer(store, "PRAGMA page_count", &n_pages, err));
    UCB_TRY(ucb_sql_integer(store, "PRAGMA page_size", &page_bytes, err));
    if (stat(store->path, &info) != 0 || info.st_size >= n_pages * page_bytes)
        return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "%s: cut short, %lld bytes of %lld; restore a copy, or save what is readable with "
        "`sqlite3 FILE .recover`",
        store->path, (long long)info.st_size, (long long)(n_pages * page_bytes));
}

/* All of it at one instant: another process may be making the tables. *schema: 0 where
 * there are none yet. */
static ucb_status check_file(struct ucb_store *store, int64_t *schema, struct ucb_err *err)
{
    UCB_TRY(ucb_store_begin_read(store, err));
    ucb_status status = check_identity(store, schema, err);
    if (status == UCB_OK) status = check_length(store, err);
    ucb_store_end_read(store);
    return status;
}

static ucb_status prepare_for_reading(struct ucb_store *store, struct ucb_err *err)
{
    int64_t schema = 0;
    UCB_TRY(check_file(store, &schema, err));
    if (schema == UCB_SCHEMA_NUMBER) return UCB_OK;
    if (schema == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: no results in it yet; `ucbench sweep --db %s` makes some",
                        store->path, store->path);
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: results of schema %lld, this program reads %d; what writes to it "
                    "brings it there: the next `ucbench sweep`, or at once `ucbench report "
                    "claims --db %s --out DIR`",
                    store->path, (long long)schema, UCB_SCHEMA_NUMBER, store->path);
}

static ucb_status prepare_for_writing(struct ucb_store *store, struct ucb_err *err)
{
    static const char settings[] =
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON";
    int64_t schema = 0;
    if (sqlite3_db_readonly(store->db, "main"))
        return UCB_FAIL(
            err, UCB_IO,
            "%s: cannot write: the file is read-only; change its permissions or give --db "
            "another name",
            store->path);
    UCB_TRY(check_file(store, &schema, err));
    UCB_TRY(ucb_sql_run(store, settings, "set up the database", err));
    if (schema == UCB_SCHEMA_NUMBER) return UCB_OK;
    UCB_TRY(ucb_sql_run(store, "BEGIN IMMEDIATE", "make the tables", err));
    ucb_status status = make_or_migrate(store, err);
    ucb_sql_end(store, "make the tables", &status, err);
    return status;
}

/* ---- open and close ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* SQLite calls this while another process holds the lock; 0 gives up. */
static int wait_for_other(void *context, int n_calls)
{
    enum { STEP_MS = 20 };
    struct ucb_store *store = context;
    struct timespec step = {0, STEP_MS * 1000000L};
    int64_t now = now_ms();
    if (n_calls == 0) {
        store->waits_since_ms = now;
        store->said = false;
    }
    if (now - store->waits_since_ms >= store->patience_ms) return 0;
    if (now - store->waits_since_ms >= SAY_AFTER_MS && !store->said) {
        fprintf(stderr, "ucbench: %s: another process is using it, waiting\n", store->path);
        store->said = true;
    }
    nanosleep(&step, NULL);
    return 1;
}

static ucb_status check_exists(const char *path, struct ucb_err *err)
{
    struct stat info;
    if (stat(path, &info) == 0) return UCB_OK;
    return UCB_FAIL(err, errno == ENOENT || errno == ENOTDIR ? UCB_MISSING : UCB_IO,
                    "%s: %s; `ucbench sweep --db` makes a database", path, strerror(errno));
}

ucb_status ucb_store_open(const char *path, enum ucb_store_mode mode,
                          struct ucb_store **out, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    /* Reading may have to write: whoever opens the file next rolls back the journal of a
     * sweep that was killed. */
    int flags = SQLITE_OPEN_READWRITE | (mode == UCB_STORE_READ ? 0 : SQLITE_OPEN_CREATE);
    if (mode == UCB_STORE_READ) UCB_TRY(check_exists(path, err));
    struct ucb_store *store = ucb_mem_alloc(sizeof(*store));
    char *path_copy = strdup(path);
    if (store == NULL || path_copy == NULL) {
        ucb_mem_free(store);
        free(path_copy);
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to open it", path);
    }
    *store = (struct ucb_store){.path = path_copy, .patience_ms = PATIENCE_MS};
    int code = sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        status = ucb_store_fail(
            store, code, mode == UCB_STORE_READ ? "open it" : "open it for writing", err);
        goto out;
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_handler(store->db, wait_for_other, store);
    status = mode == UCB_STORE_READ ? prepare_for_reading(store, err)
                                    : prepare_for_writing(store, err);
out:
    if (status == UCB_OK)
        *out = store;
    else
        ucb_store_close(store);
    return status;
}

void ucb_store_close(struct ucb_store *store)
{
    if (store == NULL) return;
    sqlite3_close_v2(store->db);
    free(store->path);
    ucb_mem_free(store);
}

ucb_status ucb_store_begin_read(struct ucb_store *store, struct ucb_err *err)
{
    return ucb_sql_run(store, "BEGIN", "read", err);
}

void ucb_store_end_read(struct ucb_store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

struct sqlite3 *ucb_store_db(struct ucb_store *store)
{
    return store->db;
}
