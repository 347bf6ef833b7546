/* packfile_pieces.c - the pieces of a file, one after the other, as the pack will name
 * them. */
#include <string.h>

#include "codec/codec.h"
#include "core/file.h"
#include "pack/packfile_write_internal.h"

enum { SLAB_BYTES = 8 << 20 };

static ucb_status no_memory(const struct ucb_pack_writer *w, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its manifest", w->options->out);
}

static ucb_status add_piece(struct ucb_pack_writer *w, json_t *piece, uint64_t n_bytes,
                            struct ucb_err *err)
{
    if (piece == NULL ||
        json_object_set_new(piece, "bytes", json_integer((json_int_t)n_bytes)) != 0 ||
        json_array_append_new(w->pieces, piece) != 0)
        return no_memory(w, err);
    w->n_pieces++;
    w->piece_bytes += n_bytes;
    return UCB_OK;
}

/* What a tensor is: name, dtype, shape. */
static json_t *describe(const struct ucb_tensor *t)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return json_pack("{s:s, s:s, s:o}", "tensor", t->name, "dtype",
                     ucb_dtype_name(t->dtype), "shape", shape);
}

void ucb_pack_begin_file(struct ucb_pack_writer *w)
{
    json_decref(w->pieces);
    w->pieces = json_array();
    w->piece_bytes = 0;
}

ucb_status ucb_pack_end_file(struct ucb_pack_writer *w, const char *name,
                             const char *source_sha256, struct ucb_err *err)
{
    json_t *file = json_pack("{s:s, s:I, s:O}", "name", name, "bytes",
                             (json_int_t)w->piece_bytes, "pieces", w->pieces);
    if (file == NULL || json_array_append_new(w->files, file) != 0)
        return no_memory(w, err);
    if (source_sha256 != NULL)
        json_object_set_new(file, "sha256", json_string(source_sha256));
    w->unpacked_bytes += w->piece_bytes;
    return UCB_OK;
}

ucb_status ucb_pack_put_bytes(struct ucb_pack_writer *w, const void *data, size_t n_bytes,
                              struct ucb_err *err)
{
    uint32_t blob;
    if (n_bytes == 0) return UCB_OK;
    UCB_TRY(ucb_pack_put_blob(w, data, n_bytes, &blob, err));
    return add_piece(w, json_pack("{s:I}", "blob", (json_int_t)blob), n_bytes, err);
}

/* ---- tensors of the source ---- */

void ucb_pack_tensor_digest(const struct ucb_tensor *t, char hex[UCB_SHA256_HEX])
{
    struct ucb_sha256 h;
    ucb_pack_tensor_digest_begin(&h, t->dtype, t->n_dims, t->shape);
    for (size_t at = 0, n; at < t->n_bytes; at += n) {
        n = t->n_bytes - at < SLAB_BYTES ? t->n_bytes - at : SLAB_BYTES;
        ucb_sha256_update(&h, t->data + at, n);
        ucb_file_forget_behind(t->data, at, n);
    }
    ucb_sha256_final_hex(&h, hex);
}

static const struct ucb_kept_tensor *find_kept(const struct ucb_pack_writer *w,
                                               const char *sha256)
{
    for (uint32_t i = 0; i < w->n_kept; i++)
        if (strcmp(w->kept[i].sha256, sha256) == 0) return &w->kept[i];
    return NULL;
}

static enum ucb_codec_mode mode_of(const struct ucb_chain *chain)
{
    const char *spec = ucb_chain_spec(chain);
    return strstr(spec, "mode=fast") != NULL  ? UCB_CODEC_FAST
           : strstr(spec, "mode=max") != NULL ? UCB_CODEC_MAX
                                              : UCB_CODEC_DEFAULT;
}

static json_t *parts_of(const struct ucb_writer *out)
{
    json_t *parts = json_array();
    for (int i = 0; i < UCB_N_PARTS; i++)
        json_array_append_new(parts, json_integer((json_int_t)out->part_bytes[i]));
    return parts;
}

static ucb_status put_coded(struct ucb_pack_writer *w, const struct ucb_tensor *t,
                            json_t *piece, struct ucb_err *err)
{
    struct ucb_writer out = {0};
    uint32_t blob;
    const struct ucb_codec_source source = {
        .dtype = t->dtype,
        .data = t->data,
        .n_bytes = t->n_bytes,
        .n_columns = t->n_dims < 2 || t->shape[t->n_dims - 1] > UINT32_MAX
                         ? 0
                         : (uint32_t)t->shape[t->n_dims - 1]};
    ucb_arena_reset(&w->scratch);
    ucb_status status = ucb_codec_encode(&source, mode_of(w->options->chain),
                                         w->options->pool, &w->scratch, &out, err);
    if (status == UCB_OK) status = ucb_writer_status(&out, err);
    /* A stream has a header of its own: a few weights, or noise,
     * are smaller as they are. */
    bool pays = status == UCB_OK && out.n_bytes < t->n_bytes;
    if (status == UCB_OK)
        status = ucb_pack_put_blob(w, pays ? out.data : t->data,
                                   pays ? out.n_bytes : t->n_bytes, &blob, err);
    if (status == UCB_OK) json_object_set_new(piece, "blob", json_integer(blob));
    if (status == UCB_OK && pays) {
        json_object_set_new(piece, "coded", json_true());
        json_object_set_new(piece, "parts", parts_of(&out));
    }
    ucb_writer_free(&out);
    return status;
}

ucb_status ucb_pack_put_tensor(struct ucb_pack_writer *w, const struct ucb_tensor *t,
                               struct ucb_err *err)
{
    char hex[UCB_SHA256_HEX];
    uint32_t blob = 0;
    json_t *piece = describe(t);
    if (piece == NULL) return no_memory(w, err);
    ucb_pack_tensor_digest(t, hex);
    json_object_set_new(piece, "sha256", json_string(hex));
    const struct ucb_kept_tensor *same = find_kept(w, hex);
    ucb_status status = UCB_OK;
    if (same != NULL) {
        json_object_set_new(piece, "copy_of", json_integer(same->piece));
    } else {
        w->kept[w->n_kept] = (struct ucb_kept_tensor){.piece = w->n_pieces};
        memcpy(w->kept[w->n_kept++].sha256, hex, sizeof(hex));
        if (ucb_packfile_is_whole(w->options->chain) &&
            !ucb_chain_is_none(w->options->chain))
            status = put_coded(w, t, piece, err);
        else
            status = ucb_pack_put_blob(w, t->data, t->n_bytes, &blob, err);
        if (status == UCB_OK && json_object_get(piece, "blob") == NULL)
            json_object_set_new(piece, "blob", json_integer(blob));
    }
    ucb_file_forget(t->data, t->n_bytes);
    ucb_progress_add(&w->progress, (double)t->n_bytes, t->name);
    if (status == UCB_OK) return add_piece(w, piece, t->n_bytes, err);
    json_decref(piece);
    return status;
}

/* ---- tensors made of matrices ---- */

static bool is_of(const struct ucb_written *x, const struct ucb_tensor *t, bool as_head)
{
    bool beside = x->used_as == UCB_ROLE_HEAD && x->matrix->role == UCB_ROLE_EMBED;
    return x->place.tensor == t && beside == as_head;
}

const struct ucb_written *ucb_pack_written(const struct ucb_pack_writer *w,
                                           const struct ucb_tensor *t, bool as_head)
{
    for (uint32_t i = 0; i < w->n_written; i++)
        if (is_of(&w->written[i], t, as_head)) return &w->written[i];
    return NULL;
}

static json_t *place_json(uint32_t matrix, const struct ucb_place *p)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "matrix", (json_int_t)matrix,
                     "base", (json_int_t)p->base, "block", (json_int_t)p->block, "stride",
                     (json_int_t)p->stride, "head_dim", (json_int_t)p->head_dim, "columns",
                     (json_int_t)p->columns, "turned", p->turned);
}

ucb_status ucb_pack_put_made(struct ucb_pack_writer *w, const struct ucb_tensor *from,
                             const struct ucb_tensor *as, bool as_head, bool payload,
                             struct ucb_err *err)
{
    json_t *piece = describe(as), *list = json_array();
    uint64_t n = 0;
    /* by base, so that what lies one behind the other is written so */
    for (uint64_t next = 0; next != UINT64_MAX;) {
        const struct ucb_written *first = NULL;
        for (uint32_t i = 0; i < w->n_written; i++) {
            const struct ucb_written *x = &w->written[i];
            if (is_of(x, from, as_head) && x->place.base >= next &&
                (first == NULL || x->place.base < first->place.base))
                first = x;
        }
        next = first == NULL ? UINT64_MAX : (uint64_t)first->place.base + 1;
        if (first == NULL) continue;
        n += (uint64_t)first->matrix->n_out * first->matrix->n_in;
        json_array_append_new(list,
                              place_json((uint32_t)(first - w->written), &first->place));
    }
    if (piece == NULL || json_object_set_new(piece, "matrices", list) != 0) {
        json_decref(piece);
        return no_memory(w, err);
    }
    if (payload) json_object_set_new(piece, "payload", json_true());
    if (n == as->n_elements) return add_piece(w, piece, as->n_bytes, err);
    json_decref(piece);
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: %s compresses some of the matrices in it and leaves others, and a "
                    "pack takes a tensor whole; `ucbench sweep` runs it",
                    from->name, ucb_chain_spec(w->options->chain));
}

const struct ucb_tuned_gain *ucb_pack_gain(const struct ucb_pack_writer *w,
                                           const struct ucb_tensor *t)
{
    for (uint32_t i = 0; i < w->n_gains; i++)
        if (w->gains[i].tensor == t) return &w->gains[i];
    return NULL;
}

ucb_status ucb_pack_put_gain(struct ucb_pack_writer *w, const struct ucb_tuned_gain *gain,
                             const struct ucb_tensor *as, struct ucb_err *err)
{
    json_t *piece = describe(as);
    if (piece == NULL) return no_memory(w, err);
    json_object_set_new(piece, "gain", json_true());
    json_object_set_new(piece, "blob", json_integer(gain->blob));
    json_object_set_new(piece, "sha256", json_string(gain->sha256));
    return add_piece(w, piece, as->n_bytes, err);
}
