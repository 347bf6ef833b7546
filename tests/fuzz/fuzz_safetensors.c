/* Hostile bytes into the safetensors parser: whatever it accepts must lie inside the bytes
 * and be findable. */
#include <stdlib.h>
#include <string.h>

#include "model/model_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct ucb_checkpoint c = {0};
    struct ucb_err err;
    if (ucb_safetensors_parse(&c, "fuzz.safetensors", data, n_bytes, &err) == UCB_OK &&
        ucb_checkpoint_index(&c, &err) == UCB_OK)
        for (size_t i = 0; i < c.n_tensors; i++) {
            const struct ucb_tensor *t = &c.tensors[i];
            if (t->data < data || t->n_bytes > (size_t)(data + n_bytes - t->data)) abort();
            if (ucb_checkpoint_find(&c, t->name) != t) abort();
        }
    ucb_arena_free(&c.arena);
    return 0;
}
