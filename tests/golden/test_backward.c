/*
 * Gradients of a layer of every architecture: the forward pass has the evaluator's bits, a
 * layer in double gives the same values, and its central differences the same gradients, in
 * random directions of every array and at single elements.
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/json.h"
#include "core/pcg.h"
#include "layer_oracle.h"
#include "model/backward.h"
#include "model/forward.h"
#include "tiny_mixers.h"

enum { N_WINDOWS = 4, N_ROWS = 70, MOST_SLOTS = 64, ELEMENTS = 3 };

/* One window longer than a group of queries and than the positions after which longrope
 * switches, one of a single row; every sliding window of the vectors ends inside. */
static const size_t start[N_WINDOWS + 1] = {0, 13, 14, 54, N_ROWS};

/* A layer as the engine and as the oracle hold it, and its gradients. */
struct fixture {
    struct ucb_model *model;
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    struct ucb_backward *backward;
    struct ucb_arch *arch;
    uint32_t layer;
    size_t n_slots;
    uint32_t n_out[MOST_SLOTS];
    size_t size[MOST_SLOTS], vector_size[UCB_N_VECTORS];
    float *weight[MOST_SLOTS], *dweight[MOST_SLOTS];
    struct ucb_layer_arrays arrays, gradient;
    float *x, *y, *dy, *dx;
    double *wide_x, *wide_y;
    struct layer_oracle oracle;
    double *wide_weight[MOST_SLOTS];
};

static float *floats(size_t n)
{
    float *p = calloc(n + 1, sizeof(*p));
    CHECK(p != NULL);
    return p;
}

static double *widen(const float *x, size_t n)
{
    double *p = calloc(n + 1, sizeof(*p));
    CHECK(p != NULL);
    for (size_t i = 0; i < n; i++) p[i] = (double)x[i];
    return p;
}

/* Sums of uniforms: near enough to a normal of deviation 1. */
static float *random_floats(size_t n, const char *name)
{
    struct ucb_pcg r;
    float *x = floats(n);
    ucb_pcg_named(&r, 7, name);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) x[i] += 2 * ucb_pcg_unit(&r) - 1;
    return x;
}

static void load_weights(struct fixture *f)
{
    struct ucb_err err;
    const struct ucb_matrix *const *m = ucb_model_layer_matrices(f->model, f->layer,
                                                                 &f->n_slots);
    CHECK(f->n_slots <= MOST_SLOTS);
    for (size_t i = 0; i < f->n_slots; i++) {
        f->n_out[i] = m[i]->n_out;
        f->size[i] = (size_t)m[i]->n_out * m[i]->n_in;
        f->weight[i] = floats(f->size[i]);
        f->dweight[i] = floats(f->size[i]);
        CHECK_OK(ucb_model_read_rows(f->model, m[i], 0, m[i]->n_out, f->pool, f->weight[i],
                                     &err),
                 err);
        f->wide_weight[i] = widen(f->weight[i], f->size[i]);
    }
    f->arrays.weight = f->weight;
    f->gradient.weight = f->dweight;
}

static bool is_of_layer(int v)
{
    return v < UCB_VECTOR_FINAL_NORM || v >= UCB_VECTOR_BIAS;
}

/* The small tensors of a state space have none. */
static bool has_gradient(int v)
{
    return v <= UCB_VECTOR_ROUTER || v >= UCB_VECTOR_BIAS;
}

static void load_vectors(struct fixture *f)
{
    struct ucb_err err;
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        enum ucb_vector which = (enum ucb_vector)v;
        size_t n = is_of_layer(v) ? ucb_model_vector_size(f->model, f->layer, which) : 0;
        f->vector_size[v] = n;
        if (n == 0) continue;
        f->arrays.vector[v] = floats(n);
        f->gradient.vector[v] = has_gradient(v) ? floats(n) : NULL;
        CHECK_OK(
            ucb_model_read_vector(f->model, f->layer, which, f->arrays.vector[v], &err),
            err);
        f->oracle.vector[v] = widen(f->arrays.vector[v], n);
    }
}

static const char *arch_path(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

static void open_fixture_at(struct fixture *f, const char *path, unsigned n_threads,
                            enum ucb_arithmetic arithmetic)
{
    struct ucb_err err;
    memset(f, 0, sizeof(*f));
    CHECK_OK(ucb_model_open(path, &f->model, &err), err);
    CHECK_OK(ucb_pool_open(n_threads, &f->pool, &err), err);
    CHECK_OK(ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, f->pool, &f->backend, &err),
             err);
    f->arch = (struct ucb_arch *)ucb_model_arch(f->model); /* a test may alter it */
}

static void open_fixture(struct fixture *f, const char *name, unsigned n_threads,
                         enum ucb_arithmetic arithmetic)
{
    open_fixture_at(f, arch_path(name), n_threads, arithmetic);
}

static void open_layer(struct fixture *f, uint32_t layer)
{
    size_t n = (size_t)N_ROWS * f->arch->hidden;
    f->layer = layer;
    load_weights(f);
    load_vectors(f);
    f->x = random_floats(n, "x");
    f->dy = random_floats(n, "dy");
    f->y = floats(n);
    f->dx = floats(n);
    f->wide_x = widen(f->x, n);
    f->wide_y = widen(f->y, n);
    f->oracle.arch = f->arch;
    f->oracle.layer = layer;
    f->oracle.first = ucb_model_layer_slots(f->model, layer);
    f->oracle.weight = f->wide_weight;
    f->oracle.n_out = f->n_out;
    f->oracle.choice = calloc(N_ROWS * (size_t)f->arch->experts.used + 1, sizeof(uint32_t));
    CHECK(f->oracle.choice != NULL);
    f->oracle.has_choice = false;
}

static void close_layer(struct fixture *f)
{
    for (size_t i = 0; i < f->n_slots; i++) {
        free(f->weight[i]);
        free(f->dweight[i]);
        free(f->wide_weight[i]);
    }
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        free(f->arrays.vector[v]);
        free(f->gradient.vector[v]);
        free(f->oracle.vector[v]);
        f->arrays.vector[v] = f->gradient.vector[v] = NULL;
        f->oracle.vector[v] = NULL;
    }
    free(f->oracle.choice);
    free(f->x);
    free(f->y);
    free(f->dy);
    free(f->dx);
    free(f->wide_x);
    free(f->wide_y);
}

static void close_fixture(struct fixture *f)
{
    ucb_backend_close(f->backend);
    ucb_pool_close(f->pool);
    ucb_model_close(f->model);
}

static void run_both_ways(struct fixture *f)
{
    struct ucb_backward *b;
    struct ucb_err err;
    CHECK_OK(ucb_backward_open(f->backend, f->pool, f->model, N_ROWS, N_ROWS, &b, &err),
             err);
    CHECK_OK(
        ucb_backward_forward(b, f->layer, &f->arrays, N_WINDOWS, start, f->x, f->y, &err),
        err);
    CHECK_OK(ucb_backward_run(b, f->dy, &f->gradient, f->dx, &err), err);
    CHECK_STATUS(ucb_backward_run(b, f->dy, &f->gradient, f->dx, &err), UCB_USAGE, err);
    ucb_backward_close(b);
}

/* ---- the forward pass ---- */

static void check_forward_bits(struct fixture *f, const char *name)
{
    struct ucb_forward *forward;
    struct ucb_err err;
    struct ucb_packed packed[MOST_SLOTS];
    static const struct ucb_own_product none[MOST_SLOTS];
    struct ucb_layer layer = {.index = f->layer,
                              .n_matrices = f->n_slots,
                              .first = f->oracle.first,
                              .weight = packed,
                              .product = (struct ucb_own_product *)none};
    size_t n = (size_t)N_ROWS * f->arch->hidden;
    float *x = floats(n);
    memcpy(x, f->x, n * sizeof(*x));
    for (size_t i = 0; i < f->n_slots; i++) {
        uint32_t n_out = f->n_out[i], n_in = (uint32_t)(f->size[i] / n_out);
        packed[i] = (struct ucb_packed){
            ucb_mem_alloc(ucb_pack_bytes(f->backend, n_out, n_in)), n_out, n_in};
        ucb_pack(f->backend, f->weight[i], &packed[i]);
    }
    for (int v = 0; v < UCB_N_VECTORS; v++) layer.vector[v] = f->arrays.vector[v];
    CHECK_OK(ucb_forward_open(f->backend, f->arch, 16, N_ROWS, &forward, &err), err);
    CHECK_OK(ucb_forward_layer(forward, &layer, N_WINDOWS, start, x, &err), err);
    if (memcmp(x, f->y, n * sizeof(*x)) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s, layer %u: other bits than the evaluator's",
                      name, f->layer);
    ucb_forward_close(forward);
    for (size_t i = 0; i < f->n_slots; i++) ucb_mem_free(packed[i].data);
    free(x);
}

/* fp32 sums of some hundred terms near 1. */
static void check_forward_values(struct fixture *f, const char *name)
{
    double most = 0, off = 0;
    layer_oracle_run(&f->oracle, N_WINDOWS, start, f->wide_x, f->wide_y);
    for (size_t i = 0; i < (size_t)N_ROWS * f->arch->hidden; i++) {
        most = fmax(most, fabs(f->wide_y[i]));
        off = fmax(off, fabs(f->wide_y[i] - (double)f->y[i]));
    }
    if (!(off <= 1e-5 * most))
        ucb_test_fail(__FILE__, __LINE__, "%s, layer %u: off by %g of %g", name, f->layer,
                      off, most);
}

/* ---- gradients ---- */

/* L = sum of dy y. */
static double loss(struct fixture *f)
{
    double sum = 0;
    layer_oracle_run(&f->oracle, N_WINDOWS, start, f->wide_x, f->wide_y);
    for (size_t i = 0; i < (size_t)N_ROWS * f->arch->hidden; i++)
        sum += (double)f->dy[i] * f->wide_y[i];
    return sum;
}

/* The slope of L along `direction` from p[n], whose values come back unchanged. */
static double slope(struct fixture *f, double *p, size_t n, const float *direction)
{
    /* Small where elements may cross a clamp; elsewhere so large that the loss's own
     * rounding is no part of a slope, however small that is (of dt_proj: 1e-3). */
    const double step = f->arch->clip_qkv != 0 ? 1e-6 : 1e-5;
    double *before = calloc(n, sizeof(*p)), side[2];
    CHECK(before != NULL);
    memcpy(before, p, n * sizeof(*p));
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < n; i++)
            p[i] = before[i] + (k == 0 ? step : -step) * (double)direction[i];
        side[k] = loss(f);
    }
    memcpy(p, before, n * sizeof(*p));
    free(before);
    return (side[0] - side[1]) / (2 * step);
}

/* `scale`: what an error is small beside. */
static void check_slope(struct fixture *f, const char *name, double *p, const float *g,
                        size_t n, const float *direction, double scale)
{
    double found = 0, expected = slope(f, p, n, direction);
    for (size_t i = 0; i < n; i++) found += (double)g[i] * (double)direction[i];
    double off = fabs(found - expected) / fmax(fabs(expected), scale);
    /* Measured: 3.2e-6 at most (latent attention 1.2e-6, a state space 1.4e-6), of sums of
       fp32 products of some hundred terms; other kernels or inputs get a few times that. */
    if (!(off <= 1e-5))
        ucb_test_fail(__FILE__, __LINE__, "%s: %g, central differences say %g (of %g)",
                      name, found, expected, scale);
}

static double sum_of_squares(const float *g, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)g[i] * (double)g[i];
    return sum;
}

/* A random direction, then single elements. An error is measured beside the slope or, where
 * that is smaller, beside the root mean square of such slopes; and of a square of at least
 * `least` each. */
static void check_gradient(struct fixture *f, const char *name, double *p, const float *g,
                           size_t n, double least)
{
    struct ucb_pcg r;
    double squares = fmax(sum_of_squares(g, n), least * (double)n);
    float *direction = random_floats(n, name);
    ucb_pcg_named(&r, 11, name);
    check_slope(f, name, p, g, n, direction, sqrt(squares));
    for (int k = 0; k < ELEMENTS; k++) {
        size_t at = ucb_pcg_below(&r, (uint32_t)n);
        memset(direction, 0, n * sizeof(*direction));
        direction[at] = 1;
        check_slope(f, name, p, g, n, direction, sqrt(squares / (double)n));
    }
    free(direction);
}

/* A bias of k moves all scores of a query alike where positions do not turn: its gradient
 * is 0, and what is found instead is the rounding of sums as large as those of q's. */
static double least_square(const struct fixture *f, int v)
{
    int q = ucb_bias_of(UCB_ROLE_Q);
    if (v != (int)ucb_bias_of(UCB_ROLE_K)) return 0;
    return sum_of_squares(f->gradient.vector[q], f->vector_size[q]) /
           (double)f->vector_size[q];
}

static void check_gradients(struct fixture *f, const char *name)
{
    const struct ucb_matrix *const *m = ucb_model_layer_matrices(f->model, f->layer,
                                                                 &f->n_slots);
    for (size_t i = 0; i < f->n_slots; i++)
        check_gradient(f, ucb_test_path("%s: %s", name, m[i]->name), f->wide_weight[i],
                       f->dweight[i], f->size[i], 0);
    for (int v = 0; v < UCB_N_VECTORS; v++)
        if (f->gradient.vector[v] != NULL)
            check_gradient(f, ucb_test_path("%s, layer %u: vector %d", name, f->layer, v),
                           f->oracle.vector[v], f->gradient.vector[v], f->vector_size[v],
                           least_square(f, v));
    check_gradient(f, ucb_test_path("%s, layer %u: x", name, f->layer), f->wide_x, f->dx,
                   (size_t)N_ROWS * f->arch->hidden, 0);
}

static void check_layer(struct fixture *f, const char *name, uint32_t layer)
{
    open_layer(f, layer);
    run_both_ways(f);
    check_forward_bits(f, name);
    check_forward_values(f, name);
    check_gradients(f, name);
    close_layer(f);
}

static void check_case(const char *name)
{
    struct fixture f;
    open_fixture(&f, name, 2, UCB_ARITH_FP32);
    for (uint32_t i = 0; i < f.arch->n_layers; i++) check_layer(&f, name, i);
    close_fixture(&f);
}

TEST(gradients_of_every_architecture_are_the_central_differences_of_a_layer_in_double)
{
    json_t *index, *one;
    struct ucb_err err;
    size_t i;
    CHECK_OK(ucb_json_load(arch_path("index.json"), &index, &err), err);
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        check_case(json_string_value(json_object_get(one, "name")));
    }
    json_decref(index);
}

/* What no vector has: heads that are clamped (OLMoE's clip_qkv), turns of adjacent pairs,
 * both beside a soft cap. */
TEST(gradients_pass_clamps_and_adjacent_turns)
{
    static const char *const names[] = {"olmoe", "llama-tied-gqa", "gemma2-softcap"};
    struct fixture f;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        open_fixture(&f, names[i], 2, UCB_ARITH_FP32);
        f.arch->clip_qkv = 0.7f;
        f.arch->positions = UCB_POSITIONS_PAIRS;
        check_layer(&f, names[i], 1);
        close_fixture(&f);
    }
}

static void check_made_up(const char *name, void (*make)(const char *folder))
{
    struct fixture f;
    const char *folder = ucb_test_path("%s/%s", ucb_test_folder(), name);
    make(folder);
    open_fixture_at(&f, folder, 2, UCB_ARITH_FP32);
    for (uint32_t i = 0; i < f.arch->n_layers; i++) check_layer(&f, name, i);
    close_fixture(&f);
}

/* What the vectors of latent attention leave out: see tiny_mixers.h. */
TEST(gradients_pass_a_rank_for_queries_wide_values_and_groups_of_experts)
{
    check_made_up("latent", tiny_latent_model);
}

/* No multiple of a lane, of a block of rows or of a stretch anywhere. */
TEST(gradients_pass_a_state_space_of_odd_sizes_with_biases)
{
    check_made_up("ssm", tiny_ssm_model);
}

TEST(more_rows_than_asked_for_are_refused)
{
    struct fixture f;
    struct ucb_backward *b;
    struct ucb_err err;
    open_fixture(&f, "llama-tied-gqa", 1, UCB_ARITH_FP32);
    open_layer(&f, 0);
    CHECK_OK(ucb_backward_open(f.backend, f.pool, f.model, N_ROWS - 1, N_ROWS, &b, &err),
             err);
    CHECK_STATUS(ucb_backward_forward(b, 0, &f.arrays, N_WINDOWS, start, f.x, f.y, &err),
                 UCB_USAGE, err);
    ucb_backward_close(b);
    CHECK_OK(ucb_backward_open(f.backend, f.pool, f.model, N_ROWS, 39, &b, &err), err);
    CHECK_STATUS(ucb_backward_forward(b, 0, &f.arrays, N_WINDOWS, start, f.x, f.y, &err),
                 UCB_USAGE, err);
    CHECK_HAS(err.text, "a window of 40 rows");
    ucb_backward_close(b);
    close_layer(&f);
    close_fixture(&f);
}

/* ---- bits ---- */

struct bits {
    const char *name;
    uint32_t layer;
};

static bool same_gradients(const struct fixture *a, const struct fixture *b)
{
    size_t n = (size_t)N_ROWS * a->arch->hidden * sizeof(float);
    bool same = memcmp(a->dx, b->dx, n) == 0 && memcmp(a->y, b->y, n) == 0;
    for (size_t i = 0; i < a->n_slots; i++)
        same = same &&
               memcmp(a->dweight[i], b->dweight[i], a->size[i] * sizeof(float)) == 0;
    for (int v = 0; v < UCB_N_VECTORS; v++)
        same = same && (a->gradient.vector[v] == NULL ||
                        memcmp(a->gradient.vector[v], b->gradient.vector[v],
                               a->vector_size[v] * sizeof(float)) == 0);
    return same;
}

static void check_bits(const char *name, uint32_t layer, enum ucb_arithmetic arithmetic)
{
    struct fixture one, more;
    open_fixture(&one, name, 1, arithmetic);
    open_layer(&one, layer);
    run_both_ways(&one);
    check_forward_bits(&one, name);
    for (unsigned threads = 2; threads <= 8; threads += 3) {
        open_fixture(&more, name, threads, arithmetic);
        open_layer(&more, layer);
        run_both_ways(&more);
        if (!same_gradients(&one, &more))
            ucb_test_fail(__FILE__, __LINE__, "%s: other bits with %u threads", name,
                          threads);
        close_layer(&more);
        close_fixture(&more);
    }
    close_layer(&one);
    close_fixture(&one);
}

TEST(gradients_have_the_same_bits_for_any_number_of_threads)
{
    static const struct bits cases[] = {{"llama-tied-gqa", 0},   {"gemma2-softcap", 1},
                                        {"qwen3moe-norm", 0},    {"phimoe", 1},
                                        {"gptneox-parallel", 0}, {"olmoe", 0},
                                        {"deepseek-v2-lite", 1}, {"mamba", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
            check_bits(cases[i].name, cases[i].layer, (enum ucb_arithmetic)a);
}

/* bf16 rounds to 8 bits: each product is off by some 2^-9 of the root of its sum of
 * squares, and half a dozen of them follow each other. */
TEST(gradients_in_bf16_are_near_those_in_fp32)
{
    struct fixture f, g;
    open_fixture(&f, "llama-tied-gqa", 2, UCB_ARITH_FP32);
    open_fixture(&g, "llama-tied-gqa", 2, UCB_ARITH_BF16);
    open_layer(&f, 0);
    open_layer(&g, 0);
    run_both_ways(&f);
    run_both_ways(&g);
    for (size_t i = 0; i < f.n_slots; i++) {
        double off = 0;
        for (size_t k = 0; k < f.size[i]; k++)
            off += pow((double)f.dweight[i][k] - (double)g.dweight[i][k], 2);
        CHECK_NEAR(sqrt(off / sum_of_squares(f.dweight[i], f.size[i])), 0, 0.02);
    }
    close_layer(&f);
    close_layer(&g);
    close_fixture(&f);
    close_fixture(&g);
}
