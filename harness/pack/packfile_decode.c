/*
 * packfile_decode.c - from blobs to matrices, and from both to the bytes of a file's
 * pieces.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec.h"
#include "core/half.h"
#include "method/payload.h"
#include "pack/packfile.h"

enum { SLAB_BYTES = 8 << 20 };

struct ucb_pack_decoder {
    const struct ucb_packfile *pack;
    struct ucb_arena arena, scratch;
    struct ucb_chain_context context;
    void *buffer[3]; /* a matrix as fp32, its elements, a tensor or a slab */
    size_t capacity[3];
};
enum { WIDE, ELEMENTS, TENSOR };

ucb_status ucb_pack_decoder_open(const struct ucb_packfile *pack, struct ucb_pool *pool,
                                 struct ucb_pack_decoder **out, struct ucb_err *err)
{
    if (pack->shared != UINT32_MAX)
        UCB_TRY(ucb_packfile_check_blob(pack, pack->shared, err));
    struct ucb_pack_decoder *d = ucb_mem_alloc(sizeof(*d));
    if (d == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to decode it", pack->path);
    d->pack = pack;
    ucb_arena_init(&d->arena);
    ucb_arena_init(&d->scratch);
    d->context = (struct ucb_chain_context){
        .pool = pool, .arena = &d->arena, .scratch = &d->scratch};
    if (pack->shared != UINT32_MAX) {
        d->context.shared = ucb_packfile_blob(pack, pack->shared);
        d->context.n_shared = pack->blobs[pack->shared].n_bytes;
    }
    *out = d;
    return UCB_OK;
}

void ucb_pack_decoder_close(struct ucb_pack_decoder *d)
{
    if (d == NULL) return;
    for (int i = 0; i < 3; i++) ucb_mem_free(d->buffer[i]);
    ucb_arena_free(&d->arena);
    ucb_arena_free(&d->scratch);
    ucb_mem_free(d);
}

static ucb_status reserve(struct ucb_pack_decoder *d, int which, size_t n_bytes,
                          const char *name, struct ucb_err *err)
{
    if (d->capacity[which] >= n_bytes) return UCB_OK;
    ucb_mem_free(d->buffer[which]);
    d->capacity[which] = 0;
    d->buffer[which] = ucb_mem_alloc(n_bytes);
    if (d->buffer[which] == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes", name, n_bytes);
    d->capacity[which] = n_bytes;
    return UCB_OK;
}

/* ---- matrices ---- */

struct rounding {
    const float *w;
    uint16_t *out;
    enum ucb_dtype dtype;
    size_t n;
};
enum { ROUNDED_AT_ONCE = 1 << 16 };

/* Exact: the chain has rounded to this dtype already. */
static void round_stretch(void *context, size_t task)
{
    const struct rounding *r = context;
    size_t end = (task + 1) * ROUNDED_AT_ONCE < r->n ? (task + 1) * ROUNDED_AT_ONCE : r->n;
    for (size_t i = task * ROUNDED_AT_ONCE; i < end; i++)
        r->out[i] = r->dtype == UCB_F16 ? ucb_f16_from_f32(r->w[i])
                                        : ucb_bf16_from_f32(r->w[i]);
}

void ucb_pack_elements(struct ucb_pool *pool, enum ucb_dtype dtype, const float *w,
                       size_t n, void *out)
{
    struct rounding r = {w, out, dtype, n};
    if (dtype == UCB_F32)
        memcpy(out, w, n * sizeof(*w));
    else
        ucb_parallel_for(pool, (n + ROUNDED_AT_ONCE - 1) / ROUNDED_AT_ONCE, round_stretch,
                         &r);
}

static ucb_status decode(struct ucb_pack_decoder *d, const struct ucb_pack_matrix *m,
                         struct ucb_err *err)
{
    const struct ucb_packfile *p = d->pack;
    const uint8_t *payload = ucb_packfile_blob(p, m->blob);
    size_t n_payload = p->blobs[m->blob].n_bytes, n = ucb_matrix_weights(&m->matrix);
    ucb_arena_reset(&d->arena);
    ucb_arena_reset(&d->scratch);
    UCB_TRY(reserve(d, ELEMENTS, m->n_bytes, m->matrix.name, err));
    if (ucb_chain_is_exact(p->chain))
        return ucb_chain_decode_bits(p->chain, &d->context, &m->matrix, payload, n_payload,
                                     d->buffer[ELEMENTS], err);
    UCB_TRY(reserve(d, WIDE, n * sizeof(float), m->matrix.name, err));
    UCB_TRY(ucb_chain_decode(p->chain, &d->context, &m->matrix, payload, n_payload,
                             d->buffer[WIDE], NULL, err));
    ucb_pack_elements(d->context.pool, m->dtype, d->buffer[WIDE], n, d->buffer[ELEMENTS]);
    return UCB_OK;
}

ucb_status ucb_pack_decode_matrix(struct ucb_pack_decoder *d, uint32_t matrix,
                                  const uint8_t **bytes, uint8_t sha256[UCB_SHA256_BYTES],
                                  struct ucb_err *err)
{
    const struct ucb_pack_matrix *m = &d->pack->matrices[matrix];
    const struct ucb_blob *b = &d->pack->blobs[m->blob];
    ucb_status status = decode(d, m, err);
    if (d->pack->is_mapped)
        ucb_file_forget(ucb_packfile_blob(d->pack, m->blob), b->n_bytes);
    if (status != UCB_OK) {
        ucb_err_prefix(err, "%s", d->pack->path);
        return status;
    }
    *bytes = d->buffer[ELEMENTS];
    ucb_sha256(*bytes, m->n_bytes, sha256);
    return UCB_OK;
}

/* The same, and refused where it is not what the manifest says. */
static ucb_status decode_checked(struct ucb_pack_decoder *d, uint32_t matrix,
                                 const uint8_t **bytes, struct ucb_err *err)
{
    const struct ucb_pack_matrix *m = &d->pack->matrices[matrix];
    uint8_t digest[UCB_SHA256_BYTES];
    UCB_TRY(ucb_pack_decode_matrix(d, matrix, bytes, digest, err));
    if (memcmp(digest, m->sha256, sizeof(digest)) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: %s decodes to other bits than when it was packed: the pack was "
                    "damaged, or this program decodes otherwise",
                    d->pack->path, m->matrix.name);
}

/* ---- tensors put together ---- */

/* Matrix k of a piece, decoded, or its payload. */
static ucb_status part_of(struct ucb_pack_decoder *d, const struct ucb_pack_piece *piece,
                          uint32_t k, const uint8_t **bytes, struct ucb_err *err)
{
    uint32_t matrix = piece->places[k].matrix;
    if (!piece->is_payload) return decode_checked(d, matrix, bytes, err);
    UCB_TRY(ucb_packfile_check_blob(d->pack, d->pack->matrices[matrix].blob, err));
    *bytes = ucb_packfile_blob(d->pack, d->pack->matrices[matrix].blob);
    return UCB_OK;
}

static size_t row_bytes(const struct ucb_pack_piece *piece, uint32_t n_in)
{
    return (size_t)n_in / ucb_dtype_block_elements(piece->dtype) *
           ucb_dtype_block_bytes(piece->dtype);
}

static void place_rows(const struct ucb_pack_piece *piece, const struct ucb_place *at,
                       const struct ucb_matrix *m, const uint8_t *from, uint8_t *to)
{
    size_t n = row_bytes(piece, m->n_in), width = ucb_dtype_block_bytes(piece->dtype);
    for (uint32_t row = 0; row < m->n_out; row++) {
        uint64_t place = ucb_place_of(at, row);
        if (!at->turned) {
            memcpy(to + place * n, from + row * n, n);
            continue;
        }
        for (uint32_t i = 0; i < m->n_in; i++)
            memcpy(to + ((uint64_t)i * at->columns + place) * width,
                   from + row * n + i * width, width);
    }
}

/* Matrices one behind the other, in order: no tensor has to be held. */
static bool is_straight(const struct ucb_packfile *p, const struct ucb_pack_piece *piece)
{
    uint64_t base = 0;
    for (uint32_t k = 0; k < piece->n_places; k++) {
        const struct ucb_place *at = &piece->places[k].at;
        if (at->turned || at->head_dim != 0 || at->block != at->stride || at->base != base)
            return false;
        base += p->matrices[piece->places[k].matrix].matrix.n_out;
    }
    return true;
}

static ucb_status decode_tensor(struct ucb_pack_decoder *d,
                                const struct ucb_pack_piece *piece, ucb_pack_sink *sink,
                                void *context, struct ucb_err *err)
{
    bool straight = is_straight(d->pack, piece);
    const uint8_t *bytes;
    uint64_t done = 0;
    if (!straight) UCB_TRY(reserve(d, TENSOR, piece->n_bytes, piece->tensor, err));
    for (uint32_t k = 0; k < piece->n_places; k++) {
        const struct ucb_matrix *m = &d->pack->matrices[piece->places[k].matrix].matrix;
        size_t n = (size_t)m->n_out * row_bytes(piece, m->n_in);
        UCB_TRY(part_of(d, piece, k, &bytes, err));
        if (straight)
            UCB_TRY(sink(context, done, bytes, n, err));
        else
            place_rows(piece, &piece->places[k].at, m, bytes, d->buffer[TENSOR]);
        done += n;
    }
    return straight ? UCB_OK : sink(context, 0, d->buffer[TENSOR], piece->n_bytes, err);
}

/* ---- what is stored or coded ---- */

/* The codec's chunks are at most 4 MiB of 4-byte weights: a slab is whole chunks. */
static ucb_status decode_stream(struct ucb_pack_decoder *d,
                                const struct ucb_pack_piece *piece, struct ucb_sha256 *h,
                                ucb_pack_sink *sink, void *context, struct ucb_err *err)
{
    struct ucb_codec codec;
    const struct ucb_blob *b = &d->pack->blobs[piece->blob];
    const uint8_t *data = ucb_packfile_blob(d->pack, piece->blob);
    ucb_status status = ucb_codec_open(piece->dtype, piece->n_bytes, data, b->n_bytes,
                                       &codec, err);
    if (status == UCB_OK) status = reserve(d, TENSOR, SLAB_BYTES, piece->tensor, err);
    for (uint64_t at = 0, n; at < piece->n_bytes && status == UCB_OK; at += n) {
        n = piece->n_bytes - at < SLAB_BYTES ? piece->n_bytes - at : SLAB_BYTES;
        status = ucb_codec_decode(&codec, at, n, d->context.pool, d->buffer[TENSOR], err);
        if (status != UCB_OK) break;
        ucb_sha256_update(h, d->buffer[TENSOR], n);
        status = sink(context, at, d->buffer[TENSOR], n, err);
    }
    if (d->pack->is_mapped) ucb_file_forget(data, b->n_bytes);
    return status;
}

static ucb_status copy_blob(struct ucb_pack_decoder *d, const struct ucb_pack_piece *piece,
                            struct ucb_sha256 *h, ucb_pack_sink *sink, void *context,
                            struct ucb_err *err)
{
    const uint8_t *data = ucb_packfile_blob(d->pack, piece->blob);
    for (uint64_t at = 0, n; at < piece->n_bytes; at += n) {
        n = piece->n_bytes - at < SLAB_BYTES ? piece->n_bytes - at : SLAB_BYTES;
        ucb_sha256_update(h, data + at, n);
        UCB_TRY(sink(context, at, data + at, n, err));
        if (d->pack->is_mapped) ucb_file_forget_behind(data, at, n);
    }
    return UCB_OK;
}

ucb_status ucb_pack_decode_piece(struct ucb_pack_decoder *d, uint32_t index,
                                 ucb_pack_sink *sink, void *context, struct ucb_err *err)
{
    const struct ucb_pack_piece *piece = &d->pack->pieces[index], *from = piece;
    uint8_t digest[UCB_SHA256_BYTES];
    struct ucb_sha256 h;
    if (piece->kind == UCB_PIECE_TENSOR) return decode_tensor(d, piece, sink, context, err);
    if (piece->kind == UCB_PIECE_COPY) from = &d->pack->pieces[piece->copy_of];
    if (piece->tensor == NULL)
        ucb_sha256_init(&h);
    else
        ucb_pack_tensor_digest_begin(&h, piece->dtype, piece->n_dims, piece->shape);
    ucb_status status = from->kind == UCB_PIECE_CODED
                            ? decode_stream(d, from, &h, sink, context, err)
                            : copy_blob(d, from, &h, sink, context, err);
    ucb_sha256_final(&h, digest);
    if (status != UCB_OK) {
        ucb_err_prefix(err, "%s: %s", d->pack->path,
                       piece->tensor == NULL ? "bytes of a file" : piece->tensor);
        return status;
    }
    const uint8_t *expected = piece->tensor == NULL ? d->pack->blobs[from->blob].sha256
                                                    : piece->sha256;
    if (memcmp(digest, expected, sizeof(digest)) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: %s does not have its digest: the pack was damaged or changed",
                    d->pack->path,
                    piece->tensor == NULL ? "what lies around the tensors" : piece->tensor);
}
