/*
 * backend.h - the arithmetic of a forward pass: what the program computes with, on whatever
 * kernels there are.
 *
 * A strict arithmetic (fp32, bf16, bf16-dot) defines every bit of a result; a kernel path
 * (scalar, avx2, avx512, amx, cuda) is a way to get those bits. docs/arithmetic.md states
 * both. No result depends on the number of rows in a call, on threads, or on the path. The
 * arithmetic cublas takes a library's products as they come: docs/cuda.md. Matrices are
 * row-major; x[n_rows][n_in], w[n_out][n_in], y[n_rows][n_out]; y = x w^T.
 */
#ifndef UCB_BACKEND_BACKEND_H
#define UCB_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/pool.h"

enum ucb_arithmetic {
    UCB_ARITH_FP32,
    UCB_ARITH_BF16,
    UCB_ARITH_BF16_DOT,
    UCB_ARITH_CUBLAS,
    UCB_N_ARITHS
};
enum { UCB_N_STRICT_ARITHS = UCB_ARITH_CUBLAS };
/* Raise when a result of that arithmetic changes in any bit: it is part of every cell's
 * identity. */
enum {
    UCB_ARITH_FP32_REVISION = 1,
    UCB_ARITH_BF16_REVISION = 1,
    UCB_ARITH_BF16_DOT_REVISION = 1,
    UCB_ARITH_CUBLAS_REVISION = 2
};

enum ucb_kernel {
    UCB_KERNEL_AUTO,
    UCB_KERNEL_SCALAR,
    UCB_KERNEL_AVX2,
    UCB_KERNEL_AVX512,
    UCB_KERNEL_AMX,
    UCB_KERNEL_CUDA,
    UCB_N_KERNELS
};

const char *ucb_arithmetic_name(enum ucb_arithmetic arithmetic); /* "fp32" */
uint32_t ucb_arithmetic_revision(enum ucb_arithmetic arithmetic);
/*
 * What the identity of a result calls the arithmetic: the name of a strict one; of cublas
 * the device and the library's version too, because its bits are theirs. Valid as long as
 * the process. ENVIRONMENT: there is no such device.
 */
ucb_status ucb_arithmetic_identity(enum ucb_arithmetic arithmetic, const char **out,
                                   struct ucb_err *err);
const char *ucb_kernel_name(enum ucb_kernel kernel);
/* USAGE with near matches for an unknown name. */
ucb_status ucb_arithmetic_find(const char *name, enum ucb_arithmetic *out,
                               struct ucb_err *err);
ucb_status ucb_kernel_find(const char *name, enum ucb_kernel *out, struct ucb_err *err);
/* USAGE for a pair that no machine runs: amx without bf16, cublas with another path than
 * cuda. */
ucb_status ucb_kernel_check(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                            struct ucb_err *err);
/* The same, and ENVIRONMENT where this machine lacks the path; AUTO is lacking only with
 * cublas. */
ucb_status ucb_kernel_ready(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                            struct ucb_err *err);
/* Whether this machine runs the path for the arithmetic; when not, *why (may be NULL) is a
   short sentence. amx is a path of bf16 only, and cublas has the path cuda alone. */
bool ucb_kernel_available(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                          const char **why);
/* Whether the path avx512 makes the products of bf16-dot by the instruction VDPBF16PS,
 * because this CPU has it and gives the bits of the definition. Else by fma: the same
 * bits. */
bool ucb_dot_is_native(void);

struct ucb_backend;
/*
 * AUTO takes the fastest path of the CPU; a GPU is used where cuda is asked for by name, or
 * by the arithmetic. USAGE: impossible pair (amx without bf16). ENVIRONMENT: this machine
 * lacks it. The pool is borrowed and may be NULL. A backend serves one thread at a time
 * (its loops use the pool).
 *
 * On cuda a function without a status may fail as well: the backend keeps that error, and
 * the next function that has a status answers it, ucb_backend_finish() at the latest.
 */
ucb_status ucb_backend_open(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                            struct ucb_pool *pool, struct ucb_backend **out,
                            struct ucb_err *err);
void ucb_backend_close(struct ucb_backend *backend); /* NULL is fine */
enum ucb_kernel ucb_backend_kernel(const struct ucb_backend *backend);
enum ucb_arithmetic ucb_backend_arithmetic(const struct ucb_backend *backend);
const char *ucb_backend_identity(const struct ucb_backend *backend); /* of its arithmetic */
/* Waits for the device and answers what a function without a status could not: before
 * results are trusted or timed. */
ucb_status ucb_backend_finish(struct ucb_backend *backend, struct ucb_err *err);
/* The most device memory that was in use since the last restart; 0 on the CPU. */
uint64_t ucb_backend_device_peak_bytes(const struct ucb_backend *backend);
void ucb_backend_restart_device_peak(struct ucb_backend *backend);

/*
 * Memory that a device may hold between operations, whose owner has said so: workspaces,
 * hidden states, tables. Operations on it, on the whole or on a part, read and write it
 * where it is, and do not wait for the device; buffers in other memory are copied there and
 * back by every call. On the CPU all four do nothing.
 *
 * Host code, an operation of gradient.h too, says before what it is about to do: read()
 * makes the bytes current here; write() makes here the place where they are current, and
 * all of them are written then (what is to stay is read first). What fails is kept, as
 * above. forget() with the address that was kept, before the memory is freed: its contents
 * are lost. Ranges that are kept do not overlap; one backend keeps a range at a time.
 */
void ucb_backend_keep(struct ucb_backend *backend, void *p, size_t n_bytes);
void ucb_backend_forget(struct ucb_backend *backend, const void *p); /* NULL is fine */
void ucb_backend_read(struct ucb_backend *backend, const void *p, size_t n_bytes);
void ucb_backend_write(struct ucb_backend *backend, void *p, size_t n_bytes);

/* A weight in the layout the products read. The caller owns `data`: ucb_pack_bytes() bytes,
 * 64-byte aligned. */
struct ucb_packed {
    void *data;
    uint32_t n_out, n_in;
};
size_t ucb_pack_bytes(const struct ucb_backend *backend, uint32_t n_out, uint32_t n_in);
/* Fills weight->data from w[n_out][n_in]; in bf16 and bf16-dot the weights are rounded
 * here. */
void ucb_pack(const struct ucb_backend *backend, const float *w,
              const struct ucb_packed *weight);
/* The same for rows [row, row + n_rows) only, so that a large matrix can be packed slab by
   slab: w holds these rows and no others. `row` is a multiple of 32, and so is n_rows
   unless it reaches the last row. */
void ucb_pack_rows(const struct ucb_backend *backend, const float *w, uint32_t row,
                   uint32_t n_rows, const struct ucb_packed *weight);
/* Gives back `data`, which is from ucb_mem_alloc(), and a device's copy of it. NULL is
 * fine. */
void ucb_packed_free(const struct ucb_backend *backend, struct ucb_packed *weight);

/* y = x w^T, plus bias[n_out] when it is not NULL (one fp32 addition). NOMEM. */
ucb_status ucb_linear(struct ucb_backend *backend, const struct ucb_packed *weight,
                      const float *bias, const float *x, size_t n_rows, float *y,
                      struct ucb_err *err);

/*
 * A weight that is not in memory as the products read it: its rows are asked for, packed
 * and multiplied with all rows of x before the next ones. decode() writes rows [row, row +
 * n_rows) to out[n_rows][n_in]; n_rows is at most 32. Several workers ask at a time, each
 * under its own number below ucb_pool_threads(); a worker asks in ascending order up to
 * `end`, the last row of its share, and then begins another share.
 */
struct ucb_tiles {
    ucb_status (*decode)(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                         uint32_t end, float *out, struct ucb_err *err);
    void *context;
    uint32_t n_out, n_in;
    /* Packed before they are multiplied, a multiple of 32; 0: what suits the caches. */
    uint32_t tile_rows;
    /* A smaller share is decoded at a loss: the fewest rows of one, where every thread has
     * one; 0: any. */
    uint32_t share_rows;
};
/* The bits of ucb_linear() over what the tiles hold. NOMEM, and what decode() answers; y
 * then holds nothing of use. */
ucb_status ucb_linear_tiles(struct ucb_backend *backend, const struct ucb_tiles *weight,
                            const float *bias, const float *x, size_t n_rows, float *y,
                            struct ucb_err *err);

/* y = weight * (x * (1 / sqrt(mean(x^2) + eps))), row by row; y may be x. */
void ucb_rmsnorm(struct ucb_backend *backend, const float *x, size_t n_rows, uint32_t n,
                 const float *weight, float eps, float *y);

/*
 * Rotary position embedding of rows that hold n_heads heads of head_dim each. In a head the
 * elements [offset, offset + r) turn, as pairs (i, i + r/2), or with `adjacent` (2i, 2i +
 * 1); pair i turns by the angle whose cosine and sine stand in table[position[row]][i] =
 * {cos, sin} (r/2 pairs a position). The other elements pass through. In place.
 */
struct ucb_rotary {
    uint32_t n_heads, head_dim, offset, r;
    bool adjacent;
};
void ucb_rope(struct ucb_backend *backend, float *x, size_t n_rows,
              const struct ucb_rotary *shape, const float *table, const uint32_t *position);

/* y = weight * ((x - mean) / sqrt(variance + eps)) + bias, row by row; y may be x. */
void ucb_layernorm(struct ucb_backend *backend, const float *x, size_t n_rows, uint32_t n,
                   const float *weight, const float *bias, float eps, float *y);

/* silu; gelu by the error function; gelu by the hyperbolic tangent. */
enum ucb_activation { UCB_ACT_SILU, UCB_ACT_GELU, UCB_ACT_GELU_TANH };
/* out[i] = activation(gate[i]) * up[i]; up may be NULL (then without it),
 * out may be gate. */
void ucb_activate(struct ucb_backend *backend, enum ucb_activation activation,
                  const float *gate, const float *up, size_t n, float *out);
/* x = limit tanh(x / limit) */
void ucb_softcap(struct ucb_backend *backend, float *x, size_t n, float limit);
void ucb_scale(struct ucb_backend *backend, float *x, size_t n, float factor);
void ucb_clamp(struct ucb_backend *backend, float *x, size_t n, float limit);
/* y[i] += factor * x[i], in this thread. */
void ucb_add_scaled(struct ucb_backend *backend, float *y, const float *x, float factor,
                    size_t n);
/* x = log(1 + exp(x)) */
void ucb_softplus(struct ucb_backend *backend, float *x, size_t n);

/*
 * One window of a state space layer (Mamba). u[t] = silu(sum_k conv[k] in[t - kernel + 1 +
 * k] + conv_bias), zeros before the first row; then for every channel and state element
 * h[t] = exp(dt a) h[t - 1] + dt u b, y = sum_s h c + skip u.
 */
struct ucb_scan {
    size_t n_rows;
    uint32_t width, state, kernel;
    const float *in; /* [n_rows][in_stride], the first `width` of a row */
    size_t in_stride;
    const float *conv, *conv_bias; /* [kernel][width], [width] or NULL */
    float *u;                      /* [n_rows][width] */
    const float *dt;               /* [n_rows][width] */
    const float *bc;               /* [n_rows][bc_stride]: b[state], c[state] */
    size_t bc_stride;
    const float *a, *skip; /* [state][width], [width] */
    float *y;              /* [n_rows][width] */
};
enum { UCB_SCAN_STATE_MAX = 1024 };
void ucb_convolve(struct ucb_backend *backend, const struct ucb_scan *scan);
void ucb_scan(struct ucb_backend *backend, const struct ucb_scan *scan);

/* x[i] += y[i] */
void ucb_add(struct ucb_backend *backend, float *x, const float *y, size_t n);

/*
 * Causal attention inside windows: rows [start[w], start[w + 1]) form window w, positions
 * count from 0 in each. q and out are [rows][n_heads * head_dim], k and v are
 * [rows][n_kv_heads * head_dim]; query head h reads key/value head h / (n_heads /
 * n_kv_heads). Key j is seen from i when j <= i, and with sliding > 0 also j > i - sliding.
 * NOMEM.
 */
struct ucb_attention {
    uint32_t n_heads, n_kv_heads, head_dim, sliding;
    float scale;
    float softcap; /* 0: none; else scores become softcap tanh(scale q.k / softcap) */
};
ucb_status ucb_attention(struct ucb_backend *backend, const struct ucb_attention *shape,
                         const float *q, const float *k, const float *v, size_t n_windows,
                         const size_t *start, float *out, struct ucb_err *err);

/*
 * Scores of positions, from final hidden states to statistics; the full logits of a window
 * never exist. Model 0 is the reference (the original); the others are compared with it.
 * For model m and row i: out[m * n_rows + i]. Of model 0 kld = 0, ear = 1, overlap10 = 10,
 * teacher_rank = 0. A weight that is not in memory is packed 32 rows at a time by each
 * worker, for every block of rows anew: the same bits, in less memory. NOMEM, and what
 * `rows` answers.
 */
/* Gives rows [row, row + n_rows) of a weight; any thread, several at a time. */
struct ucb_weight_rows {
    ucb_status (*read)(void *context, uint32_t row, uint32_t n_rows, float *out,
                       struct ucb_err *err);
    void *context;
};
struct ucb_head {
    const struct ucb_packed *weight; /* [vocabulary][hidden]; data may be NULL, see rows */
    const float *hidden;             /* [n_rows][hidden], after the last norm */
    const float *bias;               /* [vocabulary], or NULL */
    float softcap;                   /* of the logits; 0: none */
    const struct ucb_weight_rows *rows; /* where the weight's data is NULL; else not used */
    /* Whose arithmetic makes its logits, and packed the weight; NULL: the call's. The
       statistics of logits are the same in all. */
    const struct ucb_backend *backend;
};
struct ucb_position {
    double logp;           /* log softmax(z)[target], natural */
    float kld;             /* sum_v P_v (ln P_v - ln Q_v), P the reference, nats */
    float ear;             /* sum_v min(P_v, Q_v) */
    uint32_t argmax;       /* lowest id among equal maxima */
    uint32_t rank;         /* of the target: how many logits are strictly larger */
    uint32_t teacher_rank; /* of the reference's argmax among these logits, the same way */
    uint32_t overlap10;    /* ids in both top tens; ties by lower id */
};
ucb_status ucb_head_score(struct ucb_backend *backend, const struct ucb_head *models,
                          uint32_t n_models, const uint32_t *target, size_t n_rows,
                          struct ucb_position *out, struct ucb_err *err);

#endif
