/*
 * LLM.int8's product on every path of this CPU: equal bits, and sums equal to plain loops.
 */
#include "test.h"

#include <string.h>

#include "../../methods/int8/int8.h"
#include "core/pcg.h"
#include "method_fixture.h"

enum { MAX_OUT = 70, MAX_IN = 99, MAX_CALL_ROWS = 300, N_TRIALS = 40 };

struct random_product {
    uint32_t n_out, n_in, n_rows;
    uint8_t codes[MAX_OUT * MAX_IN];
    float absmax[MAX_OUT], bias[MAX_OUT], x[MAX_CALL_ROWS * MAX_IN];
};

/* What a product computed. */
struct result {
    float y[MAX_CALL_ROWS * MAX_OUT];
    int8_t codes[MAX_CALL_ROWS * MAX_IN];
    int32_t acc[MAX_CALL_ROWS * MAX_OUT];
};

static ucb_status take(void *context, const char *role, enum ucb_dtype dtype,
                       uint32_t n_dims, const uint64_t *shape, const void *data,
                       struct ucb_err *err)
{
    struct result *r = context;
    (void)dtype, (void)err;
    size_t n = n_dims == 2 ? shape[0] * shape[1] : shape[0];
    if (strcmp(role, "act_codes") == 0) memcpy(r->codes, data, n);
    if (strcmp(role, "acc_int32") == 0) memcpy(r->acc, data, n * sizeof(int32_t));
    return UCB_OK;
}

static void fill(struct random_product *p, struct ucb_pcg *r)
{
    p->n_out = 1 + ucb_pcg_below(r, MAX_OUT);
    p->n_in = 1 + ucb_pcg_below(r, MAX_IN);
    p->n_rows = 1 + ucb_pcg_below(r, ucb_pcg_below(r, 4) == 0 ? MAX_CALL_ROWS : 20);
    for (uint32_t i = 0; i < p->n_out * p->n_in; i++)
        p->codes[i] = (uint8_t)(int8_t)((int)ucb_pcg_below(r, 255) - 127);
    for (uint32_t i = 0; i < p->n_out; i++) {
        p->absmax[i] = ucb_pcg_unit(r);
        p->bias[i] = ucb_pcg_unit(r) - 0.5f;
    }
    for (uint32_t i = 0; i < p->n_rows * p->n_in; i++)
        p->x[i] = (ucb_pcg_unit(r) - 0.5f) * (ucb_pcg_below(r, 200) == 0 ? 50 : 5);
}

static void run(const struct random_product *p, const struct int8_path *path,
                struct result *out)
{
    struct ucb_arena scratch = {0};
    struct ucb_job job = {.scratch = &scratch};
    struct ucb_matrix matrix = {.name = "m", .n_out = p->n_out, .n_in = p->n_in};
    struct int8_weights weights = {&matrix, p->codes, p->absmax, NULL};
    struct int8_call call = {.threshold = 6,
                             .bias = p->bias,
                             .x = p->x,
                             .n_rows = p->n_rows,
                             .y = out->y,
                             .trace = take,
                             .trace_context = out};
    struct ucb_err err;
    CHECK_OK(int8_product(&job, path, &weights, &call, &err), err);
    ucb_arena_free(&scratch);
}

static void check_sums(const struct random_product *p, const struct result *out)
{
    for (uint32_t row = 0; row < p->n_rows; row++)
        for (uint32_t output = 0; output < p->n_out; output++) {
            int64_t sum = 0;
            for (uint32_t i = 0; i < p->n_in; i++)
                sum += out->codes[row * p->n_in + i] *
                       (int8_t)p->codes[output * p->n_in + i];
            CHECK_EQ(out->acc[row * p->n_out + output], sum);
        }
}

TEST(int8_products_are_the_same_on_every_path_and_exact)
{
    static struct random_product p;
    static struct result first, other;
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "int8 paths");
    for (int trial = 0; trial < N_TRIALS; trial++) {
        fill(&p, &r);
        run(&p, int8_path_at(0), &first);
        check_sums(&p, &first);
        for (size_t i = 1; int8_path_at(i) != NULL; i++) {
            run(&p, int8_path_at(i), &other);
            size_t n = (size_t)p.n_rows * p.n_out;
            CHECK(memcmp(first.y, other.y, n * sizeof(float)) == 0);
            CHECK(memcmp(first.acc, other.acc, n * sizeof(int32_t)) == 0);
        }
    }
}
