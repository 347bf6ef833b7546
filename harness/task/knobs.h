/*
 * knobs.h - the values of a spec, "ctx=512,half=1", read and written by a table of knobs:
 * for tasks, and for what else is written like one. Strict: what is not understood is
 * refused with its near matches, so a typo never runs with a default.
 */
#ifndef UCB_TASK_KNOBS_H
#define UCB_TASK_KNOBS_H

#include "task/task.h"

/*
 * `pairs` is NULL or "key=value,key=value", and is cut up. number[i] gets the value of
 * knobs[i], given or default. USAGE for an unknown key or value (near matches are named;
 * `owner` is what the knobs belong to), a repeated key, or a number out of range.
 */
ucb_status ucb_knobs_parse(const char *owner, const struct ucb_task_knob *knobs,
                           char *pairs, int64_t *number, struct ucb_err *err);
/* ":key=value,key=value" of the first n_shown knobs and of those that are not at their
 * default, in the table's order; "" where there is none. It must fit. */
void ucb_knobs_write(const struct ucb_task_knob *knobs, uint32_t n_shown,
                     const int64_t *number, char *out, size_t size);

#endif
