/* cmd_gate.c - ucbench gate: did a program make a result worse than the baseline's? */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "gate/gate_store.h"
#include "gate/gate_text.h"

enum { MAX_REPEATS = 64 };

static const char help[] =
    "usage: ucbench gate --db FILE --baseline RUN [--candidate RUN] [options]\n"
    "\n"
    "Holds the results of one run against an earlier one's and exits 1 on a regression. No model is run: the database\n"
    "has every item of both. scripts/nightly.sh sweeps, takes times and calls this; docs/nightly.md has the rules.\n"
    "\n"
    "RUN is a number of `ucbench list runs --db FILE`, the first digits of a build, `latest`, or `previous`: the run\n"
    "before the candidate.\n"
    "\n"
    "A regression is\n"
    "  a cell that is worse     its digest changed and old against new on the same items shows a loss beyond the band\n"
    "                           (ppl ratio, accuracy, mean KLD), corrected for all tests of the night (Holm)\n"
    "  a cell that is missing, or failed where it did not before\n"
    "  evidence over nights     flips of items never fed before, bet on night after night: an e-process at 1 / alpha\n"
    "  a time that grew         a change point of 3% or more that touches the last nights and that a rerun confirmed\n"
    "A cell that changed and is undecided is a warning with the number of documents that would decide.\n"
    "\n"
    "  --db FILE               the database; the evidence of the night is stored in it\n"
    "  --baseline RUN          the run to hold against\n"
    "  --candidate RUN         the run to judge (default latest)\n"
    "  --night YYYY-MM-DD      the night's name, which seeds its sample (default: the day the candidate's run began)\n"
    "  --alpha A               probability of a false alarm that is accepted (default 0.05)\n"
    "  --band-ppl LOW,HIGH     ratios of perplexity too small to matter (default 0.999,1.001)\n"
    "  --band-accuracy PP      percentage points of accuracy too small to matter (default 0.1)\n"
    "  --band-kld PERCENT      change of mean KLD too small to matter (default 1)\n"
    "  --strict                warnings are regressions\n"
    "  --timings on|off        look for slowdowns among the times in the database (default on)\n"
    "  --baseline-times DB     first store the times of this database of a small sweep by the baseline's program; repeat\n"
    "  --candidate-times DB    it for each repeat; the same by the candidate's program\n"
    "  --rerun                 these times are a second round, to confirm a slowdown\n"
    "  --read-only             store nothing\n"
    "  --out DIR               write gate.html, gate.txt, gate.json and line.txt there\n"
    "  --json                  everything as one JSON object\n"
    "\n"
    "Exit code: 0 no regression, 1 regression, 2 usage, 3 bad input, 4 environment.\n"
    "\n"
    "Example: ucbench gate --db nightly.db --baseline 1 --candidate latest --out night/\n";

struct arguments {
    const char *db, *baseline, *candidate, *night, *alpha, *band_ppl, *band_accuracy,
        *band_kld, *timings, *out, *times[2][MAX_REPEATS];
    size_t n_times[2];
    bool strict, rerun, read_only, json;
};

/* ---- options ---- */

static ucb_status parse_percent(const char *option, const char *text, double high,
                                double *out, struct ucb_err *err)
{
    double value;
    if (text == NULL) return UCB_OK;
    if (!ucb_parse_f64(text, &value) || !(value > 0 && value < high))
        return UCB_FAIL(err, UCB_USAGE, "%s %s: a number above 0 and below %g", option,
                        text, high);
    *out = value;
    return UCB_OK;
}

static ucb_status check_night(const char *night, struct ucb_err *err)
{
    unsigned year, month, day;
    int n = 0;
    if (night == NULL) return UCB_OK;
    if (sscanf(night, "%4u-%2u-%2u%n", &year, &month, &day, &n) != 3 || n != 10 ||
        night[10] != '\0' || month < 1 || month > 12 || day < 1 || day > 31)
        return UCB_FAIL(err, UCB_USAGE, "--night %s: a date such as 2026-11-22", night);
    return UCB_OK;
}

static ucb_status make_rules(const struct arguments *a, struct ucb_gate_rules *out,
                             struct ucb_err *err)
{
    double kld = 100 * ucb_gate_rules_default.kld_band;
    *out = ucb_gate_rules_default;
    out->strict = a->strict;
    UCB_TRY(parse_percent("--alpha", a->alpha, 0.5, &out->alpha, err));
    UCB_TRY(parse_percent("--band-kld", a->band_kld, 100, &kld, err));
    UCB_TRY(ucb_option_bands(a->band_ppl, a->band_accuracy, NULL, &out->bands, err));
    out->kld_band = kld / 100;
    if (a->timings == NULL || strcmp(a->timings, "on") == 0) return UCB_OK;
    if (strcmp(a->timings, "off") != 0)
        return UCB_FAIL(err, UCB_USAGE, "--timings %s: on or off", a->timings);
    out->no_timings = true;
    return UCB_OK;
}

static ucb_status parse(int n_args, char **args, struct arguments *a, struct ucb_err *err)
{
    const struct ucb_option options[] = {
        {.name = "--db", .kind = UCB_OPTION_TEXT, .text = &a->db},
        {.name = "--baseline", .kind = UCB_OPTION_TEXT, .text = &a->baseline},
        {.name = "--candidate", .kind = UCB_OPTION_TEXT, .text = &a->candidate},
        {.name = "--night", .kind = UCB_OPTION_TEXT, .text = &a->night},
        {.name = "--alpha", .kind = UCB_OPTION_TEXT, .text = &a->alpha},
        {.name = "--band-ppl", .kind = UCB_OPTION_TEXT, .text = &a->band_ppl},
        {.name = "--band-accuracy", .kind = UCB_OPTION_TEXT, .text = &a->band_accuracy},
        {.name = "--band-kld", .kind = UCB_OPTION_TEXT, .text = &a->band_kld},
        {.name = "--timings", .kind = UCB_OPTION_TEXT, .text = &a->timings},
        {.name = "--out", .kind = UCB_OPTION_TEXT, .text = &a->out},
        {.name = "--strict", .kind = UCB_OPTION_SWITCH, .on = &a->strict},
        {.name = "--rerun", .kind = UCB_OPTION_SWITCH, .on = &a->rerun},
        {.name = "--read-only", .kind = UCB_OPTION_SWITCH, .on = &a->read_only},
        {.name = "--json", .kind = UCB_OPTION_SWITCH, .on = &a->json},
        {.name = "--baseline-times",
         .kind = UCB_OPTION_LIST,
         .list = a->times[0],
         .n_list = &a->n_times[0],
         .capacity = MAX_REPEATS},
        {.name = "--candidate-times",
         .kind = UCB_OPTION_LIST,
         .list = a->times[1],
         .n_list = &a->n_times[1],
         .capacity = MAX_REPEATS},
    };
    UCB_TRY(ucb_options_parse("gate", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), NULL, NULL, 0, err));
    if (a->db == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "gate: no --db FILE was given; name the database of the nights");
    if (a->baseline == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "gate: no --baseline RUN was given; `ucbench list runs --db %s` "
                        "shows the runs, `previous` is the one before the candidate",
                        a->db);
    if (a->read_only && a->n_times[0] + a->n_times[1] > 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "gate: --read-only stores nothing, and times are to be stored");
    return check_night(a->night, err);
}

/* ---- the database ---- */

/* For writing where that is possible: an older schema is brought up to date, and the night
 * leaves its evidence. A database that cannot be written can still be judged. */
static ucb_status open_store(const struct arguments *a, struct ucb_gate_job *job,
                             struct ucb_err *err)
{
    struct ucb_store *probe = NULL;
    struct ucb_err why = {0};
    ucb_status readable = ucb_store_open(a->db, UCB_STORE_READ, &probe, &why);
    ucb_store_close(probe);
    if (a->read_only || readable == UCB_MISSING) {
        job->unrecorded = "asked for with --read-only";
        return ucb_store_open(a->db, UCB_STORE_READ, &job->store, err);
    }
    ucb_status status = ucb_store_open(a->db, UCB_STORE_WRITE, &job->store, err);
    if (status != UCB_IO || readable != UCB_OK || a->n_times[0] + a->n_times[1] > 0)
        return status;
    job->unrecorded = "the database cannot be written";
    return ucb_store_open(a->db, UCB_STORE_READ, &job->store, err);
}

static ucb_status import_times(const struct arguments *a, const struct ucb_gate *gate,
                               struct ucb_store *store, struct ucb_err *err)
{
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < a->n_times[side]; i++) {
            struct ucb_timing which = {.night = gate->night,
                                       .is_candidate = side == 1,
                                       .is_rerun = a->rerun,
                                       .round = (uint32_t)i};
            UCB_TRY(ucb_store_import_times(store, a->times[side][i], &which, err));
        }
    return UCB_OK;
}

/* ---- output ---- */

static ucb_status write_file(const char *folder, const char *name,
                             const struct ucb_text *text, struct ucb_arena *arena,
                             struct ucb_err *err)
{
    const char *path = ucb_arena_printf(arena, "%s/%s", folder, name);
    if (path == NULL || text->failed)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for it", name);
    return ucb_file_write(path, ucb_text_get(text), text->n_chars, err);
}

/* The four forms of a night. */
struct forms {
    struct ucb_text line, text, json, page;
};

static ucb_status make_forms(const struct ucb_gate *gate, const char *db,
                             struct ucb_arena *arena, struct forms *f, struct ucb_err *err)
{
    ucb_gate_line(gate, arena, &f->line);
    ucb_text_add(&f->line, "\n");
    UCB_TRY(ucb_gate_text(gate, arena, &f->text, err));
    UCB_TRY(ucb_gate_json(gate, arena, &f->json, err));
    return ucb_gate_page(gate, db, arena, &f->page, err);
}

static ucb_status write_forms(const struct forms *f, const char *folder,
                              struct ucb_arena *arena, struct ucb_err *err)
{
    if (folder == NULL) return UCB_OK;
    UCB_TRY(ucb_folder_make(folder, err));
    UCB_TRY(write_file(folder, "line.txt", &f->line, arena, err));
    UCB_TRY(write_file(folder, "gate.txt", &f->text, arena, err));
    UCB_TRY(write_file(folder, "gate.json", &f->json, arena, err));
    return write_file(folder, "gate.html", &f->page, arena, err);
}

static ucb_status show(const struct arguments *a, const struct ucb_gate *gate,
                       struct ucb_arena *arena, struct ucb_err *err)
{
    struct forms f = {0};
    ucb_status status = make_forms(gate, a->db, arena, &f, err);
    if (status == UCB_OK) status = write_forms(&f, a->out, arena, err);
    if (status == UCB_OK) fputs(ucb_text_get(a->json ? &f.json : &f.text), stdout);
    ucb_text_free(&f.line);
    ucb_text_free(&f.text);
    ucb_text_free(&f.json);
    ucb_text_free(&f.page);
    return status;
}

static ucb_status judge(const struct arguments *a, struct ucb_gate_job *job,
                        struct ucb_err *err)
{
    struct ucb_gate gate;
    UCB_TRY(ucb_gate_open(job, &gate, err));
    UCB_TRY(import_times(a, &gate, job->store, err));
    UCB_TRY(ucb_gate_run(job, &gate, err));
    UCB_TRY(show(a, &gate, job->arena, err));
    /* The answer is printed; there is nothing to add on stderr. */
    return ucb_gate_outcome(&gate) == UCB_GATE_REGRESSION ? UCB_NO : UCB_OK;
}

static ucb_status run_gate(int n_args, char **args, struct ucb_err *err)
{
    struct arguments a = {0};
    struct ucb_arena arena;
    struct ucb_gate_job job = {.arena = &arena};
    UCB_TRY(parse(n_args, args, &a, err));
    UCB_TRY(make_rules(&a, &job.rules, err));
    job.baseline = a.baseline;
    job.candidate = a.candidate == NULL ? "latest" : a.candidate;
    job.night = a.night;
    ucb_arena_init(&arena);
    ucb_status status = open_store(&a, &job, err);
    if (status == UCB_OK) status = judge(&a, &job, err);
    ucb_store_close(job.store);
    ucb_arena_free(&arena);
    return status;
}

const struct ucb_command ucb_command_gate = {
    "gate", "hold a run against a baseline: exit 1 on a regression", help, run_gate};
