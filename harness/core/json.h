/*
 * json.h - reading JSON files through jansson, with errors that name file, line and column;
 * texts of any bytes for writing them.
 *
 * Duplicate keys, invalid UTF-8 and trailing text are refused. Values are borrowed from the
 * root: release the root with json_decref.
 */
#ifndef UCB_CORE_JSON_H
#define UCB_CORE_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "core/err.h"

/* Parses n_bytes of text; `name` stands in errors. CORRUPT names line and column. */
ucb_status ucb_json_parse(const char *name, const char *text, size_t n_bytes, json_t **out,
                          struct ucb_err *err);
ucb_status ucb_json_load(const char *path, json_t **out, struct ucb_err *err);

/* A path, a name or a message as a string to write: what is not UTF-8, which JSON cannot
 * hold, becomes U+FFFD. NULL where memory ran out. */
json_t *ucb_json_text(const char *bytes);

#endif
