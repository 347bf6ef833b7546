/*
 * rANS: frequencies, slots, the encoders' words, and four streams that are read together.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "codec_seal.h"
#include "core/pcg.h"

TEST(frequencies_sum_to_a_power_of_two_and_none_is_lost)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 9, "frequencies");
    for (int round = 0; round < 2000; round++) {
        uint32_t counts[RANS_WIDE] = {0};
        uint16_t f[RANS_WIDE];
        unsigned n = round % 2 ? RANS_NARROW : RANS_WIDE, sum = 0;
        for (unsigned i = 0; i < n; i++)
            counts[i] = ucb_pcg_below(&r, 3)
                            ? ucb_pcg_below(&r, 1u << ucb_pcg_below(&r, 25))
                            : 0;
        counts[round % n] += 1;
        rans_normalise(counts, n, f);
        for (unsigned i = 0; i < n; i++) {
            CHECK(f[i] > 0 || counts[i] == 0);
            CHECK(f[i] < RANS_SUM);
            sum += f[i];
        }
        CHECK_EQ(sum, RANS_SUM);
        struct rans_table t = {.n_symbols = n};
        uint32_t slots[RANS_SUM];
        uint8_t seen[RANS_SUM] = {0};
        memcpy(t.frequency, f, sizeof(f));
        rans_slots_make(&t, slots);
        for (unsigned i = 0, start[RANS_WIDE], at = 0; i < RANS_SUM; i++) {
            if (i == 0)
                for (unsigned s = 0; s < n; s++) start[s] = at, at += f[s];
            unsigned symbol = slots[i] >> 24, rank = slots[i] >> 12 & 0xfff;
            CHECK_EQ((slots[i] & 0xfff) + 1, f[symbol]);
            CHECK(rank < f[symbol]);
            CHECK_EQ(seen[start[symbol] + rank]++, 0);
        }
    }
}

TEST(vectors_encode_the_words_and_states_that_the_scalar_encoder_does)
{
    enum { N = 3000 };
    static uint8_t symbols[N];
    static uint16_t words[2][N + 2 * RANS_LANES];
    static struct rans_encoder encoder;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 10, "encode");
    for (int round = 0; round < 400; round++) {
        struct rans_table t = {.n_symbols = RANS_NARROW};
        uint32_t counts[RANS_NARROW] = {0}, states[2][RANS_LANES];
        unsigned n_used = 2 + ucb_pcg_below(&r, RANS_NARROW - 2);
        size_t n = ucb_pcg_below(&r, N), n_words[2];
        for (unsigned i = 0; i < n_used; i++)
            counts[i] = 1 + ucb_pcg_below(&r, 1u << ucb_pcg_below(&r, 25));
        rans_normalise(counts, RANS_NARROW, t.frequency);
        rans_encoder_make(&t, &encoder);
        for (size_t i = 0; i < n; i++) symbols[i] = (uint8_t)ucb_pcg_below(&r, n_used);
        for (unsigned i = 0; i < RANS_LANES; i++)
            states[0][i] = states[1][i] = RANS_START | ucb_pcg_below(&r, 1u << 16);
        for (enum ucb_codec_path p = UCB_CODEC_SCALAR; p <= ucb_codec_path_best(); p++)
            n_words[p] = rans_encode(&encoder, p, symbols, n, words[p] + N + 2 * RANS_LANES,
                                     states[p]);
        if (ucb_codec_path_best() == UCB_CODEC_SCALAR) continue;
        CHECK_EQ(n_words[1], n_words[0]);
        CHECK(memcmp(states[1], states[0], sizeof(states[0])) == 0);
        CHECK(memcmp(words[1] + N + 2 * RANS_LANES - n_words[0],
                     words[0] + N + 2 * RANS_LANES - n_words[0], 2 * n_words[0]) == 0);
    }
}

/* ---- four chunks of one size, which the vectors read together ---- */

enum { N_TOGETHER = RANS_TOGETHER * CODEC_CHUNK_WEIGHTS };

/* Signs and mantissas at random, exponents of a bell's kind, in each chunk at another
 * place: all are entropy, by tables of their own. */
static void make_together(uint16_t *data, struct ucb_writer *coded, struct ucb_codec *codec)
{
    struct ucb_codec_source source = {UCB_BF16, data, 2 * N_TOGETHER, 256};
    struct ucb_arena scratch = {0};
    struct ucb_pcg r;
    struct ucb_err err;
    ucb_pcg_named(&r, 11, "together");
    for (size_t i = 0; i < N_TOGETHER; i++) {
        uint32_t x = ucb_pcg_below(&r, 1u << 24);
        unsigned exponent = 120 - 20 * (unsigned)(i / CODEC_CHUNK_WEIGHTS) -
                            (unsigned)__builtin_ctz(x | 1u << 18);
        data[i] = (uint16_t)((x >> 23) << 15 | exponent << 7 | (x >> 16 & 127));
    }
    CHECK_OK(ucb_codec_encode(&source, UCB_CODEC_DEFAULT, NULL, &scratch, coded, &err),
             err);
    CHECK_OK(
        ucb_codec_open(UCB_BF16, 2 * N_TOGETHER, coded->data, coded->n_bytes, codec, &err),
        err);
    for (uint32_t i = 0; i < RANS_TOGETHER; i++) {
        struct codec_entry e;
        codec_entry_get(codec, i, &e);
        CHECK_EQ(e.coder, CODER_ENTROPY);
        CHECK_EQ(e.table, i + 1);
    }
    ucb_arena_free(&scratch);
}

/* In memory exactly as long as they are, so that a sanitizer sees what passes their end. */
static ucb_status decode_together(const uint8_t *bytes, size_t n_bytes,
                                  enum ucb_codec_path path, uint16_t *out)
{
    struct ucb_codec codec;
    uint8_t *tight = malloc(n_bytes);
    memcpy(tight, bytes, n_bytes);
    ucb_status status = ucb_codec_open(UCB_BF16, 2 * N_TOGETHER, tight, n_bytes, &codec,
                                       NULL);
    codec.path = path;
    if (status == UCB_OK)
        status = ucb_codec_decode(&codec, 0, 2 * N_TOGETHER, NULL, out, NULL);
    free(tight);
    return status;
}

/* One chunk's states, number of words or words, or the tables. */
static void damage(const struct ucb_codec *codec, size_t n_bytes, struct ucb_pcg *r,
                   uint8_t *bytes)
{
    struct codec_entry e;
    codec_entry_get(codec, ucb_pcg_below(r, RANS_TOGETHER), &e);
    uint8_t *chunk = bytes + (codec->data - codec->index) + CODEC_HEADER_BYTES + e.coded,
            bit = (uint8_t)(1u << ucb_pcg_below(r, 8));
    uint32_t n_words = ucb_load_u32(chunk + RANS_LANES * 4);
    switch (ucb_pcg_below(r, 4)) {
    case 0: chunk[ucb_pcg_below(r, RANS_LANES * 4)] ^= bit; break;
    case 1:
        n_words += ucb_pcg_below(r, 2 * RANS_LANES) - RANS_LANES;
        memcpy(chunk + RANS_LANES * 4, &n_words, sizeof(n_words));
        break;
    case 2: chunk[e.n_bytes - 1 - ucb_pcg_below(r, 2 * n_words)] ^= bit; break;
    default: bytes[n_bytes - 1 - ucb_pcg_below(r, codec->table_bytes)] ^= bit;
    }
}

TEST(chunks_that_are_read_together_come_back_and_their_damage_is_refused_by_every_path)
{
    struct ucb_writer coded = {0};
    struct ucb_codec codec;
    struct ucb_pcg r;
    uint16_t *data = malloc(2 * N_TOGETHER), *out = malloc(2 * N_TOGETHER);
    make_together(data, &coded, &codec);
    uint8_t *bytes = malloc(coded.n_bytes);
    int n_refused = 0;
    ucb_pcg_named(&r, 12, "damage");
    for (enum ucb_codec_path p = UCB_CODEC_SCALAR; p <= ucb_codec_path_best(); p++) {
        CHECK_EQ(decode_together(coded.data, coded.n_bytes, p, out), UCB_OK);
        CHECK(memcmp(out, data, 2 * N_TOGETHER) == 0);
    }
    for (int round = 0; round < 100; round++) {
        memcpy(bytes, coded.data, coded.n_bytes);
        damage(&codec, coded.n_bytes, &r, bytes);
        codec_seal(bytes, coded.n_bytes);
        ucb_status scalar = decode_together(bytes, coded.n_bytes, UCB_CODEC_SCALAR, out);
        /* nothing was changed, or a table that no chunk has come to use */
        CHECK(scalar == UCB_CORRUPT || memcmp(out, data, 2 * N_TOGETHER) == 0);
        CHECK_EQ(decode_together(bytes, coded.n_bytes, ucb_codec_path_best(), out), scalar);
        n_refused += scalar != UCB_OK;
    }
    CHECK(n_refused > 80);
    free(data);
    free(out);
    free(bytes);
    ucb_writer_free(&coded);
}
