/*
 * tile.cuh - the products of the strict arithmetics: a tile of y = x w^T by a block of 256
 * threads, 16 x 16 of them with R x C sums each.
 *
 * 32 k at a time pass through shared memory, and every thread runs the chains of its own
 * sums, in order: so no element knows in which tile, block or call it was made.
 */
#ifndef UCB_CUDA_TILE_CUH
#define UCB_CUDA_TILE_CUH

#include "arithmetic.cuh"

constexpr unsigned TILE_THREADS = 256, SIDE = 16, STEP = 32, CHUNK = 256;

/* The odd pitch keeps threads that store a column off each other's banks. */
template <int R, int C> struct tile_memory {
    float x[STEP][SIDE * R + 1], w[STEP][SIDE * C + 1];
};

/* fp32: a chain of fma in each 256 k, from +0; the chains are added up. */
struct fp32_products {
    typedef float weight;
    __device__ static float operand(float x)
    {
        return x;
    }
    template <int R, int C>
    __device__ static void step(const tile_memory<R, C> &m, unsigned ty, unsigned tx,
                                unsigned n, unsigned k, bool is_last, bool first,
                                float (&chain)[R][C], float (&y)[R][C])
    {
        for (unsigned i = 0; i < n; i++)
            for (int c = 0; c < C; c++) {
                float w = m.w[i][tx + SIDE * c];
                for (int r = 0; r < R; r++)
                    chain[r][c] = __fmaf_rn(m.x[i][ty + SIDE * r], w, chain[r][c]);
            }
        if (!is_last && (k + STEP) % CHUNK != 0) return;
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                y[r][c] = first && k < CHUNK ? chain[r][c] : y[r][c] + chain[r][c];
                chain[r][c] = 0.0f;
            }
    }
};

/* bf16: for each 32 k, padded with zeros, y += (chain over even k) + (chain over odd k);
 * operands rounded, everything flushed. */
struct bf16_products {
    typedef uint16_t weight;
    __device__ static float operand(float x)
    {
        return flushed(bf16_rounded(x));
    }
    template <int R, int C>
    __device__ static void step(const tile_memory<R, C> &m, unsigned ty, unsigned tx,
                                unsigned, unsigned k, bool, bool first, float (&)[R][C],
                                float (&y)[R][C])
    {
        float even[R][C] = {}, odd[R][C] = {};
        for (unsigned i = 0; i < STEP; i += 2)
            for (int c = 0; c < C; c++) {
                float w_even = m.w[i][tx + SIDE * c], w_odd = m.w[i + 1][tx + SIDE * c];
                for (int r = 0; r < R; r++) {
                    even[r][c] = fma_flushed(m.x[i][ty + SIDE * r], w_even, even[r][c]);
                    odd[r][c] = fma_flushed(m.x[i + 1][ty + SIDE * r], w_odd, odd[r][c]);
                }
            }
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                float before = first && k == 0 ? 0.0f : y[r][c];
                y[r][c] = flushed(before + flushed(even[r][c] + odd[r][c]));
            }
    }
};

/* bf16-dot: in each 256 k, padded with zeros, a chain that takes the odd, then the even
 * product of every pair; the chains are added up as in fp32. */
struct dot_products {
    typedef uint16_t weight;
    __device__ static float operand(float x)
    {
        return bf16_products::operand(x);
    }
    template <int R, int C>
    __device__ static void step(const tile_memory<R, C> &m, unsigned ty, unsigned tx,
                                unsigned, unsigned k, bool is_last, bool first,
                                float (&chain)[R][C], float (&y)[R][C])
    {
        for (unsigned i = 0; i < STEP; i++)
            for (int c = 0; c < C; c++) {
                float w = m.w[i ^ 1][tx + SIDE * c];
                for (int r = 0; r < R; r++)
                    chain[r][c] = fma_flushed(m.x[i ^ 1][ty + SIDE * r], w, chain[r][c]);
            }
        if (!is_last && (k + STEP) % CHUNK != 0) return;
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                y[r][c] = first && k < CHUNK ? chain[r][c] : flushed(y[r][c] + chain[r][c]);
                chain[r][c] = 0.0f;
            }
    }
};

/*
 * y[r][c] of rows threadIdx / 16 + 16 r and columns threadIdx % 16 + 16 c over n_k elements
 * that x(row, k) and w(column, k) give (0 past the ends of the matrix). `first`: y begins
 * here; else it goes on, at a multiple of 256. All threads of the block call it; the tile's
 * memory is free again when it returns.
 */
template <class A, int R, int C, class X, class W>
__device__ static void tile_product(tile_memory<R, C> &m, unsigned n_k, bool first,
                                    const X &x, const W &w, float (&y)[R][C])
{
    float chain[R][C] = {};
    unsigned ty = threadIdx.x / SIDE, tx = threadIdx.x % SIDE;
    for (unsigned k = 0; k < n_k; k += STEP) {
        unsigned n = n_k - k < STEP ? n_k - k : STEP;
        for (unsigned i = threadIdx.x; i < STEP * SIDE * R; i += TILE_THREADS) {
            unsigned row = i / STEP, at = i % STEP; /* neighbours read neighbours */
            m.x[at][row] = at < n ? A::operand(x(row, k + at)) : 0.0f;
        }
        for (unsigned i = threadIdx.x; i < STEP * SIDE * C; i += TILE_THREADS) {
            unsigned column = i % (SIDE * C), at = i / (SIDE * C);
            m.w[at][column] = at < n ? A::operand(w(column, k + at)) : 0.0f;
        }
        __syncthreads();
        A::template step<R, C>(m, ty, tx, n, k, k + STEP >= n_k, first, chain, y);
        __syncthreads();
    }
}

#endif
