/*
 * pool.c - one job at a time; workers wait on a condition variable, take indices from an
 * atomic counter.
 */
#include "core/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { MAX_THREADS = 256 };

struct ucb_pool {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    unsigned long generation; /* of the job; a worker runs each generation once */
    unsigned n_threads, n_busy;
    bool stop;
    ucb_worker_body *body;
    void *context;
    size_t n;
    atomic_size_t next;
    pthread_t threads[MAX_THREADS];
};

struct start {
    struct ucb_pool *pool;
    unsigned worker;
};

static void run_indices(struct ucb_pool *pool, unsigned worker)
{
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= pool->n) return;
        pool->body(pool->context, i, worker);
    }
}

static void *worker_main(void *argument)
{
    struct start start = *(struct start *)argument;
    struct ucb_pool *pool = start.pool;
    unsigned long seen = 0;
    free(argument);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->stop && pool->generation == seen)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->stop) break;
        seen = pool->generation;
        pthread_mutex_unlock(&pool->lock);
        run_indices(pool, start.worker);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0) pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static unsigned usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (unsigned)n;
}

ucb_status ucb_pool_open(unsigned n_threads, struct ucb_pool **out, struct ucb_err *err)
{
    if (n_threads == 0) n_threads = usable_cpus();
    if (n_threads > MAX_THREADS)
        return UCB_FAIL(err, UCB_USAGE, "--threads %u: at most %d", n_threads, MAX_THREADS);
    struct ucb_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a thread pool");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->n_threads = 1;
    while (pool->n_threads < n_threads) {
        struct start *start = malloc(sizeof(*start));
        if (start != NULL) *start = (struct start){pool, pool->n_threads};
        if (start == NULL || pthread_create(&pool->threads[pool->n_threads], NULL,
                                            worker_main, start) != 0) {
            free(start);
            ucb_pool_close(pool);
            return UCB_FAIL(err, UCB_ENVIRONMENT,
                            "the system refuses thread %u of %u; try a smaller --threads",
                            pool->n_threads + 1, n_threads);
        }
        pool->n_threads++;
    }
    *out = pool;
    return UCB_OK;
}

void ucb_pool_close(struct ucb_pool *pool)
{
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 1; i < pool->n_threads; i++) pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

unsigned ucb_pool_threads(const struct ucb_pool *pool)
{
    return pool == NULL ? 1 : pool->n_threads;
}

void ucb_parallel_workers(struct ucb_pool *pool, size_t n, ucb_worker_body *body,
                          void *context)
{
    if (pool == NULL || pool->n_threads == 1 || n <= 1) {
        for (size_t i = 0; i < n; i++) body(context, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    assert(pool->n_busy == 0);
    pool->body = body;
    pool->context = context;
    pool->n = n;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->n_busy = pool->n_threads - 1;
    pool->generation++;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    run_indices(pool, 0);
    pthread_mutex_lock(&pool->lock);
    while (pool->n_busy > 0) pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

struct plain_loop {
    ucb_loop_body *body;
    void *context;
};

static void plain_body(void *context, size_t index, unsigned worker)
{
    struct plain_loop *loop = context;
    (void)worker;
    loop->body(loop->context, index);
}

void ucb_parallel_for(struct ucb_pool *pool, size_t n, ucb_loop_body *body, void *context)
{
    struct plain_loop loop = {body, context};
    ucb_parallel_workers(pool, n, plain_body, &loop);
}
