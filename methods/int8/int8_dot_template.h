/*
 * int8_dot_template.h - the tile of one path. Before it stand: `vec`, PATH_ROWS,
 * PATH_PANELS, VEC_PAIRS (pairs of int16, or int32, in a vec), vec_zero, vec_widen
 * (VEC_PAIRS pairs of int8), vec_pair (one pair, everywhere), vec_madd (adds the two
 * products of each pair, in 32 bits), vec_add, vec_store.
 *
 * A product of two int8 codes fits 15 bits, so the sum of a pair cannot leave int32.
 */
#include "int8_dot.h"

/* These loops must vanish, or the sums would not live in registers. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { PANEL_VECS = UCB_LANES / VEC_PAIRS, TILE_VECS = PATH_PANELS * PANEL_VECS };

static void tile(const int8_t *panels, const int16_t *x, size_t n_pairs, int32_t *acc)
{
    enum { PANEL_STEP = 2 * UCB_LANES }; /* bytes of one pair of inputs */
    vec sum[PATH_ROWS][TILE_VECS];
    UNROLL
    for (int row = 0; row < PATH_ROWS; row++) UNROLL
    for (int v = 0; v < TILE_VECS; v++) sum[row][v] = vec_zero();
    for (size_t pair = 0; pair < n_pairs; pair++) {
        vec w[TILE_VECS];
        UNROLL
        for (int v = 0; v < TILE_VECS; v++)
            w[v] = vec_widen(panels + (v / PANEL_VECS * n_pairs + pair) * PANEL_STEP +
                             v % PANEL_VECS * 2 * VEC_PAIRS);
        UNROLL
        for (int row = 0; row < PATH_ROWS; row++) {
            vec both = vec_pair(x + (row * n_pairs + pair) * 2);
            UNROLL
            for (int v = 0; v < TILE_VECS; v++)
                sum[row][v] = vec_add(sum[row][v], vec_madd(both, w[v]));
        }
    }
    UNROLL
    for (int row = 0; row < PATH_ROWS; row++) UNROLL
    for (int v = 0; v < TILE_VECS; v++)
        vec_store(acc + (row * TILE_VECS + v) * VEC_PAIRS, sum[row][v]);
}
