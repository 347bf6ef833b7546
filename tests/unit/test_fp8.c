/* e4m3 (float8_e4m3fn): every code, and what lies between codes. */
#include "test.h"

#include <math.h>

#include "core/fp8.h"

/* The definition, in double: sign, exponent with bias 7, mantissa in eighths. */
static double value_of(unsigned code)
{
    unsigned exponent = code >> 3 & 15, mantissa = code & 7;
    double size = exponent == 0 ? ldexp(mantissa, -9)
                                : ldexp(8 + mantissa, (int)exponent - 10);
    return code & 0x80 ? -size : size;
}

static bool is_nan(unsigned code)
{
    return (code & 0x7f) == 0x7f;
}

TEST(all_256_codes_of_e4m3_widen_to_their_value_and_round_back)
{
    for (unsigned code = 0; code < 256; code++) {
        float x = ucb_e4m3_widen((uint8_t)code);
        CHECK(is_nan(code) ? isnan(x) : (double)x == value_of(code));
        CHECK_EQ(signbit(x) != 0, code >= 128);
        CHECK_EQ(ucb_e4m3_from_f32(x), code);
    }
    CHECK(ucb_e4m3_widen(0x7e) == UCB_E4M3_MAX && ucb_e4m3_widen(1) == 0x1p-9f);
}

TEST(between_two_codes_of_e4m3_the_nearer_is_taken_and_halfway_the_even_one)
{
    for (unsigned code = 0; code < 0x7e; code++) {
        float low = ucb_e4m3_widen((uint8_t)code),
              high = ucb_e4m3_widen((uint8_t)(code + 1));
        float half = (low + high) / 2; /* exact */
        CHECK_EQ(ucb_e4m3_from_f32(half), (code & 1) == 0 ? code : code + 1);
        CHECK_EQ(ucb_e4m3_from_f32(nextafterf(half, 0)), code);
        CHECK_EQ(ucb_e4m3_from_f32(nextafterf(half, INFINITY)), code + 1);
        CHECK_EQ(ucb_e4m3_from_f32(-half), 0x80 | ((code & 1) == 0 ? code : code + 1));
    }
}

TEST(past_its_largest_value_e4m3_saturates)
{
    static const float past[] = {448.5f, 463.9f, 464.0f, 480.0f, 1e30f, INFINITY};
    for (size_t i = 0; i < sizeof(past) / sizeof(*past); i++) {
        CHECK_EQ(ucb_e4m3_from_f32(past[i]), 0x7e);
        CHECK_EQ(ucb_e4m3_from_f32(-past[i]), 0xfe);
    }
    CHECK_EQ(ucb_e4m3_from_f32(NAN) & 0x7f, 0x7f);
    CHECK_EQ(ucb_e4m3_from_f32(1e-30f), 0);
}
