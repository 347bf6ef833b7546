/* The fp32 peak of the avx512 path: ten independent chains of fused multiply-adds, no
 * memory. */
#include <immintrin.h>

#include "bench.h"

#define EACH_CHAIN(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h) X(i) X(j)
#define START(chain) __m512 chain = x;
#define STEP(chain) chain = _mm512_fmadd_ps(chain, x, y);
#define KEEP(chain) __asm__ volatile("" : "+v"(chain));

double bench_fma_avx512(void)
{
    enum { CHAINS = 10, STEPS = 250000 };
    __m512 x = _mm512_set1_ps(0.999999f), y = _mm512_set1_ps(1e-6f);
    EACH_CHAIN(START)
    for (int step = 0; step < STEPS; step++) {
        EACH_CHAIN(STEP)
        EACH_CHAIN(KEEP)
    }
    return 2.0 * CHAINS * STEPS * 16;
}
