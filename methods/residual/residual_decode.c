/*
 * residual_decode.c - restoring weights from an open payload: a segment's symbols come
 * class by class, 64 weights at a time.
 */
#include <string.h>

#include "core/clones.h"
#include "residual.h"

static uint32_t disordered(uint32_t t, unsigned width)
{
    uint32_t sign = (uint32_t)1 << (width - 1), all = sign | (sign - 1);
    return t & sign ? t ^ sign : t ^ all;
}

/* z of a symbol, but for the bits that follow it. */
static uint32_t value_of(unsigned symbol)
{
    if (symbol < RESIDUAL_DIRECT) return symbol;
    unsigned high = (symbol - RESIDUAL_DIRECT) / 8 + 5;
    return (8 | (symbol - RESIDUAL_DIRECT) % 8) << (high - 3);
}

struct decode_run {
    const struct residual_state *state;
    const float *before;
    uint8_t *bits;
    size_t start; /* the first weight asked for; `before` and `bits` begin there */
    size_t first; /* segment */
    bool bad;     /* set by any thread */
};

/* What follows a symbol, so that no weight's branches are guessed. */
struct symbol {
    uint32_t value; /* without its raw bits */
    uint32_t n_raw;
};

static void list_symbols(struct symbol out[256])
{
    for (unsigned i = 0; i < 256; i++) {
        unsigned symbol = i < RESIDUAL_SYMBOLS ? i : 0; /* refused elsewhere */
        out[i] = (struct symbol){value_of(symbol), residual_raw_bits(symbol)};
    }
}

/* The raw bits of a segment. */
struct raw_reader {
    const uint8_t *bytes;
    uint64_t n_bytes, at; /* bits taken, maybe of more than there are */
};
enum {
    MOST_RAW_BYTES = RESIDUAL_NEIGHBOURS * 28 / 8 + 8 /* what 64 weights may look at */
};

/* At least 57 bits from where the reader stands; `ample`: there are 8 bytes. */
static inline uint64_t raw_window(const struct raw_reader *in, bool ample)
{
    uint64_t byte = in->at / 8, window = 0;
    if (ample)
        window = ucb_load_u64(in->bytes + byte);
    else if (byte < in->n_bytes)
        memcpy(&window, in->bytes + byte, in->n_bytes - byte < 8 ? in->n_bytes - byte : 8);
    return window >> in->at % 8;
}

/* Whether the bits are used up, but for zeros in the last byte. */
static bool raw_ended(const struct raw_reader *in)
{
    return (in->at + 7) / 8 == in->n_bytes &&
           (in->at % 8 == 0 || in->bytes[in->n_bytes - 1] >> in->at % 8 == 0);
}

/* p of up to 64 weights. */
UCB_CLONES static void round_all(enum ucb_dtype dtype, const float *before, size_t n,
                                 uint32_t *p)
{
    if (dtype == UCB_BF16) {
        for (size_t i = 0; i < n; i++) p[i] = ucb_bf16_from_f32(before[i]);
    } else {
        for (size_t i = 0; i < n; i++) p[i] = residual_rounded(dtype, before[i]);
    }
}

UCB_CLONES static void restore16(const uint32_t *p, const uint32_t *z, size_t n,
                                 uint8_t *bits)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t r = z[i] >> 1 ^ (0 - (z[i] & 1));
        uint16_t v = (uint16_t)disordered((residual_ordered(p[i], 16) + r) & 0xffff, 16);
        memcpy(bits + 2 * i, &v, sizeof(v));
    }
}

UCB_CLONES static void restore32(const uint32_t *p, const uint32_t *z, size_t n,
                                 uint8_t *bits)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t r = z[i] >> 1 ^ (0 - (z[i] & 1));
        uint32_t v = disordered(residual_ordered(p[i], 32) + r, 32);
        memcpy(bits + 4 * i, &v, sizeof(v));
    }
}

static void restore(const struct decode_run *run, size_t first, const uint32_t *z, size_t n)
{
    enum ucb_dtype dtype = run->state->matrix->dtype;
    uint8_t *bits = run->bits + (first - run->start) * (residual_width(dtype) / 8);
    uint32_t p[RESIDUAL_NEIGHBOURS];
    round_all(dtype, run->before + (first - run->start), n, p);
    if (dtype == UCB_F32)
        restore32(p, z, n, bits);
    else
        restore16(p, z, n, bits);
}

/* Where a class has got to in a segment, and where it ends there. */
struct class_reader {
    const uint8_t *at, *end;
};

/* Up to 64 residuals, zigzag; false past the end of a class, of no symbol, or of raw bits
 * that are not there. */
static bool read_residuals(const uint8_t *classes, size_t n, const struct symbol *symbols,
                           struct class_reader *class, struct raw_reader *raw, uint32_t *z)
{
    bool ample = raw->n_bytes >= MOST_RAW_BYTES &&
                 raw->at / 8 <= raw->n_bytes - MOST_RAW_BYTES;
    unsigned largest = 0;
    for (size_t i = 0; i < n; i++) {
        struct class_reader *c = &class[classes[i]];
        if (c->at == c->end) return false;
        unsigned symbol = *c->at++;
        uint64_t window = raw_window(raw, ample);
        z[i] = symbols[symbol].value |
               (uint32_t)(window & (((uint64_t)1 << symbols[symbol].n_raw) - 1));
        raw->at += symbols[symbol].n_raw;
        if (symbol > largest) largest = symbol;
    }
    return largest < RESIDUAL_SYMBOLS && raw->at <= 8 * raw->n_bytes;
}

static bool decode_segment(const struct decode_run *run, size_t segment)
{
    const struct residual_state *s = run->state;
    size_t first = segment * RESIDUAL_SEGMENT,
           end = first + residual_segment_size(s->n, segment);
    const size_t *ends = segment + 1 < s->n_segments ? s->starts[segment + 1] : s->totals;
    struct class_reader class[RESIDUAL_CLASSES];
    struct symbol symbols[256];
    struct raw_reader raw = {.bytes = s->raw[segment],
                             .n_bytes = (uint64_t)(s->raw[segment + 1] - s->raw[segment])};
    list_symbols(symbols);
    for (int c = 0; c < RESIDUAL_CLASSES; c++)
        class[c] = (struct class_reader){s->symbols[c] + s->starts[segment][c],
                                         s->symbols[c] + ends[c]};
    for (size_t group = first; group < end; group += RESIDUAL_NEIGHBOURS) {
        size_t n = end - group < RESIDUAL_NEIGHBOURS ? end - group : RESIDUAL_NEIGHBOURS;
        uint8_t classes[RESIDUAL_NEIGHBOURS];
        uint32_t z[RESIDUAL_NEIGHBOURS];
        residual_classify(run->before + (group - run->start), n, s->by_scale, classes);
        if (!read_residuals(classes, n, symbols, class, &raw, z)) return false;
        restore(run, group, z, n);
    }
    return raw_ended(&raw);
}

static void decode_task(void *context, size_t task)
{
    struct decode_run *run = context;
    if (!decode_segment(run, run->first + task))
        __atomic_store_n(&run->bad, true, __ATOMIC_RELAXED);
}

ucb_status residual_decode(const struct residual_state *s, struct ucb_pool *pool,
                           size_t start, size_t end, const float *before, void *bits,
                           struct ucb_err *err)
{
    struct decode_run run = {.state = s,
                             .before = before,
                             .bits = bits,
                             .start = start,
                             .first = start / RESIDUAL_SEGMENT};
    size_t n_segments = (end + RESIDUAL_SEGMENT - 1) / RESIDUAL_SEGMENT - run.first;
    ucb_parallel_for(pool, n_segments, decode_task, &run);
    if (!run.bad) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the residual does not fit the stages before it; was it written "
                    "with the same method spec?",
                    s->matrix->name);
}
