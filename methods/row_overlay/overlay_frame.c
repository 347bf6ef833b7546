/*
 * overlay_frame.c - the frame in which rows are quantized: W' = W diag(s), rotated by a
 * block Hadamard matrix with random signs, each row in units of its peak.
 *
 * R has blocks of b, the largest power of two that divides n_in: H_b / sqrt(b)
 * (Sylvester's), column j times sign j. Signs: MT19937 seeded with 42 + n_in, one draw a
 * column, 0 in the lowest bit is -1. Both scales are rounded to half precision, as they are
 * stored, BEFORE anything is divided by them, so that codes are chosen for the scales a
 * decoder sees.
 */
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/fmath.h"
#include "core/half.h"
#include "core/mt19937.h"
#include "method/lanes.h"
#include "overlay.h"

enum { ROTATION_SEED = 42, CHUNK_ROWS = 8 };

void overlay_signs(uint32_t n_in, float *sign)
{
    struct ucb_mt19937 r;
    ucb_mt19937_seed(&r, ROTATION_SEED + n_in);
    for (uint32_t i = 0; i < n_in; i++)
        sign[i] = (ucb_mt19937_next(&r) & 1) != 0 ? 1.0f : -1.0f;
}

uint32_t overlay_rotation_block(uint32_t n_in)
{
    return n_in & (0u - n_in);
}

/* ---- the Hadamard transform, unscaled; steps 1, 2, 4 ... ---- */

static void step_scalar(float *x, uint32_t n, uint32_t step)
{
    for (uint32_t i = 0; i < n; i += 2 * step)
        for (uint32_t k = i; k < i + step; k++) {
            float a = x[k], b = x[k + step];
            x[k] = a + b;
            x[k + step] = a - b;
        }
}

#define EXCHANGE(x, step)                                                               \
    __builtin_shufflevector(x, x, 0 ^ (step), 1 ^ (step), 2 ^ (step), 3 ^ (step),       \
                            4 ^ (step), 5 ^ (step), 6 ^ (step), 7 ^ (step), 8 ^ (step), \
                            9 ^ (step), 10 ^ (step), 11 ^ (step), 12 ^ (step),          \
                            13 ^ (step), 14 ^ (step), 15 ^ (step))
/* Lane i becomes x[i] + x[i + step], and x[i - step] - x[i] where i has the step's bit:
 * flipping a sign is exact. */
#define STEP_INSIDE(x, step, flip) \
    (EXCHANGE(x, step) + (ucb_f32x16)((ucb_i32x16)(x) ^ (flip)))
#define SIGN INT32_MIN

/* Steps 1 to 8 of sixteen values. */
UCB_LANES_INLINE ucb_f32x16 sixteen(ucb_f32x16 x)
{
    static const ucb_i32x16 one = {0, SIGN, 0, SIGN, 0, SIGN, 0, SIGN,
                                   0, SIGN, 0, SIGN, 0, SIGN, 0, SIGN},
                            two = {0, 0, SIGN, SIGN, 0, 0, SIGN, SIGN,
                                   0, 0, SIGN, SIGN, 0, 0, SIGN, SIGN},
                            four = {0, 0, 0, 0, SIGN, SIGN, SIGN, SIGN,
                                    0, 0, 0, 0, SIGN, SIGN, SIGN, SIGN},
                            eight = {0,    0,    0,    0,    0,    0,    0,    0,
                                     SIGN, SIGN, SIGN, SIGN, SIGN, SIGN, SIGN, SIGN};
    x = STEP_INSIDE(x, 1, one);
    x = STEP_INSIDE(x, 2, two);
    x = STEP_INSIDE(x, 4, four);
    return STEP_INSIDE(x, 8, eight);
}

UCB_CLONES static void transform_lanes(float *x, uint32_t n, uint32_t block)
{
    for (uint32_t i = 0; i < n; i += UCB_LANES)
        ucb_lanes_store(x + i, sixteen(ucb_lanes_load(x + i)));
    for (uint32_t step = UCB_LANES; step < block; step *= 2)
        for (uint32_t i = 0; i < n; i += 2 * step)
            for (uint32_t k = i; k < i + step; k += UCB_LANES) {
                ucb_f32x16 a = ucb_lanes_load(x + k), b = ucb_lanes_load(x + k + step);
                ucb_lanes_store(x + k, a + b);
                ucb_lanes_store(x + k + step, a - b);
            }
}

static void transform(float *x, uint32_t n, uint32_t block)
{
    if (block >= UCB_LANES)
        transform_lanes(x, n, block);
    else
        for (uint32_t step = 1; step < block; step *= 2) step_scalar(x, n, step);
}

float overlay_rotation_scale(uint32_t block)
{
    return (float)(1.0 / sqrt((double)block));
}

void overlay_rotate(float *x, uint32_t n_in, const float *sign)
{
    uint32_t block = overlay_rotation_block(n_in);
    float scale = overlay_rotation_scale(block);
    transform(x, n_in, block);
    for (uint32_t i = 0; i < n_in; i++) x[i] = x[i] * scale * sign[i];
}

void overlay_rotate_back(float *x, uint32_t n_in, const float *sign)
{
    uint32_t block = overlay_rotation_block(n_in);
    float scale = overlay_rotation_scale(block);
    for (uint32_t i = 0; i < n_in; i++) x[i] *= sign[i];
    transform(x, n_in, block);
    for (uint32_t i = 0; i < n_in; i++) x[i] *= scale;
}

/* ---- the frame of a matrix ---- */

struct frame_run {
    const struct overlay_frame *frame;
    const float *w;
};

UCB_CLONES static float peak_of(const float *x, uint32_t n)
{
    ucb_f32x16 peak = {0};
    for (uint32_t i = 0; i < n; i += UCB_LANES)
        peak = ucb_lanes_max(ucb_lanes_abs(ucb_lanes_load_some(x + i, n - i)), peak);
    return ucb_lanes_peak(peak);
}

static void frame_row(const struct frame_run *run, uint32_t row)
{
    const struct overlay_frame *f = run->frame;
    const float *w = run->w + (size_t)row * f->n_in;
    float *g = f->g + (size_t)row * f->n_in;
    for (uint32_t i = 0; i < f->n_in; i++) g[i] = w[i] * f->s[i];
    overlay_rotate(g, f->n_in, f->sign);
    float peak = peak_of(g, f->n_in);
    float rs = ucb_f16_round(peak > 1e-6f ? peak : 1e-6f);
    f->rs[row] = rs;
    for (uint32_t i = 0; i < f->n_in; i++) g[i] = g[i] / rs;
}

static void frame_chunk(void *context, size_t chunk)
{
    const struct frame_run *run = context;
    uint32_t row = (uint32_t)chunk * CHUNK_ROWS, n = run->frame->n_out - row;
    if (n > CHUNK_ROWS) n = CHUNK_ROWS;
    for (uint32_t i = 0; i < n; i++) frame_row(run, row + i);
}

/* s = max(mean square, 1e-4)^alpha; 1 where no statistics are. */
static ucb_status column_scales(const struct ucb_source *src, float alpha, float *s,
                                struct ucb_err *err)
{
    const struct ucb_matrix *m = src->matrix;
    bool known = src->calib != NULL && src->calib->n_tokens > 0;
    for (uint32_t i = 0; i < m->n_in; i++) {
        double mean = known ? fmax(src->calib->sq_mean[i], 1e-4) : 1.0;
        s[i] = ucb_f16_round((float)ucb_pow(mean, (double)alpha));
        if (isfinite(s[i])) continue;
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: column %u has a mean square of %g, whose scale half precision "
                        "cannot hold; try rtn",
                        m->name, i, mean);
    }
    return UCB_OK;
}

static ucb_status reserve(struct overlay_frame *f, const struct ucb_matrix *m,
                          struct ucb_arena *arena, struct ucb_err *err)
{
    size_t n = (size_t)m->n_out * m->n_in;
    if (m->n_in > f->most_in) {
        f->s = UCB_NEW(arena, float, m->n_in);
        f->sign = UCB_NEW(arena, float, m->n_in);
        f->most_in = m->n_in;
    }
    if (m->n_out > f->most_out) {
        f->rs = UCB_NEW(arena, float, m->n_out);
        f->most_out = m->n_out;
    }
    if (n > f->most) {
        f->g = UCB_NEW(arena, float, n);
        f->first = UCB_NEW(arena, uint16_t, n / OVERLAY_D);
        f->second = UCB_NEW(arena, uint16_t, n / OVERLAY_D);
        f->most = n;
    }
    f->n_out = m->n_out;
    f->n_in = m->n_in;
    if (f->s != NULL && f->sign != NULL && f->rs != NULL && f->g != NULL &&
        f->first != NULL && f->second != NULL)
        return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu rotated weights", m->name, n);
}

ucb_status overlay_frame_make(struct ucb_job *job, const struct ucb_source *src,
                              float alpha, struct ucb_arena *arena, struct overlay_frame *f,
                              struct ucb_err *err)
{
    const struct ucb_matrix *m = src->matrix;
    if (m->n_in % OVERLAY_D != 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: %u columns; row_overlay codes 8 neighbours of a row at a time "
                        "and needs a multiple of 8; try hqq or nf4",
                        m->name, m->n_in);
    UCB_TRY(reserve(f, m, arena, err));
    UCB_TRY(column_scales(src, alpha, f->s, err));
    overlay_signs(m->n_in, f->sign);
    struct frame_run run = {f, src->w};
    ucb_parallel_for(job->pool, ((size_t)m->n_out + CHUNK_ROWS - 1) / CHUNK_ROWS,
                     frame_chunk, &run);
    for (uint32_t row = 0; row < m->n_out; row++)
        if (!isfinite(f->rs[row]))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: row %u reaches past what half precision holds once its "
                            "columns are scaled and rotated; try rtn",
                            m->name, row);
    return UCB_OK;
}
