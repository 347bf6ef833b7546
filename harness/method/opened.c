/* opened.c - rows of an opened payload: the stages summed in fp32, rounded once. */
#include <string.h>

#include "core/clones.h"
#include "method/chain_internal.h"
#include "method/lanes.h"

UCB_CLONES static void round_f16(float *w, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        ucb_lanes_store_some(w + i, ucb_lanes_f16_round(ucb_lanes_load_some(w + i, n - i)),
                             n - i);
}

UCB_CLONES static void round_bf16(float *w, size_t n)
{
    for (size_t i = 0; i < n; i += UCB_LANES)
        ucb_lanes_store_some(w + i, ucb_lanes_bf16_round(ucb_lanes_load_some(w + i, n - i)),
                             n - i);
}

ucb_status ucb_opened_open(const struct ucb_chain *chain,
                           const struct ucb_chain_context *context,
                           const struct ucb_matrix *matrix, const uint8_t *payload,
                           size_t n_bytes, struct ucb_opened *out, struct ucb_err *err)
{
    const uint8_t *bytes[UCB_MAX_STAGES];
    size_t lengths[UCB_MAX_STAGES];
    bool exact = ucb_chain_is_exact(chain);
    *out = (struct ucb_opened){
        .matrix = matrix,
        .n_stages = chain->n_coded - exact,
        .dtype = exact ? UCB_F32 : ucb_chain_decoded_dtype(chain, matrix->dtype),
        .is_sum = exact || chain->n_coded > 1};
    UCB_TRY(ucb_chain_split(chain, matrix, payload, n_bytes, bytes, lengths, err));
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        struct ucb_job job;
        void *state;
        UCB_TRY(ucb_stage_open(chain, i, context, matrix, bytes[i], lengths[i], &state,
                               &job, err));
        out->method[i] = chain->stages[i].method;
        out->state[i] = state;
    }
    return UCB_OK;
}

void ucb_opened_sum(const struct ucb_opened *o, uint32_t row, uint32_t n_rows, float *out)
{
    for (uint32_t i = 0; i < o->n_stages; i++)
        o->method[i]->decode(o->state[i], row, n_rows, out);
}

void ucb_opened_rows(const struct ucb_opened *o, uint32_t row, uint32_t n_rows,
                     const float *sum, float *w)
{
    size_t n = (size_t)n_rows * o->matrix->n_in;
    if (!o->is_sum && o->method[0]->decode_deployed != NULL) {
        o->method[0]->decode_deployed(o->state[0], row, n_rows, w);
        return;
    }
    if (sum != NULL)
        memcpy(w, sum, n * sizeof(*w));
    else
        ucb_opened_sum(o, row, n_rows, w);
    if (o->dtype == UCB_F16) round_f16(w, n);
    if (o->dtype == UCB_BF16) round_bf16(w, n);
}
