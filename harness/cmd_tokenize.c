/*
 * cmd_tokenize.c - texts to ids, a JSON line each: for people who wonder, and for
 * conformance tests.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "core/json.h"
#include "pack/unpack.h"
#include "model/tokenizer.h"

static ucb_status open_model(const char *model, const char *cache,
                             struct ucb_tokenizer **out, struct ucb_err *err)
{
    char path[4096];
    if (model == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "ucbench tokenize needs --model: a name of `ucbench list models`, "
                        "a model's folder or file, "
                        "a tokenizer.json or a vocabulary-only GGUF");
    UCB_TRY(ucb_pack_locate_model(model, cache, path, sizeof(path), err));
    return ucb_tokenizer_open(path, out, err);
}

static void print_ids(const struct ucb_ids *ids)
{
    fputs("{\"ids\":[", stdout);
    for (size_t i = 0; i < ids->n; i++)
        printf(i == 0 ? "%u" : ",%u", (unsigned)ids->ids[i]);
    fputs("]}\n", stdout);
}

/* `where` is the file and the number of the line, for messages. */
static ucb_status print_line(const struct ucb_tokenizer *t, const char *where,
                             const char *line, size_t n_bytes, struct ucb_arena *arena,
                             struct ucb_err *err)
{
    json_t *root;
    struct ucb_ids ids;
    UCB_TRY(ucb_json_parse(where, line, n_bytes, &root, err));
    const json_t *text = json_object_get(root, "text");
    ucb_status status;
    if (!json_is_string(text))
        status = UCB_FAIL(
            err, UCB_CORRUPT,
            "%s has no string under \"text\"; every line must be {\"text\": \"...\"}",
            where);
    else
        status = ucb_tokenize(t, json_string_value(text), json_string_length(text), arena,
                              &ids, err);
    json_decref(root);
    if (status == UCB_OK) print_ids(&ids);
    ucb_arena_reset(arena);
    return status;
}

static ucb_status print_stream(const struct ucb_tokenizer *t, const char *name, FILE *in,
                               struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    struct ucb_arena arena;
    char *line = NULL, where[512];
    size_t capacity = 0;
    ssize_t n;
    ucb_arena_init(&arena);
    for (size_t number = 1; status == UCB_OK && (n = getline(&line, &capacity, in)) >= 0;
         number++) {
        snprintf(where, sizeof(where), "%.400s, line %zu,", name, number);
        status = print_line(t, where, line, (size_t)n, &arena, err);
    }
    if (status == UCB_OK && ferror(in))
        status = UCB_FAIL(err, UCB_IO, "%s: %s", name, strerror(errno));
    if (fflush(stdout) != 0 && status == UCB_OK)
        status = UCB_FAIL(err, UCB_IO, "standard output: %s", strerror(errno));
    free(line);
    ucb_arena_free(&arena);
    return status;
}

static ucb_status run(int n_args, char **args, struct ucb_err *err)
{
    const char *model = NULL, *in = NULL, *cache = NULL;
    bool json = false;
    const struct ucb_option options[] = {
        {.name = "--model", .kind = UCB_OPTION_TEXT, .text = &model},
        {.name = "--in", .kind = UCB_OPTION_TEXT, .text = &in},
        {.name = "--cache", .kind = UCB_OPTION_TEXT, .text = &cache},
        {.name = "--json",
         .kind = UCB_OPTION_SWITCH,
         .on = &json}, /* as every verb: the output is JSON anyway */
    };
    struct ucb_tokenizer *t;
    size_t n_operands = 0;
    UCB_TRY(ucb_options_parse("tokenize", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), NULL, &n_operands, 0,
                              err));
    bool standard = in == NULL || strcmp(in, "-") == 0;
    FILE *file = standard ? stdin : fopen(in, "r");
    if (file == NULL)
        return UCB_FAIL(err, errno == ENOENT ? UCB_MISSING : UCB_IO, "%s: %s", in,
                        strerror(errno));
    ucb_status status = open_model(model, cache, &t, err);
    if (status == UCB_OK) {
        status = print_stream(t, standard ? "standard input" : in, file, err);
        ucb_tokenizer_close(t);
    }
    if (!standard) fclose(file);
    return status;
}

const struct ucb_command ucb_command_tokenize = {
    .name = "tokenize",
    .summary = "turn texts into token ids, a JSON line each",
    .help =
        "usage: ucbench tokenize --model M [--in FILE.jsonl] [--cache DIR] [--json]\n"
        "\n"
        "Reads {\"text\": \"...\"} lines and prints {\"ids\": [...]} lines. No BOS or EOS "
        "is added.\n"
        "\n"
        "  --model M     a name of `ucbench list models`, a model's folder or file, a "
        "tokenizer.json, or a GGUF\n"
        "                (one that holds only a vocabulary, too)\n"
        "  --in FILE     the lines; standard input without it, or for -\n"
        "  --cache DIR   where named models lie\n"
        "  --json        as every verb; the lines are JSON anyway\n"
        "\n"
        "  echo '{\"text\": \"Hello world\"}' | ucbench tokenize --model smollm2-135m\n",
    .run = run,
};
