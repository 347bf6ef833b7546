/*
 * store_internal.h - what the files of store/ share: the connection, and SQLite calls that
 * fail with a sentence.
 */
#ifndef UCB_STORE_INTERNAL_H
#define UCB_STORE_INTERNAL_H

#include <sqlite3.h>

#include "store/store.h"

struct ucb_store {
    sqlite3 *db;
    char *path;
    int patience_ms;        /* how long to wait for another process before giving up */
    int64_t waits_since_ms; /* the wait in progress, by the monotonic clock */
    bool said;              /* that it waits */
};

/* `doing` completes the sentence "FILE: cannot ...": "store a cell". */
ucb_status ucb_store_fail(struct ucb_store *store, int code, const char *doing,
                          struct ucb_err *err);
ucb_status ucb_sql_run(struct ucb_store *store, const char *sql, const char *doing,
                       struct ucb_err *err);
ucb_status ucb_sql_prepare(struct ucb_store *store, const char *sql, const char *doing,
                           sqlite3_stmt **out, struct ucb_err *err);
/* One step; *row says whether there is a row (may be NULL where none is expected). */
ucb_status ucb_sql_step(struct ucb_store *store, sqlite3_stmt *statement, const char *doing,
                        bool *row, struct ucb_err *err);
/* The single integer that `sql` yields; 0 when it yields no row. */
ucb_status ucb_sql_integer(struct ucb_store *store, const char *sql, int64_t *out,
                           struct ucb_err *err);
/* Ends a transaction: commits when *status is UCB_OK, otherwise rolls back and keeps the
 * first error. */
void ucb_sql_end(struct ucb_store *store, const char *doing, ucb_status *status,
                 struct ucb_err *err);

/* Binds values from the left to the right. The first SQLite error stays in `code`. */
struct ucb_binder {
    sqlite3_stmt *statement;
    int at, code;
};
void ucb_bind_text(struct ucb_binder *b,
                   const char *text); /* NULL is NULL; the text must outlive the step */
void ucb_bind_integer(struct ucb_binder *b, uint64_t value);
void ucb_bind_real(struct ucb_binder *b, double value); /* NaN is NULL */
void ucb_bind_blob(struct ucb_binder *b, const void *data,
                   size_t n_bytes); /* data NULL is NULL */

/* Runs a statement that yields no row, and resets it for the next one. */
ucb_status ucb_bind_run(struct ucb_store *store, struct ucb_binder *b, const char *doing,
                        struct ucb_err *err);

/* A step on the way from schema `number` - 1 to `number`. */
struct ucb_migration {
    int number;
    const char *sql;
};
/* Runs the migrations numbered found + 1 .. target in order, inside the caller's
 * transaction. */
ucb_status ucb_store_migrate(struct ucb_store *store, int found, int target,
                             const struct ucb_migration *migrations, size_t n,
                             struct ucb_err *err);

/* The digest of one cell's key, status, sizes, quality metrics and items. */
ucb_status ucb_store_cell_digest(struct ucb_store *store, int64_t cell_key,
                                 char hex[UCB_SHA256_HEX], struct ucb_err *err);

#endif
