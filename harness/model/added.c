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
#include <utf8proc.h>

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

void ucb_added_put(struct ucb_added *a, struct ucb_added_token token)
{
    assert(a->n < a->capacity);
    assert(token.n_bytes > 0);
    a->tokens[a->n++] = token;
    a->starts[(unsigned char)token.text[0]] = true;
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

/* The length of the white space (Unicode's White_Space) that a text begins with;
 * 0: none. */
static size_t space_here(const char *text, size_t n_bytes)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                          (utf8proc_ssize_t)n_bytes, &c);
    bool white = (c >= 0x09 && c <= 0x0d) || c == ' ' || c == 0x85 || c == 0xa0 ||
                 c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
                 c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
    return n > 0 && white ? (size_t)n : 0;
}

/* Where the white space before text[at] begins, not before `least`. */
static size_t before_spaces(const char *text, size_t at, size_t least)
{
    while (at > least) {
        size_t c = at - 1;
        while (c > least && ((unsigned char)text[c] & 0xc0) == 0x80) c--;
        if (space_here(text + c, at - c) != at - c) break;
        at = c;
    }
    return at;
}

static size_t behind_spaces(const char *text, size_t at, size_t n_bytes)
{
    for (size_t n = 1; n > 0 && at < n_bytes; at += n)
        n = space_here(text + at, n_bytes - at);
    return at;
}

bool ucb_added_next(const struct ucb_added *a, const char *text, size_t n_bytes,
                    struct ucb_added_match *m)
{
    if (a->n == 0) return false;
    for (size_t at = m->from; at < n_bytes; at++) {
        if (!a->starts[(unsigned char)text[at]]) continue;
        size_t found = longest_here(a, text + at, n_bytes - at);
        if (found == SIZE_MAX) continue;
        const struct ucb_added_token *token = &a->tokens[found];
        m->id = token->id;
        m->begin = token->lstrip && at > m->end ? before_spaces(text, at, m->end) : at;
        m->from = m->end = at + token->n_bytes;
        if (token->rstrip) m->end = behind_spaces(text, m->end, n_bytes);
        return true;
    }
    return false;
}
