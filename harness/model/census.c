/*
 * census.c - see census.h.
 *
 * One table says for each pattern where it was seen last: the column in the lower 16 bits,
 * a number of the row above them. The XOR with the present place then tells all widths at
 * once: aligned blocks of 2^k share a pattern exactly when that XOR is below 2^k.
 */
#include "model/census.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* How patterns of a dtype are divided; `upper`: bits of the mantissa in the upper half.
 * Words are read in the machine's order, which is the file's on all machines this is built
 * for. */
struct format {
    uint32_t size_bytes, mantissa, exponent, upper;
};

static struct format format_of(enum ucb_dtype dtype)
{
    switch (dtype) {
    case UCB_BF16: return (struct format){2, 7, 8, 7};
    case UCB_F16: return (struct format){2, 10, 5, 10};
    default: assert(dtype == UCB_F32); return (struct format){4, 23, 8, 7};
    }
}

bool ucb_census_counts(enum ucb_dtype dtype)
{
    return dtype == UCB_BF16 || dtype == UCB_F16 || dtype == UCB_F32;
}

uint32_t ucb_census_width_of(unsigned index)
{
    assert(index < UCB_CENSUS_WIDTHS);
    return index == UCB_CENSUS_ROW ? 0 : 16u << index;
}

void ucb_census_start(struct ucb_census *census, enum ucb_dtype dtype, uint64_t n_columns)
{
    assert(ucb_census_counts(dtype));
    memset(census, 0, sizeof(*census));
    census->dtype = dtype;
    census->n_columns = n_columns;
}

static void add_width(struct ucb_census_width *into, const struct ucb_census_width *from)
{
    into->n_blocks += from->n_blocks;
    into->distinct += from->distinct;
    into->n_nonzero += from->n_nonzero;
    into->n_repeats += from->n_repeats;
    for (size_t i = 0; i < UCB_CENSUS_MOST + 2; i++)
        into->by_distinct[i] += from->by_distinct[i];
    if (from->distinct_max > into->distinct_max) into->distinct_max = from->distinct_max;
}

void ucb_census_add(struct ucb_census *into, const struct ucb_census *from)
{
    assert(into->dtype == from->dtype);
    into->n_rows += from->n_rows;
    into->n_weights += from->n_weights;
    into->n_zeros += from->n_zeros;
    for (size_t i = 0; i < UCB_CENSUS_PATTERNS; i++) into->pattern[i] += from->pattern[i];
    for (size_t i = 0; i < 256; i++) {
        into->low[0][i] += from->low[0][i];
        into->low[1][i] += from->low[1][i];
    }
    into->mantissa_bits |= from->mantissa_bits;
    for (size_t i = 0; i < UCB_CENSUS_WIDTHS; i++)
        add_width(&into->width[i], &from->width[i]);
}

/* ---- blocks of one row ---- */

/* How far back a pattern was seen: in the same block of 16, 32 ... 256, in the row,
 * never. */
enum { N_LEVELS = UCB_CENSUS_WIDTHS + 1 };

struct places {
    uint64_t seen[N_LEVELS], zeros_seen[N_LEVELS], n_zeros;
};

static unsigned level_of(uint32_t distance)
{
    if (distance >= UCB_CENSUS_SEGMENT) return UCB_CENSUS_WIDTHS;
    if (distance >= 256) return UCB_CENSUS_ROW;
    return distance < 16 ? 0 : 28u - (unsigned)__builtin_clz(distance);
}

static uint64_t up_to(const uint64_t *counts, unsigned level)
{
    uint64_t n = 0;
    for (unsigned i = 0; i <= level; i++) n += counts[i];
    return n;
}

/* A block of n weights that began where `start` was counted ends at `now`. */
static void close_block(struct ucb_census_width *w, unsigned level, uint64_t n,
                        const struct places *start, const struct places *now)
{
    uint64_t repeats = up_to(now->seen, level) - up_to(start->seen, level),
             zeros_again = up_to(now->zeros_seen, level) - up_to(start->zeros_seen, level);
    uint64_t distinct = n - repeats - zeros_again;
    w->n_blocks++;
    w->distinct += distinct;
    w->n_nonzero += n - (now->n_zeros - start->n_zeros);
    w->n_repeats += repeats;
    w->by_distinct[distinct > UCB_CENSUS_MOST ? UCB_CENSUS_MOST + 1 : distinct]++;
    if (distinct > w->distinct_max) w->distinct_max = (uint32_t)distinct;
}

/* The places of one row, in order. */
struct row {
    struct ucb_census *census;
    struct places now, start[UCB_CENSUS_WIDTHS];
};

static void see(struct row *row, uint32_t column, uint32_t distance, bool is_zero)
{
    unsigned level = level_of(distance);
    row->now.n_zeros += is_zero;
    (is_zero ? row->now.zeros_seen : row->now.seen)[level]++;
    if (((column + 1) & 15) != 0) return;
    for (unsigned i = 0; i < UCB_CENSUS_ROW && ((column + 1) & ((16u << i) - 1)) == 0;
         i++) {
        close_block(&row->census->width[i], i, 16u << i, &row->start[i], &row->now);
        row->start[i] = row->now;
    }
}

static void end_row(struct row *row, size_t n)
{
    close_block(&row->census->width[UCB_CENSUS_ROW], UCB_CENSUS_ROW, n,
                &row->start[UCB_CENSUS_ROW], &row->now);
    row->census->n_zeros += row->now.n_zeros;
}

/* A new row: places of older ones no longer count. */
static uint32_t next_epoch(struct ucb_census_memory *m)
{
    if (++m->epoch == UINT16_MAX) {
        memset(m, 0, sizeof(*m));
        m->epoch = 1;
    }
    return m->epoch << 16;
}

/* ---- rows ---- */

static uint16_t load_16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t load_32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static void count_16(struct ucb_census *c, struct ucb_census_memory *m,
                     const uint8_t *weights, size_t n)
{
    uint32_t base = next_epoch(m);
    struct row row = {.census = c};
    for (uint32_t i = 0; i < n; i++) {
        uint16_t v = load_16(weights + 2 * (size_t)i);
        bool is_zero = (v & 0x7fffu) == 0;
        uint32_t key = is_zero ? 0 : v, here = base | i, distance = m->last[key] ^ here;
        m->last[key] = here;
        c->pattern[v]++;
        see(&row, i, distance, is_zero);
    }
    end_row(&row, n);
}

/* Open addressing; a slot that an older row filled is free. */
static uint32_t find_slot(const struct ucb_census_memory *m, uint32_t key, uint32_t base)
{
    enum { SLOTS = 2 * UCB_CENSUS_SEGMENT };
    uint32_t slot = (key * 0x9e3779b1u) >> 15;
    _Static_assert(SLOTS == 1 << 17, "the hash gives 17 bits");
    while ((m->last[slot] & 0xffff0000u) == base && m->key[slot] != key)
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

static void count_32(struct ucb_census *c, struct ucb_census_memory *m,
                     const uint8_t *weights, size_t n)
{
    uint32_t base = next_epoch(m);
    struct row row = {.census = c};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = load_32(weights + 4 * (size_t)i);
        bool is_zero = (v & 0x7fffffffu) == 0;
        uint32_t key = is_zero ? 0 : v, here = base | i, slot = find_slot(m, key, base),
                 distance = m->last[slot] ^ here;
        m->key[slot] = key;
        m->last[slot] = here;
        c->pattern[v >> 16]++;
        c->low[0][v & 0xff]++;
        c->low[1][v >> 8 & 0xff]++;
        uint32_t exponent = v >> 23 & 0xff;
        if (exponent != 0 && exponent != 0xff) c->mantissa_bits |= v & 0x7fffffu;
        see(&row, i, distance, is_zero);
    }
    end_row(&row, n);
}

/* A multiply-and-fold of 8 bytes a step; equal rows are told from different ones, nothing
 * more is asked of it. */
static uint64_t hash_of(const uint8_t *bytes, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, n - i < 8 ? n - i : 8);
        h = (h ^ word) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    return h;
}

void ucb_census_rows(struct ucb_census *c, struct ucb_census_memory *memory,
                     const uint8_t *rows, size_t n_rows, uint64_t *row_hash)
{
    size_t size = format_of(c->dtype).size_bytes, n = (size_t)c->n_columns;
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = rows + r * n * size;
        if (row_hash != NULL) row_hash[r] = hash_of(row, n * size);
        for (size_t i = 0; i < n; i += UCB_CENSUS_SEGMENT) {
            size_t m = n - i < UCB_CENSUS_SEGMENT ? n - i : UCB_CENSUS_SEGMENT;
            (size == 2 ? count_16 : count_32)(c, memory, row + i * size, m);
        }
    }
    c->n_rows += n_rows;
    c->n_weights += n_rows * n;
}

/* ---- entropy ---- */

double ucb_entropy_of(const uint64_t *counts, size_t n)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double k = (double)counts[i];
        total += k;
        if (counts[i] > 0) sum += k * log2(k);
    }
    return total > 0 ? log2(total) - sum / total : 0;
}

/* H(mantissa | exponent) = H(mantissa, exponent) - H(exponent), over the upper half. */
struct ucb_entropy ucb_census_entropy(const struct ucb_census *c)
{
    struct format f = format_of(c->dtype);
    uint64_t sign[2] = {0}, exponent[256] = {0}, magnitude[UCB_CENSUS_PATTERNS / 2];
    struct ucb_entropy e = {0};
    for (uint32_t v = 0; v < UCB_CENSUS_PATTERNS; v++) {
        sign[v >> 15] += c->pattern[v];
        exponent[(v & 0x7fffu) >> f.upper] += c->pattern[v];
    }
    for (uint32_t v = 0; v < UCB_CENSUS_PATTERNS / 2; v++)
        magnitude[v] = c->pattern[v] + c->pattern[v | 0x8000u];
    e.sign = ucb_entropy_of(sign, 2);
    e.exponent = ucb_entropy_of(exponent, 256);
    e.mantissa = ucb_entropy_of(magnitude, UCB_CENSUS_PATTERNS / 2) - e.exponent +
                 ucb_entropy_of(c->low[0], 256) + ucb_entropy_of(c->low[1], 256);
    e.total = e.sign + e.exponent + e.mantissa;
    return e;
}

/* ---- facts ---- */

static double square(double x)
{
    return x * x;
}

struct ucb_census_facts ucb_census_facts(const struct ucb_census *c)
{
    struct format f = format_of(c->dtype);
    struct ucb_census_facts facts = {0};
    uint32_t top = (1u << f.exponent) - 1, mantissas = c->mantissa_bits;
    uint64_t n_even = 0;
    double squares = 0, n = (double)(c->n_weights - c->n_zeros);
    for (uint32_t v = 0; v < UCB_CENSUS_PATTERNS; v++) {
        uint32_t exponent = v >> f.upper & top;
        if (c->pattern[v] == 0) continue;
        facts.n_patterns++;
        if (exponent == top) facts.n_nonfinite += c->pattern[v];
        if (f.size_bytes == 4 || (v & 0x7fffu) != 0)
            squares += square((double)c->pattern[v]);
        if (exponent == 0 || exponent == top) continue;
        facts.n_normal += c->pattern[v];
        if (f.size_bytes == 2) mantissas |= v & ((1u << f.upper) - 1);
        if (f.size_bytes == 2 && v % 2 == 0) n_even += c->pattern[v];
    }
    for (uint32_t i = 0; f.size_bytes == 4 && i < 256; i += 2) n_even += c->low[0][i];
    uint64_t all = f.size_bytes == 4 ? c->n_weights : facts.n_normal;
    facts.even_share = all > 0 ? (double)n_even / (double)all : 0;
    facts.collision = n > 0 ? squares / square(n) : 0;
    if (facts.n_normal > 0)
        facts.trailing_zeros = mantissas == 0 ? f.mantissa
                                              : (uint32_t)__builtin_ctz(mantissas);
    return facts;
}
