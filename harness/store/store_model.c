/*
 * store_model.c - what is known of a model beside its results: the grid detector's verdict.
 */
#include <stdio.h>

#include "store/store_internal.h"

static const char doing[] = "store what was found in a model";

ucb_status ucb_store_put_lattice(struct ucb_store *store, const char *model_digest,
                                 const struct ucb_stored_lattice *lattice,
                                 struct ucb_err *err)
{
    sqlite3_stmt *insert = NULL;
    UCB_TRY(ucb_sql_prepare(store, "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)",
                            doing, &insert, err));
    struct ucb_binder b = {.statement = insert};
    ucb_bind_text(&b, model_digest);
    ucb_bind_integer(&b, lattice->revision);
    ucb_bind_text(&b, lattice->source);
    ucb_bind_real(&b, lattice->share);
    ucb_status status = ucb_bind_run(store, &b, doing, err);
    sqlite3_finalize(insert);
    return status;
}

ucb_status ucb_store_get_lattice(struct ucb_store *store, const char *model_digest,
                                 uint32_t revision, bool *found,
                                 struct ucb_stored_lattice *out, struct ucb_err *err)
{
    sqlite3_stmt *select = NULL;
    *found = false;
    UCB_TRY(ucb_sql_prepare(store,
                            "SELECT lattice_source, lattice_share FROM models "
                            "WHERE model_digest = ? AND detector_revision = ?",
                            "read what was found in a model", &select, err));
    struct ucb_binder b = {.statement = select};
    ucb_bind_text(&b, model_digest);
    ucb_bind_integer(&b, revision);
    ucb_status status = b.code != SQLITE_OK
                            ? ucb_store_fail(store, b.code, doing, err)
                            : ucb_sql_step(store, select, doing, found, err);
    if (status == UCB_OK && *found) {
        out->revision = revision;
        out->share = sqlite3_column_double(select, 1);
        snprintf(out->source, sizeof(out->source), "%s", sqlite3_column_text(select, 0));
    }
    sqlite3_finalize(select);
    return status;
}
