/*
 * calib_spec.c - "wikitext-valid:n=128,ctx=512,seed=0": from a calibration's text to its
 * windows.
 *
 * Only texts of this file's table are calibrated on. What a task is scored on is refused by
 * every name it goes by: a method that saw the text has an advantage there that says
 * nothing about other texts. One such text is in the table, because a published protocol
 * calibrated on it: only ucb_calib_parse_compat() knows it, and its cells are marked.
 */
#include "eval/calib_spec.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/mt19937.h"
#include "core/pcg.h"
#include "core/text.h"
#include "model/tokenizer.h"
#include "task/knobs.h"
#include "task/manifest.h"

/* ---- the texts ---- */

enum { KNOB_N, KNOB_CTX, KNOB_SEED, KNOB_MODE };
enum { N_SHOWN = KNOB_SEED + 1 };
static const char *const modes[] = {[UCB_CALIB_AUTO] = "auto",
                                    [UCB_CALIB_SEQUENTIAL] = "sequential",
                                    [UCB_CALIB_PARALLEL] = "parallel",
                                    NULL};
/* The knobs of a text; only how much of it is taken by default differs. */
#define KNOBS(default_n, default_ctx, default_seed)                                     \
    {                                                                                   \
        [KNOB_N] = {"n", "windows", default_n, 1, 1 << 20, NULL},                       \
        [KNOB_CTX] = {"ctx", "ids in a window", default_ctx, 8, 1 << 20, NULL},         \
        [KNOB_SEED] = {"seed", "places the windows", default_seed, 0, INT64_MAX, NULL}, \
        [KNOB_MODE] = {"mode", "whose inputs are seen", "auto", 1, 0, modes}, {0},      \
    }
static const struct ucb_task_knob full_knobs[] = KNOBS("128", "512", "0"),
                                  mini_knobs[] = KNOBS("32", "256", "0"),
                                  test_knobs[] = KNOBS("32", "512", "123");

static const struct text {
    const char *name, *file;
    bool inside; /* the file is part of the program */
    const struct ucb_task_knob *knobs;
    const char *fallback; /* the spec with its defaults written out */
    bool is_test;         /* tasks are scored on it */
} texts[] = {
    {"wikitext-valid", "wikitext-2-raw.valid.txt", false, full_knobs,
     "wikitext-valid:n=128,ctx=512,seed=0", false},
    {"calib-mini", "datasets/calib_mini/calib_mini.txt", true, mini_knobs,
     "calib-mini:n=32,ctx=256,seed=0", false},
    {"wikitext-test", "wikitext-2-raw.test.txt", false, test_knobs,
     "wikitext-test:n=32,ctx=512,seed=123", true},
};
enum { N_TEXTS = sizeof(texts) / sizeof(texts[0]) };

static const struct text *find_text(const char *name)
{
    for (size_t i = 0; i < N_TEXTS; i++)
        if (strcmp(texts[i].name, name) == 0) return &texts[i];
    return NULL;
}

bool ucb_calib_is_text(const char *dataset)
{
    const struct text *text = find_text(dataset);
    return text != NULL && !text->is_test;
}

bool ucb_calib_is_contaminated(const char *calib)
{
    for (size_t i = 0; i < N_TEXTS; i++) {
        size_t n = strlen(texts[i].name);
        if (texts[i].is_test && strncmp(calib, texts[i].name, n) == 0 && calib[n] == ':')
            return true;
    }
    return false;
}

const char *ucb_calib_default(const char *data)
{
    bool mini = strcmp(ucb_data_folder(data), "mini") == 0;
    return find_text(mini ? "calib-mini" : "wikitext-valid")->fallback;
}

/* ---- what is refused ---- */

enum { NAME_TEXT = 128 };

/* Lower case, dashes for underscores: how a name is compared. */
static const char *plain(const char *name, char out[NAME_TEXT])
{
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < NAME_TEXT; i++)
        out[i] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
    out[i] = '\0';
    return out;
}

static bool is_named(const char *plain_name, const char *name)
{
    char other[NAME_TEXT];
    return strcmp(plain_name, plain(name, other)) == 0;
}

static bool is_of_manifest(const char *name, const struct ucb_manifest *m)
{
    const char *slash = strrchr(m->folder, '/');
    if (is_named(name, m->name) || is_named(name, slash + 1)) return true;
    for (size_t i = 0; i < m->n_files; i++)
        if (is_named(name, m->files[i].path)) return true;
    return false;
}

/* Whether tasks are scored on a text that goes by this name. */
static ucb_status is_scored(const char *given, bool *scored, struct ucb_err *err)
{
    static const char *const bare[] = {"wikitext-2", "wikitext-2-raw", "wikitext-2-raw-v1",
                                       "wiki"}; /* no split is named */
    char name[NAME_TEXT];
    const struct ucb_manifest *manifests;
    size_t n = 0;
    UCB_TRY(ucb_manifests(&manifests, &n, err));
    plain(given, name);
    *scored = strstr(name, "test") != NULL;
    for (size_t i = 0; i < sizeof(bare) / sizeof(bare[0]); i++)
        *scored |= is_named(name, bare[i]);
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++)
        *scored |= is_named(name, (*t)->name);
    for (size_t i = 0; i < n; i++)
        if (strcmp(manifests[i].split, "test") == 0)
            *scored |= is_of_manifest(name, &manifests[i]);
    return UCB_OK;
}

static ucb_status refuse(const char *name, struct ucb_err *err)
{
    bool scored = false;
    const char *names[N_TEXTS];
    char near[NAME_TEXT];
    size_t n_names = 0;
    for (size_t i = 0; i < N_TEXTS; i++)
        if (!texts[i].is_test) names[n_names++] = texts[i].name;
    UCB_TRY(is_scored(name, &scored, err));
    if (scored)
        return UCB_FAIL(
            err, UCB_USAGE,
            "`%s` is a text that tasks are scored on, and calibration must never see "
            "the test text: a method fitted to it would be scored on what it was "
            "fitted to; use wikitext-valid (--data DIR) or calib-mini (inside the "
            "program). To repeat a published protocol that did so, `ucbench sweep "
            "--compat` takes wikitext-test and marks the results",
            name);
    ucb_text_near(name, names, n_names, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "no calibration text is named `%s`; %s", name, near);
}

/* ---- specs ---- */

static ucb_status parse(char *copy, bool compat, struct ucb_calib_spec *out,
                        struct ucb_err *err)
{
    int64_t number[UCB_TASK_MAX_KNOBS];
    char *pairs = copy, *name = strsep(&pairs, ":");
    const struct text *text = find_text(name);
    if (text == NULL || (text->is_test && !compat)) return refuse(name, err);
    UCB_TRY(ucb_knobs_parse(name, text->knobs, pairs, number, err));
    *out = (struct ucb_calib_spec){.dataset = text->name,
                                   .n = (uint32_t)number[KNOB_N],
                                   .ctx = (uint32_t)number[KNOB_CTX],
                                   .seed = (uint64_t)number[KNOB_SEED],
                                   .mode = (enum ucb_calib_mode)number[KNOB_MODE]};
    size_t n = (size_t)snprintf(out->spec, sizeof(out->spec), "%s", text->name);
    ucb_knobs_write(text->knobs, N_SHOWN, number, out->spec + n, sizeof(out->spec) - n);
    return UCB_OK;
}

static ucb_status parse_text(const char *text, bool compat, struct ucb_calib_spec *out,
                             struct ucb_err *err)
{
    struct ucb_calib_spec spec;
    char copy[sizeof(spec.spec)];
    if (strlen(text) >= sizeof(copy))
        return UCB_FAIL(err, UCB_USAGE,
                        "calibration `%.40s...`: %zu characters, at most %zu are allowed",
                        text, strlen(text), sizeof(copy) - 1);
    strcpy(copy, text);
    ucb_status status = parse(copy, compat, &spec, err);
    if (status == UCB_OK)
        *out = spec;
    else
        ucb_err_prefix(err, "calibration `%s`", text);
    return status;
}

ucb_status ucb_calib_parse(const char *text, struct ucb_calib_spec *out,
                           struct ucb_err *err)
{
    return parse_text(text, false, out, err);
}

ucb_status ucb_calib_parse_compat(const char *text, struct ucb_calib_spec *out,
                                  struct ucb_err *err)
{
    return parse_text(text, true, out, err);
}

void ucb_calib_identity(const struct ucb_calib_spec *spec,
                        const char digest[UCB_SHA256_HEX], char out[UCB_CALIB_IDENTITY])
{
    snprintf(out, UCB_CALIB_IDENTITY, "%s %.12s", spec->spec, digest);
}

/* ---- from a spec to windows ---- */

ucb_status ucb_calib_open_text(const struct ucb_calib_spec *spec, const char *data,
                               struct ucb_dataset *out, struct ucb_err *err)
{
    const struct text *text = find_text(spec->dataset);
    assert(text != NULL);
    if (text->inside) return ucb_dataset_open(text->file, text->file, "mini", out, err);
    data = ucb_data_folder(data);
    if (strcmp(data, "mini") == 0)
        return UCB_FAIL(err, UCB_MISSING,
                        "calibration on %s needs the file %s: run `scripts/fetch.sh data "
                        "DIR` and give `--data DIR`, or use `--calib calib-mini`, whose "
                        "text is inside the program",
                        text->name, text->file);
    ucb_status status = ucb_dataset_open(text->file, text->file, data, out, err);
    if (status == UCB_MISSING)
        ucb_err_prefix(err, "calibration on %s (`--calib calib-mini` needs no file)",
                       text->name);
    return status;
}

/* The published protocol: starts are MT19937's modulo N - L - 1, as in
 * lambada-windows, and no window begins with BOS. */
static void cut_as_published(const struct ucb_calib_spec *spec, const uint32_t *ids,
                             size_t n_ids, uint32_t *windows)
{
    struct ucb_mt19937 random;
    size_t ctx = spec->ctx;
    ucb_mt19937_seed(&random, (uint32_t)spec->seed);
    for (size_t i = 0; i < spec->n; i++)
        memcpy(windows + i * ctx, ids + ucb_mt19937_next(&random) % (n_ids - ctx - 1),
               ctx * sizeof(*ids));
}

static void cut(const struct ucb_calib_spec *spec, const uint32_t *ids, size_t n_ids,
                uint32_t bos, uint32_t *windows)
{
    struct ucb_pcg random;
    char stream[NAME_TEXT];
    size_t ctx = spec->ctx;
    snprintf(stream, sizeof(stream), "calib/%s", spec->dataset);
    ucb_pcg_named(&random, spec->seed, stream);
    for (size_t i = 0; i < spec->n; i++) {
        uint32_t start = ucb_pcg_below(&random, (uint32_t)(n_ids - ctx + 1));
        memcpy(windows + i * ctx, ids + start, ctx * sizeof(*ids));
        if (bos != UINT32_MAX) windows[i * ctx] = bos;
    }
}

ucb_status ucb_calib_cut(const struct ucb_calib_spec *spec, const uint32_t *ids,
                         size_t n_ids, uint32_t bos, struct ucb_arena *arena,
                         struct ucb_calib_text *out, struct ucb_err *err)
{
    bool as_published = find_text(spec->dataset)->is_test;
    size_t n_all = 0, ctx = spec->ctx;
    if (n_ids < ctx + (as_published ? 2 : 0))
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: %zu tokens in all, fewer than one window of ctx=%zu; try a smaller ctx",
            spec->dataset, n_ids, ctx);
    assert(n_ids <= UINT32_MAX); /* a text is at most 1 GiB */
    uint32_t *windows = ucb_size_mul(spec->n, ctx, &n_all) ? UCB_NEW(arena, uint32_t, n_all)
                                                           : NULL;
    if (windows == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %u windows of %zu tokens", spec->n,
                        ctx);
    if (as_published)
        cut_as_published(spec, ids, n_ids, windows);
    else
        cut(spec, ids, n_ids, bos, windows);
    out->ids = windows;
    out->n_windows = spec->n;
    return UCB_OK;
}

ucb_status ucb_calib_load(const struct ucb_calib_spec *spec, const char *data,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_calib_text *out, struct ucb_err *err)
{
    struct ucb_calib_text text = {.spec = *spec};
    struct ucb_dataset dataset;
    struct ucb_arena whole; /* the text's own ids are not kept */
    struct ucb_ids ids;
    uint32_t bos = ucb_tokenizer_adds_bos(tokenizer) ? ucb_tokenizer_bos(tokenizer)
                                                     : UINT32_MAX;
    UCB_TRY(ucb_calib_open_text(spec, data, &dataset, err));
    memcpy(text.digest, dataset.digest, sizeof(text.digest));
    ucb_arena_init(&whole);
    ucb_status status = ucb_tokenize(tokenizer, dataset.text, dataset.n_bytes, &whole, &ids,
                                     err);
    if (status == UCB_OK)
        status = ucb_calib_cut(spec, ids.ids, ids.n, bos, arena, &text, err);
    if (status == UCB_OK)
        *out = text;
    else
        ucb_err_prefix(err, "%s", dataset.file);
    ucb_arena_free(&whole);
    ucb_dataset_close(&dataset);
    return status;
}
