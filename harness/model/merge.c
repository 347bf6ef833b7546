/*
 * merge.c - merging neighbours, lowest rank first and leftmost among equals, in O(n log n).
 *
 * A binary heap holds rank << 32 | position of the left symbol. Entries are never removed:
 * an entry is stale when the symbol's current rank is another one (its neighbour changed,
 * or it was swallowed), and stale entries are skipped. Each merge adds at most two entries,
 * so n symbols need no more than 3n.
 */
#include <assert.h>

#include "model/tokenizer_internal.h"

enum { HEAP_PER_SYMBOL = 3 };

ucb_status ucb_merger_reserve(struct ucb_merger *m, size_t n, struct ucb_arena *scratch,
                              struct ucb_err *err)
{
    m->n_symbols = m->n_heap = 0;
    if (n <= m->capacity) return UCB_OK;
    /* Old rooms stay in the arena: pieces do not overlap, so they sum to O(text) bytes. */
    size_t capacity = n < 128 ? 128 : n, n_heap;
    if (!ucb_size_mul(capacity, HEAP_PER_SYMBOL, &n_heap)) n_heap = SIZE_MAX;
    m->symbols = UCB_NEW(scratch, struct ucb_symbol, capacity);
    m->heap = UCB_NEW(scratch, uint64_t, n_heap);
    m->capacity = m->symbols == NULL || m->heap == NULL ? 0 : capacity;
    if (m->capacity == 0)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to merge a piece of %zu bytes", n);
    return UCB_OK;
}

void ucb_merger_put(struct ucb_merger *m, uint32_t id, size_t start, size_t n_bytes)
{
    assert(m->n_symbols < m->capacity);
    uint32_t at = (uint32_t)m->n_symbols++;
    uint32_t prev = at == 0 ? UCB_NO_ID : at - 1;
    m->symbols[at] = (struct ucb_symbol){
        id, (uint32_t)start, (uint32_t)n_bytes, prev, UCB_NO_ID, UCB_NO_ID, UCB_NO_ID};
    if (at > 0) m->symbols[prev].next = at;
}

static void heap_push(struct ucb_merger *m, uint64_t entry)
{
    size_t at = m->n_heap++;
    assert(at < m->capacity * HEAP_PER_SYMBOL);
    for (; at > 0 && m->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        m->heap[at] = m->heap[(at - 1) / 2];
    m->heap[at] = entry;
}

static uint64_t heap_pop(struct ucb_merger *m)
{
    uint64_t top = m->heap[0], last = m->heap[--m->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < m->n_heap; at = child) {
        if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child]) child++;
        if (last <= m->heap[child]) break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = last;
    return top;
}

/* What one merge needs to know besides its symbols. */
struct rule {
    ucb_pair_rule *ask;
    const struct ucb_tokenizer *tokenizer;
    const char *piece;
};

static void rate(struct ucb_merger *m, const struct rule *rule, uint32_t at)
{
    struct ucb_symbol *left = &m->symbols[at];
    left->rank = UCB_NO_ID;
    if (left->next == UCB_NO_ID) return;
    if (rule->ask(rule->tokenizer, rule->piece, left, &m->symbols[left->next], &left->rank,
                  &left->merged))
        heap_push(m, (uint64_t)left->rank << 32 | at);
    else
        left->rank = UCB_NO_ID;
}

static void swallow_next(struct ucb_merger *m, uint32_t at)
{
    struct ucb_symbol *left = &m->symbols[at], *right = &m->symbols[left->next];
    left->id = left->merged;
    left->n_bytes = right->start + right->n_bytes - left->start;
    left->next = right->next;
    right->rank = UCB_NO_ID;
    if (left->next != UCB_NO_ID) m->symbols[left->next].prev = at;
}

void ucb_merger_run(struct ucb_merger *m, const struct ucb_tokenizer *t, const char *piece,
                    ucb_pair_rule *ask)
{
    struct rule rule = {ask, t, piece};
    for (uint32_t i = 0; i < m->n_symbols; i++) rate(m, &rule, i);
    while (m->n_heap > 0) {
        uint64_t entry = heap_pop(m);
        uint32_t at = (uint32_t)entry;
        if (m->symbols[at].rank != entry >> 32) continue;
        swallow_next(m, at);
        rate(m, &rule, at);
        if (m->symbols[at].prev != UCB_NO_ID) rate(m, &rule, m->symbols[at].prev);
    }
}
