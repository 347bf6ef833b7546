/* Hostile text as config.json: what is accepted has sizes that divide and frequencies that
 * are numbers. */
#include <math.h>
#include <stdlib.h>

#include "model/model_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct ucb_arena arena = {0};
    struct ucb_arch a;
    struct ucb_err err;
    if (ucb_config_parse("config.json", (const char *)data, n_bytes, &arena, &a, &err) ==
        UCB_OK) {
        if (a.n_heads % a.n_kv_heads != 0 || a.rotary_dim % 2 != 0 ||
            a.rotary_dim > a.head_dim)
            abort();
        for (uint32_t i = 0; i < a.rotary_dim / 2; i++)
            if (!isfinite(a.rope[0].inv_freq[i])) abort();
    }
    ucb_arena_free(&arena);
    return 0;
}
