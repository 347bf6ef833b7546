/*
 * divergence_gradient.c - the gradient of KL(P || Q) with respect to the logits of Q: Q -
 * P, row by row. The divergence is that of head.c, by the same sums: fp32 in 16 lanes
 * within 1024 ids, then doubles in index order. Exponentials are made anew in each pass, so
 * that no buffer beside the logits is needed.
 */
#include "backend/gradient.h"

#include "backend/backend_internal.h"
#include "core/fmath.h"

enum { TILE_IDS = 1024 };

struct divergence_run {
    const struct ucb_kernel_table *table;
    const float *z0;
    float *z, softcap, factor;
    double *divergence;
    uint32_t n_ids;
};

/* The sums of a row, over all ids. */
struct sums {
    double e0, e, divergence;
};

static uint32_t tile_size(const struct divergence_run *run, uint32_t first)
{
    return run->n_ids - first < TILE_IDS ? run->n_ids - first : TILE_IDS;
}

static struct sums sum_row(const struct divergence_run *run, const float *z0, float peak0,
                           const float *z, float peak)
{
    struct sums s = {0, 0, 0};
    float e0[TILE_IDS], e[TILE_IDS], part;
    for (uint32_t id = 0; id < run->n_ids; id += TILE_IDS) {
        uint32_t n = tile_size(run, id);
        s.e0 += (double)run->table->exp_sum(z0 + id, n, peak0, e0);
        s.e += (double)run->table->exp_sum_beside(z + id, n, peak, z0 + id, peak0, e0, e,
                                                  &part);
        s.divergence += (double)part;
    }
    return s;
}

static void row_item(void *context, size_t row)
{
    const struct divergence_run *run = context;
    const struct ucb_kernel_table *table = run->table;
    const float *z0 = run->z0 + row * run->n_ids;
    float *z = run->z + row * run->n_ids, e0[TILE_IDS], e[TILE_IDS];
    struct ucb_top top0, top;
    table->top(z0, run->n_ids, &top0);
    table->top(z, run->n_ids, &top);
    struct sums s = sum_row(run, z0, top0.value[0], z, top.value[0]);
    run->divergence[row] = s.divergence / s.e0 + (ucb_log(s.e) - ucb_log(s.e0));
    for (uint32_t id = 0; id < run->n_ids; id += TILE_IDS) {
        uint32_t n = tile_size(run, id);
        table->exp_sum(z0 + id, n, top0.value[0], e0);
        table->exp_sum(z + id, n, top.value[0], e);
        table->softmax_difference(
            e, (float)((double)run->factor / s.e), e0, (float)((double)run->factor / s.e0),
            run->softcap != 0 ? z + id : NULL, run->softcap, n, z + id);
    }
}

void ucb_divergence_gradient(struct ucb_backend *backend, const float *z0, size_t n_rows,
                             uint32_t n_ids, float softcap, float factor, float *z,
                             double *divergence)
{
    struct divergence_run run = {.table = backend->table,
                                 .z0 = z0,
                                 .z = z,
                                 .softcap = softcap,
                                 .factor = factor,
                                 .divergence = divergence,
                                 .n_ids = n_ids};
    ucb_parallel_for(backend->pool, n_rows, row_item, &run);
}
