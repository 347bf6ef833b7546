/*
 * chain_run.c - runs a chain on one matrix: encode to one payload, decode from nothing but
 * that payload.
 *
 * Payload: for n stages, n - 1 lengths (u64), then the n stage payloads; a single stage has
 * no header at all. A later stage sees the decode of the stages before it, made from their
 * bytes, exactly as a reader will see it.
 *
 * The merged decode is rounded once to the deployed dtype. What that rounding must not do
 * is make an infinity: such a weight would poison every logit after it, so it is an error
 * that names row and column.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "method/chain.h"
#include "method/chain_internal.h"
#include "method/lanes.h"
#include "method/payload.h"

enum { CHUNK_WEIGHTS = 1 << 16 };

/* True when all n values are finite. */
UCB_CLONES static bool all_finite(const float *w, size_t n)
{
    ucb_i32x16 bad = {0};
    for (size_t i = 0; i < n; i += UCB_LANES)
        bad |= ((ucb_i32x16)ucb_lanes_load_some(w + i, n - i) & 0x7fffffff) >= 0x7f800000;
    for (int i = 0; i < UCB_LANES; i++)
        if (bad[i]) return false;
    return true;
}

UCB_CLONES static void round_f16(float *w, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        ucb_lanes_store_some(w + i, ucb_lanes_f16_round(ucb_lanes_load_some(w + i, n - i)),
                             n - i);
}

UCB_CLONES static void round_bf16(float *w, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        ucb_lanes_store_some(w + i, ucb_lanes_bf16_round(ucb_lanes_load_some(w + i, n - i)),
                             n - i);
}

static uint32_t chunk_rows(const struct ucb_matrix *matrix)
{
    return matrix->n_in >= CHUNK_WEIGHTS ? 1 : CHUNK_WEIGHTS / matrix->n_in;
}

static size_t count_chunks(const struct ucb_matrix *matrix)
{
    return ((size_t)matrix->n_out + chunk_rows(matrix) - 1) / chunk_rows(matrix);
}

/* A pass over the rows of w that marks chunks holding a NaN or an infinity. */
struct finite_run {
    const struct ucb_matrix *matrix;
    const float *w;
    bool *bad; /* by chunk */
};

static void check_chunk(void *context, size_t chunk)
{
    struct finite_run *run = context;
    size_t row = chunk * chunk_rows(run->matrix), n_rows = run->matrix->n_out - row;
    if (n_rows > chunk_rows(run->matrix)) n_rows = chunk_rows(run->matrix);
    run->bad[chunk] = !all_finite(run->w + row * run->matrix->n_in,
                                  n_rows * run->matrix->n_in);
}

static bool *new_marks(const struct ucb_matrix *matrix, struct ucb_arena *scratch,
                       struct ucb_err *err)
{
    bool *bad = UCB_NEW(scratch, bool, count_chunks(matrix));
    if (bad == NULL) UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its marks", matrix->name);
    return bad;
}

/* The first weight that is not finite, in row order, or the number of weights. */
static size_t first_bad(const struct ucb_matrix *matrix, const float *w, const bool *bad)
{
    size_t n = ucb_matrix_weights(matrix), step = (size_t)chunk_rows(matrix) * matrix->n_in;
    for (size_t chunk = 0; chunk < count_chunks(matrix); chunk++) {
        if (!bad[chunk]) continue;
        size_t i = chunk * step;
        while (isfinite(w[i])) i++;
        return i;
    }
    return n;
}

static ucb_status check_source(const struct ucb_chain_context *context,
                               const struct ucb_source *src, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = src->matrix;
    if (matrix->n_out == 0 || matrix->n_in == 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: %u x %u weights; a matrix needs one row and one column at least",
            matrix->name, matrix->n_out, matrix->n_in);
    if (src->finite) return UCB_OK;
    struct finite_run run = {matrix, src->w, new_marks(matrix, context->scratch, err)};
    if (run.bad == NULL) return UCB_NOMEM;
    ucb_parallel_for(context->pool, count_chunks(matrix), check_chunk, &run);
    size_t at = first_bad(matrix, src->w, run.bad), n = ucb_matrix_weights(matrix);
    ucb_arena_reset(context->scratch);
    if (at == n) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the weight in row %zu, column %zu is %g; weights must be finite "
                    "before they are "
                    "compressed",
                    matrix->name, at / matrix->n_in, at % matrix->n_in, (double)src->w[at]);
}

static struct ucb_job stage_job(const struct ucb_stage *stage,
                                const struct ucb_chain_context *context)
{
    struct ucb_job job = ucb_stage_job(stage);
    job.arena = context->arena;
    job.scratch = context->scratch;
    job.pool = context->pool;
    return job;
}

/* An encoder's random stream is named after all that the job depends on; two stages of one
 * method must not draw the same numbers. */
static ucb_status start_encoder(const struct ucb_chain *chain, uint32_t index,
                                const struct ucb_chain_context *context,
                                const struct ucb_matrix *matrix, struct ucb_job *job,
                                struct ucb_err *err)
{
    const struct ucb_stage *stage = &chain->stages[index];
    *job = stage_job(stage, context);
    const char *digest = context->model_digest == NULL ? "" : context->model_digest;
    const char *name = ucb_arena_printf(context->scratch, "%s/%s/%s/%u", digest,
                                        matrix->name, stage->method->name, index);
    if (name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a stream's name", matrix->name);
    ucb_pcg_named(&job->random, context->seed, name);
    ucb_arena_reset(context->scratch);
    return UCB_OK;
}

/* The job of a decoder has no stream (it yields zeros only): seed and model are in no
 * payload. */
static ucb_status open_stage(const struct ucb_stage *stage,
                             const struct ucb_chain_context *context,
                             const struct ucb_matrix *matrix, const uint8_t *bytes,
                             size_t n_bytes, void **state, struct ucb_job *job,
                             struct ucb_err *err)
{
    struct ucb_reader in = {bytes, n_bytes, 0};
    *job = stage_job(stage, context);
    *state = ucb_arena_alloc(context->arena, stage->method->state_bytes(job, matrix));
    if (*state == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to decode %s", matrix->name,
                        stage->method->name);
    ucb_status status = stage->method->open(job, matrix, &in, *state, err);
    ucb_arena_reset(context->scratch);
    return status == UCB_OK ? ucb_payload_end(&in, matrix, err) : status;
}

/* One pass over the rows: decode the stages, keep the fp32 sum if asked, round, check. */
struct decode_run {
    const struct ucb_matrix *matrix;
    uint32_t n_stages;
    const struct ucb_method *method[UCB_MAX_STAGES];
    const void *state[UCB_MAX_STAGES];
    enum ucb_dtype dtype; /* deployed */
    float *w, *exact;     /* exact: decoded_f32, or NULL */
    bool *bad;            /* by chunk */
};

static void sum_stages(const struct decode_run *run, uint32_t row, uint32_t n_rows,
                       float *out)
{
    for (uint32_t i = 0; i < run->n_stages; i++)
        run->method[i]->decode(run->state[i], row, n_rows, out);
}

static void decode_chunk(void *context, size_t chunk)
{
    struct decode_run *run = context;
    uint32_t row = (uint32_t)chunk * chunk_rows(run->matrix),
             n_rows = run->matrix->n_out - row;
    if (n_rows > chunk_rows(run->matrix)) n_rows = chunk_rows(run->matrix);
    size_t at = (size_t)row * run->matrix->n_in, n = (size_t)n_rows * run->matrix->n_in;
    bool own_rounding = run->n_stages == 1 && run->method[0]->decode_deployed != NULL;

    if (run->exact != NULL) sum_stages(run, row, n_rows, run->exact + at);
    if (own_rounding)
        run->method[0]->decode_deployed(run->state[0], row, n_rows, run->w + at);
    else if (run->exact != NULL)
        memcpy(run->w + at, run->exact + at, n * sizeof(float));
    else
        sum_stages(run, row, n_rows, run->w + at);
    if (!own_rounding && run->dtype == UCB_F16) round_f16(run->w + at, n);
    if (!own_rounding && run->dtype == UCB_BF16) round_bf16(run->w + at, n);
    run->bad[chunk] = !all_finite(run->w + at, n);
}

static ucb_status run_decode(struct decode_run *run,
                             const struct ucb_chain_context *context, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = run->matrix;
    run->bad = new_marks(matrix, context->scratch, err);
    if (run->bad == NULL) return UCB_NOMEM;
    ucb_parallel_for(context->pool, count_chunks(matrix), decode_chunk, run);
    size_t at = first_bad(matrix, run->w, run->bad);
    ucb_arena_reset(context->scratch);
    if (at == ucb_matrix_weights(matrix)) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: the decoded weight in row %zu, column %zu is past the largest %s, "
                    "the dtype that %s "
                    "deploys; try a method that deploys F32",
                    matrix->name, at / matrix->n_in, at % matrix->n_in,
                    ucb_dtype_name(run->dtype), run->method[0]->name);
}

/* Adds the decode of stage `index`, given its bytes, to `before` (the first stage writes
 * it). */
static ucb_status extend_before(const struct ucb_chain *chain, uint32_t index,
                                const struct ucb_chain_context *context,
                                const struct ucb_matrix *matrix, const uint8_t *bytes,
                                size_t n_bytes, float *before, struct ucb_err *err)
{
    struct decode_run run = {
        .matrix = matrix, .n_stages = 1, .dtype = UCB_F32, .w = before};
    struct ucb_method plain = *chain->stages[index].method;
    struct ucb_job job;
    void *state;
    UCB_TRY(open_stage(&chain->stages[index], context, matrix, bytes, n_bytes, &state, &job,
                       err));
    plain.decode_deployed = NULL; /* stages are summed in fp32 */
    run.method[0] = &plain;
    run.state[0] = state;
    return run_decode(&run, context, err);
}

/* The matrices of a group on their way through the stages. */
struct encode_run {
    const struct ucb_chain *chain;
    const struct ucb_chain_context *context;
    uint32_t n_src;
    struct ucb_source view[UCB_MAX_GROUPED];
    float
        *before[UCB_MAX_GROUPED]; /* decode of the stages so far; NULL in a chain of one */
    struct ucb_writer *const *out;
};

static ucb_status begin_encode(struct encode_run *run, const struct ucb_source *src,
                               struct ucb_err *err)
{
    uint32_t n_stages = run->chain->n_stages;
    for (uint32_t i = 0; i < run->n_src; i++) {
        UCB_TRY(ucb_chain_fits(run->chain, src[i].matrix, err));
        UCB_TRY(check_source(run->context, &src[i], err));
        run->view[i] = src[i];
        ucb_writer_reset(run->out[i]);
        ucb_part(run->out[i], UCB_PART_HEADER);
        for (uint32_t stage = 1; stage < n_stages; stage++)
            ucb_put_u64(run->out[i], 0); /* lengths, filled in as they are known */
        if (n_stages == 1) continue;
        run->before[i] = UCB_NEW(run->context->arena, float,
                                 ucb_matrix_weights(src[i].matrix));
        if (run->before[i] == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the decode of a stage",
                            src[i].matrix->name);
    }
    return UCB_OK;
}

static ucb_status encode_stage(struct encode_run *run, uint32_t index, struct ucb_err *err)
{
    const struct ucb_stage *stage = &run->chain->stages[index];
    struct ucb_job job;
    UCB_TRY(start_encoder(run->chain, index, run->context, run->view[0].matrix, &job, err));
    if (index == 0) {
        job.trace = run->context->trace;
        job.trace_context = run->context->trace_context;
    }
    for (uint32_t i = 0; i < run->n_src; i++) {
        run->view[i].before = index == 0 ? NULL : run->before[i];
        ucb_part(run->out[i], UCB_PART_CODES);
    }
    UCB_TRY(stage->method->encode(&job, run->view, run->n_src, run->out, err));
    ucb_arena_reset(run->context->scratch);
    for (uint32_t i = 0; i < run->n_src; i++) UCB_TRY(ucb_writer_status(run->out[i], err));
    return UCB_OK;
}

/* Notes the length of the stage that began at start[i], and decodes it for the next one. */
static ucb_status close_stage(struct encode_run *run, uint32_t index, const size_t *start,
                              struct ucb_err *err)
{
    for (uint32_t i = 0; i < run->n_src; i++) {
        struct ucb_writer *out = run->out[i];
        uint64_t length = out->n_bytes - start[i];
        memcpy(out->data + index * sizeof(length), &length, sizeof(length));
        UCB_TRY(extend_before(run->chain, index, run->context, run->view[i].matrix,
                              out->data + start[i], length, run->before[i], err));
    }
    return UCB_OK;
}

ucb_status ucb_chain_encode(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_source *src, uint32_t n_src,
                            struct ucb_writer *const *out, struct ucb_err *err)
{
    struct encode_run run = {
        .chain = chain, .context = context, .n_src = n_src, .out = out};
    assert(n_src > 0 && n_src <= UCB_MAX_GROUPED);
    UCB_TRY(begin_encode(&run, src, err));
    for (uint32_t stage = 0; stage < chain->n_stages; stage++) {
        size_t start[UCB_MAX_GROUPED];
        for (uint32_t i = 0; i < n_src; i++) start[i] = out[i]->n_bytes;
        UCB_TRY(encode_stage(&run, stage, err));
        if (stage + 1 < chain->n_stages) UCB_TRY(close_stage(&run, stage, start, err));
    }
    return UCB_OK;
}

/* Cuts a payload into its stages. */
static ucb_status split_payload(const struct ucb_chain *chain,
                                const struct ucb_matrix *matrix, const uint8_t *payload,
                                size_t n_bytes, const uint8_t **bytes, size_t *lengths,
                                struct ucb_err *err)
{
    struct ucb_reader in = {payload, n_bytes, 0};
    const uint8_t *header;
    UCB_TRY(ucb_payload_take(&in, matrix, "stage lengths",
                             (chain->n_stages - 1) * sizeof(uint64_t), &header, err));
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        lengths[i] = i + 1 < chain->n_stages ? ucb_load_u64(header + i * sizeof(uint64_t))
                                             : ucb_reader_left(&in);
        UCB_TRY(ucb_payload_take(&in, matrix, chain->stages[i].method->name, lengths[i],
                                 &bytes[i], err));
    }
    return UCB_OK;
}

ucb_status ucb_chain_decode(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix, const uint8_t *payload,
                            size_t n_bytes, float *w, float *decoded_f32,
                            struct ucb_err *err)
{
    const uint8_t *bytes[UCB_MAX_STAGES];
    size_t lengths[UCB_MAX_STAGES];
    struct decode_run run = {
        .matrix = matrix, .n_stages = chain->n_stages, .w = w, .exact = decoded_f32};
    UCB_TRY(split_payload(chain, matrix, payload, n_bytes, bytes, lengths, err));
    run.dtype = ucb_chain_decoded_dtype(chain, matrix->dtype);
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        struct ucb_job job;
        void *state;
        UCB_TRY(open_stage(&chain->stages[i], context, matrix, bytes[i], lengths[i], &state,
                           &job, err));
        run.method[i] = chain->stages[i].method;
        run.state[i] = state;
    }
    return run_decode(&run, context, err);
}

ucb_status ucb_chain_inspect(const struct ucb_chain *chain,
                             const struct ucb_chain_context *context,
                             const struct ucb_matrix *matrix, const uint8_t *payload,
                             size_t n_bytes, ucb_inspect_emit *emit, void *emit_context,
                             struct ucb_err *err)
{
    const uint8_t *bytes[UCB_MAX_STAGES];
    size_t lengths[UCB_MAX_STAGES];
    struct ucb_job job;
    void *state;
    if (chain->stages[0].method->inspect == NULL) return UCB_OK;
    UCB_TRY(split_payload(chain, matrix, payload, n_bytes, bytes, lengths, err));
    UCB_TRY(open_stage(&chain->stages[0], context, matrix, bytes[0], lengths[0], &state,
                       &job, err));
    ucb_status status = chain->stages[0].method->inspect(&job, state, emit, emit_context,
                                                         err);
    ucb_arena_reset(context->scratch);
    return status;
}

struct ucb_product {
    struct ucb_job job;
    const void *state;
};

ucb_status ucb_product_open(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix, const uint8_t *payload,
                            size_t n_bytes, struct ucb_product **out, struct ucb_err *err)
{
    const struct ucb_stage *stage = &chain->stages[0];
    void *state;
    *out = NULL;
    if (chain->n_stages != 1 || stage->method->product == NULL) return UCB_OK;
    struct ucb_product *p = UCB_NEW(context->arena, struct ucb_product, 1);
    if (p == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its product", matrix->name);
    UCB_TRY(open_stage(stage, context, matrix, payload, n_bytes, &state, &p->job, err));
    p->state = state;
    *out = p;
    return UCB_OK;
}

ucb_status ucb_product_run(struct ucb_product *product, const float *bias, const float *x,
                           size_t n_rows, float *y, ucb_inspect_emit *trace,
                           void *trace_context, struct ucb_err *err)
{
    ucb_status status = product->job.method->product(&product->job, product->state, bias, x,
                                                     n_rows, y, trace, trace_context, err);
    ucb_arena_reset(product->job.scratch);
    return status;
}
