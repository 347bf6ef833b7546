/* ini.c - see ini.h. */
#include "core/ini.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum { MAX_KEYS = 16, MAX_SECTIONS = 4, MAX_NAME = 32, MAX_VALUE = 512 };

/* text[0..n), not zero-terminated. */
struct part {
    const char *text;
    size_t n;
};

static struct part trimmed(const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)text[n - 1])) n--;
    while (n > 0 && isspace((unsigned char)*text)) text++, n--;
    return (struct part){text, n};
}

/* What is read into: no section before the first [section] line. */
struct reader {
    const struct ucb_ini_section *sections, *section;
    size_t n_sections;
    void *target;
};

static ucb_status unknown_section(const struct reader *r, struct part line,
                                  struct ucb_err *err)
{
    char known[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < r->n_sections && used < sizeof(known); i++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s[%s]",
                                 i > 0 ? " or " : "", r->sections[i].name);
    return UCB_FAIL(err, UCB_CORRUPT, "section %.*s, expected %s", (int)line.n, line.text,
                    known);
}

static const struct ucb_ini_section *find_section(const struct reader *r, struct part line)
{
    for (size_t i = 0; i < r->n_sections; i++) {
        const char *name = r->sections[i].name;
        size_t n = strlen(name);
        if (line.n == n + 2 && memcmp(line.text + 1, name, n) == 0 &&
            line.text[n + 1] == ']')
            return &r->sections[i];
    }
    return NULL;
}

static ucb_status unknown_key(const struct ucb_ini_section *s, const char *name,
                              struct ucb_err *err)
{
    const char *names[MAX_KEYS];
    char near[256];
    for (size_t i = 0; i < s->n_keys; i++) names[i] = s->keys[i].name;
    ucb_text_near(name, names, s->n_keys, near, sizeof(near));
    return UCB_FAIL(err, UCB_CORRUPT, "[%s] has no key `%s`; %s", s->name, name, near);
}

static ucb_status set_value(const struct reader *r, const char *name, const char *value,
                            struct ucb_err *err)
{
    const struct ucb_ini_section *s = r->section;
    const struct ucb_ini_key *key = NULL;
    for (size_t i = 0; i < s->n_keys; i++)
        if (strcmp(s->keys[i].name, name) == 0) key = &s->keys[i];
    if (key == NULL) return unknown_key(s, name, err);
    char *field = (char *)r->target + key->offset;
    if (key->size == 0) {
        uint64_t number;
        if (!ucb_parse_u64(value, &number))
            return UCB_FAIL(err, UCB_CORRUPT, "%s = %s, expected a whole number", name,
                            value);
        memcpy(field, &number, sizeof(number));
        return UCB_OK;
    }
    if (field[0] != '\0')
        return UCB_FAIL(err, UCB_CORRUPT, "`%s` is given twice in one [%s]", name, s->name);
    if (strlen(value) >= key->size)
        return UCB_FAIL(err, UCB_CORRUPT, "%s has %zu bytes, at most %zu fit", name,
                        strlen(value), key->size - 1);
    strcpy(field, value);
    return UCB_OK;
}

/* `line` is trimmed, not empty, no comment, no section. */
static ucb_status read_pair(const struct reader *r, struct part line, struct ucb_err *err)
{
    char name[MAX_NAME], value[MAX_VALUE];
    const char *equals = memchr(line.text, '=', line.n);
    if (equals == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "`%.*s` is no `key = value`", (int)line.n,
                        line.text);
    if (r->section == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "a key stands before the first [section]");
    struct part left = trimmed(line.text, (size_t)(equals - line.text));
    struct part right = trimmed(equals + 1, (size_t)(line.text + line.n - equals - 1));
    if (left.n >= sizeof(name) || right.n >= sizeof(value))
        return UCB_FAIL(err, UCB_CORRUPT, "a key has at most %zu bytes, a value %zu",
                        sizeof(name) - 1, sizeof(value) - 1);
    snprintf(name, sizeof(name), "%.*s", (int)left.n, left.text);
    snprintf(value, sizeof(value), "%.*s", (int)right.n, right.text);
    return set_value(r, name, value, err);
}

ucb_status ucb_ini_read(const char *text, size_t n_bytes,
                        const struct ucb_ini_section *sections, size_t n_sections,
                        ucb_ini_open *open, void *context, struct ucb_err *err)
{
    struct reader r = {.sections = sections, .n_sections = n_sections};
    const char *end = text + n_bytes;
    assert(n_sections <= MAX_SECTIONS);
    for (size_t i = 0; i < n_sections; i++) assert(sections[i].n_keys <= MAX_KEYS);
    for (size_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        struct part line = trimmed(text, (size_t)((stop != NULL ? stop : end) - text));
        ucb_status status = UCB_OK;
        text = stop != NULL ? stop + 1 : end;
        if (line.n == 0 || line.text[0] == ';' || line.text[0] == '#') continue;
        if (line.text[0] != '[') {
            status = read_pair(&r, line, err);
        } else {
            r.section = find_section(&r, line);
            status = r.section == NULL ? unknown_section(&r, line, err)
                                       : open(context, r.section, &r.target, err);
        }
        if (status == UCB_OK) continue;
        ucb_err_prefix(err, "line %zu", number);
        return status;
    }
    return UCB_OK;
}

ucb_status ucb_ini_require(const struct ucb_ini_section *section, const void *target,
                           struct ucb_err *err)
{
    for (size_t i = 0; i < section->n_keys; i++)
        if (section->keys[i].required &&
            ((const char *)target)[section->keys[i].offset] == '\0')
            return UCB_FAIL(err, UCB_CORRUPT, "[%s] lacks `%s = ...`", section->name,
                            section->keys[i].name);
    return UCB_OK;
}
