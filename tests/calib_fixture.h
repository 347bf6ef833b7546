/*
 * calib_fixture.h - the tiny model, a calibration text of made-up ids, and a method that
 * needs calibration and remembers what it was shown. For tests of the calibrator and of
 * what stands around it, apart from any real method.
 */
#ifndef UCB_TESTS_CALIB_FIXTURE_H
#define UCB_TESTS_CALIB_FIXTURE_H

#include "eval/calib.h"
#include "eval/loader.h"
#include "method/chain_internal.h"

enum { FIXTURE_LAYERS = 2, FIXTURE_CTX = 12, FIXTURE_WINDOWS = 9 };

struct calib_fixture {
    struct ucb_model *model;
    const char *digest;
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    struct ucb_arena arena;
    struct ucb_calib_text text;
    struct ucb_calibrator_options
        options; /* scope body, a cache of its own in the test's folder */
    struct ucb_chain *none;
    size_t start[FIXTURE_WINDOWS + 1];
};
/* batch: rows of a product. */
void calib_fixture_open(struct calib_fixture *f, unsigned n_threads, size_t batch);
/* The same with the model at `path` in the place of the tiny one. */
void calib_fixture_open_model(struct calib_fixture *f, const char *path, unsigned n_threads,
                              size_t batch);
void calib_fixture_close(struct calib_fixture *f);

/*
 * A chain of one method that rounds weights to sixteenths, takes all matrices of an input
 * in one call, and notes what it is called with. `needs` and the rest are the method's; one
 * at a time.
 */
struct noted {
    const char *name; /* of the matrix */
    bool has_calib;
    struct ucb_calib calib; /* members are copies */
    uint32_t n_in, n_src;   /* matrices of its call */
};
struct fixture_method {
    uint32_t needs;
    bool is_sequential, takes_embedding;
    size_t n_noted;
    struct noted noted[64 * FIXTURE_LAYERS];
};
extern struct fixture_method fixture_method;
struct ucb_chain fixture_chain(uint32_t needs, bool is_sequential);
/* What was noted of a matrix; a missing one fails the test. */
const struct noted *fixture_noted(const char *part_of_name);
void fixture_forget(void);

/* Equal bits of all members that `needs` names; the others are NULL in `found`. */
bool calib_equals(const struct ucb_calib *found, const struct ucb_calib *expected,
                  uint32_t needs, uint32_t n_in);

#endif
