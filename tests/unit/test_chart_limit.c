/* The information limit: its constants are those of the encoders, and there is no curve
 * where methods contradict the assumption behind it. */
#include "test.h"

#include <math.h>

#include "method_fixture.h"
#include "report/chart_limit.h"

TEST(the_squared_errors_of_the_limit_are_those_of_the_encoders)
{
    enum { ROWS = 256, COLUMNS = 1024 };
    static float w[ROWS * COLUMNS];
    fill_gaussian(w, ROWS * COLUMNS, 0.03, "gauss");
    size_t n = 0;
    for (const char *spec; (spec = ucb_limit_anchor_spec(n)) != NULL; n++) {
        struct method_fixture f;
        fixture_open(&f, spec, ROWS, COLUMNS, UCB_F32, 2);
        fixture_run(&f, w);
        double error = relative_error(w, f.decoded, (size_t)ROWS * COLUMNS),
               known = ucb_limit_gaussian_error(spec),
               bpw = 8.0 * (double)f.out.n_bytes / (ROWS * COLUMNS);
        /* Three digits stand in the table; another draw of weights moves it by 0.3%. */
        CHECK_NEAR(error * error / known, 1, 0.02);
        /* No code is below the distortion-rate function. */
        CHECK(error * error > exp2(-2 * bpw));
        fixture_close(&f);
    }
    CHECK(n >= 8);
}

TEST(a_spec_whose_error_depends_on_more_is_no_anchor)
{
    CHECK(ucb_limit_gaussian_error("nf4") > 0);
    CHECK(ucb_limit_gaussian_error("int8") == 0); /* a block is a row */
    CHECK(ucb_limit_gaussian_error("nf4:block=32") == 0);
    CHECK(ucb_limit_gaussian_error("gptq:bits=4") == 0);
}

TEST(the_limit_takes_the_least_quotient_and_falls_by_four_for_each_bit)
{
    struct ucb_chart_limit limit = {0};
    ucb_limit_add(&limit, "nf4", 0.0847, true);                 /* 10 */
    ucb_limit_add(&limit, "nf4:double_quant=1", 0.1016, false); /* 12 */
    ucb_limit_add(&limit, "hqq:bits=4,group=64", 0.0604, true); /* 8 */
    ucb_limit_finish(&limit);
    CHECK_EQ(limit.state, UCB_LIMIT_DRAWN);
    CHECK_NEAR(limit.scale, 8, 1e-9);
    CHECK_NEAR(limit.spread, 1.5, 1e-3);
    CHECK_TEXT(limit.anchor, "hqq:bits=4,group=64");
    CHECK_NEAR(ucb_limit_nats(&limit, 3), 8.0 / 64, 1e-12);
    CHECK_NEAR(ucb_limit_nats(&limit, 3) / ucb_limit_nats(&limit, 4), 4, 1e-12);
    CHECK_NEAR(ucb_limit_bpw(&limit, 8.0 / 64), 3, 1e-12);
}

TEST(one_method_or_two_that_disagree_give_no_limit)
{
    struct ucb_chart_limit one = {0}, two = {0};
    ucb_limit_add(&one, "nf4", 0.1, true);
    ucb_limit_add(&one, "nf4:double_quant=1", 0.1, false);
    ucb_limit_finish(&one);
    CHECK_EQ(one.state, UCB_LIMIT_FEW);
    ucb_limit_add(&two, "nf4", 0.0847, true);
    ucb_limit_add(&two, "fp4", 0.1482 * 2.01, true);
    ucb_limit_finish(&two);
    CHECK_EQ(two.state, UCB_LIMIT_DISAGREES);
}
