/*
 * gptq_pack.c - codes in 32-bit words as AutoGPTQ's v1 layout has them: a little-endian bit
 * stream, so that 4-bit codes go 8 to a word and 32 codes of 3 bits fill 3 words, two of
 * them lying across a word's end.
 */
#include "gptq.h"

#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"

enum { SPAN = 32 }; /* so many codes fill whole words, whatever their bits */

struct pack_run {
    const struct gptq_layout *layout;
    const uint8_t *codes;
    uint8_t *words;
};

/* The words of at most SPAN codes of each lane. */
UCB_CLONES static void pack_span(const uint8_t *codes, size_t n, unsigned bits,
                                 ucb_u32x16 *words)
{
    for (size_t i = 0; i < n; i++) {
        size_t word = i * bits / 32;
        unsigned shift = (unsigned)(i * bits % 32);
        ucb_u32x16 code = ucb_lanes_load_u8(codes + i * GPTQ_PANEL);
        words[word] |= code << shift;
        if (shift + bits > 32) words[word + 1] |= code >> (32 - shift);
    }
}

static void pack_panel(void *context, size_t panel)
{
    const struct pack_run *run = context;
    const struct gptq_layout *l = run->layout;
    const uint8_t *codes = run->codes + panel * l->n_in * GPTQ_PANEL;
    size_t row = panel * GPTQ_PANEL, n_rows = l->n_out - row;
    if (n_rows > GPTQ_PANEL) n_rows = GPTQ_PANEL;
    for (size_t i = 0; i < l->n_in; i += SPAN) {
        ucb_u32x16 words[8] = {{0}};
        size_t n = l->n_in - i < SPAN ? l->n_in - i : SPAN, first = i / SPAN * l->bits;
        pack_span(codes + i * GPTQ_PANEL, n, l->bits, words);
        for (size_t word = 0; word < gptq_words(n, l->bits); word++)
            memcpy(run->words + 4 * ((first + word) * l->n_out + row), &words[word],
                   4 * n_rows);
    }
}

void gptq_pack_codes(const struct gptq_layout *layout, const uint8_t *codes, uint8_t *words,
                     struct ucb_pool *pool)
{
    struct pack_run run = {layout, codes, words};
    ucb_parallel_for(pool, layout->n_panels, pack_panel, &run);
}

void gptq_pack_zeros(const float *zeros, size_t n, unsigned bits, uint8_t *words)
{
    uint64_t pending = 0;
    unsigned held = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t stored = ((uint32_t)zeros[i] - 1) & ((1u << bits) - 1);
        pending |= (uint64_t)stored << held;
        held += bits;
        if (held < 32 && i + 1 < n) continue;
        uint32_t word = (uint32_t)pending;
        memcpy(words, &word, sizeof(word));
        words += sizeof(word);
        pending >>= 32;
        held = held < 32 ? 0 : held - 32;
    }
    if (held > 0) {
        uint32_t word = (uint32_t)pending;
        memcpy(words, &word, sizeof(word));
    }
}

uint32_t gptq_code(const uint8_t *words, size_t step, size_t i, unsigned bits)
{
    size_t word = i * bits / 32;
    unsigned shift = (unsigned)(i * bits % 32);
    uint32_t code = ucb_load_u32(words + 4 * word * step) >> shift;
    if (shift + bits > 32)
        code |= ucb_load_u32(words + 4 * (word + 1) * step) << (32 - shift);
    return code & ((1u << bits) - 1);
}
