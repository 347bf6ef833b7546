/*
 * bench_serve.c - one measurement per line of standard input, for a program that times
 * another project in between (scripts/peers.py, scripts/peers_scoring.py):
 *
 *     load FILE      the matrices of a .safetensors file, in file order; a tensor of one
 *                    dimension holds the importance of the columns of the matrix before
 *     encode SPEC    encodes all of them        -> ok SECONDS BYTES
 *     decode         decodes what was encoded last  -> ok SECONDS BYTES
 *     write FILE     their payloads, one after the other
 *     model NAME     opens a model
 *     score ARITHMETIC FILE   evaluates it on a file of windows (bench.h)
 *                    -> ok SECONDS MEAN_LOGP
 *
 * Each answer is one line, "ok ..." or "error SENTENCE"; after an error the next line is
 * read as usual. Only the work itself stands between the two looks at the clock.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "method/chain.h"
#include "model/checkpoint.h"

enum { MAX_MATRICES = 1024, LINE_BYTES = 4096 };

struct item {
    struct ucb_matrix matrix;
    struct ucb_calib calib; /* sq_mean only */
    float *w;
    double *importance; /* NULL: none */
    struct ucb_writer payload;
};

static struct serve {
    struct item items[MAX_MATRICES];
    size_t n_items;
    struct ucb_arena loaded, kept, arena, scratch; /* kept: the chain */
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    float *decoded; /* room for the largest matrix */
} serve;

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ucb_status add_matrix(struct serve *s, const struct ucb_tensor *t,
                             struct ucb_err *err)
{
    struct item *item = &s->items[s->n_items];
    if (s->n_items == MAX_MATRICES)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: more than %d matrices", t->file,
                        MAX_MATRICES);
    *item = (struct item){.matrix = {.name = ucb_arena_strdup(&s->loaded, t->name),
                                     .n_out = (uint32_t)t->shape[0],
                                     .n_in = (uint32_t)t->shape[1],
                                     .dtype = t->dtype},
                          .w = UCB_NEW(&s->loaded, float, t->n_elements)};
    if (item->w == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %s", t->name);
    s->n_items++;
    UCB_TRY(ucb_tensor_widen(t, 0, t->n_elements, item->w, err));
    for (uint64_t i = 0; i < t->n_elements; i++) /* as the reader of models does, once */
        if (!isfinite(item->w[i]))
            return UCB_FAIL(err, UCB_CORRUPT, "%s: weight %llu is not finite", t->name,
                            (unsigned long long)i);
    return UCB_OK;
}

static ucb_status add_importance(struct serve *s, const struct ucb_tensor *t,
                                 struct ucb_err *err)
{
    struct item *item = s->n_items == 0 ? NULL : &s->items[s->n_items - 1];
    if (item == NULL || item->matrix.n_in != t->n_elements)
        return UCB_FAIL(err, UCB_USAGE, "%s: follows no matrix of %llu columns", t->name,
                        (unsigned long long)t->n_elements);
    float *values = UCB_NEW(&s->loaded, float, t->n_elements);
    item->importance = UCB_NEW(&s->loaded, double, t->n_elements);
    if (values == NULL || item->importance == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %s", t->name);
    UCB_TRY(ucb_tensor_widen(t, 0, t->n_elements, values, err));
    for (uint64_t i = 0; i < t->n_elements; i++) item->importance[i] = (double)values[i];
    item->calib = (struct ucb_calib){
        .n_tokens = 1, .n_sequences = 1, .sq_mean = item->importance};
    return UCB_OK;
}

static void unload(struct serve *s)
{
    for (size_t i = 0; i < s->n_items; i++) ucb_writer_free(&s->items[i].payload);
    s->n_items = 0;
    s->chain = NULL;
    ucb_arena_free(&s->loaded);
}

static ucb_status load(struct serve *s, const char *path, struct ucb_err *err)
{
    struct ucb_checkpoint *file;
    ucb_status status = UCB_OK;
    uint64_t largest = 0;
    unload(s);
    UCB_TRY(ucb_checkpoint_open(path, &file, err));
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(file) && status == UCB_OK; i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(file, i);
        if (t->n_elements > largest) largest = t->n_elements;
        status = t->n_dims == 1 ? add_importance(s, t, err)
                 : t->n_dims == 2
                     ? add_matrix(s, t, err)
                     : UCB_FAIL(err, UCB_UNSUPPORTED, "%s: %u dimensions, expected 1 or 2",
                                t->name, t->n_dims);
    }
    ucb_checkpoint_close(file);
    UCB_TRY(status);
    s->decoded = UCB_NEW(&s->loaded, float, largest);
    if (s->decoded == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to decode into");
    printf("ok %zu\n", s->n_items);
    return UCB_OK;
}

static size_t payload_bytes(const struct serve *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_items; i++) n += s->items[i].payload.n_bytes;
    return n;
}

static ucb_status encode(struct serve *s, const char *spec, struct ucb_err *err)
{
    s->chain = NULL;
    ucb_arena_reset(&s->kept);
    struct ucb_chain *chain;
    UCB_TRY(ucb_chain_parse(spec, &s->kept, &chain, err));
    bool needs = ucb_chain_needs(chain) != UCB_NEEDS_NONE;
    double start = now_seconds();
    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        struct ucb_writer *out = &item->payload;
        struct ucb_source source = {.matrix = &item->matrix, .w = item->w, .finite = true};
        if (needs && item->importance == NULL)
            return UCB_FAIL(err, UCB_USAGE, "%s: %s wants the importance of its columns",
                            item->matrix.name, spec);
        if (needs) source.calib = &item->calib;
        UCB_TRY(ucb_chain_encode(chain, &s->context, &source, 1, &out, err));
    }
    printf("ok %.9f %zu\n", now_seconds() - start, payload_bytes(s));
    s->chain = chain;
    return UCB_OK;
}

static ucb_status decode(struct serve *s, struct ucb_err *err)
{
    if (s->chain == NULL) return UCB_FAIL(err, UCB_USAGE, "nothing is encoded yet");
    double start = now_seconds();
    for (size_t i = 0; i < s->n_items; i++) {
        struct item *item = &s->items[i];
        UCB_TRY(ucb_chain_decode(s->chain, &s->context, &item->matrix, item->payload.data,
                                 item->payload.n_bytes, s->decoded, NULL, err));
    }
    printf("ok %.9f %zu\n", now_seconds() - start, payload_bytes(s));
    return UCB_OK;
}

static ucb_status write_payloads(const struct serve *s, const char *path,
                                 struct ucb_err *err)
{
    FILE *file = fopen(path, "wb");
    size_t n = 0;
    if (file == NULL) return UCB_FAIL(err, UCB_IO, "%s: cannot be written", path);
    for (size_t i = 0; i < s->n_items; i++)
        n += fwrite(s->items[i].payload.data, 1, s->items[i].payload.n_bytes, file);
    if (fclose(file) != 0 || n != payload_bytes(s))
        return UCB_FAIL(err, UCB_IO, "%s: %zu of %zu bytes written", path, n,
                        payload_bytes(s));
    printf("ok %zu\n", n);
    return UCB_OK;
}

static ucb_status open_model(const char *name, struct ucb_err *err)
{
    UCB_TRY(bench_scoring_open(name, err));
    printf("ok\n");
    return UCB_OK;
}

static ucb_status score(const char *what, struct ucb_err *err)
{
    char arithmetic[16];
    struct bench_score score;
    size_t n = strcspn(what, " ");
    if (what[n] == '\0' || n >= sizeof(arithmetic))
        return UCB_FAIL(err, UCB_USAGE, "score %s: expected an arithmetic and a file",
                        what);
    snprintf(arithmetic, sizeof(arithmetic), "%.*s", (int)n, what);
    UCB_TRY(bench_scoring_run(arithmetic, what + n + 1, &score, err));
    printf("ok %.9f %.17g\n", score.seconds, score.mean_logp);
    return UCB_OK;
}

static ucb_status obey(struct serve *s, const char *verb, const char *object,
                       struct ucb_err *err)
{
    if (strcmp(verb, "load") == 0) return load(s, object, err);
    if (strcmp(verb, "encode") == 0) return encode(s, object, err);
    if (strcmp(verb, "decode") == 0) return decode(s, err);
    if (strcmp(verb, "write") == 0) return write_payloads(s, object, err);
    if (strcmp(verb, "model") == 0) return open_model(object, err);
    if (strcmp(verb, "score") == 0) return score(object, err);
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: expected load, encode, decode, write, model or score", verb);
}

void bench_serve(void)
{
    char line[LINE_BYTES];
    struct serve *s = &serve;
    s->context = (struct ucb_chain_context){.pool = bench_pool(),
                                            .arena = &s->arena,
                                            .scratch = &s->scratch,
                                            .seed = 1,
                                            .model_digest = "bench"};
    while (fgets(line, sizeof(line), stdin) != NULL) {
        struct ucb_err err;
        line[strcspn(line, "\n")] = '\0';
        char *object = strchr(line, ' ');
        if (object != NULL) *object++ = '\0';
        if (obey(s, line, object != NULL ? object : "", &err) != UCB_OK)
            printf("error %s\n", err.text);
        fflush(stdout);
    }
    unload(s);
    ucb_arena_free(&s->kept);
    ucb_arena_free(&s->arena);
    ucb_arena_free(&s->scratch);
}
