/*
 * bench_gptq.c - seconds to encode and to decode all linear layers of SmolLM2-135M (106
 * million weights) with gptq, as a sweep calls it: matrices of one input together; one
 * matrix of 4096 x 4096; and the factor that both wait for. The same for lowrank behind
 * nf4, each matrix by itself, and one matrix of 14336 x 4096.
 *
 * Gaussian weights and inputs of the real shapes: one layer's four calls, thirty times. The
 * time does not depend on how many tokens the statistics were made from. Verified when one
 * thread writes the bytes that all threads write.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/pcg.h"
#include "method/chain.h"

enum { N_LAYERS = 30, N_TOKENS = 512, MAX_CALLS = 7, LARGE = 4096 };

/* Matrices that read one input. */
struct call {
    uint32_t n, n_in, n_out[UCB_MAX_GROUPED];
};
static const struct call small_layer[] = {
    {3, 576, {576, 192, 192}}, {1, 576, {576}}, {2, 576, {1536, 1536}}, {1, 1536, {576}}};
static const struct call large_matrix[] = {{1, LARGE, {LARGE}}};
static const struct call single_layer[] = {
    {1, 576, {576}},  {1, 576, {192}},  {1, 576, {192}}, {1, 576, {576}},
    {1, 576, {1536}}, {1, 576, {1536}}, {1, 1536, {576}}};
static const struct call mlp_matrix[] = {{1, LARGE, {14336}}};

static struct work {
    const struct call *calls;
    size_t n_calls, repeats;
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_arena kept, arena, scratch;
    struct ucb_writer payload[MAX_CALLS][UCB_MAX_GROUPED];
    struct ucb_calib calib[MAX_CALLS];
    float *w, *decoded; /* of the largest matrix */
} work;

static void fill_gaussian(float *w, size_t n, const char *name)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        w[i] = (float)(0.05 * radius * cos(turn));
    }
}

static void *room(struct work *k, size_t n_bytes)
{
    void *p = ucb_arena_alloc(&k->kept, n_bytes);
    if (p == NULL) exit(4);
    return p;
}

static double *second_moment(struct work *k, uint32_t n_in)
{
    struct ucb_err err;
    size_t n = (size_t)N_TOKENS * n_in;
    float *x = room(k, n * sizeof(*x));
    double *wide = room(k, n * sizeof(*wide)),
           *moment = room(k, (size_t)n_in * n_in * sizeof(*moment));
    fill_gaussian(x, n, "bench_gptq inputs");
    for (size_t i = 0; i < n; i++) wide[i] = (double)x[i] / sqrt(N_TOKENS);
    struct ucb_dense rows = ucb_dense_of(wide, N_TOKENS, n_in);
    bench_require(ucb_dense_multiply(ucb_dense_turned(rows), rows, UCB_DENSE_SET, moment,
                                     bench_pool(), &k->kept, &err),
                  &err);
    return moment;
}

static struct ucb_matrix matrix_of(const struct call *call, uint32_t i)
{
    return (struct ucb_matrix){
        .name = "m", .n_out = call->n_out[i], .n_in = call->n_in, .dtype = UCB_BF16};
}

static void encode_once(struct work *k, struct ucb_writer (*payload)[UCB_MAX_GROUPED])
{
    struct ucb_err err;
    for (size_t c = 0; c < k->n_calls; c++) {
        struct ucb_matrix matrices[UCB_MAX_GROUPED];
        struct ucb_source sources[UCB_MAX_GROUPED];
        struct ucb_writer *out[UCB_MAX_GROUPED];
        for (uint32_t i = 0; i < k->calls[c].n; i++) {
            matrices[i] = matrix_of(&k->calls[c], i);
            sources[i] = (struct ucb_source){
                .matrix = &matrices[i], .w = k->w, .calib = &k->calib[c]};
            out[i] = &payload[c][i];
        }
        bench_require(
            ucb_chain_encode(k->chain, &k->context, sources, k->calls[c].n, out, &err),
            &err);
        ucb_arena_reset(&k->arena);
    }
}

static void encode(void *context)
{
    struct work *k = context;
    for (size_t i = 0; i < k->repeats; i++) encode_once(k, k->payload);
}

static void decode(void *context)
{
    struct work *k = context;
    struct ucb_err err;
    for (size_t repeat = 0; repeat < k->repeats; repeat++)
        for (size_t c = 0; c < k->n_calls; c++)
            for (uint32_t i = 0; i < k->calls[c].n; i++) {
                struct ucb_matrix m = matrix_of(&k->calls[c], i);
                bench_require(
                    ucb_chain_decode(k->chain, &k->context, &m, k->payload[c][i].data,
                                     k->payload[c][i].n_bytes, k->decoded, NULL, &err),
                    &err);
                ucb_arena_reset(&k->arena);
            }
}

static bool verify(struct work *k)
{
    struct ucb_writer alone[MAX_CALLS][UCB_MAX_GROUPED] = {{{0}}};
    bool same = true;
    encode_once(k, k->payload);
    k->context.pool = NULL;
    encode_once(k, alone);
    k->context.pool = bench_pool();
    for (size_t c = 0; c < k->n_calls; c++)
        for (uint32_t i = 0; i < k->calls[c].n; i++) {
            const struct ucb_writer *all = &k->payload[c][i];
            same &= alone[c][i].n_bytes == all->n_bytes &&
                    memcmp(alone[c][i].data, all->data, all->n_bytes) == 0;
            ucb_writer_free(&alone[c][i]);
        }
    return same;
}

static void begin(struct work *k, const struct call *calls, size_t n_calls, size_t repeats)
{
    size_t most = 0;
    *k = (struct work){.calls = calls, .n_calls = n_calls, .repeats = repeats};
    for (size_t c = 0; c < n_calls; c++) {
        for (uint32_t i = 0; i < calls[c].n; i++)
            if ((size_t)calls[c].n_out[i] * calls[c].n_in > most)
                most = (size_t)calls[c].n_out[i] * calls[c].n_in;
        k->calib[c] = (struct ucb_calib){.n_tokens = N_TOKENS,
                                         .n_sequences = 1,
                                         .second_moment = second_moment(k, calls[c].n_in)};
    }
    k->w = room(k, most * sizeof(float));
    k->decoded = room(k, most * sizeof(float));
    fill_gaussian(k->w, most, "bench_gptq weights");
}

static double count_weights(const struct work *k)
{
    double n = 0;
    for (size_t c = 0; c < k->n_calls; c++)
        for (uint32_t i = 0; i < k->calls[c].n; i++)
            n += (double)k->calls[c].n_out[i] * k->calls[c].n_in;
    return n * (double)k->repeats;
}

static void bench_spec(struct work *k, const char *spec, const char *what)
{
    struct ucb_err err;
    char title[64];
    bench_require(ucb_chain_parse(spec, &k->kept, &k->chain, &err), &err);
    k->context = (struct ucb_chain_context){
        .pool = bench_pool(), .arena = &k->arena, .scratch = &k->scratch, .seed = 1};
    struct bench_row row = {.what = title,
                            .arithmetic = "",
                            .work = count_weights(k),
                            .unit = "Gw/s",
                            .run = encode,
                            .context = k,
                            .verified = verify(k),
                            .slow = true};
    snprintf(title, sizeof(title), "%s encode, %s", spec, what);
    bench_row(&row);
    snprintf(title, sizeof(title), "%s decode, %s", spec, what);
    row.run = decode;
    bench_row(&row);
}

static void end(struct work *k)
{
    for (size_t c = 0; c < MAX_CALLS; c++)
        for (size_t i = 0; i < UCB_MAX_GROUPED; i++) ucb_writer_free(&k->payload[c][i]);
    ucb_arena_free(&k->kept);
    ucb_arena_free(&k->arena);
    ucb_arena_free(&k->scratch);
}

BENCH(gptq)
{
    struct work *k = &work;
    begin(k, small_layer, sizeof(small_layer) / sizeof(*small_layer), N_LAYERS);
    bench_spec(k, "gptq:bits=4,group=128", "135M");
    bench_spec(k, "gptq:bits=3,group=128", "135M");
    bench_spec(k, "gptq:group=128,act_order=1", "135M");
    end(k);
    begin(k, large_matrix, 1, 1);
    bench_spec(k, "gptq:bits=4,group=128", "4096^2");
    end(k);
}

BENCH(lowrank)
{
    struct work *k = &work;
    begin(k, single_layer, sizeof(single_layer) / sizeof(*single_layer), N_LAYERS);
    bench_spec(k, "nf4+lowrank:rank=32", "135M");
    bench_spec(k, "nf4+lowrank:rank=32,metric=exact", "135M");
    end(k);
    begin(k, mlp_matrix, 1, 1);
    bench_spec(k, "nf4+lowrank:rank=32", "14336 x 4096");
    bench_spec(k, "nf4+lowrank:rank=32,metric=exact", "14336 x 4096");
    end(k);
}

/* ---- the factor alone ---- */

struct factoring {
    double *moment, *u;
    size_t n;
    struct ucb_arena scratch;
};

static void factor(void *context)
{
    struct factoring *f = context;
    struct ucb_err err;
    size_t pivot;
    memcpy(f->u, f->moment, f->n * f->n * sizeof(double));
    for (size_t i = 0; i < f->n; i++) f->u[i * f->n + i] += 1;
    bench_require(
        ucb_dense_inverse_factor(f->u, f->n, bench_pool(), &f->scratch, &pivot, &err),
        &err);
    ucb_arena_reset(&f->scratch);
}

BENCH(inverse_factor)
{
    static const uint32_t sizes[] = {576, 1536, LARGE};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct factoring f = {.n = sizes[i]};
        double n = (double)f.n;
        char title[64];
        f.moment = second_moment(&work, sizes[i]);
        f.u = room(&work, f.n * f.n * sizeof(double));
        snprintf(title, sizeof(title), "U of H^-1 = U^T U, fp64, n = %u", sizes[i]);
        struct bench_row row = {.what = title,
                                .arithmetic = "",
                                .work = 2 * n * n * n / 3, /* factor and inverse */
                                .unit = "GFLOP/s",
                                .run = factor,
                                .context = &f,
                                .verified = true, /* unit/test_dense.c */
                                .slow = true};
        bench_row(&row);
        ucb_arena_free(&f.scratch);
        ucb_arena_free(&work.kept);
    }
}
