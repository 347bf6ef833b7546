/* text.c - see text.h. */
#include "core/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool grow(struct ucb_text *text, size_t more)
{
    if (text->failed) return false;
    size_t need = text->n_chars + more + 1;
    if (need <= text->capacity) return true;
    size_t capacity = need < 128 ? 128 : need * 2;
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void ucb_text_add_chars(struct ucb_text *text, const char *chars, size_t n_chars)
{
    if (!grow(text, n_chars)) return;
    memcpy(text->data + text->n_chars, chars, n_chars);
    text->n_chars += n_chars;
    text->data[text->n_chars] = '\0';
}

void ucb_text_add_utf8(struct ucb_text *text, const char *bytes, size_t n_bytes)
{
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)bytes;
    utf8proc_ssize_t n = (utf8proc_ssize_t)n_bytes, at = 0;
    while (at < n) {
        utf8proc_int32_t code;
        utf8proc_ssize_t used = utf8proc_iterate(from + at, n - at, &code);
        if (used <= 0 || code == 0)
            ucb_text_add_chars(text, "\xef\xbf\xbd", 3); /* U+FFFD */
        else
            ucb_text_add_chars(text, bytes + at, (size_t)used);
        at += used <= 0 ? 1 : used;
    }
}

void ucb_text_add(struct ucb_text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0 && grow(text, (size_t)n)) {
        vsnprintf(text->data + text->n_chars, (size_t)n + 1, format, again);
        text->n_chars += (size_t)n;
    }
    va_end(again);
}

const char *ucb_text_get(const struct ucb_text *text)
{
    return text->data == NULL ? "" : text->data;
}

void ucb_text_free(struct ucb_text *text)
{
    free(text->data);
    *text = (struct ucb_text){0};
}

bool ucb_parse_u64(const char *text, uint64_t *value)
{
    if (*text < '0' || *text > '9') return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') return false;
    *value = v;
    return true;
}

bool ucb_parse_i64(const char *text, int64_t *value)
{
    const char *digits = *text == '-' ? text + 1 : text;
    if (*digits < '0' || *digits > '9') return false;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') return false;
    *value = v;
    return true;
}

bool ucb_parse_f64(const char *text, double *value)
{
    const char *p = *text == '-' ? text + 1 : text;
    if ((*p < '0' || *p > '9') && *p != '.') return false;
    char *end;
    double v = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(v) || strpbrk(text, "xX") != NULL)
        return false;
    *value = v;
    return true;
}

bool ucb_parse_bytes(const char *text, uint64_t *value)
{
    char digits[24];
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof(digits)) return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    uint64_t v;
    if (!ucb_parse_u64(digits, &v)) return false;
    const char *suffix = text + n, *units = "KMGT",
               *unit = *suffix == '\0' ? NULL : strchr(units, *suffix);
    if (unit != NULL) {
        for (long i = 0; i <= unit - units; i++)
            if (__builtin_mul_overflow(v, (uint64_t)1024, &v)) return false;
        suffix++;
        if (strcmp(suffix, "iB") == 0) suffix += 2;
    }
    if (strcmp(suffix, "B") == 0) suffix++;
    if (*suffix != '\0') return false;
    *value = v;
    return true;
}

/* Levenshtein distance, with a shared prefix of the shorter word counted as near. */
static size_t distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t row[MAX + 1], n = strlen(a), m = strlen(b);
    if (n > MAX || m > MAX) return MAX;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    size_t shorter = n < m ? n : m;
    if (shorter >= 2 && strncmp(a, b, shorter) == 0 && row[m] > 1) return 1;
    return row[m];
}

void ucb_text_near(const char *word, const char *const *names, size_t n_names, char *out,
                   size_t out_size)
{
    size_t limit = strlen(word) / 3 + 1, used = 0, found = 0;
    out[0] = '\0';
    for (size_t d = 0; d <= limit && found < 3; d++)
        for (size_t i = 0; i < n_names && found < 3; i++) {
            if (distance(word, names[i]) != d) continue;
            int n = snprintf(out + used, out_size - used, "%s`%s`",
                             found == 0 ? "did you mean " : ", ", names[i]);
            if (n < 0 || used + (size_t)n >= out_size) return;
            used += (size_t)n;
            found++;
        }
    if (found > 0) {
        snprintf(out + used, out_size - used, "?");
        return;
    }
    for (size_t i = 0; i < n_names; i++) {
        int n = snprintf(out + used, out_size - used, "%s%s", i == 0 ? "known: " : ", ",
                         names[i]);
        if (n < 0 || used + (size_t)n + 4 >= out_size) {
            snprintf(out + used, out_size - used, " ...");
            return;
        }
        used += (size_t)n;
    }
}
