/*
 * method_fixture.h - one matrix, one method spec: encode it, decode it elsewhere, keep what
 * was emitted.
 */
#ifndef UCB_TESTS_METHOD_FIXTURE_H
#define UCB_TESTS_METHOD_FIXTURE_H

#include "core/arena.h"
#include "core/bytes.h"
#include "core/pool.h"
#include "method/chain.h"

struct emitted {
    char role[32];
    enum ucb_dtype dtype;
    uint64_t shape[4];
    uint32_t n_dims;
    void *data;
    size_t n, n_bytes;
};

struct method_fixture {
    struct ucb_arena kept, arena, scratch;
    struct ucb_pool *pool;
    struct ucb_chain *chain;
    struct ucb_matrix matrix;
    struct ucb_chain_context context;
    const struct ucb_calib *calib; /* statistics for the encoder; NULL: none */
    struct ucb_writer shared;      /* side data, fitted to the one matrix by the encoding */
    struct ucb_writer out;
    void *bits; /* of the weights last encoded, for an exact chain */
    float *decoded, *decoded_f32; /* [n_out][n_in], by fixture_decode */
    struct emitted emitted[24];
    size_t n_emitted;
};

/*
 * Parses the spec and makes a matrix "m" of that shape; a failure fails the test. A chain
 * that needs calibration gets made_up_calib(n_in); f->calib may then be set to another.
 */
void fixture_open(struct method_fixture *f, const char *spec, uint32_t n_out, uint32_t n_in,
                  enum ucb_dtype dtype, unsigned n_threads);
/* What ucb_chain_fit_shared and ucb_chain_encode say; what the encoder traces is kept. */
ucb_status fixture_try_encode(struct method_fixture *f, const float *w,
                              struct ucb_err *err);
/* Encodes, decodes from the bytes in fresh arenas, lists the payload's arrays; all must
 * succeed. */
void fixture_run(struct method_fixture *f, const float *w);
/* Multiplies by what was encoded, in the method's own arithmetic; its intermediates are
 * kept. The method must have one. */
ucb_status fixture_product(struct method_fixture *f, const float *bias, const float *x,
                           size_t n_rows, float *y, struct ucb_err *err);
/* The array of that role; a missing one fails the test. */
const struct emitted *fixture_role(const struct method_fixture *f, const char *role);
void fixture_close(struct method_fixture *f);

/*
 * All statistics of n_in made-up inputs: normal deviates of growing size that share a
 * component, more tokens than inputs up to 256 of them, one sequence. Made once a process.
 */
const struct ucb_calib *made_up_calib(uint32_t n_in);
/* Statistics of x[n_tokens][n_in], plain loops in token order; memory from `arena`, the
 * sample is x itself. */
struct ucb_calib calib_of(const float *x, uint32_t n_tokens, uint32_t n_in,
                          struct ucb_arena *arena);

/* Normal deviates of standard deviation `deviation`, from a named stream. */
void fill_gaussian(float *w, size_t n, double deviation, const char *name);
/* || a - b || / || a || in double. */
double relative_error(const float *a, const float *b, size_t n);

#endif
