/*
 * decode_check.h - the device's decode beside the CPU's: equal bits, equal refusals.
 */
#ifndef UCB_TESTS_DECODE_CHECK_H
#define UCB_TESTS_DECODE_CHECK_H

#include "../method_fixture.h"
#include "backend/cuda.h"

/*
 * Decodes a payload of f's chain and matrix on both; fails the test unless the status is
 * the same and, of UCB_OK, every value to the bit. Answers the status. f->shared is the
 * side data.
 */
ucb_status check_decode(struct method_fixture *f, struct ucb_cuda *cuda,
                        const uint8_t *payload, size_t n_bytes);
/*
 * Encodes w[n_out][n_in] and checks its decode; then, with `damage` > 0, so many payloads
 * cut short or with a bit turned. False where the method refuses to encode it.
 */
bool check_spec(const char *spec, enum ucb_dtype dtype, uint32_t n_out, uint32_t n_in,
                const float *w, int damage);

#endif
