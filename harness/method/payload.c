/* payload.c - see payload.h. */
#include "method/payload.h"

#include <math.h>
#include <string.h>

#include "core/half.h"

ucb_status ucb_payload_take(struct ucb_reader *in, const struct ucb_matrix *matrix,
                            const char *what, size_t n_bytes, const uint8_t **data,
                            struct ucb_err *err)
{
    if (ucb_get_bytes(in, n_bytes, data)) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "%s: the payload ends inside its %s: %zu bytes left, %zu needed; was it "
        "written with the same method spec?",
        matrix->name, what, ucb_reader_left(in), n_bytes);
}

static ucb_status check_finite(const struct ucb_matrix *matrix, const char *what,
                               const float *values, size_t n, struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: %s %zu of the payload is %g, and encoders write finite values only",
                matrix->name, what, i, (double)values[i]);
    return UCB_OK;
}

ucb_status ucb_payload_take_f32s(struct ucb_reader *in, const struct ucb_matrix *matrix,
                                 const char *what, size_t n, float *out,
                                 struct ucb_err *err)
{
    const uint8_t *data;
    UCB_TRY(ucb_payload_take(in, matrix, what, n * sizeof(*out), &data, err));
    memcpy(out, data, n * sizeof(*out));
    return check_finite(matrix, what, out, n, err);
}

ucb_status ucb_payload_take_f16s(struct ucb_reader *in, const struct ucb_matrix *matrix,
                                 const char *what, size_t n, float *out,
                                 struct ucb_err *err)
{
    const uint8_t *data;
    UCB_TRY(ucb_payload_take(in, matrix, what, n * sizeof(uint16_t), &data, err));
    for (size_t i = 0; i < n; i++) out[i] = ucb_f16_widen(ucb_load_u16(data + 2 * i));
    return check_finite(matrix, what, out, n, err);
}

ucb_status ucb_payload_end(const struct ucb_reader *in, const struct ucb_matrix *matrix,
                           struct ucb_err *err)
{
    if (ucb_reader_left(in) == 0) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "%s: %zu bytes follow the payload's %zu; was it written with the same method "
        "spec?",
        matrix->name, ucb_reader_left(in), in->at);
}
