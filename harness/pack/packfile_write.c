/*
 * packfile_write.c - the frame of a pack: blobs as they come, then the manifest, and at
 * last the header, over the zeros that held its place.
 */
#include "pack/packfile_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/resource.h"
#include "pack/packfile_write_internal.h"

static const uint8_t zeros[UCB_PACKFILE_HEADER];
enum { SLAB_BYTES = 8 << 20 };

bool ucb_packfile_is_whole(const struct ucb_chain *chain)
{
    const char *spec = ucb_chain_spec(chain);
    return ucb_chain_is_none(chain) ||
           (strcmp(ucb_chain_name(chain), "lossless") == 0 && strchr(spec, '+') == NULL);
}

static void write_bytes(struct ucb_pack_writer *w, const void *data, size_t n_bytes)
{
    if (n_bytes > 0) fwrite(data, 1, n_bytes, w->file.stream);
    w->at += n_bytes;
}

static void align(struct ucb_pack_writer *w)
{
    write_bytes(w, zeros, (size_t)(-w->at % UCB_PACKFILE_ALIGN));
}

static ucb_status write_status(struct ucb_pack_writer *w, struct ucb_err *err)
{
    if (!ferror(w->file.stream)) return UCB_OK;
    return UCB_FAIL(err, UCB_IO, "%s: writing failed, nothing was changed: %s",
                    w->options->out, strerror(errno));
}

ucb_status ucb_pack_put_blob(struct ucb_pack_writer *w, const void *data, size_t n_bytes,
                             uint32_t *blob, struct ucb_err *err)
{
    const uint8_t *bytes = data;
    struct ucb_sha256 h;
    char hex[UCB_SHA256_HEX];
    align(w);
    uint64_t offset = w->at;
    ucb_sha256_init(&h);
    for (size_t at = 0, n; at < n_bytes; at += n) {
        n = n_bytes - at < SLAB_BYTES ? n_bytes - at : SLAB_BYTES;
        ucb_sha256_update(&h, bytes + at, n);
        write_bytes(w, bytes + at, n);
    }
    ucb_sha256_final_hex(&h, hex);
    *blob = w->n_blobs++;
    UCB_TRY(write_status(w, err));
    if (json_array_append_new(w->blobs, json_pack("[I, I, s]", (json_int_t)offset,
                                                  (json_int_t)n_bytes, hex)) != 0)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its manifest", w->options->out);
    return UCB_OK;
}

static json_t *source_of(const struct ucb_pack_writer *w)
{
    static const struct ucb_arch unknown = {.model_type = ""};
    const struct ucb_arch *a = w->options->model == NULL
                                   ? &unknown
                                   : ucb_model_arch(w->options->model);
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "sha256",
                     w->source.model_sha256, "model_type", a->model_type, "layers",
                     (int)a->n_layers, "hidden", (int)a->hidden, "heads", (int)a->n_heads,
                     "kv_heads", (int)a->n_kv_heads, "head_dim", (int)a->head_dim,
                     "experts", (int)a->experts.n, "tied_head", a->tied_head);
}

static json_t *method_of(const struct ucb_pack_writer *w)
{
    const struct ucb_packfile_options *o = w->options;
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "spec", ucb_chain_spec(o->chain),
                     "identity", ucb_chain_identity(o->chain), "scope",
                     ucb_scope_name(o->scope), "seed", (json_int_t)o->seed, "calib",
                     o->calib);
}

/* NULL where memory ran out for any part of it. */
static char *make_manifest(struct ucb_pack_writer *w)
{
    json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:b, s:O, s:O, s:O}", "format", "ucb",
                             "build", ucb_build_id(), "source", source_of(w), "method",
                             method_of(w), "exact", w->is_exact, "blobs", w->blobs,
                             "matrices", w->matrices, "files", w->files);
    if (root != NULL && w->shared != UINT32_MAX)
        json_object_set_new(root, "shared", json_integer(w->shared));
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!ucb_json_lost()) return text;
    free(text);
    return NULL;
}

static void put_header(struct ucb_pack_writer *w, uint64_t manifest_offset,
                       const uint8_t manifest[UCB_SHA256_BYTES])
{
    struct ucb_writer h = {0};
    uint8_t digest[UCB_SHA256_BYTES];
    ucb_put_bytes(&h, ucb_packfile_magic, sizeof(ucb_packfile_magic));
    ucb_put_u32(&h, UCB_PACKFILE_VERSION);
    ucb_put_u32(&h, 0);
    ucb_put_u64(&h, w->at);
    ucb_put_u64(&h, manifest_offset);
    ucb_put_u64(&h, w->at - manifest_offset);
    ucb_put_u64(&h, w->unpacked_bytes);
    ucb_put_bytes(&h, manifest, UCB_SHA256_BYTES);
    ucb_put_bytes(&h, zeros, UCB_PACKFILE_CHECKED - 80);
    ucb_sha256(h.data, h.n_bytes, digest);
    ucb_put_bytes(&h, digest, sizeof(digest));
    if (!h.failed) fwrite(h.data, 1, h.n_bytes, w->file.stream);
    ucb_writer_free(&h);
}

static ucb_status finish(struct ucb_pack_writer *w, struct ucb_err *err)
{
    uint8_t digest[UCB_SHA256_BYTES];
    char *text = make_manifest(w);
    if (text == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its manifest", w->options->out);
    align(w);
    uint64_t offset = w->at;
    ucb_sha256(text, strlen(text), digest);
    write_bytes(w, text, strlen(text));
    free(text);
    if (fseeko(w->file.stream, 0, SEEK_SET) == 0) put_header(w, offset, digest);
    UCB_TRY(write_status(w, err));
    return ucb_out_commit(&w->file, err);
}

static ucb_status write_all(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_packfile_options *o = w->options;
    UCB_TRY(ucb_source_files_list(o->checkpoint, &w->arena, &w->source, err));
    UCB_TRY(ucb_out_open(o->out, &w->file, err));
    write_bytes(w, zeros, UCB_PACKFILE_HEADER);
    if (!ucb_packfile_is_whole(o->chain)) UCB_TRY(ucb_pack_write_matrices(w, err));
    UCB_TRY(ucb_pack_write_files(w, err));
    return finish(w, err);
}

ucb_status ucb_packfile_write(const struct ucb_packfile_options *options,
                              struct ucb_err *err)
{
    struct ucb_pack_writer w = {.options = options,
                                .blobs = json_array(),
                                .matrices = json_array(),
                                .files = json_array(),
                                .shared = UINT32_MAX,
                                .is_exact = ucb_packfile_is_whole(options->chain) ||
                                            ucb_chain_is_exact(options->chain)};
    uint64_t work = 0;
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(options->checkpoint); i++)
        work += ucb_checkpoint_tensor(options->checkpoint, i)->n_bytes;
    ucb_arena_init(&w.arena);
    ucb_arena_init(&w.scratch);
    ucb_progress_start(&w.progress, options->label, (double)work);
    ucb_status status = write_all(&w, err);
    ucb_progress_end(&w.progress);
    ucb_out_discard(&w.file);
    json_decref(w.pieces);
    json_decref(w.blobs);
    json_decref(w.matrices);
    json_decref(w.files);
    ucb_arena_free(&w.scratch);
    ucb_arena_free(&w.arena);
    return status;
}
