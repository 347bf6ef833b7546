/*
 * added.c - finds added and control tokens as they are written in a text.
 *
 * The tokens are sorted by bytes: those that share the first d bytes of the text lie side
 * by side, the one that is exactly d bytes long first among them. Narrowing that range byte
 * by byte finds the longest match at a place in O(length * log n), and most places end at
 * the table of first bytes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_internal.h"

ucb_status ucb_added_reserve(struct ucb_added *a, size_t capacity, struct ucb_arena *memory,
                             struct ucb_err *err)
{
    a->tokens = UCB_NEW(memory, struct ucb_added_token, capacity);
    a->capacity = capacity;
    return a->tokens != NULL
               ? UCB_OK
               : UCB_FAIL(err, UCB_NOMEM, "no memory for %zu added tokens", capacity);
}

void ucb_added_put(struct ucb_added *a, const char *text, size_t n_bytes, uint32_t id)
{
    assert(a->n < a->capacity);
    assert(n_bytes > 0);
    a->tokens[a->n++] = (struct ucb_added_token){text, (uint32_t)n_bytes, id};
    a->starts[(unsigned char)text[0]] = true;
}

static int compare(const void *left, const void *right)
{
    const struct ucb_added_token *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->n_bytes < b->n_bytes ? a->n_bytes : b->n_bytes);
    return order != 0 ? order : (a->n_bytes > b->n_bytes) - (a->n_bytes < b->n_bytes);
}

ucb_status ucb_added_sort(struct ucb_added *a, struct ucb_err *err)
{
    if (a->n > 0) qsort(a->tokens, a->n, sizeof(*a->tokens), compare);
    for (size_t i = 1; i < a->n; i++) {
        const struct ucb_added_token *one = &a->tokens[i - 1], *two = &a->tokens[i];
        if (compare(one, two) == 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "ids %u and %u are both the added token `%s`; it needs one id",
                            (unsigned)one->id, (unsigned)two->id,
                            ucb_show(one->text, one->n_bytes).text);
    }
    return UCB_OK;
}

/*
 * The first token in [low, high) whose byte at `depth` is >= c; all of them are longer than
 * depth.
 */
static size_t lower_bound(const struct ucb_added *a, size_t low, size_t high, size_t depth,
                          int c)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)a->tokens[middle].text[depth] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that `text` begins with, as its index, or SIZE_MAX. */
static size_t longest_here(const struct ucb_added *a, const char *text, size_t n_bytes)
{
    size_t low = 0, high = a->n, best = SIZE_MAX;
    for (size_t depth = 0; depth < n_bytes && low < high; depth++) {
        int c = (unsigned char)text[depth];
        low = lower_bound(a, low, high, depth, c);
        high = lower_bound(a, low, high, depth, c + 1);
        if (low < high && a->tokens[low].n_bytes == depth + 1) best = low++;
    }
    return best;
}

bool ucb_added_next(const struct ucb_added *a, const char *text, size_t n_bytes,
                    size_t from, size_t *begin, size_t *end, uint32_t *id)
{
    if (a->n == 0) return false;
    for (size_t at = from; at < n_bytes; at++) {
        if (!a->starts[(unsigned char)text[at]]) continue;
        size_t found = longest_here(a, text + at, n_bytes - at);
        if (found == SIZE_MAX) continue;
        *begin = at;
        *end = at + a->tokens[found].n_bytes;
        *id = a->tokens[found].id;
        return true;
    }
    return false;
}
