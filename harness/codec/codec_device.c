/* codec_device.c - see codec_device.h. */
#include "codec/codec_device.h"

#include <string.h>

#include "codec/codec_internal.h"

_Static_assert((int)CODEC_PLAN_STORED == (int)CODER_STORED, "one order");
_Static_assert((int)CODEC_PLAN_CONSTANT == (int)CODER_CONSTANT, "one order");
_Static_assert((int)CODEC_PLAN_FAST == (int)CODER_FAST, "one order");
_Static_assert((int)CODEC_PLAN_ENTROPY == (int)CODER_ENTROPY, "one order");
_Static_assert((int)CODEC_PLAN_LANES == (int)RANS_LANES, "one coder");
_Static_assert((int)CODEC_PLAN_SLOTS == (int)RANS_SUM, "one coder");
_Static_assert((int)CODEC_PLAN_START == (int)RANS_START, "one coder");
_Static_assert((int)CODEC_PLAN_FAST_BITS == (int)FAST_BITS, "one coder");
_Static_assert((int)CODEC_PLAN_FAST_ESCAPE == (int)FAST_ESCAPE, "one coder");
_Static_assert((int)CODEC_PLAN_ESCAPE == (int)RANS_ESCAPE, "one coder");

/* The plan while it is made; `own` are decoded chunks, one after the other. */
struct plan {
    const uint8_t *bytes;
    struct codec_plan_chunk *chunks;
    struct codec_plan_table *tables; /* of entropy chunks */
    size_t n_chunks, n_tables, own_bytes;
    struct ucb_arena *scratch;
};

static ucb_status corrupt(uint32_t chunk, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT,
                    "the coded bytes of chunk %u do not decode to what was encoded", chunk);
}

/* Where an entropy chunk's table stands in the plan; seen[] knows those of its stream. */
static uint32_t find_table(struct plan *p, const struct codec_begun *b, uint32_t *seen)
{
    if (seen[b->table] == UINT32_MAX) {
        seen[b->table] = (uint32_t)p->n_tables;
        memcpy(p->tables[p->n_tables++].slot, b->slots, sizeof(b->slots));
    }
    return seen[b->table];
}

static void put_chunk(struct plan *p, const struct codec_begun *b, uint64_t out,
                      uint32_t *seen)
{
    struct codec_plan_chunk *c = &p->chunks[p->n_chunks++];
    *c = (struct codec_plan_chunk){.out = out,
                                   .decoded_sum = b->decoded_sum,
                                   .n = b->n,
                                   .coder = (uint8_t)b->coder,
                                   .width = (uint8_t)b->format->width,
                                   .exponent_bits = (uint8_t)b->format->exponent_bits};
    if (b->coder == CODER_MAX) { /* decoded here: stored from now on */
        c->coder = CODEC_PLAN_STORED;
        c->in_plan = 1;
        c->symbols = p->own_bytes;
        p->own_bytes += (size_t)b->n * b->format->width;
        return;
    }
    c->symbols = (uint64_t)(b->symbols - p->bytes);
    if (b->coder == CODER_STORED || b->coder == CODER_CONSTANT) return;
    c->plane = (uint64_t)(b->plane - p->bytes);
    c->escapes = (uint64_t)(b->escape - p->bytes);
    c->n_escapes = b->n_escapes;
    memcpy(c->exponent, b->exponents, sizeof(c->exponent));
    if (b->coder == CODER_FAST) return;
    c->table = find_table(p, b, seen);
    c->words = (uint64_t)(b->words - p->bytes);
    c->n_words = b->n_words;
    c->n_carried = b->n_carried;
}

static ucb_status add_stream(struct plan *p, const struct ucb_codec_part *part,
                             struct ucb_err *err)
{
    struct codec_begun *begun = UCB_NEW(p->scratch, struct codec_begun, 1);
    uint32_t seen[CODEC_MAX_TABLES + 1];
    if (begun == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to plan a stream");
    memset(seen, 0xff, sizeof(seen));
    for (uint32_t i = 0; i < part->codec->n_chunks; i++) {
        if (!codec_begin(part->codec, i, begun)) return corrupt(i, err);
        put_chunk(p, begun, part->out + begun->decoded, seen);
    }
    return UCB_OK;
}

/* The decoded bytes of chunks of mode max, in the order of add_stream(). */
static ucb_status put_decoded(const struct ucb_codec_part *part, struct ucb_writer *out,
                              struct ucb_err *err)
{
    for (uint32_t i = 0; i < part->codec->n_chunks; i++) {
        struct codec_entry e;
        codec_entry_get(part->codec, i, &e);
        if (e.coder != CODER_MAX) continue;
        size_t n_bytes = (size_t)e.n * codec_formats[part->codec->format].width;
        uint8_t *room = ucb_put_room(out, n_bytes);
        if (room == NULL) return ucb_writer_status(out, err);
        UCB_TRY(ucb_codec_decode(part->codec, e.decoded, n_bytes, NULL, room, err));
    }
    return UCB_OK;
}

/* How many tables and chunks all streams have. */
static size_t count_tables(const struct ucb_codec_part *parts, unsigned n, size_t *n_chunks)
{
    size_t n_tables = 0;
    *n_chunks = 0;
    for (unsigned i = 0; i < n; i++) {
        bool seen[CODEC_MAX_TABLES + 1] = {false};
        *n_chunks += parts[i].codec->n_chunks;
        for (uint32_t k = 0; k < parts[i].codec->n_chunks; k++) {
            struct codec_entry e;
            codec_entry_get(parts[i].codec, k, &e);
            n_tables += e.coder == CODER_ENTROPY && !seen[e.table];
            if (e.coder == CODER_ENTROPY) seen[e.table] = true;
        }
    }
    return n_tables;
}

ucb_status ucb_codec_plan(const struct ucb_codec_part *parts, unsigned n,
                          const uint8_t *bytes, struct ucb_arena *scratch,
                          struct ucb_writer *out, struct ucb_err *err)
{
    struct plan p = {.bytes = bytes, .scratch = scratch};
    size_t n_chunks, n_tables = count_tables(parts, n, &n_chunks);
    p.chunks = UCB_NEW(scratch, struct codec_plan_chunk, n_chunks);
    p.tables = UCB_NEW(scratch, struct codec_plan_table, n_tables);
    if (p.chunks == NULL || p.tables == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to plan %zu chunks", n_chunks);
    for (unsigned i = 0; i < n; i++) UCB_TRY(add_stream(&p, &parts[i], err));
    struct codec_plan_head head = {p.n_chunks, p.n_tables};
    uint64_t own = sizeof(head) + p.n_chunks * sizeof(*p.chunks) +
                   p.n_tables * sizeof(*p.tables);
    for (size_t i = 0; i < p.n_chunks; i++)
        if (p.chunks[i].in_plan) p.chunks[i].symbols += own;
    ucb_put_bytes(out, &head, sizeof(head));
    ucb_put_bytes(out, p.chunks, p.n_chunks * sizeof(*p.chunks));
    ucb_put_bytes(out, p.tables, p.n_tables * sizeof(*p.tables));
    for (unsigned i = 0; i < n; i++) UCB_TRY(put_decoded(&parts[i], out, err));
    return ucb_writer_status(out, err);
}
