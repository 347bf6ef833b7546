/*
 * kernel_cases.h - inputs for every function of backend.h, and the SHA-256 of what a
 * backend makes of them.
 *
 * Element i of an input named N in a case is scale * (2 u - 1), u the i-th ucb_pcg_unit of
 * the stream (1, N). The digests of the known answers in docs/arithmetic.md come from here
 * too.
 */
#ifndef UCB_TESTS_KERNEL_CASES_H
#define UCB_TESTS_KERNEL_CASES_H

#include "backend/backend.h"
#include "core/sha256.h"

/* Feeds the results, in row order, to the digest. At most `batch` rows (attention: windows)
 * go into one call. */
typedef void kernel_case_run(struct ucb_backend *backend, size_t batch,
                             struct ucb_sha256 *digest);
struct kernel_case {
    const char *name;
    kernel_case_run *run;
    size_t most_rows; /* a larger batch is the same calls again */
};
extern const struct kernel_case kernel_cases[];
extern const size_t n_kernel_cases;

const struct kernel_case *kernel_case_find(const char *name);
void kernel_case_digest(const struct kernel_case *which, struct ucb_backend *backend,
                        size_t batch, char hex[UCB_SHA256_HEX]);

/* Fails the test unless it opens. */
struct ucb_backend *backend_for_test(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                                     struct ucb_pool *pool);
/* n floats as above; the caller frees them. */
float *named_values(const char *name, size_t n, float scale);
/* A packed copy of w; the caller frees .data with ucb_mem_free. */
struct ucb_packed packed_for_test(const struct ucb_backend *backend, const float *w,
                                  uint32_t n_out, uint32_t n_in);

#endif
