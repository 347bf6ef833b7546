/*
 * rtn - plain round to nearest, one half-precision scale (and minimum) per group of
 * neighbours in a row.
 *
 *     sym=1   scale = fp16(max |w| / 2^(bits-1))
 *             code  = clamp(round(w / scale), -2^(bits-1), 2^(bits-1) - 1), stored plus
 *                     2^(bits-1)
 *             value = code * scale
 *     sym=0   scale = fp16((max - min) / (2^bits - 1)),  zero = fp16(min)
 *             code  = clamp(round((w - zero) / scale), 0, 2^bits - 1)
 *             value = code * scale + zero
 *
 * Scale and zero are rounded to half precision BEFORE the codes are chosen: rounding them
 * afterwards would pick codes for a grid that the decoder never sees. Rounding is half to
 * even; the value is deployed as F16.
 *
 * Payload of n weights in G groups: codes ceil(n bits / 8), a little-endian bit stream in
 * flat order, the lowest bits first, zero padded; scale 2 G; zero 2 G with sym=0.
 */
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "method/lanes.h"
#include "method/payload.h"

enum { CHUNK_WEIGHTS = 1 << 15, CODES_PER_WORD = 8 };

static const char *const switches[] = {"0", "1", NULL};
static const struct ucb_knob knobs[] = {
    {"bits", "bits of a code", "4", UCB_KNOB_INT, 2, 8, NULL},
    {"group", "weights of a row that share a scale; -1: the whole row", "64", UCB_KNOB_INT,
     -1, 1 << 20, NULL},
    {"sym", "1: scale only, codes around zero; 0: scale and minimum", "0", UCB_KNOB_CHOICE,
     0, 0, switches},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static ucb_status check(const struct ucb_job *job, struct ucb_err *err)
{
    double group = ucb_job_value(job, "group");
    if (group == -1 || group >= 2) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "rtn:group=%g: a group has 2 weights at least, or is -1 for a whole row", group);
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F16;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)matrix;
    return ucb_job_value(job, "bits");
}

/* The lengths that shape and knobs give; encoder and decoder both start here. */
struct layout {
    size_t n, n_in, group, groups_per_row, n_groups;
    unsigned bits;
    bool symmetric;
};

static ucb_status get_layout(const struct ucb_job *job, const struct ucb_matrix *matrix,
                             struct layout *out, struct ucb_err *err)
{
    struct layout l = {.n = ucb_matrix_weights(matrix), .n_in = matrix->n_in};
    double group = ucb_job_value(job, "group");
    l.group = group < 0 ? matrix->n_in : (size_t)group;
    l.bits = (unsigned)ucb_job_value(job, "bits");
    l.symmetric = ucb_job_value(job, "sym") != 0;
    l.groups_per_row = l.n_in / l.group;
    l.n_groups = l.groups_per_row * matrix->n_out;
    *out = l;
    if (l.n_in % l.group == 0) return UCB_OK;
    size_t next = l.group < l.n_in ? l.group : l.n_in;
    while (l.n_in % next != 0) next--;
    if (next < 2) next = l.n_in;
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: %u columns, rtn needs a multiple of group=%zu; try group=%zu",
                    matrix->name, matrix->n_in, l.group, next);
}

static ucb_status fits(const struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_err *err)
{
    struct layout l;
    return get_layout(job, matrix, &l, err);
}

static size_t code_bytes(const struct layout *l)
{
    return (l->n * l->bits + 7) / 8;
}

/* ---- encode ---- */

struct grid {
    float scale, zero; /* as stored; symmetric: zero 0 */
    float low, high;   /* of a code before it is made positive */
};

UCB_CLONES static void find_range(const float *w, size_t n, float *low, float *high)
{
    ucb_lanes_range(w, n, low, high);
}

static struct grid fit_grid(const struct layout *l, const float *w)
{
    float low, high, half = (float)(1u << (l->bits - 1));
    find_range(w, l->group, &low, &high);
    if (l->symmetric)
        return (struct grid){ucb_f16_round(fmaxf(-low, high) / half), 0, -half, half - 1};
    float top = 2 * half - 1;
    return (struct grid){ucb_f16_round((high - low) / top), ucb_f16_round(low), 0, top};
}

/* Both ends of the grid must be finite as F16, which is what gets deployed. */
static bool grid_fits(const struct grid *grid)
{
    return isfinite(ucb_f16_round(grid->low * grid->scale + grid->zero)) &&
           isfinite(ucb_f16_round(grid->high * grid->scale + grid->zero)) &&
           isfinite(grid->scale);
}

UCB_CLONES static void write_codes(const float *w, size_t n, const struct grid *grid,
                                   uint8_t *codes)
{
    ucb_f32x16 scale = ucb_lanes_all(grid->scale), zero = ucb_lanes_all(grid->zero);
    if (grid->scale == 0) {
        memset(codes, (int)-grid->low, n);
        return;
    }
    for (size_t i = 0; i < n; i += UCB_LANES) {
        uint8_t some[UCB_LANES];
        ucb_f32x16 x = (ucb_lanes_load_some(w + i, n - i) - zero) / scale;
        ucb_f32x16 code = ucb_lanes_rne(ucb_lanes_clamp(x, grid->low, grid->high)) -
                          grid->low;
        ucb_lanes_store_code(some, code);
        memcpy(codes + i, some, n - i < UCB_LANES ? n - i : UCB_LANES);
    }
}

/* Eight codes fill `bits` bytes exactly. */
static void pack(const uint8_t *codes, size_t n, unsigned bits, uint8_t *packed)
{
    for (size_t i = 0; i < n; i += CODES_PER_WORD, packed += bits) {
        uint64_t word = 0;
        size_t left = n - i < CODES_PER_WORD ? n - i : CODES_PER_WORD;
        for (size_t k = 0; k < left; k++) word |= (uint64_t)codes[i + k] << k * bits;
        memcpy(packed, &word, (left * bits + 7) / 8);
    }
}

struct encode_run {
    struct layout layout;
    const float *w;
    size_t rows_per_chunk; /* a multiple of 8, so that chunks begin on whole bytes */
    size_t n_rows;
    uint8_t *codes, *packed;
    struct grid *grids;
};

static void encode_chunk(void *context, size_t chunk)
{
    struct encode_run *run = context;
    const struct layout *l = &run->layout;
    size_t first = chunk * run->rows_per_chunk, last = first + run->rows_per_chunk;
    if (last > run->n_rows) last = run->n_rows;
    for (size_t g = first * l->groups_per_row; g < last * l->groups_per_row; g++) {
        run->grids[g] = fit_grid(l, run->w + g * l->group);
        if (grid_fits(&run->grids[g]))
            write_codes(run->w + g * l->group, l->group, &run->grids[g],
                        run->codes + g * l->group);
    }
    size_t start = first * l->n_in, n = (last - first) * l->n_in;
    pack(run->codes + start, n, l->bits, run->packed + start / CODES_PER_WORD * l->bits);
}

static ucb_status put_grids(const struct encode_run *run, const char *name,
                            struct ucb_writer *out, struct ucb_err *err)
{
    const struct layout *l = &run->layout;
    for (size_t g = 0; g < l->n_groups; g++)
        if (!grid_fits(&run->grids[g]))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: row %zu, column %zu begins a group whose grid passes "
                            "65504, the largest F16, "
                            "which rtn deploys; try nf4",
                            name, g / l->groups_per_row, g % l->groups_per_row * l->group);
    ucb_part(out, UCB_PART_SCALES);
    for (size_t g = 0; g < l->n_groups; g++)
        ucb_put_u16(out, ucb_f16_from_f32(run->grids[g].scale));
    ucb_part(out, UCB_PART_ZEROS);
    for (size_t g = 0; g < l->n_groups && !l->symmetric; g++)
        ucb_put_u16(out, ucb_f16_from_f32(run->grids[g].zero));
    return UCB_OK;
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    struct encode_run run = {.w = src->w, .n_rows = src->matrix->n_out};
    const struct layout *l = &run.layout;
    UCB_TRY(get_layout(job, src->matrix, &run.layout, err));
    run.rows_per_chunk = (CHUNK_WEIGHTS / l->n_in / CODES_PER_WORD + 1) * CODES_PER_WORD;
    ucb_part(out, UCB_PART_CODES);
    run.packed = ucb_put_room(out, code_bytes(l));
    run.codes = UCB_NEW(job->scratch, uint8_t, l->n);
    run.grids = UCB_NEW(job->scratch, struct grid, l->n_groups);
    if (run.packed == NULL || run.codes == NULL || run.grids == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", src->matrix->name,
                        l->n);
    ucb_parallel_for(job->pool, (run.n_rows + run.rows_per_chunk - 1) / run.rows_per_chunk,
                     encode_chunk, &run);
    return put_grids(&run, src->matrix->name, out, err);
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
    struct layout layout;
    const uint8_t *packed;
    float *zero;   /* [n_groups], behind scale; zeros when symmetric */
    float scale[]; /* [n_groups] */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct layout l;
    get_layout(job, matrix, &l, NULL); /* open reports a shape that does not fit */
    return sizeof(struct state) + 2 * l.n_groups * sizeof(float);
}

static ucb_status check_padding(const struct state *s, struct ucb_err *err)
{
    unsigned used = (unsigned)(s->layout.n * s->layout.bits % 8);
    unsigned last = s->packed[code_bytes(&s->layout) - 1];
    if (used == 0 || last >> used == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the bits after %zu codes are not zero",
                    s->matrix->name, s->layout.n);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    *s = (struct state){.matrix = matrix};
    UCB_TRY(get_layout(job, matrix, &s->layout, err));
    size_t n_groups = s->layout.n_groups;
    s->zero = s->scale + n_groups;
    UCB_TRY(ucb_payload_take(in, matrix, "codes", code_bytes(&s->layout), &s->packed, err));
    UCB_TRY(ucb_payload_take_f16s(in, matrix, "scale", n_groups, s->scale, err));
    if (s->layout.symmetric)
        memset(s->zero, 0, n_groups * sizeof(*s->zero));
    else
        UCB_TRY(ucb_payload_take_f16s(in, matrix, "zero", n_groups, s->zero, err));
    UCB_TRY(check_padding(s, err));
    return ucb_payload_end(in, matrix, err);
}

/* Codes [first, first + n). A code spans two bytes at most; behind the last one stands a
 * scale, so both exist. */
static void unpack(const struct state *s, size_t first, size_t n, uint8_t *codes)
{
    unsigned bits = s->layout.bits, mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        size_t at = (first + i) * bits;
        codes[i] = (uint8_t)(ucb_load_u16(s->packed + at / 8) >> at % 8 & mask);
    }
}

UCB_CLONES static void scale_codes(const uint8_t *codes, size_t n, float middle,
                                   float scale, float zero, float *out)
{
    ucb_f32x16 scales = ucb_lanes_all(scale), zeros = ucb_lanes_all(zero);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 code = __builtin_convertvector((ucb_i32x16)ucb_lanes_load_u8(codes + i),
                                                  ucb_f32x16);
        ucb_lanes_store_some(out + i, (code - middle) * scales + zeros, n - i);
    }
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    enum { PIECE = 256 };
    const struct state *s = state;
    const struct layout *l = &s->layout;
    float middle = l->symmetric ? (float)(1u << (l->bits - 1)) : 0.0f;
    size_t start = (size_t)row * l->n_in, end = start + (size_t)n * l->n_in;
    for (size_t at = start, n_piece; at < end; at += n_piece) {
        uint8_t codes[PIECE] = {0};
        size_t g = at / l->group, left = (g + 1) * l->group - at;
        n_piece = left < PIECE ? left : PIECE;
        unpack(s, at, n_piece, codes);
        scale_codes(codes, n_piece, middle, s->scale[g], s->zero[g], acc + (at - start));
    }
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    uint64_t shape[2] = {s->matrix->n_out, s->matrix->n_in},
             groups[2] = {s->matrix->n_out, s->layout.groups_per_row};
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, s->layout.n);
    uint16_t *halves = UCB_NEW(job->scratch, uint16_t, 2 * s->layout.n_groups);
    if (codes == NULL || halves == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list codes", s->matrix->name);
    unpack(s, 0, s->layout.n, codes);
    for (size_t i = 0; i < 2 * s->layout.n_groups; i++)
        halves[i] = ucb_f16_from_f32(s->scale[i]);
    UCB_TRY(emit(context, "codes", UCB_U8, 2, shape, codes, err));
    UCB_TRY(emit(context, "scale", UCB_F16, 2, groups, halves, err));
    if (s->layout.symmetric) return UCB_OK;
    return emit(context, "zero", UCB_F16, 2, groups, halves + s->layout.n_groups, err);
}

const struct ucb_method ucb_method_rtn = {
    .name = "rtn",
    .summary = "round to nearest, one scale per group",
    .source = "textbook; sym=1 is the grid of rtn_sym in UltraCompress 0.5.0",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 2, /* bits and group */
    .check = check,
    .fits = fits,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .inspect = inspect,
};
