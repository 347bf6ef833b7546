/* The byte coders: round trips, sizes near the entropy, known bytes, and what a hostile
 * stream is answered with. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/entropy.h"
#include "core/pcg.h"

typedef size_t encoder(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model);
typedef ucb_status decoder(const uint8_t *data, size_t n_bytes, uint8_t *symbols, size_t n,
                           struct ucb_err *err);
static const struct coder {
    const char *name;
    encoder *encode;
    decoder *decode;
} coders[] = {{"huffman", ucb_entropy_huffman, ucb_entropy_huffman_decode},
              {"rans", ucb_entropy_rans, ucb_entropy_rans_decode},
              {"any", ucb_entropy_encode, ucb_entropy_decode}};
enum { N_CODERS = 3, MOST = 20000 };

static uint8_t symbols[MOST], again[MOST], coded[4 * MOST];
static struct ucb_err err;

static void fill_empty(struct ucb_pcg *r, size_t n)
{
    (void)r, (void)n;
}

static void fill_one_symbol(struct ucb_pcg *r, size_t n)
{
    (void)r;
    memset(symbols, 200, n);
}

static void fill_uniform(struct ucb_pcg *r, size_t n)
{
    for (size_t i = 0; i < n; i++) symbols[i] = (uint8_t)ucb_pcg_next(r);
}

/* Sums of four bytes, as the exponents of normal deviates are distributed. */
static void fill_skewed(struct ucb_pcg *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t a = ucb_pcg_next(r) & 0x0f0f0f0f;
        symbols[i] = (uint8_t)((a & 255) + (a >> 8 & 255) + (a >> 16 & 255) + (a >> 24));
    }
}

/* One symbol nearly always: rANS goes below one bit. */
static void fill_rare(struct ucb_pcg *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        symbols[i] = ucb_pcg_below(r, 500) == 0 ? (uint8_t)ucb_pcg_next(r) : 7;
}

/* Counts that double: an unlimited Huffman code would be 20 bits long. */
static void fill_doubling(struct ucb_pcg *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        symbols[i] = (uint8_t)(ucb_pcg_next(r) == 0
                                   ? 40
                                   : __builtin_ctz((unsigned)i | 1u << 20));
}

static void (*const fills[])(struct ucb_pcg *r, size_t n) = {
    fill_empty, fill_one_symbol, fill_uniform, fill_skewed, fill_rare, fill_doubling};
enum { N_FILLS = sizeof(fills) / sizeof(*fills) };

static double entropy_bytes(size_t n)
{
    size_t count[256] = {0};
    double bits = 0;
    for (size_t i = 0; i < n; i++) count[symbols[i]]++;
    for (int s = 0; s < 256; s++)
        if (count[s] > 0) bits -= (double)count[s] * log2((double)count[s] / (double)n);
    return bits / 8;
}

TEST(every_coder_gives_back_what_it_was_given_at_any_length)
{
    static const size_t lengths[] = {0, 1, 2, 3, 7, 255, 256, 257, 4096, MOST};
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "entropy");
    for (size_t f = 0; f < N_FILLS; f++)
        for (size_t k = 0; k < sizeof(lengths) / sizeof(*lengths); k++)
            for (size_t c = 0; c < N_CODERS; c++) {
                size_t n = lengths[k], n_model = 99999;
                fills[f](&r, n);
                memset(again, 77, sizeof(again));
                size_t n_bytes = coders[c].encode(symbols, n, coded, &n_model);
                CHECK(n_bytes <= ucb_entropy_bound(n) && n_model <= n_bytes);
                CHECK_OK(coders[c].decode(coded, n_bytes, again, n, &err), err);
                CHECK(memcmp(symbols, again, n) == 0);
                CHECK(n == MOST || again[n] == 77);
            }
}

TEST(streams_are_as_long_as_the_entropy_says)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 2, "entropy");
    for (size_t f = 1; f < N_FILLS; f++) {
        size_t n_model, n_bytes;
        fills[f](&r, MOST);
        double least = entropy_bytes(MOST);
        n_bytes = ucb_entropy_rans(symbols, MOST, coded, &n_model);
        /* frequencies of 12 bits: within 1 %, and a state, but where 255 symbols that
         * hardly occur take 1 / 4096 each */
        CHECK((double)(n_bytes - n_model) >= least);
        if (fills[f] != fill_rare) CHECK((double)(n_bytes - n_model) <= 1.01 * least + 5);
        n_bytes = ucb_entropy_huffman(symbols, MOST, coded, &n_model);
        CHECK((double)(n_bytes - n_model) >= least);
        CHECK((double)(n_bytes - n_model) <= least + MOST / 8.0 + 1); /* one bit a symbol */
        size_t any = ucb_entropy_encode(symbols, MOST, coded, &n_model);
        CHECK(any <= n_bytes + 1 && any <= MOST + 1);
    }
}

TEST(the_bytes_of_small_streams_are_known)
{
    /* a a b: codes 0 and 1, so 001 and padding; the model is the map and two
     * lengths of 1 */
    const uint8_t text[] = {'a', 'a', 'b'};
    uint8_t expected[34] = {0};
    size_t n_model;
    expected['a' / 8] = 1u << 'a' % 8 | 1u << 'b' % 8;
    expected[33] = 0x20;
    CHECK_EQ(ucb_entropy_huffman(text, 3, coded, &n_model), 34);
    CHECK_EQ(n_model, 33);
    CHECK(memcmp(coded, expected, sizeof(expected)) == 0);
    /* one symbol: the map alone, however long; plain bytes where that is shorter */
    fill_one_symbol(NULL, MOST);
    CHECK_EQ(ucb_entropy_rans(symbols, MOST, coded, &n_model), 32);
    CHECK_EQ(ucb_entropy_huffman(symbols, MOST, coded, &n_model), 32);
    CHECK_EQ(ucb_entropy_encode(text, 3, coded, &n_model), 4);
    CHECK(coded[0] == 0 && n_model == 1 && memcmp(coded + 1, text, 3) == 0);
    /* rANS, frequencies 2731 and 1365: b, a, a from the state 2^23 */
    uint32_t state = UINT32_C(1) << 23;
    state = (state / 1365 << 12) + state % 1365 + 2731;
    for (int i = 0; i < 2; i++) state = (state / 2731 << 12) + state % 2731;
    CHECK_EQ(ucb_entropy_rans(text, 3, coded, &n_model), 38);
    CHECK_EQ(coded[32] | (coded[33] & 15) << 8, 2730);
    for (int i = 0; i < 4; i++) CHECK_EQ(coded[34 + i], state >> 8 * i & 255);
}

TEST(a_limited_huffman_code_is_optimal)
{
    /* Fibonacci counts make the longest codes: 18 bits for 19 symbols. The oracle tries
     * every set of lengths that fills the code, by dynamic programming over units of
     * 2^-15. */
    enum { N = 19, UNITS = 1 << 15 };
    static double best[N + 1][UNITS + 1];
    size_t count[N], n = 0, n_model;
    for (int s = 0; s < N; s++) count[s] = s < 2 ? 1 : count[s - 1] + count[s - 2];
    for (int s = 0; s < N; s++)
        for (size_t k = 0; k < count[s]; k++) symbols[n++] = (uint8_t)s;
    for (int s = 0; s <= N; s++)
        for (int u = 0; u <= UNITS; u++) best[s][u] = s == 0 && u == 0 ? 0 : 1e300;
    for (int s = 0; s < N; s++)
        for (int u = 0; u <= UNITS; u++)
            for (int len = 1; len <= 15 && best[s][u] < 1e299; len++) {
                int next = u + (UNITS >> len);
                double cost = best[s][u] + (double)count[s] * len;
                if (next <= UNITS && cost < best[s + 1][next]) best[s + 1][next] = cost;
            }
    size_t n_bytes = ucb_entropy_huffman(symbols, n, coded, &n_model);
    CHECK_EQ(n_bytes - n_model, ((size_t)best[N][UNITS] + 7) / 8);
}

TEST(coders_refuse_every_truncation_and_a_trailing_byte)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 3, "entropy");
    for (size_t f = 1; f < N_FILLS; f++)
        for (size_t c = 0; c < N_CODERS; c++) {
            size_t n = 700, n_model;
            fills[f](&r, n);
            size_t n_bytes = coders[c].encode(symbols, n, coded, &n_model);
            for (size_t cut = 0; cut < n_bytes; cut++) {
                uint8_t *tight = malloc(cut == 0 ? 1 : cut); /* a sanitizer sees overruns */
                memcpy(tight, coded, cut);
                CHECK_STATUS(coders[c].decode(tight, cut, again, n, &err), UCB_CORRUPT,
                             err);
                free(tight);
            }
            coded[n_bytes] = 0;
            CHECK_STATUS(coders[c].decode(coded, n_bytes + 1, again, n, &err), UCB_CORRUPT,
                         err);
        }
}

TEST(coders_survive_noise_and_every_flipped_byte)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 4, "entropy");
    for (size_t c = 0; c < N_CODERS; c++) {
        size_t n = 300, n_model;
        fill_skewed(&r, n);
        size_t n_bytes = coders[c].encode(symbols, n, coded, &n_model);
        for (size_t i = 0; i < n_bytes; i++) {
            uint8_t kept = coded[i];
            coded[i] ^= (uint8_t)(1 + ucb_pcg_below(&r, 255));
            ucb_status status = coders[c].decode(coded, n_bytes, again, n, &err);
            CHECK(status == UCB_OK || status == UCB_CORRUPT);
            coded[i] = kept;
        }
        for (int round = 0; round < 2000; round++) {
            n_bytes = ucb_pcg_below(&r, 600);
            for (size_t i = 0; i < n_bytes; i++) coded[i] = (uint8_t)ucb_pcg_next(&r);
            ucb_status status = coders[c].decode(coded, n_bytes, again, n, &err);
            CHECK(status == UCB_OK || status == UCB_CORRUPT);
        }
    }
}

TEST(a_rans_stream_must_end_where_its_encoder_began)
{
    size_t n_model;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 5, "entropy");
    fill_skewed(&r, 1000);
    size_t n_bytes = ucb_entropy_rans(symbols, 1000, coded, &n_model);
    bool has_other_end = false;
    for (int bit = 0; bit < 8; bit++) {
        coded[n_bytes - 1] ^= (uint8_t)(1 << bit);
        CHECK_STATUS(ucb_entropy_rans_decode(coded, n_bytes, again, 1000, &err),
                     UCB_CORRUPT, err);
        has_other_end |= strstr(err.text, "ends with state") != NULL;
        coded[n_bytes - 1] ^= (uint8_t)(1 << bit);
    }
    CHECK(has_other_end);
    coded[n_model + 3] = 0xff; /* a state past 2^31 */
    CHECK_STATUS(ucb_entropy_rans_decode(coded, n_bytes, again, 1000, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "begins with state");
}
