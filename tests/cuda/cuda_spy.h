/*
 * cuda_spy.h - what a test's host asks of a device, in order.
 */
#ifndef UCB_TESTS_CUDA_SPY_H
#define UCB_TESTS_CUDA_SPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ucb_cuda;

/* Between the two, notes what is asked of one opened device at a time. watches: new mirrors
 * are watched (cuda_mirror.h), which copies NaNs too. */
void cuda_spy_begin(struct ucb_cuda *cuda, bool watches);
void cuda_spy_end(void);
/* A letter each: `p` packs a decoded weight, `m` multiplies, `w` waits for LOAD (freeing
 * memory does so). As many as there is room for. */
const char *cuda_spy_seen(void);
/* What was copied on COMPUTE since the last call, or the begin. */
void cuda_spy_bytes(uint64_t *uploaded, uint64_t *downloaded);
/* The buffers of products are placed as for cuBLAS, which the emulation has not; they are
 * multiplied as those of fp32. */
void cuda_spy_as_cublas(bool on);
/* Of all rows that products read and wrote since the begin, in bytes. */
size_t cuda_spy_alignment(void);
/* The n-th copy or product on COMPUTE from now on (1: the next) fails; 0: none. */
void cuda_spy_fail_after(long n);

#endif
