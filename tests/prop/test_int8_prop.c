/* int8: codes equal the formula written out one weight at a time, at every magnitude. */
#include "test.h"

#include <math.h>

#include "core/half.h"
#include "method_fixture.h"

enum { N_OUT = 12, N_IN = 83 };

/* Rows whose largest weight lies around 2^exponent;
 * weights of a row differ by up to 2^23. */
static void fill_row(struct ucb_pcg *r, int exponent, float *w)
{
    for (int i = 0; i < N_IN; i++) {
        float u = 2 * ucb_pcg_unit(r) - 1;
        int below = ucb_pcg_below(r, 3) == 0 ? (int)ucb_pcg_below(r, 24) : 0;
        w[i] = ldexpf(u, exponent - below);
    }
}

static void check_row(const float *w, const uint8_t *codes, float absmax, int exponent)
{
    float peak = 0;
    for (int i = 0; i < N_IN; i++) peak = fmaxf(peak, fabsf(ucb_f16_round(w[i])));
    float factor = 1.0f / peak;
    factor *= 127.0f;
    CHECK(absmax == peak);
    for (int i = 0; i < N_IN && peak > 0; i++) {
        float exact = ucb_f16_round(w[i]) * factor;
        if ((int8_t)codes[i] != (int)rintf(exact))
            ucb_test_fail(__FILE__, __LINE__, "around 2^%d: weight %a has code %d, not %g",
                          exponent, (double)w[i], (int8_t)codes[i], (double)rintf(exact));
    }
}

TEST(int8_codes_equal_the_formula_at_every_magnitude)
{
    static float w[N_OUT * N_IN];
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "int8");
    for (int exponent = -30; exponent <= 15; exponent++) {
        struct method_fixture f;
        for (int row = 0; row < N_OUT; row++) fill_row(&r, exponent, w + row * N_IN);
        fixture_open(&f, "int8", N_OUT, N_IN, UCB_F32, 1);
        fixture_run(&f, w);
        for (int row = 0; row < N_OUT; row++)
            check_row(w + row * N_IN, f.out.data + row * N_IN,
                      ucb_load_f32(f.out.data + N_OUT * N_IN + 4 * row), exponent);
        fixture_close(&f);
    }
}
