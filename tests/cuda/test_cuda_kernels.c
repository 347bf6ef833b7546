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

static void check_the_edge(enum ucb_arithmetic arithmetic)
{
    struct ucb_backend *cuda = backend_for_test(arithmetic, UCB_KERNEL_CUDA, NULL);
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

TEST(bf16_on_the_device_flushes_what_is_tiny_after_rounding)
{
    use_emulated_cuda("forward");
    check_the_edge(UCB_ARITH_BF16);
    check_the_edge(UCB_ARITH_BF16_DOT);
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

struct given {
    const float *w;
    uint32_t n_in, fail_from;
};

/* Rows of a weight that stands in memory, as if they were decoded. */
static ucb_status give_rows(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                            uint32_t end, float *out, struct ucb_err *err)
{
    const struct given *given = context;
    (void)worker;
    CHECK(row + n_rows <= end);
    if (row >= given->fail_from) return UCB_FAIL(err, UCB_CORRUPT, "row %u is lost", row);
    memcpy(out, given->w + (size_t)row * given->n_in,
           (size_t)n_rows * given->n_in * sizeof(*out));
    return UCB_OK;
}

static void check_tiles(enum ucb_arithmetic arithmetic, struct ucb_pool *pool)
{
    enum { OUT = 330, IN = 70, ROWS = 5 };
    static float y[ROWS * OUT], expected[ROWS * OUT];
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          *bias = named_values("bias", OUT, 1);
    struct ucb_err err;
    struct ucb_backend *cpu = backend_for_test(arithmetic, UCB_KERNEL_AUTO, NULL),
                       *cuda = backend_for_test(arithmetic, UCB_KERNEL_CUDA, pool);
    struct ucb_packed packed = packed_for_test(cpu, w, OUT, IN);
    CHECK_OK(ucb_linear(cpu, &packed, bias, x, ROWS, expected, &err), err);
    for (uint32_t tile = 0; tile <= 96; tile += 32) {
        struct given given = {w, IN, OUT}, damaged = {w, IN, 200};
        struct ucb_tiles tiles = {give_rows, &given, OUT, IN, tile, 0};
        CHECK_OK(ucb_linear_tiles(cuda, &tiles, bias, x, ROWS, y, &err), err);
        CHECK(memcmp(y, expected, sizeof(y)) == 0);
        tiles.context = &damaged;
        CHECK_STATUS(ucb_linear_tiles(cuda, &tiles, bias, x, ROWS, y, &err), UCB_CORRUPT,
                     err);
    }
    ucb_mem_free(packed.data);
    ucb_backend_close(cuda);
    ucb_backend_close(cpu);
    free(x);
    free(w);
    free(bias);
}

/* Many turns of both buffers, streams in random order and as late as they may: a buffer
 * that is read or written at the wrong time shows in one of the two. */
TEST(tiles_on_the_device_have_the_bits_of_a_whole_weight_and_pass_errors_on)
{
    struct ucb_pool *pool;
    struct ucb_err err;
    use_emulated_cuda("random:9");
    CHECK_OK(ucb_pool_open(2, &pool, &err), err);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) check_tiles((enum ucb_arithmetic)a, pool);
    ucb_pool_close(pool);
}

TEST(tiles_on_the_device_have_these_bits_when_streams_run_as_late_as_they_may)
{
    use_emulated_cuda("forward");
    check_tiles(UCB_ARITH_FP32, NULL);
}

/* 16 KB of a weight that is copied ahead, 32 KB of buffers: both do not fit. */
TEST(copies_of_weights_give_way_to_whatever_else_needs_device_memory)
{
    enum { OUT = 64, IN = 64, ROWS = 4 };
    static float y[ROWS * OUT], expected[ROWS * OUT];
    use_emulated_cuda("forward");
    setenv("UCB_EMULATION_MEMORY", "40000", 1);
    struct ucb_err err;
    struct ucb_backend *cuda = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1);
    struct ucb_packed packed = packed_for_test(cuda, w, OUT, IN);
    struct given given = {w, IN, OUT};
    struct ucb_tiles tiles = {give_rows, &given, OUT, IN, 0, 0};
    CHECK_OK(ucb_linear(cuda, &packed, NULL, x, ROWS, expected, &err), err);
    CHECK_OK(ucb_linear_tiles(cuda, &tiles, NULL, x, ROWS, y, &err), err);
    CHECK(memcmp(y, expected, sizeof(y)) == 0);
    ucb_packed_free(cuda, &packed);
    ucb_backend_close(cuda);
    free(x);
    free(w);
}

static uint64_t used_bytes(const struct ucb_backend *backend)
{
    struct ucb_cuda_info info;
    ucb_cuda_info(ucb_backend_cuda(backend), &info);
    return info.used_bytes;
}

TEST(a_weight_that_is_given_back_leaves_the_device_and_the_peak_begins_anew)
{
    enum { OUT = 64, IN = 64 };
    use_emulated_cuda("forward");
    struct ucb_backend *cuda = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *w = named_values("w", OUT * IN, 1);
    uint64_t before = used_bytes(cuda);
    struct ucb_packed packed = packed_for_test(cuda, w, OUT, IN);
    CHECK_EQ(used_bytes(cuda), before + OUT * IN * sizeof(*w));
    ucb_packed_free(cuda, &packed);
    CHECK(packed.data == NULL);
    CHECK_EQ(used_bytes(cuda), before);
    CHECK_EQ(ucb_backend_device_peak_bytes(cuda), before + OUT * IN * sizeof(*w));
    ucb_backend_restart_device_peak(cuda);
    CHECK_EQ(ucb_backend_device_peak_bytes(cuda), before);
    ucb_packed_free(cuda, &packed);
    ucb_backend_close(cuda);
    free(w);
}

enum { GIVEN_IDS = 300, GIVEN_IN = 40, GIVEN_ROWS = 6 };

static ucb_status give_head(void *context, uint32_t row, uint32_t n_rows, float *out,
                            struct ucb_err *err)
{
    (void)err;
    memcpy(out, (const float *)context + (size_t)row * GIVEN_IN,
           (size_t)n_rows * GIVEN_IN * sizeof(*out));
    return UCB_OK;
}

TEST(a_head_that_is_read_row_by_row_scores_the_same_on_the_device)
{
    static struct ucb_position expected[GIVEN_ROWS], found[GIVEN_ROWS];
    uint32_t target[GIVEN_ROWS];
    float *w = named_values("w", GIVEN_IDS * GIVEN_IN, 1),
          *hidden = named_values("hidden", GIVEN_ROWS * GIVEN_IN, 1);
    struct ucb_err err;
    use_emulated_cuda("random:8");
    for (uint32_t i = 0; i < GIVEN_ROWS; i++) target[i] = i * 37;
    struct ucb_backend *cpu = backend_for_test(UCB_ARITH_BF16, UCB_KERNEL_AUTO, NULL),
                       *cuda = backend_for_test(UCB_ARITH_BF16, UCB_KERNEL_CUDA, NULL);
    struct ucb_packed packed = packed_for_test(cpu, w, GIVEN_IDS, GIVEN_IN),
                      absent = {NULL, GIVEN_IDS, GIVEN_IN};
    const struct ucb_weight_rows rows = {give_head, w};
    const struct ucb_head whole = {&packed, hidden, NULL, 0, NULL, NULL},
                          given = {&absent, hidden, NULL, 0, &rows, NULL};
    CHECK_OK(ucb_head_score(cpu, &whole, 1, target, GIVEN_ROWS, expected, &err), err);
    CHECK_OK(ucb_head_score(cuda, &given, 1, target, GIVEN_ROWS, found, &err), err);
    CHECK(memcmp(expected, found, sizeof(found)) == 0);
    ucb_mem_free(packed.data);
    ucb_backend_close(cuda);
    ucb_backend_close(cpu);
    free(w);
    free(hidden);
}
