/*
 * overlay_rows.h - from indices to rows, the bit stream that holds them, and the rows that
 * are kept in place of their codes.
 */
#ifndef UCB_ROW_OVERLAY_ROWS_H
#define UCB_ROW_OVERLAY_ROWS_H

#include "overlay.h"

enum overlay_rows {
    OVERLAY_ROWS_NONE,
    OVERLAY_ROWS_FP16,
    OVERLAY_ROWS_FP8,
    OVERLAY_ROWS_MIXED
};
/* How a row is stored. */
enum overlay_kind { OVERLAY_CODED, OVERLAY_FP16, OVERLAY_FP8 };

/* ---- codes ---- */

/* Highest bits first. */
struct overlay_bits {
    const uint8_t *next;
    uint64_t window;
    unsigned n; /* bits of the window that were not handed out */
};
static inline uint32_t overlay_bits_get(struct overlay_bits *b, unsigned n)
{
    while (b->n < n) {
        b->window = b->window << 8 | *b->next++;
        b->n += 8;
    }
    b->n -= n;
    return (uint32_t)(b->window >> b->n) & ((1u << n) - 1);
}
static inline struct overlay_bits overlay_bits_at(const uint8_t *data, size_t bit)
{
    struct overlay_bits b = {data + bit / 8, 0, 0};
    if (bit % 8 != 0) overlay_bits_get(&b, (unsigned)(bit % 8));
    return b;
}

/* out[8] = (c1 + c2) rs */
static inline void overlay_vector(const struct overlay_bank *bank, uint32_t first,
                                  uint32_t second, float rs, float *out)
{
    const float *a = bank->first.entry + (size_t)first * OVERLAY_D,
                *b = bank->second.entry + (size_t)second * OVERLAY_D;
    for (int d = 0; d < OVERLAY_D; d++) out[d] = (a[d] + b[d]) * rs;
}
/* A row of the frame, in units of its matrix: rotated back, columns divided by s. */
void overlay_unframe(float *row, uint32_t n_in, const float *sign, const float *s);

/* ---- which rows are kept ---- */

struct overlay_choice {
    uint8_t *kind;   /* [n_out] enum overlay_kind */
    uint32_t *coded; /* [n_coded] rows, rising; fp16 and fp8 the same */
    uint32_t *fp16, *fp8;
    uint32_t n_coded, n_fp16, n_fp8;
};
/*
 * The worst rows by the sum over i of (s_i (w_i - decoded_i))^2, decoded as deployed, in
 * half precision; of equal ones the first. frame->g becomes the decoded rows. Memory from
 * job->scratch. NOMEM.
 */
ucb_status overlay_rows_choose(struct ucb_job *job, const struct ucb_source *src,
                               const struct overlay_plan *plan,
                               const struct overlay_bank *bank, struct overlay_frame *frame,
                               struct overlay_choice *out, struct ucb_err *err);
/* The codes of the coded rows. */
void overlay_codes_put(struct ucb_job *job, const struct overlay_bank *bank,
                       const struct overlay_frame *frame,
                       const struct overlay_choice *choice, struct ucb_writer *out);
/* The kept rows. UNSUPPORTED: a weight or a scale past the largest half. */
ucb_status overlay_rows_put(const struct ucb_source *src,
                            const struct overlay_choice *choice, struct ucb_writer *out,
                            struct ucb_err *err);

/* ---- reading them ---- */

struct overlay_kept {
    uint8_t *kind;   /* [n_out] */
    uint32_t *place; /* [n_out] the row's place among those of its kind */
    const uint8_t *fp16, *fp8;
    float *scale; /* [n_fp8] */
};
/* CORRUPT: a row past the last, twice, or out of order; a value or a scale that is not
 * finite. */
ucb_status overlay_rows_take(struct ucb_job *job, const struct ucb_matrix *matrix,
                             const struct overlay_plan *plan, struct ucb_reader *in,
                             struct overlay_kept *out, struct ucb_err *err);
/* A kept row. */
void overlay_rows_read(const struct overlay_kept *kept, uint32_t row, uint32_t n_in,
                       float *out);

#endif
