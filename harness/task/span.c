/* span.c - see span.h. */
#include "task/span.h"

#include <string.h>

/* U+2000-200A, U+2028, U+2029, U+202F (E2 80 xx) and U+205F (E2 81 9F). */
static bool is_general_punctuation_space(unsigned char second, unsigned char third)
{
    if (second == 0x81) return third == 0x9f;
    return second == 0x80 && ((third >= 0x80 && third <= 0x8a) || third == 0xa8 ||
                              third == 0xa9 || third == 0xaf);
}

size_t ucb_space_at(const char *p, const char *end)
{
    const unsigned char *c = (const unsigned char *)p;
    size_t n = (size_t)(end - p);
    if (n == 0) return 0;
    if ((c[0] >= 0x09 && c[0] <= 0x0d) || (c[0] >= 0x1c && c[0] <= 0x20)) return 1;
    if (n >= 2 && c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0)) return 2;
    if (n < 3) return 0;
    if (c[0] == 0xe1 && c[1] == 0x9a && c[2] == 0x80) return 3;
    if (c[0] == 0xe2 && is_general_punctuation_space(c[1], c[2])) return 3;
    return c[0] == 0xe3 && c[1] == 0x80 && c[2] == 0x80 ? 3 : 0;
}

size_t ucb_space_before(const char *begin, const char *p)
{
    /* No white-space character is the tail of a longer one: all of them begin with a byte
     * that is no continuation. */
    for (size_t n = 1; n <= 3 && n <= (size_t)(p - begin); n++)
        if (ucb_space_at(p - n, p) == n) return n;
    return 0;
}

struct ucb_span ucb_span_trim_end(struct ucb_span text)
{
    for (size_t n; (n = ucb_space_before(text.at, text.at + text.n)) > 0;) text.n -= n;
    return text;
}

struct ucb_span ucb_span_trim(struct ucb_span text)
{
    text = ucb_span_trim_end(text);
    for (size_t n; (n = ucb_space_at(text.at, text.at + text.n)) > 0;) {
        text.at += n;
        text.n -= n;
    }
    return text;
}

size_t ucb_span_space_runs(struct ucb_span text)
{
    const char *end = text.at + text.n;
    size_t n_runs = 0;
    bool inside = false;
    for (const char *p = text.at; p < end;) {
        size_t n = ucb_space_at(p, end);
        if (n > 0 && !inside) n_runs++;
        inside = n > 0;
        p += inside ? n : 1;
    }
    return n_runs;
}

bool ucb_span_begins(struct ucb_span text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n >= n && memcmp(text.at, prefix, n) == 0;
}

bool ucb_span_ends(struct ucb_span text, const char *suffix)
{
    size_t n = strlen(suffix);
    return text.n >= n && memcmp(text.at + text.n - n, suffix, n) == 0;
}

bool ucb_span_is(struct ucb_span text, const char *word)
{
    return text.n == strlen(word) && ucb_span_begins(text, word);
}

bool ucb_span_next_line(struct ucb_span *rest, struct ucb_span *line)
{
    if (rest->n == 0) return false;
    const char *end = rest->at + rest->n, *feed = memchr(rest->at, '\n', rest->n);
    *line = ucb_span_between(rest->at, feed != NULL ? feed : end);
    *rest = ucb_span_between(feed != NULL ? feed + 1 : end, end);
    return true;
}
