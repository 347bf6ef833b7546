/*
 * bench_methods - seconds to encode and decode the linear layers of SmolLM2-135M (106 M
 * weights), by method.
 *
 *     bench_methods [threads [spec ...]]
 *
 * The seven matrices of one layer, Gaussian, run thirty times: the sizes of the real thing
 * without the file. The first round warms up and is not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "method/chain.h"
#include "method_fixture.h"

enum {
    N_LAYERS = 30,
    N_MATRICES = 7,
    LAYER_WEIGHTS = 576 * (2 * 576 + 2 * 192 + 3 * 1536)
};
static const uint32_t shapes[N_MATRICES][2] = {
    {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}};
static const char *const usual[] = {"nf4",
                                    "nf4:double_quant=1",
                                    "fp4",
                                    "int8",
                                    "rtn:bits=4",
                                    "rtn:bits=3",
                                    "hqq:bits=4",
                                    "hqq:bits=3",
                                    "hqq:bits=2,group=16",
                                    "hqq:bits=4,axis=0",
                                    NULL};

struct bench {
    struct method_fixture f;
    const float *w;
    float *decoded;
    double encode_seconds, decode_seconds;
    size_t n_bytes;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop_on(ucb_status status, const struct ucb_err *err)
{
    if (status == UCB_OK) return;
    fprintf(stderr, "bench_methods: %s\n", err->text);
    exit(ucb_exit_code(status));
}

static void run_layer(struct bench *b)
{
    const float *w = b->w;
    struct ucb_err err;
    for (int i = 0; i < N_MATRICES; i++) {
        struct ucb_matrix m = {
            .name = "m", .n_out = shapes[i][0], .n_in = shapes[i][1], .dtype = UCB_BF16};
        struct ucb_source src = {.matrix = &m, .w = w};
        double t0 = now();
        stop_on(ucb_chain_encode(b->f.chain, &b->f.context, &src, &b->f.out, &err), &err);
        double t1 = now();
        stop_on(ucb_chain_decode(b->f.chain, &b->f.context, &m, b->f.out.data,
                                 b->f.out.n_bytes, b->decoded, NULL, &err),
                &err);
        b->decode_seconds += now() - t1;
        b->encode_seconds += t1 - t0;
        b->n_bytes += b->f.out.n_bytes;
        ucb_arena_reset(&b->f.arena);
        w += (size_t)m.n_out * m.n_in;
    }
}

static void bench_spec(const char *spec, unsigned n_threads, const float *w, float *decoded)
{
    struct bench b = {.w = w, .decoded = decoded};
    fixture_open(&b.f, spec, 1, 1, UCB_BF16, n_threads);
    b.f.context.trace = NULL;
    run_layer(&b);
    b.encode_seconds = b.decode_seconds = 0;
    b.n_bytes = 0;
    for (int layer = 0; layer < N_LAYERS; layer++) run_layer(&b);
    printf("%-24s encode %7.3f s   decode %7.3f s (%5.1f GB/s written)   %.4f bits per "
           "weight\n",
           spec, b.encode_seconds, b.decode_seconds,
           4e-9 * N_LAYERS * LAYER_WEIGHTS / b.decode_seconds,
           8.0 * (double)b.n_bytes / ((double)N_LAYERS * LAYER_WEIGHTS));
    fixture_close(&b.f);
}

int main(int n_args, char **args)
{
    unsigned n_threads = n_args > 1 ? (unsigned)atoi(args[1]) : 0;
    float *w = malloc(LAYER_WEIGHTS * sizeof(float)),
          *decoded = malloc(LAYER_WEIGHTS * sizeof(float));
    if (w == NULL || decoded == NULL) return 1;
    fill_gaussian(w, LAYER_WEIGHTS, 0.05, "bench");
    for (int i = 2; i < n_args; i++) bench_spec(args[i], n_threads, w, decoded);
    for (int i = 0; n_args <= 2 && usual[i] != NULL; i++)
        bench_spec(usual[i], n_threads, w, decoded);
    free(w);
    free(decoded);
    return 0;
}
