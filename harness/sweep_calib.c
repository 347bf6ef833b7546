/*
 * sweep_calib.c - the calibration of a sweep's methods: which text, checked before anything
 * runs, loaded once for all methods that share its spec.
 *
 * A calibration belongs to a method that needs one, not to its row: a row's spec is ignored
 * by methods that need none, and theirs is '' in the cell's identity.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/resource.h"
#include "sweep_internal.h"

/* What a row asks for, or the default. */
static const char *wanted_spec(const char *text, const char *data)
{
    return text[0] != '\0' ? text : ucb_calib_default(data);
}

static ucb_status parse(const char *text, const char *data, bool compat,
                        struct ucb_calib_spec *spec, struct ucb_err *err)
{
    const char *wanted = wanted_spec(text, data);
    return compat ? ucb_calib_parse_compat(wanted, spec, err)
                  : ucb_calib_parse(wanted, spec, err);
}

static ucb_status find_slot(struct ucb_sweep_group *g, const struct ucb_calib_spec *spec,
                            struct ucb_sweep_calib **out, struct ucb_err *err)
{
    for (size_t i = 0; i < g->n_calibs; i++) {
        *out = &g->calibs[i];
        if (strcmp((*out)->spec.spec, spec->spec) == 0) return UCB_OK;
    }
    if (g->n_calibs == UCB_SWEEP_MAX_CALIBS)
        return UCB_FAIL(err, UCB_USAGE,
                        "more than %d calibrations for one model; split the sweep",
                        UCB_SWEEP_MAX_CALIBS);
    struct ucb_sweep_calib calib = {.spec = *spec};
    struct ucb_dataset dataset;
    UCB_TRY(ucb_calib_open_text(spec, g->options->data, &dataset, err));
    memcpy(calib.digest, dataset.digest, sizeof(calib.digest));
    snprintf(calib.file, sizeof(calib.file), "%s", dataset.file);
    calib.n_bytes = dataset.n_bytes;
    ucb_dataset_close(&dataset);
    ucb_calib_identity(spec, calib.digest, calib.identity);
    *out = &g->calibs[g->n_calibs++];
    **out = calib;
    return UCB_OK;
}

ucb_status ucb_sweep_calib_slot(struct ucb_sweep_group *g, const struct ucb_chain *chain,
                                const char *text, struct ucb_sweep_calib **out,
                                struct ucb_err *err)
{
    struct ucb_calib_spec spec;
    *out = NULL;
    if (!ucb_chain_needs_text(chain)) return UCB_OK;
    UCB_TRY(parse(text, g->options->data, g->options->compat, &spec, err));
    return find_slot(g, &spec, out, err);
}

ucb_status ucb_sweep_calib_load(struct ucb_sweep_group *g, struct ucb_sweep_calib *calib,
                                struct ucb_err *err)
{
    if (calib->text.ids != NULL) return UCB_OK;
    return ucb_calib_load(&calib->spec, g->options->data, g->tokenizer, &g->arena,
                          &calib->text, err);
}

ucb_status ucb_sweep_calib_check(const struct ucb_chain *chain, const char *text,
                                 const char *data, bool compat, struct ucb_err *err)
{
    struct ucb_calib_spec spec;
    struct ucb_dataset dataset;
    bool needed = ucb_chain_needs_text(chain);
    if (!needed && text[0] == '\0') return UCB_OK;
    UCB_TRY(parse(text, data, compat, &spec, err));
    if (!needed) return UCB_OK;
    UCB_TRY(ucb_calib_open_text(&spec, data, &dataset, err));
    ucb_dataset_close(&dataset);
    return UCB_OK;
}
