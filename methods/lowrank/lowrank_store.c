/*
 * lowrank_store.c - the factors in bytes, v before u. Layouts: methods/lowrank.c.
 */
#include <math.h>
#include <string.h>

#include "core/entropy.h"
#include "core/half.h"
#include "lowrank.h"
#include "method/payload.h"

enum { MAX_CODE = 127 };

/* One factor, and where the elements of a component lie: element i of component j is
 * at[j * component_step + i * step]. */
struct side {
    const char *what;
    float *at;
    size_t n, rank, length, component_step, step;
};

static struct side side_v(const struct lowrank_layout *l, float *v)
{
    return (struct side){"factor v", v, l->rank * l->n_in, l->rank, l->n_in, l->n_in, 1};
}

static struct side side_u(const struct lowrank_layout *l, float *u)
{
    return (struct side){"factor u", u, l->n_out * l->rank, l->rank, l->n_out, 1, l->rank};
}

static ucb_status no_memory(const char *name, const struct side *side, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu values of %s", name, side->n,
                    side->what);
}

static ucb_status refuse_large(const char *name, const struct side *side, float value,
                               struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: %s holds %g, past the largest half precision (65504) of this "
                    "store; try a stage before it that leaves less to correct",
                    name, side->what, (double)value);
}

/* ---- fp16 ---- */

static ucb_status round_halves(const struct side *side, const char *name, uint16_t *half,
                               struct ucb_err *err)
{
    for (size_t i = 0; i < side->n; i++) {
        half[i] = ucb_f16_from_f32(side->at[i]);
        if (!isfinite(ucb_f16_widen(half[i])))
            return refuse_large(name, side, side->at[i], err);
    }
    return UCB_OK;
}

static ucb_status put_halves(struct ucb_job *job, const struct side *side, const char *name,
                             struct ucb_writer *out, struct ucb_err *err)
{
    uint16_t *half = UCB_NEW(job->scratch, uint16_t, side->n);
    if (half == NULL) return no_memory(name, side, err);
    UCB_TRY(round_halves(side, name, half, err));
    ucb_part(out, UCB_PART_FACTORS);
    ucb_put_bytes(out, half, side->n * sizeof(*half));
    return UCB_OK;
}

/* ---- int8 ---- */

/* The scale is rounded to half precision before the codes are chosen; in the smallest
 * subnormals it may round down past the peak, so codes are clamped. */
static void code_component(const struct side *side, size_t j, float scale, int8_t *codes)
{
    for (size_t i = 0; i < side->length; i++) {
        size_t at = j * side->component_step + i * side->step;
        float code = scale == 0 ? 0 : rintf(side->at[at] / scale);
        codes[at] = (int8_t)fmaxf(fminf(code, MAX_CODE), -MAX_CODE);
    }
}

static float component_peak(const struct side *side, size_t j)
{
    float peak = 0;
    for (size_t i = 0; i < side->length; i++)
        peak = fmaxf(peak, fabsf(side->at[j * side->component_step + i * side->step]));
    return peak;
}

static ucb_status put_codes(struct ucb_job *job, const struct side *side, const char *name,
                            struct ucb_writer *out, struct ucb_err *err)
{
    int8_t *codes = UCB_NEW(job->scratch, int8_t, side->n);
    uint16_t *scales = UCB_NEW(job->scratch, uint16_t, side->rank);
    if (codes == NULL || scales == NULL) return no_memory(name, side, err);
    for (size_t j = 0; j < side->rank; j++) {
        float peak = component_peak(side, j), scale;
        scales[j] = ucb_f16_from_f32(peak / MAX_CODE);
        scale = ucb_f16_widen(scales[j]);
        if (!isfinite(scale)) return refuse_large(name, side, peak, err);
        code_component(side, j, scale, codes);
    }
    ucb_part(out, UCB_PART_FACTORS);
    ucb_put_bytes(out, codes, side->n);
    ucb_part(out, UCB_PART_SCALES);
    ucb_put_bytes(out, scales, side->rank * sizeof(*scales));
    return UCB_OK;
}

static ucb_status take_codes(struct ucb_job *job, const struct ucb_matrix *matrix,
                             struct ucb_reader *in, const struct side *side,
                             struct ucb_err *err)
{
    const uint8_t *codes;
    float *scales = UCB_NEW(job->scratch, float, side->rank);
    if (scales == NULL) return no_memory(matrix->name, side, err);
    UCB_TRY(ucb_payload_take(in, matrix, side->what, side->n, &codes, err));
    UCB_TRY(ucb_payload_take_f16s(in, matrix, "factor scale", side->rank, scales, err));
    for (size_t j = 0; j < side->rank; j++)
        for (size_t i = 0; i < side->length; i++) {
            size_t at = j * side->component_step + i * side->step;
            int8_t code = (int8_t)codes[at];
            if (code < -MAX_CODE)
                return UCB_FAIL(err, UCB_CORRUPT,
                                "%s: a code of %s is -128; encoders write -127 to 127",
                                matrix->name, side->what);
            side->at[at] = (float)code * scales[j];
        }
    return UCB_OK;
}

/* ---- packed: the two bytes of every half as two streams ---- */

enum { N_PLANES = 2 };

static ucb_status put_planes(struct ucb_job *job, const struct side *side, const char *name,
                             struct ucb_writer *out, struct ucb_err *err)
{
    uint16_t *half = UCB_NEW(job->scratch, uint16_t, side->n);
    uint8_t *plane = UCB_NEW(job->scratch, uint8_t, side->n),
            *coded = UCB_NEW(job->scratch, uint8_t, ucb_entropy_bound(side->n));
    if (half == NULL || plane == NULL || coded == NULL) return no_memory(name, side, err);
    UCB_TRY(round_halves(side, name, half, err));
    for (int k = N_PLANES; k-- > 0;) {
        size_t n_model, n_bytes;
        for (size_t i = 0; i < side->n; i++) plane[i] = (uint8_t)(half[i] >> 8 * k);
        n_bytes = ucb_entropy_encode(plane, side->n, coded, &n_model);
        ucb_part(out, UCB_PART_HEADER);
        ucb_put_u32(out, (uint32_t)n_bytes);
        ucb_part(out, UCB_PART_TABLES);
        ucb_put_bytes(out, coded, n_model);
        ucb_part(out, UCB_PART_FACTORS);
        ucb_put_bytes(out, coded + n_model, n_bytes - n_model);
    }
    return UCB_OK;
}

static ucb_status take_plane(const struct ucb_matrix *matrix, struct ucb_reader *in,
                             const struct side *side, uint8_t *plane, struct ucb_err *err)
{
    const uint8_t *header, *coded;
    UCB_TRY(ucb_payload_take(in, matrix, "plane length", sizeof(uint32_t), &header, err));
    uint32_t n_bytes = ucb_load_u32(header);
    UCB_TRY(ucb_payload_take(in, matrix, side->what, n_bytes, &coded, err));
    ucb_status status = ucb_entropy_decode(coded, n_bytes, plane, side->n, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s: %s", matrix->name, side->what);
    return status;
}

static ucb_status take_planes(struct ucb_job *job, const struct ucb_matrix *matrix,
                              struct ucb_reader *in, const struct side *side,
                              struct ucb_err *err)
{
    uint8_t *plane[N_PLANES];
    for (int k = N_PLANES; k-- > 0;) {
        plane[k] = UCB_NEW(job->scratch, uint8_t, side->n);
        if (plane[k] == NULL) return no_memory(matrix->name, side, err);
        UCB_TRY(take_plane(matrix, in, side, plane[k], err));
    }
    for (size_t i = 0; i < side->n; i++) {
        side->at[i] = ucb_f16_widen((uint16_t)(plane[1][i] << 8 | plane[0][i]));
        if (!isfinite(side->at[i]))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: value %zu of %s is %g, and encoders write finite values "
                            "only",
                            matrix->name, i, side->what, (double)side->at[i]);
    }
    return UCB_OK;
}

/* ---- any ---- */

static ucb_status put_side(struct ucb_job *job, enum lowrank_store store,
                           const struct side *side, const char *name,
                           struct ucb_writer *out, struct ucb_err *err)
{
    switch (store) {
    case LOWRANK_FP16: return put_halves(job, side, name, out, err);
    case LOWRANK_INT8: return put_codes(job, side, name, out, err);
    case LOWRANK_PACKED: break;
    }
    return put_planes(job, side, name, out, err);
}

static ucb_status take_side(struct ucb_job *job, enum lowrank_store store,
                            const struct ucb_matrix *matrix, struct ucb_reader *in,
                            const struct side *side, struct ucb_err *err)
{
    switch (store) {
    case LOWRANK_FP16:
        return ucb_payload_take_f16s(in, matrix, side->what, side->n, side->at, err);
    case LOWRANK_INT8: return take_codes(job, matrix, in, side, err);
    case LOWRANK_PACKED: break;
    }
    return take_planes(job, matrix, in, side, err);
}

ucb_status lowrank_write(struct ucb_job *job, const struct lowrank_layout *l,
                         const struct lowrank_factors *factors, const char *name,
                         struct ucb_writer *out, struct ucb_err *err)
{
    const struct side v = side_v(l, factors->v), u = side_u(l, factors->u);
    UCB_TRY(put_side(job, l->store, &v, name, out, err));
    return put_side(job, l->store, &u, name, out, err);
}

ucb_status lowrank_read(struct ucb_job *job, const struct lowrank_layout *l,
                        const struct ucb_matrix *matrix, struct ucb_reader *in,
                        const struct lowrank_factors *factors, struct ucb_err *err)
{
    const struct side v = side_v(l, factors->v), u = side_u(l, factors->u);
    UCB_TRY(take_side(job, l->store, matrix, in, &v, err));
    UCB_TRY(take_side(job, l->store, matrix, in, &u, err));
    return ucb_payload_end(in, matrix, err);
}
