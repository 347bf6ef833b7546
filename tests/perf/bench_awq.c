/*
 * bench_awq.c - seconds to encode and to decode one layer of SmolLM2-135M (3.5 million
 * weights) with awq, as a sweep calls it: matrices of one input together.
 *
 * Gaussian weights and inputs of the real shapes, 512 tokens. The time does not depend on
 * how many tokens the statistics were made from. Verified when one thread writes the bytes
 * that all threads write.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "method/chain.h"

enum { N_MATRICES = 7, N_CALLS = 4, MAX_IN = 1536, N_TOKENS = 512 };
enum { LAYER_WEIGHTS = 576 * (2 * 576 + 2 * 192 + 3 * 1536) };

static const struct ucb_arch arch = {
    .hidden = 576, .n_heads = 9, .n_kv_heads = 3, .head_dim = 64};
static const struct ucb_matrix matrices[N_MATRICES] = {
    {.name = "q", .role = UCB_ROLE_Q, .n_out = 576, .n_in = 576, .arch = &arch},
    {.name = "k", .role = UCB_ROLE_K, .n_out = 192, .n_in = 576, .arch = &arch},
    {.name = "v", .role = UCB_ROLE_V, .n_out = 192, .n_in = 576, .arch = &arch},
    {.name = "o", .role = UCB_ROLE_O, .n_out = 576, .n_in = 576, .arch = &arch},
    {.name = "gate", .role = UCB_ROLE_GATE, .n_out = 1536, .n_in = 576, .arch = &arch},
    {.name = "up", .role = UCB_ROLE_UP, .n_out = 1536, .n_in = 576, .arch = &arch},
    {.name = "down", .role = UCB_ROLE_DOWN, .n_out = 576, .n_in = 1536, .arch = &arch}};
static const uint32_t calls[N_CALLS] = {3, 1, 2, 1}; /* matrices of each encode call */

static struct layer {
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_arena kept, arena, scratch;
    struct ucb_writer payload[N_MATRICES];
    struct ucb_calib narrow, wide; /* of 576 and of 1536 inputs */
    float *w, *decoded;
} layer;

static float *gaussian(size_t n, double deviation, const char *name)
{
    struct ucb_pcg r;
    float *out = malloc(n * sizeof(*out));
    if (out == NULL) exit(4);
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        out[i] = (float)(deviation * radius * cos(turn));
    }
    return out;
}

static struct ucb_calib statistics(const float *x, uint32_t n_in)
{
    double *mean = calloc(n_in, sizeof(*mean)),
           *moment = calloc((size_t)n_in * n_in, sizeof(*moment));
    if (mean == NULL || moment == NULL) exit(4);
    for (uint32_t t = 0; t < N_TOKENS; t++, x += n_in)
        for (uint32_t i = 0; i < n_in; i++) {
            mean[i] += fabs((double)x[i]) / N_TOKENS;
            for (uint32_t j = 0; j <= i; j++)
                moment[(size_t)i * n_in + j] += (double)x[i] * x[j] / N_TOKENS;
        }
    for (uint32_t i = 0; i < n_in; i++)
        for (uint32_t j = 0; j < i; j++)
            moment[(size_t)j * n_in + i] = moment[(size_t)i * n_in + j];
    return (struct ucb_calib){.n_tokens = N_TOKENS,
                              .n_sequences = 1,
                              .abs_mean = mean,
                              .second_moment = moment,
                              .sample = x - (size_t)N_TOKENS * n_in,
                              .n_sample = N_TOKENS};
}

static void encode_layer(struct layer *l, struct ucb_writer *payload)
{
    const float *w = l->w;
    struct ucb_err err;
    uint32_t at = 0;
    for (int call = 0; call < N_CALLS; call++) {
        struct ucb_source src[UCB_MAX_GROUPED];
        struct ucb_writer *out[UCB_MAX_GROUPED];
        for (uint32_t i = 0; i < calls[call]; i++, at++) {
            const struct ucb_matrix *m = &matrices[at];
            src[i] = (struct ucb_source){
                .matrix = m, .w = w, .calib = m->n_in == 576 ? &l->narrow : &l->wide};
            out[i] = &payload[at];
            w += (size_t)m->n_out * m->n_in;
        }
        bench_require(ucb_chain_encode(l->chain, &l->context, src, calls[call], out, &err),
                      &err);
    }
}

static void encode(void *context)
{
    struct layer *l = context;
    encode_layer(l, l->payload);
}

static void decode(void *context)
{
    struct layer *l = context;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++)
        bench_require(ucb_chain_decode(l->chain, &l->context, &matrices[i],
                                       l->payload[i].data, l->payload[i].n_bytes,
                                       l->decoded, NULL, &err),
                      &err);
}

static bool verify(struct layer *l)
{
    struct ucb_writer alone[N_MATRICES] = {0};
    bool same = true;
    encode_layer(l, l->payload);
    l->context.pool = NULL;
    encode_layer(l, alone);
    l->context.pool = bench_pool();
    for (int i = 0; i < N_MATRICES; i++) {
        same &= alone[i].n_bytes == l->payload[i].n_bytes &&
                memcmp(alone[i].data, l->payload[i].data, alone[i].n_bytes) == 0;
        ucb_writer_free(&alone[i]);
    }
    return same;
}

static void bench_spec(struct layer *l, const char *spec)
{
    struct ucb_err err;
    char what[64];
    bench_require(ucb_chain_parse(spec, &l->kept, &l->chain, &err), &err);
    l->context = (struct ucb_chain_context){
        .pool = bench_pool(), .arena = &l->arena, .scratch = &l->scratch, .seed = 1};
    struct bench_row row = {.what = what,
                            .arithmetic = "",
                            .work = LAYER_WEIGHTS,
                            .unit = "Gw/s",
                            .run = encode,
                            .context = l,
                            .verified = verify(l)};
    snprintf(what, sizeof(what), "%s encode, 1 layer", spec);
    bench_row(&row);
    snprintf(what, sizeof(what), "%s decode, 1 layer", spec);
    row.run = decode;
    bench_row(&row);
}

BENCH(awq)
{
    struct layer *l = &layer;
    float *x = gaussian((size_t)N_TOKENS * MAX_IN, 1, "bench_awq inputs");
    l->w = gaussian(LAYER_WEIGHTS, 0.05, "bench_awq");
    l->decoded = malloc((size_t)MAX_IN * MAX_IN * sizeof(float));
    if (l->decoded == NULL) exit(4);
    l->narrow = statistics(x, 576);
    l->wide = statistics(x, 1536);
    bench_spec(l, "awq:group=64");
    bench_spec(l, "awq:group=64,clip=0");
    for (int i = 0; i < N_MATRICES; i++) ucb_writer_free(&l->payload[i]);
    ucb_arena_free(&l->kept);
    ucb_arena_free(&l->arena);
    ucb_arena_free(&l->scratch);
    free((void *)l->narrow.abs_mean);
    free((void *)l->narrow.second_moment);
    free((void *)l->wide.abs_mean);
    free((void *)l->wide.second_moment);
    free(x);
    free(l->w);
    free(l->decoded);
}
