/*
 * json.h - reading JSON files through jansson, with errors that name file, line and column;
 * writing documents whole or not at all.
 *
 * Duplicate keys, invalid UTF-8 and trailing text are refused. Values are borrowed from the
 * root: release the root with json_decref.
 */
#ifndef UCB_CORE_JSON_H
#define UCB_CORE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/text.h"

/* Parses n_bytes of text; `name` stands in errors. CORRUPT names line and column. */
ucb_status ucb_json_parse(const char *name, const char *text, size_t n_bytes, json_t **out,
                          struct ucb_err *err);
ucb_status ucb_json_load(const char *path, json_t **out, struct ucb_err *err);

/* A path, a name or a message as a string to write: what is not UTF-8, which JSON cannot
 * hold, becomes U+FFFD. NULL where memory ran out. */
json_t *ucb_json_text(const char *bytes);

/*
 * Without memory for an entry jansson leaves it out of its list or object, and what is left
 * looks whole. Called once, before any JSON is made, this has such losses remembered until
 * the next document is written.
 */
void ucb_json_watch_memory(void);
/* Whether a value was lost since it was last asked. */
bool ucb_json_lost(void);
/* Tests: the n-th allocation for JSON from now (1 = the next) fails, 0 = never. */
void ucb_json_fail_after(long n);

/*
 * Writes a document, indented, and a line end, and releases it. `what` stands in the error:
 * NOMEM, with nothing written, where the document is NULL or part of it was lost. That
 * standard output takes no more shows in ferror() there, as for everything printed.
 */
ucb_status ucb_json_print(json_t *document, const char *what, struct ucb_err *err);
/* The same at the end of a text. */
ucb_status ucb_json_add(json_t *document, const char *what, struct ucb_text *out,
                        struct ucb_err *err);

#endif
