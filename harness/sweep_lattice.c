/*
 * sweep_lattice.c - whether a model's weights lie on a low-bit grid, and what must be said
 * with every result on it. The detector looks at each model once for a database.
 */
#include <stdio.h>
#include <string.h>

#include "model/catalog.h"
#include "model/survey.h"
#include "pack/packfile.h"
#include "sweep_internal.h"

static ucb_status look(struct ucb_sweep_group *g, struct ucb_stored_lattice *out,
                       struct ucb_err *err)
{
    struct ucb_survey survey;
    struct ucb_arena arena;
    char label[96];
    snprintf(label, sizeof(label), "%s, looking for a grid", g->model_name);
    ucb_progress_start(&g->progress, label, (double)ucb_model_file_bytes(g->model));
    ucb_arena_init(&arena);
    ucb_status status = ucb_survey_checkpoint(ucb_model_checkpoint(g->model),
                                              g->options->pool, &g->progress, &arena,
                                              &survey, err);
    ucb_progress_end(&g->progress);
    if (status == UCB_OK) {
        out->revision = UCB_GRID_REVISION;
        out->share = survey.lattice.share;
        ucb_lattice_text(&survey.lattice, out->source);
    }
    ucb_arena_free(&arena);
    return status;
}

/* "NAME: source already quantized (...); what the catalogue advises;
 * the reader's warning". */
static const char *note_of(struct ucb_sweep_group *g, const char *source)
{
    const struct ucb_catalog_model *known = ucb_catalog_recognize(g->model_name, g->model);
    const char *caveat = known == NULL ? "" : known->caveat,
               *warning = ucb_model_warning(g->model),
               *name = known == NULL ? g->model_name : known->name;
    size_t n_name = strlen(name);
    if (strncmp(caveat, name, n_name) == 0 && strncmp(caveat + n_name, ": ", 2) == 0)
        caveat += n_name + 2;
    if (source[0] == '\0' && caveat[0] == '\0') return warning;
    bool both = source[0] != '\0' && caveat[0] != '\0';
    return ucb_arena_printf(&g->arena, "%s: %s%s%s%s%s%s%s", name,
                            source[0] == '\0' ? "" : "source already quantized (", source,
                            source[0] == '\0' ? "" : ")", both ? "; " : "", caveat,
                            warning == NULL ? "" : "; ", warning == NULL ? "" : warning);
}

/* A pack runs as the files that it unpacks to, and their bits are counted: of a pack that
 * is smaller the reader of a table must know. */
static ucb_status add_pack_note(struct ucb_sweep_group *g, struct ucb_err *err)
{
    struct ucb_packfile *pack;
    if (!ucb_packfile_is(g->model_name)) return UCB_OK;
    UCB_TRY(ucb_packfile_open(g->model_name, 0, &pack, err));
    g->note = ucb_arena_printf(
        &g->arena,
        "%s: a pack of %s, %zu bytes; bits per weight are those of the files that it "
        "unpacks to%s%s",
        g->model_name, pack->spec, pack->map.n_bytes, g->note == NULL ? "" : "; ",
        g->note == NULL ? "" : g->note);
    ucb_packfile_close(pack);
    return g->note == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for a note") : UCB_OK;
}

ucb_status ucb_sweep_lattice(struct ucb_sweep_group *g, struct ucb_err *err)
{
    struct ucb_store *store = g->options->store;
    struct ucb_stored_lattice lattice = {.source = ""};
    bool found = false;
    if (store != NULL)
        UCB_TRY(ucb_store_get_lattice(store, g->model_digest, UCB_GRID_REVISION, &found,
                                      &lattice, err));
    if (!found) {
        UCB_TRY(look(g, &lattice, err));
        if (store != NULL)
            UCB_TRY(ucb_store_put_lattice(store, g->model_digest, &lattice, err));
    }
    g->note = note_of(g, lattice.source);
    return add_pack_note(g, err);
}
