/* Decoders of the GPU plugin, emulated, against the methods' own decode: every value, on
 * the inputs of the golden vectors and on shapes that end in the middle of everything. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "../golden/vectors.h"
#include "../method_fixture.h"
#include "../same/kernel_cases.h"
#include "core/arena.h"
#include "cuda_fixture.h"
#include "method/chain_cuda.h"

static void same_decode(const char *spec, enum ucb_dtype dtype, uint32_t n_out,
                        uint32_t n_in, const float *w)
{
    struct method_fixture f;
    struct ucb_cuda *cuda;
    struct ucb_err err;
    struct ucb_arena arena = {0}, scratch = {0};
    size_t n = (size_t)n_out * n_in;
    float *decoded = malloc(n * sizeof(*decoded));
    fixture_open(&f, spec, n_out, n_in, dtype, 1);
    fixture_run(&f, w);
    CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
    struct ucb_chain_context elsewhere = {.arena = &arena,
                                          .scratch = &scratch,
                                          .shared = f.shared.data,
                                          .n_shared = f.shared.n_bytes};
    CHECK_OK(ucb_chain_decode_cuda(f.chain, &elsewhere, &f.matrix, f.out.data,
                                   f.out.n_bytes, cuda, decoded, &err),
             err);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&decoded[i], &f.decoded[i], sizeof(float)) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s, %ux%u: weight %zu is %a, on the CPU %a",
                          spec, n_out, n_in, i, (double)decoded[i], (double)f.decoded[i]);
    ucb_cuda_close(cuda);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    fixture_close(&f);
    free(decoded);
}

/* Every spec, on made-up weights of three shapes and three dtypes. */
static void same_decode_of(const char *const *specs, size_t n_specs)
{
    static const uint32_t shapes[][2] = {{16, 128}, {3, 37}, {33, 96}};
    static const enum ucb_dtype dtypes[] = {UCB_F32, UCB_F16, UCB_BF16};
    static float w[33 * 128];
    for (size_t s = 0; s < n_specs; s++)
        for (size_t i = 0; i < 3; i++) {
            fill_gaussian(w, (size_t)shapes[i][0] * shapes[i][1], 0.05, specs[s]);
            same_decode(specs[s], dtypes[(s + i) % 3], shapes[i][0], shapes[i][1], w);
        }
}

TEST(nf4_and_fp4_decode_on_the_device_to_the_same_bits)
{
    static const char *const specs[] = {"nf4",
                                        "fp4",
                                        "nf4:block=32",
                                        "nf4:double_quant=1",
                                        "fp4:double_quant=1,block=128",
                                        "nf4:double_quant=1,block=32,nested=32"};
    use_emulated_cuda("random:1");
    same_decode_of(specs, sizeof(specs) / sizeof(specs[0]));
}

static void same_golden_4bit(const json_t *c)
{
    if (strcmp(vectors_id(c), "maps") == 0 ||
        strcmp(vectors_id(c), "blockwise8.absmax_sweep") == 0)
        return;
    struct vector in = vectors_input(c);
    const char *spec = ucb_test_path("%s:double_quant=%d", vectors_text(c, "quant_type"),
                                     vectors_number(c, "double_quant") != 0);
    same_decode(spec, UCB_F32, (uint32_t)in.shape[0], (uint32_t)in.shape[1], in.data);
}

TEST(the_golden_4_bit_matrices_decode_on_the_device_to_the_same_bits)
{
    use_emulated_cuda("reverse");
    vectors_each("bnb_4bit.safetensors", same_golden_4bit);
}

TEST(a_method_without_a_decoder_is_named)
{
    struct method_fixture f;
    const char *missing = NULL;
    use_emulated_cuda("forward");
    fixture_open(&f, "nf4+residual", 8, 64, UCB_BF16, 1);
    CHECK(!ucb_chain_decodes_on_cuda(f.chain, &missing));
    CHECK_TEXT(missing, "residual");
    fixture_close(&f);
}

TEST(a_damaged_payload_never_reaches_a_decoder)
{
    struct method_fixture f;
    struct ucb_cuda *cuda;
    struct ucb_err err;
    static float w[64 * 8];
    use_emulated_cuda("forward");
    fill_gaussian(w, sizeof(w) / sizeof(w[0]), 1, "w");
    fixture_open(&f, "nf4", 8, 64, UCB_F32, 1);
    fixture_run(&f, w);
    CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
    CHECK_STATUS(ucb_chain_decode_cuda(f.chain, &f.context, &f.matrix, f.out.data,
                                       f.out.n_bytes - 1, cuda, w, &err),
                 UCB_CORRUPT, err);
    ucb_cuda_close(cuda);
    fixture_close(&f);
}

/* Both weights are queued before either is multiplied. */
static void multiply_decoded(const char *order)
{
    enum { N_OUT = 40, N_IN = 96, ROWS = 3 };
    static float w[2][N_OUT * N_IN], y[ROWS * N_OUT], expected[ROWS * N_OUT];
    use_emulated_cuda(order);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        struct ucb_backend *cpu = backend_for_test((enum ucb_arithmetic)a, UCB_KERNEL_AUTO,
                                                   NULL),
                           *gpu = backend_for_test((enum ucb_arithmetic)a, UCB_KERNEL_CUDA,
                                                   NULL);
        struct ucb_cuda *cuda = ucb_backend_cuda(gpu);
        struct ucb_err err;
        struct method_fixture f[2];
        struct ucb_packed there[2];
        float *x = named_values("x", ROWS * N_IN, 1);
        for (int i = 0; i < 2; i++) {
            struct ucb_arena arena = {0}, scratch = {0};
            struct ucb_chain_context elsewhere = {.arena = &arena, .scratch = &scratch};
            fill_gaussian(w[i], N_OUT * N_IN, 0.05, i == 0 ? "first" : "second");
            fixture_open(&f[i], "nf4:double_quant=1", N_OUT, N_IN, UCB_BF16, 1);
            fixture_run(&f[i], w[i]);
            there[i] = (struct ucb_packed){&f[i], N_OUT, N_IN}; /* any address names it */
            CHECK_OK(ucb_chain_pack_on_cuda(f[i].chain, &elsewhere, &f[i].matrix,
                                            f[i].out.data, f[i].out.n_bytes, cuda,
                                            &there[i], &err),
                     err);
            ucb_arena_free(&arena);
            ucb_arena_free(&scratch);
        }
        for (int i = 0; i < 2; i++) {
            struct ucb_packed here = packed_for_test(cpu, f[i].decoded, N_OUT, N_IN);
            CHECK_OK(ucb_linear(cpu, &here, NULL, x, ROWS, expected, &err), err);
            CHECK_OK(ucb_linear(gpu, &there[i], NULL, x, ROWS, y, &err), err);
            CHECK(memcmp(y, expected, sizeof(y)) == 0);
            ucb_mem_free(here.data);
            ucb_cuda_forget(cuda, &there[i]);
            fixture_close(&f[i]);
        }
        free(x);
        ucb_backend_close(gpu);
        ucb_backend_close(cpu);
    }
}

/* In both orders of the emulated streams a product that did not wait would read NaNs. */
TEST(weights_that_are_decoded_beside_products_multiply_as_those_of_the_cpu)
{
    multiply_decoded("random:3");
}

TEST(weights_that_are_decoded_as_late_as_may_be_multiply_as_those_of_the_cpu)
{
    multiply_decoded("forward");
}
