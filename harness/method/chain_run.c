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
#include "model/widen.h"

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

/*
 * The weights as the stages before an exact one see them: zeros where they are not finite.
 * Their bits come back whatever was predicted for them.
 */
static ucb_status clean_source(const struct ucb_chain_context *context,
                               struct ucb_source *src, struct ucb_err *err)
{
    size_t n = ucb_matrix_weights(src->matrix), i = 0;
    float *clean;
    if (src->bits == NULL)
        return UCB_FAIL(err, UCB_USAGE, "%s: an exact method needs the weights' own bits",
                        src->matrix->name);
    if (src->finite) return UCB_OK;
    while (i < n && isfinite(src->w[i])) i++;
    if (i == n) return UCB_OK;
    clean = UCB_NEW(context->arena, float, n);
    if (clean == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its finite weights",
                        src->matrix->name);
    for (i = 0; i < n; i++) clean[i] = isfinite(src->w[i]) ? src->w[i] : 0.0f;
    src->w = clean;
    return UCB_OK;
}

ucb_status ucb_chain_check_source(const struct ucb_chain_context *context,
                                  const struct ucb_source *src, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = src->matrix;
    if (matrix->n_out == 0 || matrix->n_in == 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: %u x %u weights; a matrix needs one row and one column at least",
            matrix->name, matrix->n_out, matrix->n_in);
    if (src->finite || src->bits != NULL) return UCB_OK;
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

static struct ucb_job stage_job(const struct ucb_chain *chain, uint32_t index,
                                const struct ucb_chain_context *context)
{
    struct ucb_job job = ucb_stage_job(&chain->stages[index]);
    job.arena = context->arena;
    job.scratch = context->scratch;
    job.pool = context->pool;
    ucb_chain_find_shared(chain, index, context, &job);
    return job;
}

ucb_status ucb_chain_start_random(const struct ucb_chain *chain, uint32_t index,
                                  const struct ucb_chain_context *context, const char *what,
                                  struct ucb_job *job, struct ucb_err *err)
{
    const char *digest = context->model_digest == NULL ? "" : context->model_digest;
    const char *name = ucb_arena_printf(context->scratch, "%s/%s/%s/%u", digest, what,
                                        chain->stages[index].method->name, index);
    *job = stage_job(chain, index, context);
    if (name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a stream's name", what);
    ucb_pcg_named(&job->random, context->seed, name);
    ucb_arena_reset(context->scratch);
    return UCB_OK;
}

/* The job of a decoder has no stream (it yields zeros only): seed and model are in no
 * payload. */
ucb_status ucb_stage_open(const struct ucb_chain *chain, uint32_t index,
                          const struct ucb_chain_context *context,
                          const struct ucb_matrix *matrix, const uint8_t *bytes,
                          size_t n_bytes, void **state, struct ucb_job *job,
                          struct ucb_err *err)
{
    const struct ucb_stage *stage = &chain->stages[index];
    struct ucb_reader in = {bytes, n_bytes, 0};
    *job = stage_job(chain, index, context);
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
    struct ucb_opened of;
    float *w, *exact; /* exact: decoded_f32, or NULL */
    bool *bad;        /* by chunk */
};

static void decode_chunk(void *context, size_t chunk)
{
    struct decode_run *run = context;
    const struct ucb_matrix *m = run->of.matrix;
    uint32_t row = (uint32_t)chunk * chunk_rows(m), n_rows = m->n_out - row;
    if (n_rows > chunk_rows(m)) n_rows = chunk_rows(m);
    size_t at = (size_t)row * m->n_in, n = (size_t)n_rows * m->n_in;
    if (run->exact != NULL) ucb_opened_sum(&run->of, row, n_rows, run->exact + at);
    ucb_opened_rows(&run->of, row, n_rows, run->exact == NULL ? NULL : run->exact + at,
                    run->w + at);
    run->bad[chunk] = !all_finite(run->w + at, n);
}

static ucb_status run_decode(struct decode_run *run,
                             const struct ucb_chain_context *context, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = run->of.matrix;
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
                    ucb_dtype_name(run->of.dtype), run->of.method[0]->name);
}

/* Adds the decode of stage `index`, given its bytes, to `before` (the first stage writes
 * it). */
static ucb_status extend_before(const struct ucb_chain *chain, uint32_t index,
                                const struct ucb_chain_context *context,
                                const struct ucb_matrix *matrix, const uint8_t *bytes,
                                size_t n_bytes, float *before, struct ucb_err *err)
{
    struct decode_run run = {
        .of = {.matrix = matrix, .n_stages = 1, .dtype = UCB_F32, .is_sum = true},
        .w = before};
    struct ucb_job job;
    void *state;
    UCB_TRY(
        ucb_stage_open(chain, index, context, matrix, bytes, n_bytes, &state, &job, err));
    run.of.method[0] = chain->stages[index].method;
    run.of.state[0] = state;
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

/* Lengths are filled in as they are known. */
void ucb_chain_begin_payload(uint32_t n_coded, struct ucb_writer *out)
{
    ucb_writer_reset(out);
    ucb_part(out, UCB_PART_HEADER);
    for (uint32_t stage = 1; stage < n_coded; stage++) ucb_put_u64(out, 0);
}

void ucb_chain_note_length(uint32_t n_coded, uint32_t index, struct ucb_writer *out,
                           size_t start)
{
    uint64_t length = out->n_bytes - start;
    if (index + 1 < n_coded && !out->failed)
        memcpy(out->data + index * sizeof(length), &length, sizeof(length));
}

static ucb_status begin_encode(struct encode_run *run, const struct ucb_source *src,
                               struct ucb_err *err)
{
    uint32_t n_stages = run->chain->n_coded;
    for (uint32_t i = 0; i < run->n_src; i++) {
        UCB_TRY(ucb_chain_fits(run->chain, src[i].matrix, err));
        struct ucb_source seen = src[i];
        if (!ucb_chain_is_exact(run->chain)) seen.bits = NULL;
        UCB_TRY(ucb_chain_check_source(run->context, &seen, err));
        run->view[i] = src[i];
        if (ucb_chain_is_exact(run->chain))
            UCB_TRY(clean_source(run->context, &run->view[i], err));
        ucb_chain_begin_payload(n_stages, run->out[i]);
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
    UCB_TRY(ucb_chain_start_random(run->chain, index, run->context,
                                   run->view[0].matrix->name, &job, err));
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
        size_t length = out->n_bytes - start[i];
        ucb_chain_note_length(run->chain->n_coded, index, out, start[i]);
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
    if (context->shared == NULL && ucb_chain_has_shared(chain))
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: %s needs its side data before the first matrix is encoded; "
                        "try ucb_chain_fit_shared()",
                        src[0].matrix->name, ucb_chain_spec(chain));
    UCB_TRY(begin_encode(&run, src, err));
    for (uint32_t stage = 0; stage < chain->n_coded; stage++) {
        size_t start[UCB_MAX_GROUPED];
        for (uint32_t i = 0; i < n_src; i++) start[i] = out[i]->n_bytes;
        UCB_TRY(encode_stage(&run, stage, err));
        if (stage + 1 < chain->n_coded) UCB_TRY(close_stage(&run, stage, start, err));
    }
    return UCB_OK;
}

/* Cuts a payload into its stages. */
ucb_status ucb_chain_split(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                           const uint8_t *payload, size_t n_bytes, const uint8_t **bytes,
                           size_t *lengths, struct ucb_err *err)
{
    struct ucb_reader in = {payload, n_bytes, 0};
    const uint8_t *header;
    UCB_TRY(ucb_payload_take(&in, matrix, "stage lengths",
                             (chain->n_coded - 1) * sizeof(uint64_t), &header, err));
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        lengths[i] = i + 1 < chain->n_coded ? ucb_load_u64(header + i * sizeof(uint64_t))
                                            : ucb_reader_left(&in);
        UCB_TRY(ucb_payload_take(&in, matrix, chain->stages[i].method->name, lengths[i],
                                 &bytes[i], err));
    }
    return UCB_OK;
}

ucb_status ucb_chain_decode_bits(const struct ucb_chain *chain,
                                 const struct ucb_chain_context *context,
                                 const struct ucb_matrix *matrix, const uint8_t *payload,
                                 size_t n_bytes, void *bits, struct ucb_err *err)
{
    uint32_t last = chain->n_coded - 1;
    struct decode_run run = {.w = NULL};
    if (!ucb_chain_is_exact(chain))
        return UCB_FAIL(err, UCB_USAGE, "%s: %s does not restore bits", matrix->name,
                        ucb_chain_spec(chain));
    UCB_TRY(ucb_opened_open(chain, context, matrix, payload, n_bytes, &run.of, err));
    if (last > 0) {
        run.w = UCB_NEW(context->arena, float, ucb_matrix_weights(matrix));
        if (run.w == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the decode of a stage",
                            matrix->name);
        UCB_TRY(run_decode(&run, context, err));
    }
    ucb_status status = run.of.method[last]->decode_bits(run.of.state[last], 0,
                                                         matrix->n_out, run.w, bits, err);
    ucb_arena_reset(context->scratch);
    return status;
}

/* Rows of restored bits, widened; they need not be finite. */
struct widen_run {
    const struct ucb_matrix *matrix;
    const uint8_t *bits;
    float *w;
};

static void widen_chunk(void *context, size_t chunk)
{
    struct widen_run *run = context;
    const struct ucb_matrix *m = run->matrix;
    size_t row = chunk * chunk_rows(m), n_rows = m->n_out - row;
    if (n_rows > chunk_rows(m)) n_rows = chunk_rows(m);
    ucb_widen(m->dtype, run->bits + row * (ucb_matrix_bits_bytes(m) / m->n_out),
              n_rows * m->n_in, run->w + row * m->n_in);
}

static ucb_status decode_exact(const struct ucb_chain *chain,
                               const struct ucb_chain_context *context,
                               const struct ucb_matrix *matrix, const uint8_t *payload,
                               size_t n_bytes, float *w, float *decoded_f32,
                               struct ucb_err *err)
{
    uint8_t *bits = ucb_arena_alloc(context->arena, ucb_matrix_bits_bytes(matrix));
    struct widen_run run = {matrix, bits, w};
    if (bits == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its bits", matrix->name);
    UCB_TRY(ucb_chain_decode_bits(chain, context, matrix, payload, n_bytes, bits, err));
    ucb_parallel_for(context->pool, count_chunks(matrix), widen_chunk, &run);
    if (decoded_f32 != NULL)
        memcpy(decoded_f32, w, ucb_matrix_weights(matrix) * sizeof(*w));
    return UCB_OK;
}

ucb_status ucb_chain_decode(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix, const uint8_t *payload,
                            size_t n_bytes, float *w, float *decoded_f32,
                            struct ucb_err *err)
{
    struct decode_run run = {.w = w, .exact = decoded_f32};
    if (ucb_chain_is_exact(chain))
        return decode_exact(chain, context, matrix, payload, n_bytes, w, decoded_f32, err);
    UCB_TRY(ucb_opened_open(chain, context, matrix, payload, n_bytes, &run.of, err));
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
    UCB_TRY(ucb_chain_split(chain, matrix, payload, n_bytes, bytes, lengths, err));
    UCB_TRY(
        ucb_stage_open(chain, 0, context, matrix, bytes[0], lengths[0], &state, &job, err));
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
    void *state;
    *out = NULL;
    if (chain->n_coded != 1 || chain->stages[0].method->product == NULL) return UCB_OK;
    struct ucb_product *p = UCB_NEW(context->arena, struct ucb_product, 1);
    if (p == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its product", matrix->name);
    UCB_TRY(
        ucb_stage_open(chain, 0, context, matrix, payload, n_bytes, &state, &p->job, err));
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
