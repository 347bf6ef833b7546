/*
 * ladder_text.h - the ladder report as text; each function appends one part of it.
 */
#ifndef UCB_REPORT_LADDER_TEXT_H
#define UCB_REPORT_LADDER_TEXT_H

#include "report/ladder_cells.h"
#include "report/ladder_data.h"

/* A distilled chain beside the same chain without. */
struct ucb_ladder_gain {
    const struct ucb_ladder_cell *cell, *base; /* base NULL: it was not run */
    const char *base_spec;
    long steps;
    struct ucb_estimate
        ratio; /* perplexity distilled / undistilled, paired; NaN without base
                */
};
struct ucb_ladder_report {
    struct ucb_report_job *job;
    struct ucb_ladder ladder;
    struct ucb_ladder_cells cells;
    const char *const *models;
    size_t n_models;
    const struct ucb_ladder_gain *gains;
    size_t n_gains;
};

/* Whether the report is about the model. */
bool ucb_ladder_lists(const struct ucb_ladder_report *r, const char *model);

/* Of each: false when memory ran out. */
/* The rows of a section ("tier", "method") on one model, measured beside claimed. */
bool ucb_ladder_print_model(const struct ucb_ladder_report *r, const char *section,
                            const char *model, struct ucb_text *out);
/* `cohorts` has an element for each row of section "method". */
bool ucb_ladder_print_cohort(const struct ucb_ladder_report *r,
                             const struct ucb_ladder_cohort *cohorts, struct ucb_text *out);
bool ucb_ladder_print_gains(const struct ucb_ladder_report *r, struct ucb_text *out);
/* How to read it, and the discrepancies that rows name. */
void ucb_ladder_print_notes(const struct ucb_ladder_report *r, struct ucb_text *out);

/* The sweep that fills a missing cell, from the job's arena; NULL when memory ran out. */
const char *ucb_ladder_command(const struct ucb_ladder_report *r, const char *model,
                               const char *spec);

#endif
