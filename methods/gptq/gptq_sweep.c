/*
 * gptq_sweep.c - the sweep over the columns: round one, spread its error over those still
 * to come (Frantar et al., GPTQ, 2023, algorithm 1; grids as AutoGPTQ fits them).
 *
 * Grid of a group of a row, M = 2^bits - 1, in fp32:
 *
 *     low = min(0, min x)     high = max(0, max x)
 *     symmetric: high = max(-low, high), and low = -high if it is below zero
 *     scale = (high - low) / M (low = -1, high = 1 where that is 0)
 *     zero = round(-low / scale), or (M + 1) / 2 if symmetric
 *     code = clamp(round(x / scale) + zero, 0, M)     value = scale * (code - zero)
 *
 * Rows do not depend on each other given U: a panel is sixteen of them, a lane each, its
 * columns contiguous. A block of columns is swept one by one; what lies right of it is
 * corrected once, by the sum over the block in column order.
 *
 * What surprises: a grid is fitted on the columns as the BLOCKS before left them, without
 * the corrections made so far inside the block; with group < block those are many. Here
 * that means: all grids that start in a block are fitted before its first column.
 */
#include "gptq.h"

#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"

enum { CHUNK_PANELS = 4 }; /* they share each tile of U while it is in the nearest cache */

struct sweep_run {
    const struct gptq_layout *layout;
    const struct gptq_factor *factor;
    const float *w;
    const struct gptq_grids *out;
    float *columns; /* [n_panels][n_in][GPTQ_PANEL], by position; of a column that is swept,
                       its error */
};

/* One panel of a run. */
struct panel {
    const struct sweep_run *run;
    size_t row, n_rows;
    float *columns, *scale, *zero;
    uint8_t *codes;
};

static struct panel panel_of(const struct sweep_run *run, size_t index)
{
    const struct gptq_layout *l = run->layout;
    struct panel p = {.run = run,
                      .row = index * GPTQ_PANEL,
                      .columns = run->columns + index * l->n_in * GPTQ_PANEL,
                      .scale = run->out->scale + index * l->n_groups * GPTQ_PANEL,
                      .zero = run->out->zero + index * l->n_groups * GPTQ_PANEL,
                      .codes = run->out->codes + index * l->n_in * GPTQ_PANEL};
    p.n_rows = l->n_out - p.row < GPTQ_PANEL ? l->n_out - p.row : GPTQ_PANEL;
    return p;
}

/* The grid that the column at a position is rounded to. */
static size_t group_at(const struct sweep_run *run, size_t position)
{
    const struct gptq_layout *l = run->layout;
    return (l->static_groups ? run->factor->order[position] : position) / l->group;
}

/* ---- grids ---- */

/* Fits grid `group` to n columns; the i-th stands at position at[i], or at first + i. */
UCB_CLONES static void fit_grid(const struct panel *p, size_t group, const uint32_t *at,
                                size_t first, size_t n)
{
    float top = (float)((1u << p->run->layout->bits) - 1);
    ucb_f32x16 low = {0}, high = {0}, one = ucb_lanes_all(1.0f);
    for (size_t i = 0; i < n; i++) {
        size_t position = at == NULL ? first + i : at[i];
        ucb_f32x16 x = ucb_lanes_load(p->columns + position * GPTQ_PANEL);
        low = ucb_lanes_min(x, low);
        high = ucb_lanes_max(x, high);
    }
    if (p->run->layout->symmetric) {
        high = ucb_lanes_max(-low, high);
        low = ucb_lanes_choose(low < 0.0f, -high, low);
    }
    ucb_i32x16 empty = (high - low) / top == 0.0f;
    low = ucb_lanes_choose(empty, -one, low);
    high = ucb_lanes_choose(empty, one, high);
    ucb_f32x16 scale = (high - low) / top;
    ucb_f32x16 zero = ucb_lanes_rne(ucb_lanes_clamp(-low / scale, 0.0f, top));
    if (p->run->layout->symmetric) zero = ucb_lanes_all((top + 1) / 2);
    ucb_lanes_store(p->scale + group * GPTQ_PANEL, scale);
    ucb_lanes_store(p->zero + group * GPTQ_PANEL, zero);
}

/* The groups of the matrix' own columns, wherever those stand. */
static void fit_static(const struct panel *p)
{
    const struct gptq_layout *l = p->run->layout;
    for (size_t g = 0; g < l->n_groups; g++) {
        size_t first = g * l->group, n = l->n_in - first;
        fit_grid(p, g, p->run->factor->position + first, 0, n < l->group ? n : l->group);
    }
}

/* The groups that start in positions [first, last). */
static void fit_block(const struct panel *p, size_t first, size_t last)
{
    const struct gptq_layout *l = p->run->layout;
    for (size_t g = (first + l->group - 1) / l->group; g * l->group < last; g++) {
        size_t at = g * l->group, n = l->n_in - at;
        fit_grid(p, g, NULL, at, n < l->group ? n : l->group);
    }
}

/* ---- the sweep ---- */

static void load_panel(const struct panel *p)
{
    const struct sweep_run *run = p->run;
    size_t n_in = run->layout->n_in;
    for (size_t lane = 0; lane < p->n_rows; lane++) {
        const float *row = run->w + (p->row + lane) * n_in;
        for (size_t at = 0; at < n_in; at++)
            p->columns[at * GPTQ_PANEL + lane] = row[run->factor->order[at]];
    }
}

static void clear_dead(const struct panel *p)
{
    for (size_t j = 0; j < p->run->layout->n_in; j++)
        if (p->run->factor->dead[j])
            memset(p->columns + p->run->factor->position[j] * GPTQ_PANEL, 0,
                   GPTQ_PANEL * sizeof(float));
}

static void begin_panel(const struct panel *p)
{
    load_panel(p);
    if (p->run->layout->per_row) fit_block(p, 0, 1);
    clear_dead(p);
    if (p->run->layout->static_groups && !p->run->layout->per_row) fit_static(p);
}

/* Rounds the column at a position; answers its error. */
UCB_LANES_INLINE ucb_f32x16 round_column(const struct panel *p, size_t position)
{
    size_t group = group_at(p->run, position), column = p->run->factor->order[position];
    float top = (float)((1u << p->run->layout->bits) - 1);
    ucb_f32x16 scale = ucb_lanes_load(p->scale + group * GPTQ_PANEL),
               zero = ucb_lanes_load(p->zero + group * GPTQ_PANEL),
               x = ucb_lanes_load(p->columns + position * GPTQ_PANEL);
    /* Clamping first changes nothing, both bounds being whole, and keeps the rounding in
     * its range. */
    ucb_f32x16 level = ucb_lanes_max(x / scale, -zero);
    level = ucb_lanes_rne(ucb_lanes_min(level, top - zero));
    ucb_lanes_store_code(p->codes + column * GPTQ_PANEL, level + zero);
    return x - scale * level;
}

/* Sweeps positions [first, last), correcting those of them still to come. */
UCB_CLONES static void sweep_block(const struct panel *p, size_t first, size_t last,
                                   const float *corner)
{
    size_t width = last - first;
    float *columns = p->columns + first * GPTQ_PANEL;
    for (size_t i = 0; i < width; i++) {
        ucb_f32x16 error = round_column(p, first + i);
        if (corner == NULL) continue;
        const float *u = corner + i * width;
        error /= ucb_lanes_all(u[i]);
        ucb_lanes_store(columns + i * GPTQ_PANEL, error);
        for (size_t k = i + 1; k < width; k++) {
            float *later = columns + k * GPTQ_PANEL;
            ucb_lanes_store(later, ucb_lanes_load(later) - error * ucb_lanes_all(u[k]));
        }
    }
}

/* Takes the errors of [first, first + width) out of n (at most GPTQ_TILE) columns. */
UCB_CLONES static void correct_tile(const struct panel *p, size_t first, size_t width,
                                    const float *u, size_t column, size_t n)
{
    const float *error = p->columns + first * GPTQ_PANEL;
    float *later = p->columns + column * GPTQ_PANEL;
    ucb_f32x16 sum[GPTQ_TILE] = {{0}};
    for (size_t i = 0; i < width; i++, error += GPTQ_PANEL, u += GPTQ_TILE) {
        ucb_f32x16 e = ucb_lanes_load(error);
#pragma GCC unroll 6
        for (int k = 0; k < GPTQ_TILE; k++) sum[k] += e * ucb_lanes_all(u[k]);
    }
#pragma GCC unroll 6
    for (size_t k = 0; k < GPTQ_TILE; k++) {
        if (k >= n) break;
        float *x = later + k * GPTQ_PANEL;
        ucb_lanes_store(x, ucb_lanes_load(x) - sum[k]);
    }
}

static void correct_rest(const struct panel *panels, size_t n_panels, size_t first,
                         size_t last, const float *u)
{
    size_t n_in = panels->run->layout->n_in, width = last - first;
    for (size_t column = last; column < n_in; column += GPTQ_TILE, u += width * GPTQ_TILE)
        for (size_t i = 0; i < n_panels; i++)
            correct_tile(&panels[i], first, width, u, column,
                         n_in - column < GPTQ_TILE ? n_in - column : GPTQ_TILE);
}

static void sweep_chunk(void *context, size_t chunk)
{
    const struct sweep_run *run = context;
    const struct gptq_layout *l = run->layout;
    struct panel panels[CHUNK_PANELS];
    size_t n_panels = l->n_panels - chunk * CHUNK_PANELS;
    if (n_panels > CHUNK_PANELS) n_panels = CHUNK_PANELS;
    for (size_t i = 0; i < n_panels; i++) {
        panels[i] = panel_of(run, chunk * CHUNK_PANELS + i);
        begin_panel(&panels[i]);
    }
    for (size_t first = 0; first < l->n_in; first += l->block) {
        size_t last = first + l->block < l->n_in ? first + l->block : l->n_in;
        const float *u = run->factor->update;
        if (u != NULL) u += run->factor->start[first / l->block];
        for (size_t i = 0; i < n_panels; i++) {
            if (!l->static_groups && !l->per_row) fit_block(&panels[i], first, last);
            sweep_block(&panels[i], first, last, u);
        }
        if (u == NULL) continue;
        u += (last - first) * (last - first);
        correct_rest(panels, n_panels, first, last, u);
    }
}

ucb_status gptq_sweep(struct ucb_job *job, const struct gptq_layout *l,
                      const struct gptq_factor *factor, const float *w, const char *name,
                      struct gptq_grids *out, struct ucb_err *err)
{
    size_t n_values = l->n_panels * l->n_in * GPTQ_PANEL,
           n_grids = l->n_panels * l->n_groups * GPTQ_PANEL;
    struct sweep_run run = {l, factor, w, out, UCB_NEW(job->scratch, float, n_values)};
    out->codes = UCB_NEW(job->scratch, uint8_t, n_values);
    out->scale = UCB_NEW(job->scratch, float, n_grids);
    out->zero = UCB_NEW(job->scratch, float, n_grids);
    if (run.columns == NULL || out->codes == NULL || out->scale == NULL ||
        out->zero == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to sweep %zu weights", name,
                        l->n_out * l->n_in);
    ucb_parallel_for(job->pool, (l->n_panels + CHUNK_PANELS - 1) / CHUNK_PANELS,
                     sweep_chunk, &run);
    return UCB_OK;
}
