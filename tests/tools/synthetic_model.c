/*
 * synthetic_model.c - writes a synthetic checkpoint, or says what it may take in memory:
 *
 *     synthetic_model write 2B|8B FOLDER     the folder exists
 *     synthetic_model depth N FOLDER         N small layers (197,000 weights each)
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

/* The same small layer at any depth: for time and memory of a layer. */
static int write_deep(const char *depth, const char *folder)
{
    char *end;
    unsigned long layers = strtoul(depth, &end, 10);
    if (*end != '\0' || layers < 1 || layers > 128) {
        fprintf(stderr, "synthetic_model: %s layers; 1 to 128 can be made\n", depth);
        return 2;
    }
    struct synthetic_shape shape = {.name = "deep",
                                    .layers = (uint32_t)layers,
                                    .hidden = 128,
                                    .heads = 4,
                                    .kv_heads = 2,
                                    .head_dim = 32,
                                    .ffn = 384,
                                    .vocabulary = 1024,
                                    .tied = true};
    return synthetic_write(folder, &shape);
}

int main(int n_args, char **args)
{
    static const struct synthetic_shape *const shapes[] = {&synthetic_2b, &synthetic_8b};
    if (n_args == 4 && strcmp(args[1], "depth") == 0) return write_deep(args[2], args[3]);
    for (size_t i = 0; n_args == 4 && i < 2; i++) {
        if (strcmp(args[2], shapes[i]->name) != 0) continue;
        if (strcmp(args[1], "write") == 0) return synthetic_write(args[3], shapes[i]);
        if (strcmp(args[1], "bound") == 0) {
            printf("%" PRIu64 "\n", bound_bytes(shapes[i], strtoull(args[3], NULL, 10)));
            return 0;
        }
    }
    fprintf(stderr, "usage: synthetic_model write|bound 2B|8B FOLDER|TOKENS\n"
                    "       synthetic_model depth N FOLDER\n");
    return 2;
}
