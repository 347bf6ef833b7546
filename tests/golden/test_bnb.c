/*
 * nf4, fp4, double quantization and int8 weights against bitsandbytes 0.50.2, bit by bit.
 */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../methods/bnb4/bnb4.h"
#include "core/half.h"
#include "method_fixture.h"
#include "vectors.h"

enum { MAX_WEIGHTS = 64 * 512 };

/* The input as the case gives it to the library: fp32,
 * or rounded to a 16-bit dtype first. */
static enum ucb_dtype load_weights(const json_t *c, struct vector in, float *w)
{
    const char *dtype = vectors_text(c, "input_dtype");
    bool f16 = strcmp(dtype, "float16") == 0, bf16 = strcmp(dtype, "bfloat16") == 0;
    CHECK(in.n <= MAX_WEIGHTS);
    memcpy(w, in.data, in.n_bytes);
    for (size_t i = 0; i < in.n && f16; i++) w[i] = ucb_f16_round(w[i]);
    for (size_t i = 0; i < in.n && bf16; i++) w[i] = ucb_bf16_round(w[i]);
    return f16 ? UCB_F16 : bf16 ? UCB_BF16 : UCB_F32;
}

/* Values, with -0 equal to +0: fp4 has two codes for zero and the index
 * lets either stand. */
static void check_values(const json_t *c, const float *decoded, struct vector deq)
{
    const float *expected = deq.data;
    for (size_t i = 0; i < deq.n; i++)
        if (decoded[i] != expected[i])
            ucb_test_fail(__FILE__, __LINE__, "%s: weight %zu is %g, expected %g",
                          vectors_id(c), i, (double)decoded[i], (double)expected[i]);
}

static void check_deployed(const json_t *c, const float *decoded, enum ucb_dtype dtype)
{
    static uint16_t half[MAX_WEIGHTS];
    struct vector deq = vectors_role(c, "deq");
    if (dtype == UCB_F32 && deq.data != NULL) {
        check_values(c, decoded, deq);
        return;
    }
    for (size_t i = 0; i < deq.n; i++)
        half[i] = dtype == UCB_F16 ? ucb_f16_from_f32(decoded[i])
                                   : ucb_bf16_from_f32(decoded[i]);
    if (dtype == UCB_F32)
        vectors_same(c, "deq", decoded, deq.n * sizeof(*decoded));
    else
        vectors_same(c, "deq", half, deq.n * sizeof(*half));
}

static void same_role(const json_t *c, const struct method_fixture *f, const char *role)
{
    const struct emitted *e = fixture_role(f, role);
    struct vector v = vectors_role(c, role);
    CHECK_EQ(e->n_dims, v.n_dims);
    for (uint32_t i = 0; i < v.n_dims; i++) CHECK_EQ(e->shape[i], v.shape[i]);
    vectors_same(c, role, e->data, e->n_bytes);
}

static float ulps(float a, float b)
{
    return fabsf(a - b) / (nextafterf(fabsf(b), INFINITY) - fabsf(b));
}

/* The offset is a mean, whose order the library does not fix; codes are compared for the
 * library's own offset. */
static void check_nested(const json_t *c, const struct method_fixture *f,
                         const float *absmax, size_t n)
{
    static uint8_t codes[MAX_WEIGHTS / 32];
    static float absmax2[64], restored[MAX_WEIGHTS / 32];
    float offset = *(const float *)vectors_role(c, "absmax_offset").data;
    CHECK(ulps(*(float *)fixture_role(f, "absmax_offset")->data, offset) <= 4);

    bnb4_nested_encode(absmax, n, offset, 256, BNB4_RULE_GPU, codes, absmax2);
    bnb4_nested_decode(codes, n, offset, 256, absmax2, restored);
    vectors_same(c, "absmax_codes_gpu_rule", codes, n);
    vectors_same(c, "absmax2", absmax2, (n + 255) / 256 * sizeof(float));
    vectors_same(c, "absmax_restored_gpu_rule", restored, n * sizeof(float));

    bnb4_nested_encode(absmax, n, offset, 256, BNB4_RULE_CPU, codes, absmax2);
    bnb4_nested_decode(codes, n, offset, 256, absmax2, restored);
    vectors_same(c, "absmax_codes", codes, n);
    vectors_same(c, "absmax_restored", restored, n * sizeof(float));
}

/* Both rules are shown whichever the bytes hold. */
static void check_both_rules(const json_t *c, const char *type, enum ucb_dtype dtype,
                             struct vector in, const float *w)
{
    static const char *const rules[] = {"gpu", "cpu"};
    for (int i = 0; i < 2; i++) {
        struct method_fixture f;
        fixture_open(&f, ucb_test_path("%s:double_quant=1,rule=%s", type, rules[i]),
                     (uint32_t)in.shape[0], (uint32_t)in.shape[1], dtype, 1);
        fixture_run(&f, w);
        same_role(c, &f, "absmax_codes");
        same_role(c, &f, "absmax_restored");
        same_role(c, &f, "absmax_codes_gpu_rule");
        same_role(c, &f, "absmax_restored_gpu_rule");
        fixture_close(&f);
    }
}

static void run_4bit(const json_t *c)
{
    static float w[MAX_WEIGHTS];
    struct method_fixture f, plain;
    const char *type = vectors_text(c, "quant_type");
    bool nested = vectors_number(c, "double_quant") != 0;
    if (strcmp(vectors_id(c), "maps") == 0 ||
        strcmp(vectors_id(c), "blockwise8.absmax_sweep") == 0)
        return;

    struct vector in = vectors_input(c);
    enum ucb_dtype dtype = load_weights(c, in, w);
    fixture_open(&f, ucb_test_path("%s:double_quant=%d,rule=cpu", type, nested),
                 (uint32_t)in.shape[0], (uint32_t)in.shape[1], dtype, 2);
    fixture_run(&f, w);
    same_role(c, &f, "packed");
    if (!nested) {
        same_role(c, &f, "absmax");
        check_deployed(c, f.decoded, dtype);
    } else {
        fixture_open(&plain, type, (uint32_t)in.shape[0], (uint32_t)in.shape[1], dtype, 1);
        fixture_run(&plain, w);
        const struct emitted *absmax = fixture_role(&plain, "absmax");
        check_nested(c, &f, absmax->data, absmax->n);
        bool same_offset = *(float *)fixture_role(&f, "absmax_offset")->data ==
                           *(const float *)vectors_role(c, "absmax_offset").data;
        if (same_offset) check_deployed(c, f.decoded, dtype);
        if (same_offset) check_both_rules(c, type, dtype, in, w);
        fixture_close(&plain);
    }
    fixture_close(&f);
}

TEST(nf4_and_fp4_are_bit_equal_to_bitsandbytes)
{
    CHECK_EQ(vectors_each("bnb_4bit.safetensors", run_4bit), 29);
}

static void run_tables(const json_t *c)
{
    float map[BNB4_MAP_SIZE];
    if (strcmp(vectors_id(c), "maps") != 0) return;
    for (unsigned i = 0; i < BNB4_MAP_SIZE; i++) map[i] = bnb4_map_value(i);
    vectors_same(c, "dynamic_map_signed_8bit", map, sizeof(map));
}

TEST(the_dynamic_map_is_bit_equal_to_bitsandbytes)
{
    vectors_each("bnb_4bit.safetensors", run_tables);
}

static void run_blockwise8(const json_t *c)
{
    static uint8_t codes[600];
    static float absmax2[3], restored[600];
    if (strcmp(vectors_id(c), "blockwise8.absmax_sweep") != 0) return;
    struct vector in = vectors_input(c);
    float offset = *(const float *)vectors_role(c, "offset").data;
    CHECK(ulps(bnb4_offset(in.data, in.n), offset) <= 4);
    bnb4_nested_encode(in.data, in.n, offset, 256, BNB4_RULE_GPU, codes, absmax2);
    vectors_same(c, "codes_gpu_rule", codes, in.n);
    bnb4_nested_encode(in.data, in.n, offset, 256, BNB4_RULE_CPU, codes, absmax2);
    bnb4_nested_decode(codes, in.n, offset, 256, absmax2, restored);
    vectors_same(c, "codes", codes, in.n);
    vectors_same(c, "absmax2", absmax2, sizeof(absmax2));
    vectors_same(c, "deq", restored, sizeof(restored));
}

TEST(absmax_codes_follow_both_published_rules)
{
    vectors_each("bnb_4bit.safetensors", run_blockwise8);
}

static size_t n_int8;

static void run_int8(const json_t *c)
{
    struct method_fixture f;
    if (!vectors_has(c, "deq"))
        return; /* a product with quantized activations: test_llm_int8.c */
    struct vector in = vectors_input(c);
    fixture_open(&f, "int8", (uint32_t)in.shape[0], (uint32_t)in.shape[1], UCB_F32, 2);
    fixture_run(&f, in.data);
    same_role(c, &f, "codes");
    same_role(c, &f, "absmax");
    vectors_same(c, "deq", f.decoded, in.n * sizeof(float));
    fixture_close(&f);
    n_int8++;
}

TEST(int8_weights_are_bit_equal_to_bitsandbytes)
{
    vectors_each("bnb_int8.safetensors", run_int8);
    CHECK_EQ(n_int8, 5);
}
