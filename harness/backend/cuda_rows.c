/*
 * cuda_rows.c - a product whose weight is not in memory: its panels are read and packed by
 * the workers, uploaded on LOAD into one of two buffers, and multiplied on COMPUTE while
 * the next ones are read. Each buffer waits for the product that read it last.
 */
#include "backend/cuda_internal.h"

#include <assert.h>

enum { BUFFER_BYTES = 8 << 20 };

/* Of one worker: where it reads, and the first thing that went wrong. */
struct reader {
    float *rows; /* [32][n_in] */
    ucb_status status;
    struct ucb_err err;
};

struct rows_run {
    struct ucb_backend *backend;
    const struct ucb_cuda_stream_of_rows *weight;
    struct reader *readers;
    unsigned char *packed; /* [panels at once]: the host's buffer of this turn */
    size_t panel_bytes, panel, n_panels, n_shares;
};

static void read_share(void *context, size_t index, unsigned worker)
{
    const struct rows_run *run = context;
    const struct ucb_cuda_stream_of_rows *w = run->weight;
    struct reader *own = &run->readers[worker];
    size_t panel = ucb_part_start(run->n_panels, run->n_shares, index),
           end = ucb_part_start(run->n_panels, run->n_shares, index + 1);
    size_t end_row = (run->panel + end) * UCB_PANEL;
    if (end_row > w->n_out) end_row = w->n_out;
    for (; panel < end && own->status == UCB_OK; panel++) {
        uint32_t row = (uint32_t)(run->panel + panel) * UCB_PANEL, left = w->n_out - row,
                 n = left < UCB_PANEL ? left : (uint32_t)UCB_PANEL;
        own->status = w->read(w->context, worker, row, n, (uint32_t)end_row, own->rows,
                              &own->err);
        struct ucb_source source = {own->rows, w->n_in, 1};
        if (own->status == UCB_OK)
            ucb_panel_pack(run->backend->arithmetic, &source, n, w->n_in,
                           run->packed + panel * run->panel_bytes);
    }
}

static ucb_status read_panels(struct rows_run *run, struct ucb_err *err)
{
    unsigned n_readers = ucb_pool_threads(run->backend->pool);
    run->n_shares = run->n_panels < n_readers ? run->n_panels : n_readers;
    ucb_parallel_workers(run->backend->pool, run->n_shares, read_share, run);
    for (unsigned i = 0; i < n_readers; i++) {
        if (run->readers[i].status == UCB_OK) continue;
        if (err != NULL) *err = run->readers[i].err;
        return run->readers[i].status;
    }
    return UCB_OK;
}

static ucb_status stage(struct ucb_cuda *c, size_t n_bytes, struct ucb_err *err)
{
    for (int i = 0; i < 2; i++) {
        struct ucb_cuda_piece *piece = &c->staging[i];
        if (piece->n_bytes >= n_bytes) continue;
        if (piece->p != NULL) c->table->free_host(c->device, piece->p);
        *piece = (struct ucb_cuda_piece){NULL, 0};
        const char *failed = c->table->alloc_host(c->device, n_bytes, &piece->p);
        if (failed != NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%zu bytes to upload from: %s", n_bytes,
                            failed);
        piece->n_bytes = n_bytes;
    }
    return UCB_OK;
}

static ucb_status place(struct rows_run *run, struct ucb_err *err)
{
    unsigned threads = ucb_pool_threads(run->backend->pool);
    size_t readers = ucb_round_up(threads * sizeof(*run->readers), 64),
           rows = ucb_round_up((size_t)UCB_PANEL * run->weight->n_in * sizeof(float), 64);
    unsigned char *at;
    UCB_TRY(
        ucb_backend_scratch(run->backend, readers + threads * rows, "linear", &at, err));
    run->readers = (struct reader *)at;
    at += readers;
    for (unsigned i = 0; i < threads; i++, at += rows)
        run->readers[i] = (struct reader){.rows = (float *)at, .status = UCB_OK};
    return UCB_OK;
}

/* The panels that were read, to buffer `turn`, and their product. */
static const char *multiply(const struct rows_run *run, unsigned turn, void *buffer,
                            const float *bias, const float *x, size_t n_rows, float *y,
                            size_t y_stride)
{
    struct ucb_cuda *c = run->backend->cuda;
    size_t row = run->panel * UCB_PANEL, n = run->n_panels * UCB_PANEL;
    if (row + n > run->weight->n_out) n = run->weight->n_out - row;
    const char *failed = c->table->wait(c->device, UCB_CUDA_LOAD, c->read[turn]);
    if (failed == NULL)
        failed = c->table->upload(c->device, UCB_CUDA_LOAD, buffer, run->packed,
                                  run->n_panels * run->panel_bytes);
    if (failed == NULL)
        failed = c->table->record(c->device, UCB_CUDA_LOAD, c->filled[turn]);
    if (failed == NULL)
        failed = c->table->wait(c->device, UCB_CUDA_COMPUTE, c->filled[turn]);
    if (failed == NULL)
        failed = c->table->linear(c->device, run->backend->arithmetic, buffer, (uint32_t)n,
                                  run->weight->n_in, bias == NULL ? NULL : bias + row, x,
                                  n_rows, y + row, y_stride);
    if (failed == NULL)
        failed = c->table->record(c->device, UCB_CUDA_COMPUTE, c->read[turn]);
    return failed;
}

static size_t min_panels(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* cuBLAS: the columns of one call, as a whole weight is multiplied. */
static size_t choose_panels(const struct rows_run *run, size_t n_all)
{
    if (run->backend->arithmetic == UCB_ARITH_CUBLAS)
        return min_panels(UCB_CUDA_CUBLAS_COLUMNS / UCB_PANEL, n_all);
    size_t n = run->weight->at_once > 0 ? run->weight->at_once / UCB_PANEL
                                        : BUFFER_BYTES / run->panel_bytes;
    return min_panels(n == 0 ? 1 : n, n_all);
}

/* The panels of one turn, and memory for two. */
static ucb_status prepare(struct rows_run *run, size_t *at_once, void **buffers,
                          struct ucb_err *err)
{
    struct ucb_backend *b = run->backend;
    run->panel_bytes = ucb_panel_bytes(b->arithmetic, run->weight->n_in);
    *at_once = choose_panels(run, ucb_n_units(run->weight->n_out, UCB_PANEL));
    UCB_TRY(place(run, err));
    UCB_TRY(stage(b->cuda, *at_once * run->panel_bytes, err));
    return ucb_cuda_memory(b->cuda, UCB_CUDA_FOR_W, 2 * *at_once * run->panel_bytes,
                           buffers, err);
}

ucb_status ucb_cuda_prepare_rows(struct ucb_backend *b,
                                 const struct ucb_cuda_stream_of_rows *weight,
                                 struct ucb_err *err)
{
    struct rows_run run = {.backend = b, .weight = weight};
    size_t at_once;
    void *buffers;
    return prepare(&run, &at_once, &buffers, err);
}

ucb_status ucb_cuda_multiply_rows(struct ucb_backend *b,
                                  const struct ucb_cuda_stream_of_rows *weight,
                                  const float *bias, const float *x, size_t n_rows,
                                  float *y, size_t y_stride, struct ucb_err *err)
{
    struct ucb_cuda *c = b->cuda;
    struct rows_run run = {.backend = b, .weight = weight};
    size_t n_all = ucb_n_units(weight->n_out, UCB_PANEL);
    size_t at_once;
    void *buffers;
    ucb_status status = UCB_OK;
    UCB_TRY(prepare(&run, &at_once, &buffers, err));
    /* The last product may read panels of another size at any place of the buffers. */
    ucb_cuda_note(c, "an upload", ucb_cuda_load_after_products(c));
    for (unsigned turn = 0; run.panel < n_all && status == UCB_OK && c->failed == UCB_OK;
         turn ^= 1) {
        run.n_panels = n_all - run.panel < at_once ? n_all - run.panel : at_once;
        run.packed = c->staging[turn].p;
        /* The upload before last read this buffer; the last one may go on. */
        if (run.panel >= 2 * at_once)
            ucb_cuda_note(c, "an upload",
                          c->table->finish_event(c->device, c->filled[turn]));
        status = read_panels(&run, err);
        if (status == UCB_OK && c->failed == UCB_OK)
            ucb_cuda_note(
                c, "a product",
                multiply(&run, turn,
                         (unsigned char *)buffers + turn * at_once * run.panel_bytes, bias,
                         x, n_rows, y, y_stride));
        run.panel += run.n_panels;
    }
    /* Whoever comes next may write the host's buffers. */
    ucb_cuda_note(c, "an upload", c->table->finish(c->device, UCB_CUDA_LOAD));
    return status;
}
