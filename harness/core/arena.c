/*
 * arena.c - blocks in a list, newest first; a piece that does not fit opens a block of at
 * least BLOCK_BYTES.
 */
#include "core/arena.h"

#include <assert.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, BLOCK_BYTES = 1 << 16 };

struct ucb_arena_block {
    struct ucb_arena_block *next;
    size_t capacity, used;
    char pad[ALIGN - 2 * sizeof(size_t) - sizeof(void *)];
    unsigned char data[];
};
_Static_assert(sizeof(struct ucb_arena_block) == ALIGN,
               "data must start on a 64-byte boundary");

static atomic_long fail_countdown;

void ucb_mem_fail_after(long n)
{
    atomic_store(&fail_countdown, n);
}

static bool told_to_fail(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0) return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static atomic_uint_least64_t held_bytes, peak_bytes;

/* What the C library set aside, which freeing finds again. */
static void *count_in(void *p)
{
    uint64_t n = p == NULL ? 0 : malloc_usable_size(p),
             held = atomic_fetch_add(&held_bytes, n) + n, peak = atomic_load(&peak_bytes);
    while (held > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, held)) {
    }
    return p;
}

static void count_out_and_free(void *p)
{
    if (p != NULL) atomic_fetch_sub(&held_bytes, malloc_usable_size(p));
    free(p);
}

uint64_t ucb_mem_bytes(void)
{
    return atomic_load(&held_bytes);
}

uint64_t ucb_mem_peak_bytes(void)
{
    return atomic_load(&peak_bytes);
}

void ucb_mem_restart_peak(void)
{
    atomic_store(&peak_bytes, atomic_load(&held_bytes));
}

void *ucb_mem_alloc(size_t n_bytes)
{
    size_t rounded;
    if (told_to_fail() || !ucb_size_add(n_bytes, ALIGN, &rounded)) return NULL;
    rounded -= rounded % ALIGN;
    void *p = count_in(aligned_alloc(ALIGN, rounded));
    if (p != NULL) memset(p, 0, rounded);
    return p;
}

void ucb_mem_free(void *p)
{
    count_out_and_free(p);
}

void ucb_arena_init(struct ucb_arena *arena)
{
    *arena = (struct ucb_arena){0};
}

static struct ucb_arena_block *open_block(struct ucb_arena *arena, size_t n_bytes)
{
    size_t capacity = n_bytes > BLOCK_BYTES ? n_bytes : BLOCK_BYTES, total;
    if (!ucb_size_add(capacity, sizeof(struct ucb_arena_block) + ALIGN, &total))
        return NULL;
    total -= total % ALIGN;
    struct ucb_arena_block *block = count_in(aligned_alloc(ALIGN, total));
    if (block == NULL) return NULL;
    block->next = arena->blocks;
    block->capacity = total - sizeof(*block);
    block->used = 0;
    arena->blocks = block;
    return block;
}

void *ucb_arena_alloc(struct ucb_arena *arena, size_t n_bytes)
{
    assert(arena != NULL);
    size_t rounded;
    if (told_to_fail() || !ucb_size_add(n_bytes, ALIGN - 1, &rounded)) return NULL;
    rounded -= rounded % ALIGN;
    struct ucb_arena_block *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < rounded)
        block = open_block(arena, rounded);
    if (block == NULL) return NULL;
    void *p = block->data + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    if (arena->used_bytes > arena->peak_bytes) arena->peak_bytes = arena->used_bytes;
    return memset(p, 0, rounded);
}

void *ucb_arena_array(struct ucb_arena *arena, size_t count, size_t size_bytes)
{
    size_t n_bytes;
    return ucb_size_mul(count, size_bytes, &n_bytes) ? ucb_arena_alloc(arena, n_bytes)
                                                     : NULL;
}

char *ucb_arena_strdup(struct ucb_arena *arena, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = ucb_arena_alloc(arena, n);
    return copy == NULL ? NULL : memcpy(copy, text, n);
}

char *ucb_arena_printf(struct ucb_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : ucb_arena_alloc(arena, (size_t)n + 1);
    if (text != NULL) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

void ucb_arena_reset(struct ucb_arena *arena)
{
    struct ucb_arena_block *keep = NULL, *next;
    for (struct ucb_arena_block *block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        if (keep == NULL && block->capacity <= 4 * BLOCK_BYTES) {
            keep = block;
        } else {
            count_out_and_free(block);
        }
    }
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
    }
    arena->blocks = keep;
    arena->used_bytes = 0;
}

void ucb_arena_free(struct ucb_arena *arena)
{
    struct ucb_arena_block *next;
    for (struct ucb_arena_block *block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        count_out_and_free(block);
    }
    *arena = (struct ucb_arena){0};
}
