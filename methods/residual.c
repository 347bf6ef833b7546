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
#include "method/payload.h"
#include "residual/residual.h"

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

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++)
        UCB_TRY(residual_encode(job, &src[i], out[i], err));
    return UCB_OK;
}

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return sizeof(struct residual_state);
}

/* Where each segment's symbols stand in their classes. */
static ucb_status read_heads(struct residual_state *s, const uint8_t *heads,
                             struct ucb_err *err)
{
    for (size_t segment = 0; segment < s->n_segments; segment++) {
        uint64_t n = 0;
        for (int c = 0; c < RESIDUAL_CLASSES; c++) {
            uint32_t count = ucb_load_u32(heads +
                                          (segment * RESIDUAL_HEAD_WORDS + 1 + c) * 4);
            s->starts[segment][c] = s->totals[c];
            s->totals[c] += count;
            n += count;
        }
        if (n != residual_segment_size(s->n, segment))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: segment %zu of the residual has %llu weights, expected %zu",
                s->matrix->name, segment, (unsigned long long)n,
                residual_segment_size(s->n, segment));
    }
    return UCB_OK;
}

static ucb_status read_class(struct residual_state *s, int c, uint64_t length,
                             struct ucb_reader *in, struct ucb_err *err)
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
    struct residual_state *s = state;
    const uint8_t *heads, *lengths;
    *s = (struct residual_state){.matrix = matrix,
                                 .pool = job->pool,
                                 .n = ucb_matrix_weights(matrix),
                                 .by_scale = ucb_job_value(job, "context") != 0};
    UCB_TRY(residual_check_dtype(matrix, err));
    s->n_segments = (s->n + RESIDUAL_SEGMENT - 1) / RESIDUAL_SEGMENT;
    uint8_t *symbols = UCB_NEW(job->arena, uint8_t, s->n);
    s->starts = ucb_arena_array(job->arena, s->n_segments, sizeof(*s->starts));
    s->raw = ucb_arena_array(job->arena, s->n_segments + 1, sizeof(*s->raw));
    if (symbols == NULL || s->starts == NULL || s->raw == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu residuals", matrix->name,
                        s->n);
    UCB_TRY(ucb_payload_take(in, matrix, "segments",
                             s->n_segments * RESIDUAL_HEAD_WORDS * 4, &heads, err));
    UCB_TRY(ucb_payload_take(in, matrix, "lengths", RESIDUAL_CLASSES * sizeof(uint64_t),
                             &lengths, err));
    UCB_TRY(read_heads(s, heads, err));
    for (int c = 0; c < RESIDUAL_CLASSES; symbols += s->totals[c++]) {
        s->symbols[c] = symbols;
        UCB_TRY(read_class(s, c, ucb_load_u64(lengths + 8 * c), in, err));
    }
    for (size_t segment = 0; segment < s->n_segments; segment++) {
        UCB_TRY(ucb_payload_take(in, matrix, "raw bits",
                                 ucb_load_u32(heads + segment * RESIDUAL_HEAD_WORDS * 4),
                                 &s->raw[segment], err));
        s->raw[segment + 1] = in->data + in->at;
    }
    return UCB_OK;
}

static ucb_status decode_bits(const void *state, uint32_t row, uint32_t n,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct residual_state *s = state;
    if (row != 0 || n != s->matrix->n_out)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: a residual is decoded by segments, not from row %u",
                        s->matrix->name, row);
    return residual_decode(s, s->pool, 0, s->n, before, bits, err);
}

static size_t span(const void *state)
{
    return RESIDUAL_SEGMENT *
           (residual_width(((const struct residual_state *)state)->matrix->dtype) / 8);
}

static ucb_status decode_span(const void *state, size_t first, size_t n_bytes,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct residual_state *s = state;
    size_t bytes = residual_width(s->matrix->dtype) / 8;
    assert(first % span(state) == 0);
    return residual_decode(s, NULL, first / bytes, (first + n_bytes) / bytes, before, bits,
                           err);
}

static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct residual_state *s = state;
    struct ucb_codec_part parts[RESIDUAL_CLASSES];
    for (int c = 0; c < RESIDUAL_CLASSES; c++)
        parts[c] = (struct ucb_codec_part){&s->codec[c],
                                           (uint64_t)(s->symbols[c] - s->symbols[0])};
    for (size_t i = 0; i < s->n_segments; i++) {
        const size_t *first = s->starts[i],
                     *end = i + 1 < s->n_segments ? s->starts[i + 1] : s->totals;
        struct residual_plan_segment segment = {
            .raw = (uint64_t)(s->raw[i] - bytes),
            .raw_bytes = (uint64_t)(s->raw[i + 1] - s->raw[i])};
        for (int c = 0; c < RESIDUAL_CLASSES; c++) {
            segment.first[c] = parts[c].out + first[c];
            segment.end[c] = parts[c].out + end[c];
        }
        ucb_put_bytes(out, &segment, sizeof(segment));
    }
    return ucb_codec_plan(parts, RESIDUAL_CLASSES, bytes, job->scratch, out, err);
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
