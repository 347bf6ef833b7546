/* The 1st, 2nd, 3rd ... allocation of a gradient fails: the status says so, nothing is left
 * behind, and the same backend can be used again. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "model/backward.h"

enum { ROWS = 9, MOST_SLOTS = 64, MOST_HIDDEN = 128, MOST_VALUES = 1 << 14 };
static const size_t start[] = {0, 5, ROWS};

/* Every matrix and vector is the same array of ones, every gradient the same waste. */
static float ones[MOST_VALUES], waste[MOST_VALUES];
static float x[ROWS * MOST_HIDDEN], y[ROWS * MOST_HIDDEN], dx[ROWS * MOST_HIDDEN];

static ucb_status run(struct ucb_backend *backend, const struct ucb_model *model,
                      struct ucb_err *err)
{
    struct ucb_backward *b = NULL;
    float *weight[MOST_SLOTS], *dweight[MOST_SLOTS];
    struct ucb_layer_arrays arrays = {.weight = weight}, gradient = {.weight = dweight};
    for (int i = 0; i < MOST_SLOTS; i++) weight[i] = ones, dweight[i] = waste;
    for (int v = 0; v < UCB_VECTOR_FINAL_NORM; v++) {
        if (ucb_model_vector_size(model, 0, (enum ucb_vector)v) == 0) continue;
        arrays.vector[v] = ones;
        if (v < UCB_VECTOR_SSM_CONV) gradient.vector[v] = waste;
    }
    ucb_status status = ucb_backward_open(backend, NULL, model, ROWS, ROWS, &b, err);
    if (status == UCB_OK) status = ucb_backward_forward(b, 0, &arrays, 2, start, x, y, err);
    if (status == UCB_OK) status = ucb_backward_run(b, y, &gradient, dx, err);
    ucb_backward_close(b);
    return status;
}

static void check_every_allocation(const char *name)
{
    struct ucb_model *model;
    struct ucb_backend *backend;
    struct ucb_err err = {0};
    CHECK_OK(ucb_model_open(ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name),
                            &model, &err),
             err);
    for (int i = 0; i < MOST_VALUES; i++) ones[i] = 1;
    for (int i = 0; i < ROWS * MOST_HIDDEN; i++) x[i] = (float)(i % 13) - 6;
    for (long n = 1;; n++) {
        CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL, &backend, &err),
                 err);
        ucb_mem_fail_after(n);
        ucb_status status = run(backend, model, &err);
        ucb_mem_fail_after(0);
        if (status != UCB_OK) {
            CHECK_EQ(status, UCB_NOMEM);
            CHECK_HAS(err.text, "no memory");
            CHECK_OK(run(backend, model, &err), err);
        }
        ucb_backend_close(backend);
        if (status != UCB_OK) continue;
        CHECK(n > 4); /* the loop has been through arenas and scratch */
        break;
    }
    ucb_model_close(model);
}

TEST(every_refused_allocation_of_a_gradient_is_reported)
{
    check_every_allocation("llama-tied-gqa");
    check_every_allocation("qwen3moe-norm");
    check_every_allocation("deepseek-v2-lite");
    check_every_allocation("mamba");
}
