/* The counts of bit patterns, their entropies, and the detector of low-bit grids. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method_fixture.h"
#include "model/grid.h"

enum { ROWS = 96, COLUMNS = 1024, N = ROWS * COLUMNS };
static const enum ucb_dtype dtypes[] = {UCB_BF16, UCB_F16, UCB_F32};

/* The census of values stored as `dtype`. */
static const struct ucb_census *census_of(const float *w, enum ucb_dtype dtype,
                                          size_t n_rows, size_t n_columns)
{
    static struct ucb_census census;
    static struct ucb_census_memory memory;
    static uint8_t bytes[4 * N];
    CHECK(n_rows * n_columns <= N);
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        uint16_t h = dtype == UCB_BF16 ? ucb_bf16_from_f32(w[i]) : ucb_f16_from_f32(w[i]);
        if (dtype == UCB_F32)
            memcpy(bytes + 4 * i, &w[i], 4);
        else
            memcpy(bytes + 2 * i, &h, 2);
    }
    ucb_census_start(&census, dtype, n_columns);
    ucb_census_rows(&census, &memory, bytes, n_rows, NULL);
    return &census;
}

static struct ucb_grid grid_of(const float *w, enum ucb_dtype dtype)
{
    return ucb_grid_of_census(census_of(w, dtype, ROWS, COLUMNS));
}

/* Gaussian weights as a method decodes them, stored in each dtype. */
static void check_method(const char *spec, enum ucb_grid_kind kind, uint32_t width,
                         uint32_t bits)
{
    static float w[N];
    struct method_fixture f;
    fill_gaussian(w, N, 0.02, "grid");
    fixture_open(&f, spec, ROWS, COLUMNS, UCB_F32, 1);
    fixture_run(&f, w);
    for (size_t d = 0; d < 3; d++) {
        struct ucb_grid grid = grid_of(f.decoded_f32, dtypes[d]);
        char text[UCB_GRID_TEXT];
        if (grid.kind != kind || grid.width != width || grid.bits != bits)
            ucb_test_fail(__FILE__, __LINE__, "%s as %s: %s", spec,
                          ucb_dtype_name(dtypes[d]), ucb_grid_text(&grid, text));
    }
    fixture_close(&f);
}

TEST(a_four_bit_grid_is_found_in_every_copy_of_what_it_decodes_to)
{
    check_method("gguf:type=Q4_0", UCB_GRID_LEVELS, 32, 4);
    check_method("gguf:type=Q4_1", UCB_GRID_LEVELS, 32, 4);
    check_method("gguf:type=Q4_K", UCB_GRID_LEVELS, 32, 4);
    check_method("gguf:type=IQ4_XS", UCB_GRID_LEVELS, 32, 4);
    check_method("nf4", UCB_GRID_LEVELS, 64, 4);
    check_method("fp4", UCB_GRID_LEVELS, 64, 4);
    check_method("nf4:block=128", UCB_GRID_LEVELS, 128, 4);
    check_method("rtn:bits=4,group=128", UCB_GRID_LEVELS, 128, 4);
    check_method("rtn:bits=4,group=-1", UCB_GRID_LEVELS, 0, 4);
    check_method("gptq:bits=4,group=128", UCB_GRID_LEVELS, 128, 4);
}

TEST(coarser_and_finer_grids_are_found_with_their_block_and_their_bits)
{
    check_method("gguf:type=Q2_K", UCB_GRID_LEVELS, 16, 2);
    check_method("gguf:type=Q3_K", UCB_GRID_LEVELS, 16, 3);
    check_method("hqq:bits=2,group=64", UCB_GRID_LEVELS, 64, 2);
    check_method("gguf:type=Q5_0", UCB_GRID_REPEATS, 32, 5);
    check_method("gguf:type=Q5_1", UCB_GRID_REPEATS, 32, 5);
    check_method("rtn:bits=6,group=128", UCB_GRID_LEVELS, 128, 6);
    check_method("gguf:type=Q6_K", UCB_GRID_REPEATS, 16, 6);
    check_method("gguf:type=Q8_0", UCB_GRID_REPEATS, 32, 8);
    check_method("rtn:bits=8,group=128", UCB_GRID_REPEATS, 128, 8);
    check_method("int8", UCB_GRID_LEVELS, 0, 8);
}

/* Weights of many laws that nobody quantized. */
static void check_dense(const char *law, float (*weight)(size_t row, size_t column))
{
    static float w[N];
    for (size_t i = 0; i < N; i++) w[i] = weight(i / COLUMNS, i % COLUMNS);
    for (size_t d = 0; d < 3; d++) {
        struct ucb_grid grid = grid_of(w, dtypes[d]);
        char text[UCB_GRID_TEXT];
        if (grid.kind != UCB_GRID_DENSE)
            ucb_test_fail(__FILE__, __LINE__, "%s as %s: %s", law,
                          ucb_dtype_name(dtypes[d]), ucb_grid_text(&grid, text));
    }
}

static const float *deviates(void)
{
    static float w[N];
    if (w[0] == 0) fill_gaussian(w, N, 0.02, "dense");
    return w;
}

static float gaussian(size_t row, size_t column)
{
    return deviates()[row * COLUMNS + column];
}

/* Heavy tails: a deviate times the inverse of another. */
static float heavy(size_t row, size_t column)
{
    float x = gaussian(row, column), y = gaussian(row, COLUMNS - 1 - column);
    return x * 0.02f / (fabsf(y) + 0.004f);
}

/* Rows, and columns, of very different size: what AWQ looks for. */
static float scaled_rows(size_t row, size_t column)
{
    return ldexpf(gaussian(row, column), (int)(row % 7)) * (1 + (float)(row % 5) / 5);
}
static float scaled_columns(size_t row, size_t column)
{
    return gaussian(row, column) * (1 + (float)(column * 37 % 64) / 8);
}
/* Heads of 64 columns, some nearly switched off. */
static float scaled_heads(size_t row, size_t column)
{
    return gaussian(row, column) * (column / 64 % 4 == 0 ? 0.01f : 1.0f);
}
/* Columns with a mean of their own, as token embeddings have. */
static float shifted_columns(size_t row, size_t column)
{
    return gaussian(row, column) + 0.1f * sinf((float)column);
}
/* Half, and nine tenths, of the weights pruned. */
static float pruned(size_t row, size_t column)
{
    return column % 4 < 2 ? gaussian(row, column) : 0;
}
static float nearly_empty(size_t row, size_t column)
{
    return (row * 7 + column) % 10 == 0 ? gaussian(row, column) : 0;
}

TEST(weights_that_nobody_quantized_are_dense_whatever_their_law)
{
    check_dense("gaussian", gaussian);
    check_dense("heavy tails", heavy);
    check_dense("rows of many sizes", scaled_rows);
    check_dense("columns of many sizes", scaled_columns);
    check_dense("heads switched off", scaled_heads);
    check_dense("columns with means", shifted_columns);
    check_dense("pruned 2:4", pruned);
    check_dense("pruned to a tenth", nearly_empty);
}

TEST(an_eight_bit_float_matrix_with_one_scale_has_few_values_in_a_row)
{
    static float w[N];
    for (size_t i = 0; i < N; i++) {
        uint32_t u = ucb_f32_bits(gaussian(i / COLUMNS, i % COLUMNS));
        w[i] = 0.37f * ucb_f32_from_bits(u & 0xfff00000u); /* three mantissa bits */
    }
    CHECK_EQ(grid_of(w, UCB_BF16).kind, UCB_GRID_LEVELS);
    CHECK(grid_of(w, UCB_F32).bits <= 8); /* of 240 values, those that were met */
}

TEST(constants_vectors_and_crumbs_get_no_verdict_on_a_grid)
{
    static float w[N];
    CHECK_EQ(grid_of(w, UCB_BF16).kind, UCB_GRID_CONSTANT);
    for (size_t i = 0; i < N; i++) w[i] = i % 2 == 0 ? 0.0f : -0.0f;
    CHECK_EQ(grid_of(w, UCB_F32).kind, UCB_GRID_CONSTANT);
    for (size_t i = 0; i < N; i++) w[i] = 1.5f;
    CHECK_EQ(grid_of(w, UCB_F16).kind, UCB_GRID_CONSTANT);
    CHECK_EQ(ucb_grid_of_census(census_of(deviates(), UCB_BF16, 1, N)).kind,
             UCB_GRID_UNKNOWN);
    CHECK_EQ(ucb_grid_of_census(census_of(deviates(), UCB_BF16, 8, 64)).kind,
             UCB_GRID_UNKNOWN);
}

TEST(blocks_count_their_patterns_by_hand)
{
    float w[64];
    for (size_t i = 0; i < 64; i++) w[i] = (float)(i % 20 + 1);
    w[3] = 0.0f;
    w[5] = -0.0f; /* zeros of both signs are one pattern */
    const struct ucb_census *c = census_of(w, UCB_F16, 2, 32);
    CHECK_EQ(c->n_zeros, 2);
    CHECK_EQ(c->width[0].n_blocks, 4);
    /* 1 .. 16 less two, and a zero; 17 .. 20, 1 .. 12; 13 .. 20, 1 .. 8; 9 .. 20, 1 .. 4 */
    CHECK_EQ(c->width[0].distinct, 15 + 16 + 16 + 16);
    /* 1 .. 20 with the 4 and the 6 coming late, and a zero; 13 .. 20 and 1 .. 20 */
    CHECK_EQ(c->width[1].distinct, 21 + 20);
    CHECK_EQ(c->width[1].n_nonzero, 62);
    CHECK_EQ(c->width[1].n_repeats, 10 + 12);
    CHECK_EQ(c->width[1].distinct_max, 21);
    CHECK_EQ(c->width[2].n_blocks, 0);
    CHECK_EQ(c->width[UCB_CENSUS_ROW].n_blocks, 2);
    CHECK_EQ(c->width[UCB_CENSUS_ROW].distinct, 41);
}

TEST(rows_are_counted_alike_in_one_piece_and_in_several)
{
    static struct ucb_census whole, part, sum;
    static struct ucb_census_memory memory;
    static uint16_t bits[N];
    for (size_t i = 0; i < N; i++) bits[i] = ucb_bf16_from_f32(deviates()[i]);
    const uint8_t *bytes = (const uint8_t *)bits;
    uint64_t hash[ROWS], again[ROWS];
    ucb_census_start(&whole, UCB_BF16, COLUMNS);
    ucb_census_rows(&whole, &memory, bytes, ROWS, hash);
    ucb_census_start(&sum, UCB_BF16, COLUMNS);
    for (size_t row = ROWS; row > 0; row -= 32) { /* in another order */
        ucb_census_start(&part, UCB_BF16, COLUMNS);
        ucb_census_rows(&part, &memory, bytes + 2 * COLUMNS * (row - 32), 32,
                        again + row - 32);
        ucb_census_add(&sum, &part);
    }
    CHECK(memcmp(&whole, &sum, sizeof(whole)) == 0);
    CHECK(memcmp(hash, again, sizeof(hash)) == 0);
    CHECK(hash[0] != hash[1]);
}

TEST(more_rows_than_the_table_can_number_are_counted_all_the_same)
{
    enum { MANY = 70000 };
    static struct ucb_census census;
    static struct ucb_census_memory memory;
    static uint16_t bits[16 * 4];
    for (size_t i = 0; i < 64; i++) bits[i] = (uint16_t)(0x3c00 + i % 16);
    ucb_census_start(&census, UCB_F16, 16);
    for (size_t i = 0; i < MANY; i += 4)
        ucb_census_rows(&census, &memory, (const uint8_t *)bits, 4, NULL);
    CHECK_EQ(census.width[0].distinct, 16 * (uint64_t)MANY);
}

TEST(entropies_of_a_normal_law_are_those_of_the_literature)
{
    /* 96 Ki weights leave the mantissa's table a little too well fitted: (128 * 9) / (2 N
     * ln 2) is 0.008 bits for bf16. */
    struct ucb_entropy e = ucb_census_entropy(
        census_of(deviates(), UCB_BF16, ROWS, COLUMNS));
    CHECK_NEAR(e.sign, 1.0, 0.001);
    CHECK_NEAR(e.exponent, 2.545, 0.01);
    CHECK_NEAR(e.total, 10.464, 0.02);
    /* fp32: 16 more bits that are as good as random, told byte by byte */
    struct ucb_entropy f = ucb_census_entropy(
        census_of(deviates(), UCB_F32, ROWS, COLUMNS));
    CHECK_NEAR(f.total, e.total + 16, 0.02);
    static float w[N];
    for (size_t i = 0; i < N; i++) w[i] = ucb_bf16_round(deviates()[i]);
    struct ucb_entropy g = ucb_census_entropy(census_of(w, UCB_F32, ROWS, COLUMNS));
    CHECK_NEAR(g.total, e.total, 1e-9); /* widened: the lower half says nothing */
}

TEST(bits_that_a_conversion_left_behind_are_seen)
{
    static float w[N];
    for (size_t i = 0; i < N; i++) w[i] = ucb_bf16_round(deviates()[i]);
    CHECK_EQ(ucb_census_facts(census_of(w, UCB_F16, ROWS, COLUMNS)).trailing_zeros, 3);
    CHECK_EQ(ucb_census_facts(census_of(w, UCB_F32, ROWS, COLUMNS)).trailing_zeros, 16);
    CHECK_EQ(ucb_census_facts(census_of(w, UCB_BF16, ROWS, COLUMNS)).trailing_zeros, 0);
    for (size_t i = 0; i < N; i++) w[i] = ucb_f16_round(deviates()[i]);
    CHECK_EQ(ucb_census_facts(census_of(w, UCB_F32, ROWS, COLUMNS)).trailing_zeros, 13);
    /* fp32 to fp16 to bf16: one in eight is a tie and goes to even. Three standard
     * deviations of a share of 96 Ki weights are 0.005. */
    CHECK_NEAR(ucb_census_facts(census_of(w, UCB_BF16, ROWS, COLUMNS)).even_share, 0.5625,
               0.006);
    CHECK_NEAR(ucb_census_facts(census_of(deviates(), UCB_BF16, ROWS, COLUMNS)).even_share,
               0.5, 0.006);
}
