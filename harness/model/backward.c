/*
 * backward.c - a layer forward with kept activations, and in reverse:
 *
 *     m = mixer(norm(x)); x' = x + post(m); y = x' + post(mlp(norm(x')))
 *     dx' = dy + dnorm(dmlp(dpost(dy)));    dx = dx' + dnorm(dmixer(dpost(dx')))
 *
 * With a parallel residual both parts read x, and each gets dy.
 *
 * A product y = x W^T has dx = dy W and dW = dy^T x. Both are products of the backend: W^T
 * is packed straight from W, and of dy^T x the rows are dy turned and the weight is x,
 * packed turned; one packed x serves all matrices that read it.
 */
#include "model/backward.h"

#include <assert.h>
#include <string.h>

#include "model/backward_internal.h"
ucb_status ucb_backward_open(struct ucb_backend *backend, struct ucb_pool *pool,
                             const struct ucb_model *model, size_t max_rows, size_t longest,
                             struct ucb_backward **out, struct ucb_err *err)
{
    assert(max_rows > 0 && max_rows <= UINT32_MAX);
    struct ucb_backward *b = ucb_mem_alloc(sizeof(*b));
    if (b == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a backward pass");
    b->backend = backend;
    b->pool = pool;
    b->model = model;
    b->arch = ucb_model_arch(model);
    b->max_rows = max_rows;
    b->longest = longest;
    ucb_arena_init(&b->arena);
    if (!ucb_backward_make(b)) {
        ucb_backward_close(b);
        return UCB_FAIL(err, UCB_NOMEM,
                        "no memory for the activations and gradients of %zu rows; try "
                        "fewer windows at a time",
                        max_rows);
    }
    *out = b;
    return UCB_OK;
}

void ucb_backward_close(struct ucb_backward *b)
{
    if (b == NULL) return;
    ucb_arena_free(&b->arena);
    ucb_mem_free(b);
}

/* ---- what the parts share ---- */

static size_t slot_of(const struct ucb_backward *b, enum ucb_role role, uint32_t expert)
{
    assert(b->first[role] != UINT32_MAX);
    return b->first[role] + (size_t)expert * (role == UCB_ROLE_DOWN ? 1 : 2);
}

ucb_status ucb_backward_multiply(struct ucb_backward *b, enum ucb_role role,
                                 uint32_t expert, const float *x, size_t n_rows, float *y,
                                 struct ucb_err *err)
{
    size_t slot = slot_of(b, role, expert);
    const struct ucb_matrix *m = b->matrix[slot];
    struct ucb_packed weight = {b->packed, m->n_out, m->n_in};
    ucb_pack(b->backend, b->arrays.weight[slot], &weight);
    return ucb_linear(b->backend, &weight, b->arrays.vector[ucb_bias_of(role)], x, n_rows,
                      y, err);
}

ucb_status ucb_backward_multiply_back(struct ucb_backward *b, enum ucb_role role,
                                      uint32_t expert, const float *dy, size_t n_rows,
                                      float *dx, struct ucb_err *err)
{
    size_t slot = slot_of(b, role, expert);
    const struct ucb_matrix *m = b->matrix[slot];
    struct ucb_packed turned = {b->packed, m->n_in, m->n_out};
    ucb_pack_transposed(b->backend, b->arrays.weight[slot], &turned);
    return ucb_linear(b->backend, &turned, NULL, dy, n_rows, dx, err);
}

ucb_status ucb_backward_add_back(struct ucb_backward *b, enum ucb_role role,
                                 const float *dy, bool is_first, struct ucb_err *err)
{
    float *dx = is_first ? b->dnormed : b->aside;
    UCB_TRY(ucb_backward_multiply_back(b, role, 0, dy, b->n_rows, dx, err));
    if (!is_first) ucb_add(b->backend, b->dnormed, dx, b->n_rows * b->arch->hidden);
    return UCB_OK;
}

void ucb_backward_input(struct ucb_backward *b, const float *x, size_t n_rows,
                        uint32_t n_in)
{
    b->input = x;
    b->input_rows = n_rows;
    b->input_width = n_in;
    b->input_is_packed = false;
}

ucb_status ucb_backward_outer(struct ucb_backward *b, const float *dy, uint32_t n_out,
                              float *out, struct ucb_err *err)
{
    struct ucb_packed input = {b->packed_input, b->input_width, (uint32_t)b->input_rows};
    if (!b->input_is_packed) ucb_pack_transposed(b->backend, b->input, &input);
    b->input_is_packed = true;
    ucb_transpose(b->backend, dy, b->input_rows, n_out, b->turned);
    return ucb_linear(b->backend, &input, NULL, b->turned, n_out, out, err);
}

ucb_status ucb_backward_weigh(struct ucb_backward *b, enum ucb_role role, uint32_t expert,
                              const float *dy, struct ucb_err *err)
{
    size_t slot = slot_of(b, role, expert);
    uint32_t n_out = b->matrix[slot]->n_out;
    float *weight = b->gradient.weight == NULL ? NULL : b->gradient.weight[slot],
          *bias = b->gradient.vector[ucb_bias_of(role)];
    assert(b->matrix[slot]->n_in == b->input_width);
    if (bias != NULL)
        UCB_TRY(ucb_column_sums(b->backend, dy, b->input_rows, n_out, bias, err));
    return weight == NULL ? UCB_OK : ucb_backward_outer(b, dy, n_out, weight, err);
}

ucb_status ucb_backward_norm(struct ucb_backward *b, enum ucb_vector weight,
                             enum ucb_vector bias, const float *x, const float *dy,
                             float *dx, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    if (a->norm == UCB_NORM_LAYER)
        return ucb_layernorm_gradient(
            b->backend, x, dy, b->n_rows, a->hidden, b->arrays.vector[weight], a->norm_eps,
            dx, b->gradient.vector[weight], b->gradient.vector[bias], err);
    return ucb_rmsnorm_gradient(b->backend, x, dy, b->n_rows, a->hidden,
                                b->arrays.vector[weight], a->norm_eps, dx,
                                b->gradient.vector[weight], err);
}

/* ---- forward ---- */

static ucb_status begin(struct ucb_backward *b, uint32_t layer, size_t n_windows,
                        const size_t *start, struct ucb_err *err)
{
    size_t n_rows = start[n_windows] - start[0], n;
    assert(layer < b->arch->n_layers);
    b->is_kept = false;
    if (n_rows > b->max_rows || n_windows > b->max_rows)
        return UCB_FAIL(err, UCB_USAGE,
                        "%zu rows in %zu windows, at most %zu were asked for; try fewer "
                        "windows at a time",
                        n_rows, n_windows, b->max_rows);
    for (size_t w = 0; w <= n_windows; w++) b->start[w] = start[w] - start[0];
    for (size_t w = 0; w < n_windows; w++) {
        n = start[w + 1] - start[w];
        if (n > b->longest)
            return UCB_FAIL(err, UCB_USAGE,
                            "a window of %zu rows, at most %zu were asked for", n,
                            b->longest);
        for (size_t i = 0; i < n; i++) b->position[b->start[w] + i] = (uint32_t)i;
    }
    b->layer = layer;
    b->n_windows = n_windows;
    b->n_rows = n_rows;
    b->first = ucb_model_layer_slots(b->model, layer);
    b->matrix = ucb_model_layer_matrices(b->model, layer, &n);
    return UCB_OK;
}

static void norm(struct ucb_backward *b, enum ucb_vector weight, enum ucb_vector bias,
                 const float *x, float *y)
{
    const struct ucb_arch *a = b->arch;
    float *const *vector = b->arrays.vector;
    if (a->norm == UCB_NORM_LAYER)
        ucb_layernorm(b->backend, x, b->n_rows, a->hidden, vector[weight], vector[bias],
                      a->norm_eps, y);
    else
        ucb_rmsnorm(b->backend, x, b->n_rows, a->hidden, vector[weight], a->norm_eps, y);
}

/* to = from + part, through the norm after the part where there is one. */
static void add_part(struct ucb_backward *b, enum ucb_vector post_norm, const float *from,
                     const float *part, float *to)
{
    size_t n = b->n_rows * b->arch->hidden;
    const float *weight = b->arrays.vector[post_norm];
    if (weight != NULL) {
        ucb_rmsnorm(b->backend, part, b->n_rows, b->arch->hidden, weight, b->arch->norm_eps,
                    b->aside);
        part = b->aside;
    }
    if (to != from) memcpy(to, from, n * sizeof(*to));
    ucb_add(b->backend, to, part, n);
}

/* What the second norm reads. */
static const float *mlp_stream(const struct ucb_backward *b)
{
    return b->arch->parallel_residual ? b->x : b->middle;
}

static ucb_status mix(struct ucb_backward *b, struct ucb_err *err)
{
    switch (b->arch->mixer) {
    case UCB_MIXER_LATENT: return ucb_backward_latent(b, err);
    case UCB_MIXER_SSM: return ucb_backward_ssm(b, err);
    case UCB_MIXER_ATTENTION: break;
    }
    return ucb_backward_mix(b, err);
}

/* The rest of a layer that is not a mixer alone. */
static ucb_status run_mlp(struct ucb_backward *b, float *y, struct ucb_err *err)
{
    add_part(b, UCB_VECTOR_POST_ATTN_NORM, b->x, b->mixed_out, b->middle);
    norm(b, UCB_VECTOR_MLP_NORM, UCB_VECTOR_MLP_NORM_BIAS, mlp_stream(b), b->normed_mlp);
    UCB_TRY(ucb_backward_mlp(b, err));
    add_part(b, UCB_VECTOR_POST_MLP_NORM, b->middle, b->mlp_out, y);
    return UCB_OK;
}

ucb_status ucb_backward_forward(struct ucb_backward *b, uint32_t layer,
                                const struct ucb_layer_arrays *arrays, size_t n_windows,
                                const size_t *start, const float *x, float *y,
                                struct ucb_err *err)
{
    assert(x != y);
    UCB_TRY(begin(b, layer, n_windows, start, err));
    b->arrays = *arrays;
    b->x = x;
    if (b->n_rows == 0) return UCB_OK;
    norm(b, UCB_VECTOR_ATTN_NORM, UCB_VECTOR_ATTN_NORM_BIAS, x, b->normed);
    UCB_TRY(mix(b, err));
    if (b->arch->mixer == UCB_MIXER_SSM)
        add_part(b, UCB_VECTOR_POST_ATTN_NORM, x, b->mixed_out, y);
    else
        UCB_TRY(run_mlp(b, y, err));
    b->is_kept = true;
    return UCB_OK;
}

/* ---- backward ---- */

/* dpart = gradient of a part's result, from that of what was added to the stream. */
static ucb_status leave_part(struct ucb_backward *b, enum ucb_vector post_norm,
                             const float *part, const float *dy, struct ucb_err *err)
{
    const float *weight = b->arrays.vector[post_norm];
    if (weight != NULL)
        return ucb_rmsnorm_gradient(b->backend, part, dy, b->n_rows, b->arch->hidden,
                                    weight, b->arch->norm_eps, b->dpart,
                                    b->gradient.vector[post_norm], err);
    memcpy(b->dpart, dy, b->n_rows * b->arch->hidden * sizeof(*dy));
    return UCB_OK;
}

static ucb_status unmix(struct ucb_backward *b, bool wants_dnormed, struct ucb_err *err)
{
    switch (b->arch->mixer) {
    case UCB_MIXER_LATENT: return ucb_backward_latent_run(b, wants_dnormed, err);
    case UCB_MIXER_SSM: return ucb_backward_ssm_run(b, wants_dnormed, err);
    case UCB_MIXER_ATTENTION: break;
    }
    return ucb_backward_mix_run(b, wants_dnormed, err);
}

/* dstream becomes the gradient of the stream between mixer and MLP. */
static ucb_status reverse_mlp(struct ucb_backward *b, const float *dy, struct ucb_err *err)
{
    if (b->arch->mixer == UCB_MIXER_SSM) return UCB_OK; /* there is no MLP */
    UCB_TRY(leave_part(b, UCB_VECTOR_POST_MLP_NORM, b->mlp_out, dy, err));
    UCB_TRY(ucb_backward_mlp_run(b, err));
    UCB_TRY(ucb_backward_norm(b, UCB_VECTOR_MLP_NORM, UCB_VECTOR_MLP_NORM_BIAS,
                              mlp_stream(b), b->dnormed, b->dnormed, err));
    ucb_add(b->backend, b->dstream, b->dnormed, b->n_rows * b->arch->hidden);
    return UCB_OK;
}

ucb_status ucb_backward_run(struct ucb_backward *b, const float *dy,
                            const struct ucb_layer_arrays *gradient, float *dx,
                            struct ucb_err *err)
{
    size_t n = b->n_rows * b->arch->hidden;
    float *const *vector = gradient->vector;
    bool wants_dnormed = dx != NULL || vector[UCB_VECTOR_ATTN_NORM] != NULL ||
                         vector[UCB_VECTOR_ATTN_NORM_BIAS] != NULL;
    assert(dx != dy);
    if (!b->is_kept)
        return UCB_FAIL(err, UCB_USAGE, "a backward pass without a forward pass before it");
    b->is_kept = false;
    b->gradient = *gradient;
    memcpy(b->dstream, dy, n * sizeof(*dy));
    UCB_TRY(reverse_mlp(b, dy, err));
    UCB_TRY(leave_part(b, UCB_VECTOR_POST_ATTN_NORM, b->mixed_out,
                       b->arch->parallel_residual ? dy : b->dstream, err));
    UCB_TRY(unmix(b, wants_dnormed, err));
    if (!wants_dnormed) return UCB_OK;
    UCB_TRY(ucb_backward_norm(b, UCB_VECTOR_ATTN_NORM, UCB_VECTOR_ATTN_NORM_BIAS, b->x,
                              b->dnormed, b->dnormed, err));
    if (dx == NULL) return UCB_OK;
    memcpy(dx, b->dstream, n * sizeof(*dx));
    ucb_add(b->backend, dx, b->dnormed, n);
    return UCB_OK;
}
