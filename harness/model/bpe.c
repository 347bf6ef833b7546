/*
 * bpe.c - merges that a file lists in order: a hash table from a pair of ids to its rank
 * and result.
 */
#include <assert.h>
#include <string.h>

#include "model/tokenizer_internal.h"

ucb_status ucb_pairs_reserve(struct ucb_pairs *p, size_t n_merges, struct ucb_arena *memory,
                             struct ucb_err *err)
{
    size_t n_slots = 16;
    while (n_slots / 3 * 2 < n_merges) n_slots *= 2;
    p->slots = UCB_NEW(memory, struct ucb_pair, n_slots);
    p->n_slots = n_slots;
    if (p->slots == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu merges", n_merges);
    for (size_t i = 0; i < n_slots; i++) p->slots[i].rank = UCB_NO_ID;
    return UCB_OK;
}

/* The slot of the pair, or the free one where it would go. */
static struct ucb_pair *find_slot(const struct ucb_pairs *p, uint64_t key)
{
    size_t mask = p->n_slots - 1;
    uint64_t hash = key * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio: spreads ids */
    for (size_t at = (hash ^ hash >> 32) & mask;; at = (at + 1) & mask) {
        struct ucb_pair *slot = &p->slots[at];
        if (slot->rank == UCB_NO_ID || slot->key == key) return slot;
    }
}

bool ucb_pairs_put(struct ucb_pairs *p, uint32_t left, uint32_t right, uint32_t rank,
                   uint32_t merged)
{
    assert(rank != UCB_NO_ID);
    uint64_t key = (uint64_t)left << 32 | right;
    struct ucb_pair *slot = find_slot(p, key);
    if (slot->rank != UCB_NO_ID) return false;
    *slot = (struct ucb_pair){key, rank, merged};
    return true;
}

bool ucb_bpe_rule(const struct ucb_tokenizer *t, const char *piece,
                  const struct ucb_symbol *left, const struct ucb_symbol *right,
                  uint32_t *rank, uint32_t *merged)
{
    (void)piece;
    if (left->id == UCB_NO_ID || right->id == UCB_NO_ID) return false;
    const struct ucb_pair *pair = find_slot(&t->pairs,
                                            (uint64_t)left->id << 32 | right->id);
    *rank = pair->rank;
    *merged = pair->merged;
    return pair->rank != UCB_NO_ID;
}

ucb_status ucb_bpe_merge(struct ucb_tokenizer *t, uint32_t rank, const char *left,
                         size_t n_left, const char *right, size_t n_right,
                         struct ucb_err *err)
{
    enum { MAX_BYTES = 4096 };
    char both[MAX_BYTES];
    size_t n_a, n_b;
    if (n_left == 0 || n_right == 0 || n_left > MAX_BYTES / 2 || n_right > MAX_BYTES / 2)
        return UCB_FAIL(err, UCB_CORRUPT, "parts of %zu and %zu bytes, each needs 1 to %d",
                        n_left, n_right, MAX_BYTES / 2);
    if (!ucb_spelling_decode(t->vocab.spelling, left, n_left, both, &n_a) ||
        !ucb_spelling_decode(t->vocab.spelling, right, n_right, both + n_a, &n_b))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "`%s` or `%s` has a character outside the byte-level alphabet",
                        ucb_show(left, n_left).text, ucb_show(right, n_right).text);
    uint32_t a = ucb_vocab_find(&t->vocab, both, n_a),
             b = ucb_vocab_find(&t->vocab, both + n_a, n_b);
    uint32_t merged = ucb_vocab_find(&t->vocab, both, n_a + n_b);
    if (a == UCB_NO_ID || b == UCB_NO_ID || merged == UCB_NO_ID) {
        const char *part = a == UCB_NO_ID ? both : b == UCB_NO_ID ? both + n_a : both;
        size_t n_part = a == UCB_NO_ID ? n_a : b == UCB_NO_ID ? n_b : n_a + n_b;
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "`%s` is no token of the vocabulary; parts and result of a merge must be",
            ucb_show(part, n_part).text);
    }
    if (!ucb_pairs_put(&t->pairs, a, b, rank, merged))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "`%s` + `%s` is listed twice; a pair needs one rank",
                        ucb_show(both, n_a).text, ucb_show(both + n_a, n_b).text);
    return UCB_OK;
}
