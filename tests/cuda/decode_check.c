/* decode_check.c - see decode_check.h. */
#include "decode_check.h"

#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "method/chain_cuda.h"
#include "test.h"

static ucb_status decode(struct method_fixture *f, struct ucb_cuda *cuda,
                         const uint8_t *payload, size_t n_bytes, float *w)
{
    struct ucb_arena arena = {0}, scratch = {0};
    struct ucb_chain_context elsewhere = {.arena = &arena,
                                          .scratch = &scratch,
                                          .shared = f->shared.data,
                                          .n_shared = f->shared.n_bytes};
    ucb_status status = cuda == NULL
                            ? ucb_chain_decode(f->chain, &elsewhere, &f->matrix, payload,
                                               n_bytes, w, NULL, NULL)
                            : ucb_chain_decode_cuda(f->chain, &elsewhere, &f->matrix,
                                                    payload, n_bytes, cuda, w, NULL);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    return status;
}

ucb_status check_decode(struct method_fixture *f, struct ucb_cuda *cuda,
                        const uint8_t *payload, size_t n_bytes)
{
    size_t n = (size_t)f->matrix.n_out * f->matrix.n_in;
    float *here = malloc(2 * n * sizeof(*here)), *there = here + n;
    const char *spec = ucb_chain_spec(f->chain);
    ucb_status on_cpu = decode(f, NULL, payload, n_bytes, here),
               on_device = decode(f, cuda, payload, n_bytes, there);
    if (on_cpu != on_device)
        ucb_test_fail(__FILE__, __LINE__, "%s, %ux%u: status %d, on the CPU %d", spec,
                      f->matrix.n_out, f->matrix.n_in, on_device, on_cpu);
    for (size_t i = 0; on_cpu == UCB_OK && i < n; i++)
        if (memcmp(&there[i], &here[i], sizeof(float)) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s, %ux%u: weight %zu is %a, on the CPU %a",
                          spec, f->matrix.n_out, f->matrix.n_in, i, (double)there[i],
                          (double)here[i]);
    free(here);
    return on_cpu;
}

static void check_damage(struct method_fixture *f, struct ucb_cuda *cuda, const char *name,
                         int n)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, name);
    for (int i = 0; i < n; i++) {
        size_t n_bytes = f->out.n_bytes;
        uint8_t *bytes = malloc(n_bytes + 1); /* as long as it is: ASan sees a byte more */
        memcpy(bytes, f->out.data, n_bytes);
        if (i % 4 == 0)
            n_bytes = ucb_pcg_below(&r, (uint32_t)n_bytes);
        else
            bytes[ucb_pcg_below(&r, (uint32_t)n_bytes)] ^= (uint8_t)(1u << ucb_pcg_below(
                                                                         &r, 8));
        (void)check_decode(f, cuda, bytes, n_bytes);
        free(bytes);
    }
}

bool check_spec(const char *spec, enum ucb_dtype dtype, uint32_t n_out, uint32_t n_in,
                const float *w, int damage)
{
    struct method_fixture f;
    struct ucb_cuda *cuda;
    struct ucb_err err;
    fixture_open(&f, spec, n_out, n_in, dtype, 1);
    f.context.trace = NULL;
    ucb_status status = fixture_try_encode(&f, w, &err);
    if (status == UCB_OK) {
        CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
        CHECK_OK(check_decode(&f, cuda, f.out.data, f.out.n_bytes), err);
        check_damage(&f, cuda, spec, damage);
        ucb_cuda_close(cuda);
    } else if (status != UCB_USAGE) {
        ucb_test_fail(__FILE__, __LINE__, "%s, %ux%u: %s", spec, n_out, n_in, err.text);
    }
    fixture_close(&f);
    return status == UCB_OK;
}
