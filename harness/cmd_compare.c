/* cmd_compare.c - ucbench compare: what the stored items of two cells allow to be said. */
#include "cmd.h"

#include <stdio.h>

#include "report/pair.h"
#include "stats/bootstrap.h"

static const char help[] =
    "usage: ucbench compare --db FILE A B [--band-ppl LOW,HIGH] [--band-accuracy PP] [--band-ear X] [--json]\n"
    "\n"
    "Compares two cells of one model on the same items, B against A, from what the database holds: no model is run.\n"
    "\n"
    "A cell is named by\n"
    "  ID                  the first digits of its id, at least 4\n"
    "  MODEL/SPEC/TASK     as stored, SPEC and TASK also cut at a ':'; * for any; of a model path its last part will do;\n"
    "                      the SPEC of a noise floor is noise-floor\n"
    "and behind either @ARITHMETIC or @BUILD where it has several. Of equal cells of several builds the newest is taken.\n"
    "`ucbench export --db FILE` shows what is there; a name that fits no cell or several lists them.\n"
    "\n"
    "Verdicts\n"
    "  bit-identical  every stored score is the same bits\n"
    "  equivalent     shown to lie within the bands: each 90% interval inside its band (TOST, 5%)\n"
    "  worse, better  the paired 95% interval excludes no change and the change is larger than the band\n"
    "  inconclusive   anything else, with the number of documents that would decide it; not finding a difference is\n"
    "                 never called equal\n"
    "Where the database holds the original in a second arithmetic (a sweep makes that by itself), what that alone\n"
    "changes is the noise floor, and below it no difference is claimed. docs/statistics.md has the formulas.\n"
    "\n"
    "  --db FILE             the database\n"
    "  --band-ppl LOW,HIGH   ratios of perplexity too small to matter (default 0.995,1.005)\n"
    "  --band-accuracy PP    percentage points of accuracy too small to matter (default 0.5)\n"
    "  --band-ear X          expected acceptance rate from which cells are equivalent (default 0.99)\n"
    "  --json                everything as one JSON object\n"
    "\n"
    "Exit code 0 whatever the verdict; 2 when the cells cannot be compared.\n"
    "\n"
    "Example: ucbench compare --db results.db smollm2-135m/none/lambada smollm2-135m/nf4/lambada\n";

static ucb_status compare(struct ucb_store *store, const char *const names[2],
                          const struct ucb_bands *bands, struct ucb_arena *arena,
                          struct ucb_pair *pair, struct ucb_err *err)
{
    struct ucb_stored_cell *cells = NULL;
    const struct ucb_stored_cell *chosen[2];
    size_t n_cells = 0;
    UCB_TRY(ucb_store_cells(store, arena, &cells, &n_cells, err));
    for (int k = 0; k < 2; k++)
        UCB_TRY(ucb_store_find_cell(cells, n_cells, names[k], arena, &chosen[k], err));
    return ucb_pair_compare(store, cells, n_cells, chosen[0], chosen[1], bands,
                            UCB_BOOTSTRAP_REPLICATES, arena, pair, err);
}

static ucb_status print(const struct ucb_pair *pair, bool json, struct ucb_err *err)
{
    struct ucb_text text = {0};
    ucb_status status = UCB_OK;
    if (json)
        status = ucb_pair_json(pair, &text, err);
    else
        ucb_pair_text(pair, &text);
    if (status == UCB_OK && text.failed)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the comparison");
    if (status == UCB_OK) fputs(ucb_text_get(&text), stdout);
    ucb_text_free(&text);
    return status;
}

static ucb_status run_compare(int n_args, char **args, struct ucb_err *err)
{
    const char *db = NULL, *ppl = NULL, *accuracy = NULL, *ear = NULL, *names[2];
    bool json = false;
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &db},
        {.name = "--band-ppl", .kind = UCB_OPTION_TEXT, .text = &ppl},
        {.name = "--band-accuracy", .kind = UCB_OPTION_TEXT, .text = &accuracy},
        {.name = "--band-ear", .kind = UCB_OPTION_TEXT, .text = &ear},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &json},
    };
    struct ucb_store *store = NULL;
    struct ucb_bands bands = ucb_bands_default;
    struct ucb_arena arena;
    struct ucb_pair pair;
    size_t n_names = 0;
    UCB_TRY(ucb_options_parse("compare", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), names, &n_names, 2,
                              err));
    if (db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "compare: no --db FILE was given; name the database of a sweep");
    if (n_names != 2)
        return UCB_FAIL(err, UCB_USAGE,
                        "compare: %zu cells were named, it takes two; see `ucbench compare "
                        "--help`",
                        n_names);
    UCB_TRY(ucb_option_bands(ppl, accuracy, ear, &bands, err));
    UCB_TRY(ucb_store_open(db, UCB_STORE_READ, &store, err));
    ucb_arena_init(&arena);
    ucb_status status = compare(store, names, &bands, &arena, &pair, err);
    if (status == UCB_OK) status = print(&pair, json, err);
    ucb_arena_free(&arena);
    ucb_store_close(store);
    return status;
}

const struct ucb_command ucb_command_compare = {
    "compare", "paired tests and a verdict between two cells", help, run_compare};
