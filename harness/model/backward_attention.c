/*
 * backward_attention.c - attention with its projections, norms, clamps and rotations, kept
 * and reversed. A rotation's reverse is the rotation by the negative angle, times the same
 * magnitude.
 */
#include <string.h>

#include "model/backward_internal.h"
#include "model/forward_internal.h"

void ucb_backward_turn(struct ucb_backward *b, const struct ucb_backward_turn *turn,
                       float *x)
{
    const struct ucb_arch *a = b->arch;
    uint32_t set = a->layers[b->layer].rope;
    struct ucb_rotary shape = {.n_heads = turn->n_heads,
                               .head_dim = turn->head_dim,
                               .offset = turn->offset,
                               .r = a->rotary_dim,
                               .adjacent = a->positions == UCB_POSITIONS_PAIRS};
    if (a->positions == UCB_POSITIONS_LEARNED || a->positions == UCB_POSITIONS_NONE) return;
    if (a->rope[set].long_inv_freq == NULL) {
        ucb_rope(b->backend, x, b->n_rows, &shape, b->rope[set][0][turn->is_reverse],
                 b->position);
        return;
    }
    for (size_t w = 0; w < b->n_windows; w++) {
        size_t row = b->start[w], n = b->start[w + 1] - row;
        bool is_long = n > a->rope[set].original;
        ucb_rope(b->backend, x + row * turn->n_heads * turn->head_dim, n, &shape,
                 b->rope[set][is_long][turn->is_reverse], b->position + row);
    }
}

static void turn_heads(struct ucb_backward *b, float *x, uint32_t n_heads, bool is_reverse)
{
    struct ucb_backward_turn turn = {n_heads, b->arch->head_dim, 0, is_reverse};
    ucb_backward_turn(b, &turn, x);
}

/* How a norm of heads cuts the rows: over each head, or over the whole projection. */
struct head_rows {
    size_t n_rows;
    uint32_t n;
};

static struct head_rows rows_of_heads(const struct ucb_backward *b, uint32_t n_heads)
{
    const struct ucb_arch *a = b->arch;
    uint32_t together = a->qk_norm == UCB_QK_NORM_HEAD ? 1 : n_heads;
    return (struct head_rows){b->n_rows * (n_heads / together), together * a->head_dim};
}

/* x = clamp(norm(raw)), turned; `raw` and `still` keep what the reverse needs. */
static void finish_heads(struct ucb_backward *b, enum ucb_vector norm, uint32_t n_heads,
                         float *raw, float *still, float *x)
{
    const struct ucb_arch *a = b->arch;
    size_t n = b->n_rows * n_heads * a->head_dim;
    const float *weight = b->arrays.vector[norm];
    if (raw != NULL) {
        struct head_rows rows = rows_of_heads(b, n_heads);
        memcpy(raw, x, n * sizeof(*x));
        if (weight != NULL)
            ucb_rmsnorm(b->backend, raw, rows.n_rows, rows.n, weight, a->norm_eps, x);
    }
    if (still != NULL) {
        ucb_clamp(b->backend, x, n, a->clip_qkv);
        memcpy(still, x, n * sizeof(*x));
    }
    turn_heads(b, x, n_heads, false);
}

ucb_status ucb_backward_mix(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_attention shape = ucb_forward_attention(a, b->layer);
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_Q, 0, b->normed, b->n_rows, b->q, err));
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_K, 0, b->normed, b->n_rows, b->k, err));
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_V, 0, b->normed, b->n_rows, b->v, err));
    finish_heads(b, UCB_VECTOR_Q_NORM, a->n_heads, b->q_raw, b->q_still, b->q);
    finish_heads(b, UCB_VECTOR_K_NORM, a->n_kv_heads, b->k_raw, b->k_still, b->k);
    if (a->clip_qkv != 0)
        ucb_clamp(b->backend, b->v, b->n_rows * a->n_kv_heads * a->head_dim, a->clip_qkv);
    UCB_TRY(ucb_attention(b->backend, &shape, b->q, b->k, b->v, b->n_windows, b->start,
                          b->mixed, err));
    return ucb_backward_multiply(b, UCB_ROLE_O, 0, b->mixed, b->n_rows, b->mixed_out, err);
}

/* The reverse of finish_heads(), in place. */
static ucb_status unfinish_heads(struct ucb_backward *b, enum ucb_vector norm,
                                 uint32_t n_heads, const float *raw, const float *still,
                                 float *dx, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    const float *weight = b->arrays.vector[norm];
    turn_heads(b, dx, n_heads, true);
    if (still != NULL)
        ucb_clamp_gradient(b->backend, still, b->n_rows * n_heads * a->head_dim,
                           a->clip_qkv, dx);
    if (raw == NULL || weight == NULL) return UCB_OK;
    struct head_rows rows = rows_of_heads(b, n_heads);
    return ucb_rmsnorm_gradient(b->backend, raw, dx, rows.n_rows, rows.n, weight,
                                a->norm_eps, dx, b->gradient.vector[norm], err);
}

static ucb_status unproject_heads(struct ucb_backward *b, bool wants_dnormed,
                                  struct ucb_err *err)
{
    ucb_backward_input(b, b->normed, b->n_rows, b->arch->hidden);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_Q, 0, b->dq, err));
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_K, 0, b->dk, err));
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_V, 0, b->dv, err));
    if (!wants_dnormed) return UCB_OK;
    UCB_TRY(ucb_backward_add_back(b, UCB_ROLE_Q, b->dq, true, err));
    UCB_TRY(ucb_backward_add_back(b, UCB_ROLE_K, b->dk, false, err));
    return ucb_backward_add_back(b, UCB_ROLE_V, b->dv, false, err);
}

ucb_status ucb_backward_mix_run(struct ucb_backward *b, bool wants_dnormed,
                                struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_attention shape = ucb_forward_attention(a, b->layer);
    ucb_backward_input(b, b->mixed, b->n_rows, a->n_heads * a->head_dim);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_O, 0, b->dpart, err));
    UCB_TRY(
        ucb_backward_multiply_back(b, UCB_ROLE_O, 0, b->dpart, b->n_rows, b->dmixed, err));
    UCB_TRY(ucb_attention_gradient(b->backend, &shape, b->q, b->k, b->v, b->dmixed,
                                   b->n_windows, b->start, b->dq, b->dk, b->dv, err));
    UCB_TRY(
        unfinish_heads(b, UCB_VECTOR_Q_NORM, a->n_heads, b->q_raw, b->q_still, b->dq, err));
    UCB_TRY(unfinish_heads(b, UCB_VECTOR_K_NORM, a->n_kv_heads, b->k_raw, b->k_still, b->dk,
                           err));
    if (a->clip_qkv != 0)
        ucb_clamp_gradient(b->backend, b->v, b->n_rows * a->n_kv_heads * a->head_dim,
                           a->clip_qkv, b->dv);
    return unproject_heads(b, wants_dnormed, err);
}
