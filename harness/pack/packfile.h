/*
 * packfile.h - a pack, open for reading: what a method wrote for a model, and how the
 * files of a checkpoint are put together from it.
 *
 * The file is mapped and checked before anything of it is believed: header and manifest by
 * their digests, every blob's place, and that each file's pieces cover it and each matrix
 * stands in exactly one of them. What blobs hold is checked when it is decoded. Layout:
 * docs/formats.md. An open pack may be read by any number of threads.
 */
#ifndef UCB_PACK_PACKFILE_H
#define UCB_PACK_PACKFILE_H

#include "core/arena.h"
#include "core/file.h"
#include "core/sha256.h"
#include "eval/scope.h"
#include "method/chain.h"

/* The layout's own numbers, for writer and reader. */
enum {
    UCB_PACKFILE_HEADER = 128,
    UCB_PACKFILE_CHECKED = 96, /* what the header's own digest covers */
    UCB_PACKFILE_VERSION = 1,
    UCB_PACKFILE_ALIGN = 64
};
extern const char ucb_packfile_magic[8];

struct ucb_blob {
    uint64_t offset, n_bytes;
    uint8_t sha256[UCB_SHA256_BYTES];
};

/* A matrix that the chain wrote. */
struct ucb_pack_matrix {
    struct ucb_matrix matrix;
    enum ucb_role used_as; /* HEAD also of a tied embedding that was written as the head */
    uint32_t blob;         /* its payload */
    enum ucb_dtype dtype;  /* of the decoded elements */
    uint64_t n_bytes;      /* of all of them */
    uint8_t sha256[UCB_SHA256_BYTES]; /* of the decoded elements, [n_out][n_in] */
    uint64_t part_bytes[UCB_N_PARTS]; /* of the payload */
};

/* Where a matrix lies in the tensor of a piece. */
struct ucb_pack_place {
    uint32_t matrix;
    struct ucb_place at; /* tensor is NULL */
};

enum ucb_piece_kind {
    UCB_PIECE_STORED, /* the blob */
    UCB_PIECE_CODED,  /* what the codec makes of the blob */
    UCB_PIECE_COPY,   /* the same as an earlier piece that is stored or coded */
    UCB_PIECE_TENSOR  /* put together from matrices, decoded */
};
/* A stretch of a file. */
struct ucb_pack_piece {
    enum ucb_piece_kind kind;
    uint64_t n_bytes;
    uint32_t blob;      /* of STORED, CODED */
    uint32_t copy_of;   /* of COPY: a number in the pack's pieces */
    const char *tensor; /* NULL: a header, a gap, a file that is no checkpoint */
    enum ucb_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[8];
    uint8_t sha256[UCB_SHA256_BYTES]; /* of a tensor that is no TENSOR piece, see
                                         ucb_pack_tensor_digest_begin() */
    uint64_t part_bytes[UCB_N_PARTS]; /* of a CODED piece */
    /* Of TENSOR: matrices in the order of their rows; `is_payload`: rows of the payloads,
     * which are blocks of `dtype`. */
    bool is_payload;
    bool is_gain; /* STORED: a norm's weight as a TUNE stage left it */
    const struct ucb_pack_place *places;
    uint32_t n_places;
};

struct ucb_pack_entry {
    const char *name; /* a plain name: no slash, no leading dot */
    uint64_t n_bytes;
    bool is_source; /* sha256 is that of the file it was made from */
    char sha256[UCB_SHA256_HEX];
    uint32_t first_piece, n_pieces;
};

struct ucb_packfile {
    struct ucb_arena arena;
    const char *path;
    struct ucb_file map;
    bool is_mapped;    /* by it; otherwise the bytes are the caller's */
    const char *build; /* of the program that wrote it */
    const char *source_sha256, *source_type, *spec, *identity, *calib;
    enum ucb_scope scope;
    uint64_t seed;
    uint64_t unpacked_bytes; /* of all files */
    bool is_exact;           /* unpacks to the source's own files, byte for byte */
    struct ucb_chain *chain;
    struct ucb_arch arch; /* only the counts that methods look at */
    const struct ucb_blob *blobs;
    const struct ucb_pack_matrix *matrices;
    const struct ucb_pack_piece *pieces;
    const struct ucb_pack_entry *files;
    uint32_t n_blobs, n_matrices, n_pieces, n_files;
    uint32_t shared; /* blob of the chain's side data, UINT32_MAX: none */
    uint64_t manifest_bytes, padding_bytes;
};

/* Whether a file begins as a pack does. */
bool ucb_packfile_is(const char *path);
/* `limit_bytes`: the most that the files may take unpacked; 0: 64 times the pack.
 * MISSING, IO, NOMEM, CORRUPT; UNSUPPORTED: another version, a required feature or a method
 * (in this revision) that this program does not know, or larger files than the limit. */
ucb_status ucb_packfile_open(const char *path, uint64_t limit_bytes,
                             struct ucb_packfile **out, struct ucb_err *err);
/* The same of bytes in memory, which outlive it; `path` stands in messages. */
ucb_status ucb_packfile_open_bytes(const char *path, const uint8_t *bytes, size_t n_bytes,
                                   uint64_t limit_bytes, struct ucb_packfile **out,
                                   struct ucb_err *err);
void ucb_packfile_close(struct ucb_packfile *pack); /* NULL is fine */

static inline const uint8_t *ucb_packfile_blob(const struct ucb_packfile *p, uint32_t blob)
{
    return p->map.data + p->blobs[blob].offset;
}
/* A blob's bytes have its digest; CORRUPT names the pack and the blob's place. */
ucb_status ucb_packfile_check_blob(const struct ucb_packfile *p, uint32_t blob,
                                   struct ucb_err *err);

/* Tensors are identified by SHA-256 over "BF16 [576, 1536]\n" and their bytes; this begins
 * such a digest. */
void ucb_pack_tensor_digest_begin(struct ucb_sha256 *h, enum ucb_dtype dtype,
                                  uint32_t n_dims, const uint64_t *shape);

/* Rounds fp32 values that F32, F16 or BF16 holds exactly; parallel. */
void ucb_pack_elements(struct ucb_pool *pool, enum ucb_dtype dtype, const float *w,
                       size_t n, void *out);

/* ---- decoding ---- */

/* Buffers of a decoder, one thread's. */
struct ucb_pack_decoder;
/* Checks the side data's digest. `pool` may be NULL; no result depends on it. */
ucb_status ucb_pack_decoder_open(const struct ucb_packfile *pack, struct ucb_pool *pool,
                                 struct ucb_pack_decoder **out, struct ucb_err *err);
void ucb_pack_decoder_close(struct ucb_pack_decoder *d); /* NULL is fine */
/*
 * The elements of a matrix, [n_out][n_in] of its dtype; they last until the next call.
 * Their digest is not compared: `sha256` gets it. CORRUPT, NOMEM.
 */
ucb_status ucb_pack_decode_matrix(struct ucb_pack_decoder *d, uint32_t matrix,
                                  const uint8_t **bytes, uint8_t sha256[UCB_SHA256_BYTES],
                                  struct ucb_err *err);
/* Takes bytes [at, at + n) of a piece; they come in order, each once. */
typedef ucb_status ucb_pack_sink(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                                 struct ucb_err *err);
/* All bytes of a piece. CORRUPT where a digest is not the manifest's; what went to the sink
 * is then worth nothing. */
ucb_status ucb_pack_decode_piece(struct ucb_pack_decoder *d, uint32_t piece,
                                 ucb_pack_sink *sink, void *context, struct ucb_err *err);

#endif
