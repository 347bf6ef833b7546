/* Kernels of the GPU plugin, emulated: the bits of the scalar path, whatever order the
 * threads of a block run in. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "backend/cuda.h"
#include "core/arena.h"
#include "core/half.h"
#include "cuda_fixture.h"

static void same_as_scalar(const char *name, const char *order, size_t batch)
{
    const struct kernel_case *which = kernel_case_find(name);
    use_emulated_cuda(order);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
        struct ucb_backend *scalar = backend_for_test((enum ucb_arithmetic)a,
                                                      UCB_KERNEL_SCALAR, NULL),
                           *cuda = backend_for_test((enum ucb_arithmetic)a, UCB_KERNEL_CUDA,
                                                    NULL);
        struct ucb_err err;
        kernel_case_digest(which, scalar, batch, expected);
        kernel_case_digest(which, cuda, batch, found);
        CHECK_OK(ucb_backend_finish(cuda, &err), err);
        if (strcmp(found, expected) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s, %s, threads %s: other bits", name,
                          ucb_arithmetic_name((enum ucb_arithmetic)a), order);
        CHECK(ucb_backend_device_peak_bytes(cuda) > 0);
        ucb_backend_close(cuda);
        ucb_backend_close(scalar);
    }
}

TEST(products_on_the_device_have_the_bits_of_scalar)
{
    same_as_scalar("linear", "random:1", 512);
}

TEST(products_on_the_device_that_underflow_or_overflow_have_the_bits_of_scalar)
{
    same_as_scalar("linear_extremes", "reverse", 512);
}

TEST(norms_on_the_device_have_the_bits_of_scalar)
{
    same_as_scalar("rmsnorm", "random:2", 512);
    same_as_scalar("layernorm", "reverse", 512);
}

TEST(rope_on_the_device_has_the_bits_of_scalar)
{
    same_as_scalar("rope", "random:3", 512);
}

TEST(elements_on_the_device_have_the_bits_of_scalar)
{
    same_as_scalar("elements", "reverse", 512);
    same_as_scalar("silu_mul_and_add", "random:4", 512);
}

TEST(the_scan_on_the_device_has_the_bits_of_scalar)
{
    same_as_scalar("scan", "random:5", 1);
}

TEST(attention_on_the_device_has_the_bits_of_scalar)
{
    same_as_scalar("attention", "random:6", 512);
}

TEST(scores_on_the_device_have_the_bits_of_scalar)
{
    same_as_scalar("head", "reverse", 512);
}

/* 2^-126 - part of 2^-150, which is the unit of 24 bits just below 2^-126 if the exponent
 * had no end: see test_kernels.c. */
static float sum_at_the_edge(struct ucb_backend *backend, float sign, float part)
{
    const float x[3] = {sign * 0x1p-63f, 0, -sign * part * 0x1p-100f},
                w[3] = {0x1p-63f, 0, 0x1p-50f};
    struct ucb_packed packed = packed_for_test(backend, w, 1, 3);
    struct ucb_err err;
    float y = -1;
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, 1, &y, &err), err);
    ucb_mem_free(packed.data);
    return y;
}

TEST(bf16_on_the_device_flushes_what_is_tiny_after_rounding)
{
    use_emulated_cuda("forward");
    struct ucb_backend *cuda = backend_for_test(UCB_ARITH_BF16, UCB_KERNEL_CUDA, NULL);
    for (int i = 0; i < 2; i++) {
        float sign = i == 0 ? 1.0f : -1.0f;
        CHECK(sum_at_the_edge(cuda, sign, 0.25f) == sign * 0x1p-126f);
        CHECK(sum_at_the_edge(cuda, sign, 0.5f) == sign * 0x1p-126f); /* a tie, to even */
        CHECK(sum_at_the_edge(cuda, sign, 0.50390625f) == 0);
        CHECK(sum_at_the_edge(cuda, sign, 0.75f) == 0);
        CHECK(sum_at_the_edge(cuda, sign, 1.0f) == 0);
    }
    ucb_backend_close(cuda);
}

TEST(the_device_is_left_when_memory_runs_out_and_says_what_for)
{
    enum { OUT = 64, IN = 64, ROWS = 4 };
    use_emulated_cuda("forward");
    setenv("UCB_EMULATION_MEMORY", "4096", 1);
    struct ucb_backend *cuda = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1);
    float y[ROWS * OUT];
    struct ucb_packed packed = packed_for_test(cuda, w, OUT, IN);
    struct ucb_err err;
    CHECK(ucb_linear(cuda, &packed, NULL, x, ROWS, y, &err) != UCB_OK);
    CHECK_HAS(err.text, "out of memory");
    ucb_activate(cuda, UCB_ACT_SILU, w, NULL, OUT * IN, w); /* has no status ... */
    CHECK(ucb_backend_finish(cuda, &err) != UCB_OK);        /* ... and is not forgotten */
    CHECK_OK(ucb_backend_finish(cuda, &err), err);
    ucb_mem_free(packed.data);
    free(x);
    free(w);
    ucb_backend_close(cuda);
}
