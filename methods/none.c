/*
 * none - the original: weights as the file holds them, widened exactly.
 *
 * Evaluation never encodes it (ucb_chain_is_none); as a method it exists so that it is
 * listed, and so that a pack may keep a matrix as it is. Payload: F16 and BF16 sources in
 * their own 2 bytes a weight, all others as fp32.
 */
#include <string.h>

#include "core/half.h"
#include "method/payload.h"

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    return source == UCB_F16 || source == UCB_BF16 ? source : UCB_F32;
}

/* Bytes of one weight in the payload. */
static size_t weight_bytes(const struct ucb_matrix *matrix)
{
    return ucb_dtype_block_bytes(decoded_dtype(NULL, matrix->dtype));
}

/* What the file itself spends. */
static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    return 8.0 * ucb_dtype_block_bytes(matrix->dtype) /
           ucb_dtype_block_elements(matrix->dtype);
}

static void put_weights(const struct ucb_source *src, uint8_t *room)
{
    size_t n = ucb_matrix_weights(src->matrix);
    if (weight_bytes(src->matrix) == sizeof(float)) memcpy(room, src->w, n * sizeof(float));
    if (weight_bytes(src->matrix) == sizeof(float)) return;
    for (size_t i = 0; i < n; i++) {
        /* Exact: these floats were widened from this dtype. */
        uint16_t half = src->matrix->dtype == UCB_F16 ? ucb_f16_from_f32(src->w[i])
                                                      : ucb_bf16_from_f32(src->w[i]);
        memcpy(room + i * sizeof(half), &half, sizeof(half));
    }
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    (void)job;
    for (uint32_t i = 0; i < n_src; i++) {
        ucb_part(out[i], UCB_PART_CODES);
        uint8_t *room = ucb_put_room(out[i], ucb_matrix_weights(src[i].matrix) *
                                                 weight_bytes(src[i].matrix));
        if (room == NULL) return ucb_writer_status(out[i], err);
        put_weights(&src[i], room);
    }
    return UCB_OK;
}

struct state {
    const struct ucb_matrix *matrix;
    const uint8_t *bytes;
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(struct state);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    (void)job;
    s->matrix = matrix;
    UCB_TRY(ucb_payload_take(in, matrix, "weights",
                             ucb_matrix_weights(matrix) * weight_bytes(matrix), &s->bytes,
                             err));
    return ucb_payload_end(in, matrix, err);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    size_t size = weight_bytes(s->matrix), n_weights = (size_t)n * s->matrix->n_in;
    const uint8_t *bytes = s->bytes + (size_t)row * s->matrix->n_in * size;
    if (size == sizeof(float)) memcpy(acc, bytes, n_weights * sizeof(float));
    if (size == sizeof(float)) return;
    for (size_t i = 0; i < n_weights; i++) {
        uint16_t half = ucb_load_u16(bytes + i * sizeof(half));
        acc[i] = s->matrix->dtype == UCB_F16 ? ucb_f16_widen(half) : ucb_bf16_widen(half);
    }
}

const struct ucb_method ucb_method_none = {
    .name = "none",
    .summary = "the original, widened exactly",
    .source = "the model file",
    .revision = 1,
    .kind = UCB_BASE,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
};
