/*
 * gguf_codes.h - codes of one block, in the order of its elements, for scales that are
 * known; the types of 32 elements whose scale comes from extremes alone.
 */
#ifndef UCB_GGUF_CODES_H
#define UCB_GGUF_CODES_H

#include "gguf_pack.h"
#include "gguf_search.h"

/* code[e] = round(inverse * (x[e] - low)), clamped to 0..N. */
GGUF_INLINE void gguf_codes_affine(const float *x, int n, float inverse, float low, float N,
                                   uint8_t *code)
{
    for (int e = 0; e < n; e += GGUF_LANES)
        lanes_store_codes(code + e,
                          gguf_nearest_clamp(inverse * (lanes_load(x + e) - low), 0, N));
}

/* code[e] = round(inverse * x[e]), clamped, plus N; all 0 for inverse 0. */
GGUF_INLINE void gguf_codes_symmetric(const float *x, int n, float inverse, float N,
                                      uint8_t *code)
{
    if (inverse == 0) {
        memset(code, 0, (size_t)n);
        return;
    }
    for (int e = 0; e < n; e += GGUF_LANES)
        lanes_store_codes(code + e,
                          gguf_round_clamp(inverse * lanes_load(x + e), -N, N - 1) + N);
}

/* code[e] = round((x[e] + min) / D), clamped to low..high, plus bias. */
GGUF_INLINE void gguf_codes_divided(const float *x, int n, float D, float min, float low,
                                    float high, float bias, uint8_t *code)
{
    for (int e = 0; e < n; e += GGUF_LANES)
        lanes_store_codes(
            code + e, gguf_nearest_clamp((lanes_load(x + e) + min) / D, low, high) + bias);
}

GGUF_INLINE void gguf_codes_nl(const float *x, float inverse, uint8_t code[32])
{
    for (int e = 0; e < 32; e += GGUF_LANES)
        lanes_store_ints(code + e, gguf_nl_code(inverse * lanes_load(x + e)));
}

/* ---- extremes ---- */

struct gguf_range {
    float low, high;
};

GGUF_INLINE struct gguf_range gguf_block_range(const float x[32])
{
    gguf_lanes low = lanes_load(x), high = low;
    for (int e = GGUF_LANES; e < 32; e += GGUF_LANES) {
        low = lanes_min(lanes_load(x + e), low);
        high = lanes_max(lanes_load(x + e), high);
    }
    return (struct gguf_range){-lanes_peak(-low), lanes_peak(high)};
}

GGUF_INLINE float gguf_block_peak(const float x[32])
{
    gguf_lanes peak = lanes_abs(lanes_load(x));
    for (int e = GGUF_LANES; e < 32; e += GGUF_LANES)
        peak = lanes_max(lanes_abs(lanes_load(x + e)), peak);
    return lanes_peak(peak);
}

/* The first weight of the largest size, with its sign; +0 in a block of zeros. Signs are as
 * random as coins: no branch may depend on them. */
GGUF_INLINE float gguf_block_signed_peak(const float x[32])
{
    float peak = gguf_block_peak(x);
    uint32_t at = 0;
    for (int e = 0; e < 32; e += GGUF_LANES)
        at |= lanes_bits(lanes_abs(lanes_load(x + e)) == lanes_all(peak)) << e;
    return peak == 0 ? 0 : x[__builtin_ctz(at)];
}

/* Which of the two zeros a smallest weight of 0 is: the first that stands there. */
GGUF_INLINE float gguf_first_of(const float x[32], float low)
{
    int e = 0;
    if (low != 0) return low;
    while (x[e] != 0) e++;
    return x[e];
}

/* ---- Q4_0, Q5_0, Q4_1, Q5_1, Q8_0 from extremes ---- */

/*
 * trunc((x - from) * inverse + shift), clamped. In denormal blocks the inverse is infinite
 * and so are its products, or they are no number. C leaves their conversion undefined; here
 * they are code 0, what an x86 processor makes of them, and the block decodes to zeros in
 * any case.
 */
GGUF_INLINE void gguf_plain_codes(const float x[32], float inverse, float shift, float from,
                                  float N, uint8_t code[32])
{
    if (isinf(inverse)) inverse = shift = 0;
    for (int e = 0; e < 32; e += GGUF_LANES)
        lanes_store_codes(code + e,
                          lanes_clamp((lanes_load(x + e) - from) * inverse + shift, 0, N));
}

/* d of Q4_0 (N = 8) and Q5_0 (N = 16). */
GGUF_INLINE float gguf_plain_symmetric(const float x[32], float N, uint8_t code[32])
{
    float d = gguf_block_signed_peak(x) / -N, inverse = d != 0 ? 1.0f / d : 0;
    gguf_plain_codes(x, inverse, N + 0.5f, 0, 2 * N - 1, code);
    return d;
}

/* d of Q4_1 (N = 15) and Q5_1 (N = 31). */
GGUF_INLINE float gguf_plain_affine(const float x[32], float N, float *min,
                                    uint8_t code[32])
{
    struct gguf_range r = gguf_block_range(x);
    float d = r.high == r.low ? 0 : (r.high - r.low) / N;
    gguf_plain_codes(x, d != 0 ? 1.0f / d : 0, 0.5f, r.low, N, code);
    *min = gguf_first_of(x, r.low);
    return d;
}

/* Half away from zero; codes as int8. */
GGUF_INLINE float gguf_plain_q8(const float x[32], uint8_t code[32])
{
    float d = gguf_block_peak(x) / 127.0f, inverse = d != 0 ? 1.0f / d : 0;
    if (isinf(inverse)) inverse = 0; /* as above */
    for (int e = 0; e < 32; e += GGUF_LANES) {
        gguf_lanes v = lanes_load(x + e) * inverse, a = lanes_abs(v);
        gguf_lanes rounded = lanes_whole(a);
        gguf_ints down = a - rounded == 0.5f; /* to even, and that was down */
        rounded += (gguf_lanes)((gguf_ints)lanes_all(1) & down);
        gguf_ints sign = (gguf_ints)v & ~0x7fffffff;
        lanes_store_codes(code + e, (gguf_lanes)((gguf_ints)rounded | sign));
    }
    return d;
}

#endif
