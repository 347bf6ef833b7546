/*
 * bnb4.c - blockwise 4-bit codes of bitsandbytes: the layout and arithmetic that nf4 and
 * fp4 share.
 *
 * The matrix is one flat array cut into blocks of 64, across row ends; the last block may
 * be short.
 *
 *     absmax = max |x|
 *     v      = clamp(x * (1 / max(absmax, 1e-38)), -1, 1)
 *     code   = how many midpoints lie below v
 *
 * A full block multiplies by the reciprocal, the short last one divides and stores the
 * clamped absmax: so does the library, and either rule in the other's place flips codes.
 *
 * Payload of n weights in b blocks:
 *     codes      ceil(n / 2)       two per byte, the even element in the high nibble; an
 *                                  odd count is padded with the code of zero
 *     absmax     4 b               fp32                                   (double_quant=0)
 * or
 *     absmax     b                 codes of the 8-bit map, bnb4_nested.c  (double_quant=1)
 *     absmax2    4 ceil(b / 256)   fp32
 *     offset     4                 fp32
 */
#include "bnb4.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"
#include "method/payload.h"

enum {
    N_CODES = 16,
    N_MIDDLES = 15,
    SMALLEST_BLOCK = 32,
    CHUNK_WEIGHTS = 1 << 16,
    MAX_BLOCK = 4096
};
static const float smallest_absmax = 1e-38f;

static const char *const sizes[] = {"32",   "64",   "128",  "256", "512",
                                    "1024", "2048", "4096", NULL};
static const char *const switches[] = {"0", "1", NULL};
static const char *const rules[] = {"gpu", "cpu", NULL};
const struct ucb_knob bnb4_knobs[] = {
    {"block", "weights that share one absmax", "64", UCB_KNOB_CHOICE, 0, 0, sizes},
    {"double_quant", "1: absmax itself in 8 bits", "0", UCB_KNOB_CHOICE, 0, 0, switches},
    {"nested", "absmax values that share one fp32 peak, with double_quant=1", "256",
     UCB_KNOB_CHOICE, 0, 0, sizes},
    {"rule", "how 8-bit absmax codes are chosen: as the GPU kernel or the CPU library does",
     "gpu", UCB_KNOB_CHOICE, 0, 0, rules},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

/* The lengths that shape and knobs give; encoder and decoder both start here. */
struct layout {
    size_t n, block, n_blocks, nested, n_nested;
    bool double_quant;
};

static struct layout layout_of(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct layout l = {.n = ucb_matrix_weights(matrix)};
    l.block = (size_t)SMALLEST_BLOCK << (unsigned)ucb_job_value(job, "block");
    l.nested = (size_t)SMALLEST_BLOCK << (unsigned)ucb_job_value(job, "nested");
    l.double_quant = ucb_job_value(job, "double_quant") != 0;
    l.n_blocks = (l.n + l.block - 1) / l.block;
    l.n_nested = (l.n_blocks + l.nested - 1) / l.nested;
    return l;
}

/* The source's own dtype; what has no 16-bit type of its own is deployed as F32. */
enum ucb_dtype bnb4_decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    return source == UCB_F16 || source == UCB_BF16 ? source : UCB_F32;
}

double bnb4_nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return 4;
}

/* ---- encode ---- */

/* The midpoints between neighbouring values, each spread over all lanes: loading one is one
 * instruction. */
struct limits {
    float middle[N_MIDDLES][UCB_LANES];
};

struct encode_run {
    struct layout layout;
    const struct bnb4_type *type;
    struct limits limits;
    const float *w;
    float *absmax;
    uint8_t *packed;
};

static void fill_limits(const struct bnb4_type *type, struct limits *limits)
{
    for (int k = 0; k < N_MIDDLES; k++) {
        float middle = (type->value[type->order[k]] + type->value[type->order[k + 1]]) /
                       2.0f;
        for (int i = 0; i < UCB_LANES; i++) limits->middle[k][i] = middle;
    }
}

/* How many midpoints lie below each of 32 values: two vectors at once, so that a midpoint
 * is loaded once for both. */
UCB_LANES_INLINE void rank_32(const float *w, float inverse, const struct limits *limits,
                              uint8_t *rank)
{
    /* No clamp: |x| * inverse passes 1 by an ulp at most, far above the last midpoint. */
    ucb_f32x16 first = ucb_lanes_load(w) * inverse,
               second = ucb_lanes_load(w + UCB_LANES) * inverse;
    ucb_i32x16 below_first = {0}, below_second = {0};
    for (int k = 0; k < N_MIDDLES; k++) {
        ucb_f32x16 limit = ucb_lanes_load(limits->middle[k]);
        below_first -= limit < first;
        below_second -= limit < second;
    }
    ucb_lanes_store_u8(rank, below_first);
    ucb_lanes_store_u8(rank + UCB_LANES, below_second);
}

/* Ranks (0..15, by value) of a whole block scaled by the reciprocal of its absmax, which is
 * returned. */
UCB_CLONES static float rank_block(const float *w, size_t n, const struct limits *limits,
                                   uint8_t *rank)
{
    ucb_f32x16 peaks = {0};
    for (size_t i = 0; i < n; i += UCB_LANES)
        peaks = ucb_lanes_max(ucb_lanes_abs(ucb_lanes_load(w + i)), peaks);
    float absmax = ucb_lanes_peak(peaks);
    float inverse = 1.0f / (absmax > smallest_absmax ? absmax : smallest_absmax);
    for (size_t i = 0; i < n; i += SMALLEST_BLOCK)
        rank_32(w + i, inverse, limits, rank + i);
    return absmax;
}

/* The short last block: division, and the clamped absmax is what gets stored. */
static float rank_last(const float *w, size_t n, const struct limits *limits, uint8_t *rank)
{
    float absmax = smallest_absmax;
    for (size_t i = 0; i < n; i++) absmax = fmaxf(absmax, fabsf(w[i]));
    for (size_t i = 0; i < n; i++) {
        rank[i] = 0;
        for (int k = 0; k < N_MIDDLES; k++) rank[i] += limits->middle[k][0] < w[i] / absmax;
    }
    return absmax;
}

/* The rank that v = 0 gets: the padding of an odd count. */
static uint8_t rank_of_zero(const struct limits *limits)
{
    uint8_t rank = 0;
    for (int k = 0; k < N_MIDDLES; k++) rank += limits->middle[k][0] < 0.0f;
    return rank;
}

static void pack_block(const uint8_t *rank, size_t n, const uint8_t *order, uint8_t *packed)
{
    for (size_t i = 0; i < n / 2; i++)
        packed[i] = (uint8_t)(order[rank[2 * i]] << 4 | order[rank[2 * i + 1]]);
}

static size_t blocks_per_chunk(const struct layout *l)
{
    return CHUNK_WEIGHTS / l->block;
}

static void encode_chunk(void *context, size_t chunk)
{
    struct encode_run *run = context;
    const struct layout *l = &run->layout;
    size_t first = chunk * blocks_per_chunk(l), last = first + blocks_per_chunk(l);
    uint8_t rank[MAX_BLOCK + 1];
    if (last > l->n_blocks) last = l->n_blocks;
    for (size_t block = first; block < last; block++) {
        size_t at = block * l->block, n = l->n - at < l->block ? l->n - at : l->block;
        run->absmax[block] = n == l->block ? rank_block(run->w + at, n, &run->limits, rank)
                                           : rank_last(run->w + at, n, &run->limits, rank);
        if (n % 2 == 1) rank[n++] = rank_of_zero(&run->limits);
        pack_block(rank, n, run->type->order, run->packed + at / 2);
    }
}

/* Shows what either rule makes of the absmax, under the golden names; the bytes hold what
 * the job's own rule made. */
static ucb_status trace_rule(struct ucb_job *job, const struct layout *l,
                             const float *absmax, float offset, enum bnb4_rule rule,
                             struct ucb_err *err)
{
    bool gpu = rule == BNB4_RULE_GPU;
    uint64_t n = l->n_blocks;
    uint8_t *codes = UCB_NEW(job->scratch, uint8_t, n);
    float *absmax2 = UCB_NEW(job->scratch, float, l->n_nested),
          *restored = UCB_NEW(job->scratch, float, n);
    if (codes == NULL || absmax2 == NULL || restored == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to show the absmax codes");
    bnb4_nested_encode(absmax, n, offset, l->nested, rule, codes, absmax2);
    bnb4_nested_decode(codes, n, offset, l->nested, absmax2, restored);
    UCB_TRY(job->trace(job->trace_context, gpu ? "absmax_codes_gpu_rule" : "absmax_codes",
                       UCB_U8, 1, &n, codes, err));
    return job->trace(job->trace_context,
                      gpu ? "absmax_restored_gpu_rule" : "absmax_restored", UCB_F32, 1, &n,
                      restored, err);
}

static ucb_status put_nested(struct ucb_job *job, const struct layout *l,
                             const float *absmax, const char *name, struct ucb_writer *out,
                             struct ucb_err *err)
{
    float *absmax2 = UCB_NEW(job->scratch, float, l->n_nested);
    uint8_t *codes = ucb_put_room(out, l->n_blocks);
    if (absmax2 == NULL || codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for absmax codes", name);
    float offset = bnb4_offset(absmax, l->n_blocks);
    enum bnb4_rule rule = ucb_job_value(job, "rule") != 0 ? BNB4_RULE_CPU : BNB4_RULE_GPU;
    bnb4_nested_encode(absmax, l->n_blocks, offset, l->nested, rule, codes, absmax2);
    ucb_put_f32s(out, absmax2, l->n_nested);
    ucb_put_f32(out, offset);
    if (job->trace == NULL) return UCB_OK;
    UCB_TRY(trace_rule(job, l, absmax, offset, BNB4_RULE_CPU, err));
    return trace_rule(job, l, absmax, offset, BNB4_RULE_GPU, err);
}

ucb_status bnb4_encode(struct ucb_job *job, const struct bnb4_type *type,
                       const struct ucb_source *src, struct ucb_writer *out,
                       struct ucb_err *err)
{
    struct encode_run run = {
        .layout = layout_of(job, src->matrix), .type = type, .w = src->w};
    const struct layout *l = &run.layout;
    fill_limits(type, &run.limits);
    ucb_part(out, UCB_PART_CODES);
    run.packed = ucb_put_room(out, (l->n + 1) / 2);
    run.absmax = UCB_NEW(job->scratch, float, l->n_blocks);
    if (run.packed == NULL || run.absmax == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", src->matrix->name,
                        l->n);
    size_t n_chunks = (l->n_blocks + blocks_per_chunk(l) - 1) / blocks_per_chunk(l);
    ucb_parallel_for(job->pool, n_chunks, encode_chunk, &run);

    ucb_part(out, UCB_PART_SCALES);
    if (l->double_quant) return put_nested(job, l, run.absmax, src->matrix->name, out, err);
    ucb_put_f32s(out, run.absmax, l->n_blocks);
    return UCB_OK;
}

/* ---- decode ---- */

struct state {
    const struct bnb4_type *type;
    const struct ucb_matrix *matrix;
    struct layout layout;
    const uint8_t *packed,
        *codes; /* in the payload; codes: of absmax, NULL without double_quant */
    float offset;
    float *absmax2;
    float absmax[]; /* [n_blocks], restored; then absmax2 */
};

size_t bnb4_state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct layout l = layout_of(job, matrix);
    return sizeof(struct state) + (l.n_blocks + l.n_nested) * sizeof(float);
}

static ucb_status open_nested(struct state *s, struct ucb_reader *in, struct ucb_err *err)
{
    const struct layout *l = &s->layout;
    UCB_TRY(ucb_payload_take(in, s->matrix, "absmax codes", l->n_blocks, &s->codes, err));
    UCB_TRY(ucb_payload_take_f32s(in, s->matrix, "absmax2", l->n_nested, s->absmax2, err));
    UCB_TRY(ucb_payload_take_f32s(in, s->matrix, "absmax offset", 1, &s->offset, err));
    bnb4_nested_decode(s->codes, l->n_blocks, s->offset, l->nested, s->absmax2, s->absmax);
    return UCB_OK;
}

static ucb_status check_padding(const struct state *s, struct ucb_err *err)
{
    struct limits limits;
    fill_limits(s->type, &limits);
    unsigned found = s->packed[s->layout.n / 2] & 15u,
             expected = s->type->order[rank_of_zero(&limits)];
    if (s->layout.n % 2 == 0 || found == expected) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the padding after %zu codes is %u, expected %u",
                    s->matrix->name, s->layout.n, found, expected);
}

ucb_status bnb4_open(struct ucb_job *job, const struct bnb4_type *type,
                     const struct ucb_matrix *matrix, struct ucb_reader *in, void *state,
                     struct ucb_err *err)
{
    struct state *s = state;
    *s = (struct state){.type = type, .matrix = matrix, .layout = layout_of(job, matrix)};
    s->absmax2 = s->absmax + s->layout.n_blocks;
    UCB_TRY(ucb_payload_take(in, matrix, "codes", (s->layout.n + 1) / 2, &s->packed, err));
    if (s->layout.double_quant)
        UCB_TRY(open_nested(s, in, err));
    else
        UCB_TRY(ucb_payload_take_f32s(in, matrix, "absmax", s->layout.n_blocks, s->absmax,
                                      err));
    UCB_TRY(check_padding(s, err));
    return ucb_payload_end(in, matrix, err);
}

/* Elements [at, end) of one block; value[code] is already scaled by the block's absmax. */
static void decode_run(const uint8_t *packed, size_t at, size_t end, const float *value,
                       float *out)
{
    if (at < end && at % 2 == 1) *out++ = value[packed[at++ / 2] & 15];
    for (; at + 1 < end; at += 2, out += 2) {
        out[0] = value[packed[at / 2] >> 4];
        out[1] = value[packed[at / 2] & 15];
    }
    if (at < end) *out = value[packed[at / 2] >> 4];
}

void bnb4_decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    size_t start = (size_t)row * s->matrix->n_in, at = start,
           end = start + (size_t)n * s->matrix->n_in;
    while (at < end) {
        size_t block = at / s->layout.block, stop = (block + 1) * s->layout.block;
        float value[N_CODES];
        for (int c = 0; c < N_CODES; c++) value[c] = s->type->value[c] * s->absmax[block];
        if (stop > end) stop = end;
        decode_run(s->packed, at, stop, value, acc + (at - start));
        at = stop;
    }
}

/* ---- inspect ---- */

/* What the payload holds; what either rule makes of the absmax comes from trace_rule. */
static ucb_status inspect_nested(const struct state *s, ucb_inspect_emit *emit,
                                 void *context, struct ucb_err *err)
{
    uint64_t blocks = s->layout.n_blocks, nested = s->layout.n_nested, one = 1;
    UCB_TRY(emit(context, "absmax_codes_stored", UCB_U8, 1, &blocks, s->codes, err));
    UCB_TRY(emit(context, "absmax_offset", UCB_F32, 1, &one, &s->offset, err));
    UCB_TRY(emit(context, "absmax2", UCB_F32, 1, &nested, s->absmax2, err));
    return emit(context, "absmax_restored_stored", UCB_F32, 1, &blocks, s->absmax, err);
}

ucb_status bnb4_inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                        void *context, struct ucb_err *err)
{
    const struct state *s = state;
    (void)job;
    uint64_t bytes = (s->layout.n + 1) / 2, blocks = s->layout.n_blocks;
    UCB_TRY(emit(context, "packed", UCB_U8, 1, &bytes, s->packed, err));
    if (s->layout.double_quant) return inspect_nested(s, emit, context, err);
    return emit(context, "absmax", UCB_F32, 1, &blocks, s->absmax, err);
}
