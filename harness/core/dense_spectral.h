/*
 * dense_spectral.h - what a truncated singular value decomposition is made of: orthonormal
 * rows, the eigenvectors of a symmetric matrix, and products with the inverse of a
 * triangle.
 *
 * Vectors are ROWS of row-major matrices of doubles. A sum over columns runs in 32 lanes
 * (column mod 32) and is folded 16, 8, 4, 2, 1; the order depends on nothing else, so any
 * pool (may be NULL) gives the same bits.
 */
#ifndef UCB_CORE_DENSE_SPECTRAL_H
#define UCB_CORE_DENSE_SPECTRAL_H

#include <stddef.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/pool.h"

/*
 * Makes rows [n_done, n_done + n_new) of rows[][n_columns] orthonormal to each other and to
 * the n_done rows before them, which are orthonormal already: Gram-Schmidt, twice. A row
 * that depends on the others (what is left of it is below 1e-12 of it) becomes zeros, and
 * rows of zeros are welcome among the first. Answers how many of the new rows are not zero.
 */
size_t ucb_dense_orthonormalise(double *rows, size_t n_columns, size_t n_done, size_t n_new,
                                struct ucb_pool *pool);

/*
 * The n_wanted largest eigenvalues of the symmetric a[n][n], in descending order, and their
 * orthonormal vectors as rows of vectors[n_wanted][n]. Only the lower triangle of `a` is
 * read; `a` is spoiled. Householder's reduction to three diagonals, then implicit QL (as in
 * Wilkinson and Reinsch, 1971): values are within a few n eps of the largest.
 *
 * n x n doubles of `scratch`, which is not emptied. NOMEM; UNSUPPORTED for a matrix that
 * holds a NaN or an infinity.
 */
ucb_status ucb_dense_eigen(double *a, size_t n, size_t n_wanted, double *values,
                           double *vectors, struct ucb_pool *pool,
                           struct ucb_arena *scratch, struct ucb_err *err);

/*
 * x <- x l^-1 for each row of x[n_rows][n] and the lower l[n][n], whose diagonal holds no
 * zero; what stands above it is not read.
 *
 *     for i = n - 1 .. 0:   x_i = x_i / l_ii;   x_j = x_j - x_i l_ij  for j < i
 */
void ucb_dense_solve_rows(const double *l, size_t n, double *x, size_t n_rows,
                          struct ucb_pool *pool);

#endif
