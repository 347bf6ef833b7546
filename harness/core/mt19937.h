/*
 * mt19937.h - the Mersenne Twister (Matsumoto and Nishimura, 1998), only where a protocol
 * names it.
 *
 * Starts of random windows and the signs of row_overlay's rotation are drawn from it, because the published numbers were.
 * Everything else draws from core/pcg.h.
 */
#ifndef UCB_CORE_MT19937_H
#define UCB_CORE_MT19937_H

#include <stdint.h>

enum { UCB_MT19937_WORDS = 624 };
struct ucb_mt19937 {
    uint32_t state[UCB_MT19937_WORDS];
    uint32_t at; /* next word to hand out; UCB_MT19937_WORDS: make new ones first */
};

/* The authors' init_genrand. */
void ucb_mt19937_seed(struct ucb_mt19937 *r, uint32_t seed);
/* The authors' genrand_int32: the next 32 bits. */
uint32_t ucb_mt19937_next(struct ucb_mt19937 *r);

#endif
