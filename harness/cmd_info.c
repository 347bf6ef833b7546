/*
 * cmd_info.c - what is inside a model: what its headers say at once, then the digest and
 * what its weights say.
 */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "info.h"
#include "model/catalog.h"
#include "pack/seed.h"
#include "pack_print.h"

/* A model of this size is read in seconds: nobody waits for it, so it is checked before a
 * line is printed, and its weights are looked at unasked. */
static const uint64_t small_bytes = (uint64_t)1 << 30, auto_bytes = (uint64_t)4 << 30;

static const char help[] =
    "usage: ucbench info MODEL|PACK [--weights auto|yes|no] [--tensors] [--threads N] [--cache DIR] [--quiet] [--json]\n"
    "\n"
    "Prints a model's architecture, parameters by what they are for, element types, size, licence and digest; then\n"
    "what its weights say: whether they lie on a low-bit grid (a model that was quantized before: its lossless sizes\n"
    "and 4-bit results mean something else), and the entropy of sign, exponent and mantissa in bits per weight.\n"
    "MODEL is a name, a Hugging Face folder, a .safetensors or a .gguf file. Of a pack: what it was made from and by,\n"
    "what it unpacks to, and what every byte of it is for. Of a .uc layer, a folder of them or a UCV17 file: the\n"
    "matrices in it.\n"
    "\n"
    "  --weights auto|yes|no   look at the weights; auto (default): of files up to 4 GiB. `no` reads only headers:\n"
    "                          no digest either. Larger models show progress; memory stays at some MB a thread\n"
    "  --tensors               a line for each tensor (--json always has them)\n"
    "  --threads N             default: all cores; changes no result\n"
    "  --json                  one JSON object; docs/info.md explains its keys\n"
    "\n"
    "entropy: order 0, tables for sign and exponent of each tensor, one for the mantissa given the exponent of all\n"
    "tensors of a type. Block types (Q4_1 ...) are counted as the bf16 copy of what they decode to; their floor is\n"
    "the type's own bits. docs/info.md has the detector's rule.\n";

struct info_args {
    const char *model, *weights, *cache, *threads;
    bool tensors, quiet, json;
};

static ucb_status parse_args(int n_args, char **args, struct info_args *a,
                             struct ucb_err *err)
{
    size_t n = 0;
    const struct ucb_option options[] = {
        {"--weights", UCB_OPTION_TEXT, .text = &a->weights},
        {"--cache", UCB_OPTION_TEXT, .text = &a->cache},
        {"--threads", UCB_OPTION_TEXT, .text = &a->threads},
        {"--tensors", UCB_OPTION_SWITCH, .on = &a->tensors},
        {"--quiet", UCB_OPTION_SWITCH, .on = &a->quiet},
        {"--json", UCB_OPTION_SWITCH, .on = &a->json}};
    UCB_TRY(ucb_options_parse("info", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), &a->model, &n, 1, err));
    if (n == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "ucbench info needs a model; see `ucbench list models`");
    if (a->weights == NULL) a->weights = "auto";
    if (strcmp(a->weights, "auto") != 0 && strcmp(a->weights, "yes") != 0 &&
        strcmp(a->weights, "no") != 0)
        return UCB_FAIL(err, UCB_USAGE, "--weights %s: auto, yes or no", a->weights);
    if (a->tensors && strcmp(a->weights, "no") == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "--tensors is about the weights, which --weights no leaves alone");
    return UCB_OK;
}

static bool wants_weights(const struct info_args *a, const struct ucb_model *model)
{
    if (strcmp(a->weights, "auto") != 0) return strcmp(a->weights, "yes") == 0;
    return a->tensors || ucb_model_file_bytes(model) <= auto_bytes;
}

static ucb_status survey(const struct info_args *a, const struct ucb_model *model,
                         json_t **out, struct ucb_err *err)
{
    struct ucb_survey result;
    struct ucb_progress progress;
    struct ucb_pool *pool = NULL;
    struct ucb_arena arena;
    unsigned threads;
    UCB_TRY(ucb_option_threads(a->threads, &threads, err));
    UCB_TRY(ucb_pool_open(threads, &pool, err));
    ucb_arena_init(&arena);
    ucb_progress_quiet(a->quiet);
    ucb_progress_start(&progress, "weights", (double)ucb_model_file_bytes(model));
    ucb_status status = ucb_survey_checkpoint(ucb_model_checkpoint(model), pool, &progress,
                                              &arena, &result, err);
    ucb_progress_end(&progress);
    if (status == UCB_OK && (*out = ucb_info_weights(&result)) == NULL)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory to describe the weights");
    ucb_arena_free(&arena);
    ucb_pool_close(pool);
    return status;
}

/* The part that reads the whole file. */
static ucb_status read_all(const struct info_args *a, struct ucb_model *model,
                           json_t *facts, struct ucb_err *err)
{
    const char *digest;
    json_t *weights;
    UCB_TRY(ucb_model_digest(model, &digest, err));
    json_object_set_new(facts, "sha256", json_string(digest));
    if (!a->json) {
        printf("  sha256      %s\n", digest);
        fflush(stdout);
    }
    if (ucb_model_file_bytes(model) > small_bytes) UCB_TRY(ucb_model_look(model, err));
    UCB_TRY(survey(a, model, &weights, err));
    json_object_set_new(facts, "weights", weights);
    if (!a->json) ucb_info_print_weights(weights, a->tensors);
    return UCB_OK;
}

static ucb_status describe(const struct info_args *a, struct ucb_model *model,
                           struct ucb_err *err)
{
    bool weights = wants_weights(a, model);
    if (ucb_model_file_bytes(model) <= small_bytes && weights)
        UCB_TRY(ucb_model_look(model, err));
    json_t *facts = ucb_info_facts(model, weights ? ucb_catalog_recognize(a->model, model)
                                                  : ucb_catalog_find(a->model));
    if (facts == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to describe the model");
    if (!a->json) ucb_info_print_facts(facts);
    ucb_status status = UCB_OK;
    if (weights)
        status = read_all(a, model, facts, err);
    else if (!a->json)
        printf("  weights     not looked at%s\n",
               strcmp(a->weights, "no") == 0 ? ""
                                             : "; --weights yes does, and shows progress");
    if (a->json && status == UCB_OK) return ucb_json_print(facts, "the model", err);
    json_decref(facts);
    return status;
}

static ucb_status info_pack(const char *path, bool as_json, struct ucb_err *err)
{
    struct ucb_packfile *pack;
    UCB_TRY(ucb_packfile_open(path, UINT64_MAX, &pack, err));
    ucb_status status = ucb_pack_print(pack, as_json, err);
    ucb_packfile_close(pack);
    return status;
}

static ucb_status info_main(int n_args, char **args, struct ucb_err *err)
{
    struct info_args a = {0};
    struct ucb_model *model;
    char path[4096];
    UCB_TRY(parse_args(n_args, args, &a, err));
    if (ucb_packfile_is(a.model)) return info_pack(a.model, a.json, err);
    if (ucb_seed_is(a.model)) return ucb_seed_print(a.model, false, a.json, err);
    UCB_TRY(ucb_model_locate(a.model, a.cache, path, sizeof(path), err));
    UCB_TRY(ucb_model_open_unread(path, &model, err));
    ucb_status status = describe(&a, model, err);
    ucb_model_close(model);
    return status;
}

const struct ucb_command ucb_command_info = {
    .name = "info",
    .summary = "what is inside a model (architecture, grid, entropy) or a pack",
    .help = help,
    .run = info_main,
};
