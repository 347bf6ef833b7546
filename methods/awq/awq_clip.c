/*
 * awq_clip.c - the clipping of each group: giving up its largest weights a little can leave
 * finer steps for all others.
 *
 * On x = W S, inputs X / S: for i = 0 .. 9, m = max|x| (1 - i / 20), x clamped to +-m and
 * quantized; the error is the mean over tokens of the squared difference of the GROUP's
 * part of the output, not of the row's. The first i with the smallest error is taken, if it
 * is below 1e9.
 *
 * With d the difference, that error is d^T M d, M the second moment of the group's inputs
 * over the tokens that the library would take: all of the sample up to 1023 tokens, then
 * every (n / 512)-th.
 */
#include "awq.h"

#include <string.h>

#include "awq_lanes.h"
#include "awq_moment.h"
#include "core/clones.h"

enum { STEPS = 20, SHRINKS = 10, SAMPLE_TOKENS = 512 };

typedef double f64x16 __attribute__((vector_size(128)));

/* ---- moments ---- */

struct moment_run {
    const struct ucb_calib *calib;
    const float *scale;
    size_t n_in, group, stride; /* stride: of a row of `wide`, whole vectors */
    uint32_t step, n_used;
    double *wide;  /* by group, [group][stride] */
    float *inputs; /* by group, [stride] */
    float *packed; /* by group */
};

/* wide += x x^T, its lower triangle and the rest of each vector that touches it. */
UCB_CLONES static void add_outer(const float *x, size_t n, size_t stride, double *wide)
{
    for (size_t i = 0; i < n; i++, wide += stride)
        for (size_t j = 0; j <= i; j += UCB_LANES) {
            f64x16 m;
            memcpy(&m, wide + j, sizeof(m));
            m += __builtin_convertvector(ucb_lanes_load(x + j), f64x16) * (double)x[i];
            memcpy(wide + j, &m, sizeof(m));
        }
}

static void moment_of_group(void *context, size_t g)
{
    const struct moment_run *run = context;
    size_t first = g * run->group, n_blocks = awq_moment_padded(run->group) / AWQ_TILE;
    double *wide = run->wide + first * run->stride;
    float *x = run->inputs + g * run->stride;
    for (size_t token = 0; token < run->calib->n_sample; token += run->step) {
        const float *from = run->calib->sample + token * run->n_in + first;
        for (size_t j = 0; j < run->group; j++) x[j] = from[j] / run->scale[first + j];
        add_outer(x, run->group, run->stride, wide);
    }
    for (size_t i = 0; i < run->group * run->stride; i++) wide[i] /= run->n_used;
    for (size_t b = 0; b < n_blocks; b++)
        awq_moment_pack(wide, run->group, run->stride, b,
                        run->packed + g * awq_moment_floats(n_blocks));
}

ucb_status awq_group_moments(struct ucb_job *job, const struct awq_config *config,
                             const struct ucb_matrix *matrix, const struct ucb_calib *calib,
                             const float *scale, const float **moments, struct ucb_err *err)
{
    size_t n_groups = matrix->n_in / config->group,
           n_blocks = awq_moment_padded(config->group) / AWQ_TILE;
    struct moment_run run = {.calib = calib, .scale = scale, .n_in = matrix->n_in};
    run.group = config->group;
    run.stride = (run.group + UCB_LANES - 1) / UCB_LANES * UCB_LANES;
    run.step = calib->n_sample < SAMPLE_TOKENS ? 1 : calib->n_sample / SAMPLE_TOKENS;
    run.n_used = (calib->n_sample + run.step - 1) / run.step;
    run.wide = UCB_NEW(job->scratch, double, matrix->n_in *run.stride);
    run.inputs = UCB_NEW(job->scratch, float, n_groups *run.stride);
    run.packed = UCB_NEW(job->scratch, float, n_groups *awq_moment_floats(n_blocks));
    if (run.wide == NULL || run.inputs == NULL || run.packed == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the moments of %zu groups",
                        matrix->name, n_groups);
    ucb_parallel_for(job->pool, n_groups, moment_of_group, &run);
    *moments = run.packed;
    return UCB_OK;
}

/* ---- search ---- */

struct clip_run {
    const float *w, *scale, *moments;
    size_t n_out, n_in, group;
    float max_code;
    float *room;     /* by panel: two panels of one group */
    float *clip_max; /* [n_out][n_in / group] */
};

/* x *= scale; answers the largest magnitude of each row. */
UCB_CLONES static void scale_group(const float *scale, size_t n, float *x, float *peak)
{
    ucb_f32x16 peaks = {0};
    for (size_t j = 0; j < n; j++) {
        ucb_f32x16 v = ucb_lanes_load(x + j * UCB_LANES) * scale[j];
        ucb_lanes_store(x + j * UCB_LANES, v);
        peaks = ucb_lanes_max(ucb_lanes_abs(v), peaks);
    }
    ucb_lanes_store(peak, peaks);
}

/* d = Q(x clamped to +-limit) - x */
UCB_CLONES static void clip_errors(const float *x, size_t n, const float *limit,
                                   float max_code, float *d)
{
    ucb_f32x16 high = ucb_lanes_load(limit);
    for (size_t j = 0; j < n; j++) {
        ucb_f32x16 v = ucb_lanes_load(x + j * UCB_LANES);
        ucb_lanes_store(d + j * UCB_LANES, ucb_lanes_min(ucb_lanes_max(v, -high), high));
    }
    struct awq_grid grid = awq_fit(d, n, max_code, false);
    for (size_t j = 0; j < n; j++) {
        ucb_f32x16 v = ucb_lanes_load(d + j * UCB_LANES);
        ucb_lanes_store(d + j * UCB_LANES, awq_rounded(v, &grid, max_code) -
                                               ucb_lanes_load(x + j * UCB_LANES));
    }
}

/* The limits of one group of a panel; x holds its scaled weights. */
static void search_group(const struct clip_run *run, const float *moment, const float *x,
                         const float *peak, float *d, float *best)
{
    float least[AWQ_PANEL_ROWS];
    for (size_t r = 0; r < AWQ_PANEL_ROWS; r++) {
        best[r] = peak[r];
        least[r] = 1e9f;
    }
    for (int i = 0; i < SHRINKS; i++) {
        float limit[AWQ_PANEL_ROWS], shrink = (float)(1 - (double)i / STEPS);
        double error[AWQ_PANEL_ROWS];
        for (size_t r = 0; r < AWQ_PANEL_ROWS; r++) limit[r] = peak[r] * shrink;
        clip_errors(x, run->group, limit, run->max_code, d);
        awq_moment_forms(moment, run->group, d, 1, error);
        for (size_t r = 0; r < AWQ_PANEL_ROWS; r++) {
            if (!((float)error[r] < least[r])) continue;
            least[r] = (float)error[r];
            best[r] = limit[r];
        }
    }
}

static void clip_panel(void *context, size_t panel)
{
    const struct clip_run *run = context;
    size_t first = panel * AWQ_PANEL_ROWS, n_rows = run->n_out - first,
           n_groups = run->n_in / run->group, padded = awq_moment_padded(run->group);
    float *x = run->room + 2 * panel * padded * AWQ_PANEL_ROWS;
    float *d = x + padded * AWQ_PANEL_ROWS;
    if (n_rows > AWQ_PANEL_ROWS) n_rows = AWQ_PANEL_ROWS;
    for (size_t g = 0; g < n_groups; g++) {
        float peak[AWQ_PANEL_ROWS], best[AWQ_PANEL_ROWS];
        size_t at = g * run->group;
        awq_panel_load(run->w + first * run->n_in + at, run->n_in, n_rows, run->group, x);
        scale_group(run->scale + at, run->group, x, peak);
        search_group(run, run->moments + g * awq_moment_floats(padded / AWQ_TILE), x, peak,
                     d, best);
        for (size_t r = 0; r < n_rows; r++)
            run->clip_max[(first + r) * n_groups + g] = best[r];
    }
}

ucb_status awq_search_clip(struct ucb_job *job, const struct awq_config *config,
                           const struct ucb_source *src, const float *scale,
                           const float *moments, float *clip_max, struct ucb_err *err)
{
    struct clip_run run = {.w = src->w, .scale = scale, .moments = moments};
    run.n_out = src->matrix->n_out;
    run.n_in = src->matrix->n_in;
    run.group = config->group;
    run.max_code = (float)((1u << config->bits) - 1);
    run.clip_max = clip_max;
    size_t n_panels = (run.n_out + AWQ_PANEL_ROWS - 1) / AWQ_PANEL_ROWS;
    run.room = UCB_NEW(job->scratch, float,
                       2 * n_panels * AWQ_PANEL_ROWS * awq_moment_padded(run.group));
    if (run.room == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to try clippings",
                        src->matrix->name);
    ucb_parallel_for(job->pool, n_panels, clip_panel, &run);
    return UCB_OK;
}
