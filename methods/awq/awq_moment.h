/*
 * awq_moment.h - d^T M d for a symmetric M (the second moment of inputs) and many d (the
 * errors of rows): the mean squared error of a row's output, without the tokens.
 *
 * Packed: of M only the lower triangle, off-diagonals doubled, in fp32, in blocks of
 * AWQ_TILE rows; block b holds [(b + 1) AWQ_TILE columns][AWQ_TILE rows], zeros above the
 * diagonal and past the last row.
 */
#ifndef UCB_METHODS_AWQ_MOMENT_H
#define UCB_METHODS_AWQ_MOMENT_H

#include <stddef.h>

/* Six sums of 16 lanes fill the registers of AVX2 (12 of 16) and hide the latency of an
 * addition. */
enum { AWQ_TILE = 6 };

static inline size_t awq_moment_padded(size_t n)
{
    return (n + AWQ_TILE - 1) / AWQ_TILE * AWQ_TILE;
}

/* Floats before block b, so also those of a packed moment of b blocks. */
static inline size_t awq_moment_floats(size_t n_blocks)
{
    return AWQ_TILE * AWQ_TILE * (n_blocks * (n_blocks + 1) / 2);
}

/* Packs block b of moment[n][stride]; only its lower triangle is read. */
void awq_moment_pack(const double *moment, size_t n, size_t stride, size_t b,
                     float *packed);

/*
 * out[n_panels][16] = d^T M d of each lane of d[n_panels][padded n][16], whose rows past n
 * hold anything finite.
 */
void awq_moment_forms(const float *packed, size_t n, const float *d, size_t n_panels,
                      double *out);

#endif
