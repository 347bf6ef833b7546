/* Payloads of the residual whose streams are sound and whose symbols no encoder writes. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "core/half.h"
#include "method/method.h"

extern const struct ucb_method ucb_method_residual;

enum { N = 128, LAST_SYMBOL = 247, LAST_RAW_BITS = 28 };

/* N weights of one class whose symbols are given, and n_raw zeros behind them. */
static void make_payload(const uint8_t *symbols, uint32_t n_raw, struct ucb_arena *scratch,
                         struct ucb_writer *out)
{
    const uint32_t heads[9] = {n_raw, N};
    struct ucb_writer streams = {0};
    struct ucb_err err;
    uint64_t lengths[8];
    for (int c = 0; c < 8; c++) {
        struct ucb_codec_source source = {UCB_U8, symbols, c == 0 ? N : 0, 0};
        size_t before = streams.n_bytes;
        CHECK_OK(
            ucb_codec_encode(&source, UCB_CODEC_DEFAULT, NULL, scratch, &streams, &err),
            err);
        lengths[c] = streams.n_bytes - before;
    }
    ucb_put_bytes(out, heads, sizeof(heads));
    ucb_put_bytes(out, lengths, sizeof(lengths));
    ucb_put_bytes(out, streams.data, streams.n_bytes);
    for (uint32_t i = 0; i < n_raw; i++) ucb_put_u8(out, 0);
    ucb_writer_free(&streams);
}

/* Of a row of ones, in memory exactly as long as the payload is. */
static ucb_status decode(const uint8_t *symbols, uint32_t n_raw, uint16_t bits[N])
{
    const struct ucb_matrix matrix = {
        .name = "m", .n_out = 1, .n_in = N, .dtype = UCB_BF16};
    struct ucb_arena arena = {0};
    struct ucb_job job = {
        .method = &ucb_method_residual, .arena = &arena, .scratch = &arena};
    struct ucb_writer payload = {0};
    struct ucb_err err;
    float before[N];
    for (int i = 0; i < N; i++) before[i] = 1;
    make_payload(symbols, n_raw, &arena, &payload);
    uint8_t *tight = malloc(payload.n_bytes);
    memcpy(tight, payload.data, payload.n_bytes);
    struct ucb_reader in = {.data = tight, .n_bytes = payload.n_bytes};
    void *state = ucb_arena_alloc(&arena, ucb_method_residual.state_bytes(&job, &matrix));
    ucb_status status = ucb_method_residual.open(&job, &matrix, &in, state, &err);
    if (status == UCB_OK)
        status = ucb_method_residual.decode_bits(state, 0, 1, before, bits, &err);
    free(tight);
    ucb_writer_free(&payload);
    ucb_arena_free(&arena);
    return status;
}

TEST(symbols_that_no_residual_has_are_refused_wherever_they_stand)
{
    uint8_t symbols[N] = {0};
    uint16_t bits[N];
    CHECK_EQ(decode(symbols, 0, bits), UCB_OK);
    for (int i = 0; i < N; i++) CHECK_EQ(bits[i], ucb_bf16_from_f32(1));
    for (int i = 0; i < N; i++)
        for (int symbol = LAST_SYMBOL + 1; symbol < 256; symbol++) {
            symbols[i] = (uint8_t)symbol;
            CHECK_EQ(decode(symbols, 0, bits), UCB_CORRUPT);
            symbols[i] = 0;
        }
}

/* The longest raw bits there are: the first 64 weights are read ahead, the last are not. */
TEST(a_residual_of_the_longest_symbols_reads_all_of_its_raw_bits_and_no_more)
{
    enum { N_RAW = N * LAST_RAW_BITS / 8 };
    uint8_t symbols[N];
    uint16_t bits[N];
    memset(symbols, LAST_SYMBOL, sizeof(symbols));
    CHECK_EQ(decode(symbols, N_RAW, bits), UCB_OK);
    for (uint32_t n = 0; n < 2 * N_RAW; n++)
        if (n != N_RAW) CHECK_EQ(decode(symbols, n, bits), UCB_CORRUPT);
}
