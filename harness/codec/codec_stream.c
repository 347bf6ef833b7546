/*
 * codec_stream.c - header and index of a stream: read strictly, before anything is
 * believed. The index must cover the array and the coded bytes without gap or overlap, so a
 * chunk can name nothing outside.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"

uint64_t codec_head_sum(const uint8_t *p, size_t n_following)
{
    return ucb_mix64(p, CODEC_CHECKED_BYTES) +
           3 * ucb_mix64(p + CODEC_HEADER_BYTES, n_following);
}

void codec_entry_get(const struct ucb_codec *codec, uint32_t index, struct codec_entry *out)
{
    const uint8_t *p = codec->index + (size_t)index * CODEC_ENTRY_BYTES;
    assert(index < codec->n_chunks);
    out->decoded = ucb_load_u64(p);
    out->coded = ucb_load_u64(p + 8);
    out->n_bytes = ucb_load_u32(p + 16);
    out->n = ucb_load_u32(p + 20);
    out->coder = p[24];
    out->table = p[25];
    out->decoded_sum = ucb_load_u64(p + 28);
    out->coded_sum = ucb_load_u64(p + 36);
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
                        "program reads version %d without any; try a newer one",
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
    bool sound = (chunk == CODEC_CHUNK_WEIGHTS || chunk == CODEC_MAX_CHUNK_WEIGHTS) &&
                 c->n_chunks == (n + chunk - 1) / chunk;
    uint64_t head = CODEC_HEADER_BYTES + (uint64_t)c->n_chunks * CODEC_ENTRY_BYTES +
                    c->table_bytes;
    if (sound && head <= n_bytes) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "a coded stream of %zu bytes says it has %u chunks of %u weights and "
                    "%u bytes of tables for %llu weights",
                    n_bytes, c->n_chunks, c->chunk_weights, c->table_bytes,
                    (unsigned long long)n);
}

static ucb_status check_entry(const struct ucb_codec *c, uint32_t i, uint64_t coded,
                              struct ucb_err *err)
{
    struct codec_entry e;
    unsigned width = codec_formats[c->format].width;
    uint64_t decoded = (uint64_t)i * c->chunk_weights * width, left = c->n_bytes - decoded,
             whole = (uint64_t)c->chunk_weights * width;
    codec_entry_get(c, i, &e);
    const uint8_t *spare = c->index + (size_t)i * CODEC_ENTRY_BYTES + 26;
    if (e.decoded == decoded && e.coded == coded && e.n_bytes <= c->data_bytes - coded &&
        e.n == (left < whole ? left : whole) / width && e.coder < N_CODERS &&
        (spare[0] | spare[1]) == 0)
        return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "entry %u of a coded stream's index: %u weights at byte %llu in %u bytes "
        "at %llu by coder %u, expected byte %llu and at %llu",
        i, e.n, (unsigned long long)e.decoded, e.n_bytes, (unsigned long long)e.coded,
        e.coder, (unsigned long long)decoded, (unsigned long long)coded);
}

static ucb_status check_index(const struct ucb_codec *c, struct ucb_err *err)
{
    uint64_t coded = 0;
    for (uint32_t i = 0; i < c->n_chunks; i++) {
        UCB_TRY(check_entry(c, i, coded, err));
        coded += ucb_load_u32(c->index + (size_t)i * CODEC_ENTRY_BYTES + 16);
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
    c.n_columns = ucb_load_u32(bytes + 12);
    c.n_bytes = ucb_load_u64(bytes + 16);
    c.n_chunks = ucb_load_u32(bytes + 24);
    c.table_bytes = ucb_load_u32(bytes + 28);
    c.chunk_weights = ucb_load_u32(bytes + 32);
    UCB_TRY(check_sizes(&c, n_bytes, n_decoded, err));
    size_t n_index = (size_t)c.n_chunks * CODEC_ENTRY_BYTES;
    c.index = bytes + CODEC_HEADER_BYTES;
    c.tables = c.index + n_index;
    c.data = c.tables + c.table_bytes;
    c.data_bytes = (size_t)(bytes + n_bytes - c.data);
    if (codec_head_sum(bytes, n_index + c.table_bytes) !=
        ucb_load_u64(bytes + CODEC_CHECKED_BYTES))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "the header of a coded stream does not have its checksum");
    if ((bytes[9] | bytes[10] | bytes[11] | bytes[36] | bytes[37] | bytes[38] |
         bytes[39]) != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "unused bytes of a coded stream's header");
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
        out->index += CODEC_ENTRY_BYTES - 16;
        out->checksums += 16;
        if (coder == CODER_FAST)
            escapes = e.n_bytes - raw - FAST_TABLE_BYTES - codec_bits_bytes(e.n, FAST_BITS);
        if (coder == CODER_ENTROPY && e.n_bytes >= RANS_HEAD_BYTES)
            escapes = ucb_load_u32(codec->data + e.coded + RANS_LANES * 4 + 4);
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
