/* What `ucbench quantize` takes as the input of a matrix. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "quantize_input.h"

static struct ucb_err err;
static struct ucb_arena arena;
static struct ucb_quantize_calib got;

enum { N_IN = 3, N_TOKENS = 2 };

/* A file with `x`, [2][3] or [3], as fp32. */
static const char *write_input(const float *x, uint32_t n_dims)
{
    const char *path = ucb_test_path("%s/x.safetensors", ucb_test_folder());
    struct ucb_tensor t = {.name = "x",
                           .dtype = UCB_F32,
                           .n_dims = n_dims,
                           .n_elements = n_dims == 2 ? N_TOKENS * N_IN : N_IN,
                           .data = (const uint8_t *)x};
    t.shape[0] = n_dims == 2 ? N_TOKENS : N_IN;
    t.shape[1] = n_dims == 2 ? N_IN : 0;
    t.n_bytes = t.n_elements * sizeof(float);
    CHECK_OK(ucb_safetensors_write(path, &t, 1, &err), err);
    return path;
}

static ucb_status read_input(const float *x, uint32_t n_dims, uint32_t n_in, uint32_t needs)
{
    ucb_quantize_calib_close(&got);
    return ucb_quantize_calib_read(write_input(x, n_dims), "x", n_in, "method", needs, NULL,
                                   &arena, &got, &err);
}

static void finish(void)
{
    ucb_quantize_calib_close(&got);
    ucb_arena_free(&arena);
}

TEST(activations_give_the_statistics_that_are_needed_and_no_others)
{
    static const float x[] = {1, -2, 0, 3, 4, -0.5f};
    CHECK_OK(read_input(x, 2, N_IN, UCB_NEEDS_DIAG | UCB_NEEDS_H | UCB_NEEDS_SAMPLE), err);
    CHECK_EQ(got.calib.n_tokens, 2);
    CHECK_EQ(got.calib.n_sequences, 1);
    CHECK(got.calib.sq_mean[0] == 5 && got.calib.sq_mean[1] == 10 &&
          got.calib.sq_mean[2] == 0.125);
    CHECK(got.calib.second_moment[0 * 3 + 1] == 5 &&
          got.calib.second_moment[1 * 3 + 0] == 5);
    CHECK(got.calib.abs_mean == NULL);
    CHECK_EQ(got.calib.n_sample, 2); /* all of them, in order */
    CHECK(memcmp(got.calib.sample, x, sizeof(x)) == 0);
    CHECK_OK(read_input(x, 2, N_IN, UCB_NEEDS_ABS), err);
    CHECK(got.calib.abs_mean[1] == 3 && got.calib.abs_max[1] == 4);
    CHECK(got.calib.sq_mean == NULL && got.calib.second_moment == NULL &&
          got.calib.sample == NULL);
    finish();
}

TEST(activations_of_a_method_without_needs_are_read_and_checked)
{
    static const float x[] = {1, -2, 0, 3, 4, -0.5f}, broken[] = {1, 2, 3, 4, NAN, 6};
    CHECK_OK(read_input(x, 2, N_IN, UCB_NEEDS_NONE), err);
    CHECK_EQ(got.n_tokens, 2);
    CHECK(memcmp(got.x, x, sizeof(x)) == 0);
    CHECK(got.calib.sq_mean == NULL);
    CHECK_STATUS(read_input(broken, 2, N_IN, UCB_NEEDS_NONE), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "token 1, column 1 is nan");
    finish();
}

TEST(halves_bf16_and_doubles_are_activations_too)
{
    static const enum ucb_dtype dtypes[] = {UCB_F16, UCB_BF16, UCB_F64};
    const uint16_t half[] = {ucb_f16_from_f32(1.5f), ucb_f16_from_f32(-2)},
                   brain[] = {ucb_bf16_from_f32(1.5f), ucb_bf16_from_f32(-2)};
    const double wide[] = {1.5, -2};
    const void *const data[] = {half, brain, wide};
    for (size_t i = 0; i < 3; i++) {
        const char *path = ucb_test_path("%s/x.safetensors", ucb_test_folder());
        struct ucb_tensor t = {.name = "x",
                               .dtype = dtypes[i],
                               .n_dims = 2,
                               .shape = {1, 2},
                               .n_elements = 2,
                               .data = data[i],
                               .n_bytes = 2 * ucb_dtype_block_bytes(dtypes[i])};
        CHECK_OK(ucb_safetensors_write(path, &t, 1, &err), err);
        CHECK_OK(ucb_quantize_calib_read(path, "x", 2, "method", UCB_NEEDS_DIAG, NULL,
                                         &arena, &got, &err),
                 err);
        CHECK(got.calib.sq_mean[0] == 2.25 && got.calib.sq_mean[1] == 4);
        finish();
    }
}

TEST(one_dimension_is_an_importance_matrix_for_methods_that_need_no_more)
{
    static const float x[] = {0, 2.5f, 1e-30f};
    CHECK_OK(read_input(x, 1, N_IN, UCB_NEEDS_DIAG), err);
    CHECK(got.x == NULL);
    CHECK(got.calib.n_tokens > 0);
    for (size_t i = 0; i < N_IN; i++) CHECK(got.calib.sq_mean[i] == (double)x[i]);
    CHECK_STATUS(read_input(x, 1, N_IN, UCB_NEEDS_H), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "method needs more than that; give activations [tokens, 3]");
    CHECK_STATUS(read_input(x, 1, N_IN, UCB_NEEDS_DIAG | UCB_NEEDS_ABS), UCB_CORRUPT, err);
    finish();
}

TEST(an_importance_that_is_negative_or_not_finite_is_refused_with_its_index)
{
    static const float negative[] = {1, 2, -1e-9f}, infinite[] = {1, INFINITY, 2},
                       none[] = {NAN, 1, 2}, zero[] = {-0.0f, 0, 0};
    CHECK_STATUS(read_input(negative, 1, N_IN, UCB_NEEDS_DIAG), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "value 2 is -1e-09");
    CHECK_STATUS(read_input(infinite, 1, N_IN, UCB_NEEDS_DIAG), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "value 1 is inf");
    CHECK_STATUS(read_input(none, 1, N_IN, UCB_NEEDS_DIAG), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "value 0 is nan");
    CHECK_OK(read_input(zero, 1, N_IN, UCB_NEEDS_DIAG), err);
    finish();
}

TEST(an_input_of_another_matrix_or_shape_is_refused)
{
    static const float x[] = {1, 2, 3, 4, 5, 6};
    CHECK_STATUS(read_input(x, 2, 4, UCB_NEEDS_DIAG), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "3 columns, the matrix reads 4 inputs");
    CHECK_STATUS(read_input(x, 1, 4, UCB_NEEDS_DIAG), UCB_CORRUPT, err);
    CHECK_STATUS(ucb_quantize_calib_read(write_input(x, 2), "y", N_IN, "method", 0, NULL,
                                         &arena, &got, &err),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "holds no tensor y");
    CHECK_STATUS(ucb_quantize_calib_read("/no/such", "y", N_IN, "method", 0, NULL, &arena,
                                         &got, &err),
                 UCB_MISSING, err);
    finish();
}

TEST(activations_that_are_all_zero_are_refused_where_a_method_would_learn_from_them)
{
    static const float x[2 * N_IN] = {0, -0.0f};
    CHECK_STATUS(read_input(x, 2, N_IN, UCB_NEEDS_H), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "every activation is 0");
    CHECK_OK(read_input(x, 2, N_IN, UCB_NEEDS_NONE), err);
    finish();
}
