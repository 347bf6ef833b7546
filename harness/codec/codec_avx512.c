/*
 * codec_avx512.c - rANS and the merging of planes sixty-four bytes at a time. Needs VBMI
 * and VBMI2 beyond x86-64-v4: every function says so.
 *
 * A state stands in two vectors of 16 bits, its upper and its lower half, so 32 lanes of
 * 32-bit arithmetic take 16-bit multiplications only:
 *
 *     f (x / 2^12) + r = (f H) 2^4 + f (L / 2^12) + r    with f < 2^12: the last two terms
 *                                                        are below 2^16
 */
#include <immintrin.h>
#include <string.h>

#include "codec/codec_internal.h"

#define VBMI __attribute__((target("avx512vbmi,avx512vbmi2,avx512bw,avx512vl")))

struct vector_stream {
    __m512i high, low;
    __m512i entry[2], first[2], frequency[2]; /* by bucket, by bucket, by symbol */
    const uint8_t *words, *words_end;
};

VBMI static inline __attribute__((always_inline)) void
stream_load(struct vector_stream *v, const struct rans_reader *r,
            const struct rans_alias *a, const struct rans_table *t)
{
    uint16_t entry[RANS_NARROW], first[RANS_NARROW];
    for (unsigned i = 0; i < RANS_NARROW; i++) {
        entry[i] = (uint16_t)(a->divider[i] | a->alias[i] << 8);
        first[i] = (uint16_t)(a->first[i] - a->divider[i]);
    }
    for (int half = 0; half < 2; half++) {
        v->entry[half] = _mm512_loadu_si512(entry + 32 * half);
        v->first[half] = _mm512_loadu_si512(first + 32 * half);
        v->frequency[half] = _mm512_loadu_si512(t->frequency + 32 * half);
    }
    v->high = _mm512_loadu_si512(r->high);
    v->low = _mm512_loadu_si512(r->low);
    v->words = r->words;
    v->words_end = r->words_end;
}

VBMI static inline __attribute__((always_inline)) bool step(struct vector_stream *v,
                                                            uint8_t *symbols)
{
    const __m512i low6 = _mm512_set1_epi16(63), low7 = _mm512_set1_epi16(127);
    __m512i bucket = _mm512_srli_epi16(v->low, 6); /* a look-up takes its lowest 6 bits */
    __m512i entry = _mm512_permutex2var_epi16(v->entry[0], bucket, v->entry[1]);
    __m512i at = _mm512_and_si512(v->low, low6);
    __mmask32 other = _mm512_cmpge_epu16_mask(at, _mm512_and_si512(entry, low7));
    __m512i symbol = _mm512_mask_srli_epi16(_mm512_and_si512(bucket, low6), other, entry,
                                            8);
    __m512i rank = _mm512_add_epi16(
        at, _mm512_maskz_permutex2var_epi16(other, v->first[0], bucket, v->first[1]));
    __m512i f = _mm512_permutex2var_epi16(v->frequency[0], symbol, v->frequency[1]);
    _mm256_storeu_si256((__m256i *)symbols, _mm512_cvtepi16_epi8(symbol));

    __m512i upper = _mm512_mulhi_epu16(v->high, f), lower = _mm512_mullo_epi16(v->high, f);
    __m512i rest = _mm512_add_epi16(
        _mm512_mullo_epi16(_mm512_srli_epi16(v->low, RANS_BITS), f), rank);
    __m512i high = _mm512_shldi_epi16(upper, lower, 16 - RANS_BITS);
    __m512i low = _mm512_add_epi16(_mm512_slli_epi16(lower, 16 - RANS_BITS), rest);
    __mmask32 carry = _mm512_cmplt_epu16_mask(low, rest);
    high = _mm512_mask_add_epi16(high, carry, high, _mm512_set1_epi16(1));

    __mmask32 need = _mm512_testn_epi16_mask(high, high);
    size_t left = (size_t)(v->words_end - v->words) / 2;
    __m512i words = left >= RANS_LANES
                        ? _mm512_loadu_si512(v->words)
                        : _mm512_maskz_loadu_epi16((1u << left) - 1, v->words);
    size_t n_need = (size_t)__builtin_popcount(need);
    v->high = _mm512_mask_mov_epi16(high, need, low);
    v->low = _mm512_mask_expand_epi16(low, need, words);
    if (n_need > left) return false;
    v->words += 2 * n_need;
    return true;
}

VBMI static inline __attribute__((always_inline)) bool
read_streams(struct rans_reader *const *r, const struct rans_alias *const *alias,
             const struct rans_table *const *t, unsigned n_streams, size_t n,
             uint8_t *const *symbols)
{
    struct vector_stream v[RANS_TOGETHER];
    for (unsigned s = 0; s < n_streams; s++) stream_load(&v[s], r[s], alias[s], t[s]);
    bool good = true;
    for (size_t i = 0; i < n && good; i += RANS_LANES) {
#pragma GCC unroll 4
        for (unsigned s = 0; s < n_streams; s++) good &= step(&v[s], symbols[s] + i);
    }
    if (!good) return false;
    for (unsigned s = 0; s < n_streams; s++) {
        _mm512_storeu_si512(r[s]->high, v[s].high);
        _mm512_storeu_si512(r[s]->low, v[s].low);
        r[s]->words = v[s].words;
    }
    return true;
}

VBMI bool rans_read_avx512(struct rans_reader *const *r,
                           const struct rans_alias *const *alias,
                           const struct rans_table *const *t, unsigned n_streams, size_t n,
                           uint8_t *const *symbols)
{
    /* With a number known to the compiler, states stay in registers. */
    if (n_streams == RANS_TOGETHER)
        return read_streams(r, alias, t, RANS_TOGETHER, n, symbols);
    for (unsigned s = 0; s < n_streams; s++)
        if (!read_streams(r + s, alias + s, t + s, 1, n, symbols + s)) return false;
    return true;
}

/* ---- merging ---- */

/* Sixty-four values of `bits` (3 or 6) bits, from 8 bits bytes. */
VBMI static inline __attribute__((always_inline)) __m512i unpack(const uint8_t *p,
                                                                 unsigned bits)
{
    /* The bytes of each eight values to a lane of 64 bits, then each value to its byte. */
    const __m512i spread3 = _mm512_set_epi64(0x171615, 0x141312, 0x11100f, 0x0e0d0c,
                                             0x0b0a09, 0x080706, 0x050403, 0x020100);
    const __m512i spread6 = _mm512_set_epi64(0x2f2e2d2c2b2a, 0x292827262524, 0x232221201f1e,
                                             0x1d1c1b1a1918, 0x171615141312, 0x11100f0e0d0c,
                                             0x0b0a09080706, 0x050403020100);
    const __m512i shift3 = _mm512_set1_epi64(0x15120f0c09060300),
                  shift6 = _mm512_set1_epi64(0x2a241e18120c0600);
    __m512i bytes = _mm512_maskz_loadu_epi8(((uint64_t)1 << 8 * bits) - 1, p);
    bytes = _mm512_permutexvar_epi8(bits == 3 ? spread3 : spread6, bytes);
    bytes = _mm512_multishift_epi64_epi8(bits == 3 ? shift3 : shift6, bytes);
    return _mm512_and_si512(bytes, _mm512_set1_epi8((char)((1 << bits) - 1)));
}

/* Exponents of those that `escaped` marks come from the escapes. */
VBMI static inline __attribute__((always_inline)) bool
take_escapes(struct codec_merge *m, __mmask64 escaped, __m512i *exponent)
{
    size_t left = (size_t)(m->escape_end - m->escape), n;
    if (escaped == 0) return true;
    n = (size_t)__builtin_popcountll(escaped);
    if (n > left) return false;
    __mmask64 there = n == 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1;
    *exponent = _mm512_mask_expand_epi8(*exponent, escaped,
                                        _mm512_maskz_loadu_epi8(there, m->escape));
    m->escape += n;
    return true;
}

/* Sixty-four elements of upper and lower bytes, turned back by one bit. */
VBMI static inline __attribute__((always_inline)) void store(__m512i upper, __m512i lower,
                                                             uint8_t *out)
{
    /* unpack takes bytes of each 128 bits; put the quarters where it looks for them */
    const __m512i quarters = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    upper = _mm512_permutexvar_epi64(quarters, upper);
    lower = _mm512_permutexvar_epi64(quarters, lower);
    __m512i a = _mm512_unpacklo_epi8(lower, upper), b = _mm512_unpackhi_epi8(lower, upper);
    _mm512_storeu_si512(out, _mm512_shldi_epi16(a, a, 15));
    _mm512_storeu_si512(out + 64, _mm512_shldi_epi16(b, b, 15));
}

VBMI bool codec_fast_bf16_avx512(struct codec_merge *m, size_t n, uint8_t *out)
{
    __m512i table = _mm512_maskz_loadu_epi8(0xff, m->exponents);
    const __m512i escape = _mm512_set1_epi8(FAST_ESCAPE);
    for (size_t i = 0; i < n; i += 64) {
        __m512i rank = unpack(m->symbols + i / 8 * FAST_BITS, FAST_BITS);
        __m512i exponent = _mm512_permutexvar_epi8(rank, table);
        if (!take_escapes(m, _mm512_cmpeq_epi8_mask(rank, escape), &exponent)) return false;
        store(exponent, _mm512_loadu_si512(m->plane + i), out + 2 * i);
    }
    return true;
}

/* Exponent and mantissa bits of sixty-four symbols. */
VBMI static inline __attribute__((always_inline)) bool split_symbols(struct codec_merge *m,
                                                                     const uint8_t *symbols,
                                                                     __m512i *exponent,
                                                                     __m512i *mantissa)
{
    const __m512i low2 = _mm512_set1_epi8(3), escape = _mm512_set1_epi8(4 * RANS_ESCAPE);
    __m512i symbol = _mm512_loadu_si512(symbols);
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)m->exponents));
    __m512i rank = _mm512_and_si512(_mm512_srli_epi16(symbol, 2), _mm512_set1_epi8(15));
    *exponent = _mm512_shuffle_epi8(table, rank);
    *mantissa = _mm512_and_si512(symbol, low2);
    return take_escapes(m, _mm512_cmpge_epu8_mask(symbol, escape), exponent);
}

VBMI bool codec_merge_bf16_avx512(struct codec_merge *m, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i += 64) {
        __m512i exponent, mantissa;
        if (!split_symbols(m, m->symbols + i, &exponent, &mantissa)) return false;
        __m512i lower = _mm512_or_si512(_mm512_slli_epi16(mantissa, 6),
                                        unpack(m->bits + i / 8 * 6, 6));
        store(exponent, lower, out + 2 * i);
    }
    return true;
}

VBMI bool codec_merge_f16_avx512(struct codec_merge *m, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i += 64) {
        __m512i exponent, mantissa;
        __mmask64 ninth;
        if (!split_symbols(m, m->symbols + i, &exponent, &mantissa)) return false;
        memcpy(&ninth, m->bits + i / 8, sizeof(ninth));
        __m512i upper = _mm512_or_si512(_mm512_slli_epi16(exponent, 3),
                                        _mm512_slli_epi16(mantissa, 1));
        upper = _mm512_mask_add_epi8(upper, ninth, upper, _mm512_set1_epi8(1));
        store(upper, _mm512_loadu_si512(m->plane + i), out + 2 * i);
    }
    return true;
}

VBMI void codec_copy_past_cache_avx512(uint8_t *out, const uint8_t *in, size_t n_bytes)
{
    size_t head = (64 - (uintptr_t)out % 64) % 64;
    if (head > n_bytes) head = n_bytes;
    memcpy(out, in, head);
    for (; head + 64 <= n_bytes; head += 64)
        _mm512_stream_si512((void *)(out + head), _mm512_loadu_si512(in + head));
    memcpy(out + head, in + head, n_bytes - head);
    _mm_sfence();
}
