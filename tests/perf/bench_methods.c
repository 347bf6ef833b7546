/*
 * bench_methods.c - seconds to encode and to decode all linear layers of SmolLM2-135M (106
 * million weights), by method.
 *
 * Gaussian matrices of the real shapes: one layer's seven, thirty times. A row is verified
 * when one thread writes the bytes that all threads write.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "method/chain.h"

enum {
    N_LAYERS = 30,
    N_MATRICES = 7,
    LAYER_WEIGHTS = 576 * (2 * 576 + 2 * 192 + 3 * 1536)
};
static const uint32_t shapes[N_MATRICES][2] = {
    {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};

static struct coding {
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_arena kept, arena, scratch;
    struct ucb_writer payload[N_MATRICES];
    float *w, *decoded;
} coding;

static struct ucb_matrix matrix_of(int i)
{
    return (struct ucb_matrix){
        .name = "m", .n_out = shapes[i][0], .n_in = shapes[i][1], .dtype = UCB_BF16};
}

static void encode_layer(struct coding *c, struct ucb_writer *payload)
{
    const float *w = c->w;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++) {
        struct ucb_matrix m = matrix_of(i);
        struct ucb_source source = {.matrix = &m, .w = w};
        struct ucb_writer *out = &payload[i];
        bench_require(ucb_chain_encode(c->chain, &c->context, &source, 1, &out, &err),
                      &err);
        w += (size_t)m.n_out * m.n_in;
    }
}

static void encode(void *context)
{
    struct coding *c = context;
    for (int layer = 0; layer < N_LAYERS; layer++) encode_layer(c, c->payload);
}

static void decode(void *context)
{
    struct coding *c = context;
    struct ucb_err err;
    for (int layer = 0; layer < N_LAYERS; layer++)
        for (int i = 0; i < N_MATRICES; i++) {
            struct ucb_matrix m = matrix_of(i);
            bench_require(ucb_chain_decode(c->chain, &c->context, &m, c->payload[i].data,
                                           c->payload[i].n_bytes, c->decoded, NULL, &err),
                          &err);
        }
}

static bool verify(struct coding *c)
{
    struct ucb_writer alone[N_MATRICES] = {0};
    bool same = true;
    encode_layer(c, c->payload);
    c->context.pool = NULL;
    encode_layer(c, alone);
    c->context.pool = bench_pool();
    for (int i = 0; i < N_MATRICES; i++) {
        same &= alone[i].n_bytes == c->payload[i].n_bytes &&
                memcmp(alone[i].data, c->payload[i].data, alone[i].n_bytes) == 0;
        ucb_writer_free(&alone[i]);
    }
    return same;
}

static void fill_gaussian(float *w, size_t n)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "bench_methods");
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        w[i] = (float)(0.05 * radius * cos(turn));
    }
}

static void bench_spec(struct coding *c, const char *spec)
{
    struct ucb_err err;
    char what[64];
    const double weights = (double)N_LAYERS * LAYER_WEIGHTS;
    bench_require(ucb_chain_parse(spec, &c->kept, &c->chain, &err), &err);
    c->context = (struct ucb_chain_context){.pool = bench_pool(),
                                            .arena = &c->arena,
                                            .scratch = &c->scratch,
                                            .seed = 1,
                                            .model_digest = "bench"};
    bool verified = verify(c);
    snprintf(what, sizeof(what), "%s encode", spec);
    struct bench_row row = {.what = what,
                            .arithmetic = "",
                            .work = weights,
                            .unit = "Gw/s",
                            .run = encode,
                            .context = c,
                            .verified = verified,
                            .slow = strncmp(spec, "hqq", 3) == 0};
    bench_row(&row);
    snprintf(what, sizeof(what), "%s decode", spec);
    row.run = decode;
    bench_row(&row);
}

BENCH(methods)
{
    static const char *const specs[] = {"nf4",
                                        "nf4:double_quant=1",
                                        "fp4",
                                        "int8",
                                        "rtn:bits=4,group=64",
                                        "hqq:bits=4,group=64",
                                        "hqq:bits=3,group=64",
                                        "hqq:bits=2,group=16"};
    struct coding *c = &coding;
    c->w = malloc(LAYER_WEIGHTS * sizeof(float));
    c->decoded = malloc(LAYER_WEIGHTS * sizeof(float));
    if (c->w == NULL || c->decoded == NULL) exit(4);
    fill_gaussian(c->w, LAYER_WEIGHTS);
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) bench_spec(c, specs[i]);
    for (int i = 0; i < N_MATRICES; i++) ucb_writer_free(&c->payload[i]);
    ucb_arena_free(&c->kept);
    ucb_arena_free(&c->arena);
    ucb_arena_free(&c->scratch);
    free(c->w);
    free(c->decoded);
}
