/* ucbench quantize: what it prints, what it writes, what it refuses. */
#include "test.h"

#include <string.h>

#include "core/json.h"
#include "method_fixture.h"
#include "model/checkpoint.h"
#include "tiny.h"

static char out[1 << 16];
static const char *made; /* the file of the last run */

/* Runs a spec on a golden input; answers the exit code. */
static int quantize(const char *spec, const char *tensor)
{
    made = ucb_test_path("%s/made.safetensors", ucb_test_folder());
    return ucb_run_program(
        out, sizeof(out),
        "quantize --method %s --in %s/tests/golden/inputs.safetensors --tensor %s --out %s",
        spec, ucb_test_root(), tensor, made);
}

static void check_array(const struct ucb_checkpoint *c, const char *name,
                        enum ucb_dtype dtype, uint64_t n)
{
    const struct ucb_tensor *t = ucb_checkpoint_find(c, name);
    if (t == NULL) ucb_test_fail(__FILE__, __LINE__, "the file holds no %s", name);
    CHECK_EQ(t->dtype, dtype);
    CHECK_EQ(t->n_elements, n);
}

TEST(quantize_writes_every_array_under_its_golden_name)
{
    struct ucb_checkpoint *c;
    struct ucb_err err;
    CHECK_EQ(quantize("nf4:double_quant=1", "edge"), 0);
    CHECK_OK(ucb_checkpoint_open(made, &c, &err), err);
    check_array(c, "decoded", UCB_F32, 4096);
    check_array(c, "decoded_f32", UCB_F32, 4096);
    check_array(c, "payload", UCB_U8, 2048 + 64 + 4 + 4);
    check_array(c, "packed", UCB_U8, 2048);
    check_array(c, "absmax_codes", UCB_U8, 64);
    check_array(c, "absmax_codes_gpu_rule", UCB_U8, 64);
    check_array(c, "absmax_offset", UCB_F32, 1);
    check_array(c, "absmax2", UCB_F32, 1);
    check_array(c, "absmax_restored", UCB_F32, 64);
    ucb_checkpoint_close(c);

    CHECK_EQ(quantize("int8", "odd_10x100"), 0);
    CHECK_OK(ucb_checkpoint_open(made, &c, &err), err);
    check_array(c, "codes", UCB_I8, 1000);
    check_array(c, "absmax", UCB_F32, 10);
    ucb_checkpoint_close(c);
}

static void check_int8_product(const char *spec, const char *activations, uint64_t n_rows,
                               bool has_columns, uint64_t n_columns)
{
    struct ucb_checkpoint *c;
    struct ucb_err err;
    const char *inputs = ucb_test_path("%s/tests/golden/inputs.safetensors",
                                       ucb_test_root());
    CHECK_EQ(quantize(ucb_test_path("%s --calib %s --calib-tensor %s", spec, inputs,
                                    activations),
                      "smol_gate"),
             0);
    CHECK_OK(ucb_checkpoint_open(made, &c, &err), err);
    check_array(c, "codes", UCB_I8, 64 * 256);
    check_array(c, "act_codes", UCB_I8, n_rows * 256);
    check_array(c, "act_absmax", UCB_F32, n_rows);
    check_array(c, "acc_int32", UCB_I32, n_rows * 64);
    check_array(c, "out", UCB_F16, n_rows * 64);
    CHECK_EQ(ucb_checkpoint_find(c, "outlier_cols") != NULL, has_columns);
    if (has_columns) check_array(c, "outlier_cols", UCB_I64, n_columns);
    ucb_checkpoint_close(c);
}

TEST(quantize_multiplies_int8_by_the_activations_it_is_given)
{
    check_int8_product("int8:threshold=6.0", "int8_act", 12, true, 3);
    check_int8_product("int8:threshold=6.0", "int8_act_no_outlier", 5, true, 0);
    check_int8_product("int8", "int8_act", 12, false, 0);
}

TEST(quantize_shows_hqq_as_fitted_and_as_stored)
{
    struct ucb_checkpoint *c;
    struct ucb_err err;
    CHECK_EQ(quantize("hqq:bits=3", "gauss"), 0);
    CHECK_OK(ucb_checkpoint_open(made, &c, &err), err);
    check_array(c, "decoded", UCB_F16, 64 * 256);
    check_array(c, "codes", UCB_U8, 64 * 256);
    check_array(c, "packed", UCB_I32, 26 * 64);
    check_array(c, "scale", UCB_F32, 256);
    check_array(c, "scale_fp16", UCB_F16, 256);
    const float *scale = (const float *)ucb_checkpoint_find(c, "scale")->data;
    const float *zero = (const float *)ucb_checkpoint_find(c, "zero")->data;
    const float *exact = (const float *)ucb_checkpoint_find(c, "decoded_f32")->data;
    const uint8_t *codes = ucb_checkpoint_find(c, "codes")->data;
    for (size_t i = 0; i < 64 * 256; i++) {
        float value = ((float)codes[i] - ucb_load_f32(zero + i / 64)) *
                      ucb_load_f32(scale + i / 64);
        CHECK(ucb_load_f32(exact + i) == value);
    }
    ucb_checkpoint_close(c);
}

TEST(quantize_prints_bytes_by_purpose)
{
    json_t *o;
    struct ucb_err err;
    CHECK_EQ(quantize("hqq:bits=2,group=16", "gauss"), 0);
    CHECK_OK(ucb_json_parse("stdout", out, strlen(out), &o, &err), err);
    CHECK_TEXT(json_string_value(json_object_get(o, "spec")), "hqq:bits=2,group=16");
    CHECK_TEXT(json_string_value(json_object_get(o, "dtype")), "F16");
    CHECK_EQ(json_integer_value(json_object_get(o, "n_weights")), 64 * 256);
    CHECK_EQ(json_integer_value(json_object_get(o, "payload_bytes")),
             64 * 256 / 4 + 4 * 1024);
    CHECK_NEAR(json_real_value(json_object_get(o, "bits_per_weight")), 4.0, 0);
    const json_t *parts = json_object_get(o, "parts");
    CHECK_EQ(json_integer_value(json_object_get(parts, "codes")), 64 * 256 / 4);
    CHECK_EQ(json_integer_value(json_object_get(parts, "scales")), 2048);
    CHECK_EQ(json_integer_value(json_object_get(parts, "zeros")), 2048);
    json_decref(o);
}

TEST(quantize_counts_what_matrices_share_beside_the_payload)
{
    json_t *o;
    struct ucb_err err;
    CHECK_EQ(quantize(ucb_test_path("row_overlay:k1=16,k2=16 --calib %s/tests/golden/"
                                    "inputs.safetensors --calib-tensor int8_act",
                                    ucb_test_root()),
                      "gauss"),
             0);
    CHECK_OK(ucb_json_parse("stdout", out, strlen(out), &o, &err), err);
    json_int_t shared = json_integer_value(json_object_get(o, "shared_bytes")), sum = 0;
    json_t *part;
    const char *name;
    json_object_foreach(json_object_get(o, "parts"), name, part)
        sum += json_integer_value(part);
    CHECK(shared > 0);
    CHECK_EQ(sum, shared + json_integer_value(json_object_get(o, "payload_bytes")));
    json_decref(o);
}

TEST(quantize_refuses_what_is_no_matrix_or_does_not_exist)
{
    CHECK_EQ(quantize("nf4", "imatrix_256"), 2);
    CHECK_HAS(out, "1 dimensions");
    CHECK_EQ(quantize("nf4", "edg"), 3);
    CHECK_HAS(out, "did you mean `edge`");
    CHECK_EQ(quantize("nf5", "edge"), 2);
    CHECK_HAS(out, "did you mean `nf4`");
    CHECK_EQ(quantize("rtn:group=64", "oddnumel_7x33"), 2);
    CHECK_HAS(out, "33 columns, rtn needs a multiple of group=64; try group=33");
    CHECK_EQ(quantize("int8:threshold=-1", "edge"), 2);
    CHECK_HAS(out, "from 0 to 65504");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "quantize --method nf4"), 2);
    CHECK_HAS(out, "--in is missing");
}
