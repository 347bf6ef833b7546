/* hqq against hqq 0.2.8.post1: decoding bit by bit from its codes, encoding within the
 * index's tolerance. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../methods/hqq/hqq.h"
#include "core/half.h"
#include "method_fixture.h"
#include "vectors.h"

enum { MAX_WEIGHTS = 64 * 512 };

static const char *spec_of(const json_t *c, const char *meta)
{
    return ucb_test_path(
        "hqq:bits=%d,group=%d,axis=%d,optimize=%d,iters=%d,round_zero=%d,meta=%s",
        vectors_number(c, "nbits"), vectors_number(c, "group_size"),
        vectors_number(c, "axis"), vectors_number(c, "optimize"),
        vectors_number(c, "iters"), vectors_number(c, "round_zero"), meta);
}

static bool is_meta8(const json_t *c)
{
    return strstr(vectors_id(c), ".meta8") !=
           NULL; /* the library itself ignores these settings since 0.2.8 */
}

static void put_floats(struct ucb_writer *out, struct vector v, bool half)
{
    for (size_t i = 0; i < v.n; i++) {
        float x = ((const float *)v.data)[i];
        if (half)
            ucb_put_u16(out, ucb_f16_from_f32(x));
        else
            ucb_put_f32(out, x);
    }
}

/* Decodes the library's own codes, scale and zero, as our payload would hold them. */
static void decode_golden(const json_t *c, bool half, float *decoded)
{
    struct method_fixture f;
    struct ucb_err err;
    struct vector in = vectors_input(c), packed = vectors_role(c, "packed");
    fixture_open(&f, spec_of(c, half ? "fp16" : "fp32"), (uint32_t)in.shape[0],
                 (uint32_t)in.shape[1], UCB_F32, 2);
    ucb_put_bytes(&f.out, packed.data, packed.n_bytes);
    put_floats(&f.out, vectors_role(c, "scale"), half);
    put_floats(&f.out, vectors_role(c, "zero"), half);
    CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                              decoded, NULL, &err),
             err);
    fixture_close(&f);
}

static void run_decode(const json_t *c)
{
    static float decoded[MAX_WEIGHTS];
    static uint16_t halves[MAX_WEIGHTS];
    if (is_meta8(c)) return;
    size_t n = vectors_input(c).n;
    decode_golden(c, false, decoded);
    vectors_same(c, "deq_fp32", decoded, n * sizeof(*decoded));
    decode_golden(c, true, decoded);
    for (size_t i = 0; i < n; i++) halves[i] = ucb_f16_from_f32(decoded[i]);
    vectors_same(c, "deq_fp16", halves, n * sizeof(*halves));
}

TEST(hqq_codes_decode_bit_equal_in_half_and_float)
{
    CHECK_EQ(vectors_each("hqq.safetensors", run_decode), 26);
}

static void run_pack(const json_t *c)
{
    static uint8_t packed[MAX_WEIGHTS * 4];
    if (is_meta8(c)) return;
    struct vector codes = vectors_role(c, "codes");
    struct hqq_view view = hqq_view_of(codes.n, (size_t)vectors_number(c, "group_size"),
                                       (unsigned)vectors_number(c, "nbits"),
                                       vectors_number(c, "axis") == 1);
    hqq_pack(&view, codes.data, packed, NULL);
    vectors_same(c, "packed", packed, hqq_packed_bytes(&view));
}

TEST(hqq_packs_codes_as_the_library_does)
{
    vectors_each("hqq.safetensors", run_pack);
}

static double mean_off(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += fabs((double)a[i] - b[i]);
    return sum / (double)n;
}

/* The share of zeros within 1e-3 and of equal codes; no code is off by more than 1. */
static void check_close(const json_t *c, const struct emitted *zero,
                        const struct emitted *codes)
{
    const float *expected_zero = vectors_role(c, "zero").data, *z = zero->data;
    const uint8_t *expected_codes = vectors_role(c, "codes").data, *q = codes->data;
    const char *rule = json_string_value(
        json_object_get(json_object_get(c, "tolerance"), "rule"));
    bool on_grid = strstr(rule, ">= 80%") != NULL; /* inputs with many exact ties */
    size_t near = 0, equal = 0;
    for (size_t i = 0; i < zero->n; i++) near += fabsf(z[i] - expected_zero[i]) <= 1e-3f;
    for (size_t i = 0; i < codes->n; i++) {
        CHECK(abs(q[i] - expected_codes[i]) <= 1);
        equal += q[i] == expected_codes[i];
    }
    if ((double)near < (on_grid ? 0.80 : 0.99) * (double)zero->n)
        ucb_test_fail(__FILE__, __LINE__, "%s: %zu of %zu zeros agree", vectors_id(c), near,
                      zero->n);
    if ((double)equal < (on_grid ? 0.97 : 0.995) * (double)codes->n)
        ucb_test_fail(__FILE__, __LINE__, "%s: %zu of %zu codes agree", vectors_id(c),
                      equal, codes->n);
}

static void run_encode(const json_t *c)
{
    static float expected[MAX_WEIGHTS];
    struct method_fixture f;
    if (is_meta8(c)) return;
    struct vector in = vectors_input(c);
    fixture_open(&f, spec_of(c, "fp16"), (uint32_t)in.shape[0], (uint32_t)in.shape[1],
                 UCB_F32, 2);
    fixture_run(&f, in.data);
    const struct emitted *zero = fixture_role(&f, "zero"),
                         *codes = fixture_role(&f, "codes");
    vectors_same(c, "scale", fixture_role(&f, "scale")->data,
                 fixture_role(&f, "scale")->n_bytes);
    if (vectors_number(c, "optimize") == 0) {
        vectors_same(c, "zero", zero->data, zero->n_bytes);
        vectors_same(c, "codes", codes->data, codes->n_bytes);
        vectors_same(c, "packed", fixture_role(&f, "packed")->data,
                     fixture_role(&f, "packed")->n_bytes);
        vectors_same(c, "deq_fp32", fixture_role(&f, "decoded_f32")->data,
                     in.n * sizeof(float));
    }
    check_close(c, zero, codes);
    decode_golden(c, true, expected);
    double found = mean_off(in.data, f.decoded, in.n),
           wanted = mean_off(in.data, expected, in.n);
    CHECK_NEAR(found / wanted, 1, 0.005);
    fixture_close(&f);
}

TEST(hqq_fits_the_scales_zeros_and_codes_of_the_library)
{
    vectors_each("hqq.safetensors", run_encode);
}

/* Older releases quantized scales and zeros like weights: 8 bits, no fit, groups of 128
 * down the columns or one for all. */
static void check_meta(const json_t *c, const char *what, const char *suffix,
                       const char *spec)
{
    struct method_fixture f;
    struct vector in = vectors_role(c, ucb_test_path("%s_in", what));
    fixture_open(&f, spec, (uint32_t)in.n, 1, UCB_F32, 2);
    fixture_run(&f, in.data);
    static const char *const roles[] = {"codes", "scale", "zero"};
    for (int i = 0; i < 3; i++) {
        const struct emitted *made = fixture_role(&f, roles[i]);
        vectors_same(c, ucb_test_path("%s_%s%s", what, roles[i], suffix), made->data,
                     made->n_bytes);
    }
    if (*suffix == 0)
        vectors_same(c, ucb_test_path("%s_deq", what), f.decoded, in.n * sizeof(float));
    fixture_close(&f);
}

static size_t n_meta8;

static void run_meta8(const json_t *c)
{
    const char *grouped = "hqq:bits=8,group=128,axis=0,optimize=0,meta=fp32";
    if (!is_meta8(c)) return;
    n_meta8++;
    size_t n = vectors_role(c, "zero_in").n;
    check_meta(c, "scale", "", grouped);
    check_meta(c, "zero", "_g128", grouped);
    check_meta(c, "zero", "",
               ucb_test_path("hqq:bits=8,group=%zu,axis=1,optimize=0,meta=fp32", n));
}

TEST(hqq_quantizes_scales_and_zeros_of_older_releases_bit_equal)
{
    vectors_each("hqq.safetensors", run_meta8);
    CHECK(n_meta8 > 0);
}

/* Without the fit the zero is -min * s, and of +0 and -0 the library takes the first. */
TEST(the_first_of_a_groups_zeros_gives_hqqs_zero_its_sign)
{
    static const int at[4][2] = {{3, 40}, {3, 40}, {16, 63}, {0, 1}};
    float w[4 * 64];
    struct method_fixture f;
    for (int i = 0; i < 4 * 64; i++) w[i] = 0.5f;
    for (int row = 0; row < 4; row++) {
        w[64 * row + at[row][0]] = row % 2 == 0 ? 0.0f : -0.0f;
        w[64 * row + at[row][1]] = row % 2 == 0 ? -0.0f : 0.0f;
    }
    fixture_open(&f, "hqq:bits=4,group=64,optimize=0", 4, 64, UCB_F32, 1);
    fixture_run(&f, w);
    const float *zero = fixture_role(&f, "zero")->data;
    for (int row = 0; row < 4; row++)
        CHECK(zero[row] == 0 && (signbit(zero[row]) != 0) == (row % 2 == 0));
    fixture_close(&f);
}
