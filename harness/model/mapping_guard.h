/*
 * mapping_guard.h - a mapped file that is cut short by another program must not end this
 * one.
 *
 * Touching a page past the new end raises SIGBUS. While a mapping is registered here, such
 * a page becomes zeros and the mapping is marked; readers ask afterwards and report what
 * happened. Any thread; the handler is installed with the first mapping and passes on what
 * is not about a registered one.
 */
#ifndef UCB_MODEL_MAPPING_GUARD_H
#define UCB_MODEL_MAPPING_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Returns a handle for the two functions below. Beyond some hundred mappings further ones
 * stay unguarded. */
size_t ucb_guard_add(const void *data, size_t n_bytes);
void ucb_guard_remove(size_t guard);
/* True when a page of the mapping could not be read since it was added. */
bool ucb_guard_tripped(size_t guard);

#endif
