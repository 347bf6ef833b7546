/*
 * report_table.c - the table for a terminal, also as table.txt, and wide as table.csv: one
 * row a cell.
 *
 * A database with tuned layers has a line for each chain and layers.csv besides.
 */
#include <csv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/report_data.h"
#include "report/report_layers.h"
#include "report/rows.h"
#include "report/text_grid.h"

/* spec, three sizes, value and interval of each metric, two counts, peak memory */
_Static_assert(4 + 2 * (int)UCB_N_SHOWN + 3 <= (int)UCB_GRID_COLUMNS,
               "room for all columns");
_Static_assert(4 + (int)UCB_N_PARTS <= (int)UCB_GRID_COLUMNS,
               "room for the table of parts");

static const char *bpw_text(struct ucb_arena *arena, double bpw)
{
    return isnan(bpw) ? "-" : ucb_arena_printf(arena, "%.3f", bpw);
}

/* The interval and, in parentheses, the number of its note. */
static const char *interval_cell(struct ucb_arena *arena, const struct ucb_report_cell *c,
                                 enum ucb_shown which)
{
    const struct ucb_value *v = &c->values[which];
    char text[UCB_VALUE_TEXT];
    ucb_interval_text(v, which, c->n_documents, text);
    if (v->note == 0)
        return ucb_arena_printf(arena, "%s%s", text[0] == '\0' ? "" : " ", text);
    return ucb_arena_printf(arena, " %s (%zu)", text, v->note);
}

static void set_value(struct ucb_grid *g, size_t row, size_t *column,
                      const struct ucb_report_cell *c, enum ucb_shown which)
{
    char value[UCB_VALUE_TEXT];
    ucb_value_text(&c->values[which], which, value);
    ucb_grid_set(g, row, (*column)++, ucb_arena_strdup(g->arena, value));
    ucb_grid_set(g, row, (*column)++, interval_cell(g->arena, c, which));
}

static void set_heading(struct ucb_grid *g, const struct ucb_report_group *group)
{
    size_t column = 0;
    g->left[0] = true;
    ucb_grid_set(g, 0, column++, "spec");
    ucb_grid_set(g, 0, column++, "bpw nominal");
    ucb_grid_set(g, 0, column++, "bpw matrices");
    ucb_grid_set(g, 0, column++, "bpw model");
    for (int k = 0; k < UCB_N_SHOWN; k++) {
        if (!group->has[k]) continue;
        ucb_grid_set(g, 0, column++, ucb_shown[k].heading);
        g->left[column] = true;
        ucb_grid_set(g, 0, column++, "");
    }
    ucb_grid_set(g, 0, column++, "items");
    ucb_grid_set(g, 0, column++, "documents");
    ucb_grid_set(g, 0, column++, "peak GB");
    g->n_columns = column;
}

static void set_cell(struct ucb_grid *g, size_t row, const struct ucb_report_group *group,
                     const struct ucb_report_cell *c)
{
    size_t column = 0;
    ucb_grid_set(g, row, column++, c->label);
    if (c->failed) return;
    ucb_grid_set(g, row, column++, bpw_text(g->arena, c->bpw_nominal));
    ucb_grid_set(g, row, column++, bpw_text(g->arena, c->bpw_matrices));
    ucb_grid_set(g, row, column++, bpw_text(g->arena, c->bpw_model));
    for (int k = 0; k < UCB_N_SHOWN; k++)
        if (group->has[k]) set_value(g, row, &column, c, (enum ucb_shown)k);
    ucb_grid_set(g, row, column++,
                 ucb_arena_printf(g->arena, "%lld", (long long)c->n_items));
    ucb_grid_set(g, row, column++,
                 ucb_arena_printf(g->arena, "%lld", (long long)c->n_documents));
    ucb_grid_set(g, row, column,
                 isnan(c->peak_rss_bytes)
                     ? "-"
                     : ucb_arena_printf(g->arena, "%.2f", c->peak_rss_bytes * 1e-9));
}

/* Below the table: a sentence is wider than a column. */
static void print_verdicts(const struct ucb_grid *g, const struct ucb_report_group *group,
                           struct ucb_text *out)
{
    bool first = true;
    for (size_t i = 0; i < group->n_cells; i++) {
        const struct ucb_report_cell *c = &group->cells[i];
        if (c->verdict == NULL) continue;
        if (first)
            ucb_text_add(out,
                         "\nVerdicts (B is the cell, A its original; each by itself, not "
                         "adjusted for their number; q: of a change of perplexity, by "
                         "Benjamini and Hochberg over this table)\n");
        ucb_text_add(out, "%-*s  %s", g->width[0], c->label, c->verdict);
        if (!isnan(c->change_q)) ucb_text_add(out, "; q = %.2g", c->change_q);
        ucb_text_add(out, "\n");
        first = false;
    }
}

static bool print_group(struct ucb_arena *arena, const struct ucb_report_group *group,
                        struct ucb_text *out)
{
    struct ucb_grid g;
    if (!ucb_grid_open(&g, arena, group->n_cells + 1)) return false;
    set_heading(&g, group);
    for (size_t i = 0; i < group->n_cells; i++)
        set_cell(&g, i + 1, group, &group->cells[i]);
    ucb_text_add(out, "%s, %s on %s\n\n", group->model, group->task, group->dataset);
    ucb_grid_print(&g, 0, out);
    for (size_t i = 0; i < group->n_cells; i++) {
        const struct ucb_report_cell *c = &group->cells[i];
        if (!c->failed)
            ucb_grid_print(&g, i + 1, out);
        else
            ucb_text_add(out, "%-*s  FAILED: %s\n", g.width[0], c->label,
                         c->message == NULL ? "no message" : c->message);
    }
    print_verdicts(&g, group, out);
    ucb_text_add(out, "\n");
    return !g.failed;
}

/* What the bits of each method are: nominal, then by purpose, then their sum. */
static void set_sizes(struct ucb_grid *g, const bool *used,
                      const struct ucb_report_cell *const *list, size_t n)
{
    size_t column = 0;
    g->left[0] = g->left[1] = true;
    ucb_grid_set(g, 0, column++, "model");
    ucb_grid_set(g, 0, column++, "  spec");
    ucb_grid_set(g, 0, column++, "bpw nominal");
    for (int part = 0; part < UCB_N_PARTS; part++)
        if (used[part]) ucb_grid_set(g, 0, column++, ucb_part_name((enum ucb_part)part));
    ucb_grid_set(g, 0, column++, "bpw matrices");
    g->n_columns = column;
    for (size_t i = 0; i < n; i++) {
        column = 0;
        ucb_grid_set(g, i + 1, column++, list[i]->model);
        ucb_grid_set(g, i + 1, column++,
                     ucb_arena_printf(g->arena, "  %s", list[i]->label));
        ucb_grid_set(g, i + 1, column++, bpw_text(g->arena, list[i]->bpw_nominal));
        for (int part = 0; part < UCB_N_PARTS; part++)
            if (used[part])
                ucb_grid_set(g, i + 1, column++,
                             bpw_text(g->arena, list[i]->bpw_parts[part]));
        ucb_grid_set(g, i + 1, column, bpw_text(g->arena, list[i]->bpw_matrices));
    }
}

static bool print_sizes(struct ucb_arena *arena, const struct ucb_report_data *data,
                        struct ucb_text *out)
{
    size_t n;
    bool used[UCB_N_PARTS];
    const struct ucb_report_cell **list = ucb_report_sizes(arena, data, &n, used);
    struct ucb_grid g;
    if (list == NULL || !ucb_grid_open(&g, arena, n + 1)) return false;
    set_sizes(&g, used, list, n);
    ucb_text_add(out, "Where the bits per weight go, counted from the bytes written\n\n");
    for (size_t row = 0; row < g.n_rows; row++) ucb_grid_print(&g, row, out);
    ucb_text_add(out, "\n");
    return !g.failed;
}

static void print_notes(struct ucb_report_job *job, const struct ucb_report_data *data,
                        struct ucb_text *out)
{
    size_t n = 0;
    const char **caveats = ucb_report_caveats(job->arena, data, &n);
    ucb_text_add(out, "In brackets: 95%% intervals (");
    ucb_interval_legend(data, out);
    ucb_text_add(
        out,
        ").\n[-]: no interval, the data are too few; -: not defined for the cell.\n"
        "documents: the n that intervals rest on, n=... beside one that rests on another; items: the "
        "pieces of documents that were scored.\n"
        "bpw nominal: what the method is quoted at; bpw matrices: every byte written for the "
        "matrices in scope; bpw model: the whole model.\n"
        "peak GB: most resident memory while the cell and those of its group were made, on the "
        "machine of the run.\n");
    for (size_t i = 0; i < data->n_notes; i++)
        ucb_text_add(out, "(%zu) %s\n", i + 1, data->notes[i]);
    for (size_t i = 0; i < n; i++) ucb_text_add(out, "Caveat: %s\n", caveats[i]);
    ucb_text_add(out, "Digest of the results: %s\n", data->digest);
}

/* ---- table.csv ---- */

static void csv_text(FILE *stream, const char *text)
{
    if (text == NULL) text = "";
    csv_fwrite(stream, text, strlen(text));
}

static void csv_real(FILE *stream, bool present, double value)
{
    char text[UCB_REAL_TEXT];
    fprintf(stream, ",%s", present && !isnan(value) ? ucb_real_text(value, text) : "");
}

static void csv_value(FILE *stream, const struct ucb_value *v,
                      const struct ucb_report_data *data)
{
    csv_real(stream, v->present, v->value);
    csv_real(stream, v->present, v->low);
    csv_real(stream, v->present, v->high);
    fputc(',', stream);
    if (v->present) fprintf(stream, "%lld", (long long)v->n);
    fputc(',', stream);
    csv_text(stream, v->interval);
    fputc(',', stream);
    csv_text(stream, v->note == 0 ? NULL : data->notes[v->note - 1]);
}

static void csv_cell(FILE *stream, const struct ucb_report_cell *c,
                     const struct ucb_report_data *data)
{
    const char *const texts[] = {c->model, c->task, c->dataset, c->label,
                                 c->failed ? "FAILED" : "OK"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (i > 0) fputc(',', stream);
        csv_text(stream, texts[i]);
    }
    csv_real(stream, true, c->bpw_nominal);
    csv_real(stream, true, c->bpw_matrices);
    csv_real(stream, true, c->bpw_model);
    fprintf(stream, ",%lld", (long long)c->n_items);
    for (int k = 0; k < UCB_N_SHOWN; k++) csv_value(stream, &c->values[k], data);
    csv_real(stream, true, c->peak_rss_bytes);
    fputc(',', stream);
    csv_text(stream, c->message);
    fputc(',', stream);
    csv_text(stream, c->verdict);
    csv_real(stream, true, c->change_q);
    fputc('\n', stream);
}

static ucb_status write_csv(const char *path, const struct ucb_report_data *data,
                            struct ucb_err *err)
{
    struct ucb_out_file out;
    UCB_TRY(ucb_out_open(path, &out, err));
    fputs("model,task,dataset,spec,status,bpw_nominal,bpw_matrices,bpw_model,n_items",
          out.stream);
    for (int k = 0; k < UCB_N_SHOWN; k++) {
        const char *name = ucb_shown[k].name;
        fprintf(out.stream, ",%s,%s_low,%s_high,%s_n,%s_interval,%s_note", name, name, name,
                name, name, name);
    }
    fputs(",peak_rss_bytes,message,verdict,ppl_ratio_q\n", out.stream);
    for (size_t i = 0; i < data->n_cells; i++) csv_cell(out.stream, &data->cells[i], data);
    return ucb_out_commit(&out, err);
}

/* ---- the report ---- */

static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    struct ucb_report_data data;
    struct ucb_report_layers layers;
    struct ucb_text text = {0};
    ucb_status status = UCB_OK;
    bool enough = true;
    UCB_TRY(ucb_report_load(job, &data, err));
    UCB_TRY(ucb_report_verdicts(job, &data, err));
    for (size_t i = 0; i < data.n_groups && enough; i++)
        enough = print_group(job->arena, &data.groups[i], &text);
    if (enough) enough = print_sizes(job->arena, &data, &text);
    UCB_TRY_OUT(ucb_report_layers_load(job, &data, &layers, err));
    ucb_report_layers_print(&layers, &text);
    print_notes(job, &data, &text);
    const char *txt = ucb_report_path(job, "table.txt"),
               *csv = ucb_report_path(job, "table.csv");
    if (!enough || text.failed || txt == NULL || csv == NULL) {
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for a table of %zu cells",
                          data.n_cells);
        goto out;
    }
    UCB_TRY_OUT(ucb_file_write(txt, text.data, text.n_chars, err));
    UCB_TRY_OUT(write_csv(csv, &data, err));
    UCB_TRY_OUT(ucb_report_layers_csv(job, &layers, err));
    if (!job->quiet) fputs(text.data, stdout);
out:
    ucb_text_free(&text);
    return status;
}

const struct ucb_report ucb_report_table = {
    "table", "a table for the terminal, as text and CSV", run};
