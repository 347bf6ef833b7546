/*
 * LLM.int8's product against bitsandbytes 0.50.2: codes, scales, outlier columns and sums
 * bit by bit; the outputs against the library's and against fp64.
 *
 * The library's CPU path multiplies sums by 6.200124e-05 instead of 1 / 127^2, so its
 * outputs are not ours. finish() is the rest of the rule, written out once more: with the
 * library's constant it gives the library's outputs, with the true one it must give ours.
 */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method_fixture.h"
#include "vectors.h"

enum { MAX_INPUTS = 16 * 256, MAX_OUTPUTS = 16 * 64 };

struct golden_product {
    const json_t *test_case;
    const int8_t *codes; /* of the weights, [n_out][n_in] */
    const float *sx, *sw;
    const int32_t *acc;
    const int64_t *column;
    size_t n_columns, n_rows, n_out, n_in;
    float x[MAX_INPUTS];
};

/* The input is stored as halves. */
static void load_inputs(struct golden_product *g)
{
    struct vector x = vectors_input_at(g->test_case, 1);
    CHECK_TEXT(x.dtype, "F16");
    CHECK(x.n <= MAX_INPUTS);
    for (size_t i = 0; i < x.n; i++) g->x[i] = ucb_f16_widen(((const uint16_t *)x.data)[i]);
    g->n_rows = x.shape[0];
    g->n_in = x.shape[1];
}

static void load_golden(struct golden_product *g, const json_t *c,
                        const struct method_fixture *f)
{
    *g = (struct golden_product){.test_case = c};
    load_inputs(g);
    g->codes = fixture_role(f, "codes")->data;
    g->sw = fixture_role(f, "absmax")->data;
    g->n_out = f->matrix.n_out;
    g->sx = vectors_role(c, "act_absmax").data;
    g->acc = vectors_role(c, "acc_int32").data;
    if (!vectors_has(c, "outlier_cols")) return;
    struct vector columns = vectors_role(c, "outlier_cols");
    g->column = columns.data;
    g->n_columns = columns.n;
}

/* x times the half-precision weight, of outlier column i. */
static float outlier_term(const struct golden_product *g, size_t row, size_t output,
                          size_t i)
{
    size_t column = (size_t)g->column[i];
    float w = (float)g->codes[output * g->n_in + column] * g->sw[output] *
              0.007874015718698502f;
    return g->x[row * g->n_in + column] * ucb_f16_round(w);
}

static uint16_t finish(const struct golden_product *g, size_t row, size_t output,
                       float constant)
{
    float scale = g->sx[row] * g->sw[output], sum = 0;
    float y = ucb_f16_round((float)g->acc[row * g->n_out + output] * scale * constant);
    for (size_t i = 0; i < g->n_columns; i++) sum += outlier_term(g, row, output, i);
    return ucb_f16_from_f32(y + sum);
}

static double half_ulp(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, exponent < -13 ? -25 : exponent - 12);
}

/* Half precision rounds twice, the scaled sum and the output, and each of a few fp32
 * operations is off by 2^-24 at most. */
static void check_against_fp64(const struct golden_product *g, const float *y)
{
    const double *reference = vectors_role(g->test_case, "out_fp64_reference").data;
    for (size_t i = 0; i < g->n_rows * g->n_out; i++) {
        size_t row = i / g->n_out, output = i % g->n_out;
        double main = g->acc[i] * ((double)g->sx[row] * g->sw[output]) / 16129, sizes = 0;
        for (size_t c = 0; c < g->n_columns; c++)
            sizes += fabs((double)outlier_term(g, row, output, c));
        double fp32 = ldexp(4 * fabs(main) + (double)(g->n_columns + 1) * sizes, -24);
        double second = g->n_columns == 0 ? 0 : half_ulp(y[i]);
        CHECK_NEAR(y[i], reference[i], half_ulp(main) + second + fp32);
    }
}

static void check_outputs(const struct golden_product *g, const float *y)
{
    struct vector library = vectors_role(g->test_case, "out_library");
    CHECK_EQ(library.n, g->n_rows * g->n_out);
    for (size_t i = 0; i < library.n; i++) {
        size_t row = i / g->n_out, output = i % g->n_out;
        CHECK_EQ(finish(g, row, output, 6.200124e-05f),
                 ((const uint16_t *)library.data)[i]);
        CHECK_EQ(finish(g, row, output, 1.0f / 16129), ucb_f16_from_f32(y[i]));
    }
    check_against_fp64(g, y);
}

static void check_role(const struct golden_product *g, const struct method_fixture *f,
                       const char *role)
{
    const struct emitted *e = fixture_role(f, role);
    struct vector v = vectors_role(g->test_case, role);
    CHECK_TEXT(ucb_dtype_name(e->dtype), v.dtype);
    CHECK_EQ(e->n_dims, v.n_dims);
    for (uint32_t i = 0; i < v.n_dims; i++) CHECK_EQ(e->shape[i], v.shape[i]);
    vectors_same(g->test_case, role, e->data, e->n_bytes);
}

static size_t n_products;

static void run_product(const json_t *c)
{
    static struct golden_product g;
    static float y[MAX_OUTPUTS];
    struct method_fixture f;
    struct ucb_err err;
    if (!vectors_has(c, "acc_int32")) return;
    struct vector w = vectors_input(c);
    fixture_open(&f, ucb_test_path("int8:threshold=%d", vectors_number(c, "threshold")),
                 (uint32_t)w.shape[0], (uint32_t)w.shape[1], UCB_F32, 2);
    fixture_run(&f, w.data);
    load_golden(&g, c, &f);
    CHECK(g.n_rows * g.n_out <= MAX_OUTPUTS);
    CHECK_OK(fixture_product(&f, NULL, g.x, g.n_rows, y, &err), err);
    check_role(&g, &f, "act_codes");
    check_role(&g, &f, "act_absmax");
    check_role(&g, &f, "acc_int32");
    if (g.column != NULL) check_role(&g, &f, "outlier_cols");
    const struct emitted *out = fixture_role(&f, "out");
    CHECK_EQ(out->dtype, UCB_F16);
    for (size_t i = 0; i < out->n; i++)
        CHECK(ucb_f16_widen(((const uint16_t *)out->data)[i]) == y[i]);
    check_outputs(&g, y);
    fixture_close(&f);
    n_products++;
}

TEST(llm_int8_products_are_those_of_bitsandbytes_but_for_its_constant)
{
    vectors_each("bnb_int8.safetensors", run_product);
    CHECK_EQ(n_products, 8);
}
