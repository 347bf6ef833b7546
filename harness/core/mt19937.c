/*
 * mt19937.c - see mt19937.h.
 *
 * x[k + 624] = x[k + 397] ^ twist(upper bit of x[k], lower 31 bits of x[k + 1]); a word is
 * tempered on its way out. All constants are those of the paper's MT19937 and of the
 * authors' 2002 initialisation.
 */
#include "core/mt19937.h"

enum { SHIFT = 397 };

void ucb_mt19937_seed(struct ucb_mt19937 *r, uint32_t seed)
{
    r->state[0] = seed;
    for (uint32_t i = 1; i < UCB_MT19937_WORDS; i++) {
        uint32_t before = r->state[i - 1];
        r->state[i] = 1812433253u * (before ^ (before >> 30)) + i;
    }
    r->at = UCB_MT19937_WORDS;
}

static uint32_t twist(uint32_t upper, uint32_t lower)
{
    uint32_t x = (upper & 0x80000000u) | (lower & 0x7fffffffu);
    return (x >> 1) ^ ((x & 1) != 0 ? 0x9908b0dfu : 0);
}

/* In place: by the time an index wraps around, the word it reads is already of the new
 * generation, as it must be. */
static void make_words(struct ucb_mt19937 *r)
{
    for (uint32_t i = 0; i < UCB_MT19937_WORDS; i++) {
        uint32_t next = r->state[(i + 1) % UCB_MT19937_WORDS];
        r->state[i] = r->state[(i + SHIFT) % UCB_MT19937_WORDS] ^ twist(r->state[i], next);
    }
    r->at = 0;
}

uint32_t ucb_mt19937_next(struct ucb_mt19937 *r)
{
    if (r->at == UCB_MT19937_WORDS) make_words(r);
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}
