/*
 * gradient.c - transposes, and the reverse of norms, activations and clamps, shared out
 * among the workers.
 *
 * A gradient that sums over rows is made in blocks of BLOCK_ROWS: a worker adds the rows of
 * a block in order, then the blocks are added in order, column by column. The blocks are
 * cut by row index alone, so no thread count shows.
 */
#include "backend/gradient.h"

#include <assert.h>
#include <string.h>
#include <xmmintrin.h>

#include "backend/cuda_internal.h"

enum {
    BLOCK_ROWS = 64, /* part of the arithmetic of a gradient */
    ITEM_ELEMENTS = 1 << 14,
    ITEM_COLUMNS = 512,
    LINE = 16 /* floats of a cache line */
};

static size_t min_u(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- transposes ---- */

struct pack_run {
    enum ucb_arithmetic arithmetic;
    const struct ucb_packed *weight;
    const float *w; /* of the first row */
    uint32_t row, n_rows;
};

static void pack_item(void *context, size_t index)
{
    const struct pack_run *run = context;
    uint32_t n_out = run->weight->n_out, column = (uint32_t)index * UCB_PANEL;
    struct ucb_source source = {run->w + column, 1, n_out};
    ucb_panel_pack(run->arithmetic, &source, (uint32_t)min_u(n_out - column, UCB_PANEL),
                   run->n_rows,
                   (unsigned char *)run->weight->data +
                       index * ucb_panel_bytes(run->arithmetic, run->weight->n_in) +
                       ucb_panel_bytes(run->arithmetic, run->row));
}

void ucb_pack_transposed_rows(const struct ucb_backend *backend, const float *w,
                              uint32_t row, uint32_t n_rows,
                              const struct ucb_packed *weight)
{
    assert(row % UCB_BLOCK == 0);
    assert(row + n_rows <= weight->n_in);
    assert(n_rows % UCB_BLOCK == 0 || row + n_rows == weight->n_in);
    assert(backend->arithmetic != UCB_ARITH_CUBLAS); /* its panels are not cut along k */
    struct pack_run run = {backend->arithmetic, weight, w, row, n_rows};
    ucb_parallel_for(backend->pool, ucb_n_units(weight->n_out, UCB_PANEL), pack_item, &run);
    size_t n_bytes = ucb_pack_bytes(backend, weight->n_out, weight->n_in);
    if (backend->cuda != NULL && row + n_rows == weight->n_in)
        ucb_cuda_packed(backend->cuda, weight, n_bytes, 0, n_bytes);
}

void ucb_pack_transposed(const struct ucb_backend *backend, const float *w,
                         const struct ucb_packed *weight)
{
    ucb_pack_transposed_rows(backend, w, 0, weight->n_in, weight);
}

struct turn_run {
    const float *x;
    float *y;
    size_t n_rows, n_columns;
};

/* Four rows of four columns. */
static void turn_4x4(const float *x, size_t x_stride, float *y, size_t y_stride)
{
    __m128 a = _mm_loadu_ps(x), b = _mm_loadu_ps(x + x_stride),
           c = _mm_loadu_ps(x + 2 * x_stride), d = _mm_loadu_ps(x + 3 * x_stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(y, a);
    _mm_storeu_ps(y + y_stride, b);
    _mm_storeu_ps(y + 2 * y_stride, c);
    _mm_storeu_ps(y + 3 * y_stride, d);
}

/* At most LINE rows: whole lines of y are written one after the other, because its rows may
 * lie a power of two apart and share the sets of a cache. */
static void turn_rows(const struct turn_run *run, size_t row, size_t n)
{
    size_t column = 0;
    const float *x = run->x + row * run->n_columns;
    float *y = run->y + row;
    for (; n == LINE && column + 4 <= run->n_columns; column += 4)
        for (size_t i = 0; i < LINE; i += 4)
            turn_4x4(x + i * run->n_columns + column, run->n_columns,
                     y + column * run->n_rows + i, run->n_rows);
    for (; column < run->n_columns; column++)
        for (size_t i = 0; i < n; i++)
            y[column * run->n_rows + i] = x[i * run->n_columns + column];
}

static void turn_item(void *context, size_t index)
{
    const struct turn_run *run = context;
    turn_rows(run, index * LINE, min_u(LINE, run->n_rows - index * LINE));
}

void ucb_transpose(struct ucb_backend *backend, const float *x, size_t n_rows,
                   size_t n_columns, float *y)
{
    struct turn_run run = {x, y, n_rows, n_columns};
    ucb_parallel_for(backend->pool, ucb_n_units(n_rows, LINE), turn_item, &run);
}

/* ---- norms, and sums over rows ---- */

struct norm_run {
    const struct ucb_kernel_table *table;
    const float *x, *dy, *weight;
    float *dx, *dweight, *dbias, eps;
    float *partial; /* [n_blocks][2][n]: of dweight, of dbias */
    size_t n_rows, n_blocks;
    uint32_t n;
    enum ucb_norm_kind { RMS, LAYER, SUM } kind;
};

static void norm_block(void *context, size_t index)
{
    const struct norm_run *run = context;
    float *weight = run->dweight == NULL ? NULL : run->partial + index * 2 * run->n,
          *bias = run->dbias == NULL ? NULL : run->partial + (index * 2 + 1) * run->n;
    size_t row = index * BLOCK_ROWS, end = min_u(row + BLOCK_ROWS, run->n_rows);
    if (weight != NULL) memset(weight, 0, run->n * sizeof(*weight));
    if (bias != NULL) memset(bias, 0, run->n * sizeof(*bias));
    for (; row < end; row++) {
        const size_t at = row * run->n;
        const float *dy = run->dy + at;
        switch (run->kind) {
        case RMS:
            run->table->rmsnorm_gradient_row(run->x + at, dy, run->n, run->weight, run->eps,
                                             run->dx + at, weight);
            break;
        case LAYER:
            run->table->layernorm_gradient_row(run->x + at, dy, run->n, run->weight,
                                               run->eps, run->dx + at, weight, bias);
            break;
        case SUM: run->table->add(bias, dy, run->n); break;
        }
    }
}

static void add_blocks(const struct norm_run *run, const float *first, size_t column,
                       size_t n, float *sum)
{
    if (sum == NULL) return;
    memset(sum + column, 0, n * sizeof(*sum));
    for (size_t block = 0; block < run->n_blocks; block++)
        run->table->add(sum + column, first + block * 2 * run->n + column, n);
}

static void add_blocks_item(void *context, size_t index)
{
    const struct norm_run *run = context;
    size_t column = index * ITEM_COLUMNS, n = min_u(ITEM_COLUMNS, run->n - column);
    add_blocks(run, run->partial, column, n, run->dweight);
    add_blocks(run, run->partial + run->n, column, n, run->dbias);
}

static ucb_status run_norm(struct ucb_backend *backend, struct norm_run *run,
                           struct ucb_err *err)
{
    unsigned char *scratch = NULL;
    run->table = backend->table;
    run->n_blocks = ucb_n_units(run->n_rows, BLOCK_ROWS);
    UCB_TRY(ucb_backend_scratch(backend, run->n_blocks * 2 * run->n * sizeof(float),
                                "gradient of a norm", &scratch, err));
    run->partial = (float *)scratch;
    ucb_parallel_for(backend->pool, run->n_blocks, norm_block, run);
    ucb_parallel_for(backend->pool, ucb_n_units(run->n, ITEM_COLUMNS), add_blocks_item,
                     run);
    return UCB_OK;
}

ucb_status ucb_column_sums(struct ucb_backend *backend, const float *x, size_t n_rows,
                           uint32_t n, float *sum, struct ucb_err *err)
{
    struct norm_run run = {.dy = x, .dbias = sum, .n_rows = n_rows, .n = n, .kind = SUM};
    return run_norm(backend, &run, err);
}

ucb_status ucb_rmsnorm_gradient(struct ucb_backend *backend, const float *x,
                                const float *dy, size_t n_rows, uint32_t n,
                                const float *weight, float eps, float *dx, float *dweight,
                                struct ucb_err *err)
{
    struct norm_run run = {.x = x,
                           .dy = dy,
                           .weight = weight,
                           .dx = dx,
                           .dweight = dweight,
                           .eps = eps,
                           .n_rows = n_rows,
                           .n = n,
                           .kind = RMS};
    return run_norm(backend, &run, err);
}

ucb_status ucb_layernorm_gradient(struct ucb_backend *backend, const float *x,
                                  const float *dy, size_t n_rows, uint32_t n,
                                  const float *weight, float eps, float *dx, float *dweight,
                                  float *dbias, struct ucb_err *err)
{
    struct norm_run run = {.x = x,
                           .dy = dy,
                           .weight = weight,
                           .dx = dx,
                           .dweight = dweight,
                           .dbias = dbias,
                           .eps = eps,
                           .n_rows = n_rows,
                           .n = n,
                           .kind = LAYER};
    return run_norm(backend, &run, err);
}

/* ---- elements ---- */

struct element_run {
    const struct ucb_kernel_table *table;
    enum ucb_activation activation;
    const float *x, *up, *dy;
    float *dx, *dup, limit;
    size_t n;
};

static void activate_item(void *context, size_t index)
{
    const struct element_run *run = context;
    size_t i = index * ITEM_ELEMENTS, n = min_u(ITEM_ELEMENTS, run->n - i);
    bool gated = run->up != NULL;
    run->table->activate_gradient(run->activation, run->x + i, gated ? run->up + i : NULL,
                                  run->dy + i, n, run->dx + i, gated ? run->dup + i : NULL);
}

void ucb_activate_gradient(struct ucb_backend *backend, enum ucb_activation activation,
                           const float *gate, const float *up, const float *dy, size_t n,
                           float *dgate, float *dup)
{
    struct element_run run = {.table = backend->table,
                              .activation = activation,
                              .x = gate,
                              .up = up,
                              .dy = dy,
                              .dx = dgate,
                              .dup = dup,
                              .n = n};
    ucb_parallel_for(backend->pool, ucb_n_units(n, ITEM_ELEMENTS), activate_item, &run);
}

static void clamp_item(void *context, size_t index)
{
    const struct element_run *run = context;
    size_t i = index * ITEM_ELEMENTS;
    run->table->clamp_gradient(run->x + i, min_u(ITEM_ELEMENTS, run->n - i), run->limit,
                               run->dx + i);
}

void ucb_clamp_gradient(struct ucb_backend *backend, const float *y, size_t n, float limit,
                        float *dx)
{
    struct element_run run = {
        .table = backend->table, .x = y, .dx = dx, .limit = limit, .n = n};
    ucb_parallel_for(backend->pool, ucb_n_units(n, ITEM_ELEMENTS), clamp_item, &run);
}

float ucb_dot(const struct ucb_backend *backend, const float *x, const float *y, size_t n)
{
    return backend->table->dot(x, y, n);
}
