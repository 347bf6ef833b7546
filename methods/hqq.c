/*
 * hqq - half-quadratic quantization: codes with a fitted zero per group, calibration-free.
 *
 * The fit is hqq/hqq_fit.c, the packing hqq/hqq_pack.c. The fit runs in fp32; what is
 * deployed is half precision: scale and zero are rounded to fp16 and a weight is
 * fp16(fp16(code - zero) * scale). meta=fp32 keeps both in fp32 and decodes in fp32, which
 * is what the library's own CPU numbers show.
 *
 * Payload, with G groups:
 *     codes   words of the grouped view, see hqq/hqq_pack.c
 *     scale   2 G (fp16) or 4 G (meta=fp32)      zero   the same
 */
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "hqq/hqq.h"
#include "method/lanes.h"
#include "method/payload.h"

enum { CHUNK_GROUPS = 256 };

static const char *const widths[] = {"2", "3", "4", "8", NULL};
static const unsigned width_bits[] = {2, 3, 4, 8};
static const char *const switches[] = {"0", "1", NULL};
static const char *const rounding[] = {"auto", "0", "1", NULL};
static const char *const metas[] = {"fp16", "fp32", NULL};
static const struct ucb_knob knobs[] = {
    {"bits", "bits of a code", "4", UCB_KNOB_CHOICE, 0, 0, widths},
    {"group", "weights that share scale and zero", "64", UCB_KNOB_INT, 2, 65536, NULL},
    {"axis", "1: groups are neighbours in a row; 0: they lie a column apart", "1",
     UCB_KNOB_CHOICE, 0, 0, switches},
    {"optimize", "0: zeros stay where minimum and maximum put them", "1", UCB_KNOB_CHOICE,
     0, 0, switches},
    {"iters", "passes of the fit, at most", "20", UCB_KNOB_INT, 1, 1000, NULL},
    {"round_zero", "1: the fit starts from whole zeros; auto: exactly for 4 bits", "auto",
     UCB_KNOB_CHOICE, 0, 0, rounding},
    {"meta", "how scale and zero are stored and weights decoded", "fp16", UCB_KNOB_CHOICE,
     0, 0, metas},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static unsigned bits_of(const struct ucb_job *job)
{
    return width_bits[(size_t)ucb_job_value(job, "bits")];
}

static bool is_half(const struct ucb_job *job)
{
    return ucb_job_value(job, "meta") == 0;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)source;
    return is_half(job) ? UCB_F16 : UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)matrix;
    return bits_of(job);
}

/* Its table counts scales and zeros of 16 bits, and no rows that fill up a group. */
static double claimed_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    return nominal_bpw(job, matrix) + 32 / ucb_job_value(job, "group");
}

static struct hqq_view view_of(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    return hqq_view_of(ucb_matrix_weights(matrix), (size_t)ucb_job_value(job, "group"),
                       bits_of(job), ucb_job_value(job, "axis") != 0);
}

/* ---- encode ---- */

static bool group_fits(const struct hqq_view *v, size_t group)
{
    struct hqq_view other = hqq_view_of(v->n, group, v->bits, v->groups_are_rows);
    return hqq_view_fits(&other);
}

static ucb_status refuse_shape(const struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_err *err)
{
    struct hqq_view v = view_of(job, matrix);
    const char *reason = v.n % v.group != 0 ? "whole groups"
                         : v.bits == 4      ? "an even number of rows in the grouped view"
                                            : "a multiple of 4 rows in the grouped view";
    size_t group = v.group - 1;
    while (group >= 2 && !group_fits(&v, group)) group--;
    if (group >= 2)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: %u x %u = %zu weights in groups of %zu; %u-bit codes need %s; "
                        "try group=%zu",
                        matrix->name, matrix->n_out, matrix->n_in, v.n, v.group, v.bits,
                        reason, group);
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: %u x %u = %zu weights in groups of %zu; %u-bit codes need %s; no "
                    "group fits, try nf4",
                    matrix->name, matrix->n_out, matrix->n_in, v.n, v.group, v.bits,
                    reason);
}

static ucb_status fits(const struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_err *err)
{
    struct hqq_view v = view_of(job, matrix);
    return hqq_view_fits(&v) ? UCB_OK : refuse_shape(job, matrix, err);
}

/* A strip of columns of from[rows][columns] to to[columns][rows]; the strip is a chunk of
 * the pool's loop. */
struct transpose_run {
    const float *w;
    float *w_turned;
    const uint8_t *codes;
    uint8_t *codes_turned;
    size_t rows, columns;
};

static void turn_weights(void *context, size_t chunk)
{
    struct transpose_run *run = context;
    size_t first = chunk * CHUNK_GROUPS, last = first + CHUNK_GROUPS;
    if (last > run->columns) last = run->columns;
    for (size_t row = 0; row < run->rows; row++)
        for (size_t c = first; c < last; c++)
            run->w_turned[c * run->rows + row] = run->w[row * run->columns + c];
}

static void turn_codes(void *context, size_t chunk)
{
    struct transpose_run *run = context;
    size_t first = chunk * CHUNK_GROUPS, last = first + CHUNK_GROUPS;
    if (last > run->columns) last = run->columns;
    for (size_t row = 0; row < run->rows; row++)
        for (size_t c = first; c < last; c++)
            run->codes_turned[row * run->columns + c] = run->codes[c * run->rows + row];
}

/* The fit of groups that are columns of the view: turned so that a group is contiguous, and
 * its codes turned back. */
static ucb_status fit_columns(struct ucb_job *job, const struct hqq_view *v,
                              const struct ucb_source *src, struct hqq_fit *fit,
                              struct ucb_err *err)
{
    uint8_t *codes = fit->codes;
    struct transpose_run run = {
        .w = src->w, .codes_turned = codes, .rows = v->rows, .columns = v->columns};
    size_t n_chunks = (v->columns + CHUNK_GROUPS - 1) / CHUNK_GROUPS;
    run.w_turned = UCB_NEW(job->scratch, float, v->n);
    fit->codes = UCB_NEW(job->scratch, uint8_t, v->n);
    if (run.w_turned == NULL || fit->codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to turn %zu weights",
                        src->matrix->name, v->n);
    ucb_parallel_for(job->pool, n_chunks, turn_weights, &run);
    UCB_TRY(hqq_fit_groups(run.w_turned, v->n_groups, v->group, fit, job->pool,
                           job->scratch, src->matrix->name, err));
    run.codes = fit->codes;
    ucb_parallel_for(job->pool, n_chunks, turn_codes, &run);
    fit->codes = codes;
    return UCB_OK;
}

/* One float a group, as it is stored. What does not fit is refused. */
static ucb_status put_meta(struct ucb_job *job, const struct ucb_matrix *matrix,
                           const char *what, const float *values, size_t n,
                           struct ucb_writer *out, struct ucb_err *err)
{
    bool half = is_half(job);
    for (size_t i = 0; i < n; i++) {
        float stored = half ? ucb_f16_round(values[i]) : values[i];
        if (!isfinite(stored))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: the %s of group %zu is %g, past the largest %s; try %s",
                            matrix->name, what, i, (double)values[i],
                            half ? "half" : "float", half ? "meta=fp32" : "another method");
        if (half)
            ucb_put_u16(out, ucb_f16_from_f32(values[i]));
        else
            ucb_put_f32(out, values[i]);
    }
    return UCB_OK;
}

/* What the fit found and half precision does not hold: the fp32 scale and zero, and the
 * weights they decode to. */
static ucb_status trace(struct ucb_job *job, const struct hqq_view *v,
                        const struct ucb_matrix *matrix, const float *scale,
                        const struct hqq_fit *fit, struct ucb_err *err)
{
    uint64_t groups = v->n_groups, shape[2] = {matrix->n_out, matrix->n_in};
    if (job->trace == NULL || !is_half(job)) return UCB_OK;
    float *w = UCB_NEW(job->scratch, float, v->n);
    if (w == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its fp32 decode", matrix->name);
    for (size_t i = 0; i < v->n; i++) {
        size_t g = v->groups_are_rows ? i / v->columns : i % v->columns;
        w[i] = ((float)fit->codes[i] - fit->zero[g]) * scale[g];
    }
    UCB_TRY(job->trace(job->trace_context, "scale", UCB_F32, 1, &groups, scale, err));
    UCB_TRY(job->trace(job->trace_context, "zero", UCB_F32, 1, &groups, fit->zero, err));
    return job->trace(job->trace_context, "decoded_f32", UCB_F32, 2, shape, w, err);
}

static ucb_status write_payload(struct ucb_job *job, const struct hqq_view *v,
                                const struct ucb_matrix *matrix, const struct hqq_fit *fit,
                                struct ucb_writer *out, struct ucb_err *err)
{
    float *scale = UCB_NEW(job->scratch, float, v->n_groups);
    ucb_part(out, UCB_PART_CODES);
    uint8_t *packed = ucb_put_room(out, hqq_packed_bytes(v));
    if (scale == NULL || packed == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for codes", matrix->name);
    hqq_pack(v, fit->codes, packed, job->pool);
    for (size_t g = 0; g < v->n_groups; g++) scale[g] = 1.0f / fit->inverse_scale[g];
    ucb_part(out, UCB_PART_SCALES);
    UCB_TRY(put_meta(job, matrix, "scale", scale, v->n_groups, out, err));
    ucb_part(out, UCB_PART_ZEROS);
    UCB_TRY(put_meta(job, matrix, "zero", fit->zero, v->n_groups, out, err));
    return trace(job, v, matrix, scale, fit, err);
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    struct hqq_view v = view_of(job, src->matrix);
    struct hqq_fit fit = {.bits = v.bits};
    double round_zero = ucb_job_value(job, "round_zero");
    fit.iters = ucb_job_value(job, "optimize") != 0 ? (unsigned)ucb_job_value(job, "iters")
                                                    : 0;
    fit.round_zero = round_zero == 0 ? v.bits == 4 : round_zero == 2;
    fit.inverse_scale = UCB_NEW(job->scratch, float, v.n_groups);
    fit.zero = UCB_NEW(job->scratch, float, v.n_groups);
    fit.codes = UCB_NEW(job->scratch, uint8_t, v.n);
    if (fit.inverse_scale == NULL || fit.zero == NULL || fit.codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", src->matrix->name,
                        v.n);
    if (v.groups_are_rows)
        UCB_TRY(hqq_fit_groups(src->w, v.n_groups, v.group, &fit, job->pool, job->scratch,
                               src->matrix->name, err));
    else
        UCB_TRY(fit_columns(job, &v, src, &fit, err));
    return write_payload(job, &v, src->matrix, &fit, out, err);
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
    struct hqq_view view;
    bool half;
    const uint8_t *packed; /* in the payload */
    float *zero;           /* [n_groups], behind scale */
    float scale[];         /* [n_groups], widened */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    return sizeof(struct state) + 2 * view_of(job, matrix).n_groups * sizeof(float);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    *s = (struct state){
        .matrix = matrix, .view = view_of(job, matrix), .half = is_half(job)};
    size_t n_groups = s->view.n_groups;
    ucb_status (*take)(struct ucb_reader *, const struct ucb_matrix *, const char *, size_t,
                       float *, struct ucb_err *) = s->half ? ucb_payload_take_f16s
                                                            : ucb_payload_take_f32s;
    UCB_TRY(fits(job, matrix, err));
    s->zero = s->scale + n_groups;
    UCB_TRY(
        ucb_payload_take(in, matrix, "codes", hqq_packed_bytes(&s->view), &s->packed, err));
    UCB_TRY(take(in, matrix, "scale", n_groups, s->scale, err));
    UCB_TRY(take(in, matrix, "zero", n_groups, s->zero, err));
    if (!hqq_packed_valid(&s->view, s->packed))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: a word of 3-bit codes has bits outside its codes",
                        matrix->name);
    return ucb_payload_end(in, matrix, err);
}

/* Neighbouring codes of one row of the view: all at the same place
 * of neighbouring words. */
struct span {
    const uint8_t *words;
    unsigned word_bytes, shift, mask;
    const float *scale, *zero; /* of the first code */
    size_t n, step;            /* step 0: one scale for all; 1: one a code */
    bool half;
};

UCB_LANES_INLINE ucb_f32x16 span_codes(const struct span *a, size_t at, size_t n)
{
    uint32_t words[UCB_LANES] = {0};
    ucb_u32x16 wide;
    if (a->word_bytes == 1 && n >= UCB_LANES) {
        wide = ucb_lanes_load_u8(a->words + at);
    } else if (n >= UCB_LANES) {
        memcpy(&wide, a->words + 4 * at, sizeof(wide));
    } else {
        for (size_t i = 0; i < n; i++)
            words[i] = a->word_bytes == 1 ? a->words[at + i]
                                          : ucb_load_u32(a->words + 4 * (at + i));
        memcpy(&wide, words, sizeof(wide));
    }
    return __builtin_convertvector((ucb_i32x16)(wide >> a->shift & a->mask), ucb_f32x16);
}

UCB_CLONES static void decode_span(const struct span *a, float *out)
{
    ucb_f32x16 scale = ucb_lanes_all(*a->scale), zero = ucb_lanes_all(*a->zero);
    for (size_t at = 0; at < a->n; at += UCB_LANES) {
        size_t n = a->n - at;
        ucb_f32x16 code = span_codes(a, at, n);
        if (a->step == 1) {
            scale = ucb_lanes_load_some(a->scale + at, n);
            zero = ucb_lanes_load_some(a->zero + at, n);
        }
        ucb_f32x16 w = (code - zero) * scale;
        if (a->half) w = ucb_lanes_f16_round(ucb_lanes_f16_round(code - zero) * scale);
        ucb_lanes_store_some(out + at, w, n);
    }
}

static void decode_rows(const struct state *s, uint32_t row, uint32_t n_rows, bool half,
                        float *out)
{
    const struct hqq_view *v = &s->view;
    size_t at = (size_t)row * s->matrix->n_in, end = at + (size_t)n_rows * s->matrix->n_in;
    while (at < end) {
        size_t view_row = at / v->columns, column = at % v->columns,
               n = v->columns - column;
        size_t group = v->groups_are_rows ? view_row : column;
        struct span a = {
            .word_bytes = v->word_bytes, .mask = (1u << v->bits) - 1, .half = half};
        a.n = n < end - at ? n : end - at;
        a.words = s->packed + hqq_word_of(v, view_row, column, &a.shift) * v->word_bytes;
        a.scale = s->scale + group;
        a.zero = s->zero + group;
        a.step = v->groups_are_rows ? 0 : 1;
        decode_span(&a, out);
        out += a.n;
        at += a.n;
    }
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    decode_rows(state, row, n, false, acc);
}

static void decode_deployed(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    decode_rows(s, row, n, s->half, acc);
}

static ucb_status inspect_meta(struct ucb_job *job, const struct state *s,
                               ucb_inspect_emit *emit, void *context, struct ucb_err *err)
{
    uint64_t groups = s->view.n_groups;
    uint16_t *halves = UCB_NEW(job->scratch, uint16_t, 2 * groups);
    if (halves == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list scales", s->matrix->name);
    if (!s->half) {
        UCB_TRY(emit(context, "scale", UCB_F32, 1, &groups, s->scale, err));
        return emit(context, "zero", UCB_F32, 1, &groups, s->zero, err);
    }
    for (size_t i = 0; i < 2 * groups; i++) halves[i] = ucb_f16_from_f32(s->scale[i]);
    UCB_TRY(emit(context, "scale_fp16", UCB_F16, 1, &groups, halves, err));
    return emit(context, "zero_fp16", UCB_F16, 1, &groups, halves + groups, err);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    const struct hqq_view *v = &s->view;
    uint64_t shape[2] = {v->rows, v->columns},
             packed_shape[2] = {v->packed_rows, v->columns};
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, v->n);
    if (codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list codes", s->matrix->name);
    hqq_unpack(v, s->packed, codes);
    UCB_TRY(emit(context, "codes", UCB_U8, 2, shape, codes, err));
    UCB_TRY(emit(context, "packed", v->word_bytes == 4 ? UCB_I32 : UCB_U8, 2, packed_shape,
                 s->packed, err));
    return inspect_meta(job, s, emit, context, err);
}

const struct ucb_method ucb_method_hqq = {
    .name = "hqq",
    .summary = "half-quadratic quantization, fitted zeros, no calibration",
    .source = "Badri and Shaji, Half-Quadratic Quantization (2023); hqq 0.2.8.post1",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 2, /* bits and group: "hqq" alone would say nothing */
    .fits = fits,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = claimed_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .decode_deployed = decode_deployed,
    .inspect = inspect,
};
