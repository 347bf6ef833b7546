/*
 * residual_encode.c - a residual's payload: symbols of all segments by threads, sorted into
 * classes, whose streams follow each other.
 */
#include <string.h>

#include "core/clones.h"
#include "method/payload.h"
#include "residual.h"

static uint32_t magnitude(float x)
{
    return ucb_f32_bits(x) & 0x7fffffff;
}

UCB_CLONES void residual_classify(const float *p, size_t n, bool by_scale, uint8_t *classes)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++)
        if (magnitude(p[i]) > largest) largest = magnitude(p[i]);
    for (size_t i = 0; i < n; i++) {
        uint32_t below = (largest >> 23) - (magnitude(p[i]) >> 23);
        classes[i] = !by_scale                  ? 0
                     : below < RESIDUAL_CLASSES ? (uint8_t)below
                                                : RESIDUAL_CLASSES - 1;
    }
}

static uint32_t load(enum ucb_dtype dtype, const uint8_t *bits, size_t i)
{
    return dtype == UCB_F32 ? ucb_load_u32(bits + 4 * i) : ucb_load_u16(bits + 2 * i);
}

static unsigned symbol_of(uint32_t z)
{
    if (z < RESIDUAL_DIRECT) return z;
    unsigned high = 31 - (unsigned)__builtin_clz(z); /* 5 to 31 */
    return RESIDUAL_DIRECT + (high - 5) * 8 + (z >> (high - 3) & 7);
}

struct encode_run {
    const struct ucb_source *src;
    size_t n;
    bool by_scale;
    uint8_t *symbols, *classes; /* [n] */
    uint8_t *raw;               /* a segment's at its first weight times 4 */
    uint32_t (*heads)[RESIDUAL_HEAD_WORDS];
    size_t (*starts)[RESIDUAL_CLASSES]; /* of a segment, in the classes' streams */
    uint8_t *sorted[RESIDUAL_CLASSES];
};

static uint32_t difference(const struct encode_run *run, size_t i)
{
    enum ucb_dtype dtype = run->src->matrix->dtype;
    unsigned width = residual_width(dtype);
    uint32_t mask = (uint32_t)(((uint64_t)1 << width) - 1),
             sign = (uint32_t)1 << (width - 1);
    uint32_t r = (residual_ordered(load(dtype, run->src->bits, i), width) -
                  residual_ordered(residual_rounded(dtype, run->src->before[i]), width)) &
                 mask;
    return (r << 1 ^ (r & sign ? mask : 0)) & mask;
}

static void encode_segment(void *context, size_t segment)
{
    struct encode_run *run = context;
    size_t first = segment * RESIDUAL_SEGMENT,
           end = first + residual_segment_size(run->n, segment);
    uint8_t *out = run->raw + 4 * first;
    uint64_t pending = 0;
    unsigned n_pending = 0;
    for (size_t at = first; at < end; at += RESIDUAL_NEIGHBOURS)
        residual_classify(run->src->before + at,
                          end - at < RESIDUAL_NEIGHBOURS ? end - at : RESIDUAL_NEIGHBOURS,
                          run->by_scale, run->classes + at);
    for (size_t i = first; i < end; i++) {
        uint32_t z = difference(run, i);
        unsigned symbol = symbol_of(z), n_raw = residual_raw_bits(symbol);
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
    size_t first = segment * RESIDUAL_SEGMENT,
           end = first + residual_segment_size(run->n, segment), at[RESIDUAL_CLASSES];
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
    for (int c = 0; c < RESIDUAL_CLASSES; c++) ucb_put_u64(out, 0);
    for (int c = 0; c < RESIDUAL_CLASSES; c++) {
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
        ucb_put_bytes(out, run->raw + 4 * s * RESIDUAL_SEGMENT, run->heads[s][0]);
    return ucb_writer_status(out, err);
}

ucb_status residual_check_dtype(const struct ucb_matrix *m, struct ucb_err *err)
{
    if (m->dtype == UCB_BF16 || m->dtype == UCB_F16 || m->dtype == UCB_F32) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: weights are %s, residual restores BF16, F16 and F32; try lossless",
                    m->name, ucb_dtype_name(m->dtype));
}

ucb_status residual_encode(struct ucb_job *job, const struct ucb_source *src,
                           struct ucb_writer *out, struct ucb_err *err)
{
    struct encode_run run = {.src = src,
                             .n = ucb_matrix_weights(src->matrix),
                             .by_scale = ucb_job_value(job, "context") != 0};
    size_t n_segments = (run.n + RESIDUAL_SEGMENT - 1) / RESIDUAL_SEGMENT,
           totals[RESIDUAL_CLASSES] = {0};
    uint8_t *sorted = UCB_NEW(job->scratch, uint8_t, run.n);
    UCB_TRY(residual_check_dtype(src->matrix, err));
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
    for (int c = 0; c < RESIDUAL_CLASSES; c++) {
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
