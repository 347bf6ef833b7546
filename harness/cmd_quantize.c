/*
 * cmd_quantize.c - one matrix through one method, with everything laid open: for people,
 * and for outside checks.
 *
 * The file written holds `decoded` in the dtype that the method deploys, `decoded_f32`,
 * every array of the payload under the name that the golden vectors use, and `payload`,
 * each byte that was written; of a method that restores the source's bits, those as `bits`.
 * Where an encoder computes more than it stores (hqq stores its
 * fp32 scale and zero as fp16), those arrays are the computed ones: `scale`, `zero`, and
 * the `decoded_f32` they give; what is stored stands beside them as `scale_fp16`,
 * `zero_fp16`.
 */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "core/half.h"
#include "core/file.h"
#include "core/json.h"
#include "method/chain.h"
#include "method/payload.h"
#include "method/stream.h"
#include "method/tunable.h"
#include "model/checkpoint.h"
#include "quantize_input.h"

enum { MAX_ARRAYS = 64 };

static const char help[] =
    "usage: ucbench quantize --method SPEC --in FILE.safetensors --tensor NAME --out FILE\n"
    "                        [--calib FILE --calib-tensor NAME] [--json]\n"
    "\n"
    "Compresses one matrix and writes what came of it to FILE (safetensors): decoded, "
    "decoded_f32, the payload and\n"
    "every array in it. Prints the bytes by purpose as JSON: payload_bytes of this matrix, "
    "shared_bytes of what\n"
    "the matrices of a model share.\n"
    "\n"
    "  --method SPEC        see `ucbench list methods`\n"
    "  --in, --tensor       a matrix [out, in]; a .gguf file works too\n"
    "  --calib, --calib-tensor   activations [tokens, in] of this matrix, or [in], the mean "
    "of their squares (an\n"
    "                       importance matrix): for methods that need calibration. With "
    "int8, activations are\n"
    "                       multiplied and every intermediate is kept; other methods ignore "
    "them\n"
    "\n"
    "  ucbench quantize --method nf4:double_quant=1 --in model.safetensors --tensor "
    "model.layers.0.mlp.up_proj.weight \\\n"
    "                   --out up_proj.safetensors\n";

struct quantize {
    const char *method, *in, *tensor, *calib, *calib_tensor, *out;
    struct ucb_arena arena, scratch, kept;
    struct ucb_pool *pool;
    struct ucb_checkpoint *checkpoint;
    struct ucb_chain *chain;
    struct ucb_matrix matrix;
    struct ucb_quantize_calib given; /* by --calib */
    struct ucb_chain_context context;
    struct ucb_writer shared, payload;
    struct ucb_tensor arrays[MAX_ARRAYS];
    size_t n_arrays;
};

static bool has_array(const struct quantize *q, const char *name)
{
    for (size_t i = 0; i < q->n_arrays; i++)
        if (strcmp(q->arrays[i].name, name) == 0) return true;
    return false;
}

/* Keeps a copy of an array for the file; of two with one name the first stays: what an
 * encoder computed comes first. */
static ucb_status keep(void *context, const char *role, enum ucb_dtype dtype,
                       uint32_t n_dims, const uint64_t *shape, const void *data,
                       struct ucb_err *err)
{
    struct quantize *q = context;
    struct ucb_tensor t = {.dtype = dtype, .n_dims = n_dims, .n_elements = 1};
    if (has_array(q, role)) return UCB_OK;
    if (q->n_arrays == MAX_ARRAYS)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: more than %d arrays", q->method,
                        MAX_ARRAYS);
    for (uint32_t i = 0; i < n_dims; i++) t.n_elements *= t.shape[i] = shape[i];
    t.n_bytes = t.n_elements * ucb_dtype_block_bytes(dtype);
    t.name = ucb_arena_strdup(&q->kept, role);
    uint8_t *copy = ucb_arena_alloc(&q->kept, t.n_bytes);
    if (t.name == NULL || copy == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for array %s of %llu bytes", role,
                        (unsigned long long)t.n_bytes);
    memcpy(copy, data, t.n_bytes);
    t.data = copy;
    q->arrays[q->n_arrays++] = t;
    return UCB_OK;
}

/* The matrix, widened. */
static ucb_status load_matrix(struct quantize *q, const float **w, struct ucb_err *err)
{
    UCB_TRY(ucb_checkpoint_open(q->in, &q->checkpoint, err));
    const struct ucb_tensor *t;
    UCB_TRY(ucb_quantize_find(q->checkpoint, q->in, q->tensor, &q->kept, &t, err));
    if (t->n_dims != 2)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s of %s has %u dimensions, and methods compress matrices: 2 are needed",
            q->tensor, q->in, t->n_dims);
    if (t->shape[0] > UINT32_MAX || t->shape[1] > UINT32_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s of %s is %llu x %llu; sides below 2^32 are supported",
                        q->tensor, q->in, (unsigned long long)t->shape[0],
                        (unsigned long long)t->shape[1]);
    q->matrix = (struct ucb_matrix){.name = t->name,
                                    .n_out = (uint32_t)t->shape[0],
                                    .n_in = (uint32_t)t->shape[1],
                                    .dtype = t->dtype,
                                    .stored_bytes = t->n_bytes};
    float *room = UCB_NEW(&q->kept, float, t->n_elements);
    if (room == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %llu weights", q->tensor,
                        (unsigned long long)t->n_elements);
    *w = room;
    return ucb_tensor_widen(t, 0, t->n_elements, room, err);
}

/* Exact: the chain has rounded to this dtype already. */
static ucb_status keep_decoded(struct quantize *q, const float *w, struct ucb_err *err)
{
    uint64_t shape[2] = {q->matrix.n_out, q->matrix.n_in}, n = shape[0] * shape[1];
    if (has_array(q, "decoded")) return UCB_OK;
    enum ucb_dtype dtype = ucb_chain_decoded_dtype(q->chain, q->matrix.dtype);
    if (dtype == UCB_F32) return keep(q, "decoded", UCB_F32, 2, shape, w, err);
    uint16_t *half = UCB_NEW(&q->kept, uint16_t, n);
    if (half == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its decode", q->tensor);
    for (uint64_t i = 0; i < n; i++)
        half[i] = dtype == UCB_F16 ? ucb_f16_from_f32(w[i]) : ucb_bf16_from_f32(w[i]);
    return keep(q, "decoded", dtype, 2, shape, half, err);
}

/* Of an exact chain: the restored bits, as `bits` and (blocks: widened) as `decoded`. */
static ucb_status keep_bits(struct quantize *q, struct ucb_err *err)
{
    const struct ucb_matrix *m = &q->matrix;
    size_t n_bytes = ucb_matrix_bits_bytes(m);
    bool blocks = ucb_dtype_block_elements(m->dtype) > 1;
    uint64_t shape[2] = {m->n_out, blocks ? n_bytes / m->n_out : m->n_in};
    uint8_t *bits = ucb_arena_alloc(&q->kept, n_bytes);
    if (!ucb_chain_is_exact(q->chain)) return UCB_OK;
    if (bits == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its bits", q->tensor);
    ucb_arena_reset(&q->arena);
    UCB_TRY(ucb_chain_decode_bits(q->chain, &q->context, m, q->payload.data,
                                  q->payload.n_bytes, bits, err));
    UCB_TRY(keep(q, "bits", blocks ? UCB_U8 : m->dtype, 2, shape, bits, err));
    if (m->dtype != ucb_chain_decoded_dtype(q->chain, m->dtype)) return UCB_OK;
    return keep(q, "decoded", m->dtype, 2, shape, bits, err);
}

/* Decodes from the payload alone and collects everything for the file. */
static ucb_status lay_open(struct quantize *q, struct ucb_err *err)
{
    uint64_t shape[2] = {q->matrix.n_out, q->matrix.n_in}, n_bytes = q->payload.n_bytes;
    float *decoded = UCB_NEW(&q->kept, float, shape[0] * shape[1]);
    float *decoded_f32 = UCB_NEW(&q->kept, float, shape[0] * shape[1]);
    if (decoded == NULL || decoded_f32 == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its decode", q->tensor);
    UCB_TRY(keep_bits(q, err));
    ucb_arena_reset(&q->arena);
    UCB_TRY(ucb_chain_decode(q->chain, &q->context, &q->matrix, q->payload.data, n_bytes,
                             decoded, decoded_f32, err));
    UCB_TRY(keep_decoded(q, decoded, err));
    UCB_TRY(keep(q, "decoded_f32", UCB_F32, 2, shape, decoded_f32, err));
    UCB_TRY(ucb_chain_inspect(q->chain, &q->context, &q->matrix, q->payload.data, n_bytes,
                              keep, q, err));
    return keep(q, "payload", UCB_U8, 1, &n_bytes, q->payload.data, err);
}

/* Of activations [tokens, in] and a method that multiplies in its own arithmetic: what that
 * multiplication computes, with all tokens as one window. */
static ucb_status keep_product(struct quantize *q, struct ucb_err *err)
{
    struct ucb_product *product;
    if (q->given.x == NULL) return UCB_OK;
    ucb_arena_reset(&q->arena);
    UCB_TRY(ucb_product_open(q->chain, &q->context, &q->matrix, q->payload.data,
                             q->payload.n_bytes, &product, err));
    if (product == NULL) return UCB_OK;
    float *y = UCB_NEW(&q->kept, float, q->given.n_tokens * q->matrix.n_out);
    if (y == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its product with %llu tokens",
                        q->tensor, (unsigned long long)q->given.n_tokens);
    return ucb_product_run(product, NULL, q->given.x, q->given.n_tokens, y, keep, q, err);
}

static ucb_status print_breakdown(const struct quantize *q, struct ucb_err *err)
{
    double n = (double)q->matrix.n_out * q->matrix.n_in;
    /* The original costs what the file holds; its payload here is only
     * the widened values. */
    uint64_t n_bytes = ucb_chain_is_none(q->chain) ? q->matrix.stored_bytes
                                                   : q->payload.n_bytes + q->shared.n_bytes;
    json_t *parts = json_object();
    for (unsigned part = 0; part < UCB_N_PARTS; part++)
        if (q->payload.part_bytes[part] + q->shared.part_bytes[part] > 0)
            json_object_set_new(parts, ucb_part_name((enum ucb_part)part),
                                json_integer((json_int_t)(q->payload.part_bytes[part] +
                                                          q->shared.part_bytes[part])));
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:[I,I], s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:o}", "tensor",
        q->tensor, "spec", ucb_chain_spec(q->chain), "identity",
        ucb_chain_identity(q->chain), "shape", (json_int_t)q->matrix.n_out,
        (json_int_t)q->matrix.n_in, "source_dtype", ucb_dtype_name(q->matrix.dtype),
        "dtype", ucb_dtype_name(ucb_chain_decoded_dtype(q->chain, q->matrix.dtype)),
        "n_weights", (json_int_t)n, "payload_bytes", (json_int_t)q->payload.n_bytes,
        "shared_bytes", (json_int_t)q->shared.n_bytes, "bits_per_weight",
        8.0 * (double)n_bytes / n, "bits_per_weight_nominal",
        ucb_chain_nominal_bpw(q->chain, &q->matrix), "parts", parts);
    return ucb_json_print(o, "the payload's parts", err);
}

/* What --calib gives, of the input of the matrix. */
static ucb_status load_calib(struct quantize *q, struct ucb_err *err)
{
    uint32_t needs = ucb_chain_needs(q->chain);
    if (q->calib != NULL)
        return ucb_quantize_calib_read(q->calib, q->calib_tensor, q->matrix.n_in, q->method,
                                       needs, q->pool, &q->kept, &q->given, err);
    if (needs == UCB_NEEDS_NONE) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE,
        "%s needs calibration: give --calib FILE --calib-tensor NAME, %s of the matrix's "
        "input",
        q->method,
        needs == UCB_NEEDS_DIAG ? "activations [tokens, in] or the mean squares [in]"
                                : "activations [tokens, in]");
}

/* Side data is fitted to what the chain takes: here one matrix. */
static ucb_status fit_shared(struct quantize *q, const struct ucb_source *src,
                             struct ucb_err *err)
{
    struct ucb_one_matrix one;
    uint64_t n_bytes;
    ucb_stream_of_one(&one, src);
    UCB_TRY(ucb_chain_fit_shared(q->chain, &q->context, &one.stream, &q->shared, err));
    n_bytes = q->shared.n_bytes;
    if (n_bytes == 0) return UCB_OK;
    q->context.shared = q->shared.data;
    q->context.n_shared = q->shared.n_bytes;
    return keep(q, "shared", UCB_U8, 1, &n_bytes, q->shared.data, err);
}

static ucb_status run_method(struct quantize *q, struct ucb_err *err)
{
    const float *w = NULL;
    UCB_TRY(ucb_chain_parse(q->method, &q->kept, &q->chain, err));
    if (ucb_chain_tuner(q->chain, NULL) != NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s tunes whole layers of a model, quantize sees one matrix; run "
                        "it in a sweep",
                        q->method);
    if (ucb_file_same(q->out, q->in) ||
        (q->calib != NULL && ucb_file_same(q->out, q->calib)))
        return UCB_FAIL(err, UCB_USAGE,
                        "--out %s is the input of this command; name another file", q->out);
    UCB_TRY(load_matrix(q, &w, err));
    UCB_TRY(ucb_pool_open(0, &q->pool, err));
    UCB_TRY(load_calib(q, err));
    q->context = (struct ucb_chain_context){.pool = q->pool,
                                            .arena = &q->arena,
                                            .scratch = &q->scratch,
                                            .trace = keep,
                                            .trace_context = q};
    struct ucb_source src = {
        .matrix = &q->matrix,
        .w = w,
        .bits = ucb_chain_is_exact(q->chain)
                    ? ucb_checkpoint_find(q->checkpoint, q->tensor)->data
                    : NULL,
        .calib = ucb_chain_needs(q->chain) == UCB_NEEDS_NONE ? NULL : &q->given.calib};
    struct ucb_writer *out = &q->payload;
    UCB_TRY(fit_shared(q, &src, err));
    UCB_TRY(ucb_chain_encode(q->chain, &q->context, &src, 1, &out, err));
    UCB_TRY(lay_open(q, err));
    UCB_TRY(keep_product(q, err));
    UCB_TRY(ucb_safetensors_write(q->out, q->arrays, q->n_arrays, err));
    return print_breakdown(q, err);
}

static ucb_status read_options(struct quantize *q, int n_args, char **args,
                               struct ucb_err *err)
{
    size_t n_operands = 0;
    bool as_json = false; /* every verb takes --json; here it changes nothing, the breakdown
                             always is JSON */
    const struct ucb_option options[] = {
        {"--method", UCB_OPTION_TEXT, .text = &q->method},
        {"--in", UCB_OPTION_TEXT, .text = &q->in},
        {"--tensor", UCB_OPTION_TEXT, .text = &q->tensor},
        {"--calib", UCB_OPTION_TEXT, .text = &q->calib},
        {"--calib-tensor", UCB_OPTION_TEXT, .text = &q->calib_tensor},
        {"--out", UCB_OPTION_TEXT, .text = &q->out},
        {"--json", UCB_OPTION_SWITCH, .on = &as_json}};
    enum { N_OPTIONS = sizeof(options) / sizeof(*options) };
    UCB_TRY(ucb_options_parse("quantize", n_args, args, options, N_OPTIONS, NULL,
                              &n_operands, 0, err));
    if (q->method == NULL || q->in == NULL || q->tensor == NULL || q->out == NULL)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench quantize needs --method, --in, --tensor and --out; %s is missing",
            q->method == NULL   ? "--method"
            : q->in == NULL     ? "--in"
            : q->tensor == NULL ? "--tensor"
                                : "--out");
    if ((q->calib == NULL) != (q->calib_tensor == NULL))
        return UCB_FAIL(err, UCB_USAGE,
                        "--calib and --calib-tensor go together; %s is missing",
                        q->calib == NULL ? "--calib" : "--calib-tensor");
    return UCB_OK;
}

static ucb_status quantize_main(int n_args, char **args, struct ucb_err *err)
{
    struct quantize q = {0};
    UCB_TRY(read_options(&q, n_args, args, err));
    ucb_status status = run_method(&q, err);
    ucb_writer_free(&q.payload);
    ucb_writer_free(&q.shared);
    ucb_quantize_calib_close(&q.given);
    ucb_pool_close(q.pool);
    ucb_checkpoint_close(q.checkpoint);
    ucb_arena_free(&q.scratch);
    ucb_arena_free(&q.arena);
    ucb_arena_free(&q.kept);
    return status;
}

const struct ucb_command ucb_command_quantize = {
    .name = "quantize",
    .summary = "one matrix through one method, with every intermediate",
    .help = help,
    .run = quantize_main,
};
