/*
 * gguf_encode_template.h - ggml's encoders, for as many lanes as the file that includes
 * this has; it defines GGUF_PATH, the table at the end, and GGUF_PATH_NAME.
 */
#include "gguf.h"

#include "gguf_blocks_template.h"
#include "gguf_supers_template.h"

/* ---- the table ---- */

extern const struct gguf_path GGUF_PATH;
const struct gguf_path GGUF_PATH = {
    .name = GGUF_PATH_NAME,
    .encode = {[UCB_Q4_0] = encode_q4_0,
               [UCB_Q4_1] = encode_q4_1,
               [UCB_Q5_0] = encode_q5_0,
               [UCB_Q5_1] = encode_q5_1,
               [UCB_Q8_0] = encode_q8_0,
               [UCB_Q2_K] = encode_q2_k,
               [UCB_Q3_K] = encode_q3_k,
               [UCB_Q4_K] = encode_q4_k,
               [UCB_Q5_K] = encode_q5_k,
               [UCB_Q6_K] = encode_q6_k,
               [UCB_IQ4_NL] = encode_iq4_nl,
               [UCB_IQ4_XS] = encode_iq4_xs},
    .row_mean_squares = row_mean_squares,
};
