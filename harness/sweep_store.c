/*
 * sweep_store.c - from an evaluation's results to stored cells: sizes, metrics, checks,
 * notes.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/peak.h"
#include "core/resource.h"
#include "eval/metrics.h"
#include "sweep_internal.h"

static struct ucb_sizes sizes_of(const struct ucb_sweep_group *g,
                                 const struct ucb_tally *tally)
{
    struct ucb_sizes s = {.n_weights = tally->n_weights,
                          .n_parameters = ucb_model_n_parameters(g->model),
                          .model_file_bytes = ucb_model_file_bytes(g->model)};
    memcpy(s.part_bytes, tally->part_bytes, sizeof(s.part_bytes));
    s.rest_bytes = s.model_file_bytes - tally->stored_bytes - tally->extra_stored_bytes +
                   tally->extra_bytes;
    s.bpw_nominal = tally->n_weights > 0 ? tally->nominal_bits / (double)tally->n_weights
                                         : 0;
    s.bpw_claimed = tally->n_weights > 0 ? tally->claimed_bits / (double)tally->n_weights
                                         : 0;
    return s;
}

static void show_metric(const struct ucb_metric *m)
{
    fprintf(stderr, " %s %.5g", m->name, m->value);
    if (isnan(m->low))
        fprintf(stderr, " (no interval, n = %llu)", (unsigned long long)m->n);
    else
        fprintf(stderr, " [%.5g, %.5g], n = %llu;", m->low, m->high,
                (unsigned long long)m->n);
}

static void show_cell(const struct ucb_cell *cell, const struct ucb_metric *metrics,
                      size_t n)
{
    fprintf(stderr, "  %-32s %-36s", ucb_sweep_cell_name(cell), cell->task);
    for (size_t i = 0; i < n; i++)
        if (strcmp(metrics[i].name, "ppl") == 0 || strcmp(metrics[i].name, "kld_mean") == 0)
            show_metric(&metrics[i]);
    fprintf(stderr, "%s%s\n", cell->calib[0] == '\0' ? "" : "  ", cell->calib);
}

/* One more thing to say of a cell, before what there was; NULL where memory ran out. */
static const char *say(struct ucb_arena *arena, const char *before, const char *also)
{
    if (before == NULL || also == NULL) return also;
    return ucb_arena_printf(arena, "%s; %s", also, before);
}

/* Of a calibrated method that saw no input of some matrices. */
static const char *uncalibrated_note(struct ucb_arena *arena, const struct ucb_cell *cell,
                                     uint32_t n)
{
    return ucb_arena_printf(
        arena, "%u %s no calibration input but zeros or none at all, and %s", (unsigned)n,
        n == 1 ? "matrix had" : "matrices had",
        strncmp(cell->identity, "gptq#", 5) == 0 ? "fell back to round-to-nearest"
                                                 : "were compressed without statistics");
}

/* The group's note, what must be said of a method that saw the test text, and of one that
 * saw no input of some matrices. NULL: nothing; NOMEM is a failure, not silence. */
static ucb_status message_of(struct ucb_sweep_group *g, const struct ucb_cell *cell,
                             const struct ucb_tally *tally, const char **out,
                             struct ucb_err *err)
{
    const char *text = g->note;
    bool failed = false;
    if (tally->n_uncalibrated > 0) {
        text = say(&g->arena, text,
                   uncalibrated_note(&g->arena, cell, tally->n_uncalibrated));
        failed |= text == NULL;
    }
    if (ucb_calib_is_contaminated(cell->calib)) {
        text = say(&g->arena, text, "contaminated: calibrated on the test text");
        failed |= text == NULL;
    }
    if (failed)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the notes of %s", cell->spec);
    *out = text;
    return UCB_OK;
}

static ucb_status samples_of(const struct ucb_sweep_task *t,
                             const struct ucb_sample *samples, struct ucb_arena *arena,
                             struct ucb_samples *out, struct ucb_err *err)
{
    uint32_t *document = UCB_NEW(arena, uint32_t, t->items.n_items);
    if (document == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu items", t->items.n_items);
    for (size_t i = 0; i < t->items.n_items; i++) document[i] = t->items.items[i].document;
    *out = (struct ucb_samples){samples, document, t->items.n_items, t->items.documents,
                                t->items.n_documents};
    return UCB_OK;
}

static ucb_status store_failed(struct ucb_sweep_group *g, const struct ucb_cell *cell,
                               const struct ucb_err *why, struct ucb_err *err)
{
    struct ucb_cell_result result = {
        .failed = true, .message = why->text, .reason = ucb_status_name(why->status)};
    g->counts->n_failed++;
    ucb_progress_end(&g->progress);
    fprintf(stderr, "  FAILED %s%s%s, %s: %s\n", ucb_sweep_cell_name(cell),
            cell->calib[0] == '\0' ? "" : ", ", cell->calib, cell->task, why->text);
    return ucb_store_put_cell(g->options->store, g->options->run_id, ucb_build_id(), cell,
                              &result, err);
}

/* The second decode ran in one thread; against one thread it says nothing about threads. */
static void add_checks(const struct ucb_sweep_group *g, const struct ucb_tally *tally,
                       struct ucb_cell_result *out)
{
    if (tally->n_decoded_twice == 0) return;
    bool same = tally->n_decodes_differing == 0,
         threads = ucb_pool_threads(g->options->pool) > 1;
    out->checks[0].name = "decode_deterministic";
    out->checks[0].status = same ? "PASS" : "FAIL";
    out->checks[0].detail =
        same ? "the first layer's payloads decoded again: equal bits"
             : "a second decode of the first layer's payloads gave other bits";
    out->checks[1].name = "threads_invariant";
    out->checks[1].status = !threads ? "SKIPPED" : same ? "PASS" : "FAIL";
    out->checks[1].detail = !threads ? "the sweep ran in one thread"
                                     : "decode of the first layer, all threads against one";
}

/* Nothing measured is nothing that differs. */
static bool resident_agrees(const struct ucb_eval_result *r)
{
    return r->resident.n_matrices == 0 || r->resident.same_bits;
}

static void add_resident_check(const struct ucb_eval_result *r, struct ucb_cell_result *out)
{
    size_t i = 0;
    if (r->resident.n_matrices == 0) return;
    while (out->checks[i].name != NULL) i++;
    out->checks[i].name = "resident_same_bits";
    out->checks[i].status = resident_agrees(r) ? "PASS" : "FAIL";
    out->checks[i].detail =
        resident_agrees(r)
            ? "products of the first layer, encoded against decoded: equal bits"
            : "a product of the first layer has other bits from the encoded form";
}

/* Of a pass on a GPU. */
static void add_device_cost(const struct ucb_sweep_group *g, struct ucb_metric *costs,
                            size_t *n)
{
    uint64_t bytes = ucb_backend_device_peak_bytes(g->backend);
    if (bytes > 0)
        costs[(*n)++] = (struct ucb_metric){
            "peak_device_bytes", (double)bytes, NAN, NAN, 1, "none", NULL};
}

/* One finished cell: metrics, sizes, samples. A cell whose statistics cannot be made is a
 * failed cell. */
static ucb_status store_cell(struct ucb_sweep_group *g, const struct ucb_sweep_method *m,
                             size_t task, const struct ucb_eval_result *r,
                             const struct ucb_sample *own,
                             const struct ucb_sample *original, struct ucb_err *err)
{
    const struct ucb_sweep_task *t = &g->tasks[task];
    const struct ucb_cell *cell = &m->cell[task];
    struct ucb_arena arena;
    struct ucb_metric metrics[UCB_MAX_METRICS], costs[UCB_SWEEP_RESIDENT_COSTS + 1];
    struct ucb_samples samples, reference;
    struct ucb_err why = {0};
    struct ucb_cell_result result = {.sizes = sizes_of(g, &r->tally),
                                     .encode_seconds = r->tally.encode_seconds,
                                     .decode_seconds = r->tally.decode_seconds,
                                     .tokens_per_second = r->tokens_per_second,
                                     .peak_rss_bytes = ucb_peak_rss(),
                                     .task = t->run.task,
                                     .items = &t->items,
                                     .metrics = metrics,
                                     .layers = r->layers,
                                     .n_layers = ucb_model_arch(g->model)->n_layers,
                                     .costs = costs};
    memcpy(result.weights_digest, r->weights_digest, sizeof(result.weights_digest));
    add_checks(g, &r->tally, &result);
    add_resident_check(r, &result);
    ucb_arena_init(&arena);
    ucb_status status = message_of(g, cell, &r->tally, &result.message, &why);
    if (status == UCB_OK) status = samples_of(t, own, &arena, &samples, &why);
    if (status == UCB_OK) status = samples_of(t, original, &arena, &reference, &why);
    if (status == UCB_OK)
        status = ucb_sweep_resident_costs(r, costs, &result.n_costs, &why);
    add_device_cost(g, costs, &result.n_costs);
    if (status == UCB_OK)
        status = ucb_metrics_compute(t->run.task, t->run.spec, &samples,
                                     own == original ? NULL : &reference, cell->seed,
                                     &arena, metrics, &result.n_metrics, &why);
    if (status != UCB_OK) {
        status = store_failed(g, cell, &why, err);
    } else {
        result.samples = samples;
        status = ucb_store_put_cell(g->options->store, g->options->run_id, ucb_build_id(),
                                    cell, &result, err);
        if (status == UCB_OK) {
            g->counts->n_new++;
            g->counts->n_checks_failed += r->tally.n_decodes_differing > 0 ||
                                          !resident_agrees(r);
            ucb_progress_end(&g->progress);
            show_cell(cell, metrics, result.n_metrics);
        }
    }
    ucb_arena_free(&arena);
    return status;
}

ucb_status ucb_sweep_store_method(struct ucb_sweep_group *g,
                                  const struct ucb_sweep_method *m, const size_t *set,
                                  size_t n_sets, const struct ucb_eval_result *own,
                                  const struct ucb_eval_result *original,
                                  struct ucb_err *err)
{
    if (g->options->keep_encoded && own->status == UCB_OK) {
        ucb_progress_end(&g->progress);
        ucb_sweep_resident_show(m, own);
    }
    for (size_t s = 0; s < n_sets; s++) {
        if ((m->pending >> set[s] & 1) == 0) continue;
        if (own->status != UCB_OK)
            UCB_TRY(store_failed(g, &m->cell[set[s]], &own->err, err));
        else
            UCB_TRY(
                store_cell(g, m, set[s], own, own->samples[s], original->samples[s], err));
    }
    return UCB_OK;
}
