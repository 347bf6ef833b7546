/*
 * packfile_manifest.c - the manifest's JSON into the tables of a pack. Every member is
 * wanted in its type and range; one that is not known is left alone, for a feature that may
 * not be left alone has a bit in the header.
 */
#include <string.h>

#include "pack/packfile_internal.h"

bool ucb_hex_digest(const char *hex, size_t n_chars, uint8_t out[UCB_SHA256_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    if (n_chars != 2 * UCB_SHA256_BYTES) return false;
    for (int i = 0; i < UCB_SHA256_BYTES; i++) {
        const char *high = memchr(digits, hex[2 * i], 16),
                   *low = memchr(digits, hex[2 * i + 1], 16);
        if (high == NULL || low == NULL) return false;
        out[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

/* What is being read, for messages: "matrices[3]". */
struct at {
    struct ucb_packfile *pack;
    const char *list;
    size_t index;
    struct ucb_err *err;
};

static ucb_status bad(const struct at *at, const char *key, const char *expected)
{
    if (at->list == NULL)
        return UCB_FAIL(at->err, UCB_CORRUPT, "%s: `%s` of its manifest is not %s",
                        at->pack->path, key, expected);
    return UCB_FAIL(at->err, UCB_CORRUPT, "%s: `%s` of %s[%zu] of its manifest is not %s",
                    at->pack->path, key, at->list, at->index, expected);
}

static ucb_status get_text(const struct at *at, const json_t *o, const char *key,
                           const char **out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return bad(at, key, "a text");
    *out = ucb_arena_strdup(&at->pack->arena, json_string_value(v));
    return *out == NULL ? UCB_FAIL(at->err, UCB_NOMEM, "%s: no memory for its manifest",
                                   at->pack->path)
                        : UCB_OK;
}

static ucb_status to_u64(const struct at *at, const json_t *v, const char *key,
                         uint64_t most, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) > most)
        return bad(at, key, "a whole number in its range");
    *out = (uint64_t)json_integer_value(v);
    return UCB_OK;
}

static ucb_status get_u64(const struct at *at, const json_t *o, const char *key,
                          uint64_t most, uint64_t *out)
{
    return to_u64(at, json_object_get(o, key), key, most, out);
}

static ucb_status get_u32(const struct at *at, const json_t *o, const char *key,
                          uint64_t most, uint32_t *out)
{
    uint64_t value = 0;
    UCB_TRY(get_u64(at, o, key, most, &value));
    *out = (uint32_t)value;
    return UCB_OK;
}

static ucb_status get_digest(const struct at *at, const json_t *o, const char *key,
                             uint8_t out[UCB_SHA256_BYTES])
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) ||
        !ucb_hex_digest(json_string_value(v), json_string_length(v), out))
        return bad(at, key, "a SHA-256 in hex");
    return UCB_OK;
}

static ucb_status get_dtype(const struct at *at, const json_t *o, const char *key,
                            enum ucb_dtype *out)
{
    const json_t *v = json_object_get(o, key);
    *out = !json_is_string(v) ? UCB_N_DTYPES
                              : ucb_dtype_find(json_string_value(v), json_string_length(v));
    return *out == UCB_N_DTYPES ? bad(at, key, "a dtype") : UCB_OK;
}

/* A list's entries, zeroed; *n is its length. */
static ucb_status get_list(const struct at *at, const json_t *o, const char *key,
                           size_t size_bytes, json_t **list, void *out, uint32_t *n)
{
    *list = json_object_get(o, key);
    if (!json_is_array(*list) || json_array_size(*list) > UINT32_MAX / 2)
        return bad(at, key, "a list");
    *n = (uint32_t)json_array_size(*list);
    void *entries = ucb_arena_array(&at->pack->arena, *n, size_bytes);
    if (entries == NULL)
        return UCB_FAIL(at->err, UCB_NOMEM, "%s: no memory for %u %s", at->pack->path, *n,
                        key);
    memcpy(out, &entries, sizeof(entries));
    return UCB_OK;
}

static ucb_status get_parts(const struct at *at, const json_t *o,
                            uint64_t parts[UCB_N_PARTS])
{
    const json_t *list = json_object_get(o, "parts");
    if (!json_is_array(list) || json_array_size(list) != UCB_N_PARTS)
        return bad(at, "parts", "a list of the bytes of each part");
    for (size_t i = 0; i < UCB_N_PARTS; i++)
        UCB_TRY(to_u64(at, json_array_get(list, i), "parts", INT64_MAX, &parts[i]));
    return UCB_OK;
}

/* ---- blobs, matrices ---- */

static ucb_status read_blob(const struct at *at, const json_t *entry, struct ucb_blob *out)
{
    const json_t *digest = json_array_get(entry, 2);
    if (!json_is_array(entry) || json_array_size(entry) != 3 || !json_is_string(digest) ||
        !ucb_hex_digest(json_string_value(digest), json_string_length(digest), out->sha256))
        return bad(at, "it", "[offset, bytes, SHA-256]");
    UCB_TRY(to_u64(at, json_array_get(entry, 0), "offset", INT64_MAX, &out->offset));
    return to_u64(at, json_array_get(entry, 1), "bytes", INT64_MAX, &out->n_bytes);
}

static ucb_status read_blobs(struct ucb_packfile *p, const json_t *root,
                             struct ucb_err *err)
{
    struct at at = {p, NULL, 0, err};
    json_t *list, *entry;
    struct ucb_blob *blobs;
    UCB_TRY(get_list(&at, root, "blobs", sizeof(*blobs), &list, &blobs, &p->n_blobs));
    p->blobs = blobs;
    at.list = "blobs";
    json_array_foreach(list, at.index, entry)
        UCB_TRY(read_blob(&at, entry, &blobs[at.index]));
    return UCB_OK;
}

static ucb_status get_role(const struct at *at, const json_t *o, const char *key,
                           enum ucb_role *out)
{
    const char *text = json_string_value(json_object_get(o, key));
    for (unsigned role = 0; text != NULL && role < UCB_N_ROLES; role++) {
        *out = (enum ucb_role)role;
        if (strcmp(text, ucb_role_name(*out)) == 0) return UCB_OK;
    }
    return bad(at, key, "a role");
}

static ucb_status read_matrix(const struct at *at, const json_t *o,
                              struct ucb_pack_matrix *out)
{
    struct ucb_matrix *m = &out->matrix;
    m->arch = &at->pack->arch;
    UCB_TRY(get_text(at, o, "name", &m->name));
    UCB_TRY(get_role(at, o, "role", &m->role));
    UCB_TRY(get_role(at, o, "used_as", &out->used_as));
    UCB_TRY(get_u32(at, o, "layer", INT32_MAX, &m->layer));
    UCB_TRY(get_u32(at, o, "expert", INT32_MAX, &m->expert));
    UCB_TRY(get_u32(at, o, "out", INT32_MAX, &m->n_out));
    UCB_TRY(get_u32(at, o, "in", INT32_MAX, &m->n_in));
    UCB_TRY(get_dtype(at, o, "stored", &m->dtype));
    UCB_TRY(get_u64(at, o, "stored_bytes", INT64_MAX, &m->stored_bytes));
    UCB_TRY(get_dtype(at, o, "decoded", &out->dtype));
    UCB_TRY(get_digest(at, o, "sha256", out->sha256));
    UCB_TRY(get_u32(at, o, "blob", UINT32_MAX, &out->blob));
    return get_parts(at, o, out->part_bytes);
}

static ucb_status read_matrices(struct ucb_packfile *p, const json_t *root,
                                struct ucb_err *err)
{
    struct at at = {p, NULL, 0, err};
    json_t *list, *entry;
    struct ucb_pack_matrix *m;
    UCB_TRY(get_list(&at, root, "matrices", sizeof(*m), &list, &m, &p->n_matrices));
    p->matrices = m;
    at.list = "matrices";
    json_array_foreach(list, at.index, entry)
        UCB_TRY(read_matrix(&at, entry, &m[at.index]));
    return UCB_OK;
}

/* ---- files ---- */

static ucb_status read_place(const struct at *at, const json_t *o,
                             struct ucb_pack_place *out)
{
    UCB_TRY(get_u32(at, o, "matrix", UINT32_MAX, &out->matrix));
    UCB_TRY(get_u32(at, o, "base", INT32_MAX, &out->at.base));
    UCB_TRY(get_u32(at, o, "block", INT32_MAX, &out->at.block));
    UCB_TRY(get_u32(at, o, "stride", INT32_MAX, &out->at.stride));
    UCB_TRY(get_u32(at, o, "head_dim", 1 << 16, &out->at.head_dim));
    UCB_TRY(get_u32(at, o, "columns", INT32_MAX, &out->at.columns));
    out->at.turned = json_is_true(json_object_get(o, "turned"));
    if (out->at.block == 0 || out->at.head_dim % 2 != 0)
        return bad(at, "block or head_dim", "a number that rows can be counted by");
    return UCB_OK;
}

static ucb_status read_places(const struct at *at, const json_t *o,
                              struct ucb_pack_piece *out)
{
    json_t *list, *entry;
    struct ucb_pack_place *places;
    size_t i;
    out->kind = UCB_PIECE_TENSOR;
    out->is_payload = json_is_true(json_object_get(o, "payload"));
    UCB_TRY(get_list(at, o, "matrices", sizeof(*places), &list, &places, &out->n_places));
    out->places = places;
    json_array_foreach(list, i, entry) UCB_TRY(read_place(at, entry, &places[i]));
    return UCB_OK;
}

static ucb_status read_tensor(const struct at *at, const json_t *o,
                              struct ucb_pack_piece *out)
{
    const json_t *shape = json_object_get(o, "shape");
    UCB_TRY(get_text(at, o, "tensor", &out->tensor));
    UCB_TRY(get_dtype(at, o, "dtype", &out->dtype));
    if (!json_is_array(shape) || json_array_size(shape) > 8)
        return bad(at, "shape", "a list of up to 8 numbers");
    out->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < out->n_dims; i++)
        UCB_TRY(to_u64(at, json_array_get(shape, i), "shape", INT64_MAX, &out->shape[i]));
    return out->kind == UCB_PIECE_TENSOR ? UCB_OK
                                         : get_digest(at, o, "sha256", out->sha256);
}

static ucb_status read_piece(const struct at *at, const json_t *o,
                             struct ucb_pack_piece *out)
{
    UCB_TRY(get_u64(at, o, "bytes", INT64_MAX, &out->n_bytes));
    if (json_object_get(o, "matrices") != NULL) {
        UCB_TRY(read_places(at, o, out));
    } else if (json_object_get(o, "copy_of") != NULL) {
        out->kind = UCB_PIECE_COPY;
        UCB_TRY(get_u32(at, o, "copy_of", UINT32_MAX, &out->copy_of));
    } else {
        out->kind = json_is_true(json_object_get(o, "coded")) ? UCB_PIECE_CODED
                                                              : UCB_PIECE_STORED;
        UCB_TRY(get_u32(at, o, "blob", UINT32_MAX, &out->blob));
        out->is_gain = json_is_true(json_object_get(o, "gain"));
    }
    if (out->kind == UCB_PIECE_CODED) UCB_TRY(get_parts(at, o, out->part_bytes));
    if (json_object_get(o, "tensor") != NULL) return read_tensor(at, o, out);
    return out->kind == UCB_PIECE_STORED ? UCB_OK : bad(at, "tensor", "a text");
}

static ucb_status count_pieces(const struct at *at, const json_t *files, uint32_t *n)
{
    uint64_t all = 0;
    size_t i;
    json_t *entry;
    json_array_foreach(files, i, entry)
    {
        const json_t *pieces = json_object_get(entry, "pieces");
        if (!json_is_array(pieces)) return bad(at, "pieces", "a list");
        all += json_array_size(pieces);
    }
    if (all > UINT32_MAX / 2) return bad(at, "pieces", "a list of a length in its range");
    *n = (uint32_t)all;
    return UCB_OK;
}

static ucb_status read_file(struct at *at, const json_t *o, struct ucb_pack_entry *out,
                            struct ucb_pack_piece *pieces, uint32_t *n_pieces)
{
    const json_t *digest = json_object_get(o, "sha256");
    uint8_t unused[UCB_SHA256_BYTES];
    UCB_TRY(get_text(at, o, "name", &out->name));
    UCB_TRY(get_u64(at, o, "bytes", INT64_MAX, &out->n_bytes));
    if (digest != NULL) {
        UCB_TRY(get_digest(at, o, "sha256", unused));
        out->is_source = true;
        memcpy(out->sha256, json_string_value(digest), sizeof(out->sha256));
    }
    json_t *list = json_object_get(o, "pieces"), *entry;
    struct at inside = {at->pack, "pieces", 0, at->err};
    out->first_piece = *n_pieces;
    out->n_pieces = (uint32_t)json_array_size(list);
    json_array_foreach(list, inside.index, entry)
        UCB_TRY(read_piece(&inside, entry, &pieces[(*n_pieces)++]));
    return UCB_OK;
}

static ucb_status read_files(struct ucb_packfile *p, const json_t *root,
                             struct ucb_err *err)
{
    struct at at = {p, NULL, 0, err};
    json_t *list, *entry;
    struct ucb_pack_entry *files;
    uint32_t n_pieces = 0;
    UCB_TRY(get_list(&at, root, "files", sizeof(*files), &list, &files, &p->n_files));
    p->files = files;
    UCB_TRY(count_pieces(&at, list, &n_pieces));
    struct ucb_pack_piece *pieces = UCB_NEW(&p->arena, struct ucb_pack_piece, n_pieces);
    if (pieces == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u pieces", p->path, n_pieces);
    p->pieces = pieces;
    at.list = "files";
    json_array_foreach(list, at.index, entry)
        UCB_TRY(read_file(&at, entry, &files[at.index], pieces, &p->n_pieces));
    return UCB_OK;
}

/* ---- the rest ---- */

static ucb_status read_method(struct ucb_packfile *p, const json_t *root,
                              struct ucb_err *err)
{
    const struct at at = {p, NULL, 0, err};
    const json_t *o = json_object_get(root, "method");
    const char *scope;
    UCB_TRY(get_text(&at, o, "spec", &p->spec));
    UCB_TRY(get_text(&at, o, "identity", &p->identity));
    UCB_TRY(get_text(&at, o, "calib", &p->calib));
    UCB_TRY(get_text(&at, o, "scope", &scope));
    if (ucb_scope_find(scope, &p->scope, NULL) != UCB_OK)
        return bad(&at, "scope", "body, linear or all");
    /* 64 bits, as a signed number */
    const json_t *seed = json_object_get(o, "seed");
    if (!json_is_integer(seed)) return bad(&at, "seed", "a whole number");
    p->seed = (uint64_t)json_integer_value(seed);
    ucb_status status = ucb_chain_parse(p->spec, &p->arena, &p->chain, err);
    if (status != UCB_OK) {
        ucb_err_prefix(err, "%s was written by a method that this program does not know",
                       p->path);
        return UCB_UNSUPPORTED;
    }
    if (strcmp(ucb_chain_identity(p->chain), p->identity) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s was written by %s, this program has %s: revisions do not read each "
                    "other's bytes; unpack it with the program that wrote it (build %.16s)",
                    p->path, p->identity, ucb_chain_identity(p->chain), p->build);
}

static ucb_status read_source(struct ucb_packfile *p, const json_t *root,
                              struct ucb_err *err)
{
    const struct at at = {p, NULL, 0, err};
    const json_t *o = json_object_get(root, "source");
    uint8_t unused[UCB_SHA256_BYTES];
    struct ucb_arch *a = &p->arch;
    UCB_TRY(get_text(&at, root, "build", &p->build));
    UCB_TRY(get_digest(&at, o, "sha256", unused));
    UCB_TRY(get_text(&at, o, "sha256", &p->source_sha256));
    UCB_TRY(get_text(&at, o, "model_type", &p->source_type));
    p->is_exact = json_is_true(json_object_get(root, "exact"));
    UCB_TRY(get_u32(&at, o, "layers", INT32_MAX, &a->n_layers));
    UCB_TRY(get_u32(&at, o, "hidden", INT32_MAX, &a->hidden));
    UCB_TRY(get_u32(&at, o, "heads", INT32_MAX, &a->n_heads));
    UCB_TRY(get_u32(&at, o, "kv_heads", INT32_MAX, &a->n_kv_heads));
    UCB_TRY(get_u32(&at, o, "head_dim", INT32_MAX, &a->head_dim));
    UCB_TRY(get_u32(&at, o, "experts", INT32_MAX, &a->experts.n));
    a->tied_head = json_is_true(json_object_get(o, "tied_head"));
    p->shared = UINT32_MAX;
    if (json_object_get(root, "shared") == NULL) return UCB_OK;
    return get_u32(&at, root, "shared", UINT32_MAX - 1, &p->shared);
}

ucb_status ucb_packfile_read_manifest(struct ucb_packfile *p, json_t *root,
                                      struct ucb_err *err)
{
    const struct at at = {p, NULL, 0, err};
    const char *format;
    UCB_TRY(get_text(&at, root, "format", &format));
    if (strcmp(format, "ucb") != 0) return bad(&at, "format", "\"ucb\"");
    UCB_TRY(read_source(p, root, err));
    UCB_TRY(read_method(p, root, err));
    UCB_TRY(read_blobs(p, root, err));
    UCB_TRY(read_matrices(p, root, err));
    return read_files(p, root, err);
}
