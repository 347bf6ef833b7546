/* The real plugin, where it was built: it loads and says why it cannot run; a foreign one
 * is refused. What needs a device runs where one is. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "backend/cuda.h"
#include "cuda_fixture.h"
#include "tiny.h"

static char out[1 << 16];

TEST(the_plugin_that_nvcc_made_loads_and_speaks_this_interface)
{
    const struct ucb_cuda_method *methods;
    const char *why;
    use_real_plugin();
    const struct ucb_cuda_backend *table = ucb_cuda_plugin(&methods, &why);
    if (table == NULL) ucb_test_fail(__FILE__, __LINE__, "%s", why);
    CHECK(!table->emulated);
    CHECK_HAS(table->built, "sm_80");
    CHECK(methods[0].name != NULL);
}

/* An instruction of one kernel: that rounds otherwise than to nearest, flushes, or is fused
 * where the arithmetic does not say so. */
static void check_instruction(const char *line, const char *kernel)
{
    static const char *const never[] = {".ftz", ".approx", ".full", ".rz.f32", "mad.f32"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if (strstr(line, never[i]) != NULL)
            ucb_test_fail(__FILE__, __LINE__, "%s has %s", kernel, line);
    if (strstr(line, "fma.rn.f") == NULL) return;
    if (strstr(kernel, "linear_kernel") == NULL &&
        strstr(kernel, "attention_kernel") == NULL)
        ucb_test_fail(__FILE__, __LINE__, "%s is fused: %s", kernel, line);
}

TEST(
    kernels_are_compiled_to_operations_that_round_once_flush_nothing_and_fuse_in_products_only)
{
    const char *program = ucb_test_program(), *slash = strrchr(program, '/');
    char line[1024], kernel[1024] = "";
    size_t n_fused = 0;
    FILE *ptx = fopen(
        ucb_test_path("%.*slibucbench_cuda.ptx", (int)(slash + 1 - program), program), "r");
    if (ptx == NULL) SKIP("libucbench_cuda.ptx was not made: no nvcc");
    while (fgets(line, sizeof(line), ptx) != NULL) {
        if (strstr(line, ".entry") != NULL) snprintf(kernel, sizeof(kernel), "%s", line);
        if (line[0] == '/' || line[0] == '.') continue; /* comments, directives */
        check_instruction(line, kernel);
        n_fused += strstr(line, "fma.rn.f32") != NULL;
    }
    fclose(ptx);
    CHECK(n_fused > 0);
}

TEST(doctor_says_whether_there_is_a_gpu_and_why_not)
{
    const char *why;
    use_real_plugin();
    ucb_run_program(out, sizeof(out), "doctor");
    CHECK_HAS(out, "plugin: CUDA ");
    if (!ucb_cuda_available(&why)) CHECK_HAS(out, "no CUDA device");
}

TEST(without_a_plugin_cuda_is_refused_with_exit_4_and_the_reason)
{
    const char *model = ucb_test_path("%s/tests/golden/arch/llama-tied-gqa",
                                      ucb_test_root());
    setenv("UCBENCH_CUDA_PLUGIN", "/nonexistent/plugin.so", 1);
    CHECK_EQ(ucb_run_program(
                 out, sizeof(out),
                 "dump --model %s --ids %s/reference.safetensors --out %s/x --kernel cuda",
                 model, model, ucb_test_folder()),
             4);
    CHECK_HAS(out, "no GPU plugin");
    CHECK_HAS(out, "/nonexistent/plugin.so");
    CHECK_EQ(ucb_run_program(out, sizeof(out), "list kernels"), 0);
    CHECK_HAS(out, "no GPU plugin");
}

/* A library without our tables: the C library's own mathematics. */
TEST(a_library_that_is_no_plugin_is_refused_by_version)
{
    const char *why;
    setenv("UCBENCH_CUDA_PLUGIN", "libm.so.6", 1);
    CHECK(!ucb_cuda_available(&why));
    CHECK_HAS(why, "build both from one source");
}

TEST(kernels_on_a_gpu_have_the_bits_of_scalar)
{
    use_real_device();
    for (size_t i = 0; i < n_kernel_cases; i++)
        for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
            char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
            struct ucb_backend *scalar = backend_for_test((enum ucb_arithmetic)a,
                                                          UCB_KERNEL_SCALAR, NULL),
                               *cuda = backend_for_test((enum ucb_arithmetic)a,
                                                        UCB_KERNEL_CUDA, NULL);
            kernel_case_digest(&kernel_cases[i], scalar, 512, expected);
            kernel_case_digest(&kernel_cases[i], cuda, 512, found);
            if (strcmp(found, expected) != 0)
                ucb_test_fail(__FILE__, __LINE__, "%s: other bits on the GPU",
                              kernel_cases[i].name);
            ucb_backend_close(cuda);
            ucb_backend_close(scalar);
        }
}

TEST(cublas_on_a_gpu_gives_the_same_bits_for_every_batch_and_names_itself)
{
    use_real_device();
    enum { ROWS = 300, OUT = 70, IN = 200 };
    struct ucb_err err;
    struct ucb_backend *b = backend_for_test(UCB_ARITH_CUBLAS, UCB_KERNEL_AUTO, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          *all = malloc(ROWS * OUT * sizeof(*all)), *one = malloc(OUT * sizeof(*one));
    struct ucb_packed packed = packed_for_test(b, w, OUT, IN);
    CHECK_OK(ucb_linear(b, &packed, NULL, x, ROWS, all, &err), err);
    for (size_t row = 0; row < ROWS; row += 37) {
        CHECK_OK(ucb_linear(b, &packed, NULL, x + row * IN, 1, one, &err), err);
        CHECK(memcmp(one, all + row * OUT, OUT * sizeof(*one)) == 0);
    }
    CHECK_HAS(ucb_backend_identity(b), "cublas ");
    ucb_backend_close(b);
    free(x);
    free(w);
    free(all);
    free(one);
}

static ucb_status give_rows(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                            uint32_t end, float *rows, struct ucb_err *err)
{
    enum { IN = 40 };
    (void)worker;
    (void)end;
    (void)err;
    memcpy(rows, (const float *)context + (size_t)row * IN,
           (size_t)n_rows * IN * sizeof(*rows));
    return UCB_OK;
}

TEST(cublas_on_a_gpu_gives_a_weight_in_parts_the_bits_of_a_whole_one)
{
    use_real_device();
    enum { ROWS = 300, OUT = UCB_CUDA_CUBLAS_COLUMNS + 70, IN = 40 };
    struct ucb_err err;
    struct ucb_backend *b = backend_for_test(UCB_ARITH_CUBLAS, UCB_KERNEL_AUTO, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          *whole = malloc(sizeof(*whole) * ROWS * OUT),
          *parts = malloc(sizeof(*parts) * ROWS * OUT);
    struct ucb_packed packed = packed_for_test(b, w, OUT, IN);
    struct ucb_tiles tiles = {give_rows, w, OUT, IN, 64, 0};
    CHECK_OK(ucb_linear(b, &packed, NULL, x, ROWS, whole, &err), err);
    CHECK_OK(ucb_linear_tiles(b, &tiles, NULL, x, ROWS, parts, &err), err);
    CHECK(memcmp(whole, parts, sizeof(*whole) * ROWS * OUT) == 0);
    ucb_packed_free(b, &packed);
    ucb_backend_close(b);
    free(x);
    free(w);
    free(whole);
    free(parts);
}
