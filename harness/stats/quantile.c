/*
 * quantile.c - sorting and type 7 quantiles.
 *
 * Type 7: with h = (n - 1) p and k = floor(h) the quantile is x[k] + (h - k) (x[k+1] -
 * x[k]), x ascending from 0. The sort is a heapsort: in place, no worst case, and it needs
 * no allocator as the C library's qsort may.
 */
#include "stats/quantile.h"

#include <assert.h>
#include <math.h>

/*
 * Restores the heap below `hole` for `value`: the hole first falls to a leaf along the
 * larger children, then `value` rises from there. Values taken from the end of a heap
 * belong near the leaves, so this halves the comparisons.
 */
static void sift(double *heap, size_t hole, size_t n, double value)
{
    size_t top = hole, child;
    while ((child = 2 * hole + 2) < n) {
        if (heap[child - 1] > heap[child]) child--;
        heap[hole] = heap[child];
        hole = child;
    }
    if (child == n) {
        heap[hole] = heap[child - 1];
        hole = child - 1;
    }
    while (hole > top && heap[(hole - 1) / 2] < value) {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = value;
}

void ucb_sort(double *values, size_t n_values)
{
    for (size_t i = n_values / 2; i-- > 0;) sift(values, i, n_values, values[i]);
    for (size_t n = n_values; n > 1; n--) {
        double last = values[n - 1];
        values[n - 1] = values[0];
        sift(values, 0, n - 1, last);
    }
}

double ucb_quantile_sorted(const double *ascending, size_t n_values, double p)
{
    assert(n_values > 0);
    assert(p >= 0 && p <= 1);
    double h = (double)(n_values - 1) * p;
    size_t k = (size_t)h;
    double part = h - (double)k;
    /* Without a part no neighbour is read: past the end there is none. From an infinite
     * value no part leads away. */
    if (part == 0 || isinf(ascending[k])) return ascending[k];
    return ascending[k] + part * (ascending[k + 1] - ascending[k]);
}

ucb_status ucb_quantile(const double *values, size_t n_values, double p, double *scratch,
                        double *out, struct ucb_err *err)
{
    if (n_values == 0)
        return UCB_FAIL(err, UCB_USAGE, "quantile: no values; it needs at least one");
    if (!(p >= 0 && p <= 1))
        return UCB_FAIL(err, UCB_USAGE, "quantile: p is %g, expected 0 to 1", p);
    for (size_t i = 0; i < n_values; i++) {
        if (isnan(values[i]))
            return UCB_FAIL(err, UCB_USAGE, "quantile: value %zu is NaN and has no rank",
                            i);
        scratch[i] = values[i];
    }
    ucb_sort(scratch, n_values);
    *out = ucb_quantile_sorted(scratch, n_values, p);
    return UCB_OK;
}
