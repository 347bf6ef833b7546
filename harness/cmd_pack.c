/*
 * cmd_pack.c - a model as a method leaves it, as a pack or as a file that other programs
 * run.
 */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "core/file.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/text.h"
#include "environment.h"
#include "eval/calib_spec.h"
#include "eval/layer_work.h"
#include "eval/shared.h"
#include "model/catalog.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "pack/pack_gguf.h"
#include "pack/packfile_write.h"
#include "pack/unpack.h"
#include "pack_print.h"

static const char help[] =
    "usage: ucbench pack --model M --method SPEC --out PACK [--format ucb|gguf] [options]\n"
    "\n"
    "Writes a model as a method leaves it: as a pack of this program (ucb), which holds exactly the bytes that the\n"
    "method wrote and all else of the checkpoint, or as a GGUF, which llama.cpp loads.\n"
    "\n"
    "  --model M            a name (`ucbench list models`), a Hugging Face folder, a .safetensors or .gguf file, a pack\n"
    "  --method SPEC        lossless, hqq:bits=4, nf4+residual, gguf:recipe=Q4_K_M, ...; none: as it is\n"
    "  --out PACK           the file; it stays as it was until the new one is whole\n"
    "  --scope body|linear|all   which matrices: the layers' (default), and the head, and the embedding;\n"
    "                       a recipe chooses its own; `lossless` alone codes every tensor of every file\n"
    "  --format ucb         one file: `ucbench info` tells what is in it, `verify` checks it, `unpack` gives the\n"
    "                       checkpoint back, and `sweep --model PACK` runs it. The default.\n"
    "  --format gguf        with the method gguf the blocks it writes, and as small as they are. GGUF has no types for\n"
    "                       other methods: of theirs it holds the decoded weights, so it runs as measured (but for int8\n"
    "                       with a threshold, which is measured in its own arithmetic), and is not small.\n"
    "  --calib SPEC, --data DIR|mini   for methods that need calibration: as `ucbench sweep` takes them\n"
    "  --seed N             of the method's random streams (default 0)\n"
    "  --threads N    --cache DIR    --quiet    --json    a summary as JSON on stdout\n"
    "\n"
    "examples\n"
    "  ucbench pack --model smollm2-135m-smooth --method lossless --out smollm2.ucb\n"
    "  ucbench pack --model smollm2-135m --method gguf:recipe=Q4_K_M --out smollm2-Q4_K_M.gguf --format gguf\n";

struct pack_args {
    const char *model, *method, *out, *format, *scope, *seed, *threads, *cache, *calib,
        *data;
    bool quiet, json;
};

struct pack_run {
    struct pack_args args;
    struct ucb_arena arena;
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    struct ucb_model *model;
    struct ucb_chain *chain;
    struct ucb_loader *loader;
    struct ucb_calib_text calib; /* of a chain that needs one */
    struct ucb_calibrator *calibrator;
    enum ucb_scope scope;
    uint64_t seed;
    struct ucb_pack_result result;
    /* of --format ucb */
    struct ucb_checkpoint *checkpoint; /* own, where no model was opened */
    struct ucb_layer_work *work;
    struct ucb_writer shared;
    char calib_identity[UCB_CALIB_IDENTITY];
    bool is_ucb;
};

static ucb_status check_format(struct pack_run *run, struct ucb_err *err)
{
    static const char *const known[] = {"ucb", "gguf"};
    const char *format = run->args.format;
    char near[128];
    run->is_ucb = format == NULL || strcmp(format, "ucb") == 0;
    if (run->is_ucb || strcmp(format, "gguf") == 0) return UCB_OK;
    ucb_text_near(format, known, 2, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "--format %s: %s", format, near);
}

static ucb_status parse_args(int n_args, char **args, struct pack_args *a,
                             struct ucb_err *err)
{
    const struct ucb_option options[] = {
        {"--model", UCB_OPTION_TEXT, .text = &a->model},
        {"--method", UCB_OPTION_TEXT, .text = &a->method},
        {"--out", UCB_OPTION_TEXT, .text = &a->out},
        {"--format", UCB_OPTION_TEXT, .text = &a->format},
        {"--scope", UCB_OPTION_TEXT, .text = &a->scope},
        {"--seed", UCB_OPTION_TEXT, .text = &a->seed},
        {"--threads", UCB_OPTION_TEXT, .text = &a->threads},
        {"--cache", UCB_OPTION_TEXT, .text = &a->cache},
        {"--calib", UCB_OPTION_TEXT, .text = &a->calib},
        {"--data", UCB_OPTION_TEXT, .text = &a->data},
        {"--quiet", UCB_OPTION_SWITCH, .on = &a->quiet},
        {"--json", UCB_OPTION_SWITCH, .on = &a->json},
    };
    UCB_TRY(ucb_options_parse("pack", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), NULL, NULL, 0, err));
    if (a->model == NULL || a->method == NULL || a->out == NULL)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench pack needs --model, --method and --out; see `ucbench pack --help`");
    return UCB_OK;
}

static const struct ucb_checkpoint *checkpoint_of(const struct pack_run *run)
{
    return run->model == NULL ? run->checkpoint : ucb_model_checkpoint(run->model);
}

/* The weights, and what lies beside them and is read too. */
static ucb_status check_out(const struct pack_run *run, struct ucb_err *err)
{
    if (!ucb_checkpoint_holds(checkpoint_of(run), run->args.out) &&
        !ucb_file_same(run->args.out, run->args.model)) /* a pack */
        return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "--out %s is an input of this command; name another file",
                    run->args.out);
}

static ucb_status load_calib(struct pack_run *run, const char *path, struct ucb_err *err)
{
    const char *data = run->args.data, *text = run->args.calib;
    struct ucb_calib_spec spec;
    struct ucb_tokenizer *tokenizer;
    UCB_TRY(ucb_calib_parse(text == NULL ? ucb_calib_default(data) : text, &spec, err));
    if (text == NULL)
        fprintf(stderr, "calibration: %s, the default; another one with --calib\n",
                spec.spec);
    UCB_TRY(ucb_tokenizer_open(path, &tokenizer, err));
    ucb_status status = ucb_calib_load(&spec, data, tokenizer, &run->arena, &run->calib,
                                       err);
    ucb_tokenizer_close(tokenizer);
    if (status == UCB_OK)
        ucb_calib_identity(&run->calib.spec, run->calib.digest, run->calib_identity);
    return status;
}

/* The sweep's own calibration: statistics and tuned layers that one of the two saved serve
 * the other. */
static ucb_status open_calibrator(struct pack_run *run, const char *path,
                                  const char *digest, struct ucb_err *err)
{
    char cache[4096];
    size_t batch;
    struct ucb_progress progress;
    if (!ucb_chain_needs_text(run->chain)) return UCB_OK;
    UCB_TRY(ucb_option_batch(NULL, &batch, err));
    UCB_TRY(ucb_cache_folder(run->args.cache, cache, sizeof(cache), err));
    UCB_TRY(load_calib(run, path, err));
    const char *kept = ucb_arena_strdup(&run->arena, cache);
    if (kept == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a path");
    const struct ucb_calibrator_options options = {.model = run->model,
                                                   .backend = run->backend,
                                                   .pool = run->pool,
                                                   .text = &run->calib,
                                                   .model_digest = digest,
                                                   .scope = ucb_scope_name(run->scope),
                                                   .seed = run->seed,
                                                   .batch = batch,
                                                   .memory_bytes = ucb_ram_bytes() / 2,
                                                   .cache = kept};
    UCB_TRY(ucb_layer_work_open(&options, run->chain, &run->work, err));
    if (ucb_chain_needs(run->chain) == UCB_NEEDS_NONE) return UCB_OK;
    ucb_progress_start(&progress, "calibration",
                       (double)ucb_model_arch(run->model)->n_layers);
    ucb_status status = ucb_calibrator_open(&options, run->chain, &progress,
                                            &run->calibrator, err);
    ucb_progress_end(&progress);
    return status;
}

/* What a GGUF has no place for. */
static ucb_status check_gguf(const struct pack_run *run, struct ucb_err *err)
{
    bool shared = ucb_chain_has_shared(run->chain);
    if (!shared && run->work == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s has %s, and `ucbench pack --format gguf` writes matrix by matrix; "
                    "`--format ucb` keeps them",
                    run->args.method,
                    shared ? "side data that all matrices share" : "tuned layers");
}

static ucb_status fit_shared(struct pack_run *run, const char *digest, struct ucb_err *err)
{
    const struct ucb_shared_options options = {.model = run->model,
                                               .pool = run->pool,
                                               .scope = run->scope,
                                               .seed = run->seed,
                                               .model_digest = digest};
    struct ucb_tally tally;
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_tally_begin(&tally);
    ucb_status status = ucb_shared_fit(&options, run->chain, run->calibrator, &tally,
                                       &run->shared, err);
    ucb_sha256_final(&tally.digest, unused);
    return status;
}

static ucb_status open_model(struct pack_run *run, const char *path, struct ucb_err *err)
{
    const char *digest;
    UCB_TRY(
        ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, run->pool, &run->backend, err));
    UCB_TRY(ucb_model_open(path, &run->model, err));
    UCB_TRY(ucb_model_digest(run->model, &digest, err));
    UCB_TRY(check_out(run, err));
    if (ucb_model_warning(run->model) != NULL)
        fprintf(stderr, "%s: %s\n", run->args.model, ucb_model_warning(run->model));
    if (!run->is_ucb && ucb_chain_has_shared(run->chain)) return check_gguf(run, err);
    UCB_TRY(open_calibrator(run, path, digest, err));
    UCB_TRY(run->is_ucb ? fit_shared(run, digest, err) : check_gguf(run, err));
    return ucb_loader_open(run->model, run->backend, run->pool, run->scope, run->seed,
                           digest, &run->loader, err);
}

static ucb_status open_run(struct pack_run *run, struct ucb_err *err)
{
    const struct pack_args *a = &run->args;
    char path[4096];
    unsigned threads;
    UCB_TRY(ucb_option_threads(a->threads, &threads, err));
    if (a->seed != NULL && !ucb_parse_u64(a->seed, &run->seed))
        return UCB_FAIL(err, UCB_USAGE, "--seed %s: a whole number from 0 on", a->seed);
    UCB_TRY(ucb_scope_find(a->scope == NULL ? "body" : a->scope, &run->scope, err));
    UCB_TRY(ucb_chain_parse(a->method, &run->arena, &run->chain, err));
    UCB_TRY(ucb_pool_open(threads, &run->pool, err));
    UCB_TRY(ucb_pack_locate_model(a->model, a->cache, path, sizeof(path), err));
    if (!run->is_ucb || !ucb_packfile_is_whole(run->chain))
        return open_model(run, path, err);
    UCB_TRY(ucb_checkpoint_open(path, &run->checkpoint, err));
    return check_out(run, err);
}

static void close_run(struct pack_run *run)
{
    ucb_loader_close(run->loader);
    ucb_layer_work_close(run->work);
    ucb_writer_free(&run->shared);
    ucb_checkpoint_close(run->checkpoint);
    ucb_calibrator_close(run->calibrator);
    ucb_backend_close(run->backend);
    ucb_model_close(run->model);
    ucb_pool_close(run->pool);
    ucb_arena_free(&run->arena);
}

static double bits(uint64_t n_bytes, uint64_t n_weights)
{
    return n_weights == 0 ? 0.0 : 8.0 * (double)n_bytes / (double)n_weights;
}

static const char *form_name(enum ucb_pack_form form)
{
    static const char *const names[] = {"source", "layout", "decoded"};
    return names[form];
}

static ucb_status print_json(const struct pack_run *run, struct ucb_err *err)
{
    const struct ucb_pack_result *r = &run->result;
    json_t *types = json_array();
    for (unsigned d = 0; d < UCB_N_DTYPES; d++)
        if (r->type_tensors[d] > 0)
            json_array_append_new(types,
                                  json_pack("{s:s, s:I, s:I, s:I}", "dtype",
                                            ucb_dtype_name((enum ucb_dtype)d), "tensors",
                                            (json_int_t)r->type_tensors[d], "elements",
                                            (json_int_t)r->type_elements[d], "bytes",
                                            (json_int_t)r->type_bytes[d]));
    json_t *o = json_pack(
        "{s:o, s:s, s:s, s:I, s:I, s:I, s:f, s:{s:I, s:I, s:f, s:I}, s:o}", "out",
        ucb_json_text(run->args.out), "method", ucb_chain_spec(run->chain), "stored",
        form_name(r->form), "file_bytes", (json_int_t)r->file_bytes, "tensor_bytes",
        (json_int_t)r->tensor_bytes, "parameters", (json_int_t)r->n_elements,
        "bits_per_weight", bits(r->tensor_bytes, r->n_elements), "matrices", "weights",
        (json_int_t)r->n_weights, "bytes", (json_int_t)r->matrix_bytes, "bits_per_weight",
        bits(r->matrix_bytes, r->n_weights), "extra_bytes", (json_int_t)r->extra_bytes,
        "types", types);
    return ucb_json_print(o, "what was packed", err);
}

static void print_for_people(const struct pack_run *run)
{
    const struct ucb_pack_result *r = &run->result;
    printf("%s: %s, %llu bytes, its tensors %.4f bits per weight\n", run->args.out,
           ucb_chain_spec(run->chain), (unsigned long long)r->file_bytes,
           bits(r->tensor_bytes, r->n_elements));
    if (r->n_weights > 0)
        printf("  in scope: the method wrote %llu bytes for %llu weights, %.4f bits per "
               "weight\n",
               (unsigned long long)r->matrix_bytes, (unsigned long long)r->n_weights,
               bits(r->matrix_bytes, r->n_weights));
    if (r->extra_bytes > 0)
        printf("  beside the scope: %llu bytes for matrices that the method takes too\n",
               (unsigned long long)r->extra_bytes);
    if (r->form == UCB_PACK_DECODED)
        printf("  GGUF has no type for %s: its matrices stand here decoded, as %s, %llu "
               "bytes in all\n",
               ucb_chain_name(run->chain), ucb_dtype_name(r->dtype),
               (unsigned long long)(r->n_weights * ucb_dtype_block_bytes(r->dtype)));
    if (ucb_chain_has_product(run->chain))
        printf(
            "  %s multiplies in an arithmetic of its own, which no GGUF carries: this file "
            "does not score as that cell does\n",
            ucb_chain_spec(run->chain));
    for (unsigned d = 0; d < UCB_N_DTYPES; d++)
        if (r->type_tensors[d] > 0)
            printf("  %-10s  %llu tensors, %llu elements, %llu bytes\n",
                   ucb_dtype_name((enum ucb_dtype)d),
                   (unsigned long long)r->type_tensors[d],
                   (unsigned long long)r->type_elements[d],
                   (unsigned long long)r->type_bytes[d]);
}

static ucb_status pack_gguf(struct pack_run *run, struct ucb_err *err)
{
    const struct ucb_pack_options options = {.model = run->model,
                                             .chain = run->chain,
                                             .loader = run->loader,
                                             .calibrator = run->calibrator,
                                             .scope = run->scope,
                                             .out = run->args.out,
                                             .label = ucb_chain_spec(run->chain)};
    UCB_TRY(ucb_pack_gguf(&options, &run->result, err));
    if (run->args.json) return print_json(run, err);
    print_for_people(run);
    return UCB_OK;
}

/* The pack is opened again as any reader would: what is printed is what it says. */
static ucb_status pack_ucb(struct pack_run *run, struct ucb_err *err)
{
    const struct ucb_packfile_options options = {.checkpoint = checkpoint_of(run),
                                                 .chain = run->chain,
                                                 .model = run->model,
                                                 .loader = run->loader,
                                                 .calibrator = run->calibrator,
                                                 .work = run->work,
                                                 .shared = &run->shared,
                                                 .pool = run->pool,
                                                 .scope = run->scope,
                                                 .seed = run->seed,
                                                 .calib = run->calib_identity,
                                                 .out = run->args.out,
                                                 .label = ucb_chain_spec(run->chain)};
    struct ucb_packfile *pack;
    UCB_TRY(ucb_packfile_write(&options, err));
    UCB_TRY(ucb_packfile_open(run->args.out, UINT64_MAX, &pack, err));
    ucb_status status = ucb_pack_print(pack, run->args.json, err);
    ucb_packfile_close(pack);
    return status;
}

static ucb_status pack_main(int n_args, char **args, struct ucb_err *err)
{
    struct pack_run run = {0};
    ucb_status status;
    ucb_arena_init(&run.arena);
    UCB_TRY_OUT(parse_args(n_args, args, &run.args, err));
    ucb_progress_quiet(run.args.quiet);
    UCB_TRY_OUT(check_format(&run, err));
    UCB_TRY_OUT(open_run(&run, err));
    status = run.is_ucb ? pack_ucb(&run, err) : pack_gguf(&run, err);
out:
    close_run(&run);
    return status;
}

const struct ucb_command ucb_command_pack = {
    .name = "pack",
    .summary = "a model as a method leaves it, as a pack or a GGUF file",
    .help = help,
    .run = pack_main,
};
