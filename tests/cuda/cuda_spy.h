/*
 * cuda_spy.h - what a test's host asks of a device, in order.
 */
#ifndef UCB_TESTS_CUDA_SPY_H
#define UCB_TESTS_CUDA_SPY_H

struct ucb_cuda;

/* Between the two, notes what is asked of one opened device at a time. */
void cuda_spy_begin(struct ucb_cuda *cuda);
void cuda_spy_end(void);
/* A letter each: `p` packs a decoded weight, `m` multiplies, `w` waits for LOAD (freeing
 * memory does so). As many as there is room for. */
const char *cuda_spy_seen(void);

#endif
