/*
 * payload.h - reading a payload strictly, with errors that name the matrix and what was
 * being read.
 */
#ifndef UCB_METHOD_PAYLOAD_H
#define UCB_METHOD_PAYLOAD_H

#include "method/method.h"

/* The next n_bytes; CORRUPT where fewer are left. `what` names them: "codes", "absmax". */
ucb_status ucb_payload_take(struct ucb_reader *in, const struct ucb_matrix *matrix,
                            const char *what, size_t n_bytes, const uint8_t **data,
                            struct ucb_err *err);
/* The next n fp32 values into out, each finite; CORRUPT names the first that is not. */
ucb_status ucb_payload_take_f32s(struct ucb_reader *in, const struct ucb_matrix *matrix,
                                 const char *what, size_t n, float *out,
                                 struct ucb_err *err);
/* The next n half-precision values, widened, each finite. */
ucb_status ucb_payload_take_f16s(struct ucb_reader *in, const struct ucb_matrix *matrix,
                                 const char *what, size_t n, float *out,
                                 struct ucb_err *err);
/* CORRUPT when bytes are left. */
ucb_status ucb_payload_end(const struct ucb_reader *in, const struct ucb_matrix *matrix,
                           struct ucb_err *err);

/* Bytes of a matrix's own bits, in its dtype. */
static inline size_t ucb_matrix_bits_bytes(const struct ucb_matrix *matrix)
{
    return (size_t)matrix->n_out *
           (matrix->n_in / ucb_dtype_block_elements(matrix->dtype)) *
           ucb_dtype_block_bytes(matrix->dtype);
}

/* Weights of a matrix. */
static inline size_t ucb_matrix_weights(const struct ucb_matrix *matrix)
{
    return (size_t)matrix->n_out * matrix->n_in;
}

#endif
