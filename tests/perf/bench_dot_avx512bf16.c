/* The peak of VDPBF16PS: ten independent chains, no memory. */
#include <immintrin.h>

#include "bench.h"

#define EACH_CHAIN(X) X(a) X(b) X(c) X(d) X(e) X(f) X(g) X(h) X(i) X(j)
#define START(chain) __m512 chain = _mm512_setzero_ps();
#define STEP(chain) chain = _mm512_dpbf16_ps(chain, x, y);
#define KEEP(chain) __asm__ volatile("" : "+v"(chain));

double bench_dot_avx512bf16(void)
{
    enum { CHAINS = 10, STEPS = 250000, ONES = 0x3f803f80 };
    __m512bh x = (__m512bh)_mm512_set1_epi32(ONES), y = x;
    EACH_CHAIN(START)
    for (int step = 0; step < STEPS; step++) {
        EACH_CHAIN(STEP)
        EACH_CHAIN(KEEP)
    }
    return 2.0 * 2 * CHAINS * STEPS * 16;
}
