/*
 * cmd_info.c - what is inside a model: architecture, tensors by type, parameters, bits per
 * weight, digest.
 */
#include "cmd.h"

#include <stdio.h>

#include <jansson.h>

#include "model/catalog.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "pack/seed.h"
#include "pack_print.h"

static const char help[] =
    "usage: ucbench info MODEL|PACK [--cache DIR] [--json]\n"
    "\n"
    "Prints a model's architecture, its files and digest, how many parameters each type of tensor holds and the\n"
    "bits per weight of the file. MODEL is a name, a Hugging Face folder, a .safetensors or a .gguf file. Of a pack:\n"
    "what it was made from and by, what it unpacks to, and what every byte of it is for. Of a .uc layer, a folder of them, or a UCV17 file: the matrices in it.\n";

static json_t *types_of(const struct ucb_checkpoint *c)
{
    uint64_t count[UCB_N_DTYPES] = {0}, elements[UCB_N_DTYPES] = {0},
             bytes[UCB_N_DTYPES] = {0};
    json_t *list = json_array();
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        count[t->dtype]++;
        elements[t->dtype] += t->n_elements;
        bytes[t->dtype] += t->n_bytes;
    }
    for (unsigned d = 0; d < UCB_N_DTYPES; d++)
        if (count[d] > 0)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "dtype",
                                                  ucb_dtype_name((enum ucb_dtype)d),
                                                  "tensors", (json_int_t)count[d],
                                                  "elements", (json_int_t)elements[d],
                                                  "bytes", (json_int_t)bytes[d]));
    return list;
}

static json_t *describe(struct ucb_model *model, const char *digest)
{
    const struct ucb_arch *a = ucb_model_arch(model);
    uint64_t n = ucb_model_n_parameters(model), bytes = ucb_model_file_bytes(model);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:f, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:f, s:i}, s:o}",
        "path", ucb_model_path(model), "sha256", digest, "model_type", a->model_type,
        "parameters", (json_int_t)n, "file_bytes", (json_int_t)bytes, "bits_per_weight",
        8.0 * (double)bytes / (double)n, "architecture", "layers", (int)a->n_layers,
        "hidden", (int)a->hidden, "heads", (int)a->n_heads, "kv_heads", (int)a->n_kv_heads,
        "head_dim", (int)a->head_dim, "ffn", (int)a->ffn, "vocabulary", (int)a->vocabulary,
        "tied_head", a->tied_head, "rope_theta", a->rope_theta, "norm_eps",
        (double)a->norm_eps, "rotary_dim", (int)a->rotary_dim, "types",
        types_of(ucb_model_checkpoint(model)));
}

static void print_for_people(json_t *o)
{
    json_t *a = json_object_get(o, "architecture"), *entry;
    size_t i;
    printf("%s\n  sha256      %s\n", json_string_value(json_object_get(o, "path")),
           json_string_value(json_object_get(o, "sha256")));
    printf(
        "  type        %s, %lld layers, hidden %lld, %lld query and %lld key/value heads of %lld, feed-forward %lld\n",
        json_string_value(json_object_get(o, "model_type")),
        (long long)json_integer_value(json_object_get(a, "layers")),
        (long long)json_integer_value(json_object_get(a, "hidden")),
        (long long)json_integer_value(json_object_get(a, "heads")),
        (long long)json_integer_value(json_object_get(a, "kv_heads")),
        (long long)json_integer_value(json_object_get(a, "head_dim")),
        (long long)json_integer_value(json_object_get(a, "ffn")));
    printf("  vocabulary  %lld, head %s\n",
           (long long)json_integer_value(json_object_get(a, "vocabulary")),
           json_is_true(json_object_get(a, "tied_head")) ? "tied to the embedding"
                                                         : "of its own");
    printf(
        "  parameters  %lld\n  size        %lld bytes without the tokenizer, %.4f bits per weight\n",
        (long long)json_integer_value(json_object_get(o, "parameters")),
        (long long)json_integer_value(json_object_get(o, "file_bytes")),
        json_real_value(json_object_get(o, "bits_per_weight")));
    json_array_foreach(json_object_get(o, "types"), i, entry)
        printf("  %-10s  %lld tensors, %lld elements, %lld bytes\n",
               json_string_value(json_object_get(entry, "dtype")),
               (long long)json_integer_value(json_object_get(entry, "tensors")),
               (long long)json_integer_value(json_object_get(entry, "elements")),
               (long long)json_integer_value(json_object_get(entry, "bytes")));
}

static ucb_status info_pack(const char *path, bool as_json, struct ucb_err *err)
{
    struct ucb_packfile *pack;
    UCB_TRY(ucb_packfile_open(path, UINT64_MAX, &pack, err));
    ucb_pack_print(pack, as_json);
    ucb_packfile_close(pack);
    return UCB_OK;
}

static ucb_status info_main(int n_args, char **args, struct ucb_err *err)
{
    const char *name = NULL, *cache = NULL, *digest;
    bool as_json = false;
    size_t n = 0;
    char path[4096];
    const struct ucb_option options[] = {{"--cache", UCB_OPTION_TEXT, .text = &cache},
                                         {"--json", UCB_OPTION_SWITCH, .on = &as_json}};
    UCB_TRY(ucb_options_parse("info", n_args, args, options, 2, &name, &n, 1, err));
    if (n == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "ucbench info needs a model; see `ucbench list models`");
    if (ucb_packfile_is(name)) return info_pack(name, as_json, err);
    if (ucb_seed_is(name)) return ucb_seed_print(name, false, as_json, err);
    struct ucb_model *model;
    UCB_TRY(ucb_model_locate(name, cache, path, sizeof(path), err));
    UCB_TRY(ucb_model_open(path, &model, err));
    ucb_status status = ucb_model_digest(model, &digest, err);
    if (status == UCB_OK) {
        json_t *o = describe(model, digest);
        if (as_json) {
            json_dumpf(o, stdout, JSON_INDENT(2));
            putchar('\n');
        } else {
            print_for_people(o);
            if (ucb_model_warning(model) != NULL)
                printf("  warning     %s\n", ucb_model_warning(model));
        }
        json_decref(o);
    }
    ucb_model_close(model);
    return status;
}

const struct ucb_command ucb_command_info = {
    .name = "info",
    .summary = "what is inside a model file or a pack",
    .help = help,
    .run = info_main,
};
