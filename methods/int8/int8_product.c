/*
 * int8_product.c - Y = X W^T as LLM.int8 computes it, for the rows of one call.
 *
 *     h       = fp16(x)
 *     outlier = |h| >= threshold; a column with one is an outlier column, for all rows
 *     sx      = max |h| over the row's entries that are no outliers; 0 gives codes of 0
 *     qx      = round half to even(h * ((1 / sx) * 127)); 0 in outlier columns
 *     acc     = qx . qw, exact
 *     main    = fp16(((float)acc * (sx * sw)) * (1 / 127^2) + bias)
 *     y       = fp16(main + sum over outlier columns of h * fp16(weight)), where there are
 *               any: fp32, rising column, one sum per output
 *
 * All in fp32 but for the roundings shown. An entry below the threshold that stands in an
 * outlier column counts for sx and then meets the half-precision part with the others of
 * its column. The outlier part is not rounded before it is added: so the peer's vectors
 * say. A product of two halves fits fp32, so it makes no difference that no fma is used.
 *
 * The peer's CPU library multiplies by 6.200124e-05, its GPU kernel by 6.200012e-05, where
 * this is 1 / 127^2.
 */
#include "int8.h"

#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"

enum { TASK_ROWS = 128, COLUMN_BLOCK = 64 };
static const float inverse_127_squared = 1.0f / (127.0f * 127.0f), half_max = 65504.0f;

struct run {
    const struct int8_weights *w;
    const struct int8_call *call;
    const struct int8_path *path;
    size_t n_in, n_out, n_pairs;
    size_t n_padded; /* rows, to a multiple of every path's */
    float limit;     /* the threshold; infinite when nothing is an outlier */
    const int8_t *panels;
    float *row_scale;    /* [n_rows] sx */
    uint8_t *row_state;  /* [n_rows] of enum row_state */
    uint8_t *is_outlier; /* [n_in] */
    uint32_t *column;    /* [n_columns] the outlier columns, rising */
    size_t n_columns;
    int16_t *codes;       /* [n_padded][2 n_pairs] */
    float *x_outlier;     /* [n_padded][n_columns] h */
    float *w_outlier;     /* [n_columns][outputs of all panels] fp16(weight) */
    int32_t *acc;         /* [n_rows][n_out], or NULL: nobody looks */
    uint8_t *task_failed; /* [tasks] y is not finite somewhere */
};

enum row_state { ROW_PLAIN, ROW_HAS_OUTLIERS, ROW_IMPOSSIBLE };

/* The largest |x|, where a NaN is larger than all: as integers, which are in the same
 * order. */
UCB_CLONES static float row_peak(const float *x, size_t n)
{
    ucb_i32x16 peaks = {0};
    int32_t peak = 0;
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_i32x16 bits = (ucb_i32x16)ucb_lanes_abs(ucb_lanes_load_some(x + i, n - i));
        ucb_i32x16 more = bits > peaks;
        peaks = (bits & more) | (peaks & ~more);
    }
    for (int lane = 0; lane < UCB_LANES; lane++)
        if (peaks[lane] > peak) peak = peaks[lane];
    return ucb_f32_from_bits((uint32_t)peak);
}

/* The largest |h| below `limit`. */
UCB_CLONES static float row_scale(const float *x, size_t n, float limit)
{
    ucb_f32x16 peaks = {0};
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 h = ucb_lanes_abs(
            ucb_lanes_f16_round(ucb_lanes_load_some(x + i, n - i)));
        peaks = ucb_lanes_max(peaks, ucb_lanes_choose(h < limit, h, (ucb_f32x16){0}));
    }
    return ucb_lanes_peak(peaks);
}

static void scan_row(void *context, size_t row)
{
    struct run *run = context;
    const float *x = run->call->x + row * run->n_in;
    float peak = ucb_f16_round(row_peak(x, run->n_in));
    run->row_state[row] = !(peak <= half_max)  ? ROW_IMPOSSIBLE
                          : peak >= run->limit ? ROW_HAS_OUTLIERS
                                               : ROW_PLAIN;
    if (run->row_state[row] != ROW_IMPOSSIBLE)
        run->row_scale[row] = row_scale(x, run->n_in, run->limit);
}

static ucb_status check_rows(const struct run *run, struct ucb_err *err)
{
    for (size_t row = 0; row < run->call->n_rows; row++) {
        const float *x = run->call->x + row * run->n_in;
        size_t column = 0;
        if (run->row_state[row] != ROW_IMPOSSIBLE) continue;
        while (fabsf(ucb_f16_round(x[column])) <= half_max) column++;
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: the input in row %zu, column %zu is %g, and LLM.int8 casts "
                        "inputs to half precision, which ends at 65504; int8:threshold=0 "
                        "evaluates the weights alone",
                        run->w->matrix->name, row, column, (double)x[column]);
    }
    return UCB_OK;
}

/* ORs into flags[n] whether each entry of a row is an outlier. */
UCB_CLONES static void mark_outliers(const float *x, size_t n, float limit, uint8_t *flags)
{
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 h = ucb_lanes_f16_round(ucb_lanes_load_some(x + i, n - i));
        ucb_i32x16 is = ucb_lanes_abs(h) >= limit;
        for (size_t lane = 0; lane < UCB_LANES && i + lane < n; lane++)
            flags[i + lane] |= is[lane] & 1;
    }
}

/* A worker owns the block's flags. */
static void mark_block(void *context, size_t block)
{
    struct run *run = context;
    size_t first = block * COLUMN_BLOCK, n = run->n_in - first;
    if (n > COLUMN_BLOCK) n = COLUMN_BLOCK;
    for (size_t row = 0; row < run->call->n_rows; row++)
        if (run->row_state[row] == ROW_HAS_OUTLIERS)
            mark_outliers(run->call->x + row * run->n_in + first, n, run->limit,
                          run->is_outlier + first);
}

static ucb_status find_columns(struct ucb_job *job, struct run *run, struct ucb_err *err)
{
    size_t n = 0;
    run->is_outlier = UCB_NEW(job->scratch, uint8_t, run->n_in);
    run->column = UCB_NEW(job->scratch, uint32_t, run->n_in);
    if (run->is_outlier == NULL || run->column == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its outlier columns",
                        run->w->matrix->name);
    if (memchr(run->row_state, ROW_HAS_OUTLIERS, run->call->n_rows) == NULL) return UCB_OK;
    ucb_parallel_for(job->pool, (run->n_in + COLUMN_BLOCK - 1) / COLUMN_BLOCK, mark_block,
                     run);
    for (uint32_t i = 0; i < run->n_in; i++)
        if (run->is_outlier[i]) run->column[n++] = i;
    run->n_columns = n;
    return UCB_OK;
}

UCB_CLONES static void row_codes(const float *x, size_t n, float limit, float r,
                                 int16_t *codes)
{
    typedef int16_t i16x16 __attribute__((vector_size(32)));
    ucb_f32x16 factor = ucb_lanes_all(r);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 h = ucb_lanes_f16_round(ucb_lanes_load_some(x + i, n - i));
        h = ucb_lanes_choose(ucb_lanes_abs(h) < limit, h, (ucb_f32x16){0});
        ucb_i32x16 code = __builtin_convertvector(ucb_lanes_rne(h * factor), ucb_i32x16);
        i16x16 narrow = __builtin_convertvector(code, i16x16);
        memcpy(codes + i, &narrow, sizeof(narrow));
    }
}

/* In a call of one row the outlier columns are the row's outliers, whose codes are 0 as it
 * is. */
static void quantize_row(struct run *run, size_t row)
{
    const float *x = run->call->x + row * run->n_in;
    float scale = run->row_scale[row];
    int16_t *codes = run->codes + row * 2 * run->n_pairs;
    if (scale > 0) row_codes(x, run->n_in, run->limit, (1.0f / scale) * 127.0f, codes);
    for (size_t i = 0; i < run->n_columns; i++) {
        codes[run->column[i]] = 0;
        run->x_outlier[row * run->n_columns + i] = ucb_f16_round(x[run->column[i]]);
    }
}

static void gather_column(struct run *run, size_t i)
{
    float *to = run->w_outlier + i * int8_n_panels(run->n_out) * UCB_LANES;
    const uint8_t *from = run->w->codes + run->column[i];
    for (size_t row = 0; row < run->n_out; row++)
        to[row] = ucb_f16_round(int8_value(from[row * run->n_in], run->w->absmax[row]));
}

/* The rows, then the outlier columns of the weights. */
static void prepare(void *context, size_t index)
{
    struct run *run = context;
    if (index < run->call->n_rows)
        quantize_row(run, index);
    else
        gather_column(run, index - run->call->n_rows);
}

/* Sixteen outputs of one row; `n` of them exist. Answers whether they are all finite. */
UCB_CLONES static bool finish(const struct run *run, size_t row, size_t output, size_t n,
                              const int32_t *acc)
{
    size_t stride = int8_n_panels(run->n_out) * UCB_LANES;
    ucb_i32x16 whole;
    memcpy(&whole, acc, sizeof(whole));
    ucb_f32x16 scale = run->row_scale[row] *
                       ucb_lanes_load_some(run->w->absmax + output, n);
    ucb_f32x16 y = __builtin_convertvector(whole, ucb_f32x16) * scale * inverse_127_squared;
    if (run->call->bias != NULL) y += ucb_lanes_load_some(run->call->bias + output, n);
    y = ucb_lanes_f16_round(y);
    if (run->n_columns > 0) {
        const float *x = run->x_outlier + row * run->n_columns;
        ucb_f32x16 sum = {0};
        for (size_t i = 0; i < run->n_columns; i++)
            sum += x[i] * ucb_lanes_load(run->w_outlier + i * stride + output);
        y = ucb_lanes_f16_round(y + sum);
    }
    ucb_lanes_store_some(run->call->y + row * run->n_out + output, y, n);
    if (run->acc != NULL) memcpy(run->acc + row * run->n_out + output, acc, n * 4);
    return ucb_lanes_peak(ucb_lanes_abs(y)) <= half_max;
}

static size_t row_tasks(const struct run *run)
{
    return (run->call->n_rows + TASK_ROWS - 1) / TASK_ROWS;
}

/* INT8_MAX_PANELS panels of outputs for TASK_ROWS rows. */
static void multiply_task(void *context, size_t task)
{
    struct run *run = context;
    const struct int8_path *path = run->path;
    size_t panel = task / row_tasks(run) * INT8_MAX_PANELS,
           first = task % row_tasks(run) * TASK_ROWS, last = first + TASK_ROWS;
    size_t panel_bytes = run->n_pairs * 2 * UCB_LANES;
    bool finite = true;
    if (last > run->call->n_rows) last = run->call->n_rows;
    for (size_t p = panel; p < panel + INT8_MAX_PANELS; p += path->n_panels)
        for (size_t row = first; row < last; row += path->n_rows) {
            int32_t acc[INT8_MAX_ROWS * INT8_MAX_PANELS * UCB_LANES];
            path->tile(run->panels + p * panel_bytes, run->codes + row * 2 * run->n_pairs,
                       run->n_pairs, acc);
            for (size_t i = 0; i < path->n_rows * path->n_panels; i++) {
                size_t r = row + i / path->n_panels;
                size_t output = (p + i % path->n_panels) * UCB_LANES;
                if (r >= last || output >= run->n_out) continue;
                size_t n = run->n_out - output;
                finite &= finish(run, r, output, n < UCB_LANES ? n : UCB_LANES,
                                 acc + i * UCB_LANES);
            }
        }
    run->task_failed[task] = !finite;
}

static ucb_status check_outputs(const struct run *run, size_t n_tasks, struct ucb_err *err)
{
    const float *y = run->call->y;
    size_t i = 0;
    if (memchr(run->task_failed, 1, n_tasks) == NULL) return UCB_OK;
    while (fabsf(y[i]) <= half_max) i++;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: the output in row %zu, column %zu is past 65504, where half "
                    "precision ends, and LLM.int8 rounds outputs to it; int8:threshold=0 "
                    "evaluates the weights alone",
                    run->w->matrix->name, i / run->n_out, i % run->n_out);
}

static ucb_status alloc_codes(struct ucb_job *job, struct run *run, struct ucb_err *err)
{
    size_t n_outputs = int8_n_panels(run->n_out) * UCB_LANES;
    size_t n_tasks = int8_n_panels(run->n_out) / INT8_MAX_PANELS * row_tasks(run);
    run->codes = UCB_NEW(job->scratch, int16_t, run->n_padded * 2 * run->n_pairs);
    run->x_outlier = UCB_NEW(job->scratch, float, run->n_padded * run->n_columns);
    run->w_outlier = UCB_NEW(job->scratch, float, run->n_columns *n_outputs);
    run->task_failed = UCB_NEW(job->scratch, uint8_t, n_tasks);
    if (run->call->trace != NULL)
        run->acc = UCB_NEW(job->scratch, int32_t, run->call->n_rows * run->n_out);
    if (run->codes == NULL || run->x_outlier == NULL || run->w_outlier == NULL ||
        run->task_failed == NULL || (run->call->trace != NULL && run->acc == NULL))
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the codes of %zu rows",
                        run->w->matrix->name, run->call->n_rows);
    return UCB_OK;
}

static ucb_status find_panels(struct ucb_job *job, struct run *run, struct ucb_err *err)
{
    run->panels = run->w->panels;
    if (run->panels != NULL) return UCB_OK;
    int8_t *panels = UCB_NEW(job->scratch, int8_t, int8_panel_bytes(run->n_out, run->n_in));
    if (panels == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to lay out its codes",
                        run->w->matrix->name);
    int8_pack(run->w->codes, run->n_out, run->n_in, job->pool, panels);
    run->panels = panels;
    return UCB_OK;
}

static ucb_status begin(struct ucb_job *job, struct run *run, struct ucb_err *err)
{
    const struct ucb_matrix *matrix = run->w->matrix;
    run->n_in = matrix->n_in;
    run->n_out = matrix->n_out;
    run->n_pairs = int8_n_pairs(run->n_in);
    run->n_padded = (run->call->n_rows + INT8_MAX_ROWS - 1) / INT8_MAX_ROWS * INT8_MAX_ROWS;
    run->limit = run->call->threshold > 0 ? run->call->threshold : INFINITY;
    if (run->n_in > INT8_MAX_DOT)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: rows of %zu products do not fit 32 bits exactly, %d do; "
                        "int8:threshold=0 evaluates the weights alone",
                        matrix->name, run->n_in, INT8_MAX_DOT);
    run->row_scale = UCB_NEW(job->scratch, float, run->call->n_rows);
    run->row_state = UCB_NEW(job->scratch, uint8_t, run->call->n_rows);
    if (run->row_scale == NULL || run->row_state == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the scales of %zu rows",
                        matrix->name, run->call->n_rows);
    return find_panels(job, run, err);
}

/* Under the golden roles; `out` in the dtype that it is rounded to. */
static ucb_status emit_all(struct ucb_job *job, const struct run *run, struct ucb_err *err)
{
    const struct int8_call *c = run->call;
    uint64_t in[2] = {c->n_rows, run->n_in}, out[2] = {c->n_rows, run->n_out},
             n_columns = run->n_columns;
    int8_t *codes = UCB_NEW(job->scratch, int8_t, c->n_rows * run->n_in);
    int64_t *columns = UCB_NEW(job->scratch, int64_t, run->n_columns);
    uint16_t *half = UCB_NEW(job->scratch, uint16_t, c->n_rows * run->n_out);
    if (codes == NULL || columns == NULL || half == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a product's intermediates",
                        run->w->matrix->name);
    for (size_t row = 0; row < c->n_rows; row++)
        for (size_t i = 0; i < run->n_in; i++)
            codes[row * run->n_in + i] = (int8_t)run->codes[row * 2 * run->n_pairs + i];
    for (size_t i = 0; i < run->n_columns; i++) columns[i] = run->column[i];
    for (size_t i = 0; i < c->n_rows * run->n_out; i++) half[i] = ucb_f16_from_f32(c->y[i]);
    UCB_TRY(c->trace(c->trace_context, "act_codes", UCB_I8, 2, in, codes, err));
    UCB_TRY(c->trace(c->trace_context, "act_absmax", UCB_F32, 1, in, run->row_scale, err));
    if (c->threshold > 0)
        UCB_TRY(c->trace(c->trace_context, "outlier_cols", UCB_I64, 1, &n_columns, columns,
                         err));
    UCB_TRY(c->trace(c->trace_context, "acc_int32", UCB_I32, 2, out, run->acc, err));
    return c->trace(c->trace_context, "out", UCB_F16, 2, out, half, err);
}

ucb_status int8_product(struct ucb_job *job, const struct int8_path *path,
                        const struct int8_weights *weights, const struct int8_call *call,
                        struct ucb_err *err)
{
    struct run run = {.w = weights, .call = call, .path = path};
    UCB_TRY(begin(job, &run, err));
    ucb_parallel_for(job->pool, call->n_rows, scan_row, &run);
    UCB_TRY(check_rows(&run, err));
    UCB_TRY(find_columns(job, &run, err));
    UCB_TRY(alloc_codes(job, &run, err));
    ucb_parallel_for(job->pool, call->n_rows + run.n_columns, prepare, &run);
    size_t n_tasks = int8_n_panels(run.n_out) / INT8_MAX_PANELS * row_tasks(&run);
    ucb_parallel_for(job->pool, n_tasks, multiply_task, &run);
    UCB_TRY(check_outputs(&run, n_tasks, err));
    return call->trace == NULL ? UCB_OK : emit_all(job, &run, err);
}
