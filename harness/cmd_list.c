/*
 * cmd_list.c - what there is: models, methods, tasks, datasets, reports, kernels, runs.
 */
#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "backend/backend.h"
#include "cmd_list_models.h"
#include "core/json.h"
#include "core/text.h"
#include "eval/calib_spec.h"
#include "method/chain.h"
#include "report/report.h"
#include "store/store.h"
#include "task/manifest.h"
#include "task/task.h"

static const char help[] =
    "usage: ucbench list models|methods|tasks|datasets|reports|kernels|runs [--db FILE] [--cache DIR] [--json]\n"
    "\n"
    "  models     names that --model takes: size, architecture, in the cache or not, licence, origin\n"
    "  methods    compression methods and their knobs, with defaults\n"
    "  tasks      evaluation protocols and their knobs, with defaults\n"
    "  datasets   data sets, what they are used for, files, digests, licences\n"
    "  reports    what `ucbench report` makes\n"
    "  kernels    kernel paths and whether this CPU runs them\n"
    "  runs       the runs in a database (needs --db)\n";

/* A list is an array of flat objects: printed as lines for people, or as it is. */
static void add(json_t *list, json_t *entry)
{
    json_array_append_new(list, entry);
}

static json_t *choices_json(const char *const *choices)
{
    json_t *list = json_array();
    for (; choices != NULL && *choices != NULL; choices++)
        json_array_append_new(list, json_string(*choices));
    return list;
}

/* Of a method with its knobs at their defaults; "" where it never needs any. */
static const char *calibration_of(const struct ucb_method *method)
{
    struct ucb_arena arena;
    struct ucb_chain *chain;
    const char *text = "";
    ucb_arena_init(&arena);
    if (ucb_chain_parse(method->name, &arena, &chain, NULL) == UCB_OK)
        text = !ucb_chain_needs_text(chain)
                   ? method->needs == NULL ? "" : "needed with some knobs"
               : ucb_chain_is_sequential(chain) ? "needed; auto is sequential"
                                                : "needed; auto is parallel";
    ucb_arena_free(&arena);
    return text;
}

static ucb_status list_methods(json_t *list)
{
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++) {
        json_t *knobs = json_array();
        for (const struct ucb_knob *k = (*m)->knobs; k != NULL && k->name != NULL; k++)
            json_array_append_new(knobs,
                                  k->type == UCB_KNOB_CHOICE
                                      ? json_pack("{s:s, s:s, s:s, s:o}", "name", k->name,
                                                  "default", k->fallback, "help", k->help,
                                                  "choices", choices_json(k->choices))
                                      : json_pack("{s:s, s:s, s:s, s:f, s:f}", "name",
                                                  k->name, "default", k->fallback, "help",
                                                  k->help, "low", k->low, "high", k->high));
        add(list, json_pack("{s:s, s:s, s:s, s:i, s:s, s:o}", "name", (*m)->name, "summary",
                            (*m)->summary, "source", (*m)->source, "revision",
                            (int)(*m)->revision, "calibration", calibration_of(*m), "knobs",
                            knobs));
    }
    return UCB_OK;
}

static ucb_status list_tasks(json_t *list)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        json_t *knobs = json_array();
        for (const struct ucb_task_knob *k = (*t)->knobs; k != NULL && k->name != NULL; k++)
            json_array_append_new(
                knobs, k->low > k->high
                           ? json_pack("{s:s, s:s, s:s, s:o}", "name", k->name, "default",
                                       k->fallback, "help", k->help, "choices",
                                       choices_json(k->choices))
                           : json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", k->name,
                                       "default", k->fallback, "help", k->help, "low",
                                       (json_int_t)k->low, "high", (json_int_t)k->high));
        add(list, json_pack("{s:s, s:s, s:s, s:i, s:s, s:o}", "name", (*t)->name, "summary",
                            (*t)->summary, "protocol", (*t)->protocol, "revision",
                            (int)(*t)->revision, "file", (*t)->full_file, "knobs", knobs));
    }
    return UCB_OK;
}

static ucb_status list_kernels(json_t *list)
{
    for (unsigned k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
        for (unsigned a = 0; a < UCB_N_ARITHS; a++) {
            const char *why = NULL;
            if (a == UCB_ARITH_CUBLAS && k != UCB_KERNEL_CUDA) continue;
            bool runs = ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a,
                                             &why);
            add(list, json_pack("{s:s, s:s, s:b, s:s}", "name",
                                ucb_kernel_name((enum ucb_kernel)k), "arithmetic",
                                ucb_arithmetic_name((enum ucb_arithmetic)a), "available",
                                runs, "note", runs || why == NULL ? "" : why));
        }
    return UCB_OK;
}

static json_t *files_json(const struct ucb_manifest *m)
{
    json_t *files = json_array();
    for (size_t i = 0; i < m->n_files; i++)
        json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "path", m->files[i].path,
                                               "bytes", (json_int_t)m->files[i].bytes,
                                               "sha256", m->files[i].sha256));
    return files;
}

/* Whether a task reads a file of the data set. */
static bool reads(const struct ucb_task *task, const struct ucb_manifest *m)
{
    const char *const paths[] = {task->full_file, task->mini_file};
    for (size_t i = 0; i < 2; i++) {
        const struct ucb_manifest *found;
        const struct ucb_manifest_file *file;
        if (ucb_manifest_find(paths[i], &found, &file, NULL) == UCB_OK && found == m)
            return true;
    }
    return false;
}

/* "calibration", or "tasks lambada, lambada-windows". */
static json_t *use_json(const struct ucb_manifest *m)
{
    struct ucb_text use = {0};
    if (ucb_calib_is_text(m->name)) ucb_text_add(&use, "calibration");
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++)
        if (reads(*t, m))
            ucb_text_add(&use, "%s%s", use.n_chars == 0 ? "tasks " : ", ", (*t)->name);
    json_t *text = json_string(ucb_text_get(&use));
    ucb_text_free(&use);
    return text;
}

static ucb_status list_datasets(json_t *list, struct ucb_err *err)
{
    const struct ucb_manifest *manifests;
    size_t n;
    UCB_TRY(ucb_manifests(&manifests, &n, err));
    for (size_t i = 0; i < n; i++) {
        const struct ucb_manifest *m = &manifests[i];
        add(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:o}", "name", m->name,
                            "summary", m->description, "kind", m->kind, "split", m->split,
                            "use", use_json(m), "licence", m->licence, "origin", m->origin,
                            "files", files_json(m)));
    }
    return UCB_OK;
}

static ucb_status list_reports(json_t *list)
{
    for (const struct ucb_report *const *r = ucb_reports(); *r != NULL; r++)
        add(list, json_pack("{s:s, s:s}", "name", (*r)->name, "summary", (*r)->summary));
    return UCB_OK;
}

static void add_run(json_t *list, sqlite3_stmt *row)
{
    json_int_t run_id = sqlite3_column_int64(row, 0);
    const char *build_id = (const char *)sqlite3_column_text(row, 2);
    char build[13];
    snprintf(build, sizeof(build), "%s", build_id == NULL ? "" : build_id);
    add(list, json_pack("{s:I, s:s, s:s, s:o, s:I, s:I, s:s}", "name", run_id, "started",
                        sqlite3_column_text(row, 1), "build", build, "command",
                        ucb_json_text((const char *)sqlite3_column_text(row, 3)), "cells",
                        (json_int_t)sqlite3_column_int64(row, 4), "run_id", run_id,
                        "build_id", build_id));
}

static ucb_status list_runs(json_t *list, const char *db, struct ucb_err *err)
{
    static const char sql[] =
        "SELECT r.run_id, r.started, r.build_id, r.command_line, count(c.cell_key) "
        "FROM runs r LEFT JOIN run_cells c USING (run_id) GROUP BY r.run_id ORDER BY r.run_id";
    struct ucb_store *store;
    sqlite3_stmt *statement = NULL;
    if (db == NULL) return UCB_FAIL(err, UCB_USAGE, "ucbench list runs needs --db FILE");
    UCB_TRY(ucb_store_open(db, UCB_STORE_READ, &store, err));
    ucb_status status = UCB_OK;
    int code = sqlite3_prepare_v2(ucb_store_db(store), sql, -1, &statement, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) add_run(list, statement);
    }
    if (code != SQLITE_DONE)
        status = UCB_FAIL(err, UCB_CORRUPT, "%s: cannot read its runs: %s", db,
                          sqlite3_errmsg(ucb_store_db(store)));
    sqlite3_finalize(statement);
    ucb_store_close(store);
    return status;
}

static void print_value(const char *key, json_t *value)
{
    if (json_is_null(value) ||
        (json_is_string(value) && json_string_value(value)[0] == '\0'))
        return;
    char *text = json_is_string(value) ? NULL
                                       : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    printf("    %s: %s\n", key, json_is_string(value) ? json_string_value(value) : text);
    free(text);
}

static void print_knob(json_t *knob)
{
    json_t *choices = json_object_get(knob, "choices");
    printf("    %s=%s  %s", json_string_value(json_object_get(knob, "name")),
           json_string_value(json_object_get(knob, "default")),
           json_string_value(json_object_get(knob, "help")));
    for (size_t i = 0; i < json_array_size(choices); i++)
        printf("%s%s", i == 0 ? " (" : "|", json_string_value(json_array_get(choices, i)));
    puts(json_array_size(choices) > 0 ? ")" : "");
}

static void print_file(json_t *file)
{
    printf("    %s  %lld bytes  sha256 %s\n",
           json_string_value(json_object_get(file, "path")),
           (long long)json_integer_value(json_object_get(file, "bytes")),
           json_string_value(json_object_get(file, "sha256")));
}

static void print_entry(json_t *entry)
{
    const char *key;
    json_t *value, *name = json_object_get(entry, "name"),
                   *summary = json_object_get(entry, "summary");
    if (json_is_integer(name))
        printf("%lld\n", (long long)json_integer_value(name));
    else
        printf("%s%s%s\n", json_string_value(name), summary != NULL ? "  -  " : "",
               summary != NULL ? json_string_value(summary) : "");
    json_object_foreach(entry, key, value)
    {
        size_t i;
        json_t *knob, *file;
        if (value == name || value == summary) continue;
        if (strcmp(key, "knobs") == 0) {
            json_array_foreach(value, i, knob) print_knob(knob);
        } else if (strcmp(key, "files") == 0) {
            json_array_foreach(value, i, file) print_file(file);
        } else {
            print_value(key, value);
        }
    }
}

static ucb_status make_list(const char *what, const char *db, const char *cache,
                            json_t *list, struct ucb_err *err)
{
    static const char *const names[] = {"models",  "methods", "tasks", "datasets",
                                        "reports", "kernels", "runs"};
    char near[128];
    if (strcmp(what, "models") == 0) return ucb_list_models(cache, list, err);
    if (strcmp(what, "methods") == 0) return list_methods(list);
    if (strcmp(what, "tasks") == 0) return list_tasks(list);
    if (strcmp(what, "datasets") == 0) return list_datasets(list, err);
    if (strcmp(what, "reports") == 0) return list_reports(list);
    if (strcmp(what, "kernels") == 0) return list_kernels(list);
    if (strcmp(what, "runs") == 0) return list_runs(list, db, err);
    ucb_text_near(what, names, sizeof(names) / sizeof(names[0]), near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "ucbench list `%s`: %s", what, near);
}

static ucb_status list_main(int n_args, char **args, struct ucb_err *err)
{
    const char *db = NULL, *cache = NULL, *what = NULL;
    bool as_json = false;
    size_t n = 0;
    const struct ucb_option options[] = {{"--db", UCB_OPTION_TEXT, .text = &db},
                                         {"--cache", UCB_OPTION_TEXT, .text = &cache},
                                         {"--json", UCB_OPTION_SWITCH, .on = &as_json}};
    UCB_TRY(ucb_options_parse("list", n_args, args, options, 3, &what, &n, 1, err));
    if (n == 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench list needs one of: models methods tasks datasets reports kernels runs");
    json_t *list = json_array();
    ucb_status status = make_list(what, db, cache, list, err);
    if (status == UCB_OK && as_json) return ucb_json_print(list, what, err);
    if (status == UCB_OK && strcmp(what, "models") == 0) {
        ucb_list_models_print(list);
    } else if (status == UCB_OK) {
        for (size_t i = 0; i < json_array_size(list); i++)
            print_entry(json_array_get(list, i));
    }
    json_decref(list);
    return status;
}

const struct ucb_command ucb_command_list = {
    .name = "list",
    .summary = "models, methods, tasks, datasets, reports, kernels, runs",
    .help = help,
    .run = list_main,
};
