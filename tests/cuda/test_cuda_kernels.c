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
