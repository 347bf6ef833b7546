/* codec_digest.c - mix64, see codec.h. */
#include <assert.h>
#include <string.h>

#include "codec/codec.h"
#include "core/clones.h"

enum {
    N_LANES = UCB_MIX64_LANES,
    STRIPE = UCB_MIX64_STRIPE,
    WIDTH = 8,
    N_VECTORS = N_LANES / WIDTH
};
typedef uint64_t lanes8 __attribute__((vector_size(64)));

static const uint64_t factor = UCB_MIX64_FACTOR;

UCB_CLONES static void add_stripes(uint64_t *lanes, const uint8_t *data, size_t n)
{
    lanes8 acc[N_VECTORS], word;
    memcpy(acc, lanes, sizeof(acc));
    for (size_t i = 0; i < n; i++, data += STRIPE)
        for (int v = 0; v < N_VECTORS; v++) {
            memcpy(&word, data + v * sizeof(word), sizeof(word));
            acc[v] = (acc[v] ^ word) * factor;
            acc[v] ^= acc[v] >> 32;
        }
    memcpy(lanes, acc, sizeof(acc));
}

void ucb_mix64_begin(struct ucb_mix64_state *state)
{
    state->n_bytes = 0;
    for (unsigned i = 0; i < N_LANES; i++) state->lanes[i] = factor * (i + 1);
}

void ucb_mix64_add(struct ucb_mix64_state *state, const void *data, size_t n_bytes)
{
    const uint8_t *bytes = data;
    size_t whole = n_bytes / STRIPE, rest = n_bytes % STRIPE;
    assert(state->n_bytes % STRIPE == 0);
    add_stripes(state->lanes, bytes, whole);
    if (rest > 0) {
        uint8_t last[STRIPE] = {0};
        memcpy(last, bytes + whole * STRIPE, rest);
        add_stripes(state->lanes, last, 1);
    }
    state->n_bytes += n_bytes;
}

uint64_t ucb_mix64_end(const struct ucb_mix64_state *state)
{
    uint64_t sum = state->n_bytes * factor;
    for (int i = 0; i < N_LANES; i++) {
        sum = (sum ^ state->lanes[i]) * factor;
        sum ^= sum >> 29;
    }
    return sum;
}

uint64_t ucb_mix64(const void *data, size_t n_bytes)
{
    struct ucb_mix64_state state;
    ucb_mix64_begin(&state);
    ucb_mix64_add(&state, data, n_bytes);
    return ucb_mix64_end(&state);
}
