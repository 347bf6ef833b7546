/*
 * awq - activation-aware weight quantization: round to nearest on a grid per group, after
 * input channels with large activations were scaled up so that their weights round finely.
 *
 * The scale S per input channel is awq/awq_search.c, the clipping per group
 * awq/awq_clip.c, the quantization awq/awq_quantize.c. q, k and v share S, and so do gate
 * and up, because in a deployed model 1 / S is folded into the norm before them; S of o is
 * folded into the rows of v, S of down into the rows of up.
 *
 * What is fp32 and what is half precision. The searches run in fp32; they give S and the
 * clipping. The library then converts the layer to half precision and quantizes that,
 * operation by operation: those codes, scales and zeros are stored here, and a weight is
 * fp16((code - zero) * scale) / S. S is stored in half precision, which is how precisely
 * the norm's gain or the previous matrix can take it in; codes are chosen for S before that
 * rounding, as in the library. So of the golden vectors
 *
 *     fp16_group_scale, fp16_group_zero, gemm_*     are this payload's arrays;
 *     codes, group_scale, group_zero, deq_scaled_space, effective_weight
 *                                                   are the same in fp32 with S in fp32:
 *                                                   no byte holds them, the encoder shows
 *                                                   them (also as decoded_f32);
 *     act_mean_abs, weight_mean_rel, channel_scale, clip_max, loss_history, best_grid_index
 *                                                   are the searches', shown alike.
 *
 * Without statistics (embedding, head, an expert that no token reached) S is 1 and nothing
 * is clipped. o gets S = 1 where v and o differ in shape (grouped-query attention): S could
 * not be folded; AutoAWQ skips it for that reason.
 *
 * Payload, with n weights in G groups:
 *     codes   ceil(n bits / 8), a little-endian bit stream in flat order, zero padded
 *     scale   2 G, fp16               zero   ceil(G bits / 8), a bit stream like the codes
 *     S       2 n_in, fp16: stored so that the bytes decode alone; folded it costs nothing
 */
#include <math.h>
#include <string.h>

#include "awq/awq.h"
#include "core/clones.h"
#include "core/half.h"
#include "method/lanes.h"
#include "method/payload.h"

static const char *const switches[] = {"0", "1", NULL};
static const struct ucb_knob knobs[] = {
    {"bits", "bits of a code (the library deploys 4)", "4", UCB_KNOB_INT, 2, 8, NULL},
    {"group", "weights of a row that share scale and zero", "128", UCB_KNOB_INT, 2, 1 << 20,
     NULL},
    {"duo", "1: S looks at activations and weights; 0: at activations only", "1",
     UCB_KNOB_CHOICE, 0, 0, switches},
    {"clip", "1: search a clipping for each group", "1", UCB_KNOB_CHOICE, 0, 0, switches},
    {"grid", "candidates for S", "20", UCB_KNOB_INT, 1, 1000, NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static struct awq_config config_of(const struct ucb_job *job)
{
    return (struct awq_config){.bits = (unsigned)ucb_job_value(job, "bits"),
                               .n_grid = (unsigned)ucb_job_value(job, "grid"),
                               .group = (size_t)ucb_job_value(job, "group"),
                               .duo = ucb_job_value(job, "duo") != 0,
                               .clip = ucb_job_value(job, "clip") != 0};
}

static uint32_t needs(const struct ucb_job *job)
{
    uint32_t clip = ucb_job_value(job, "clip") != 0 ? UCB_NEEDS_SAMPLE : UCB_NEEDS_NONE;
    return UCB_NEEDS_ABS | UCB_NEEDS_H | clip;
}

static uint32_t group(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    if (matrix->role >= UCB_N_LAYER_ROLES) return UCB_N_INPUTS;
    return (uint32_t)ucb_role_input(matrix->role);
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
    return ucb_job_value(job, "bits");
}

/* ---- layout ---- */

/* The lengths that shape and knobs give; encoder and decoder both start here. */
struct layout {
    size_t n, n_in, group, groups_per_row, n_groups, code_bytes, zero_bytes;
    unsigned bits;
};

static size_t stream_bytes(size_t n, unsigned bits)
{
    return (n * bits + 7) / 8;
}

/* Powers of two are what kernels take; where none divides a row, any divisor must do. */
static ucb_status refuse_shape(const struct ucb_matrix *matrix, size_t found,
                               struct ucb_err *err)
{
    size_t two = 128, any = found < matrix->n_in ? found : matrix->n_in;
    while (two > 1 && matrix->n_in % two != 0) two /= 2;
    while (any > 1 && matrix->n_in % any != 0) any--;
    if (any < 2) any = matrix->n_in;
    if (two >= 8)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: %u columns, awq needs a multiple of group=%zu; try group=%zu "
                        "(%zu and %zu work too)",
                        matrix->name, matrix->n_in, found, two, two / 2, two / 4);
    if (any >= 2)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: %u columns, awq needs a multiple of group=%zu; try group=%zu",
                        matrix->name, matrix->n_in, found, any);
    return UCB_FAIL(err, UCB_USAGE, "%s: 1 column, and awq needs groups of 2; try nf4",
                    matrix->name);
}

static ucb_status get_layout(const struct ucb_job *job, const struct ucb_matrix *matrix,
                             struct layout *out, struct ucb_err *err)
{
    struct layout l = {.n = ucb_matrix_weights(matrix), .n_in = matrix->n_in};
    l.group = (size_t)ucb_job_value(job, "group");
    l.bits = (unsigned)ucb_job_value(job, "bits");
    l.groups_per_row = l.n_in / l.group;
    l.n_groups = l.groups_per_row * matrix->n_out;
    l.code_bytes = stream_bytes(l.n, l.bits);
    l.zero_bytes = stream_bytes(l.n_groups, l.bits);
    *out = l;
    return l.n_in % l.group == 0 ? UCB_OK : refuse_shape(matrix, l.group, err);
}

static ucb_status fits(const struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_err *err)
{
    struct layout l;
    return get_layout(job, matrix, &l, err);
}

/* ---- encode ---- */

/* Eight codes fill `bits` bytes exactly. */
static void pack(const uint8_t *codes, size_t n, unsigned bits, uint8_t *packed)
{
    for (size_t i = 0; i < n; i += 8, packed += bits) {
        uint64_t word = 0;
        size_t left = n - i < 8 ? n - i : 8;
        for (size_t k = 0; k < left; k++) word |= (uint64_t)codes[i + k] << k * bits;
        memcpy(packed, &word, (left * bits + 7) / 8);
    }
}

static ucb_status new_codes(struct ucb_job *job, const struct ucb_matrix *matrix,
                            const struct layout *l, struct awq_codes *out,
                            struct ucb_err *err)
{
    out->code = UCB_NEW(job->scratch, uint8_t, l->n);
    out->scale = UCB_NEW(job->scratch, float, l->n_groups);
    out->zero = UCB_NEW(job->scratch, float, l->n_groups);
    if (out->code != NULL && out->scale != NULL && out->zero != NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", matrix->name, l->n);
}

/* Both ends of every grid must be finite in half precision, which is what is deployed. */
static ucb_status check_grids(const struct ucb_matrix *matrix, const struct layout *l,
                              const struct awq_codes *c, struct ucb_err *err)
{
    float top = (float)((1u << l->bits) - 1);
    for (size_t g = 0; g < l->n_groups; g++)
        if (!isfinite(c->scale[g]) || !isfinite(ucb_f16_round(-c->zero[g] * c->scale[g])) ||
            !isfinite(ucb_f16_round((top - c->zero[g]) * c->scale[g])))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: row %zu, column %zu begins a group whose scaled weights "
                            "pass 65504, the largest F16, in which awq quantizes; try nf4",
                            matrix->name, g / l->groups_per_row,
                            g % l->groups_per_row * l->group);
    return UCB_OK;
}

static ucb_status write_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                                const struct layout *l, const struct awq_codes *c,
                                const float *scale, struct ucb_writer *out,
                                struct ucb_err *err)
{
    uint8_t *zeros = UCB_NEW(job->scratch, uint8_t, l->n_groups);
    ucb_part(out, UCB_PART_CODES);
    uint8_t *codes = ucb_put_room(out, l->code_bytes);
    if (zeros == NULL || codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for codes", matrix->name);
    pack(c->code, l->n, l->bits, codes);
    ucb_part(out, UCB_PART_SCALES);
    for (size_t g = 0; g < l->n_groups; g++) {
        ucb_put_u16(out, ucb_f16_from_f32(c->scale[g]));
        zeros[g] = (uint8_t)c->zero[g];
    }
    ucb_part(out, UCB_PART_ZEROS);
    uint8_t *packed = ucb_put_room(out, l->zero_bytes);
    if (packed == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for zeros", matrix->name);
    pack(zeros, l->n_groups, l->bits, packed);
    ucb_part(out, UCB_PART_FACTORS);
    for (size_t j = 0; j < l->n_in; j++) ucb_put_u16(out, ucb_f16_from_f32(scale[j]));
    return UCB_OK;
}

/* What the searches found for one encode call. */
struct searched {
    struct awq_config config;
    struct awq_scaling scaling; /* scale: of every matrix; the rest as `tried` says */
    bool tried;
    const float *moments; /* NULL: no clipping */
};

static ucb_status trace_search(struct ucb_job *job, const struct searched *s, uint64_t n_in,
                               struct ucb_err *err)
{
    uint64_t one = 1, n_grid = s->config.n_grid;
    int32_t best = s->scaling.found ? (int32_t)s->scaling.best : -1;
    ucb_inspect_emit *emit = job->trace;
    void *to = job->trace_context;
    UCB_TRY(emit(to, "channel_scale", UCB_F32, 1, &n_in, s->scaling.scale, err));
    if (!s->tried) return UCB_OK;
    UCB_TRY(emit(to, "act_mean_abs", UCB_F32, 1, &n_in, s->scaling.mean_abs, err));
    UCB_TRY(emit(to, "weight_mean_rel", UCB_F32, 1, &n_in, s->scaling.mean_rel, err));
    UCB_TRY(emit(to, "loss_history", UCB_F64, 1, &n_grid, s->scaling.loss, err));
    return emit(to, "best_grid_index", UCB_I32, 1, &one, &best, err);
}

/* The fp32 version of what is stored in half precision. */
static ucb_status trace_exact(struct ucb_job *job, const struct searched *s,
                              const struct ucb_source *src, const struct layout *l,
                              const float *clip_max, struct ucb_err *err)
{
    uint64_t shape[2] = {src->matrix->n_out, l->n_in},
             groups[2] = {shape[0], l->groups_per_row};
    ucb_inspect_emit *emit = job->trace;
    void *to = job->trace_context;
    struct awq_codes c;
    UCB_TRY(new_codes(job, src->matrix, l, &c, err));
    float *w = UCB_NEW(job->scratch, float, l->n);
    if (w == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its fp32 decode",
                        src->matrix->name);
    UCB_TRY(awq_quantize(job, &s->config, src, s->scaling.scale, clip_max, false, &c, err));
    for (size_t i = 0; i < l->n; i++)
        w[i] = ((float)c.code[i] - c.zero[i / l->group]) * c.scale[i / l->group];
    if (clip_max != NULL) UCB_TRY(emit(to, "clip_max", UCB_F32, 2, groups, clip_max, err));
    UCB_TRY(emit(to, "codes", UCB_U8, 2, shape, c.code, err));
    UCB_TRY(emit(to, "group_scale", UCB_F32, 2, groups, c.scale, err));
    UCB_TRY(emit(to, "group_zero", UCB_F32, 2, groups, c.zero, err));
    UCB_TRY(emit(to, "deq_scaled_space", UCB_F32, 2, shape, w, err));
    for (size_t i = 0; i < l->n; i++) w[i] /= s->scaling.scale[i % l->n_in];
    UCB_TRY(emit(to, "effective_weight", UCB_F32, 2, shape, w, err));
    return emit(to, "decoded_f32", UCB_F32, 2, shape, w, err);
}

/* A matrix of no model has no role: `ucbench quantize` clips whatever it is given. */
static bool is_clipped(const struct ucb_matrix *matrix)
{
    if (matrix->arch == NULL) return true;
    return matrix->role != UCB_ROLE_Q && matrix->role != UCB_ROLE_K;
}

static ucb_status encode_one(struct ucb_job *job, const struct searched *s,
                             const struct ucb_source *src, struct ucb_writer *out,
                             struct ucb_err *err)
{
    struct layout l;
    struct awq_codes c;
    float *clip_max = NULL;
    UCB_TRY(get_layout(job, src->matrix, &l, err));
    UCB_TRY(new_codes(job, src->matrix, &l, &c, err));
    if (s->moments != NULL && is_clipped(src->matrix)) {
        clip_max = UCB_NEW(job->scratch, float, l.n_groups);
        if (clip_max == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to clip %zu groups",
                            src->matrix->name, l.n_groups);
        UCB_TRY(awq_search_clip(job, &s->config, src, s->scaling.scale, s->moments,
                                clip_max, err));
    }
    UCB_TRY(awq_quantize(job, &s->config, src, s->scaling.scale, clip_max, true, &c, err));
    UCB_TRY(check_grids(src->matrix, &l, &c, err));
    UCB_TRY(write_payload(job, src->matrix, &l, &c, s->scaling.scale, out, err));
    return job->trace == NULL ? UCB_OK : trace_exact(job, s, src, &l, clip_max, err);
}

/* o of a model: only where v's rows are o's columns, one to one, can 1 / S go into v. */
static bool can_fold(const struct ucb_matrix *matrix)
{
    const struct ucb_arch *arch = matrix->arch;
    if (arch == NULL || matrix->role != UCB_ROLE_O) return true;
    return (size_t)arch->n_kv_heads * arch->head_dim == matrix->n_out &&
           arch->hidden == matrix->n_in;
}

static ucb_status search(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct searched *s, struct ucb_err *err)
{
    const struct ucb_calib *calib = src->calib;
    const struct ucb_matrix *matrix = src->matrix;
    size_t n_in = matrix->n_in;
    s->scaling.mean_abs = UCB_NEW(job->scratch, float, n_in);
    s->scaling.mean_rel = UCB_NEW(job->scratch, float, n_in);
    s->scaling.scale = UCB_NEW(job->scratch, float, n_in);
    s->scaling.loss = UCB_NEW(job->scratch, double, s->config.n_grid);
    if (s->scaling.mean_abs == NULL || s->scaling.mean_rel == NULL ||
        s->scaling.scale == NULL || s->scaling.loss == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu scales", matrix->name, n_in);
    for (size_t j = 0; j < n_in; j++) s->scaling.scale[j] = 1;
    if (calib == NULL || calib->n_tokens == 0) return UCB_OK;
    s->tried = can_fold(matrix);
    if (s->tried) UCB_TRY(awq_search_scale(job, &s->config, src, n_src, &s->scaling, err));
    if (!s->config.clip || calib->n_sample == 0) return UCB_OK;
    return awq_group_moments(job, &s->config, matrix, calib, s->scaling.scale, &s->moments,
                             err);
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    struct searched s = {.config = config_of(job)};
    UCB_TRY(search(job, src, n_src, &s, err));
    if (job->trace != NULL) UCB_TRY(trace_search(job, &s, src->matrix->n_in, err));
    for (uint32_t i = 0; i < n_src; i++) UCB_TRY(encode_one(job, &s, &src[i], out[i], err));
    return UCB_OK;
}

/* ---- decode ---- */

struct state {
    const struct ucb_matrix *matrix;
    struct layout layout;
    const uint8_t *codes, *zeros; /* in the payload */
    float *channel;               /* [n_in], S; behind scale */
    float scale[];                /* [n_groups] */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct layout l;
    get_layout(job, matrix, &l, NULL); /* open reports a shape that does not fit */
    return sizeof(struct state) + (l.n_groups + l.n_in) * sizeof(float);
}

static ucb_status check_padding(const struct ucb_matrix *matrix, const uint8_t *stream,
                                size_t n, unsigned bits, struct ucb_err *err)
{
    unsigned used = (unsigned)(n * bits % 8);
    if (used == 0 || stream[stream_bytes(n, bits) - 1] >> used == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the bits after %zu codes are not zero",
                    matrix->name, n);
}

static ucb_status check_positive(const struct ucb_matrix *matrix, const char *what,
                                 const float *values, size_t n, float least,
                                 struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(values[i] >= least))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: %s %zu of the payload is %g, and encoders write %g at least",
                matrix->name, what, i, (double)values[i], (double)least);
    return UCB_OK;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    *s = (struct state){.matrix = matrix};
    UCB_TRY(get_layout(job, matrix, &s->layout, err));
    const struct layout *l = &s->layout;
    s->channel = s->scale + l->n_groups;
    UCB_TRY(ucb_payload_take(in, matrix, "codes", l->code_bytes, &s->codes, err));
    UCB_TRY(ucb_payload_take_f16s(in, matrix, "scale", l->n_groups, s->scale, err));
    UCB_TRY(ucb_payload_take(in, matrix, "zero", l->zero_bytes, &s->zeros, err));
    UCB_TRY(ucb_payload_take_f16s(in, matrix, "channel scale", l->n_in, s->channel, err));
    UCB_TRY(check_padding(matrix, s->codes, l->n, l->bits, err));
    UCB_TRY(check_padding(matrix, s->zeros, l->n_groups, l->bits, err));
    UCB_TRY(check_positive(matrix, "scale", s->scale, l->n_groups, 0x1p-24f, err));
    UCB_TRY(check_positive(matrix, "channel scale", s->channel, l->n_in, 0x1p-14f, err));
    return ucb_payload_end(in, matrix, err);
}

/* Codes [first, first + n) of a stream. A code spans two bytes at most; something stands
 * behind each stream, so both exist. */
static void unpack(const uint8_t *stream, unsigned bits, size_t first, size_t n,
                   uint8_t *codes)
{
    unsigned mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        size_t at = (first + i) * bits;
        codes[i] = (uint8_t)(ucb_load_u16(stream + at / 8) >> at % 8 & mask);
    }
}

UCB_CLONES static void scale_codes(const uint8_t *codes, size_t n, float scale, float zero,
                                   const float *channel, bool half, float *out)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 code = __builtin_convertvector((ucb_i32x16)ucb_lanes_load_u8(codes + i),
                                                  ucb_f32x16);
        ucb_f32x16 w = (code - zero) * scale;
        if (half) w = ucb_lanes_f16_round(w);
        ucb_lanes_store_some(out + i, w / ucb_lanes_load_some(channel + i, n - i), n - i);
    }
}

static void decode_rows(const struct state *s, uint32_t row, uint32_t n, bool half,
                        float *out)
{
    enum { PIECE = 256 };
    const struct layout *l = &s->layout;
    size_t start = (size_t)row * l->n_in, end = start + (size_t)n * l->n_in;
    for (size_t at = start, n_piece; at < end; at += n_piece) {
        uint8_t codes[PIECE] = {0}, zero;
        size_t g = at / l->group, left = (g + 1) * l->group - at;
        n_piece = left < PIECE ? left : PIECE;
        unpack(s->codes, l->bits, at, n_piece, codes);
        unpack(s->zeros, l->bits, g, 1, &zero);
        scale_codes(codes, n_piece, s->scale[g], (float)zero, s->channel + at % l->n_in,
                    half, out + (at - start));
    }
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    decode_rows(state, row, n, false, acc);
}

static void decode_deployed(const void *state, uint32_t row, uint32_t n, float *acc)
{
    decode_rows(state, row, n, true, acc);
}

/* The library's own tensors, which exist for 4 bits and rows in eights. */
static ucb_status inspect_gemm(struct ucb_job *job, const struct state *s,
                               const uint8_t *codes, const uint8_t *zeros,
                               const uint16_t *scale, ucb_inspect_emit *emit, void *context,
                               struct ucb_err *err)
{
    const struct layout *l = &s->layout;
    size_t n_out = s->matrix->n_out, n_groups = l->groups_per_row;
    if (l->bits != 4 || n_out % 8 != 0) return UCB_OK;
    uint64_t shape[2] = {l->n_in, n_out / 8}, groups[2] = {n_groups, n_out / 8},
             turned[2] = {n_groups, n_out};
    uint32_t *qweight = UCB_NEW(job->scratch, uint32_t, l->n / 8),
             *qzeros = UCB_NEW(job->scratch, uint32_t, l->n_groups / 8);
    uint16_t *scales = UCB_NEW(job->scratch, uint16_t, l->n_groups);
    if (qweight == NULL || qzeros == NULL || scales == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its GEMM words",
                        s->matrix->name);
    awq_gemm_pack(codes, n_out, l->n_in, qweight);
    awq_gemm_pack(zeros, n_out, n_groups, qzeros);
    for (size_t i = 0; i < l->n_groups; i++)
        scales[i % n_groups * n_out + i / n_groups] = scale[i];
    UCB_TRY(emit(context, "gemm_qweight", UCB_I32, 2, shape, qweight, err));
    UCB_TRY(emit(context, "gemm_qzeros", UCB_I32, 2, groups, qzeros, err));
    return emit(context, "gemm_scales", UCB_F16, 2, turned, scales, err);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    const struct layout *l = &s->layout;
    uint64_t shape[2] = {s->matrix->n_out, l->n_in},
             groups[2] = {s->matrix->n_out, l->groups_per_row};
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, l->n),
            *zeros = UCB_NEW(job->scratch, uint8_t, l->n_groups);
    uint16_t *scale = UCB_NEW(job->scratch, uint16_t, l->n_groups + l->n_in),
             *zero = UCB_NEW(job->scratch, uint16_t, l->n_groups);
    if (codes == NULL || zeros == NULL || scale == NULL || zero == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list codes", s->matrix->name);
    unpack(s->codes, l->bits, 0, l->n, codes);
    unpack(s->zeros, l->bits, 0, l->n_groups, zeros);
    for (size_t i = 0; i < l->n_groups + l->n_in; i++)
        scale[i] = ucb_f16_from_f32(s->scale[i]);
    for (size_t g = 0; g < l->n_groups; g++) zero[g] = ucb_f16_from_f32(zeros[g]);
    UCB_TRY(emit(context, "fp16_codes", UCB_U8, 2, shape, codes, err));
    UCB_TRY(emit(context, "fp16_group_scale", UCB_F16, 2, groups, scale, err));
    UCB_TRY(emit(context, "fp16_group_zero", UCB_F16, 2, groups, zero, err));
    UCB_TRY(emit(context, "fp16_channel_scale", UCB_F16, 1, &shape[1], scale + l->n_groups,
                 err));
    return inspect_gemm(job, s, codes, zeros, scale, emit, context, err);
}

const struct ucb_method ucb_method_awq = {
    .name = "awq",
    .summary = "activation-aware: channels scaled by a search, then a grid per group",
    .source = "AutoAWQ 0.2.9; Lin et al. 2023, arXiv 2306.00978",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 2, /* bits and group */
    .needs = needs,
    .fits = fits,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .decode_deployed = decode_deployed,
    .inspect = inspect,
    .group = group,
};
