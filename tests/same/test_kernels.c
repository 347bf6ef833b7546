/* Every function of backend.h: one digest over kernel paths, threads and rows per call. */
#include "test.h"

#include <stdio.h>

#include "backend/backend_internal.h"
#include "core/arena.h"
#include "kernel_cases.h"

static const unsigned thread_counts[] = {1, 2, 3, 8};
static const size_t batches[] = {1, 7, 32, 512};

static void compare_path(const struct kernel_case *which, enum ucb_arithmetic arithmetic,
                         enum ucb_kernel kernel, const char *expected)
{
    for (size_t t = 0; t < 4; t++) {
        struct ucb_pool *pool = NULL;
        struct ucb_err err;
        CHECK_OK(ucb_pool_open(thread_counts[t], &pool, &err), err);
        struct ucb_backend *backend = backend_for_test(arithmetic, kernel, pool);
        for (size_t b = 0; b < 4 && (b == 0 || batches[b - 1] < which->most_rows); b++) {
            char hex[UCB_SHA256_HEX];
            kernel_case_digest(which, backend, batches[b], hex);
            if (__builtin_strcmp(hex, expected) != 0)
                ucb_test_fail(__FILE__, __LINE__,
                              "%s, %s on %s with %u threads, %zu rows per call: other bits",
                              which->name, ucb_arithmetic_name(arithmetic),
                              ucb_kernel_name(kernel), thread_counts[t], batches[b]);
        }
        ucb_backend_close(backend);
        ucb_pool_close(pool);
    }
}

static void same_everywhere(const char *name)
{
    const struct kernel_case *which = kernel_case_find(name);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        enum ucb_arithmetic arithmetic = (enum ucb_arithmetic)a;
        struct ucb_backend *scalar = backend_for_test(arithmetic, UCB_KERNEL_SCALAR, NULL);
        char expected[UCB_SHA256_HEX];
        kernel_case_digest(which, scalar, 512, expected);
        ucb_backend_close(scalar);
        for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
            if (ucb_kernel_available((enum ucb_kernel)k, arithmetic, NULL))
                compare_path(which, arithmetic, (enum ucb_kernel)k, expected);
    }
}

TEST(products_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("linear");
}

TEST(products_that_underflow_or_overflow_have_the_same_bits_on_every_path)
{
    same_everywhere("linear_extremes");
}

TEST(norms_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("rmsnorm");
}

TEST(layer_norms_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("layernorm");
}

TEST(gelus_caps_and_other_elements_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("elements");
}

TEST(the_scan_of_a_state_space_has_the_same_bits_on_every_path)
{
    same_everywhere("scan");
}

TEST(rope_has_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("rope");
}

TEST(activations_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("silu_mul_and_add");
}

TEST(attention_has_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("attention");
}

TEST(scores_of_positions_have_the_same_bits_on_every_path_and_batch)
{
    same_everywhere("head");
}

extern const struct ucb_kernel_table ucb_kernel_table_amx_modelled;

static struct ucb_backend *backend_with_modelled_tiles(void)
{
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_backend_open_table(UCB_ARITH_BF16, &ucb_kernel_table_amx_modelled, NULL,
                                    &backend, &err),
             err);
    return backend;
}

static void compare_modelled_amx(const struct kernel_case *which)
{
    char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
    struct ucb_backend *scalar = backend_for_test(UCB_ARITH_BF16, UCB_KERNEL_SCALAR, NULL);
    struct ucb_backend *modelled = backend_with_modelled_tiles();
    kernel_case_digest(which, scalar, 512, expected);
    kernel_case_digest(which, modelled, 512, found);
    CHECK_TEXT(found, expected);
    ucb_backend_close(modelled);
    ucb_backend_close(scalar);
}

static void compare_table(const struct ucb_kernel_table *table, const char *name)
{
    char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
    struct ucb_backend *scalar = backend_for_test(UCB_ARITH_BF16_DOT, UCB_KERNEL_SCALAR,
                                                  NULL),
                       *other = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_backend_open_table(UCB_ARITH_BF16_DOT, table, NULL, &other, &err), err);
    kernel_case_digest(kernel_case_find(name), scalar, 512, expected);
    kernel_case_digest(kernel_case_find(name), other, 512, found);
    CHECK_TEXT(found, expected);
    ucb_backend_close(other);
    ucb_backend_close(scalar);
}

/* 2^-126 - part of 2^-150, which is the unit of 24 bits just below 2^-126 if the exponent
 * had no end; the part is added at element 2 or 3. */
static float sum_at_the_edge(struct ucb_backend *backend, int at, float part)
{
    float x[4] = {0x1p-63f}, w[4] = {0x1p-63f}, y = -1;
    x[at] = -part * 0x1p-100f;
    w[at] = 0x1p-50f;
    struct ucb_packed packed = packed_for_test(backend, w, 1, 4);
    struct ucb_err err;
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, 1, &y, &err), err);
    ucb_mem_free(packed.data);
    ucb_backend_close(backend);
    return y;
}

TEST(bf16_flushes_what_is_tiny_after_rounding_on_every_path_and_on_modelled_tiles)
{
    for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++) {
        enum ucb_kernel kernel = (enum ucb_kernel)k;
        if (!ucb_kernel_available(kernel, UCB_ARITH_BF16, NULL)) continue;
        CHECK(sum_at_the_edge(backend_for_test(UCB_ARITH_BF16, kernel, NULL), 2, 0.25f) ==
              0x1p-126f);
        CHECK(sum_at_the_edge(backend_for_test(UCB_ARITH_BF16, kernel, NULL), 2, 0.75f) ==
              0);
    }
    if (!ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_BF16, NULL)) return;
    CHECK(sum_at_the_edge(backend_with_modelled_tiles(), 2, 0.25f) == 0x1p-126f);
    CHECK(sum_at_the_edge(backend_with_modelled_tiles(), 2, 0.75f) == 0);
}

TEST(bf16_dot_flushes_what_is_tiny_after_rounding_on_every_path)
{
    const enum ucb_arithmetic dot = UCB_ARITH_BF16_DOT;
    for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++) {
        enum ucb_kernel kernel = (enum ucb_kernel)k;
        if (!ucb_kernel_available(kernel, dot, NULL)) continue;
        for (int at = 2; at < 4; at++) {
            CHECK(sum_at_the_edge(backend_for_test(dot, kernel, NULL), at, 0.25f) ==
                  0x1p-126f);
            CHECK(sum_at_the_edge(backend_for_test(dot, kernel, NULL), at, 0.75f) == 0);
        }
    }
}

TEST(bf16_dot_by_fma_equals_its_instruction_and_scalar_to_the_bit)
{
    static const char *const names[] = {"linear", "linear_extremes", "attention", "head"};
    const char *why = NULL;
    if (!ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_BF16_DOT, &why)) SKIP("%s", why);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        compare_table(&ucb_kernel_table_avx512, names[i]);
        if (ucb_dot_is_native()) compare_table(&ucb_kernel_table_avx512bf16, names[i]);
    }
}

TEST(the_amx_kernel_on_modelled_tiles_equals_scalar_to_the_bit)
{
    const char *why = NULL;
    if (!ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_BF16, &why)) SKIP("%s", why);
    compare_modelled_amx(kernel_case_find("linear"));
    compare_modelled_amx(kernel_case_find("linear_extremes"));
    compare_modelled_amx(kernel_case_find("attention"));
    compare_modelled_amx(kernel_case_find("head"));
}
