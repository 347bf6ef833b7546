/* Hostile bytes into the GGUF parser, its metadata access and the architecture read from
 * it. */
#include <stdlib.h>
#include <string.h>

#include "model/model_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Touches every text and number array, so that a sanitizer sees one that
 * leaves the bytes. */
static unsigned touch_values(const struct ucb_checkpoint *c)
{
    unsigned sum = 0;
    for (size_t i = 0; i < c->n_values; i++) {
        char key[256];
        const char *text;
        const void *numbers;
        size_t n, n_chars;
        double number;
        if (c->values[i].key_chars >= sizeof(key)) continue;
        memcpy(key, c->values[i].key, c->values[i].key_chars);
        key[c->values[i].key_chars] = '\0';
        if (ucb_checkpoint_string(c, key, &text, &n_chars) && n_chars > 0)
            sum += (uint8_t)text[n_chars - 1];
        if (ucb_checkpoint_f64(c, key, &number)) sum += number > 0;
        if (ucb_checkpoint_i32s(c, key, &numbers, &n) && n > 0)
            sum += ((const uint8_t *)numbers)[4 * n - 1];
        if (ucb_checkpoint_f32s(c, key, &numbers, &n) && n > 0)
            sum += ((const uint8_t *)numbers)[4 * n - 1];
        if (!ucb_checkpoint_strings(c, key, &n)) continue;
        for (size_t k = 0; k < n; k++)
            if (ucb_checkpoint_string_at(c, key, k, &text, &n_chars) && n_chars > 0)
                sum += (uint8_t)text[n_chars - 1];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct ucb_checkpoint c = {0};
    struct ucb_arch arch;
    struct ucb_err err;
    volatile unsigned sum;
    if (ucb_gguf_parse(&c, "fuzz.gguf", data, n_bytes, &err) == UCB_OK &&
        ucb_checkpoint_index(&c, &err) == UCB_OK) {
        for (size_t i = 0; i < c.n_tensors; i++) {
            const struct ucb_tensor *t = &c.tensors[i];
            if (t->data < data || t->n_bytes > (size_t)(data + n_bytes - t->data)) abort();
        }
        sum = touch_values(&c);
        (void)sum;
        (void)ucb_arch_from_gguf(&c, &c.arena, &arch, &err);
    }
    ucb_arena_free(&c.arena);
    return 0;
}
