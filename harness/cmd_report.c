/* cmd_report.c - ucbench report: tables and pictures of a database's results. */
#include "cmd.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "report/report.h"

enum { MAX_REPORTS = 16, MAX_MODELS = 32 };

static const char help[] =
    "usage: ucbench report NAME --db FILE --out DIR [--model M]... [--task T] [--metric NAME] [--json]\n"
    "\n"
    "  claims   every number two documents claim, recomputed or beside what was measured, with a verdict\n"
    "           (docs/claims.md): claims.txt, claims.csv, claims.html, claims.tex and the rows of v_claims\n"
    "  table    per model and task: sizes, perplexity, accuracy, divergence, each with interval, n and notes;\n"
    "           table.txt (also printed), table.csv\n"
    "  pareto   quality against true bits per weight, a panel for each model and setting: pareto (two columns) and\n"
    "           pareto-1col as .svg, .png, .pdf and .gp, pareto.tsv and pareto.json; the same against the size of the whole model:\n"
    "           pareto-size, pareto-size-1col, pareto-size.tsv; needs gnuplot (docs/figures.md)\n"
    "  html     report.html: chart, sortable tables, notes, caveats, environment; works offline; also writes pareto\n"
    "  export   every table as TSV with the types of its columns beside it, ready for Parquet; results.csv, results.json\n"
    "  history  metrics over runs and times over nights, with their intervals and changes of level: history-quality and\n"
    "           history-times as .svg, .png, .gp and .tsv; needs gnuplot\n"
    "  ladder   the seed's production tiers and its head-to-head table (claim 20), measured beside claimed, with what is\n"
    "           missing and the sweep that fills it; ladder.txt (also printed), ladder.csv; plans/ladder.csv runs all of it\n"
    "\n"
    "Of results that differ only in build or revision, the newest run's are shown.\n"
    "\n"
    "  --db FILE       the database\n"
    "  --out DIR       folder for the files; made when it does not exist\n"
    "  --model M       only this model; may stand several times\n"
    "  --task T        task, with its knobs or without, or data set of the chart (default: wikitext where it was run); task\n"
    "                  of the ladder and of history\n"
    "  --metric NAME   kld_mean (default), ppl_ratio or retention, the chart's vertical axis\n"
    "  --latex         the chart also as pareto-latex.tex and its drawing, pareto-latex.pdf (cairolatex)\n"
    "  --json          print the files that were made as JSON\n"
    "\n"
    "Example: ucbench report pareto --db results.db --out figures\n";

static ucb_status find_report(const char *name, const struct ucb_report **out,
                              struct ucb_err *err)
{
    const char *names[MAX_REPORTS];
    size_t n = 0;
    char near[256];
    for (const struct ucb_report *const *r = ucb_reports(); *r != NULL && n < MAX_REPORTS;
         r++) {
        if (strcmp((*r)->name, name) == 0) {
            *out = *r;
            return UCB_OK;
        }
        names[n++] = (*r)->name;
    }
    ucb_text_near(name, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "report %s: no such report; %s", name, near);
}

static ucb_status print_json(const struct ucb_report *report, const char *files,
                             struct ucb_err *err)
{
    json_t *object = json_object(), *list = json_array();
    struct ucb_text clean = {0};
    ucb_text_add_utf8(&clean, files, strlen(files));
    for (const char *line = ucb_text_get(&clean); *line != '\0';
         line += strcspn(line, "\n") + 1)
        json_array_append_new(list, json_stringn(line, strcspn(line, "\n")));
    bool failed = clean.failed;
    ucb_text_free(&clean);
    json_object_set_new(object, "report", json_string(report->name));
    json_object_set_new(object, "files", list);
    if (!failed) return ucb_json_print(object, "the list of files", err);
    json_decref(object);
    return UCB_FAIL(err, UCB_NOMEM, "no memory for the list of files");
}

static ucb_status make_report(const struct ucb_report *report, struct ucb_report_job *job,
                              bool json, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_text files = {0};
    ucb_arena_init(&arena);
    job->arena = &arena;
    job->files = &files;
    job->quiet = json;
    ucb_status status = ucb_folder_make(job->folder, err);
    if (status == UCB_OK)
        status = ucb_store_open(
            job->database, ucb_report_stores(report) ? UCB_STORE_WRITE : UCB_STORE_READ,
            &job->store, err);
    if (status == UCB_OK) status = report->run(job, err);
    ucb_store_close(job->store);
    if (status == UCB_OK && json) status = print_json(report, ucb_text_get(&files), err);
    fflush(stdout); /* the table comes before the list of files, also where both go into one
                       log */
    if (status == UCB_OK && !json) fprintf(stderr, "wrote\n%s", ucb_text_get(&files));
    ucb_text_free(&files);
    ucb_arena_free(&arena);
    return status;
}

static ucb_status run_report(int n_args, char **args, struct ucb_err *err)
{
    const char *db = NULL, *out = NULL, *task = NULL, *metric = NULL, *name = NULL,
               *models[MAX_MODELS];
    size_t n_models = 0, n_operands = 0;
    bool json = false, latex = false;
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &db},
        {.name = "--out", .kind = UCB_OPTION_TEXT, .text = &out},
        {.name = "--task", .kind = UCB_OPTION_TEXT, .text = &task},
        {.name = "--metric", .kind = UCB_OPTION_TEXT, .text = &metric},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &json},
        {.name = "--latex", .kind = UCB_OPTION_SWITCH, .on = &latex},
        {.name = "--model",
         .kind = UCB_OPTION_LIST,
         .list = models,
         .n_list = &n_models,
         .capacity = MAX_MODELS},
    };
    const struct ucb_report *report = NULL;
    UCB_TRY(ucb_options_parse("report", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), &name, &n_operands, 1,
                              err));
    if (n_operands == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "report: no NAME was given; `ucbench list reports` has them");
    UCB_TRY(find_report(name, &report, err));
    if (db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "report: no --db FILE was given; name the database of a sweep");
    if (out == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "report: no --out DIR was given; name a folder for the files");
    struct ucb_report_job job = {.database = db,
                                 .folder = out,
                                 .models = models,
                                 .n_models = n_models,
                                 .task = task,
                                 .metric = metric,
                                 .latex = latex};
    return make_report(report, &job, json, err);
}

const struct ucb_command ucb_command_report = {"report", "tables and charts of a database",
                                               help, run_report};
