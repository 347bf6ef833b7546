/* gptq against AutoGPTQ 0.7.1: Hessian and factor, codes and grids, the loss, and decoding
 * bit by bit from the library's own codes. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../methods/gptq/gptq.h"
#include "core/half.h"
#include "method_fixture.h"
#include "vectors.h"

static double damping(const json_t *c)
{
    return json_real_value(json_object_get(json_object_get(c, "settings"), "damp_percent"));
}

static const char *spec_of(const json_t *c)
{
    return ucb_test_path(
        "gptq:bits=%d,group=%d,sym=%d,act_order=%d,static_groups=%d,damp=%g,block=%d",
        vectors_number(c, "bits"), vectors_number(c, "group_size"),
        vectors_number(c, "sym"), vectors_number(c, "act_order"),
        vectors_number(c, "static_groups"), damping(c), vectors_number(c, "blocksize"));
}

/* Statistics of the case's activations, which are stored as halves: one batch of one
 * sequence. */
static struct ucb_calib calib_of_case(const json_t *c, struct ucb_arena *arena)
{
    struct vector x = vectors_input_at(c, 1);
    float *wide = UCB_NEW(arena, float, x.n);
    CHECK(wide != NULL && strcmp(x.dtype, "F16") == 0);
    for (size_t i = 0; i < x.n; i++) wide[i] = ucb_f16_widen(((const uint16_t *)x.data)[i]);
    return calib_of(wide, (uint32_t)x.shape[0], (uint32_t)x.shape[1], arena);
}

static void open_case(struct method_fixture *f, const json_t *c, struct ucb_calib *calib)
{
    struct vector w = vectors_input(c);
    fixture_open(f, spec_of(c), (uint32_t)w.shape[0], (uint32_t)w.shape[1], UCB_F32, 2);
    *calib = calib_of_case(c, &f->kept);
    f->calib = calib;
}

static void check_relative(const json_t *c, const char *role, const float *found,
                           double tolerance)
{
    struct vector v = vectors_role(c, role);
    const float *expected = v.data;
    for (size_t i = 0; i < v.n; i++)
        if (!(fabs((double)found[i] - expected[i]) <=
              tolerance * fabs((double)expected[i])))
            ucb_test_fail(__FILE__, __LINE__, "%s: %s[%zu] is %.9g, expected %.9g",
                          vectors_id(c), role, i, (double)found[i], (double)expected[i]);
}

/* Relative to the matrix: its small elements are sums that cancel,
 * in the library's fp32. */
static void check_hessian(const json_t *c, const struct emitted *found)
{
    struct vector v = vectors_role(c, "hessian");
    const float *expected = v.data, *h = found->data;
    double peak = 0;
    CHECK_EQ(found->n, v.n);
    for (size_t i = 0; i < v.n; i++) peak = fmax(peak, fabs((double)expected[i]));
    for (size_t i = 0; i < v.n; i++) CHECK_NEAR(h[i], expected[i], 1e-5 * peak);
}

static void check_factor(const json_t *c, const struct emitted *found)
{
    struct vector v = vectors_role(c, "hinv_upper_fp64");
    const double *expected = v.data, *u = found->data;
    double peak = 0;
    CHECK_EQ(found->n, v.n);
    for (size_t i = 0; i < v.n; i++) peak = fmax(peak, fabs(expected[i]));
    /* The library's is made from its fp32 Hessian: 1e-7 of it, by the condition number. */
    for (size_t i = 0; i < v.n; i++) CHECK_NEAR(u[i], expected[i], 1e-5 * peak);
}

static void run_hessian(const json_t *c)
{
    struct method_fixture f;
    struct ucb_calib calib;
    open_case(&f, c, &calib);
    fixture_run(&f, vectors_input(c).data);
    check_relative(c, "hessian_diag", fixture_role(&f, "hessian_diag")->data, 1e-5);
    if (vectors_has(c, "hessian")) check_hessian(c, fixture_role(&f, "hessian"));
    if (vectors_has(c, "hinv_upper_fp64"))
        check_factor(c, fixture_role(&f, "hinv_upper_fp64"));
    fixture_close(&f);
}

TEST(gptq_makes_the_hessian_and_the_factor_of_the_library)
{
    CHECK_EQ(vectors_each("gptq.safetensors", run_hessian), 11);
}

/* tr((w - q) H (w - q)^T) */
static double proxy_loss(const struct ucb_calib *calib, const float *w, const float *q,
                         size_t n_out, size_t n_in)
{
    double loss = 0;
    for (size_t row = 0; row < n_out; row++, w += n_in, q += n_in)
        for (size_t i = 0; i < n_in; i++) {
            double sum = 0;
            for (size_t j = 0; j < n_in; j++)
                sum += ((double)w[j] - q[j]) * calib->second_moment[i * n_in + j];
            loss += 2 * (double)calib->n_tokens * ((double)w[i] - q[i]) * sum;
        }
    return loss;
}

/* The index asks for 99 % of the codes of a real slice; in fp32, as the library sweeps, all
 * are equal. */
static void check_codes(const json_t *c, const struct method_fixture *f)
{
    struct vector v = vectors_role(c, "codes");
    const uint8_t *expected = v.data, *codes = fixture_role(f, "codes")->data;
    size_t equal = 0;
    for (size_t i = 0; i < v.n; i++) equal += codes[i] == expected[i];
    if (equal < v.n)
        ucb_test_fail(__FILE__, __LINE__, "%s: %zu of %zu codes agree", vectors_id(c),
                      equal, v.n);
}

static void run_encode(const json_t *c)
{
    struct method_fixture f;
    struct ucb_calib calib;
    struct vector w = vectors_input(c);
    open_case(&f, c, &calib);
    fixture_run(&f, w.data);
    check_codes(c, &f);
    vectors_same(c, "g_idx", fixture_role(&f, "g_idx")->data,
                 fixture_role(&f, "g_idx")->n_bytes);
    CHECK_EQ(fixture_role(&f, "scale")->n, vectors_role(c, "scale").n);
    CHECK_EQ(fixture_role(&f, "zero")->n, vectors_role(c, "zero").n);
    check_relative(c, "scale", fixture_role(&f, "scale")->data, 1e-5);
    check_relative(c, "zero", fixture_role(&f, "zero")->data, 1e-5);
    if (vectors_role(c, "deq").data != NULL)
        check_relative(c, "deq", fixture_role(&f, "decoded_f32")->data, 1e-5);
    const json_t *measured = json_object_get(json_object_get(c, "tolerance"), "measured");
    double loss = proxy_loss(&calib, w.data, fixture_role(&f, "decoded_f32")->data,
                             f.matrix.n_out, f.matrix.n_in);
    CHECK_NEAR(loss / json_real_value(json_object_get(measured, "proxy_loss_library")), 1,
               0.01);
    fixture_close(&f);
}

TEST(gptq_finds_the_codes_and_grids_of_the_library)
{
    CHECK_EQ(vectors_each("gptq.safetensors", run_encode), 11);
}

/* The library's codes, scales and zeros as a payload. */
static void put_golden(const json_t *c, struct method_fixture *f)
{
    struct ucb_writer *out = &f->out;
    unsigned bits = (unsigned)vectors_number(c, "bits");
    uint32_t n_out = f->matrix.n_out, n_in = f->matrix.n_in;
    const uint8_t *codes = vectors_role(c, "codes").data;
    const float *scale = vectors_role(c, "scale").data,
                *zero = vectors_role(c, "zero").data;
    size_t n_groups = vectors_role(c, "scale").shape[1], n_words = gptq_words(n_in, bits);
    uint32_t words[64 * 128] = {0};
    CHECK(n_words * n_out <= sizeof(words) / sizeof(*words) && n_words * 32 == n_in * bits);
    for (size_t row = 0; row < n_out; row++) /* bit by bit, as the layout is defined */
        for (size_t bit = 0; bit < n_in * bits; bit++)
            words[bit / 32 * n_out + row] |=
                (uint32_t)(codes[row * n_in + bit / bits] >> bit % bits & 1) << bit % 32;
    ucb_put_bytes(out, words, 4 * n_words * n_out);
    for (size_t g = 0; g < n_groups; g++)
        for (size_t row = 0; row < n_out; row++)
            ucb_put_u16(out, ucb_f16_from_f32(scale[row * n_groups + g]));
    for (size_t g = 0; g < n_groups; g++) {
        memset(words, 0, sizeof(words));
        for (size_t bit = 0; bit < n_out * bits; bit++)
            words[bit / 32] |=
                (((uint32_t)zero[bit / bits * n_groups + g] - 1) >> bit % bits & 1)
                << bit % 32;
        ucb_put_bytes(out, words, 4 * gptq_words(n_out, bits));
    }
    if (vectors_number(c, "act_order") && !vectors_number(c, "static_groups"))
        ucb_put_bytes(out, vectors_role(c, "g_idx").data, 4 * n_in);
}

static void run_decode(const json_t *c)
{
    static float decoded[64 * 384], exact[64 * 384];
    struct method_fixture f;
    struct ucb_calib calib;
    struct ucb_err err;
    open_case(&f, c, &calib);
    put_golden(c, &f);
    CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                              decoded, NULL, &err),
             err);
    const uint8_t *codes = vectors_role(c, "codes").data;
    const int32_t *index = vectors_role(c, "g_idx").data;
    const float *scale = vectors_role(c, "scale").data,
                *zero = vectors_role(c, "zero").data;
    size_t n = vectors_role(c, "codes").n, n_groups = vectors_role(c, "scale").shape[1];
    for (size_t i = 0; i < n; i++) {
        size_t at = i / f.matrix.n_in * n_groups + (size_t)index[i % f.matrix.n_in];
        float level = (float)codes[i] - zero[at],
              deployed = ucb_f16_round(scale[at]) * level;
        exact[i] = scale[at] * level;
        CHECK(memcmp(&decoded[i], &deployed, sizeof(float)) == 0);
    }
    vectors_same(c, "deq", exact, n * sizeof(*exact)); /* so the codes are read rightly */
    fixture_close(&f);
}

TEST(gptq_codes_of_the_library_decode_bit_equal_with_half_precision_scales)
{
    CHECK_EQ(vectors_each("gptq.safetensors", run_decode), 11);
}
