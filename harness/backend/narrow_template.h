/*
 * narrow_template.h - rows of a slab for instructions that take bf16. A kernel file
 * includes lanes_avx512.h and vector_template.h first.
 */
#ifndef UCB_BACKEND_NARROW_TEMPLATE_H
#define UCB_BACKEND_NARROW_TEMPLATE_H

#include "backend/lanes_avx512.h"
#include "backend/vector_template.h"

/* Rows as bf16, 2 bytes each, at the same pitch as floats. In place it writes behind what
 * it has read. */
static void pack_row_narrow(const float *x, uint32_t n, void *out)
{
    uint16_t *y = out;
    for (uint32_t i = 0; i < n; i += UCB_LANES)
        v16_store_bf16(y + i, v16_round_bf16(load_some(x + i, n - i)));
    for (uint32_t i = (uint32_t)ucb_round_up(n, UCB_LANES); i < ucb_round_up(n, UCB_BLOCK);
         i += UCB_LANES)
        v16_store_bf16(y + i, v16_set1(0.0f));
}

#endif
