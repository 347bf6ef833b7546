/*
 * loader_device.c - weights that a GPU decodes from their bytes. The CPU has decoded the
 * same bytes before, for the digest, so what it refuses never comes here; what the device
 * makes of them goes nowhere but into products.
 */
#include <string.h>

#include "eval/loader_internal.h"
#include "method/chain_cuda.h"

void ucb_loader_decode_on_device(struct ucb_loader *l)
{
    l->decodes_there = ucb_backend_cuda(l->backend) != NULL;
}

bool ucb_loader_decodes_on_device(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    const char *missing;
    return l->decodes_there && !ucb_chain_is_none(chain) &&
           !ucb_loader_stays_encoded(l, chain) &&
           ucb_chain_decodes_on_cuda(chain, &missing);
}

/* Matrix i of a group once more, as if there were no decoders. */
static ucb_status pack_here(struct ucb_loader *l, const struct ucb_chain *chain,
                            const struct ucb_loader_group *g, uint32_t i,
                            struct ucb_err *err)
{
    const struct ucb_writer *payload = &l->payload[i];
    UCB_TRY(ucb_loader_reserve_packed(l, g->matrix[i], g->slot[i], false, err));
    ucb_arena_reset(&l->arena);
    UCB_TRY(ucb_chain_decode(chain, &l->context, g->matrix[i], payload->data,
                             payload->n_bytes, l->decoded, NULL, err));
    ucb_pack(l->backend, l->decoded, &l->weight[g->slot[i]]);
    return UCB_OK;
}

ucb_status ucb_loader_pack_on_device(struct ucb_loader *l, const struct ucb_chain *chain,
                                     const struct ucb_loader_group *g, struct ucb_err *err)
{
    for (uint32_t i = 0; i < g->n; i++) {
        ucb_arena_reset(&l->arena);
        l->is_queued = true;
        ucb_status status = ucb_chain_pack_on_cuda(
            chain, &l->context, g->matrix[i], l->payload[i].data, l->payload[i].n_bytes,
            ucb_backend_cuda(l->backend), &l->weight[g->slot[i]], err);
        if (status == UCB_NOMEM) status = pack_here(l, chain, g, i, err);
        if (status != UCB_OK) return status;
    }
    return UCB_OK;
}

ucb_status ucb_loader_compare_on_device(struct ucb_loader *l, const struct ucb_chain *chain,
                                        const struct ucb_matrix *m, uint32_t i,
                                        bool *differs, struct ucb_err *err)
{
    ucb_arena_reset(&l->arena);
    ucb_status status = ucb_chain_decode_cuda(chain, &l->context, m, l->payload[i].data,
                                              l->payload[i].n_bytes,
                                              ucb_backend_cuda(l->backend), l->w[i], err);
    if (status == UCB_NOMEM) return UCB_OK; /* then it decodes nothing for products */
    UCB_TRY(status);
    *differs |= memcmp(l->w[i], l->decoded, (size_t)m->n_out * m->n_in * sizeof(float)) !=
                0;
    return UCB_OK;
}

ucb_status ucb_loader_settle(struct ucb_loader *l, struct ucb_err *err)
{
    if (!l->is_queued) return UCB_OK;
    l->is_queued = false;
    return ucb_chain_verdict_on_cuda(ucb_backend_cuda(l->backend),
                                     "weights decoded on the device", err);
}
