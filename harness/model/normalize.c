/*
 * normalize.c - Unicode NFC, and SentencePiece's treatment of spaces.
 *
 * Code points below U+0300 never change under NFC, and most texts have no other: those are
 * passed on as they are. Otherwise: decompose (utf8proc's tables), put the marks of each
 * run in canonical order, compose. The order is made here because utf8proc's own sort is
 * quadratic in the length of a run of marks, and a text may be one such run.
 */
#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_internal.h"

enum { MAX_CLASS = 255, FIRST_CHANGING_BYTE = 0xcc }; /* U+0300 is CC 80 in UTF-8 */

static bool surely_nfc(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)text[i] >= FIRST_CHANGING_BYTE) return false;
    return true;
}

static const utf8proc_option_t options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;

/* Canonical decomposition of all; out == NULL only counts. */
static size_t decompose(const char *text, size_t n_bytes, utf8proc_int32_t *out,
                        size_t capacity)
{
    size_t n = 0;
    for (size_t at = 0; at < n_bytes;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                       (utf8proc_ssize_t)(n_bytes - at), &c);
        n += (size_t)utf8proc_decompose_char(c, out == NULL ? NULL : out + n,
                                             (utf8proc_ssize_t)(capacity - n), options,
                                             NULL);
    }
    return n;
}

/*
 * A stable counting sort of one run of marks (combining class > 0) by class. `spare` holds
 * n.
 */
static void order_run(utf8proc_int32_t *run, size_t n, utf8proc_int32_t *spare)
{
    size_t begin[MAX_CLASS + 2] = {0};
    for (size_t i = 0; i < n; i++)
        begin[utf8proc_get_property(run[i])->combining_class + 1]++;
    for (size_t k = 1; k <= MAX_CLASS; k++) begin[k] += begin[k - 1];
    memcpy(spare, run, n * sizeof(*run));
    for (size_t i = 0; i < n; i++)
        run[begin[utf8proc_get_property(spare[i])->combining_class]++] = spare[i];
}

static void order_marks(utf8proc_int32_t *points, size_t n, utf8proc_int32_t *spare)
{
    for (size_t at = 0; at < n;) {
        size_t end = at;
        while (end < n && utf8proc_get_property(points[end])->combining_class > 0) end++;
        if (end - at > 1) order_run(points + at, end - at, spare);
        at = end + 1;
    }
}

static size_t encode(const utf8proc_int32_t *points, size_t n, char *out)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += (size_t)utf8proc_encode_char(points[i],
                                                (utf8proc_uint8_t *)out + n_bytes);
    return n_bytes;
}

static ucb_status compose(const char *text, size_t n_bytes, struct ucb_arena *scratch,
                          const char **out, size_t *n_out, struct ucb_err *err)
{
    size_t n = decompose(text, n_bytes, NULL, 0);
    utf8proc_int32_t *points = UCB_NEW(scratch, utf8proc_int32_t, n);
    utf8proc_int32_t *spare = UCB_NEW(scratch, utf8proc_int32_t, n);
    char *bytes = UCB_NEW(
        scratch, char,
        n * 4); /* n points were allocated above, so n * 4 does not overflow */
    if (points == NULL || spare == NULL || bytes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to normalize a text of %zu bytes",
                        n_bytes);
    decompose(text, n_bytes, points, n);
    order_marks(points, n, spare);
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)n,
                                                         options);
    assert(composed >= 0); /* fails only for options that are not set here */
    *n_out = encode(points, (size_t)composed, bytes);
    *out = bytes;
    return UCB_OK;
}

static ucb_status space(bool prefix, const char *text, size_t n_bytes,
                        struct ucb_arena *scratch, const char **out, size_t *n_out,
                        struct ucb_err *err)
{
    char *bytes = ucb_arena_alloc(scratch, n_bytes + 1);
    if (bytes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to normalize a text of %zu bytes",
                        n_bytes);
    if (prefix) bytes[0] = ' ';
    ucb_spelling_decode(UCB_SPELL_SPACES, text, n_bytes, bytes + prefix, n_out);
    *n_out += prefix;
    *out = bytes;
    return UCB_OK;
}

ucb_status ucb_normalize(const struct ucb_normalizer *n, const char *text, size_t n_bytes,
                         struct ucb_arena *scratch, const char **out, size_t *n_out,
                         struct ucb_err *err)
{
    *out = text;
    *n_out = n_bytes;
    if (n_bytes == 0) return UCB_OK;
    if (n->nfc && !surely_nfc(text, n_bytes))
        UCB_TRY(compose(text, n_bytes, scratch, out, n_out, err));
    if (n->spaces && !n->metaspace)
        UCB_TRY(space(n->prefix, *out, *n_out, scratch, out, n_out, err));
    return UCB_OK;
}

ucb_status ucb_metaspace(const struct ucb_normalizer *n, const char *text, size_t n_bytes,
                         bool begins, struct ucb_arena *scratch, const char **out,
                         size_t *n_out, struct ucb_err *err)
{
    static const char mark[] = "\xe2\x96\x81";
    *out = text;
    *n_out = n_bytes;
    if (n_bytes == 0 || !n->metaspace) return UCB_OK;
    bool spaced = text[0] == ' ' || (n_bytes >= 3 && memcmp(text, mark, 3) == 0);
    return space(n->prefix && !spaced && (begins || !n->first), text, n_bytes, scratch, out,
                 n_out, err);
}
