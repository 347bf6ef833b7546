/* fmath: special values, and the distance to the 64-bit mantissas of the C library's long
 * double functions. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/fmath.h"
#include "core/pcg.h"

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static double uniform(struct ucb_pcg *r, double low, double high)
{
    double u = (double)ucb_pcg_next(r) * 0x1p-32 + (double)ucb_pcg_next(r) * 0x1p-64;
    return low + (high - low) * u;
}

/* Distance in units of the last place of the correctly rounded result. */
static double ulps(double found, long double exact)
{
    double rounded = (double)exact;
    if (rounded == 0.0 || isinf(rounded)) return found == rounded ? 0 : INFINITY;
    double unit = nextafter(fabs(rounded), INFINITY) - fabs(rounded);
    return (double)(fabsl((long double)found - exact) / unit);
}

TEST(exp_is_within_one_unit_in_the_last_place)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "exp");
    double worst = 0;
    for (int i = 0; i < 300000; i++) {
        double x = i % 2 ? uniform(&r, -708, 709) : uniform(&r, -2, 2);
        worst = fmax(worst, ulps(ucb_exp(x), expl(x)));
    }
    CHECK(worst < 1.0);
    CHECK(ucb_exp(0.0) == 1.0 && ucb_exp(-0.0) == 1.0);
    CHECK(ucb_exp(710) == INFINITY && ucb_exp(INFINITY) == INFINITY);
    CHECK(ucb_exp(-746) == 0.0 && ucb_exp(-INFINITY) == 0.0);
    CHECK(ucb_exp(-745.1) == 0x1p-1074);
    CHECK(isnan(ucb_exp(NAN)));
}

TEST(log_is_within_one_unit_in_the_last_place)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "log");
    double worst = 0;
    for (int i = 0; i < 300000; i++) {
        double x = i % 2 ? ldexp(uniform(&r, 1, 2), (int)ucb_pcg_below(&r, 2000) - 1000)
                         : uniform(&r, 0.5, 2);
        worst = fmax(worst, ulps(ucb_log(x), logl(x)));
    }
    CHECK(worst < 1.0);
    CHECK(ucb_log(1.0) == 0.0);
    CHECK(ucb_log(0.0) == -INFINITY && ucb_log(INFINITY) == INFINITY);
    CHECK(isnan(ucb_log(-1.0)) && isnan(ucb_log(NAN)));
    CHECK(ulps(ucb_log(0x1p-1074), logl(0x1p-1074L)) < 1);
}

TEST(powers_are_within_one_unit_in_the_last_place)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "pow");
    double worst = 0;
    for (int i = 0; i < 300000; i++) { /* rope: theta^(-2 i / r), and anything */
        double x = i % 2 ? 10000.0
                         : ldexp(uniform(&r, 1, 2), (int)ucb_pcg_below(&r, 60) - 30);
        double y = i % 2 ? -(double)(i % 4096) / 4096 : uniform(&r, -20, 20);
        worst = fmax(worst, ulps(ucb_pow(x, y), powl(x, y)));
    }
    CHECK(worst < 1.0);
    CHECK(ucb_pow(2.0, 10.0) == 1024.0 && ucb_pow(10.0, 2.0) == 100.0 &&
          ucb_pow(7.0, 0.0) == 1.0);
    CHECK(ucb_pow(2.0, 2000.0) == INFINITY && ucb_pow(2.0, -2000.0) == 0.0);
    CHECK(isnan(ucb_pow(-1.0, 2.0)));
}

TEST(sine_and_cosine_are_within_one_unit_up_to_two_to_the_22)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "sincos");
    double worst = 0;
    for (int i = 0; i < 300000; i++) {
        double s, c,
            x = (double)(i %
                         8192); /* positions, small angles, and the whole range in turn */
        if (i % 3 != 2)
            x = i % 3 == 0 ? uniform(&r, -4194304, 4194304) : uniform(&r, -4, 4);
        if (i % 5 == 0) x = nearbyint(x) * 0x1.921fb54442d18p+0; /* next to a zero */
        if (fabs(x) > 4194304) continue;
        ucb_sincos(x, &s, &c);
        worst = fmax(worst, fmax(ulps(s, sinl(x)), ulps(c, cosl(x))));
    }
    CHECK(worst < 1.0);
    double s, c;
    ucb_sincos(0.0, &s, &c);
    CHECK(s == 0.0 && c == 1.0);
    ucb_sincos(5e6, &s, &c);
    CHECK(isnan(s) && isnan(c));
}

TEST(double_functions_have_the_bits_that_the_page_prints)
{
    double s, c;
    CHECK_EQ(bits_of(ucb_exp(1.0)), 0x4005bf0a8b145769);
    CHECK_EQ(bits_of(ucb_exp(-0.5)), 0x3fe368b2fc6f960a);
    CHECK_EQ(bits_of(ucb_log(10.0)), 0x40026bb1bbb55516);
    CHECK_EQ(bits_of(ucb_log(0.1)), 0xc0026bb1bbb55515);
    CHECK_EQ(bits_of(ucb_pow(10000.0, -0.25)), 0x3fb999999999999a);
    CHECK_EQ(bits_of(ucb_pow(2.0, 0.5)), 0x3ff6a09e667f3bcc);
    ucb_sincos(1.0, &s, &c);
    CHECK_EQ(bits_of(s), 0x3feaed548f090cee);
    CHECK_EQ(bits_of(c), 0x3fe14a280fb5068c);
    ucb_sincos(4000000.0, &s, &c);
    CHECK_EQ(bits_of(s), 0xbfefaf3b3a27faf1);
    CHECK_EQ(bits_of(c), 0x3fc1ee0f022432c4);
}
