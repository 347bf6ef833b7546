/* moment_avx512.c - 8 x 24 sums in 24 registers: see moment_template.h. */
#include <immintrin.h>

typedef __m512d vec;
#define VEC_LANES 8
#define TILE_ROWS 8
#define TILE_VECS 3
#define BLOCK ucb_moment_block_avx512
#define vec_set1(p) _mm512_set1_pd(*(p))
#define vec_load(p) _mm512_loadu_pd(p)
#define vec_store(p, v) _mm512_storeu_pd((p), (v))
#define vec_fma(a, b, c) _mm512_fmadd_pd((a), (b), (c))
#include "eval/moment_template.h"
