/*
 * gptq - error-correcting rounding with second-order statistics of the inputs, stored as
 * AutoGPTQ deploys it.
 *
 * The factor is gptq/gptq_factor.c, the sweep gptq/gptq_sweep.c, the words
 * gptq/gptq_pack.c. The sweep works with fp32 scales; what is deployed is
 * scale * (code - zero) in fp32 with the scale rounded to half precision.
 *
 * Without statistics (no calibration for this matrix, or an expert that no token was sent
 * to) the same grids are used with plain rounding to nearest.
 *
 * Payload, with G groups of an output row (the last may be short):
 *     codes   int32 [ceil(n_in bits / 32)][n_out]   a stream per output, along the inputs
 *     scales  fp16  [G][n_out]
 *     zeros   int32 [G][ceil(n_out bits / 32)]      zero - 1, a stream per group
 *     index   int32 [n_in], the group of a column   only with act_order=1 and
 *                                                   static_groups=0 and G > 1
 *
 * What surprises: zero - 1 of a zero of 0 wraps to all ones, and is read back as 0.
 */
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "gptq/gptq.h"
#include "method/lanes.h"
#include "method/payload.h"

static const char *const widths[] = {"2", "3", "4", "8", NULL};
static const unsigned width_bits[] = {2, 3, 4, 8};
static const char *const switches[] = {"0", "1", NULL};
static const struct ucb_knob knobs[] = {
    {"bits", "bits of a code", "4", UCB_KNOB_CHOICE, 0, 0, widths},
    {"group", "weights of a row that share a scale; -1: the whole row", "128", UCB_KNOB_INT,
     -1, 1 << 20, NULL},
    {"sym", "1: grids reach as far below zero as above", "0", UCB_KNOB_CHOICE, 0, 0,
     switches},
    {"act_order", "1: columns with the largest inputs are rounded first", "0",
     UCB_KNOB_CHOICE, 0, 0, switches},
    {"static_groups", "1: all grids are fitted before the first column is rounded", "0",
     UCB_KNOB_CHOICE, 0, 0, switches},
    {"damp", "of the mean diagonal of the Hessian, added to it", "0.01", UCB_KNOB_REAL, 0,
     10, NULL},
    {"block", "columns that are corrected at once", "128", UCB_KNOB_INT, 1, 1 << 16, NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static ucb_status check(const struct ucb_job *job, struct ucb_err *err)
{
    double group = ucb_job_value(job, "group");
    if (group == -1 || group >= 2) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "gptq:group=%g: a group has 2 weights at least, or is -1 for a whole row", group);
}

static uint32_t needs(const struct ucb_job *job)
{
    (void)job;
    return UCB_NEEDS_H;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)matrix;
    return width_bits[(size_t)ucb_job_value(job, "bits")];
}

/* Matrices that read one input share its factor. */
static uint32_t group(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return 0;
}

static struct gptq_layout layout_of(const struct ucb_job *job,
                                    const struct ucb_matrix *matrix)
{
    double wanted = ucb_job_value(job, "group"), block = ucb_job_value(job, "block");
    struct gptq_layout l = {.n_out = matrix->n_out,
                            .n_in = matrix->n_in,
                            .bits = width_bits[(size_t)ucb_job_value(job, "bits")],
                            .per_row = wanted < 0,
                            .symmetric = ucb_job_value(job, "sym") != 0,
                            .act_order = ucb_job_value(job, "act_order") != 0,
                            .static_groups = ucb_job_value(job, "static_groups") != 0,
                            .damp = ucb_job_value(job, "damp")};
    l.group = l.per_row || wanted > (double)l.n_in ? l.n_in : (size_t)wanted;
    l.block = block > (double)l.n_in ? l.n_in : (size_t)block;
    l.n_groups = (l.n_in + l.group - 1) / l.group;
    l.n_panels = (l.n_out + GPTQ_PANEL - 1) / GPTQ_PANEL;
    l.code_words = gptq_words(l.n_in, l.bits);
    l.zero_words = gptq_words(l.n_out, l.bits);
    l.has_index = l.act_order && !l.static_groups && l.n_groups > 1;
    return l;
}

/* ---- encode ---- */

static float grid_value(const struct gptq_layout *l, const float *values, size_t row,
                        size_t g)
{
    return values[(row / GPTQ_PANEL * l->n_groups + g) * GPTQ_PANEL + row % GPTQ_PANEL];
}

static ucb_status put_scales(const struct gptq_layout *l, const float *scale,
                             const char *name, struct ucb_writer *out, struct ucb_err *err)
{
    ucb_part(out, UCB_PART_SCALES);
    for (size_t g = 0; g < l->n_groups; g++)
        for (size_t row = 0; row < l->n_out; row++) {
            float value = grid_value(l, scale, row, g);
            if (!isfinite(ucb_f16_round(value)))
                return UCB_FAIL(err, UCB_UNSUPPORTED,
                                "%s: the scale of group %zu in row %zu is %g, past the "
                                "largest half; try nf4",
                                name, g, row, (double)value);
            ucb_put_u16(out, ucb_f16_from_f32(value));
        }
    return UCB_OK;
}

static ucb_status put_zeros(struct ucb_job *job, const struct gptq_layout *l,
                            const float *zero, const char *name, struct ucb_writer *out,
                            struct ucb_err *err)
{
    float *row_zeros = UCB_NEW(job->scratch, float, l->n_out);
    uint8_t *words = UCB_NEW(job->scratch, uint8_t, 4 * l->zero_words);
    if (row_zeros == NULL || words == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu zeros", name, l->n_out);
    ucb_part(out, UCB_PART_ZEROS);
    for (size_t g = 0; g < l->n_groups; g++) {
        for (size_t row = 0; row < l->n_out; row++)
            row_zeros[row] = grid_value(l, zero, row, g);
        gptq_pack_zeros(row_zeros, l->n_out, l->bits, words);
        ucb_put_bytes(out, words, 4 * l->zero_words);
    }
    return UCB_OK;
}

/* The group of a column. */
static size_t group_of(const struct gptq_layout *l, const struct gptq_factor *factor,
                       size_t column)
{
    return (l->has_index ? factor->position[column] : column) / l->group;
}

static ucb_status write_payload(struct ucb_job *job, const struct gptq_layout *l,
                                const struct gptq_factor *factor,
                                const struct gptq_grids *grids, const char *name,
                                struct ucb_writer *out, struct ucb_err *err)
{
    ucb_part(out, UCB_PART_CODES);
    uint8_t *words = ucb_put_room(out, 4 * l->code_words * l->n_out);
    if (words == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for codes", name);
    gptq_pack_codes(l, grids->codes, words, job->pool);
    UCB_TRY(put_scales(l, grids->scale, name, out, err));
    UCB_TRY(put_zeros(job, l, grids->zero, name, out, err));
    ucb_part(out, UCB_PART_TABLES);
    for (size_t j = 0; l->has_index && j < l->n_in; j++)
        ucb_put_u32(out, (uint32_t)group_of(l, factor, j));
    return UCB_OK;
}

/* What half precision does not hold: the fp32 scales, and the weights they decode to. */
static ucb_status trace(struct ucb_job *job, const struct gptq_layout *l,
                        const struct gptq_factor *factor, const struct gptq_grids *grids,
                        const char *name, struct ucb_err *err)
{
    uint64_t grid_shape[2] = {l->n_out, l->n_groups}, shape[2] = {l->n_out, l->n_in};
    if (job->trace == NULL) return UCB_OK;
    float *scale = UCB_NEW(job->scratch, float, l->n_out * l->n_groups);
    float *w = UCB_NEW(job->scratch, float, l->n_out * l->n_in);
    if (scale == NULL || w == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its fp32 decode", name);
    for (size_t row = 0; row < l->n_out; row++) {
        const uint8_t *codes = grids->codes + row / GPTQ_PANEL * l->n_in * GPTQ_PANEL +
                               row % GPTQ_PANEL;
        for (size_t g = 0; g < l->n_groups; g++)
            scale[row * l->n_groups + g] = grid_value(l, grids->scale, row, g);
        for (size_t j = 0; j < l->n_in; j++) {
            size_t g = group_of(l, factor, j);
            w[row * l->n_in + j] = grid_value(l, grids->scale, row, g) *
                                   ((float)codes[j * GPTQ_PANEL] -
                                    grid_value(l, grids->zero, row, g));
        }
    }
    UCB_TRY(job->trace(job->trace_context, "scale", UCB_F32, 2, grid_shape, scale, err));
    return job->trace(job->trace_context, "decoded_f32", UCB_F32, 2, shape, w, err);
}

static bool same_inputs(const struct ucb_source *a, const struct ucb_source *b)
{
    if (a->matrix->n_in != b->matrix->n_in) return false;
    if (a->calib == NULL || b->calib == NULL) return a->calib == b->calib;
    return a->calib->second_moment == b->calib->second_moment &&
           a->calib->n_tokens == b->calib->n_tokens &&
           a->calib->n_sequences == b->calib->n_sequences;
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    struct gptq_factor factor;
    for (uint32_t i = 0; i < n_src; i++) {
        const char *name = src[i].matrix->name;
        struct gptq_layout l = layout_of(job, src[i].matrix);
        struct gptq_grids grids;
        if (i == 0 || !same_inputs(&src[i - 1], &src[i]))
            UCB_TRY(gptq_factor_make(job, &l, src[i].calib, name, &factor, err));
        UCB_TRY(gptq_sweep(job, &l, &factor, src[i].w, name, &grids, err));
        UCB_TRY(write_payload(job, &l, &factor, &grids, name, out[i], err));
        UCB_TRY(trace(job, &l, &factor, &grids, name, err));
    }
    return UCB_OK;
}

/* ---- decode ---- */

struct state {
    struct gptq_layout layout;
    const char *name;
    const uint8_t *codes, *zeros; /* in the payload */
    uint32_t *group_of;           /* [n_in], behind zero */
    float *zero;                  /* [n_groups][n_out], behind scale */
    float scale[];                /* the same, widened */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct gptq_layout l = layout_of(job, matrix);
    return sizeof(struct state) + 2 * l.n_groups * l.n_out * sizeof(float) +
           l.n_in * sizeof(uint32_t);
}

static ucb_status take_index(struct state *s, const struct ucb_matrix *matrix,
                             struct ucb_reader *in, struct ucb_err *err)
{
    const struct gptq_layout *l = &s->layout;
    const uint8_t *stored = NULL;
    if (l->has_index)
        UCB_TRY(ucb_payload_take(in, matrix, "group index", 4 * l->n_in, &stored, err));
    for (size_t j = 0; j < l->n_in; j++) {
        s->group_of[j] = stored == NULL ? (uint32_t)(j / l->group)
                                        : ucb_load_u32(stored + 4 * j);
        if (s->group_of[j] >= l->n_groups)
            return UCB_FAIL(err, UCB_CORRUPT, "%s: column %zu is of group %u of %zu",
                            matrix->name, j, s->group_of[j], l->n_groups);
    }
    return UCB_OK;
}

/* Refuses bits past the last code of a stream; the last words of n streams lie `step` bytes
 * apart. */
static ucb_status check_ends(const struct ucb_matrix *matrix, const char *what,
                             const uint8_t *last, size_t n, size_t step, uint32_t stray,
                             struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++)
        if ((ucb_load_u32(last + i * step) & stray) != 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: the last word of %s %zu has bits outside its codes",
                            matrix->name, what, i);
    return UCB_OK;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    *s = (struct state){.layout = layout_of(job, matrix), .name = matrix->name};
    const struct gptq_layout *l = &s->layout;
    size_t n_grids = l->n_groups * l->n_out;
    s->zero = s->scale + n_grids;
    s->group_of = (uint32_t *)(s->zero + n_grids);
    UCB_TRY(ucb_payload_take(in, matrix, "codes", 4 * l->code_words * l->n_out, &s->codes,
                             err));
    UCB_TRY(ucb_payload_take_f16s(in, matrix, "scale", n_grids, s->scale, err));
    UCB_TRY(ucb_payload_take(in, matrix, "zeros", 4 * l->zero_words * l->n_groups,
                             &s->zeros, err));
    UCB_TRY(take_index(s, matrix, in, err));
    UCB_TRY(check_ends(matrix, "output", s->codes + 4 * (l->code_words - 1) * l->n_out,
                       l->n_out, 4, gptq_stray_bits(l->n_in, l->bits), err));
    UCB_TRY(check_ends(matrix, "zeros of group", s->zeros + 4 * (l->zero_words - 1),
                       l->n_groups, 4 * l->zero_words, gptq_stray_bits(l->n_out, l->bits),
                       err));
    for (size_t g = 0; g < l->n_groups; g++)
        for (size_t row = 0; row < l->n_out; row++)
            s->zero[g * l->n_out + row] =
                (float)((gptq_code(s->zeros + 4 * g * l->zero_words, 1, row, l->bits) + 1) &
                        ((1u << l->bits) - 1));
    return ucb_payload_end(in, matrix, err);
}

enum { SPAN = 32 }; /* so many columns fill whole words, whatever the bits */

/* n words of neighbouring rows. */
UCB_LANES_INLINE ucb_u32x16 load_words(const uint8_t *words, size_t n)
{
    ucb_u32x16 x = {0};
    memcpy(&x, words, n < UCB_LANES ? 4 * n : sizeof(x));
    return x;
}

/* Columns [first, first + n) of at most 16 rows to acc[][n_in]. */
UCB_CLONES static void decode_span(const struct state *s, size_t row, size_t n_rows,
                                   size_t first, size_t n, float *acc)
{
    const struct gptq_layout *l = &s->layout;
    unsigned bits = l->bits, mask = (1u << bits) - 1;
    size_t n_words = gptq_words(n, bits), known = SIZE_MAX;
    float values[SPAN * UCB_LANES];
    ucb_u32x16 words[9];
    ucb_f32x16 scale = {0}, zero = {0};
    for (size_t i = 0; i < n_words; i++)
        words[i] = load_words(s->codes + 4 * ((first / SPAN * bits + i) * l->n_out + row),
                              n_rows);
    for (size_t i = 0; i < n; i++) {
        size_t word = i * bits / 32, g = s->group_of[first + i];
        unsigned shift = (unsigned)(i * bits % 32);
        ucb_u32x16 code = words[word] >> shift;
        if (shift + bits > 32) code |= words[word + 1] << (32 - shift);
        if (g != known) {
            scale = ucb_lanes_load_some(s->scale + g * l->n_out + row, n_rows);
            zero = ucb_lanes_load_some(s->zero + g * l->n_out + row, n_rows);
            known = g;
        }
        ucb_f32x16 c = __builtin_convertvector((ucb_i32x16)(code & mask), ucb_f32x16);
        ucb_lanes_store(values + i * UCB_LANES, scale * (c - zero));
    }
    for (size_t lane = 0; lane < n_rows; lane++)
        for (size_t i = 0; i < n; i++)
            acc[lane * l->n_in + first + i] = values[i * UCB_LANES + lane];
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    size_t n_in = s->layout.n_in;
    for (uint32_t at = 0; at < n; at += UCB_LANES) {
        size_t n_rows = n - at < UCB_LANES ? n - at : UCB_LANES;
        for (size_t first = 0; first < n_in; first += SPAN)
            decode_span(s, row + at, n_rows, first,
                        n_in - first < SPAN ? n_in - first : SPAN, acc + at * n_in);
    }
}

/* What is stored, and what stands in it: codes and zeros by row. */
static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    const struct gptq_layout *l = &s->layout;
    uint64_t shape[2] = {l->n_out, l->n_in}, grids[2] = {l->n_out, l->n_groups},
             qweight[2] = {l->code_words, l->n_out},
             qzeros[2] = {l->n_groups, l->zero_words};
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, l->n_out * l->n_in);
    float *zero = UCB_NEW(job->scratch, float, l->n_out * l->n_groups);
    uint16_t *scale = UCB_NEW(job->scratch, uint16_t, l->n_out * l->n_groups);
    if (codes == NULL || zero == NULL || scale == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list codes", s->name);
    for (size_t row = 0; row < l->n_out; row++) {
        for (size_t j = 0; j < l->n_in; j++)
            codes[row * l->n_in + j] = (uint8_t)gptq_code(s->codes + 4 * row, l->n_out, j,
                                                          l->bits);
        for (size_t g = 0; g < l->n_groups; g++) {
            zero[row * l->n_groups + g] = s->zero[g * l->n_out + row];
            scale[row * l->n_groups + g] = ucb_f16_from_f32(s->scale[g * l->n_out + row]);
        }
    }
    UCB_TRY(emit(context, "codes", UCB_U8, 2, shape, codes, err));
    UCB_TRY(emit(context, "zero", UCB_F32, 2, grids, zero, err));
    UCB_TRY(emit(context, "scale_fp16", UCB_F16, 2, grids, scale, err));
    UCB_TRY(emit(context, "g_idx", UCB_I32, 1, &shape[1], s->group_of, err));
    UCB_TRY(emit(context, "qweight", UCB_I32, 2, qweight, s->codes, err));
    return emit(context, "qzeros", UCB_I32, 2, qzeros, s->zeros, err);
}

const struct ucb_method ucb_method_gptq = {
    .name = "gptq",
    .summary = "error-correcting rounding with the inputs' second moments",
    .source = "Frantar et al., GPTQ (2023); AutoGPTQ 0.7.1",
    .revision = 2,
    .kind = UCB_BASE,
    .sequential = true,
    .knobs = knobs,
    .n_shown = 2,
    .check = check,
    .needs = needs,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .inspect = inspect,
    .group = group,
};
