/* Backend: hand values, accuracy against sums in double, errors. That all paths agree is in
 * tests/same. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "backend/backend_internal.h"
#include "core/arena.h"
#include "core/half.h"

TEST(names_of_arithmetics_and_paths_are_found_or_answered_with_neighbours)
{
    enum ucb_arithmetic arithmetic = UCB_ARITH_FP32;
    enum ucb_kernel kernel = UCB_KERNEL_AUTO;
    struct ucb_err err;
    CHECK_OK(ucb_arithmetic_find("bf16", &arithmetic, &err), err);
    CHECK_EQ(arithmetic, UCB_ARITH_BF16);
    CHECK_OK(ucb_arithmetic_find("bf16-dot", &arithmetic, &err), err);
    CHECK_EQ(arithmetic, UCB_ARITH_BF16_DOT);
    CHECK_STATUS(ucb_arithmetic_find("bf16dot", &arithmetic, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "`bf16-dot`");
    CHECK_OK(ucb_kernel_find("avx512", &kernel, &err), err);
    CHECK_EQ(kernel, UCB_KERNEL_AVX512);
    CHECK_STATUS(ucb_kernel_find("avx51", &kernel, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "`avx512`");
    CHECK_STATUS(ucb_arithmetic_find("fp23", &arithmetic, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "`fp32`");
}

TEST(a_path_is_refused_with_the_reason)
{
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    const char *why = NULL;
    CHECK_STATUS(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AMX, NULL, &backend, &err),
                 UCB_USAGE, err);
    CHECK(!ucb_kernel_available(UCB_KERNEL_AMX, UCB_ARITH_FP32, &why));
    CHECK_HAS(why, "bf16 only");
    CHECK_STATUS(ucb_backend_open(UCB_ARITH_BF16_DOT, UCB_KERNEL_AMX, NULL, &backend, &err),
                 UCB_USAGE, err);
    CHECK_HAS(err.text,
              "--kernel amx has no bf16-dot arithmetic: amx is a path of bf16 only");
    for (int k = UCB_KERNEL_AVX2; k < UCB_N_KERNELS; k++) {
        if (ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_BF16, &why)) continue;
        CHECK_STATUS(
            ucb_backend_open(UCB_ARITH_BF16, (enum ucb_kernel)k, NULL, &backend, &err),
            UCB_ENVIRONMENT, err);
        CHECK_HAS(err.text, why);
    }
}

TEST(auto_takes_a_path_that_is_available)
{
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        struct ucb_backend *backend = backend_for_test((enum ucb_arithmetic)a,
                                                       UCB_KERNEL_AUTO, NULL);
        CHECK(ucb_backend_kernel(backend) != UCB_KERNEL_AUTO);
        CHECK(ucb_kernel_available(ucb_backend_kernel(backend), (enum ucb_arithmetic)a,
                                   NULL));
        CHECK_EQ(ucb_backend_arithmetic(backend), a);
        ucb_backend_close(backend);
    }
}

/* The sum of x[0..n) as a product with ones. */
static float sum_of(enum ucb_arithmetic arithmetic, const float *x, uint32_t n)
{
    enum { MOST = 512 };
    float ones[MOST], y = -1;
    CHECK(n <= MOST);
    for (uint32_t k = 0; k < n; k++) ones[k] = 1.0f;
    struct ucb_backend *backend = backend_for_test(arithmetic, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed packed = packed_for_test(backend, ones, 1, n);
    struct ucb_err err;
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, 1, &y, &err), err);
    ucb_packed_free(backend, &packed);
    ucb_backend_close(backend);
    return y;
}

/* `first`, then ones: what a chain that begins with 2^24 loses. */
static float sum_of_ones_behind(enum ucb_arithmetic arithmetic, float first, uint32_t n)
{
    float x[512];
    for (uint32_t k = 0; k < n; k++) x[k] = 1.0f;
    x[0] = first;
    return sum_of(arithmetic, x, n);
}

/* Subnormal operands count as zero inside the products and nowhere else. */
static void check_flush(enum ucb_arithmetic arithmetic)
{
    float x[32];
    volatile float tiny = 0x1p-126f;
    for (int k = 0; k < 32; k++) x[k] = 0x1p-127f;
    CHECK(sum_of(arithmetic, x, 32) == 0.0f);
    CHECK(tiny * 0.5f == 0x1p-127f);
}

TEST(a_chain_of_256_rounds_before_it_is_added_to_the_next)
{
    /* 2^24 + 1 + 1 ...: inside a chunk each 1 is lost, the second chunk's own ones are
     * summed first and survive. */
    CHECK(sum_of_ones_behind(UCB_ARITH_FP32, 0x1p24f, 512) == 0x1p24f + 256.0f);
}

TEST(bf16_sums_even_and_odd_k_apart_and_flushes_what_is_tiny)
{
    /* The even chain loses the ones on even k, the odd chain keeps its sixteen. */
    CHECK(sum_of_ones_behind(UCB_ARITH_BF16, 0x1p24f, 32) == 0x1p24f + 16.0f);
    check_flush(UCB_ARITH_BF16);
}

TEST(bf16_dot_adds_the_odd_product_of_a_pair_first_and_chains_of_256_up)
{
    /* (1 + 2^24) - 2^24, where 1 + 2^24 rounds to 2^24 */
    const float pairs[4] = {0, 1.0f, -0x1p24f, 0x1p24f};
    CHECK(sum_of(UCB_ARITH_BF16_DOT, pairs, 4) == 0.0f);
    float x[512];
    for (int k = 0; k < 512; k++) x[k] = 1.0f;
    x[1] = 0x1p24f; /* the chain's first; as fp32 above */
    CHECK(sum_of(UCB_ARITH_BF16_DOT, x, 512) == 0x1p24f + 256.0f);
    check_flush(UCB_ARITH_BF16_DOT);
}

/* Largest |y - sum| / sum |x w| of a product, in units of 2^-24. */
static double product_error(enum ucb_arithmetic arithmetic)
{
    enum { ROWS = 20, OUT = 50, IN = 1111 };
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          y[ROWS * OUT];
    struct ucb_backend *backend = backend_for_test(arithmetic, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed packed = packed_for_test(backend, w, OUT, IN);
    struct ucb_err err;
    double worst = 0;
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, ROWS, y, &err), err);
    for (int i = 0; i < ROWS * OUT; i++) {
        double sum = 0, size = 0;
        for (int k = 0; k < IN; k++) {
            double a = x[i / OUT * IN + k], b = w[i % OUT * IN + k];
            if (ucb_panels_are_bf16(arithmetic))
                a = ucb_bf16_round((float)a), b = ucb_bf16_round((float)b);
            sum += a * b;
            size += fabs(a * b);
        }
        worst = fmax(worst, fabs(y[i] - sum) / size * 0x1p24);
    }
    ucb_mem_free(packed.data);
    ucb_backend_close(backend);
    free(x);
    free(w);
    return worst;
}

TEST(products_are_within_three_units_of_the_sum_of_magnitudes)
{
    CHECK(product_error(UCB_ARITH_FP32) < 3);
    CHECK(product_error(UCB_ARITH_BF16) < 3);
    CHECK(product_error(UCB_ARITH_BF16_DOT) < 3);
}

TEST(a_norm_divides_by_the_root_of_the_mean_square)
{
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    float x[4] = {1, -1, 1, -1}, weight[4] = {2, 4, 8, 16};
    ucb_rmsnorm(backend, x, 1, 4, weight, 3.0f, x); /* 1 / sqrt(1 + 3) */
    CHECK(x[0] == 1.0f && x[1] == -2.0f && x[2] == 4.0f && x[3] == -8.0f);
    ucb_backend_close(backend);
}

TEST(rope_turns_pairs_half_a_head_apart)
{
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    float x[10] = {1, 2, 3, 4, 9, 5, 6, 7, 8, 9};
    const float table[8] = {1, 0, 1, 0, 0, 1, 0, -1}; /* position 1: +90 and -90 degrees */
    const uint32_t position[1] = {1};
    ucb_rope(backend, x, 1, &(struct ucb_rotary){2, 5, 0, 4, false}, table, position);
    const float expected[10] = {-3, 4, 1, -2, 9, -7, 8, 5, -6, 9};
    for (int i = 0; i < 10; i++) CHECK_NEAR(x[i], expected[i], 0);
    ucb_backend_close(backend);
}

TEST(silu_is_within_four_units_of_the_last_place)
{
    enum { N = 100000 };
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    float *gate = named_values("gate", N, 80), *up = malloc(N * sizeof(*up)),
          *out = malloc(N * sizeof(*out));
    for (int i = 0; i < N; i++) up[i] = 1.0f;
    ucb_activate(backend, UCB_ACT_SILU, gate, up, N, out);
    for (int i = 0; i < N; i++) {
        double exact = gate[i] / (1.0 + exp(-(double)gate[i]));
        CHECK(fabs(out[i] - exact) <= 4 * 0x1p-24 * fabs(exact));
    }
    ucb_backend_close(backend);
    free(gate);
    free(up);
    free(out);
}

/* Attention in double, query by query. */
static void attend_exactly(const struct ucb_attention *s, const float *q, const float *k,
                           const float *v, size_t n, double *out)
{
    size_t d = s->head_dim, q_width = s->n_heads * d, k_width = s->n_kv_heads * d;
    for (size_t i = 0; i < n; i++) {
        for (size_t h = 0; h < s->n_heads; h++) {
            size_t kv = h / (s->n_heads / s->n_kv_heads),
                   first = s->sliding > 0 && i >= s->sliding ? i - s->sliding + 1 : 0;
            double sum = 0, *o = out + i * q_width + h * d;
            for (size_t c = 0; c < d; c++) o[c] = 0;
            for (size_t j = first; j <= i; j++) {
                double dot = 0;
                for (size_t c = 0; c < d; c++)
                    dot += (double)q[i * q_width + h * d + c] * k[j * k_width + kv * d + c];
                double e = exp(dot * s->scale);
                sum += e;
                for (size_t c = 0; c < d; c++) o[c] += e * v[j * k_width + kv * d + c];
            }
            for (size_t c = 0; c < d; c++) o[c] /= sum;
        }
    }
}

static double attention_error(enum ucb_arithmetic arithmetic, uint32_t sliding)
{
    enum { T = 333, HEADS = 4, KV = 2, D = 40 };
    const struct ucb_attention shape = {HEADS, KV, D, sliding, 0.15f, 0};
    const size_t start[2] = {0, T};
    float *q = named_values("q", T * HEADS * D, 1), *k = named_values("k", T * KV * D, 1),
          *v = named_values("v", T * KV * D, 1);
    float *out = malloc(sizeof(float) * T * HEADS * D);
    double *exact = malloc(sizeof(double) * T * HEADS * D), worst = 0;
    struct ucb_backend *backend = backend_for_test(arithmetic, UCB_KERNEL_AUTO, NULL);
    struct ucb_err err;
    CHECK_OK(ucb_attention(backend, &shape, q, k, v, 1, start, out, &err), err);
    attend_exactly(&shape, q, k, v, T, exact);
    for (int i = 0; i < T * HEADS * D; i++) worst = fmax(worst, fabs(out[i] - exact[i]));
    ucb_backend_close(backend);
    free(q);
    free(k);
    free(v);
    free(out);
    free(exact);
    return worst;
}

TEST(attention_agrees_with_double_and_honours_the_sliding_window)
{
    /* values are in [-1, 1]: fp32 errs by some 2^-23; bf16 rounds q, k, weights and v at
     * 2^-9 each */
    CHECK(attention_error(UCB_ARITH_FP32, 0) < 1e-6);
    CHECK(attention_error(UCB_ARITH_FP32, 50) < 1e-6);
    CHECK(attention_error(UCB_ARITH_BF16, 0) < 2e-2);
    CHECK(attention_error(UCB_ARITH_BF16, 50) < 2e-2);
    CHECK(attention_error(UCB_ARITH_BF16_DOT, 50) < 2e-2);
}

/* One hidden value, a power of two: the logits are exact, and what is measured is the
 * statistics. */
enum { IDS = 3000, ROWS = 37 };

struct scored {
    double logp, kld, ear;
    uint32_t argmax, rank;
};

static double log_sum_exactly(const float *w, double hidden)
{
    double sum = 0;
    for (int id = 0; id < IDS; id++) sum += exp(w[id] * hidden);
    return log(sum);
}

static struct scored score_exactly(const float *w0, const float *w, double hidden,
                                   uint32_t target)
{
    double l0 = log_sum_exactly(w0, hidden), l = log_sum_exactly(w, hidden);
    struct scored s = {.logp = w[target] * hidden - l};
    for (uint32_t id = 0; id < IDS; id++) {
        double z0 = w0[id] * hidden, z = w[id] * hidden;
        if (z > w[s.argmax] * hidden) s.argmax = id;
        s.rank += z > w[target] * hidden;
        s.kld += exp(z0 - l0) * ((z0 - l0) - (z - l));
        s.ear += fmin(exp(z0 - l0), exp(z - l));
    }
    return s;
}

static void check_position(const struct ucb_position *found, const struct scored *exact)
{
    CHECK_NEAR(found->logp, exact->logp,
               2e-7); /* sums of exponentials that err by 1e-7 each, at random */
    CHECK_EQ(found->argmax, exact->argmax);
    CHECK_EQ(found->rank, exact->rank);
}

TEST(scores_of_positions_agree_with_double)
{
    float *w0 = named_values("w", IDS, 6), *w = named_values("noise", IDS, 1), hidden[ROWS];
    uint32_t target[ROWS];
    for (int i = 0; i < IDS; i++) w[i] += w0[i];
    for (int i = 0; i < ROWS; i++) hidden[i] = ldexpf(i % 2 ? -1 : 1, i % 5 - 3);
    for (uint32_t i = 0; i < ROWS; i++) target[i] = i * 71;
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed packed[2] = {packed_for_test(backend, w0, IDS, 1),
                                   packed_for_test(backend, w, IDS, 1)};
    struct ucb_head models[2] = {{&packed[0], hidden, NULL, 0, NULL, NULL},
                                 {&packed[1], hidden, NULL, 0, NULL, NULL}};
    struct ucb_position out[2 * ROWS];
    struct ucb_err err;
    CHECK_OK(ucb_head_score(backend, models, 2, target, ROWS, out, &err), err);
    for (int i = 0; i < ROWS; i++) {
        struct scored own = score_exactly(w0, w0, hidden[i], target[i]),
                      other = score_exactly(w0, w, hidden[i], target[i]);
        check_position(&out[i], &own);
        check_position(&out[ROWS + i], &other);
        CHECK_NEAR(out[ROWS + i].kld, other.kld, 3e-7);
        CHECK_NEAR(out[ROWS + i].ear, other.ear, 3e-7);
    }
    ucb_mem_free(packed[0].data);
    ucb_mem_free(packed[1].data);
    ucb_backend_close(backend);
    free(w0);
    free(w);
}

TEST(a_model_beside_itself_has_no_divergence_and_full_agreement)
{
    enum { HIDDEN = 48 };
    float *w = named_values("w", IDS * HIDDEN, 1),
          *hidden = named_values("hidden", ROWS * HIDDEN, 2);
    uint32_t target[ROWS] = {0};
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        struct ucb_backend *backend = backend_for_test((enum ucb_arithmetic)a,
                                                       UCB_KERNEL_AUTO, NULL);
        struct ucb_packed packed = packed_for_test(backend, w, IDS, HIDDEN);
        struct ucb_head models[2] = {{&packed, hidden, NULL, 0, NULL, NULL},
                                     {&packed, hidden, NULL, 0, NULL, NULL}};
        struct ucb_position out[2 * ROWS];
        struct ucb_err err;
        CHECK_OK(ucb_head_score(backend, models, 2, target, ROWS, out, &err), err);
        for (int i = 0; i < ROWS; i++) {
            CHECK(out[ROWS + i].kld == 0.0f);
            CHECK(out[ROWS + i].ear == 1.0f);
            CHECK_EQ(out[ROWS + i].overlap10, 10);
            CHECK_EQ(out[ROWS + i].teacher_rank, 0);
            CHECK(out[ROWS + i].logp == out[i].logp);
        }
        ucb_mem_free(packed.data);
        ucb_backend_close(backend);
    }
    free(w);
    free(hidden);
}

TEST(rounding_alone_makes_no_divergence_below_minus_a_millionth)
{
    enum { HIDDEN = 24, STEPS = 8 };
    float *w0 = named_values("w", IDS * HIDDEN, 1),
          *hidden = named_values("hidden", ROWS * HIDDEN, 2);
    uint32_t target[ROWS] = {0};
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed reference = packed_for_test(backend, w0, IDS, HIDDEN);
    for (int step = 0; step < STEPS;
         step++) { /* noise from the last bit of a weight to a hundredth of it */
        float *w = named_values("noise", IDS * HIDDEN, ldexpf(1, 2 * step - 23));
        for (int i = 0; i < IDS * HIDDEN; i++) w[i] += w0[i];
        struct ucb_packed packed = packed_for_test(backend, w, IDS, HIDDEN);
        struct ucb_head models[2] = {{&reference, hidden, NULL, 0, NULL, NULL},
                                     {&packed, hidden, NULL, 0, NULL, NULL}};
        struct ucb_position out[2 * ROWS];
        struct ucb_err err;
        CHECK_OK(ucb_head_score(backend, models, 2, target, ROWS, out, &err), err);
        for (int i = ROWS; i < 2 * ROWS; i++)
            CHECK(out[i].kld > -1e-6f && out[i].ear <= 1.0f);
        ucb_mem_free(packed.data);
        free(w);
    }
    ucb_mem_free(reference.data);
    ucb_backend_close(backend);
    free(w0);
    free(hidden);
}

TEST(equal_logits_rank_by_lower_id_and_ranks_count_strictly_larger)
{
    enum { N = 40 };
    float w0[N] = {0}, w[N] = {0}, hidden[1] = {1};
    for (int i = 5; i < 20; i++) w0[i] = 1; /* ids 5 .. 14 are its top ten */
    for (int i = 10; i < 30; i++) w[i] = 2; /* ids 10 .. 19: five in common */
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed packed[2] = {packed_for_test(backend, w0, N, 1),
                                   packed_for_test(backend, w, N, 1)};
    struct ucb_head models[2] = {{&packed[0], hidden, NULL, 0, NULL, NULL},
                                 {&packed[1], hidden, NULL, 0, NULL, NULL}};
    struct ucb_position out[2];
    struct ucb_err err;
    const uint32_t target[1] = {12};
    CHECK_OK(ucb_head_score(backend, models, 2, target, 1, out, &err), err);
    CHECK_EQ(out[0].argmax, 5);
    CHECK_EQ(out[0].rank, 0);
    CHECK_EQ(out[1].argmax, 10);
    CHECK_EQ(out[1].rank, 0);
    CHECK_EQ(out[1].teacher_rank, 20); /* id 5 holds 0, twenty ids hold 2 */
    CHECK_EQ(out[1].overlap10, 5);
    ucb_mem_free(packed[0].data);
    ucb_mem_free(packed[1].data);
    ucb_backend_close(backend);
}

TEST(attention_over_8192_positions_needs_a_bounded_scratch)
{
    enum { T = 8192, D = 16 };
    const struct ucb_attention shape = {1, 1, D, 0, 0.25f, 0};
    const size_t start[2] = {0, T};
    float *q = named_values("q", T * D, 1), *v = named_values("v", T * D, 1),
          *out = malloc(sizeof(float) * T * D);
    struct ucb_backend *backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct ucb_err err;
    memset(q, 0,
           sizeof(float) * T * D); /* all weights equal: the mean of the values so far */
    CHECK_OK(ucb_attention(backend, &shape, q, q, v, 1, start, out, &err), err);
    double mean[D] = {0};
    for (int i = 0; i < T; i++)
        for (int c = 0; c < D; c++) {
            mean[c] += v[i * D + c];
            CHECK_NEAR(out[i * D + c], mean[c] / (i + 1), 2e-6);
        }
    CHECK(backend->scratch_bytes < 4u << 20);
    ucb_backend_close(backend);
    free(q);
    free(v);
    free(out);
}

TEST(memory_that_runs_out_is_answered_and_the_backend_stays_usable)
{
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    float w[4] = {1, 2, 3, 4}, x[2] = {1, 1}, y[2], out[2];
    const struct ucb_attention shape = {1, 1, 2, 0, 1.0f, 0};
    const size_t start[2] = {0, 1};
    const uint32_t target[1] = {0};
    struct ucb_position position;
    ucb_mem_fail_after(1);
    CHECK_STATUS(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL, &backend, &err),
                 UCB_NOMEM, err);
    backend = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    struct ucb_packed packed = packed_for_test(backend, w, 2, 2);
    struct ucb_head model = {&packed, x, NULL, 0, NULL, NULL};
    ucb_mem_fail_after(1);
    CHECK_STATUS(ucb_linear(backend, &packed, NULL, x, 1, y, &err), UCB_NOMEM, err);
    ucb_mem_fail_after(1);
    CHECK_STATUS(ucb_attention(backend, &shape, x, x, x, 1, start, out, &err), UCB_NOMEM,
                 err);
    ucb_mem_fail_after(1);
    CHECK_STATUS(ucb_head_score(backend, &model, 1, target, 1, &position, &err), UCB_NOMEM,
                 err);
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, 1, y, &err), err);
    CHECK(y[0] == 3.0f && y[1] == 7.0f);
    ucb_mem_free(packed.data);
    ucb_backend_close(backend);
}
