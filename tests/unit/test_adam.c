/*
 * Adam against torch.optim.Adam and AdamW of PyTorch 2.15.0 on the CPU (foreach=False),
 * with clip_grad_norm_ and CosineAnnealingLR: two arrays, gradients as in make_gradients().
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/adam.h"
#include "core/pcg.h"

struct state {
    float a[3], b[2], da[3], db[2], moments[10];
    struct ucb_adam_array arrays[2];
};

static void begin(struct state *s)
{
    *s = (struct state){.a = {0.5f, -1, 2}, .b = {0.25f, -0.75f}};
    s->arrays[0] = (struct ucb_adam_array){s->a, s->moments, s->moments + 3, s->da, 3};
    s->arrays[1] = (struct ucb_adam_array){s->b, s->moments + 6, s->moments + 8, s->db, 2};
}

static void make_gradients(struct state *s, int t)
{
    s->da[0] = 1 + (float)t;
    s->da[1] = -0.5f * (float)t;
    s->da[2] = 0.25f;
    s->db[0] = -2;
    s->db[1] = 0.125f * (float)(t - 2);
}

struct answer {
    double weight_decay, clip;
    bool is_cosine;
    int n_steps;
    double a[3], b[2];
    double norm; /* of the last step */
    double tolerance;
};

/* Each step may round once more or less than PyTorch's. */
static const struct answer answers[] = {
    {0,
     0,
     false,
     5,
     {0.014916926622390747, -0.6654286980628967, 1.4999998807907104},
     {0.75, -0.46943557262420654},
     5.75543212890625,
     3e-7},
    {0.01,
     0,
     false,
     5,
     {0.013398148119449615, -0.6609145998954773, 1.4910188913345337},
     {0.7477535009384155, -0.46654602885246277},
     5.75543212890625,
     3e-7},
    {0,
     1,
     true,
     5,
     {0.20157919824123383, -0.8369824290275574, 1.7068421840667725},
     {0.5431577563285828, -0.5074501633644104},
     5.75543212890625,
     3e-7},
    {0.01,
     1,
     true,
     200,
     {-9.228641510009766, 8.906301498413086, -1.1857619285583496},
     {3.220550298690796, -9.745594024658203},
     224.745849609375,
     2e-5},
};

TEST(adam_makes_the_steps_of_pytorch)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const struct answer *w = &answers[i];
        struct ucb_adam adam = ucb_adam_defaults;
        struct state s;
        double norm = 0;
        adam.weight_decay = w->weight_decay;
        adam.clip = w->clip;
        begin(&s);
        for (int t = 0; t < w->n_steps; t++) {
            uint64_t step = (uint64_t)t, n = (uint64_t)w->n_steps;
            make_gradients(&s, t);
            norm = ucb_adam_step(&adam, step + 1,
                                 w->is_cosine ? ucb_cosine(step, n, 0.1) : 0.1, s.arrays, 2,
                                 NULL);
        }
        for (int k = 0; k < 3; k++) CHECK_NEAR((double)s.a[k], w->a[k], w->tolerance);
        for (int k = 0; k < 2; k++) CHECK_NEAR((double)s.b[k], w->b[k], w->tolerance);
        CHECK_NEAR(norm / w->norm, 1, 1.2e-7); /* PyTorch's norm is fp32 */
    }
}

TEST(a_cosine_falls_from_its_peak_to_zero)
{
    CHECK(ucb_cosine(0, 200, 1e-3) == 1e-3);
    CHECK_NEAR(ucb_cosine(1, 200, 1e-3), 0.0009999383162408303, 1e-17);
    CHECK_NEAR(ucb_cosine(50, 200, 1e-3), 0.0008535533905932731, 1e-17);
    CHECK_NEAR(ucb_cosine(100, 200, 1e-3), 0.0005, 1e-17);
    CHECK_NEAR(ucb_cosine(199, 200, 1e-3), 6.168375916970607e-08, 1e-17);
    CHECK(ucb_cosine(200, 200, 1e-3) == 0);
}

TEST(a_gradient_that_is_not_finite_moves_nothing)
{
    struct state s;
    begin(&s);
    make_gradients(&s, 0);
    s.db[1] = INFINITY;
    CHECK(!isfinite(ucb_adam_step(&ucb_adam_defaults, 1, 0.1, s.arrays, 2, NULL)));
    CHECK(s.a[0] == 0.5f && s.b[0] == 0.25f && s.moments[0] == 0);
}

TEST(adam_gives_the_same_bits_for_any_number_of_threads)
{
    enum { N = 40001 };
    static float value[2][N], first[2][N], second[2][N], gradient[N];
    struct ucb_adam adam = {0.9, 0.999, 1e-8, 0.01, 1};
    struct ucb_pcg r;
    struct ucb_pool *pool;
    struct ucb_err err;
    ucb_pcg_named(&r, 1, "adam");
    for (int i = 0; i < N; i++) gradient[i] = ucb_pcg_unit(&r) - 0.5f;
    CHECK_OK(ucb_pool_open(7, &pool, &err), err);
    for (int k = 0; k < 2; k++) {
        memset(first[k], 0, sizeof(first[k]));
        memset(second[k], 0, sizeof(second[k]));
        memset(value[k], 0, sizeof(value[k]));
        struct ucb_adam_array array = {value[k], first[k], second[k], gradient, N};
        for (uint64_t t = 1; t <= 3; t++)
            ucb_adam_step(&adam, t, 1e-3, &array, 1, k == 0 ? NULL : pool);
    }
    CHECK(memcmp(value[0], value[1], sizeof(value[0])) == 0);
    ucb_pool_close(pool);
}
