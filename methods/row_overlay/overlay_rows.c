/*
 * overlay_rows.c - see overlay_rows.h.
 *
 * An e4m3 row is q * scale with scale = fp16(max(|row|, 1e-8) / 448), at least the least
 * half (2^-24), and q = e4m3(w / scale): the scale is rounded before the codes are chosen.
 */
#include "overlay_rows.h"

#include <math.h>
#include <string.h>

#include "core/fp8.h"
#include "core/half.h"
#include "method/payload.h"

enum { CHUNK_ROWS = 8 }; /* the codes of 8 rows are whole bytes */

void overlay_unframe(float *row, uint32_t n_in, const float *sign, const float *s)
{
    overlay_rotate_back(row, n_in, sign);
    for (uint32_t i = 0; i < n_in; i++) row[i] = row[i] / s[i];
}

/* ---- choosing ---- */

struct score_run {
    const struct overlay_bank *bank;
    const struct overlay_frame *frame;
    const float *w;
    double *score;
};

static void score_row(void *context, size_t row)
{
    const struct score_run *run = context;
    const struct overlay_frame *f = run->frame;
    uint32_t n_vectors = f->n_in / OVERLAY_D;
    const float *w = run->w + row * f->n_in;
    float *decoded = f->g + row * f->n_in;
    double sum = 0;
    for (uint32_t v = 0; v < n_vectors; v++)
        overlay_vector(run->bank, f->first[row * n_vectors + v],
                       f->second[row * n_vectors + v], f->rs[row], decoded + v * OVERLAY_D);
    overlay_unframe(decoded, f->n_in, f->sign, f->s);
    for (uint32_t i = 0; i < f->n_in; i++) {
        double off = (double)f->s[i] * ((double)w[i] - (double)ucb_f16_round(decoded[i]));
        sum += off * off;
    }
    run->score[row] = sum;
}

/* Marks the n worst rows that are not kept yet. */
static void keep_worst(const double *score, uint32_t n_out, uint32_t n, uint8_t kind,
                       uint8_t *kinds)
{
    while (n-- > 0) {
        uint32_t worst = n_out;
        for (uint32_t row = 0; row < n_out; row++)
            if (kinds[row] == OVERLAY_CODED &&
                (worst == n_out || score[row] > score[worst]))
                worst = row;
        kinds[worst] = kind;
    }
}

static void list_rows(const uint8_t *kinds, uint32_t n_out, struct overlay_choice *c)
{
    for (uint32_t row = 0; row < n_out; row++)
        if (kinds[row] == OVERLAY_CODED)
            c->coded[c->n_coded++] = row;
        else if (kinds[row] == OVERLAY_FP16)
            c->fp16[c->n_fp16++] = row;
        else
            c->fp8[c->n_fp8++] = row;
}

ucb_status overlay_rows_choose(struct ucb_job *job, const struct ucb_source *src,
                               const struct overlay_plan *plan,
                               const struct overlay_bank *bank, struct overlay_frame *frame,
                               struct overlay_choice *out, struct ucb_err *err)
{
    uint32_t n = frame->n_out;
    double *score = UCB_NEW(job->scratch, double, n);
    *out = (struct overlay_choice){.kind = UCB_NEW(job->scratch, uint8_t, n),
                                   .coded = UCB_NEW(job->scratch, uint32_t, n),
                                   .fp16 = UCB_NEW(job->scratch, uint32_t, n),
                                   .fp8 = UCB_NEW(job->scratch, uint32_t, n)};
    if (score == NULL || out->kind == NULL || out->coded == NULL || out->fp16 == NULL ||
        out->fp8 == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to score its rows",
                        src->matrix->name);
    if (plan->n_fp16 + plan->n_fp8 > 0) {
        struct score_run run = {bank, frame, src->w, score};
        ucb_parallel_for(job->pool, n, score_row, &run);
    }
    keep_worst(score, n, plan->n_fp16, OVERLAY_FP16, out->kind);
    keep_worst(score, n, plan->n_fp8, OVERLAY_FP8, out->kind);
    list_rows(out->kind, n, out);
    return UCB_OK;
}

/* ---- writing ---- */

struct pack_run {
    const struct overlay_bank *bank;
    const struct overlay_frame *frame;
    const struct overlay_choice *choice;
    uint8_t *out;
};

struct bit_writer {
    uint8_t *next;
    uint64_t window;
    unsigned n;
};

static void put_bits(struct bit_writer *b, uint32_t value, unsigned n)
{
    b->window = b->window << n | value;
    for (b->n += n; b->n >= 8; b->n -= 8) *b->next++ = (uint8_t)(b->window >> (b->n - 8));
}

static void pack_chunk(void *context, size_t chunk)
{
    const struct pack_run *run = context;
    uint32_t n_vectors = run->frame->n_in / OVERLAY_D, b1 = run->bank->b1,
             b2 = run->bank->b2, from = (uint32_t)chunk * CHUNK_ROWS,
             to = from + CHUNK_ROWS;
    struct bit_writer bits = {run->out + (size_t)from / 8 * n_vectors * (b1 + b2), 0, 0};
    if (to > run->choice->n_coded) to = run->choice->n_coded;
    for (uint32_t i = from; i < to; i++) {
        size_t v = (size_t)run->choice->coded[i] * n_vectors;
        for (size_t end = v + n_vectors; v < end; v++) {
            put_bits(&bits, run->frame->first[v], b1);
            put_bits(&bits, run->frame->second[v], b2);
        }
    }
    if (bits.n > 0) *bits.next = (uint8_t)(bits.window << (8 - bits.n));
}

void overlay_codes_put(struct ucb_job *job, const struct overlay_bank *bank,
                       const struct overlay_frame *frame,
                       const struct overlay_choice *choice, struct ucb_writer *out)
{
    size_t n_bits = (size_t)choice->n_coded * (frame->n_in / OVERLAY_D) *
                    (bank->b1 + bank->b2);
    struct pack_run run = {bank, frame, choice, ucb_put_room(out, (n_bits + 7) / 8)};
    if (run.out == NULL) return; /* the writer remembers */
    ucb_parallel_for(job->pool, ((size_t)choice->n_coded + CHUNK_ROWS - 1) / CHUNK_ROWS,
                     pack_chunk, &run);
}

static size_t index_bytes(uint32_t n_out)
{
    return n_out <= 1 << 16 ? sizeof(uint16_t) : sizeof(uint32_t);
}

static void put_indices(const uint32_t *rows, uint32_t n, uint32_t n_out,
                        struct ucb_writer *out)
{
    for (uint32_t i = 0; i < n; i++)
        if (index_bytes(n_out) == sizeof(uint16_t))
            ucb_put_u16(out, (uint16_t)rows[i]);
        else
            ucb_put_u32(out, rows[i]);
}

static ucb_status put_fp16_row(const struct ucb_matrix *m, const float *w, uint32_t row,
                               struct ucb_writer *out, struct ucb_err *err)
{
    for (uint32_t i = 0; i < m->n_in; i++) {
        uint16_t half = ucb_f16_from_f32(w[i]);
        if (!isfinite(ucb_f16_widen(half)))
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: the weight in row %u, column %u is %g, past the largest "
                            "half, and the row is to be kept in fp16; try rows=fp8",
                            m->name, row, i, (double)w[i]);
        ucb_put_u16(out, half);
    }
    return UCB_OK;
}

static ucb_status row_scale(const struct ucb_matrix *m, const float *w, uint32_t row,
                            float *scale, struct ucb_err *err)
{
    float peak = 1e-8f;
    for (uint32_t i = 0; i < m->n_in; i++) peak = fmaxf(peak, fabsf(w[i]));
    *scale = fmaxf(ucb_f16_round(peak / UCB_E4M3_MAX), 0x1p-24f);
    if (isfinite(*scale)) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: row %u reaches %g, too far for a scale in half precision", m->name,
                    row, (double)peak);
}

ucb_status overlay_rows_put(const struct ucb_source *src,
                            const struct overlay_choice *choice, struct ucb_writer *out,
                            struct ucb_err *err)
{
    const struct ucb_matrix *m = src->matrix;
    float scale;
    ucb_part(out, UCB_PART_TABLES);
    put_indices(choice->fp16, choice->n_fp16, m->n_out, out);
    put_indices(choice->fp8, choice->n_fp8, m->n_out, out);
    for (uint32_t i = 0; i < choice->n_fp16; i++)
        UCB_TRY(put_fp16_row(m, src->w + (size_t)choice->fp16[i] * m->n_in, choice->fp16[i],
                             out, err));
    ucb_part(out, UCB_PART_SCALES);
    for (uint32_t i = 0; i < choice->n_fp8; i++) {
        const float *w = src->w + (size_t)choice->fp8[i] * m->n_in;
        UCB_TRY(row_scale(m, w, choice->fp8[i], &scale, err));
        ucb_put_u16(out, ucb_f16_from_f32(scale));
    }
    ucb_part(out, UCB_PART_TABLES);
    for (uint32_t i = 0; i < choice->n_fp8; i++) {
        const float *w = src->w + (size_t)choice->fp8[i] * m->n_in;
        UCB_TRY(row_scale(m, w, choice->fp8[i], &scale, err));
        for (uint32_t k = 0; k < m->n_in; k++)
            ucb_put_u8(out, ucb_e4m3_from_f32(w[k] / scale));
    }
    return UCB_OK;
}

/* ---- reading ---- */

static ucb_status take_indices(struct ucb_reader *in, const struct ucb_matrix *m,
                               uint32_t n, uint8_t kind, struct overlay_kept *out,
                               struct ucb_err *err)
{
    const uint8_t *data;
    size_t size = index_bytes(m->n_out);
    UCB_TRY(ucb_payload_take(in, m, "kept rows' indices", n * size, &data, err));
    for (uint32_t i = 0, before = 0; i < n; i++, data += size) {
        uint32_t row = size == sizeof(uint16_t) ? ucb_load_u16(data) : ucb_load_u32(data);
        if (row >= m->n_out || (i > 0 && row <= before) || out->kind[row] != OVERLAY_CODED)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: kept row %u of the payload is row %u; rows rise, are kept "
                            "once and are below %u",
                            m->name, i, row, m->n_out);
        out->kind[row] = kind;
        out->place[row] = i;
        before = row;
    }
    return UCB_OK;
}

static ucb_status check_values(const struct ucb_matrix *m, const struct overlay_plan *plan,
                               const struct overlay_kept *kept, struct ucb_err *err)
{
    size_t n16 = (size_t)plan->n_fp16 * m->n_in, n8 = (size_t)plan->n_fp8 * m->n_in;
    bool finite = true;
    for (size_t i = 0; i < n16; i++)
        finite &= isfinite(ucb_f16_widen(ucb_load_u16(kept->fp16 + 2 * i))) != 0;
    for (size_t i = 0; i < n8; i++) finite &= (kept->fp8[i] & 0x7f) != 0x7f;
    if (finite) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: a kept row of the payload holds a value that is not finite, and "
                    "encoders write finite values only",
                    m->name);
}

ucb_status overlay_rows_take(struct ucb_job *job, const struct ucb_matrix *matrix,
                             const struct overlay_plan *plan, struct ucb_reader *in,
                             struct overlay_kept *out, struct ucb_err *err)
{
    uint32_t n = matrix->n_out, n_coded = 0;
    *out = (struct overlay_kept){.kind = UCB_NEW(job->arena, uint8_t, n),
                                 .place = UCB_NEW(job->arena, uint32_t, n),
                                 .scale = UCB_NEW(job->arena, float, plan->n_fp8)};
    if (out->kind == NULL || out->place == NULL || out->scale == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its kept rows", matrix->name);
    UCB_TRY(take_indices(in, matrix, plan->n_fp16, OVERLAY_FP16, out, err));
    UCB_TRY(take_indices(in, matrix, plan->n_fp8, OVERLAY_FP8, out, err));
    UCB_TRY(ucb_payload_take(in, matrix, "fp16 rows",
                             (size_t)plan->n_fp16 * matrix->n_in * sizeof(uint16_t),
                             &out->fp16, err));
    UCB_TRY(
        ucb_payload_take_f16s(in, matrix, "e4m3 row scale", plan->n_fp8, out->scale, err));
    UCB_TRY(ucb_payload_take(in, matrix, "e4m3 rows", (size_t)plan->n_fp8 * matrix->n_in,
                             &out->fp8, err));
    for (uint32_t row = 0; row < n; row++)
        if (out->kind[row] == OVERLAY_CODED) out->place[row] = n_coded++;
    return check_values(matrix, plan, out, err);
}

void overlay_rows_read(const struct overlay_kept *kept, uint32_t row, uint32_t n_in,
                       float *out)
{
    size_t at = (size_t)kept->place[row] * n_in;
    float scale = kept->kind[row] == OVERLAY_FP8 ? kept->scale[kept->place[row]] : 1.0f;
    for (uint32_t i = 0; i < n_in; i++)
        out[i] = kept->kind[row] == OVERLAY_FP8
                     ? ucb_e4m3_widen(kept->fp8[at + i]) * scale
                     : ucb_f16_widen(ucb_load_u16(kept->fp16 + 2 * (at + i)));
}
