/*
 * awq_lanes.h - a panel: 16 rows of a matrix turned so that a column of them is one vector.
 *
 * Everything AWQ computes of a group is then elementwise, a row to a lane: minimum,
 * maximum, grid and codes need no reduction over lanes, and a row's values do not depend on
 * which rows stand beside it. Rows past the last are zeros.
 */
#ifndef UCB_METHODS_AWQ_LANES_H
#define UCB_METHODS_AWQ_LANES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/half.h"
#include "method/lanes.h"

enum { AWQ_PANEL_ROWS = UCB_LANES };

/* One group's grid, a row to a lane. */
struct awq_grid {
    ucb_f32x16 scale, zero;
};

/* to[n_columns][16] = rows of w, n_in floats apart. */
UCB_LANES_INLINE void awq_panel_load(const float *w, size_t n_in, size_t n_rows,
                                     size_t n_columns, float *to)
{
    if (n_rows > AWQ_PANEL_ROWS) n_rows = AWQ_PANEL_ROWS;
    for (size_t c = 0; c < n_columns; c++, to += AWQ_PANEL_ROWS) {
        for (size_t r = 0; r < n_rows; r++) to[r] = w[r * n_in + c];
        for (size_t r = n_rows; r < AWQ_PANEL_ROWS; r++) to[r] = 0;
    }
}

UCB_LANES_INLINE ucb_f32x16 awq_round(ucb_f32x16 x, bool half)
{
    return half ? ucb_lanes_f16_round(x) : x;
}

/*
 * The grid of x[n][16]: s = max(hi - lo, 1e-5) / max_code, z = clamp(-round(lo / s), 0,
 * max_code). Zero is not forced inside: a group on one side of zero is saturated, not
 * shifted. With `half` each operation rounds to half precision, and the floor is 1e-5
 * as half precision has it. Clamping before rounding gives the same whole numbers and keeps
 * the rounding in its range.
 */
UCB_LANES_INLINE struct awq_grid awq_fit(const float *x, size_t n, float max_code,
                                         bool half)
{
    struct awq_grid grid;
    ucb_f32x16 low = ucb_lanes_load(x), high = low;
    for (size_t i = 1; i < n; i++) {
        ucb_f32x16 v = ucb_lanes_load(x + i * AWQ_PANEL_ROWS);
        low = ucb_lanes_min(v, low);
        high = ucb_lanes_max(v, high);
    }
    float floor = half ? ucb_f16_round(1e-5f) : 1e-5f;
    ucb_f32x16 range = ucb_lanes_max(awq_round(high - low, half), ucb_lanes_all(floor));
    grid.scale = awq_round(range / max_code, half);
    grid.zero = ucb_lanes_rne(
        ucb_lanes_clamp(-awq_round(low / grid.scale, half), 0.0f, max_code));
    return grid;
}

UCB_LANES_INLINE ucb_f32x16 awq_code(ucb_f32x16 x, const struct awq_grid *grid,
                                     float max_code, bool half)
{
    ucb_f32x16 steps = awq_round(x / grid->scale, half);
    return ucb_lanes_clamp(ucb_lanes_rne(ucb_lanes_clamp(steps, -max_code, max_code)) +
                               grid->zero,
                           0.0f, max_code);
}

/* The value of x's code, in fp32. */
UCB_LANES_INLINE ucb_f32x16 awq_rounded(ucb_f32x16 x, const struct awq_grid *grid,
                                        float max_code)
{
    return (awq_code(x, grid, max_code, false) - grid->zero) * grid->scale;
}

#endif
