/*
 * synthetic_model.c - writes a synthetic checkpoint, or says what it may take in memory:
 *
 *     synthetic_model write 2B|8B FOLDER     the folder exists
 *     synthetic_model bound 2B|8B TOKENS     bytes: two layers in fp32, 64 MB for a slab of
 *                                            embedding or head, 3 hidden states of TOKENS
 *                                            (at work, scored, the original's), and 200 MB
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "synthetic.h"

static uint64_t bound_bytes(const struct synthetic_shape *shape, uint64_t n_tokens)
{
    uint64_t layer = synthetic_layer_weights(shape) * sizeof(float),
             states = n_tokens * shape->hidden * sizeof(float), mb = 1000000;
    return 2 * layer + 64 * mb + 3 * states + 200 * mb;
}

int main(int n_args, char **args)
{
    static const struct synthetic_shape *const shapes[] = {&synthetic_2b, &synthetic_8b};
    for (size_t i = 0; n_args == 4 && i < 2; i++) {
        if (strcmp(args[2], shapes[i]->name) != 0) continue;
        if (strcmp(args[1], "write") == 0) return synthetic_write(args[3], shapes[i]);
        if (strcmp(args[1], "bound") == 0) {
            printf("%" PRIu64 "\n", bound_bytes(shapes[i], strtoull(args[3], NULL, 10)));
            return 0;
        }
    }
    fprintf(stderr, "usage: synthetic_model write|bound 2B|8B FOLDER|TOKENS\n");
    return 2;
}
