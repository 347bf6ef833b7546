/*
 * awq_moment.c - see awq_moment.h. A block's six sums over the columns run in fp32, in
 * column order; their products with the block's own d are added in fp32 and go into the
 * total in double. Each lane is on its own.
 */
#include "awq_moment.h"

#include "core/clones.h"
#include "method/lanes.h"

typedef double f64x16 __attribute__((vector_size(128)));

void awq_moment_pack(const double *moment, size_t n, size_t stride, size_t b, float *packed)
{
    packed += awq_moment_floats(b);
    for (size_t column = 0; column < (b + 1) * AWQ_TILE; column++)
        for (size_t i = 0; i < AWQ_TILE; i++) {
            size_t row = b * AWQ_TILE + i;
            double value = row < n && column <= row ? moment[row * stride + column] : 0;
            *packed++ = (float)(column == row ? value : 2 * value);
        }
}

UCB_CLONES void awq_moment_forms(const float *packed, size_t n, const float *d,
                                 size_t n_panels, double *out)
{
    size_t padded = awq_moment_padded(n);
    for (size_t i = 0; i < n_panels * UCB_LANES; i++) out[i] = 0;
    for (size_t end = AWQ_TILE; end <= padded; packed += AWQ_TILE * end, end += AWQ_TILE)
        for (size_t p = 0; p < n_panels; p++) {
            const float *panel = d + p * padded * UCB_LANES, *m = packed, *x = panel;
            ucb_f32x16 s0 = {0}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
            for (size_t column = 0; column < end; column++, m += AWQ_TILE, x += UCB_LANES) {
                ucb_f32x16 v = ucb_lanes_load(x);
                s0 += v * m[0];
                s1 += v * m[1];
                s2 += v * m[2];
                s3 += v * m[3];
                s4 += v * m[4];
                s5 += v * m[5];
            }
            x -= AWQ_TILE * UCB_LANES; /* the block's own columns */
            s0 *= ucb_lanes_load(x);
            s0 += s1 * ucb_lanes_load(x + UCB_LANES);
            s0 += s2 * ucb_lanes_load(x + 2 * UCB_LANES);
            s0 += s3 * ucb_lanes_load(x + 3 * UCB_LANES);
            s0 += s4 * ucb_lanes_load(x + 4 * UCB_LANES);
            s0 += s5 * ucb_lanes_load(x + 5 * UCB_LANES);
            f64x16 total;
            memcpy(&total, out + p * UCB_LANES, sizeof(total));
            total += __builtin_convertvector(s0, f64x16);
            memcpy(out + p * UCB_LANES, &total, sizeof(total));
        }
}
