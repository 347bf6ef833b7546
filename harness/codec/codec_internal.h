/*
 * codec_internal.h - the layout of a stream, and what the coders of chunks share.
 *
 * An element of W bits, turned left by one, is [exponent E][mantissa][sign]. A coder takes
 * the exponent (entropy, max: and two mantissa bits), the rest goes raw: byte planes,
 * lowest first, then a plane of what is left of a byte, eight elements in `bits` bytes.
 */
#ifndef UCB_CODEC_INTERNAL_H
#define UCB_CODEC_INTERNAL_H

#include <stdbool.h>

#include "codec/codec.h"

/* ---- the stream ---- */

enum {
    CODEC_MAGIC = 0x4c424355, /* "UCBL" */
    CODEC_VERSION = 2,
    CODEC_HEADER_BYTES = 36, /* magic u32, version u16, required features u16, format u8,
                                log2 of elements a chunk u8, tables u16, columns u32,
                                decoded bytes u64, bytes of tables u32, checksum u64 of
                                these 28 bytes, index and tables */
    CODEC_CHECKED_BYTES = 28,
    CODEC_ENTRY_BYTES = 24, /* where the coded bytes end, from the first chunk's on, u48;
                               coder u8, table u8; checksum of the decoded bytes u64, of
                               the coded bytes u64 */
    CODEC_CHUNK_WEIGHTS = 1 << 16,     /* fast and default */
    CODEC_MAX_CHUNK_WEIGHTS = 1 << 20, /* max: contexts are learned anew in each */
    CODEC_PIECE = 4096, /* elements at a time; what works on them stays in L1 */
    CODEC_MAX_TABLES = 255
};
/* Decoded. No coder lets a chunk grow, so where coded bytes end fits 48 bits, too. */
#define CODEC_MOST_BYTES ((uint64_t)1 << 47)
#define CODEC_END_MASK (((uint64_t)1 << 48) - 1)

enum codec_coder {
    CODER_STORED,
    CODER_CONSTANT,
    CODER_FAST,
    CODER_ENTROPY,
    CODER_MAX,
    N_CODERS
};

struct codec_format {
    unsigned width, exponent_bits; /* bytes of an element; 0 bits: bytes, no fields */
};
enum { FORMAT_BYTES, FORMAT_BF16, FORMAT_F16, FORMAT_F32, N_FORMATS };
extern const struct codec_format codec_formats[N_FORMATS];
uint8_t codec_format_of(enum ucb_dtype dtype);

struct codec_entry {
    uint64_t decoded, coded, decoded_sum, coded_sum;
    uint32_t n_bytes, n;
    uint8_t coder, table;
};
/* Checksum of the header at p, of the index behind it and of the tables. */
uint64_t codec_head_sum(const uint8_t *p, size_t n_index, const uint8_t *tables,
                        size_t table_bytes);
void codec_entry_get(const struct ucb_codec *codec, uint32_t index,
                     struct codec_entry *out);

/* n elements of any alignment turned left by one (bytes: as they are), and back. */
void codec_turn(const struct codec_format *f, const uint8_t *data, size_t n, uint32_t *out);
void codec_turn_back(const struct codec_format *f, const uint32_t *turned, size_t n,
                     uint8_t *out);
/* The lowest bits of a turned element that a coder leaves raw; of max, those above the
 * sign, which it codes. */
unsigned codec_raw_bits(const struct codec_format *f, enum codec_coder coder);

/* ---- raw planes ---- */

struct codec_planes {
    unsigned n_bytes, bits; /* planes of bytes; bits of the last plane, 0: none */
};
struct codec_planes codec_planes_of(unsigned raw_bits);
/* Bytes of n elements in planes. */
size_t codec_planes_bytes(struct codec_planes p, size_t n);
/* Where the bits of element `at`, a multiple of 8, stand in the planes of n. */
static inline size_t codec_planes_bits_at(struct codec_planes p, size_t n, size_t at)
{
    return p.n_bytes * n + at / 8 * p.bits;
}
/* Raw bits of elements [at, at + n_raw) of n, at most a piece of them; `at` is a multiple
 * of 8. Bits above the planes are dropped. `bits` are those of element `at`. */
void codec_planes_put(struct codec_planes p, size_t n, size_t at, const uint32_t *raw,
                      size_t n_raw, uint8_t *out);
void codec_planes_get(struct codec_planes p, size_t n, size_t at, const uint8_t *in,
                      const uint8_t *bits, size_t n_raw, uint32_t *raw);
/* Eight values in `bits` bytes, 1 to 7; the last ones padded with zeros. */
void codec_bits_pack(const uint8_t *values, size_t n, unsigned bits, uint8_t *out);
void codec_bits_unpack(const uint8_t *in, size_t n, unsigned bits, uint8_t *values);
static inline size_t codec_bits_bytes(size_t n, unsigned bits)
{
    return (n + 7) / 8 * bits;
}

/* ---- fast: exponents by rank, 3 bits; rank 7 takes its exponent from the escapes ---- */

enum { FAST_BITS = 3, FAST_ESCAPE = 7, FAST_TABLE_BYTES = 8 };

/* ---- entropy: rANS over exponent rank * 4 + two mantissa bits, or bytes ---- */

enum {
    RANS_BITS = 12,
    RANS_SUM = 1 << RANS_BITS,
    RANS_LANES = 32,
    RANS_START = 1 << 16, /* of every lane before the first symbol is encoded, with two
                             bytes of raw bits in the lower half: codec_carried() */
    RANS_NARROW = 64,     /* symbols where elements have fields */
    RANS_WIDE = 256,
    RANS_RANKS = 16,
    RANS_ESCAPE = RANS_RANKS - 1,         /* this rank's exponent is escaped */
    RANS_HEAD_BYTES = RANS_LANES * 4 + 4, /* states, words u32 */
    TABLE_LENGTH_BYTES = 2,               /* u16 in front of all tables, but of the last */
    RANS_TABLE_MOST = 1280,               /* bytes: 256 numbers of 38 bits, in full */
    RANS_BUCKET = RANS_SUM / RANS_NARROW,
    RANS_TOGETHER = 4 /* chunks: a step waits for its look-ups, others fill the wait */
};

struct rans_table {
    unsigned n_symbols;            /* RANS_NARROW or RANS_WIDE */
    uint16_t frequency[RANS_WIDE]; /* sum 2^12, none of them 2^12 */
    uint8_t exponents[RANS_RANKS]; /* narrow: by rank, falling; 0 of those not used */
};
/* Frequencies of counts, integers only: each used symbol has one at least. Two symbols
 * have one at least, used or not. Some count must not be 0. */
void rans_normalise(const uint32_t *counts, unsigned n, uint16_t *frequency);
/* 1/256 bits that symbols with these counts take; UINT64_MAX where the table lacks one. */
uint64_t rans_cost(const struct rans_table *t, const uint32_t *counts);
/* As bytes (codec_table.c), and how many there are. Ranks that are used come first. */
size_t rans_table_put(const struct rans_table *t, uint8_t bytes[RANS_TABLE_MOST]);
size_t rans_table_bytes(const struct rans_table *t);
/* False where the bytes are no table of that kind. */
bool rans_table_get(const uint8_t *bytes, size_t n_bytes, unsigned n_symbols,
                    struct rans_table *out);

/*
 * The last bytes of an entropy chunk's planes that are not stored: the lower halves of the
 * start values, two bytes a lane, have them, so that a decoder finds them in its end states
 * when it comes to the last piece. They are bits of that piece.
 */
size_t codec_carried(struct codec_planes p, size_t n);

/*
 * Which of the 4096 slots belong to a symbol. Wide: its range of the cumulative sum.
 * Narrow: the alias method, so that a vector finds symbols in registers: bucket b of 64
 * slots has its first divider[b] for symbol b (the symbol's slots of rank 0, 1, ...) and
 * the others for symbol alias[b], from rank first[b] on.
 */
struct rans_alias {
    uint16_t divider[RANS_NARROW], alias[RANS_NARROW], first[RANS_NARROW];
};
void rans_alias_make(const struct rans_table *t, struct rans_alias *out);
/* By slot: frequency - 1 in bits 0-11, rank in 12-23, symbol in 24-31. */
void rans_slots_make(const struct rans_table *t, uint32_t slots[RANS_SUM]);

struct rans_encoder {
    struct {
        uint64_t reciprocal; /* ceil(2^63 / frequency) */
        uint32_t limit;      /* frequency << 20 */
        uint16_t frequency, start;
    } symbol[RANS_WIDE];
    uint16_t
        slot[RANS_SUM + 1]; /* by cumulative start + rank; vectors read two at a time */
    /* For vectors, of a narrow table: frequency and start << 16, and 1 / frequency. */
    bool narrow;
    uint32_t packed[RANS_NARROW];
    float inverse[RANS_NARROW];
};
void rans_encoder_make(const struct rans_table *t, struct rans_encoder *out);
/* Encodes n symbols; `states` are the start values, then what a decoder begins with. Words
 * come last first, so they are written in front of `end`, which the return value counts
 * back from. Room for n + 32 words. */
size_t rans_encode(const struct rans_encoder *e, enum ucb_codec_path path,
                   const uint8_t *symbols, size_t n, uint16_t *end,
                   uint32_t states[RANS_LANES]);

/* A stream of symbols being read. */
struct rans_reader {
    uint16_t high[RANS_LANES], low[RANS_LANES];
    const uint8_t *words, *words_end;
};
/* False where a state is below 2^16: no encoder writes it. */
bool rans_reader_begin(struct rans_reader *r, const uint8_t *states, const uint8_t *words,
                       size_t n_words);
/* The next n symbols; multiples of 32 but for the last piece. False past the words' end. */
bool rans_read(struct rans_reader *r, const uint32_t *slots, size_t n, uint8_t *symbols);
/* Whether all words are read and all states back at the start, where the lower halves have
 * n_carried bytes and then zeros. */
bool rans_reader_ended(const struct rans_reader *r, size_t n_carried);

/* ---- a chunk that was begun: everything checked but what decoding shows ---- */

struct codec_begun {
    const struct codec_format *format;
    enum codec_coder coder;
    uint64_t decoded, decoded_sum; /* as in struct codec_entry */
    uint32_t n, n_words, n_escapes, n_carried;
    uint8_t table;
    const uint8_t *symbols; /* elements, the element, packed ranks, or states */
    const uint8_t *plane, *words, *escape;
    uint8_t exponents[RANS_RANKS];
    uint32_t slots[RANS_SUM]; /* of an entropy chunk */
};
/* False where the chunk is damaged. */
bool codec_begin(const struct ucb_codec *codec, uint32_t index, struct codec_begun *out);

/* ---- AVX-512 with VBMI2: the same results ---- */

/* Groups of 32 symbols, the last first, of a narrow table; words are written in front of
 * `at` and up to 32 below them spoilt. Returns where the words begin. */
uint16_t *rans_encode_avx512(const struct rans_encoder *e, const uint8_t *symbols,
                             size_t n_groups, uint16_t *at, uint32_t states[RANS_LANES]);
/* n_streams is 1 to 4, n a multiple of 32. False where one of them runs past its end. */
bool rans_read_avx512(struct rans_reader *const *r, const struct rans_alias *const *alias,
                      const struct rans_table *const *t, unsigned n_streams, size_t n,
                      uint8_t *const *symbols);
/* One stream of a wide table, n a multiple of 32; rans_read() by gathers. */
bool rans_read_wide_avx512(struct rans_reader *r, const uint32_t *slots, size_t n,
                           uint8_t *symbols);
/*
 * Elements of BF16 and F16 from symbols (fast: packed ranks) and planes, n a multiple of
 * CODEC_MERGE. Escapes are taken from *escape; false past their end. The elements go into
 * the checksum while they are in registers.
 */
struct codec_merge {
    const uint8_t *symbols;      /* entropy: a byte each; fast: the packed ranks */
    const uint8_t *plane, *bits; /* the byte plane and the plane of bits, where there are */
    const uint8_t *exponents;    /* by rank: 16 (fast: 8) */
    const uint8_t *escape, *escape_end;
    struct ucb_mix64_state *sum;
    bool past_cache; /* store without fetching the lines that are filled;
                        codec_fence_avx512() before another thread reads them */
};
enum { CODEC_MERGE = UCB_MIX64_STRIPE / 2 };
bool codec_merge_bf16_avx512(struct codec_merge *m, size_t n, uint8_t *out);
bool codec_merge_f16_avx512(struct codec_merge *m, size_t n, uint8_t *out);
bool codec_fast_bf16_avx512(struct codec_merge *m, size_t n, uint8_t *out);
/* memcpy with such stores. */
void codec_copy_past_cache_avx512(uint8_t *out, const uint8_t *in, size_t n_bytes);
void codec_fence_avx512(void);

/* ---- max ---- */

/* Exponents, signs and two mantissa bits of n turned elements in rows of n_columns (0: one
 * row); the element at index 0 stands in column `column`. Returns the bytes written, or
 * more than `limit` where they might not fit. */
size_t codec_mix_encode(const struct codec_format *f, const uint32_t *turned, size_t n,
                        uint32_t column, uint32_t n_columns, uint8_t *out, size_t limit);
/* Gives each piece of n turned elements, raw bits zero, to `take`; false where that does,
 * or where the bytes end too soon or too late. */
typedef bool codec_mix_take(void *context, const uint32_t *turned, size_t n);
bool codec_mix_decode(const struct codec_format *f, const uint8_t *in, size_t n_bytes,
                      size_t n, uint32_t column, uint32_t n_columns, codec_mix_take *take,
                      void *context);

#endif
