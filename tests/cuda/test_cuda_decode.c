/* The seam of the GPU plugin's decoders: what is refused, and weights decoded beside
 * products. Their values are in test_cuda_methods.c. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "../method_fixture.h"
#include "../same/kernel_cases.h"
#include "core/arena.h"
#include "cuda_fixture.h"
#include "method/chain_cuda.h"
#include "method/chain_internal.h"

/* As of a plugin that is older than the program. */
TEST(a_method_of_another_revision_is_not_decoded_and_named)
{
    struct method_fixture f;
    const char *missing = NULL;
    use_emulated_cuda("forward");
    fixture_open(&f, "nf4+residual", 8, 64, UCB_BF16, 1);
    CHECK(ucb_chain_decodes_on_cuda(f.chain, &missing));
    struct ucb_method newer = *f.chain->stages[1].method;
    newer.revision++;
    f.chain->stages[1].method = &newer;
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

/* Packing queues and does not wait: what only decoding shows, the verdict tells, once. */
TEST(a_stream_that_does_not_fit_is_told_by_the_verdict_on_what_was_packed)
{
    enum { N_OUT = 8, N_IN = 64 };
    static float w[N_OUT * N_IN];
    struct ucb_backend *gpu;
    struct ucb_arena arena = {0}, scratch = {0};
    struct ucb_chain_context elsewhere = {.arena = &arena, .scratch = &scratch};
    struct method_fixture f;
    struct ucb_err err;
    use_emulated_cuda("forward");
    gpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    struct ucb_cuda *cuda = ucb_backend_cuda(gpu);
    fill_gaussian(w, N_OUT * N_IN, 1, "w");
    fixture_open(&f, "rtn:bits=4,group=-1+residual", N_OUT, N_IN, UCB_F32, 1);
    fixture_run(&f, w);
    struct ucb_packed weight = {&f, N_OUT, N_IN};
    for (int damaged = 0; damaged < 3; damaged++) {
        if (damaged == 1) f.out.data[8 + N_OUT * N_IN / 2 + 1] ^= 0x14; /* a row's scale */
        CHECK_OK(ucb_chain_pack_on_cuda(f.chain, &elsewhere, &f.matrix, f.out.data,
                                        f.out.n_bytes, cuda, &weight, &err),
                 err);
        if (damaged == 0) CHECK_OK(ucb_chain_verdict_on_cuda(cuda, "m", &err), err);
        if (damaged == 0) continue;
        CHECK_STATUS(ucb_chain_verdict_on_cuda(cuda, "m", &err), UCB_CORRUPT, err);
        CHECK_OK(ucb_chain_verdict_on_cuda(cuda, "m", &err), err);
    }
    ucb_cuda_forget(cuda, &weight);
    ucb_backend_close(gpu);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    fixture_close(&f);
}

/* Both weights are queued before either is multiplied; answers the most device memory. */
static uint64_t multiply_decoded(const char *order)
{
    enum { N_OUT = 40, N_IN = 96, ROWS = 3 };
    static float w[2][N_OUT * N_IN], y[ROWS * N_OUT], expected[ROWS * N_OUT];
    uint64_t most = 0;
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
        if (ucb_backend_device_peak_bytes(gpu) > most)
            most = ucb_backend_device_peak_bytes(gpu);
        free(x);
        ucb_backend_close(gpu);
        ucb_backend_close(cpu);
    }
    return most;
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

/* Nothing could bring them back but what they held:
 * one of the two is saved and comes back. */
TEST(weights_that_were_decoded_on_the_device_give_way_and_come_back)
{
    uint64_t most = multiply_decoded("forward"), room = most - 1;
    setenv("UCB_EMULATION_MEMORY", ucb_test_path("%llu", (unsigned long long)room), 1);
    CHECK(multiply_decoded("forward") <= room);
}
