/*
 * blocks.h - ggml's block types to fp32, bit for bit, and the search for a block whose
 * scale is not finite. Shared by the reader of model files and the method that writes them.
 *
 * Pure functions: any thread. `dtype` is a block type of core/dtype.h, every one of which
 * is known here; blocks may have any alignment and hold any bytes.
 */
#ifndef UCB_MODEL_BLOCKS_H
#define UCB_MODEL_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

/* The most elements and bytes that a block has. */
enum { UCB_BLOCK_ELEMENTS_MAX = 256, UCB_BLOCK_BYTES_MAX = 210 };

bool ucb_dtype_is_blocks(enum ucb_dtype dtype);
/* n_blocks blocks to n_blocks * ucb_dtype_block_elements(dtype) floats. */
void ucb_blocks_widen(enum ucb_dtype dtype, const uint8_t *blocks, size_t n_blocks,
                      float *out);
/* The first block one of whose fp16 scales is NaN or infinite, or n_blocks. */
size_t ucb_blocks_find_nonfinite(enum ucb_dtype dtype, const uint8_t *blocks,
                                 size_t n_blocks);
/* The sixteen values of IQ4_NL and IQ4_XS, ascending, by code (ggml's kvalues_iq4nl). */
extern const int8_t ucb_iq4_values[16];

#endif
