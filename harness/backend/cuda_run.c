/*
 * cuda_run.c - the operations of backend.h on a device. Memory that is kept (cuda_mirror.h)
 * is read and written where the device holds it, and nobody waits; host buffers are copied
 * in and out: what goes in is copied there, the kernel runs, what comes out is copied back.
 * Weights stay.
 *
 * Softplus, sums of experts' answers and gradients have no kernel: the CPU does them, with
 * the same bits.
 */
#include "backend/cuda_internal.h"

#include <assert.h>
#include <string.h>

/* Of the buffers of a call that are copied, where rows and elements can be cut. */
enum { FRAME_BYTES = 256 << 20, RUN_ELEMENTS = 16 << 20 };

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

/* ---- buffers of an operation ---- */

void ucb_cuda_lock(struct ucb_cuda *c)
{
    if (c->locked_from == UINT64_MAX) c->locked_from = ++c->clock;
}

void ucb_cuda_unlock(struct ucb_cuda *c)
{
    c->locked_from = UINT64_MAX;
}

const char *ucb_cuda_load_after_products(struct ucb_cuda *c)
{
    const char *failed = c->table->record(c->device, UCB_CUDA_COMPUTE, c->computed);
    return failed != NULL ? failed : c->table->wait(c->device, UCB_CUDA_LOAD, c->computed);
}

/* Where mirrors hold them, if they may; the others in room of this call. */
static ucb_status place(struct ucb_cuda *c, struct ucb_cuda_span *s, size_t n,
                        bool in_mirrors, struct ucb_err *err)
{
    size_t room = 0;
    void *p = NULL;
    for (size_t i = 0; i < n; i++) {
        s[i].there = in_mirrors && s[i].host != NULL
                         ? ucb_cuda_mirror_at(c, s[i].host, s[i].n_bytes)
                         : NULL;
        if (s[i].multiplied && !ucb_cuda_suits(c, s[i].there)) s[i].there = NULL;
        s[i].copied = s[i].there == NULL && s[i].n_bytes > 0;
        if (s[i].copied) room += ucb_cuda_room(s[i].n_bytes);
    }
    if (room > 0) UCB_TRY(ucb_cuda_memory(c, UCB_CUDA_FOR_X, room, &p, err));
    for (size_t i = 0; i < n; i++) {
        if (!s[i].copied) continue;
        s[i].there = p;
        p = (unsigned char *)p + ucb_cuda_room(s[i].n_bytes);
    }
    return UCB_OK;
}

/* Mirrors where they can be; without any where they leave no room for the rest. */
static bool place_all(struct ucb_cuda *c, struct ucb_cuda_span *s, size_t n)
{
    ucb_status status;
    for (size_t i = 0; i < n; i++)
        if (s[i].host != NULL) ucb_cuda_mirror_seek(c, s[i].host, s[i].n_bytes);
    status = place(c, s, n, true, NULL);
    if (status == UCB_OK) return true;
    for (size_t i = 0; i < n; i++)
        if (s[i].host != NULL) ucb_cuda_mirror_spare(c, s[i].host, s[i].n_bytes);
    c->failed = place(c, s, n, false, &c->failure);
    return c->failed == UCB_OK;
}

static void bring(struct ucb_cuda *c, const struct ucb_cuda_span *s)
{
    if (!s->copied) {
        ucb_cuda_mirror_in(c, s->host, s->n_bytes);
        return;
    }
    ucb_cuda_host_reads(c, s->host, s->n_bytes);
    ucb_cuda_note(
        c, "copying in",
        c->table->upload(c->device, UCB_CUDA_COMPUTE, s->there, s->host, s->n_bytes));
}

bool ucb_cuda_begin(struct ucb_cuda *c, struct ucb_cuda_span *s, size_t n)
{
    ucb_cuda_lock(c);
    if (c->failed == UCB_OK && place_all(c, s, n))
        for (size_t i = 0; i < n; i++)
            if (s[i].in && s[i].n_bytes > 0) bring(c, &s[i]);
    if (c->failed != UCB_OK) {
        ucb_cuda_unlock(c);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        if (s[i].out && s[i].n_bytes > 0 && !s[i].copied)
            ucb_cuda_mirror_out(c, s[i].host, s[i].n_bytes);
    return true;
}

void ucb_cuda_end(struct ucb_cuda *c, struct ucb_cuda_span *s, size_t n)
{
    bool waits = false;
    for (size_t i = 0; i < n; i++) {
        if (!s[i].out || !s[i].copied) continue;
        ucb_cuda_host_writes(c, s[i].host, s[i].n_bytes);
        waits = true;
        if (c->failed == UCB_OK)
            ucb_cuda_note(c, "copying out",
                          c->table->download(c->device, UCB_CUDA_COMPUTE, (void *)s[i].host,
                                             s[i].there, s[i].n_bytes));
    }
    if (waits) ucb_cuda_note(c, "a kernel", c->table->finish(c->device, UCB_CUDA_COMPUTE));
    ucb_cuda_unlock(c);
}

/* n floats that are read; NULL: nothing. */
static struct ucb_cuda_span reads(const void *host, size_t n)
{
    return (struct ucb_cuda_span){
        .host = host, .n_bytes = host == NULL ? 0 : n * sizeof(float), .in = true};
}

static struct ucb_cuda_span writes(float *host, size_t n)
{
    return (struct ucb_cuda_span){.host = host, .n_bytes = n * sizeof(float), .out = true};
}

static struct ucb_cuda_span changes(float *host, size_t n)
{
    return (struct ucb_cuda_span){
        .host = host, .n_bytes = n * sizeof(float), .in = true, .out = true};
}

/* What is written, where it may be a buffer that is read: then that one, and nothing. */
static struct ucb_cuda_span writes_beside(float *host, size_t n, struct ucb_cuda_span *read)
{
    if (read->host != host) return writes(host, n);
    read->out = true;
    return reads(NULL, 0);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- products ---- */

/* As many rows of so many floats as fit a frame: one at least. */
static size_t rows_at_once(size_t row_floats, size_t n_rows)
{
    size_t fit = FRAME_BYTES / (row_floats * sizeof(float));
    return least(fit == 0 ? 1 : fit, n_rows);
}

/* The weight stays where it is while room for the rows is made. */
static void multiply_rows(struct ucb_backend *b, const struct ucb_packed *weight,
                          const float *bias, const float *x, size_t n, float *y)
{
    struct ucb_cuda *c = b->cuda;
    uint32_t n_out = weight->n_out, n_in = weight->n_in;
    struct ucb_cuda_span s[] = {reads(x, n * n_in), reads(bias, n_out),
                                writes(y, n * n_out)};
    s[0].multiplied = s[2].multiplied = true;
    ucb_cuda_lock(c);
    const void *packed = ucb_cuda_weight(c, weight, ucb_pack_bytes(b, n_out, n_in));
    if (!ucb_cuda_begin(c, s, 3)) return;
    ucb_cuda_note(c, "a product",
                  c->table->linear(c->device, b->arithmetic, packed, n_out, n_in,
                                   s[1].there, s[0].there, n, s[2].there, n_out));
    ucb_cuda_end(c, s, 3);
}

ucb_status ucb_cuda_linear(struct ucb_backend *b, const struct ucb_packed *weight,
                           const float *bias, const float *x, size_t n_rows, float *y,
                           struct ucb_err *err)
{
    size_t n_out = weight->n_out, n_in = weight->n_in,
           step = rows_at_once(n_out + n_in, n_rows);
    for (size_t row = 0; row < n_rows && b->cuda->failed == UCB_OK; row += step)
        multiply_rows(b, weight, bias, x + row * n_in, least(step, n_rows - row),
                      y + row * n_out);
    return ucb_cuda_status(b->cuda, err);
}

ucb_status ucb_cuda_linear_tiles(struct ucb_backend *b, const struct ucb_tiles *weight,
                                 const float *bias, const float *x, size_t n_rows, float *y,
                                 struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    uint32_t n_out = weight->n_out, n_in = weight->n_in;
    const struct ucb_cuda_stream_of_rows rows = {weight->decode, weight->context, n_out,
                                                 n_in, weight->tile_rows};
    struct ucb_cuda_span s[] = {reads(x, n_rows * n_in), reads(bias, n_out),
                                writes(y, n_rows * n_out)};
    if (n_rows == 0) return ucb_cuda_status(c, err);
    s[0].multiplied = s[2].multiplied = true;
    UCB_TRY(ucb_cuda_prepare_rows(b, &rows, err));
    if (!ucb_cuda_begin(c, s, 3)) return ucb_cuda_status(c, err);
    ucb_status status = ucb_cuda_multiply_rows(b, &rows, s[1].there, s[0].there, n_rows,
                                               s[2].there, n_out, err);
    ucb_cuda_end(c, s, 3);
    return status != UCB_OK ? status : ucb_cuda_status(c, err);
}

/* ---- rows and elements ---- */

static void norm_rows(struct ucb_backend *b, const float *x, size_t n_rows, uint32_t n,
                      const float *weight, const float *bias, float eps, float *y)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_span s[] = {
        reads(x, n_rows * n), reads(weight, n), reads(bias, n), {0}};
    s[3] = writes_beside(y, n_rows * n, &s[0]);
    if (!ucb_cuda_begin(c, s, 4)) return;
    float *out = s[3].there == NULL ? s[0].there : s[3].there;
    ucb_cuda_note(c, "a norm",
                  bias == NULL ? c->table->rmsnorm(c->device, s[0].there, n_rows, n,
                                                   s[1].there, eps, out)
                               : c->table->layernorm(c->device, s[0].there, n_rows, n,
                                                     s[1].there, s[2].there, eps, out));
    ucb_cuda_end(c, s, 4);
}

void ucb_cuda_norm(struct ucb_backend *b, const float *x, size_t n_rows, uint32_t n,
                   const float *weight, const float *bias, float eps, float *y)
{
    size_t step = rows_at_once(2 * (size_t)n, n_rows);
    for (size_t row = 0; row < n_rows; row += step)
        norm_rows(b, x + row * n, least(step, n_rows - row), n, weight, bias, eps,
                  y + row * n);
}

void ucb_cuda_rope(struct ucb_backend *b, float *x, size_t n_rows,
                   const struct ucb_rotary *shape, const float *table,
                   const uint32_t *position)
{
    struct ucb_cuda *c = b->cuda;
    uint32_t last = 0;
    if (n_rows == 0) return;
    for (size_t i = 0; i < n_rows; i++)
        if (position[i] > last) last = position[i];
    struct ucb_cuda_span s[] = {changes(x, n_rows * shape->n_heads * shape->head_dim),
                                reads(table, ((size_t)last + 1) * shape->r),
                                reads(position, n_rows)};
    if (!ucb_cuda_begin(c, s, 3)) return;
    ucb_cuda_note(
        c, "rope",
        c->table->rope(c->device, s[0].there, n_rows, shape, s[1].there, s[2].there));
    ucb_cuda_end(c, s, 3);
}

static void activate_run(struct ucb_backend *b, enum ucb_activation activation,
                         const float *gate, const float *up, size_t n, float *out)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_cuda_span s[] = {reads(gate, n), reads(up, n), {0}};
    struct ucb_cuda_span *target = out == gate ? &s[0] : out == up ? &s[1] : &s[2];
    s[2] = writes_beside(out, n, target);
    if (!ucb_cuda_begin(c, s, 3)) return;
    ucb_cuda_note(c, "an activation",
                  c->table->activate(c->device, activation, s[0].there, s[1].there, n,
                                     target->there));
    ucb_cuda_end(c, s, 3);
}

void ucb_cuda_activate(struct ucb_backend *b, enum ucb_activation activation,
                       const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += RUN_ELEMENTS)
        activate_run(b, activation, gate + i, up == NULL ? NULL : up + i,
                     least(RUN_ELEMENTS, n - i), out + i);
}

static void add_run(struct ucb_cuda *c, float *x, const float *y, size_t n)
{
    struct ucb_cuda_span s[] = {changes(x, n), reads(y, n)};
    if (!ucb_cuda_begin(c, s, 2)) return;
    ucb_cuda_note(c, "an addition", c->table->add(c->device, s[0].there, s[1].there, n));
    ucb_cuda_end(c, s, 2);
}

void ucb_cuda_add(struct ucb_backend *b, float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += RUN_ELEMENTS)
        add_run(b->cuda, x + i, y + i, least(RUN_ELEMENTS, n - i));
}

static void change_run(struct ucb_cuda *c, ucb_cuda_in_place *kernel, float *x, size_t n,
                       float parameter)
{
    struct ucb_cuda_span s = changes(x, n);
    if (!ucb_cuda_begin(c, &s, 1)) return;
    ucb_cuda_note(c, "elements", kernel(c->device, s.there, n, parameter));
    ucb_cuda_end(c, &s, 1);
}

void ucb_cuda_change(struct ucb_backend *b, ucb_cuda_in_place *kernel, float *x, size_t n,
                     float parameter)
{
    for (size_t i = 0; i < n; i += RUN_ELEMENTS)
        change_run(b->cuda, kernel, x + i, least(RUN_ELEMENTS, n - i), parameter);
}

/* ---- state space ---- */

/* Rows of `width` that lie `stride` apart: without what follows the last. */
static size_t strided(size_t n_rows, size_t stride, size_t width)
{
    return (n_rows - 1) * stride + width;
}

void ucb_cuda_convolve(struct ucb_backend *b, const struct ucb_scan *scan)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_scan there = *scan;
    size_t width = scan->width;
    if (scan->n_rows == 0) return;
    struct ucb_cuda_span s[] = {
        reads(scan->in, strided(scan->n_rows, scan->in_stride, width)),
        reads(scan->conv, scan->kernel * width), reads(scan->conv_bias, width),
        writes(scan->u, scan->n_rows * width)};
    if (!ucb_cuda_begin(c, s, 4)) return;
    there.in = s[0].there;
    there.conv = s[1].there;
    there.conv_bias = s[2].there;
    there.u = s[3].there;
    ucb_cuda_note(c, "a convolution", c->table->convolve(c->device, &there));
    ucb_cuda_end(c, s, 4);
}

void ucb_cuda_scan(struct ucb_backend *b, const struct ucb_scan *scan)
{
    struct ucb_cuda *c = b->cuda;
    struct ucb_scan there = *scan;
    size_t width = scan->width, n = scan->n_rows * width;
    if (scan->n_rows == 0) return;
    struct ucb_cuda_span s[] = {
        reads(scan->u, n),
        reads(scan->dt, n),
        reads(scan->bc, strided(scan->n_rows, scan->bc_stride, 2 * (size_t)scan->state)),
        reads(scan->a, scan->state * width),
        reads(scan->skip, width),
        writes(scan->y, n),
        {.n_bytes = scan->state * width * sizeof(float)}}; /* the states */
    if (!ucb_cuda_begin(c, s, 7)) return;
    there.u = s[0].there;
    there.dt = s[1].there;
    there.bc = s[2].there;
    there.a = s[3].there;
    there.skip = s[4].there;
    there.y = s[5].there;
    ucb_cuda_note(c, "a scan", c->table->scan(c->device, &there, s[6].there));
    ucb_cuda_end(c, s, 7);
}

/* ---- attention ---- */

ucb_status ucb_cuda_attention(struct ucb_backend *b, const struct ucb_attention *shape,
                              const float *q, const float *k, const float *v,
                              size_t n_windows, const size_t *start, float *out,
                              struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    /* On every machine this program runs on; the plugin's table says uint64_t. */
    _Static_assert(sizeof(size_t) == sizeof(uint64_t), "starts of windows");
    size_t d = shape->head_dim, n_q = start[n_windows] * shape->n_heads * d,
           n_k = start[n_windows] * shape->n_kv_heads * d;
    struct ucb_cuda_span s[] = {
        reads(q, n_q),
        reads(k, n_k),
        reads(v, n_k),
        writes(out, n_q),
        {.host = start, .n_bytes = (n_windows + 1) * sizeof(*start), .in = true}};
    if (!ucb_cuda_begin(c, s, 5)) return ucb_cuda_status(c, err);
    ucb_cuda_note(c, "attention",
                  c->table->attention(c->device, b->arithmetic, shape, s[0].there,
                                      s[1].there, s[2].there, n_windows, s[4].there,
                                      (const uint64_t *)start, s[3].there));
    ucb_cuda_end(c, s, 5);
    return ucb_cuda_status(c, err);
}
