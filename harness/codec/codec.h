/*
 * codec.h - lossless coding of arrays of weights: bytes to a stream and back, bit for bit.
 *
 * A stream is cut into chunks that decode alone. Each chunk is stored, constant, fast
 * (three bits name the exponent), entropy (rANS over exponent and two mantissa bits) or max
 * (contexts by column and row, mixed), whichever is smallest of those that the mode allows;
 * of two with one size the faster decoder wins. No weight is ever read as a float. The
 * bytes depend on the input and the mode only: any thread count and instruction set writes
 * the same ones. docs/lossless.md has the layout.
 */
#ifndef UCB_CODEC_CODEC_H
#define UCB_CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/dtype.h"
#include "core/err.h"
#include "core/pool.h"

enum ucb_codec_mode {
    UCB_CODEC_FAST,    /* decodes at about the speed of a copy */
    UCB_CODEC_DEFAULT, /* the zero-order entropy of the fields */
    UCB_CODEC_MAX      /* contexts; megabytes, not gigabytes, a second */
};

/* An array to be coded; nothing of it is changed. */
struct ucb_codec_source {
    enum ucb_dtype dtype; /* BF16, F16 and F32 are cut into fields, others coded bytewise */
    const void *data;     /* any alignment */
    uint64_t n_bytes;     /* whole elements of BF16, F16 and F32; may be 0 */
    uint32_t n_columns;   /* elements of a row, for contexts; 0: rows mean nothing */
};
/*
 * Appends the stream to `out`, tagged: what codes weights is CODES, frequency tables are
 * TABLES, header and index HEADER. Working memory from `scratch`, which is not emptied.
 * USAGE, NOMEM.
 */
ucb_status ucb_codec_encode(const struct ucb_codec_source *source, enum ucb_codec_mode mode,
                            struct ucb_pool *pool, struct ucb_arena *scratch,
                            struct ucb_writer *out, struct ucb_err *err);

enum ucb_codec_path { UCB_CODEC_SCALAR, UCB_CODEC_AVX512 };
/* The fastest that this CPU runs. */
enum ucb_codec_path ucb_codec_path_best(void);

/* An opened stream; points into the bytes it was opened on. */
struct ucb_codec {
    enum ucb_dtype dtype;
    uint64_t n_bytes; /* decoded */
    uint32_t n_columns, chunk_weights, n_chunks, table_bytes;
    uint16_t n_tables;
    uint8_t format;
    const uint8_t *index, *tables, *data;
    size_t data_bytes;
    enum ucb_codec_path path; /* set to the best; a caller may choose another */
};
/*
 * Reads header and index of a stream that must end where the bytes end and hold `n_decoded`
 * bytes of that dtype. Nothing is allocated, so a hostile size costs nothing. CORRUPT, with
 * what was found. UNSUPPORTED: a version or feature that this reader does not know.
 */
ucb_status ucb_codec_open(enum ucb_dtype dtype, uint64_t n_decoded, const uint8_t *bytes,
                          size_t n_bytes, struct ucb_codec *out, struct ucb_err *err);
/*
 * Decodes bytes [first, first + n_bytes) to `out`: the chunks they lie in, each checked
 * whole. Parallel over chunks (pool may be NULL); below 1 MiB of stack a thread, no other
 * memory. CORRUPT, and `out` then holds nothing of use.
 */
ucb_status ucb_codec_decode(const struct ucb_codec *codec, uint64_t first, uint64_t n_bytes,
                            struct ucb_pool *pool, void *out, struct ucb_err *err);

/* Decoded bytes of a chunk (the last may have fewer): what no range costs less than. */
uint64_t ucb_codec_grain(const struct ucb_codec *codec);

/* The bytes of a stream by what they are for; they add up to its size. */
struct ucb_codec_split {
    uint64_t header, index, checksums, tables;
    uint64_t coded;   /* exponents, and the mantissa bits and signs coded with them */
    uint64_t raw;     /* sign and mantissa as they are */
    uint64_t escapes; /* exponents outside a chunk's table */
    uint64_t stored;  /* chunks kept whole, or as one repeated element */
};
void ucb_codec_split(const struct ucb_codec *codec, struct ucb_codec_split *out);

/*
 * "mix64", the 64-bit checksum of chunks: 32 lanes of 64 bits take the bytes in stripes of
 * 256, lane <- (lane ^ word) * K, lane ^= lane >> 32, and are folded with the length. Every
 * step is a bijection of the lane, so a change within one word never goes unseen. Against
 * accidents, not against an adversary.
 */
uint64_t ucb_mix64(const void *data, size_t n_bytes);
enum { UCB_MIX64_LANES = 32, UCB_MIX64_STRIPE = 8 * UCB_MIX64_LANES };
#define UCB_MIX64_FACTOR 0x9e3779b97f4a7c15u /* K: 2^64 by the golden ratio, made odd */
struct ucb_mix64_state {
    uint64_t lanes[UCB_MIX64_LANES], n_bytes;
};
void ucb_mix64_begin(struct ucb_mix64_state *state);
/* All pieces but the last are multiples of 256 bytes. */
void ucb_mix64_add(struct ucb_mix64_state *state, const void *data, size_t n_bytes);
uint64_t ucb_mix64_end(const struct ucb_mix64_state *state);

#endif
