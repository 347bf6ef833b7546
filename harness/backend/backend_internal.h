/*
 * backend_internal.h - what the files of the backend share: layouts, the table of a kernel
 * path, scratch memory.
 *
 * Weights lie in panels of 32 columns (rows of w), K padded with zeros to a multiple of 32:
 *
 * - fp32: panel[k][32]
 * - cublas: panel[32][k], as rows, which the library takes
 * - bf16, bf16-dot: panel[k / 32][2 halves][16 pairs of k][16 columns][2 of a pair], as a
 *   tile register and VDPBF16PS want it
 *
 * Activations lie in a slab, slab[k / 256][row][UCB_ROW_PITCH bytes]: chunks of 256 k, in
 * each one row after the other. A row of a chunk holds floats (in bf16 and bf16-dot rounded
 * ones) or, where an instruction multiplies such, bf16 values.
 */
#ifndef UCB_BACKEND_INTERNAL_H
#define UCB_BACKEND_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"

enum {
    UCB_PANEL = 32,  /* columns of a panel */
    UCB_BLOCK = 32,  /* k of one step of the bf16 arithmetic */
    UCB_CHUNK = 256, /* k of one chain of the fp32 arithmetic */
    /* 17 cache lines: 16 for 256 floats, one more so that the rows of a tile do not share
       the sets of a cache. */
    UCB_ROW_PITCH = 17 * 64,
    UCB_ROW_FLOATS = UCB_ROW_PITCH / 4,
    UCB_LANES = 16,    /* of every reduction outside the products */
    UCB_TOP = 10,      /* ids in a top list */
    UCB_SLAB_ROWS = 32 /* the rows of a slab are allocated in multiples of this: a tile
                          kernel may read past the last */
};

struct ucb_slab {
    unsigned char *data;
    size_t chunk_bytes; /* from one chunk to the next */
};
static inline unsigned char *ucb_slab_at(const struct ucb_slab *slab, size_t chunk,
                                         size_t row)
{
    return slab->data + chunk * slab->chunk_bytes + row * UCB_ROW_PITCH;
}

/* Whether panels of the arithmetic hold bf16 values. */
static inline bool ucb_panels_are_bf16(enum ucb_arithmetic arithmetic)
{
    return arithmetic == UCB_ARITH_BF16 || arithmetic == UCB_ARITH_BF16_DOT;
}

static inline size_t ucb_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}
static inline size_t ucb_n_units(size_t n, size_t unit)
{
    return (n + unit - 1) / unit;
}
/* First of the rows of part `part` when n rows are cut in n_parts parts as even as
 * possible. */
static inline size_t ucb_part_start(size_t n, size_t n_parts, size_t part)
{
    return n * part / n_parts;
}

/*
 * The products of one arithmetic on one path. begin() puts the thread into the state that
 * the products need (flush to zero, tile registers) and end() undoes it; no other
 * arithmetic may happen in between.
 */
struct ucb_products {
    uint32_t tile_rows; /* rows that one register tile handles; slabs are cut in multiples
                           of it where possible */
    uint32_t row_bytes; /* of a full row of a chunk, which the pitch leaves apart */
    uint32_t (*begin)(void);
    void (*end)(uint32_t state);
    /* Makes one row of a chunk from n <= 256 values; bf16 fills up to a multiple of 32 with
     * zeros. out may be x. */
    void (*pack_row)(const float *x, uint32_t n, void *out);
    /* y[n_rows][32] = slab times panel; y_stride in floats. */
    void (*multiply)(const struct ucb_slab *x, uint32_t n_rows, uint32_t n_in,
                     const void *panel, float *y, size_t y_stride);
};

/* The ten largest of a row, largest first, equal ones by lower id. Unused places: value
 * -inf, id UINT32_MAX. */
struct ucb_top {
    float value[UCB_TOP];
    uint32_t id[UCB_TOP];
};

/* A stretch of rows of some channels of a scan, at most 16, for its reverse. Elements of a
 * state stand in sixteens. */
struct ucb_scan_part {
    uint32_t channel, n;
    size_t row, n_rows;
    float *states; /* [n_rows + 1][state][16]: before the first row, after each */
    float *decays; /* [n_rows][state][16]: exp(dt a) */
    float *carry;  /* [state][16]: dL/dh of the last row from the rows behind; on return of
                      the row before the first */
    float *sums;   /* [n_rows][2][state]: of b and of c over these channels */
};

struct ucb_scan_gradient;
struct ucb_kernel_table {
    enum ucb_kernel kernel;
    const struct ucb_products
        *products[UCB_N_ARITHS]; /* NULL: not an arithmetic of this path */

    void (*rmsnorm_row)(const float *x, uint32_t n, const float *weight, float eps,
                        float *y);
    /* Turns the n pairs (x[i], y[i]): x cos - y sin, y cos + x sin. */
    void (*rotate)(float *x, float *y, uint32_t n, const float *cosine, const float *sine);
    void (*add)(float *x, const float *y, size_t n);

    void (*layernorm_row)(const float *x, uint32_t n, const float *weight,
                          const float *bias, float eps, float *y);
    void (*activate)(enum ucb_activation activation, const float *gate, const float *up,
                     size_t n, float *out);
    /* x = limit tanh(scale x / limit) */
    void (*cap)(float *x, size_t n, float scale, float limit);
    void (*scale_by)(float *x, size_t n, float factor);
    void (*clamp)(float *x, size_t n, float limit);
    void (*add_scaled)(float *y, const float *x, float factor, size_t n);
    /* Channels [channel, channel + n) of a scan, n at most 16; `states` holds 16 for each
     * element of the state. */
    void (*convolve)(const struct ucb_scan *scan, uint32_t channel, uint32_t n);
    void (*scan_channels)(const struct ucb_scan *scan, uint32_t channel, uint32_t n,
                          float *states);

    /* Scores of one query to weights: keys [0, n) lie in chunks chunk_stride floats apart,
       those in [first, end) are seen; s becomes exp(scale s - max), +0 where not seen.
       Returns the sum. n is a multiple of 16, end > first. */
    float (*softmax_row)(float *s, size_t chunk_stride, uint32_t n, uint32_t first,
                         uint32_t end, float scale);
    void (*divide)(const float *x, float divisor, uint32_t n, float *out);

    /* Statistics of logits; z[0] has the id first_id. */
    void (*top)(const float *z, uint32_t n, struct ucb_top *top);
    uint32_t (*count_above)(const float *z, uint32_t n, float threshold);
    /* e[i] = exp(z[i] - peak); returns the sum. n <= 1024 in this and the next two. */
    float (*exp_sum)(const float *z, uint32_t n, float peak, float *e);
    /* The same for a model beside its reference; *divergence = sum of e0[i] ((z0[i] -
       peak0) - (z[i] - peak)). e may be z. */
    float (*exp_sum_beside)(const float *z, uint32_t n, float peak, const float *z0,
                            float peak0, const float *e0, float *e, float *divergence);
    /* Sum of |a[i] a_factor - b[i] b_factor|. */
    float (*distance)(const float *a, float a_factor, const float *b, float b_factor,
                      uint32_t n);

    /* The reverse of the above, see gradient.h. dweight and dbias (may be NULL) are added
       to; dx may be dy. */
    float (*dot)(const float *x, const float *y, size_t n);
    void (*rmsnorm_gradient_row)(const float *x, const float *dy, uint32_t n,
                                 const float *weight, float eps, float *dx, float *dweight);
    void (*layernorm_gradient_row)(const float *x, const float *dy, uint32_t n,
                                   const float *weight, float eps, float *dx,
                                   float *dweight, float *dbias);
    void (*activate_gradient)(enum ucb_activation activation, const float *gate,
                              const float *up, const float *dy, size_t n, float *dgate,
                              float *dup);
    void (*clamp_gradient)(const float *y, size_t n, float limit, float *dx);
    /* After softmax_row: e becomes e / sum, dp (of the weights) the gradient of the scores
       before their scale and soft cap. `capped` (NULL: no cap): the scores after it. */
    void (*softmax_gradient_row)(float *e, float *dp, const float *capped,
                                 size_t chunk_stride, uint32_t n, uint32_t first, float sum,
                                 float scale, float limit);
    /* out = e factor - e0 factor0; where `capped` (may be NULL) holds values after a soft
       cap, times the slope of the cap. out may be capped. */
    void (*softmax_difference)(const float *e, float factor, const float *e0, float factor0,
                               const float *capped, float limit, size_t n, float *out);
    /* Fills states after the first and decays; then from those to the gradients of u and dt
     * and the sums. */
    void (*scan_states)(const struct ucb_scan *scan, const struct ucb_scan_part *part);
    void (*scan_gradient)(const struct ucb_scan *scan,
                          const struct ucb_scan_gradient *gradient,
                          const struct ucb_scan_part *part);
    void (*convolve_gradient)(const struct ucb_scan *scan, uint32_t channel, uint32_t n,
                              float *du, float *din);
};

extern const struct ucb_kernel_table ucb_kernel_table_scalar, ucb_kernel_table_avx2,
    ucb_kernel_table_avx512, ucb_kernel_table_amx;
/* The path avx512 of bf16-dot on CPUs with AVX512-BF16. */
extern const struct ucb_kernel_table ucb_kernel_table_avx512bf16;

struct ucb_cuda;
struct ucb_backend {
    enum ucb_arithmetic arithmetic;
    const char *identity; /* ucb_arithmetic_identity() */
    const struct ucb_kernel_table *table;
    const struct ucb_products *products; /* table->products[arithmetic] */
    struct ucb_cuda *cuda; /* NULL: the CPU. Else what cuda.h has a function for runs
                              there, and the table does the rest with the same bits */
    struct ucb_pool *pool;
    unsigned char *scratch;
    size_t scratch_bytes;
};

/* ucb_backend_open with a given table: tests bring a table of their own. NOMEM. */
ucb_status ucb_backend_open_table(enum ucb_arithmetic arithmetic,
                                  const struct ucb_kernel_table *table,
                                  struct ucb_pool *pool, struct ucb_backend **out,
                                  struct ucb_err *err);

/* n_bytes of scratch, 64-byte aligned, valid until the next call. NOMEM; `what` goes into
 * the message. */
ucb_status ucb_backend_scratch(struct ucb_backend *backend, size_t n_bytes,
                               const char *what, unsigned char **out, struct ucb_err *err);

/* Does the CPU (and the system) run the path? If not, *why is a sentence. Asks for the tile
 * registers of amx. */
bool ucb_cpu_runs(enum ucb_kernel kernel, const char **why);
bool ucb_cpu_has_fma(void);
bool ucb_cpu_has_avx512bf16(void); /* the feature that CPUID names, on a path avx512 */

/* Whether these are the products of bf16-dot: known answers that tell orders, fusing,
 * rounding and flushing apart. */
bool ucb_dot_answers(const struct ucb_products *products);

/* begin() and end() of arithmetics that need no state, and of those that flush to zero
 * (MXCSR of the thread). */
uint32_t ucb_begin_plain(void);
void ucb_end_plain(uint32_t state);
uint32_t ucb_begin_flushing(void);
void ucb_end_flushing(uint32_t state);

/* Bytes of one panel over n_in, and of a slab of n_rows over n_in. */
size_t ucb_panel_bytes(enum ucb_arithmetic arithmetic, size_t n_in);
size_t ucb_slab_bytes(size_t n_rows, size_t n_in);
struct ucb_slab ucb_slab_place(unsigned char *data, size_t n_rows);

/* Where element (column n, k) of a matrix stands: w[n * column_stride + k * k_stride]. */
struct ucb_source {
    const float *w;
    size_t column_stride, k_stride;
};
/* Fills one panel from n_columns <= 32 columns; missing columns and the k up to the
 * multiple of 32 become zeros. */
void ucb_panel_pack(enum ucb_arithmetic arithmetic, const struct ucb_source *source,
                    uint32_t n_columns, uint32_t n_in, void *panel);
void ucb_slab_pack(const struct ucb_products *products, const float *x, size_t x_stride,
                   size_t n_rows, uint32_t n_in, const struct ucb_slab *slab);

/* y[n_rows][n_out] = x[n_rows][n_in] w^T + bias (may be NULL), however it is cut. */
struct ucb_linear_call {
    const struct ucb_backend *backend;
    uint32_t n_out, n_in;
    const float *bias, *x;
    float *y;
    size_t n_rows;
};
/* Rows [row, row + n_rows) of y, which the slab holds of x, times panel number `panel`,
 * packed at `weights`. tile[n_rows][32] is working memory. */
void ucb_linear_panel(const struct ucb_linear_call *call, const struct ucb_slab *slab,
                      size_t row, size_t n_rows, const void *weights, size_t panel,
                      float *tile);

#endif
