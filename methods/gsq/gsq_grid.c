/*
 * gsq_grid.c - the best K levels for a matrix: a histogram of its normalised values, and
 * optimal one-dimensional K-means on it by dynamic programming.
 *
 * The squared error of a weight is scale^2 (v - level)^2, so a value counts by the square
 * of its block's scale, and the grid minimises the error of the matrix, not of the
 * normalised values. Of a bin only weight and mean matter: what its values differ from
 * their mean, no grid that keeps a bin together can change.
 *
 * With prefix sums W and M of weight and moment, levels at the means of their clusters
 * leave the error  sum scale^2 v^2 - sum over clusters of (M_j - M_i)^2 / (W_j - W_i).  So
 *
 *     best_k(j) = max over i of best_(k-1)(i) + (M_j - M_i)^2 / (W_j - W_i)
 *
 * for the first j bins in k clusters. The best i never falls as j grows (the cost is
 * concave Monge: Wu, 1991; Wang and Song, 2011), so the i of a middle j bounds those of
 * both sides, and neither does it fall as k grows: O(K n log n) at most.
 */
#include "gsq.h"

#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"

/* ---- the histogram ---- */

struct histogram_run {
    const struct gsq_layout *layout;
    const float *w, *scale;
    struct gsq_bin *bins; /* [n_chunks][GSQ_BINS] */
};

/* Sixteen values and the bins they fall into. */
UCB_CLONES static void find_bins(const float *w, size_t n, float scale, float *value,
                                 int32_t *bin)
{
    ucb_f32x16 scales = ucb_lanes_all(scale);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 v = ucb_lanes_load_some(w + i, n - i) / scales;
        ucb_f32x16 at = ucb_lanes_clamp((v + 1.0f) * (GSQ_BINS / 2), 0, GSQ_BINS - 1);
        ucb_i32x16 whole = __builtin_convertvector(at, ucb_i32x16);
        ucb_lanes_store(value + i, v);
        memcpy(bin + i, &whole, sizeof(whole));
    }
}

static void count_block(const float *w, size_t n, float scale, struct gsq_bin *bins)
{
    float value[GSQ_PIECE];
    int32_t bin[GSQ_PIECE];
    double weight = (double)scale * scale;
    for (size_t at = 0, n_piece; at < n; at += n_piece) {
        n_piece = n - at < GSQ_PIECE ? n - at : GSQ_PIECE;
        find_bins(w + at, n_piece, scale, value, bin);
        for (size_t i = 0; i < n_piece; i++) {
            bins[bin[i]].weight += weight;
            bins[bin[i]].moment += weight * (double)value[i];
        }
    }
}

static void count_chunk(void *context, size_t chunk)
{
    struct histogram_run *run = context;
    const struct gsq_layout *l = run->layout;
    size_t first, last;
    gsq_chunk_rows(l, chunk, &first, &last);
    for (size_t b = first * l->blocks_per_row; b < last * l->blocks_per_row; b++)
        count_block(run->w + b * l->block, l->block, run->scale[b],
                    run->bins + chunk * GSQ_BINS);
}

ucb_status gsq_histogram(const struct gsq_layout *l, const float *w, const float *scale,
                         struct gsq_bin *bins, struct ucb_pool *pool,
                         struct ucb_arena *scratch, const char *name, struct ucb_err *err)
{
    struct histogram_run run = {l, w, scale,
                                UCB_NEW(scratch, struct gsq_bin, l->n_chunks * GSQ_BINS)};
    if (run.bins == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu histograms", name,
                        l->n_chunks);
    ucb_parallel_for(pool, l->n_chunks, count_chunk, &run);
    memset(bins, 0, GSQ_BINS * sizeof(*bins));
    for (size_t i = 0; i < l->n_chunks * GSQ_BINS; i++) {
        bins[i % GSQ_BINS].weight += run.bins[i].weight;
        bins[i % GSQ_BINS].moment += run.bins[i].moment;
    }
    return UCB_OK;
}

/* ---- dynamic programming ---- */

enum { LANES = 8 };
typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));

/* The bins that weigh something, and their prefix sums, which have LANES more entries than
 * are used, for loads past the end. */
struct bins {
    size_t n;
    struct gsq_bin *kept;    /* [n] */
    double *weight, *moment; /* [n + 1] */
};

/* One k: the best of the first j bins in k clusters, and where the last one begins. */
struct layer {
    const struct bins *bins;
    size_t k;
    const double *before; /* of k - 1 */
    double *best;
    const uint16_t *cut_before;
    uint16_t *cut;
};

UCB_LANES_INLINE f64x8 load(const double *p)
{
    f64x8 x;
    memcpy(&x, p, sizeof(x));
    return x;
}

/* The error that a last cluster of the bins from i to j takes away, and the clusters before
 * it. */
static inline double value_of(const struct layer *l, size_t i, size_t j)
{
    double rise = l->bins->moment[j] - l->bins->moment[i];
    return l->before[i] + rise * rise / (l->bins->weight[j] - l->bins->weight[i]);
}

/* The best beginning of the last cluster in [low, high], the first where some are equal. */
UCB_LANES_INLINE size_t best_of_few(const struct layer *l, size_t j, size_t low,
                                    size_t high)
{
    size_t at = low;
    double top = value_of(l, low, j);
    for (size_t i = low + 1; i <= high; i++) {
        double value = value_of(l, i, j);
        at = value > top ? i : at;
        top = value > top ? value : top;
    }
    return at;
}

UCB_LANES_INLINE size_t best_of_many(const struct layer *l, size_t j, size_t low,
                                     size_t high)
{
    const double *weight = l->bins->weight, *moment = l->bins->moment;
    i64x8 index = (i64x8){0, 1, 2, 3, 4, 5, 6, 7} + (int64_t)low, at = index;
    f64x8 top = (f64x8){0} - INFINITY;
    for (size_t i = low; i <= high; i += LANES, index += LANES) {
        f64x8 rise = moment[j] - load(moment + i);
        f64x8 value = load(l->before + i) + rise * rise / (weight[j] - load(weight + i));
        i64x8 better = (value > top) & (index <= (int64_t)high);
        top = (f64x8)(((i64x8)value & better) | ((i64x8)top & ~better));
        at = (index & better) | (at & ~better);
    }
    int lane = 0;
    for (int i = 1; i < LANES; i++)
        if (top[i] > top[lane] || (top[i] == top[lane] && at[i] < at[lane])) lane = i;
    return (size_t)at[lane];
}

UCB_LANES_INLINE void find_cut(const struct layer *l, size_t j, size_t low, size_t high)
{
    size_t at = high - low < 2 * LANES ? best_of_few(l, j, low, high)
                                       : best_of_many(l, j, low, high);
    l->best[j] = value_of(l, at, j);
    l->cut[j] = (uint16_t)at;
}

/* All j from k to n, halving the distance between those that are known. */
UCB_CLONES static void fill_layer(const struct layer *l)
{
    size_t n = l->bins->n - l->k + 1, step = 1; /* j = k + t, t in [0, n) */
    while (2 * step < n) step *= 2;
    find_cut(l, l->k, l->k - 1, l->k - 1);
    for (; step > 0; step /= 2)
        for (size_t t = step; t < n; t += 2 * step) {
            size_t j = l->k + t, low = l->cut[j - step], high = j - 1;
            if (t + step < n && l->cut[j + step] < high) high = l->cut[j + step];
            if (low < l->cut_before[j] && l->cut_before[j] <= high) low = l->cut_before[j];
            find_cut(l, j, low, high);
        }
}

static bool gather_bins(const struct gsq_bin *bins, size_t n_bins, struct bins *out,
                        struct ucb_arena *scratch)
{
    double all = 0;
    *out = (struct bins){.kept = UCB_NEW(scratch, struct gsq_bin, n_bins),
                         .weight = UCB_NEW(scratch, double, n_bins + 1 + LANES),
                         .moment = UCB_NEW(scratch, double, n_bins + 1 + LANES)};
    if (out->kept == NULL || out->weight == NULL || out->moment == NULL) return false;
    for (size_t i = 0; i < n_bins; i++) all += bins[i].weight;
    for (size_t i = 0; i < n_bins; i++) {
        /* What weighs next to nothing would vanish in the sums, and 0 / 0 has no best. */
        if (!(bins[i].weight > all * 0x1p-40)) continue;
        out->weight[out->n + 1] = out->weight[out->n] + bins[i].weight;
        out->moment[out->n + 1] = out->moment[out->n] + bins[i].moment;
        out->kept[out->n++] = bins[i];
    }
    return true;
}

/* Summed anew: the difference of two prefix sums says little about a light bin. */
static float mean_of(const struct bins *b, size_t first, size_t last)
{
    double weight = 0, moment = 0;
    for (size_t i = first; i < last; i++) {
        weight += b->kept[i].weight;
        moment += b->kept[i].moment;
    }
    return (float)(moment / weight);
}

/* Fills cut[k][n + 1] for k = 1 .. n_clusters. */
static bool solve(const struct bins *b, size_t n_clusters, uint16_t *cut,
                  struct ucb_arena *scratch)
{
    size_t n = b->n + 1;
    double *best = UCB_NEW(scratch, double, 2 * (n + LANES));
    if (best == NULL) return false;
    for (size_t j = 1; j < n; j++) best[j] = b->moment[j] * b->moment[j] / b->weight[j];
    for (size_t k = 2; k <= n_clusters; k++) {
        struct layer layer = {b,
                              k,
                              best + (k % 2) * (n + LANES),
                              best + (1 - k % 2) * (n + LANES),
                              cut + (k - 1) * n,
                              cut + k * n};
        fill_layer(&layer);
    }
    return true;
}

ucb_status gsq_grid_optimal(const struct gsq_bin *bins, size_t n_bins, unsigned n_levels,
                            float *grid, struct ucb_arena *scratch, const char *name,
                            struct ucb_err *err)
{
    struct bins b;
    bool fits = gather_bins(bins, n_bins, &b, scratch);
    size_t n_clusters = b.n < n_levels ? b.n : n_levels;
    uint16_t *cut = UCB_NEW(scratch, uint16_t, (n_clusters + 1) * (b.n + 1));
    if (!fits || cut == NULL || !solve(&b, n_clusters, cut, scratch))
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to place %u levels", name, n_levels);
    for (size_t k = n_clusters, last = b.n; k > 0; k--) {
        size_t first = cut[k * (b.n + 1) + last];
        grid[k - 1] = mean_of(&b, first, last);
        last = first;
    }
    /* No bin counts where a scale has passed the largest fp16: the caller refuses it. */
    float last_level = n_clusters == 0 ? 0 : grid[n_clusters - 1];
    for (size_t k = n_clusters; k < n_levels; k++) grid[k] = last_level;
    return UCB_OK;
}
