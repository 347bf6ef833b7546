/* Hostile text as config.json: what is accepted has sizes that divide and frequencies that
 * are numbers. */
#include <math.h>
#include <stdlib.h>

#include "model/model_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_rope(const struct ucb_arch *a)
{
    for (int set = 0; set < UCB_MAX_ROPE_SETS; set++)
        for (uint32_t i = 0; i < a->rotary_dim / 2; i++) {
            const struct ucb_rope_set *rope = &a->rope[set];
            if (rope->inv_freq != NULL && !isfinite(rope->inv_freq[i])) abort();
            if (rope->long_inv_freq != NULL && !isfinite(rope->long_inv_freq[i])) abort();
        }
}

/* Every layer has frequencies to turn by, experts to choose from, or a width of its own. */
static void check_layers(const struct ucb_arch *a)
{
    bool turns = a->positions == UCB_POSITIONS_HALVES ||
                 a->positions == UCB_POSITIONS_PAIRS;
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const struct ucb_layer_arch *layer = &a->layers[i];
        if (layer->rope >= UCB_MAX_ROPE_SETS) abort();
        if (turns && a->rope[layer->rope].inv_freq == NULL) abort();
        if (layer->ffn == 0 && a->experts.n == 0 && a->mixer != UCB_MIXER_SSM) abort();
    }
    if (a->experts.used > a->experts.n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct ucb_arena arena = {0};
    struct ucb_arch a;
    struct ucb_err err;
    if (ucb_config_parse("config.json", (const char *)data, n_bytes, &arena, &a, &err) ==
        UCB_OK) {
        bool is_ssm = a.mixer == UCB_MIXER_SSM;
        if (!is_ssm && (a.n_heads % a.n_kv_heads != 0 || a.rotary_dim % 2 != 0 ||
                        a.rotary_dim > a.head_dim))
            abort();
        check_rope(&a);
        check_layers(&a);
    }
    ucb_arena_free(&arena);
    return 0;
}
