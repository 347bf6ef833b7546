/*
 * fire.h - sweeps as processes that are killed, run side by side, and then counted.
 *
 * The test layer runs few of each; `make fire` sets UCB_FIRE and runs many, by the same
 * code.
 */
#ifndef UCB_TESTS_FIRE_H
#define UCB_TESTS_FIRE_H

#include <stdbool.h>
#include <stdlib.h>

/* `make fire` runs: $UCB_FIRE is set. */
static inline bool fire_is_long(void)
{
    return getenv("UCB_FIRE") != NULL;
}

#endif
