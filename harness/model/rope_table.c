/*
 * rope_table.c - the inverse frequencies of rotary positions, f_i = theta^(-2i/r), with the
 * scalings of the specification: computed in double with our own power function (the same
 * bits with every C library), rounded to fp32 once.
 */
#include <math.h>

#include "core/fmath.h"
#include "model/model_internal.h"

static const double PI = 3.14159265358979323846;

/* Llama 3: high frequencies stay, low ones are divided, between them a blend that is linear
 * in L0 / wavelength. */
static double scale_llama3(const struct ucb_rope *rope, double f)
{
    double wavelength = 2 * PI / f;
    if (wavelength < rope->original / rope->high) return f;
    if (wavelength > rope->original / rope->low) return f / rope->factor;
    double s = (rope->original / wavelength - rope->low) / (rope->high - rope->low);
    return (1 - s) * f / rope->factor + s * f;
}

double ucb_rope_frequency(const struct ucb_rope *rope, uint32_t rotary_dim, uint32_t i)
{
    double f = ucb_pow(rope->theta, -2.0 * (double)i / (double)rotary_dim);
    switch (rope->kind) {
    case UCB_ROPE_PLAIN: return f;
    case UCB_ROPE_LINEAR: return f / rope->factor;
    case UCB_ROPE_LLAMA3: return scale_llama3(rope, f);
    }
    return f;
}

ucb_status ucb_rope_table(const char *file, const struct ucb_rope *rope,
                          struct ucb_arena *arena, struct ucb_arch *arch,
                          struct ucb_err *err)
{
    uint32_t half = arch->rotary_dim / 2;
    arch->rope_theta = rope->theta;
    arch->rope_inv_freq = UCB_NEW(arena, float, half);
    if (arch->rope_inv_freq == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u rotary frequencies", file,
                        half);
    for (uint32_t i = 0; i < half; i++) {
        float f = (float)ucb_rope_frequency(rope, arch->rotary_dim, i);
        if (!isfinite(f))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: rotary frequency %u is not finite with a base (rope_theta) of %g",
                file, i, rope->theta);
        arch->rope_inv_freq[i] = f;
    }
    return UCB_OK;
}
