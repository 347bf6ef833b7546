/*
 * row_overlay - two-stage residual product quantization in a rotated, activation-scaled
 * space, with the rows that suffer most kept in half precision or e4m3.
 *
 * The frame is row_overlay/overlay_frame.c, the fit of the codebooks overlay_fit.c, the
 * search overlay_search.c; which rows are kept, and how, overlay_rows.c. Everything an
 * encoder measures is measured on what the stored values decode to.
 *
 * Payload, of n_out rows of which n16 are kept as fp16 and n8 as e4m3, and the other
 * C = n_out - n16 - n8 are coded:
 *
 *     column scales   fp16 [n_in]
 *     row scales      fp16 [C]
 *     codes           b1 + b2 bits of each 8 weights of the coded rows, in order; highest
 *                     bit first, zero padded to a whole byte
 *     kept rows       index of each fp16 row, rising, then of each e4m3 row, rising: u16,
 *                     or u32 where n_out is past 65536; values of the fp16 rows; fp16
 *                     scale of each e4m3 row; their values
 *
 * b1 and b2 are those of the role's bank in the side data.
 */
#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method/payload.h"
#include "row_overlay/overlay.h"
#include "row_overlay/overlay_plan.h"
#include "row_overlay/overlay_rows.h"

enum { BASE_FIT, HIGH_FIT, HIGHER_FIT }; /* bpw */

static const char *const sizes[] = {"2.40", "2.79", "2.83", NULL};
static const char *const kinds[] = {"none", "fp16", "fp8", "mixed", NULL};
static const struct ucb_knob knobs[] = {
    {"bpw", "codebooks and share of kept rows; 2.40: the base fit, which keeps none",
     "2.79", UCB_KNOB_CHOICE, 0, 0, sizes},
    {"rows", "how the worst rows are kept", "mixed", UCB_KNOB_CHOICE, 0, 0, kinds},
    {"rho",
     "share of the rows that are kept, mixed: a quarter of it in fp16; -1: as bpw "
     "says",
     "-1", UCB_KNOB_REAL, -1, 1, NULL},
    {"iters", "rounds of the fit", "6", UCB_KNOB_INT, 0, 100, NULL},
    {"beam", "first entries that are tried for each vector", "8", UCB_KNOB_INT, 1,
     OVERLAY_BEAM, NULL},
    {"k1", "entries of the first codebook, a power of two; 0: as bpw says", "0",
     UCB_KNOB_INT, 0, 1 << OVERLAY_MAX_BITS, NULL},
    {"k2", "entries of the second", "0", UCB_KNOB_INT, 0, 1 << OVERLAY_MAX_BITS, NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

/* ---- numbers that follow from the job ---- */

static unsigned log2_of(double k)
{
    unsigned bits = 0;
    while ((uint32_t)k >> (bits + 1) != 0) bits++;
    return bits;
}

static bool is_mlp(enum ucb_role role)
{
    return role == UCB_ROLE_GATE || role == UCB_ROLE_UP || role == UCB_ROLE_DOWN ||
           role == UCB_ROLE_SHARED_GATE || role == UCB_ROLE_SHARED_UP ||
           role == UCB_ROLE_SHARED_DOWN;
}

static void choose_rows(const struct ucb_job *job, uint32_t n_out,
                        struct overlay_plan *plan)
{
    static const double fp16[] = {0, 0.002, 0.005}, fp8[] = {0, 0.005, 0.012},
                        high[] = {0, 0.001, 0.002}, low[] = {0, 0.003, 0.008};
    size_t bpw = (size_t)ucb_job_value(job, "bpw");
    enum overlay_rows rows = (enum overlay_rows)ucb_job_value(job, "rows");
    double given = ucb_job_value(job, "rho"), share16 = 0, share8 = 0;
    bool own = given >= 0;
    if (rows == OVERLAY_ROWS_FP16) share16 = own ? given : fp16[bpw];
    if (rows == OVERLAY_ROWS_FP8) share8 = own ? given : fp8[bpw];
    if (rows == OVERLAY_ROWS_MIXED) {
        share16 = own ? 0.25 * given : high[bpw];
        share8 = own ? 0.75 * given : low[bpw];
    }
    double n16 = rint(share16 * n_out), n8 = rint(share8 * n_out); /* half to even */
    if (rows == OVERLAY_ROWS_FP16 && share16 > 0) n16 = fmax(1, n16);
    if (rows == OVERLAY_ROWS_FP8 && share8 > 0) n8 = fmax(1, n8);
    plan->n_fp16 = (uint32_t)n16;
    plan->n_fp8 = (uint32_t)fmin(n8, n_out - n16);
}

struct overlay_plan overlay_plan_of(const struct ucb_job *job,
                                    const struct ucb_matrix *matrix)
{
    bool is_base = ucb_job_value(job, "bpw") == BASE_FIT, is_o = matrix->role == UCB_ROLE_O;
    double k1 = ucb_job_value(job, "k1"), k2 = ucb_job_value(job, "k2");
    struct overlay_plan plan = {
        .b1 = k1 > 0 ? log2_of(k1) : (is_base ? 11 : 12) + (unsigned)is_o,
        .b2 = k2 > 0 ? log2_of(k2) : (is_base ? 8 : 10) + (unsigned)is_o,
        .alpha = is_base && is_mlp(matrix->role) ? 0.125f : 0.25f,
        .n_beam = (unsigned)ucb_job_value(job, "beam")};
    choose_rows(job, matrix->n_out, &plan);
    return plan;
}

static ucb_status check_power(double k, const char *name, struct ucb_err *err)
{
    if (k == 0 || (double)(1u << log2_of(k)) == k) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE, "row_overlay: %s=%.0f is no power of two; try %u", name,
                    k, 1u << log2_of(k));
}

static ucb_status check(const struct ucb_job *job, struct ucb_err *err)
{
    UCB_TRY(check_power(ucb_job_value(job, "k1"), "k1", err));
    UCB_TRY(check_power(ucb_job_value(job, "k2"), "k2", err));
    if (ucb_job_value(job, "bpw") != BASE_FIT ||
        ucb_job_value(job, "rows") == OVERLAY_ROWS_NONE || ucb_job_value(job, "rho") >= 0)
        return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "row_overlay: bpw=2.40 is the base fit, which says nothing about kept "
                    "rows; give rows=none, or a share as in rho=0.004");
}

static uint32_t needs(const struct ucb_job *job)
{
    (void)job;
    return UCB_NEEDS_DIAG;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F16;
}

/*
 * The original's "effective" bits: codes, and what kept rows have in their place, with 32
 * bits for a row's index and 16 for an e4m3 row's scale; row and column scales and the
 * codebooks are not in it.
 */
static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct overlay_plan plan = overlay_plan_of(job, matrix);
    double base = (plan.b1 + plan.b2) / (double)OVERLAY_D, n_in = matrix->n_in;
    double kept = plan.n_fp16 * ((16 - base) * n_in + 32) +
                  plan.n_fp8 * ((8 - base) * n_in + 16 + 32);
    return base + kept / (n_in * matrix->n_out);
}

/* ---- side data ---- */

static ucb_status fit_shared(struct ucb_job *job, struct ucb_stream *stream,
                             struct ucb_writer *out, struct ucb_err *err)
{
    struct overlay_bank banks[UCB_N_ROLES];
    uint32_t n_banks;
    UCB_TRY(overlay_fit(job, stream, banks, &n_banks, err));
    overlay_banks_put(banks, n_banks, out);
    return UCB_OK;
}

/* ---- encode ---- */

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    const struct ucb_matrix *m = src->matrix;
    struct overlay_plan plan = overlay_plan_of(job, m);
    struct overlay_frame frame = {0};
    struct overlay_bank bank;
    struct overlay_choice choice;
    (void)n_src;
    UCB_TRY(overlay_frame_make(job, src, plan.alpha, job->scratch, &frame, err));
    UCB_TRY(overlay_bank_get(job, m, true, &bank, err));
    overlay_assign(overlay_path_best(), &bank, plan.n_beam, frame.g,
                   ucb_matrix_weights(m) / OVERLAY_D, job->pool, frame.first, frame.second);
    UCB_TRY(overlay_rows_choose(job, src, &plan, &bank, &frame, &choice, err));
    ucb_part(out[0], UCB_PART_SCALES);
    for (uint32_t i = 0; i < m->n_in; i++)
        ucb_put_u16(out[0], ucb_f16_from_f32(frame.s[i]));
    for (uint32_t i = 0; i < choice.n_coded; i++)
        ucb_put_u16(out[0], ucb_f16_from_f32(frame.rs[choice.coded[i]]));
    ucb_part(out[0], UCB_PART_CODES);
    overlay_codes_put(job, &bank, &frame, &choice, out[0]);
    return overlay_rows_put(src, &choice, out[0], err);
}

/* ---- decode ---- */

struct state {
    uint32_t n_out, n_in, n_coded;
    struct overlay_bank bank;
    float *s, *sign, *rs; /* [n_in] twice, [n_coded] */
    const uint8_t *codes;
    struct overlay_kept kept;
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(struct state);
}

static ucb_status take_scales(struct ucb_reader *in, const struct ucb_matrix *m,
                              const char *what, uint32_t n, float *out, struct ucb_err *err)
{
    UCB_TRY(ucb_payload_take_f16s(in, m, what, n, out, err));
    for (uint32_t i = 0; i < n; i++)
        if (!(out[i] > 0))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s %u of the payload is %g, and scales are positive",
                            m->name, what, i, (double)out[i]);
    return UCB_OK;
}

/* The last byte's unused bits are zeros. */
static ucb_status take_codes(struct ucb_reader *in, const struct ucb_matrix *m,
                             struct state *s, struct ucb_err *err)
{
    size_t n_bits = (size_t)s->n_coded * (s->n_in / OVERLAY_D) * (s->bank.b1 + s->bank.b2),
           n_bytes = (n_bits + 7) / 8;
    UCB_TRY(ucb_payload_take(in, m, "codes", n_bytes, &s->codes, err));
    if (n_bits % 8 == 0 || (uint8_t)(s->codes[n_bytes - 1] << n_bits % 8) == 0)
        return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the bits that pad the codes are not zero",
                    m->name);
}

static ucb_status open(struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct overlay_plan plan = overlay_plan_of(job, matrix);
    struct state *s = state;
    *s = (struct state){.n_out = matrix->n_out,
                        .n_in = matrix->n_in,
                        .n_coded = matrix->n_out - plan.n_fp16 - plan.n_fp8,
                        .s = UCB_NEW(job->arena, float, matrix->n_in),
                        .sign = UCB_NEW(job->arena, float, matrix->n_in),
                        .rs = UCB_NEW(job->arena, float, matrix->n_out)};
    if (s->s == NULL || s->sign == NULL || s->rs == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its scales", matrix->name);
    if (matrix->n_in % OVERLAY_D != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: %u columns, and a payload exists for multiples of 8 only",
                        matrix->name, matrix->n_in);
    UCB_TRY(overlay_bank_get(job, matrix, false, &s->bank, err));
    UCB_TRY(take_scales(in, matrix, "column scale", matrix->n_in, s->s, err));
    UCB_TRY(take_scales(in, matrix, "row scale", s->n_coded, s->rs, err));
    UCB_TRY(take_codes(in, matrix, s, err));
    overlay_signs(matrix->n_in, s->sign);
    return overlay_rows_take(job, matrix, &plan, in, &s->kept, err);
}

/* The indices of coded row `rank` and what they stand for. */
static void decode_coded(const struct state *s, uint32_t rank, float *out)
{
    uint32_t n_vectors = s->n_in / OVERLAY_D;
    struct overlay_bits bits = overlay_bits_at(s->codes, (size_t)rank * n_vectors *
                                                             (s->bank.b1 + s->bank.b2));
    for (uint32_t v = 0; v < n_vectors; v++) {
        uint32_t first = overlay_bits_get(&bits, s->bank.b1),
                 second = overlay_bits_get(&bits, s->bank.b2);
        overlay_vector(&s->bank, first, second, s->rs[rank], out + v * OVERLAY_D);
    }
    overlay_unframe(out, s->n_in, s->sign, s->s);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    for (uint32_t i = row; i < row + n; i++, acc += s->n_in)
        if (s->kept.kind[i] == OVERLAY_CODED)
            decode_coded(s, s->kept.place[i], acc);
        else
            overlay_rows_read(&s->kept, i, s->n_in, acc);
}

/* The kept rows' values lie behind their indices: those in fp16, then scales and values of
 * those in e4m3. */
static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct state *s = state;
    uint32_t block = overlay_rotation_block(s->n_in), n_fp16 = 0;
    (void)job;
    for (uint32_t row = 0; row < s->n_out; row++)
        n_fp16 += s->kept.kind[row] == OVERLAY_FP16;
    struct overlay_device_plan plan = {
        .first_book = s->bank.at,
        .second_book = s->bank.at + s->bank.first.n * OVERLAY_D * sizeof(uint16_t),
        .row_scales = s->n_in * sizeof(uint16_t),
        .codes = (uint64_t)(s->codes - bytes),
        .fp16 = (uint64_t)(s->kept.fp16 - bytes),
        .fp8 = (uint64_t)(s->kept.fp8 - bytes),
        .b1 = s->bank.b1,
        .b2 = s->bank.b2,
        .rotation = block,
        .rotation_scale = overlay_rotation_scale(block)};
    plan.fp8_scales = plan.fp16 + (uint64_t)n_fp16 * s->n_in * sizeof(uint16_t);
    ucb_put_bytes(out, &plan, sizeof(plan));
    ucb_put_f32s(out, s->sign, s->n_in);
    for (uint32_t row = 0; row < s->n_out; row++)
        ucb_put_u32(out, s->kept.kind[row] + 4 * s->kept.place[row]);
    return ucb_writer_status(out, err);
}

static ucb_status emit_indices(struct ucb_job *job, const struct state *s,
                               ucb_inspect_emit *emit, void *context, struct ucb_err *err)
{
    uint64_t shape[2] = {s->n_coded, s->n_in / OVERLAY_D};
    size_t n = shape[0] * shape[1];
    struct overlay_bits bits = overlay_bits_at(s->codes, 0);
    uint16_t *first = UCB_NEW(job->scratch, uint16_t, n),
             *second = UCB_NEW(job->scratch, uint16_t, n);
    if (first == NULL || second == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to list row_overlay's indices");
    for (size_t v = 0; v < n; v++) {
        first[v] = (uint16_t)overlay_bits_get(&bits, s->bank.b1);
        second[v] = (uint16_t)overlay_bits_get(&bits, s->bank.b2);
    }
    UCB_TRY(emit(context, "i1", UCB_U16, 2, shape, first, err));
    return emit(context, "i2", UCB_U16, 2, shape, second, err);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    uint64_t n_in = s->n_in, n_coded = s->n_coded, n_out = s->n_out;
    uint64_t first[2] = {s->bank.first.n, OVERLAY_D},
             second[2] = {s->bank.second.n, OVERLAY_D};
    UCB_TRY(emit(context, "s", UCB_F32, 1, &n_in, s->s, err));
    UCB_TRY(emit(context, "rs", UCB_F32, 1, &n_coded, s->rs, err));
    UCB_TRY(emit_indices(job, s, emit, context, err));
    UCB_TRY(emit(context, "row_kind", UCB_U8, 1, &n_out, s->kept.kind, err));
    UCB_TRY(emit(context, "cb1", UCB_F32, 2, first, s->bank.first.entry, err));
    return emit(context, "cb2", UCB_F32, 2, second, s->bank.second.entry, err);
}

const struct ucb_method ucb_method_row_overlay = {
    .name = "row_overlay",
    .summary = "residual product quantization in a rotated space, worst rows kept (needs "
               "calibration)",
    .source = "the row-overlay quantizer of ultracompress 0.5.0",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 2,
    .check = check,
    .needs = needs,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .fit_shared = fit_shared,
    .open = open,
    .decode = decode,
    .device_plan = device_plan,
    .inspect = inspect,
};
