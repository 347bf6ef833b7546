/*
 * backward_latent.c - latent attention kept and reversed:
 *
 *     q = rope(q_b(norm(q_a(x))))  or rope(q_proj(x));   [c | key] = kv_a(x)
 *     [k of each head | v] = kv_b(norm(c)), each k followed by the one rope(key)
 *
 * The gradient of the shared key adds its heads by rising index. Queries turn only behind
 * their first `nope` elements.
 */
#include "model/backward_internal.h"
#include "model/forward_internal.h"
#include "model/latent_heads.h"

static void turn_queries(struct ucb_backward *b, float *q, bool is_reverse)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_backward_turn turn = {a->n_heads, a->head_dim, a->latent.nope, is_reverse};
    ucb_backward_turn(b, &turn, q);
}

static void turn_key(struct ucb_backward *b, bool is_reverse)
{
    struct ucb_backward_turn turn = {1, b->arch->latent.rope, 0, is_reverse};
    ucb_backward_turn(b, &turn, b->latent.key);
}

static void norm_latent(struct ucb_backward *b, enum ucb_vector norm, uint32_t rank,
                        const float *raw, float *out)
{
    ucb_rmsnorm(b->backend, raw, b->n_rows, rank, b->arrays.vector[norm], UCB_LATENT_EPS,
                out);
}

static ucb_status project_q(struct ucb_backward *b, struct ucb_err *err)
{
    struct ucb_backward_latent *l = &b->latent;
    uint32_t rank = b->arch->latent.q_rank;
    size_t n = b->n_rows;
    if (rank == 0) return ucb_backward_multiply(b, UCB_ROLE_Q, 0, b->normed, n, b->q, err);
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_Q_A, 0, b->normed, n, l->q_raw, err));
    norm_latent(b, UCB_VECTOR_Q_A_NORM, rank, l->q_raw, l->q);
    return ucb_backward_multiply(b, UCB_ROLE_Q_B, 0, l->q, n, b->q, err);
}

static ucb_status project_kv(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_latent *shape = &b->arch->latent;
    struct ucb_backward_latent *l = &b->latent;
    size_t n = b->n_rows;
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_KV_A, 0, b->normed, n, l->both, err));
    ucb_latent_split(shape, l->both, n, l->kv_raw, l->key);
    norm_latent(b, UCB_VECTOR_KV_A_NORM, shape->kv_rank, l->kv_raw, l->kv);
    turn_key(b, false);
    UCB_TRY(ucb_backward_multiply(b, UCB_ROLE_KV_B, 0, l->kv, n, l->heads, err));
    ucb_latent_lay(b->arch, l->heads, l->key, n, b->k, b->v);
    return UCB_OK;
}

ucb_status ucb_backward_latent(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_attention shape = ucb_forward_attention(a, b->layer);
    size_t n_parts = b->n_rows * a->n_heads;
    UCB_TRY(project_q(b, err));
    turn_queries(b, b->q, false);
    ucb_latent_widen(b->q, n_parts, a->head_dim, shape.head_dim);
    UCB_TRY(project_kv(b, err));
    UCB_TRY(ucb_attention(b->backend, &shape, b->q, b->k, b->v, b->n_windows, b->start,
                          b->mixed, err));
    ucb_latent_narrow(b->mixed, n_parts, shape.head_dim, a->latent.value);
    return ucb_backward_multiply(b, UCB_ROLE_O, 0, b->mixed, b->n_rows, b->mixed_out, err);
}

/* ---- the reverse ---- */

/* The gradient of a latent before its norm, into l->dlatent, from that of what was
 * projected from it; that projection is weighed. */
static ucb_status unproject_latent(struct ucb_backward *b, enum ucb_role role,
                                   enum ucb_vector norm, uint32_t rank, const float *raw,
                                   const float *latent, const float *dy,
                                   struct ucb_err *err)
{
    float *dlatent = b->latent.dlatent;
    ucb_backward_input(b, latent, b->n_rows, rank);
    UCB_TRY(ucb_backward_weigh(b, role, 0, dy, err));
    UCB_TRY(ucb_backward_multiply_back(b, role, 0, dy, b->n_rows, dlatent, err));
    return ucb_rmsnorm_gradient(b->backend, raw, dlatent, b->n_rows, rank,
                                b->arrays.vector[norm], UCB_LATENT_EPS, dlatent,
                                b->gradient.vector[norm], err);
}

/* From dk and dv to l->both. */
static ucb_status unproject_kv(struct ucb_backward *b, struct ucb_err *err)
{
    struct ucb_backward_latent *l = &b->latent;
    ucb_latent_gather(b->arch, b->dk, b->dv, b->n_rows, l->heads, l->key);
    turn_key(b, true);
    UCB_TRY(unproject_latent(b, UCB_ROLE_KV_B, UCB_VECTOR_KV_A_NORM,
                             b->arch->latent.kv_rank, l->kv_raw, l->kv, l->heads, err));
    ucb_latent_join(&b->arch->latent, l->dlatent, l->key, b->n_rows, l->both);
    return UCB_OK;
}

static ucb_status reverse_attention(struct ucb_backward *b, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_attention shape = ucb_forward_attention(a, b->layer);
    size_t n_parts = b->n_rows * a->n_heads;
    ucb_backward_input(b, b->mixed, b->n_rows, a->n_heads * a->latent.value);
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_O, 0, b->dpart, err));
    UCB_TRY(
        ucb_backward_multiply_back(b, UCB_ROLE_O, 0, b->dpart, b->n_rows, b->dmixed, err));
    ucb_latent_widen(b->dmixed, n_parts, a->latent.value, shape.head_dim);
    UCB_TRY(ucb_attention_gradient(b->backend, &shape, b->q, b->k, b->v, b->dmixed,
                                   b->n_windows, b->start, b->dq, b->dk, b->dv, err));
    ucb_latent_narrow(b->dq, n_parts, shape.head_dim, a->head_dim);
    turn_queries(b, b->dq, true);
    return UCB_OK;
}

ucb_status ucb_backward_latent_run(struct ucb_backward *b, bool wants_dnormed,
                                   struct ucb_err *err)
{
    struct ucb_backward_latent *l = &b->latent;
    uint32_t rank = b->arch->latent.q_rank;
    enum ucb_role role = rank == 0 ? UCB_ROLE_Q : UCB_ROLE_Q_A;
    const float *dq = rank == 0 ? b->dq : l->dlatent;
    UCB_TRY(reverse_attention(b, err));
    UCB_TRY(unproject_kv(b, err));
    if (rank != 0) /* l->both has taken what dlatent held */
        UCB_TRY(unproject_latent(b, UCB_ROLE_Q_B, UCB_VECTOR_Q_A_NORM, rank, l->q_raw, l->q,
                                 b->dq, err));
    ucb_backward_input(b, b->normed, b->n_rows, b->arch->hidden);
    UCB_TRY(ucb_backward_weigh(b, role, 0, dq, err));
    UCB_TRY(ucb_backward_weigh(b, UCB_ROLE_KV_A, 0, l->both, err));
    if (!wants_dnormed) return UCB_OK;
    UCB_TRY(ucb_backward_add_back(b, role, dq, true, err));
    return ucb_backward_add_back(b, UCB_ROLE_KV_A, l->both, false, err);
}
