/*
 * overlay_bank.c - codebooks, and the side data that holds them:
 *
 *     u8 number of banks, then of each: u8 role, u8 b1, u8 b2     (header)
 *     of each bank: 2^b1 x 8 and 2^b2 x 8 values, fp16            (codebook)
 *
 * Banks stand in rising order of their roles.
 */
#include <math.h>
#include <string.h>

#include "core/half.h"
#include "method/payload.h"
#include "overlay.h"

bool overlay_book_alloc(struct ucb_arena *arena, uint32_t n, bool searched,
                        struct overlay_book *out)
{
    size_t n_tile = (size_t)overlay_blocks(n) * OVERLAY_TILE;
    *out = (struct overlay_book){.n = n,
                                 .entry = UCB_NEW(arena, float, (size_t)n *OVERLAY_D),
                                 .tile = searched ? UCB_NEW(arena, float, n_tile) : NULL};
    return out->entry != NULL && (!searched || out->tile != NULL);
}

void overlay_book_lay(struct overlay_book *book)
{
    for (uint32_t i = 0; i < overlay_blocks(book->n) * OVERLAY_BLOCK; i++) {
        float *to = book->tile + (size_t)(i / OVERLAY_BLOCK) * OVERLAY_TILE +
                    i % OVERLAY_BLOCK;
        const float *c = book->entry + (size_t)i * OVERLAY_D;
        float norm = 0;
        for (int d = 0; d < OVERLAY_D; d++) {
            float value = i < book->n ? c[d] : 0.0f;
            norm += value * value;
            to[(d + 1) * OVERLAY_BLOCK] = -2 * value;
        }
        to[0] = i < book->n ? norm : INFINITY;
    }
}

static void put_book(const struct overlay_book *book, struct ucb_writer *out)
{
    for (size_t i = 0; i < (size_t)book->n * OVERLAY_D; i++)
        ucb_put_u16(out, ucb_f16_from_f32(book->entry[i]));
}

void overlay_banks_put(const struct overlay_bank *banks, uint32_t n_banks,
                       struct ucb_writer *out)
{
    ucb_part(out, UCB_PART_HEADER);
    ucb_put_u8(out, (uint8_t)n_banks);
    for (uint32_t i = 0; i < n_banks; i++) {
        ucb_put_u8(out, (uint8_t)banks[i].role);
        ucb_put_u8(out, (uint8_t)banks[i].b1);
        ucb_put_u8(out, (uint8_t)banks[i].b2);
    }
    ucb_part(out, UCB_PART_CODEBOOK);
    for (uint32_t i = 0; i < n_banks; i++) {
        put_book(&banks[i].first, out);
        put_book(&banks[i].second, out);
    }
}

static size_t bank_bytes(const uint8_t *head)
{
    return (((size_t)1 << head[1]) + ((size_t)1 << head[2])) * OVERLAY_D * sizeof(uint16_t);
}

/* The heads of all banks, each checked. */
static ucb_status read_heads(struct ucb_reader *in, const struct ucb_matrix *m,
                             const uint8_t **heads, uint8_t *n, struct ucb_err *err)
{
    const uint8_t *count;
    UCB_TRY(ucb_payload_take(in, m, "the number of codebooks' banks", 1, &count, err));
    *n = count[0];
    UCB_TRY(ucb_payload_take(in, m, "the banks' heads", (size_t)*n * 3, heads, err));
    for (uint8_t i = 0; i < *n; i++) {
        const uint8_t *head = *heads + i * 3;
        bool rises = i == 0 || head[0] > head[-3];
        if (head[0] < UCB_N_ROLES && rises && head[1] <= OVERLAY_MAX_BITS &&
            head[2] <= OVERLAY_MAX_BITS)
            continue;
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: bank %u of the codebooks has role %u, %u and %u bits; roles "
                        "rise and are below %d, bits are at most %d",
                        m->name, i, head[0], head[1], head[2], UCB_N_ROLES,
                        OVERLAY_MAX_BITS);
    }
    return UCB_OK;
}

static ucb_status get_book(struct ucb_job *job, const struct ucb_matrix *m,
                           struct ucb_reader *in, unsigned bits, bool searched,
                           struct overlay_book *out, struct ucb_err *err)
{
    if (!overlay_book_alloc(job->arena, 1u << bits, searched, out))
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its codebooks", m->name);
    UCB_TRY(ucb_payload_take_f16s(in, m, "codebook", (size_t)out->n * OVERLAY_D, out->entry,
                                  err));
    if (searched) overlay_book_lay(out);
    return UCB_OK;
}

ucb_status overlay_bank_get(struct ucb_job *job, const struct ucb_matrix *matrix,
                            bool searched, struct overlay_bank *out, struct ucb_err *err)
{
    struct ucb_reader in = {job->shared, job->n_shared, 0};
    const uint8_t *heads, *skipped;
    uint8_t n;
    bool found = false;
    UCB_TRY(read_heads(&in, matrix, &heads, &n, err));
    for (uint8_t i = 0; i < n; i++) {
        const uint8_t *head = heads + i * 3;
        if (head[0] != matrix->role) {
            UCB_TRY(ucb_payload_take(&in, matrix, "codebooks", bank_bytes(head), &skipped,
                                     err));
            continue;
        }
        found = true;
        *out = (struct overlay_bank){
            .role = matrix->role, .b1 = head[1], .b2 = head[2], .at = in.at};
        UCB_TRY(get_book(job, matrix, &in, out->b1, searched, &out->first, err));
        UCB_TRY(get_book(job, matrix, &in, out->b2, searched, &out->second, err));
    }
    UCB_TRY(ucb_payload_end(&in, matrix, err));
    if (found) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the side data holds codebooks for %u roles, and none for %s",
                    matrix->name, n, ucb_role_name(matrix->role));
}
