/* latent_heads.c - see latent_heads.h. */
#include "model/latent_heads.h"

#include <string.h>

void ucb_latent_widen(float *x, size_t n_parts, uint32_t from, uint32_t to)
{
    if (from == to) return;
    for (size_t i = n_parts; i-- > 0;) { /* the last first: they lie in one buffer */
        memmove(x + i * to, x + i * from, from * sizeof(*x));
        memset(x + i * to + from, 0, (to - from) * sizeof(*x));
    }
}

void ucb_latent_narrow(float *x, size_t n_parts, uint32_t from, uint32_t to)
{
    if (from == to) return;
    for (size_t i = 0; i < n_parts; i++) memmove(x + i * to, x + i * from, to * sizeof(*x));
}

void ucb_latent_split(const struct ucb_latent *l, const float *both, size_t n_rows,
                      float *latent, float *key)
{
    size_t width = l->kv_rank + l->rope;
    for (size_t i = 0; i < n_rows; i++)
        memcpy(latent + i * l->kv_rank, both + i * width, l->kv_rank * sizeof(*latent));
    for (size_t i = 0; i < n_rows; i++)
        memmove(key + i * l->rope, both + i * width + l->kv_rank, l->rope * sizeof(*key));
}

void ucb_latent_join(const struct ucb_latent *l, const float *latent, const float *key,
                     size_t n_rows, float *both)
{
    size_t width = l->kv_rank + l->rope;
    for (size_t i = 0; i < n_rows; i++) {
        memcpy(both + i * width, latent + i * l->kv_rank, l->kv_rank * sizeof(*both));
        memcpy(both + i * width + l->kv_rank, key + i * l->rope, l->rope * sizeof(*both));
    }
}

void ucb_latent_lay(const struct ucb_arch *a, const float *heads, const float *key,
                    size_t n_rows, float *k, float *v)
{
    const struct ucb_latent *l = &a->latent;
    uint32_t width = ucb_latent_width(a);
    for (size_t i = 0; i < n_rows * a->n_heads; i++) {
        const float *both = heads + i * (l->nope + l->value);
        float *ki = k + i * width, *vi = v + i * width;
        memset(ki, 0, width * sizeof(*ki));
        memset(vi, 0, width * sizeof(*vi));
        memcpy(ki, both, l->nope * sizeof(*ki));
        memcpy(ki + l->nope, key + i / a->n_heads * l->rope, l->rope * sizeof(*ki));
        memcpy(vi, both + l->nope, l->value * sizeof(*vi));
    }
}

void ucb_latent_gather(const struct ucb_arch *a, const float *dk, const float *dv,
                       size_t n_rows, float *dheads, float *dkey)
{
    const struct ucb_latent *l = &a->latent;
    uint32_t width = ucb_latent_width(a);
    memset(dkey, 0, n_rows * l->rope * sizeof(*dkey));
    for (size_t i = 0; i < n_rows * a->n_heads; i++) {
        float *both = dheads + i * (l->nope + l->value),
              *key = dkey + i / a->n_heads * l->rope;
        memcpy(both, dk + i * width, l->nope * sizeof(*both));
        memcpy(both + l->nope, dv + i * width, l->value * sizeof(*both));
        for (uint32_t c = 0; c < l->rope; c++) key[c] += dk[i * width + l->nope + c];
    }
}
