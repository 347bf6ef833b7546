/*
 * fp4 - four-bit sign-magnitude floats: low three bits 0..7 mean 0, 1/16, 8, 12, 4, 6, 2, 3
 * twelfths, bit 3 the sign. Blocks, layout and double quantization are in bnb4/bnb4.c.
 *
 * Codes 0 and 8 are both zero. The CPU library sorts 0 before 8, so exact 0 gives code 0, a
 * tiny positive value code 8 and a tiny negative one code 0; so do we, and the packed bytes
 * equal the library's.
 */
#include "bnb4/bnb4.h"
#include "bnb4/bnb4_tables.h"

static const float value[16] = {BNB4_FP4_VALUES};
static const uint8_t order[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
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

const struct ucb_method ucb_method_fp4 = {
    .name = "fp4",
    .summary = "4-bit floats, one absmax per block",
    .source = "bitsandbytes 0.50.2",
    .revision = 1,
    .kind = UCB_BASE,
    .knobs = bnb4_knobs,
    .decoded_dtype = bnb4_decoded_dtype,
    .nominal_bpw = bnb4_nominal_bpw,
    .state_bytes = bnb4_state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = bnb4_decode,
    .inspect = bnb4_inspect,
};
