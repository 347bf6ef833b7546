/*
 * What every method promises that lists parameters for a tuning stage (unfreeze,
 * decode_with, pull_back, freeze in method.h), over knobs and shapes.
 */
#include "test.h"

#include <math.h>
#include <string.h>

#include "method/chain_internal.h"
#include "method_fixture.h"

static const char *const specs[] = {"gsq:bits=2,scale=fp32", "gsq:bits=5",
                                    "gsq:bits=6,block=16,scale=fp16", "gsq:bits=3,block=8",
                                    NULL};
static const uint32_t shapes[][2] = {{3, 64}, {7, 33}, {130, 192}, {1, 640}};
enum { N_SHAPES = sizeof(shapes) / sizeof(*shapes), MAX_WEIGHTS = 130 * 192 };

static float weights[MAX_WEIGHTS], slope[MAX_WEIGHTS];

/* An encoded matrix, opened, its parameters listed. */
struct opened {
    struct method_fixture f;
    struct ucb_job job;
    void *state;
    struct ucb_param list[UCB_MAX_PARAMS];
    uint32_t n_params;
    size_t n;
};

static void open_one(struct opened *o, const char *spec, const uint32_t *shape,
                     unsigned n_threads)
{
    struct ucb_err err;
    o->n = (size_t)shape[0] * shape[1];
    fill_gaussian(weights, o->n, 0.5, "params");
    fixture_open(&o->f, spec, shape[0], shape[1], UCB_BF16, n_threads);
    o->f.context.trace = NULL;
    CHECK_OK(fixture_try_encode(&o->f, weights, &err), err);
    o->job = ucb_stage_job(&o->f.chain->stages[0]);
    o->job.arena = &o->f.arena;
    o->job.scratch = &o->f.scratch;
    o->job.pool = o->f.pool;
    struct ucb_reader in = {o->f.out.data, o->f.out.n_bytes, 0};
    o->state = ucb_arena_alloc(&o->f.arena,
                               o->job.method->state_bytes(&o->job, &o->f.matrix));
    CHECK_OK(o->job.method->open(&o->job, &o->f.matrix, &in, o->state, &err), err);
    CHECK_OK(o->job.method->unfreeze(&o->job, o->state, o->list, &o->n_params, &err), err);
    CHECK(o->n_params >= 1 && o->n_params <= UCB_MAX_PARAMS);
}

static void each_case(void (*run)(const char *spec, const uint32_t *shape))
{
    for (size_t s = 0; s < N_SHAPES; s++)
        for (size_t i = 0; specs[i] != NULL; i++) run(specs[i], shapes[s]);
}

TEST(a_method_that_can_be_tuned_has_all_four_members)
{
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++) {
        bool tunes = (*m)->unfreeze != NULL;
        CHECK(((*m)->decode_with != NULL) == tunes && ((*m)->pull_back != NULL) == tunes &&
              ((*m)->freeze != NULL) == tunes);
    }
}

static void check_untouched(const char *spec, const uint32_t *shape)
{
    static float plain[MAX_WEIGHTS], with[MAX_WEIGHTS];
    struct opened o;
    struct ucb_err err;
    struct ucb_writer out = {0};
    open_one(&o, spec, shape, 1);
    const struct ucb_method *m = o.job.method;
    m->decode(o.state, 0, shape[0], plain);
    m->decode_with(o.state, o.list, 0, shape[0], with);
    CHECK(memcmp(plain, with, o.n * sizeof(float)) == 0);
    m->decode_with(o.state, o.list, shape[0] - 1, 1, with);
    CHECK(memcmp(plain + o.n - shape[1], with, shape[1] * sizeof(float)) == 0);
    CHECK_OK(m->freeze(&o.job, o.state, o.list, &out, &err), err);
    CHECK_EQ(out.n_bytes, o.f.out.n_bytes);
    CHECK(memcmp(out.data, o.f.out.data, out.n_bytes) == 0);
    CHECK(memcmp(out.part_bytes, o.f.out.part_bytes, sizeof(out.part_bytes)) == 0);
    ucb_writer_free(&out);
    fixture_close(&o.f);
}

TEST(parameters_that_nobody_moved_decode_and_freeze_to_what_was_encoded)
{
    each_case(check_untouched);
}

/* L = sum of slope * weight, in double. */
static double loss_of(const struct opened *o)
{
    static float w[MAX_WEIGHTS];
    double sum = 0;
    o->job.method->decode_with(o->state, o->list, 0, o->f.matrix.n_out, w);
    for (size_t i = 0; i < o->n; i++) sum += (double)slope[i] * (double)w[i];
    return sum;
}

static float *const *new_gradients(struct opened *o)
{
    float **d = UCB_NEW(&o->f.kept, float *, UCB_MAX_PARAMS);
    for (uint32_t k = 0; k < o->n_params; k++)
        d[k] = UCB_NEW(&o->f.kept, float, o->list[k].n);
    return d;
}

/* Decoding is linear in each parameter of the methods here, so a step may be large; what is
 * left is fp32's rounding of the weights that a parameter reaches. */
static void check_gradients(const char *spec, const uint32_t *shape)
{
    struct opened o;
    struct ucb_err err;
    open_one(&o, spec, shape, 1);
    float *const *d = new_gradients(&o);
    fill_gaussian(slope, o.n, 1, "slope");
    CHECK_OK(o.job.method->pull_back(&o.job, o.state, o.list, slope, d, &err), err);
    for (uint32_t k = 0; k < o.n_params; k++)
        for (size_t i = 0; i < o.list[k].n; i += 1 + o.list[k].n / 40) {
            float value = o.list[k].value[i], step = 0.25f;
            o.list[k].value[i] = value + step;
            double above = loss_of(&o), up = (double)o.list[k].value[i];
            o.list[k].value[i] = value - step;
            double below = loss_of(&o), down = (double)o.list[k].value[i];
            o.list[k].value[i] = value;
            CHECK_NEAR((above - below) / (up - down), d[k][i],
                       1e-4 * (1 + fabs((double)d[k][i])));
        }
    fixture_close(&o.f);
}

TEST(gradients_of_parameters_are_the_finite_differences_of_the_decode)
{
    each_case(check_gradients);
}

static void check_threads(const char *spec, const uint32_t *shape)
{
    struct opened one, more;
    struct ucb_err err;
    fill_gaussian(slope, (size_t)shape[0] * shape[1], 1, "slope");
    open_one(&one, spec, shape, 1);
    open_one(&more, spec, shape, 7);
    float *const *d = new_gradients(&one), *const *e = new_gradients(&more);
    CHECK_OK(one.job.method->pull_back(&one.job, one.state, one.list, slope, d, &err), err);
    CHECK_OK(more.job.method->pull_back(&more.job, more.state, more.list, slope, e, &err),
             err);
    for (uint32_t k = 0; k < one.n_params; k++)
        CHECK(memcmp(d[k], e[k], one.list[k].n * sizeof(float)) == 0);
    fixture_close(&one.f);
    fixture_close(&more.f);
}

TEST(gradients_of_parameters_are_the_same_for_any_thread_count)
{
    each_case(check_threads);
}

/* Moved values are stored rounded; frozen again, they are what they were. */
static void check_moved(const char *spec, const uint32_t *shape)
{
    static float moved[MAX_WEIGHTS], stored[MAX_WEIGHTS];
    struct opened o;
    struct ucb_err err;
    struct ucb_writer out = {0};
    open_one(&o, spec, shape, 1);
    const struct ucb_method *m = o.job.method;
    for (uint32_t k = 0; k < o.n_params; k++)
        for (size_t i = 0; i < o.list[k].n; i++)
            o.list[k].value[i] *= 1 + 0.01f * (float)(i % 7);
    m->decode_with(o.state, o.list, 0, shape[0], moved);
    CHECK_OK(m->freeze(&o.job, o.state, o.list, &out, &err), err);
    struct ucb_reader in = {out.data, out.n_bytes, 0};
    void *state = ucb_arena_alloc(&o.f.arena, m->state_bytes(&o.job, &o.f.matrix));
    CHECK_OK(m->open(&o.job, &o.f.matrix, &in, state, &err), err);
    m->decode(state, 0, shape[0], stored);
    /* bf16 has 8 significant bits: half a unit of the last is 2^-8 at most. */
    for (size_t i = 0; i < o.n; i++)
        CHECK_NEAR(stored[i], moved[i], 0x1.01p-8 * fabs((double)moved[i]));
    ucb_writer_free(&out);
    fixture_close(&o.f);
}

TEST(frozen_parameters_are_the_moved_ones_rounded_as_they_are_stored)
{
    each_case(check_moved);
}
