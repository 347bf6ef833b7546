/*
 * detokenize.h - the form of the WikiText raw files: articles under headings, and the
 * spaces of their tokens.
 */
#ifndef UCB_TASK_DETOKENIZE_H
#define UCB_TASK_DETOKENIZE_H

#include <stddef.h>

#include "core/arena.h"
#include "core/err.h"
#include "task/span.h"

/* The line " = Title = " that begins an article; section headings (" = = Title = = ") are
 * not among them. */
struct ucb_heading {
    size_t begin;      /* of its line, in bytes */
    const char *title; /* "Title" */
};
/* All of them, in order; *n is 0 and *out NULL where there is none. From `arena`. */
ucb_status ucb_wiki_headings(struct ucb_span text, struct ucb_arena *arena,
                             struct ucb_heading **out, size_t *n, struct ucb_err *err);

/* Joins what WikiText took apart, in place, by the rules of protocol 4c; returns the new
 * number of bytes. */
size_t ucb_wiki_detokenize(char *text, size_t n_bytes);

#endif
