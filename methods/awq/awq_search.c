/*
 * awq_search.c - the scale S of each input channel: large where inputs are large, so that
 * the weights that meet them are rounded finely.
 *
 *     a_j = mean |x_j| over tokens
 *     r_j = mean over rows of |w_ij| / (max of the row's group + 1e-6)
 *     S_j = max(a_j^t / (r_j^(1-t) + 1e-4), 1e-4)      t = k / grid, k = 0 .. grid - 1
 *     S_j = max(a_j^t, 1e-4)                            with duo=0
 *     S   = S / sqrt(max S * min S), infinities and NaN become 1
 *
 * Matrices of one input stand one above the other. A candidate's loss is the mean squared
 * difference of the outputs under Q(W S) / S; the first k with the smallest loss is taken.
 *
 * With d a row's difference, the mean over tokens of (d . x)^2 is d^T E[x x^T] d: the loss
 * is over ALL calibration tokens, as the library's is, for the price of n_in / 2 tokens.
 *
 * S is computed in fp32 as the library does, operation by operation, the powers rounded
 * once from our own double-precision pow. A candidate is passed over where half precision,
 * in which S is stored, has no normal number for it.
 */
#include "awq.h"

#include <math.h>
#include <string.h>

#include "awq_lanes.h"
#include "awq_moment.h"
#include "core/clones.h"
#include "core/fmath.h"

/* Rows whose errors meet one block of the moment while it is in the nearest cache. */
enum { CHUNK_PANELS = 4, CHUNK_ROWS = CHUNK_PANELS * AWQ_PANEL_ROWS };

typedef double f64x16 __attribute__((vector_size(128)));

/* ---- r ---- */

struct mean_run {
    const struct ucb_source *src;
    uint32_t n_src;
    size_t group, n_in, n_rows;
    double *sum; /* [n_in] rounded up to whole vectors by group */
    float *mean;
};

UCB_CLONES static void add_relative(const float *w, size_t n, double *sum)
{
    ucb_f32x16 peaks = {0};
    for (size_t i = 0; i < n; i += UCB_LANES)
        peaks = ucb_lanes_max(ucb_lanes_abs(ucb_lanes_load_some(w + i, n - i)), peaks);
    float peak = ucb_lanes_peak(peaks) + 1e-6f;
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 x = ucb_lanes_abs(ucb_lanes_load_some(w + i, n - i)) / peak;
        f64x16 s;
        memcpy(&s, sum + i, sizeof(s));
        s += __builtin_convertvector(x, f64x16);
        memcpy(sum + i, &s, sizeof(s));
    }
}

static size_t whole_vectors(size_t n)
{
    return (n + UCB_LANES - 1) / UCB_LANES * UCB_LANES;
}

static void mean_of_group(void *context, size_t g)
{
    const struct mean_run *run = context;
    double *sum = run->sum + g * whole_vectors(run->group);
    size_t first = g * run->group;
    for (uint32_t i = 0; i < run->n_src; i++)
        for (size_t row = 0; row < run->src[i].matrix->n_out; row++)
            add_relative(run->src[i].w + row * run->n_in + first, run->group, sum);
    for (size_t i = 0; i < run->group; i++)
        run->mean[first + i] = (float)(sum[i] / (double)run->n_rows);
}

static ucb_status find_means(struct ucb_job *job, const struct awq_config *config,
                             const struct ucb_source *src, uint32_t n_src,
                             struct awq_scaling *out, struct ucb_err *err)
{
    size_t n_in = src->matrix->n_in, n_groups = n_in / config->group;
    struct mean_run run = {
        .src = src, .n_src = n_src, .group = config->group, .n_in = n_in};
    run.mean = out->mean_rel;
    run.sum = UCB_NEW(job->scratch, double, n_groups *whole_vectors(config->group));
    if (run.sum == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the means of %zu channels",
                        src->matrix->name, n_in);
    for (uint32_t i = 0; i < n_src; i++) run.n_rows += src[i].matrix->n_out;
    ucb_parallel_for(job->pool, n_groups, mean_of_group, &run);
    for (size_t j = 0; j < n_in; j++) out->mean_abs[j] = (float)src->calib->abs_mean[j];
    return UCB_OK;
}

/* ---- candidates ---- */

struct candidate_run {
    const struct awq_config *config;
    const struct awq_scaling *scaling;
    size_t n_in;
    float *scale; /* [n_grid][n_in] */
    bool *usable; /* [n_grid] */
};

/* x^t for x >= 0, rounded to fp32 once. */
static float power(float x, float t)
{
    if (t == 0) return 1;
    return x > 0 ? (float)ucb_pow((double)x, (double)t) : 0;
}

static void make_candidate(void *context, size_t k)
{
    const struct candidate_run *run = context;
    float *scale = run->scale + k * run->n_in, low = INFINITY, high = 0;
    double ratio = (double)k / run->config->n_grid;
    float t = (float)ratio, rest = (float)(1 - ratio);
    for (size_t j = 0; j < run->n_in; j++) {
        float s = power(run->scaling->mean_abs[j], t);
        if (run->config->duo) s /= power(run->scaling->mean_rel[j], rest) + 1e-4f;
        scale[j] = fmaxf(s, 1e-4f);
        low = fminf(low, scale[j]);
        high = fmaxf(high, scale[j]);
    }
    float middle = sqrtf(high * low);
    run->usable[k] = true;
    for (size_t j = 0; j < run->n_in; j++) {
        scale[j] /= middle;
        if (!isfinite(scale[j])) scale[j] = 1;
        run->usable[k] &= scale[j] >= 0x1p-14f && scale[j] <= 65504;
    }
}

/* ---- losses ---- */

struct loss_run {
    const struct awq_config *config;
    const struct candidate_run *candidates;
    const float *w, *moment;
    size_t n_in, n_padded, n_rows;
    float *rows, *errors; /* by chunk, CHUNK_PANELS panels each */
    double *loss;         /* [chunk][n_grid] */
};

/* error = Q(x S) / S - x of a panel; x S stands in `error` meanwhile. */
UCB_CLONES static void make_errors(const float *x, size_t n_in, size_t group,
                                   float max_code, const float *scale, float *error)
{
    for (size_t at = 0; at < n_in; at += group) {
        for (size_t j = at; j < at + group; j++)
            ucb_lanes_store(error + j * UCB_LANES,
                            ucb_lanes_load(x + j * UCB_LANES) * scale[j]);
        struct awq_grid grid = awq_fit(error + at * UCB_LANES, group, max_code, false);
        for (size_t j = at; j < at + group; j++) {
            ucb_f32x16 q = awq_rounded(ucb_lanes_load(error + j * UCB_LANES), &grid,
                                       max_code);
            ucb_lanes_store(error + j * UCB_LANES,
                            q / scale[j] - ucb_lanes_load(x + j * UCB_LANES));
        }
    }
}

static void loss_of_chunk(void *context, size_t chunk)
{
    const struct loss_run *run = context;
    size_t panel_floats = run->n_padded * AWQ_PANEL_ROWS, first = chunk * CHUNK_ROWS;
    size_t n_rows = run->n_rows - first < CHUNK_ROWS ? run->n_rows - first : CHUNK_ROWS;
    size_t n_panels = (n_rows + AWQ_PANEL_ROWS - 1) / AWQ_PANEL_ROWS;
    float *rows = run->rows + chunk * CHUNK_PANELS * panel_floats;
    float *errors = run->errors + chunk * CHUNK_PANELS * panel_floats;
    float max_code = (float)((1u << run->config->bits) - 1);
    for (size_t p = 0; p < n_panels; p++)
        awq_panel_load(run->w + (first + p * AWQ_PANEL_ROWS) * run->n_in, run->n_in,
                       n_rows - p * AWQ_PANEL_ROWS, run->n_in, rows + p * panel_floats);
    for (size_t k = 0; k < run->config->n_grid; k++) {
        double form[CHUNK_ROWS], sum = 0;
        for (size_t p = 0; p < n_panels; p++)
            make_errors(rows + p * panel_floats, run->n_in, run->config->group, max_code,
                        run->candidates->scale + k * run->n_in, errors + p * panel_floats);
        awq_moment_forms(run->moment, run->n_in, errors, n_panels, form);
        for (size_t r = 0; r < n_rows; r++) sum += form[r];
        run->loss[chunk * run->config->n_grid + k] = sum;
    }
}

static ucb_status add_losses(struct ucb_job *job, struct loss_run *run,
                             const struct ucb_source *src, double *loss,
                             struct ucb_err *err)
{
    size_t n_chunks = (run->n_rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    run->loss = UCB_NEW(job->scratch, double, n_chunks * run->config->n_grid);
    if (run->loss == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu losses", src->matrix->name,
                        n_chunks * run->config->n_grid);
    run->w = src->w;
    ucb_parallel_for(job->pool, n_chunks, loss_of_chunk, run);
    for (size_t chunk = 0; chunk < n_chunks; chunk++)
        for (size_t k = 0; k < run->config->n_grid; k++)
            loss[k] += run->loss[chunk * run->config->n_grid + k];
    return UCB_OK;
}

struct pack_run {
    const double *moment;
    size_t n;
    float *packed;
};

static void pack_block(void *context, size_t b)
{
    const struct pack_run *run = context;
    awq_moment_pack(run->moment, run->n, run->n, b, run->packed);
}

/* Rooms for the largest matrix, and the moment as the kernel reads it. */
static ucb_status prepare(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                          struct loss_run *run, struct ucb_err *err)
{
    struct pack_run pack = {src->calib->second_moment, run->n_in, NULL};
    size_t n_blocks = run->n_padded / AWQ_TILE, most = 0;
    for (uint32_t i = 0; i < n_src; i++)
        if (src[i].matrix->n_out > most) most = src[i].matrix->n_out;
    size_t n_rows = (most + CHUNK_ROWS - 1) / CHUNK_ROWS * CHUNK_ROWS;
    pack.packed = UCB_NEW(job->scratch, float, awq_moment_floats(n_blocks));
    run->rows = UCB_NEW(job->scratch, float, n_rows * run->n_padded);
    run->errors = UCB_NEW(job->scratch, float, n_rows * run->n_padded);
    if (pack.packed == NULL || run->rows == NULL || run->errors == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to try scales on %zu x %zu weights",
                        src->matrix->name, most, run->n_in);
    ucb_parallel_for(job->pool, n_blocks, pack_block, &pack);
    run->moment = pack.packed;
    return UCB_OK;
}

static void take_best(const struct candidate_run *candidates, struct awq_scaling *out)
{
    double best = INFINITY;
    for (size_t j = 0; j < candidates->n_in; j++) out->scale[j] = 1;
    out->found = false;
    for (unsigned k = 0; k < candidates->config->n_grid; k++) {
        if (!candidates->usable[k] || !(out->loss[k] < best)) continue;
        best = out->loss[k];
        out->best = k;
        out->found = true;
        memcpy(out->scale, candidates->scale + k * candidates->n_in,
               candidates->n_in * sizeof(*out->scale));
    }
}

ucb_status awq_search_scale(struct ucb_job *job, const struct awq_config *config,
                            const struct ucb_source *src, uint32_t n_src,
                            struct awq_scaling *out, struct ucb_err *err)
{
    size_t n_in = src->matrix->n_in, n_rows = 0;
    struct candidate_run candidates = {.config = config, .scaling = out, .n_in = n_in};
    struct loss_run run = {.config = config, .candidates = &candidates, .n_in = n_in};
    run.n_padded = awq_moment_padded(n_in);
    UCB_TRY(find_means(job, config, src, n_src, out, err));
    candidates.scale = UCB_NEW(job->scratch, float, config->n_grid *n_in);
    candidates.usable = UCB_NEW(job->scratch, bool, config->n_grid);
    if (candidates.scale == NULL || candidates.usable == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u scales of %zu channels",
                        src->matrix->name, config->n_grid, n_in);
    ucb_parallel_for(job->pool, config->n_grid, make_candidate, &candidates);
    UCB_TRY(prepare(job, src, n_src, &run, err));
    memset(out->loss, 0, config->n_grid * sizeof(*out->loss));
    for (uint32_t i = 0; i < n_src; i++) {
        run.n_rows = src[i].matrix->n_out;
        n_rows += run.n_rows;
        UCB_TRY(add_losses(job, &run, &src[i], out->loss, err));
    }
    for (unsigned k = 0; k < config->n_grid; k++) out->loss[k] /= (double)n_rows;
    take_best(&candidates, out);
    return UCB_OK;
}
