/*
 * rope_table.c - the inverse frequencies of rotary positions, f_i = theta^(-2i/r), with the
 * scalings of the specification, section 2: computed in double with our own functions (the
 * same bits with every C library), rounded to fp32 once.
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

/* The dimension that turns `n` times over the original positions. */
static double yarn_dimension(const struct ucb_rope *rope, uint32_t r, double n)
{
    return (double)r * ucb_log(rope->original / (2 * PI * n)) / (2 * ucb_log(rope->theta));
}

static double scale_yarn(const struct ucb_rope *rope, uint32_t r, uint32_t i, double f)
{
    double low = yarn_dimension(rope, r, rope->beta_fast),
           high = yarn_dimension(rope, r, rope->beta_slow);
    if (rope->truncate) low = floor(low), high = ceil(high);
    if (low < 0) low = 0;
    if (high > (double)r - 1) high = (double)r - 1;
    if (low == high) high += 0.001;
    double ramp = ((double)i - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return ramp * f / rope->factor + (1 - ramp) * f;
}

double ucb_yarn_magnitude(double factor, double k)
{
    return factor <= 1 ? 1 : 0.1 * k * ucb_log(factor) + 1;
}

double ucb_rope_frequency(const struct ucb_rope *rope, uint32_t r, uint32_t i, bool is_long)
{
    double f = ucb_pow(rope->theta, -2.0 * (double)i / (double)r);
    switch (rope->kind) {
    case UCB_ROPE_PLAIN: return f;
    case UCB_ROPE_LINEAR: return f / rope->factor;
    case UCB_ROPE_LLAMA3: return scale_llama3(rope, f);
    case UCB_ROPE_YARN: return scale_yarn(rope, r, i, f);
    case UCB_ROPE_LONG: return f / (is_long ? rope->long_factor : rope->short_factor)[i];
    }
    return f;
}

static ucb_status fill(const char *file, const struct ucb_rope *rope, uint32_t r,
                       bool is_long, struct ucb_arena *arena, float **out,
                       struct ucb_err *err)
{
    *out = UCB_NEW(arena, float, r / 2);
    if (*out == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u rotary frequencies", file,
                        r / 2);
    for (uint32_t i = 0; i < r / 2; i++) {
        (*out)[i] = (float)ucb_rope_frequency(rope, r, i, is_long);
        if (!isfinite((*out)[i]))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: rotary frequency %u is not finite with a base (rope_theta) of %g",
                file, i, rope->theta);
    }
    return UCB_OK;
}

ucb_status ucb_rope_fill(const char *file, const struct ucb_rope *rope, uint32_t rotary_dim,
                         struct ucb_arena *arena, struct ucb_rope_set *out,
                         struct ucb_err *err)
{
    out->magnitude = rope->magnitude == 0 ? 1.0f : (float)rope->magnitude;
    if (!isfinite(out->magnitude))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: what rope scaling multiplies cosines and sines by is not finite "
            "with %g original positions",
            file, rope->original);
    UCB_TRY(fill(file, rope, rotary_dim, false, arena, &out->inv_freq, err));
    if (rope->kind != UCB_ROPE_LONG) return UCB_OK;
    out->long_magnitude = rope->long_magnitude == 0 ? 1.0f : (float)rope->long_magnitude;
    if (!isfinite(out->long_magnitude))
        return UCB_FAIL(err, UCB_CORRUPT, "%s: long_mscale is %g, expected a finite number",
                        file, rope->long_magnitude);
    out->original = rope->original < UINT32_MAX ? (uint32_t)rope->original : UINT32_MAX;
    return fill(file, rope, rotary_dim, true, arena, &out->long_inv_freq, err);
}
