/*
 * cmd_sweep.c - plan -> cells -> model files -> layer loop -> items -> statistics ->
 * SQLite: sweep_main reads like that line.
 */
#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "core/json.h"
#include "core/peak.h"
#include "core/progress.h"
#include "core/resource.h"
#include "core/text.h"
#include "environment.h"
#include "model/catalog.h"
#include "sweep.h"
#include "task/dataset.h"
#include "task/task.h"

enum { MAX_LIST = 256, MAX_CALIBS = 16 };

static const char help[] =
    "usage: ucbench sweep [PLAN.csv] [--model M]... [--method SPEC]... [--task T]... --db FILE [options]\n"
    "\n"
    "Compresses models, scores them, stores every item in FILE. What is finished is not run again: run the same\n"
    "command after a crash, or with more methods, and only the missing cells are computed.\n"
    "\n"
    "what to run\n"
    "  PLAN.csv             header line with any of: model,method,bits,task,scope,arithmetic,calib,seed;\n"
    "                       an absent column or empty field takes the values of the options below\n"
    "  --model M            a name (`ucbench list models`), a Hugging Face folder, a .safetensors or .gguf file\n"
    "  --method SPEC        none, nf4, hqq:bits=4,group=64, ... (`ucbench list methods`); may be repeated.\n"
    "                       The original (none) always runs: all else is compared with it\n"
    "  --task T             lambada:n=500, wikitext:ctx=512,half=1, ... (`ucbench list tasks`); may be repeated.\n"
    "                       Default: lambada and wikitext:ctx=512,half=1\n"
    "  --data DIR|mini      folder with lambada_test.jsonl, wikitext-2-raw.test.txt and, to calibrate on,\n"
    "                       wikitext-2-raw.valid.txt; default $UCBENCH_DATA, else the mini sets inside the program\n"
    "  --scope body|linear|all   which matrices a method may touch: the layers' (default), and the head, and the embedding\n"
    "  --arithmetic fp32|bf16|bf16-dot|cublas    what is computed; part of a result's identity (default fp32).\n"
    "                       bf16 is fast where a CPU has AMX, bf16-dot where it has AVX512-BF16 (docs/arithmetic.md);\n"
    "                       cublas needs a GPU, and its identity holds the device and the library's version\n"
    "                       (docs/cuda.md)\n"
    "  --seed N             of bootstrap and random streams (default 0)\n"
    "  --calib SPEC         what methods that need calibration see (docs/calibration.md); others ignore it:\n"
    "                       wikitext-valid:n=128,ctx=512,seed=0 (default with a data folder) or\n"
    "                       calib-mini:n=32,ctx=256,seed=0 (inside the program; default without one);\n"
    "                       mode=auto|sequential|parallel says whose inputs; may be repeated\n"
    "  --noise-floor auto|off    auto: each model and task that something is compressed on also gets the original in\n"
    "                       another arithmetic (bf16 where results are in fp32, else fp32) against the original: what\n"
    "                       rounding alone changes, below which no difference is claimed (docs/statistics.md).\n"
    "                       One more pass, on the CPU (default auto)\n"
    "  --compat             allow --calib wikitext-test:n=32,ctx=512,seed=123, the test text itself, as a published\n"
    "                       protocol had it; its results are marked contaminated wherever they are shown\n"
    "  --compat-fp16-nll    lambada-windows with nll=fp16: each window's log-probability in half precision, as a\n"
    "                       published protocol recorded it\n"
    "\n"
    "how to run it (never changes a result)\n"
    "  --db FILE            the database; made when absent\n"
    "  --kernel auto|scalar|avx2|avx512|amx|cuda    (default auto: the fastest this CPU has; a GPU only by name)\n"
    "  --threads N          default: all cores      --batch N    tokens per product (default 1024)\n"
    "  --memory BYTES       for hidden states and calibration statistics, e.g. 4G (default: half of the machine's);\n"
    "                       states beyond it go to files. On top come about two layers in fp32 and 300 MB, and\n"
    "                       the whole embedding or head, twice, where a method takes them (--scope)\n"
    "  --cache DIR          models and spilled states (default $UCBENCH_CACHE or ~/.cache/ucbench)\n"
    "  --resident decoded|encoded   what is in memory of a layer while it runs: its weights (default), or what the\n"
    "                       method wrote, decoded tile by tile inside the products; what that costs is measured on the\n"
    "                       first layer and printed (docs/resident.md)\n"
    "  --dry-run            only list the cells and whether they are finished, or cannot run on the\n"
    "                       model's shapes (a derived model is built into the cache)\n"
    "  --quiet              no progress\n"
    "  --json               a summary as JSON on stdout, failed cells with their messages\n"
    "\n"
    "example\n"
    "  ucbench sweep --model smollm2-135m --method nf4 --method hqq:bits=4,group=64 --task wikitext:ctx=512 --db r.db\n"
    "  ucbench sweep --model smollm2-135m --method gptq:bits=4 --calib calib-mini:n=16,ctx=256 --task wikitext:ctx=512 --db r.db\n"
    "\n"
    "exit code: 0 all cells stored, 1 a cell failed (listed), 2 usage, 3 bad input, 4 environment\n";

struct sweep_args {
    const char *plan, *db, *data, *kernel, *threads, *batch, *memory, *cache, *resident,
        *noise_floor;
    const char *model[MAX_LIST], *method[MAX_LIST], *task[MAX_LIST], *scope[4],
        *arithmetic[4], *calib[MAX_CALIBS], *seed[MAX_LIST];
    size_t n_model, n_method, n_task, n_scope, n_arithmetic, n_calib, n_seed;
    bool compat, compat_fp16_nll, dry_run, quiet, json;
};

static ucb_status parse_args(int n_args, char **args, struct sweep_args *a,
                             struct ucb_err *err)
{
    size_t n_operands = 0;
    const struct ucb_option options[] = {
        {"--db", UCB_OPTION_TEXT, .text = &a->db},
        {"--data", UCB_OPTION_TEXT, .text = &a->data},
        {"--kernel", UCB_OPTION_TEXT, .text = &a->kernel},
        {"--threads", UCB_OPTION_TEXT, .text = &a->threads},
        {"--batch", UCB_OPTION_TEXT, .text = &a->batch},
        {"--memory", UCB_OPTION_TEXT, .text = &a->memory},
        {"--cache", UCB_OPTION_TEXT, .text = &a->cache},
        {"--resident", UCB_OPTION_TEXT, .text = &a->resident},
        {"--noise-floor", UCB_OPTION_TEXT, .text = &a->noise_floor},
        {"--model", UCB_OPTION_LIST, .list = a->model, .n_list = &a->n_model,
         .capacity = MAX_LIST},
        {"--method", UCB_OPTION_LIST, .list = a->method, .n_list = &a->n_method,
         .capacity = MAX_LIST},
        {"--task", UCB_OPTION_LIST, .list = a->task, .n_list = &a->n_task,
         .capacity = MAX_LIST},
        {"--scope", UCB_OPTION_LIST, .list = a->scope, .n_list = &a->n_scope,
         .capacity = 3},
        {"--arithmetic", UCB_OPTION_LIST, .list = a->arithmetic, .n_list = &a->n_arithmetic,
         .capacity = 3},
        {"--calib", UCB_OPTION_LIST, .list = a->calib, .n_list = &a->n_calib,
         .capacity = MAX_CALIBS},
        {"--seed", UCB_OPTION_LIST, .list = a->seed, .n_list = &a->n_seed,
         .capacity = MAX_LIST},
        {"--compat", UCB_OPTION_SWITCH, .on = &a->compat},
        {"--dry-run", UCB_OPTION_SWITCH, .on = &a->dry_run},
        {"--quiet", UCB_OPTION_SWITCH, .on = &a->quiet},
        {"--compat-fp16-nll", UCB_OPTION_SWITCH, .on = &a->compat_fp16_nll},
        {"--json", UCB_OPTION_SWITCH, .on = &a->json},
    };
    UCB_TRY(ucb_options_parse("sweep", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), &a->plan, &n_operands,
                              1, err));
    if (a->db == NULL && !a->dry_run)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench sweep needs --db FILE, the database that receives the results");
    if (a->resident != NULL && strcmp(a->resident, "decoded") != 0 &&
        strcmp(a->resident, "encoded") != 0)
        return UCB_FAIL(err, UCB_USAGE, "--resident %s: a layer is kept decoded or encoded",
                        a->resident);
    if (a->noise_floor != NULL && strcmp(a->noise_floor, "auto") != 0 &&
        strcmp(a->noise_floor, "off") != 0)
        return UCB_FAIL(err, UCB_USAGE, "--noise-floor %s: it is auto or off",
                        a->noise_floor);
    return UCB_OK;
}

static const char *or_default(const char **list, size_t *n, const char *fallback)
{
    if (*n == 0) list[(*n)++] = fallback;
    return list[0];
}

static ucb_status make_plan(struct sweep_args *a, struct ucb_arena *arena,
                            struct ucb_plan *plan, struct ucb_err *err)
{
    if (a->n_task == 0) {
        a->task[a->n_task++] = "lambada";
        a->task[a->n_task++] = "wikitext:ctx=512,half=1";
    }
    if (a->plan == NULL) or_default(a->method, &a->n_method, "none");
    or_default(a->scope, &a->n_scope, "body");
    or_default(a->arithmetic, &a->n_arithmetic, "fp32");
    or_default(a->calib, &a->n_calib, "");
    or_default(a->seed, &a->n_seed, "0");
    const struct ucb_plan_defaults flags = {
        {a->model, a->n_model}, {a->method, a->n_method},         {a->task, a->n_task},
        {a->scope, a->n_scope}, {a->arithmetic, a->n_arithmetic}, {a->calib, a->n_calib},
        {a->seed, a->n_seed}};
    return a->plan != NULL ? ucb_plan_read(a->plan, &flags, arena, plan, err)
                           : ucb_plan_from_flags(&flags, arena, plan, err);
}

/* --compat-fp16-nll: the windows of lambada-windows, wherever the plan has them. */
static ucb_status round_windows(struct ucb_plan *plan, struct ucb_arena *arena,
                                struct ucb_err *err)
{
    size_t n_windows = 0;
    for (size_t i = 0; i < plan->n_rows; i++) {
        struct ucb_task_run run;
        if (ucb_task_parse(plan->rows[i].task, &run, NULL) != UCB_OK ||
            strcmp(run.task->name, "lambada-windows") != 0)
            continue; /* what no task is named so is refused with its line, later */
        n_windows++;
        if (strstr(run.spec, "nll=") != NULL) continue;
        plan->rows[i].task = ucb_arena_printf(arena, "%s,nll=fp16", run.spec);
        if (plan->rows[i].task == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "no memory for the name of a task");
    }
    if (n_windows > 0) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "--compat-fp16-nll rounds the windows of lambada-windows, and no task is "
        "one; try --task lambada-windows:n=500");
}

static ucb_status read_limits(const struct sweep_args *a, struct ucb_sweep_options *o,
                              struct ucb_err *err)
{
    unsigned threads;
    o->memory_bytes = ucb_ram_bytes() / 2;
    UCB_TRY(ucb_option_threads(a->threads, &threads, err));
    UCB_TRY(ucb_option_batch(a->batch, &o->batch, err));
    if (a->memory != NULL && !ucb_parse_bytes(a->memory, &o->memory_bytes))
        return UCB_FAIL(err, UCB_USAGE, "--memory %s: a number of bytes, as 4G or 800M",
                        a->memory);
    o->kernel = UCB_KERNEL_AUTO;
    if (a->kernel != NULL) UCB_TRY(ucb_kernel_find(a->kernel, &o->kernel, err));
    return ucb_pool_open(threads, &o->pool, err);
}

static ucb_status begin_run(struct ucb_sweep_options *o, int n_args, char **args,
                            struct ucb_err *err)
{
    struct ucb_text line = {0};
    for (int i = 0; i < n_args; i++)
        ucb_text_add(&line, "%s%s", i == 0 ? "ucbench " : " ", args[i]);
    char *text;
    json_t *environment = ucb_environment();
    json_object_set_new(environment, "threads", json_integer(ucb_pool_threads(o->pool)));
    json_object_set_new(environment, "kernel", json_string(ucb_kernel_name(o->kernel)));
    json_object_set_new(environment, "batch", json_integer((json_int_t)o->batch));
    json_object_set_new(environment, "memory_bytes",
                        json_integer((json_int_t)o->memory_bytes));
    ucb_status status = ucb_environment_text(environment, &text, err);
    if (status == UCB_OK && line.failed) {
        free(text);
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the run's command line");
    }
    if (status == UCB_OK) {
        struct ucb_run_info info = {ucb_build_id(), ucb_text_get(&line), text};
        status = ucb_store_begin_run(o->store, &info, &o->run_id, err);
        free(text);
    }
    ucb_text_free(&line);
    return status;
}

/* The failed cells of this run, each with its message. */
static ucb_status list_failures(const struct ucb_sweep_options *o, json_t *list,
                                struct ucb_err *err)
{
    static const char sql[] =
        "SELECT DISTINCT cell_id, model, spec, task, reason, message FROM v_results"
        " WHERE run_id = ? AND status = 'FAILED' ORDER BY model, spec, task, cell_id";
    static const char *const keys[] = {"cell_id", "model",  "spec",
                                       "task",    "reason", "message"};
    sqlite3 *db = ucb_store_db(o->store);
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &row, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_int64(row, 1, o->run_id);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(row);
        if (code != SQLITE_ROW) break;
        json_t *cell = json_object();
        for (int i = 0; i < 6; i++) {
            const char *text = (const char *)sqlite3_column_text(row, i);
            json_object_set_new(cell, keys[i], ucb_json_text(text == NULL ? "" : text));
        }
        json_array_append_new(list, cell);
    }
    ucb_status status = UCB_OK;
    if (code != SQLITE_DONE)
        status = UCB_FAIL(err, UCB_CORRUPT, "cannot read the failed cells of run %lld: %s",
                          (long long)o->run_id, sqlite3_errmsg(db));
    sqlite3_finalize(row);
    return status;
}

static ucb_status print_json(const struct sweep_args *a, const struct ucb_sweep_options *o,
                             const struct ucb_sweep_counts *c, struct ucb_err *err)
{
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "cells", (json_int_t)c->n_cells, "new",
        (json_int_t)c->n_new, "finished_before", (json_int_t)c->n_finished_before, "failed",
        (json_int_t)c->n_failed, "checks_failed", (json_int_t)c->n_checks_failed,
        "peak_rss_bytes", (json_int_t)ucb_peak_rss_ever());
    if (a->dry_run) {
        json_object_set(root, "plan", o->listing);
    } else {
        json_t *failures = json_array();
        json_object_set_new(root, "run_id", json_integer(o->run_id));
        json_object_set_new(root, "failures", failures);
        ucb_status status = list_failures(o, failures, err);
        if (status != UCB_OK) {
            json_decref(root);
            return status;
        }
    }
    return ucb_json_print(root, "the sweep", err);
}

static ucb_status print_summary(const struct sweep_args *a,
                                const struct ucb_sweep_options *o,
                                const struct ucb_sweep_counts *c, struct ucb_err *err)
{
    if (a->json) return print_json(a, o, c, err);
    if (a->dry_run) {
        printf("%zu cells, %zu finished, %zu to do", c->n_cells, c->n_finished_before,
               c->n_cells - c->n_finished_before - c->n_failed);
        if (c->n_failed > 0) printf(", %zu cannot run", c->n_failed);
        putchar('\n');
        return UCB_OK;
    }
    printf("run %lld: %zu cells, %zu new, %zu finished before, %zu failed\n",
           (long long)o->run_id, c->n_cells, c->n_new, c->n_finished_before, c->n_failed);
    printf("next: ucbench report table --db %s --out DIR\n", a->db);
    return UCB_OK;
}

static ucb_status verdict(const struct ucb_sweep_counts *c, bool dry_run,
                          struct ucb_err *err)
{
    if (c->n_failed > 0 && dry_run)
        return UCB_FAIL(err, UCB_NO, "%zu of %zu cells cannot run on their model",
                        c->n_failed, c->n_cells);
    if (c->n_failed > 0)
        return UCB_FAIL(err, UCB_NO,
                        "%zu of %zu cells failed; each is a row with its message",
                        c->n_failed, c->n_cells);
    if (c->n_checks_failed > 0)
        return UCB_FAIL(err, UCB_NO, "a check failed in %zu of %zu cells; see v_checks",
                        c->n_checks_failed, c->n_cells);
    return UCB_OK;
}

/* The store is opened for a dry run only when it is there: a dry run writes nothing. */
static ucb_status open_store(const struct sweep_args *a, struct ucb_sweep_options *o,
                             int n_args, char **args, struct ucb_err *err)
{
    if (a->dry_run && a->db == NULL) return UCB_OK;
    enum ucb_store_mode mode = a->dry_run ? UCB_STORE_READ : UCB_STORE_WRITE;
    ucb_status status = ucb_store_open(a->db, mode, &o->store, err);
    if (a->dry_run && status == UCB_MISSING) return UCB_OK;
    UCB_TRY(status);
    return a->dry_run ? UCB_OK : begin_run(o, n_args, args, err);
}

static ucb_status sweep_main(int n_args, char **args, struct ucb_err *err)
{
    static struct sweep_args a;
    struct ucb_sweep_options options = {0};
    struct ucb_sweep_counts counts;
    struct ucb_plan plan;
    struct ucb_arena arena;
    char cache[4000];
    ucb_status status;
    ucb_arena_init(&arena);
    UCB_TRY_OUT(parse_args(n_args, args, &a, err));
    UCB_TRY_OUT(make_plan(&a, &arena, &plan, err));
    if (a.compat_fp16_nll) UCB_TRY_OUT(round_windows(&plan, &arena, err));
    UCB_TRY_OUT(read_limits(&a, &options, err));
    /* A file or folder that fits --memory needs none; what does says so. */
    status = ucb_cache_folder(a.cache, cache, sizeof(cache), err);
    if (status != UCB_ENVIRONMENT) UCB_TRY_OUT(status);
    options.cache = status == UCB_OK ? cache : NULL;
    ucb_progress_quiet(a.quiet);
    options.data = ucb_data_folder(a.data);
    options.dry_run = a.dry_run;
    options.compat = a.compat;
    options.noise_floor = a.noise_floor == NULL || strcmp(a.noise_floor, "auto") == 0;
    options.keep_encoded = a.resident != NULL && strcmp(a.resident, "encoded") == 0;
    UCB_TRY_OUT(ucb_sweep_check(&plan, &options, err));
    UCB_TRY_OUT(open_store(&a, &options, n_args, args, err));
    if (a.dry_run && a.json) options.listing = json_array();
    status = ucb_sweep_run(&plan, &options, &counts, err);
    if (!a.dry_run &&
        ucb_store_end_run(options.store, options.run_id, status == UCB_OK ? err : NULL) !=
            UCB_OK &&
        status == UCB_OK)
        status = err->status;
    if (!a.dry_run)
        fprintf(stderr, "peak memory %.2f GB\n", (double)ucb_peak_rss_ever() * 1e-9);
    UCB_TRY_OUT(status);
    UCB_TRY_OUT(print_summary(&a, &options, &counts, err));
    status = verdict(&counts, a.dry_run, err);
out:
    json_decref(options.listing);
    ucb_store_close(options.store);
    ucb_pool_close(options.pool);
    ucb_arena_free(&arena);
    return status;
}

const struct ucb_command ucb_command_sweep = {
    .name = "sweep",
    .summary = "compress, score and store: models x methods x tasks",
    .help = help,
    .run = sweep_main,
};
