/*
 * gguf_pack.h - codes, a byte each in the order of the elements, to the layouts that
 * harness/model/blocks.c reads. Loops have fixed counts, so that gcc vectorizes them.
 */
#ifndef UCB_GGUF_PACK_H
#define UCB_GGUF_PACK_H

#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "core/half.h"

static inline void gguf_put_half(uint8_t *to, float value)
{
#if defined(__F16C__)
    uint16_t half = _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    uint16_t half = ucb_f16_from_f32(value);
#endif
    memcpy(to, &half, sizeof(half));
}

/* ---- 32 elements ---- */

static inline void gguf_pack_nibbles(const uint8_t code[32], uint8_t qs[16])
{
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
}

/* Bit 4 of element e to bit e: eight bytes of 0 or 1 gathered by one product. */
static inline void gguf_pack_fifth_bits(const uint8_t code[32], uint8_t qh[4])
{
    for (int i = 0; i < 4; i++) {
        uint64_t eight;
        memcpy(&eight, code + 8 * i, sizeof(eight));
        qh[i] = (uint8_t)((eight >> 4 & 0x0101010101010101u) * 0x0102040810204080u >> 56);
    }
}

/* ---- 256 elements ---- */

/* Two bits of each element: element 128 h + 32 k + l at bits 2 k of byte 32 h + l. */
static inline void gguf_pack_pairs(const uint8_t code[256], int shift, uint8_t qs[64])
{
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = code + 128 * h + l;
            qs[32 * h + l] = (uint8_t)((c[0] >> shift & 3) | (c[32] >> shift & 3) << 2 |
                                       (c[64] >> shift & 3) << 4 |
                                       (c[96] >> shift & 3) << 6);
        }
}

/* One bit of each: element 32 k + l at bit k of byte l. */
static inline void gguf_pack_bits(const uint8_t code[256], int shift, uint8_t bits[32])
{
    memset(bits, 0, 32);
    for (int k = 0; k < 8; k++)
        for (int l = 0; l < 32; l++)
            bits[l] |= (uint8_t)((code[32 * k + l] >> shift & 1) << k);
}

/* The low nibbles of elements `apart` from each other in one byte. */
static inline void gguf_pack_apart(const uint8_t *code, int apart, uint8_t qs[32])
{
    for (int l = 0; l < 32; l++)
        qs[l] = (uint8_t)((code[l] & 15) | (code[l + apart] & 15) << 4);
}

/* Q4_K, Q5_K: eight scales and minima of 6 bits in 12 bytes. */
static inline void gguf_pack_q4_k_scales(const uint8_t scale[8], const uint8_t min[8],
                                         uint8_t s[12])
{
    for (int j = 0; j < 4; j++) {
        s[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        s[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        s[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

/* Q3_K: sixteen scales of 6 bits in 12 bytes. */
static inline void gguf_pack_q3_k_scales(const uint8_t scale[16], uint8_t s[12])
{
    for (int j = 0; j < 8; j++)
        s[j] = (uint8_t)((scale[j] & 15) | (scale[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        s[8 + j] = (uint8_t)(scale[j] >> 4 | scale[j + 4] >> 4 << 2 |
                             scale[j + 8] >> 4 << 4 | scale[j + 12] >> 4 << 6);
}

#endif
