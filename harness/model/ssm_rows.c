/* ssm_rows.c - see ssm_rows.h. */
#include "model/ssm_rows.h"

#include <string.h>

#include "core/fmath.h"

void ucb_ssm_turn(const struct ucb_ssm *s, const float *conv, const float *log_a,
                  float *weights)
{
    float *a = weights + (size_t)s->kernel * s->width;
    for (size_t d = 0; d < s->width; d++) {
        for (size_t k = 0; k < s->kernel; k++)
            weights[k * s->width + d] = conv[d * s->kernel + k];
        for (size_t i = 0; i < s->state; i++)
            a[i * s->width + d] = (float)-ucb_exp((double)log_a[d * s->state + i]);
    }
}

struct ucb_scan ucb_ssm_scan(const struct ucb_ssm *s, const struct ucb_ssm_rows *rows,
                             const float *conv_bias, const float *skip, size_t row,
                             size_t n_rows)
{
    size_t x_width = ucb_ssm_x_width(s), width = s->width;
    return (struct ucb_scan){.n_rows = n_rows,
                             .width = s->width,
                             .state = s->state,
                             .kernel = s->kernel,
                             .in = rows->in + row * 2 * width,
                             .in_stride = 2 * width,
                             .conv = rows->weights,
                             .conv_bias = conv_bias,
                             .u = rows->u + row * width,
                             .dt = rows->dt + row * width,
                             .bc = rows->x + row * x_width + s->rank,
                             .bc_stride = x_width,
                             .a = rows->weights + (size_t)s->kernel * width,
                             .skip = skip,
                             .y = rows->y + row * width};
}

void ucb_columns_take(const float *x, size_t n_rows, size_t width, size_t from, size_t n,
                      float *out)
{
    for (size_t i = 0; i < n_rows; i++)
        memcpy(out + i * n, x + i * width + from, n * sizeof(*x));
}

void ucb_columns_put(const float *in, size_t n_rows, size_t width, size_t from, size_t n,
                     float *x)
{
    for (size_t i = 0; i < n_rows; i++)
        memcpy(x + i * width + from, in + i * n, n * sizeof(*x));
}
