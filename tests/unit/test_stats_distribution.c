/* The normal and Student's t distribution: closed forms, identities and edges. Vectors:
 * tests/golden/stats. */
#include "test.h"

#include <math.h>

#include "stats/distribution.h"

static const double PI = 3.14159265358979323846;

TEST(student_with_one_and_two_degrees_has_closed_forms)
{
    for (double p = 0.51; p < 1; p += 0.02) {
        double one = tan(PI * (p - 0.5)), two = (2 * p - 1) / sqrt(2 * p * (1 - p));
        CHECK_NEAR(ucb_student_quantile(p, 1) / one, 1, 1e-12);
        CHECK_NEAR(ucb_student_quantile(p, 2) / two, 1, 1e-12);
        CHECK_NEAR(ucb_student_tail(one, 1), 1 - p, 1e-14);
    }
}

TEST(a_quantile_undoes_the_tail)
{
    static const double freedoms[] = {0.5, 1, 3, 19.5, 499, 5152, 1e6};
    for (double p = 0.003; p < 1; p += 0.031) {
        CHECK_NEAR(ucb_normal_cdf(ucb_normal_quantile(p)), p, 1e-14);
        for (size_t k = 0; k < sizeof(freedoms) / sizeof(freedoms[0]); k++)
            CHECK_NEAR(
                1 - ucb_student_tail(ucb_student_quantile(p, freedoms[k]), freedoms[k]), p,
                1e-11);
    }
}

TEST(distributions_are_symmetric_to_the_bit)
{
    for (double x = 0; x < 9; x += 0.13) {
        CHECK(ucb_normal_cdf(x) == ucb_normal_tail(-x));
        CHECK_NEAR(ucb_normal_tail(x) + ucb_normal_tail(-x), 1, 1e-15);
        CHECK_NEAR(ucb_student_tail(x, 7) + ucb_student_tail(-x, 7), 1, 1e-15);
    }
    CHECK(ucb_normal_quantile(0.25) == -ucb_normal_quantile(0.75));
    CHECK(ucb_student_quantile(0.25, 5) == -ucb_student_quantile(0.75, 5));
}

TEST(the_two_formulas_of_the_normal_tail_meet)
{
    double inside = ucb_normal_tail(nextafter(3, 0)), outside = ucb_normal_tail(3);
    CHECK_NEAR(inside / outside, 1,
               1e-12); /* 1/2 less the centre: a rounding of 1/2 in a tail of 0.00135 */
}

TEST(student_tends_to_normal)
{
    CHECK_NEAR(ucb_student_quantile(0.975, 1e8), ucb_normal_quantile(0.975), 1e-7);
}

TEST(the_edges_of_probability_are_infinite_and_beyond_them_nan)
{
    CHECK(ucb_normal_quantile(0) == -INFINITY && ucb_normal_quantile(1) == INFINITY);
    CHECK(ucb_student_quantile(0, 3) == -INFINITY &&
          ucb_student_quantile(1, 3) == INFINITY);
    CHECK(ucb_normal_quantile(0.5) == 0 && ucb_student_quantile(0.5, 3) == 0);
    CHECK(isnan(ucb_normal_quantile(-0.1)) && isnan(ucb_normal_quantile(1.1)) &&
          isnan(ucb_normal_quantile(NAN)));
    CHECK(isnan(ucb_student_quantile(0.9, 0)) && isnan(ucb_student_quantile(0.9, -1)));
    CHECK(ucb_normal_tail(INFINITY) == 0 && ucb_normal_tail(-INFINITY) == 1 &&
          isnan(ucb_normal_tail(NAN)));
    CHECK(ucb_student_tail(INFINITY, 2) == 0 && ucb_student_tail(-INFINITY, 2) == 1 &&
          ucb_student_tail(1e200, 2) >= 0);
    CHECK(ucb_beta_half(0, 2) == 0 && ucb_beta_half(1, 2) == 1);
    CHECK_NEAR(ucb_beta_half(0.5, 0.5), 0.5, 1e-15);
}
