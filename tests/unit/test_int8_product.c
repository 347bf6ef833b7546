/* LLM.int8's product by hand: what an outlier is, what it does to its column and its row,
 * where half precision ends. That the sums are exact on every path is in tests/same. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method_fixture.h"

enum { N_IN = 4, MAX_ROWS = 3 };

/* Two outputs, 127 and -127 times the identity's first rows: absmax 127, so that a weight
 * of 127 has code 127 and decodes to itself. */
static const float weights[2 * N_IN] = {127, 1, 0, -127, 0, 127, 64, 0};

static struct method_fixture fixture;
static float y[MAX_ROWS * 2];

static ucb_status try_multiply(const char *spec, const float *bias, const float *x,
                               size_t n_rows, struct ucb_err *err)
{
    fixture_open(&fixture, spec, 2, N_IN, UCB_F32, 1);
    CHECK_OK(fixture_try_encode(&fixture, weights, err), *err);
    return fixture_product(&fixture, bias, x, n_rows, y, err);
}

static void multiply(const char *spec, const float *bias, const float *x, size_t n_rows)
{
    struct ucb_err err;
    CHECK_OK(try_multiply(spec, bias, x, n_rows, &err), err);
}

static const int8_t *codes_of(void)
{
    return fixture_role(&fixture, "act_codes")->data;
}

static float scale_of(size_t row)
{
    return ((const float *)fixture_role(&fixture, "act_absmax")->data)[row];
}

/* The outlier columns as a set of bits. */
static unsigned columns(void)
{
    const struct emitted *e = fixture_role(&fixture, "outlier_cols");
    unsigned set = 0;
    for (size_t i = 0; i < e->n; i++) set |= 1u << ((const int64_t *)e->data)[i];
    return set;
}

TEST(an_activation_at_the_threshold_is_an_outlier_and_one_below_is_not)
{
    /* 5.99609375 is the half below 6; 5.9999 becomes 6 in the cast, which comes first */
    static const float x[N_IN] = {6, -5.99609375f, 5.9999f, -6};
    multiply("int8:threshold=6.0", NULL, x, 1);
    CHECK_EQ(columns(), 0xd);
    CHECK_NEAR(scale_of(0), 5.99609375, 0);
    CHECK_EQ(codes_of()[0], 0);
    CHECK_EQ(codes_of()[1], -127);
    fixture_close(&fixture);
    multiply("int8:threshold=6.00000001", NULL, x, 1);
    CHECK_EQ(columns(), 0);
    CHECK_EQ(codes_of()[0], 127);
    fixture_close(&fixture);
}

TEST(an_outlier_takes_its_column_out_of_every_row_of_the_call)
{
    static const float x[2 * N_IN] = {8, 1, 2, -4, 5, 1, 2, 0.5f};
    multiply("int8:threshold=6.0", NULL, x, 2);
    CHECK_EQ(columns(), 1);
    CHECK_EQ(codes_of()[0], 0);
    CHECK_EQ(codes_of()[N_IN], 0);
    CHECK_NEAR(scale_of(0), 4, 0);
    CHECK_NEAR(scale_of(1), 5, 0); /* below the threshold: it counts, although taken out */
    CHECK_EQ(codes_of()[N_IN + 1], 25);
    fixture_close(&fixture);

    multiply("int8:threshold=6.0", NULL, x + N_IN, 1); /* alone, the row has none */
    CHECK_EQ(columns(), 0);
    CHECK_EQ(codes_of()[0], 127);
    fixture_close(&fixture);
}

TEST(a_row_of_outliers_or_zeros_has_scale_and_codes_zero)
{
    static const float x[2 * N_IN] = {8, -9, 10, 11, 0, 0, 0, 0}, bias[2] = {0.5f, -3};
    multiply("int8:threshold=6.0", bias, x, 2);
    CHECK_EQ(columns(), 0xf);
    for (size_t row = 0; row < 2; row++) CHECK_NEAR(scale_of(row), 0, 0);
    for (size_t i = 0; i < 2 * N_IN; i++) CHECK_EQ(codes_of()[i], 0);
    /* the bias, then 8 * 127 - 9 * 1 - 11 * 127 and -9 * 127 + 10 * 64 in fp32 */
    CHECK_NEAR(y[0], ucb_f16_round(0.5f + (8 * 127 - 9 - 11 * 127)), 0);
    CHECK_NEAR(y[1], ucb_f16_round(-3.0f + (-9 * 127 + 640)), 0);
    CHECK_NEAR(y[2], 0.5, 0);
    CHECK_NEAR(y[3], -3, 0);
    fixture_close(&fixture);
}

TEST(the_bias_is_added_before_the_sum_is_rounded)
{
    /* 16.125 * 127 = 2047.875. With the bias 2047.375, which rounds to 2047; rounded first
     * it would be 2048, then 2047.5, which rounds to 2048. */
    static const float x[N_IN] = {16.125f, 0, 0, 0}, bias[2] = {-0.5f, 0.0625f};
    multiply("int8:threshold=0", bias, x, 1);
    CHECK_NEAR(y[0], 2047, 0);
    CHECK_NEAR(y[1], 0.0625, 0);
    fixture_close(&fixture);
}

TEST(the_outlier_part_is_not_rounded_before_it_is_added)
{
    /* 5.5 * 127 = 698.5 and 16.28125 * -127 = -2067.71875: the sum -1369.21875 rounds to
     * -1369. The second by itself rounds to -2068, and the sum then to -1370. */
    static const float x[N_IN] = {5.5f, 0, 0, 16.28125f};
    multiply("int8:threshold=6.0", NULL, x, 1);
    CHECK_EQ(columns(), 8);
    CHECK_NEAR(y[0], -1369, 0);
    fixture_close(&fixture);
}

TEST(threshold_zero_knows_no_outliers)
{
    static const float x[N_IN] = {400, 1, 2, 1};
    multiply("int8:threshold=0", NULL, x, 1);
    CHECK_NEAR(scale_of(0), 400, 0);
    CHECK_EQ(codes_of()[0], 127);
    CHECK_EQ(codes_of()[3], 0);
    for (size_t i = 0; i < fixture.n_emitted; i++)
        CHECK(strcmp(fixture.emitted[i].role, "outlier_cols") != 0);
    fixture_close(&fixture);
}

static void refused(const char *spec, const float *x, size_t n_rows, const char *where)
{
    struct ucb_err err;
    CHECK_STATUS(try_multiply(spec, NULL, x, n_rows, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "m: ");
    CHECK_HAS(err.text, where);
    CHECK_HAS(err.text, "int8:threshold=0");
    fixture_close(&fixture);
}

TEST(activations_that_half_precision_cannot_hold_are_refused_with_row_and_column)
{
    float x[2 * N_IN] = {1, 2, 3, 4, 5, 6, 7, 8};
    x[N_IN + 2] = 65520;
    refused("int8:threshold=6.0", x, 2, "input in row 1, column 2 is 65520");
    x[N_IN + 2] = -INFINITY;
    refused("int8:threshold=0", x, 2, "input in row 1, column 2 is -inf");
    x[N_IN + 2] = ucb_f32_from_bits(0x7fffffff);
    refused("int8:threshold=6.0", x, 2, "input in row 1, column 2 is nan");
    x[N_IN + 2] = ucb_f32_from_bits(0xffc00000);
    refused("int8:threshold=6.0", x, 2, "input in row 1, column 2 is -nan");

    float largest[N_IN] = {0, 0, 65519, 0}; /* 65504 as a half; times 1 / 64 */
    static const float tiny[2 * N_IN] = {0, 0, 0.015625f, 0, 0, 0, 0, 0.5f};
    struct ucb_err err;
    fixture_open(&fixture, "int8:threshold=6.0", 2, N_IN, UCB_F32, 1);
    CHECK_OK(fixture_try_encode(&fixture, tiny, &err), err);
    CHECK_OK(fixture_product(&fixture, NULL, largest, 1, y, &err), err);
    CHECK_NEAR(y[0], 65504.0 / 64, 0.5); /* steps of 1 there */
    fixture_close(&fixture);
}

TEST(outputs_that_half_precision_cannot_hold_are_refused_with_row_and_column)
{
    static const float x[2 * N_IN] = {1, 1, 1, 1, 0, 516, 0, 0}; /* 516 * 127 = 65532 */
    static const float below[N_IN] = {0, 515.5f, 0, 0};          /* 65468.5 */
    refused("int8:threshold=0", x, 2, "output in row 1, column 1 is past 65504");
    refused("int8:threshold=6.0", x, 2, "output in row 1, column 1 is past 65504");
    multiply("int8:threshold=0", NULL, below, 1);
    CHECK_NEAR(y[1], 65472, 0); /* the half next to it */
    fixture_close(&fixture);
}

enum { LONGEST = INT32_MAX / (127 * 127) };

static ucb_status multiply_long(uint32_t n_in, struct ucb_err *err)
{
    static float ones[LONGEST + 1];
    for (uint32_t i = 0; i < n_in; i++) ones[i] = 1;
    fixture_open(&fixture, "int8:threshold=6.0", 1, n_in, UCB_F32, 1);
    CHECK_OK(fixture_try_encode(&fixture, ones, err), *err);
    for (uint32_t i = 0; i < n_in; i++) ones[i] = 0.25f;
    return fixture_product(&fixture, NULL, ones, 1, y, err);
}

TEST(the_longest_row_is_summed_exactly_and_one_more_is_refused)
{
    struct ucb_err err;
    CHECK_OK(multiply_long(LONGEST, &err), err);
    const struct emitted *acc = fixture_role(&fixture, "acc_int32");
    CHECK_EQ(*(const int32_t *)acc->data, LONGEST * 127 * 127);
    CHECK_NEAR(y[0], ucb_f16_round(LONGEST * 0.25f), 0);
    fixture_close(&fixture);
    CHECK_STATUS(multiply_long(LONGEST + 1, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "133145 products");
    fixture_close(&fixture);
}
