/*
 * backward_mlp.c - the MLP, dense or of experts, kept and reversed.
 *
 * Rows sent to experts stand expert after expert, each in row order, as the forward pass of
 * forward_mlp.c adds them. The gradient of a row adds its experts in index order, then the
 * router, shared experts last.
 */
#include <string.h>

#include "model/backward_internal.h"
#include "model/routing.h"

/* One MLP: its expert, its rows, and where they begin in the kept arrays. */
struct mlp {
    enum ucb_role gate_role, up_role, down_role;
    uint32_t expert, width;
    size_t n_rows;
    float *gate, *up, *active;
};

static struct mlp mlp_at(const struct ucb_backward *b, uint32_t expert, uint32_t width,
                         size_t first, size_t n_rows)
{
    return (struct mlp){.gate_role = UCB_ROLE_GATE,
                        .up_role = UCB_ROLE_UP,
                        .down_role = UCB_ROLE_DOWN,
                        .expert = expert,
                        .width = width,
                        .n_rows = n_rows,
                        .gate = b->arch->gated ? b->gate + first * width : NULL,
                        .up = b->up + first * width,
                        .active = b->active + first * width};
}

/* The experts that every row visits; their rows stand behind those that were sent. */
static struct mlp shared_mlp(const struct ucb_backward *b)
{
    const struct ucb_experts *x = &b->arch->experts;
    size_t first = b->size.sent * x->width;
    return (struct mlp){.gate_role = UCB_ROLE_SHARED_GATE,
                        .up_role = UCB_ROLE_SHARED_UP,
                        .down_role = UCB_ROLE_SHARED_DOWN,
                        .width = x->shared_width,
                        .n_rows = b->n_rows,
                        .gate = b->arch->gated ? b->gate + first : NULL,
                        .up = b->up + first,
                        .active = b->active + first};
}

static ucb_status run_mlp(struct ucb_backward *b, const struct mlp *m, const float *x,
                          float *y, struct ucb_err *err)
{
    enum ucb_activation activation = b->arch->activation;
    size_t n = m->n_rows * m->width;
    UCB_TRY(ucb_backward_multiply(b, m->up_role, m->expert, x, m->n_rows, m->up, err));
    if (m->gate != NULL) {
        UCB_TRY(
            ucb_backward_multiply(b, m->gate_role, m->expert, x, m->n_rows, m->gate, err));
        ucb_activate(b->backend, activation, m->gate, m->up, n, m->active);
    } else {
        ucb_activate(b->backend, activation, m->up, NULL, n, m->active);
    }
    return ucb_backward_multiply(b, m->down_role, m->expert, m->active, m->n_rows, y, err);
}

/* dx, and the gradients of the matrices; `aside` holds as many rows as dx. The kept gate
 * and up become their own gradients. */
static ucb_status reverse_mlp(struct ucb_backward *b, const struct mlp *m, const float *x,
                              const float *dy, float *dx, struct ucb_err *err)
{
    size_t n = m->n_rows * m->width;
    ucb_backward_input(b, m->active, m->n_rows, m->width);
    UCB_TRY(ucb_backward_weigh(b, m->down_role, m->expert, dy, err));
    UCB_TRY(ucb_backward_multiply_back(b, m->down_role, m->expert, dy, m->n_rows,
                                       b->dactive, err));
    if (m->gate != NULL)
        ucb_activate_gradient(b->backend, b->arch->activation, m->gate, m->up, b->dactive,
                              n, m->gate, m->up);
    else
        ucb_activate_gradient(b->backend, b->arch->activation, m->up, NULL, b->dactive, n,
                              m->up, NULL);
    ucb_backward_input(b, x, m->n_rows, b->arch->hidden);
    UCB_TRY(ucb_backward_weigh(b, m->up_role, m->expert, m->up, err));
    UCB_TRY(
        ucb_backward_multiply_back(b, m->up_role, m->expert, m->up, m->n_rows, dx, err));
    if (m->gate == NULL) return UCB_OK;
    UCB_TRY(ucb_backward_weigh(b, m->gate_role, m->expert, m->gate, err));
    UCB_TRY(ucb_backward_multiply_back(b, m->gate_role, m->expert, m->gate, m->n_rows,
                                       b->aside, err));
    ucb_add(b->backend, dx, b->aside, m->n_rows * b->arch->hidden);
    return UCB_OK;
}

/* ---- experts ---- */

static ucb_status route(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_experts *x = &b->arch->experts;
    struct ucb_packed router = {b->packed, x->n, b->arch->hidden};
    ucb_pack(b->backend, b->arrays.vector[UCB_VECTOR_ROUTER], &router);
    UCB_TRY(
        ucb_linear(b->backend, &router, NULL, b->normed_mlp, b->n_rows, b->scores, err));
    for (size_t row = 0; row < b->n_rows; row++)
        ucb_route(x, b->scores + row * x->n, b->expert + row * x->used,
                  b->expert_weight + row * x->used);
    return UCB_OK;
}

/* Which places go to which expert, and their rows of the input. */
static void send(struct ucb_backward *b)
{
    const struct ucb_experts *x = &b->arch->experts;
    size_t n = 0, hidden = b->arch->hidden;
    for (uint32_t e = 0; e < x->n; e++) {
        b->expert_start[e] = n;
        for (size_t place = 0; place < b->n_rows * x->used; place++) {
            if (b->expert[place] != e) continue;
            memcpy(b->sent + n * hidden, b->normed_mlp + place / x->used * hidden,
                   hidden * sizeof(float));
            b->place[n++] = place;
        }
    }
    b->expert_start[x->n] = n;
}

static size_t n_sent(const struct ucb_backward *b, uint32_t expert)
{
    return b->expert_start[expert + 1] - b->expert_start[expert];
}

static ucb_status run_shared(struct ucb_backward *b, struct ucb_err *err)
{
    struct mlp m = shared_mlp(b);
    UCB_TRY(run_mlp(b, &m, b->normed_mlp, b->aside, err));
    ucb_add(b->backend, b->mlp_out, b->aside, b->n_rows * b->arch->hidden);
    return UCB_OK;
}

static ucb_status run_experts(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_experts *x = &b->arch->experts;
    size_t hidden = b->arch->hidden;
    UCB_TRY(route(b, err));
    send(b);
    memset(b->mlp_out, 0, b->n_rows * hidden * sizeof(float));
    for (uint32_t e = 0; e < x->n; e++) {
        size_t first = b->expert_start[e], n = n_sent(b, e);
        struct mlp m = mlp_at(b, e, x->width, first, n);
        if (n == 0) continue;
        UCB_TRY(run_mlp(b, &m, b->sent + first * hidden, b->answer + first * hidden, err));
        for (size_t i = first; i < first + n; i++)
            ucb_add_scaled(b->backend, b->mlp_out + b->place[i] / x->used * hidden,
                           b->answer + i * hidden, b->expert_weight[b->place[i]], hidden);
    }
    return x->shared_width == 0 ? UCB_OK : run_shared(b, err);
}

/* The gradient of an answer is that of its row times its weight; of the weight, their
 * product. */
static void weigh_answer(void *context, size_t i)
{
    struct ucb_backward *b = context;
    size_t place = b->place[i], hidden = b->arch->hidden;
    const float *dy = b->dpart + place / b->arch->experts.used * hidden;
    float *danswer = b->answer + i * hidden;
    b->dexpert_weight[place] = ucb_dot(b->backend, dy, danswer, hidden);
    memset(danswer, 0, hidden * sizeof(*danswer));
    ucb_add_scaled(b->backend, danswer, dy, b->expert_weight[place], hidden);
}

/* Of an expert that got no row. */
static void clear_gradients(struct ucb_backward *b, uint32_t expert)
{
    static const enum ucb_role roles[] = {UCB_ROLE_GATE, UCB_ROLE_UP, UCB_ROLE_DOWN};
    for (size_t i = b->arch->gated ? 0 : 1; i < 3 && b->gradient.weight != NULL; i++) {
        size_t slot = b->first[roles[i]] +
                      (size_t)expert * (roles[i] == UCB_ROLE_DOWN ? 1 : 2);
        const struct ucb_matrix *m = b->matrix[slot];
        float *weight = b->gradient.weight[slot];
        if (weight != NULL) memset(weight, 0, (size_t)m->n_out * m->n_in * sizeof(*weight));
    }
}

static void route_row_back(void *context, size_t row)
{
    struct ucb_backward *b = context;
    const struct ucb_experts *x = &b->arch->experts;
    ucb_route_gradient(x, b->scores + row * x->n, b->dexpert_weight + row * x->used,
                       b->dscores + row * x->n);
}

static ucb_status reverse_router(struct ucb_backward *b, struct ucb_err *err)
{
    uint32_t n = b->arch->experts.n, hidden = b->arch->hidden;
    struct ucb_packed turned = {b->packed, hidden, n};
    float *gradient = b->gradient.vector[UCB_VECTOR_ROUTER];
    ucb_parallel_for(b->pool, b->n_rows, route_row_back, b);
    ucb_pack_transposed(b->backend, b->arrays.vector[UCB_VECTOR_ROUTER], &turned);
    UCB_TRY(ucb_linear(b->backend, &turned, NULL, b->dscores, b->n_rows, b->aside, err));
    ucb_add(b->backend, b->dnormed, b->aside, b->n_rows * hidden);
    ucb_backward_input(b, b->normed_mlp, b->n_rows, hidden);
    return gradient == NULL ? UCB_OK : ucb_backward_outer(b, b->dscores, n, gradient, err);
}

/* The rows of the experts' inputs are free by now. */
static ucb_status reverse_shared(struct ucb_backward *b, struct ucb_err *err)
{
    struct mlp m = shared_mlp(b);
    UCB_TRY(reverse_mlp(b, &m, b->normed_mlp, b->dpart, b->dsent, err));
    ucb_add(b->backend, b->dnormed, b->dsent, b->n_rows * b->arch->hidden);
    return UCB_OK;
}

static ucb_status reverse_experts(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_experts *x = &b->arch->experts;
    size_t hidden = b->arch->hidden;
    ucb_parallel_for(b->pool, b->n_rows * x->used, weigh_answer, b);
    memset(b->dnormed, 0, b->n_rows * hidden * sizeof(float));
    for (uint32_t e = 0; e < x->n; e++) {
        size_t first = b->expert_start[e], n = n_sent(b, e);
        struct mlp m = mlp_at(b, e, x->width, first, n);
        if (n == 0) clear_gradients(b, e);
        if (n == 0) continue;
        UCB_TRY(reverse_mlp(b, &m, b->sent + first * hidden, b->answer + first * hidden,
                            b->dsent + first * hidden, err));
        for (size_t i = first; i < first + n; i++)
            ucb_add_scaled(b->backend, b->dnormed + b->place[i] / x->used * hidden,
                           b->dsent + i * hidden, 1.0f, hidden);
    }
    UCB_TRY(reverse_router(b, err));
    return x->shared_width == 0 ? UCB_OK : reverse_shared(b, err);
}

/* ---- both ---- */

ucb_status ucb_backward_mlp(struct ucb_backward *b, struct ucb_err *err)
{
    uint32_t ffn = b->arch->layers[b->layer].ffn;
    struct mlp m = mlp_at(b, 0, ffn, 0, b->n_rows);
    return ffn != 0 ? run_mlp(b, &m, b->normed_mlp, b->mlp_out, err) : run_experts(b, err);
}

ucb_status ucb_backward_mlp_run(struct ucb_backward *b, struct ucb_err *err)
{
    uint32_t ffn = b->arch->layers[b->layer].ffn;
    struct mlp m = mlp_at(b, 0, ffn, 0, b->n_rows);
    return ffn != 0 ? reverse_mlp(b, &m, b->normed_mlp, b->dpart, b->dnormed, err)
                    : reverse_experts(b, err);
}
