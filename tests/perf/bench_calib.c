/*
 * bench_calib.c - the second moment of a layer's input: what GPTQ's calibration costs.
 *
 * The work is the triangle that must be computed, n (n + 1) / 2 products and sums a token.
 * A row is verified when the plain C path gives the same bits on its first tokens.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "eval/collector_internal.h"

enum { MOST_IN = 1536, TOKENS = 8192, TOKENS_VERIFIED = 300 };

static struct moment {
    struct ucb_collector *collector;
    float *x; /* [TOKENS][n_in] */
    uint32_t n_in;
} moment;

static struct ucb_collector *open_collector(enum ucb_kernel kernel, uint32_t n_in,
                                            uint64_t n_tokens)
{
    struct ucb_collector *c;
    struct ucb_err err;
    bench_require(ucb_collector_open_path(kernel, UCB_NEEDS_H, n_in, n_tokens, 1, 0,
                                          bench_pool(), &c, &err),
                  &err);
    return c;
}

static void add(void *context)
{
    struct moment *m = context;
    ucb_collector_add(m->collector, m->x, TOKENS);
}

static bool verify(enum ucb_kernel kernel, const struct moment *m)
{
    struct ucb_collector *c[2];
    struct ucb_calib found[2];
    enum ucb_kernel kernels[2] = {kernel, UCB_KERNEL_SCALAR};
    for (int i = 0; i < 2; i++) {
        c[i] = open_collector(kernels[i], m->n_in, TOKENS_VERIFIED);
        ucb_collector_add(c[i], m->x, TOKENS_VERIFIED);
        ucb_collector_finish(c[i], &found[i]);
    }
    bool same = memcmp(found[0].second_moment, found[1].second_moment,
                       sizeof(double) * m->n_in * m->n_in) == 0;
    for (int i = 0; i < 2; i++) ucb_collector_close(c[i]);
    return same;
}

static void bench_moment(enum ucb_kernel kernel, uint32_t n_in)
{
    char what[64];
    moment.n_in = n_in;
    bool verified = verify(kernel, &moment);
    moment.collector = open_collector(kernel, n_in, TOKENS);
    snprintf(what, sizeof(what), "second moment of %u x %d", TOKENS, n_in);
    bench_row(&(struct bench_row){.what = what,
                                  .kernel = kernel,
                                  .arithmetic = "fp64",
                                  .work = (double)TOKENS * n_in * (n_in + 1.0),
                                  .unit = "GFLOP/s",
                                  .run = add,
                                  .context = &moment,
                                  .verified = verified,
                                  .is_fp64 = true});
    ucb_collector_close(moment.collector);
}

BENCH(calib)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "bench_calib");
    moment.x = malloc(sizeof(float) * MOST_IN * TOKENS);
    if (moment.x == NULL) exit(4);
    for (size_t i = 0; i < (size_t)MOST_IN * TOKENS; i++)
        moment.x[i] = ucb_pcg_unit(&r) - 0.5f;
    for (int k = UCB_KERNEL_AVX512; k > UCB_KERNEL_SCALAR; k--) {
        if (!ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_FP32, NULL)) continue;
        bench_moment((enum ucb_kernel)k, 576);
        bench_moment((enum ucb_kernel)k, 1536);
    }
    free(moment.x);
}
