/* Widening: hand-calculated blocks, every half, and the search for what is not finite. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "model/model_internal.h"

static struct ucb_tensor tensor_of(enum ucb_dtype dtype, const void *data, uint64_t n)
{
    struct ucb_tensor t = {
        .name = "t", .file = "f", .dtype = dtype, .n_dims = 1, .shape = {n}, .data = data};
    CHECK(ucb_tensor_measure(&t));
    return t;
}

static void put_half(uint8_t *at, float value)
{
    uint16_t h = ucb_f16_from_f32(value);
    memcpy(at, &h, 2);
}

TEST(every_half_widens_in_runs_as_it_does_alone)
{ /* 70 elements: a run of 64 and a tail take different loops */
    static uint16_t half[65536 + 70];
    static float out[65536 + 70];
    struct ucb_err err;
    for (size_t i = 0; i < sizeof(half) / 2; i++) half[i] = (uint16_t)i;
    struct ucb_tensor f16 = tensor_of(UCB_F16, half, sizeof(half) / 2),
                      bf16 = tensor_of(UCB_BF16, half, sizeof(half) / 2);
    CHECK_OK(ucb_tensor_widen(&f16, 0, f16.n_elements, out, &err), err);
    for (size_t i = 0; i < f16.n_elements; i++)
        CHECK_EQ(ucb_f32_bits(out[i]), ucb_f32_bits(ucb_f16_widen(half[i])));
    CHECK_OK(ucb_tensor_widen(&bf16, 0, bf16.n_elements, out, &err), err);
    for (size_t i = 0; i < bf16.n_elements; i++)
        CHECK_EQ(ucb_f32_bits(out[i]), ucb_f32_bits(ucb_bf16_widen(half[i])));
}

TEST(f32_is_copied_and_f64_rounded_once)
{
    struct ucb_err err;
    float f[3] = {1.5f, -0.0f, 3e38f}, out[3];
    double d[3] = {1.0 + 0x1p-24, 1.0 + 0x1.8p-24, -2.5};
    struct ucb_tensor f32 = tensor_of(UCB_F32, f, 3), f64 = tensor_of(UCB_F64, d, 3);
    CHECK_OK(ucb_tensor_widen(&f32, 0, 3, out, &err), err);
    CHECK(memcmp(out, f, sizeof(f)) == 0);
    CHECK_OK(ucb_tensor_widen(&f64, 0, 3, out, &err), err);
    CHECK(out[0] == 1.0f && out[1] == 1.0f + 0x1p-23f && out[2] == -2.5f);
}

TEST(q4_0_is_code_minus_eight_times_the_scale)
{
    struct ucb_err err;
    uint8_t block[18] = {0};
    float out[32];
    put_half(block, 0.5f);
    for (int j = 0; j < 16; j++) block[2 + j] = (uint8_t)(j | (15 - j) << 4);
    struct ucb_tensor t = tensor_of(UCB_Q4_0, block, 32);
    CHECK_OK(ucb_tensor_widen(&t, 0, 32, out, &err), err);
    for (int j = 0; j < 16; j++) {
        CHECK(out[j] == 0.5f * (float)(j - 8));
        CHECK(out[j + 16] == 0.5f * (float)(7 - j));
    }
    CHECK_EQ(ucb_f32_bits(out[8]), 0); /* +0, as 0 times a positive scale */
    put_half(block, -0.5f);
    CHECK_OK(ucb_tensor_widen(&t, 0, 32, out, &err), err);
    CHECK_EQ(ucb_f32_bits(out[8]), 0x80000000u); /* -0 is kept */
}

TEST(q4_1_is_code_times_the_scale_plus_the_minimum)
{
    struct ucb_err err;
    uint8_t block[20] = {0};
    float out[32];
    put_half(block, 0.25f);
    put_half(block + 2, -1.0f);
    block[4] = 0xf0;
    block[19] = 0x3c;
    struct ucb_tensor t = tensor_of(UCB_Q4_1, block, 32);
    CHECK_OK(ucb_tensor_widen(&t, 0, 32, out, &err), err);
    CHECK(out[0] == -1.0f && out[16] == 15 * 0.25f - 1.0f && out[1] == -1.0f);
    CHECK(out[15] == 12 * 0.25f - 1.0f && out[31] == 3 * 0.25f - 1.0f);
}

TEST(q5_0_and_q5_1_take_the_fifth_bit_from_qh)
{
    struct ucb_err err;
    uint8_t q5_0[22] = {0}, q5_1[24] = {0};
    float out[32];
    uint32_t qh = 1u << 0 | 1u << 31; /* elements 0 and 31 */
    put_half(q5_0, 2.0f);
    memcpy(q5_0 + 2, &qh, 4);
    q5_0[6] = 0x21;
    struct ucb_tensor t = tensor_of(UCB_Q5_0, q5_0, 32);
    CHECK_OK(ucb_tensor_widen(&t, 0, 32, out, &err), err);
    CHECK(out[0] == 2.0f * (17 - 16) && out[16] == 2.0f * (2 - 16) && out[31] == 0.0f &&
          out[1] == -32.0f);
    put_half(q5_1, 2.0f);
    put_half(q5_1 + 2, 3.0f);
    memcpy(q5_1 + 4, &qh, 4);
    q5_1[8] = 0x21;
    t = tensor_of(UCB_Q5_1, q5_1, 32);
    CHECK_OK(ucb_tensor_widen(&t, 0, 32, out, &err), err);
    CHECK(out[0] == 37.0f && out[16] == 7.0f && out[31] == 35.0f && out[1] == 3.0f);
}

TEST(q8_0_is_a_signed_code_times_the_scale)
{
    struct ucb_err err;
    uint8_t blocks[68] = {0};
    float out[32];
    put_half(blocks + 34, 0x1p-24f); /* the smallest half there is */
    blocks[36] = 0x80;
    blocks[67] = 0x7f;
    struct ucb_tensor t = tensor_of(UCB_Q8_0, blocks, 64);
    CHECK_OK(ucb_tensor_widen(&t, 32, 32, out, &err), err);
    CHECK(out[0] == -128 * 0x1p-24f && out[31] == 127 * 0x1p-24f && out[1] == 0.0f);
}

TEST(widening_part_of_a_block_or_past_the_end_is_a_usage_error)
{
    struct ucb_err err;
    uint8_t blocks[36] = {0};
    float out[64];
    struct ucb_tensor t = tensor_of(UCB_Q4_0, blocks, 64);
    CHECK_STATUS(ucb_tensor_widen(&t, 16, 32, out, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_tensor_widen(&t, 0, 16, out, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_tensor_widen(&t, 32, 64, out, &err), UCB_USAGE, err);
    CHECK_STATUS(ucb_tensor_widen(&t, 96, 0, out, &err), UCB_USAGE, err);
    CHECK_OK(ucb_tensor_widen(&t, 64, 0, out, &err), err);
}

TEST(a_type_that_is_no_weight_is_refused_by_name)
{
    struct ucb_err err;
    uint8_t bytes[32] = {0};
    float out[4];
    struct ucb_tensor i = tensor_of(UCB_I32, bytes, 4);
    CHECK_STATUS(ucb_tensor_widen(&i, 0, 4, out, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "I32");
}

/* Sets one bad value at every place around the boundaries of runs and chunks and expects it
 * to be found there. */
static void check_found(enum ucb_dtype dtype, size_t scale_offset, const uint8_t *bad,
                        size_t bad_bytes)
{
    size_t block = ucb_dtype_block_elements(dtype),
           block_bytes = ucb_dtype_block_bytes(dtype), n_blocks = 40000 / block;
    uint8_t *data = calloc(n_blocks, block_bytes);
    CHECK(data != NULL);
    CHECK_EQ(ucb_find_nonfinite(dtype, data, n_blocks * block), n_blocks * block);
    for (size_t i = 0; i < n_blocks; i += i < 200 ? 1 : 509) {
        uint8_t *at = data + i * block_bytes + scale_offset;
        memcpy(at, bad, bad_bytes);
        CHECK_EQ(ucb_find_nonfinite(dtype, data, n_blocks * block), i * block);
        memset(at, 0, bad_bytes);
    }
    memset(data, 0xff, n_blocks * block_bytes); /* and all of it */
    CHECK_EQ(ucb_find_nonfinite(dtype, data, n_blocks * block), 0);
    free(data);
}

TEST(the_first_value_that_is_not_finite_is_found_at_its_place)
{
    static const uint8_t f32_nan[] = {1, 0, 0x80, 0x7f}, f32_inf[] = {0, 0, 0x80, 0xff},
                         f16_nan[] = {0, 0x7e}, f16_inf[] = {0, 0xfc},
                         bf16_inf[] = {0x80, 0x7f}, bf16_nan[] = {0xc0, 0xff};
    static const uint8_t past_f32[] = {0, 0, 0, 0, 0, 0, 0, 0x48}; /* 2^129 as a double */
    check_found(UCB_F32, 0, f32_nan, 4);
    check_found(UCB_F32, 0, f32_inf, 4);
    check_found(UCB_F16, 0, f16_nan, 2);
    check_found(UCB_F16, 0, f16_inf, 2);
    check_found(UCB_BF16, 0, bf16_inf, 2);
    check_found(UCB_BF16, 0, bf16_nan, 2);
    check_found(UCB_F64, 0, past_f32, 8);
    check_found(UCB_Q4_0, 0, f16_inf, 2);
    check_found(UCB_Q5_0, 0, f16_nan, 2);
    check_found(UCB_Q8_0, 0, f16_nan, 2);
    check_found(UCB_Q4_1, 0, f16_nan, 2);
    check_found(UCB_Q4_1, 2, f16_inf, 2);
    check_found(UCB_Q5_1, 2, f16_nan, 2);
    check_found(UCB_Q2_K, 80, f16_inf, 2);
    check_found(UCB_Q2_K, 82, f16_nan, 2);
    check_found(UCB_Q3_K, 108, f16_inf, 2);
    check_found(UCB_Q4_K, 0, f16_nan, 2);
    check_found(UCB_Q4_K, 2, f16_inf, 2);
    check_found(UCB_Q5_K, 2, f16_inf, 2);
    check_found(UCB_Q6_K, 208, f16_inf, 2);
    check_found(UCB_IQ4_NL, 0, f16_inf, 2);
    check_found(UCB_IQ4_XS, 0, f16_nan, 2);
}

TEST(the_largest_finite_values_are_not_taken_for_infinite)
{
    uint16_t f16[100], bf16[100];
    uint32_t f32[100];
    for (int i = 0; i < 100; i++) {
        f16[i] = 0xfbff;
        bf16[i] = 0xff7f;
        f32[i] = 0x7f7fffffu;
    }
    CHECK_EQ(ucb_find_nonfinite(UCB_F16, (const uint8_t *)f16, 100), 100);
    CHECK_EQ(ucb_find_nonfinite(UCB_BF16, (const uint8_t *)bf16, 100), 100);
    CHECK_EQ(ucb_find_nonfinite(UCB_F32, (const uint8_t *)f32, 100), 100);
}
