/*
 * spelling.c - how vocabulary files spell bytes.
 *
 * Byte-level BPE (GPT-2) writes every byte as one printable character: 0x21-0x7E, 0xA1-0xAC
 * and 0xAE-0xFF as the character of that number, the other 68, in order, as U+0100 to
 * U+0143. So a space is U+0120. SentencePiece writes a space as U+2581 and a lone byte as
 * "<0xNN>".
 */
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_internal.h"

enum { N_SHIFTED = 68, FIRST_SHIFTED = 0x100 };

static bool is_itself(int32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The n-th byte that is not written as itself: 0x00-0x20, 0x7F-0xA0, 0xAD. */
static char shifted_byte(int32_t n)
{
    if (n <= 0x20) return (char)n;
    return (char)(n <= 0x42 ? n - 0x21 + 0x7f : 0xad);
}

static bool alphabet_decode(const char *text, size_t n_chars, char *out, size_t *n_bytes)
{
    size_t at = 0, n = 0;
    while (at < n_chars) {
        utf8proc_int32_t c;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                 (utf8proc_ssize_t)(n_chars - at), &c);
        if (used <= 0) return false;
        at += (size_t)used;
        if (is_itself(c))
            out[n++] = (char)c;
        else if (c >= FIRST_SHIFTED && c < FIRST_SHIFTED + N_SHIFTED)
            out[n++] = shifted_byte(c - FIRST_SHIFTED);
        else
            return false;
    }
    *n_bytes = n;
    return true;
}

static size_t spaces_decode(const char *text, size_t n_chars, char *out)
{
    static const char mark[3] = "\xe2\x96\x81";
    size_t n = 0;
    for (size_t at = 0; at < n_chars;) {
        bool space = n_chars - at >= sizeof(mark) &&
                     memcmp(text + at, mark, sizeof(mark)) == 0;
        out[n++] = space ? ' ' : text[at];
        at += space ? sizeof(mark) : 1;
    }
    return n;
}

bool ucb_spelling_decode(enum ucb_spelling spelling, const char *text, size_t n_chars,
                         char *out, size_t *n_bytes)
{
    if (spelling == UCB_SPELL_ALPHABET) return alphabet_decode(text, n_chars, out, n_bytes);
    *n_bytes = spaces_decode(text, n_chars, out);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int ucb_byte_token(const char *text, size_t n_chars)
{
    if (n_chars != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}
