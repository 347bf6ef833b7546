/*
 * tuner_bench.c - see tuner_bench.h. A step: parameters to weights, weights to the layer's
 * output on the picked windows, the loss, and back: dL/dW, dL/dparameters. Sums are made in
 * one fixed order; products run on the backend's kernels.
 */
#include "eval/tuner_bench.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "eval/gains.h"
#include "model/backward.h"
#include "model/head_gradient.h"

enum { SLAB_ROWS = 4096 };

/* A parameter that the method moves, and what it stands for. */
struct moved {
    float *value;       /* what decoding looks at */
    const float *start; /* NULL, or the parameter is a factor of these */
    float *gradient;    /* of value; with `start` NULL the tuning's own */
};

struct ucb_bench {
    struct ucb_bench_options options;
    const struct ucb_arch *arch;
    struct ucb_arena kept, arena, scratch; /* of the bench, of the layer, of a call */
    struct ucb_backward *backward;
    float *x, *y, *target, *dy; /* [batch * ctx][hidden] */
    size_t *start;              /* [batch + 1] */
    struct ucb_final final;     /* of the KL objective */
    /* The layer. */
    uint32_t layer;
    size_t n_slots;
    const struct ucb_matrix *const *list;
    struct ucb_tunable *tunable; /* [n_slots]; stages NULL: the matrix is the original's */
    struct ucb_layer_arrays weights, gradients;
    float **weight, **d_weight; /* [n_slots]; what the two point to */
    struct moved *moved;        /* [tuning.n_params] */
    struct ucb_bench_states states;
    struct ucb_tuning tuning;
};

static ucb_status no_memory(const struct ucb_bench *b, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "layer %u: no memory to tune it", b->layer);
}

static ucb_status open_buffers(struct ucb_bench *b, struct ucb_err *err)
{
    const struct ucb_bench_options *o = &b->options;
    size_t rows = (size_t)o->plan.batch * o->ctx, n = rows * b->arch->hidden;
    b->x = UCB_NEW(&b->kept, float, n);
    b->y = UCB_NEW(&b->kept, float, n);
    b->target = UCB_NEW(&b->kept, float, n);
    b->dy = UCB_NEW(&b->kept, float, n);
    b->start = UCB_NEW(&b->kept, size_t, o->plan.batch + 1);
    if (b->x == NULL || b->y == NULL || b->target == NULL || b->dy == NULL ||
        b->start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a batch of %u windows of %u tokens",
                        o->plan.batch, o->ctx);
    return ucb_backward_open(o->backend, o->pool, o->model, rows, o->ctx, &b->backward,
                             err);
}

static ucb_status new_packed(struct ucb_bench *b, uint32_t n_out, uint32_t n_in,
                             const struct ucb_packed **out, struct ucb_err *err)
{
    struct ucb_packed *p = UCB_NEW(&b->kept, struct ucb_packed, 1);
    size_t n_bytes = ucb_pack_bytes(b->options.backend, n_out, n_in);
    void *data = ucb_arena_alloc(&b->kept, n_bytes);
    if (p == NULL || data == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a head of %zu bytes", n_bytes);
    *p = (struct ucb_packed){data, n_out, n_in};
    *out = p;
    return UCB_OK;
}

static ucb_status read_final(struct ucb_bench *b, enum ucb_vector which, const float **out,
                             struct ucb_err *err)
{
    uint32_t n = ucb_model_vector_size(b->options.model, 0, which);
    *out = NULL;
    if (n == 0) return UCB_OK;
    float *values = UCB_NEW(&b->kept, float, n);
    if (values == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a vector");
    *out = values;
    return ucb_model_read_vector(b->options.model, 0, which, values, err);
}

/* The head, packed both ways, slab by slab. */
static ucb_status pack_head(struct ucb_bench *b, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(b->options.model, 0, UCB_ROLE_HEAD);
    float *rows = UCB_NEW(&b->scratch, float, (size_t)SLAB_ROWS * m->n_in);
    if (rows == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to read it", m->name);
    for (uint32_t row = 0, n; row < m->n_out; row += n) {
        n = m->n_out - row < SLAB_ROWS ? m->n_out - row : SLAB_ROWS;
        UCB_TRY(
            ucb_model_read_rows(b->options.model, m, row, n, b->options.pool, rows, err));
        ucb_pack_rows(b->options.backend, rows, row, n, b->final.weight);
        ucb_pack_transposed_rows(b->options.backend, rows, row, n, b->final.turned);
    }
    ucb_arena_reset(&b->scratch);
    return UCB_OK;
}

/* The end of the original model, for the KL objective. */
static ucb_status open_head(struct ucb_bench *b, struct ucb_err *err)
{
    const struct ucb_matrix *m = ucb_model_matrix(b->options.model, 0, UCB_ROLE_HEAD);
    uint64_t n_bytes = 2 * (uint64_t)ucb_pack_bytes(b->options.backend, m->n_out, m->n_in);
    if (b->options.plan.objective != UCB_OBJECTIVE_KL) return UCB_OK;
    if (n_bytes > b->options.memory_bytes)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: objective=kl keeps the head in memory twice, %llu bytes of "
                        "the %llu there are; give more --memory, or take objective=mse",
                        ucb_chain_spec(b->options.chain), (unsigned long long)n_bytes,
                        (unsigned long long)b->options.memory_bytes);
    UCB_TRY(new_packed(b, m->n_out, m->n_in, &b->final.weight, err));
    UCB_TRY(new_packed(b, m->n_in, m->n_out, &b->final.turned, err));
    UCB_TRY(read_final(b, UCB_VECTOR_FINAL_NORM, &b->final.norm, err));
    UCB_TRY(read_final(b, UCB_VECTOR_FINAL_NORM_BIAS, &b->final.norm_bias, err));
    UCB_TRY(read_final(b, UCB_VECTOR_HEAD_BIAS, &b->final.bias, err));
    return pack_head(b, err);
}

ucb_status ucb_bench_open(const struct ucb_bench_options *options, struct ucb_bench **out,
                          struct ucb_err *err)
{
    struct ucb_bench *b = ucb_mem_alloc(sizeof(*b));
    if (b == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to tune layers");
    b->options = *options;
    b->arch = ucb_model_arch(options->model);
    ucb_arena_init(&b->kept);
    ucb_arena_init(&b->arena);
    ucb_arena_init(&b->scratch);
    ucb_status status = open_buffers(b, err);
    if (status == UCB_OK) status = open_head(b, err);
    if (status != UCB_OK)
        ucb_bench_close(b);
    else
        *out = b;
    return status;
}

void ucb_bench_close(struct ucb_bench *b)
{
    if (b == NULL) return;
    ucb_backward_close(b->backward);
    ucb_arena_free(&b->kept);
    ucb_arena_free(&b->arena);
    ucb_arena_free(&b->scratch);
    ucb_mem_free(b);
}

void ucb_bench_clear(struct ucb_bench *b)
{
    ucb_arena_reset(&b->arena);
    b->n_slots = 0;
    b->tuning = (struct ucb_tuning){0};
}

/* ---- a layer's parameters ---- */

static struct ucb_chain_context context_of(struct ucb_bench *b)
{
    return (struct ucb_chain_context){.pool = b->options.pool,
                                      .arena = &b->arena,
                                      .scratch = &b->scratch,
                                      .shared = b->states.shared,
                                      .n_shared = b->states.n_shared};
}

static ucb_status open_matrix(struct ucb_bench *b, size_t slot,
                              const struct ucb_writer *payload, struct ucb_err *err)
{
    const struct ucb_matrix *m = b->list[slot];
    struct ucb_chain_context context = context_of(b);
    b->weight[slot] = UCB_NEW(&b->arena, float, (size_t)m->n_out * m->n_in);
    if (b->weight[slot] == NULL) return no_memory(b, err);
    if (payload->n_bytes == 0)
        return ucb_model_read_rows(b->options.model, m, 0, m->n_out, b->options.pool,
                                   b->weight[slot], err);
    return ucb_tunable_open(b->options.chain, &context, m, payload, &b->tunable[slot], err);
}

static ucb_status read_vectors(struct ucb_bench *b, struct ucb_err *err)
{
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        uint32_t n = ucb_vector_is_of_layer((enum ucb_vector)v)
                         ? ucb_model_vector_size(b->options.model, b->layer,
                                                 (enum ucb_vector)v)
                         : 0;
        b->weights.vector[v] = NULL;
        b->gradients.vector[v] = NULL;
        if (n == 0) continue;
        b->weights.vector[v] = UCB_NEW(&b->arena, float, n);
        if (b->weights.vector[v] == NULL) return no_memory(b, err);
        UCB_TRY(ucb_model_read_vector(b->options.model, b->layer, (enum ucb_vector)v,
                                      b->weights.vector[v], err));
    }
    return UCB_OK;
}

/* Whether the plan moves parameter k of a matrix. */
static bool is_moved(const struct ucb_bench *b, const struct ucb_tunable *t, uint32_t k)
{
    return b->options.plan.base || !t->is_base[k];
}

static uint32_t count_moved(const struct ucb_bench *b)
{
    uint32_t n = 0;
    for (size_t slot = 0; slot < b->n_slots; slot++)
        for (uint32_t k = 0; k < b->tunable[slot].n_params; k++)
            n += is_moved(b, &b->tunable[slot], k);
    for (int v = 0; v < UCB_N_VECTORS && b->options.plan.gains; v++)
        n += ucb_vector_is_gain((enum ucb_vector)v) && b->weights.vector[v] != NULL;
    return n;
}

/* Lists one parameter; as a factor, it is a new array of ones. */
static bool add_moved(struct ucb_bench *b, const char *name, float *value, size_t n,
                      bool as_factor)
{
    uint32_t i = b->tuning.n_params++;
    struct moved *m = &b->moved[i];
    struct ucb_param *param = &b->tuning.params[i];
    float *gradient = UCB_NEW(&b->arena, float, n);
    *m = (struct moved){.value = value, .gradient = gradient};
    *param = (struct ucb_param){.name = name, .value = value, .n = n};
    if (as_factor) {
        float *start = UCB_NEW(&b->arena, float, n), *factor = UCB_NEW(&b->arena, float, n);
        if (start == NULL || factor == NULL) return false;
        memcpy(start, value, n * sizeof(*start));
        for (size_t k = 0; k < n; k++) factor[k] = 1.0f;
        m->start = start;
        param->value = factor;
    }
    ((float **)b->tuning.gradients)[i] = gradient;
    return gradient != NULL;
}

static ucb_status list_moved(struct ucb_bench *b, struct ucb_err *err)
{
    uint32_t n = count_moved(b);
    if (n == 0)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: nothing can be tuned: no stage before has parameters that the "
                        "spec lets move; try +lowrank before it, or train=all",
                        ucb_chain_spec(b->options.chain));
    b->moved = UCB_NEW(&b->arena, struct moved, n);
    b->tuning.params = UCB_NEW(&b->arena, struct ucb_param, n);
    b->tuning.gradients = UCB_NEW(&b->arena, float *, n);
    if (b->moved == NULL || b->tuning.params == NULL || b->tuning.gradients == NULL)
        return no_memory(b, err);
    bool fits = true;
    for (size_t slot = 0; slot < b->n_slots; slot++) {
        struct ucb_tunable *t = &b->tunable[slot];
        for (uint32_t k = 0; k < t->n_params; k++)
            if (is_moved(b, t, k))
                fits = fits && add_moved(b, t->param[k].name, t->param[k].value,
                                         t->param[k].n, t->is_base[k]);
    }
    for (int v = 0; v < UCB_N_VECTORS && b->options.plan.gains; v++) {
        if (!ucb_vector_is_gain((enum ucb_vector)v) || b->weights.vector[v] == NULL)
            continue;
        fits = fits && add_moved(b, "gain", b->weights.vector[v],
                                 ucb_model_vector_size(b->options.model, b->layer,
                                                       (enum ucb_vector)v),
                                 true);
        b->gradients.vector[v] = b->moved[b->tuning.n_params - 1].gradient;
    }
    return fits ? UCB_OK : no_memory(b, err);
}

/* Matrices none of whose parameters move need no gradient. */
static ucb_status alloc_gradients(struct ucb_bench *b, struct ucb_err *err)
{
    for (size_t slot = 0; slot < b->n_slots; slot++) {
        const struct ucb_matrix *m = b->list[slot];
        bool wanted = false;
        for (uint32_t k = 0; k < b->tunable[slot].n_params; k++)
            wanted |= is_moved(b, &b->tunable[slot], k);
        b->d_weight[slot] = NULL;
        if (!wanted) continue;
        b->d_weight[slot] = UCB_NEW(&b->arena, float, (size_t)m->n_out * m->n_in);
        if (b->d_weight[slot] == NULL) return no_memory(b, err);
    }
    return UCB_OK;
}

static ucb_status evaluate(void *context, const uint32_t *windows, uint32_t n, double *loss,
                           struct ucb_err *err);

ucb_status ucb_bench_layer(struct ucb_bench *b, uint32_t layer,
                           const struct ucb_writer *payload,
                           const struct ucb_bench_states *states,
                           struct ucb_tuning **tuning, struct ucb_err *err)
{
    ucb_bench_clear(b);
    b->layer = layer;
    b->states = *states;
    b->list = ucb_model_layer_matrices(b->options.model, layer, &b->n_slots);
    b->tunable = UCB_NEW(&b->arena, struct ucb_tunable, b->n_slots);
    b->weight = UCB_NEW(&b->arena, float *, b->n_slots);
    b->d_weight = UCB_NEW(&b->arena, float *, b->n_slots);
    if (b->tunable == NULL || b->weight == NULL || b->d_weight == NULL)
        return no_memory(b, err);
    b->weights.weight = b->weight;
    b->gradients.weight = b->d_weight;
    for (size_t slot = 0; slot < b->n_slots; slot++)
        UCB_TRY(open_matrix(b, slot, &payload[slot], err));
    UCB_TRY(read_vectors(b, err));
    UCB_TRY(list_moved(b, err));
    UCB_TRY(alloc_gradients(b, err));
    b->tuning.n_windows = states->n_windows;
    b->tuning.evaluate = evaluate;
    b->tuning.context = b;
    *tuning = &b->tuning;
    return UCB_OK;
}

/* ---- the loss and its gradients ---- */

/* From the method's parameters to the layer's weights. */
static void apply(struct ucb_bench *b)
{
    for (uint32_t i = 0; i < b->tuning.n_params; i++) {
        const struct moved *m = &b->moved[i];
        const struct ucb_param *param = &b->tuning.params[i];
        for (size_t k = 0; m->start != NULL && k < param->n; k++)
            m->value[k] = m->start[k] * param->value[k];
    }
    for (size_t slot = 0; slot < b->n_slots; slot++)
        if (b->tunable[slot].stages != NULL)
            ucb_tunable_decode(&b->tunable[slot], b->weight[slot]);
}

static void gather(struct ucb_bench *b, const uint32_t *windows, uint32_t n)
{
    size_t each = (size_t)b->options.ctx * b->arch->hidden;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(b->x + i * each, b->states.input + windows[i] * each, each * sizeof(float));
        memcpy(b->target + i * each, b->states.target + windows[i] * each,
               each * sizeof(float));
        b->start[i + 1] = (i + 1) * (size_t)b->options.ctx;
    }
}

/* Mean squared error, and dL/dy. */
static double squared_error(const float *y, const float *target, size_t n, float *dy)
{
    double sum = 0, scale = 2.0 / (double)n;
    for (size_t i = 0; i < n; i++) {
        double error = (double)y[i] - (double)target[i];
        sum += error * error;
        dy[i] = (float)(scale * error);
    }
    return sum / (double)n;
}

/* The loss of n windows, from b->y, and b->dy. */
static ucb_status compare(struct ucb_bench *b, uint32_t n, double *loss,
                          struct ucb_err *err)
{
    size_t n_rows = (size_t)n * b->options.ctx;
    if (b->options.plan.objective == UCB_OBJECTIVE_KL)
        return ucb_head_gradient(b->options.backend, b->arch, &b->final, b->target, b->y,
                                 n_rows, loss, b->dy, err);
    *loss = squared_error(b->y, b->target, n_rows * b->arch->hidden, b->dy);
    return UCB_OK;
}

static ucb_status run_forward(struct ucb_bench *b, const uint32_t *windows, uint32_t n,
                              struct ucb_err *err)
{
    gather(b, windows, n);
    return ucb_backward_forward(b->backward, b->layer, &b->weights, n, b->start, b->x, b->y,
                                err);
}

/* From dL/dW to the parameters. */
static ucb_status pull_back(struct ucb_bench *b, struct ucb_err *err)
{
    uint32_t at = 0;
    for (size_t slot = 0; slot < b->n_slots; slot++) {
        const struct ucb_tunable *t = &b->tunable[slot];
        float *gradient[UCB_MAX_TUNABLE_PARAMS] = {NULL};
        for (uint32_t k = 0; k < t->n_params; k++)
            if (is_moved(b, t, k)) gradient[k] = b->moved[at++].gradient;
        if (b->d_weight[slot] != NULL)
            UCB_TRY(ucb_tunable_pull_back(t, b->d_weight[slot], gradient, err));
    }
    for (uint32_t i = 0; i < b->tuning.n_params; i++) {
        const struct moved *m = &b->moved[i];
        for (size_t k = 0; m->start != NULL && k < b->tuning.params[i].n; k++)
            m->gradient[k] *= m->start[k];
    }
    return UCB_OK;
}

static ucb_status evaluate(void *context, const uint32_t *windows, uint32_t n, double *loss,
                           struct ucb_err *err)
{
    struct ucb_bench *b = context;
    assert(n > 0 && n <= b->options.plan.batch);
    apply(b);
    UCB_TRY(run_forward(b, windows, n, err));
    UCB_TRY(compare(b, n, loss, err));
    if (!isfinite(*loss))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "layer %u: the loss is %g; try a smaller learning rate", b->layer,
                        *loss);
    UCB_TRY(ucb_backward_run(b->backward, b->dy, &b->gradients, NULL, err));
    return pull_back(b, err);
}

ucb_status ucb_bench_loss(struct ucb_bench *b, const uint32_t *windows, uint32_t n,
                          double *loss, struct ucb_err *err)
{
    double sum = 0, part;
    apply(b);
    for (uint32_t i = 0, take; i < n; i += take) {
        take = n - i < b->options.plan.batch ? n - i : b->options.plan.batch;
        UCB_TRY(run_forward(b, windows + i, take, err));
        UCB_TRY(compare(b, take, &part, err));
        sum += take * part;
    }
    *loss = sum / n;
    return UCB_OK;
}

/* ---- what is kept ---- */

static ucb_status store_matrix(struct ucb_bench *b, size_t slot, struct ucb_writer *payload,
                               struct ucb_err *err)
{
    struct ucb_writer fresh = {0};
    struct ucb_chain_context context = context_of(b);
    ucb_status status = ucb_tunable_freeze(&b->tunable[slot], &fresh, err);
    if (status != UCB_OK) {
        ucb_writer_free(&fresh);
        return status;
    }
    ucb_writer_free(payload);
    *payload = fresh;
    return ucb_tunable_open(b->options.chain, &context, b->list[slot], payload,
                            &b->tunable[slot], err);
}

ucb_status ucb_bench_store(struct ucb_bench *b, struct ucb_writer *payload,
                           struct ucb_writer *gains, struct ucb_err *err)
{
    apply(b);
    for (size_t slot = 0; slot < b->n_slots; slot++)
        if (b->tunable[slot].stages != NULL)
            UCB_TRY(store_matrix(b, slot, &payload[slot], err));
    if (b->options.plan.gains) {
        UCB_TRY(ucb_gains_write(b->options.model, b->layer, b->weights.vector, gains, err));
        UCB_TRY(ucb_gains_apply(b->options.model, b->layer, gains->data, gains->n_bytes,
                                b->weights.vector, err));
    }
    b->tuning.n_params = 0; /* nothing moves any more */
    return UCB_OK;
}
