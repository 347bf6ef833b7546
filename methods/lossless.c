/*
 * lossless - every bit of a matrix as the file holds it, coded field by field
 * (harness/codec/codec.h); nothing is read as a float.
 *
 * Payload: one stream of the codec over the matrix's bytes in its own dtype. BF16, F16 and
 * F32 are cut into exponent, mantissa and sign; other elements and blocks are coded
 * bytewise.
 */
#include "codec/codec_device.h"
#include "method/payload.h"

static const char *const modes[] = {"fast", "default", "max", NULL};
static const struct ucb_knob knobs[] = {
    {"mode", "fast: decodes like a copy; default: entropy of the fields; max: contexts",
     "default", UCB_KNOB_CHOICE, 0, 0, modes},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    return source == UCB_F16 || source == UCB_BF16 ? source : UCB_F32;
}

/* The width of the source: what a weight is worth before it is coded. */
static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    return 8.0 * ucb_dtype_block_bytes(matrix->dtype) /
           ucb_dtype_block_elements(matrix->dtype);
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++) {
        const struct ucb_matrix *m = src[i].matrix;
        struct ucb_codec_source source = {.dtype = m->dtype,
                                          .data = src[i].bits,
                                          .n_bytes = ucb_matrix_bits_bytes(m),
                                          .n_columns = m->n_in};
        ucb_status status = ucb_codec_encode(
            &source, (enum ucb_codec_mode)ucb_job_value(job, "mode"), job->pool,
            job->scratch, out[i], err);
        if (status != UCB_OK) {
            ucb_err_prefix(err, "%s", m->name);
            return status;
        }
    }
    return UCB_OK;
}

struct state {
    const struct ucb_matrix *matrix;
    struct ucb_pool *pool;
    struct ucb_codec codec;
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return sizeof(struct state);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    const uint8_t *bytes;
    size_t n_bytes = ucb_reader_left(in);
    *s = (struct state){.matrix = matrix, .pool = job->pool};
    UCB_TRY(ucb_payload_take(in, matrix, "stream", n_bytes, &bytes, err));
    ucb_status status = ucb_codec_open(matrix->dtype, ucb_matrix_bits_bytes(matrix), bytes,
                                       n_bytes, &s->codec, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", matrix->name);
    return status;
}

static ucb_status decode_bits(const void *state, uint32_t row, uint32_t n,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct state *s = state;
    size_t row_bytes = ucb_matrix_bits_bytes(s->matrix) / s->matrix->n_out;
    (void)before;
    ucb_status status = ucb_codec_decode(&s->codec, row * row_bytes, n * row_bytes, s->pool,
                                         bits, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", s->matrix->name);
    return status;
}

static size_t span(const void *state)
{
    return ucb_codec_grain(&((const struct state *)state)->codec);
}

static ucb_status decode_span(const void *state, size_t first, size_t n_bytes,
                              const float *before, void *bits, struct ucb_err *err)
{
    const struct state *s = state;
    (void)before;
    ucb_status status = ucb_codec_decode(&s->codec, first, n_bytes, NULL, bits, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", s->matrix->name);
    return status;
}

static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct state *s = state;
    struct ucb_codec_part part = {&s->codec, 0};
    ucb_status status = ucb_codec_plan(&part, 1, bytes, job->scratch, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", s->matrix->name);
    return status;
}

/* Bytes of the stream by purpose, in the order of struct ucb_codec_split. */
static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    struct ucb_codec_split split;
    uint64_t n = sizeof(split) / sizeof(uint64_t);
    (void)job;
    ucb_codec_split(&((const struct state *)state)->codec, &split);
    return emit(context, "split", UCB_U64, 1, &n, &split, err);
}

const struct ucb_method ucb_method_lossless = {
    .name = "lossless",
    .summary = "every bit of the source, its fields entropy-coded",
    .source = "field-wise rANS after Duda, arXiv 1311.2540; docs/lossless.md",
    .revision = 2,
    .kind = UCB_EXACT,
    .knobs = knobs,
    .n_shown = 1,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode_bits = decode_bits,
    .span = span,
    .decode_span = decode_span,
    .device_plan = device_plan,
    .inspect = inspect,
};
