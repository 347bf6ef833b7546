/*
 * nf4 - four-bit NormalFloat: sixteen values at the quantiles of a normal distribution,
 * eight below zero, an exact zero, seven above. Blocks, layout and double quantization are
 * in bnb4/bnb4.c.
 *
 * Origin of the values: with a = 0.9677083, normal quantiles at 9 points evenly spaced from
 * a to 0.5 (positive side) and 8 points (negative side), without the 0.5 end, 0 added,
 * divided by the largest. The table is what counts.
 */
#include "bnb4/bnb4.h"
#include "bnb4/bnb4_tables.h"

static const float value[16] = {BNB4_NF4_VALUES};
static const uint8_t order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const struct bnb4_type type = {value, order};

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < n_src; i++)
        UCB_TRY(bnb4_encode(job, &type, &src[i], out[i], err));
    return UCB_OK;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    return bnb4_open(job, &type, matrix, in, state, err);
}

const struct ucb_method ucb_method_nf4 = {
    .name = "nf4",
    .summary = "4-bit NormalFloat codes, one absmax per block",
    .source = "Dettmers et al., QLoRA (2023); bitsandbytes 0.50.2",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = bnb4_knobs,
    .decoded_dtype = bnb4_decoded_dtype,
    .nominal_bpw = bnb4_nominal_bpw,
    .claimed_bpw = bnb4_nominal_bpw,
    .state_bytes = bnb4_state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = bnb4_decode,
    .inspect = bnb4_inspect,
};
