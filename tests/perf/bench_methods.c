/*
 * bench_methods.c - encoding and decoding the seven matrices of one layer of SmolLM2-135M,
 * by method, Gaussian weights.
 *
 * The model's linear layers are 30 of these, 0.106 Gweight: at 1 Gweight/s a method takes a
 * tenth of a second for them. Verified: a second encode gives the same bytes, and its
 * decode the same weights.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "method/chain.h"

enum { N_MATRICES = 7, N_WEIGHTS = 576 * (2 * 576 + 2 * 192 + 3 * 1536) };
static const uint32_t shapes[N_MATRICES][2] = {
    {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};
static const char *const specs[] = {
    "nf4",        "nf4:double_quant=1", "fp4",        "int8",
    "hqq:bits=4", "hqq:bits=4,axis=0",  "hqq:bits=3", "hqq:bits=2,group=16",
    "rtn:bits=4", "rtn:bits=3,sym=0"};
enum { N_SPECS = sizeof(specs) / sizeof(*specs) };

struct layer {
    struct ucb_arena kept, arena, scratch;
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_matrix matrix[N_MATRICES];
    struct ucb_writer payload[N_MATRICES];
    float *w, *decoded;
};

/* Sums of uniform values: near enough to normal ones for speed. */
static void fill(float *w)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "bench");
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        float sum = -2;
        for (int k = 0; k < 4; k++) sum += ucb_pcg_unit(&r);
        w[i] = 0.05f * sum;
    }
}

static void open_layer(struct layer *l, const char *spec)
{
    struct ucb_err err;
    *l = (struct layer){0};
    l->context = (struct ucb_chain_context){
        .pool = bench_pool(), .arena = &l->arena, .scratch = &l->scratch};
    l->w = UCB_NEW(&l->kept, float, N_WEIGHTS);
    l->decoded = UCB_NEW(&l->kept, float, N_WEIGHTS);
    if (l->w == NULL || l->decoded == NULL) abort();
    fill(l->w);
    bench_require(ucb_chain_parse(spec, &l->kept, &l->chain, &err), &err);
    for (int i = 0; i < N_MATRICES; i++)
        l->matrix[i] = (struct ucb_matrix){
            .name = "m", .n_out = shapes[i][0], .n_in = shapes[i][1], .dtype = UCB_BF16};
}

static void close_layer(struct layer *l)
{
    for (int i = 0; i < N_MATRICES; i++) ucb_writer_free(&l->payload[i]);
    ucb_arena_free(&l->kept);
    ucb_arena_free(&l->arena);
    ucb_arena_free(&l->scratch);
}

static void encode_layer(void *context)
{
    struct layer *l = context;
    const float *w = l->w;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++) {
        struct ucb_source src = {.matrix = &l->matrix[i], .w = w};
        bench_require(ucb_chain_encode(l->chain, &l->context, &src, &l->payload[i], &err),
                      &err);
        ucb_arena_reset(&l->arena);
        w += (size_t)shapes[i][0] * shapes[i][1];
    }
}

static void decode_layer(void *context)
{
    struct layer *l = context;
    float *decoded = l->decoded;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++) {
        bench_require(ucb_chain_decode(l->chain, &l->context, &l->matrix[i],
                                       l->payload[i].data, l->payload[i].n_bytes, decoded,
                                       NULL, &err),
                      &err);
        ucb_arena_reset(&l->arena);
        decoded += (size_t)shapes[i][0] * shapes[i][1];
    }
}

/* Same bytes and weights again, from another layer's memory. */
static bool repeats(const struct layer *l, const char *spec)
{
    struct layer again;
    bool same = true;
    open_layer(&again, spec);
    encode_layer(&again);
    decode_layer(&again);
    for (int i = 0; i < N_MATRICES && same; i++)
        same = l->payload[i].n_bytes == again.payload[i].n_bytes &&
               memcmp(l->payload[i].data, again.payload[i].data,
                      again.payload[i].n_bytes) == 0;
    same = same && memcmp(l->decoded, again.decoded, N_WEIGHTS * sizeof(float)) == 0;
    close_layer(&again);
    return same;
}

BENCH(methods)
{
    for (size_t i = 0; i < N_SPECS; i++) {
        struct layer l;
        char what[64];
        open_layer(&l, specs[i]);
        encode_layer(&l);
        decode_layer(&l);
        struct bench_row row = {
            .what = what, .kernel = UCB_KERNEL_AUTO, .arithmetic = "", .work = N_WEIGHTS};
        row.unit = "Gweight/s";
        row.context = &l;
        row.verified = repeats(&l, specs[i]);
        row.run = encode_layer;
        snprintf(what, sizeof(what), "%s, encode", specs[i]);
        bench_row(&row);
        row.run = decode_layer;
        snprintf(what, sizeof(what), "%s, decode", specs[i]);
        bench_row(&row);
        close_layer(&l);
    }
}
