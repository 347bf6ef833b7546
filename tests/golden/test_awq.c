/*
 * awq against AutoAWQ 0.2.9: the searches within the index's tolerance, everything after
 * them bit by bit from the library's own scales and clippings.
 */
#include "test.h"

#include <math.h>
#include <string.h>

#include "../../methods/awq/awq.h"
#include "core/half.h"
#include "method_fixture.h"
#include "vectors.h"

enum { MAX_IN = 384, MAX_WEIGHTS = 64 * MAX_IN, MAX_TOKENS = 512, GRID = 20 };

static const char *spec_of(const json_t *c)
{
    return ucb_test_path("awq:bits=%d,group=%d,duo=%d,clip=%d,grid=%d",
                         vectors_number(c, "bits"), vectors_number(c, "group_size"),
                         vectors_number(c, "duo_scaling"), vectors_number(c, "clip"),
                         vectors_number(c, "n_grid"));
}

static struct awq_config config_of(const json_t *c)
{
    return (struct awq_config){.bits = (unsigned)vectors_number(c, "bits"),
                               .group = (size_t)vectors_number(c, "group_size")};
}

/* The case's activations, widened. */
static const float *inputs_of(const json_t *c)
{
    static float x[MAX_TOKENS * MAX_IN];
    struct vector v = vectors_input_at(c, 1);
    CHECK(v.n <= MAX_TOKENS * MAX_IN);
    for (size_t i = 0; i < v.n; i++) x[i] = ucb_f16_widen(((const uint16_t *)v.data)[i]);
    return x;
}

/* Opens a fixture on the case's weights, with statistics of its activations. */
static void open_case(const json_t *c, struct method_fixture *f, struct ucb_calib *calib)
{
    struct vector w = vectors_input(c), x = vectors_input_at(c, 1);
    fixture_open(f, spec_of(c), (uint32_t)w.shape[0], (uint32_t)w.shape[1], UCB_F32, 2);
    *calib = calib_of(inputs_of(c), (uint32_t)x.shape[0], f->matrix.n_in, &f->kept);
    f->calib = calib;
}

/* The largest relative difference of a role's emitted values from the golden ones. */
static double worst_off(const json_t *c, const struct method_fixture *f, const char *role)
{
    const struct emitted *e = fixture_role(f, role);
    const float *found = e->data, *expected = vectors_role(c, role).data;
    double worst = 0;
    CHECK_EQ(e->n, vectors_role(c, role).n);
    for (size_t i = 0; i < e->n; i++)
        worst = fmax(worst, fabs((double)found[i] / expected[i] - 1));
    return worst;
}

static void check_losses(const json_t *c, const struct method_fixture *f)
{
    const json_t *expected = json_object_get(json_object_get(c, "settings"),
                                             "loss_history");
    const double *loss = fixture_role(f, "loss_history")->data;
    CHECK_EQ(*(const int32_t *)fixture_role(f, "best_grid_index")->data,
             vectors_number(c, "best_grid_index"));
    CHECK_EQ(json_array_size(expected), GRID);
    for (size_t k = 0; k < GRID; k++)
        CHECK_NEAR(loss[k] / json_real_value(json_array_get(expected, k)), 1, 1e-4);
}

static void run_search(const json_t *c)
{
    struct method_fixture f;
    struct ucb_calib calib;
    open_case(c, &f, &calib);
    fixture_run(&f, vectors_input(c).data);
    CHECK(worst_off(c, &f, "act_mean_abs") <= 1e-6);
    CHECK(worst_off(c, &f, "weight_mean_rel") <= 1e-6);
    CHECK(worst_off(c, &f, "channel_scale") <= 1e-5);
    check_losses(c, &f);
    fixture_close(&f);
}

TEST(awq_takes_the_channel_scale_that_the_library_takes)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_search), 4);
}

/* ---- clipping ---- */

/* The error of clamping a group of scaled weights, by definition: over tokens,
 * in double. */
static double clip_error(const float *w, const float *x, const float *scale, size_t n,
                         size_t n_in, float limit)
{
    float v[MAX_IN], low = INFINITY, high = -INFINITY;
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        v[j] = fminf(fmaxf(w[j] * scale[j], -limit), limit);
        low = fminf(low, v[j]);
        high = fmaxf(high, v[j]);
    }
    float s = fmaxf(high - low, 1e-5f) / 15, z = fminf(fmaxf(-rintf(low / s), 0), 15);
    for (size_t j = 0; j < n; j++) {
        float code = fminf(fmaxf(rintf(v[j] / s) + z, 0), 15);
        v[j] = (code - z) * s - w[j] * scale[j];
    }
    for (size_t t = 0; t < MAX_TOKENS; t++) {
        double off = 0;
        for (size_t j = 0; j < n; j++) off += (double)v[j] * x[t * n_in + j] / scale[j];
        sum += off * off;
    }
    return sum / MAX_TOKENS;
}

static double least_error(const float *w, const float *x, const float *scale, size_t n,
                          size_t n_in)
{
    float peak = 0;
    double least = INFINITY;
    for (size_t j = 0; j < n; j++) peak = fmaxf(peak, fabsf(w[j] * scale[j]));
    for (int i = 0; i < 10; i++)
        least = fmin(least,
                     clip_error(w, x, scale, n, n_in, peak * (float)(1 - (double)i / 20)));
    return least;
}

static void run_clip(const json_t *c)
{
    struct method_fixture f;
    struct ucb_calib calib;
    size_t same = 0, n_group = (size_t)vectors_number(c, "group_size"), n_in, per_row;
    if (!vectors_number(c, "clip")) return;
    open_case(c, &f, &calib);
    n_in = f.matrix.n_in;
    per_row = n_in / n_group;
    const float *w = vectors_input(c).data, *x = inputs_of(c);
    fixture_run(&f, w);
    const struct emitted *found = fixture_role(&f, "clip_max");
    const float *limit = found->data, *expected = vectors_role(c, "clip_max").data,
                *scale = fixture_role(&f, "channel_scale")->data;
    CHECK_EQ(found->n, vectors_role(c, "clip_max").n);
    for (size_t g = 0; g < found->n; g++) {
        size_t row = g / per_row, at = g % per_row * n_group;
        const float *group = w + row * n_in + at;
        same += fabsf(limit[g] / expected[g] - 1) < 1e-5f;
        CHECK(clip_error(group, x + at, scale + at, n_group, n_in, limit[g]) <=
              1.001 * least_error(group, x + at, scale + at, n_group, n_in));
    }
    CHECK((double)same >= 0.95 * (double)found->n);
    fixture_close(&f);
}

TEST(awq_clips_each_group_where_its_error_is_least)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_clip), 4);
}

/* ---- from the library's scale and clipping on, bit by bit ---- */

static void quantize(const json_t *c, bool half, struct awq_codes *out)
{
    static uint8_t code[MAX_WEIGHTS];
    static float scale[MAX_WEIGHTS], zero[MAX_WEIGHTS];
    struct ucb_arena scratch = {0};
    struct ucb_job job = {.scratch = &scratch};
    struct awq_config config = config_of(c);
    struct vector w = vectors_input(c);
    struct ucb_matrix m = {
        .name = "m", .n_out = (uint32_t)w.shape[0], .n_in = (uint32_t)w.shape[1]};
    struct ucb_source src = {.matrix = &m, .w = w.data};
    struct ucb_err err;
    *out = (struct awq_codes){code, scale, zero};
    CHECK_OK(
        awq_quantize(&job, &config, &src, vectors_role(c, "channel_scale").data,
                     vectors_has(c, "clip_max") ? vectors_role(c, "clip_max").data : NULL,
                     half, out, &err),
        err);
    ucb_arena_free(&scratch);
}

static void run_exact(const json_t *c)
{
    static float w[MAX_WEIGHTS];
    struct awq_codes q;
    size_t n = vectors_input(c).n, n_groups = vectors_role(c, "group_scale").n,
           n_in = vectors_input(c).shape[1], group = config_of(c).group;
    const float *scale = vectors_role(c, "channel_scale").data;
    quantize(c, false, &q);
    vectors_same(c, "codes", q.code, n);
    vectors_same(c, "group_scale", q.scale, n_groups * sizeof(float));
    vectors_same(c, "group_zero", q.zero, n_groups * sizeof(float));
    for (size_t i = 0; i < n; i++)
        w[i] = ((float)q.code[i] - q.zero[i / group]) * q.scale[i / group];
    vectors_same(c, "deq_scaled_space", w, n * sizeof(float));
    for (size_t i = 0; i < n; i++) w[i] /= scale[i % n_in];
    vectors_same(c, "effective_weight", w, n * sizeof(float));
}

TEST(awq_quantizes_bit_equal_in_float)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_exact), 4);
}

/* Half-precision values as bytes of a file. */
static void same_halves(const json_t *c, const char *role, const float *values, size_t n)
{
    static uint16_t halves[MAX_WEIGHTS];
    for (size_t i = 0; i < n; i++) halves[i] = ucb_f16_from_f32(values[i]);
    vectors_same(c, role, halves, n * sizeof(*halves));
}

static void run_half(const json_t *c)
{
    static uint32_t words[MAX_WEIGHTS / 8];
    static uint8_t zeros[MAX_WEIGHTS];
    struct awq_codes q;
    size_t n_out = vectors_input(c).shape[0], n_in = vectors_input(c).shape[1],
           per_row = n_in / config_of(c).group, n_groups = n_out * per_row;
    quantize(c, true, &q);
    same_halves(c, "fp16_group_scale", q.scale, n_groups);
    same_halves(c, "fp16_group_zero", q.zero, n_groups);
    awq_gemm_pack(q.code, n_out, n_in, words);
    vectors_same(c, "gemm_qweight", words, n_out / 8 * n_in * sizeof(*words));
    for (size_t g = 0; g < n_groups; g++) zeros[g] = (uint8_t)q.zero[g];
    awq_gemm_pack(zeros, n_out, per_row, words);
    vectors_same(c, "gemm_qzeros", words, n_out / 8 * per_row * sizeof(*words));
}

TEST(awq_quantizes_bit_equal_in_half_precision_and_packs_as_the_library_does)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_half), 4);
}

/* ---- the bytes ---- */

static uint8_t gemm_code(const json_t *c, const char *role, size_t row, size_t column)
{
    static const unsigned nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    struct vector v = vectors_role(c, role);
    const uint32_t *words = v.data;
    return words[column * v.shape[1] + row / 8] >> 4 * nibble[row % 8] & 15;
}

/* What the library deploys: fp16((code - zero) * scale) of its tensors, divided by S. */
static void deployed(const json_t *c, bool half_channel, float *out)
{
    struct vector s = vectors_role(c, "gemm_scales");
    const float *channel = vectors_role(c, "channel_scale").data;
    size_t n_out = vectors_input(c).shape[0], n_in = vectors_input(c).shape[1];
    for (size_t i = 0; i < n_out * n_in; i++) {
        size_t row = i / n_in, j = i % n_in, g = j / config_of(c).group;
        float scale = ucb_f16_widen(((const uint16_t *)s.data)[g * n_out + row]);
        int steps = gemm_code(c, "gemm_qweight", row, j) -
                    gemm_code(c, "gemm_qzeros", row, g);
        out[i] = ucb_f16_round((float)steps * scale) /
                 (half_channel ? ucb_f16_round(channel[j]) : channel[j]);
    }
}

/* The library's tensors as our payload would hold them. */
static void put_library(const json_t *c, struct ucb_writer *out)
{
    size_t n_out = vectors_input(c).shape[0], n_in = vectors_input(c).shape[1],
           per_row = n_in / config_of(c).group;
    const uint16_t *scale = vectors_role(c, "gemm_scales").data;
    const float *channel = vectors_role(c, "channel_scale").data;
    for (size_t i = 0; i < n_out * n_in; i += 2)
        ucb_put_u8(out,
                   (uint8_t)(gemm_code(c, "gemm_qweight", i / n_in, i % n_in) |
                             gemm_code(c, "gemm_qweight", i / n_in, i % n_in + 1) << 4));
    for (size_t g = 0; g < n_out * per_row; g++)
        ucb_put_u16(out, scale[g % per_row * n_out + g / per_row]);
    for (size_t g = 0; g < n_out * per_row; g += 2)
        ucb_put_u8(
            out, (uint8_t)(gemm_code(c, "gemm_qzeros", g / per_row, g % per_row) |
                           gemm_code(c, "gemm_qzeros", (g + 1) / per_row, (g + 1) % per_row)
                               << 4));
    for (size_t j = 0; j < n_in; j++) ucb_put_u16(out, ucb_f16_from_f32(channel[j]));
}

static void run_decode(const json_t *c)
{
    static float expected[MAX_WEIGHTS], decoded[MAX_WEIGHTS];
    struct method_fixture f;
    struct ucb_err err;
    struct vector w = vectors_input(c);
    fixture_open(&f, spec_of(c), (uint32_t)w.shape[0], (uint32_t)w.shape[1], UCB_F32, 2);
    put_library(c, &f.out);
    CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                              decoded, NULL, &err),
             err);
    deployed(c, true, expected);
    CHECK(memcmp(decoded, expected, w.n * sizeof(float)) == 0);
    fixture_close(&f);
}

TEST(awq_decodes_the_tensors_of_the_library_bit_equal)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_decode), 4);
}

/* The mean squared difference of the outputs of two matrices. */
static double output_error(const json_t *c, const float *a, const float *b)
{
    size_t n_out = vectors_input(c).shape[0], n_in = vectors_input(c).shape[1];
    const float *x = inputs_of(c);
    double sum = 0;
    for (size_t t = 0; t < MAX_TOKENS; t++)
        for (size_t row = 0; row < n_out; row++) {
            double off = 0;
            for (size_t j = 0; j < n_in; j++)
                off += ((double)a[row * n_in + j] - b[row * n_in + j]) * x[t * n_in + j];
            sum += off * off;
        }
    return sum / (double)(MAX_TOKENS * n_out);
}

static void check_roles(const json_t *c, const struct method_fixture *f)
{
    json_t *tensors = json_object_get(c, "tensors"), *entry;
    const char *role;
    json_object_foreach(tensors, role, entry)
    {
        struct vector v = vectors_role(c, role);
        const struct emitted *e = fixture_role(f, role);
        CHECK_EQ(e->n_dims, v.n_dims);
        for (uint32_t i = 0; i < v.n_dims; i++) CHECK_EQ(e->shape[i], v.shape[i]);
        CHECK_TEXT(ucb_dtype_name(e->dtype), v.data == NULL ? "F32" : v.dtype);
    }
}

/* Half a percent: the clipping of a few groups, nearly tied, may be another than the
 * library's. */
static void run_whole(const json_t *c)
{
    static float library[MAX_WEIGHTS];
    struct method_fixture f;
    struct ucb_calib calib;
    const float *w = vectors_input(c).data;
    open_case(c, &f, &calib);
    fixture_run(&f, w);
    check_roles(c, &f);
    double measured = json_real_value(json_object_get(
        json_object_get(json_object_get(c, "tolerance"), "measured"), "output_mse_awq"));
    const float *exact = fixture_role(&f, "effective_weight")->data;
    CHECK_NEAR(output_error(c, w, exact) / measured, 1, 0.005);
    deployed(c, false, library);
    CHECK_NEAR(output_error(c, w, f.decoded) / output_error(c, w, library), 1, 0.005);
    fixture_close(&f);
}

TEST(awq_shows_every_golden_role_and_loses_what_the_library_loses)
{
    CHECK_EQ(vectors_each("awq.safetensors", run_whole), 4);
}
