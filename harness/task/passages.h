/*
 * passages.h - the "text" fields of a file with one JSON object a line.
 */
#ifndef UCB_TASK_PASSAGES_H
#define UCB_TASK_PASSAGES_H

#include "core/arena.h"
#include "core/err.h"
#include "task/span.h"

struct ucb_passage {
    struct ucb_span text;
    const char *name; /* "line 12" */
};

/*
 * Reads the first `limit` lines (0: all) of n_bytes at `text`; passages and their texts
 * come from `arena`. CORRUPT, naming `file` and line: a line that is no JSON object or has
 * no string "text"; no line at all. Other keys are ignored.
 */
ucb_status ucb_passages_read(const char *file, const char *text, size_t n_bytes,
                             size_t limit, struct ucb_arena *arena,
                             struct ucb_passage **out, size_t *n, struct ucb_err *err);

#endif
