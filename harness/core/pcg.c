/* pcg.c - see pcg.h. */
#include "core/pcg.h"

#include <assert.h>
#include <string.h>

#include "core/sha256.h"

void ucb_pcg_named(struct ucb_pcg *r, uint64_t seed, const char *name)
{
    uint8_t digest[UCB_SHA256_BYTES];
    ucb_sha256(name, strlen(name), digest);
    uint64_t stream = 0;
    for (int i = 7; i >= 0; i--) stream = stream << 8 | digest[i];
    ucb_pcg_seed(r, seed, stream);
}

uint32_t ucb_pcg_below(struct ucb_pcg *r, uint32_t n)
{
    assert(n > 0);
    uint32_t reject = (0u - n) % n; /* 2^32 mod n values would be favoured */
    for (;;) {
        uint32_t x = ucb_pcg_next(r);
        if (x >= reject) return x % n;
    }
}
