/*
 * int5 - a grid of 31 levels a block, its codes entropy-coded: the lossy base of the scheme
 * that was announced as "lossless 5-bit". Alone it is a lossy method.
 *
 *     s = bf16(max |w| of the block), or 2^k >= max |w|
 *     value = c (s / 15), c in -15 .. 15
 *
 * c minimises (w / (s / 15) - c)^2 + lambda L(c) among the nearest level and the one next
 * to it towards zero, where L(c) is the length in bits of the code of c, from the counts of
 * the nearest levels (entropy-constrained quantization, one pass). lambda=0: nearest.
 *
 * Payload: length of the first stream (u64); codes plus 15, a codec stream of bytes;
 * scales, a codec stream of BF16. Blocks are flat, across row ends; the last may be short.
 */
#include <math.h>
#include <string.h>

#include "codec/codec_device.h"
#include "core/fmath.h"
#include "core/half.h"
#include "method/payload.h"

enum { TOP = 15, N_LEVELS = 2 * TOP + 1, CHUNK_BLOCKS = 512 };

static const char *const scales[] = {"max", "pow2", NULL};
static const struct ucb_knob knobs[] = {
    {"block", "weights that share a scale", "64", UCB_KNOB_INT, 8, 4096, NULL},
    {"scale", "max: the largest weight, as BF16; pow2: the power of two above it", "max",
     UCB_KNOB_CHOICE, 0, 0, scales},
    {"lambda", "what a bit of a code costs, in squared steps", "0.05", UCB_KNOB_REAL, 0, 1,
     NULL},
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
    return 5;
}

/* ---- encode ---- */

struct encode_run {
    const float *w;
    size_t n, block, n_blocks;
    bool pow2;
    uint16_t *scale;       /* [n_blocks] */
    uint8_t *codes;        /* [n] */
    double cost[N_LEVELS]; /* lambda times bits, by code plus 15 */
    uint32_t (*counts)[N_LEVELS];
};

/* BF16 rounds to nearest, so a scale may be below the largest weight; its code stays 15. */
static uint16_t scale_of(const float *w, size_t n, bool pow2)
{
    float peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmaxf(peak, fabsf(w[i]));
    uint32_t bits = ucb_f32_bits(peak);
    if (pow2 && (bits & 0x7fffff) != 0) bits = (bits | 0x7fffff) + 1;
    if (bits > 0x7f7f0000) bits = 0x7f7f0000; /* the largest finite BF16 */
    return ucb_bf16_from_f32(ucb_f32_from_bits(bits));
}

static float step_of(uint16_t scale)
{
    return ucb_bf16_widen(scale) / TOP;
}

static int nearest(float x)
{
    float whole = rintf(x);
    return whole > TOP ? TOP : whole < -TOP ? -TOP : (int)whole;
}

static double cost_of(const struct encode_run *run, float x, int code)
{
    double off = (double)x - code;
    return off * off + run->cost[code + TOP];
}

static void encode_blocks(void *context, size_t chunk)
{
    struct encode_run *run = context;
    size_t first = chunk * CHUNK_BLOCKS, last = first + CHUNK_BLOCKS;
    for (size_t b = first; b < last && b < run->n_blocks; b++) {
        size_t at = b * run->block,
               end = at + run->block < run->n ? at + run->block : run->n;
        run->scale[b] = scale_of(run->w + at, end - at, run->pow2);
        float step = step_of(run->scale[b]);
        for (size_t i = at; i < end; i++) {
            float x = step == 0 ? 0 : run->w[i] / step;
            int code = nearest(x), inner = code > 0 ? code - 1 : code < 0 ? code + 1 : 0;
            if (cost_of(run, x, inner) < cost_of(run, x, code)) code = inner;
            run->codes[i] = (uint8_t)(code + TOP);
            run->counts[chunk][code + TOP]++;
        }
    }
}

/* Lengths of codes from how often each is nearest. */
static void price_codes(struct encode_run *run, size_t n_chunks, double lambda)
{
    for (int c = 0; c < N_LEVELS; c++) {
        uint64_t count = 1; /* a code that was never nearest has a price, too */
        for (size_t i = 0; i < n_chunks; i++) count += run->counts[i][c];
        run->cost[c] = lambda *
                       (ucb_log((double)(run->n + N_LEVELS)) - ucb_log((double)count)) /
                       ucb_log(2);
    }
    memset(run->counts, 0, n_chunks * sizeof(*run->counts));
}

static ucb_status put_streams(struct ucb_job *job, const struct encode_run *run,
                              struct ucb_writer *out, struct ucb_err *err)
{
    struct ucb_codec_source codes = {.dtype = UCB_U8,
                                     .data = run->codes,
                                     .n_bytes = run->n},
                            scale = {.dtype = UCB_BF16,
                                     .data = run->scale,
                                     .n_bytes = 2 * run->n_blocks};
    size_t length_at = out->n_bytes;
    ucb_part(out, UCB_PART_HEADER);
    ucb_put_u64(out, 0);
    UCB_TRY(ucb_codec_encode(&codes, UCB_CODEC_DEFAULT, job->pool, job->scratch, out, err));
    if (out->failed) return ucb_writer_status(out, err);
    uint64_t length = out->n_bytes - length_at - sizeof(length),
             before = out->part_bytes[UCB_PART_CODES];
    memcpy(out->data + length_at, &length, sizeof(length));
    UCB_TRY(ucb_codec_encode(&scale, UCB_CODEC_DEFAULT, job->pool, job->scratch, out, err));
    if (!out->failed)
        ucb_part_moved(out, UCB_PART_CODES, UCB_PART_SCALES,
                       out->part_bytes[UCB_PART_CODES] - before);
    return ucb_writer_status(out, err);
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    struct encode_run run = {.w = src->w,
                             .n = ucb_matrix_weights(src->matrix),
                             .block = (size_t)ucb_job_value(job, "block"),
                             .pow2 = ucb_job_value(job, "scale") != 0};
    run.n_blocks = (run.n + run.block - 1) / run.block;
    size_t n_chunks = (run.n_blocks + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS;
    double lambda = ucb_job_value(job, "lambda");
    run.scale = UCB_NEW(job->scratch, uint16_t, run.n_blocks);
    run.codes = UCB_NEW(job->scratch, uint8_t, run.n);
    run.counts = ucb_arena_array(job->scratch, n_chunks, sizeof(*run.counts));
    if (run.scale == NULL || run.codes == NULL || run.counts == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", src->matrix->name,
                        run.n);
    ucb_parallel_for(job->pool, n_chunks, encode_blocks, &run);
    if (lambda > 0) {
        price_codes(&run, n_chunks, lambda);
        ucb_parallel_for(job->pool, n_chunks, encode_blocks, &run);
    }
    return put_streams(job, &run, out, err);
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
    size_t n, block, n_blocks;
    struct ucb_codec codec[2]; /* of codes and scales */
    uint8_t *codes;            /* plus 15 */
    uint16_t *scale;           /* BF16 */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return sizeof(struct state);
}

static ucb_status read_stream(struct ucb_job *job, const struct ucb_matrix *matrix,
                              enum ucb_dtype dtype, struct ucb_reader *in, size_t n_bytes,
                              void *out, size_t n_decoded, const char *what,
                              struct ucb_codec *codec, struct ucb_err *err)
{
    const uint8_t *bytes;
    UCB_TRY(ucb_payload_take(in, matrix, what, n_bytes, &bytes, err));
    ucb_status status = ucb_codec_open(dtype, n_decoded, bytes, n_bytes, codec, err);
    if (status == UCB_OK)
        status = ucb_codec_decode(codec, 0, n_decoded, job->pool, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s: %s", matrix->name, what);
    return status;
}

static ucb_status check_values(const struct state *s, struct ucb_err *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->codes[i] >= N_LEVELS)
            return UCB_FAIL(err, UCB_CORRUPT, "%s: code %zu is %u, codes end at %d",
                            s->matrix->name, i, s->codes[i], N_LEVELS - 1);
    for (size_t b = 0; b < s->n_blocks; b++)
        if (s->scale[b] >= 0x7f80)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: scale %zu is %04x, scales are finite and not negative",
                            s->matrix->name, b, s->scale[b]);
    return UCB_OK;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    const uint8_t *length;
    *s = (struct state){.matrix = matrix,
                        .n = ucb_matrix_weights(matrix),
                        .block = (size_t)ucb_job_value(job, "block")};
    s->n_blocks = (s->n + s->block - 1) / s->block;
    s->codes = UCB_NEW(job->arena, uint8_t, s->n);
    s->scale = UCB_NEW(job->arena, uint16_t, s->n_blocks);
    if (s->codes == NULL || s->scale == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", matrix->name, s->n);
    UCB_TRY(ucb_payload_take(in, matrix, "length", sizeof(uint64_t), &length, err));
    UCB_TRY(read_stream(job, matrix, UCB_U8, in, ucb_load_u64(length), s->codes, s->n,
                        "codes", &s->codec[0], err));
    UCB_TRY(read_stream(job, matrix, UCB_BF16, in, ucb_reader_left(in), s->scale,
                        2 * s->n_blocks, "scales", &s->codec[1], err));
    return check_values(s, err);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    size_t start = (size_t)row * s->matrix->n_in, end = start + (size_t)n * s->matrix->n_in;
    for (size_t at = start, stop; at < end; at = stop) {
        float step = step_of(s->scale[at / s->block]);
        stop = (at / s->block + 1) * s->block < end ? (at / s->block + 1) * s->block : end;
        for (size_t i = at; i < stop; i++)
            acc[i - start] = (float)((int)s->codes[i] - TOP) * step;
    }
}

/* The plan of both streams: codes from byte 0, scales from the first multiple of 8 behind
 * them. */
static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct state *s = state;
    struct ucb_codec_part parts[] = {{&s->codec[0], 0}, {&s->codec[1], (s->n + 7) / 8 * 8}};
    return ucb_codec_plan(parts, 2, bytes, job->scratch, out, err);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    uint64_t shape[2] = {s->matrix->n_out, s->matrix->n_in}, n_blocks = s->n_blocks;
    (void)job;
    UCB_TRY(emit(context, "codes", UCB_U8, 2, shape, s->codes, err));
    return emit(context, "scale", UCB_BF16, 1, &n_blocks, s->scale, err);
}

const struct ucb_method ucb_method_int5 = {
    .name = "int5",
    .summary = "lossy: 31 levels a block, entropy-coded; the base of int5+residual",
    .source = "the announced \"lossless 5-bit\" scheme, read literally; docs/lossless.md",
    .revision = 2,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 1,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .device_plan = device_plan,
    .inspect = inspect,
};
