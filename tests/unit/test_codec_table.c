/* Frequency tables as bytes: every table comes back, and has one form only. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "core/pcg.h"

/* A table of made-up counts; narrow ones with some ranks, and exponents that fall. */
static void make(struct ucb_pcg *r, unsigned n_symbols, struct rans_table *t)
{
    uint32_t counts[RANS_WIDE] = {0};
    unsigned n_ranks = 1 + ucb_pcg_below(r, RANS_ESCAPE), exponent = 256,
             spread = 1 + ucb_pcg_below(r, 25), used = 1 + ucb_pcg_below(r, 4);
    *t = (struct rans_table){.n_symbols = n_symbols};
    for (unsigned rank = 0; n_symbols == RANS_NARROW && rank < n_ranks; rank++) {
        unsigned room = exponent - (n_ranks - rank);
        exponent -= 1 + ucb_pcg_below(r, room < 9 ? room + 1 : ucb_pcg_below(r, 2) * 9 + 1);
        t->exponents[rank] = (uint8_t)exponent;
    }
    for (unsigned i = 0; i < n_symbols; i++) {
        bool ranked = n_symbols == RANS_WIDE || i / 4 < n_ranks || i / 4 == RANS_ESCAPE;
        if (ranked && ucb_pcg_below(r, 4) < used)
            counts[i] = ucb_pcg_below(r, 1u << ucb_pcg_below(r, spread));
        if (n_symbols == RANS_NARROW && ranked && i % 4 == 1) counts[i] += 1;
    }
    counts[1] += 1;
    rans_normalise(counts, n_symbols, t->frequency);
}

static bool same(const struct rans_table *a, const struct rans_table *b)
{
    return a->n_symbols == b->n_symbols &&
           memcmp(a->frequency, b->frequency, sizeof(a->frequency)) == 0 &&
           memcmp(a->exponents, b->exponents, sizeof(a->exponents)) == 0;
}

/* In memory exactly as long as they are, so that a sanitizer sees what passes their end. */
static bool get_tight(const uint8_t *bytes, size_t n, unsigned n_symbols,
                      struct rans_table *out)
{
    uint8_t *tight = malloc(n == 0 ? 1 : n);
    memcpy(tight, bytes, n);
    bool good = rans_table_get(tight, n, n_symbols, out);
    free(tight);
    return good;
}

TEST(tables_of_any_frequencies_come_back_from_their_bytes)
{
    struct ucb_pcg r;
    struct rans_table t, back;
    uint8_t bytes[RANS_TABLE_MOST];
    ucb_pcg_named(&r, 1, "tables");
    for (int round = 0; round < 4000; round++) {
        make(&r, round % 2 ? RANS_NARROW : RANS_WIDE, &t);
        size_t n = rans_table_put(&t, bytes);
        CHECK_EQ(rans_table_bytes(&t), n);
        CHECK(get_tight(bytes, n, t.n_symbols, &back));
        CHECK(same(&t, &back));
    }
}

TEST(the_longest_numbers_that_a_table_can_need_fit_its_room)
{
    struct rans_table t = {.n_symbols = RANS_WIDE}, back;
    uint8_t bytes[RANS_TABLE_MOST];
    t.frequency[0] = 1;
    t.frequency[RANS_WIDE - 1] = RANS_SUM - 1; /* after zeros, when the order is lowest */
    CHECK(get_tight(bytes, rans_table_put(&t, bytes), RANS_WIDE, &back));
    CHECK(same(&t, &back));
    for (unsigned i = 0; i < RANS_WIDE; i++) t.frequency[i] = i % 16 == 0 ? 256 : 0;
    CHECK(get_tight(bytes, rans_table_put(&t, bytes), RANS_WIDE, &back));
    CHECK(same(&t, &back));
}

/* Anything that is taken for a table is the bytes that the table is written as. */
static void check_one_form(const uint8_t *bytes, size_t n, unsigned n_symbols)
{
    struct rans_table t;
    uint8_t again[RANS_TABLE_MOST];
    unsigned sum = 0;
    if (!get_tight(bytes, n, n_symbols, &t)) return;
    CHECK_EQ(rans_table_put(&t, again), n);
    CHECK(memcmp(again, bytes, n) == 0);
    for (unsigned i = 0; i < n_symbols; i++) sum += t.frequency[i];
    CHECK_EQ(sum, RANS_SUM);
    for (unsigned k = 1; n_symbols == RANS_NARROW && k < RANS_ESCAPE; k++)
        CHECK(t.exponents[k] < t.exponents[k - 1] || t.exponents[k] == 0);
}

TEST(tables_cut_short_lengthened_or_changed_are_refused_or_tables_of_one_form)
{
    struct ucb_pcg r;
    struct rans_table t, out;
    uint8_t bytes[RANS_TABLE_MOST + 1];
    ucb_pcg_named(&r, 2, "tables");
    for (int round = 0; round < 300; round++) {
        make(&r, round % 2 ? RANS_NARROW : RANS_WIDE, &t);
        size_t n = rans_table_put(&t, bytes);
        for (size_t cut = 0; cut < n; cut++)
            CHECK(!get_tight(bytes, cut, t.n_symbols, &out));
        bytes[n] = 0;
        CHECK(!get_tight(bytes, n + 1, t.n_symbols, &out));
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            check_one_form(bytes, n, t.n_symbols);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (int i = 0; i < 200; i++) {
            for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)ucb_pcg_next(&r);
            check_one_form(bytes, n, t.n_symbols);
        }
    }
}

TEST(ranks_of_no_frequency_and_exponents_below_zero_are_refused)
{
    struct rans_table t = {.n_symbols = RANS_NARROW, .exponents = {9, 4, 2}}, out;
    uint8_t bytes[RANS_TABLE_MOST];
    t.frequency[0] = 2000, t.frequency[4] = 2000, t.frequency[8] = 96;
    CHECK(get_tight(bytes, rans_table_put(&t, bytes), RANS_NARROW, &out));
    CHECK(same(&t, &out));
    t.exponents[1] =
        0; /* the next one's distance, modulo 256 or not, has no number below */
    CHECK(!get_tight(bytes, rans_table_put(&t, bytes), RANS_NARROW, &out));
    t.exponents[1] = 4;
    t.frequency[8] = 0, t.frequency[4 * RANS_ESCAPE] = 96; /* rank 2 is not put */
    t.exponents[2] = 0;
    CHECK(get_tight(bytes, rans_table_put(&t, bytes), RANS_NARROW, &out));
    CHECK(same(&t, &out));
    t.frequency[0]--; /* a sum of 4095 */
    CHECK(!get_tight(bytes, rans_table_put(&t, bytes), RANS_NARROW, &out));
    memset(bytes, 0, sizeof(bytes)); /* no rank at all */
    for (size_t n = 0; n < 20; n++) CHECK(!get_tight(bytes, n, RANS_NARROW, &out));
}
