/* Random tensors, written and read back: names, shapes of 0 to 8 dimensions, every type,
 * empty ones too. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "model/checkpoint.h"

enum { N_ROUNDS = 60, MAX_TENSORS = 12, MAX_BYTES = 4096 };

#define HOLDS(condition)                                                                 \
    do {                                                                                 \
        if (!(condition))                                                                \
            ucb_test_fail(__FILE__, __LINE__, "not true: %s; replay with UCB_SEED=%llu", \
                          #condition, (unsigned long long)seed);                         \
    } while (0)

struct drawn {
    char name[48];
    uint8_t bytes[MAX_BYTES];
    struct ucb_tensor tensor;
};
static struct drawn drawn[MAX_TENSORS];

static void draw_tensor(struct ucb_pcg *r, struct drawn *d, uint32_t index)
{
    static const char *const marks[] = {"",  ".weight",  "\"", "\\",
                                        "/", "\xc3\xa9", " ",  "{}[]:,"};
    struct ucb_tensor *t = &d->tensor;
    snprintf(d->name, sizeof(d->name), "t%u%s%u", ucb_pcg_below(r, 1000),
             marks[ucb_pcg_below(r, 8)], index);
    *t = (struct ucb_tensor){.name = d->name,
                             .dtype = (enum ucb_dtype)ucb_pcg_below(r, UCB_BOOL + 1),
                             .data = d->bytes};
    t->n_elements = 1;
    for (uint32_t n = ucb_pcg_below(r, 9); t->n_dims < n; t->n_dims++) {
        uint32_t size = ucb_pcg_below(r, 5);
        if (size > 0 && t->n_elements * size * 8 > MAX_BYTES) size = 1;
        t->shape[t->n_dims] = size;
        t->n_elements *= size;
    }
    t->n_bytes = t->n_elements * ucb_dtype_block_bytes(t->dtype);
    for (uint64_t i = 0; i < t->n_bytes; i++) d->bytes[i] = (uint8_t)ucb_pcg_next(r);
}

static void round_trip(uint64_t seed, const char *path)
{
    struct ucb_pcg r;
    struct ucb_err err;
    struct ucb_checkpoint *c;
    struct ucb_tensor list[MAX_TENSORS];
    ucb_pcg_seed(&r, seed, 1);
    uint32_t n = ucb_pcg_below(&r, MAX_TENSORS + 1);
    for (uint32_t i = 0; i < n; i++) {
        draw_tensor(&r, &drawn[i], i);
        list[i] = drawn[i].tensor;
    }
    CHECK_OK(ucb_safetensors_write(path, list, n, &err), err);
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    HOLDS(ucb_checkpoint_n_tensors(c) == n);
    for (uint32_t i = 0; i < n; i++) {
        const struct ucb_tensor *w = &list[i], *t = ucb_checkpoint_find(c, w->name);
        HOLDS(t != NULL && t->dtype == w->dtype && t->n_dims == w->n_dims &&
              t->n_elements == w->n_elements);
        HOLDS(memcmp(t->shape, w->shape, sizeof(t->shape)) == 0);
        HOLDS(t->n_bytes == w->n_bytes &&
              memcmp(t->data, w->data, (size_t)t->n_bytes) == 0);
    }
    ucb_checkpoint_close(c);
}

TEST(random_safetensors_files_are_read_back_as_written)
{
    const char *path = ucb_test_path("%s/x.safetensors", ucb_test_folder()),
               *given = getenv("UCB_SEED");
    if (given != NULL) round_trip(strtoull(given, NULL, 10), path);
    for (uint64_t seed = 1; given == NULL && seed <= N_ROUNDS; seed++)
        round_trip(seed, path);
}
