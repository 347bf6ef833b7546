/*
 * ssm_rows.h - the rows of a state space mixer (Mamba) at work, as forward and reverse lay
 * them, and what the backend's scan reads of them.
 */
#ifndef UCB_MODEL_SSM_ROWS_H
#define UCB_MODEL_SSM_ROWS_H

#include "backend/backend.h"
#include "model/model.h"

struct ucb_ssm_rows {
    float *in;      /* [2 width]: u before the convolution, then z */
    float *u;       /* [width] */
    float *x;       /* [rank + 2 state]: delta, b, c */
    float *dt;      /* [width] */
    float *y;       /* [width]: of the scan */
    float *weights; /* once, not a row: [kernel + state][width], see ucb_ssm_turn() */
};
static inline size_t ucb_ssm_x_width(const struct ucb_ssm *s)
{
    return s->rank + 2 * (size_t)s->state;
}

/* The convolution's taps and -exp(A_log), turned so that channels are neighbours. */
void ucb_ssm_turn(const struct ucb_ssm *s, const float *conv, const float *log_a,
                  float *weights);
/* The scan of a window of rows [row, row + n_rows); conv_bias may be NULL. */
struct ucb_scan ucb_ssm_scan(const struct ucb_ssm *s, const struct ucb_ssm_rows *rows,
                             const float *conv_bias, const float *skip, size_t row,
                             size_t n_rows);

/* Columns [from, from + n) of rows of `width`, out of them and into them. */
void ucb_columns_take(const float *x, size_t n_rows, size_t width, size_t from, size_t n,
                      float *out);
void ucb_columns_put(const float *in, size_t n_rows, size_t width, size_t from, size_t n,
                     float *x);

#endif
