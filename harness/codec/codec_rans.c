/*
 * codec_rans.c - the scalar rANS coder, which is the reference: 32 interleaved states of 32
 * bits, words of 16 bits, frequencies that sum to 2^12.
 *
 *     decode: slot = x mod 2^12 names symbol s and rank r;  x = f_s (x / 2^12) + r;
 *             below 2^16, x = x 2^16 + next word.
 *
 * Element i belongs to state i mod 32; states take words in that order, so the encoder goes
 * from the last element to the first. It starts with 2^16 in each state, and raw bits below
 * (codec_carried()): sixteen bits that the start would cost without saying anything.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"

/* log2(x) in 1/256, x > 0, rounded down: the integer part, then a squaring for each bit. */
static uint32_t log2_256(uint32_t x)
{
    uint32_t whole = 31 - (uint32_t)__builtin_clz(x), fraction = 0;
    uint64_t y = (uint64_t)x << (31 - whole); /* [2^31, 2^32) */
    for (int i = 0; i < 8; i++) {
        y = y * y >> 31;
        fraction = fraction << 1 | (uint32_t)(y >> 32);
        if (y >> 32) y >>= 1;
    }
    return whole << 8 | fraction;
}

static unsigned largest(const uint16_t *frequency, unsigned n)
{
    unsigned best = 0;
    for (unsigned i = 1; i < n; i++)
        if (frequency[i] > frequency[best]) best = i;
    return best;
}

void rans_normalise(const uint32_t *counts, unsigned n, uint16_t *frequency)
{
    uint64_t total = 0;
    int left = RANS_SUM;
    for (unsigned i = 0; i < n; i++) total += counts[i];
    assert(total > 0);
    for (unsigned i = 0; i < n; i++) {
        uint64_t f = (counts[i] * (uint64_t)RANS_SUM + total / 2) / total;
        if (f == 0 && counts[i] > 0) f = 1;
        frequency[i] = (uint16_t)f;
        left -= (int)f;
    }
    for (; left > 0; left--) frequency[largest(frequency, n)]++;
    for (; left < 0; left++) frequency[largest(frequency, n)]--;
    unsigned best = largest(frequency, n);
    if (frequency[best] == RANS_SUM) { /* a state could not grow by such a symbol */
        frequency[best]--;
        frequency[best == 0]++;
    }
}

uint64_t rans_cost(const struct rans_table *t, const uint32_t *counts)
{
    uint64_t cost = 0;
    for (unsigned i = 0; i < t->n_symbols; i++) {
        if (counts[i] == 0) continue;
        if (t->frequency[i] == 0) return UINT64_MAX;
        cost += counts[i] * (uint64_t)((RANS_BITS << 8) - log2_256(t->frequency[i]));
    }
    return cost;
}

/* ---- slots ---- */

void rans_alias_make(const struct rans_table *t, struct rans_alias *out)
{
    unsigned left[RANS_NARROW];
    uint64_t small = 0,
             large = 0; /* a bit a bucket: its symbol has less than it, or more */
    _Static_assert(RANS_NARROW == 64, "bits of a mask");
    for (unsigned i = 0; i < RANS_NARROW; i++) {
        left[i] = t->frequency[i];
        small |= (uint64_t)(left[i] < RANS_BUCKET) << i;
        large |= (uint64_t)(left[i] > RANS_BUCKET) << i;
        out->divider[i] = RANS_BUCKET;
        out->alias[i] = (uint16_t)i;
        out->first[i] = 0;
    }
    /* The lowest bucket that its symbol does not fill takes the rest from the lowest symbol
     * that has more than a bucket; sums being equal, there is one. */
    while (small != 0) {
        unsigned to = (unsigned)__builtin_ctzll(small);
        assert(large != 0);
        unsigned from = (unsigned)__builtin_ctzll(large);
        out->divider[to] = (uint16_t)left[to];
        out->alias[to] = (uint16_t)from;
        left[from] -= RANS_BUCKET - left[to];
        out->first[to] = (uint16_t)left[from];
        small &= small - 1;
        if (left[from] <= RANS_BUCKET) large &= large - 1;
        if (left[from] < RANS_BUCKET) small |= (uint64_t)1 << from;
    }
}

static uint32_t slot_entry(const struct rans_table *t, unsigned symbol, unsigned rank)
{
    return (uint32_t)(t->frequency[symbol] - 1) | rank << 12 | symbol << 24;
}

void rans_slots_make(const struct rans_table *t, uint32_t slots[RANS_SUM])
{
    if (t->n_symbols == RANS_WIDE) {
        for (unsigned s = 0, at = 0; s < RANS_WIDE; s++)
            for (unsigned r = 0; r < t->frequency[s]; r++)
                slots[at++] = slot_entry(t, s, r);
        return;
    }
    struct rans_alias a;
    rans_alias_make(t, &a);
    for (unsigned b = 0; b < RANS_NARROW; b++)
        for (unsigned i = 0; i < RANS_BUCKET; i++)
            slots[b * RANS_BUCKET + i] = i < a.divider[b]
                                             ? slot_entry(t, b, i)
                                             : slot_entry(t, a.alias[b],
                                                          a.first[b] + i - a.divider[b]);
}

/* ---- encode ---- */

void rans_encoder_make(const struct rans_table *t, struct rans_encoder *out)
{
    uint32_t slots[RANS_SUM];
    rans_slots_make(t, slots);
    for (unsigned s = 0, start = 0; s < t->n_symbols; s++) {
        unsigned f = t->frequency[s];
        out->symbol[s].frequency = (uint16_t)f;
        out->symbol[s].start = (uint16_t)start;
        out->symbol[s].limit = f << (32 - RANS_BITS);
        out->symbol[s].reciprocal = f == 0 ? 0 : (((uint64_t)1 << 63) + f - 1) / f;
        start += f;
    }
    out->narrow = t->n_symbols == RANS_NARROW;
    for (unsigned s = 0; out->narrow && s < RANS_NARROW; s++) {
        unsigned f = out->symbol[s].frequency;
        out->packed[s] = f | (uint32_t)out->symbol[s].start << 16;
        out->inverse[s] = f == 0 ? 0 : 1 / (float)f;
    }
    out->slot[RANS_SUM] = 0;
    for (unsigned i = 0; i < RANS_SUM; i++)
        out->slot[out->symbol[slots[i] >> 24].start + (slots[i] >> 12 & 0xfff)] = (uint16_t)
            i;
}

/*
 * 2 x times ceil(2^63 / f), its upper half, is x / f for x < 2^32 and f < 2^12: the
 * reciprocal is too large by less than f / 2^63, the quotient by less than 2^32 / 2^63.
 */
static inline uint32_t divide(uint32_t x, uint64_t reciprocal)
{
    return (uint32_t)((unsigned __int128)((uint64_t)x << 1) * reciprocal >> 64);
}

static inline uint16_t *encode_one(const struct rans_encoder *e, unsigned symbol,
                                   uint32_t *state, uint16_t *end)
{
    uint32_t x = *state, f = e->symbol[symbol].frequency;
    bool grows = x >= e->symbol[symbol].limit;
    end[-1] = (uint16_t)x;
    end -= grows;
    x = grows ? x >> 16 : x;
    uint32_t q = divide(x, e->symbol[symbol].reciprocal);
    *state = (q << RANS_BITS) + e->slot[e->symbol[symbol].start + (x - q * f)];
    return end;
}

size_t rans_encode(const struct rans_encoder *e, enum ucb_codec_path path,
                   const uint8_t *symbols, size_t n, uint16_t *end,
                   uint32_t states[RANS_LANES])
{
    uint16_t *at = end;
    for (size_t i = n; i % RANS_LANES != 0; i--)
        at = encode_one(e, symbols[i - 1], &states[(i - 1) % RANS_LANES], at);
    if (e->narrow && path == UCB_CODEC_AVX512)
        return (size_t)(end - rans_encode_avx512(e, symbols, n / RANS_LANES, at, states));
    for (size_t group = n / RANS_LANES; group > 0; group--)
        for (unsigned lane = RANS_LANES; lane > 0; lane--)
            at = encode_one(e, symbols[(group - 1) * RANS_LANES + lane - 1],
                            &states[lane - 1], at);
    return (size_t)(end - at);
}

/* ---- decode ---- */

bool rans_reader_begin(struct rans_reader *r, const uint8_t *states, const uint8_t *words,
                       size_t n_words)
{
    bool normal = true;
    for (unsigned i = 0; i < RANS_LANES; i++) {
        uint32_t x = ucb_load_u32(states + 4 * i);
        r->high[i] = (uint16_t)(x >> 16);
        r->low[i] = (uint16_t)x;
        normal &= r->high[i] != 0;
    }
    r->words = words;
    r->words_end = words + 2 * n_words;
    return normal;
}

bool rans_read(struct rans_reader *r, const uint32_t *slots, size_t n, uint8_t *symbols)
{
    for (size_t i = 0; i < n; i++) {
        unsigned lane = i % RANS_LANES;
        uint32_t x = (uint32_t)r->high[lane] << 16 | r->low[lane];
        uint32_t slot = slots[x % RANS_SUM];
        symbols[i] = (uint8_t)(slot >> 24);
        x = ((slot & 0xfff) + 1) * (x >> RANS_BITS) + (slot >> 12 & 0xfff);
        if (x < RANS_START) {
            if (r->words == r->words_end) return false;
            x = x << 16 | ucb_load_u16(r->words);
            r->words += 2;
        }
        r->high[lane] = (uint16_t)(x >> 16);
        r->low[lane] = (uint16_t)x;
    }
    return true;
}

bool rans_reader_ended(const struct rans_reader *r, size_t n_carried)
{
    uint8_t low[2 * RANS_LANES];
    unsigned off = 0;
    memcpy(low, r->low, sizeof(low));
    for (size_t i = n_carried; i < sizeof(low); i++) off |= low[i];
    for (unsigned i = 0; i < RANS_LANES; i++) off |= r->high[i] ^ (RANS_START >> 16);
    return off == 0 && r->words == r->words_end;
}
