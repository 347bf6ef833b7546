/* gains.c - see gains.h. A list of (which u32, n u32, n floats), in the order of enum
 * ucb_vector. */
#include "eval/gains.h"

#include <string.h>

bool ucb_vector_is_gain(enum ucb_vector which)
{
    switch (which) {
    case UCB_VECTOR_ATTN_NORM:
    case UCB_VECTOR_MLP_NORM:
    case UCB_VECTOR_POST_ATTN_NORM:
    case UCB_VECTOR_POST_MLP_NORM:
    case UCB_VECTOR_Q_NORM:
    case UCB_VECTOR_K_NORM:
    case UCB_VECTOR_Q_A_NORM:
    case UCB_VECTOR_KV_A_NORM: return true;
    default: return false;
    }
}

bool ucb_vector_is_of_layer(enum ucb_vector which)
{
    return which < UCB_VECTOR_FINAL_NORM || which >= UCB_VECTOR_BIAS;
}

static uint32_t size_of(const struct ucb_model *model, uint32_t layer, int which)
{
    return ucb_vector_is_gain((enum ucb_vector)which)
               ? ucb_model_vector_size(model, layer, (enum ucb_vector)which)
               : 0;
}

ucb_status ucb_gains_write(const struct ucb_model *model, uint32_t layer,
                           float *const *vector, struct ucb_writer *out,
                           struct ucb_err *err)
{
    ucb_writer_reset(out);
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        uint32_t n = size_of(model, layer, v);
        if (n == 0) continue;
        ucb_part(out, UCB_PART_HEADER);
        ucb_put_u32(out, (uint32_t)v);
        ucb_put_u32(out, n);
        ucb_part(out, UCB_PART_SCALES);
        ucb_put_f32s(out, vector[v], n);
    }
    return ucb_writer_status(out, err);
}

ucb_status ucb_gains_apply(const struct ucb_model *model, uint32_t layer,
                           const uint8_t *gains, size_t n_bytes, float *const *vector,
                           struct ucb_err *err)
{
    struct ucb_reader in = {gains, n_bytes, 0};
    const uint8_t *values;
    if (n_bytes == 0) return UCB_OK;
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        uint32_t n = size_of(model, layer, v), which, found;
        if (n == 0) continue;
        if (!ucb_get_u32(&in, &which) || !ucb_get_u32(&in, &found) ||
            which != (uint32_t)v || found != n ||
            !ucb_get_bytes(&in, n * sizeof(float), &values))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "layer %u: its stored norm gains do not fit the model (vector "
                            "%d of %u values expected); are they of another model?",
                            layer, v, n);
        memcpy(vector[v], values, n * sizeof(float));
    }
    if (ucb_reader_left(&in) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "layer %u: %zu bytes follow its stored norm gains",
                    layer, ucb_reader_left(&in));
}

uint64_t ucb_gains_file_bytes(const struct ucb_model *model, uint32_t layer)
{
    uint64_t n_bytes = 0;
    for (int v = 0; v < UCB_N_VECTORS; v++)
        if (size_of(model, layer, v) != 0)
            n_bytes += ucb_model_vector_bytes(model, layer, (enum ucb_vector)v);
    return n_bytes;
}
