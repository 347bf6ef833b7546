/* What architectures other than Llama need outside the products, against plain double and
 * long double arithmetic. docs/arithmetic.md states the bounds. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "core/arena.h"

static struct ucb_backend *open_fp32(void)
{
    return backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
}

static long double gelu(long double x)
{
    return 0.5L * x * erfcl(-x * 0.70710678118654752440L);
}

static long double gelu_tanh(long double x)
{
    long double v = 0.79788456080286535588L * (x + 0.044715L * x * x * x);
    return x / (1 + expl(-2 * v));
}

static long double silu(long double x)
{
    return x / (1 + expl(-x));
}

/* The largest error over [-40, 40] in steps of 2^-13, divided by max(1, |x|). */
static double activation_error(struct ucb_backend *backend, enum ucb_activation which,
                               long double (*exact)(long double))
{
    enum { N = 80 * 8192, BLOCK = 8192 };
    static float x[BLOCK], y[BLOCK];
    double worst = 0;
    for (int first = 0; first < N; first += BLOCK) {
        for (int i = 0; i < BLOCK; i++) x[i] = (float)(first + i) / 8192 - 40;
        ucb_activate(backend, which, x, NULL, BLOCK, y);
        for (int i = 0; i < BLOCK; i++) {
            double off = fabs((double)((long double)y[i] - exact((long double)x[i])));
            worst = fmax(worst, off / fmax(1, fabs((double)x[i])));
        }
    }
    return worst;
}

TEST(activations_are_within_1_2e_7_of_the_larger_of_one_and_their_argument)
{
    struct ucb_backend *backend = open_fp32();
    CHECK(activation_error(backend, UCB_ACT_GELU, gelu) < 1.2e-7);
    CHECK(activation_error(backend, UCB_ACT_GELU_TANH, gelu_tanh) < 1.2e-7);
    CHECK(activation_error(backend, UCB_ACT_SILU, silu) < 1.2e-7);
    ucb_backend_close(backend);
}

TEST(activations_end_well)
{
    static const enum ucb_activation all[] = {UCB_ACT_SILU, UCB_ACT_GELU,
                                              UCB_ACT_GELU_TANH};
    struct ucb_backend *backend = open_fp32();
    for (int i = 0; i < 3; i++) {
        const float x[] = {0, 1e4f, -1e4f, 3e38f, INFINITY}, up[] = {2, 2, 2, 0.5f, 1};
        float y[5];
        ucb_activate(backend, all[i], x, up, 5, y);
        CHECK(y[0] == 0 && y[1] == 2e4f && y[2] == 0 && y[3] == 1.5e38f);
        CHECK(y[4] == INFINITY);
    }
    ucb_backend_close(backend);
}

/* Relative, because a cap of small logits is what keeps their differences. */
TEST(a_soft_cap_is_within_2_4e_7_of_its_value)
{
    enum { N = 1 << 16 };
    static float x[N], y[N];
    struct ucb_backend *backend = open_fp32();
    double worst = 0;
    for (int i = 0; i < N; i++) x[i] = ((float)i - N / 2) / 512 + 1e-4f;
    memcpy(y, x, sizeof(y));
    ucb_softcap(backend, y, N, 7);
    for (int i = 0; i < N; i++) {
        long double exact = 7 * tanhl((long double)x[i] / 7);
        worst = fmax(worst, fabs((double)(((long double)y[i] - exact) / exact)));
    }
    CHECK(worst < 2.4e-7);
    float ends[] = {0, 1e30f, -1e30f, INFINITY, -INFINITY};
    ucb_softcap(backend, ends, 5, 50);
    CHECK(ends[0] == 0 && ends[1] == 50 && ends[2] == -50 && ends[3] == 50 &&
          ends[4] == -50);
    ucb_backend_close(backend);
}

TEST(softplus_is_rounded_once)
{
    enum { N = 4001 };
    static float x[N], y[N];
    struct ucb_backend *backend = open_fp32();
    for (int i = 0; i < N; i++) y[i] = x[i] = (float)(i - 2000) / 20;
    ucb_softplus(backend, y, N);
    for (int i = 0; i < N; i++) {
        double exact = (double)(x[i] > 0
                                    ? (long double)x[i] + log1pl(expl(-(long double)x[i]))
                                    : log1pl(expl((long double)x[i])));
        /* half a step, and room for the double; or half the smallest of all floats */
        CHECK(fabs(y[i] - exact) <= fmax(6.1e-8 * exact, 0x1p-150));
    }
    ucb_backend_close(backend);
}

TEST(a_clamp_keeps_what_is_inside_and_scaling_and_adding_are_single_operations)
{
    struct ucb_backend *backend = open_fp32();
    float x[5] = {-3, -2, 0.5f, 2, 1e30f}, y[2] = {1, 0x1p-24f};
    const float add[2] = {3, 3};
    ucb_clamp(backend, x, 5, 2);
    CHECK(x[0] == -2 && x[1] == -2 && x[2] == 0.5f && x[3] == 2 && x[4] == 2);
    ucb_scale(backend, x, 5, 0.1f);
    CHECK(x[0] == -2 * 0.1f && x[2] == 0.5f * 0.1f);
    ucb_add_scaled(backend, y, add, 0.1f, 2);
    CHECK(y[0] == 1 + 3 * 0.1f && y[1] == 0x1p-24f + 3 * 0.1f);
    ucb_backend_close(backend);
}

TEST(a_layer_norm_has_mean_zero_and_variance_one_before_its_weights)
{
    enum { ROWS = 7, N = 333 };
    struct ucb_backend *backend = open_fp32();
    float *x = named_values("x", ROWS * N, 3), *weight = named_values("weight", N, 2),
          *bias = named_values("bias", N, 1), y[ROWS * N];
    for (int i = 0; i < ROWS * N; i++) x[i] += 5; /* a mean larger than what varies */
    ucb_layernorm(backend, x, ROWS, N, weight, bias, 1e-5f, y);
    for (int row = 0; row < ROWS; row++) {
        double mean = 0, variance = 0;
        for (int i = 0; i < N; i++) mean += x[row * N + i] / (double)N;
        for (int i = 0; i < N; i++) variance += pow(x[row * N + i] - mean, 2) / N;
        for (int i = 0; i < N; i++)
            CHECK_NEAR(y[row * N + i],
                       weight[i] * (x[row * N + i] - mean) / sqrt(variance + 1e-5) +
                           bias[i],
                       3e-6);
    }
    ucb_backend_close(backend);
    free(x);
    free(weight);
    free(bias);
}

TEST(adjacent_pairs_turn_behind_an_offset)
{
    struct ucb_backend *backend = open_fp32();
    float x[12] = {9, 1, 2, 3, 4, 8, 9, 5, 6, 7, 8, 8};
    const float table[8] = {1, 0, 1, 0, 0, 1, 0, -1}; /* position 1: +90 and -90 degrees */
    const float expected[12] = {9, -2, 1, 4, -3, 8, 9, -6, 5, 8, -7, 8};
    ucb_rope(backend, x, 1, &(struct ucb_rotary){2, 6, 1, 4, true}, table,
             (const uint32_t[]){1});
    for (int i = 0; i < 12; i++) CHECK(x[i] == expected[i]);
    ucb_backend_close(backend);
}

/* u[t] = silu(sum of taps); h = exp(dt a) h + dt u b; y = h c + skip u, all in double. */
enum { T = 19, WIDTH = 21, STATES = 5, TAPS = 4 };
static void scan_exactly(const struct ucb_scan *s, double *u, double *y)
{
    for (int c = 0; c < WIDTH; c++) {
        double h[STATES] = {0};
        for (int t = 0; t < T; t++) {
            double sum = s->conv_bias[c];
            for (int k = 0; k < TAPS; k++)
                if (t - TAPS + 1 + k >= 0)
                    sum += (double)s->conv[k * WIDTH + c] *
                           s->in[(size_t)(t - TAPS + 1 + k) * s->in_stride + c];
            double v = sum / (1 + exp(-sum)), out = s->skip[c] * v,
                   dt = s->dt[t * WIDTH + c];
            for (int i = 0; i < STATES; i++) {
                const float *bc = s->bc + (size_t)t * s->bc_stride;
                h[i] = exp(dt * s->a[i * WIDTH + c]) * h[i] + dt * v * bc[i];
                out += h[i] * bc[STATES + i];
            }
            u[t * WIDTH + c] = v;
            y[t * WIDTH + c] = out;
        }
    }
}

TEST(a_state_space_equals_the_recurrence_in_double)
{
    struct ucb_backend *backend = open_fp32();
    float *in = named_values("in", T * 30, 2),
          *conv = named_values("conv", TAPS * WIDTH, 1),
          *bias = named_values("bias", WIDTH, 1), *dt = named_values("dt", T * WIDTH, 2),
          *bc = named_values("bc", T * 12, 1), *a = named_values("a", STATES * WIDTH, 2),
          *skip = named_values("skip", WIDTH, 1), u[T * WIDTH], y[T * WIDTH];
    double exact_u[T * WIDTH], exact_y[T * WIDTH];
    for (int i = 0; i < STATES * WIDTH; i++) a[i] = -fabsf(a[i]); /* states fade */
    for (int i = 0; i < T * WIDTH; i++) dt[i] = fabsf(dt[i]);
    const struct ucb_scan scan = {T, WIDTH, STATES, TAPS, in, 30,   conv, bias,
                                  u, dt,    bc,     12,   a,  skip, y};
    ucb_convolve(backend, &scan);
    ucb_scan(backend, &scan);
    scan_exactly(&scan, exact_u, exact_y);
    for (int i = 0; i < T * WIDTH; i++) {
        CHECK_NEAR(u[i], exact_u[i], 1e-6);
        CHECK_NEAR(y[i], exact_y[i], 5e-6);
    }
    ucb_backend_close(backend);
    float *const all[] = {in, conv, bias, dt, bc, a, skip};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

/* Two keys and values of one element: by hand. The cap comes before the mask. */
TEST(capped_scores_weigh_by_their_hyperbolic_tangents)
{
    struct ucb_backend *backend = open_fp32();
    const struct ucb_attention shape = {1, 1, 1, 0, 0.5f, 3};
    const size_t start[2] = {0, 2};
    const float q[2] = {1, 2}, k[2] = {4, -6}, v[2] = {10, 20};
    float out[2];
    struct ucb_err err;
    CHECK_OK(ucb_attention(backend, &shape, q, k, v, 1, start, out, &err), err);
    double a = exp(3 * tanh(4.0 / 3)), b = exp(3 * tanh(-6.0 / 3));
    CHECK(out[0] == 10);
    CHECK_NEAR(out[1], (10 * a + 20 * b) / (a + b), 2e-6);
    ucb_backend_close(backend);
}

/* z = cap(w x + bias): one id of three, by hand. */
TEST(logits_get_their_bias_before_their_cap)
{
    struct ucb_backend *backend = open_fp32();
    const float w[3] = {1, 2, 3}, hidden[1] = {2}, bias[3] = {0.5f, -3, 1};
    const uint32_t target[1] = {1};
    struct ucb_packed packed = packed_for_test(backend, w, 3, 1);
    const struct ucb_head model = {&packed, hidden, bias, 4, NULL, NULL};
    struct ucb_position out;
    struct ucb_err err;
    CHECK_OK(ucb_head_score(backend, &model, 1, target, 1, &out, &err), err);
    double z[3] = {4 * tanh(2.5 / 4), 4 * tanh(1.0 / 4), 4 * tanh(7.0 / 4)};
    CHECK_NEAR(out.logp, z[1] - log(exp(z[0]) + exp(z[1]) + exp(z[2])), 1e-6);
    CHECK(out.argmax == 2 && out.rank == 2);
    ucb_mem_free(packed.data);
    ucb_backend_close(backend);
}
