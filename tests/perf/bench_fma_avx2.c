/*
 * The fp32 peak of the avx2 path: ten independent chains of fused multiply-adds, no memory.
 */
#include <immintrin.h>

#include "bench.h"

#define EACH_CHAIN(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h) X(i) X(j)
#define START(chain) __m256 chain = x;
#define STEP(chain) chain = _mm256_fmadd_ps(chain, x, y);
#define KEEP(chain) __asm__ volatile("" : "+x"(chain));

double bench_fma_avx2(void)
{
    enum { CHAINS = 10, STEPS = 500000 };
    __m256 x = _mm256_set1_ps(0.999999f), y = _mm256_set1_ps(1e-6f);
    EACH_CHAIN(START)
    for (int step = 0; step < STEPS; step++) {
        EACH_CHAIN(STEP)
        EACH_CHAIN(KEEP)
    }
    return 2.0 * CHAINS * STEPS * 8;
}
