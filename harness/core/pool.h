/*
 * pool.h - workers that sleep when idle, and the one way this program runs things in
 * parallel.
 *
 * Workers take indices of a loop in any order; a result must not depend on which worker or
 * when. The caller's thread works too: a pool of 1 has no extra thread. Loops do not nest:
 * a body must not start another loop.
 */
#ifndef UCB_CORE_POOL_H
#define UCB_CORE_POOL_H

#include <stddef.h>

#include "core/err.h"

struct ucb_pool;

/* n_threads 0: as many as the machine lets this process use. NOMEM, ENVIRONMENT. Release
 * with ucb_pool_close. */
ucb_status ucb_pool_open(unsigned n_threads, struct ucb_pool **out, struct ucb_err *err);
void ucb_pool_close(struct ucb_pool *pool); /* NULL is fine */
unsigned ucb_pool_threads(const struct ucb_pool *pool);

/* Calls body(context, i) for each i in [0, n), each once; returns when all are done. pool
 * NULL: in this thread. */
typedef void ucb_loop_body(void *context, size_t index);
void ucb_parallel_for(struct ucb_pool *pool, size_t n, ucb_loop_body *body, void *context);

/* The same, and tells the body which worker runs it (0 .. threads-1), to choose a scratch
 * buffer. */
typedef void ucb_worker_body(void *context, size_t index, unsigned worker);
void ucb_parallel_workers(struct ucb_pool *pool, size_t n, ucb_worker_body *body,
                          void *context);

#endif
