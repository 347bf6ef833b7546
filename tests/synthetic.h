/*
 * synthetic.h - checkpoints of a Llama's shape and any size, with random weights: for
 * measuring memory and time. Never a source of results.
 *
 * Needs nothing of the program. Every tensor has numbers of its own (a hash of seed,
 * tensor and index), uniform and scaled so that activations stay finite; norms are ones.
 */
#ifndef UCB_TESTS_SYNTHETIC_H
#define UCB_TESTS_SYNTHETIC_H

#include <stdbool.h>
#include <stdint.h>

struct synthetic_shape {
    const char *name;
    uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocabulary;
    bool tied;
};
extern const struct synthetic_shape synthetic_8b, synthetic_2b;

uint64_t synthetic_layer_weights(const struct synthetic_shape *shape);
uint64_t synthetic_weights(const struct synthetic_shape *shape); /* all of the model */

/*
 * Writes config.json, bf16 safetensors in shards of about 4 GB with their index, and a
 * tokenizer of single bytes into `folder`, which exists. Returns 0, or prints a sentence
 * and returns 1.
 */
int synthetic_write(const char *folder, const struct synthetic_shape *shape);

#endif
