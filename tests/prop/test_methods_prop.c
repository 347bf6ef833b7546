/* Methods over random shapes, scales and values: what they decode is near, and honest about
 * its size. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "method_fixture.h"

enum { N_ROUNDS = 60, MAX_SIDE = 150 };
static const char *const specs[] = {"nf4",
                                    "nf4:double_quant=1",
                                    "fp4:block=128",
                                    "int8",
                                    "hqq:optimize=0,round_zero=0,group=16",
                                    "hqq:optimize=0,bits=3,group=24",
                                    "hqq:optimize=0,round_zero=0,axis=0,group=10",
                                    "rtn:group=-1,sym=1",
                                    "rtn:bits=3,sym=0,group=8"};
/*
 * Of the largest weight of a matrix: half the widest step of the grid, with room for the
 * rounding of scale and zero. Only unfitted hqq with fractional zeros has such a bound: a
 * fitted zero gives up the largest weights, and a whole one can lose a constant group
 * altogether, as the library does.
 */
static const double worst[] = {0.16, 0.17, 0.17, 0.0045, 0.075, 0.15, 0.075, 0.13, 0.15};

static void fill(struct ucb_pcg *r, float *w, size_t n)
{
    float scale = ldexpf(1, (int)ucb_pcg_below(r, 12) - 6);
    unsigned kind = ucb_pcg_below(r, 4);
    for (size_t i = 0; i < n; i++) {
        float u = 2 * ucb_pcg_unit(r) - 1;
        w[i] = scale * (kind == 0   ? u
                        : kind == 1 ? u * u * u
                        : kind == 2 ? (u > 0.9f ? 8 * u : 0.1f * u)
                                    : 0.5f);
    }
}

static void run_round(uint64_t seed)
{
    static float w[MAX_SIDE * MAX_SIDE];
    struct ucb_pcg r;
    ucb_pcg_named(&r, seed, "methods");
    uint32_t n_out = 1 + ucb_pcg_below(&r, MAX_SIDE),
             n_in = 1 + ucb_pcg_below(&r, MAX_SIDE);
    if (seed % 2 == 0)
        n_in = (n_in + 31) / 32 * 32 > MAX_SIDE ? 128 : (n_in + 31) / 32 * 32;
    size_t n = (size_t)n_out * n_in;
    float peak = 0;
    fill(&r, w, n);
    for (size_t i = 0; i < n; i++) peak = fmaxf(peak, fabsf(w[i]));
    for (size_t s = 0; s < sizeof(specs) / sizeof(*specs); s++) {
        struct method_fixture f;
        struct ucb_err err;
        fixture_open(&f, specs[s], n_out, n_in, UCB_F32, 1 + ucb_pcg_below(&r, 3));
        if (fixture_try_encode(&f, w, &err) == UCB_USAGE) {
            fixture_close(&f);
            continue;
        }
        f.n_emitted = 0;
        fixture_run(&f, w);
        for (size_t i = 0; i < n; i++)
            if (!(fabsf(f.decoded[i] - w[i]) <= worst[s] * (double)peak + 1e-7))
                ucb_test_fail(__FILE__, __LINE__,
                              "UCB_SEED=%llu: %s, %u x %u: weight %zu is %g, decoded %g",
                              (unsigned long long)seed, specs[s], n_out, n_in, i,
                              (double)w[i], (double)f.decoded[i]);
        fixture_close(&f);
    }
}

TEST(methods_stay_within_half_a_step_on_random_matrices)
{
    const char *replay = getenv("UCB_SEED");
    if (replay != NULL) run_round(strtoull(replay, NULL, 10));
    for (uint64_t seed = 1; replay == NULL && seed <= N_ROUNDS; seed++) run_round(seed);
}

/* Relative Frobenius errors on Gaussian weights that the seed measured; 1.5 % covers
 * another sample of 0.5 M weights. */
static const struct figure {
    const char *spec;
    uint32_t n_in;
    double error;
} figures[] = {{"nf4", 512, .0919},
               {"int8", 4096, .0087},
               {"int8", 576, .0075},
               {"int8", 1536, .0080},
               {"hqq:bits=4", 512, .0870},
               {"hqq:bits=4,optimize=0", 512, .0910},
               {"hqq:bits=3", 512, .1843},
               {"hqq:bits=2", 512, .4310},
               {"hqq:bits=2,group=16", 512, .3020},
               {"rtn:bits=2,sym=1", 512, .4111},
               {"rtn:bits=3,sym=1", 512, .2002},
               {"rtn:bits=4,sym=1", 512, .0992},
               {"rtn:bits=5,sym=1", 512, .0494},
               {"rtn:bits=6,sym=1", 512, .0247}};

TEST(gaussian_weights_lose_what_the_seed_measured)
{
    enum { N = 1 << 19 };
    float *w = malloc(N * sizeof(*w));
    CHECK(w != NULL);
    fill_gaussian(w, N, 0.02, "acceptance");
    for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
        struct method_fixture f;
        uint32_t n_out = N / figures[i].n_in;
        size_t n = (size_t)n_out * figures[i].n_in;
        fixture_open(&f, figures[i].spec, n_out, figures[i].n_in, UCB_F32, 0);
        f.context.trace = NULL;
        fixture_run(&f, w);
        double found = relative_error(w, f.decoded, n);
        if (fabs(found / figures[i].error - 1) > 0.015)
            ucb_test_fail(__FILE__, __LINE__,
                          "%s, %u columns: %.5f, the seed measured %.4f", figures[i].spec,
                          figures[i].n_in, found, figures[i].error);
        fixture_close(&f);
    }
    free(w);
}

/* Section 1 of the baselines: what a weight costs, on shapes without padding. */
static const struct {
    const char *spec;
    double bits;
} costs[] = {{"nf4", 4.5},
             {"nf4:double_quant=1", 4 + 8.0 / 64 + 32.0 / (64 * 256) + 32.0 / (256 * 576)},
             {"int8", 8 + 32.0 / 576},
             {"gptq:bits=3,group=64", 3 + 19.0 / 64},
             {"gptq:group=64,sym=1", 4.3125},
             {"gptq:group=64,act_order=1", 4.3125 + 32.0 / 256},
             {"gptq:group=64,act_order=1,static_groups=1", 4.3125},
             {"gptq:group=-1,act_order=1", 4 + 20.0 / 576},
             {"hqq", 4.5},
             {"hqq:bits=2", 2.5},
             {"hqq:bits=2,group=16", 4.0},
             {"hqq:bits=3,axis=0", 4.0},
             {"hqq:meta=fp32", 5.0},
             {"awq:group=64", 4 + 20.0 / 64 + 16.0 / 256},
             {"awq:group=192", 4 + 20.0 / 192 + 16.0 / 256},
             {"rtn:bits=3,sym=1", 3.25},
             {"rtn:bits=3", 3.5}};

TEST(a_weight_costs_the_honest_bits)
{
    enum { N = 256 * 576 };
    float *w = malloc(N * sizeof(*w));
    CHECK(w != NULL);
    fill_gaussian(w, N, 0.02, "bits");
    for (size_t i = 0; i < sizeof(costs) / sizeof(*costs); i++) {
        struct method_fixture f;
        struct ucb_err err;
        fixture_open(&f, costs[i].spec, 256, 576, UCB_F32, 0);
        f.context.trace = NULL;
        CHECK_OK(fixture_try_encode(&f, w, &err), err);
        CHECK_NEAR(8.0 * (double)f.out.n_bytes / N, costs[i].bits, 1e-9);
        fixture_close(&f);
    }
    free(w);
}
