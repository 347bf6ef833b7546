/*
 * states.h - hidden states of all tokens: memory where there is room, a file under the
 * cache folder where there is not.
 */
#ifndef UCB_EVAL_STATES_H
#define UCB_EVAL_STATES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct ucb_states {
    float *x; /* zeroed */
    size_t n_bytes;
    bool spilled;
};
/*
 * n_floats floats; with `spill` they live in an unlinked file in `folder` (made when
 * absent), so the system may write them out. NOMEM, IO (with the folder and the system's
 * reason). Release with ucb_states_free (zeroed is fine).
 */
ucb_status ucb_states_alloc(size_t n_floats, bool spill, const char *folder,
                            struct ucb_states *out, struct ucb_err *err);
void ucb_states_free(struct ucb_states *states);
/* Floats [first, first + n) are not needed soon: where they were spilled, their pages leave
 * this process; the values stay. */
void ucb_states_release(const struct ucb_states *states, size_t first, size_t n);
/* How many rows of `width` floats to work on before they are released: of spilled states
 * some ten megabytes, of others all. */
size_t ucb_states_stretch(const struct ucb_states *states, size_t width);

#endif
