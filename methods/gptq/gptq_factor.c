/*
 * gptq_factor.c - from the second moment of the inputs to the factor of the inverse
 * Hessian.
 *
 * H = 2 n_tokens / n_sequences E[x x^T], which is what AutoGPTQ's running update adds up to
 * when each batch is one sequence. In double:
 *
 *     dead columns (H_jj = 0): H_jj = 1
 *     act_order: columns by descending diagonal, ties by column
 *     H_jj += damp * mean(diag H)
 *     U upper with H^-1 = U^T U (core/dense.h)
 *
 * A common factor of H changes nothing unless a column is dead: the 1 enters the mean.
 * The sweep runs in fp32, so U is rounded once and laid out as the sweep reads it.
 */
#include "gptq.h"

#include <string.h>

#include "core/dense.h"

enum { MAX_TRACED = 128 }; /* columns of a matrix whose whole Hessian is shown */

static ucb_status no_memory(const char *name, size_t n_in, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a Hessian of %zu columns", name,
                    n_in);
}

static double hessian_factor(const struct ucb_calib *calib)
{
    uint64_t n_sequences = calib->n_sequences == 0 ? 1 : calib->n_sequences;
    return 2 * (double)calib->n_tokens / (double)n_sequences;
}

/* By descending diagonal; of equal ones the lower column first. */
static void sort_order(const double *diagonal, size_t n, uint32_t *order)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t column = order[i];
        size_t at = i;
        for (; at > 0 && diagonal[order[at - 1]] < diagonal[column]; at--)
            order[at] = order[at - 1];
        order[at] = column;
    }
}

static ucb_status trace_hessian(struct ucb_job *job, size_t n,
                                const struct ucb_calib *calib, const char *name,
                                struct ucb_err *err)
{
    uint64_t shape[2] = {n, n};
    size_t n_shown = n <= MAX_TRACED ? n * n : n;
    if (job->trace == NULL) return UCB_OK;
    float *shown = UCB_NEW(job->scratch, float, n_shown);
    if (shown == NULL) return no_memory(name, n, err);
    for (size_t j = 0; j < n; j++)
        shown[j] = (float)(hessian_factor(calib) * calib->second_moment[j * n + j]);
    UCB_TRY(job->trace(job->trace_context, "hessian_diag", UCB_F32, 1, shape, shown, err));
    if (n > MAX_TRACED) return UCB_OK;
    for (size_t i = 0; i < n * n; i++)
        shown[i] = (float)(hessian_factor(calib) * calib->second_moment[i]);
    return job->trace(job->trace_context, "hessian", UCB_F32, 2, shape, shown, err);
}

/* Dead columns, the order of the sweep, and what is added to the diagonal. `diagonal` is
 * filled, by column. */
static double survey_diagonal(const struct gptq_layout *l, const struct ucb_calib *calib,
                              double *diagonal, struct gptq_factor *out)
{
    double sum = 0;
    for (size_t j = 0; j < l->n_in; j++) {
        diagonal[j] = hessian_factor(calib) * calib->second_moment[j * l->n_in + j];
        out->dead[j] = diagonal[j] == 0;
        if (out->dead[j]) diagonal[j] = 1;
        sum += diagonal[j];
    }
    if (l->act_order) sort_order(diagonal, l->n_in, out->order);
    for (size_t p = 0; p < l->n_in; p++) out->position[out->order[p]] = (uint32_t)p;
    return l->damp * (sum / (double)l->n_in);
}

/* ---- the damped Hessian, and U as the sweep reads it: a row or a block an index ---- */

struct factor_run {
    const struct gptq_layout *layout;
    const struct gptq_factor *factor;
    const double *second_moment, *diagonal;
    double scale, damping;
    double *u; /* [n_in][n_in], by position: the Hessian, then its factor */
};

static void build_row(void *context, size_t p)
{
    const struct factor_run *run = context;
    size_t n = run->layout->n_in, column = run->factor->order[p];
    double *row = run->u + p * n;
    const double *from = run->second_moment + column * n;
    for (size_t q = 0; q < n; q++) row[q] = run->scale * from[run->factor->order[q]];
    row[p] = run->diagonal[column] + run->damping;
}

static void lay_out_block(void *context, size_t index)
{
    const struct factor_run *run = context;
    size_t n = run->layout->n_in, first = index * run->layout->block,
           last = first + run->layout->block;
    float *out = run->factor->update + run->factor->start[index];
    if (last > n) last = n;
    for (size_t i = first; i < last; i++)
        for (size_t k = first; k < last; k++) *out++ = (float)run->u[i * n + k];
    for (size_t tile = last; tile < n; tile += GPTQ_TILE)
        for (size_t i = first; i < last; i++)
            for (size_t k = tile; k < tile + GPTQ_TILE; k++)
                *out++ = k < n ? (float)run->u[i * n + k] : 0;
}

static size_t count_blocks(const struct gptq_layout *l)
{
    return (l->n_in + l->block - 1) / l->block;
}

/* Where each block of `update` starts; answers the length of all. */
static size_t place_blocks(const struct gptq_layout *l, size_t *start)
{
    size_t at = 0;
    for (size_t i = 0; i < count_blocks(l); i++) {
        size_t last = (i + 1) * l->block < l->n_in ? (i + 1) * l->block : l->n_in;
        size_t width = last - i * l->block, right = l->n_in - last;
        start[i] = at;
        at += width * width + width * ((right + GPTQ_TILE - 1) / GPTQ_TILE * GPTQ_TILE);
    }
    return at;
}

static ucb_status refuse(const struct gptq_layout *l, const char *name, size_t column,
                         struct ucb_err *err)
{
    double more = l->damp < 0.01 ? 0.01 : l->damp < 1 ? 10 * l->damp : 10; /* at most 10 */
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: its Hessian is not positive definite at column %zu, damped by %g "
                    "of the mean diagonal; try damp=%g or more calibration windows",
                    name, column, l->damp, more);
}

/* No input was ever anything but zero, as of an expert without tokens: all columns are
 * dead, and would be dropped. */
static bool is_silent(const struct ucb_calib *calib, size_t n)
{
    for (size_t j = 0; j < n && calib->n_tokens > 0; j++)
        if (calib->second_moment[j * n + j] != 0) return false;
    return true;
}

ucb_status gptq_factor_make(struct ucb_job *job, const struct gptq_layout *l,
                            const struct ucb_calib *calib, const char *name,
                            struct gptq_factor *out, struct ucb_err *err)
{
    size_t n = l->n_in, pivot = 0, count;
    uint64_t shape[2] = {n, n};
    *out = (struct gptq_factor){.order = UCB_NEW(job->scratch, uint32_t, n),
                                .position = UCB_NEW(job->scratch, uint32_t, n),
                                .dead = UCB_NEW(job->scratch, bool, n),
                                .start = UCB_NEW(job->scratch, size_t, count_blocks(l))};
    double *diagonal = UCB_NEW(job->scratch, double, n);
    if (out->order == NULL || out->position == NULL || out->dead == NULL ||
        out->start == NULL || diagonal == NULL)
        return no_memory(name, n, err);
    for (size_t j = 0; j < n; j++) out->order[j] = out->position[j] = (uint32_t)j;
    if (calib == NULL || is_silent(calib, n)) return UCB_OK;

    UCB_TRY(trace_hessian(job, n, calib, name, err));
    struct factor_run run = {.layout = l,
                             .factor = out,
                             .second_moment = calib->second_moment,
                             .diagonal = diagonal,
                             .scale = hessian_factor(calib)};
    run.damping = survey_diagonal(l, calib, diagonal, out);
    run.u = ucb_size_mul(n, n, &count) ? UCB_NEW(job->scratch, double, count) : NULL;
    out->update = UCB_NEW(job->scratch, float, place_blocks(l, out->start));
    if (run.u == NULL || out->update == NULL) return no_memory(name, n, err);
    ucb_parallel_for(job->pool, n, build_row, &run);
    ucb_status status = ucb_dense_inverse_factor(run.u, n, job->pool, job->scratch, &pivot,
                                                 err);
    if (status == UCB_UNSUPPORTED) return refuse(l, name, out->order[pivot], err);
    if (status != UCB_OK) return no_memory(name, n, err);
    ucb_parallel_for(job->pool, count_blocks(l), lay_out_block, &run);
    if (job->trace == NULL || n > MAX_TRACED) return UCB_OK;
    return job->trace(job->trace_context, "hinv_upper_fp64", UCB_F64, 2, shape, run.u, err);
}
