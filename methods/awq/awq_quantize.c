/* awq_quantize.c - codes, scales and zeros of w * scale after clamping; and the words that
 * the library's GEMM kernel reads. */
#include "awq.h"
#include "awq_lanes.h"
#include "core/clones.h"

struct quantize_run {
    const float *w, *scale, *clip_max;
    size_t n_out, n_in, group;
    float max_code;
    bool half;
    float *room; /* by panel: one panel of one group */
    struct awq_codes out;
};

UCB_CLONES static void quantize_group(const struct quantize_run *run, const float *scale,
                                      const float *limit, float *x, float *group_scale,
                                      float *group_zero)
{
    ucb_f32x16 high = ucb_lanes_load(limit);
    for (size_t j = 0; j < run->group; j++) {
        ucb_f32x16 v = ucb_lanes_load(x + j * UCB_LANES) * scale[j];
        v = ucb_lanes_min(ucb_lanes_max(v, -high), high);
        ucb_lanes_store(x + j * UCB_LANES, awq_round(v, run->half));
    }
    struct awq_grid grid = awq_fit(x, run->group, run->max_code, run->half);
    ucb_lanes_store(group_scale, grid.scale);
    ucb_lanes_store(group_zero, grid.zero);
    for (size_t j = 0; j < run->group; j++) {
        ucb_f32x16 v = ucb_lanes_load(x + j * UCB_LANES);
        ucb_lanes_store(x + j * UCB_LANES, awq_code(v, &grid, run->max_code, run->half));
    }
}

static void quantize_panel(void *context, size_t panel)
{
    const struct quantize_run *run = context;
    size_t first = panel * AWQ_PANEL_ROWS, n_rows = run->n_out - first,
           n_groups = run->n_in / run->group;
    float *x = run->room + panel * run->group * AWQ_PANEL_ROWS;
    if (n_rows > AWQ_PANEL_ROWS) n_rows = AWQ_PANEL_ROWS;
    for (size_t g = 0; g < n_groups; g++) {
        float limit[AWQ_PANEL_ROWS], scale[AWQ_PANEL_ROWS], zero[AWQ_PANEL_ROWS];
        size_t at = g * run->group;
        awq_panel_load(run->w + first * run->n_in + at, run->n_in, n_rows, run->group, x);
        for (size_t r = 0; r < AWQ_PANEL_ROWS; r++)
            limit[r] = run->clip_max == NULL ? __builtin_inff()
                       : r < n_rows          ? run->clip_max[(first + r) * n_groups + g]
                                             : 0;
        quantize_group(run, run->scale + at, limit, x, scale, zero);
        for (size_t r = 0; r < n_rows; r++) {
            uint8_t *code = run->out.code + (first + r) * run->n_in + at;
            run->out.scale[(first + r) * n_groups + g] = scale[r];
            run->out.zero[(first + r) * n_groups + g] = zero[r];
            for (size_t j = 0; j < run->group; j++)
                code[j] = (uint8_t)x[j * AWQ_PANEL_ROWS + r];
        }
    }
}

ucb_status awq_quantize(struct ucb_job *job, const struct awq_config *config,
                        const struct ucb_source *src, const float *scale,
                        const float *clip_max, bool half, struct awq_codes *out,
                        struct ucb_err *err)
{
    struct quantize_run run = {.w = src->w, .scale = scale, .clip_max = clip_max};
    run.n_out = src->matrix->n_out;
    run.n_in = src->matrix->n_in;
    run.group = config->group;
    run.max_code = (float)((1u << config->bits) - 1);
    run.half = half;
    run.out = *out;
    size_t n_panels = (run.n_out + AWQ_PANEL_ROWS - 1) / AWQ_PANEL_ROWS;
    run.room = UCB_NEW(job->scratch, float, n_panels *AWQ_PANEL_ROWS *run.group);
    if (run.room == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu groups of rows",
                        src->matrix->name, n_panels);
    ucb_parallel_for(job->pool, n_panels, quantize_panel, &run);
    return UCB_OK;
}

void awq_gemm_pack(const uint8_t *from, size_t n_out, size_t n_in, uint32_t *to)
{
    static const uint8_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    for (size_t j = 0; j < n_in; j++)
        for (size_t word = 0; word < n_out / 8; word++) {
            uint32_t bits = 0;
            for (unsigned i = 0; i < 8; i++)
                bits |= (uint32_t)from[(8 * word + order[i]) * n_in + j] << 4 * i;
            *to++ = bits;
        }
}
