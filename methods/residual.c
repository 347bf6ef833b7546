/*
 * residual - what the stages before left out, exactly: behind it the chain restores every
 * bit of the source.
 *
 *     p = the decode so far, rounded to the source's dtype
 *     t(v) = v with all bits turned where the sign is set, else with the sign set: a larger
 *            number has a larger t
 *     r = t(w) - t(p) mod 2^W, z = zigzag(r);  w = t^-1(t(p) + r)
 *
 * z below 32 is a symbol of its own; above, its length and the three bits behind the
 * highest one are, and the others follow as they are. With context=scale weights are sorted
 * into eight classes by how far the exponent of p lies below the largest of its 64
 * neighbours: a step of a block's grid is that many units in the last place. Each class has
 * its own rANS stream.
 *
 * Payload, S segments of 65536 weights: S times { raw bytes u32, weights of classes 0 to 7
 * u32 }; eight lengths u64; eight codec streams, class by class in flat order; the raw bits
 * of each segment, lowest first, padded to a byte.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_device.h"
#include "core/clones.h"
#include "core/half.h"
#include "method/payload.h"
#include "residual/residual_plan.h"

enum {
    N_CLASSES = RESIDUAL_CLASSES,
    SEGMENT = RESIDUAL_SEGMENT,
    NEIGHBOURS = RESIDUAL_NEIGHBOURS,
    DIRECT = RESIDUAL_DIRECT,
    HEAD_WORDS = 1 + N_CLASSES
};

static const char *const coders[] = {"rans", NULL};
static const char *const contexts[] = {"none", "scale", NULL};
static const struct ucb_knob knobs[] = {
    {"coder", "rans: entropy-coded", "rans", UCB_KNOB_CHOICE, 0, 0, coders},
    {"context", "scale: by the size of p in its neighbourhood; none: one table", "scale",
     UCB_KNOB_CHOICE, 0, 0, contexts},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    return source == UCB_F16 || source == UCB_BF16 ? source : UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return 0; /* the announcement counts the code only */
}

/* ---- both ways ---- */

static unsigned width_of(enum ucb_dtype dtype)
{
    return dtype == UCB_F32 ? 32 : 16;
}

static uint32_t load(enum ucb_dtype dtype, const uint8_t *bits, size_t i)
{
    return dtype == UCB_F32 ? ucb_load_u32(bits + 4 * i) : ucb_load_u16(bits + 2 * i);
}

static uint32_t rounded(enum ucb_dtype dtype, float x)
{
    return dtype == UCB_F32   ? ucb_f32_bits(x)
           : dtype == UCB_F16 ? ucb_f16_from_f32(x)
                              : ucb_bf16_from_f32(x);
}

static uint32_t ordered(uint32_t v, unsigned width)
{
    uint32_t sign = (uint32_t)1 << (width - 1), all = sign | (sign - 1);
    return v & sign ? v ^ all : v | sign;
}

static uint32_t disordered(uint32_t t, unsigned width)
{
    uint32_t sign = (uint32_t)1 << (width - 1), all = sign | (sign - 1);
    return t & sign ? t ^ sign : t ^ all;
}

static uint32_t magnitude(float x)
{
    return ucb_f32_bits(x) & 0x7fffffff;
}

/* Classes of up to 64 neighbours, the first of which stands at a multiple of 64. */
UCB_CLONES static void classify(const float *p, size_t n, bool by_scale, uint8_t *classes)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++)
        if (magnitude(p[i]) > largest) largest = magnitude(p[i]);
    for (size_t i = 0; i < n; i++) {
        uint32_t below = (largest >> 23) - (magnitude(p[i]) >> 23);
        classes[i] = !by_scale ? 0 : below < N_CLASSES ? (uint8_t)below : N_CLASSES - 1;
    }
}

/* z of 32 and more: bits that follow the symbol. */
static unsigned raw_bits(unsigned symbol)
{
    return symbol < DIRECT ? 0 : (symbol - DIRECT) / 8 + 2;
}

static unsigned symbol_of(uint32_t z)
{
    if (z < DIRECT) return z;
    unsigned high = 31 - (unsigned)__builtin_clz(z); /* 5 to 31 */
    return DIRECT + (high - 5) * 8 + (z >> (high - 3) & 7);
}

/* z of a symbol, but for the bits that follow it. */
static uint32_t value_of(unsigned symbol)
{
    if (symbol < DIRECT) return symbol;
    unsigned high = (symbol - DIRECT) / 8 + 5;
    return (8 | (symbol - DIRECT) % 8) << (high - 3);
}

/* ---- encode ---- */

struct encode_run {
    const struct ucb_source *src;
    size_t n;
    bool by_scale;
    uint8_t *symbols, *classes; /* [n] */
    uint8_t *raw;               /* a segment's at its first weight times 4 */
    uint32_t (*heads)[HEAD_WORDS];
    size_t (*starts)[N_CLASSES]; /* of a segment, in the classes' streams */
    uint8_t *sorted[N_CLASSES];
};

static size_t segment_size(size_t n, size_t segment)
{
    return n - segment * SEGMENT < SEGMENT ? n - segment * SEGMENT : SEGMENT;
}

static uint32_t difference(const struct encode_run *run, size_t i)
{
    enum ucb_dtype dtype = run->src->matrix->dtype;
    unsigned width = width_of(dtype);
    uint32_t mask = (uint32_t)(((uint64_t)1 << width) - 1),
             sign = (uint32_t)1 << (width - 1);
    uint32_t r = (ordered(load(dtype, run->src->bits, i), width) -
                  ordered(rounded(dtype, run->src->before[i]), width)) &
                 mask;
    return (r << 1 ^ (r & sign ? mask : 0)) & mask;
}

static void encode_segment(void *context, size_t segment)
{
    struct encode_run *run = context;
    size_t first = segment * SEGMENT, end = first + segment_size(run->n, segment);
    uint8_t *out = run->raw + 4 * first;
    uint64_t pending = 0;
    unsigned n_pending = 0;
    for (size_t at = first; at < end; at += NEIGHBOURS)
        classify(run->src->before + at, end - at < NEIGHBOURS ? end - at : NEIGHBOURS,
                 run->by_scale, run->classes + at);
    for (size_t i = first; i < end; i++) {
        uint32_t z = difference(run, i);
        unsigned symbol = symbol_of(z), n_raw = raw_bits(symbol);
        run->symbols[i] = (uint8_t)symbol;
        run->heads[segment][1 + run->classes[i]]++;
        pending |= (uint64_t)(z & (((uint32_t)1 << n_raw) - 1)) << n_pending;
        for (n_pending += n_raw; n_pending >= 8; n_pending -= 8, pending >>= 8)
            *out++ = (uint8_t)pending;
    }
    if (n_pending > 0) *out++ = (uint8_t)pending;
    run->heads[segment][0] = (uint32_t)(out - (run->raw + 4 * first));
}

static void sort_segment(void *context, size_t segment)
{
    struct encode_run *run = context;
    size_t first = segment * SEGMENT, end = first + segment_size(run->n, segment),
           at[N_CLASSES];
    memcpy(at, run->starts[segment], sizeof(at));
    for (size_t i = first; i < end; i++) {
        unsigned c = run->classes[i];
        run->sorted[c][at[c]++] = run->symbols[i];
    }
}

static ucb_status put_all(struct ucb_job *job, const struct encode_run *run,
                          size_t n_segments, const size_t *totals, struct ucb_writer *out,
                          struct ucb_err *err)
{
    ucb_part(out, UCB_PART_HEADER);
    ucb_put_bytes(out, run->heads, n_segments * sizeof(*run->heads));
    size_t lengths_at = out->n_bytes;
    for (int c = 0; c < N_CLASSES; c++) ucb_put_u64(out, 0);
    for (int c = 0; c < N_CLASSES; c++) {
        struct ucb_codec_source source = {
            .dtype = UCB_U8, .data = run->sorted[c], .n_bytes = totals[c]};
        size_t start = out->n_bytes;
        UCB_TRY(ucb_codec_encode(&source, UCB_CODEC_DEFAULT, job->pool, job->scratch, out,
                                 err));
        if (out->failed) return ucb_writer_status(out, err);
        uint64_t length = out->n_bytes - start;
        memcpy(out->data + lengths_at + c * sizeof(length), &length, sizeof(length));
    }
    ucb_part(out, UCB_PART_CODES);
    for (size_t s = 0; s < n_segments; s++)
        ucb_put_bytes(out, run->raw + 4 * s * SEGMENT, run->heads[s][0]);
    return ucb_writer_status(out, err);
}

static ucb_status check_dtype(const struct ucb_matrix *m, struct ucb_err *err)
{
    if (m->dtype == UCB_BF16 || m->dtype == UCB_F16 || m->dtype == UCB_F32) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: weights are %s, residual restores BF16, F16 and F32; try lossless",
                    m->name, ucb_dtype_name(m->dtype));
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    struct encode_run run = {.src = src,
                             .n = ucb_matrix_weights(src->matrix),
                             .by_scale = ucb_job_value(job, "context") != 0};
    size_t n_segments = (run.n + SEGMENT - 1) / SEGMENT, totals[N_CLASSES] = {0};
    uint8_t *sorted = UCB_NEW(job->scratch, uint8_t, run.n);
    UCB_TRY(check_dtype(src->matrix, err));
    run.symbols = UCB_NEW(job->scratch, uint8_t, run.n);
    run.classes = UCB_NEW(job->scratch, uint8_t, run.n);
    run.raw = ucb_arena_array(job->scratch, run.n, sizeof(uint32_t));
    run.heads = ucb_arena_array(job->scratch, n_segments, sizeof(*run.heads));
    run.starts = ucb_arena_array(job->scratch, n_segments, sizeof(*run.starts));
    if (sorted == NULL || run.symbols == NULL || run.classes == NULL || run.raw == NULL ||
        run.heads == NULL || run.starts == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu residuals",
                        src->matrix->name, run.n);
    ucb_parallel_for(job->pool, n_segments, encode_segment, &run);
    for (int c = 0; c < N_CLASSES; c++) {
        run.sorted[c] = sorted;
        for (size_t s = 0; s < n_segments; s++) {
            run.starts[s][c] = totals[c];
            totals[c] += run.heads[s][1 + c];
        }
        sorted += totals[c];
    }
    ucb_parallel_for(job->pool, n_segments, sort_segment, &run);
    return put_all(job, &run, n_segments, totals, out, err);
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++) UCB_TRY(encode_one(job, &src[i], out[i], err));
    return UCB_OK;
}

/* ---- decode ---- */

struct state {
    const struct ucb_matrix *matrix;
    struct ucb_pool *pool;
    size_t n, n_segments;
    bool by_scale;
    struct ucb_codec codec[N_CLASSES];
    uint8_t *symbols[N_CLASSES]; /* behind each other */
    size_t totals[N_CLASSES];
    size_t (*starts)[N_CLASSES];
    const uint8_t **raw; /* [n_segments + 1]: where a segment's raw bits begin */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return sizeof(struct state);
}

/* Where each segment's symbols stand in their classes. */
static ucb_status read_heads(struct state *s, const uint8_t *heads, struct ucb_err *err)
{
    for (size_t segment = 0; segment < s->n_segments; segment++) {
        uint64_t n = 0;
        for (int c = 0; c < N_CLASSES; c++) {
            uint32_t count = ucb_load_u32(heads + (segment * HEAD_WORDS + 1 + c) * 4);
            s->starts[segment][c] = s->totals[c];
            s->totals[c] += count;
            n += count;
        }
        if (n != segment_size(s->n, segment))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: segment %zu of the residual has %llu weights, expected %zu",
                s->matrix->name, segment, (unsigned long long)n,
                segment_size(s->n, segment));
    }
    return UCB_OK;
}

static ucb_status read_class(struct state *s, int c, uint64_t length, struct ucb_reader *in,
                             struct ucb_err *err)
{
    const uint8_t *bytes;
    struct ucb_codec *codec = &s->codec[c];
    UCB_TRY(ucb_payload_take(in, s->matrix, "residual symbols", length, &bytes, err));
    ucb_status status = ucb_codec_open(UCB_U8, s->totals[c], bytes, length, codec, err);
    if (status == UCB_OK)
        status = ucb_codec_decode(codec, 0, s->totals[c], s->pool, s->symbols[c], err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s: residual", s->matrix->name);
    return status;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    const uint8_t *heads, *lengths;
    *s = (struct state){.matrix = matrix,
                        .pool = job->pool,
                        .n = ucb_matrix_weights(matrix),
                        .by_scale = ucb_job_value(job, "context") != 0};
    UCB_TRY(check_dtype(matrix, err));
    s->n_segments = (s->n + SEGMENT - 1) / SEGMENT;
    uint8_t *symbols = UCB_NEW(job->arena, uint8_t, s->n);
    s->starts = ucb_arena_array(job->arena, s->n_segments, sizeof(*s->starts));
    s->raw = ucb_arena_array(job->arena, s->n_segments + 1, sizeof(*s->raw));
    if (symbols == NULL || s->starts == NULL || s->raw == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu residuals", matrix->name,
                        s->n);
    UCB_TRY(ucb_payload_take(in, matrix, "segments", s->n_segments * HEAD_WORDS * 4, &heads,
                             err));
    UCB_TRY(ucb_payload_take(in, matrix, "lengths", N_CLASSES * sizeof(uint64_t), &lengths,
                             err));
    UCB_TRY(read_heads(s, heads, err));
    for (int c = 0; c < N_CLASSES; symbols += s->totals[c++]) {
        s->symbols[c] = symbols;
        UCB_TRY(read_class(s, c, ucb_load_u64(lengths + 8 * c), in, err));
    }
    for (size_t segment = 0; segment < s->n_segments; segment++) {
        UCB_TRY(ucb_payload_take(in, matrix, "raw bits",
                                 ucb_load_u32(heads + segment * HEAD_WORDS * 4),
                                 &s->raw[segment], err));
        s->raw[segment + 1] = in->data + in->at;
    }
    return UCB_OK;
}

struct decode_run {
    const struct state *state;
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
        out[i] = (struct symbol){value_of(symbol), raw_bits(symbol)};
    }
}

/* The raw bits of a segment. */
struct raw_reader {
    const uint8_t *bytes;
    uint64_t n_bytes, at; /* bits taken, maybe of more than there are */
};
enum { MOST_RAW_BYTES = NEIGHBOURS * 28 / 8 + 8 /* what 64 weights may look at */ };

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
        for (size_t i = 0; i < n; i++) p[i] = rounded(dtype, before[i]);
    }
}

UCB_CLONES static void restore16(const uint32_t *p, const uint32_t *z, size_t n,
                                 uint8_t *bits)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t r = z[i] >> 1 ^ (0 - (z[i] & 1));
        uint16_t v = (uint16_t)disordered((ordered(p[i], 16) + r) & 0xffff, 16);
        memcpy(bits + 2 * i, &v, sizeof(v));
    }
}

UCB_CLONES static void restore32(const uint32_t *p, const uint32_t *z, size_t n,
                                 uint8_t *bits)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t r = z[i] >> 1 ^ (0 - (z[i] & 1));
        uint32_t v = disordered(ordered(p[i], 32) + r, 32);
        memcpy(bits + 4 * i, &v, sizeof(v));
    }
}

static void restore(const struct decode_run *run, size_t first, const uint32_t *z, size_t n)
{
    enum ucb_dtype dtype = run->state->matrix->dtype;
    uint8_t *bits = run->bits + (first - run->start) * (width_of(dtype) / 8);
    uint32_t p[NEIGHBOURS];
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
    const struct state *s = run->state;
    size_t first = segment * SEGMENT, end = first + segment_size(s->n, segment);
    const size_t *ends = segment + 1 < s->n_segments ? s->starts[segment + 1] : s->totals;
    struct class_reader class[N_CLASSES];
    struct symbol symbols[256];
    struct raw_reader raw = {.bytes = s->raw[segment],
                             .n_bytes = (uint64_t)(s->raw[segment + 1] - s->raw[segment])};
    list_symbols(symbols);
    for (int c = 0; c < N_CLASSES; c++)
        class[c] = (struct class_reader){s->symbols[c] + s->starts[segment][c],
                                         s->symbols[c] + ends[c]};
    for (size_t group = first; group < end; group += NEIGHBOURS) {
        size_t n = end - group < NEIGHBOURS ? end - group : NEIGHBOURS;
        uint8_t classes[NEIGHBOURS];
        uint32_t z[NEIGHBOURS];
        classify(run->before + (group - run->start), n, s->by_scale, classes);
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

/* Weights [start, end), from a segment's start to a segment's end. */
static ucb_status decode_segments(const struct state *s, struct ucb_pool *pool,
                                  size_t start, size_t end, const float *before, void *bits,
                                  struct ucb_err *err)
{
    struct decode_run run = {.state = s,
                             .before = before,
                             .bits = bits,
                             .start = start,
                             .first = start / SEGMENT};
    size_t n_segments = (end + SEGMENT - 1) / SEGMENT - run.first;
    ucb_parallel_for(pool, n_segments, decode_task, &run);
    if (!run.bad) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the residual does not fit the stages before it; was it written "
                    "with the same method spec?",
                    s->matrix->name);
}

static ucb_status decode_bits(const void *state, uint32_t row, uint32_t n,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct state *s = state;
    if (row != 0 || n != s->matrix->n_out)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: a residual is decoded by segments, not from row %u",
                        s->matrix->name, row);
    return decode_segments(s, s->pool, 0, s->n, before, bits, err);
}

static size_t span(const void *state)
{
    return SEGMENT * (width_of(((const struct state *)state)->matrix->dtype) / 8);
}

static ucb_status decode_span(const void *state, size_t first, size_t n_bytes,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct state *s = state;
    size_t bytes = width_of(s->matrix->dtype) / 8;
    assert(first % span(state) == 0);
    return decode_segments(s, NULL, first / bytes, (first + n_bytes) / bytes, before, bits,
                           err);
}

static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct state *s = state;
    struct ucb_codec_part parts[N_CLASSES];
    for (int c = 0; c < N_CLASSES; c++)
        parts[c] = (struct ucb_codec_part){&s->codec[c],
                                           (uint64_t)(s->symbols[c] - s->symbols[0])};
    for (size_t i = 0; i < s->n_segments; i++) {
        const size_t *first = s->starts[i],
                     *end = i + 1 < s->n_segments ? s->starts[i + 1] : s->totals;
        struct residual_plan_segment segment = {
            .raw = (uint64_t)(s->raw[i] - bytes),
            .raw_bytes = (uint64_t)(s->raw[i + 1] - s->raw[i])};
        for (int c = 0; c < N_CLASSES; c++) {
            segment.first[c] = parts[c].out + first[c];
            segment.end[c] = parts[c].out + end[c];
        }
        ucb_put_bytes(out, &segment, sizeof(segment));
    }
    return ucb_codec_plan(parts, N_CLASSES, bytes, job->scratch, out, err);
}

const struct ucb_method ucb_method_residual = {
    .name = "residual",
    .summary = "what the stages before it left out, so that every bit comes back",
    .source = "the announced \"lossless 5-bit\" scheme, read literally; docs/lossless.md",
    .revision = 2,
    .kind = UCB_EXACT,
    .needs_before = true,
    .knobs = knobs,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode_bits = decode_bits,
    .span = span,
    .decode_span = decode_span,
    .device_plan = device_plan,
};
