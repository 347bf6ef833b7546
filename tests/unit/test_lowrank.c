/* lowrank: the correction is the best of its rank under its metric, by an eigenvalue
 * oracle; the stores. What a tuner moves: test_lowrank_tuned.c. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../methods/lowrank/lowrank.h"
#include "core/dense.h"
#include "core/dense_spectral.h"
#include "core/half.h"
#include "method/chain_internal.h"
#include "method_fixture.h"

enum { MOST_IN = 288, MOST = 320 * 320 };

static float weights[MOST], base[MOST];
static struct ucb_arena kept;
static struct ucb_err err;

/* ---- the oracle ---- */

/* R L of the damped moment (of its diagonal; of 1), and the sum of the squares that the
 * best correction of that rank leaves: the eigenvalues of (R L)^T (R L) past the first
 * `rank`. */
static double best_left(const double *r, size_t n_out, size_t n_in, size_t rank,
                        enum lowrank_metric metric, const struct ucb_calib *calib,
                        double damp)
{
    double *l = UCB_NEW(&kept, double, n_in *n_in),
           *m = UCB_NEW(&kept, double, n_out *n_in),
           *gram = UCB_NEW(&kept, double, n_in *n_in),
           *values = UCB_NEW(&kept, double, n_in),
           *vectors = UCB_NEW(&kept, double, n_in *n_in), mean = 0, left = 0;
    size_t pivot;
    for (size_t i = 0; i < n_in && calib != NULL; i++) mean += calib->sq_mean[i];
    mean /= (double)n_in;
    for (size_t i = 0; i < n_in; i++)
        for (size_t j = 0; j < n_in; j++)
            l[i * n_in + j] = metric == LOWRANK_EXACT  ? calib->second_moment[i * n_in + j]
                              : i != j                 ? 0
                              : metric == LOWRANK_DIAG ? calib->sq_mean[i]
                                                       : 1;
    for (size_t i = 0; i < n_in && metric != LOWRANK_PLAIN; i++)
        l[i * n_in + i] += damp * mean;
    CHECK_OK(ucb_dense_cholesky(l, n_in, NULL, &kept, &pivot, &err), err);
    struct ucb_dense rl = ucb_dense_of(m, n_out, n_in);
    CHECK_OK(ucb_dense_multiply(ucb_dense_of(r, n_out, n_in), ucb_dense_of(l, n_in, n_in),
                                UCB_DENSE_SET, m, NULL, &kept, &err),
             err);
    CHECK_OK(ucb_dense_multiply(ucb_dense_turned(rl), rl, UCB_DENSE_SET, gram, NULL, &kept,
                                &err),
             err);
    CHECK_OK(ucb_dense_eigen(gram, n_in, n_in, values, vectors, NULL, &kept, &err), err);
    for (size_t i = rank; i < n_in; i++) left += fmax(values[i], 0);
    return left;
}

/* tr(E M E^T) of the error E = R - u v (u NULL: R), M the damped moment of the metric. */
static double measured(const double *r, const float *u, const float *v, size_t n_out,
                       size_t n_in, size_t rank, enum lowrank_metric metric,
                       const struct ucb_calib *calib, double damp)
{
    double sum = 0, mean = 0, row[MOST_IN];
    for (size_t i = 0; i < n_in && calib != NULL; i++) mean += calib->sq_mean[i];
    mean /= (double)n_in;
    for (size_t o = 0; o < n_out; o++) {
        memcpy(row, r + o * n_in, n_in * sizeof(*row));
        for (size_t j = 0; j < rank && u != NULL; j++)
            for (size_t i = 0; i < n_in; i++)
                row[i] -= (double)u[o * rank + j] * (double)v[j * n_in + i];
        for (size_t i = 0; i < n_in; i++) {
            double own = metric == LOWRANK_PLAIN ? 1 : damp * mean;
            if (metric == LOWRANK_DIAG) own += calib->sq_mean[i];
            sum += own * row[i] * row[i];
            for (size_t j = 0; j < n_in && metric == LOWRANK_EXACT; j++)
                sum += row[i] * row[j] * calib->second_moment[i * n_in + j];
        }
    }
    return sum;
}

/* ---- one fit ---- */

struct fitted {
    struct lowrank_layout layout;
    struct lowrank_factors factors;
    double *residual;
};

/* Of weights - base as they stand. */
static struct fitted fit(size_t n_out, size_t n_in, size_t rank, enum lowrank_metric metric,
                         const struct ucb_calib *calib, double damp, struct ucb_pool *pool)
{
    struct ucb_arena scratch = {0};
    struct ucb_job job = {.scratch = &scratch, .pool = pool};
    struct ucb_matrix matrix = {
        .name = "m", .n_out = (uint32_t)n_out, .n_in = (uint32_t)n_in};
    struct ucb_source src = {
        .matrix = &matrix, .w = weights, .before = base, .calib = calib};
    struct lowrank_weight weight;
    struct fitted f = {
        .layout = {n_out, n_in, rank, metric, LOWRANK_FP16, damp},
        .factors = {UCB_NEW(&kept, float, n_out *rank), UCB_NEW(&kept, float, rank *n_in)},
        .residual = UCB_NEW(&kept, double, n_out *n_in)};
    ucb_pcg_named(&job.random, 1, "fit");
    CHECK_OK(lowrank_weigh(&job, &f.layout, calib, "m", &weight, &err), err);
    CHECK_OK(lowrank_fit(&job, &f.layout, &src, &weight, &f.factors, &err), err);
    for (size_t i = 0; i < n_out * n_in; i++)
        f.residual[i] = (double)weights[i] - (double)base[i];
    ucb_arena_free(&scratch);
    return f;
}

/* Gaussian weights and what nf4 makes of them: a residual with a nearly flat spectrum. */
static void fill_quantized(uint32_t n_out, uint32_t n_in)
{
    struct method_fixture f;
    fill_gaussian(weights, (size_t)n_out * n_in, 0.05, "lowrank");
    fixture_open(&f, "nf4", n_out, n_in, UCB_F32, 1);
    fixture_run(&f, weights);
    memcpy(base, f.decoded, (size_t)n_out * n_in * sizeof(*base));
    fixture_close(&f);
}

static void check_best(uint32_t n_out, uint32_t n_in, size_t rank)
{
    const struct ucb_calib *calib = made_up_calib(n_in);
    fill_quantized(n_out, n_in);
    for (int metric = LOWRANK_PLAIN; metric <= LOWRANK_EXACT; metric++) {
        enum lowrank_metric m = (enum lowrank_metric)metric;
        struct fitted f = fit(n_out, n_in, rank, m, calib, 1e-4, NULL);
        double left = measured(f.residual, f.factors.u, f.factors.v, n_out, n_in, rank, m,
                               calib, 1e-4),
               best = best_left(f.residual, n_out, n_in, rank, m, calib, 1e-4),
               all = measured(f.residual, NULL, NULL, n_out, n_in, rank, m, calib, 1e-4);
        CHECK(best < all);
        CHECK(sqrt(left) >= (1 - 1e-6) * sqrt(best)); /* the oracle is an oracle */
        CHECK(sqrt(left) <= (1 + 5e-4) * sqrt(best) + 1e-6 * sqrt(all));
        ucb_arena_reset(&kept);
    }
}

TEST(a_correction_of_quantization_noise_is_the_best_of_its_rank_under_each_metric)
{
    check_best(288, 288, 32);
    check_best(320, 190, 32);
    check_best(150, 288, 16);
    check_best(200, 200, 3);
    check_best(40, 96, 40); /* all of it */
    check_best(1, 64, 1);
    check_best(64, 1, 1);
}

TEST(by_the_outputs_error_exact_beats_diag_and_diag_beats_plain)
{
    enum { N_OUT = 200, N_IN = 192, RANK = 16 };
    const struct ucb_calib *calib = made_up_calib(N_IN);
    double left[3];
    fill_quantized(N_OUT, N_IN);
    for (int m = LOWRANK_PLAIN; m <= LOWRANK_EXACT; m++) {
        struct fitted f = fit(N_OUT, N_IN, RANK, (enum lowrank_metric)m, calib, 1e-6, NULL);
        left[m] = measured(f.residual, f.factors.u, f.factors.v, N_OUT, N_IN, RANK,
                           LOWRANK_EXACT, calib, 0);
    }
    CHECK(left[LOWRANK_EXACT] < left[LOWRANK_DIAG]);
    CHECK(left[LOWRANK_DIAG] < left[LOWRANK_PLAIN]);
    ucb_arena_reset(&kept);
}

/* weights = base + sum of `rank` outer products with the given sizes. */
static void fill_low_rank(size_t n_out, size_t n_in, size_t rank, const double *size)
{
    float *a = UCB_NEW(&kept, float, rank *n_out), *b = UCB_NEW(&kept, float, rank *n_in);
    fill_gaussian(a, rank * n_out, 1, "left");
    fill_gaussian(b, rank * n_in, 1, "right");
    memset(base, 0, n_out * n_in * sizeof(*base));
    for (size_t o = 0; o < n_out; o++)
        for (size_t i = 0; i < n_in; i++) {
            double sum = 0;
            for (size_t j = 0; j < rank; j++)
                sum += size[j] * (double)a[j * n_out + o] * (double)b[j * n_in + i];
            weights[o * n_in + i] = (float)sum;
        }
}

TEST(a_residual_of_the_rank_or_less_is_corrected_completely)
{
    enum { N_OUT = 120, N_IN = 150, RANK = 20 };
    double size[RANK];
    for (size_t rank = 1; rank <= RANK; rank += 19)
        for (int metric = LOWRANK_PLAIN; metric <= LOWRANK_EXACT; metric++) {
            enum lowrank_metric m = (enum lowrank_metric)metric;
            const struct ucb_calib *calib = made_up_calib(N_IN);
            for (size_t j = 0; j < rank; j++) size[j] = pow(0.7, (double)j);
            fill_low_rank(N_OUT, N_IN, rank, size);
            struct fitted f = fit(N_OUT, N_IN, RANK, m, calib, 1e-6, NULL);
            double all = measured(f.residual, NULL, NULL, N_OUT, N_IN, RANK, LOWRANK_PLAIN,
                                  NULL, 0),
                   left = measured(f.residual, f.factors.u, f.factors.v, N_OUT, N_IN, RANK,
                                   LOWRANK_PLAIN, NULL, 0);
            CHECK(sqrt(left) < 1e-6 * sqrt(all)); /* fp32 of weights and factors */
            ucb_arena_reset(&kept);
        }
}

TEST(a_residual_whose_singular_values_are_all_equal_is_corrected_as_far_as_the_rank_goes)
{
    enum { N = 90, RANK = 32 };
    memset(base, 0, sizeof(base));
    memset(weights, 0, sizeof(weights));
    for (size_t i = 0; i < N; i++) weights[i * N + (7 * i + 3) % N] = i < 40 ? -2 : 2;
    struct fitted f = fit(N, N, RANK, LOWRANK_PLAIN, NULL, 1e-6, NULL);
    double left = measured(f.residual, f.factors.u, f.factors.v, N, N, RANK, LOWRANK_PLAIN,
                           NULL, 0);
    CHECK_NEAR(left, 4 * (N - RANK), 1e-3);
    ucb_arena_reset(&kept);
}

TEST(no_residual_gets_no_correction)
{
    enum { N_OUT = 30, N_IN = 40, RANK = 8 };
    fill_gaussian(weights, N_OUT * N_IN, 1, "none");
    memcpy(base, weights, sizeof(base));
    struct fitted f = fit(N_OUT, N_IN, RANK, LOWRANK_EXACT, made_up_calib(N_IN), 1e-6,
                          NULL);
    for (size_t i = 0; i < N_OUT * RANK; i++) CHECK(f.factors.u[i] == 0);
    for (size_t i = 0; i < RANK * N_IN; i++) CHECK(f.factors.v[i] == 0);
    ucb_arena_reset(&kept);
}

TEST(the_two_sides_of_a_component_are_equally_long_and_come_by_size)
{
    enum { N_OUT = 100, N_IN = 130, RANK = 12 };
    fill_quantized(N_OUT, N_IN);
    struct fitted f = fit(N_OUT, N_IN, RANK, LOWRANK_PLAIN, NULL, 1e-6, NULL);
    double before = INFINITY;
    for (size_t j = 0; j < RANK; j++) {
        double of_u = 0, of_v = 0;
        for (size_t o = 0; o < N_OUT; o++)
            of_u += pow((double)f.factors.u[o * RANK + j], 2);
        for (size_t i = 0; i < N_IN; i++) of_v += pow((double)f.factors.v[j * N_IN + i], 2);
        CHECK_NEAR(of_u / of_v, 1, 1e-6);
        CHECK(of_u <= before * (1 + 1e-6)); /* = the singular value */
        before = of_u;
    }
    ucb_arena_reset(&kept);
}

TEST(a_fit_is_the_same_for_any_thread_count)
{
    enum { N_OUT = 260, N_IN = 288, RANK = 24 };
    fill_quantized(N_OUT, N_IN);
    struct fitted one = fit(N_OUT, N_IN, RANK, LOWRANK_EXACT, made_up_calib(N_IN), 1e-6,
                            NULL);
    for (unsigned n = 2; n <= 7; n += 5) {
        struct ucb_pool *pool;
        CHECK_OK(ucb_pool_open(n, &pool, &err), err);
        struct fitted more = fit(N_OUT, N_IN, RANK, LOWRANK_EXACT, made_up_calib(N_IN),
                                 1e-6, pool);
        CHECK(memcmp(one.factors.u, more.factors.u, N_OUT * RANK * sizeof(float)) == 0);
        CHECK(memcmp(one.factors.v, more.factors.v, RANK * N_IN * sizeof(float)) == 0);
        ucb_pool_close(pool);
    }
    ucb_arena_reset(&kept);
}

/* ---- as a stage ---- */

static size_t encoded_size(const char *spec, uint32_t n_out, uint32_t n_in,
                           const struct ucb_calib *calib, uint8_t *bytes)
{
    struct method_fixture f;
    fixture_open(&f, spec, n_out, n_in, UCB_F32, 2);
    f.calib = calib;
    CHECK_OK(fixture_try_encode(&f, weights, &err), err);
    size_t n = f.out.n_bytes;
    memcpy(bytes, f.out.data, n);
    fixture_close(&f);
    return n;
}

TEST(without_statistics_every_metric_is_plain)
{
    enum { N_OUT = 24, N_IN = 64 };
    static uint8_t plain[16384], other[16384];
    static double zeros[N_IN * N_IN];
    const struct ucb_calib nobody = {.sq_mean = zeros, .second_moment = zeros},
                           silence = {
                               .n_tokens = 9, .sq_mean = zeros, .second_moment = zeros};
    const struct ucb_calib *none[] = {NULL, &nobody, &silence};
    fill_gaussian(weights, N_OUT * N_IN, 1, "fallback");
    size_t n = encoded_size("nf4+lowrank:rank=8", N_OUT, N_IN, NULL, plain);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(
            encoded_size("nf4+lowrank:rank=8,metric=diag", N_OUT, N_IN, none[i], other), n);
        CHECK(memcmp(plain, other, n) == 0);
        CHECK_EQ(
            encoded_size("nf4+lowrank:rank=8,metric=exact", N_OUT, N_IN, none[i], other),
            n);
        CHECK(memcmp(plain, other, n) == 0);
    }
    encoded_size("nf4+lowrank:rank=8,metric=exact", N_OUT, N_IN, made_up_calib(N_IN),
                 other);
    CHECK(memcmp(plain, other, n) != 0);
}

TEST(inputs_that_are_always_zero_are_no_obstacle)
{
    enum { N_OUT = 24, N_IN = 64 };
    float x[6 * N_IN]; /* fewer tokens than inputs, too: the moment is singular */
    fill_gaussian(x, 6 * N_IN, 1, "dead inputs");
    for (size_t t = 0; t < 6; t++) x[t * N_IN + 5] = x[t * N_IN + 63] = 0;
    const struct ucb_calib calib = calib_of(x, 6, N_IN, &kept);
    fill_gaussian(weights, N_OUT * N_IN, 1, "dead");
    static const char *const specs[] = {"nf4+lowrank:rank=8,metric=diag",
                                        "nf4+lowrank:rank=8,metric=exact"};
    for (int i = 0; i < 2; i++) {
        struct method_fixture f;
        fixture_open(&f, specs[i], N_OUT, N_IN, UCB_F32, 1);
        f.calib = &calib;
        fixture_run(&f, weights);
        /* exact: six tokens span what rank 8 can repair */
        double left = 0, all = 0;
        for (size_t t = 0; t < 6; t++)
            for (size_t o = 0; o < N_OUT; o++) {
                double off = 0, y = 0;
                for (size_t k = 0; k < N_IN; k++) {
                    double w = weights[o * N_IN + k];
                    y += w * (double)x[t * N_IN + k];
                    off += (w - (double)f.decoded[o * N_IN + k]) * (double)x[t * N_IN + k];
                }
                left += off * off;
                all += y * y;
            }
        CHECK(sqrt(left / all) < (i == 0 ? 0.1 : 1e-3));
        fixture_close(&f);
    }
    ucb_arena_reset(&kept);
}

TEST(a_moment_that_is_none_is_refused_with_a_damping_to_try)
{
    enum { N = 32 };
    static double moment[N * N];
    struct method_fixture f;
    for (size_t i = 0; i < N; i++) moment[i * N + i] = i == 9 ? -1 : 1;
    const struct ucb_calib calib = {.n_tokens = 5, .second_moment = moment};
    fill_gaussian(weights, N * N, 1, "refused");
    fixture_open(&f, "nf4+lowrank:metric=exact", N, N, UCB_F32, 1);
    f.calib = &calib;
    CHECK_STATUS(fixture_try_encode(&f, weights, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "m: the second moment");
    CHECK_HAS(err.text, "column 9");
    CHECK_HAS(err.text, "try damp=0.0001");
    fixture_close(&f);
}

TEST(a_correction_past_half_precision_is_refused)
{
    static const char *const stores[] = {"fp16", "packed", "int8"};
    for (int i = 0; i < 3; i++) {
        struct method_fixture f;
        const char *spec = ucb_test_path("nf4+lowrank:rank=2,store=%s", stores[i]);
        fill_gaussian(weights, 16 * 64, 1e18, "large");
        fixture_open(&f, spec, 16, 64, UCB_F32, 1);
        CHECK_STATUS(fixture_try_encode(&f, weights, &err), UCB_UNSUPPORTED, err);
        CHECK_HAS(err.text, "m: factor");
        CHECK_HAS(err.text, "65504");
        fixture_close(&f);
    }
}

TEST(the_needs_of_a_chain_are_those_of_its_metric)
{
    static const struct {
        const char *spec;
        uint32_t needs;
        bool sequential;
    } cases[] = {{"nf4+lowrank", UCB_NEEDS_NONE, false},
                 {"nf4+lowrank:metric=diag", UCB_NEEDS_DIAG, false},
                 {"nf4+lowrank:metric=exact", UCB_NEEDS_H, false},
                 {"gptq+lowrank:metric=diag", UCB_NEEDS_H | UCB_NEEDS_DIAG, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ucb_chain *chain;
        CHECK_OK(ucb_chain_parse(cases[i].spec, &kept, &chain, &err), err);
        CHECK_EQ(ucb_chain_needs(chain), cases[i].needs);
        CHECK_EQ(ucb_chain_is_sequential(chain), cases[i].sequential);
    }
    struct ucb_chain *chain;
    struct ucb_matrix m = {.name = "m", .n_out = 100, .n_in = 200, .dtype = UCB_BF16};
    CHECK_OK(ucb_chain_parse("nf4+lowrank", &kept, &chain, &err), err);
    CHECK_TEXT(ucb_chain_spec(chain), "nf4+lowrank:rank=32");
    CHECK_NEAR(ucb_chain_nominal_bpw(chain, &m), 4 + 32 * 300 * 16 / 20000.0, 1e-12);
    CHECK_EQ(ucb_chain_decoded_dtype(chain, UCB_BF16), UCB_BF16);
    CHECK_OK(ucb_chain_parse("nf4+lowrank:store=int8", &kept, &chain, &err), err);
    CHECK_NEAR(ucb_chain_nominal_bpw(chain, &m), 4 + 32 * 300 * 8 / 20000.0, 1e-12);
    CHECK_STATUS(ucb_chain_parse("lowrank", &kept, &chain, &err), UCB_USAGE, err);
    ucb_arena_reset(&kept);
}

/* ---- stores ---- */

TEST(packed_factors_are_the_halves_in_fewer_bytes)
{
    enum { N_OUT = 288, N_IN = 320 };
    struct method_fixture fp16, packed;
    fill_gaussian(weights, N_OUT * N_IN, 0.05, "stores");
    fixture_open(&fp16, "nf4+lowrank:rank=32", N_OUT, N_IN, UCB_F32, 1);
    fixture_run(&fp16, weights);
    fixture_open(&packed, "nf4+lowrank:rank=32,store=packed", N_OUT, N_IN, UCB_F32, 1);
    fixture_run(&packed, weights);
    CHECK(memcmp(fp16.decoded, packed.decoded, N_OUT * N_IN * sizeof(float)) == 0);
    CHECK_EQ(fp16.out.part_bytes[UCB_PART_FACTORS], 2 * 32 * (N_OUT + N_IN));
    CHECK(packed.out.part_bytes[UCB_PART_FACTORS] < fp16.out.part_bytes[UCB_PART_FACTORS]);
    CHECK(packed.out.part_bytes[UCB_PART_TABLES] > 0);
    CHECK_EQ(packed.out.part_bytes[UCB_PART_HEADER], 8 + 4 * 4);
    fixture_close(&fp16);
    fixture_close(&packed);
}

TEST(int8_factors_are_within_half_a_step_of_each_component)
{
    enum { N_OUT = 96, N_IN = 128, RANK = 8 };
    struct method_fixture fp16, int8;
    fill_gaussian(weights, N_OUT * N_IN, 0.05, "stores");
    fixture_open(&fp16, "nf4+lowrank:rank=8", N_OUT, N_IN, UCB_F32, 1);
    fixture_run(&fp16, weights);
    fixture_open(&int8, "nf4+lowrank:rank=8,store=int8", N_OUT, N_IN, UCB_F32, 1);
    fixture_run(&int8, weights);
    CHECK_EQ(int8.out.part_bytes[UCB_PART_FACTORS], RANK * (N_OUT + N_IN));
    const uint8_t *halves = fp16.out.data + fp16.out.n_bytes - 2 * RANK * (N_OUT + N_IN),
                  *codes = int8.out.data + int8.out.n_bytes - RANK * (N_OUT + N_IN + 4);
    for (size_t j = 0; j < RANK; j++) {
        float step = ucb_f16_widen(ucb_load_u16(codes + RANK * N_IN + 2 * j)), peak = 0;
        for (size_t i = 0; i < N_IN; i++) {
            float half = ucb_f16_widen(ucb_load_u16(halves + 2 * (j * N_IN + i)));
            int8_t code = (int8_t)codes[j * N_IN + i];
            peak = fmaxf(peak, fabsf((float)code));
            /* half a step, and the rounding of the half and of the step */
            CHECK_NEAR((double)half, (double)code * step, 0.5 * step + 0.001 * fabsf(half));
        }
        CHECK(peak == 127);
    }
    fixture_close(&fp16);
    fixture_close(&int8);
}

TEST(every_truncation_of_every_store_is_refused)
{
    enum { N_OUT = 9, N_IN = 12 };
    static const char *const stores[] = {"fp16", "int8", "packed"};
    float w[N_OUT * N_IN];
    fill_gaussian(weights, N_OUT * N_IN, 1, "truncations");
    for (int s = 0; s < 3; s++) {
        struct method_fixture f;
        const char *spec = ucb_test_path("nf4+lowrank:rank=3,store=%s", stores[s]);
        fixture_open(&f, spec, N_OUT, N_IN, UCB_F32, 1);
        CHECK_OK(fixture_try_encode(&f, weights, &err), err);
        for (size_t n = 0; n < f.out.n_bytes; n++)
            CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, n, w,
                                          NULL, &err),
                         UCB_CORRUPT, err);
        ucb_put_u8(&f.out, 0);
        CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data,
                                      f.out.n_bytes, w, NULL, &err),
                     UCB_CORRUPT, err);
        fixture_close(&f);
    }
}

/* ---- behind other stages ---- */

TEST(a_correction_lowers_the_error_behind_every_kind_of_method)
{
    static const char *const specs[] = {
        "nf4:double_quant=1", "hqq:bits=3", "awq:group=64,bits=3", "gptq:bits=3",
        "gguf:type=Q4_0",     "int8",       "rtn:bits=3",          "fp4"};
    enum { N_OUT = 96, N_IN = 128 };
    fill_gaussian(weights, N_OUT * N_IN, 0.05, "chains");
    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++)
        for (int exact = 0; exact < 2; exact++) {
            struct method_fixture alone, with;
            const char *chain = ucb_test_path("%s+lowrank:rank=24%s", specs[i],
                                              exact ? ",metric=exact" : "");
            fixture_open(&alone, specs[i], N_OUT, N_IN, UCB_F32, 2);
            fixture_run(&alone, weights);
            fixture_open(&with, chain, N_OUT, N_IN, UCB_F32, 2);
            fixture_run(&with, weights);
            double before = relative_error(weights, alone.decoded_f32, N_OUT * N_IN),
                   after = relative_error(weights, with.decoded_f32, N_OUT * N_IN);
            if (!exact) CHECK(after < 0.85 * before);
            CHECK(after < 1.1 * before);
            fixture_close(&alone);
            fixture_close(&with);
        }
}

TEST(matrices_that_are_encoded_together_are_each_corrected)
{
    enum { N_OUT = 40, N_IN = 128, N = 2 };
    struct method_fixture f;
    struct ucb_matrix matrices[N];
    struct ucb_source src[N];
    struct ucb_writer payload[N] = {{0}}, *out[N] = {&payload[0], &payload[1]};
    static float w[N][N_OUT * N_IN], decoded[N_OUT * N_IN];
    fixture_open(&f, "awq:group=64+lowrank:rank=16,metric=exact", N_OUT, N_IN, UCB_F32, 1);
    for (int i = 0; i < N; i++) {
        fill_gaussian(w[i], N_OUT * N_IN, 0.05, i == 0 ? "gate" : "up");
        matrices[i] = f.matrix;
        matrices[i].role = i == 0 ? UCB_ROLE_GATE : UCB_ROLE_UP;
        src[i] = (struct ucb_source){.matrix = &matrices[i], .w = w[i], .calib = f.calib};
    }
    f.context.trace = NULL;
    CHECK(ucb_chain_groups(f.chain, &matrices[0], &matrices[1]));
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, src, N, out, &err), err);
    for (int i = 0; i < N; i++) {
        CHECK_OK(ucb_chain_decode(f.chain, &f.context, &matrices[i], payload[i].data,
                                  payload[i].n_bytes, decoded, NULL, &err),
                 err);
        CHECK(relative_error(w[i], decoded, N_OUT * N_IN) < 0.1);
        ucb_writer_free(&payload[i]);
    }
    fixture_close(&f);
}
