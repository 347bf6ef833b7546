/*
 * cuda_internal.h - an opened device, as the files cuda*.c share it, and the operations of
 * backend.h on it.
 */
#ifndef UCB_BACKEND_CUDA_INTERNAL_H
#define UCB_BACKEND_CUDA_INTERNAL_H

#include "backend/backend_internal.h"
#include "backend/cuda.h"
#include "backend/cuda_mirror.h"

struct ucb_cuda_piece {
    void *p;
    size_t n_bytes;
};

/* The device's copy of a packed weight in host memory, whose address names it. */
struct ucb_cuda_weight {
    const void *host;
    void *p;
    size_t n_bytes;
    bool current;   /* holds what was packed last */
    bool only_here; /* decoded on the device: `host` is a name, and is not read */
    void *saved;    /* what it held when it gave way, in host memory; p is NULL meanwhile */
    uint64_t used_at;
    struct ucb_cuda_event *loaded;
};

struct ucb_cuda {
    const struct ucb_cuda_backend *table;
    struct ucb_cuda_device *device; /* NULL: not opened */
    enum ucb_arithmetic arithmetic;
    struct ucb_cuda_piece memory[UCB_CUDA_N_PURPOSES];
    struct ucb_cuda_weight *weights;
    size_t n_weights, weight_capacity;
    struct ucb_cuda_mirrors mirrors;
    uint64_t clock; /* of used_at */
    /* Weights and mirrors used from here on belong to the operation at work, and do not
       give way; UINT64_MAX: there is none. */
    uint64_t locked_from;
    struct ucb_cuda_event *computed; /* for LOAD to wait for COMPUTE */
    /* Of two buffers that LOAD fills, from two in host memory, and COMPUTE reads,
     * in turn. */
    struct ucb_cuda_event *filled[2], *read[2];
    struct ucb_cuda_piece staging[2];
    struct ucb_cuda_piece outbox; /* host memory that LOAD copies from */
    size_t sent_bytes;            /* through it, or past it, since it was emptied */
    ucb_status failed;            /* of a function without a status, not yet answered */
    struct ucb_err failure;
};

/* Keeps the first failure; what a plugin's function answers goes through here. */
void ucb_cuda_note(struct ucb_cuda *cuda, const char *what, const char *answer);
/* Answers a kept failure, once. */
ucb_status ucb_cuda_status(struct ucb_cuda *cuda, struct ucb_err *err);

/*
 * A buffer of an operation: where the device holds it, that; else room of this call, to
 * which it is copied (what is read) and from which it is copied back (what is written). All
 * of what is written only is written.
 */
struct ucb_cuda_span {
    const void *host; /* NULL: working memory of the kernel, or with 0 bytes nothing */
    size_t n_bytes;
    bool in, out;
    bool multiplied; /* by a product: see ucb_cuda_suits() */
    bool copied;     /* it lies in room of this call */
    void *there;     /* NULL of nothing */
};
static inline size_t ucb_cuda_room(size_t n_bytes)
{
    return ucb_round_up(n_bytes == 0 ? 1 : n_bytes, 256);
}
/* cuBLAS may choose a kernel by how its pointers are aligned, and its bits must not depend
 * on where a batch begins: it is given what begins at 256 bytes. */
static inline bool ucb_cuda_suits(const struct ucb_cuda *cuda, const void *there)
{
    return cuda->arithmetic != UCB_ARITH_CUBLAS || (uintptr_t)there % 256 == 0;
}
/* What is used from here to end() stays on the device; begin() says so too. */
void ucb_cuda_lock(struct ucb_cuda *cuda);
void ucb_cuda_unlock(struct ucb_cuda *cuda);
/* Places all buffers and brings what is read; false: a failure, which is kept, and end() is
 * not called. */
bool ucb_cuda_begin(struct ucb_cuda *cuda, struct ucb_cuda_span *spans, size_t n);
/* The kernels are queued: copies back what has to be on the host, and waits then. */
void ucb_cuda_end(struct ucb_cuda *cuda, struct ucb_cuda_span *spans, size_t n);
/* What is queued on LOAD from here on begins after what is queued on COMPUTE. */
const char *ucb_cuda_load_after_products(struct ucb_cuda *cuda);

/* Bytes [first, first + n) of a packed weight were written; on their way to the device. */
void ucb_cuda_packed(struct ucb_cuda *cuda, const struct ucb_packed *weight, size_t n_bytes,
                     size_t first, size_t n);
/* The device's copy, brought there where it is not; COMPUTE waits for it. NULL after a
 * failure, which is kept. */
const void *ucb_cuda_weight(struct ucb_cuda *cuda, const struct ucb_packed *weight,
                            size_t n_bytes);
void ucb_cuda_drop_weights(struct ucb_cuda *cuda);
/* A mirror or, where there is none, a copy of a weight gives way: the one that was not used
 * for longest, and not by the operation at work. false: there is none. */
bool ucb_cuda_evict(struct ucb_cuda *cuda);
/* What it could free, one after the other. */
size_t ucb_cuda_evictable_bytes(const struct ucb_cuda *cuda);
/* Device memory, for which they do. Answers NULL, or why there is none even so. */
const char *ucb_cuda_alloc(struct ucb_cuda *cuda, size_t n_bytes, void **out);

/*
 * Rows of a weight that is not in memory, some panels at a time: read and packed by the
 * workers, uploaded, and multiplied while the next ones are read. y[n_rows][y_stride] and x
 * are the device's. What read() answers; NOMEM. prepare() takes the memory for it, before
 * buffers that give way to nothing are placed.
 */
struct ucb_cuda_stream_of_rows {
    ucb_status (*read)(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                       uint32_t end, float *out, struct ucb_err *err);
    void *context;
    uint32_t n_out, n_in;
    uint32_t at_once; /* a multiple of 32; 0: what suits the copies */
};
ucb_status ucb_cuda_prepare_rows(struct ucb_backend *backend,
                                 const struct ucb_cuda_stream_of_rows *weight,
                                 struct ucb_err *err);
ucb_status ucb_cuda_multiply_rows(struct ucb_backend *backend,
                                  const struct ucb_cuda_stream_of_rows *weight,
                                  const float *bias, const float *x, size_t n_rows,
                                  float *y, size_t y_stride, struct ucb_err *err);

/* The functions of backend.h, where backend->cuda is not NULL. */
ucb_status ucb_cuda_linear(struct ucb_backend *backend, const struct ucb_packed *weight,
                           const float *bias, const float *x, size_t n_rows, float *y,
                           struct ucb_err *err);
ucb_status ucb_cuda_linear_tiles(struct ucb_backend *backend,
                                 const struct ucb_tiles *weight, const float *bias,
                                 const float *x, size_t n_rows, float *y,
                                 struct ucb_err *err);
/* bias: NULL of an RMS norm. */
void ucb_cuda_norm(struct ucb_backend *backend, const float *x, size_t n_rows, uint32_t n,
                   const float *weight, const float *bias, float eps, float *y);
void ucb_cuda_rope(struct ucb_backend *backend, float *x, size_t n_rows,
                   const struct ucb_rotary *shape, const float *table,
                   const uint32_t *position);
void ucb_cuda_activate(struct ucb_backend *backend, enum ucb_activation activation,
                       const float *gate, const float *up, size_t n, float *out);
void ucb_cuda_add(struct ucb_backend *backend, float *x, const float *y, size_t n);
/* x = f(x, parameter) by one of the plugin's kernels. */
typedef const char *ucb_cuda_in_place(struct ucb_cuda_device *device, float *x, size_t n,
                                      float parameter);
void ucb_cuda_change(struct ucb_backend *backend, ucb_cuda_in_place *kernel, float *x,
                     size_t n, float parameter);
void ucb_cuda_convolve(struct ucb_backend *backend, const struct ucb_scan *scan);
void ucb_cuda_scan(struct ucb_backend *backend, const struct ucb_scan *scan);
ucb_status ucb_cuda_attention(struct ucb_backend *backend,
                              const struct ucb_attention *shape, const float *q,
                              const float *k, const float *v, size_t n_windows,
                              const size_t *start, float *out, struct ucb_err *err);
ucb_status ucb_cuda_head_score(struct ucb_backend *backend, const struct ucb_head *models,
                               uint32_t n_models, const uint32_t *target, size_t n_rows,
                               struct ucb_position *out, struct ucb_err *err);

#endif
