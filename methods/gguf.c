/*
 * gguf - the block types of llama.cpp, byte for byte as ggml's encoders write them.
 *
 * The encoders are in gguf/, the decoders in harness/model/blocks.c, where model files are
 * read with them. A payload is ggml's own layout of the tensor and nothing else: n_out rows
 * of n_in / (elements of a block) blocks. Rows that are not whole blocks get another type,
 * as in llama.cpp; ucb_gguf_type says which. With `recipe` llama.cpp's rules choose a type
 * for each matrix (gguf/gguf_recipe.c), the embedding and the head among them.
 *
 * imatrix=1 weighs errors by the mean square of each input (llama.cpp's importance matrix).
 * A matrix that comes without statistics is encoded as with imatrix=0, as llama.cpp does
 * with an embedding; and so is an expert to which calibration sent no token, whose
 * importance of 0 everywhere would make every block 0.
 */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "gguf/gguf.h"
#include "gguf/gguf_recipe.h"
#include "method/payload.h"
#include "model/widen.h"

enum { CHUNK_WEIGHTS = 1 << 14, BLOCK = 32 };

/* Bytes of a block that are scales and minima; the rest are codes. A byte that holds a bit
 * of both counts half. */
static const struct {
    enum ucb_dtype dtype, fallback; /* fallback: for rows that are not whole blocks */
    uint8_t scale_bytes, min_bytes;
    uint8_t file_type; /* general.file_type of a file that is of this type throughout */
} types[] = {
    {UCB_Q4_0, UCB_F16, 2, 0, 2},    {UCB_Q4_1, UCB_F16, 2, 2, 3},
    {UCB_Q5_0, UCB_F16, 2, 0, 8},    {UCB_Q5_1, UCB_F16, 2, 2, 9},
    {UCB_Q8_0, UCB_F16, 2, 0, 7},    {UCB_Q2_K, UCB_Q4_0, 10, 10, 10},
    {UCB_Q3_K, UCB_Q4_0, 14, 0, 11}, {UCB_Q4_K, UCB_Q5_0, 8, 8, 14},
    {UCB_Q5_K, UCB_Q5_1, 8, 8, 16},  {UCB_Q6_K, UCB_Q8_0, 18, 0, 18},
    {UCB_IQ4_NL, UCB_F16, 2, 0, 25}, {UCB_IQ4_XS, UCB_IQ4_NL, 8, 0, 30},
};
enum { N_TYPES = sizeof(types) / sizeof(*types) };

/* In the order of `types`. */
static const char *const type_names[N_TYPES + 1] = {"Q4_0", "Q4_1", "Q5_0",   "Q5_1",
                                                    "Q8_0", "Q2_K", "Q3_K",   "Q4_K",
                                                    "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
static const char *const switches[] = {"0", "1", NULL};
static const struct ucb_knob knobs[] = {
    {"type", "block type; rows that are not whole blocks get llama.cpp's fallback", "Q4_K",
     UCB_KNOB_CHOICE, 0, 0, type_names},
    {"recipe", "llama.cpp's choice of a type for each matrix, embedding and head too",
     "none", UCB_KNOB_CHOICE, 0, 0, ucb_gguf_recipe_names},
    {"imatrix", "1: errors weigh as the mean square of their input (calibrated)", "0",
     UCB_KNOB_CHOICE, 0, 0, switches},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static size_t row_of(enum ucb_dtype dtype)
{
    size_t i = 0;
    while (types[i].dtype != dtype) i++;
    assert(i < N_TYPES);
    return i;
}

/* F16 and BF16: no blocks, no encoder. */
static bool is_plain(enum ucb_dtype dtype)
{
    return ucb_dtype_block_elements(dtype) == 1;
}

static size_t recipe_of(const struct ucb_job *job)
{
    return (size_t)ucb_job_value(job, "recipe"); /* 0: none */
}

static bool has_importance(const struct ucb_job *job)
{
    return ucb_job_value(job, "imatrix") != 0;
}

/* A recipe looks at the whole model. */
static ucb_status fits(const struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_err *err)
{
    if (recipe_of(job) == 0 || matrix->arch != NULL) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "%s: recipe=%s chooses types by a model's layers, and this matrix comes "
        "without one; give type=",
        matrix->name, ucb_gguf_recipe_names[recipe_of(job)]);
}

enum ucb_dtype ucb_gguf_type(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    if (recipe_of(job) != 0) {
        struct ucb_gguf_facts facts = ucb_gguf_facts_of(matrix->arch, has_importance(job));
        return ucb_gguf_recipe_type(recipe_of(job), &facts, matrix->role, matrix->layer,
                                    matrix->n_in);
    }
    enum ucb_dtype dtype = types[(size_t)ucb_job_value(job, "type")].dtype;
    while (dtype != UCB_F16 && matrix->n_in % ucb_dtype_block_elements(dtype) != 0)
        dtype = types[row_of(dtype)].fallback;
    return dtype;
}

static uint32_t needs(const struct ucb_job *job)
{
    return has_importance(job) ? UCB_NEEDS_DIAG : UCB_NEEDS_NONE;
}

static ucb_status check(const struct ucb_job *job, struct ucb_err *err)
{
    if (recipe_of(job) == 0 || has_importance(job) ||
        !ucb_gguf_recipe_needs_importance(recipe_of(job)))
        return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "gguf: llama.cpp makes %s only with an importance matrix; add imatrix=1",
        ucb_gguf_recipe_names[recipe_of(job)]);
}

/* A recipe takes all matrices, whatever the scope. */
static bool takes(const struct ucb_job *job, enum ucb_role role, bool in_scope)
{
    (void)role;
    return in_scope || recipe_of(job) != 0;
}

static void layout(const struct ucb_job *job, const struct ucb_matrix *matrix,
                   struct ucb_layout *out)
{
    out->dtype = ucb_gguf_type(job, matrix);
    out->file_type = recipe_of(job) != 0
                         ? ucb_gguf_recipe_file_type(recipe_of(job))
                         : types[(size_t)ucb_job_value(job, "type")].file_type;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F32;
}

/* Of the type that was asked for: what people quote, fallback or not. A recipe's name asks
 * for no number of bits: there it is the type that the matrix gets. */
static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    enum ucb_dtype dtype = types[(size_t)ucb_job_value(job, "type")].dtype;
    if (recipe_of(job) != 0 && matrix->arch != NULL) dtype = ucb_gguf_type(job, matrix);
    return 8.0 * ucb_dtype_block_bytes(dtype) / ucb_dtype_block_elements(dtype);
}

static size_t row_bytes(enum ucb_dtype dtype, const struct ucb_matrix *matrix)
{
    return (size_t)matrix->n_in / ucb_dtype_block_elements(dtype) *
           ucb_dtype_block_bytes(dtype);
}

/* ---- encode ---- */

struct encode_run {
    const struct gguf_path *path;
    enum ucb_dtype dtype;
    struct gguf_span span; /* all blocks */
    size_t chunk_blocks, n_out;
    float *row_mean_square;
    uint8_t *out;
    bool searches;   /* and does not take the scale from the block's extremes */
    bool *too_large; /* by chunk: some scale is past the largest half */
};

static void encode_plain(enum ucb_dtype dtype, const float *w, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half = dtype == UCB_F16 ? ucb_f16_from_f32(w[i]) : ucb_bf16_from_f32(w[i]);
        memcpy(out + 2 * i, &half, sizeof(half));
    }
}

/*
 * The searches square and multiply weights: past 1.8e19 a square is infinite, the search
 * finds no scale, and the block would decode to zeros. Nothing that large has a scale in
 * half precision: the largest value of any type is 65504 x 63 x 31, below 2^27.
 */
static const float largest_weight = 0x1p27f;

UCB_CLONES static bool any_beyond(const float *w, size_t n, float limit)
{
    int beyond = 0;
    for (size_t i = 0; i < n; i++) beyond |= fabsf(w[i]) > limit;
    return beyond != 0;
}

static void encode_chunk(void *context, size_t chunk)
{
    const struct encode_run *run = context;
    struct gguf_span span = run->span;
    span.first = chunk * run->chunk_blocks;
    span.n = run->span.n - span.first < run->chunk_blocks ? run->span.n - span.first
                                                          : run->chunk_blocks;
    uint8_t *out = run->out + span.first * ucb_dtype_block_bytes(run->dtype);
    if (!is_plain(run->dtype))
        run->path->encode[run->dtype](&span, out);
    else
        encode_plain(run->dtype, span.w + span.first, span.n, out);
    uint64_t n = span.n * ucb_dtype_block_elements(run->dtype);
    run->too_large[chunk] = ucb_find_nonfinite(run->dtype, out, n) < n ||
                            (run->searches && any_beyond(span.w + span.first * (n / span.n),
                                                         n, largest_weight));
}

enum { ROWS_PER_CHUNK = 32 }; /* two vectors of the widest */

static void sum_rows(void *context, size_t chunk)
{
    const struct encode_run *run = context;
    size_t row = chunk * ROWS_PER_CHUNK, n = run->n_out - row, n_in = run->span.n_in;
    run->path->row_mean_squares(run->span.w + row * n_in,
                                n < ROWS_PER_CHUNK ? n : ROWS_PER_CHUNK, n_in,
                                run->row_mean_square + row);
}

/* Importance of each column, and what weights of 32-element blocks are made from. */
static ucb_status prepare_importance(struct ucb_job *job, const struct ucb_source *src,
                                     struct encode_run *run, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = src->matrix;
    if (needs(job) == UCB_NEEDS_NONE || src->calib == NULL || src->calib->n_tokens == 0 ||
        is_plain(run->dtype) || run->dtype == UCB_Q8_0) /* which have no choice to weigh */
        return UCB_OK;
    float *importance = UCB_NEW(job->scratch, float, matrix->n_in);
    run->row_mean_square = UCB_NEW(job->scratch, float, matrix->n_out);
    if (importance == NULL || run->row_mean_square == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its importance", matrix->name);
    for (uint32_t j = 0; j < matrix->n_in; j++)
        importance[j] = (float)src->calib->sq_mean[j];
    run->span.importance = importance;
    run->span.row_mean_square = run->row_mean_square;
    if (ucb_dtype_block_elements(run->dtype) == BLOCK)
        ucb_parallel_for(job->pool,
                         ((size_t)matrix->n_out + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK,
                         sum_rows, run);
    return UCB_OK;
}

/* A scale, or value, past the largest of its dtype would decode to no number. */
static ucb_status check_scales(const struct encode_run *run, size_t n_chunks,
                               const struct ucb_matrix *matrix, struct ucb_err *err)
{
    if (n_chunks == 0 || memchr(run->too_large, true, n_chunks) == NULL) return UCB_OK;
    uint64_t n = ucb_matrix_weights(matrix),
             at = ucb_find_nonfinite(run->dtype, run->out, n);
    for (uint64_t i = 0; at == n && i < n; i++)
        if (fabsf(run->span.w[i]) > largest_weight) at = i;
    return UCB_FAIL(
        err, UCB_UNSUPPORTED,
        "%s: the weights in row %llu from column %llu on are too large: their "
        "%s is past %s; try nf4",
        matrix->name, (unsigned long long)(at / matrix->n_in),
        (unsigned long long)(at % matrix->n_in), is_plain(run->dtype) ? "value" : "scale",
        run->dtype == UCB_BF16 ? "3.3895e38, the largest BF16" : "65504, the largest half");
}

static void count_parts(enum ucb_dtype dtype, size_t n_blocks, struct ucb_writer *out)
{
    if (is_plain(dtype)) return;
    size_t row = row_of(dtype);
    ucb_part_moved(out, UCB_PART_CODES, UCB_PART_SCALES, n_blocks * types[row].scale_bytes);
    ucb_part_moved(out, UCB_PART_CODES, UCB_PART_ZEROS, n_blocks * types[row].min_bytes);
}

static const struct gguf_path *widest_path(void)
{
    size_t i = 0;
    while (gguf_path_at(i + 1) != NULL) i++;
    return gguf_path_at(i);
}

static ucb_status encode_one(struct ucb_job *job, const struct ucb_source *src,
                             struct ucb_writer *out, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = src->matrix;
    struct encode_run run = {.path = widest_path(), .dtype = ucb_gguf_type(job, matrix)};
    size_t elements = ucb_dtype_block_elements(run.dtype);
    run.n_out = matrix->n_out;
    run.span = (struct gguf_span){
        .w = src->w, .n_in = matrix->n_in, .n = ucb_matrix_weights(matrix) / elements};
    run.chunk_blocks = CHUNK_WEIGHTS / elements;
    UCB_TRY(prepare_importance(job, src, &run, err));
    run.searches = !is_plain(run.dtype) && (run.span.importance != NULL || elements > 32 ||
                                            run.dtype == UCB_IQ4_NL);
    ucb_part(out, UCB_PART_CODES);
    run.out = ucb_put_room(out, matrix->n_out * row_bytes(run.dtype, matrix));
    size_t n_chunks = (run.span.n + run.chunk_blocks - 1) / run.chunk_blocks;
    run.too_large = UCB_NEW(job->scratch, bool, n_chunks);
    if (run.out == NULL || run.too_large == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its blocks", matrix->name);
    ucb_parallel_for(job->pool, n_chunks, encode_chunk, &run);
    count_parts(run.dtype, run.span.n, out);
    return check_scales(&run, n_chunks, matrix, err);
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
    enum ucb_dtype dtype;
    const uint8_t *blocks; /* the payload */
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(struct state);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    UCB_TRY(fits(job, matrix, err));
    *s = (struct state){.matrix = matrix, .dtype = ucb_gguf_type(job, matrix)};
    uint64_t n = ucb_matrix_weights(matrix);
    UCB_TRY(ucb_payload_take(in, matrix, "blocks",
                             matrix->n_out * row_bytes(s->dtype, matrix), &s->blocks, err));
    uint64_t at = ucb_find_nonfinite(s->dtype, s->blocks, n);
    if (at < n)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: block %llu of %s (row %llu, column %llu) has a scale that is "
                        "not finite, and encoders write finite ones only",
                        matrix->name,
                        (unsigned long long)(at / ucb_dtype_block_elements(s->dtype)),
                        ucb_dtype_name(s->dtype), (unsigned long long)(at / matrix->n_in),
                        (unsigned long long)(at % matrix->n_in));
    return ucb_payload_end(in, matrix, err);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    ucb_widen(s->dtype, s->blocks + row * row_bytes(s->dtype, s->matrix),
              (size_t)n * s->matrix->n_in, acc);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    uint64_t shape[2] = {s->matrix->n_out, row_bytes(s->dtype, s->matrix)},
             n_bytes = shape[0] * shape[1];
    (void)job;
    UCB_TRY(emit(context, "packed", UCB_U8, 2, shape, s->blocks, err));
    return emit(context, "layout", UCB_U8, 1, &n_bytes, s->blocks, err);
}

/* A u32: the type, which the matrix's place in a model may have chosen. */
static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    (void)job, (void)bytes;
    ucb_put_u32(out, ((const struct state *)state)->dtype);
    return ucb_writer_status(out, err);
}

const struct ucb_method ucb_method_gguf = {
    .name = "gguf",
    .summary = "llama.cpp's block types, byte-equal to ggml",
    .source = "llama.cpp, ggml 0.25.3",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = knobs,
    .n_shown = 1,
    .instead = {.knob = "recipe", .of = "type"},
    .check = check,
    .needs = needs,
    .takes = takes,
    .fits = fits,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .device_plan = device_plan,
    .layout = layout,
    .inspect = inspect,
};
