/*
 * cuda_run.c - the operations of backend.h on a device, with host buffers in and out: what
 * goes in is copied there, the kernel runs, what comes out is copied back. Weights stay.
 *
 * Softplus, sums of experts' answers and gradients have no kernel: the CPU does them, with
 * the same bits.
 */
#include "backend/cuda_internal.h"

#include <assert.h>
#include <string.h>

/* Rows of a product that are on the device at a time. */
enum { FRAME_BYTES = 256 << 20 };

void ucb_cuda_note(struct ucb_cuda *c, const char *what, const char *answer)
{
    if (answer == NULL || c->failed != UCB_OK) return;
    c->failed = UCB_FAIL(&c->failure, UCB_ENVIRONMENT, "the GPU failed at %s: %s", what,
                         answer);
}

ucb_status ucb_cuda_status(struct ucb_cuda *c, struct ucb_err *err)
{
    ucb_status status = c->failed;
    if (status != UCB_OK && err != NULL) *err = c->failure;
    c->failed = UCB_OK;
    return status;
}

/* ---- frames ---- */

bool ucb_cuda_begin(struct ucb_cuda *c, size_t n_bytes, struct ucb_cuda_frame *out)
{
    void *p = NULL;
    if (c->failed != UCB_OK) return false;
    c->failed = ucb_cuda_memory(c, UCB_CUDA_FOR_X, n_bytes, &p, &c->failure);
    *out = (struct ucb_cuda_frame){c, p, (unsigned char *)p + n_bytes};
    return c->failed == UCB_OK;
}

void *ucb_cuda_take(struct ucb_cuda_frame *f, size_t n_bytes)
{
    unsigned char *p = f->at;
    f->at += ucb_cuda_room(n_bytes);
    assert(f->at <= f->end);
    return p;
}

void *ucb_cuda_bring(struct ucb_cuda_frame *f, const void *host, size_t n_bytes)
{
    void *p = ucb_cuda_take(f, n_bytes);
    if (f->cuda->failed == UCB_OK && n_bytes > 0)
        ucb_cuda_note(
            f->cuda, "copying in",
            f->cuda->table->upload(f->cuda->device, UCB_CUDA_COMPUTE, p, host, n_bytes));
    return p;
}

void ucb_cuda_give_back(struct ucb_cuda_frame *f, void *host, const void *p, size_t n_bytes)
{
    if (f->cuda->failed == UCB_OK && n_bytes > 0)
        ucb_cuda_note(
            f->cuda, "copying out",
            f->cuda->table->download(f->cuda->device, UCB_CUDA_COMPUTE, host, p, n_bytes));
}

void ucb_cuda_end(struct ucb_cuda_frame *f)
{
    ucb_cuda_note(f->cuda, "a kernel",
                  f->cuda->table->finish(f->cuda->device, UCB_CUDA_COMPUTE));
}

/* ---- products ---- */

static size_t linear_bytes(uint32_t n_out, uint32_t n_in, size_t n_rows)
{
    return ucb_cuda_room(n_out * sizeof(float)) +
           ucb_cuda_room(n_rows * n_in * sizeof(float)) +
           ucb_cuda_room(n_rows * n_out * sizeof(float));
}

/* As many rows as fit a frame: one at least. */
static size_t rows_at_once(uint32_t n_out, uint32_t n_in, size_t n_rows)
{
    size_t fit = FRAME_BYTES / (((size_t)n_out + n_in) * sizeof(float));
    if (fit == 0) fit = 1;
    return fit < n_rows ? fit : n_rows;
}

ucb_status ucb_cuda_linear(struct ucb_backend *b, const struct ucb_packed *weight,
                           const float *bias, const float *x, size_t n_rows, float *y,
                           struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    uint32_t n_out = weight->n_out, n_in = weight->n_in;
    size_t step = rows_at_once(n_out, n_in, n_rows);
    for (size_t row = 0; row < n_rows && c->failed == UCB_OK; row += step) {
        struct ucb_cuda_frame f;
        size_t n = n_rows - row < step ? n_rows - row : step;
        /* The frame first: it may take the place of weights, this one among them. */
        if (!ucb_cuda_begin(c, linear_bytes(n_out, n_in, step), &f)) break;
        const void *packed = ucb_cuda_weight(c, weight, ucb_pack_bytes(b, n_out, n_in));
        const float *there = ucb_cuda_bring(&f, x + row * n_in, n * n_in * sizeof(*x));
        const float *added = bias == NULL ? NULL
                                          : ucb_cuda_bring(&f, bias, n_out * sizeof(*bias));
        float *result = ucb_cuda_take(&f, n * n_out * sizeof(*y));
        if (c->failed == UCB_OK)
            ucb_cuda_note(c, "a product",
                          c->table->linear(c->device, b->arithmetic, packed, n_out, n_in,
                                           added, there, n, result, n_out));
        ucb_cuda_give_back(&f, y + row * n_out, result, n * n_out * sizeof(*y));
        ucb_cuda_end(&f);
    }
    return ucb_cuda_status(c, err);
}

ucb_status ucb_cuda_linear_tiles(struct ucb_backend *b, const struct ucb_tiles *weight,
                                 const float *bias, const float *x, size_t n_rows, float *y,
                                 struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    uint32_t n_out = weight->n_out, n_in = weight->n_in;
    const struct ucb_cuda_stream_of_rows rows = {weight->decode, weight->context, n_out,
                                                 n_in, weight->tile_rows};
    if (!ucb_cuda_begin(c, linear_bytes(n_out, n_in, n_rows), &f))
        return ucb_cuda_status(c, err);
    const float *there = ucb_cuda_bring(&f, x, n_rows * n_in * sizeof(*x));
    const float *added = bias == NULL ? NULL
                                      : ucb_cuda_bring(&f, bias, n_out * sizeof(*bias));
    float *result = ucb_cuda_take(&f, n_rows * n_out * sizeof(*y));
    ucb_status status = ucb_cuda_multiply_rows(b, &rows, added, there, n_rows, result,
                                               n_out, err);
    ucb_cuda_give_back(&f, y, result, n_rows * n_out * sizeof(*y));
    ucb_cuda_end(&f);
    return status != UCB_OK ? status : ucb_cuda_status(c, err);
}

/* ---- rows and elements ---- */

void ucb_cuda_norm(struct ucb_backend *b, const float *x, size_t n_rows, uint32_t n,
                   const float *weight, const float *bias, float eps, float *y)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    size_t n_bytes = n_rows * n * sizeof(*x), row_bytes = n * sizeof(*x);
    if (n_rows == 0) return;
    if (!ucb_cuda_begin(c, ucb_cuda_room(n_bytes) + 2 * ucb_cuda_room(row_bytes), &f))
        return;
    float *there = ucb_cuda_bring(&f, x, n_bytes);
    const float *gain = ucb_cuda_bring(&f, weight, row_bytes),
                *added = bias == NULL ? NULL : ucb_cuda_bring(&f, bias, row_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "a norm",
                      bias == NULL
                          ? c->table->rmsnorm(c->device, there, n_rows, n, gain, eps, there)
                          : c->table->layernorm(c->device, there, n_rows, n, gain, added,
                                                eps, there));
    ucb_cuda_give_back(&f, y, there, n_bytes);
    ucb_cuda_end(&f);
}

void ucb_cuda_rope(struct ucb_backend *b, float *x, size_t n_rows,
                   const struct ucb_rotary *shape, const float *table,
                   const uint32_t *position)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    uint32_t last = 0;
    if (n_rows == 0) return;
    for (size_t i = 0; i < n_rows; i++)
        if (position[i] > last) last = position[i];
    size_t n_bytes = n_rows * shape->n_heads * shape->head_dim * sizeof(*x),
           table_bytes = ((size_t)last + 1) * shape->r * sizeof(*table),
           position_bytes = n_rows * sizeof(*position);
    if (!ucb_cuda_begin(c,
                        ucb_cuda_room(n_bytes) + ucb_cuda_room(table_bytes) +
                            ucb_cuda_room(position_bytes),
                        &f))
        return;
    float *there = ucb_cuda_bring(&f, x, n_bytes);
    const float *angles = ucb_cuda_bring(&f, table, table_bytes);
    const uint32_t *positions = ucb_cuda_bring(&f, position, position_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "rope",
                      c->table->rope(c->device, there, n_rows, shape, angles, positions));
    ucb_cuda_give_back(&f, x, there, n_bytes);
    ucb_cuda_end(&f);
}

void ucb_cuda_activate(struct ucb_backend *b, enum ucb_activation activation,
                       const float *gate, const float *up, size_t n, float *out)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    size_t n_bytes = n * sizeof(*gate);
    if (n == 0 || !ucb_cuda_begin(c, 2 * ucb_cuda_room(n_bytes), &f)) return;
    float *there = ucb_cuda_bring(&f, gate, n_bytes);
    const float *factor = up == NULL ? NULL : ucb_cuda_bring(&f, up, n_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "an activation",
                      c->table->activate(c->device, activation, there, factor, n, there));
    ucb_cuda_give_back(&f, out, there, n_bytes);
    ucb_cuda_end(&f);
}

void ucb_cuda_add(struct ucb_backend *b, float *x, const float *y, size_t n)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    size_t n_bytes = n * sizeof(*x);
    if (n == 0 || !ucb_cuda_begin(c, 2 * ucb_cuda_room(n_bytes), &f)) return;
    float *there = ucb_cuda_bring(&f, x, n_bytes);
    const float *added = ucb_cuda_bring(&f, y, n_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "an addition", c->table->add(c->device, there, added, n));
    ucb_cuda_give_back(&f, x, there, n_bytes);
    ucb_cuda_end(&f);
}

void ucb_cuda_change(struct ucb_backend *b, ucb_cuda_in_place *kernel, float *x, size_t n,
                     float parameter)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    size_t n_bytes = n * sizeof(*x);
    if (n == 0 || !ucb_cuda_begin(c, ucb_cuda_room(n_bytes), &f)) return;
    float *there = ucb_cuda_bring(&f, x, n_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "elements", kernel(c->device, there, n, parameter));
    ucb_cuda_give_back(&f, x, there, n_bytes);
    ucb_cuda_end(&f);
}

/* ---- state space ---- */

/* Rows of `width` that lie `stride` apart: without what follows the last. */
static size_t strided_bytes(size_t n_rows, size_t stride, size_t width)
{
    return ((n_rows - 1) * stride + width) * sizeof(float);
}

void ucb_cuda_convolve(struct ucb_backend *b, const struct ucb_scan *scan)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    struct ucb_scan there = *scan;
    size_t width = scan->width, row_bytes = width * sizeof(float);
    if (scan->n_rows == 0) return;
    size_t in_bytes = strided_bytes(scan->n_rows, scan->in_stride, width),
           conv_bytes = scan->kernel * row_bytes, u_bytes = scan->n_rows * row_bytes;
    if (!ucb_cuda_begin(c,
                        ucb_cuda_room(in_bytes) + ucb_cuda_room(conv_bytes) +
                            ucb_cuda_room(row_bytes) + ucb_cuda_room(u_bytes),
                        &f))
        return;
    there.in = ucb_cuda_bring(&f, scan->in, in_bytes);
    there.conv = ucb_cuda_bring(&f, scan->conv, conv_bytes);
    if (scan->conv_bias != NULL)
        there.conv_bias = ucb_cuda_bring(&f, scan->conv_bias, row_bytes);
    there.u = ucb_cuda_take(&f, u_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "a convolution", c->table->convolve(c->device, &there));
    ucb_cuda_give_back(&f, scan->u, there.u, u_bytes);
    ucb_cuda_end(&f);
}

void ucb_cuda_scan(struct ucb_backend *b, const struct ucb_scan *scan)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    struct ucb_scan there = *scan;
    size_t row_bytes = scan->width * sizeof(float), u_bytes = scan->n_rows * row_bytes,
           state_bytes = scan->state * row_bytes;
    if (scan->n_rows == 0) return;
    size_t bc_bytes = strided_bytes(scan->n_rows, scan->bc_stride, 2 * (size_t)scan->state);
    if (!ucb_cuda_begin(c,
                        3 * ucb_cuda_room(u_bytes) + ucb_cuda_room(bc_bytes) +
                            2 * ucb_cuda_room(state_bytes) + ucb_cuda_room(row_bytes),
                        &f))
        return;
    there.u = ucb_cuda_bring(&f, scan->u, u_bytes);
    there.dt = ucb_cuda_bring(&f, scan->dt, u_bytes);
    there.bc = ucb_cuda_bring(&f, scan->bc, bc_bytes);
    there.a = ucb_cuda_bring(&f, scan->a, state_bytes);
    there.skip = ucb_cuda_bring(&f, scan->skip, row_bytes);
    there.y = ucb_cuda_take(&f, u_bytes);
    float *states = ucb_cuda_take(&f, state_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "a scan", c->table->scan(c->device, &there, states));
    ucb_cuda_give_back(&f, scan->y, there.y, u_bytes);
    ucb_cuda_end(&f);
}

/* ---- attention ---- */

ucb_status ucb_cuda_attention(struct ucb_backend *b, const struct ucb_attention *shape,
                              const float *q, const float *k, const float *v,
                              size_t n_windows, const size_t *start, float *out,
                              struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_frame f;
    /* On every machine this program runs on; the plugin's table says uint64_t. */
    _Static_assert(sizeof(size_t) == sizeof(uint64_t), "starts of windows");
    size_t d = shape->head_dim, rows = start[n_windows],
           q_bytes = rows * shape->n_heads * d * sizeof(*q),
           k_bytes = rows * shape->n_kv_heads * d * sizeof(*k),
           start_bytes = (n_windows + 1) * sizeof(*start);
    if (!ucb_cuda_begin(c,
                        2 * ucb_cuda_room(q_bytes) + 2 * ucb_cuda_room(k_bytes) +
                            ucb_cuda_room(start_bytes),
                        &f))
        return ucb_cuda_status(c, err);
    const float *there_q = ucb_cuda_bring(&f, q, q_bytes),
                *there_k = ucb_cuda_bring(&f, k, k_bytes),
                *there_v = ucb_cuda_bring(&f, v, k_bytes);
    const uint64_t *there_start = ucb_cuda_bring(&f, start, start_bytes);
    float *result = ucb_cuda_take(&f, q_bytes);
    if (c->failed == UCB_OK)
        ucb_cuda_note(c, "attention",
                      c->table->attention(c->device, b->arithmetic, shape, there_q, there_k,
                                          there_v, n_windows, there_start,
                                          (const uint64_t *)start, result));
    ucb_cuda_give_back(&f, out, result, q_bytes);
    ucb_cuda_end(&f);
    return ucb_cuda_status(c, err);
}
