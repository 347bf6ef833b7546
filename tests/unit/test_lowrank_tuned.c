/* lowrank under a tuner: what is moved, and its gradients by finite differences. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "method/chain_internal.h"
#include "method_fixture.h"

enum { MOST = 320 * 320 };

static float weights[MOST];
static struct ucb_arena kept;
static struct ucb_err err;

struct tuned {
    struct method_fixture fixture;
    struct ucb_job job;
    const uint8_t *bytes;
    size_t n_bytes;
    void *state;
    struct ucb_param list[UCB_MAX_PARAMS];
    uint32_t n;
};

static void open_tuned(struct tuned *t, const char *store, uint32_t n_out, uint32_t n_in,
                       unsigned n_threads)
{
    const char *spec = ucb_test_path("nf4+lowrank:rank=7,store=%s", store);
    fill_gaussian(weights, (size_t)n_out * n_in, 1, "tuned");
    fixture_open(&t->fixture, spec, n_out, n_in, UCB_F32, n_threads);
    CHECK_OK(fixture_try_encode(&t->fixture, weights, &err), err);
    const struct ucb_writer *out = &t->fixture.out;
    size_t at = 8 + ucb_load_u64(out->data);
    t->bytes = out->data + at;
    t->n_bytes = out->n_bytes - at;
    struct ucb_reader in = {t->bytes, t->n_bytes, 0};
    t->job = ucb_stage_job(&t->fixture.chain->stages[1]);
    t->job.arena = &t->fixture.kept;
    t->job.scratch = &t->fixture.scratch;
    t->job.pool = t->fixture.pool;
    t->state = ucb_arena_alloc(&t->fixture.kept,
                               t->job.method->state_bytes(&t->job, &t->fixture.matrix));
    CHECK_OK(t->job.method->open(&t->job, &t->fixture.matrix, &in, t->state, &err), err);
    CHECK_OK(t->job.method->unfreeze(&t->job, t->state, t->list, &t->n, &err), err);
    CHECK_EQ(t->n, 2);
    CHECK_TEXT(t->list[0].name, "U");
    CHECK_TEXT(t->list[1].name, "V");
}

TEST(what_is_unfrozen_and_frozen_again_is_the_same_payload)
{
    static const char *const stores[] = {"fp16", "int8", "packed"};
    enum { N_OUT = 21, N_IN = 75 };
    for (int s = 0; s < 3; s++) {
        struct tuned t;
        struct ucb_writer out = {0};
        static float stored[N_OUT * N_IN], moved[N_OUT * N_IN];
        open_tuned(&t, stores[s], N_OUT, N_IN, 1);
        CHECK_OK(t.job.method->freeze(&t.job, t.state, t.list, &out, &err), err);
        CHECK_EQ(out.n_bytes, t.n_bytes);
        CHECK(memcmp(out.data, t.bytes, t.n_bytes) == 0);
        memset(stored, 0, sizeof(stored));
        memset(moved, 0, sizeof(moved));
        t.job.method->decode(t.state, 0, N_OUT, stored);
        t.job.method->decode_with(t.state, t.list, 0, N_OUT, moved);
        CHECK(memcmp(stored, moved, sizeof(stored)) == 0);
        t.list[0].value[0] += 1;
        t.job.method->decode_with(t.state, t.list, 0, N_OUT, moved);
        CHECK(memcmp(stored, moved, sizeof(stored)) != 0);
        ucb_writer_free(&out);
        fixture_close(&t.fixture);
    }
}

/* <d_weight, u v> in double. */
static double loss(const struct tuned *t, const float *d_weight, size_t n_out, size_t n_in)
{
    const float *u = t->list[0].value, *v = t->list[1].value;
    size_t rank = t->list[0].n / n_out;
    double sum = 0;
    for (size_t o = 0; o < n_out; o++)
        for (size_t i = 0; i < n_in; i++)
            for (size_t j = 0; j < rank; j++)
                sum += (double)d_weight[o * n_in + i] * (double)u[o * rank + j] *
                       (double)v[j * n_in + i];
    return sum;
}

TEST(gradients_of_the_factors_are_finite_differences)
{
    enum { N_OUT = 21, N_IN = 75 };
    static float d_weight[N_OUT * N_IN];
    struct tuned t;
    float *d_param[2];
    open_tuned(&t, "fp16", N_OUT, N_IN, 1);
    fill_gaussian(d_weight, N_OUT * N_IN, 1, "gradient");
    for (int p = 0; p < 2; p++) d_param[p] = UCB_NEW(&t.fixture.kept, float, t.list[p].n);
    CHECK_OK(t.job.method->pull_back(&t.job, t.state, t.list, d_weight, d_param, &err),
             err);
    for (int p = 0; p < 2; p++)
        for (size_t k = 0; k < t.list[p].n; k++) {
            float *x = &t.list[p].value[k], was = *x;
            *x = was + 0.5f; /* the loss is linear in each: any step is exact */
            double up = loss(&t, d_weight, N_OUT, N_IN), high = *x;
            *x = was - 0.5f;
            double down = loss(&t, d_weight, N_OUT, N_IN), low = *x;
            *x = was;
            CHECK_NEAR((double)d_param[p][k], (up - down) / (high - low), 2e-5);
        }
    fixture_close(&t.fixture);
}

TEST(gradients_of_the_factors_are_the_same_for_any_thread_count)
{
    enum { N_OUT = 130, N_IN = 203 };
    static float d_weight[N_OUT * N_IN];
    float *first[2] = {NULL, NULL};
    fill_gaussian(d_weight, N_OUT * N_IN, 1, "gradient");
    for (unsigned n = 1; n <= 5; n += 2) {
        struct tuned t;
        float *d_param[2];
        open_tuned(&t, "fp16", N_OUT, N_IN, n);
        for (int p = 0; p < 2; p++) d_param[p] = UCB_NEW(&kept, float, t.list[p].n);
        CHECK_OK(t.job.method->pull_back(&t.job, t.state, t.list, d_weight, d_param, &err),
                 err);
        for (int p = 0; p < 2; p++) {
            if (n == 1) first[p] = d_param[p];
            CHECK(memcmp(first[p], d_param[p], t.list[p].n * sizeof(float)) == 0);
        }
        fixture_close(&t.fixture);
    }
    ucb_arena_free(&kept);
}
