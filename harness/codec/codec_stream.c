/*
 * codec_stream.c - header and index of a stream: read strictly, before anything is
 * believed. The index must cover the array and the coded bytes without gap or overlap, so a
 * chunk can name nothing outside.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"

uint64_t codec_head_sum(const uint8_t *p, size_t n_index, const uint8_t *tables,
                        size_t table_bytes)
{
    return ucb_mix64(p, CODEC_CHECKED_BYTES) +
           3 * ucb_mix64(p + CODEC_HEADER_BYTES, n_index) +
           5 * ucb_mix64(tables, table_bytes);
}

/* Where chunk i's coded bytes end. */
static uint64_t coded_end(const struct ucb_codec *codec, uint32_t i)
{
    return ucb_load_u64(codec->index + (size_t)i * CODEC_ENTRY_BYTES) & CODEC_END_MASK;
}

void codec_entry_get(const struct ucb_codec *codec, uint32_t index, struct codec_entry *out)
{
    const uint8_t *p = codec->index + (size_t)index * CODEC_ENTRY_BYTES;
    unsigned width = codec_formats[codec->format].width;
    assert(index < codec->n_chunks);
    out->decoded = (uint64_t)index * codec->chunk_weights * width;
    uint64_t left = (codec->n_bytes - out->decoded) / width;
    out->n = left < codec->chunk_weights ? (uint32_t)left : codec->chunk_weights;
    out->coded = index == 0 ? 0 : coded_end(codec, index - 1);
    out->n_bytes = (uint32_t)(coded_end(codec, index) - out->coded);
    out->coder = p[6];
    out->table = p[7];
    out->decoded_sum = ucb_load_u64(p + 8);
    out->coded_sum = ucb_load_u64(p + 16);
}

static ucb_status check_version(const uint8_t *p, size_t n_bytes, struct ucb_err *err)
{
    if (n_bytes < CODEC_HEADER_BYTES)
        return UCB_FAIL(err, UCB_CORRUPT, "a coded stream of %zu bytes: its header has %d",
                        n_bytes, CODEC_HEADER_BYTES);
    if (ucb_load_u32(p) != CODEC_MAGIC)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "a coded stream begins with %08x, expected %08x (\"UCBL\")",
                        ucb_load_u32(p), CODEC_MAGIC);
    if (ucb_load_u16(p + 4) != CODEC_VERSION || ucb_load_u16(p + 6) != 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "a coded stream of version %u with required features %x: this "
                        "program reads version %d without any; try the program that wrote "
                        "it, or a newer one",
                        ucb_load_u16(p + 4), ucb_load_u16(p + 6), CODEC_VERSION);
    return UCB_OK;
}

static ucb_status check_sizes(const struct ucb_codec *c, size_t n_bytes, uint64_t n_decoded,
                              struct ucb_err *err)
{
    const struct codec_format *f = &codec_formats[codec_format_of(c->dtype)];
    if (c->format != codec_format_of(c->dtype) || c->n_bytes != n_decoded ||
        n_decoded % f->width != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "a coded stream of format %u that decodes to %llu bytes, expected "
                        "%llu of %s",
                        c->format, (unsigned long long)c->n_bytes,
                        (unsigned long long)n_decoded, ucb_dtype_name(c->dtype));
    uint64_t n = c->n_bytes / f->width, chunk = c->chunk_weights;
    bool sound = c->n_bytes <= CODEC_MOST_BYTES &&
                 (chunk == CODEC_CHUNK_WEIGHTS || chunk == CODEC_MAX_CHUNK_WEIGHTS) &&
                 c->n_tables <= CODEC_MAX_TABLES;
    uint64_t n_chunks = sound ? (n + chunk - 1) / chunk : 0,
             head = CODEC_HEADER_BYTES + n_chunks * CODEC_ENTRY_BYTES + c->table_bytes;
    if (sound && head <= n_bytes) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "a coded stream of %zu bytes says it has %llu weights in chunks of %u "
                    "and %u bytes of %u tables",
                    n_bytes, (unsigned long long)n, c->chunk_weights, c->table_bytes,
                    c->n_tables);
}

/* Chunks end one after the other, the last where the data does; no coder gives a chunk more
 * than its elements take. */
static ucb_status check_index(const struct ucb_codec *c, struct ucb_err *err)
{
    uint64_t coded = 0;
    for (uint32_t i = 0; i < c->n_chunks; i++) {
        uint64_t end = coded_end(c, i), n_bytes = end - coded;
        unsigned coder = c->index[(size_t)i * CODEC_ENTRY_BYTES + 6];
        if (end < coded || n_bytes > ucb_codec_grain(c) || end > c->data_bytes ||
            coder >= N_CODERS)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "entry %u of a coded stream's index: bytes %llu to %llu of %zu "
                            "by coder %u",
                            i, (unsigned long long)coded, (unsigned long long)end,
                            c->data_bytes, coder);
        coded = end;
    }
    if (coded == c->data_bytes) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "the chunks of a coded stream take %llu bytes, found %zu",
                    (unsigned long long)coded, c->data_bytes);
}

ucb_status ucb_codec_open(enum ucb_dtype dtype, uint64_t n_decoded, const uint8_t *bytes,
                          size_t n_bytes, struct ucb_codec *out, struct ucb_err *err)
{
    struct ucb_codec c = {.dtype = dtype, .path = ucb_codec_path_best()};
    UCB_TRY(check_version(bytes, n_bytes, err));
    c.format = bytes[8];
    c.chunk_weights = bytes[9] < 32 ? 1u << bytes[9] : 0;
    c.n_tables = ucb_load_u16(bytes + 10);
    c.n_columns = ucb_load_u32(bytes + 12);
    c.n_bytes = ucb_load_u64(bytes + 16);
    c.table_bytes = ucb_load_u32(bytes + 24);
    UCB_TRY(check_sizes(&c, n_bytes, n_decoded, err));
    uint64_t grain = ucb_codec_grain(&c);
    c.n_chunks = (uint32_t)((c.n_bytes + grain - 1) / grain);
    size_t n_index = (size_t)c.n_chunks * CODEC_ENTRY_BYTES;
    c.index = bytes + CODEC_HEADER_BYTES;
    c.data = c.index + n_index;
    c.tables = bytes + n_bytes - c.table_bytes;
    c.data_bytes = (size_t)(c.tables - c.data);
    if (codec_head_sum(bytes, n_index, c.tables, c.table_bytes) !=
        ucb_load_u64(bytes + CODEC_CHECKED_BYTES))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "the header of a coded stream does not have its checksum");
    UCB_TRY(check_index(&c, err));
    *out = c;
    return UCB_OK;
}

uint64_t ucb_codec_grain(const struct ucb_codec *codec)
{
    return (uint64_t)codec->chunk_weights * codec_formats[codec->format].width;
}

void ucb_codec_split(const struct ucb_codec *codec, struct ucb_codec_split *out)
{
    const struct codec_format *f = &codec_formats[codec->format];
    *out = (struct ucb_codec_split){
        .header = CODEC_CHECKED_BYTES, .checksums = 8, .tables = codec->table_bytes};
    for (uint32_t i = 0; i < codec->n_chunks; i++) {
        struct codec_entry e;
        codec_entry_get(codec, i, &e);
        enum codec_coder coder = (enum codec_coder)e.coder;
        uint64_t raw = coder == CODER_STORED || coder == CODER_CONSTANT
                           ? 0
                           : codec_planes_bytes(codec_planes_of(codec_raw_bits(f, coder)),
                                                e.n);
        uint64_t escapes = 0;
        if (coder == CODER_ENTROPY)
            raw -= codec_carried(codec_planes_of(codec_raw_bits(f, coder)), e.n);
        out->index += CODEC_ENTRY_BYTES - 16;
        out->checksums += 16;
        if (coder == CODER_FAST)
            escapes = e.n_bytes - raw - FAST_TABLE_BYTES - codec_bits_bytes(e.n, FAST_BITS);
        if (coder == CODER_ENTROPY && e.n_bytes >= RANS_HEAD_BYTES)
            escapes = e.n_bytes - RANS_HEAD_BYTES - raw -
                      2 * (uint64_t)ucb_load_u32(codec->data + e.coded + RANS_LANES * 4);
        if (coder == CODER_STORED || coder == CODER_CONSTANT) {
            out->stored += e.n_bytes;
            continue;
        }
        out->raw += raw;
        out->escapes += escapes;
        out->tables += coder == CODER_FAST ? FAST_TABLE_BYTES : 0;
        out->coded += e.n_bytes - raw - escapes -
                      (coder == CODER_FAST ? FAST_TABLE_BYTES : 0);
    }
}
