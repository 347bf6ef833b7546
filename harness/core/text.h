/*
 * text.h - small things about strings: a growing text, strict numbers, near matches for
 * unknown names.
 */
#ifndef UCB_CORE_TEXT_H
#define UCB_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing, zero-terminated text. Zero-initialise; `failed` is set when memory ran out.
 * Release with ucb_text_free. */
struct ucb_text {
    char *data; /* NULL until something was added */
    size_t n_chars, capacity;
    bool failed;
};
void ucb_text_add(struct ucb_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ucb_text_add_chars(struct ucb_text *text, const char *chars, size_t n_chars);
/* Adds bytes as UTF-8 that JSON and CSV readers take: what is not UTF-8, and a zero byte,
 * becomes U+FFFD. */
void ucb_text_add_utf8(struct ucb_text *text, const char *bytes, size_t n_bytes);
const char *ucb_text_get(const struct ucb_text *text); /* "" when empty */
void ucb_text_free(struct ucb_text *text);

/* The whole text is the number: no spaces, signs only where the type has them,
 * no overflow. */
bool ucb_parse_u64(const char *text, uint64_t *value);
bool ucb_parse_i64(const char *text, int64_t *value);
bool ucb_parse_f64(const char *text, double *value); /* finite */
/* A count of bytes: a number, then nothing or K, M, G, T (powers of 1024) with an optional
 * "iB" or "B". */
bool ucb_parse_bytes(const char *text, uint64_t *value);

/*
 * Writes to `out` up to three of `names` that lie nearest to `word`, as "did you mean `a`,
 * `b`?", or, where none is near, "known: a, b, c ..." as far as it fits. For the end of an
 * error message.
 */
void ucb_text_near(const char *word, const char *const *names, size_t n_names, char *out,
                   size_t out_size);

#endif
