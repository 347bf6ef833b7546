/*
 * fmath.c - argument reduction and Taylor series in plain double arithmetic.
 *
 * Nothing here is fused (-ffp-contract=off) and every operation is one IEEE operation, so
 * every compiler and CPU gives the same bits. Where one double does not carry enough bits
 * (the logarithm inside a power, the remainder of a large angle) a value is a pair high +
 * low whose products are made exact by Dekker's splitting (Numer. Math. 18, 1971).
 */
#include "core/fmath.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ln 2 = LN2_HIGH + LN2_LOW; HIGH has 32 bits, so that n * HIGH is exact for |n| < 2^21. */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0

struct pair {
    double high, low;
};

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static double from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

/* 2^n for a normal result. */
static double power_of_two(int n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

/* a + b exactly, |a| >= |b|. */
static struct pair fast_two_sum(double a, double b)
{
    double s = a + b;
    return (struct pair){s, b - (s - a)};
}

static struct pair two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (struct pair){s, (a - (s - t)) + (b - t)};
}

/* a b exactly, away from over- and underflow. */
static struct pair two_product(double a, double b)
{
    const double splitter = 134217729.0; /* 2^27 + 1 */
    double p = a * b, ta = splitter * a, tb = splitter * b;
    double a_high = ta - (ta - a), b_high = tb - (tb - b), a_low = a - a_high,
           b_low = b - b_high;
    return (struct pair){p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) +
                                a_low * b_low};
}

static struct pair pair_times(struct pair a, struct pair b)
{
    struct pair p = two_product(a.high, b.high);
    return fast_two_sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

static struct pair pair_plus(struct pair a, struct pair b)
{
    struct pair s = two_sum(a.high, b.high);
    return fast_two_sum(s.high, s.low + (a.low + b.low));
}

/* exp(x + x_low): |r| <= 0.347 after the reduction, where the Taylor series of degree 13
 * leaves 4e-18. */
static double exp_of_sum(double x, double x_low)
{
    if (x != x) return x;
    if (x > 709.8) return INFINITY;
    if (x < -745.2) return 0.0;
    double n = floor(x * LOG2_E + 0.5);
    struct pair r = fast_two_sum(x - n * LN2_HIGH, x_low - n * LN2_LOW);
    double t = r.high, q = 1.0 / 6227020800.0;
    static const double factorial[] = {479001600.0, 39916800.0, 3628800.0, 362880.0,
                                       40320.0,     5040.0,     720.0,     120.0,
                                       24.0,        6.0,        2.0};
    for (int i = 0; i < 11; i++) q = q * t + 1.0 / factorial[i];
    double y = 1.0 + (t + (t * t * q + r.low * (1.0 + t)));
    int half = (int)n / 2; /* in two steps, so that neither power leaves the normal range */
    return y * power_of_two(half) * power_of_two((int)n - half);
}

double ucb_exp(double x)
{
    return exp_of_sum(x, 0.0);
}

/* x = 2^n m with m in [sqrt(1/2), sqrt(2)); x > 0 and finite. */
static double split_power(double x, int *n)
{
    *n = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        *n = -54;
    }
    uint64_t u = bits_of(x);
    const uint64_t root_half = 0x3fe6a09e667f3bcdULL;
    uint64_t from_root =
        u - root_half; /* its exponent field counts powers of two above sqrt(1/2) */
    int power = (int)((int64_t)from_root >> 52);
    *n += power;
    return from_bits(u - ((uint64_t)(int64_t)power << 52));
}

/* 1/3, 1/5 ... of the series 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 ...); |s| <= 0.1716, so
 * 12 terms leave 1e-19. */
static double artanh_tail(double square, int first_divisor)
{
    double sum = 0.0;
    for (int divisor = 25; divisor >= first_divisor; divisor -= 2)
        sum = sum * square + 1.0 / divisor;
    return sum;
}

/* ln(1 + f) = f - s (f - R) with s = f / (2 + f), R = 2 s^2 (1/3 + s^2/5 + ...): f is
 * exact, the rest is small. */
double ucb_log(double x)
{
    if (x != x || x < 0.0) return x != x ? x : (double)NAN;
    if (x == 0.0) return -INFINITY;
    if (x > 0x1.fffffffffffffp+1023) return x;
    int n;
    double f = split_power(x, &n) - 1.0, s = f / (2.0 + f), square = s * s;
    double rest = s * (f - 2.0 * square * artanh_tail(square, 3));
    return n * LN2_HIGH + (f - (rest - n * LN2_LOW));
}

/* ln x to about 2^-66 relative: the first two terms of the series as pairs, the tail (2^-13
 * of them) as a double. */
static struct pair log_pair(double x)
{
    static const struct pair third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
    int n;
    double f = split_power(x, &n) - 1.0;
    struct pair bottom = two_sum(2.0, f);
    double s = f / bottom.high;
    struct pair back = two_product(s, bottom.high);
    double s_low = ((f - back.high) - back.low - s * bottom.low) / bottom.high;
    struct pair ratio = fast_two_sum(s, s_low), square = pair_times(ratio, ratio);
    struct pair series = pair_times(square, third);
    double z = square.high;
    series = pair_plus(series, (struct pair){z * z * artanh_tail(z, 5), 0.0});
    struct pair product = pair_times(ratio, series),
                two = {2.0 * ratio.high, 2.0 * ratio.low};
    two = pair_plus(two, (struct pair){2.0 * product.high, 2.0 * product.low});
    struct pair powers = fast_two_sum(n * LN2_HIGH, n * LN2_LOW);
    return n == 0 ? two : pair_plus(powers, two);
}

double ucb_pow(double x, double y)
{
    if (!(x > 0.0) || y != y) return NAN;
    if (x == 1.0 || y == 0.0) return 1.0;
    if (isinf(x) || isinf(y)) return (x > 1.0) == (y > 0.0) ? INFINITY : 0.0;
    struct pair l = log_pair(x);
    double rough = l.high * y;
    if (!(fabs(rough) < 800.0)) return rough > 0.0 ? INFINITY : 0.0;
    struct pair p = two_product(l.high, y);
    p = fast_two_sum(p.high, p.low + l.low * y);
    return exp_of_sum(p.high, p.low);
}

/* sin and cos of y + y_low, |y| <= pi/4: Taylor to degree 17 and 18 leaves 1e-19. */
static double sine_near(double y, double y_low)
{
    double z = y * y, q = 1.0 / 355687428096000.0;
    static const double factorial[] = {
        -1307674368000.0, 6227020800.0, -39916800.0, 362880.0, -5040.0, 120.0, -6.0};
    for (int i = 0; i < 7; i++) q = q * z + 1.0 / factorial[i];
    return y + (y * z * q + y_low * (1.0 - 0.5 * z));
}

static double cosine_near(double y, double y_low)
{
    double z = y * y, q = -1.0 / 6402373705728000.0;
    static const double factorial[] = {
        20922789888000.0, -87178291200.0, 479001600.0, -3628800.0, 40320.0, -720.0, 24.0};
    for (int i = 0; i < 7; i++) q = q * z + 1.0 / factorial[i];
    double half = 0.5 * z,
           w = 1.0 - half; /* 1 - z/2 loses its rounding error unless it is added back */
    return w + (((1.0 - w) - half) + (z * z * q - y * y_low));
}

/* pi/2 in parts of 30, 30, 30 and 53 bits: n (below 2^22) times any of the first three is
   exact. An angle can come as near to a multiple of pi/2 as 2^-50 and still wants 53 good
   bits. */
#define HALF_PI_1 0x1.921fb54p+0
#define HALF_PI_2 0x1.10b46118p-30
#define HALF_PI_3 0x1.313198ap-61
#define HALF_PI_4 0x1.701b839a25205p-92
#define TWO_OVER_PI 0x1.45f306dc9c883p-1

void ucb_sincos(double x, double *sine, double *cosine)
{
    if (!(fabs(x) <= 4194304.0)) {
        *sine = *cosine = NAN;
        return;
    }
    double n = floor(x * TWO_OVER_PI + 0.5);
    struct pair first = two_sum(x - n * HALF_PI_1, -n * HALF_PI_2),
                r = two_sum(first.high, -n * HALF_PI_3);
    r = fast_two_sum(r.high, r.low + (first.low - n * HALF_PI_4));
    double s = sine_near(r.high, r.low), c = cosine_near(r.high, r.low);
    unsigned quadrant = (unsigned)((int)n & 3);
    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    *sine = quadrant & 2 ? -a : a;
    *cosine = (quadrant + 1) & 2 ? -b : b;
}
