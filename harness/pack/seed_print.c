/* seed_print.c - what older containers hold, and what nobody can check in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "core/text.h"
#include "pack/seed.h"

static const char
    uc_note[] =
        "no digest is stored in a .uc file, so its bytes can only be checked against themselves; "
        "embedding, head and last norm are not in it; version 3 keeps the quantized base of a "
        "training run to the bit, never the source model",
    v17_note[] =
        "no digest is stored in a UCV17 file; the signs of its rotation are not in it, so the "
        "weights can be decoded in the rotated space only; rows kept verbatim, embedding, head "
        "and norms are not in it";

static bool begins(const char *path, const char *magic, size_t n)
{
    char found[8] = "";
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    bool is = fread(found, 1, n, file) == n && memcmp(found, magic, n) == 0;
    fclose(file);
    return is;
}

static void manifest_path(const char *folder, char out[4096])
{
    snprintf(out, 4096, "%s/manifest.json", folder);
}

static bool is_folder(const char *path)
{
    char manifest[4096];
    json_t *root;
    manifest_path(path, manifest);
    if (ucb_json_load(manifest, &root, NULL) != UCB_OK) return false;
    bool is = json_object_get(root, "uc_pack_version") != NULL &&
              json_object_get(root, "n_layers") != NULL;
    json_decref(root);
    return is;
}

bool ucb_seed_is(const char *path)
{
    return begins(path, "UCL", 4) || begins(path, "UCV17\1", 6) || is_folder(path);
}

/* ---- what is there, as JSON ---- */

static json_t *describe_layer(const struct ucb_uc_layer *l, const char *sha256)
{
    json_t *linears = json_array(), *extras = json_array();
    for (uint32_t i = 0; i < l->n_linears; i++) {
        const struct ucb_uc_linear *x = &l->linears[i];
        json_array_append_new(linears,
                              json_pack("{s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:b}", "name",
                                        x->name, "out", (json_int_t)x->n_out, "in",
                                        (json_int_t)x->n_in, "block", (int)x->block, "bits",
                                        (int)x->bits, "rank", (int)x->rank, "grid",
                                        (int)x->n_grid, "bias", x->bias != NULL));
    }
    for (uint32_t i = 0; i < l->n_extras; i++)
        json_array_append_new(extras, json_pack("{s:s, s:I}", "name", l->extras[i].name,
                                                "bytes", (json_int_t)l->extras[i].n_bytes));
    return json_pack("{s:i, s:i, s:s, s:o, s:o}", "layer", (int)l->index, "version",
                     (int)l->version, "sha256", sha256, "linears", linears, "extras",
                     extras);
}

static ucb_status read_layer(const char *path, uint32_t index, bool any_index,
                             json_t *layers, struct ucb_err *err)
{
    struct ucb_file map;
    struct ucb_arena arena;
    struct ucb_uc_layer layer;
    char hex[UCB_SHA256_HEX];
    UCB_TRY(ucb_file_map(path, &map, err));
    ucb_arena_init(&arena);
    ucb_status status = ucb_uc_parse(path, map.data, map.n_bytes, &arena, &layer, err);
    if (status == UCB_OK && !any_index && layer.index != index)
        status = UCB_FAIL(err, UCB_CORRUPT, "%s: says that it is layer %u", path,
                          layer.index);
    if (status == UCB_OK) {
        ucb_sha256_hex(map.data, map.n_bytes, hex);
        json_array_append_new(layers, describe_layer(&layer, hex));
    }
    ucb_arena_free(&arena);
    ucb_file_unmap(&map);
    return status;
}

static ucb_status read_folder(const char *folder, json_t *layers, struct ucb_err *err)
{
    char path[4096];
    json_t *root;
    manifest_path(folder, path);
    UCB_TRY(ucb_json_load(path, &root, err));
    json_int_t version = json_integer_value(json_object_get(root, "uc_pack_version")),
               n = json_integer_value(json_object_get(root, "n_layers"));
    size_t listed = json_array_size(json_object_get(root, "layers"));
    json_decref(root);
    if (n < 1 || n > 65535 || version < 1 || version > 3)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: version %lld with %lld layers: 1 to 3 are read", path,
                        (long long)version, (long long)n);
    if (listed != 0 && listed != (size_t)n)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: n_layers is %lld, %zu are listed", path,
                        (long long)n, listed);
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        int length = snprintf(path, sizeof(path), "%s/layer_%03u.uc", folder, i);
        if (length < 0 || (size_t)length >= sizeof(path))
            return UCB_FAIL(err, UCB_USAGE, "%s: too long a name", folder);
        UCB_TRY(read_layer(path, i, false, layers, err));
    }
    return UCB_OK;
}

static ucb_status read_v17(const char *path, json_t *o, struct ucb_err *err)
{
    struct ucb_file map;
    struct ucb_arena arena;
    struct ucb_v17 v;
    char hex[UCB_SHA256_HEX];
    UCB_TRY(ucb_file_map(path, &map, err));
    ucb_arena_init(&arena);
    ucb_status status = ucb_v17_parse(path, map.data, map.n_bytes, &arena, &v, err);
    uint64_t n = 0;
    for (uint32_t i = 0; status == UCB_OK && i < v.n_weights; i++)
        n += (uint64_t)v.weights[i].n_out * v.weights[i].n_in;
    if (status == UCB_OK) {
        ucb_sha256_hex(map.data, map.n_bytes, hex);
        json_object_set_new(o, "sha256", json_string(hex));
        json_object_set_new(o, "group", json_integer(v.dim));
        json_object_set_new(o, "roles", json_integer(v.n_roles));
        json_object_set_new(o, "matrices", json_integer(v.n_weights));
        json_object_set_new(o, "weights", json_integer((json_int_t)n));
        json_object_set_new(o, "bits_per_weight",
                            json_real(n == 0 ? 0 : 8.0 * (double)map.n_bytes / (double)n));
    }
    ucb_arena_free(&arena);
    ucb_file_unmap(&map);
    return status;
}

/* ---- for people ---- */

static void print_layers(const json_t *layers)
{
    size_t i, k;
    json_t *layer, *x;
    json_array_foreach(layers, i, layer)
    {
        printf("  layer %lld, version %lld, SHA-256 %s\n",
               (long long)json_integer_value(json_object_get(layer, "layer")),
               (long long)json_integer_value(json_object_get(layer, "version")),
               json_string_value(json_object_get(layer, "sha256")));
        json_array_foreach(json_object_get(layer, "linears"), k, x)
            printf("    %-40s %lld x %lld, %lld bits in blocks of %lld, rank %lld\n",
                   json_string_value(json_object_get(x, "name")),
                   (long long)json_integer_value(json_object_get(x, "out")),
                   (long long)json_integer_value(json_object_get(x, "in")),
                   (long long)json_integer_value(json_object_get(x, "bits")),
                   (long long)json_integer_value(json_object_get(x, "block")),
                   (long long)json_integer_value(json_object_get(x, "rank")));
    }
}

static void print_for_people(const json_t *o, bool checks)
{
    printf("%s: %s\n", json_string_value(json_object_get(o, "path")),
           json_string_value(json_object_get(o, "format")));
    print_layers(json_object_get(o, "layers"));
    if (json_object_get(o, "weights") != NULL)
        printf("  %lld matrices, %lld weights, %.4f bits per weight, SHA-256 %s\n",
               (long long)json_integer_value(json_object_get(o, "matrices")),
               (long long)json_integer_value(json_object_get(o, "weights")),
               json_real_value(json_object_get(o, "bits_per_weight")),
               json_string_value(json_object_get(o, "sha256")));
    if (checks) {
        printf("  PASS     structure              lengths, sizes, order and every code\n"
               "  SKIPPED  pack_digest            the format stores none\n"
               "  SKIPPED  recorded_decode_equal  the format records none\n"
               "  SKIPPED  source_bits_equal      not the source's bits by design\n");
    }
    printf("  note     %s\n", json_string_value(json_object_get(o, "unverified")));
}

ucb_status ucb_seed_print(const char *path, bool checks, bool as_json, struct ucb_err *err)
{
    bool v17 = begins(path, "UCV17\1", 6), layer = begins(path, "UCL", 4);
    json_t *o = json_pack("{s:o, s:s, s:s}", "path", ucb_json_text(path), "format",
                          v17 ? "UCV17" : "uc", "unverified", v17 ? v17_note : uc_note);
    json_t *layers = json_array();
    ucb_status status = v17     ? read_v17(path, o, err)
                        : layer ? read_layer(path, 0, true, layers, err)
                                : read_folder(path, layers, err);
    json_object_set_new(o, "layers", layers);
    if (checks) json_object_set_new(o, "structure", json_string("PASS"));
    if (status == UCB_OK && as_json) {
        status = ucb_json_print(o, "the file's parts", err);
    } else {
        if (status == UCB_OK) print_for_people(o, checks);
        json_decref(o);
    }
    /* A damaged file is the answer "no" of a check, and bad input otherwise. */
    return checks && (status == UCB_CORRUPT || status == UCB_MISSING) ? UCB_NO : status;
}
