/*
 * fuzz_pretok.c - any bytes as a regular expression of a tokenizer.json and a text for it:
 * refused, given up, or pieces in order. A byte for the behavior, the expression, a zero
 * byte, the text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void must(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

struct pieces {
    const char *end;   /* of the last one */
    const char *limit; /* of the text */
    bool all;          /* nothing may be left out */
};

static ucb_status take(void *context, const char *piece, size_t n_bytes,
                       struct ucb_err *err)
{
    struct pieces *p = context;
    (void)err;
    must(n_bytes > 0 && piece >= p->end && n_bytes <= (size_t)(p->limit - piece),
         "pieces lie in the text, in order");
    must(!p->all || piece == p->end, "a piece begins where the one before ends");
    must(((unsigned char)piece[0] & 0xc0) != 0x80, "a piece begins with a character");
    p->end = piece + n_bytes;
    return UCB_OK;
}

static bool is_utf8(const char *text, size_t n_bytes)
{
    utf8proc_int32_t c;
    for (size_t at = 0; at < n_bytes;) {
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              (utf8proc_ssize_t)(n_bytes - at), &c);
        if (n <= 0) return false;
        at += (size_t)n;
    }
    return true;
}

static void cut(const struct ucb_pretok *p, const char *text, size_t n_bytes, bool all)
{
    struct pieces pieces = {text, text + n_bytes, all};
    struct ucb_err err = {.text = ""};
    pcre2_match_data *match = ucb_pretok_match_data();
    must(match != NULL, "there is memory");
    ucb_status status = ucb_pretok_split(p, match, text, n_bytes, take, &pieces, &err);
    must(status == UCB_OK || (status == UCB_UNSUPPORTED && strstr(err.text, "gave up")),
         "a text is cut, or given up");
    must(status != UCB_OK || !all || pieces.end == pieces.limit, "no byte is lost");
    pcre2_match_data_free(match);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *pattern = (const char *)data + 1;
    const char *zero = n_bytes > 1 ? memchr(pattern, 0, n_bytes - 1) : NULL;
    if (zero == NULL || !is_utf8(pattern, n_bytes - 1)) return 0;
    struct ucb_pretok_rule rule = {.split = data[0] % 5, .invert = data[0] & 8};
    struct ucb_pretok p = {0};
    struct ucb_arena arena;
    struct ucb_err err = {.text = ""};
    ucb_arena_init(&arena);
    ucb_status status = ucb_pretok_add_pattern(&p, pattern, (size_t)(zero - pattern), rule,
                                               &arena, &err);
    must(status == UCB_OK || (status == UCB_UNSUPPORTED && strlen(err.text) > 8),
         "a refusal says why");
    if (status == UCB_OK)
        cut(&p, zero + 1, n_bytes - 2 - (size_t)(zero - pattern),
            rule.split != UCB_SPLIT_REMOVED);
    ucb_pretok_free(&p);
    ucb_arena_free(&arena);
    return 0;
}
