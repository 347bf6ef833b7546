/* awq over random shapes, knobs and inputs: never worse on them than plain rounding, the
 * same bytes from any number of threads, and exactly the size it says. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "method_fixture.h"

enum { N_ROUNDS = 40, MAX_OUT = 90, MAX_IN = 200, MAX_TOKENS = 300 };
static float w[MAX_OUT * MAX_IN], x[MAX_TOKENS * MAX_IN];

static void fill(struct ucb_pcg *r, float *to, size_t n_rows, size_t n_columns)
{
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        float u = ucb_pcg_unit(r) + ucb_pcg_unit(r) - 1;
        to[i] = u * (i % n_columns % 7 == 3 ? 9 : 1);
    }
}

/* Mean squared difference of the outputs under w and under what was decoded. */
static double output_error(const struct method_fixture *f, const float *decoded,
                           uint32_t n_tokens)
{
    double sum = 0;
    uint32_t n_in = f->matrix.n_in;
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t row = 0; row < f->matrix.n_out; row++) {
            double off = 0;
            for (size_t j = 0; j < n_in; j++)
                off += ((double)decoded[row * n_in + j] - w[row * n_in + j]) *
                       x[t * n_in + j];
            sum += off * off;
        }
    return sum;
}

static void check_size(const struct method_fixture *f, unsigned bits, size_t group)
{
    size_t n = (size_t)f->matrix.n_out * f->matrix.n_in, n_groups = n / group;
    CHECK_EQ(f->out.part_bytes[UCB_PART_CODES], (n * bits + 7) / 8);
    CHECK_EQ(f->out.part_bytes[UCB_PART_SCALES], 2 * n_groups);
    CHECK_EQ(f->out.part_bytes[UCB_PART_ZEROS], (n_groups * bits + 7) / 8);
    CHECK_EQ(f->out.part_bytes[UCB_PART_FACTORS], 2 * f->matrix.n_in);
}

static void run_round(uint64_t seed)
{
    struct ucb_pcg r;
    struct ucb_arena arena = {0};
    struct method_fixture f, other, plain;
    ucb_pcg_named(&r, seed, "awq");
    size_t group = 2 + ucb_pcg_below(&r, 39);
    unsigned bits = 2 + ucb_pcg_below(&r, 4), clip = ucb_pcg_below(&r, 2);
    uint32_t n_out = 1 + ucb_pcg_below(&r, MAX_OUT),
             n_in = (uint32_t)group * (1 + ucb_pcg_below(&r, (uint32_t)(MAX_IN / group))),
             n_tokens = 1 + ucb_pcg_below(&r, MAX_TOKENS);
    const char *spec = ucb_test_path("awq:bits=%u,group=%zu,clip=%u,duo=0", bits, group,
                                     clip);
    fill(&r, w, n_out, n_in);
    fill(&r, x, n_tokens, n_in);
    struct ucb_calib calib = calib_of(x, n_tokens, n_in, &arena);
    fixture_open(&f, spec, n_out, n_in, UCB_F32, 1);
    fixture_open(&other, spec, n_out, n_in, UCB_F32, 2 + ucb_pcg_below(&r, 5));
    fixture_open(&plain, spec, n_out, n_in, UCB_F32, 1);
    f.calib = other.calib = &calib;
    plain.calib = NULL;
    fixture_run(&f, w);
    fixture_run(&other, w);
    fixture_run(&plain, w);
    CHECK_EQ(f.out.n_bytes, other.out.n_bytes);
    CHECK(memcmp(f.out.data, other.out.data, f.out.n_bytes) == 0);
    check_size(&f, bits, group);
    /* duo=0 begins with plain rounding; clipping looks at groups alone, so it may lose. The
     * thousandth is the rounding of losses to fp32. */
    double found = output_error(&f, fixture_role(&f, "effective_weight")->data, n_tokens),
           bound = output_error(&f, fixture_role(&plain, "effective_weight")->data,
                                n_tokens);
    if (!clip && !(found <= 1.001 * bound))
        ucb_test_fail(__FILE__, __LINE__, "UCB_SEED=%llu: %s, %u x %u: %g, rounding %g",
                      (unsigned long long)seed, spec, n_out, n_in, found, bound);
    fixture_close(&f);
    fixture_close(&other);
    fixture_close(&plain);
    ucb_arena_free(&arena);
}

TEST(awq_is_no_worse_than_rounding_on_its_inputs_and_the_same_from_any_threads)
{
    const char *replay = getenv("UCB_SEED");
    if (replay != NULL) run_round(strtoull(replay, NULL, 10));
    for (uint64_t seed = 1; replay == NULL && seed <= N_ROUNDS; seed++) run_round(seed);
}
