/*
 * loader_resident.c - layers that stay encoded (--resident encoded): of each matrix that
 * the chain takes the payload and its opened state are kept, and the product decodes rows
 * on its way. Matrices are decoded once before, one at a time, for the digest of what they
 * decode to.
 */
#include <string.h>

#include "eval/loader_internal.h"

ucb_status ucb_loader_keep_encoded(struct ucb_loader *l, struct ucb_err *err)
{
    return l->rooms != NULL ? UCB_OK
                            : ucb_rooms_open(ucb_pool_threads(l->pool), &l->rooms, err);
}

bool ucb_loader_stays_encoded(const struct ucb_loader *l, const struct ucb_chain *chain)
{
    return l->rooms != NULL && ucb_resident_serves(chain);
}

static ucb_status decode_rows(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                              uint32_t end, float *out, struct ucb_err *err)
{
    return ucb_resident_rows(context, worker, row, n_rows, end, out, err);
}

static ucb_status open_resident(struct ucb_loader *l, const struct ucb_chain *chain,
                                const struct ucb_matrix *m,
                                const struct ucb_writer *payload, struct ucb_tiles *out,
                                struct ucb_err *err)
{
    struct ucb_chain_context kept = l->context;
    uint8_t *bytes = ucb_arena_alloc(&l->products, payload->n_bytes);
    struct ucb_resident *resident;
    if (bytes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to keep its payload", m->name);
    memcpy(bytes, payload->data, payload->n_bytes);
    kept.arena = &l->products;
    UCB_TRY(ucb_resident_open(chain, &kept, m, bytes, payload->n_bytes, l->rooms, &resident,
                              err));
    *out = (struct ucb_tiles){.decode = decode_rows,
                              .context = resident,
                              .n_out = m->n_out,
                              .n_in = m->n_in,
                              .share_rows = ucb_resident_share_rows(resident)};
    return UCB_OK;
}

ucb_status ucb_loader_open_residents(struct ucb_loader *l, const struct ucb_chain *chain,
                                     const struct ucb_loader_group *g, struct ucb_err *err)
{
    for (uint32_t i = 0; i < g->n; i++) {
        size_t slot = g->slot[i];
        ucb_packed_free(l->backend, &l->weight[slot]); /* of another layer or method */
        l->packed_bytes[slot] = 0;
        UCB_TRY(
            open_resident(l, chain, g->matrix[i], &l->payload[i], &l->tiles[slot], err));
    }
    return UCB_OK;
}

void ucb_loader_count_resident(const struct ucb_loader *l, size_t n_matrices,
                               struct ucb_tally *tally)
{
    uint64_t kept = l->products.used_bytes, decoded = 0;
    if (l->rooms == NULL) return;
    for (size_t i = 0; i < n_matrices; i++) {
        const struct ucb_packed *w = &l->weight[i];
        uint64_t n_bytes = ucb_pack_bytes(l->backend, w->n_out, w->n_in);
        decoded += n_bytes;
        kept += l->tiles[i].decode == NULL ? n_bytes : 0;
    }
    if (decoded <= tally->decoded_layer_bytes) return;
    tally->decoded_layer_bytes = decoded;
    tally->resident_layer_bytes = kept;
}
