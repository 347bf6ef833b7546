/*
 * widen.h - stored elements to fp32, exactly, and the search for the first that is not
 * finite: what ucb_tensor_widen checks its arguments for. Pure functions, any thread.
 */
#ifndef UCB_MODEL_WIDEN_H
#define UCB_MODEL_WIDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

/* Whether elements of this type are weights: floating point, or one of ggml's blocks. */
bool ucb_dtype_widens(enum ucb_dtype dtype);
/* n_elements (whole blocks) from `source` (any alignment), of a dtype that widens. */
void ucb_widen(enum ucb_dtype dtype, const uint8_t *source, size_t n_elements, float *out);
/* Index of the first element that is NaN or infinite (of a block: whose scale is), or
 * n_elements. */
uint64_t ucb_find_nonfinite(enum ucb_dtype dtype, const uint8_t *source,
                            uint64_t n_elements);

#endif
