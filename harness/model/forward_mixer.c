/*
 * forward_mixer.c - attention: out = o(attention(rope(q), rope(k), v)), with heads of their
 * own norms, windows, caps; and latent attention, whose keys and values come out of a small
 * shared vector.
 */
#include <assert.h>
#include <string.h>

#include "model/forward_internal.h"
#include "model/latent_heads.h"

/* Rotates heads; a window longer than the original positions may turn by other angles than
 * the one beside it. */
static void turn(struct ucb_forward *f, const struct ucb_layer_run *run, float *x,
                 uint32_t n_heads, uint32_t head_dim, uint32_t offset)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_rope_set *set = &a->rope[a->layers[run->layer->index].rope];
    float *const *table = f->rope[a->layers[run->layer->index].rope];
    struct ucb_rotary shape = {.n_heads = n_heads,
                               .head_dim = head_dim,
                               .offset = offset,
                               .r = a->rotary_dim,
                               .adjacent = a->positions == UCB_POSITIONS_PAIRS};
    if (a->positions == UCB_POSITIONS_LEARNED || a->positions == UCB_POSITIONS_NONE) return;
    if (set->long_inv_freq == NULL) {
        ucb_rope(f->backend, x, ucb_n_rows(&run->rows), &shape, table[0], f->position);
        return;
    }
    for (size_t w = 0; w < run->rows.n_windows; w++) {
        size_t row = run->rows.start[w], n = run->rows.start[w + 1] - row;
        ucb_rope(f->backend, x + row * n_heads * head_dim, n, &shape,
                 table[n > set->original], f->position + row);
    }
}

static void norm_rows(struct ucb_forward *f, const float *weight, size_t n_rows, uint32_t n,
                      float eps, float *x)
{
    if (weight != NULL) ucb_rmsnorm(f->backend, x, n_rows, n, weight, eps, x);
}

/* Norms of q and k: over each head, or over the whole projection. */
static void norm_heads(struct ucb_forward *f, const struct ucb_layer_run *run)
{
    const struct ucb_arch *a = f->arch;
    const float *const *vector = run->layer->vector;
    size_t n = ucb_n_rows(&run->rows);
    bool by_head = a->qk_norm == UCB_QK_NORM_HEAD;
    uint32_t q = by_head ? 1 : a->n_heads, k = by_head ? 1 : a->n_kv_heads;
    if (a->qk_norm == UCB_QK_NORM_NONE) return;
    norm_rows(f, vector[UCB_VECTOR_Q_NORM], n * (a->n_heads / q), q * a->head_dim,
              a->norm_eps, f->q);
    norm_rows(f, vector[UCB_VECTOR_K_NORM], n * (a->n_kv_heads / k), k * a->head_dim,
              a->norm_eps, f->k);
}

static void clamp_heads(struct ucb_forward *f, size_t n)
{
    const struct ucb_arch *a = f->arch;
    size_t q = n * a->n_heads * a->head_dim, kv = n * a->n_kv_heads * a->head_dim;
    if (a->clip_qkv == 0) return;
    ucb_clamp(f->backend, f->q, q, a->clip_qkv);
    ucb_clamp(f->backend, f->k, kv, a->clip_qkv);
    ucb_clamp(f->backend, f->v, kv, a->clip_qkv);
}

static ucb_status project_heads(struct ucb_forward *f, const struct ucb_layer_run *run,
                                struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_rows *rows = &run->rows;
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_Q, 0, rows, f->normed, f->q, err));
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_K, 0, rows, f->normed, f->k, err));
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_V, 0, rows, f->normed, f->v, err));
    norm_heads(f, run);
    clamp_heads(f, ucb_n_rows(rows));
    turn(f, run, f->q, a->n_heads, a->head_dim, 0);
    turn(f, run, f->k, a->n_kv_heads, a->head_dim, 0);
    return UCB_OK;
}

/* ---- latent attention ---- */

static ucb_status project_latent_q(struct ucb_forward *f, const struct ucb_layer_run *run,
                                   bool *done, struct ucb_err *err)
{
    const struct ucb_latent *l = &f->arch->latent;
    const struct ucb_rows *rows = &run->rows;
    size_t n = ucb_n_rows(rows);
    if (l->q_rank == 0)
        return ucb_forward_linear(f, run, UCB_ROLE_Q, 0, rows, f->normed, f->q, err);
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_Q_A, 0, rows, f->normed, f->latent, err));
    norm_rows(f, run->layer->vector[UCB_VECTOR_Q_A_NORM], n, l->q_rank, UCB_LATENT_EPS,
              f->latent);
    UCB_TRY(ucb_forward_show(run, UCB_INPUT_LATENT_Q, 0, f->latent, n, l->q_rank, err));
    *done = ucb_run_ends(run, UCB_INPUT_LATENT_Q);
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, UCB_ROLE_Q_B, 0, rows, f->latent, f->q, err);
}

/* [latent | rotary key] rows apart: the latent, normed, becomes dense rows in `kv_normed`;
 * the rotary key goes behind the first part of every head's key. */
static ucb_status project_latent_kv(struct ucb_forward *f, const struct ucb_layer_run *run,
                                    bool *done, struct ucb_err *err)
{
    const struct ucb_latent *l = &f->arch->latent;
    const struct ucb_rows *rows = &run->rows;
    size_t n = ucb_n_rows(rows);
    UCB_TRY(ucb_forward_linear(f, run, UCB_ROLE_KV_A, 0, rows, f->normed, f->latent, err));
    ucb_backend_read(f->backend, f->latent,
                     n * (l->kv_rank + l->rope) * sizeof(*f->latent));
    ucb_backend_write(f->backend, f->latent, n * l->rope * sizeof(*f->latent));
    ucb_backend_write(f->backend, f->kv_normed, n * l->kv_rank * sizeof(*f->kv_normed));
    ucb_latent_split(l, f->latent, n, f->kv_normed, f->latent);
    turn(f, run, f->latent, 1, l->rope, 0);
    norm_rows(f, run->layer->vector[UCB_VECTOR_KV_A_NORM], n, l->kv_rank, UCB_LATENT_EPS,
              f->kv_normed);
    UCB_TRY(
        ucb_forward_show(run, UCB_INPUT_LATENT_KV, 0, f->kv_normed, n, l->kv_rank, err));
    *done = ucb_run_ends(run, UCB_INPUT_LATENT_KV);
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, UCB_ROLE_KV_B, 0, rows, f->kv_normed, f->latent_kv,
                              err);
}

/* Heads of `from` elements become heads of `to`, in place. */
static void resize_heads(struct ucb_forward *f, float *x, size_t n_heads, uint32_t from,
                         uint32_t to)
{
    if (from == to) return;
    ucb_backend_read(f->backend, x, n_heads * from * sizeof(*x));
    ucb_backend_write(f->backend, x, n_heads * to * sizeof(*x));
    if (from < to)
        ucb_latent_widen(x, n_heads, from, to);
    else
        ucb_latent_narrow(x, n_heads, from, to);
}

static void lay_latent_heads(struct ucb_forward *f, size_t n)
{
    const struct ucb_arch *a = f->arch;
    const struct ucb_latent *l = &a->latent;
    uint32_t width = ucb_latent_width(a);
    size_t n_heads = n * a->n_heads, n_bytes = n_heads * width * sizeof(float);
    ucb_backend_read(f->backend, f->latent_kv,
                     n_heads * (l->nope + l->value) * sizeof(float));
    ucb_backend_read(f->backend, f->latent, n * l->rope * sizeof(float));
    ucb_backend_write(f->backend, f->k, n_bytes);
    ucb_backend_write(f->backend, f->v, n_bytes);
    ucb_latent_lay(a, f->latent_kv, f->latent, n, f->k, f->v);
    resize_heads(f, f->q, n_heads, a->head_dim, width);
}

static ucb_status project_latent(struct ucb_forward *f, const struct ucb_layer_run *run,
                                 bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    UCB_TRY(project_latent_q(f, run, done, err));
    if (*done) return UCB_OK;
    turn(f, run, f->q, a->n_heads, a->head_dim, a->latent.nope);
    UCB_TRY(project_latent_kv(f, run, done, err));
    if (!*done) lay_latent_heads(f, ucb_n_rows(&run->rows));
    return UCB_OK;
}

/* ---- both ---- */

struct ucb_attention ucb_forward_attention(const struct ucb_arch *a, uint32_t layer)
{
    bool latent = a->mixer == UCB_MIXER_LATENT;
    float scale = a->layers[layer].score_scale;
    return (struct ucb_attention){.n_heads = a->n_heads,
                                  .n_kv_heads = a->n_kv_heads,
                                  .head_dim = latent ? ucb_latent_width(a) : a->head_dim,
                                  .sliding = a->layers[layer].window,
                                  .scale = scale != 0 ? scale : a->attention_scale,
                                  .softcap = a->attention_softcap};
}

ucb_status ucb_forward_mix(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    bool latent = a->mixer == UCB_MIXER_LATENT;
    size_t n = ucb_n_rows(&run->rows);
    struct ucb_attention shape = ucb_forward_attention(a, run->layer->index);
    uint32_t width = a->n_heads * (latent ? a->latent.value : a->head_dim);
    UCB_TRY(ucb_forward_show(run, UCB_INPUT_QKV, 0, f->normed, n, a->hidden, err));
    *done = ucb_run_ends(run, UCB_INPUT_QKV);
    if (*done) return UCB_OK;
    UCB_TRY(latent ? project_latent(f, run, done, err) : project_heads(f, run, err));
    if (*done) return UCB_OK;
    UCB_TRY(ucb_attention(f->backend, &shape, f->q, f->k, f->v, run->rows.n_windows,
                          run->rows.start, f->mixed, err));
    if (latent) /* only the values' own elements of each head are outputs */
        resize_heads(f, f->mixed, n * a->n_heads, shape.head_dim, a->latent.value);
    UCB_TRY(ucb_forward_show(run, UCB_INPUT_O, 0, f->mixed, n, width, err));
    *done = ucb_run_ends(run, UCB_INPUT_O);
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, UCB_ROLE_O, 0, &run->rows, f->mixed, f->out, err);
}
