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
    const uint8_t *words, *words_end;
};
/* Look-ups: by bucket, by bucket, by symbol. Four streams' do not fit the registers beside
 * their states, so they stay in memory. */
struct vector_tables {
    __m512i entry[2], first[2], frequency[2];
};

VBMI static inline __attribute__((always_inline)) void
stream_load(struct vector_stream *v, struct vector_tables *look,
            const struct rans_reader *r, const struct rans_alias *a,
            const struct rans_table *t)
{
    uint16_t entry[RANS_NARROW], first[RANS_NARROW];
    for (unsigned i = 0; i < RANS_NARROW; i++) {
        entry[i] = (uint16_t)(a->divider[i] | a->alias[i] << 8);
        first[i] = (uint16_t)(a->first[i] - a->divider[i]);
    }
    for (int half = 0; half < 2; half++) {
        look->entry[half] = _mm512_loadu_si512(entry + 32 * half);
        look->first[half] = _mm512_loadu_si512(first + 32 * half);
        look->frequency[half] = _mm512_loadu_si512(t->frequency + 32 * half);
    }
    v->high = _mm512_loadu_si512(r->high);
    v->low = _mm512_loadu_si512(r->low);
    v->words = r->words;
    v->words_end = r->words_end;
}

VBMI static inline __attribute__((always_inline)) void
stream_save(const struct vector_stream *v, struct rans_reader *r)
{
    _mm512_storeu_si512(r->high, v->high);
    _mm512_storeu_si512(r->low, v->low);
    r->words = v->words;
}

/* Thirty-two symbols. `ample`: at least 32 words are left;
 * otherwise false past their end. */
VBMI static inline __attribute__((always_inline)) bool
step(struct vector_stream *v, const struct vector_tables *look, bool ample,
     uint8_t *symbols)
{
    const __m512i low6 = _mm512_set1_epi16(63), low7 = _mm512_set1_epi16(127);
    __m512i bucket = _mm512_srli_epi16(v->low, 6); /* a look-up takes its lowest 6 bits */
    __m512i entry = _mm512_permutex2var_epi16(look->entry[0], bucket, look->entry[1]);
    __m512i at = _mm512_and_si512(v->low, low6);
    __mmask32 other = _mm512_cmpge_epu16_mask(at, _mm512_and_si512(entry, low7));
    __m512i symbol = _mm512_mask_srli_epi16(_mm512_and_si512(bucket, low6), other, entry,
                                            8);
    __m512i rank = _mm512_add_epi16(
        at, _mm512_maskz_permutex2var_epi16(other, look->first[0], bucket, look->first[1]));
    __m512i f = _mm512_permutex2var_epi16(look->frequency[0], symbol, look->frequency[1]);
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
    __m512i words = ample || left >= RANS_LANES
                        ? _mm512_loadu_si512(v->words)
                        : _mm512_maskz_loadu_epi16((1u << left) - 1, v->words);
    __asm__("" : "+v"(words)); /* loaded early; an expansion from memory waits for `need` */
    size_t n_need = (size_t)__builtin_popcount(need);
    v->high = _mm512_mask_mov_epi16(high, need, low);
    v->low = _mm512_mask_expand_epi16(low, need, words);
    if (!ample && n_need > left) return false;
    v->words += 2 * n_need;
    return true;
}

/* How many steps of a stream cannot come to its words' end. */
static size_t ample_steps(const struct vector_stream *v)
{
    return (size_t)(v->words_end - v->words) / (2 * RANS_LANES);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Four streams by name, whose states then stay in registers. */
VBMI static bool read_four(struct rans_reader *const *r,
                           const struct rans_alias *const *alias,
                           const struct rans_table *const *t, size_t n,
                           uint8_t *const *symbols)
{
    struct vector_stream a, b, c, d;
    struct vector_tables look[RANS_TOGETHER];
    stream_load(&a, &look[0], r[0], alias[0], t[0]);
    stream_load(&b, &look[1], r[1], alias[1], t[1]);
    stream_load(&c, &look[2], r[2], alias[2], t[2]);
    stream_load(&d, &look[3], r[3], alias[3], t[3]);
    for (size_t i = 0; i < n;) {
        size_t safe = least(least(ample_steps(&a), ample_steps(&b)),
                            least(ample_steps(&c), ample_steps(&d)));
        size_t end = i + RANS_LANES * least(safe, (n - i) / RANS_LANES);
        for (; i < end; i += RANS_LANES) {
            __asm__ volatile(
                "" ::
                    : "memory"); /* look-ups from memory, not instead of states */
            step(&a, &look[0], true, symbols[0] + i);
            step(&b, &look[1], true, symbols[1] + i);
            step(&c, &look[2], true, symbols[2] + i);
            step(&d, &look[3], true, symbols[3] + i);
        }
        if (i == n || safe > 0) continue;
        if (!step(&a, &look[0], false, symbols[0] + i) ||
            !step(&b, &look[1], false, symbols[1] + i) ||
            !step(&c, &look[2], false, symbols[2] + i) ||
            !step(&d, &look[3], false, symbols[3] + i))
            return false;
        i += RANS_LANES;
    }
    stream_save(&a, r[0]);
    stream_save(&b, r[1]);
    stream_save(&c, r[2]);
    stream_save(&d, r[3]);
    return true;
}

VBMI static bool read_one(struct rans_reader *r, const struct rans_alias *alias,
                          const struct rans_table *t, size_t n, uint8_t *symbols)
{
    struct vector_stream v;
    struct vector_tables look;
    stream_load(&v, &look, r, alias, t);
    for (size_t i = 0; i < n; i += RANS_LANES)
        if (!step(&v, &look, false, symbols + i)) return false;
    stream_save(&v, r);
    return true;
}

VBMI bool rans_read_avx512(struct rans_reader *const *r,
                           const struct rans_alias *const *alias,
                           const struct rans_table *const *t, unsigned n_streams, size_t n,
                           uint8_t *const *symbols)
{
    if (n_streams == RANS_TOGETHER) return read_four(r, alias, t, n, symbols);
    for (unsigned s = 0; s < n_streams; s++)
        if (!read_one(r[s], alias[s], t[s], n, symbols[s])) return false;
    return true;
}

/* ---- reading bytes ---- */

/* Sixteen states take their look-ups: symbols, and which need a word. */
VBMI static inline __attribute__((always_inline)) __m512i
step_wide(__m512i x, const uint32_t *slots, uint8_t *symbols, __mmask16 *need)
{
    const __m512i low12 = _mm512_set1_epi32(RANS_SUM - 1), one = _mm512_set1_epi32(1);
    __m512i slot = _mm512_i32gather_epi32(_mm512_and_si512(x, low12), slots, 4);
    __m512i f = _mm512_add_epi32(_mm512_and_si512(slot, low12), one),
            rank = _mm512_and_si512(_mm512_srli_epi32(slot, 12), low12);
    _mm_storeu_si128((__m128i *)symbols, _mm512_cvtepi32_epi8(_mm512_srli_epi32(slot, 24)));
    x = _mm512_add_epi32(_mm512_mullo_epi32(f, _mm512_srli_epi32(x, RANS_BITS)), rank);
    *need = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(RANS_START));
    return x;
}

VBMI bool rans_read_wide_avx512(struct rans_reader *r, const uint32_t *slots, size_t n,
                                uint8_t *symbols)
{
    __m512i x[2], high = _mm512_loadu_si512(r->high), low = _mm512_loadu_si512(r->low);
    for (int half = 0; half < 2; half++) {
        __m256i h = half ? _mm512_extracti64x4_epi64(high, 1)
                         : _mm512_castsi512_si256(high),
                l = half ? _mm512_extracti64x4_epi64(low, 1) : _mm512_castsi512_si256(low);
        x[half] = _mm512_or_si512(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16),
                                  _mm512_cvtepu16_epi32(l));
    }
    for (size_t i = 0; i < n; i += RANS_LANES) {
        __mmask16 need[2];
        x[0] = step_wide(x[0], slots, symbols + i, &need[0]);
        x[1] = step_wide(x[1], slots, symbols + i + 16, &need[1]);
        __mmask32 both = (__mmask32)need[1] << 16 | need[0];
        size_t n_need = (size_t)__builtin_popcount(both),
               left = (size_t)(r->words_end - r->words) / 2;
        if (n_need > left) return false;
        __m512i words = _mm512_maskz_loadu_epi16(_bzhi_u32(~0u, (unsigned)n_need),
                                                 r->words);
        words = _mm512_maskz_expand_epi16(both, words);
        __m512i first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)),
                second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1));
        x[0] = _mm512_or_si512(_mm512_mask_slli_epi32(x[0], need[0], x[0], 16), first);
        x[1] = _mm512_or_si512(_mm512_mask_slli_epi32(x[1], need[1], x[1], 16), second);
        r->words += 2 * n_need;
    }
    for (int half = 0; half < 2; half++) {
        _mm256_storeu_si256((__m256i *)(r->low + 16 * half),
                            _mm512_cvtepi32_epi16(x[half]));
        _mm256_storeu_si256((__m256i *)(r->high + 16 * half),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(x[half], 16)));
    }
    return true;
}

/* ---- encoding ---- */

struct vector_encoder {
    __m512i packed[4], inverse[4]; /* sixteen symbols each */
    const uint16_t *slot;
};

/* The entries of sixteen symbols below 64. */
VBMI static inline __attribute__((always_inline)) __m512i look_up(const __m512i table[4],
                                                                  __m512i symbol)
{
    __mmask16 upper = _mm512_test_epi32_mask(symbol, _mm512_set1_epi32(32));
    __m512i low = _mm512_permutex2var_epi32(table[0], symbol, table[1]),
            high = _mm512_permutex2var_epi32(table[2], symbol, table[3]);
    return _mm512_mask_mov_epi32(low, upper, high);
}

/*
 * Sixteen states take a symbol each; *grown says which gave a word, *words has all lower
 * halves. The quotient is below 2^20 and its estimate in single precision less than one
 * off.
 */
VBMI static inline __attribute__((always_inline)) __m512i
take_symbols(const struct vector_encoder *e, __m512i x, const uint8_t *symbols,
             __mmask16 *grown, __m256i *words)
{
    const __m512i low16 = _mm512_set1_epi32(0xffff);
    __m512i symbol = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)symbols));
    __m512i packed = look_up(e->packed, symbol);
    __m512 inverse = _mm512_castsi512_ps(look_up(e->inverse, symbol));
    __m512i f = _mm512_and_si512(packed, low16), start = _mm512_srli_epi32(packed, 16);
    *grown = _mm512_cmpge_epu32_mask(x, _mm512_slli_epi32(f, 32 - RANS_BITS));
    *words = _mm512_cvtepi32_epi16(x);
    x = _mm512_mask_srli_epi32(x, *grown, x, 16);
    __m512i q = _mm512_cvttps_epu32(_mm512_mul_ps(_mm512_cvtepu32_ps(x), inverse));
    __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(q, f));
    const __m512i one = _mm512_set1_epi32(1);
    __mmask16 below = _mm512_movepi32_mask(rest);
    q = _mm512_mask_sub_epi32(q, below, q, one);
    rest = _mm512_mask_add_epi32(rest, below, rest, f);
    __mmask16 above = _mm512_cmpge_epu32_mask(rest, f);
    q = _mm512_mask_add_epi32(q, above, q, one);
    rest = _mm512_mask_sub_epi32(rest, above, rest, f);
    __m512i slot = _mm512_i32gather_epi32(_mm512_add_epi32(start, rest), e->slot, 2);
    return _mm512_add_epi32(_mm512_slli_epi32(q, RANS_BITS), _mm512_and_si512(slot, low16));
}

VBMI uint16_t *rans_encode_avx512(const struct rans_encoder *e, const uint8_t *symbols,
                                  size_t n_groups, uint16_t *at,
                                  uint32_t states[RANS_LANES])
{
    const __m512i lane = _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20,
                                          19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7,
                                          6, 5, 4, 3, 2, 1, 0);
    struct vector_encoder v = {.slot = e->slot};
    for (int i = 0; i < 4; i++) {
        v.packed[i] = _mm512_loadu_si512(e->packed + 16 * i);
        v.inverse[i] = _mm512_loadu_si512(e->inverse + 16 * i);
    }
    __m512i first = _mm512_loadu_si512(states), second = _mm512_loadu_si512(states + 16);
    for (size_t group = n_groups; group-- > 0;) {
        const uint8_t *p = symbols + group * RANS_LANES;
        __mmask16 grown[2];
        __m256i words[2];
        first = take_symbols(&v, first, p, &grown[0], &words[0]);
        second = take_symbols(&v, second, p + 16, &grown[1], &words[1]);
        /* Words of lower lanes stand lower: to the upper end, and all of it stored. */
        __mmask32 both = (__mmask32)grown[1] << 16 | grown[0];
        unsigned n = (unsigned)__builtin_popcount(both);
        __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(words[0]), words[1], 1);
        all = _mm512_maskz_compress_epi16(both, all);
        all = _mm512_permutexvar_epi16(_mm512_add_epi16(lane, _mm512_set1_epi16((short)n)),
                                       all);
        _mm512_storeu_si512(at - RANS_LANES, all);
        at -= n;
    }
    _mm512_storeu_si512(states, first);
    _mm512_storeu_si512(states + 16, second);
    return at;
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

/* Exponents of those that `escaped` marks come from the escapes. Some are in nearly every
 * vector, so whether there are any is not asked. */
VBMI static inline __attribute__((always_inline)) bool
take_escapes(struct codec_merge *m, __mmask64 escaped, __m512i *exponent)
{
    size_t left = (size_t)(m->escape_end - m->escape),
           n = (size_t)__builtin_popcountll(escaped);
    if (n > left) return false;
    __m512i next = _mm512_maskz_loadu_epi8(_bzhi_u64(~(uint64_t)0, (unsigned)n), m->escape);
    *exponent = _mm512_mask_expand_epi8(*exponent, escaped, next);
    m->escape += n;
    return true;
}

/* Sixty-four elements of upper and lower bytes, turned back by one bit. */
VBMI static inline __attribute__((always_inline)) void join(__m512i upper, __m512i lower,
                                                            __m512i *first, __m512i *second)
{
    /* unpack takes bytes of each 128 bits; put the quarters where it looks for them */
    const __m512i quarters = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    upper = _mm512_permutexvar_epi64(quarters, upper);
    lower = _mm512_permutexvar_epi64(quarters, lower);
    __m512i a = _mm512_unpacklo_epi8(lower, upper), b = _mm512_unpackhi_epi8(lower, upper);
    *first = _mm512_shldi_epi16(a, a, 15);
    *second = _mm512_shldi_epi16(b, b, 15);
}

/*
 * Where elements go, a stripe of four vectors at a time: into the checksum, and to memory
 * of any alignment. Past the caches only whole lines can be stored: a line is the end of
 * one vector and the beginning of the next. Vectors have names, not indices: compilers keep
 * these in registers.
 */
struct vector_sink {
    uint8_t *line;   /* the next one; of a sink in the caches, any address */
    unsigned head;   /* bytes of the first line that are not the sink's */
    __mmask64 first; /* which of the next line's bytes are */
    __m512i turn;    /* takes `head` bytes of the vector before */
    __m512i end;     /* that vector */
    __m512i lane0, lane1, lane2, lane3;
};

VBMI static inline __attribute__((always_inline)) void
sink_begin(struct vector_sink *s, const struct codec_merge *m, uint8_t *out)
{
    const __m512i steps = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43,
        42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22,
        21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const uint64_t *lanes = m->sum->lanes;
    s->head = m->past_cache ? (uintptr_t)out % 64 : 0;
    s->line = out - s->head;
    s->first = ~(__mmask64)0 << s->head;
    s->turn = _mm512_add_epi8(steps, _mm512_set1_epi8((char)(64 - s->head)));
    s->end = _mm512_setzero_si512();
    s->lane0 = _mm512_loadu_si512(lanes), s->lane1 = _mm512_loadu_si512(lanes + 8);
    s->lane2 = _mm512_loadu_si512(lanes + 16), s->lane3 = _mm512_loadu_si512(lanes + 24);
}

VBMI static inline __attribute__((always_inline)) __m512i mixed(__m512i lane, __m512i data)
{
    lane = _mm512_mullo_epi64(_mm512_xor_si512(lane, data),
                              _mm512_set1_epi64((long long)UCB_MIX64_FACTOR));
    return _mm512_xor_si512(lane, _mm512_srli_epi64(lane, 32));
}

/* Stores `data`, which follows `before`, as the v-th line of a stripe. */
VBMI static inline __attribute__((always_inline)) void
sink_store(struct vector_sink *s, bool past_cache, int v, __m512i before, __m512i data)
{
    uint8_t *line = s->line + 64 * v;
    if (!past_cache) {
        _mm512_storeu_si512(line, data);
        return;
    }
    __m512i whole = _mm512_permutex2var_epi8(before, s->turn, data);
    if (v == 0 && s->first != ~(__mmask64)0)
        _mm512_mask_storeu_epi8(line, s->first, whole);
    else
        _mm512_stream_si512((void *)line, whole);
}

VBMI static inline __attribute__((always_inline)) void sink_take(struct vector_sink *s,
                                                                 bool past_cache, __m512i a,
                                                                 __m512i b, __m512i c,
                                                                 __m512i d)
{
    s->lane0 = mixed(s->lane0, a), s->lane1 = mixed(s->lane1, b);
    s->lane2 = mixed(s->lane2, c), s->lane3 = mixed(s->lane3, d);
    sink_store(s, past_cache, 0, s->end, a);
    sink_store(s, past_cache, 1, a, b);
    sink_store(s, past_cache, 2, b, c);
    sink_store(s, past_cache, 3, c, d);
    s->first = ~(__mmask64)0;
    s->end = d;
    s->line += UCB_MIX64_STRIPE;
}

/* `n` elements in all. */
VBMI static inline __attribute__((always_inline)) void
sink_end(const struct vector_sink *s, struct ucb_mix64_state *sum, size_t n)
{
    if (s->head > 0 && n > 0)
        _mm512_mask_storeu_epi8(s->line, ((__mmask64)1 << s->head) - 1,
                                _mm512_permutexvar_epi8(s->turn, s->end));
    _mm512_storeu_si512(sum->lanes, s->lane0),
        _mm512_storeu_si512(sum->lanes + 8, s->lane1);
    _mm512_storeu_si512(sum->lanes + 16, s->lane2);
    _mm512_storeu_si512(sum->lanes + 24, s->lane3);
    sum->n_bytes += 2 * n;
}

/* Exponents and the bytes below them of sixty-four elements, at i. */
VBMI static inline __attribute__((always_inline)) bool
take_fast_bf16(struct codec_merge *m, size_t i, __m512i *upper, __m512i *lower)
{
    const __m512i escape = _mm512_set1_epi8(FAST_ESCAPE);
    __m512i table = _mm512_maskz_loadu_epi8(0xff, m->exponents);
    __m512i rank = unpack(m->symbols + i / 8 * FAST_BITS, FAST_BITS);
    *upper = _mm512_permutexvar_epi8(rank, table);
    *lower = _mm512_loadu_si512(m->plane + i);
    return take_escapes(m, _mm512_cmpeq_epi8_mask(rank, escape), upper);
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

VBMI static inline __attribute__((always_inline)) bool
take_bf16(struct codec_merge *m, size_t i, __m512i *upper, __m512i *lower)
{
    __m512i mantissa;
    if (!split_symbols(m, m->symbols + i, upper, &mantissa)) return false;
    *lower = _mm512_or_si512(_mm512_slli_epi16(mantissa, 6),
                             unpack(m->bits + i / 8 * 6, 6));
    return true;
}

VBMI static inline __attribute__((always_inline)) bool
take_f16(struct codec_merge *m, size_t i, __m512i *upper, __m512i *lower)
{
    __m512i exponent, mantissa;
    __mmask64 ninth;
    if (!split_symbols(m, m->symbols + i, &exponent, &mantissa)) return false;
    memcpy(&ninth, m->bits + i / 8, sizeof(ninth));
    *upper = _mm512_or_si512(_mm512_slli_epi16(exponent, 3),
                             _mm512_slli_epi16(mantissa, 1));
    *upper = _mm512_mask_add_epi8(*upper, ninth, *upper, _mm512_set1_epi8(1));
    *lower = _mm512_loadu_si512(m->plane + i);
    return true;
}

typedef bool take_elements(struct codec_merge *m, size_t i, __m512i *upper, __m512i *lower);

VBMI static inline __attribute__((always_inline)) bool
merge(struct codec_merge *m, take_elements *take, bool past_cache, size_t n, uint8_t *out)
{
    struct vector_sink sink;
    struct codec_merge from = *m; /* no store to `out` changes this one */
    sink_begin(&sink, m, out);
    for (size_t i = 0; i < n; i += CODEC_MERGE) {
        __m512i a, b, c, d, upper, lower;
        if (!take(&from, i, &upper, &lower)) return false;
        join(upper, lower, &a, &b);
        if (!take(&from, i + 64, &upper, &lower)) return false;
        join(upper, lower, &c, &d);
        sink_take(&sink, past_cache, a, b, c, d);
    }
    sink_end(&sink, m->sum, n);
    m->escape = from.escape;
    return true;
}

/* With the kind of stores known to the compiler. */
#define MERGE(name, take)                                         \
    VBMI bool name(struct codec_merge *m, size_t n, uint8_t *out) \
    {                                                             \
        return m->past_cache ? merge(m, take, true, n, out)       \
                             : merge(m, take, false, n, out);     \
    }
MERGE(codec_fast_bf16_avx512, take_fast_bf16)
MERGE(codec_merge_bf16_avx512, take_bf16)
MERGE(codec_merge_f16_avx512, take_f16)

VBMI void codec_copy_past_cache_avx512(uint8_t *out, const uint8_t *in, size_t n_bytes)
{
    size_t head = (64 - (uintptr_t)out % 64) % 64;
    if (head > n_bytes) head = n_bytes;
    memcpy(out, in, head);
    for (; head + 64 <= n_bytes; head += 64)
        _mm512_stream_si512((void *)(out + head), _mm512_loadu_si512(in + head));
    memcpy(out + head, in + head, n_bytes - head);
}

VBMI void codec_fence_avx512(void)
{
    _mm_sfence();
}
