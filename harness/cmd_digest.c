/* cmd_digest.c - ucbench digest: one line that two equal sets of results share. */
#include "cmd.h"

#include <stdio.h>

#include "store/store.h"

static const char help[] =
    "usage: ucbench digest --db FILE [--json]\n"
    "\n"
    "Prints SHA-256 over all results of a database: what was measured, on what, and every value to the bit; not when,\n"
    "where, how fast, by which run or by which build. A sweep that was killed and resumed, split over machines or run\n"
    "with another number of threads has the digest of one that was not. db/README.md defines it.\n"
    "\n"
    "  --db FILE   the database\n"
    "  --json      print {\"digest\": \"...\"}\n"
    "\n"
    "Example: ucbench digest --db results.db\n";

static ucb_status run_digest(int n_args, char **args, struct ucb_err *err)
{
    const char *db = NULL;
    bool json = false;
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &db},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &json},
    };
    struct ucb_store *store = NULL;
    char hex[UCB_SHA256_HEX];
    size_t n_operands = 0;
    UCB_TRY(
        ucb_options_parse("digest", n_args, args, options, 2, NULL, &n_operands, 0, err));
    if (db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "digest: no --db FILE was given; name the database of a sweep");
    UCB_TRY(ucb_store_open(db, UCB_STORE_READ, &store, err));
    ucb_status status = ucb_store_digest(store, hex, err);
    ucb_store_close(store);
    if (status == UCB_OK) printf(json ? "{\"digest\": \"%s\"}\n" : "%s\n", hex);
    return status;
}

const struct ucb_command ucb_command_digest = {
    "digest", "one hash over all results of a database", help, run_digest};
