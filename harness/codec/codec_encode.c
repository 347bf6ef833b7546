/*
 * codec_encode.c - an array to a stream, see codec.h.
 *
 * Three passes: count (each chunk's exponents and two mantissa bits), choose tables (one of
 * the whole array; a chunk for which its own saves more than it costs brings it), encode.
 * Whatever is decided is decided from counts and sizes, in chunk order.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"

enum { BATCH_BYTES = 2 << 20, N_TOPS = 1024, SUB_COUNTS = 4 };

struct plan {
    uint32_t *counts; /* by the highest bits: exponent and two mantissa bits, or a byte */
    bool constant;
    uint8_t table;
};

struct coded {
    uint8_t *room;
    size_t n_bytes;
    enum codec_coder coder;
    uint64_t decoded_sum, coded_sum;
};

/* One thread's. */
struct workshop {
    uint32_t *turned;
    uint8_t *symbols;
    uint16_t *words;
    uint8_t *mixed;
};

struct encode_run {
    const struct ucb_codec_source *source;
    const struct codec_format *format;
    enum ucb_codec_mode mode;
    enum ucb_codec_path path;
    size_t n, chunk; /* elements, and of a chunk */
    uint32_t n_chunks;
    unsigned n_tops;
    struct plan *plans;
    struct rans_table *tables;
    struct rans_encoder *encoders;
    unsigned n_tables;
    size_t table_share; /* of a chunk in the bytes of the array's table */
    bool any_entropy;
    struct workshop *workshops;
    unsigned n_workers;
    struct coded *coded; /* of a batch */
    uint32_t first;      /* chunk of the batch */
};

static size_t chunk_size(const struct encode_run *run, size_t index)
{
    size_t left = run->n - index * run->chunk;
    return left < run->chunk ? left : run->chunk;
}

static const uint8_t *chunk_data(const struct encode_run *run, size_t index)
{
    return (const uint8_t *)run->source->data + index * run->chunk * run->format->width;
}

/* ---- count ---- */

static void count_chunk(void *context, size_t index)
{
    struct encode_run *run = context;
    unsigned raw = codec_raw_bits(run->format, CODER_ENTROPY);
    uint32_t turned[CODEC_PIECE], counts[SUB_COUNTS][N_TOPS] = {{0}};
    const uint8_t *data = chunk_data(run, index);
    size_t n = chunk_size(run, index), width = run->format->width;
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE, i = 0;
        codec_turn(run->format, data + at * width, some, turned);
        for (; i + SUB_COUNTS <= some; i += SUB_COUNTS) {
            counts[0][turned[i] >> raw]++;
            counts[1][turned[i + 1] >> raw]++;
            counts[2][turned[i + 2] >> raw]++;
            counts[3][turned[i + 3] >> raw]++;
        }
        for (; i < some; i++) counts[0][turned[i] >> raw]++;
    }
    for (unsigned t = 0; t < run->n_tops; t++)
        run->plans[index].counts[t] = counts[0][t] + counts[1][t] + counts[2][t] +
                                      counts[3][t];
    run->plans[index].constant = memcmp(data, data + width, (n - 1) * width) == 0;
}

/* ---- tables ---- */

/* Counts of a table's symbols; an exponent without a rank counts as the escape. */
static void symbol_counts(const struct rans_table *t, const uint32_t *tops, unsigned n_tops,
                          uint32_t counts[RANS_WIDE])
{
    uint8_t rank[N_TOPS / 4];
    memset(counts, 0, RANS_WIDE * sizeof(*counts));
    if (t->n_symbols == RANS_WIDE) {
        memcpy(counts, tops, RANS_WIDE * sizeof(*counts));
        return;
    }
    memset(rank, RANS_ESCAPE, sizeof(rank));
    for (unsigned r = RANS_ESCAPE; r > 0; r--) /* an unused rank has exponent 0, as rank 0
                                                  may: the lowest wins */
        rank[t->exponents[r - 1]] = (uint8_t)(r - 1);
    for (unsigned top = 0; top < n_tops; top++)
        counts[4 * rank[top / 4] + top % 4] += tops[top];
}

/* The n most frequent exponents, most frequent first, of two the lower; 0 where there are
 * fewer. Returns how many there are. */
static unsigned rank_exponents(const uint32_t *tops, unsigned n_tops, unsigned n,
                               uint8_t *exponents)
{
    uint32_t counts[N_TOPS / 4] = {0};
    unsigned found = 0;
    for (unsigned top = 0; top < n_tops; top++) counts[top / 4] += tops[top];
    memset(exponents, 0, n);
    for (; found < n; found++) {
        unsigned best = 0;
        for (unsigned e = 1; e < n_tops / 4; e++)
            if (counts[e] > counts[best]) best = e;
        if (counts[best] == 0) break;
        exponents[found] = (uint8_t)best;
        counts[best] = 0;
    }
    return found;
}

/* Highest first, as a table has them. */
static void sort_falling(uint8_t *exponents, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k > 0 && exponents[k] > exponents[k - 1]; k--) {
            uint8_t lower = exponents[k - 1];
            exponents[k - 1] = exponents[k];
            exponents[k] = lower;
        }
}

static void make_table(const struct encode_run *run, const uint32_t *tops,
                       struct rans_table *out)
{
    uint32_t counts[RANS_WIDE];
    bool narrow = run->format->exponent_bits != 0;
    *out = (struct rans_table){.n_symbols = narrow ? RANS_NARROW : RANS_WIDE};
    if (narrow)
        sort_falling(out->exponents,
                     rank_exponents(tops, run->n_tops, RANS_ESCAPE, out->exponents));
    symbol_counts(out, tops, run->n_tops, counts);
    rans_normalise(counts, out->n_symbols, out->frequency);
}

/* 1/256 bits of a chunk's symbols and escapes. */
static uint64_t table_cost(const struct encode_run *run, const struct rans_table *t,
                           const uint32_t *tops)
{
    uint32_t counts[RANS_WIDE];
    uint64_t escapes = 0;
    symbol_counts(t, tops, run->n_tops, counts);
    if (t->n_symbols == RANS_NARROW)
        for (unsigned m = 0; m < 4; m++) escapes += counts[4 * RANS_ESCAPE + m];
    uint64_t cost = rans_cost(t, counts);
    return cost == UINT64_MAX ? cost : cost + escapes * (8 << 8);
}

static void choose_tables(struct encode_run *run)
{
    uint32_t total[N_TOPS] = {0};
    for (uint32_t c = 0; c < run->n_chunks; c++)
        for (unsigned t = 0; t < run->n_tops; t++) total[t] += run->plans[c].counts[t];
    make_table(run, total, &run->tables[0]);
    run->n_tables = 1;
    run->table_share = rans_table_bytes(&run->tables[0]) / run->n_chunks;
    for (uint32_t c = 0; c < run->n_chunks; c++) {
        struct rans_table own;
        uint64_t best = UINT64_MAX;
        for (unsigned t = 0; t < run->n_tables; t++) {
            uint64_t cost = table_cost(run, &run->tables[t], run->plans[c].counts);
            if (cost >= best) continue;
            best = cost;
            run->plans[c].table = (uint8_t)t;
        }
        if (run->n_tables == CODEC_MAX_TABLES) continue;
        make_table(run, run->plans[c].counts, &own);
        uint64_t cost = table_cost(run, &own, run->plans[c].counts) +
                        ((TABLE_LENGTH_BYTES + rans_table_bytes(&own)) * 8 << 8);
        if (cost >= best) continue;
        run->plans[c].table = (uint8_t)run->n_tables;
        run->tables[run->n_tables++] = own;
    }
}

/* ---- encode ---- */

static void start_states(const uint8_t *carried, size_t n_carried,
                         uint32_t states[RANS_LANES])
{
    uint16_t low[RANS_LANES] = {0};
    memcpy(low, carried, n_carried);
    for (unsigned i = 0; i < RANS_LANES; i++) states[i] = RANS_START | low[i];
}

/* The symbol of the highest bits of each element, by table. */
static void list_symbols(const struct rans_table *t, unsigned n_tops,
                         uint8_t symbol_of[N_TOPS])
{
    bool wide = t->n_symbols == RANS_WIDE;
    for (unsigned top = 0; top < n_tops; top++)
        symbol_of[top] = (uint8_t)(wide ? top : 4 * RANS_ESCAPE + top % 4);
    for (unsigned r = wide ? 0 : RANS_ESCAPE; r > 0; r--)
        for (unsigned m = 0; m < 4; m++)
            symbol_of[4 * t->exponents[r - 1] + m] = (uint8_t)(4 * (r - 1) + m);
}

static size_t encode_entropy(const struct encode_run *run, const struct workshop *shop,
                             size_t index, uint8_t *out)
{
    const struct rans_table *t = &run->tables[run->plans[index].table];
    unsigned raw = codec_raw_bits(run->format, CODER_ENTROPY);
    struct codec_planes planes = codec_planes_of(raw);
    size_t n = chunk_size(run, index);
    const uint8_t *data = chunk_data(run, index);
    size_t n_carried = codec_carried(planes, n);
    uint8_t *plane = out + RANS_HEAD_BYTES,
            *escapes = plane + codec_planes_bytes(planes, n),
            *carried = escapes - n_carried;
    uint8_t *escape = escapes, symbol_of[N_TOPS];
    list_symbols(t, run->n_tops, symbol_of);
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE;
        uint32_t *turned = shop->turned;
        uint8_t *symbols = shop->symbols + at;
        codec_turn(run->format, data + at * run->format->width, some, turned);
        for (size_t i = 0; i < some; i++) symbols[i] = symbol_of[turned[i] >> raw];
        if (t->n_symbols == RANS_WIDE) continue;
        codec_planes_put(planes, n, at, turned, some, plane);
        for (size_t i = 0; i < some; i++) { /* written always, kept where it is one */
            *escape = (uint8_t)(turned[i] >> (raw + 2));
            escape += symbols[i] >= 4 * RANS_ESCAPE;
        }
    }
    uint32_t states[RANS_LANES];
    uint16_t *end = shop->words + n + RANS_LANES;
    start_states(carried, n_carried, states);
    size_t n_escapes = (size_t)(escape - escapes);
    memmove(carried, escapes, n_escapes);
    size_t n_words = rans_encode(&run->encoders[run->plans[index].table], run->path,
                                 shop->symbols, n, end, states);
    uint32_t words = (uint32_t)n_words;
    memcpy(out, states, sizeof(states));
    memcpy(out + sizeof(states), &words, sizeof(words));
    memcpy(carried + n_escapes, end - n_words, 2 * n_words);
    return (size_t)(carried - out) + n_escapes + 2 * n_words;
}

/* Bytes that encode_fast would write. */
static size_t fast_bytes(const struct encode_run *run, size_t index, uint8_t *exponents)
{
    const uint32_t *tops = run->plans[index].counts;
    struct codec_planes planes = codec_planes_of(codec_raw_bits(run->format, CODER_FAST));
    size_t n = chunk_size(run, index), ranked = 0;
    unsigned found = rank_exponents(tops, run->n_tops, FAST_ESCAPE, exponents);
    for (unsigned r = 0; r < found; r++)
        for (unsigned m = 0; m < 4; m++) ranked += tops[4 * exponents[r] + m];
    return FAST_TABLE_BYTES + codec_planes_bytes(planes, n) +
           codec_bits_bytes(n, FAST_BITS) + (n - ranked);
}

static size_t encode_fast(const struct encode_run *run, const struct workshop *shop,
                          size_t index, const uint8_t *exponents, uint8_t *out)
{
    unsigned raw = codec_raw_bits(run->format, CODER_FAST);
    struct codec_planes planes = codec_planes_of(raw);
    size_t n = chunk_size(run, index);
    uint8_t *plane = out + FAST_TABLE_BYTES, *ranks = plane + codec_planes_bytes(planes, n);
    uint8_t *escape = ranks + codec_bits_bytes(n, FAST_BITS), rank_of[N_TOPS / 4];
    memset(rank_of, FAST_ESCAPE, sizeof(rank_of));
    for (unsigned r = FAST_ESCAPE; r > 0; r--) rank_of[exponents[r - 1]] = (uint8_t)(r - 1);
    memcpy(out, exponents, FAST_ESCAPE);
    out[FAST_ESCAPE] = 0;
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE;
        uint32_t *turned = shop->turned;
        codec_turn(run->format, chunk_data(run, index) + at * run->format->width, some,
                   turned);
        codec_planes_put(planes, n, at, turned, some, plane);
        for (size_t i = 0; i < some; i++) {
            uint8_t exponent = (uint8_t)(turned[i] >> raw);
            shop->symbols[i] = rank_of[exponent];
            if (rank_of[exponent] == FAST_ESCAPE) *escape++ = exponent;
        }
        codec_bits_pack(shop->symbols, some, FAST_BITS, ranks + at / 8 * FAST_BITS);
    }
    return (size_t)(escape - out);
}

/* The raw bits, then what the mixer codes. */
static size_t encode_max(const struct encode_run *run, const struct workshop *shop,
                         size_t index, uint8_t *out, size_t limit)
{
    struct codec_planes planes = codec_planes_of(codec_raw_bits(run->format, CODER_MAX));
    uint32_t raw[CODEC_PIECE], columns = run->source->n_columns;
    size_t n = chunk_size(run, index), first = index * run->chunk;
    codec_turn(run->format, chunk_data(run, index), n, shop->turned);
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE;
        for (size_t i = 0; i < some; i++) raw[i] = shop->turned[at + i] >> 1;
        codec_planes_put(planes, n, at, raw, some, out);
    }
    size_t head = codec_planes_bytes(planes, n);
    if (head > limit) return limit + 1;
    return head + codec_mix_encode(run->format, shop->turned, n,
                                   columns == 0 ? 0 : (uint32_t)(first % columns), columns,
                                   out + head, limit - head);
}

/* The smallest of what the mode allows; the first tried is the fastest to decode. */
static void encode_chunk(void *context, size_t slot, unsigned worker)
{
    struct encode_run *run = context;
    const struct workshop *shop = &run->workshops[worker];
    size_t index = run->first + slot, n = chunk_size(run, index),
           n_bytes = n * run->format->width;
    struct coded *c = &run->coded[slot];
    bool fields = run->format->exponent_bits != 0;
    uint8_t exponents[FAST_ESCAPE];
    c->decoded_sum = ucb_mix64(chunk_data(run, index), n_bytes);
    c->coder = CODER_STORED;
    c->n_bytes = n_bytes;
    if (run->plans[index].constant && n > 1) {
        c->coder = CODER_CONSTANT;
        c->n_bytes = run->format->width;
    } else if (fields && fast_bytes(run, index, exponents) < c->n_bytes) {
        c->coder = CODER_FAST;
        c->n_bytes = fast_bytes(run, index, exponents);
    }
    if (c->coder != CODER_CONSTANT && run->mode != UCB_CODEC_FAST) {
        size_t size = encode_entropy(run, shop, index, c->room);
        if (size + run->table_share < c->n_bytes)
            c->coder = CODER_ENTROPY, c->n_bytes = size;
    }
    if (c->coder != CODER_CONSTANT && run->mode == UCB_CODEC_MAX && fields) {
        size_t size = encode_max(run, shop, index, shop->mixed, c->n_bytes - 1);
        if (size < c->n_bytes) {
            c->coder = CODER_MAX, c->n_bytes = size;
            memcpy(c->room, shop->mixed, size);
        }
    }
    if (c->coder == CODER_STORED || c->coder == CODER_CONSTANT)
        memcpy(c->room, chunk_data(run, index), c->n_bytes);
    if (c->coder == CODER_FAST) encode_fast(run, shop, index, exponents, c->room);
    c->coded_sum = ucb_mix64(c->room, c->n_bytes);
}

/* Bytes that a chunk never passes while it is being tried. */
static size_t chunk_room(const struct encode_run *run)
{
    return chunk_size(run, 0) * (run->format->width + 3) + 4096;
}

static uint32_t batch_size(const struct encode_run *run)
{
    size_t n = BATCH_BYTES / (run->chunk * run->format->width);
    if (n < 4 * run->n_workers) n = 4 * run->n_workers;
    return n > run->n_chunks ? run->n_chunks : (uint32_t)n;
}

static ucb_status set_up(struct encode_run *run, struct ucb_arena *scratch,
                         struct ucb_err *err)
{
    uint32_t batch = batch_size(run);
    size_t chunk = chunk_size(run, 0), room = chunk_room(run),
           n = run->mode == UCB_CODEC_MAX ? chunk : CODEC_PIECE;
    size_t n_tables = run->mode == UCB_CODEC_FAST ? 0 : (size_t)run->n_chunks + 1;
    bool good = true;
    if (n_tables > CODEC_MAX_TABLES) n_tables = CODEC_MAX_TABLES;
    run->plans = UCB_NEW(scratch, struct plan, run->n_chunks);
    run->tables = UCB_NEW(scratch, struct rans_table, n_tables);
    run->encoders = UCB_NEW(scratch, struct rans_encoder, n_tables);
    run->workshops = UCB_NEW(scratch, struct workshop, run->n_workers);
    run->coded = UCB_NEW(scratch, struct coded, batch);
    if (run->plans == NULL || run->tables == NULL || run->encoders == NULL ||
        run->workshops == NULL || run->coded == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to encode %u chunks", run->n_chunks);
    for (uint32_t i = 0; i < run->n_chunks; i++)
        good &= (run->plans[i].counts = UCB_NEW(scratch, uint32_t, run->n_tops)) != NULL;
    for (unsigned i = 0; i < run->n_workers; i++) {
        struct workshop *w = &run->workshops[i];
        good &= (w->turned = UCB_NEW(scratch, uint32_t, n)) != NULL;
        good &= (w->symbols = UCB_NEW(scratch, uint8_t, chunk)) != NULL;
        good &= (w->words = UCB_NEW(scratch, uint16_t, chunk + 2 * RANS_LANES)) != NULL;
        if (run->mode == UCB_CODEC_MAX)
            good &= (w->mixed = ucb_arena_alloc(scratch, room)) != NULL;
    }
    for (uint32_t i = 0; i < batch; i++)
        good &= (run->coded[i].room = ucb_arena_alloc(scratch, room)) != NULL;
    if (good) return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "no memory to encode chunks of %zu weights", chunk);
}

/* ---- the stream ---- */

/* `end`: where the chunk's coded bytes end. */
static void put_entry(const struct encode_run *run, uint32_t index, const struct coded *c,
                      uint64_t end, uint8_t *entry)
{
    unsigned table = c->coder == CODER_ENTROPY ? run->plans[index].table : 0;
    uint64_t word = end | (uint64_t)c->coder << 48 | (uint64_t)table << 56;
    memcpy(entry, &word, 8);
    memcpy(entry + 8, &c->decoded_sum, 8);
    memcpy(entry + 16, &c->coded_sum, 8);
}

/* Lengths of all but the last, then the tables; none where no chunk has come to use one. */
static void put_tables(struct encode_run *run, struct ucb_writer *out)
{
    uint8_t bytes[RANS_TABLE_MOST];
    ucb_part(out, UCB_PART_TABLES);
    if (!run->any_entropy) run->n_tables = 0;
    for (unsigned t = 0; t + 1 < run->n_tables; t++)
        ucb_put_u16(out, (uint16_t)rans_table_bytes(&run->tables[t]));
    for (unsigned t = 0; t < run->n_tables; t++)
        ucb_put_bytes(out, bytes, rans_table_put(&run->tables[t], bytes));
}

static void put_header(const struct encode_run *run, size_t table_bytes, uint8_t *p)
{
    uint32_t magic = CODEC_MAGIC, tables = (uint32_t)table_bytes;
    uint16_t version = CODEC_VERSION, n_tables = (uint16_t)run->n_tables;
    memset(p, 0, CODEC_CHECKED_BYTES);
    memcpy(p, &magic, 4);
    memcpy(p + 4, &version, 2);
    p[8] = codec_format_of(run->source->dtype);
    p[9] = (uint8_t)__builtin_ctzll(run->chunk);
    memcpy(p + 10, &n_tables, 2);
    memcpy(p + 12, &run->source->n_columns, 4);
    memcpy(p + 16, &run->source->n_bytes, 8);
    memcpy(p + 24, &tables, 4);
}

/* Chunks a batch at a time, behind what is already there; entries go to `index`. */
static void put_chunks(struct encode_run *run, struct ucb_pool *pool, size_t index,
                       struct ucb_writer *out)
{
    uint64_t at = 0;
    uint32_t batch = batch_size(run);
    ucb_part(out, UCB_PART_CODES);
    for (run->first = 0; run->first < run->n_chunks; run->first += batch) {
        uint32_t n = run->n_chunks - run->first < batch ? run->n_chunks - run->first
                                                        : batch;
        ucb_parallel_workers(pool, n, encode_chunk, run);
        for (uint32_t i = 0; i < n; i++) {
            ucb_put_bytes(out, run->coded[i].room, run->coded[i].n_bytes);
            if (out->failed) return;
            at += run->coded[i].n_bytes;
            put_entry(run, run->first + i, &run->coded[i], at,
                      out->data + index + (size_t)(run->first + i) * CODEC_ENTRY_BYTES);
            run->any_entropy |= run->coded[i].coder == CODER_ENTROPY;
        }
    }
}

static ucb_status put_stream(struct encode_run *run, struct ucb_pool *pool,
                             struct ucb_writer *out, struct ucb_err *err)
{
    size_t start = out->n_bytes, n_index = (size_t)run->n_chunks * CODEC_ENTRY_BYTES;
    ucb_part(out, UCB_PART_HEADER);
    ucb_put_room(out, CODEC_HEADER_BYTES + n_index);
    put_chunks(run, pool, start + CODEC_HEADER_BYTES, out);
    size_t tables = out->n_bytes;
    put_tables(run, out);
    if (out->failed) return ucb_writer_status(out, err);
    uint8_t *p = out->data + start;
    put_header(run, out->n_bytes - tables, p);
    uint64_t sum = codec_head_sum(p, n_index, out->data + tables, out->n_bytes - tables);
    memcpy(p + CODEC_CHECKED_BYTES, &sum, sizeof(sum));
    return UCB_OK;
}

ucb_status ucb_codec_encode(const struct ucb_codec_source *source, enum ucb_codec_mode mode,
                            struct ucb_pool *pool, struct ucb_arena *scratch,
                            struct ucb_writer *out, struct ucb_err *err)
{
    const struct codec_format *format = &codec_formats[codec_format_of(source->dtype)];
    struct encode_run run = {
        .source = source, .format = format, .mode = mode, .path = ucb_codec_path_best()};
    if (source->n_bytes % format->width != 0)
        return UCB_FAIL(err, UCB_USAGE, "%llu bytes are not whole elements of %s",
                        (unsigned long long)source->n_bytes, ucb_dtype_name(source->dtype));
    run.n = source->n_bytes / format->width;
    run.chunk = mode == UCB_CODEC_MAX ? CODEC_MAX_CHUNK_WEIGHTS : CODEC_CHUNK_WEIGHTS;
    size_t n_chunks = (run.n + run.chunk - 1) / run.chunk;
    if (source->n_bytes > CODEC_MOST_BYTES)
        return UCB_FAIL(err, UCB_USAGE, "%llu bytes are more than a stream holds",
                        (unsigned long long)source->n_bytes);
    run.n_chunks = (uint32_t)n_chunks;
    run.n_tops = format->exponent_bits == 0 ? RANS_WIDE : 4u << format->exponent_bits;
    run.n_workers = pool == NULL ? 1 : ucb_pool_threads(pool);
    UCB_TRY(set_up(&run, scratch, err));
    if (run.n_chunks > 0) {
        ucb_parallel_for(pool, run.n_chunks, count_chunk, &run);
        if (mode != UCB_CODEC_FAST) choose_tables(&run);
        for (unsigned t = 0; t < run.n_tables; t++)
            rans_encoder_make(&run.tables[t], &run.encoders[t]);
    }
    return put_stream(&run, pool, out, err);
}
