/*
 * report_layers.c - see report_layers.h. The cells of a chain on several tasks share a
 * pass, so each chain is taken once.
 */
#include "report/report_layers.h"

#include <csv.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "report/rows.h"
#include "stats/quantile.h"

static const char query[] =
    "SELECT layer, seconds, peak_rss_bytes, loss_before, loss_after FROM v_layers"
    " WHERE cell_id = ? AND build_id = ? AND loss_before IS NOT NULL ORDER BY layer";

static ucb_status fail_query(struct ucb_report_job *job, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read its layers: %s", job->database,
                    sqlite3_errmsg(ucb_store_db(job->store)));
}

/* ---- rows -> layers ---- */

static ucb_status add_layer(struct ucb_report_job *job, sqlite3_stmt *row,
                            struct ucb_report_layer **layers, size_t *n, size_t *capacity,
                            struct ucb_err *err)
{
    if (*n == *capacity) {
        *capacity = *capacity == 0 ? 64 : 2 * *capacity;
        struct ucb_report_layer *more = UCB_NEW(job->arena, struct ucb_report_layer,
                                                *capacity);
        if (more == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu layers", *capacity);
        if (*n > 0) memcpy(more, *layers, *n * sizeof(*more));
        *layers = more;
    }
    (*layers)[(*n)++] = (struct ucb_report_layer){
        .layer = (uint32_t)sqlite3_column_int64(row, 0),
        .seconds = sqlite3_column_double(row, 1),
        .peak_rss_bytes = (double)sqlite3_column_int64(row, 2),
        .loss_before = sqlite3_column_double(row, 3),
        .loss_after = sqlite3_column_type(row, 4) == SQLITE_NULL
                          ? NAN
                          : sqlite3_column_double(row, 4)};
    return UCB_OK;
}

static ucb_status read_chain(struct ucb_report_job *job, sqlite3_stmt *rows,
                             struct ucb_report_chain *chain, struct ucb_err *err)
{
    struct ucb_report_layer *layers = NULL;
    size_t n = 0, capacity = 0;
    int code;
    sqlite3_reset(rows);
    sqlite3_bind_text(rows, 1, chain->cell->cell_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(rows, 2, chain->cell->build_id, -1, SQLITE_STATIC);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW)
        UCB_TRY(add_layer(job, rows, &layers, &n, &capacity, err));
    chain->layers = layers;
    chain->n_layers = n;
    return code == SQLITE_DONE ? UCB_OK : fail_query(job, err);
}

static ucb_status summarize(struct ucb_report_job *job, struct ucb_report_chain *chain,
                            struct ucb_err *err)
{
    double *falls = UCB_NEW(job->arena, double, chain->n_layers),
           *seconds = UCB_NEW(job->arena, double, chain->n_layers);
    size_t n = 0;
    if (falls == NULL || seconds == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu layers", chain->n_layers);
    for (size_t i = 0; i < chain->n_layers; i++) {
        const struct ucb_report_layer *layer = &chain->layers[i];
        if (layer->loss_before > 0 && !isnan(layer->loss_after))
            falls[n++] = 1 - layer->loss_after / layer->loss_before;
        chain->n_worse += layer->loss_after > layer->loss_before;
        seconds[i] = layer->seconds;
        chain->peak_rss_bytes = fmax(chain->peak_rss_bytes, layer->peak_rss_bytes);
    }
    ucb_sort(falls, n);
    ucb_sort(seconds, chain->n_layers);
    chain->fall_median = n == 0 ? NAN : ucb_quantile_sorted(falls, n, 0.5);
    chain->seconds = ucb_quantile_sorted(seconds, chain->n_layers, 0.5);
    return UCB_OK;
}

static ucb_status read_chains(struct ucb_report_job *job, sqlite3_stmt *rows,
                              const struct ucb_report_cell *const *cells, size_t n_cells,
                              struct ucb_report_chain *chains, size_t *n,
                              struct ucb_err *err)
{
    for (size_t i = 0; i < n_cells; i++) {
        struct ucb_report_chain chain = {.cell = cells[i]};
        UCB_TRY(read_chain(job, rows, &chain, err));
        if (chain.n_layers == 0) continue;
        UCB_TRY(summarize(job, &chain, err));
        chains[(*n)++] = chain;
    }
    return UCB_OK;
}

ucb_status ucb_report_layers_load(struct ucb_report_job *job,
                                  const struct ucb_report_data *data,
                                  struct ucb_report_layers *out, struct ucb_err *err)
{
    size_t n_cells, n = 0;
    bool used[UCB_N_PARTS];
    sqlite3_stmt *rows = NULL;
    const struct ucb_report_cell **cells = ucb_report_sizes(job->arena, data, &n_cells,
                                                            used);
    struct ucb_report_chain *chains = UCB_NEW(job->arena, struct ucb_report_chain,
                                              data->n_cells);
    if (cells == NULL || chains == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the layers of %zu cells",
                        data->n_cells);
    ucb_status status = sqlite3_prepare_v2(ucb_store_db(job->store), query, -1, &rows,
                                           NULL) != SQLITE_OK
                            ? fail_query(job, err)
                            : read_chains(job, rows, cells, n_cells, chains, &n, err);
    sqlite3_finalize(rows);
    *out = (struct ucb_report_layers){chains, n};
    return status;
}

/* ---- text ---- */

void ucb_report_chain_print(const struct ucb_report_chain *c, struct ucb_text *out)
{
    if (isnan(c->fall_median))
        ucb_text_add(out, "no layer has a loss");
    else
        ucb_text_add(out, "layer loss %s by %.3g%% in the median",
                     c->fall_median < 0 ? "rose" : "fell", 100 * fabs(c->fall_median));
    ucb_text_add(out, ", %zu of %zu layers worse; %.3g s a layer, at most %.2f GB",
                 c->n_worse, c->n_layers, c->seconds, c->peak_rss_bytes * 1e-9);
}

void ucb_report_layers_print(const struct ucb_report_layers *layers, struct ucb_text *out)
{
    if (layers->n_chains == 0) return;
    ucb_text_add(out, "What tuning did, layer by layer (layers.csv)\n\n");
    for (size_t i = 0; i < layers->n_chains; i++) {
        const struct ucb_report_chain *c = &layers->chains[i];
        ucb_text_add(out, "%s, %s: ", c->cell->model, c->cell->label);
        ucb_report_chain_print(c, out);
        ucb_text_add(out, "\n");
    }
    ucb_text_add(out, "\n");
}

static void csv_text(FILE *stream, const char *text)
{
    csv_fwrite(stream, text, strlen(text));
    fputc(',', stream);
}

static void csv_layer(FILE *stream, const struct ucb_report_cell *cell,
                      const struct ucb_report_layer *layer)
{
    const double values[] = {layer->seconds, layer->peak_rss_bytes, layer->loss_before,
                             layer->loss_after};
    char text[UCB_REAL_TEXT];
    csv_text(stream, cell->model);
    csv_text(stream, cell->label);
    fprintf(stream, "%u", layer->layer);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        fprintf(stream, ",%s", isnan(values[i]) ? "" : ucb_real_text(values[i], text));
    fputc('\n', stream);
}

ucb_status ucb_report_layers_csv(struct ucb_report_job *job,
                                 const struct ucb_report_layers *layers,
                                 struct ucb_err *err)
{
    struct ucb_out_file out;
    if (layers->n_chains == 0) return UCB_OK;
    const char *path = ucb_report_path(job, "layers.csv");
    if (path == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a path");
    UCB_TRY(ucb_out_open(path, &out, err));
    fputs("model,spec,layer,seconds,peak_rss_bytes,loss_before,loss_after\n", out.stream);
    for (size_t i = 0; i < layers->n_chains; i++) {
        const struct ucb_report_chain *chain = &layers->chains[i];
        for (size_t k = 0; k < chain->n_layers; k++)
            csv_layer(out.stream, chain->cell, &chain->layers[k]);
    }
    return ucb_out_commit(&out, err);
}
