/* The 1st, 2nd, 3rd ... allocation of a calibration fails: the status says so, nothing is
 * left behind, and no set counts as complete that is not. */
#include "test.h"

#include <string.h>

#include "calib_fixture.h"

enum { ALL = UCB_NEEDS_DIAG | UCB_NEEDS_ABS | UCB_NEEDS_H | UCB_NEEDS_SAMPLE };

/* Of q, o, gate and down: each the first that reads its rows. */
static const size_t slots[] = {0, 3, 4, 6};

/* Statistics of every input of the chain's first layer, then on through it. */
static ucb_status run(struct calib_fixture *f, const struct ucb_chain *chain,
                      const struct ucb_layer *layer, double *trace, struct ucb_err *err)
{
    struct ucb_calibrator *c = NULL;
    struct ucb_calib calib;
    ucb_status status = ucb_calibrator_open(&f->options, chain, NULL, &c, err);
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]) && status == UCB_OK; i++) {
        status = ucb_calibrator_input(c, 0, slots[i], layer, &calib, err);
        if (status == UCB_OK) *trace += calib.second_moment[0];
    }
    if (status == UCB_OK) status = ucb_calibrator_layer_done(c, 0, layer, err);
    ucb_calibrator_close(c);
    return status;
}

/* Until a run asks for fewer than n pieces; a failure must leave a state that the next run
 * can use, which every 16th is asked to show. Saving may fail without ending a sequential
 * run. */
static void check_every_allocation(bool is_sequential, long least)
{
    struct calib_fixture f;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_tally tally;
    struct ucb_err err;
    uint8_t unused[UCB_SHA256_BYTES];
    double expected = 0;
    struct ucb_chain chain = fixture_chain(ALL, is_sequential);
    calib_fixture_open(&f, 1, 16);
    ucb_tally_begin(&tally);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    CHECK_OK(ucb_loader_layer(loader, f.none, 0, &tally, NULL, &layer, &err), err);
    const char *cache = f.options.cache;
    f.options.cache = ucb_test_path("%s/expected", ucb_test_folder());
    CHECK_OK(run(&f, &chain, &layer, &expected, &err), err);
    f.options.cache = cache;
    for (long n = 1, quiet = 0; quiet < 40; n++) {
        double trace = 0;
        f.options.cache = ucb_test_path("%s/%ld", cache, n);
        memset(&err, 0, sizeof(err));
        ucb_mem_fail_after(n);
        ucb_status status = run(&f, &chain, &layer, &trace, &err);
        ucb_mem_fail_after(0);
        quiet = status == UCB_OK ? quiet + 1 : 0;
        CHECK(status == UCB_OK || status == UCB_NOMEM);
        CHECK(status == UCB_OK || strstr(err.text, "no memory") != NULL);
        CHECK(status != UCB_OK || trace == expected);
        CHECK(n < 2000);
        CHECK(quiet == 0 || n > least);
        if (n % 16 != 0) continue;
        trace = 0;
        CHECK_OK(run(&f, &chain, &layer, &trace, &err), err);
        CHECK(trace == expected);
    }
    ucb_sha256_final(&tally.digest, unused);
    ucb_loader_close(loader);
    calib_fixture_close(&f);
}

TEST(every_refused_allocation_of_a_parallel_calibration_is_reported)
{
    check_every_allocation(false, 100);
}

TEST(every_refused_allocation_of_a_sequential_calibration_is_reported)
{
    check_every_allocation(true, 20);
}
