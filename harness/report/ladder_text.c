/*
 * ladder_text.c - see ladder_text.h. Claimed numbers stand left of measured ones; an
 * interval stands right of its value.
 */
#include "report/ladder_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "method/chain.h"
#include "report/text_grid.h"

bool ucb_ladder_lists(const struct ucb_ladder_report *r, const char *model)
{
    for (size_t i = 0; i < r->n_models; i++)
        if (strcmp(r->models[i], model) == 0) return true;
    return false;
}

/* ---- numbers ---- */

struct format {
    double factor;
    int decimals;
};
static const struct format formats[UCB_LADDER_N_METRICS] = {
    [UCB_LADDER_t1_ret] = {100, 2},
    [UCB_LADDER_t1_agree] = {100, 2},
    [UCB_LADDER_ppl_ratio] = {1, 4},
};

/* A ratio of a broken model needs no decimals. */
static const char *number(struct ucb_arena *arena, double x, int decimals)
{
    if (isnan(x)) return "-";
    if (fabs(x) >= 1e6) return ucb_arena_printf(arena, "%.1e", x);
    for (double rest = fabs(x); decimals > 0 && rest >= 10000; rest /= 10) decimals--;
    return ucb_arena_printf(arena, "%.*f", decimals, x);
}

static const char *interval(struct ucb_arena *arena, struct ucb_estimate e,
                            const struct format *f)
{
    if (isnan(e.value)) return "";
    if (isnan(e.low) || isnan(e.high)) return " [-]";
    const char *low = number(arena, e.low * f->factor, f->decimals),
               *high = number(arena, e.high * f->factor, f->decimals);
    return low == NULL || high == NULL ? NULL
                                       : ucb_arena_printf(arena, " [%s, %s]", low, high);
}

static void set_estimate(struct ucb_grid *g, size_t row, size_t *column,
                         struct ucb_estimate e, enum ucb_ladder_metric metric)
{
    const struct format *f = &formats[metric];
    ucb_grid_set(g, row, (*column)++, number(g->arena, e.value * f->factor, f->decimals));
    g->left[*column] = true;
    ucb_grid_set(g, row, (*column)++, interval(g->arena, e, f));
}

static void set_claimed(struct ucb_grid *g, size_t row, size_t *column, double claimed,
                        int decimals)
{
    ucb_grid_set(g, row, (*column)++, number(g->arena, claimed, decimals));
}

static double claimed_of(const struct ucb_ladder_row *row, int metric)
{
    const double claimed[UCB_LADDER_N_METRICS] = {
        [UCB_LADDER_t1_ret] = row->t1_ret,
        [UCB_LADDER_t1_agree] = row->t1_agree,
        [UCB_LADDER_ppl_ratio] = row->ppl_ratio,
    };
    return claimed[metric];
}

static size_t count_rows(const struct ucb_ladder *ladder, const char *section)
{
    size_t n = 0;
    for (const struct ucb_ladder_row *row = ucb_ladder_next(ladder, section, NULL);
         row != NULL; row = ucb_ladder_next(ladder, section, row))
        n++;
    return n;
}

/* ---- what was not run ---- */

const char *ucb_ladder_command(const struct ucb_ladder_report *r, const char *model,
                               const char *spec)
{
    const struct ucb_ladder_row *calib = ucb_ladder_next(&r->ladder, "calib", NULL);
    struct ucb_arena *arena = r->job->arena;
    struct ucb_chain *chain;
    struct ucb_err err;
    bool mini = strstr(r->cells.dataset, "_mini") != NULL;
    if (ucb_chain_parse(spec, arena, &chain, &err) != UCB_OK) return NULL;
    bool text = ucb_chain_needs_text(chain) && calib != NULL && !mini;
    return ucb_arena_printf(arena,
                            "ucbench sweep --model '%s' --method '%s' --task '%s'%s%s%s "
                            "--data %s --db %s",
                            model, spec, r->cells.task.spec, text ? " --calib '" : "",
                            text ? calib->spec : "", text ? "'" : "", mini ? "mini" : "DIR",
                            r->job->database);
}

/* ---- one model ---- */

static void set_model_heading(struct ucb_grid *g, const char *section)
{
    static const char *const headings[] = {"  spec",
                                           "bpw claimed",
                                           "nominal",
                                           "matrices",
                                           "model",
                                           "T1 ret % claimed",
                                           "measured",
                                           "",
                                           "T1 agree %",
                                           "",
                                           "ppl ratio claimed",
                                           "measured",
                                           ""};
    enum { N = sizeof(headings) / sizeof(headings[0]) };
    g->left[0] = g->left[1] = true;
    ucb_grid_set(g, 0, 0, section);
    for (size_t i = 0; i < N; i++) ucb_grid_set(g, 0, i + 1, headings[i]);
    ucb_grid_set(g, 0, N + 1, "see");
    g->n_columns = N + 2;
}

static void set_model_row(struct ucb_grid *g, size_t row,
                          const struct ucb_ladder_row *claim,
                          const struct ucb_ladder_cell *cell)
{
    size_t column = 0;
    ucb_grid_set(g, row, column++, claim->name);
    ucb_grid_set(g, row, column++,
                 ucb_arena_printf(g->arena, "  %s%s", cell->spec,
                                  cell->contaminated ? " [contaminated]" : ""));
    set_claimed(g, row, &column, claim->bpw, 3);
    set_claimed(g, row, &column, cell->bpw_nominal, 3);
    set_claimed(g, row, &column, cell->bpw_matrices, 3);
    set_claimed(g, row, &column, cell->bpw_model, 3);
    set_claimed(g, row, &column, claim->t1_ret, 2);
    set_estimate(g, row, &column, cell->metrics[UCB_LADDER_t1_ret], UCB_LADDER_t1_ret);
    set_estimate(g, row, &column, cell->metrics[UCB_LADDER_t1_agree], UCB_LADDER_t1_agree);
    set_claimed(g, row, &column, claim->ppl_ratio, 4);
    set_estimate(g, row, &column, cell->metrics[UCB_LADDER_ppl_ratio],
                 UCB_LADDER_ppl_ratio);
    ucb_grid_set(g, row, column, claim->discrepancies);
}

/* What stands below the table for a row whose cell is missing, failed,
 * or of other steps. */
static bool print_exception(const struct ucb_ladder_report *r,
                            const struct ucb_ladder_row *claim, const char *model,
                            const struct ucb_ladder_cell *cell, struct ucb_text *out)
{
    bool exact = cell != NULL && strcmp(cell->spec, claim->spec) == 0;
    if (exact && cell->failed)
        ucb_text_add(out, "%s: FAILED: %s\n", claim->name,
                     cell->message == NULL ? "no message" : cell->message);
    if (exact) return true;
    const char *command = ucb_ladder_command(r, model, claim->spec);
    if (command == NULL) return false;
    if (cell != NULL)
        ucb_text_add(out, "%s: %ld steps of distillation instead of %ld; ", claim->name,
                     ucb_ladder_steps(cell->spec), ucb_ladder_steps(claim->spec));
    else
        ucb_text_add(out, "%s: ", claim->name);
    ucb_text_add(out, "not run: %s\n", command);
    return true;
}

bool ucb_ladder_print_model(const struct ucb_ladder_report *r, const char *section,
                            const char *model, struct ucb_text *out)
{
    struct ucb_grid g;
    const struct ucb_ladder_row *claim;
    size_t n_rows = 1;
    if (!ucb_grid_open(&g, r->job->arena, count_rows(&r->ladder, section) + 1))
        return false;
    set_model_heading(&g, section);
    for (claim = ucb_ladder_next(&r->ladder, section, NULL); claim != NULL;
         claim = ucb_ladder_next(&r->ladder, section, claim)) {
        const struct ucb_ladder_cell *cell = ucb_ladder_find(&r->cells, model, claim->spec);
        if (cell != NULL && !cell->failed) set_model_row(&g, n_rows++, claim, cell);
    }
    ucb_text_add(out, "%s on %s\n\n",
                 strcmp(section, "tier") == 0 ? "Production tiers"
                                              : "Head to head (claim 20)",
                 model);
    for (size_t i = 0; i < n_rows && n_rows > 1; i++) ucb_grid_print(&g, i, out);
    for (claim = ucb_ladder_next(&r->ladder, section, NULL); claim != NULL;
         claim = ucb_ladder_next(&r->ladder, section, claim))
        if (!print_exception(r, claim, model,
                             ucb_ladder_find(&r->cells, model, claim->spec), out))
            return false;
    ucb_text_add(out, "\n");
    return !g.failed;
}

/* ---- all models ---- */

static const char *models_text(struct ucb_arena *arena, const struct ucb_ladder_cohort *c)
{
    return ucb_arena_printf(arena, "%zu%s", c->n_models,
                            c->n_contaminated > 0 ? " [contaminated]" : "");
}

/* What lies between the models: a number that two or three models allow. */
static const char *spread(struct ucb_arena *arena, const struct ucb_ladder_cohort *c,
                          int metric)
{
    const struct format *f = &formats[metric];
    const char *low = number(arena, c->low[metric] * f->factor, f->decimals),
               *high = number(arena, c->high[metric] * f->factor, f->decimals);
    return low == NULL || high == NULL ? NULL
                                       : ucb_arena_printf(arena, "%s..%s", low, high);
}

static void set_cohort_heading(struct ucb_grid *g)
{
    static const char *const headings[] = {"method",
                                           "models",
                                           "bpw claimed",
                                           "matrices",
                                           "T1 ret % claimed",
                                           "mean",
                                           "",
                                           "models' range",
                                           "T1 agree % claimed",
                                           "mean",
                                           "",
                                           "ppl ratio claimed",
                                           "median",
                                           "",
                                           "models' range",
                                           "past 10 claimed",
                                           "measured",
                                           "see"};
    enum { N = sizeof(headings) / sizeof(headings[0]) };
    _Static_assert((int)N <= (int)UCB_GRID_COLUMNS, "room for all columns");
    g->left[0] = true;
    for (size_t i = 0; i < N; i++) ucb_grid_set(g, 0, i, headings[i]);
    g->n_columns = N;
}

static void set_cohort_row(struct ucb_grid *g, size_t row,
                           const struct ucb_ladder_row *claim,
                           const struct ucb_ladder_cohort *c)
{
    size_t column = 0;
    ucb_grid_set(g, row, column++, claim->name);
    ucb_grid_set(g, row, column++, models_text(g->arena, c));
    set_claimed(g, row, &column, claim->bpw, 3);
    set_claimed(g, row, &column, c->bpw_matrices, 3);
    for (int k = 0; k < UCB_LADDER_N_METRICS; k++) {
        set_claimed(g, row, &column, claimed_of(claim, k), formats[k].decimals);
        set_estimate(g, row, &column, c->metrics[k], (enum ucb_ladder_metric)k);
        if (k != UCB_LADDER_t1_agree)
            ucb_grid_set(g, row, column++, spread(g->arena, c, k));
    }
    ucb_grid_set(g, row, column++,
                 claim->catastrophic[0] == '\0' ? "-" : claim->catastrophic);
    ucb_grid_set(g, row, column++,
                 ucb_arena_printf(g->arena, "%zu of %zu", c->n_catastrophic, c->n_models));
    ucb_grid_set(g, row, column, claim->discrepancies);
}

bool ucb_ladder_print_cohort(const struct ucb_ladder_report *r,
                             const struct ucb_ladder_cohort *cohorts, struct ucb_text *out)
{
    struct ucb_grid g;
    size_t n_rows = 1, i = 0;
    if (!ucb_grid_open(&g, r->job->arena, count_rows(&r->ladder, "method") + 1))
        return false;
    set_cohort_heading(&g);
    for (const struct ucb_ladder_row *claim = ucb_ladder_next(&r->ladder, "method", NULL);
         claim != NULL; claim = ucb_ladder_next(&r->ladder, "method", claim), i++)
        if (cohorts[i].n_models > 0) set_cohort_row(&g, n_rows++, claim, &cohorts[i]);
    ucb_text_add(out, "Head to head (claim 20), all models together; the claim is of six "
                      "models of 1 to 8 billion weights\n\n");
    if (n_rows == 1) ucb_text_add(out, "No method was run.\n");
    for (size_t row = 0; row < n_rows && n_rows > 1; row++) ucb_grid_print(&g, row, out);
    ucb_text_add(out, "\n");
    return !g.failed;
}

/* ---- distillation ---- */

static void set_gain(struct ucb_grid *g, size_t row, const struct ucb_ladder_gain *gain)
{
    static const struct format percent = {100, 2};
    struct ucb_estimate e = gain->ratio;
    /* What perplexity fell by; the upper end of the ratio is the lower one of the gain. */
    struct ucb_estimate fell = {1 - e.value, 1 - e.high, 1 - e.low};
    size_t column = 0;
    const char *stage = strstr(gain->cell->spec, "distill:");
    ucb_grid_set(g, row, column++, gain->cell->model);
    ucb_grid_set(g, row, column++, ucb_arena_printf(g->arena, "  %s", gain->base_spec));
    ucb_grid_set(g, row, column++, ucb_arena_printf(g->arena, "  %s", stage));
    set_estimate(g, row, &column, e, UCB_LADDER_ppl_ratio);
    ucb_grid_set(g, row, column++, number(g->arena, fell.value * 100, 2));
    g->left[column] = true;
    ucb_grid_set(g, row, column++, interval(g->arena, fell, &percent));
    ucb_grid_set(g, row, column,
                 isnan(e.low) || isnan(e.high) ? "no interval"
                 : e.high < 1                  ? "better"
                 : e.low > 1                   ? "worse"
                                               : "undecided");
}

bool ucb_ladder_print_gains(const struct ucb_ladder_report *r, struct ucb_text *out)
{
    static const char *const headings[] = {"model",   "  chain without distillation",
                                           "  stage", "ppl distilled / not",
                                           "",        "gain %",
                                           "",        "verdict"};
    struct ucb_grid g;
    size_t n_rows = 1;
    if (!ucb_grid_open(&g, r->job->arena, r->n_gains + 1)) return false;
    g.left[0] = g.left[1] = g.left[2] = true;
    g.n_columns = sizeof(headings) / sizeof(headings[0]);
    for (size_t i = 0; i < g.n_columns; i++) ucb_grid_set(&g, 0, i, headings[i]);
    for (size_t i = 0; i < r->n_gains; i++)
        if (r->gains[i].base != NULL) set_gain(&g, n_rows++, &r->gains[i]);
    ucb_text_add(out, "Distillation: what its steps gain, paired on the same items\n\n");
    if (r->n_gains == 0) ucb_text_add(out, "No distilled chain was run.\n");
    for (size_t i = 0; i < n_rows && n_rows > 1; i++) ucb_grid_print(&g, i, out);
    for (size_t i = 0; i < r->n_gains; i++) {
        const struct ucb_ladder_gain *gain = &r->gains[i];
        if (gain->base != NULL) continue;
        const char *command = ucb_ladder_command(r, gain->cell->model, gain->base_spec);
        if (command == NULL) return false;
        ucb_text_add(out, "%s, %ld steps: nothing to compare with; not run: %s\n",
                     gain->cell->spec, gain->steps, command);
    }
    ucb_text_add(out, "\n");
    return !g.failed;
}

/* ---- notes ---- */

/* What is said of finished cells, such as what a model's weights flatter; each once. */
static void print_caveats(const struct ucb_ladder_report *r, struct ucb_text *out)
{
    for (size_t i = 0; i < r->cells.n_cells; i++) {
        const struct ucb_ladder_cell *c = &r->cells.cells[i];
        bool known = c->failed || c->message == NULL || !ucb_ladder_lists(r, c->model);
        for (size_t k = 0; k < i && !known; k++) {
            const struct ucb_ladder_cell *before = &r->cells.cells[k];
            known = !before->failed && before->message != NULL &&
                    ucb_ladder_lists(r, before->model) &&
                    strcmp(before->message, c->message) == 0;
        }
        if (!known) ucb_text_add(out, "Caveat: %s\n", c->message);
    }
}

void ucb_ladder_print_notes(const struct ucb_ladder_report *r, struct ucb_text *out)
{
    const struct ucb_ladder_row *wanted = ucb_ladder_next(&r->ladder, "task", NULL), *row;
    ucb_text_add(
        out,
        "In brackets: 95%% intervals; T1 ret: percentile bootstrap over documents; T1 "
        "agree and ppl ratio: linearised t, clustered by document.\n"
        "All models together: percentiles of %d resamples of models and, of each "
        "model drawn, of documents. With two or three models they are too narrow, so "
        "the models' range stands beside them. [-]: no interval.\n"
        "(rows): counted in the rows that the claim rests on, where its text has no number.\n"
        "Claimed bits count what the seed counts; matrices: every byte written for the "
        "matrices in scope; model: the whole model.\n",
        UCB_LADDER_REPLICATES);
    if (wanted != NULL && strcmp(r->cells.task.spec, wanted->spec) != 0)
        ucb_text_add(out, "The claim's protocol is %s; these results are of %s.\n",
                     wanted->spec, r->cells.task.spec);
    for (row = ucb_ladder_next(&r->ladder, "note", NULL); row != NULL;
         row = ucb_ladder_next(&r->ladder, "note", row))
        ucb_text_add(out, "%s: %s\n", row->name, row->note);
    print_caveats(r, out);
}
