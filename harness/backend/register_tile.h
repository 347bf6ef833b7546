/*
 * register_tile.h - what product_template.h and dot_template.h share.
 */
#ifndef UCB_BACKEND_REGISTER_TILE_H
#define UCB_BACKEND_REGISTER_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend_internal.h"

/* The loops over the rows and vectors of a tile must vanish, or its sums would not live in
 * registers. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

/* Where the pairs of a column begin in a block of a panel: two halves of 16 columns, each
 * 16 pairs deep. */
static inline size_t pairs_at(uint32_t column)
{
    return column / 16 * (UCB_BLOCK / 2 * UCB_PANEL) + column % 16 * 2;
}

#endif
