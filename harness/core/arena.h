/*
 * arena.h - memory that is released all at once.
 *
 * An arena hands out zeroed, 64-byte aligned pieces until it is emptied. It belongs to one
 * thread at a time. Running out of memory is answered with NULL; the caller turns it into
 * UCB_NOMEM with a sentence that names what the memory was for. ucb_arena_fail_after() lets
 * tests refuse the n-th piece.
 */
#ifndef UCB_CORE_ARENA_H
#define UCB_CORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ucb_arena_block;
struct ucb_arena {
    struct ucb_arena_block *blocks; /* newest first */
    size_t used_bytes;              /* handed out since the last reset */
    size_t peak_bytes;              /* highest used_bytes ever */
};

void ucb_arena_init(struct ucb_arena *arena);
/* n_bytes zeroed bytes, 64-byte aligned, or NULL. n_bytes == 0 gives a valid pointer. */
void *ucb_arena_alloc(struct ucb_arena *arena, size_t n_bytes);
/* count items of size_bytes each; NULL also when the product overflows. */
void *ucb_arena_array(struct ucb_arena *arena, size_t count, size_t size_bytes);
/* A copy of `text` that lives as long as the arena, or NULL. */
char *ucb_arena_strdup(struct ucb_arena *arena, const char *text);
char *ucb_arena_printf(struct ucb_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Forgets every piece; large blocks go back to the system, one stays for the next use. */
void ucb_arena_reset(struct ucb_arena *arena);
void ucb_arena_free(struct ucb_arena *arena);

#define UCB_NEW(arena, type, count) \
    ((type *)ucb_arena_array((arena), (count), sizeof(type)))

/* True and *out = a * b, or false when it overflows. Sizes from files go through these. */
static inline bool ucb_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool ucb_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/*
 * Zeroed, 64-byte aligned memory outside any arena for the few objects with their own life
 * (models, pools); NULL when there is none. Release with ucb_mem_free (NULL is fine).
 */
void *ucb_mem_alloc(size_t n_bytes);
void ucb_mem_free(void *p);

/* Bytes that arenas and ucb_mem_alloc hold now, and the most they held since the last
 * ucb_mem_restart_peak: to the C library's rounding, the same whenever one thread does the
 * same work. What the system counts is not. */
uint64_t ucb_mem_bytes(void);
uint64_t ucb_mem_peak_bytes(void);
void ucb_mem_restart_peak(void);

/* Tests: the n-th allocation from now (1 = the next) fails, 0 = never; applies to arenas
 * and ucb_mem_alloc. */
void ucb_mem_fail_after(long n);

#endif
