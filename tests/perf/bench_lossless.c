/*
 * bench_lossless.c - what "lossless 5-bit" costs, tensor by tensor: the code, the residual
 * and their sum beside the fields coded directly, and beside the zero-order entropy of the
 * fields, which no code of independent weights passes. Sizes are counted from payloads that
 * were decoded to the same bits.
 *
 * $UCB_BENCH_WEIGHTS names a safetensors or GGUF file; F32 tensors are rounded to BF16,
 * as released files were. Without it: one Gaussian matrix, sigma 0.02.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "core/pcg.h"
#include "method/chain.h"
#include "method/payload.h"
#include "model/checkpoint.h"

enum { SIDE = 2048, N_SPECS = 8 };

static const char *const specs[N_SPECS] = {"lossless:mode=fast",
                                           "lossless:mode=default",
                                           "lossless:mode=max",
                                           "int5:block=64",
                                           "int5:block=64+residual",
                                           "int5:block=64+residual:context=none",
                                           "int5:block=64,scale=pow2+residual",
                                           "int5:block=32,lambda=0+residual"};

static struct totals {
    uint64_t n_weights, n_tensors;
    double entropy_bits;
    uint64_t code[N_SPECS], residual[N_SPECS]; /* bytes; of a chain of one: code */
    bool exact[N_SPECS], lossy[N_SPECS];
} totals;

/* Bits of sign, exponent, and mantissa given the exponent, each by its own frequencies. */
static double zero_order(enum ucb_dtype dtype, const uint16_t *bits, size_t n)
{
    static uint32_t exponents[256], joint[1 << 15], signs[2];
    unsigned shift = dtype == UCB_F16 ? 10 : 7;
    double sum = 0;
    memset(exponents, 0, sizeof(exponents));
    memset(joint, 0, sizeof(joint));
    signs[0] = signs[1] = 0;
    for (size_t i = 0; i < n; i++) {
        exponents[(bits[i] & 0x7fff) >> shift]++;
        joint[bits[i] & 0x7fff]++;
        signs[bits[i] >> 15]++;
    }
    /* H(exponent) + H(mantissa given exponent) = H(both) */
    for (size_t i = 0; i < 1 << 15; i++)
        if (joint[i] > 0) sum -= joint[i] * log2((double)joint[i] / (double)n);
    for (int i = 0; i < 2; i++)
        if (signs[i] > 0) sum -= signs[i] * log2((double)signs[i] / (double)n);
    return sum;
}

static void run_spec(int k, const struct ucb_matrix *m, const uint16_t *bits,
                     const float *w)
{
    struct ucb_arena kept = {0}, arena = {0}, scratch = {0};
    struct ucb_chain *chain;
    struct ucb_writer out = {0}, *writer = &out;
    struct ucb_err err;
    struct ucb_chain_context context = {
        .pool = bench_pool(), .arena = &arena, .scratch = &scratch};
    struct ucb_source source = {.matrix = m, .w = w, .bits = bits};
    uint16_t *decoded = malloc(ucb_matrix_bits_bytes(m) + 2);
    bench_require(ucb_chain_parse(specs[k], &kept, &chain, &err), &err);
    bench_require(ucb_chain_encode(chain, &context, &source, 1, &writer, &err), &err);
    bool chained = strchr(specs[k], '+') != NULL;
    totals.code[k] += chained ? ucb_load_u64(out.data) : out.n_bytes;
    totals.residual[k] += chained ? out.n_bytes - ucb_load_u64(out.data) : 0;
    totals.lossy[k] = !ucb_chain_is_exact(chain);
    if (!totals.lossy[k]) {
        ucb_arena_reset(&arena);
        bench_require(
            ucb_chain_decode_bits(chain, &context, m, out.data, out.n_bytes, decoded, &err),
            &err);
        totals.exact[k] &= memcmp(decoded, bits, ucb_matrix_bits_bytes(m)) == 0;
    }
    free(decoded);
    ucb_writer_free(&out);
    ucb_arena_free(&kept);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
}

static void run_matrix(const char *name, enum ucb_dtype dtype, size_t n_out, size_t n_in,
                       const uint16_t *bits)
{
    size_t n = n_out * n_in;
    struct ucb_matrix m = {
        .name = name, .n_out = (uint32_t)n_out, .n_in = (uint32_t)n_in, .dtype = dtype};
    float *w = malloc(n * sizeof(*w) + 4);
    if (n == 0 || w == NULL) exit(4);
    for (size_t i = 0; i < n; i++)
        w[i] = dtype == UCB_F16 ? ucb_f16_widen(bits[i]) : ucb_bf16_widen(bits[i]);
    for (int k = 0; k < N_SPECS; k++) run_spec(k, &m, bits, w);
    totals.n_weights += n;
    totals.n_tensors++;
    totals.entropy_bits += zero_order(dtype, bits, n);
    free(w);
}

static void run_file(const char *path)
{
    struct ucb_checkpoint *file;
    struct ucb_err err;
    bench_require(ucb_checkpoint_open(path, &file, &err), &err);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(file); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(file, i);
        bool wide = t->dtype == UCB_F32;
        if ((!wide && t->dtype != UCB_F16 && t->dtype != UCB_BF16) || t->n_dims < 1 ||
            t->n_elements == 0)
            continue;
        uint16_t *bits = malloc(2 * t->n_elements);
        if (bits == NULL) exit(4);
        for (uint64_t k = 0; k < t->n_elements; k++)
            bits[k] = wide ? ucb_bf16_from_f32(ucb_load_f32(t->data + 4 * k))
                           : ucb_load_u16(t->data + 2 * k);
        size_t n_out = t->n_dims == 1 ? 1 : t->shape[0];
        run_matrix(t->name, wide ? UCB_BF16 : t->dtype, n_out, t->n_elements / n_out, bits);
        free(bits);
    }
    ucb_checkpoint_close(file);
}

static void run_gaussian(void)
{
    uint16_t *bits = malloc(2 * SIDE * SIDE);
    struct ucb_pcg r;
    if (bits == NULL) exit(4);
    ucb_pcg_named(&r, 1, "bench_lossless");
    for (size_t i = 0; i < SIDE * SIDE; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        bits[i] = ucb_bf16_from_f32((float)(0.02 * radius * cos(turn)));
    }
    run_matrix("Gaussian", UCB_BF16, SIDE, SIDE, bits);
    free(bits);
}

BENCH(lossless)
{
    const char *path = getenv("UCB_BENCH_WEIGHTS");
    totals = (struct totals){0};
    for (int k = 0; k < N_SPECS; k++) totals.exact[k] = true;
    if (path != NULL)
        run_file(path);
    else
        run_gaussian();
    double n = (double)totals.n_weights / 8;
    printf(
        "lossless: %s, %llu weights in %llu tensors; bits per weight, all bytes counted\n",
        path == NULL ? "Gaussian" : path, (unsigned long long)totals.n_weights,
        (unsigned long long)totals.n_tensors);
    printf("%-40s %8s %8s %8s\n%-40s %8s %8s %8.4f  bound\n", "", "code", "residual", "sum",
           "zero-order entropy of the fields", "", "", totals.entropy_bits / n / 8);
    for (int k = 0; k < N_SPECS; k++)
        printf("%-40s %8.4f %8.4f %8.4f  %s\n", specs[k], (double)totals.code[k] / n,
               (double)totals.residual[k] / n,
               (double)(totals.code[k] + totals.residual[k]) / n,
               totals.lossy[k]   ? "lossy"
               : totals.exact[k] ? "every bit"
                                 : "WRONG");
}
