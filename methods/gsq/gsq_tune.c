/*
 * gsq_tune.c - what a tuning stage may move: the absmax of every block and the levels of
 * the grid; codes stay. A weight is level[code] * scale[block], so
 *
 *     dL/d scale[b] = sum over the block of dL/dW * level[code]
 *     dL/d level[k] = sum over the weights of code k of dL/dW * scale[block]
 *
 * both in double: a block in index order, levels in chunks of rows whose sums are added in
 * order. A matrix in the form of rows has scales only; its levels are in no payload.
 */
#include "gsq.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method/payload.h"

enum { SCALES, GRID };

ucb_status gsq_unfreeze(struct ucb_job *job, const void *state,
                        struct ucb_param list[UCB_MAX_PARAMS], uint32_t *n,
                        struct ucb_err *err)
{
    const struct gsq_state *s = state;
    const struct gsq_layout *l = &s->layout;
    float *scale = UCB_NEW(job->arena, float, l->n_blocks),
          *grid = UCB_NEW(job->arena, float, l->n_levels);
    if (scale == NULL || grid == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu scales", s->matrix->name,
                        l->n_blocks);
    memcpy(scale, s->scale, l->n_blocks * sizeof(*scale));
    memcpy(grid, s->grid, l->n_levels * sizeof(*grid));
    list[SCALES] = (struct ucb_param){"scales", scale, l->n_blocks};
    list[GRID] = (struct ucb_param){"grid", grid, l->n_levels};
    *n = l->form == GSQ_ROWS ? 1 : 2;
    return UCB_OK;
}

/* The levels that stand in a list, padded as gsq_decode_rows wants them. */
static void copy_levels(const struct gsq_state *s, const struct ucb_param *list,
                        float grid[GSQ_MAX_LEVELS])
{
    memcpy(grid, s->grid, sizeof(s->grid));
    if (s->layout.form != GSQ_ROWS)
        memcpy(grid, list[GRID].value, list[GRID].n * sizeof(*grid));
}

void gsq_decode_with(const void *state, const struct ucb_param *list, uint32_t row,
                     uint32_t n, float *acc)
{
    float grid[GSQ_MAX_LEVELS];
    copy_levels(state, list, grid);
    gsq_decode_rows(state, list[SCALES].value, grid, row, n, acc);
}

struct pull_run {
    const struct gsq_state *s;
    const float *scale, *d_weight;
    float grid[GSQ_MAX_LEVELS];
    float *d_scale;
    double (*d_level)[GSQ_MAX_LEVELS]; /* by chunk */
};

static void pull_block(const struct pull_run *run, size_t b, double *d_level)
{
    const struct gsq_layout *l = &run->s->layout;
    double d_scale = 0, scale = (double)run->scale[b];
    size_t start = b * l->block, end = start + l->block;
    for (size_t at = start, n; at < end; at += n) {
        uint8_t codes[GSQ_PIECE + 8];
        n = end - at < GSQ_PIECE ? end - at : GSQ_PIECE;
        gsq_unpack(run->s->packed, gsq_code_bytes(l), l->bits, at, n, codes);
        for (size_t i = 0; i < n; i++) {
            double d = (double)run->d_weight[at + i];
            d_scale += d * (double)run->grid[codes[i]];
            d_level[codes[i]] += d * scale;
        }
    }
    run->d_scale[b] = (float)d_scale;
}

static void pull_chunk(void *context, size_t chunk)
{
    struct pull_run *run = context;
    const struct gsq_layout *l = &run->s->layout;
    size_t first, last;
    gsq_chunk_rows(l, chunk, &first, &last);
    for (size_t b = first * l->blocks_per_row; b < last * l->blocks_per_row; b++)
        pull_block(run, b, run->d_level[chunk]);
}

ucb_status gsq_pull_back(struct ucb_job *job, const void *state,
                         const struct ucb_param *list, const float *d_weight,
                         float *const *d_param, struct ucb_err *err)
{
    const struct gsq_state *s = state;
    const struct gsq_layout *l = &s->layout;
    struct pull_run run = {.s = s,
                           .scale = list[SCALES].value,
                           .d_weight = d_weight,
                           .d_scale = d_param[SCALES]};
    run.d_level = ucb_arena_array(job->scratch, l->n_chunks, sizeof(*run.d_level));
    if (run.d_level == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the gradients of its levels",
                        s->matrix->name);
    copy_levels(s, list, run.grid);
    ucb_parallel_for(job->pool, l->n_chunks, pull_chunk, &run);
    if (l->form == GSQ_ROWS) return UCB_OK;
    for (unsigned k = 0; k < l->n_levels; k++) {
        double sum = 0;
        for (size_t chunk = 0; chunk < l->n_chunks; chunk++) sum += run.d_level[chunk][k];
        d_param[GRID][k] = (float)sum;
    }
    return UCB_OK;
}

ucb_status gsq_freeze(struct ucb_job *job, const void *state, const struct ucb_param *list,
                      struct ucb_writer *out, struct ucb_err *err)
{
    const struct gsq_state *s = state;
    const struct gsq_layout *l = &s->layout;
    float grid[GSQ_MAX_LEVELS];
    (void)job;
    copy_levels(s, list, grid);
    UCB_TRY(gsq_put_head(l, s->matrix->name, grid, list[SCALES].value, out, err));
    ucb_part(out, UCB_PART_CODES);
    ucb_put_bytes(out, s->packed, gsq_code_bytes(l));
    return UCB_OK;
}
