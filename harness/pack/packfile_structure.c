/*
 * packfile_structure.c - what a manifest's members say together: blobs cover the pack,
 * pieces cover their files, matrices cover their tensors, each once. After this, decoding
 * looks at no offset or count again.
 */
#include <string.h>

#include "method/payload.h"
#include "pack/packfile_internal.h"

static ucb_status wrong(const struct ucb_packfile *p, struct ucb_err *err, const char *list,
                        uint32_t index, const char *what)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: %s[%u] of its manifest %s", p->path, list, index,
                    what);
}

/* No path, no option, nothing hidden: what a file may safely be called. */
bool ucb_pack_name_is_plain(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 200 || name[0] == '.' || name[0] == '-') return false;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] < ' ' || name[i] == 127 || name[i] == '/' || name[i] == '\\')
            return false;
    return true;
}

static bool all_zero(const uint8_t *data, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (data[i] != 0) return false;
    return true;
}

static uint64_t align_up(uint64_t n)
{
    return (n + UCB_PACKFILE_ALIGN - 1) / UCB_PACKFILE_ALIGN * UCB_PACKFILE_ALIGN;
}

/* In the order of the file, without a hole: a byte that no digest covers is a zero. */
static ucb_status check_blobs(struct ucb_packfile *p, uint64_t manifest_offset,
                              struct ucb_err *err)
{
    uint64_t at = UCB_PACKFILE_HEADER;
    for (uint32_t i = 0; i < p->n_blobs; i++) {
        const struct ucb_blob *b = &p->blobs[i];
        if (b->offset != align_up(at) || b->offset > manifest_offset ||
            b->n_bytes > manifest_offset - b->offset)
            return wrong(p, err, "blobs", i, "does not lie behind the one before it");
        if (!all_zero(p->map.data + at, b->offset - at))
            return wrong(p, err, "blobs", i, "has something other than zeros before it");
        p->padding_bytes += b->offset - at;
        at = b->offset + b->n_bytes;
    }
    if (align_up(at) != manifest_offset || !all_zero(p->map.data + at, align_up(at) - at))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: its blobs do not end where its manifest begins", p->path);
    p->padding_bytes += align_up(at) - at;
    return UCB_OK;
}

/* Bytes of n elements in whole blocks. */
static bool bytes_of(enum ucb_dtype dtype, uint64_t n, uint64_t *out)
{
    uint32_t block = ucb_dtype_block_elements(dtype);
    return n % block == 0 &&
           !__builtin_mul_overflow(n / block, ucb_dtype_block_bytes(dtype), out);
}

static ucb_status check_matrix(const struct ucb_packfile *p, uint32_t i,
                               struct ucb_pack_matrix *m, struct ucb_err *err)
{
    const struct ucb_matrix *x = &m->matrix;
    if (x->n_out == 0 || x->n_in == 0 ||
        !bytes_of(m->dtype, (uint64_t)x->n_out * x->n_in, &m->n_bytes) ||
        x->n_in % ucb_dtype_block_elements(x->dtype) != 0 ||
        x->n_in % ucb_dtype_block_elements(m->dtype) != 0)
        return wrong(p, err, "matrices", i, "has a shape that its dtypes do not divide");
    /* Blocks of a GGUF decode to at most 13 times their bytes in fp32. */
    if (m->n_bytes / 16 > p->unpacked_bytes)
        return wrong(p, err, "matrices", i, "is larger than what the pack unpacks to");
    enum ucb_dtype dtype = ucb_chain_is_exact(p->chain)
                               ? x->dtype
                               : ucb_chain_decoded_dtype(p->chain, x->dtype);
    if (!ucb_chain_is_exact(p->chain) && dtype != UCB_F16 && dtype != UCB_BF16)
        dtype = UCB_F32;
    if (m->dtype != dtype)
        return wrong(p, err, "matrices", i, "decodes to another dtype than its method has");
    if (m->blob >= p->n_blobs ||
        (x->role < UCB_N_LAYER_ROLES && x->layer >= p->arch.n_layers))
        return wrong(p, err, "matrices", i, "names a blob or a layer that is not there");
    uint64_t parts = 0;
    for (int part = 0; part < UCB_N_PARTS; part++) parts += m->part_bytes[part];
    return parts == p->blobs[m->blob].n_bytes
               ? UCB_OK
               : wrong(p, err, "matrices", i, "counts other bytes than its payload has");
}

/* ---- pieces ---- */

static ucb_status check_shape(const struct ucb_packfile *p, uint32_t i,
                              const struct ucb_pack_piece *piece, struct ucb_err *err)
{
    uint64_t n = 1, n_bytes;
    if (piece->tensor == NULL) return UCB_OK;
    for (uint32_t d = 0; d < piece->n_dims; d++)
        if (__builtin_mul_overflow(n, piece->shape[d], &n))
            return wrong(p, err, "pieces", i, "has a shape past all bounds");
    return bytes_of(piece->dtype, n, &n_bytes) && n_bytes == piece->n_bytes
               ? UCB_OK
               : wrong(p, err, "pieces", i, "has a shape of another size");
}

/* Marks the tensor's rows (turned: columns) that a matrix takes; false where one is outside
 * or taken. */
static bool mark(const struct ucb_pack_place *place, uint32_t n_out, uint8_t *taken,
                 uint64_t n)
{
    for (uint32_t row = 0; row < n_out; row++) {
        uint64_t at = ucb_place_of(&place->at, row);
        if (at >= n || taken[at] != 0) return false;
        taken[at] = 1;
    }
    return true;
}

/* All matrices of a tensor have its columns (turned: its rows) and are turned alike. */
static ucb_status check_places(const struct ucb_packfile *p, uint32_t i,
                               const struct ucb_pack_piece *piece, uint8_t *used,
                               struct ucb_err *err)
{
    uint64_t n_out = 0;
    uint32_t n_in = 0;
    for (uint32_t k = 0; k < piece->n_places; k++) {
        const struct ucb_pack_place *place = &piece->places[k];
        if (place->matrix >= p->n_matrices || used[place->matrix]++ != 0)
            return wrong(p, err, "pieces", i, "names a matrix that is not there, or twice");
        const struct ucb_pack_matrix *m = &p->matrices[place->matrix];
        if (k == 0) n_in = m->matrix.n_in;
        n_out += m->matrix.n_out;
        if (m->matrix.n_in != n_in || place->at.turned != piece->places[0].at.turned ||
            (!piece->is_payload && m->dtype != piece->dtype) ||
            (place->at.turned && ucb_dtype_block_elements(piece->dtype) != 1))
            return wrong(p, err, "pieces", i, "puts matrices together that do not fit");
    }
    uint64_t n_bytes;
    if (n_in % ucb_dtype_block_elements(piece->dtype) != 0 ||
        __builtin_mul_overflow(n_out, n_in, &n_bytes) ||
        !bytes_of(piece->dtype, n_bytes, &n_bytes) || n_bytes != piece->n_bytes)
        return wrong(p, err, "pieces", i, "is not as large as its matrices");
    uint8_t *taken = ucb_mem_alloc(n_out + 1);
    if (taken == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its rows", p->path);
    bool fits = true;
    for (uint32_t k = 0; k < piece->n_places && fits; k++)
        fits = (!piece->places[k].at.turned || piece->places[k].at.columns == n_out) &&
               mark(&piece->places[k], p->matrices[piece->places[k].matrix].matrix.n_out,
                    taken, n_out);
    ucb_mem_free(taken);
    return fits ? UCB_OK : wrong(p, err, "pieces", i, "puts two rows in one place");
}

/* Payloads that are rows of a GGUF type. */
static ucb_status check_payloads(const struct ucb_packfile *p, uint32_t i,
                                 const struct ucb_pack_piece *piece, struct ucb_err *err)
{
    for (uint32_t k = 0; k < piece->n_places && piece->is_payload; k++) {
        const struct ucb_pack_matrix *m = &p->matrices[piece->places[k].matrix];
        uint64_t n_bytes;
        if (!bytes_of(piece->dtype, (uint64_t)m->matrix.n_out * m->matrix.n_in, &n_bytes) ||
            n_bytes != p->blobs[m->blob].n_bytes || piece->places[k].at.turned)
            return wrong(p, err, "pieces", i, "is not made of payloads of its type");
    }
    return UCB_OK;
}

static ucb_status check_piece(const struct ucb_packfile *p, uint32_t i, uint8_t *used,
                              struct ucb_err *err)
{
    const struct ucb_pack_piece *piece = &p->pieces[i];
    UCB_TRY(check_shape(p, i, piece, err));
    if (piece->kind == UCB_PIECE_TENSOR) {
        UCB_TRY(check_places(p, i, piece, used, err));
        return check_payloads(p, i, piece, err);
    }
    if (piece->kind == UCB_PIECE_COPY) {
        const struct ucb_pack_piece *from = &p->pieces[piece->copy_of];
        if (piece->copy_of >= i || from->kind > UCB_PIECE_CODED ||
            from->n_bytes != piece->n_bytes || from->tensor == NULL ||
            from->dtype != piece->dtype)
            return wrong(p, err, "pieces", i, "is no copy of an earlier tensor");
        return UCB_OK;
    }
    if (piece->blob >= p->n_blobs || (piece->kind == UCB_PIECE_STORED &&
                                      p->blobs[piece->blob].n_bytes != piece->n_bytes))
        return wrong(p, err, "pieces", i,
                     "names a blob that is not there, or of other size");
    uint64_t parts = 0;
    for (int part = 0; part < UCB_N_PARTS; part++) parts += piece->part_bytes[part];
    if (piece->kind == UCB_PIECE_CODED && parts != p->blobs[piece->blob].n_bytes)
        return wrong(p, err, "pieces", i, "counts other bytes than its stream has");
    return UCB_OK;
}

/* ---- files ---- */

static ucb_status check_file(const struct ucb_packfile *p, uint32_t i, uint64_t *all,
                             struct ucb_err *err)
{
    const struct ucb_pack_entry *f = &p->files[i];
    uint64_t n_bytes = 0;
    if (!ucb_pack_name_is_plain(f->name))
        return wrong(p, err, "files", i, "has a name that is no plain file name");
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(p->files[k].name, f->name) == 0)
            return wrong(p, err, "files", i, "has the name of another file");
    for (uint32_t k = 0; k < f->n_pieces; k++)
        if (__builtin_add_overflow(n_bytes, p->pieces[f->first_piece + k].n_bytes,
                                   &n_bytes))
            return wrong(p, err, "files", i, "is larger than any file");
    if (n_bytes != f->n_bytes || __builtin_add_overflow(*all, n_bytes, all))
        return wrong(p, err, "files", i, "is not as large as its pieces");
    if (p->is_exact && !f->is_source)
        return wrong(p, err, "files", i, "has no digest, and the pack is said to be exact");
    return UCB_OK;
}

static ucb_status check_side_data(const struct ucb_packfile *p, struct ucb_err *err)
{
    bool has = p->shared != UINT32_MAX;
    if ((has && p->shared >= p->n_blobs) || has != ucb_chain_has_shared(p->chain))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: its side data are not there, or its method has none", p->path);
    return UCB_OK;
}

ucb_status ucb_packfile_check_structure(struct ucb_packfile *p, uint64_t manifest_offset,
                                        struct ucb_err *err)
{
    uint64_t all = 0;
    UCB_TRY(check_blobs(p, manifest_offset, err));
    UCB_TRY(check_side_data(p, err));
    for (uint32_t i = 0; i < p->n_matrices; i++)
        UCB_TRY(check_matrix(p, i, (struct ucb_pack_matrix *)&p->matrices[i], err));
    for (uint32_t i = 0; i < p->n_files; i++) UCB_TRY(check_file(p, i, &all, err));
    if (all != p->unpacked_bytes)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: its files have %llu bytes, its header says %llu", p->path,
                        (unsigned long long)all, (unsigned long long)p->unpacked_bytes);
    uint8_t *used = ucb_mem_alloc((size_t)p->n_matrices + 1);
    if (used == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its matrices", p->path);
    ucb_status status = UCB_OK;
    for (uint32_t i = 0; i < p->n_pieces && status == UCB_OK; i++)
        status = check_piece(p, i, used, err);
    for (uint32_t i = 0; i < p->n_matrices && status == UCB_OK; i++)
        if (used[i] == 0) status = wrong(p, err, "matrices", i, "stands in no file");
    ucb_mem_free(used);
    return status;
}
