/* moment_avx2.c - 4 x 12 sums in 12 registers: see moment_template.h. */
#include <immintrin.h>

typedef __m256d vec;
#define VEC_LANES 4
#define TILE_ROWS 4
#define TILE_VECS 3
#define BLOCK ucb_moment_block_avx2
#define vec_set1(p) _mm256_broadcast_sd(p)
#define vec_load(p) _mm256_loadu_pd(p)
#define vec_store(p, v) _mm256_storeu_pd((p), (v))
#define vec_fma(a, b, c) _mm256_fmadd_pd((a), (b), (c))
#include "eval/moment_template.h"
