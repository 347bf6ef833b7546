/*
 * span.h - stretches of a text that someone else owns: lines, white space, trimming.
 *
 * White space is Unicode's, as evaluation protocol 4c lists it (and Python's str.isspace
 * has it): U+0009-000D, U+001C-0020, U+0085, U+00A0, U+1680, U+2000-200A, U+2028, U+2029,
 * U+202F, U+205F, U+3000. Bytes that are not UTF-8 are no white space.
 */
#ifndef UCB_TASK_SPAN_H
#define UCB_TASK_SPAN_H

#include <stdbool.h>
#include <stddef.h>

struct ucb_span {
    const char *at;
    size_t n;
};
static inline struct ucb_span ucb_span_between(const char *begin, const char *end)
{
    return (struct ucb_span){begin, (size_t)(end - begin)};
}

/* Bytes of the white-space character that begins at `p`, before `end`; 0: there is none. */
size_t ucb_space_at(const char *p, const char *end);
/* Bytes of the white-space character that ends at `p`, after `begin`; 0: there is none. */
size_t ucb_space_before(const char *begin, const char *p);

/* Without the white space at its ends. */
struct ucb_span ucb_span_trim(struct ucb_span text);
/* Without the white space at its end. */
struct ucb_span ucb_span_trim_end(struct ucb_span text);
/* Runs of white space in the text, those at its ends included. */
size_t ucb_span_space_runs(struct ucb_span text);
bool ucb_span_is(struct ucb_span text, const char *word);
bool ucb_span_begins(struct ucb_span text, const char *prefix);
bool ucb_span_ends(struct ucb_span text, const char *suffix);
/*
 * Takes the next line off `rest`: up to a line feed or the end, without the line feed.
 * False when nothing is left, so there is no empty line after a final line feed.
 */
bool ucb_span_next_line(struct ucb_span *rest, struct ucb_span *line);

#endif
