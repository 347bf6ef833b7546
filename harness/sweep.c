/*
 * sweep.c - see sweep.h. The original is always measured, asked for or not: every other
 * cell is compared with it.
 *
 * Cells of one model are partitioned by the tasks they still need; in each part the
 * original's pass runs once, then the methods in groups, and a method's cells are stored
 * when its group is through.
 */
#include "sweep_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/peak.h"
#include "core/resource.h"
#include "core/text.h"
#include "model/catalog.h"
#include "pack/unpack.h"

/* ---- plan -> slots ---- */

static bool same_group(const struct ucb_plan_row *a, const struct ucb_plan_row *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->scope, b->scope) == 0 &&
           strcmp(a->arithmetic, b->arithmetic) == 0 && strcmp(a->seed, b->seed) == 0;
}

static ucb_status task_slot(struct ucb_sweep_group *g, const char *text, size_t *slot,
                            struct ucb_err *err)
{
    struct ucb_task_run run;
    UCB_TRY(ucb_task_parse(text, &run, err));
    for (*slot = 0; *slot < g->n_tasks; (*slot)++)
        if (strcmp(g->tasks[*slot].run.spec, run.spec) == 0) return UCB_OK;
    if (g->n_tasks == UCB_SWEEP_MAX_TASKS)
        return UCB_FAIL(err, UCB_USAGE, "more than %d tasks for one model",
                        UCB_SWEEP_MAX_TASKS);
    struct ucb_sweep_task *t = &g->tasks[g->n_tasks++];
    t->run = run;
    return ucb_task_dataset(&t->run, g->options->data, &t->dataset, t->dataset_digest, err);
}

/* A slot is a chain with its calibration: rows that differ only in that share the
 * original's pass. */
static ucb_status method_slot(struct ucb_sweep_group *g, const char *text,
                              const char *calib_text, struct ucb_sweep_method **slot,
                              struct ucb_err *err)
{
    struct ucb_chain *chain;
    struct ucb_sweep_calib *calib;
    UCB_TRY(ucb_chain_parse(text, &g->arena, &chain, err));
    UCB_TRY(ucb_sweep_calib_slot(g, chain, calib_text, &calib, err));
    for (size_t i = 0; i < g->n_methods; i++) {
        *slot = &g->methods[i];
        if ((*slot)->calib == calib &&
            strcmp(ucb_chain_identity((*slot)->chain), ucb_chain_identity(chain)) == 0)
            return UCB_OK;
    }
    if (g->n_methods == UCB_SWEEP_MAX_METHODS)
        return UCB_FAIL(err, UCB_USAGE, "more than %d methods for one model",
                        UCB_SWEEP_MAX_METHODS);
    *slot = &g->methods[g->n_methods++];
    **slot = (struct ucb_sweep_method){.chain = chain, .calib = calib};
    return UCB_OK;
}

static ucb_status collect(struct ucb_sweep_group *g, const struct ucb_plan *plan,
                          const bool *mine, struct ucb_err *err)
{
    struct ucb_sweep_method *slot;
    UCB_TRY(method_slot(g, "none", "", &slot, err));
    g->floor = (struct ucb_sweep_method){.chain = slot->chain};
    for (size_t i = 0; i < plan->n_rows; i++) {
        const struct ucb_plan_row *row = &plan->rows[i];
        size_t task;
        if (!mine[i]) continue;
        UCB_TRY(task_slot(g, row->task, &task, err));
        UCB_TRY(method_slot(g, row->method, row->calib, &slot, err));
        slot->wanted |= 1u << task;
        g->methods[0].wanted |= 1u << task;
        if (ucb_sweep_floor_asked(g) && ucb_sweep_floor_owned(plan, mine, i))
            g->floor.wanted |= 1u << task;
    }
    return UCB_OK;
}

static void fill_cell(const struct ucb_sweep_group *g, const struct ucb_sweep_method *m,
                      const struct ucb_sweep_task *t, struct ucb_cell *cell)
{
    *cell = (struct ucb_cell){
        .model = g->model_name,
        .model_digest = g->model_digest,
        .scope = ucb_scope_name(g->scope),
        .method = ucb_chain_name(m->chain),
        .spec = ucb_chain_spec(m->chain),
        .identity = ucb_chain_identity(m->chain),
        .calib = m->calib == NULL ? "" : m->calib->identity,
        .task = t->run.spec,
        .task_revision = t->run.task->revision,
        .dataset = t->dataset,
        .dataset_digest = t->dataset_digest,
        .arithmetic = g->arithmetic_identity,
        .arithmetic_revision = ucb_arithmetic_revision(g->arithmetic),
        .seed = g->seed,
    };
    if (m == &g->floor) ucb_sweep_floor_cell(g, cell);
    ucb_cell_identify(cell);
}

static void list_cell(const struct ucb_sweep_group *g, const struct ucb_sweep_method *m,
                      const struct ucb_cell *cell, bool finished)
{
    json_t *entry;
    if (g->options->listing == NULL) {
        printf("%.12s  %-8s  %-20s  %-32s  %-36s  %s%s%s\n", cell->id,
               finished            ? "finished"
               : m->misfit != NULL ? "cannot"
                                   : "to do",
               cell->model, ucb_sweep_cell_name(cell), cell->task, cell->arithmetic,
               cell->calib[0] == '\0' ? "" : "  ", cell->calib);
        return;
    }
    entry = json_pack("{s:s, s:b, s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "cell_id", cell->id,
                      "finished", finished, "model", ucb_json_text(cell->model), "spec",
                      cell->spec, "task", cell->task, "scope", cell->scope, "arithmetic",
                      cell->arithmetic, "calib", cell->calib, "reference",
                      cell->reference == NULL ? "" : cell->reference);
    json_object_set_new(entry, "cannot",
                        m->misfit == NULL ? json_null() : ucb_json_text(m->misfit));
    json_array_append_new(g->options->listing, entry);
}

/* Finds which cells of a method are finished under this build; those are adopted by the
 * run. */
static ucb_status find_finished(struct ucb_sweep_group *g, struct ucb_sweep_method *m,
                                struct ucb_err *err)
{
    struct ucb_store *store = g->options->store;
    for (size_t t = 0; t < g->n_tasks; t++) {
        bool found = false;
        if ((m->wanted >> t & 1) == 0) continue;
        fill_cell(g, m, &g->tasks[t], &m->cell[t]);
        if (store != NULL)
            UCB_TRY(ucb_store_has_cell(store, m->cell[t].id, ucb_build_id(), &found, err));
        g->counts->n_cells++;
        if (found) {
            g->counts->n_finished_before++;
            if (!g->options->dry_run)
                UCB_TRY(ucb_store_adopt_cell(store, g->options->run_id, ucb_build_id(),
                                             m->cell[t].id, err));
        } else {
            m->pending |= 1u << t;
        }
        if (g->options->dry_run) list_cell(g, m, &m->cell[t], found);
    }
    return UCB_OK;
}

/* A task that no method can run on the model's shapes needs no noise floor. */
static ucb_status find_pending(struct ucb_sweep_group *g, struct ucb_err *err)
{
    uint32_t compressed = 0;
    for (size_t i = 0; i < g->n_methods; i++) {
        UCB_TRY(find_finished(g, &g->methods[i], err));
        if (i > 0 && g->methods[i].misfit == NULL) compressed |= g->methods[i].wanted;
    }
    g->floor.wanted &= compressed;
    return find_finished(g, &g->floor, err);
}

/* ---- evaluation ---- */

/* How many of todo[0 .. n_todo) have the first one's calibration, from the first one on. */
static size_t count_alike(struct ucb_sweep_method *const *todo, size_t n_todo)
{
    size_t n = 1;
    while (n < n_todo && todo[n]->calib == todo[0]->calib) n++;
    return n;
}

/* `todo` is ordered by calibration: a group has one. */
static ucb_status run_methods(struct ucb_sweep_group *g, struct ucb_eval *eval,
                              struct ucb_sweep_method **todo, size_t n_todo,
                              const size_t *set, size_t n_sets,
                              const struct ucb_eval_result *original, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    for (size_t i = 0, n; i < n_todo && status == UCB_OK; i += n) {
        const struct ucb_sweep_calib *calib = todo[i]->calib;
        ucb_eval_set_calib(eval, calib == NULL ? NULL : &calib->text);
        size_t limit = ucb_eval_group_limit(eval);
        n = count_alike(todo + i, n_todo - i);
        if (n > limit) n = limit;
        const struct ucb_chain *chains[16];
        struct ucb_eval_result results[16];
        assert(n <= 16);
        for (size_t j = 0; j < n; j++) chains[j] = todo[i + j]->chain;
        ucb_peak_restart();
        ucb_backend_restart_device_peak(g->backend);
        UCB_TRY(ucb_eval_group(eval, chains, n, &g->progress, results, err));
        for (size_t j = 0; j < n; j++) {
            if (status == UCB_OK)
                status = ucb_sweep_store_method(g, todo[i + j], set, n_sets, &results[j],
                                                original, err);
            ucb_eval_result_free(&results[j]);
        }
    }
    return status;
}

/* The methods that still need exactly the tasks of `mask`, those of one calibration
 * together; how many. */
static size_t list_methods(struct ucb_sweep_group *g, uint32_t mask,
                           struct ucb_sweep_method **todo)
{
    size_t n_todo = 0;
    for (size_t c = 0; c <= g->n_calibs; c++)
        for (size_t i = 1; i < g->n_methods; i++)
            if (g->methods[i].pending == mask &&
                g->methods[i].calib == (c == 0 ? NULL : &g->calibs[c - 1]))
                todo[n_todo++] = &g->methods[i];
    return n_todo;
}

/* The original's pass and cells. A model that cannot be run (*lost) fails all its cells. */
static ucb_status run_original(struct ucb_sweep_group *g, struct ucb_eval *eval,
                               struct ucb_sweep_method **todo, size_t n_todo,
                               const size_t *set, size_t n_sets,
                               struct ucb_eval_result *original, bool *lost,
                               struct ucb_err *err)
{
    ucb_status status = ucb_eval_original(eval, g->methods[0].chain, &g->progress, original,
                                          err);
    *lost = status == UCB_CORRUPT ||
            status == UCB_UNSUPPORTED; /* the model's fault, not the machine's */
    if (*lost) {
        ucb_err_prefix(&original->err, "the original cannot be scored");
        status = UCB_OK;
    }
    if (status == UCB_OK)
        status = ucb_sweep_store_method(g, &g->methods[0], set, n_sets, original, original,
                                        err);
    for (size_t i = 0; i < n_todo && *lost && status == UCB_OK; i++)
        status = ucb_sweep_store_method(g, todo[i], set, n_sets, original, original, err);
    return status;
}

/* Those methods; the original is among them or only the reference. */
static ucb_status run_part(struct ucb_sweep_group *g, uint32_t mask, struct ucb_err *err)
{
    const struct ucb_items *sets[UCB_SWEEP_MAX_TASKS];
    size_t set[UCB_SWEEP_MAX_TASKS], n_sets = 0;
    struct ucb_sweep_method **todo = UCB_NEW(&g->arena, struct ucb_sweep_method *,
                                             g->n_methods);
    if (todo == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a list of methods");
    for (size_t t = 0; t < g->n_tasks; t++) {
        if ((mask >> t & 1) == 0) continue;
        set[n_sets] = t;
        sets[n_sets++] = &g->tasks[t].items;
    }
    size_t n_todo = list_methods(g, mask, todo);
    bool with_floor = (g->floor.pending & mask) != 0;
    size_t n_passes = n_todo + 1 + with_floor;
    struct ucb_eval_options options = {.backend = g->backend,
                                       .pool = g->options->pool,
                                       .scope = g->scope,
                                       .seed = g->seed,
                                       .model_digest = g->model_digest,
                                       .batch = g->options->batch,
                                       .memory_bytes = g->options->memory_bytes,
                                       .cache = g->options->cache,
                                       .keep_encoded = g->options->keep_encoded};
    struct ucb_eval *eval;
    ucb_peak_restart();
    ucb_backend_restart_device_peak(g->backend);
    UCB_TRY(ucb_eval_open(g->model, &options, sets, n_sets, &eval, err));
    char label[96];
    snprintf(label, sizeof(label), "%s, %zu tokens, %zu passes", g->model_name,
             ucb_eval_n_tokens(eval), n_passes);
    ucb_progress_start(&g->progress, label,
                       (double)ucb_eval_n_tokens(eval) * (double)n_passes);
    struct ucb_eval_result original;
    bool lost;
    ucb_status status = run_original(g, eval, todo, n_todo, set, n_sets, &original, &lost,
                                     err);
    if (status == UCB_OK && with_floor)
        status = ucb_sweep_floor_run(g, eval, set, n_sets, &original, lost, err);
    if (status == UCB_OK && !lost)
        status = run_methods(g, eval, todo, n_todo, set, n_sets, &original, err);
    g->methods[0].pending &= ~mask;
    g->floor.pending &= ~mask;
    for (size_t i = 0; i < n_todo; i++) todo[i]->pending = 0;
    ucb_progress_end(&g->progress);
    ucb_eval_result_free(&original);
    ucb_eval_close(eval);
    return status;
}

/* Before the first part runs: a window that does not fit the text is found at once. */
static ucb_status load_calibs(struct ucb_sweep_group *g, struct ucb_err *err)
{
    for (size_t i = 1; i < g->n_methods; i++)
        if (g->methods[i].pending != 0 && g->methods[i].calib != NULL)
            UCB_TRY(ucb_sweep_calib_load(g, g->methods[i].calib, err));
    return UCB_OK;
}

static ucb_status load_tasks(struct ucb_sweep_group *g, uint32_t mask, struct ucb_err *err)
{
    for (size_t t = 0; t < g->n_tasks; t++) {
        struct ucb_sweep_task *task = &g->tasks[t];
        if ((mask >> t & 1) == 0 || task->loaded) continue;
        UCB_TRY(ucb_task_load(&task->run, g->options->data, g->tokenizer, &g->arena,
                              &task->items, err));
        task->loaded = true;
    }
    return UCB_OK;
}

/* The largest set of tasks first: a method's set is run whole, and the cells of the
 * original and of the noise floor come along. */
static uint32_t next_mask(const struct ucb_sweep_group *g)
{
    uint32_t best = g->methods[0].pending | g->floor.pending;
    int most = 0;
    for (size_t i = 1; i < g->n_methods; i++) {
        int n = __builtin_popcount(g->methods[i].pending);
        if (n > most) {
            most = n;
            best = g->methods[i].pending;
        }
    }
    return best;
}

static ucb_status run_pending(struct ucb_sweep_group *g, struct ucb_err *err)
{
    UCB_TRY(load_calibs(g, err));
    for (uint32_t mask; (mask = next_mask(g)) != 0;) {
        UCB_TRY(load_tasks(g, mask, err));
        UCB_TRY(run_part(g, mask, err));
    }
    return UCB_OK;
}

static ucb_status record_data(const struct ucb_sweep_group *g,
                              const struct ucb_sweep_task *t, struct ucb_err *err)
{
    const struct ucb_task *task = t->run.task;
    const struct ucb_resource *inside = ucb_resource_find(task->mini_file);
    char path[4200];
    struct stat info;
    bool mini = strcmp(g->options->data, "mini") == 0;
    snprintf(path, sizeof(path), "%s/%s", g->options->data, task->full_file);
    uint64_t n_bytes = mini && inside != NULL   ? inside->n_bytes
                       : stat(path, &info) == 0 ? (uint64_t)info.st_size
                                                : 0;
    return ucb_store_put_file(g->options->store, g->options->run_id, "data",
                              mini ? task->mini_file : path, n_bytes, t->dataset_digest,
                              err);
}

static ucb_status record_files(const struct ucb_sweep_group *g, const char *path,
                               struct ucb_err *err)
{
    for (size_t t = 0; t < g->n_tasks; t++) UCB_TRY(record_data(g, &g->tasks[t], err));
    for (size_t c = 0; c < g->n_calibs; c++)
        UCB_TRY(ucb_store_put_file(g->options->store, g->options->run_id, "data",
                                   g->calibs[c].file, g->calibs[c].n_bytes,
                                   g->calibs[c].digest, err));
    return ucb_store_put_file(g->options->store, g->options->run_id, "model", path,
                              ucb_model_file_bytes(g->model), g->model_digest, err);
}

static ucb_status open_model(struct ucb_sweep_group *g, char *path, size_t size,
                             struct ucb_err *err)
{
    UCB_TRY(ucb_pack_locate_model(g->model_name, g->options->cache, path, size, err));
    UCB_TRY(ucb_model_open(path, &g->model, err));
    UCB_TRY(ucb_model_digest(g->model, &g->model_digest, err));
    if (ucb_model_warning(g->model) != NULL)
        fprintf(stderr, "%s: %s\n", g->model_name, ucb_model_warning(g->model));
    return ucb_tokenizer_open(path, &g->tokenizer, err);
}

static ucb_status run_group(struct ucb_sweep_group *g, const struct ucb_plan *plan,
                            const bool *mine, struct ucb_err *err)
{
    char path[4096];
    UCB_TRY(open_model(g, path, sizeof(path), err));
    UCB_TRY(collect(g, plan, mine, err));
    UCB_TRY(ucb_sweep_find_misfits(g, err));
    UCB_TRY(find_pending(g, err));
    if (g->options->dry_run) return ucb_sweep_store_misfits(g, err);
    UCB_TRY(ucb_sweep_lattice(g, err));
    UCB_TRY(record_files(g, path, err));
    UCB_TRY(ucb_backend_open(g->arithmetic, g->options->kernel, g->options->pool,
                             &g->backend, err));
    UCB_TRY(ucb_sweep_store_misfits(g, err));
    return run_pending(g, err);
}

static void close_group(struct ucb_sweep_group *g)
{
    ucb_backend_close(g->backend);
    ucb_tokenizer_close(g->tokenizer);
    ucb_model_close(g->model);
    ucb_arena_free(&g->arena);
    ucb_mem_free(g->methods);
}

static ucb_status read_axes(struct ucb_sweep_group *g, const struct ucb_plan_row *row,
                            enum ucb_kernel kernel, struct ucb_err *err)
{
    UCB_TRY(ucb_scope_find(row->scope, &g->scope, err));
    UCB_TRY(ucb_arithmetic_find(row->arithmetic, &g->arithmetic, err));
    UCB_TRY(ucb_kernel_check(kernel, g->arithmetic, err));
    UCB_TRY(ucb_arithmetic_identity(g->arithmetic, &g->arithmetic_identity, err));
    if (!ucb_parse_u64(row->seed, &g->seed))
        return UCB_FAIL(err, UCB_USAGE, "seed `%s` is not a whole number from 0 on",
                        row->seed);
    return UCB_OK;
}

static ucb_status begin_group(struct ucb_sweep_group *g, const struct ucb_plan_row *row,
                              struct ucb_err *err)
{
    ucb_arena_init(&g->arena);
    g->model_name = row->model;
    g->methods = ucb_mem_alloc(UCB_SWEEP_MAX_METHODS * sizeof(*g->methods));
    if (g->methods == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the plan's cells");
    return read_axes(g, row, g->options->kernel, err);
}

/* Everything of a row that can be wrong without a model: found before hours are spent on
 * other rows. *by_default is set where the row's method takes the default calibration. */
static ucb_status check_row(const struct ucb_plan_row *row,
                            const struct ucb_sweep_options *options,
                            struct ucb_arena *arena, bool *by_default, struct ucb_err *err)
{
    struct ucb_sweep_group g;
    struct ucb_task_run task;
    struct ucb_chain *chain;
    const char *dataset;
    char digest[UCB_SHA256_HEX];
    UCB_TRY(read_axes(&g, row, options->kernel, err));
    if (!options->dry_run) UCB_TRY(ucb_kernel_ready(options->kernel, g.arithmetic, err));
    UCB_TRY(ucb_task_parse(row->task, &task, err));
    UCB_TRY(ucb_task_dataset(&task, options->data, &dataset, digest, err));
    UCB_TRY(ucb_chain_parse(row->method, arena, &chain, err));
    UCB_TRY(ucb_sweep_calib_check(chain, row->calib, options->data, options->compat, err));
    *by_default |= row->calib[0] == '\0' && ucb_chain_needs_text(chain);
    return ucb_model_known(row->model, err);
}

ucb_status ucb_sweep_check(const struct ucb_plan *plan,
                           const struct ucb_sweep_options *options, struct ucb_err *err)
{
    struct ucb_arena arena;
    ucb_status status = UCB_OK;
    bool by_default = false;
    ucb_arena_init(&arena);
    for (size_t i = 0; i < plan->n_rows && status == UCB_OK; i++) {
        status = check_row(&plan->rows[i], options, &arena, &by_default, err);
        if (status != UCB_OK && plan->rows[i].line > 0)
            ucb_err_prefix(err, "%s: plan, line %zu", plan->path, plan->rows[i].line);
    }
    ucb_arena_free(&arena);
    if (status == UCB_OK && by_default)
        fprintf(stderr, "calibration: %s, the default; another one with --calib\n",
                ucb_calib_default(options->data));
    return status;
}

/* Marks the rows that belong with row `first` and were not run yet. */
static void mark_rows(const struct ucb_plan *plan, size_t first, bool *done, bool *mine)
{
    for (size_t i = 0; i < plan->n_rows; i++) {
        mine[i] = !done[i] && same_group(&plan->rows[first], &plan->rows[i]);
        done[i] = done[i] || mine[i];
    }
}

/* A model that cannot be read is no reason to leave out the next one. */
static bool only_this_model(ucb_status status)
{
    return status == UCB_MISSING || status == UCB_CORRUPT || status == UCB_UNSUPPORTED;
}

static ucb_status run_groups(const struct ucb_plan *plan,
                             const struct ucb_sweep_options *options, bool *done,
                             bool *mine, struct ucb_sweep_counts *counts,
                             struct ucb_err *err)
{
    ucb_status status = UCB_OK, first = UCB_OK;
    struct ucb_err why;
    for (size_t i = 0; i < plan->n_rows && (status == UCB_OK || only_this_model(status));
         i++) {
        if (done[i]) continue;
        struct ucb_sweep_group g = {.options = options, .counts = counts};
        mark_rows(plan, i, done, mine);
        status = begin_group(&g, &plan->rows[i], &why);
        if (status == UCB_OK) status = run_group(&g, plan, mine, &why);
        close_group(&g);
        if (status == UCB_OK) continue;
        if (first == UCB_OK && err != NULL)
            *err = why;
        else
            fprintf(stderr, "ucbench: %s\n", why.text);
        if (first == UCB_OK || !only_this_model(status)) first = status;
    }
    return first;
}

ucb_status ucb_sweep_run(const struct ucb_plan *plan,
                         const struct ucb_sweep_options *options,
                         struct ucb_sweep_counts *counts, struct ucb_err *err)
{
    *counts = (struct ucb_sweep_counts){0};
    bool *done = ucb_mem_alloc(plan->n_rows), *mine = ucb_mem_alloc(plan->n_rows);
    ucb_status status = done == NULL || mine == NULL
                            ? UCB_FAIL(err, UCB_NOMEM, "no memory for the plan")
                            : run_groups(plan, options, done, mine, counts, err);
    ucb_mem_free(done);
    ucb_mem_free(mine);
    return status;
}
