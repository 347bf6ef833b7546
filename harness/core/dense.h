/*
 * dense.h - linear algebra on dense matrices of doubles: products, the Cholesky factor, the
 * inverse of a triangle, and the factor of an inverse that GPTQ sweeps with.
 *
 * Order of sums: an element is ONE chain, c <- fl(c + fl(a * b)), with k ascending and no
 * fused multiply-add. Blocks, threads and instruction sets change which elements are worked
 * on together and nothing else, so each function equals the textbook loop written beside it
 * to the bit (tests/unit/test_dense.c holds it to that).
 *
 * Matrices are row-major. `pool` may be NULL. `scratch` gives working memory (256 columns
 * of both operands at most, n x 256 doubles each) and is not emptied. NOMEM is the one
 * failure unless another is named; sizes of 0 are fine.
 */
#ifndef UCB_CORE_DENSE_H
#define UCB_CORE_DENSE_H

#include <stddef.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/pool.h"

/* A matrix that is read: element (i, j) is at[i * row_step + j * column_step]. */
struct ucb_dense {
    const double *at;
    size_t n_rows, n_columns, row_step, column_step;
};
/* a[n_rows][n_columns], contiguous. */
static inline struct ucb_dense ucb_dense_of(const double *a, size_t n_rows,
                                            size_t n_columns)
{
    return (struct ucb_dense){a, n_rows, n_columns, n_columns, 1};
}
/* The transpose; nothing moves. */
static inline struct ucb_dense ucb_dense_turned(struct ucb_dense a)
{
    return (struct ucb_dense){a.at, a.n_columns, a.n_rows, a.column_step, a.row_step};
}

enum ucb_dense_mode { UCB_DENSE_SET, UCB_DENSE_ADD, UCB_DENSE_SUBTRACT };
/*
 * c = a b, c += a b or c -= a b, by mode; c[a.n_rows][b.n_columns] is contiguous and
 * overlaps neither. a.n_columns must equal b.n_rows.
 *
 *     c_ij = 0 (SET) or as it is;   for k = 0 ..:  c_ij = c_ij +- a_ik b_kj
 *
 * So a product of a matrix and its own transpose is symmetric to the bit.
 */
ucb_status ucb_dense_multiply(struct ucb_dense a, struct ucb_dense b,
                              enum ucb_dense_mode mode, double *c, struct ucb_pool *pool,
                              struct ucb_arena *scratch, struct ucb_err *err);

/*
 * The lower L with a = L L^T, in place of a[n][n]; only the lower triangle of `a` is read,
 * the upper one is left zero.
 *
 *     l_jj = sqrt(a_jj - l_j0^2 - l_j1^2 - ...)
 *     l_ij = (a_ij - l_i0 l_j0 - l_i1 l_j1 - ...) / l_jj
 *
 * UNSUPPORTED when `a` is not positive definite: *pivot is the first j whose square is not
 * a positive finite number, the message gives both, and `a` is spoiled.
 */
ucb_status ucb_dense_cholesky(double *a, size_t n, struct ucb_pool *pool,
                              struct ucb_arena *scratch, size_t *pivot,
                              struct ucb_err *err);

/*
 * The inverse of the lower l[n][n], in place. The diagonal must not hold a zero; what
 * stands above it is taken for zeros and left zero.
 *
 *     x_ij = ((i == j) - l_i0 x_0j - l_i1 x_1j - ...) / l_ii
 */
ucb_status ucb_dense_invert_lower(double *l, size_t n, struct ucb_pool *pool,
                                  struct ucb_arena *scratch, struct ucb_err *err);

/*
 * The UPPER U with positive diagonal and a^-1 = U^T U, in place of a[n][n]; only the upper
 * triangle of `a` is read, the lower one is left zero.
 *
 * The inverse itself is never made: with rows and columns in reverse order a = L L^T, and
 * the inverse of that L, put back in order, is U. Half the work of Cholesky, inverse and
 * Cholesky again, and the condition number enters once.
 *
 * UNSUPPORTED as for Cholesky; *pivot is the row of `a`, and rows come from the last one.
 */
ucb_status ucb_dense_inverse_factor(double *a, size_t n, struct ucb_pool *pool,
                                    struct ucb_arena *scratch, size_t *pivot,
                                    struct ucb_err *err);

#endif
