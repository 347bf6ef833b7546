/*
 * codec_table.c - frequency tables as bytes: a row of bits, lowest first, the last byte
 * filled with zeros.
 *
 *     narrow: number of ranks (4 bits), the first's exponent (8), each other's distance
 *             below the one before less 1 as a number of order 0; frequencies of the ranks,
 *             in each from mantissa bits 3 to 0, and of the escape
 *     wide:   256 frequencies
 *
 * A frequency is coded as its difference from the one before, or from half of that where
 * the exponent changes: an exponent's span is half of the next. Differences d become
 * numbers (0, 1, -1, 2, -2 ... are 0, 1, 2, 3, 4 ...), and a number u of order k is
 * Exp-Golomb: v = u / 2^k + 1 as z zeros, a one and the lower z bits, then k bits of u.
 * The order follows the mean of the numbers before.
 */
#include <string.h>

#include "codec/codec_internal.h"

enum {
    N_RANKS_BITS = 4,
    EXPONENT_BITS = 8,
    MOST_ZEROS = 13 /* of a number that a difference of frequencies can have */
};

/* ---- numbers ---- */

struct bits_out {
    uint8_t *bytes; /* zeros at first */
    size_t n_bits;
};

static void put_bits(struct bits_out *out, uint32_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, out->n_bits++)
        out->bytes[out->n_bits / 8] |= (uint8_t)((value >> i & 1) << out->n_bits % 8);
}

static void put_number(struct bits_out *out, uint32_t u, unsigned order)
{
    uint32_t v = (u >> order) + 1;
    unsigned zeros = 31 - (unsigned)__builtin_clz(v);
    put_bits(out, 1u << zeros, zeros + 1);
    put_bits(out, v, zeros);
    put_bits(out, u, order);
}

struct bits_in {
    const uint8_t *bytes;
    size_t n_bytes, at; /* bits that were read */
};

/* At least 57 bits from where the reader stands; zeros behind the end. */
static uint64_t peek(const struct bits_in *in)
{
    size_t at = in->at / 8, left = at < in->n_bytes ? in->n_bytes - at : 0;
    uint64_t window = 0;
    if (left >= sizeof(window))
        window = ucb_load_u64(in->bytes + at);
    else if (left > 0)
        memcpy(&window, in->bytes + at, left);
    return window >> in->at % 8;
}

static uint32_t get_bits(struct bits_in *in, unsigned n)
{
    uint32_t value = (uint32_t)(peek(in) & ((1u << n) - 1));
    in->at += n;
    return value;
}

/* False where no table has such a number; what lies past the end shows in at_end(). */
static bool get_number(struct bits_in *in, unsigned order, uint32_t *u)
{
    uint64_t window = peek(in);
    unsigned zeros = window == 0 ? 64 : (unsigned)__builtin_ctzll(window);
    if (zeros > MOST_ZEROS) return false;
    window >>= zeros + 1;
    uint32_t v = 1u << zeros | (uint32_t)(window & ((1u << zeros) - 1));
    *u = (v - 1) << order | (uint32_t)(window >> zeros & ((1u << order) - 1));
    in->at += 2 * zeros + 1 + order;
    return true;
}

/* All bytes begun, and nothing but zeros behind what was read. */
static bool at_end(const struct bits_in *in)
{
    if ((in->at + 7) / 8 != in->n_bytes) return false;
    return in->at % 8 == 0 || in->bytes[in->n_bytes - 1] >> in->at % 8 == 0;
}

/* ---- frequencies ---- */

/* What the next number's order and value are told from; put and get keep it alike. */
struct model {
    bool narrow;
    uint32_t before; /* the frequency before */
    uint32_t mean;   /* of the numbers, times four or so */
};
enum { MEAN_START = 8 };

static unsigned model_order(const struct model *m)
{
    return m->mean < 16 ? 0 : 28 - (unsigned)__builtin_clz(m->mean); /* bits of mean / 16 */
}

/* Of the i-th frequency. */
static int32_t model_guess(const struct model *m, unsigned i)
{
    return (int32_t)(m->narrow && i % 4 == 0 ? m->before / 2 : m->before);
}

static void model_take(struct model *m, uint32_t frequency, uint32_t number)
{
    m->before = frequency;
    m->mean += number - m->mean / 4;
}

/* The symbol whose frequency is the i-th. */
static unsigned symbol_at(bool narrow, unsigned n_ranks, unsigned i)
{
    unsigned rank = i / 4 < n_ranks ? i / 4 : RANS_ESCAPE;
    return narrow ? 4 * rank + 3 - i % 4 : i;
}

static unsigned n_frequencies(bool narrow, unsigned n_ranks)
{
    return narrow ? 4 * (n_ranks + 1) : RANS_WIDE;
}

static bool rank_is_used(const struct rans_table *t, unsigned rank)
{
    const uint16_t *f = t->frequency + 4 * rank;
    return (f[0] | f[1] | f[2] | f[3]) != 0;
}

size_t rans_table_put(const struct rans_table *t, uint8_t bytes[RANS_TABLE_MOST])
{
    struct bits_out out = {bytes, 0};
    struct model m = {.narrow = t->n_symbols == RANS_NARROW, .mean = MEAN_START};
    unsigned n_ranks = 0;
    memset(bytes, 0, RANS_TABLE_MOST);
    if (m.narrow) {
        while (n_ranks < RANS_ESCAPE && rank_is_used(t, n_ranks)) n_ranks++;
        put_bits(&out, n_ranks, N_RANKS_BITS);
        put_bits(&out, t->exponents[0], EXPONENT_BITS);
        for (unsigned r = 1; r < n_ranks; r++)
            put_number(&out, t->exponents[r - 1] - t->exponents[r] - 1u, 0);
    }
    for (unsigned i = 0; i < n_frequencies(m.narrow, n_ranks); i++) {
        uint16_t f = t->frequency[symbol_at(m.narrow, n_ranks, i)];
        int32_t d = f - model_guess(&m, i);
        uint32_t u = (uint32_t)(d > 0 ? 2 * d - 1 : -2 * d);
        put_number(&out, u, model_order(&m));
        model_take(&m, f, u);
    }
    return (out.n_bits + 7) / 8;
}

size_t rans_table_bytes(const struct rans_table *t)
{
    uint8_t bytes[RANS_TABLE_MOST];
    return rans_table_put(t, bytes);
}

static bool get_exponents(struct bits_in *in, unsigned *n_ranks, uint8_t *exponents)
{
    *n_ranks = get_bits(in, N_RANKS_BITS);
    exponents[0] = (uint8_t)get_bits(in, EXPONENT_BITS);
    if (*n_ranks == 0) return false;
    for (unsigned r = 1; r < *n_ranks; r++) {
        uint32_t gap;
        if (!get_number(in, 0, &gap) || gap >= exponents[r - 1]) return false;
        exponents[r] = (uint8_t)(exponents[r - 1] - gap - 1);
    }
    return true;
}

static bool get_frequencies(struct bits_in *in, unsigned n_ranks, struct rans_table *out)
{
    struct model m = {.narrow = out->n_symbols == RANS_NARROW, .mean = MEAN_START};
    unsigned sum = 0;
    for (unsigned i = 0; i < n_frequencies(m.narrow, n_ranks); i++) {
        uint32_t u;
        if (!get_number(in, model_order(&m), &u)) return false;
        int32_t d = (int32_t)(u % 2 == 1 ? u / 2 + 1 : 0 - u / 2),
                f = model_guess(&m, i) + d;
        if (f < 0 || f >= RANS_SUM) return false;
        out->frequency[symbol_at(m.narrow, n_ranks, i)] = (uint16_t)f;
        sum += (unsigned)f;
        model_take(&m, (uint32_t)f, u);
    }
    return sum == RANS_SUM;
}

bool rans_table_get(const uint8_t *bytes, size_t n_bytes, unsigned n_symbols,
                    struct rans_table *out)
{
    struct bits_in in = {bytes, n_bytes, 0};
    unsigned n_ranks = 0;
    *out = (struct rans_table){.n_symbols = n_symbols};
    if (n_symbols == RANS_NARROW && !get_exponents(&in, &n_ranks, out->exponents))
        return false;
    if (!get_frequencies(&in, n_ranks, out) || !at_end(&in)) return false;
    for (unsigned r = 0; r < n_ranks; r++)
        if (!rank_is_used(out, r)) return false;
    return true;
}
