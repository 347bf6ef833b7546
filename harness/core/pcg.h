/*
 * pcg.h - random streams that have names.
 *
 * pcg32 (XSH-RR 64/32; O'Neill, 2014) by its published constants. A stream is never shared:
 * it is seeded from a number and a name, so what it yields does not depend on what ran
 * before or beside it.
 */
#ifndef UCB_CORE_PCG_H
#define UCB_CORE_PCG_H

#include <stdint.h>

struct ucb_pcg {
    uint64_t state, inc;
};

static inline uint32_t ucb_pcg_next(struct ucb_pcg *r)
{
    uint64_t old = r->state;
    r->state = old * 6364136223846793005ULL + r->inc;
    uint32_t x = (uint32_t)(((old >> 18) ^ old) >> 27), turn = (uint32_t)(old >> 59);
    return x >> turn | x << ((32 - turn) & 31);
}

static inline void ucb_pcg_seed(struct ucb_pcg *r, uint64_t seed, uint64_t stream)
{
    r->state = 0;
    r->inc = stream << 1 | 1;
    ucb_pcg_next(r);
    r->state += seed;
    ucb_pcg_next(r);
}

/* Seeds from a number and a name: the stream is the first 8 bytes (little-endian) of
 * SHA-256(name). */
void ucb_pcg_named(struct ucb_pcg *r, uint64_t seed, const char *name);

/* Uniform in [0, n), n > 0, without bias (rejection). */
uint32_t ucb_pcg_below(struct ucb_pcg *r, uint32_t n);

/* Uniform in [0, 1), 24 bits. */
static inline float ucb_pcg_unit(struct ucb_pcg *r)
{
    return (float)(ucb_pcg_next(r) >> 8) * 0x1p-24f;
}

#endif
