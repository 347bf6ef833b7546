/*
 * report_ladder.c - the seed's tiers and its head-to-head table, this program's numbers
 * beside the claimed ones: ladder.txt (also printed) and ladder.csv.
 */
#include <csv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/ladder_text.h"
#include "report/rows.h"

/* ---- what is compared ---- */

static ucb_status list_models(struct ucb_ladder_report *r, struct ucb_err *err)
{
    const char **models = UCB_NEW(r->job->arena, const char *, r->ladder.n_rows);
    size_t n = 0;
    r->models = r->job->models;
    r->n_models = r->job->n_models;
    if (r->n_models > 0) return UCB_OK;
    if (models == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a list of models");
    for (const struct ucb_ladder_row *row = ucb_ladder_next(&r->ladder, "model", NULL);
         row != NULL; row = ucb_ladder_next(&r->ladder, "model", row))
        models[n++] = row->name;
    r->models = models;
    r->n_models = n;
    return UCB_OK;
}

static ucb_status add_gain(struct ucb_ladder_report *r, const struct ucb_ladder_cell *cell,
                           struct ucb_ladder_gain *out, struct ucb_err *err)
{
    const char *end = strstr(cell->spec, "+distill:");
    *out = (struct ucb_ladder_gain){.cell = cell,
                                    .base_spec = ucb_arena_printf(r->job->arena, "%.*s",
                                                                  (int)(end - cell->spec),
                                                                  cell->spec),
                                    .steps = ucb_ladder_steps(cell->spec),
                                    .ratio = {NAN, NAN, NAN}};
    if (out->base_spec == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a spec");
    out->base = ucb_ladder_exact(&r->cells, cell->model, out->base_spec);
    /* A chain that is calibrated itself has to have seen the same text. */
    if (out->base != NULL &&
        (out->base->failed ||
         (out->base->calib[0] != '\0' && strcmp(out->base->calib, cell->calib) != 0)))
        out->base = NULL;
    return out->base == NULL
               ? UCB_OK
               : ucb_ladder_ratio(r->job, &r->cells, cell, out->base, &out->ratio, err);
}

static ucb_status list_gains(struct ucb_ladder_report *r, struct ucb_err *err)
{
    struct ucb_ladder_gain *gains = UCB_NEW(r->job->arena, struct ucb_ladder_gain,
                                            r->cells.n_cells);
    if (gains == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the distilled chains");
    r->gains = gains;
    for (size_t i = 0; i < r->cells.n_cells; i++) {
        const struct ucb_ladder_cell *cell = &r->cells.cells[i];
        if (cell->failed || ucb_ladder_steps(cell->spec) < 0 ||
            !ucb_ladder_lists(r, cell->model))
            continue;
        UCB_TRY(add_gain(r, cell, &gains[r->n_gains++], err));
    }
    return UCB_OK;
}

static ucb_status list_cohorts(const struct ucb_ladder_report *r,
                               struct ucb_ladder_cohort **out, struct ucb_err *err)
{
    size_t i = 0;
    *out = UCB_NEW(r->job->arena, struct ucb_ladder_cohort, r->ladder.n_rows);
    if (*out == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the cohort");
    for (const struct ucb_ladder_row *row = ucb_ladder_next(&r->ladder, "method", NULL);
         row != NULL; row = ucb_ladder_next(&r->ladder, "method", row))
        UCB_TRY(ucb_ladder_cohort(r->job, &r->cells, r->models, r->n_models, row->spec,
                                  &(*out)[i++], err));
    return UCB_OK;
}

/* ---- ladder.csv ---- */

static void csv_text(FILE *stream, const char *text)
{
    csv_fwrite(stream, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
    fputc(',', stream);
}

static void csv_real(FILE *stream, double value)
{
    char text[UCB_REAL_TEXT];
    fprintf(stream, "%s,", isnan(value) ? "" : ucb_real_text(value, text));
}

/* Everything a row can have; texts NULL and numbers NaN where it has none. */
struct csv_row {
    const char *section, *name, *model, *spec, *status;
    double claimed_bpw, bpw[3]; /* nominal, matrices, model */
    double claimed[UCB_LADDER_N_METRICS];
    struct ucb_estimate metrics[UCB_LADDER_N_METRICS];
    const char *claimed_catastrophic;
    size_t n_models, n_catastrophic, n_contaminated;
    const char *claims, *discrepancies, *message;
};

static struct csv_row empty_row(const char *section, const struct ucb_ladder_row *claim)
{
    struct csv_row row = {.section = section,
                          .claimed_bpw = NAN,
                          .bpw = {NAN, NAN, NAN},
                          .claimed = {NAN, NAN, NAN}};
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++)
        row.metrics[k] = (struct ucb_estimate){NAN, NAN, NAN};
    if (claim == NULL) return row;
    row.name = claim->name;
    row.claimed_bpw = claim->bpw;
    row.claimed[UCB_LADDER_t1_ret] = claim->t1_ret / 100;
    row.claimed[UCB_LADDER_t1_agree] = claim->t1_agree / 100;
    row.claimed[UCB_LADDER_ppl_ratio] = claim->ppl_ratio;
    row.claims = claim->claims;
    row.discrepancies = claim->discrepancies;
    return row;
}

static void csv_row(FILE *stream, const struct csv_row *row)
{
    const char *const first[] = {row->section, row->name, row->model, row->spec,
                                 row->status};
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
        csv_text(stream, first[i]);
    csv_real(stream, row->claimed_bpw);
    for (size_t i = 0; i < 3; i++) csv_real(stream, row->bpw[i]);
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++) {
        csv_real(stream, row->claimed[k]);
        csv_real(stream, row->metrics[k].value);
        csv_real(stream, row->metrics[k].low);
        csv_real(stream, row->metrics[k].high);
    }
    csv_text(stream, row->claimed_catastrophic);
    fprintf(stream, "%zu,%zu,%zu,", row->n_models, row->n_catastrophic,
            row->n_contaminated);
    csv_text(stream, row->claims);
    csv_text(stream, row->discrepancies);
    csv_fwrite(stream, row->message == NULL ? "" : row->message,
               row->message == NULL ? 0 : strlen(row->message));
    fputc('\n', stream);
}

/* A claimed row on one model. */
static void csv_model(FILE *stream, const struct ucb_ladder_report *r, const char *model,
                      const struct ucb_ladder_row *claim)
{
    const struct ucb_ladder_cell *cell = ucb_ladder_find(&r->cells, model, claim->spec);
    struct csv_row row = empty_row(claim->section, claim);
    row.model = model;
    row.spec = cell == NULL ? claim->spec : cell->spec;
    row.status = cell == NULL ? "not run" : cell->failed ? "FAILED" : "OK";
    row.message = cell == NULL ? ucb_ladder_command(r, model, claim->spec) : cell->message;
    if (cell != NULL && !cell->failed) {
        row.bpw[0] = cell->bpw_nominal;
        row.bpw[1] = cell->bpw_matrices;
        row.bpw[2] = cell->bpw_model;
        row.n_models = 1;
        row.n_catastrophic = cell->metrics[UCB_LADDER_ppl_ratio].value > 10;
        row.n_contaminated = cell->contaminated;
        memcpy(row.metrics, cell->metrics, sizeof(row.metrics));
    }
    csv_row(stream, &row);
}

static void csv_cohort(FILE *stream, const struct ucb_ladder_row *claim,
                       const struct ucb_ladder_cohort *cohort)
{
    struct csv_row row = empty_row("cohort", claim);
    row.spec = claim->spec;
    row.status = cohort->n_models == 0 ? "not run" : "OK";
    row.claimed_catastrophic = claim->catastrophic;
    row.n_models = cohort->n_models;
    row.n_catastrophic = cohort->n_catastrophic;
    row.n_contaminated = cohort->n_contaminated;
    if (cohort->n_models > 0) {
        row.bpw[1] = cohort->bpw_matrices;
        memcpy(row.metrics, cohort->metrics, sizeof(row.metrics));
    }
    csv_row(stream, &row);
}

static void csv_gain(FILE *stream, const struct ucb_ladder_gain *gain)
{
    struct csv_row row = empty_row("distillation", NULL);
    row.name = gain->base_spec;
    row.model = gain->cell->model;
    row.spec = gain->cell->spec;
    row.status = gain->base == NULL ? "not run" : "OK";
    row.metrics[UCB_LADDER_ppl_ratio] = gain->ratio;
    row.n_models = 1;
    row.message = "ppl_ratio: distilled over undistilled";
    csv_row(stream, &row);
}

static ucb_status write_csv(const char *path, const struct ucb_ladder_report *r,
                            const struct ucb_ladder_cohort *cohorts, struct ucb_err *err)
{
    static const char *const sections[] = {"tier", "method"};
    const struct ucb_ladder_row *claim;
    struct ucb_out_file out;
    size_t i = 0;
    UCB_TRY(ucb_out_open(path, &out, err));
    fputs("section,name,model,spec,status,claimed_bpw,bpw_nominal,bpw_matrices,bpw_model",
          out.stream);
#define METRIC_COLUMNS(name) \
    fputs(",claimed_" #name "," #name "," #name "_low," #name "_high", out.stream);
    UCB_LADDER_METRICS(METRIC_COLUMNS)
#undef METRIC_COLUMNS
    fputs(",claimed_catastrophic,n_models,n_catastrophic,n_contaminated,claims,"
          "discrepancies,message\n",
          out.stream);
    for (size_t s = 0; s < 2; s++)
        for (size_t m = 0; m < r->n_models; m++)
            for (claim = ucb_ladder_next(&r->ladder, sections[s], NULL); claim != NULL;
                 claim = ucb_ladder_next(&r->ladder, sections[s], claim))
                csv_model(out.stream, r, r->models[m], claim);
    for (claim = ucb_ladder_next(&r->ladder, "method", NULL); claim != NULL;
         claim = ucb_ladder_next(&r->ladder, "method", claim))
        csv_cohort(out.stream, claim, &cohorts[i++]);
    for (i = 0; i < r->n_gains; i++) csv_gain(out.stream, &r->gains[i]);
    return ucb_out_commit(&out, err);
}

/* ---- the report ---- */

static bool print_all(const struct ucb_ladder_report *r,
                      const struct ucb_ladder_cohort *cohorts, const char *digest,
                      struct ucb_text *out)
{
    bool enough = true;
    ucb_text_add(out, "%s on %s\n\n", r->cells.task.spec, r->cells.dataset);
    for (size_t m = 0; m < r->n_models && enough; m++)
        enough = ucb_ladder_print_model(r, "tier", r->models[m], out);
    for (size_t m = 0; m < r->n_models && enough; m++)
        enough = ucb_ladder_print_model(r, "method", r->models[m], out);
    enough = enough && ucb_ladder_print_cohort(r, cohorts, out) &&
             ucb_ladder_print_gains(r, out);
    ucb_ladder_print_notes(r, out);
    ucb_text_add(out, "Digest of the results: %s\n", digest);
    return enough && !out->failed;
}

static ucb_status load(struct ucb_ladder_report *r, struct ucb_ladder_cohort **cohorts,
                       struct ucb_err *err)
{
    const struct ucb_ladder_row *task;
    UCB_TRY(ucb_ladder_load(r->job->arena, &r->ladder, err));
    task = ucb_ladder_next(&r->ladder, "task", NULL);
    UCB_TRY(ucb_ladder_cells_load(r->job, task == NULL ? "lambada-windows" : task->spec,
                                  &r->cells, err));
    UCB_TRY(list_models(r, err));
    UCB_TRY(list_gains(r, err));
    return list_cohorts(r, cohorts, err);
}

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct ucb_ladder_report r = {.job = job};
    struct ucb_ladder_cohort *cohorts;
    struct ucb_text text = {0};
    char digest[UCB_SHA256_HEX];
    ucb_status status = UCB_OK;
    UCB_TRY(load(&r, &cohorts, err));
    UCB_TRY(ucb_store_digest(job->store, digest, err));
    const char *txt = ucb_report_path(job, "ladder.txt"),
               *csv = ucb_report_path(job, "ladder.csv");
    if (!print_all(&r, cohorts, digest, &text) || txt == NULL || csv == NULL) {
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the ladder");
        goto out;
    }
    UCB_TRY_OUT(ucb_file_write(txt, text.data, text.n_chars, err));
    UCB_TRY_OUT(write_csv(csv, &r, cohorts, err));
    if (!job->quiet) fputs(text.data, stdout);
out:
    ucb_text_free(&text);
    return status;
}

const struct ucb_report ucb_report_ladder = {
    "ladder", "the seed's tiers and head-to-head table, measured beside claimed", run};
