/*
 * vocab.c - the bytes of every id in one pool, and an open-addressing index from bytes to
 * id.
 *
 * The index is at most half full, so a search for an absent text ends after two probes on
 * average.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "model/tokenizer_internal.h"

uint64_t ucb_text_hash(const char *text, size_t n_bytes)
{
    /*
     * FNV-1a; its low bits alone are weak for short texts, so the high ones are folded in.
     */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n_bytes; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

struct ucb_shown ucb_show(const char *text, size_t n_bytes)
{
    enum { MAX_BYTES = 40 };
    struct ucb_shown shown = {""};
    size_t at = 0;
    for (size_t i = 0; i < n_bytes && i < MAX_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c >= ' ' && c < 0x7f && c != '\\';
        at += (size_t)snprintf(shown.text + at, sizeof(shown.text) - at,
                               plain ? "%c" : "\\x%02x", c);
    }
    if (n_bytes > MAX_BYTES) snprintf(shown.text + at, sizeof(shown.text) - at, "...");
    return shown;
}

ucb_status ucb_vocab_reserve(struct ucb_vocab *v, uint32_t n_ids, size_t n_bytes,
                             struct ucb_arena *memory, struct ucb_err *err)
{
    size_t n_slots = 16;
    while (n_slots < (size_t)n_ids * 2) n_slots *= 2;
    v->n_ids = n_ids;
    v->tokens = UCB_NEW(memory, struct ucb_token, n_ids);
    v->pool = ucb_arena_alloc(memory, n_bytes);
    v->pool_bytes = n_bytes;
    v->slots = UCB_NEW(memory, uint32_t, n_slots);
    v->n_slots = n_slots;
    if (v->tokens == NULL || v->pool == NULL || v->slots == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a vocabulary of %u ids",
                        (unsigned)n_ids);
    memset(v->slots, 0xff, n_slots * sizeof(*v->slots)); /* all UCB_NO_ID */
    return UCB_OK;
}

/*
 * Writes the bytes of a token to `out`, which holds n_chars, and says of what kind it then
 * is.
 */
static ucb_status decode(const struct ucb_vocab *v, const char *text, size_t n_chars,
                         char *out, size_t *n_bytes, enum ucb_token_kind *kind,
                         struct ucb_err *err)
{
    bool plain = *kind == UCB_TOKEN_CONTROL || *kind == UCB_TOKEN_USER ||
                 *kind == UCB_TOKEN_UNKNOWN;
    if (*kind == UCB_TOKEN_BYTE) {
        int byte = ucb_byte_token(text, n_chars);
        if (byte < 0)
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "`%s` is marked as a byte token, which is spelled <0x00> to <0xFF>",
                ucb_show(text, n_chars).text);
        out[0] = (char)byte;
        *n_bytes = 1;
    } else if (plain || !ucb_spelling_decode(v->spelling, text, n_chars, out, n_bytes)) {
        if (!plain) *kind = UCB_TOKEN_UNUSED;
        if (n_chars > 0) memcpy(out, text, n_chars);
        *n_bytes = n_chars;
    }
    return UCB_OK;
}

ucb_status ucb_vocab_put(struct ucb_vocab *v, uint32_t id, const char *text, size_t n_chars,
                         enum ucb_token_kind kind, struct ucb_err *err)
{
    assert(id < v->n_ids);
    assert(n_chars <= v->pool_bytes - v->pool_used);
    struct ucb_token *token = &v->tokens[id];
    char *bytes = v->pool + v->pool_used;
    size_t n_bytes;
    if (token->kind != UCB_TOKEN_ABSENT)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "id %u belongs to `%s` and to `%s`; every id needs one token",
                        (unsigned)id, ucb_show(token->text, token->n_bytes).text,
                        ucb_show(text, n_chars).text);
    UCB_TRY(decode(v, text, n_chars, bytes, &n_bytes, &kind, err));
    v->pool_used += n_bytes;
    *token = (struct ucb_token){bytes, (uint32_t)n_bytes, kind};
    return UCB_OK;
}

/* The slot that holds the text, or the free one where it would go. */
static uint32_t *find_slot(const struct ucb_vocab *v, const char *text, size_t n_bytes)
{
    size_t mask = v->n_slots - 1;
    for (size_t at = ucb_text_hash(text, n_bytes) & mask;; at = (at + 1) & mask) {
        uint32_t id = v->slots[at];
        if (id == UCB_NO_ID) return &v->slots[at];
        if (v->tokens[id].n_bytes == n_bytes &&
            memcmp(v->tokens[id].text, text, n_bytes) == 0)
            return &v->slots[at];
    }
}

uint32_t ucb_vocab_index(struct ucb_vocab *v, uint32_t id)
{
    uint32_t *slot = find_slot(v, v->tokens[id].text, v->tokens[id].n_bytes);
    if (*slot != UCB_NO_ID) return *slot;
    *slot = id;
    return UCB_NO_ID;
}

uint32_t ucb_vocab_find(const struct ucb_vocab *v, const char *text, size_t n_bytes)
{
    return *find_slot(v, text, n_bytes);
}
