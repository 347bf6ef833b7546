/*
 * gguf.h - what the files of the gguf method share: ggml's encoders, by type and by
 * instruction set.
 *
 * An encoder exists once, in gguf_encode_template.h, and is compiled for 4, 8 and 16 lanes
 * (gguf_sse.c, gguf_avx2.c, gguf_avx512.c). A lane computes one block or sub-block by
 * itself, in the order of spec section 7: bytes do not depend on the number of lanes.
 */
#ifndef UCB_GGUF_H
#define UCB_GGUF_H

#include "method/method.h"

/* Blocks of a matrix in flat order; rows are whole blocks. */
struct gguf_span {
    const float *w;               /* the matrix */
    const float *importance;      /* [n_in], not negative; NULL: none is given */
    const float *row_mean_square; /* [n_out] of w; only with importance, 32-element types */
    size_t n_in, first, n;        /* blocks [first, first + n) */
};

/* One instruction set. */
struct gguf_path {
    const char *name;
    /* By type: writes span->n blocks to out. NULL: no block type. Reads only finite w. */
    void (*encode[UCB_N_DTYPES])(const struct gguf_span *span, uint8_t *out);
    /* Of each of n_rows rows, (sum of w * w in index order) / n_in. */
    void (*row_mean_squares)(const float *w, size_t n_rows, size_t n_in, float *out);
};
/* The path with `index`, narrowest first, or NULL: there is none, or this machine lacks its
 * instructions. */
const struct gguf_path *gguf_path_at(size_t index);

/*
 * The type that a matrix of this job is stored in: the `type` knob, or what llama.cpp falls
 * back to where the rows are not whole blocks of it, down to F16 where 32 does not divide
 * n_in.
 */
enum ucb_dtype ucb_gguf_type(const struct ucb_job *job, const struct ucb_matrix *matrix);

#endif
