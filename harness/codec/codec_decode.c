/*
 * codec_decode.c - chunks of a stream back to bytes, see codec.h.
 *
 * A chunk goes by in pieces of 4096 elements, so that everything between the coded bytes
 * and the result stays in the first caches. Four entropy chunks at a time: a rANS step
 * waits for its own look-ups, and other chunks fill the wait.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "core/cpu_level.h"

enum { PIECE_BYTES = CODEC_PIECE * 4, LARGE_BYTES = 8 << 20 };

enum ucb_codec_path ucb_codec_path_best(void)
{
    return ucb_cpu_runs_v4() && __builtin_cpu_supports("avx512vbmi") &&
                   __builtin_cpu_supports("avx512vbmi2")
               ? UCB_CODEC_AVX512
               : UCB_CODEC_SCALAR;
}

/* A chunk on its way. */
struct chunk {
    const struct codec_format *format;
    enum ucb_codec_path path;
    struct codec_entry entry;
    const uint8_t *coded;
    struct codec_planes planes;
    const uint8_t *plane, *ranks; /* ranks: of a fast chunk */
    struct codec_merge merge;
    struct rans_table table;
    struct rans_alias alias;
    struct rans_reader reader;
    uint8_t exponents[RANS_RANKS];
    _Alignas(64) uint8_t symbols[CODEC_PIECE]; /* a store never crosses a line */
    uint32_t slots[RANS_SUM];                  /* where the scalar path is taken */
    size_t at;                                 /* elements done */
    size_t n_carried; /* bytes of the planes that the end states have */
    uint8_t last_bits[CODEC_PIECE];
    /* Where it goes: the part of [first, first + n_bytes) of the array that
     * the chunk has. */
    uint64_t first, n_bytes;
    uint8_t *out;
    struct ucb_mix64_state sum;
};

/* ---- beginning ---- */

static bool find_table(const struct ucb_codec *codec, unsigned index, unsigned n_symbols,
                       struct rans_table *out)
{
    size_t at = 0, n = codec->table_bytes, lengths = codec->n_tables;
    if (index >= codec->n_tables) return false;
    at = TABLE_LENGTH_BYTES * (lengths - 1);
    if (at > n) return false;
    for (unsigned t = 0; t < index; t++)
        at += ucb_load_u16(codec->tables + TABLE_LENGTH_BYTES * t);
    if (index + 1u < codec->n_tables)
        n = at + ucb_load_u16(codec->tables + TABLE_LENGTH_BYTES * index);
    return at <= n && n <= codec->table_bytes &&
           rans_table_get(codec->tables + at, n - at, n_symbols, out);
}

/* The highest exponent that the format has room for. */
static bool exponents_fit(const struct codec_format *f, const uint8_t *exponents, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) bad |= exponents[i] >> f->exponent_bits;
    return bad == 0;
}

static bool begin_fast(struct chunk *c)
{
    size_t n = c->entry.n, planes, head = FAST_TABLE_BYTES;
    if (c->format->exponent_bits == 0 || c->entry.table != 0) return false;
    planes = codec_planes_bytes(c->planes, n);
    head += planes + codec_bits_bytes(n, FAST_BITS);
    if (c->entry.n_bytes < head || c->coded[FAST_ESCAPE] != 0) return false;
    memcpy(c->exponents, c->coded, FAST_TABLE_BYTES);
    c->plane = c->coded + FAST_TABLE_BYTES;
    c->ranks = c->plane + planes;
    c->merge.escape = c->coded + head;
    c->merge.escape_end = c->coded + c->entry.n_bytes;
    return exponents_fit(c->format, c->exponents, FAST_TABLE_BYTES) &&
           exponents_fit(c->format, c->merge.escape, c->entry.n_bytes - head);
}

/* Table and look-ups; the chunk before may have made the same. */
static bool begin_table(const struct ucb_codec *codec, const struct chunk *before,
                        struct chunk *c)
{
    bool narrow = c->format->exponent_bits != 0,
         vectors = narrow && c->path == UCB_CODEC_AVX512;
    bool same = vectors && before != NULL && before->entry.coder == CODER_ENTROPY &&
                before->entry.table == c->entry.table;
    if (same) {
        c->table = before->table;
        c->alias = before->alias;
    } else {
        if (!find_table(codec, c->entry.table, narrow ? RANS_NARROW : RANS_WIDE, &c->table))
            return false;
        if (vectors) rans_alias_make(&c->table, &c->alias);
    }
    if (!vectors || c->entry.n % RANS_LANES != 0) rans_slots_make(&c->table, c->slots);
    memcpy(c->exponents, c->table.exponents, RANS_RANKS);
    return !narrow || exponents_fit(c->format, c->exponents, RANS_RANKS);
}

static bool begin_entropy(const struct ucb_codec *codec, const struct chunk *before,
                          struct chunk *c)
{
    c->n_carried = codec_carried(c->planes, c->entry.n);
    uint64_t planes = codec_planes_bytes(c->planes, c->entry.n) - c->n_carried,
             head = RANS_HEAD_BYTES + planes;
    if (c->entry.n_bytes < head) return false;
    uint64_t n_words = ucb_load_u32(c->coded + RANS_LANES * 4);
    if (2 * n_words > c->entry.n_bytes - head) return false;
    uint64_t n_escapes = c->entry.n_bytes - head - 2 * n_words;
    c->plane = c->coded + RANS_HEAD_BYTES;
    c->merge.escape = c->plane + planes;
    c->merge.escape_end = c->merge.escape + n_escapes;
    if (c->format->exponent_bits == 0
            ? n_escapes != 0
            : !exponents_fit(c->format, c->merge.escape, n_escapes))
        return false;
    return begin_table(codec, before, c) &&
           rans_reader_begin(&c->reader, c->coded, c->merge.escape_end, n_words);
}

/* `before`: the chunk before, begun, or NULL. */
static bool begin_chunk(const struct ucb_codec *codec, uint32_t index,
                        const struct chunk *before, struct chunk *c)
{
    codec_entry_get(codec, index, &c->entry);
    c->format = &codec_formats[codec->format];
    c->path = codec->path;
    c->coded = codec->data + c->entry.coded;
    c->at = 0;
    c->n_carried = 0;
    c->planes = codec_planes_of(
        codec_raw_bits(c->format, (enum codec_coder)c->entry.coder));
    c->merge.exponents = c->exponents;
    c->merge.sum = &c->sum;
    ucb_mix64_begin(&c->sum);
    if (ucb_mix64(c->coded, c->entry.n_bytes) != c->entry.coded_sum) return false;
    switch ((enum codec_coder)c->entry.coder) {
    case CODER_STORED:
        return c->entry.n_bytes == c->entry.n * c->format->width && c->entry.table == 0;
    case CODER_CONSTANT: return c->entry.n_bytes == c->format->width && c->entry.table == 0;
    case CODER_FAST: return begin_fast(c);
    case CODER_ENTROPY: return begin_entropy(codec, before, c);
    default: return c->format->exponent_bits != 0 && c->entry.table == 0;
    }
}

bool codec_begin(const struct ucb_codec *codec, uint32_t index, struct codec_begun *out)
{
    struct ucb_codec scalar = *codec;
    struct chunk c;
    scalar.path = UCB_CODEC_SCALAR;
    if (!begin_chunk(&scalar, index, NULL, &c)) return false;
    *out = (struct codec_begun){.format = c.format,
                                .coder = (enum codec_coder)c.entry.coder,
                                .decoded = c.entry.decoded,
                                .decoded_sum = c.entry.decoded_sum,
                                .n = c.entry.n,
                                .table = c.entry.table,
                                .symbols = c.coded};
    if (out->coder != CODER_FAST && out->coder != CODER_ENTROPY) return true;
    bool fast = out->coder == CODER_FAST;
    out->plane = c.plane;
    out->escape = c.merge.escape;
    out->n_escapes = (uint32_t)(c.merge.escape_end - c.merge.escape);
    memcpy(out->exponents, c.exponents, fast ? FAST_TABLE_BYTES : RANS_RANKS);
    if (fast) {
        out->symbols = c.ranks;
        return true;
    }
    out->words = c.reader.words;
    out->n_words = (uint32_t)((c.reader.words_end - c.reader.words) / 2);
    out->n_carried = (uint32_t)c.n_carried;
    memcpy(out->slots, c.slots, sizeof(out->slots));
    return true;
}

/* ---- pieces ---- */

/* Whether the result is larger than caches: then it goes past them, as memcpy's does. */
static bool is_large(const struct chunk *c)
{
    return c->path == UCB_CODEC_AVX512 && c->n_bytes >= LARGE_BYTES;
}

/* Takes a piece of n elements that are done: into the sum, which has the first n_summed,
 * and to the caller. `piece` may be where they go already. */
static void take_bytes(struct chunk *c, size_t n_summed, size_t n, const uint8_t *piece)
{
    size_t width = c->format->width;
    uint64_t from = c->entry.decoded + c->at * width, to = from + n * width,
             end = c->first + c->n_bytes;
    uint64_t low = from > c->first ? from : c->first, high = to < end ? to : end;
    ucb_mix64_add(&c->sum, piece + n_summed * width, (n - n_summed) * width);
    c->at += n;
    uint8_t *out = c->out + (low - c->first);
    if (low >= high || out == piece + (low - from)) return;
    if (is_large(c))
        codec_copy_past_cache_avx512(out, piece + (low - from), high - low);
    else
        memcpy(out, piece + (low - from), high - low);
}

/* Where a piece of n elements can be made: in the result if all of it is asked for. */
static uint8_t *piece_room(const struct chunk *c, size_t n, uint8_t *own)
{
    uint64_t from = c->entry.decoded + c->at * c->format->width,
             to = from + n * c->format->width;
    bool inside = from >= c->first && to <= c->first + c->n_bytes;
    return inside ? c->out + (from - c->first) : own;
}

/* The bits of a piece of n elements; behind those of the last stand what was carried. */
static const uint8_t *piece_bits(struct chunk *c, size_t n)
{
    const uint8_t *bits = c->plane + codec_planes_bits_at(c->planes, c->entry.n, c->at);
    if (c->n_carried == 0 || c->at + n < c->entry.n) return bits;
    size_t stored = codec_bits_bytes(n, c->planes.bits) - c->n_carried;
    memcpy(c->last_bits, bits, stored);
    memcpy(c->last_bits + stored, c->reader.low, c->n_carried);
    return c->last_bits;
}

/* The reference for the merging of exponents and planes; [done, n) of the piece. */
static bool merge_scalar(struct chunk *c, const uint8_t *bits, size_t done, size_t n,
                         uint8_t *out)
{
    uint32_t turned[CODEC_PIECE];
    bool fast = c->entry.coder == CODER_FAST;
    unsigned raw = codec_raw_bits(c->format, (enum codec_coder)c->entry.coder);
    unsigned escape = fast ? FAST_ESCAPE : RANS_ESCAPE;
    if (fast)
        codec_bits_unpack(c->ranks + (c->at + done) / 8 * FAST_BITS, n - done, FAST_BITS,
                          c->symbols + done);
    codec_planes_get(c->planes, c->entry.n, c->at + done, c->plane,
                     bits + done / 8 * c->planes.bits, n - done, turned);
    for (size_t i = done; i < n; i++) {
        unsigned symbol = c->symbols[i], rank = fast ? symbol : symbol >> 2;
        unsigned exponent = c->exponents[rank];
        if (rank == escape) {
            if (c->merge.escape == c->merge.escape_end) return false;
            exponent = *c->merge.escape++;
        }
        turned[i - done] |= fast ? exponent << raw : (exponent << 2 | (symbol & 3)) << raw;
    }
    codec_turn_back(c->format, turned, n - done, out + done * c->format->width);
    return true;
}

/* As much of a piece as the vectors take, which is in the sum then;
 * *done says how much. */
static bool merge_vector(struct chunk *c, const uint8_t *bits, size_t n, uint8_t *out,
                         size_t *done)
{
    struct codec_merge *m = &c->merge;
    size_t whole = n / CODEC_MERGE * CODEC_MERGE;
    bool fast = c->entry.coder == CODER_FAST, is_bf16 = c->format->exponent_bits == 8;
    *done = 0;
    if (c->path != UCB_CODEC_AVX512 || c->format->width != 2 || (fast && !is_bf16))
        return true;
    *done = whole;
    m->symbols = fast ? c->ranks + c->at / 8 * FAST_BITS : c->symbols;
    m->plane = c->plane + c->at;
    m->bits = bits;
    if (fast) return codec_fast_bf16_avx512(m, whole, out);
    return is_bf16 ? codec_merge_bf16_avx512(m, whole, out)
                   : codec_merge_f16_avx512(m, whole, out);
}

static bool finish_piece(struct chunk *c, size_t n)
{
    uint8_t own[PIECE_BYTES], *out = piece_room(c, n, own);
    size_t done = 0;
    c->merge.past_cache = out != own && is_large(c);
    if (c->entry.coder == CODER_ENTROPY && c->format->exponent_bits == 0) {
        memcpy(out, c->symbols, n);
    } else {
        const uint8_t *bits = piece_bits(c, n);
        if (!merge_vector(c, bits, n, out, &done) ||
            (done < n && !merge_scalar(c, bits, done, n, out)))
            return false;
    }
    take_bytes(c, done, n, out);
    return true;
}

/* As many symbols of a piece of each chunk as vectors take, multiples of 32. */
static bool read_vectors(struct chunk *const *c, unsigned n_chunks, size_t whole)
{
    struct rans_reader *readers[RANS_TOGETHER];
    const struct rans_alias *aliases[RANS_TOGETHER];
    const struct rans_table *tables[RANS_TOGETHER];
    uint8_t *symbols[RANS_TOGETHER];
    bool narrow = c[0]->format->exponent_bits != 0;
    for (unsigned i = 0; i < n_chunks; i++) {
        readers[i] = &c[i]->reader;
        aliases[i] = &c[i]->alias;
        tables[i] = &c[i]->table;
        symbols[i] = c[i]->symbols;
        if (!narrow && !rans_read_wide_avx512(readers[i], c[i]->slots, whole, symbols[i]))
            return false;
    }
    return !narrow || rans_read_avx512(readers, aliases, tables, n_chunks, whole, symbols);
}

/* The symbols of a piece of each chunk. */
static bool read_symbols(struct chunk *const *c, unsigned n_chunks, size_t n)
{
    size_t whole = c[0]->path == UCB_CODEC_AVX512 ? n / RANS_LANES * RANS_LANES : 0;
    if (whole > 0 && !read_vectors(c, n_chunks, whole)) return false;
    for (unsigned i = 0; i < n_chunks; i++)
        if (whole < n &&
            !rans_read(&c[i]->reader, c[i]->slots, n - whole, c[i]->symbols + whole))
            return false;
    return true;
}

static bool ended(const struct chunk *c)
{
    return c->merge.escape == c->merge.escape_end &&
           (c->entry.coder != CODER_ENTROPY || rans_reader_ended(&c->reader, c->n_carried));
}

/* One fast chunk, or some of entropy with equally many elements. */
static bool run_pieces(struct chunk *const *c, unsigned n_chunks)
{
    size_t n = c[0]->entry.n;
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE;
        if (c[0]->entry.coder == CODER_ENTROPY && !read_symbols(c, n_chunks, some))
            return false;
        for (unsigned i = 0; i < n_chunks; i++)
            if (!finish_piece(c[i], some)) return false;
    }
    for (unsigned i = 0; i < n_chunks; i++)
        if (!ended(c[i])) return false;
    return true;
}

static void run_stored(struct chunk *c)
{
    size_t piece = PIECE_BYTES / c->format->width;
    while (c->at < c->entry.n) {
        size_t n = c->entry.n - c->at < piece ? c->entry.n - c->at : piece;
        take_bytes(c, 0, n, c->coded + c->at * c->format->width);
    }
}

static void run_constant(struct chunk *c)
{
    uint8_t element[PIECE_BYTES];
    size_t piece = PIECE_BYTES / c->format->width;
    for (size_t i = 0; i < PIECE_BYTES; i += c->format->width)
        memcpy(element + i, c->coded, c->format->width);
    while (c->at < c->entry.n)
        take_bytes(c, 0, c->entry.n - c->at < piece ? c->entry.n - c->at : piece, element);
}

/* Elements that the mixer decoded get their raw bits. */
static bool take_mixed(void *context, const uint32_t *coded, size_t n)
{
    struct chunk *c = context;
    uint32_t turned[CODEC_PIECE];
    uint8_t own[PIECE_BYTES], *out = piece_room(c, n, own);
    codec_planes_get(c->planes, c->entry.n, c->at, c->plane,
                     c->plane + codec_planes_bits_at(c->planes, c->entry.n, c->at), n,
                     turned);
    for (size_t i = 0; i < n; i++) turned[i] = turned[i] << 1 | coded[i];
    codec_turn_back(c->format, turned, n, out);
    take_bytes(c, 0, n, out);
    return true;
}

static bool run_max(const struct ucb_codec *codec, struct chunk *c)
{
    size_t planes = codec_planes_bytes(c->planes, c->entry.n);
    uint64_t first = c->entry.decoded / c->format->width;
    uint32_t columns = codec->n_columns;
    if (c->entry.n_bytes < planes) return false;
    c->plane = c->coded;
    return codec_mix_decode(c->format, c->coded + planes, c->entry.n_bytes - planes,
                            c->entry.n, columns == 0 ? 0 : (uint32_t)(first % columns),
                            columns, take_mixed, c);
}

static bool run_chunk(const struct ucb_codec *codec, struct chunk *c)
{
    switch ((enum codec_coder)c->entry.coder) {
    case CODER_STORED: run_stored(c); return true;
    case CODER_CONSTANT: run_constant(c); return true;
    case CODER_MAX: return run_max(codec, c);
    default: return run_pieces(&c, 1);
    }
}

/* ---- the array ---- */

struct decode_run {
    const struct ucb_codec *codec;
    uint64_t first, n_bytes;
    uint8_t *out;
    uint32_t first_chunk, end_chunk;
    bool bad; /* set by any thread */
};

static bool is_sound(const struct chunk *c)
{
    return ucb_mix64_end(&c->sum) == c->entry.decoded_sum;
}

static bool begin_all(const struct decode_run *run, uint32_t index, unsigned n,
                      struct chunk *chunks)
{
    for (unsigned i = 0; i < n; i++) {
        chunks[i].first = run->first;
        chunks[i].n_bytes = run->n_bytes;
        chunks[i].out = run->out;
        if (!begin_chunk(run->codec, index + i, i == 0 ? NULL : &chunks[i - 1], &chunks[i]))
            return false;
    }
    return true;
}

static void decode_group(void *context, size_t group)
{
    struct decode_run *run = context;
    struct chunk chunks[RANS_TOGETHER], *all[RANS_TOGETHER];
    uint32_t index = run->first_chunk + RANS_TOGETHER * (uint32_t)group;
    unsigned n = run->end_chunk - index < RANS_TOGETHER ? run->end_chunk - index
                                                        : RANS_TOGETHER;
    bool good = begin_all(run, index, n, chunks), together = n > 1;
    for (unsigned i = 0; good && i < n; i++) {
        all[i] = &chunks[i];
        together &= chunks[i].entry.coder == CODER_ENTROPY &&
                    chunks[i].entry.n == chunks[0].entry.n;
    }
    if (good && together) good = run_pieces(all, n);
    for (unsigned i = 0; good && i < n; i++)
        good = (together || run_chunk(run->codec, &chunks[i])) && is_sound(&chunks[i]);
    if (run->codec->path == UCB_CODEC_AVX512) codec_fence_avx512();
    if (!good) __atomic_store_n(&run->bad, true, __ATOMIC_RELAXED);
}

ucb_status ucb_codec_decode(const struct ucb_codec *codec, uint64_t first, uint64_t n_bytes,
                            struct ucb_pool *pool, void *out, struct ucb_err *err)
{
    uint64_t chunk = ucb_codec_grain(codec);
    struct decode_run run = {
        .codec = codec, .first = first, .n_bytes = n_bytes, .out = out};
    if (first > codec->n_bytes || n_bytes > codec->n_bytes - first)
        return UCB_FAIL(err, UCB_USAGE,
                        "bytes %llu to %llu asked for, the coded array has %llu",
                        (unsigned long long)first, (unsigned long long)first + n_bytes,
                        (unsigned long long)codec->n_bytes);
    if (n_bytes == 0) return UCB_OK;
    run.first_chunk = (uint32_t)(first / chunk);
    run.end_chunk = (uint32_t)((first + n_bytes + chunk - 1) / chunk);
    size_t n_groups = (run.end_chunk - run.first_chunk + RANS_TOGETHER - 1) / RANS_TOGETHER;
    ucb_parallel_for(pool, n_groups, decode_group, &run);
    if (!run.bad) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "the coded bytes of chunks %u to %u do not decode to what was encoded",
                    run.first_chunk, run.end_chunk - 1);
}
