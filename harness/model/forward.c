/*
 * forward.c - one layer over many windows: x += mixer(norm(x)); x += mlp(norm(x)), with
 * the variations that struct ucb_arch names. Specification of the architectures, sections 3
 * to 7.
 *
 * Whole windows are taken together until they fill a batch, so that one product reads a
 * weight for many rows; a window longer than the batch is one group whose products are cut.
 * Neither choice can change a bit (see backend.h).
 */
#include "model/forward.h"

#include <assert.h>
#include <string.h>

#include "core/fmath.h"
#include "model/forward_internal.h"
#include "model/latent_heads.h"

/* The angle is one fp32 product, as in the reference implementation; its cosine and sine
 * are rounded to fp32 once. */
void ucb_forward_rope(const float *inv_freq, float magnitude, size_t half,
                      size_t n_positions, float *table)
{
    for (size_t t = 0; t < n_positions; t++)
        for (size_t i = 0; i < half; i++) {
            double sine, cosine;
            float angle = (float)t * inv_freq[i];
            ucb_sincos((double)angle, &sine, &cosine);
            table[2 * (t * half + i)] = (float)cosine * magnitude;
            table[2 * (t * half + i) + 1] = (float)sine * magnitude;
        }
}

/* Work buffers and tables stay where operations leave them; p may be NULL. */
static void *keep(struct ucb_forward *f, void *p, size_t n_bytes)
{
    if (p == NULL) return NULL;
    assert(f->n_kept < UCB_MOST_KEPT);
    ucb_backend_keep(f->backend, p, n_bytes);
    f->kept[f->n_kept++] = p;
    return p;
}

static bool make_rope(struct ucb_forward *f, size_t longest)
{
    const struct ucb_arch *a = f->arch;
    for (int set = 0; set < UCB_MAX_ROPE_SETS; set++)
        for (int is_long = 0; is_long < 2; is_long++) {
            const struct ucb_rope_set *rope = &a->rope[set];
            const float *inv_freq = is_long ? rope->long_inv_freq : rope->inv_freq;
            if (inv_freq == NULL) continue;
            size_t n = longest * a->rotary_dim;
            float *table = keep(f, UCB_NEW(&f->arena, float, n), n * sizeof(*table));
            if (table == NULL) return false;
            ucb_forward_rope(inv_freq, is_long ? rope->long_magnitude : rope->magnitude,
                             a->rotary_dim / 2, longest, table);
            f->rope[set][is_long] = table;
        }
    return true;
}

static float *new_rows(struct ucb_forward *f, size_t width)
{
    size_t n = f->capacity * width;
    return n == 0 ? NULL : keep(f, UCB_NEW(&f->arena, float, n), n * sizeof(float));
}

static bool make_attention(struct ucb_forward *f)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_latent *l = &a->latent;
    size_t heads = (size_t)a->n_heads * a->head_dim,
           keys = (size_t)a->n_kv_heads * a->head_dim;
    if (a->mixer == UCB_MIXER_SSM) return true;
    if (a->mixer == UCB_MIXER_LATENT) {
        size_t rank = l->q_rank > l->kv_rank + l->rope ? l->q_rank : l->kv_rank + l->rope;
        heads = keys = (size_t)a->n_heads * ucb_latent_width(a);
        f->latent = new_rows(f, rank);
        f->latent_kv = new_rows(f, (size_t)a->n_heads * (l->nope + l->value));
        f->kv_normed = new_rows(f, l->kv_rank);
        if (f->latent == NULL || f->latent_kv == NULL || f->kv_normed == NULL) return false;
    }
    f->q = new_rows(f, heads);
    f->k = new_rows(f, keys);
    f->v = new_rows(f, keys);
    f->mixed = new_rows(f, heads);
    return f->q != NULL && f->k != NULL && f->v != NULL && f->mixed != NULL;
}

static bool make_ssm(struct ucb_forward *f)
{
    const struct ucb_ssm *s = &f->arch->ssm;
    if (f->arch->mixer != UCB_MIXER_SSM) return true;
    f->ssm.in = new_rows(f, 2 * (size_t)s->width);
    f->ssm.u = new_rows(f, s->width);
    f->ssm.dt = new_rows(f, s->width);
    f->ssm.y = new_rows(f, s->width);
    f->mixed = new_rows(f, s->rank);
    f->ssm.x = new_rows(f, ucb_ssm_x_width(s));
    size_t n = (size_t)s->width * (s->kernel + s->state);
    f->ssm.weights = keep(f, UCB_NEW(&f->arena, float, n), n * sizeof(float));
    return f->ssm.in != NULL && f->ssm.u != NULL && f->ssm.dt != NULL && f->ssm.y != NULL &&
           f->mixed != NULL && f->ssm.x != NULL && f->ssm.weights != NULL;
}

static bool make_mlp(struct ucb_forward *f)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_experts *e = &a->experts;
    size_t widest = a->ffn > e->width ? a->ffn : e->width;
    if (e->shared_width > widest) widest = e->shared_width;
    f->gate = new_rows(f, widest);
    f->up = new_rows(f, widest);
    if (widest != 0 && (f->gate == NULL || f->up == NULL)) return false;
    if (e->n == 0) return true;
    f->router = (struct ucb_packed){
        ucb_arena_alloc(&f->arena, ucb_pack_bytes(f->backend, e->n, a->hidden)), e->n,
        a->hidden};
    f->scores = new_rows(f, e->n);
    f->sent = new_rows(f, a->hidden);
    f->answer = new_rows(f, a->hidden);
    f->expert_weight = UCB_NEW(&f->arena, float, f->capacity * e->used);
    f->expert = UCB_NEW(&f->arena, uint32_t, f->capacity * e->used);
    f->sent_row = UCB_NEW(&f->arena, size_t, f->capacity);
    f->sent_start = UCB_NEW(&f->arena, size_t, UCB_MOST_WINDOWS + 1);
    return f->router.data != NULL && f->scores != NULL && f->sent != NULL &&
           f->answer != NULL && f->expert_weight != NULL && f->expert != NULL &&
           f->sent_row != NULL && f->sent_start != NULL;
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
    f->position = keep(f, UCB_NEW(&f->arena, uint32_t, f->capacity),
                       f->capacity * sizeof(*f->position));
    f->normed = new_rows(f, arch->hidden);
    f->out = new_rows(f, arch->hidden);
    if (f->position == NULL || f->normed == NULL || f->out == NULL ||
        !make_rope(f, longest) || !make_attention(f) || !make_ssm(f) || !make_mlp(f)) {
        size_t rows = f->capacity;
        ucb_forward_close(f);
        return UCB_FAIL(err, UCB_NOMEM,
                        "no memory for the activations of %zu rows; try a smaller --batch",
                        rows);
    }
    *out = f;
    return UCB_OK;
}

void ucb_forward_close(struct ucb_forward *f)
{
    if (f == NULL) return;
    while (f->n_kept > 0) ucb_backend_forget(f->backend, f->kept[--f->n_kept]);
    ucb_arena_free(&f->arena);
    ucb_mem_free(f);
}

/* ---- what the parts of a layer share ---- */

/* A window at a time, whatever the batch: what a window's rows give must not depend on the
 * windows beside it. */
static ucb_status multiply_windows(struct ucb_backend *backend,
                                   const struct ucb_own_product *own,
                                   const struct ucb_packed *shape, const float *bias,
                                   const struct ucb_rows *rows, const float *x, float *y,
                                   struct ucb_err *err)
{
    size_t n_all = ucb_n_rows(rows);
    ucb_backend_read(backend, x, n_all * shape->n_in * sizeof(*x));
    ucb_backend_write(backend, y, n_all * shape->n_out * sizeof(*y));
    for (size_t w = 0; w < rows->n_windows; w++) {
        size_t row = rows->start[w], n = rows->start[w + 1] - row;
        if (n == 0) continue;
        UCB_TRY(own->run(own->context, bias, x + row * shape->n_in, n,
                         y + row * shape->n_out, err));
    }
    return UCB_OK;
}

ucb_status ucb_forward_linear(struct ucb_forward *f, const struct ucb_layer_run *run,
                              enum ucb_role role, uint32_t expert,
                              const struct ucb_rows *rows, const float *x, float *y,
                              struct ucb_err *err)
{
    size_t slot = ucb_layer_slot(run->layer, role, expert), n_rows = ucb_n_rows(rows);
    assert(slot < run->layer->n_matrices);
    const struct ucb_packed *w = &run->layer->weight[slot];
    const float *bias = run->layer->vector[ucb_bias_of(role)];
    if (run->layer->product[slot].run != NULL)
        return multiply_windows(f->backend, &run->layer->product[slot], w, bias, rows, x, y,
                                err);
    const struct ucb_tiles *tiles = run->layer->tiles == NULL ? NULL
                                                              : &run->layer->tiles[slot];
    for (size_t row = 0; row < n_rows; row += f->batch) {
        size_t n = n_rows - row < f->batch ? n_rows - row : f->batch;
        const float *in = x + row * w->n_in;
        float *out = y + row * w->n_out;
        UCB_TRY(tiles != NULL && tiles->decode != NULL
                    ? ucb_linear_tiles(f->backend, tiles, bias, in, n, out, err)
                    : ucb_linear(f->backend, w, bias, in, n, out, err));
    }
    return UCB_OK;
}

ucb_status ucb_forward_show(const struct ucb_layer_run *run, enum ucb_input input,
                            uint32_t expert, const float *x, size_t n_rows, uint32_t n_in,
                            struct ucb_err *err)
{
    if (run->tap == NULL || run->tap->see == NULL) return UCB_OK;
    if (run->last != UCB_N_INPUTS && run->last != input) return UCB_OK;
    ucb_backend_read(run->backend, x, n_rows * n_in * sizeof(*x));
    UCB_TRY(ucb_backend_finish(run->backend, err));
    return run->tap->see(run->tap->context, input, expert, x, n_rows, n_in, err);
}

void ucb_forward_norm(struct ucb_forward *f, const struct ucb_layer_run *run,
                      enum ucb_vector weight, enum ucb_vector bias, const float *x,
                      size_t n_rows, float *y)
{
    const struct ucb_arch *a = f->arch;
    const float *const *vector = run->layer->vector;
    if (a->norm == UCB_NORM_LAYER)
        ucb_layernorm(f->backend, x, n_rows, a->hidden, vector[weight], vector[bias],
                      a->norm_eps, y);
    else
        ucb_rmsnorm(f->backend, x, n_rows, a->hidden, vector[weight], a->norm_eps, y);
}

/* ---- a layer ---- */

/* x += out, through the norm after it where there is one. */
static void add_out(struct ucb_forward *f, const struct ucb_layer_run *run,
                    enum ucb_vector post_norm, size_t n, float *x)
{
    if (run->layer->vector[post_norm] != NULL)
        ucb_rmsnorm(f->backend, f->out, n, f->arch->hidden, run->layer->vector[post_norm],
                    f->arch->norm_eps, f->out);
    ucb_add(f->backend, x, f->out, n * f->arch->hidden);
}

/* Both parts read the same x: the second's norm is taken before the first is added. */
static ucb_status run_parallel(struct ucb_forward *f, const struct ucb_layer_run *run,
                               float *x, struct ucb_err *err)
{
    bool done = false;
    size_t n = ucb_n_rows(&run->rows);
    ucb_forward_norm(f, run, UCB_VECTOR_ATTN_NORM, UCB_VECTOR_ATTN_NORM_BIAS, x, n,
                     f->normed);
    UCB_TRY(ucb_forward_mix(f, run, &done, err));
    if (done) return UCB_OK;
    ucb_forward_norm(f, run, UCB_VECTOR_MLP_NORM, UCB_VECTOR_MLP_NORM_BIAS, x, n,
                     f->normed);
    add_out(f, run, UCB_VECTOR_POST_ATTN_NORM, n, x);
    UCB_TRY(ucb_forward_mlp(f, run, &done, err));
    if (!done) add_out(f, run, UCB_VECTOR_POST_MLP_NORM, n, x);
    return UCB_OK;
}

static ucb_status run_group(struct ucb_forward *f, const struct ucb_layer_run *run,
                            float *x, struct ucb_err *err)
{
    bool done = false;
    size_t n = ucb_n_rows(&run->rows);
    if (f->arch->parallel_residual) return run_parallel(f, run, x, err);
    ucb_forward_norm(f, run, UCB_VECTOR_ATTN_NORM, UCB_VECTOR_ATTN_NORM_BIAS, x, n,
                     f->normed);
    UCB_TRY(f->arch->mixer == UCB_MIXER_SSM ? ucb_forward_ssm(f, run, &done, err)
                                            : ucb_forward_mix(f, run, &done, err));
    if (done) return UCB_OK;
    add_out(f, run, UCB_VECTOR_POST_ATTN_NORM, n, x);
    if (f->arch->mixer == UCB_MIXER_SSM) return UCB_OK;
    ucb_forward_norm(f, run, UCB_VECTOR_MLP_NORM, UCB_VECTOR_MLP_NORM_BIAS, x, n,
                     f->normed);
    UCB_TRY(ucb_forward_mlp(f, run, &done, err));
    if (!done) add_out(f, run, UCB_VECTOR_POST_MLP_NORM, n, x);
    return UCB_OK;
}

/* ---- groups of windows ---- */

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
                          size_t local[UCB_MOST_WINDOWS + 1])
{
    size_t n = windows_of_group(f, n_windows, start);
    if (n > UCB_MOST_WINDOWS) n = UCB_MOST_WINDOWS;
    for (size_t i = 0; i <= n; i++) local[i] = start[i] - start[0];
    assert(local[n] <= f->capacity);
    ucb_backend_write(f->backend, f->position, local[n] * sizeof(*f->position));
    for (size_t i = 0; i < n; i++)
        for (size_t row = local[i]; row < local[i + 1]; row++)
            f->position[row] = (uint32_t)(row - local[i]);
    return n;
}

/* A router is a small matrix that no method touches: packed anew for each layer. */
static void begin_layer(struct ucb_forward *f, const struct ucb_layer *layer)
{
    if (layer->vector[UCB_VECTOR_ROUTER] != NULL)
        ucb_pack(f->backend, layer->vector[UCB_VECTOR_ROUTER], &f->router);
}

ucb_status ucb_forward_layer_tapped(struct ucb_forward *f, const struct ucb_layer *layer,
                                    size_t n_windows, const size_t *start, float *x,
                                    const struct ucb_tap *tap, struct ucb_err *err)
{
    size_t local[UCB_MOST_WINDOWS + 1];
    struct ucb_layer_run run = {layer, tap, UCB_N_INPUTS, {local, 0}, f->backend};
    begin_layer(f, layer);
    for (size_t w = 0; w < n_windows; w += run.rows.n_windows) {
        run.rows.n_windows = begin_group(f, n_windows - w, start + w, local);
        UCB_TRY(run_group(f, &run, x + start[w] * f->arch->hidden, err));
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
    size_t local[UCB_MOST_WINDOWS + 1], hidden = f->arch->hidden;
    struct ucb_layer_run run = {layer, tap, input, {local, 0}, f->backend};
    assert(tap != NULL && input < UCB_N_INPUTS);
    if (f->copy == NULL) f->copy = new_rows(f, hidden);
    if (f->copy == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a copy of %zu hidden states",
                        f->capacity);
    begin_layer(f, layer);
    for (size_t w = 0; w < n_windows; w += run.rows.n_windows) {
        run.rows.n_windows = begin_group(f, n_windows - w, start + w, local);
        size_t n_bytes = local[run.rows.n_windows] * hidden * sizeof(*x);
        ucb_backend_read(f->backend, x + start[w] * hidden, n_bytes);
        ucb_backend_write(f->backend, f->copy, n_bytes);
        memcpy(f->copy, x + start[w] * hidden, n_bytes);
        UCB_TRY(run_group(f, &run, f->copy, err));
    }
    return UCB_OK;
}
