/* Inputs that were zero all the time say nothing of which weights matter. */
#include "test.h"

#include <string.h>

#include "method_fixture.h"

enum { N_OUT = 16, N_IN = 128, N_TOKENS = 8 };

/* Relative error of a method whose matrix read x[N_TOKENS][N_IN]. */
static double error_with(const char *spec, const float *x)
{
    static float w[N_OUT * N_IN];
    struct method_fixture f;
    struct ucb_arena arena = {0};
    fill_gaussian(w, N_OUT * N_IN, 0.02, "zero calibration");
    fixture_open(&f, spec, N_OUT, N_IN, UCB_F32, 1);
    struct ucb_calib calib = calib_of(x, N_TOKENS, N_IN, &arena);
    f.calib = &calib;
    fixture_run(&f, w);
    double off = relative_error(w, f.decoded_f32, N_OUT * N_IN);
    ucb_arena_free(&arena);
    fixture_close(&f);
    return off;
}

TEST(inputs_that_are_always_zero_leave_plain_rounding_not_zeros)
{
    static float x[N_TOKENS * N_IN];
    memset(x, 0, sizeof(x));
    CHECK(error_with("gptq:bits=4,group=128", x) < 0.15);
    CHECK(error_with("gptq:bits=4,group=128,act_order=1", x) < 0.15);
    CHECK(error_with("awq:bits=4,group=128", x) < 0.15);
    CHECK(error_with("awq:bits=4,group=128,duo=0", x) < 0.15);
}

TEST(a_column_whose_input_is_always_zero_is_still_dropped_by_gptq)
{
    static float x[N_TOKENS * N_IN];
    fill_gaussian(x, N_TOKENS * N_IN, 1, "inputs");
    double all = error_with("gptq:bits=4,group=128", x);
    for (size_t t = 0; t < N_TOKENS; t++)
        for (size_t i = 0; i < N_IN / 2; i++) x[t * N_IN + i] = 0;
    CHECK(error_with("gptq:bits=4,group=128", x) > 0.5);
    CHECK(all < 0.5);
}
