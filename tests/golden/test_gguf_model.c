/*
 * gguf on the reference model: spec/evaluation.md, section 6. Its 210 matrices are Q4_1
 * already, so Q4_1 must give every block back; the errors of the others are the table's, to
 * the digits that stand there. Skipped where the model is not at hand.
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "method_fixture.h"
#include "model/catalog.h"
#include "model/checkpoint.h"

static struct ucb_checkpoint *open_model(const char *name)
{
    static char path[4096];
    struct ucb_checkpoint *c;
    struct ucb_err err;
    if (ucb_model_locate(name, NULL, path, sizeof(path), &err) != UCB_OK)
        SKIP("%s", err.text);
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    return c;
}

static void widen(const struct ucb_tensor *t, float *out)
{
    struct ucb_err err;
    CHECK_OK(ucb_tensor_widen(t, 0, t->n_elements, out, &err), err);
}

enum { MAX_WEIGHTS = 1536 * 576 };

TEST(quantizing_the_reference_model_to_q4_1_gives_every_block_back)
{
    static float w[MAX_WEIGHTS];
    struct ucb_checkpoint *c = open_model("smollm2-135m");
    size_t n_blocks = 0;
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        struct method_fixture f;
        struct ucb_err err;
        if (t->dtype != UCB_Q4_1) continue;
        CHECK(t->n_elements <= MAX_WEIGHTS);
        widen(t, w);
        fixture_open(&f, "gguf:type=Q4_1", (uint32_t)t->shape[0], (uint32_t)t->shape[1],
                     UCB_Q4_1, 2);
        CHECK_OK(fixture_try_encode(&f, w, &err), err);
        CHECK_EQ(f.out.n_bytes, t->n_bytes);
        CHECK(memcmp(f.out.data, t->data, t->n_bytes) == 0);
        n_blocks += t->n_elements / 32;
        fixture_close(&f);
    }
    CHECK_EQ(n_blocks, 3317760);
    ucb_checkpoint_close(c);
}

static bool is_in_table(const char *name)
{
    static const char *const parts[] = {"blk.0.",    "blk.10.",    "blk.20.",
                                        "layers.0.", "layers.10.", "layers.20."};
    bool in_block = false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        in_block |= strstr(name, parts[i]) != NULL;
    return in_block && strstr(name, "norm") == NULL;
}

/* Relative Frobenius error over the 21 matrices of blocks 0, 10 and 20. */
static double table_error(const char *model, const char *spec)
{
    static float w[MAX_WEIGHTS];
    struct ucb_checkpoint *c = open_model(model);
    double off = 0, all = 0;
    size_t n = 0;
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        struct method_fixture f;
        if (!is_in_table(t->name)) continue;
        widen(t, w);
        fixture_open(&f, spec, (uint32_t)t->shape[0], (uint32_t)t->shape[1], UCB_F32, 2);
        fixture_run(&f, w);
        for (size_t e = 0; e < t->n_elements; e++) {
            double d = (double)w[e] - f.decoded[e];
            off += d * d;
            all += (double)w[e] * w[e];
        }
        fixture_close(&f);
        n++;
    }
    ucb_checkpoint_close(c);
    CHECK_EQ(n, 21);
    return sqrt(off / all);
}

TEST(gguf_types_lose_on_the_reference_model_what_the_table_says)
{
    CHECK_NEAR(table_error("smollm2-135m", "gguf:type=Q4_1"), 0, 0);
    CHECK_NEAR(table_error("smollm2-135m", "gguf:type=Q4_0"), 0.0883, 5e-5);
    CHECK_NEAR(table_error("smollm2-135m", "gguf:type=Q5_0"), 0.0448, 5e-5);
    CHECK_NEAR(table_error("smollm2-135m", "gguf:type=Q8_0"), 0.0056, 5e-5);
}

/* Off the grid the offsets are another draw than the table's, of 10 million weights. */
TEST(gguf_types_lose_off_the_grid_what_the_table_says)
{
    CHECK_NEAR(table_error("smollm2-135m-smooth", "gguf:type=Q4_1"), 0.0808, 1e-4);
    CHECK_NEAR(table_error("smollm2-135m-smooth", "gguf:type=Q4_0"), 0.0903, 1e-4);
    CHECK_NEAR(table_error("smollm2-135m-smooth", "gguf:type=Q5_0"), 0.0449, 1e-4);
    CHECK_NEAR(table_error("smollm2-135m-smooth", "gguf:type=Q8_0"), 0.0056, 1e-4);
}
