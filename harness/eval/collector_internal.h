/*
 * collector_internal.h - the inner loop of the second moment, once per instruction set; and
 * a way to choose one, for tests and measurements.
 *
 * Rows of x come widened to double, in panels of 24 columns: panel[row][24]. A block adds
 * the products of two panels to 24 x 24 sums. The product of two widened floats has at most
 * 48 significant bits and is exact, so a fused multiply-add rounds where a sum of the
 * product would: every instruction set gives the same bits.
 */
#ifndef UCB_EVAL_COLLECTOR_INTERNAL_H
#define UCB_EVAL_COLLECTOR_INTERNAL_H

#include "backend/backend.h"
#include "eval/calib.h"

/* A multiple of every tile: 8 x 24 in 512-bit registers, 4 x 12 in 256-bit ones. */
enum { UCB_MOMENT_PANEL = 24 };

/* sum[i][j] += a[row][i] * b[row][j] for row = 0, 1, ...; rows of `sum` are `stride`
 * doubles apart. */
typedef void ucb_moment_block(const double *a, const double *b, size_t n_rows, double *sum,
                              size_t stride);
ucb_moment_block ucb_moment_block_scalar, ucb_moment_block_avx2, ucb_moment_block_avx512;

/* Divides the upper triangle of m[n][n] by `divisor` and mirrors it. */
void ucb_moment_mirror(double *m, size_t n, double divisor, struct ucb_pool *pool);

/* ucb_collector_open with a given path; AUTO takes the fastest there is. */
ucb_status ucb_collector_open_path(enum ucb_kernel kernel, uint32_t needs, uint32_t n_in,
                                   uint64_t n_tokens, uint64_t n_sequences,
                                   uint32_t n_sample, struct ucb_pool *pool,
                                   struct ucb_collector **out, struct ucb_err *err);

#endif
