/*
 * ini.h - small configuration files: [section] lines and `key = value` lines, read into
 * structs by a table of keys. A comment is a line that begins with ; or #.
 */
#ifndef UCB_CORE_INI_H
#define UCB_CORE_INI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct ucb_ini_key {
    const char *name;
    size_t offset, size; /* of the field: a char array of `size`; size 0: a uint64_t */
    bool required;
};
/* The field of struct `type` whose name is the key's. */
#define UCB_INI_TEXT(type, field, required)                                               \
    {                                                                                     \
#field, offsetof(struct type, field), sizeof(((struct type *)0)->field), required \
    }
#define UCB_INI_NUMBER(type, field)                    \
    {                                                  \
#field, offsetof(struct type, field), 0, false \
    }

struct ucb_ini_section {
    const char *name;
    const struct ucb_ini_key *keys;
    size_t n_keys;
};

/* Answers a [section] line: sets *target to the zeroed struct that its keys fill, or says
 * why there is no room for another one. */
typedef ucb_status ucb_ini_open(void *context, const struct ucb_ini_section *section,
                                void **target, struct ucb_err *err);

/*
 * Reads text[0..n_bytes). CORRUPT, with "line N: " in front: an unknown section or key
 * (with near matches), a line that is neither, a key before the first section or given
 * twice in one struct, a value that does not fit its field; and whatever `open` answers.
 */
ucb_status ucb_ini_read(const char *text, size_t n_bytes,
                        const struct ucb_ini_section *sections, size_t n_sections,
                        ucb_ini_open *open, void *context, struct ucb_err *err);

/* CORRUPT: a required text of `target` is empty; names section and key. */
ucb_status ucb_ini_require(const struct ucb_ini_section *section, const void *target,
                           struct ucb_err *err);

#endif
