/*
 * f64_lanes.h - eight doubles at a time, as GNU vector types: the compiler makes one
 * AVX-512, two AVX or four SSE operations of each, and the values are the same, lane by
 * lane.
 *
 * For functions that UCB_CLONES compiles; everything here is elementwise but ucb_f64_sum,
 * whose order is written out.
 */
#ifndef UCB_CORE_F64_LANES_H
#define UCB_CORE_F64_LANES_H

#include <stddef.h>
#include <string.h>

enum { UCB_F64_LANES = 8 };
typedef double ucb_f64x8 __attribute__((vector_size(64)));

/* Inlined always: a vector handed over between two instruction sets has no common calling
 * convention. */
#define UCB_F64_INLINE static inline __attribute__((always_inline))
/* x in every lane; a macro for the reason given in method/lanes.h. */
#define ucb_f64_all(x) ((double)(x) - (ucb_f64x8){0})

UCB_F64_INLINE ucb_f64x8 ucb_f64_load(const double *p)
{
    ucb_f64x8 x;
    memcpy(&x, p, sizeof(x));
    return x;
}

UCB_F64_INLINE void ucb_f64_store(double *p, ucb_f64x8 x)
{
    memcpy(p, &x, sizeof(x));
}

/* Folded 4, 2, 1: lane i takes lane i + 4, then i + 2, i + 1. */
UCB_F64_INLINE double ucb_f64_sum(ucb_f64x8 x)
{
    double lane[UCB_F64_LANES];
    ucb_f64_store(lane, x);
    for (int i = 0; i < 4; i++) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

#endif
