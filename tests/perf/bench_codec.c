/*
 * bench_codec.c - the lossless codec beside memcpy, zstd and lz4 in one run: bits per
 * weight, and gigabytes of weights a second as multiples of memcpy's.
 *
 * The weights are what $UCB_BENCH_WEIGHTS names, or Gaussian ones: bf16, sigma 0.02. A file
 * of safetensors gives its F32 tensors rounded to BF16, F16 and BF16 ones as they are. One
 * thread by its CPU time, all threads by the wall; the median of nine, candidates in turn.
 */
#include "bench.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/codec.h"
#include "core/half.h"
#include "core/pcg.h"
#include "core/pool.h"
#include "model/checkpoint.h"

enum { REPEATS = 9, N_CODERS = 7, GAUSSIAN = 24 << 20, COLUMNS = 576, BLOCK = 2 << 20 };

/* Peers are looked for when the program runs, so that it builds without them. */
typedef size_t zstd_compress(void *out, size_t room, const void *in, size_t n, int level);
typedef size_t zstd_decompress(void *out, size_t room, const void *in, size_t n);
typedef int lz4_compress(const char *in, char *out, int n, int room);
typedef int lz4_decompress(const char *in, char *out, int n, int room);
static struct {
    zstd_compress *zstd;
    zstd_decompress *unzstd;
    lz4_compress *lz4;
    lz4_decompress *unlz4;
} peers;

static void find_peers(void)
{
    void *zstd = dlopen("libzstd.so.1", RTLD_NOW), *lz4 = dlopen("liblz4.so.1", RTLD_NOW);
    if (zstd != NULL) {
        *(void **)&peers.zstd = dlsym(zstd, "ZSTD_compress");
        *(void **)&peers.unzstd = dlsym(zstd, "ZSTD_decompress");
    }
    if (lz4 != NULL) {
        *(void **)&peers.lz4 = dlsym(lz4, "LZ4_compress_default");
        *(void **)&peers.unlz4 = dlsym(lz4, "LZ4_decompress_safe");
    }
}

struct blocks {
    uint8_t *data;
    size_t *lengths, n; /* of 2 MiB of weights each, room for as much and 64 KiB */
};

static struct coding {
    enum ucb_dtype dtype;
    uint8_t *weights, *decoded;
    size_t n_bytes;
    struct ucb_pool *pool; /* NULL: one thread */
    struct ucb_writer stream[UCB_CODEC_MAX + 1];
    struct ucb_arena scratch;
    struct blocks blocks[N_CODERS];
} coding;

static const struct coder {
    const char *name;
    enum { COPY, OURS, ZSTD, LZ4 } kind;
    int level;
} coders[N_CODERS] = {{"memcpy", COPY, 0},
                      {"lossless:mode=fast", OURS, UCB_CODEC_FAST},
                      {"lossless:mode=default", OURS, UCB_CODEC_DEFAULT},
                      {"lossless:mode=max", OURS, UCB_CODEC_MAX},
                      {"zstd -1", ZSTD, 1},
                      {"zstd -3", ZSTD, 3},
                      {"lz4", LZ4, 0}};

static size_t block_bytes(const struct coding *c, size_t i)
{
    return c->n_bytes - i * BLOCK < BLOCK ? c->n_bytes - i * BLOCK : BLOCK;
}

struct task {
    struct coding *c;
    const struct coder *coder;
    bool decode;
};

static void run_block(void *context, size_t i)
{
    const struct task *t = context;
    struct coding *c = t->c;
    struct blocks *b = &c->blocks[t->coder - coders];
    uint8_t *from = c->weights + i * BLOCK, *coded = b->data + i * (BLOCK + (1 << 16)),
            *to = c->decoded + i * BLOCK;
    size_t n = block_bytes(c, i), room = BLOCK + (1 << 16);
    if (t->coder->kind == COPY)
        memcpy(to, from, n);
    else if (t->coder->kind == ZSTD && !t->decode)
        b->lengths[i] = peers.zstd(coded, room, from, n, t->coder->level);
    else if (t->coder->kind == ZSTD)
        peers.unzstd(to, n, coded, b->lengths[i]);
    else if (!t->decode)
        b->lengths[i] = (size_t)peers.lz4((char *)from, (char *)coded, (int)n, (int)room);
    else
        peers.unlz4((char *)coded, (char *)to, (int)b->lengths[i], (int)n);
}

static void run_ours(struct coding *c, enum ucb_codec_mode mode, bool decode)
{
    struct ucb_err err;
    struct ucb_codec codec;
    struct ucb_writer *s = &c->stream[mode];
    struct ucb_codec_source source = {c->dtype, c->weights, c->n_bytes, COLUMNS};
    if (!decode) {
        ucb_writer_reset(s);
        bench_require(ucb_codec_encode(&source, mode, c->pool, &c->scratch, s, &err), &err);
        ucb_arena_reset(&c->scratch);
        return;
    }
    bench_require(ucb_codec_open(c->dtype, c->n_bytes, s->data, s->n_bytes, &codec, &err),
                  &err);
    bench_require(ucb_codec_decode(&codec, 0, c->n_bytes, c->pool, c->decoded, &err), &err);
}

static double run(struct coding *c, const struct coder *coder, bool decode)
{
    clockid_t clock = c->pool == NULL ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    struct timespec a, b;
    struct task task = {c, coder, decode};
    clock_gettime(clock, &a);
    if (coder->kind == OURS)
        run_ours(c, (enum ucb_codec_mode)coder->level, decode);
    else
        ucb_parallel_for(c->pool, (c->n_bytes + BLOCK - 1) / BLOCK, run_block, &task);
    clock_gettime(clock, &b);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t coded_bytes(const struct coding *c, int i)
{
    size_t n = 0;
    if (coders[i].kind == COPY) return c->n_bytes;
    if (coders[i].kind == OURS) return c->stream[coders[i].level].n_bytes;
    for (size_t b = 0; b < (c->n_bytes + BLOCK - 1) / BLOCK; b++)
        n += c->blocks[i].lengths[b];
    return n;
}

static bool present(int i)
{
    return coders[i].kind == ZSTD  ? peers.zstd != NULL
           : coders[i].kind == LZ4 ? peers.lz4 != NULL
                                   : true;
}

/* Our coders go into the table at the end, with all others, memcpy too, as peers. */
static void add_to_table(const struct coding *c, double median[N_CODERS][2])
{
    static const char *const verbs[] = {"encode", "decode"};
    for (int i = 0; i < N_CODERS; i++)
        for (int decode = 0; decode < 2 && coders[i].kind == OURS; decode++) {
            char what[64];
            snprintf(what, sizeof(what), "%s %s, %s", coders[i].name, verbs[decode],
                     c->pool == NULL ? "one thread" : "all threads");
            bench_table_add(&(struct bench_result){what, "", "", median[i][decode], "GB/s",
                                                   median[i][decode] / median[0][decode],
                                                   "memcpy"});
            for (int peer = 0; peer < N_CODERS; peer++)
                if (coders[peer].kind != OURS && present(peer))
                    bench_table_peer(what, "", coders[peer].name,
                                     median[i][decode] / median[peer][decode]);
        }
}

/* A table row a coder: medians of encode and decode, one thread or all. */
static void measure(struct coding *c, struct ucb_pool *pool)
{
    double seconds[N_CODERS][2][REPEATS], median[N_CODERS][2];
    bool verified[N_CODERS];
    c->pool = pool;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        for (int i = 0; i < N_CODERS; i++)
            for (int decode = 0; decode < 2 && present(i); decode++) {
                bool slow = coders[i].kind == OURS && coders[i].level == UCB_CODEC_MAX;
                if (slow && repeat > 0)
                    seconds[i][decode][repeat] = seconds[i][decode][0];
                else
                    seconds[i][decode][repeat] = run(c, &coders[i], decode != 0);
                if (!decode || (slow && repeat > 0)) continue;
                verified[i] = memcmp(c->decoded, c->weights, c->n_bytes) == 0;
                memset(c->decoded, 0, c->n_bytes);
            }
    for (int i = 0; i < N_CODERS; i++) {
        if (!present(i)) {
            printf("%-24s not installed\n", coders[i].name);
            continue;
        }
        for (int decode = 0; decode < 2; decode++) {
            qsort(seconds[i][decode], REPEATS, sizeof(double), by_value);
            median[i][decode] = (double)c->n_bytes * 1e-9 / seconds[i][decode][REPEATS / 2];
        }
        double bits = 8.0 * ucb_dtype_block_bytes(c->dtype) * (double)coded_bytes(c, i) /
                      (double)c->n_bytes;
        printf("%-24s %8.4f %9.3f %9.3f %9.3f  %s\n", coders[i].name, bits, median[i][0],
               median[i][1], median[i][1] / median[0][1],
               verified[i] ? "verified" : "WRONG");
        fflush(stdout);
    }
    add_to_table(c, median);
}

/* ---- weights ---- */

static void take_tensor(struct coding *c, const struct ucb_tensor *t, size_t *at)
{
    uint16_t *to = (uint16_t *)c->weights + *at;
    if (t->dtype != UCB_F32 && t->dtype != c->dtype) return;
    for (uint64_t i = 0; i < t->n_elements; i++)
        to[i] = t->dtype == UCB_F32 ? ucb_bf16_from_f32(ucb_load_f32(t->data + 4 * i))
                                    : ucb_load_u16(t->data + 2 * i);
    *at += t->n_elements;
}

static void load_file(struct coding *c, const char *path)
{
    struct ucb_checkpoint *file;
    struct ucb_err err;
    size_t n = 0, at = 0;
    bench_require(ucb_checkpoint_open(path, &file, &err), &err);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(file); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(file, i);
        if (t->dtype == UCB_F16) c->dtype = UCB_F16;
        n += t->n_elements;
    }
    c->weights = malloc(2 * n + 64);
    if (c->weights == NULL) exit(4);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(file); i++)
        take_tensor(c, ucb_checkpoint_tensor(file, i), &at);
    c->n_bytes = 2 * at;
    ucb_checkpoint_close(file);
}

static void make_gaussian(struct coding *c)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "bench_codec");
    c->n_bytes = 2 * (size_t)GAUSSIAN;
    c->weights = malloc(c->n_bytes);
    if (c->weights == NULL) exit(4);
    for (size_t i = 0; i < GAUSSIAN; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        uint16_t h = ucb_bf16_from_f32((float)(0.02 * radius * cos(turn)));
        memcpy(c->weights + 2 * i, &h, sizeof(h));
    }
}

BENCH(codec)
{
    const char *path = getenv("UCB_BENCH_WEIGHTS");
    struct coding *c = &coding;
    c->dtype = UCB_BF16;
    find_peers();
    if (path != NULL)
        load_file(c, path);
    else
        make_gaussian(c);
    size_t n = (c->n_bytes + BLOCK - 1) / BLOCK;
    c->decoded = malloc(c->n_bytes);
    if (c->decoded == NULL) exit(4);
    for (int i = 0; i < N_CODERS; i++)
        if (coders[i].kind >= ZSTD) {
            c->blocks[i].data = malloc(n * (BLOCK + (1 << 16)));
            c->blocks[i].lengths = calloc(n, sizeof(size_t));
            if (c->blocks[i].data == NULL || c->blocks[i].lengths == NULL) exit(4);
        }
    printf("codec: %zu weights of %s, %s; GB/s of weights\n%-24s %8s %9s %9s %9s\n",
           c->n_bytes / 2, ucb_dtype_name(c->dtype), path == NULL ? "Gaussian" : path,
           "one thread, CPU time", "b/w", "encode", "decode", "memcpy =1");
    measure(c, NULL);
    printf("%u threads, wall\n", ucb_pool_threads(bench_pool()));
    measure(c, bench_pool());
    if (peers.zstd == NULL) bench_table_absent("zstd");
    if (peers.lz4 == NULL) bench_table_absent("lz4");
}
