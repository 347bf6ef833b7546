/*
 * blocks.c - ggml's block types to fp32. `d`, `dmin` and `m` are fp16; element e of a
 * block has code c.
 *
 * Types of 32 elements: byte j of `qs` has element j in its low and element j + 16 in its
 * high nibble, bit e of `qh` is the fifth bit of element e.
 *
 *     Q4_0    d qs      (c - 8) d        Q4_1   d m qs     c d + m
 *     Q5_0    d qh qs   (c - 16) d       Q5_1   d m qh qs  c d + m
 *     Q8_0    d int8[32]   c d           IQ4_NL d qs       d T[c]
 *
 * Types of 256 elements: sub-block j of 16 or 32 elements has a scale s_j and, in some, a
 * minimum m_j in few bits. Codes lie in planes: the element at 32 k + l of a half (of a
 * block in Q4_K, Q5_K) has its bits in byte l of a run, at a place that k tells.
 *
 *     Q2_K  scales[16] qs[64] d dmin              (d s) c - (dmin m)
 *     Q3_K  hmask[32] qs[64] scales[12] d         (d (s - 32)) (c - 4)
 *     Q4_K  d dmin scales[12] qs[128]             (d s) c - (dmin m)
 *     Q5_K  d dmin scales[12] qh[32] qs[128]      (d s) c - (dmin m)
 *     Q6_K  ql[128] qh[64] int8 scales[16] d      (d s) (c - 32)
 *     IQ4_XS  d scales_h[2] scales_l[4] qs[128]   (d (s - 32)) T[c]
 *
 * An 11-bit significand times scale and code is at most 24 bits long, so all products are
 * exact in fp32 and only the last sum is rounded, once: whether a compiler fuses it or not,
 * the bits are ggml's. Inner loops have fixed counts and pointers are restrict (bytes may
 * alias anything), because gcc vectorizes such loops.
 */
#include "model/blocks.h"

#include <assert.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clones.h"
#include "core/half.h"
#include "model/iq4_values.h"

enum { BLOCK = 32, SUPER = 256 };
_Static_assert((int)UCB_BLOCK_ELEMENTS_MAX == (int)SUPER, "the largest blocks");

const int8_t ucb_iq4_values[16] = {UCB_IQ4_VALUES};

static inline float half_at(const uint8_t *p)
{
    return ucb_f16_widen(ucb_load_u16(p));
}

/* ---- 32 elements ---- */

/* out = code * d + m; m is -0 where a type has none, which leaves every product, zeros of
 * both signs too, as it is. */
static inline void widen_nibbles(const uint8_t qs[restrict BLOCK / 2], float d,
                                 int32_t bias, float m, float out[restrict BLOCK])
{
    for (int j = 0; j < BLOCK / 2; j++) {
        out[j] = (float)((int32_t)(qs[j] & 15) - bias) * d + m;
        out[j + BLOCK / 2] = (float)((int32_t)(qs[j] >> 4) - bias) * d + m;
    }
}

static inline void widen_five_bits(const uint8_t qs[restrict BLOCK / 2], uint32_t qh,
                                   float d, int32_t bias, float m,
                                   float out[restrict BLOCK])
{
    for (int j = 0; j < BLOCK / 2; j++) {
        int32_t low = (int32_t)((qs[j] & 15u) | (qh >> j & 1u) << 4);
        int32_t high = (int32_t)((uint32_t)(qs[j] >> 4) | (qh >> (j + BLOCK / 2) & 1u)
                                                              << 4);
        out[j] = (float)(low - bias) * d + m;
        out[j + BLOCK / 2] = (float)(high - bias) * d + m;
    }
}

typedef uint8_t byte16 __attribute__((vector_size(16)));
typedef int8_t value16 __attribute__((vector_size(16)));
typedef int32_t code16 __attribute__((vector_size(64)));
typedef float float16 __attribute__((vector_size(64)));

static inline value16 listed(byte16 codes)
{
    const value16 values = {UCB_IQ4_VALUES};
#ifdef __clang__
    value16 out;
    for (int i = 0; i < 16; i++) out[i] = values[codes[i]];
    return out;
#else
    return (value16)__builtin_shuffle(values, (value16)codes);
#endif
}

static inline void widen_listed(const uint8_t qs[restrict BLOCK / 2], float d,
                                float out[restrict BLOCK])
{
    byte16 codes;
    memcpy(&codes, qs, sizeof(codes));
    code16 first = __builtin_convertvector(listed(codes & 15), code16),
           second = __builtin_convertvector(listed(codes >> 4), code16);
    float16 low = __builtin_convertvector(first, float16) * d,
            high = __builtin_convertvector(second, float16) * d;
    memcpy(out, &low, sizeof(low));
    memcpy(out + BLOCK / 2, &high, sizeof(high));
}

UCB_CLONES static void widen_q4_0(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 18, out += BLOCK)
        widen_nibbles(b + 2, half_at(b), 8, -0.0f, out);
}

UCB_CLONES static void widen_q4_1(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 20, out += BLOCK)
        widen_nibbles(b + 4, half_at(b), 0, half_at(b + 2), out);
}

UCB_CLONES static void widen_q5_0(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 22, out += BLOCK)
        widen_five_bits(b + 6, ucb_load_u32(b + 2), half_at(b), 16, -0.0f, out);
}

UCB_CLONES static void widen_q5_1(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 24, out += BLOCK)
        widen_five_bits(b + 8, ucb_load_u32(b + 4), half_at(b), 0, half_at(b + 2), out);
}

UCB_CLONES static void widen_q8_0(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 34, out += BLOCK) {
        float d = half_at(b);
        for (int j = 0; j < BLOCK; j++) out[j] = (float)(int8_t)b[2 + j] * d;
    }
}

UCB_CLONES static void widen_iq4_nl(const uint8_t *restrict b, size_t n_blocks,
                                    float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 18, out += BLOCK)
        widen_listed(b + 2, half_at(b), out);
}

/* ---- 256 elements ---- */

/* Sixteen codes of `bits` bits at `shift`, times d, minus m. */
static inline void widen_plane(const uint8_t *restrict qs, int shift, int mask, float d,
                               float m, float out[restrict 16])
{
    for (int l = 0; l < 16; l++) out[l] = d * (float)(qs[l] >> shift & mask) - m;
}

UCB_CLONES static void widen_q2_k(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 84) {
        float d = half_at(b + 80), dmin = half_at(b + 82);
        for (int j = 0; j < 16; j++, out += 16)
            widen_plane(b + 16 + 32 * (j / 8) + 16 * (j % 2), j % 8 / 2 * 2, 3,
                        d * (float)(b[j] & 15), dmin * (float)(b[j] >> 4), out);
    }
}

/* 6 bits: the low four in byte j % 8, the high two in byte 8 + j % 4. */
static inline int q3_k_scale(const uint8_t scales[12], int j)
{
    return (scales[j % 8] >> 4 * (j / 8) & 15) | (scales[8 + j % 4] >> 2 * (j / 4) & 3)
                                                     << 4;
}

UCB_CLONES static void widen_q3_k(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 110) {
        float d = half_at(b + 108);
        for (int j = 0; j < 16; j++, out += 16) {
            const uint8_t *qs = b + 32 + 32 * (j / 8) + 16 * (j % 2),
                          *hmask = b + 16 * (j % 2);
            float scale = d * (float)(q3_k_scale(b + 96, j) - 32);
            int shift = j % 8 / 2 * 2, bit = j / 2;
            for (int l = 0; l < 16; l++) {
                int code = (qs[l] >> shift & 3) | (hmask[l] >> bit & 1) << 2;
                out[l] = scale * (float)(code - 4);
            }
        }
    }
}

/* 6 bits each of scale and minimum: j < 4 in bytes j and j + 4; others split, their top
 * bits above those. */
static inline void q4_k_scale(const uint8_t s[12], int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *min = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

UCB_CLONES static void widen_q4_k(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 144) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int j = 0; j < 8; j++, out += BLOCK) {
            const uint8_t *qs = b + 16 + 32 * (j / 2);
            int scale, min, shift = 4 * (j % 2);
            q4_k_scale(b + 4, j, &scale, &min);
            float s = d * (float)scale, m = dmin * (float)min;
            for (int l = 0; l < BLOCK; l++) out[l] = s * (float)(qs[l] >> shift & 15) - m;
        }
    }
}

UCB_CLONES static void widen_q5_k(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 176) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int j = 0; j < 8; j++, out += BLOCK) {
            const uint8_t *qs = b + 48 + 32 * (j / 2), *qh = b + 16;
            int scale, min, shift = 4 * (j % 2);
            q4_k_scale(b + 4, j, &scale, &min);
            float s = d * (float)scale, m = dmin * (float)min;
            for (int l = 0; l < BLOCK; l++)
                out[l] = s * (float)((qs[l] >> shift & 15) | (qh[l] >> j & 1) << 4) - m;
        }
    }
}

UCB_CLONES static void widen_q6_k(const uint8_t *restrict b, size_t n_blocks,
                                  float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 210) {
        float d = half_at(b + 208);
        for (int j = 0; j < 16; j++, out += 16) {
            int half = j / 8, k = j % 8 / 2, at = 16 * (j % 2);
            const uint8_t *ql = b + 64 * half + 32 * (k % 2) + at,
                          *qh = b + 128 + 32 * half + at;
            float scale = d * (float)(int8_t)b[192 + j];
            int shift = k / 2 * 4, high = 2 * k;
            for (int l = 0; l < 16; l++) {
                int code = (ql[l] >> shift & 15) | (qh[l] >> high & 3) << 4;
                out[l] = scale * (float)(code - 32);
            }
        }
    }
}

UCB_CLONES static void widen_iq4_xs(const uint8_t *restrict b, size_t n_blocks,
                                    float *restrict out)
{
    for (size_t i = 0; i < n_blocks; i++, b += 136) {
        float d = half_at(b);
        unsigned high = ucb_load_u16(b + 2);
        for (int j = 0; j < 8; j++, out += BLOCK) {
            int scale = (b[4 + j / 2] >> 4 * (j % 2) & 15) | (int)(high >> 2 * j & 3) << 4;
            widen_listed(b + 8 + 16 * j, d * (float)(scale - 32), out);
        }
    }
}

/* ---- all of them ---- */

/* By type: the decoder, and where its first fp16 word lies and how many stand together. */
static const struct {
    void (*widen)(const uint8_t *blocks, size_t n_blocks, float *out);
    uint8_t scale_at, n_scales;
} types[UCB_N_DTYPES] = {
    [UCB_Q4_0] = {widen_q4_0, 0, 1},     [UCB_Q4_1] = {widen_q4_1, 0, 2},
    [UCB_Q5_0] = {widen_q5_0, 0, 1},     [UCB_Q5_1] = {widen_q5_1, 0, 2},
    [UCB_Q8_0] = {widen_q8_0, 0, 1},     [UCB_Q2_K] = {widen_q2_k, 80, 2},
    [UCB_Q3_K] = {widen_q3_k, 108, 1},   [UCB_Q4_K] = {widen_q4_k, 0, 2},
    [UCB_Q5_K] = {widen_q5_k, 0, 2},     [UCB_Q6_K] = {widen_q6_k, 208, 1},
    [UCB_IQ4_NL] = {widen_iq4_nl, 0, 1}, [UCB_IQ4_XS] = {widen_iq4_xs, 0, 1},
};

bool ucb_dtype_is_blocks(enum ucb_dtype dtype)
{
    return (unsigned)dtype < UCB_N_DTYPES && types[dtype].widen != NULL;
}

void ucb_blocks_widen(enum ucb_dtype dtype, const uint8_t *blocks, size_t n_blocks,
                      float *out)
{
    assert(ucb_dtype_is_blocks(dtype));
    types[dtype].widen(blocks, n_blocks, out);
}

/* All exponent bits set means NaN or infinity; they lie in the second byte. */
static bool is_nonfinite(const uint8_t *half)
{
    return (half[1] & 0x7c) == 0x7c;
}

size_t ucb_blocks_find_nonfinite(enum ucb_dtype dtype, const uint8_t *blocks,
                                 size_t n_blocks)
{
    assert(ucb_dtype_is_blocks(dtype));
    size_t step = ucb_dtype_block_bytes(dtype);
    const uint8_t *first = blocks + types[dtype].scale_at,
                  *last = first + 2 * (types[dtype].n_scales - 1);
    for (size_t i = 0; i < n_blocks; i++)
        if (is_nonfinite(first + i * step) || is_nonfinite(last + i * step)) return i;
    return n_blocks;
}
