/*
 * gsq_lloyd.c - the grid as the original finds it: a fixed start and at most 50 Lloyd
 * iterations on a sample of the normalised values.
 *
 * The sample is sorted once. A level's cell is then a stretch of it that two binary
 * searches find, and its mean a difference of prefix sums, so an iteration costs nothing
 * beside the drawing. 50 iterations are not enough to converge, as the original's are not.
 */
#include "gsq.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "core/pcg.h"

enum { MAX_STEPS = 50, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

/* ---- the start ---- */

/* The sets of 8, 16 and 32 levels are symmetric (bitsandbytes' normal-float values and
 * their kin); of each pair the positive one, rising. */
static const float start_8[] = {.1025f, .3186f, .5784f, 1};
static const float start_16[] = {.0287f, .0912f, .1849f, .2845f, .3949f, .5251f, .6962f, 1};
static const float start_32[] = {.0219f, .0656f, .1168f, .1689f, .2225f,
                                 .2786f, .3378f, .4019f, .4729f, .5549f,
                                 .6567f, .7979f, .8765f, .9394f, 1};
static const float start_4[] = {.318f, 1};

static void mirror(const float *positive, unsigned n, float *grid, unsigned n_levels)
{
    for (unsigned i = 0; i < n; i++) {
        grid[n - 1 - i] = -positive[i];
        grid[n_levels - n + i] = positive[i];
    }
}

/* The level nearest to zero becomes zero where it is farther away than 0.05; of a pair the
 * negative one, which stands first. */
static void put_zero(float *grid, unsigned n_levels)
{
    unsigned nearest = 0;
    for (unsigned k = 1; k < n_levels; k++)
        if (fabsf(grid[k]) < fabsf(grid[nearest])) nearest = k;
    if (fabsf(grid[nearest]) > 0.05f) grid[nearest] = 0;
}

void gsq_grid_start(unsigned n_levels, float *grid)
{
    switch (n_levels) {
    case 4: mirror(start_4, 2, grid, 4); break;
    case 8: mirror(start_8, 4, grid, 8); break;
    case 16: mirror(start_16, 8, grid, 16); break;
    case 32: /* 15 pairs, zero, and one level without a partner */
        mirror(start_32, 15, grid, 32);
        grid[14] = -.0437f, grid[15] = -.0219f, grid[16] = 0;
        break;
    default:
        for (unsigned k = 0; k < n_levels; k++)
            grid[k] = (float)(2.0 * k / (n_levels - 1) - 1);
    }
    put_zero(grid, n_levels);
}

/* ---- the iterations ---- */

/* The values that are at most `limit`. */
static size_t count_to(const float *value, size_t n, float limit)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (value[middle] <= limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One iteration; answers the largest move of a level. */
static float move_levels(const float *value, size_t n, const double *sum, unsigned n_levels,
                         float *grid)
{
    float largest = 0, middle[GSQ_MAX_LEVELS];
    for (unsigned k = 0; k + 1 < n_levels; k++) middle[k] = (grid[k] + grid[k + 1]) * 0.5f;
    for (size_t k = 0, first = 0, last; k < n_levels; k++, first = last) {
        last = k + 1 < n_levels ? count_to(value, n, middle[k]) : n;
        if (last == first) continue;
        float mean = (float)((sum[last] - sum[first]) / (double)(last - first));
        largest = fmaxf(largest, fabsf(mean - grid[k]));
        grid[k] = mean;
    }
    return largest;
}

void gsq_grid_lloyd(const float *value, size_t n, unsigned n_levels, float *grid,
                    double *sum)
{
    sum[0] = 0;
    for (size_t i = 0; i < n; i++) sum[i + 1] = sum[i] + (double)value[i];
    for (int step = 0; step < MAX_STEPS; step++)
        if (move_levels(value, n, sum, n_levels, grid) < 1e-5f) break;
}

/* ---- the sample ---- */

/* Bits that rise as the values do. */
static uint32_t key_of(float x)
{
    uint32_t bits = ucb_f32_bits(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

void gsq_sort(float *x, float *spare, size_t n)
{
    float *from = x, *to = spare;
    for (unsigned shift = 0; shift < 32; shift += RADIX_BITS) {
        size_t start[RADIX + 1] = {0};
        for (size_t i = 0; i < n; i++) start[(key_of(from[i]) >> shift) % RADIX + 1]++;
        for (size_t d = 0; d < RADIX; d++) start[d + 1] += start[d];
        for (size_t i = 0; i < n; i++)
            to[start[(key_of(from[i]) >> shift) % RADIX]++] = from[i];
        float *other = from;
        from = to;
        to = other;
    }
    memcpy(x, from, n * sizeof(*x)); /* three passes end in `spare` */
}

ucb_status gsq_grid_seed(struct ucb_job *job, const struct gsq_layout *l, const float *w,
                         const float *scale, float *grid, const char *name,
                         struct ucb_err *err)
{
    size_t n = l->n_rows * l->n_in < GSQ_SAMPLE ? l->n_rows * l->n_in : GSQ_SAMPLE;
    float *value = UCB_NEW(job->scratch, float, 2 * n);
    double *sum = UCB_NEW(job->scratch, double, n + 1);
    if (value == NULL || sum == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a sample of %zu", name, n);
    for (size_t i = 0; i < n; i++) {
        size_t row = ucb_pcg_below(&job->random, (uint32_t)l->n_rows),
               column = ucb_pcg_below(&job->random, (uint32_t)l->n_in);
        value[i] = w[row * l->n_in + column] /
                   scale[row * l->blocks_per_row + column / l->block];
    }
    gsq_sort(value, value + n, n);
    gsq_grid_start(l->n_levels, grid);
    gsq_grid_lloyd(value, n, l->n_levels, grid, sum);
    return UCB_OK;
}
