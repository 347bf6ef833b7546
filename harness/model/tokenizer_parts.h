/*
 * tokenizer_parts.h - the components of a tokenizer.json before its model, and the fields
 * of any component. Part of the reader of tokenizer.json (tokenizer_json.c).
 */
#ifndef UCB_MODEL_TOKENIZER_PARTS_H
#define UCB_MODEL_TOKENIZER_PARTS_H

#include "core/json.h"
#include "model/tokenizer_internal.h"

const char *ucb_field_kind(const json_t *value); /* "an object", ..., "absent" */
/* CORRUPT: the field's name, what it is, what it must be. */
ucb_status ucb_field_wrong(const char *field, const json_t *found, const char *expected,
                           struct ucb_err *err);
/* The name in "type" of a component; "" where there is none. */
const char *ucb_field_type(const json_t *component);
bool ucb_field_absent(const json_t *value); /* or null */
/* Whether a field is that string. */
bool ucb_field_is(const json_t *object, const char *key, const char *expected);
/* A boolean field that may be absent. CORRUPT. */
ucb_status ucb_field_bool(const json_t *object, const char *key, bool absent, bool *out,
                          struct ucb_err *err);
/* UNSUPPORTED: a component of a type that would change the ids,
 * and the known ones near it. */
ucb_status ucb_field_unknown(const char *field, const json_t *component,
                             const char *const *known, size_t n_known, struct ucb_err *err);

/* Sets the tokenizer's normalizer, pretokenizer and spelling. UNSUPPORTED, by name, for
 * whatever else would change the ids; CORRUPT. */
ucb_status ucb_tokenizer_read_parts(struct ucb_tokenizer *t, const json_t *root,
                                    struct ucb_err *err);

#endif
