/*
 * int8 - LLM.int8 (bitsandbytes): one absmax per output row; with a threshold, activations
 * in 8 bits too.
 *
 * Weights are cast to half precision first, whatever they were. Then, per row,
 *
 *     s = max |w|;   r = (1 / s) * 127;   q = round half to even(w * r)
 *     value = (q * s) * 0.0078740157
 *
 * Reciprocal first, then times 127: 127 / s rounds differently and flips codes.
 *
 * threshold=0 is the effect of the weights alone: they are decoded and multiplied like any
 * others. With a threshold the evaluator multiplies as the library does
 * (int8/int8_product.c). Bytes and decoded weights are the same in both modes: the library
 * keeps no other weights for outlier columns.
 *
 * Payload of n_out x n_in: codes int8 [n_out][n_in], absmax fp32 [n_out]. 8 + 32 / n_in
 * bits per weight.
 */
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "int8/int8.h"
#include "method/lanes.h"
#include "method/payload.h"

enum { CHUNK_WEIGHTS = 1 << 16 };

static const struct ucb_knob knobs[] = {
    {"threshold",
     "quantize activations too, columns with one of at least this size in half precision "
     "(LLM.int8: 6.0); 0: weights only",
     "0", UCB_KNOB_REAL, 0, 65504, NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return 8;
}

/* The largest |w| after the cast: rounding keeps the order, so only the largest is cast. */
UCB_CLONES static float row_peak(const float *w, size_t n)
{
    ucb_f32x16 peaks = {0};
    for (size_t i = 0; i < n; i += UCB_LANES)
        peaks = ucb_lanes_max(peaks, ucb_lanes_abs(ucb_lanes_load_some(w + i, n - i)));
    return ucb_f16_round(ucb_lanes_peak(peaks));
}

/*
 * From this absmax on, what half precision cannot hold as a normal number has code 0
 * however it is rounded: 2^-14 * 127 / 2^-6 = 0.496.
 */
static const float smallest_plain = 0x1p-6f;

/* To half precision and back where the result is normal; the sign stays, the carry never
 * reaches it. */
UCB_LANES_INLINE ucb_f32x16 round_normal(ucb_f32x16 x)
{
    ucb_u32x16 bits = (ucb_u32x16)x;
    return (ucb_f32x16)((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

UCB_LANES_INLINE void put_codes(const float *w, size_t n, bool plain, ucb_f32x16 factor,
                                uint8_t *codes)
{
    ucb_f32x16 x = ucb_lanes_load_some(w, n);
    ucb_f32x16 half = plain ? round_normal(x) : ucb_lanes_f16_round(x);
    uint8_t some[UCB_LANES], *room = n < UCB_LANES ? some : codes;
    ucb_lanes_store_code(room, ucb_lanes_rne(half * factor));
    if (room == some) memcpy(codes, some, n);
}

UCB_CLONES static void row_codes(const float *w, size_t n, float absmax, uint8_t *codes)
{
    ucb_f32x16 factor = ucb_lanes_all((1.0f / absmax) * 127.0f);
    if (absmax >= smallest_plain)
        for (size_t i = 0; i < n; i += UCB_LANES)
            put_codes(w + i, n - i, true, factor, codes + i);
    else
        for (size_t i = 0; i < n; i += UCB_LANES)
            put_codes(w + i, n - i, false, factor, codes + i);
}

struct encode_run {
    const struct ucb_source *src;
    uint32_t rows_per_chunk;
    uint8_t *codes;
    float *absmax; /* infinite where a weight does not fit half precision */
};

static void encode_chunk(void *context, size_t chunk)
{
    struct encode_run *run = context;
    size_t n_in = run->src->matrix->n_in, first = chunk * run->rows_per_chunk;
    size_t last = first + run->rows_per_chunk;
    if (last > run->src->matrix->n_out) last = run->src->matrix->n_out;
    for (size_t row = first; row < last; row++) {
        const float *w = run->src->w + row * n_in;
        float absmax = row_peak(w, n_in);
        run->absmax[row] = absmax;
        if (absmax == 0 || isinf(absmax))
            memset(run->codes + row * n_in, 0, n_in);
        else
            row_codes(w, n_in, absmax, run->codes + row * n_in);
    }
}

static ucb_status check_range(const struct ucb_source *src, const float *absmax,
                              struct ucb_err *err)
{
    for (uint32_t row = 0; row < src->matrix->n_out; row++)
        if (isinf(absmax[row]))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: row %u holds a weight past 65504, and int8 casts weights "
                            "to half precision "
                            "first; try nf4",
                            src->matrix->name, row);
    return UCB_OK;
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = src->matrix;
    struct encode_run run = {.src = src,
                             .rows_per_chunk = CHUNK_WEIGHTS / matrix->n_in + 1};
    ucb_part(out, UCB_PART_CODES);
    run.codes = ucb_put_room(out, ucb_matrix_weights(matrix));
    run.absmax = UCB_NEW(job->scratch, float, matrix->n_out);
    if (run.codes == NULL || run.absmax == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its codes", matrix->name);
    size_t n_chunks = ((size_t)matrix->n_out + run.rows_per_chunk - 1) / run.rows_per_chunk;
    ucb_parallel_for(job->pool, n_chunks, encode_chunk, &run);
    UCB_TRY(check_range(src, run.absmax, err));
    ucb_part(out, UCB_PART_SCALES);
    ucb_put_f32s(out, run.absmax, matrix->n_out);
    return UCB_OK;
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++) UCB_TRY(encode_one(job, &src[i], out[i], err));
    return UCB_OK;
}

static bool has_product(const struct ucb_job *job)
{
    return ucb_job_value(job, "threshold") > 0;
}

/* Behind it in its memory: absmax and, for products, the panels. */
struct state {
    struct int8_weights weights; /* codes: in the payload */
    float absmax[];              /* [n_out] */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    size_t n_bytes = sizeof(struct state) + matrix->n_out * sizeof(float);
    return has_product(job) ? n_bytes + int8_panel_bytes(matrix->n_out, matrix->n_in)
                            : n_bytes;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    struct int8_weights *w = &s->weights;
    w->matrix = matrix;
    w->absmax = s->absmax;
    UCB_TRY(
        ucb_payload_take(in, matrix, "codes", ucb_matrix_weights(matrix), &w->codes, err));
    UCB_TRY(ucb_payload_take_f32s(in, matrix, "absmax", matrix->n_out, s->absmax, err));
    const uint8_t *bad = memchr(w->codes, 0x80, ucb_matrix_weights(matrix));
    if (bad != NULL)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: code %zu is -128, and codes run from -127 to 127",
                        matrix->name, (size_t)(bad - w->codes));
    if (has_product(job)) {
        int8_t *panels = (int8_t *)(s->absmax + matrix->n_out);
        int8_pack(w->codes, matrix->n_out, matrix->n_in, job->pool, panels);
        w->panels = panels;
    }
    return ucb_payload_end(in, matrix, err);
}

UCB_CLONES static void decode_row(const uint8_t *codes, size_t n, float absmax, float *out)
{
    ucb_f32x16 scale = ucb_lanes_all(absmax);
    size_t i = 0;
    for (; i + UCB_LANES <= n; i += UCB_LANES) {
        ucb_i32x16 code = ((ucb_i32x16)ucb_lanes_load_u8(codes + i) ^ 0x80) -
                          0x80; /* sign from bit 7 */
        ucb_lanes_store(out + i, __builtin_convertvector(code, ucb_f32x16) * scale *
                                     INT8_INVERSE_127);
    }
    for (; i < n; i++) out[i] = int8_value(codes[i], absmax);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct int8_weights *w = &((const struct state *)state)->weights;
    size_t n_in = w->matrix->n_in;
    for (uint32_t i = 0; i < n; i++)
        decode_row(w->codes + (row + i) * n_in, n_in, w->absmax[row + i], acc + i * n_in);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct int8_weights *w = &((const struct state *)state)->weights;
    uint64_t shape[2] = {w->matrix->n_out, w->matrix->n_in};
    (void)job;
    UCB_TRY(emit(context, "codes", UCB_I8, 2, shape, w->codes, err));
    return emit(context, "absmax", UCB_F32, 1, shape, w->absmax, err);
}

/* Activations are halves: comparing them with the first fp32 value from the threshold on is
 * comparing them with the threshold. */
static float round_up(double threshold)
{
    float rounded = (float)threshold;
    return rounded < threshold ? ucb_f32_from_bits(ucb_f32_bits(rounded) + 1) : rounded;
}

static ucb_status product(struct ucb_job *job, const void *state, const float *bias,
                          const float *x, size_t n_rows, float *y, ucb_inspect_emit *trace,
                          void *trace_context, struct ucb_err *err)
{
    const struct state *s = state;
    const struct int8_call call = {.threshold = round_up(ucb_job_value(job, "threshold")),
                                   .bias = bias,
                                   .x = x,
                                   .n_rows = n_rows,
                                   .y = y,
                                   .trace = trace,
                                   .trace_context = trace_context};
    return int8_product(job, int8_path_best(), &s->weights, &call, err);
}

const struct ucb_method ucb_method_int8 = {
    .name = "int8",
    .summary = "8-bit codes, one absmax per output row; with a threshold, activations too",
    .source = "Dettmers et al., LLM.int8() (2022); bitsandbytes 0.50.2",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .inspect = inspect,
    .has_product = has_product,
    .product = product,
};
