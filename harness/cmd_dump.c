/*
 * cmd_dump.c - logits and hidden states of given ids, for conformance tests: the sweep's
 * own loader, layers and head.
 */
#include "cmd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/text.h"
#include "eval/loader.h"
#include "pack/unpack.h"
#include "model/checkpoint.h"
#include "stats/sum.h"
#include "core/fmath.h"

static const char help[] =
    "usage: ucbench dump --model M --ids FILE --out FILE [options]\n"
    "\n"
    "Runs sequences of ids through a model, each from position 0, and writes what comes out as safetensors.\n"
    "\n"
    "  --ids FILE     safetensors with int32 or int64 vectors input_ids.0, input_ids.1, ...\n"
    "  --out FILE     gets logits.K [tokens, vocabulary] (F32) and loglik (F64): sum of log softmax(logits[t])[id[t+1]]\n"
    "  --hidden       also hidden.K.embed, hidden.K.layer.N and hidden.K.final_norm [tokens, hidden] (F32),\n"
    "                 and of layers with experts router.K.N.experts (I32) and router.K.N.weights (F32) [tokens, used]\n"
    "  --method SPEC  the model as a method leaves it (default none); --scope body|linear|all, --seed N\n"
    "  --arithmetic fp32|bf16|bf16-dot|cublas    --kernel auto|scalar|avx2|avx512|amx|cuda    --threads N    --batch N    --cache DIR\n"
    "  --json         how many sequences and tokens, and the path that ran, as JSON on stdout\n"
    "\n"
    "example\n"
    "  ucbench dump --model model.gguf --ids ids.safetensors --out logits.safetensors --hidden\n";

enum {
    MAX_SEQUENCES = 4096,
    HEAD_IDS = 2048 /* of a slab of the head */
};

struct dump_args {
    const char *model, *ids, *out, *method, *scope, *seed, *arithmetic, *kernel, *threads,
        *batch, *cache;
    bool hidden, json;
};

/* The tensors to write; names and data live in the arena. */
struct output {
    struct ucb_arena *arena;
    struct ucb_tensor *tensors;
    size_t n, capacity;
};

struct dump {
    struct dump_args args;
    struct ucb_arena arena;
    struct ucb_pool *pool;
    struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_backend *backend;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_chain *chain;
    struct ucb_tally tally;
    struct output out;
    size_t n_sequences, n_rows, longest, *start; /* start[n_sequences + 1] */
    unsigned *number;                            /* K of each sequence */
    uint32_t *ids;
    float *x;
    size_t batch;
};

static ucb_status parse_args(int n_args, char **args, struct dump_args *a,
                             struct ucb_err *err)
{
    const struct ucb_option options[] = {
        {"--model", UCB_OPTION_TEXT, .text = &a->model},
        {"--ids", UCB_OPTION_TEXT, .text = &a->ids},
        {"--out", UCB_OPTION_TEXT, .text = &a->out},
        {"--method", UCB_OPTION_TEXT, .text = &a->method},
        {"--scope", UCB_OPTION_TEXT, .text = &a->scope},
        {"--seed", UCB_OPTION_TEXT, .text = &a->seed},
        {"--arithmetic", UCB_OPTION_TEXT, .text = &a->arithmetic},
        {"--kernel", UCB_OPTION_TEXT, .text = &a->kernel},
        {"--threads", UCB_OPTION_TEXT, .text = &a->threads},
        {"--batch", UCB_OPTION_TEXT, .text = &a->batch},
        {"--cache", UCB_OPTION_TEXT, .text = &a->cache},
        {"--hidden", UCB_OPTION_SWITCH, .on = &a->hidden},
        {"--json", UCB_OPTION_SWITCH, .on = &a->json},
    };
    UCB_TRY(ucb_options_parse("dump", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), NULL, NULL, 0, err));
    if (a->model == NULL || a->ids == NULL || a->out == NULL)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench dump needs --model, --ids and --out; see `ucbench dump --help`");
    if (ucb_file_same(a->out, a->ids) || ucb_file_same(a->out, a->model))
        return UCB_FAIL(err, UCB_USAGE,
                        "--out %s is an input of this command; name another file", a->out);
    return UCB_OK;
}

static ucb_status open_engine(struct dump *d, struct ucb_err *err)
{
    const struct dump_args *a = &d->args;
    char path[4096];
    const char *digest;
    enum ucb_arithmetic arithmetic;
    enum ucb_kernel kernel;
    enum ucb_scope scope;
    unsigned threads;
    uint64_t seed = 0;
    UCB_TRY(ucb_option_threads(a->threads, &threads, err));
    UCB_TRY(ucb_option_batch(a->batch, &d->batch, err));
    if (a->seed != NULL && !ucb_parse_u64(a->seed, &seed))
        return UCB_FAIL(err, UCB_USAGE, "--seed %s: a whole number from 0 on", a->seed);
    UCB_TRY(ucb_arithmetic_find(a->arithmetic == NULL ? "fp32" : a->arithmetic, &arithmetic,
                                err));
    UCB_TRY(ucb_kernel_find(a->kernel == NULL ? "auto" : a->kernel, &kernel, err));
    UCB_TRY(ucb_scope_find(a->scope == NULL ? "body" : a->scope, &scope, err));
    UCB_TRY(
        ucb_chain_parse(a->method == NULL ? "none" : a->method, &d->arena, &d->chain, err));
    if (ucb_chain_needs_text(d->chain))
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s needs calibration, which `ucbench dump` does not give; pack the "
            "model with `ucbench pack --format gguf` and dump that file",
            a->method);
    UCB_TRY(ucb_pool_open(threads, &d->pool, err));
    UCB_TRY(ucb_backend_open(arithmetic, kernel, d->pool, &d->backend, err));
    UCB_TRY(ucb_pack_locate_model(a->model, a->cache, path, sizeof(path), err));
    UCB_TRY(ucb_model_open(path, &d->model, err));
    if (ucb_checkpoint_holds(ucb_model_checkpoint(d->model), a->out))
        return UCB_FAIL(err, UCB_USAGE,
                        "--out %s is an input of this command; name another file", a->out);
    UCB_TRY(ucb_model_digest(d->model, &digest, err));
    d->arch = ucb_model_arch(d->model);
    if (ucb_model_warning(d->model) != NULL)
        fprintf(stderr, "%s: %s\n", a->model, ucb_model_warning(d->model));
    return ucb_loader_open(d->model, d->backend, d->pool, scope, seed, digest, &d->loader,
                           err);
}

static ucb_status check_sequence(const struct dump *d, const struct ucb_tensor *t,
                                 struct ucb_err *err)
{
    if (t->n_dims != 1 || t->n_elements == 0 ||
        (t->dtype != UCB_I32 && t->dtype != UCB_I64))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: %s is %s with %u dimensions and %llu elements, expected a vector of I32 or I64",
            d->args.ids, t->name, ucb_dtype_name(t->dtype), t->n_dims,
            (unsigned long long)t->n_elements);
    return UCB_OK;
}

static ucb_status copy_ids(struct dump *d, const struct ucb_tensor *t, uint32_t *out,
                           struct ucb_err *err)
{
    for (uint64_t i = 0; i < t->n_elements; i++) {
        int64_t id = t->dtype == UCB_I32 ? (int32_t)ucb_load_u32(t->data + 4 * i)
                                         : (int64_t)ucb_load_u64(t->data + 8 * i);
        if (id < 0 || id >= d->arch->vocabulary)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s[%llu] is %lld, the model's vocabulary has ids 0 to %u",
                            d->args.ids, t->name, (unsigned long long)i, (long long)id,
                            d->arch->vocabulary - 1);
        out[i] = (uint32_t)id;
    }
    return UCB_OK;
}

/* Sequences in order of K; gaps are allowed. */
static ucb_status lay_sequences(struct dump *d, const struct ucb_checkpoint *c,
                                struct ucb_err *err)
{
    d->start = UCB_NEW(&d->arena, size_t, MAX_SEQUENCES + 1);
    d->number = UCB_NEW(&d->arena, unsigned, MAX_SEQUENCES);
    if (d->start == NULL || d->number == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the sequences");
    for (unsigned k = 0; k < MAX_SEQUENCES; k++) {
        char name[32];
        snprintf(name, sizeof(name), "input_ids.%u", k);
        const struct ucb_tensor *t = ucb_checkpoint_find(c, name);
        if (t == NULL) continue;
        UCB_TRY(check_sequence(d, t, err));
        d->number[d->n_sequences] = k;
        d->start[++d->n_sequences] = d->n_rows += t->n_elements;
        if (t->n_elements > d->longest) d->longest = t->n_elements;
    }
    if (d->n_sequences == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: no tensor input_ids.0, input_ids.1, ... in it", d->args.ids);
    d->ids = UCB_NEW(&d->arena, uint32_t, d->n_rows);
    d->x = UCB_NEW(&d->arena, float, d->n_rows * d->arch->hidden);
    if (d->ids == NULL || d->x == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu tokens", d->n_rows);
    ucb_backend_keep(d->backend, d->x, d->n_rows * d->arch->hidden * sizeof(*d->x));
    for (size_t s = 0; s < d->n_sequences; s++) {
        char name[32];
        snprintf(name, sizeof(name), "input_ids.%u", d->number[s]);
        UCB_TRY(copy_ids(d, ucb_checkpoint_find(c, name), d->ids + d->start[s], err));
    }
    return UCB_OK;
}

static ucb_status read_ids(struct dump *d, struct ucb_err *err)
{
    struct ucb_checkpoint *c;
    UCB_TRY(ucb_checkpoint_open(d->args.ids, &c, err));
    ucb_status status = lay_sequences(d, c, err);
    ucb_checkpoint_close(c);
    return status;
}

static ucb_status put(struct output *o, const char *name, enum ucb_dtype dtype,
                      uint64_t rows, uint64_t columns, const void *data,
                      struct ucb_err *err)
{
    uint64_t n = columns == 0 ? rows : rows * columns;
    if (o->n == o->capacity) {
        size_t capacity = o->capacity == 0 ? 64 : 2 * o->capacity;
        struct ucb_tensor *grown = UCB_NEW(o->arena, struct ucb_tensor, capacity);
        if (grown != NULL && o->n > 0) memcpy(grown, o->tensors, o->n * sizeof(*grown));
        o->tensors = grown;
        o->capacity = capacity;
    }
    if (name == NULL || o->tensors == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the tensors to write");
    o->tensors[o->n++] = (struct ucb_tensor){.name = name,
                                             .dtype = dtype,
                                             .n_dims = columns == 0 ? 1 : 2,
                                             .shape = {rows, columns},
                                             .n_elements = n,
                                             .data = data,
                                             .n_bytes = n * ucb_dtype_block_bytes(dtype)};
    return UCB_OK;
}

/* Keeps a copy of the states of every sequence under hidden.K.<what>. */
static ucb_status put_hidden(struct dump *d, const char *what, const float *x,
                             struct ucb_err *err)
{
    if (!d->args.hidden) return UCB_OK;
    size_t n_floats = d->n_rows * d->arch->hidden;
    ucb_backend_read(d->backend, x, n_floats * sizeof(*x));
    float *copy = UCB_NEW(&d->arena, float, n_floats);
    if (copy == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for hidden.*.%s", what);
    memcpy(copy, x, n_floats * sizeof(*copy));
    for (size_t s = 0; s < d->n_sequences; s++)
        UCB_TRY(put(&d->out,
                    ucb_arena_printf(&d->arena, "hidden.%u.%s", d->number[s], what),
                    UCB_F32, d->start[s + 1] - d->start[s], d->arch->hidden,
                    copy + d->start[s] * d->arch->hidden, err));
    return UCB_OK;
}

/* What a layer's router chose, for all rows so far. */
struct routes {
    struct dump *dump;
    uint32_t *experts;
    float *weights;
    size_t n_rows;
};

static ucb_status keep_routes(void *context, const uint32_t *experts, const float *weights,
                              size_t n_rows, struct ucb_err *err)
{
    struct routes *r = context;
    size_t used = r->dump->arch->experts.used, all = r->dump->n_rows * used,
           at = r->n_rows * used;
    if (r->experts == NULL) {
        r->experts = UCB_NEW(&r->dump->arena, uint32_t, all);
        r->weights = UCB_NEW(&r->dump->arena, float, all);
    }
    if (r->experts == NULL || r->weights == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the choices of a router");
    memcpy(r->experts + at, experts, n_rows * used * sizeof(*experts));
    memcpy(r->weights + at, weights, n_rows * used * sizeof(*weights));
    r->n_rows += n_rows;
    return UCB_OK;
}

static ucb_status put_routes(struct dump *d, uint32_t layer, const struct routes *r,
                             struct ucb_err *err)
{
    size_t used = d->arch->experts.used;
    if (r->experts == NULL) return UCB_OK;
    for (size_t s = 0; s < d->n_sequences; s++) {
        size_t n = d->start[s + 1] - d->start[s], at = d->start[s] * used;
        UCB_TRY(
            put(&d->out,
                ucb_arena_printf(&d->arena, "router.%u.%u.experts", d->number[s], layer),
                UCB_I32, n, used, r->experts + at, err));
        UCB_TRY(
            put(&d->out,
                ucb_arena_printf(&d->arena, "router.%u.%u.weights", d->number[s], layer),
                UCB_F32, n, used, r->weights + at, err));
    }
    return UCB_OK;
}

static ucb_status run_layers(struct dump *d, struct ucb_err *err)
{
    struct ucb_layer layer;
    UCB_TRY(ucb_loader_embed(d->loader, d->chain, &d->tally, d->ids, d->n_sequences,
                             d->start, d->x, err));
    UCB_TRY(put_hidden(d, "embed", d->x, err));
    for (uint32_t i = 0; i < d->arch->n_layers; i++) {
        char what[32];
        struct routes routes = {.dump = d};
        struct ucb_tap tap = {.route = d->args.hidden ? keep_routes : NULL,
                              .context = &routes};
        snprintf(what, sizeof(what), "layer.%u", i);
        UCB_TRY(ucb_loader_layer(d->loader, d->chain, i, &d->tally, NULL, &layer, err));
        UCB_TRY(ucb_forward_layer_tapped(d->forward, &layer, d->n_sequences, d->start, d->x,
                                         &tap, err));
        UCB_TRY(put_hidden(d, what, d->x, err));
        UCB_TRY(put_routes(d, i, &routes, err));
    }
    UCB_TRY(ucb_loader_final_norm(d->loader, d->x, d->n_rows, d->x, err));
    return put_hidden(d, "final_norm", d->x, err);
}

/* log softmax(z)[target] in double. */
static double log_probability(const float *z, uint32_t n, uint32_t target)
{
    double peak = -INFINITY;
    struct ucb_sum sum = {0};
    for (uint32_t i = 0; i < n; i++) peak = fmax(peak, (double)z[i]);
    for (uint32_t i = 0; i < n; i++) ucb_sum_add(&sum, ucb_exp((double)z[i] - peak));
    return (double)z[target] - peak - ucb_log(ucb_sum_value(&sum));
}

/* A slab of the head: rows [row, row + weight.n_out), read and packed. */
struct head_slab {
    struct ucb_packed weight;
    float *w, *y; /* [HEAD_IDS][hidden], [batch][HEAD_IDS] */
};

static ucb_status alloc_slab(struct dump *d, struct head_slab *slab, struct ucb_err *err)
{
    size_t hidden = d->arch->hidden;
    slab->weight = (struct ucb_packed){
        ucb_arena_alloc(&d->arena, ucb_pack_bytes(d->backend, HEAD_IDS, d->arch->hidden)),
        HEAD_IDS, d->arch->hidden};
    slab->w = UCB_NEW(&d->arena, float, HEAD_IDS *hidden);
    slab->y = UCB_NEW(&d->arena, float, HEAD_IDS * d->batch);
    if (slab->weight.data == NULL || slab->w == NULL || slab->y == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a slab of the head");
    return UCB_OK;
}

/* Columns [first, first + slab->weight.n_out) of the logits z of rows [row, end). */
static ucb_status multiply_slab(struct dump *d, const struct head_slab *slab,
                                const float *bias, uint32_t first, size_t row, size_t end,
                                float *z, struct ucb_err *err)
{
    uint32_t vocabulary = d->arch->vocabulary, n = slab->weight.n_out;
    for (size_t at = row; at < end; at += d->batch) {
        size_t m = end - at < d->batch ? end - at : d->batch;
        UCB_TRY(ucb_linear(d->backend, &slab->weight, bias == NULL ? NULL : bias + first,
                           d->x + at * d->arch->hidden, m, slab->y, err));
        for (size_t i = 0; i < m; i++)
            memcpy(z + (at - row + i) * vocabulary + first, slab->y + i * n,
                   n * sizeof(*z));
    }
    return UCB_OK;
}

/* The head passes by once, slab after slab. */
static ucb_status make_logits(struct dump *d, float *const *logits, struct ucb_err *err)
{
    const float *bias;
    struct head_slab slab;
    struct ucb_weight_rows rows = ucb_loader_head_rows(d->loader, d->chain);
    UCB_TRY(ucb_loader_head(d->loader, d->chain, &d->tally, NULL, err));
    UCB_TRY(ucb_loader_head_bias(d->loader, &bias, err));
    UCB_TRY(alloc_slab(d, &slab, err));
    for (uint32_t id = 0; id < d->arch->vocabulary; id += HEAD_IDS) {
        uint32_t left = d->arch->vocabulary - id;
        slab.weight.n_out = left < HEAD_IDS ? left : HEAD_IDS;
        UCB_TRY(rows.read(rows.context, id, slab.weight.n_out, slab.w, err));
        ucb_pack(d->backend, slab.w, &slab.weight);
        for (size_t s = 0; s < d->n_sequences; s++)
            UCB_TRY(multiply_slab(d, &slab, bias, id, d->start[s], d->start[s + 1],
                                  logits[s], err));
    }
    return UCB_OK;
}

static ucb_status run_head(struct dump *d, struct ucb_err *err)
{
    uint32_t vocabulary = d->arch->vocabulary;
    double *loglik = UCB_NEW(&d->arena, double, d->n_sequences);
    float **logits = UCB_NEW(&d->arena, float *, d->n_sequences);
    if (loglik == NULL || logits == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu sequences", d->n_sequences);
    for (size_t s = 0; s < d->n_sequences; s++) {
        size_t n = d->start[s + 1] - d->start[s];
        logits[s] = UCB_NEW(&d->arena, float, n *vocabulary);
        if (logits[s] == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "no memory for the logits of %zu tokens", n);
    }
    ucb_loader_rest(d->loader);
    UCB_TRY(make_logits(d, logits, err));
    for (size_t s = 0; s < d->n_sequences; s++) {
        size_t n = d->start[s + 1] - d->start[s];
        const uint32_t *ids = d->ids + d->start[s];
        float *z = logits[s];
        if (d->arch->final_softcap != 0)
            ucb_softcap(d->backend, z, n * vocabulary, d->arch->final_softcap);
        struct ucb_sum sum = {0};
        for (size_t t = 0; t + 1 < n; t++)
            ucb_sum_add(&sum, log_probability(z + t * vocabulary, vocabulary, ids[t + 1]));
        loglik[s] = ucb_sum_value(&sum);
        UCB_TRY(put(&d->out, ucb_arena_printf(&d->arena, "logits.%u", d->number[s]),
                    UCB_F32, n, vocabulary, z, err));
    }
    UCB_TRY(ucb_backend_finish(d->backend, err));
    return put(&d->out, "loglik", UCB_F64, d->n_sequences, 0, loglik, err);
}

static void close_engine(struct dump *d)
{
    uint8_t unused[UCB_SHA256_BYTES];
    if (d->tally.digest.context != NULL) ucb_sha256_final(&d->tally.digest, unused);
    ucb_forward_close(d->forward);
    ucb_loader_close(d->loader);
    ucb_backend_close(d->backend);
    ucb_model_close(d->model);
    ucb_pool_close(d->pool);
    ucb_arena_free(&d->arena);
}

static ucb_status dump_main(int n_args, char **args, struct ucb_err *err)
{
    struct dump d = {0};
    ucb_status status;
    ucb_arena_init(&d.arena);
    d.out.arena = &d.arena;
    UCB_TRY_OUT(parse_args(n_args, args, &d.args, err));
    UCB_TRY_OUT(open_engine(&d, err));
    UCB_TRY_OUT(read_ids(&d, err));
    UCB_TRY_OUT(ucb_forward_open(d.backend, d.arch, d.batch, d.longest, &d.forward, err));
    ucb_tally_begin(&d.tally);
    UCB_TRY_OUT(run_layers(&d, err));
    UCB_TRY_OUT(run_head(&d, err));
    UCB_TRY_OUT(ucb_safetensors_write(d.args.out, d.out.tensors, d.out.n, err));
    if (d.args.json)
        printf("{\"sequences\": %zu, \"tokens\": %zu, \"kernel\": \"%s\"}\n", d.n_sequences,
               d.n_rows, ucb_kernel_name(ucb_backend_kernel(d.backend)));
out:
    close_engine(&d);
    return status;
}

const struct ucb_command ucb_command_dump = {
    .name = "dump",
    .summary = "logits and hidden states of given ids, as safetensors",
    .help = help,
    .run = dump_main,
};
