/*
 * bench_methods.c - seconds to encode and to decode all linear layers of SmolLM2-135M (106
 * million weights), by method.
 *
 * Gaussian matrices of the real shapes: one layer's seven, thirty times. ggml's types of
 * 256 elements do not divide its 576 columns; they run over the seven of one layer of
 * Llama 3.2 1B, which is half as many weights. A row is verified when one thread writes the
 * bytes that all threads write.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "method/chain.h"

enum { N_MATRICES = 7, MAX_IN = 8192 };

struct layers {
    int n;
    uint32_t shapes[N_MATRICES][2];
};
static const struct layers smollm2 = {30,
                                      {{576, 576},
                                       {192, 576},
                                       {192, 576},
                                       {576, 576},
                                       {1536, 576},
                                       {1536, 576},
                                       {576, 1536}}},
                           llama = {1,
                                    {{2048, 2048},
                                     {512, 2048},
                                     {512, 2048},
                                     {2048, 2048},
                                     {8192, 2048},
                                     {8192, 2048},
                                     {2048, 8192}}};

static size_t weights_of_layer(const struct layers *l)
{
    size_t n = 0;
    for (int i = 0; i < N_MATRICES; i++) n += (size_t)l->shapes[i][0] * l->shapes[i][1];
    return n;
}

static struct coding {
    const struct layers *layers;
    struct ucb_calib calib; /* for methods that need the mean squares of inputs */
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_arena kept, arena, scratch;
    struct ucb_writer payload[N_MATRICES];
    float *w, *decoded;
} coding;

static struct ucb_matrix matrix_of(const struct coding *c, int i)
{
    return (struct ucb_matrix){.name = "m",
                               .n_out = c->layers->shapes[i][0],
                               .n_in = c->layers->shapes[i][1],
                               .dtype = UCB_BF16};
}

static void encode_layer(struct coding *c, struct ucb_writer *payload)
{
    const float *w = c->w;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++) {
        struct ucb_matrix m = matrix_of(c, i);
        struct ucb_source source = {
            .matrix = &m, .w = w, .finite = true, .calib = &c->calib};
        struct ucb_writer *out = &payload[i];
        bench_require(ucb_chain_encode(c->chain, &c->context, &source, 1, &out, &err),
                      &err);
        w += (size_t)m.n_out * m.n_in;
    }
}

static void encode(void *context)
{
    struct coding *c = context;
    for (int layer = 0; layer < c->layers->n; layer++) encode_layer(c, c->payload);
}

static void decode(void *context)
{
    struct coding *c = context;
    struct ucb_err err;
    for (int layer = 0; layer < c->layers->n; layer++)
        for (int i = 0; i < N_MATRICES; i++) {
            struct ucb_matrix m = matrix_of(c, i);
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
    const double weights = (double)c->layers->n * (double)weights_of_layer(c->layers);
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

static void bench_specs(const struct layers *layers, const char *const *specs)
{
    static double sq_mean[MAX_IN];
    struct coding *c = &coding;
    size_t n = weights_of_layer(layers);
    *c = (struct coding){.layers = layers,
                         .calib = {.n_tokens = 1, .n_sequences = 1, .sq_mean = sq_mean},
                         .w = malloc(n * sizeof(float)),
                         .decoded = malloc(n * sizeof(float))};
    if (c->w == NULL || c->decoded == NULL) exit(4);
    for (int j = 0; j < MAX_IN; j++) sq_mean[j] = 1.0 / (1 + j % 97);
    fill_gaussian(c->w, n);
    for (size_t i = 0; specs[i] != NULL; i++) bench_spec(c, specs[i]);
    for (int i = 0; i < N_MATRICES; i++) ucb_writer_free(&c->payload[i]);
    ucb_arena_free(&c->kept);
    ucb_arena_free(&c->arena);
    ucb_arena_free(&c->scratch);
    free(c->w);
    free(c->decoded);
}

BENCH(methods)
{
    static const char *const specs[] = {"nf4",
                                        "nf4:double_quant=1",
                                        "fp4",
                                        "int8",
                                        "rtn:bits=4,group=64",
                                        "gsq:bits=3",
                                        "gsq:bits=5",
                                        "gsq:bits=6",
                                        "gsq:bits=5,init=seed",
                                        "hqq:bits=4,group=64",
                                        "hqq:bits=3,group=64",
                                        "hqq:bits=2,group=16",
                                        NULL};
    bench_specs(&smollm2, specs);
}

BENCH(gguf)
{
    static const char *const specs[] = {"gguf:type=Q4_0",   "gguf:type=Q8_0",
                                        "gguf:type=Q2_K",   "gguf:type=Q3_K",
                                        "gguf:type=Q4_K",   "gguf:type=Q4_K,imatrix=1",
                                        "gguf:type=Q5_K",   "gguf:type=Q6_K",
                                        "gguf:type=IQ4_XS", NULL};
    bench_specs(&llama, specs);
}
