/*
 * grid.c - see grid.h.
 *
 * Numbers behind the thresholds (blocks of 32): bf16 weights of a normal law repeat 1.6 %
 * of their patterns and, being spread over several binades, as often between blocks as
 * within; all weights in one binade and of one sign would repeat 11 %. Grids with a scale
 * for each block repeat 59 % (Q4_1) to 9 % (Q8_0) within, and between blocks as dense
 * weights do.
 */
#include "model/grid.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "model/blocks.h"

enum {
    MIN_BLOCKS = 64,  /* fewer tell nothing */
    MIN_REPEATS = 64, /* for the ratio of two rates to mean something */
    BLOCK_BITS = 32,  /* scale and minimum, in half precision each */
    ROW_LEVELS = 256, /* the most that are called a grid */
    MIN_ROW = 64      /* weights */
};
static const double levels_repeat = 0.25, repeats_least = 0.03, excess_least = 4.0;

const char *ucb_grid_kind_name(enum ucb_grid_kind kind)
{
    static const char *const names[] = {"unknown", "dense",   "constant",
                                        "levels",  "repeats", "type"};
    assert((unsigned)kind < sizeof(names) / sizeof(names[0]));
    return names[kind];
}

static uint32_t bits_for(uint32_t levels)
{
    uint32_t bits = 0;
    while ((1u << bits) < levels) bits++;
    return bits;
}

/* ---- levels ---- */

/* What all but one block in a hundred stay within; above UCB_CENSUS_MOST when it is not
 * known. */
static uint32_t levels_of(const struct ucb_census_width *w)
{
    uint64_t more = 0, allowed = w->n_blocks / 100;
    for (uint32_t n = UCB_CENSUS_MOST + 2; n-- > 0;) {
        more += w->by_distinct[n];
        if (more > allowed) return n;
    }
    return 0;
}

static bool has_levels(const struct ucb_census *c, unsigned i, struct ucb_grid *out)
{
    const struct ucb_census_width *w = &c->width[i];
    bool is_row = i == UCB_CENSUS_ROW;
    uint64_t n = is_row ? c->n_columns : ucb_census_width_of(i);
    uint32_t levels = levels_of(w);
    if (w->n_blocks < (is_row ? 2 : MIN_BLOCKS) || (is_row && n < MIN_ROW)) return false;
    if (levels > ROW_LEVELS || 2 * (uint64_t)levels > n) return false;
    if (w->n_repeats < MIN_REPEATS ||
        (double)w->n_repeats < levels_repeat * (double)w->n_nonzero)
        return false;
    uint32_t bits = bits_for(levels);
    *out = (struct ucb_grid){.kind = UCB_GRID_LEVELS,
                             .width = ucb_census_width_of(i),
                             .levels = levels,
                             .bits = bits,
                             .bits_per_weight = bits + (double)BLOCK_BITS / (double)n};
    return true;
}

/* Ties go to the fewer levels. */
static bool find_levels(const struct ucb_census *c, struct ucb_grid *out)
{
    bool found = false;
    for (unsigned i = 0; i < UCB_CENSUS_WIDTHS; i++) {
        struct ucb_grid grid;
        if (!has_levels(c, i, &grid)) continue;
        if (!found || grid.bits_per_weight < out->bits_per_weight) *out = grid;
        found = true;
    }
    return found;
}

/* ---- repeats ---- */

static double rate(const struct ucb_census_width *w)
{
    return w->n_nonzero == 0 ? 0 : (double)w->n_repeats / (double)w->n_nonzero;
}

/* Weights of a block that are not zero, on average. */
static double filled(const struct ucb_census_width *w)
{
    return w->n_blocks == 0 ? 0 : (double)w->n_nonzero / (double)w->n_blocks;
}

/* How much likelier two weights of a block have one pattern than one of it and one of its
 * neighbour; the tensor at large stands in where blocks have no neighbours. */
static double excess(const struct ucb_census *c, unsigned i)
{
    const struct ucb_census_width *w = &c->width[i], *twice = &c->width[i + 1];
    bool has_neighbours = i + 1 < UCB_CENSUS_ROW && twice->n_blocks >= MIN_BLOCKS;
    double pairs = (filled(w) - 1) / 2, within = pairs <= 0 ? 0 : rate(w) / pairs;
    double between = has_neighbours ? (rate(twice) - rate(w)) / (filled(w) / 2)
                                    : ucb_census_facts(c).collision;
    /* One repeat more than was seen: what is too rare to be seen is not zero. */
    double least = 1.0 / ((double)w->n_nonzero * filled(w));
    return within / fmax(between, least);
}

/*
 * Bits of a grid whose blocks of n weights hold `distinct` patterns on average: as many as
 * n draws from M equally likely ones, M (1 - exp(-n / M)) = distinct. A normal law on steps
 * of a size that makes the largest of n weights the last level has M = 2 sqrt(pi) s with
 * s = 2^(bits - 1) / E[largest of n].
 */
static uint32_t estimate_bits(double n, double distinct)
{
    double low = 1, high = 1e6;
    for (int i = 0; i < 60; i++) {
        double middle = sqrt(low * high);
        if (middle * -expm1(-n / middle) < distinct)
            low = middle;
        else
            high = middle;
    }
    double largest = sqrt(2 * log(n)) - (log(log(n)) + 1.4) / (2 * sqrt(2 * log(n)));
    double bits = 1 + log2(low / 3.5449077 * largest);
    return bits < 2 ? 2 : bits > 8 ? 8 : (uint32_t)lrint(bits);
}

static bool find_repeats(const struct ucb_census *c, struct ucb_grid *out)
{
    double most = 0;
    for (unsigned i = 0; i + 1 < UCB_CENSUS_ROW; i++) {
        const struct ucb_census_width *w = &c->width[i];
        if (w->n_blocks < MIN_BLOCKS || w->n_repeats < MIN_REPEATS ||
            rate(w) < repeats_least)
            continue;
        double ratio = excess(c, i);
        if (ratio < excess_least || ratio <= most) continue;
        most = ratio;
        uint32_t width = ucb_census_width_of(i),
                 bits = estimate_bits(filled(w), filled(w) * (1 - rate(w)));
        *out = (struct ucb_grid){.kind = UCB_GRID_REPEATS,
                                 .width = width,
                                 .bits = bits,
                                 .bits_per_weight = bits + (double)BLOCK_BITS / width};
    }
    return most > 0;
}

/* ---- verdict ---- */

static bool is_constant(const struct ucb_census *c)
{
    const struct ucb_census_width *row = &c->width[UCB_CENSUS_ROW];
    return row->distinct_max == 1 &&
           (c->n_zeros == c->n_weights || ucb_census_facts(c).n_patterns == 1);
}

struct ucb_grid ucb_grid_of_census(const struct ucb_census *c)
{
    struct ucb_grid grid = {.kind = UCB_GRID_UNKNOWN};
    if (c->n_weights == 0) return grid;
    if (is_constant(c)) {
        grid.kind = UCB_GRID_CONSTANT;
        return grid;
    }
    uint64_t blocks = c->n_weights / 32;
    if (c->n_rows < 2 || c->n_columns < 16 || blocks < MIN_BLOCKS) return grid;
    if (find_levels(c, &grid) || find_repeats(c, &grid)) return grid;
    grid.kind = UCB_GRID_DENSE;
    return grid;
}

/* Weights of ggml's types that one scale belongs to, and bits of a code. */
struct ucb_grid ucb_grid_of_type(enum ucb_dtype dtype)
{
    static const struct {
        enum ucb_dtype dtype;
        uint8_t width, bits;
    } table[] = {{UCB_Q4_0, 32, 4}, {UCB_Q4_1, 32, 4},   {UCB_Q5_0, 32, 5},
                 {UCB_Q5_1, 32, 5}, {UCB_Q8_0, 32, 8},   {UCB_Q2_K, 16, 2},
                 {UCB_Q3_K, 16, 3}, {UCB_Q4_K, 32, 4},   {UCB_Q5_K, 32, 5},
                 {UCB_Q6_K, 16, 6}, {UCB_IQ4_NL, 32, 4}, {UCB_IQ4_XS, 32, 4}};
    struct ucb_grid grid = {.kind = UCB_GRID_TYPE, .type = dtype};
    assert(ucb_dtype_is_blocks(dtype));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].dtype == dtype) {
            grid.width = table[i].width;
            grid.bits = table[i].bits;
        }
    grid.levels = 1u << grid.bits;
    grid.bits_per_weight = 8.0 * ucb_dtype_block_bytes(dtype) /
                           ucb_dtype_block_elements(dtype);
    return grid;
}

const char *ucb_grid_text(const struct ucb_grid *g, char out[UCB_GRID_TEXT])
{
    const char *article = g->bits == 8 ? "an" : "a";
    switch (g->kind) {
    case UCB_GRID_UNKNOWN: snprintf(out, UCB_GRID_TEXT, "too few weights to tell"); break;
    case UCB_GRID_DENSE: snprintf(out, UCB_GRID_TEXT, "dense: no grid found"); break;
    case UCB_GRID_CONSTANT: snprintf(out, UCB_GRID_TEXT, "one value"); break;
    case UCB_GRID_TYPE:
        snprintf(out, UCB_GRID_TEXT, "%s: %s %u-bit grid in blocks of %u",
                 ucb_dtype_name(g->type), article, g->bits, g->width);
        break;
    case UCB_GRID_LEVELS:
        if (g->width == 0)
            snprintf(out, UCB_GRID_TEXT, "%u values per row: %s %u-bit grid", g->levels,
                     article, g->bits);
        else
            snprintf(out, UCB_GRID_TEXT, "%u values per block of %u: %s %u-bit grid",
                     g->levels, g->width, article, g->bits);
        break;
    case UCB_GRID_REPEATS:
        snprintf(out, UCB_GRID_TEXT,
                 "values repeat within blocks of %u: a grid of about %u bits", g->width,
                 g->bits);
        break;
    }
    return out;
}
