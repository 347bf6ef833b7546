/* moment_scalar.c - the block of collector_internal.h in plain C; what the others equal. */
#include "eval/collector_internal.h"

void ucb_moment_block_scalar(const double *a, const double *b, size_t n_rows, double *sum,
                             size_t stride)
{
    for (size_t row = 0; row < n_rows; row++, a += UCB_MOMENT_PANEL, b += UCB_MOMENT_PANEL)
        for (int i = 0; i < UCB_MOMENT_PANEL; i++)
            for (int j = 0; j < UCB_MOMENT_PANEL; j++) sum[i * stride + j] += a[i] * b[j];
}
