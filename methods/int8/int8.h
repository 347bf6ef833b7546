/*
 * int8.h - LLM.int8's product: 8-bit activations, outlier columns in half precision.
 */
#ifndef UCB_METHODS_INT8_H
#define UCB_METHODS_INT8_H

#include "int8_dot.h"
#include "int8_inverse.h"
#include "method/method.h"

/* An opened payload. */
struct int8_weights {
    const struct ucb_matrix *matrix;
    const uint8_t *codes; /* int8 [n_out][n_in] */
    const float *absmax;  /* [n_out] */
    const int8_t *panels; /* int8_pack(codes), or NULL: packed again by every product */
};

/* One multiplication: the rows of one window. */
struct int8_call {
    float threshold;   /* |x| from here on is an outlier; 0: none is */
    const float *bias; /* [n_out], or NULL */
    const float *x;    /* [n_rows][n_in] */
    size_t n_rows;
    float *y;                /* [n_rows][n_out], values of half precision */
    ucb_inspect_emit *trace; /* or NULL */
    void *trace_context;
};

/*
 * y = x w^T + bias; int8_product.c has the steps. Scratch and pool are the job's. `path`
 * changes no bit. UNSUPPORTED: a row too long for exact sums, x or y past 65504, a NaN.
 */
ucb_status int8_product(struct ucb_job *job, const struct int8_path *path,
                        const struct int8_weights *weights, const struct int8_call *call,
                        struct ucb_err *err);

/* The deployed weight of a code: (code * absmax) * (1 / 127), in fp32. */
static inline float int8_value(uint8_t code, float absmax)
{
    return (float)(int8_t)code * absmax * INT8_INVERSE_127;
}

#endif
