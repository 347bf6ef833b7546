/*
 * forward.c - x += o(attention(norm(x))); x += down(silu(gate) * up) on norm(x):
 * spec/architectures.md section 3.
 *
 * Whole windows are taken together until they fill a batch, so that one product reads a
 * weight for many rows; a window longer than the batch is one group whose products are cut.
 * Neither choice can change a bit (see backend.h).
 */
#include "model/forward.h"

#include <assert.h>
#include <string.h>

#include "core/arena.h"
#include "core/fmath.h"

struct ucb_forward {
    struct ucb_backend *backend;
    const struct ucb_arch *arch;
    size_t batch, capacity; /* rows of a product, rows of the buffers */
    struct ucb_arena arena;
    float *rope;        /* [longest][rotary_dim / 2] {cos, sin} */
    uint32_t *position; /* [capacity] */
    float *normed, *q, *k, *v, *mixed, *out, *gate, *up;
    float *copy; /* [capacity][hidden], made by the first peek */
};

/* One run of a layer: who looks on, and how far it goes. */
struct layer_run {
    const struct ucb_layer *layer;
    const struct ucb_tap *tap; /* NULL: nobody */
    enum ucb_input last;       /* the only input shown, and the end; UCB_N_INPUTS: all */
};

enum { MOST_WINDOWS = 1024 }; /* of a group */

/* The angle is one fp32 product, as in the reference implementation; its cosine and sine
 * are rounded to fp32 once. */
static void fill_rope(const struct ucb_arch *arch, size_t n_positions, float *table)
{
    size_t half = arch->rotary_dim / 2;
    for (size_t t = 0; t < n_positions; t++)
        for (size_t i = 0; i < half; i++) {
            double sine, cosine;
            float angle = (float)t * arch->rope[0].inv_freq[i];
            ucb_sincos((double)angle, &sine, &cosine);
            table[2 * (t * half + i)] = (float)cosine * arch->rope[0].magnitude;
            table[2 * (t * half + i) + 1] = (float)sine * arch->rope[0].magnitude;
        }
}

ucb_status ucb_forward_open(struct ucb_backend *backend, const struct ucb_arch *arch,
                            size_t batch, size_t longest, struct ucb_forward **out,
                            struct ucb_err *err)
{
    assert(batch > 0);
    struct ucb_forward *f = ucb_mem_alloc(sizeof(*f));
    if (f == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for the forward pass");
    f->backend = backend;
    f->arch = arch;
    f->batch = batch;
    f->capacity = batch > longest ? batch : longest;
    ucb_arena_init(&f->arena);
    size_t rows = f->capacity, q_width = (size_t)arch->n_heads * arch->head_dim,
           kv_width = (size_t)arch->n_kv_heads * arch->head_dim;
    f->rope = UCB_NEW(&f->arena, float, longest * arch->rotary_dim);
    f->position = UCB_NEW(&f->arena, uint32_t, rows);
    f->normed = UCB_NEW(&f->arena, float, rows * arch->hidden);
    f->q = UCB_NEW(&f->arena, float, rows *q_width);
    f->k = UCB_NEW(&f->arena, float, rows *kv_width);
    f->v = UCB_NEW(&f->arena, float, rows *kv_width);
    f->mixed = UCB_NEW(&f->arena, float, rows *q_width);
    f->out = UCB_NEW(&f->arena, float, rows * arch->hidden);
    f->gate = UCB_NEW(&f->arena, float, rows * arch->ffn);
    f->up = UCB_NEW(&f->arena, float, rows * arch->ffn);
    if (f->rope == NULL || f->position == NULL || f->normed == NULL || f->q == NULL ||
        f->k == NULL || f->v == NULL || f->mixed == NULL || f->out == NULL ||
        f->gate == NULL || f->up == NULL) {
        ucb_forward_close(f);
        return UCB_FAIL(err, UCB_NOMEM,
                        "no memory for the activations of %zu rows; try a smaller --batch",
                        rows);
    }
    fill_rope(arch, longest, f->rope);
    *out = f;
    return UCB_OK;
}

void ucb_forward_close(struct ucb_forward *f)
{
    if (f == NULL) return;
    ucb_arena_free(&f->arena);
    ucb_mem_free(f);
}

/* y = W x + b, at most `batch` rows in one product. */
static ucb_status linear(struct ucb_forward *f, const struct ucb_layer *layer,
                         enum ucb_role role, const float *x, size_t n_rows, float *y,
                         struct ucb_err *err)
{
    const struct ucb_packed *w = &layer->weight[role];
    for (size_t row = 0; row < n_rows; row += f->batch) {
        size_t n = n_rows - row < f->batch ? n_rows - row : f->batch;
        UCB_TRY(ucb_linear(f->backend, w, layer->vector[ucb_bias_of(role)],
                           x + row * w->n_in, n, y + row * w->n_out, err));
    }
    return UCB_OK;
}

static ucb_status show(const struct layer_run *run, enum ucb_input input, const float *x,
                       size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    if (run->tap == NULL || (run->last != UCB_N_INPUTS && run->last != input))
        return UCB_OK;
    return run->tap->see(run->tap->context, input, x, n_rows, n_in, err);
}

static ucb_status attention_block(struct ucb_forward *f, const struct layer_run *run,
                                  size_t n_windows, const size_t *start, float *x,
                                  struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_layer *layer = run->layer;
    size_t n = start[n_windows];
    struct ucb_attention shape = {.n_heads = a->n_heads,
                                  .n_kv_heads = a->n_kv_heads,
                                  .head_dim = a->head_dim,
                                  .scale = a->attention_scale};
    ucb_rmsnorm(f->backend, x, n, a->hidden, layer->vector[UCB_VECTOR_ATTN_NORM],
                a->norm_eps, f->normed);
    UCB_TRY(show(run, UCB_INPUT_QKV, f->normed, n, a->hidden, err));
    if (run->last == UCB_INPUT_QKV) return UCB_OK;
    UCB_TRY(linear(f, layer, UCB_ROLE_Q, f->normed, n, f->q, err));
    UCB_TRY(linear(f, layer, UCB_ROLE_K, f->normed, n, f->k, err));
    UCB_TRY(linear(f, layer, UCB_ROLE_V, f->normed, n, f->v, err));
    ucb_rope(f->backend, f->q, n, a->n_heads, a->head_dim, a->rotary_dim, f->rope,
             f->position);
    ucb_rope(f->backend, f->k, n, a->n_kv_heads, a->head_dim, a->rotary_dim, f->rope,
             f->position);
    UCB_TRY(ucb_attention(f->backend, &shape, f->q, f->k, f->v, n_windows, start, f->mixed,
                          err));
    UCB_TRY(show(run, UCB_INPUT_O, f->mixed, n, a->n_heads * a->head_dim, err));
    if (run->last == UCB_INPUT_O) return UCB_OK;
    UCB_TRY(linear(f, layer, UCB_ROLE_O, f->mixed, n, f->out, err));
    ucb_add(f->backend, x, f->out, n * a->hidden);
    return UCB_OK;
}

static ucb_status mlp_block(struct ucb_forward *f, const struct layer_run *run, size_t n,
                            float *x, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_layer *layer = run->layer;
    ucb_rmsnorm(f->backend, x, n, a->hidden, layer->vector[UCB_VECTOR_MLP_NORM],
                a->norm_eps, f->normed);
    UCB_TRY(show(run, UCB_INPUT_GATE_UP, f->normed, n, a->hidden, err));
    if (run->last == UCB_INPUT_GATE_UP) return UCB_OK;
    UCB_TRY(linear(f, layer, UCB_ROLE_GATE, f->normed, n, f->gate, err));
    UCB_TRY(linear(f, layer, UCB_ROLE_UP, f->normed, n, f->up, err));
    ucb_silu_mul(f->backend, f->gate, f->up, n * a->ffn, f->gate);
    UCB_TRY(show(run, UCB_INPUT_DOWN, f->gate, n, a->ffn, err));
    if (run->last == UCB_INPUT_DOWN) return UCB_OK;
    UCB_TRY(linear(f, layer, UCB_ROLE_DOWN, f->gate, n, f->out, err));
    ucb_add(f->backend, x, f->out, n * a->hidden);
    return UCB_OK;
}

/* How many windows from the first on fill a batch: at least one, at most what the buffers
 * hold. */
static size_t windows_of_group(const struct ucb_forward *f, size_t n_windows,
                               const size_t *start)
{
    size_t n = 1;
    while (n < n_windows && start[n] - start[0] < f->batch &&
           start[n + 1] - start[0] <= f->capacity)
        n++;
    return n;
}

/* The next group: how many windows, and their rows and positions counted from its first
 * row. */
static size_t begin_group(struct ucb_forward *f, size_t n_windows, const size_t *start,
                          size_t local[MOST_WINDOWS + 1])
{
    size_t n = windows_of_group(f, n_windows, start);
    if (n > MOST_WINDOWS) n = MOST_WINDOWS;
    for (size_t i = 0; i <= n; i++) local[i] = start[i] - start[0];
    assert(local[n] <= f->capacity);
    for (size_t i = 0; i < n; i++)
        for (size_t row = local[i]; row < local[i + 1]; row++)
            f->position[row] = (uint32_t)(row - local[i]);
    return n;
}

static ucb_status run_group(struct ucb_forward *f, const struct layer_run *run,
                            size_t n_windows, const size_t *start, float *x,
                            struct ucb_err *err)
{
    UCB_TRY(attention_block(f, run, n_windows, start, x, err));
    if (run->last < UCB_INPUT_GATE_UP) return UCB_OK;
    return mlp_block(f, run, start[n_windows], x, err);
}

ucb_status ucb_forward_layer_tapped(struct ucb_forward *f, const struct ucb_layer *layer,
                                    size_t n_windows, const size_t *start, float *x,
                                    const struct ucb_tap *tap, struct ucb_err *err)
{
    struct layer_run run = {layer, tap, UCB_N_INPUTS};
    size_t local[MOST_WINDOWS + 1], n;
    for (size_t w = 0; w < n_windows; w += n) {
        n = begin_group(f, n_windows - w, start + w, local);
        UCB_TRY(run_group(f, &run, n, local, x + start[w] * f->arch->hidden, err));
    }
    return UCB_OK;
}

ucb_status ucb_forward_layer(struct ucb_forward *f, const struct ucb_layer *layer,
                             size_t n_windows, const size_t *start, float *x,
                             struct ucb_err *err)
{
    return ucb_forward_layer_tapped(f, layer, n_windows, start, x, NULL, err);
}

ucb_status ucb_forward_peek(struct ucb_forward *f, const struct ucb_layer *layer,
                            size_t n_windows, const size_t *start, const float *x,
                            enum ucb_input input, const struct ucb_tap *tap,
                            struct ucb_err *err)
{
    struct layer_run run = {layer, tap, input};
    size_t local[MOST_WINDOWS + 1], n, hidden = f->arch->hidden;
    assert(tap != NULL && input < UCB_N_INPUTS);
    if (f->copy == NULL) f->copy = UCB_NEW(&f->arena, float, f->capacity *hidden);
    if (f->copy == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a copy of %zu hidden states",
                        f->capacity);
    for (size_t w = 0; w < n_windows; w += n) {
        n = begin_group(f, n_windows - w, start + w, local);
        memcpy(f->copy, x + start[w] * hidden, local[n] * hidden * sizeof(*x));
        UCB_TRY(run_group(f, &run, n, local, f->copy, err));
    }
    return UCB_OK;
}
