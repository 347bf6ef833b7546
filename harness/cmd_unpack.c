/*
 * cmd_unpack.c - the checkpoint that a pack holds, as files again.
 */
#include "cmd.h"

#include <stdio.h>

#include <jansson.h>

#include "core/json.h"
#include "core/progress.h"
#include "core/text.h"
#include "pack/unpack.h"

static const char help[] =
    "usage: ucbench unpack PACK --out DIR [--force] [--limit BYTES] [--threads N] [--quiet] [--json]\n"
    "\n"
    "Writes the checkpoint of a pack into DIR, which `ucbench sweep --model DIR` runs. Of `lossless` (and of chains\n"
    "that end in `residual`, and `none`) these are the original files, byte for byte, headers included. Of other\n"
    "methods: the weights as they decode, in the dtype that the method deploys, and everything else as the source has\n"
    "it; a folder of safetensors, or model.gguf where the source was a GGUF. Every digest is compared before a file\n"
    "gets its name; a pack that was damaged leaves nothing behind.\n"
    "\n"
    "  --force          replace files of the same names\n"
    "  --limit BYTES    how much it may unpack to (default 64 times the pack), e.g. 20G\n";

static ucb_status print_json(const struct ucb_packfile *p, const char *folder,
                             struct ucb_err *err)
{
    json_t *files = json_array();
    for (uint32_t i = 0; i < p->n_files; i++) {
        const struct ucb_pack_entry *f = &p->files[i];
        json_t *o = json_pack("{s:s, s:I, s:b}", "name", f->name, "bytes",
                              (json_int_t)f->n_bytes, "original", f->is_source);
        if (f->is_source) json_object_set_new(o, "sha256", json_string(f->sha256));
        json_array_append_new(files, o);
    }
    json_t *o = json_pack("{s:o, s:o, s:s, s:b, s:I, s:o}", "out", ucb_json_text(folder),
                          "pack", ucb_json_text(p->path), "method", p->spec, "exact",
                          p->is_exact, "bytes", (json_int_t)p->unpacked_bytes, "files",
                          files);
    return ucb_json_print(o, "what was unpacked", err);
}

static void print_for_people(const struct ucb_packfile *p, const char *folder)
{
    printf("%s: %s, %llu bytes in %u files%s\n", folder, p->spec,
           (unsigned long long)p->unpacked_bytes, p->n_files,
           p->is_exact ? ", the original's byte for byte" : "");
    for (uint32_t i = 0; i < p->n_files; i++)
        printf("  %-32s %llu bytes%s\n", p->files[i].name,
               (unsigned long long)p->files[i].n_bytes,
               p->files[i].is_source ? ", SHA-256 as the source's" : "");
}

static ucb_status unpack_main(int n_args, char **args, struct ucb_err *err)
{
    const char *path = NULL, *out = NULL, *limit_text = NULL, *threads_text = NULL;
    bool force = false, quiet = false, as_json = false;
    size_t n = 0;
    uint64_t limit = 0;
    unsigned threads;
    const struct ucb_option options[] = {
        {"--out", UCB_OPTION_TEXT, .text = &out},
        {"--limit", UCB_OPTION_TEXT, .text = &limit_text},
        {"--threads", UCB_OPTION_TEXT, .text = &threads_text},
        {"--force", UCB_OPTION_SWITCH, .on = &force},
        {"--quiet", UCB_OPTION_SWITCH, .on = &quiet},
        {"--json", UCB_OPTION_SWITCH, .on = &as_json}};
    UCB_TRY(ucb_options_parse("unpack", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), &path, &n, 1, err));
    if (n == 0 || out == NULL)
        return UCB_FAIL(err, UCB_USAGE, "ucbench unpack needs a pack and --out DIR");
    if (limit_text != NULL && (!ucb_parse_bytes(limit_text, &limit) || limit == 0))
        return UCB_FAIL(err, UCB_USAGE, "--limit %s: a count of bytes, 20G", limit_text);
    UCB_TRY(ucb_option_threads(threads_text, &threads, err));
    ucb_progress_quiet(quiet);
    struct ucb_packfile *pack;
    struct ucb_pool *pool = NULL;
    UCB_TRY(ucb_packfile_open(path, limit, &pack, err));
    ucb_status status = ucb_pool_open(threads, &pool, err);
    if (status == UCB_OK) status = ucb_packfile_unpack(pack, pool, out, force, err);
    if (status == UCB_OK && as_json) status = print_json(pack, out, err);
    if (status == UCB_OK && !as_json) print_for_people(pack, out);
    ucb_pool_close(pool);
    ucb_packfile_close(pack);
    return status;
}

const struct ucb_command ucb_command_unpack = {
    .name = "unpack",
    .summary = "a pack's checkpoint, as files again",
    .help = help,
    .run = unpack_main,
};
