/*
 * latent_heads.h - how latent attention's heads lie in memory, forward and in reverse.
 *
 * The backend's attention takes keys and values of one width. Queries and keys have nope +
 * rope elements, values another number of them; all are laid in parts of the larger, zeros
 * behind: zeros that are added change no score and no sum.
 */
#ifndef UCB_MODEL_LATENT_HEADS_H
#define UCB_MODEL_LATENT_HEADS_H

#include "model/model.h"

/* The implementation these models come with norms the latents with this epsilon, whatever
 * the configuration says. */
#define UCB_LATENT_EPS 1e-6f

static inline uint32_t ucb_latent_width(const struct ucb_arch *a)
{
    return a->latent.value > a->head_dim ? a->latent.value : a->head_dim;
}

/* Rows of parts of `from` elements become parts of `to` in the same buffer: zeros come
 * behind, or what stands behind is dropped. */
void ucb_latent_widen(float *x, size_t n_parts, uint32_t from, uint32_t to);
void ucb_latent_narrow(float *x, size_t n_parts, uint32_t from, uint32_t to);

/* Rows [latent[kv_rank] | key[rope]] apart, into dense rows; key may be `both`. And
 * together again. */
void ucb_latent_split(const struct ucb_latent *l, const float *both, size_t n_rows,
                      float *latent, float *key);
void ucb_latent_join(const struct ucb_latent *l, const float *latent, const float *key,
                     size_t n_rows, float *both);

/* k and v, [n_rows][n_heads][width], from heads[n_rows][n_heads][nope + value], what kv_b
 * makes of the latents, and from the one turned key[n_rows][rope] that all heads share. */
void ucb_latent_lay(const struct ucb_arch *a, const float *heads, const float *key,
                    size_t n_rows, float *k, float *v);
/* Gradients of `heads` and of `key` from those of k and v; a key's parts are added by
 * rising head, from +0. */
void ucb_latent_gather(const struct ucb_arch *a, const float *dk, const float *dv,
                       size_t n_rows, float *dheads, float *dkey);

#endif
