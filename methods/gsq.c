/*
 * gsq - one grid of 2^bits levels per matrix, one absmax per block of a row:
 * value = bf16(level[code] * absmax).
 *
 * A block's weights are divided by its absmax as it is stored, and a code is the level
 * nearest to the quotient. init=dp places the levels where the squared error of the matrix
 * is least, up to the width of a histogram's bin (gsq/gsq_grid.c); init=seed where the
 * original puts them (gsq/gsq_lloyd.c). The absmax is stored as bf16 by default: of weights
 * that are bf16 it then is what it was, so rounding it costs nothing.
 *
 * A row that is not whole blocks takes blocks of 128; where those do not fit either, the
 * matrix is rounded to nearest with one scale a row, as in the original.
 *
 * Payload of n weights in b blocks:
 *     form    1 byte, see enum gsq_form; the shape decides it
 *     grid    4 * 2^bits, fp32; none in the form GSQ_ROWS
 *     absmax  2 b (scale=bf16, fp16) or 4 b (fp32)
 *     codes   ceil(n bits / 8), a bit stream in flat order, lowest bits first, zero padded
 */
#include <math.h>
#include <string.h>

#include "core/half.h"
#include "gsq/gsq.h"
#include "method/payload.h"

static const char *const inits[] = {"dp", "seed", NULL};
static const char *const scales[] = {"bf16", "fp16", "fp32", NULL};
static const char *const scale_names[] = {"BF16", "F16", "F32"};
static const struct ucb_knob knobs[] = {
    {"bits", "bits of a code", "5", UCB_KNOB_INT, 2, 6, NULL},
    {"block", "weights of a row that share an absmax", "64", UCB_KNOB_INT, 8, 65536, NULL},
    {"init", "dp: the best levels of a histogram; seed: the original's 50 k-means steps",
     "dp", UCB_KNOB_CHOICE, 0, 0, inits},
    {"scale", "how the absmax is stored", "bf16", UCB_KNOB_CHOICE, 0, 0, scales},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static bool is_seed(const struct ucb_job *job)
{
    return ucb_job_value(job, "init") != 0;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_BF16;
}

/* The original's command line: codes and a scale of 16 bits. */
static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)matrix;
    return ucb_job_value(job, "bits") + 16 / ucb_job_value(job, "block");
}

/* ---- encode ---- */

ucb_status gsq_put_head(const struct gsq_layout *l, const char *name, const float *grid,
                        const float *scale, struct ucb_writer *out, struct ucb_err *err)
{
    ucb_part(out, UCB_PART_HEADER);
    ucb_put_u8(out, (uint8_t)l->form);
    ucb_part(out, UCB_PART_CODEBOOK);
    for (unsigned k = 0; k < l->n_levels; k++)
        if (!isfinite(grid[k]))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: level %u of the grid is %g; a payload holds finite ones",
                            name, k, (double)grid[k]);
    if (l->form != GSQ_ROWS) ucb_put_f32s(out, grid, l->n_levels);
    ucb_part(out, UCB_PART_SCALES);
    for (size_t b = 0; b < l->n_blocks; b++) {
        uint16_t half = l->scale == GSQ_BF16 ? ucb_bf16_from_f32(scale[b])
                                             : ucb_f16_from_f32(scale[b]);
        float stored = l->scale == GSQ_F32    ? scale[b]
                       : l->scale == GSQ_BF16 ? ucb_bf16_widen(half)
                                              : ucb_f16_widen(half);
        if (!isfinite(stored))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: the scale of the block at row %zu, column %zu passes the "
                            "largest %s; try scale=%s",
                            name, b / l->blocks_per_row, b % l->blocks_per_row * l->block,
                            scale_names[l->scale], l->scale == GSQ_F16 ? "bf16" : "fp32");
        if (l->scale == GSQ_F32)
            ucb_put_f32(out, stored);
        else
            ucb_put_u16(out, half);
    }
    return UCB_OK;
}

static ucb_status optimal_grid(struct ucb_job *job, const struct gsq_layout *l,
                               const float *w, const float *scale, float *grid,
                               const char *name, struct ucb_err *err)
{
    struct gsq_bin *bins = UCB_NEW(job->scratch, struct gsq_bin, GSQ_BINS);
    if (bins == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for bins", name);
    UCB_TRY(gsq_histogram(l, w, scale, bins, job->pool, job->scratch, name, err));
    return gsq_grid_optimal(bins, GSQ_BINS, l->n_levels, grid, job->scratch, name, err);
}

/* Squared error of the matrix, before weights are rounded to bf16,
 * by codes for this grid. */
static ucb_status trace_error(struct ucb_job *job, const struct gsq_layout *l,
                              const struct ucb_source *src, const float *scale,
                              const float *grid, const char *role, struct ucb_err *err)
{
    size_t n_bytes = gsq_code_bytes(l);
    uint8_t codes[GSQ_PIECE + 8], *packed = UCB_NEW(job->scratch, uint8_t, n_bytes);
    double sum = 0;
    uint64_t one = 1;
    if (packed == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to trace", src->matrix->name);
    UCB_TRY(gsq_encode_codes(l, src->w, scale, grid, packed, job->pool, job->scratch,
                             src->matrix->name, err));
    for (size_t b = 0; b < l->n_blocks; b++)
        for (size_t i = 0; i < l->block; i++) {
            size_t at = b * l->block + i;
            if (i % GSQ_PIECE == 0)
                gsq_unpack(packed, n_bytes, l->bits, at,
                           l->block - i < GSQ_PIECE ? l->block - i : GSQ_PIECE, codes);
            double off = (double)src->w[at] -
                         (double)(grid[codes[i % GSQ_PIECE]] * scale[b]);
            sum += off * off;
        }
    return job->trace(job->trace_context, role, UCB_F64, 1, &one, &sum, err);
}

/* What the other way to a grid would have cost, beside the one that was taken. */
static ucb_status trace_both(struct ucb_job *job, const struct gsq_layout *l,
                             const struct ucb_source *src, const float *scale,
                             const float *grid, struct ucb_err *err)
{
    float other[GSQ_MAX_LEVELS] = {0};
    bool seed = is_seed(job);
    if (job->trace == NULL || l->form == GSQ_ROWS) return UCB_OK;
    UCB_TRY((seed ? optimal_grid : gsq_grid_seed)(job, l, src->w, scale, other,
                                                  src->matrix->name, err));
    UCB_TRY(trace_error(job, l, src, scale, seed ? other : grid, "squared_error_dp", err));
    return trace_error(job, l, src, scale, seed ? grid : other, "squared_error_seed", err);
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    const char *name = src->matrix->name;
    struct gsq_layout l = gsq_layout_of(job, src->matrix);
    float grid[GSQ_MAX_LEVELS] = {0}, *scale = UCB_NEW(job->scratch, float, l.n_blocks);
    if (scale == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu scales", name, l.n_blocks);
    gsq_find_scales(&l, src->w, scale, job->pool);
    if (l.form == GSQ_ROWS)
        gsq_grid_rows(l.n_levels, grid);
    else
        UCB_TRY((is_seed(job) ? gsq_grid_seed : optimal_grid)(job, &l, src->w, scale, grid,
                                                              name, err));
    UCB_TRY(gsq_put_head(&l, name, grid, scale, out, err));
    ucb_part(out, UCB_PART_CODES);
    uint8_t *packed = ucb_put_room(out, gsq_code_bytes(&l));
    if (packed == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for codes", name);
    UCB_TRY(gsq_encode_codes(&l, src->w, scale, grid, packed, job->pool, job->scratch, name,
                             err));
    return trace_both(job, &l, src, scale, grid, err);
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++) UCB_TRY(encode_one(job, &src[i], out[i], err));
    return UCB_OK;
}

/* ---- decode ---- */

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    return sizeof(struct gsq_state) + gsq_layout_of(job, matrix).n_blocks * sizeof(float);
}

static ucb_status take_form(struct ucb_reader *in, const struct gsq_state *s,
                            struct ucb_err *err)
{
    static const char *const names[GSQ_N_FORMS] = {"blocks", "blocks of 128", "rows"};
    const uint8_t *form;
    UCB_TRY(ucb_payload_take(in, s->matrix, "form", 1, &form, err));
    if (*form == s->layout.form) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the payload's form is %u, and %u columns take %u (%s); was it "
                    "written with the same method spec?",
                    s->matrix->name, *form, s->matrix->n_in, s->layout.form,
                    names[s->layout.form]);
}

static ucb_status take_scales(struct ucb_reader *in, struct gsq_state *s,
                              struct ucb_err *err)
{
    size_t n = s->layout.n_blocks;
    const uint8_t *data;
    switch (s->layout.scale) {
    case GSQ_F32: return ucb_payload_take_f32s(in, s->matrix, "absmax", n, s->scale, err);
    case GSQ_F16: return ucb_payload_take_f16s(in, s->matrix, "absmax", n, s->scale, err);
    case GSQ_BF16: break;
    }
    UCB_TRY(ucb_payload_take(in, s->matrix, "absmax", 2 * n, &data, err));
    for (size_t b = 0; b < n; b++) {
        s->scale[b] = ucb_bf16_widen(ucb_load_u16(data + 2 * b));
        if (!isfinite(s->scale[b]))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: absmax %zu of the payload is %g, and encoders write "
                            "finite values only",
                            s->matrix->name, b, (double)s->scale[b]);
    }
    return UCB_OK;
}

static ucb_status check_padding(const struct gsq_state *s, struct ucb_err *err)
{
    size_t n = s->layout.n_rows * s->layout.n_in, n_bytes = gsq_code_bytes(&s->layout);
    unsigned used = (unsigned)(n * s->layout.bits % 8);
    if (used == 0 || s->packed[n_bytes - 1] >> used == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the bits after %zu codes are not zero",
                    s->matrix->name, n);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct gsq_state *s = state;
    *s = (struct gsq_state){.matrix = matrix, .layout = gsq_layout_of(job, matrix)};
    const struct gsq_layout *l = &s->layout;
    UCB_TRY(take_form(in, s, err));
    if (l->form == GSQ_ROWS)
        gsq_grid_rows(l->n_levels, s->grid);
    else
        UCB_TRY(ucb_payload_take_f32s(in, matrix, "grid", l->n_levels, s->grid, err));
    UCB_TRY(take_scales(in, s, err));
    UCB_TRY(ucb_payload_take(in, matrix, "codes", gsq_code_bytes(l), &s->packed, err));
    UCB_TRY(check_padding(s, err));
    return ucb_payload_end(in, matrix, err);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct gsq_state *s = state;
    gsq_decode_rows(s, s->scale, s->grid, row, n, acc);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct gsq_state *s = state;
    const struct gsq_layout *l = &s->layout;
    size_t n = l->n_rows * l->n_in;
    uint64_t shape[2] = {l->n_rows, l->n_in}, blocks[2] = {l->n_rows, l->blocks_per_row},
             levels = l->n_levels;
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, n + 8);
    if (codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list codes", s->matrix->name);
    gsq_unpack(s->packed, gsq_code_bytes(l), l->bits, 0, n, codes);
    UCB_TRY(emit(context, "codes", UCB_U8, 2, shape, codes, err));
    UCB_TRY(emit(context, "grid", UCB_F32, 1, &levels, s->grid, err));
    return emit(context, "absmax", UCB_F32, 2, blocks, s->scale, err);
}

const struct ucb_method ucb_method_gsq = {
    .name = "gsq",
    .summary = "one k-means grid per matrix, an absmax per block",
    .source = "UltraCompress 0.5.0 (GSQ); the grid of init=dp: Wu (1991), Wang and Song "
              "(2011)",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 1, /* bits */
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .unfreeze = gsq_unfreeze,
    .decode_with = gsq_decode_with,
    .pull_back = gsq_pull_back,
    .freeze = gsq_freeze,
    .inspect = inspect,
};
