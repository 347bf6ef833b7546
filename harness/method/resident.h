/*
 * resident.h - a matrix that stays as its method wrote it: rows are decoded when they are
 * multiplied, to the bits that ucb_chain_decode() gives.
 *
 * Exact chains restore spans that are not rows (a chunk of a coded stream). A worker keeps
 * the span it decoded last, in a room that all matrices share, so rows asked for in
 * ascending order cost each span once.
 */
#ifndef UCB_METHOD_RESIDENT_H
#define UCB_METHOD_RESIDENT_H

#include "method/chain.h"

/* Working memory of each thread; it grows to what the matrices opened so far need. */
struct ucb_rooms;
ucb_status ucb_rooms_open(unsigned n_workers, struct ucb_rooms **out, struct ucb_err *err);
void ucb_rooms_close(struct ucb_rooms *rooms); /* NULL is fine */

struct ucb_resident;
/* False where the chain multiplies in its own arithmetic, or is the original. */
bool ucb_resident_serves(const struct ucb_chain *chain);
/*
 * Opens a payload that ucb_chain_decode() has accepted: infinities are not looked for
 * again. The object and its states live in context->arena; matrix, payload and rooms are
 * borrowed. No worker may be decoding. CORRUPT, NOMEM.
 */
ucb_status ucb_resident_open(const struct ucb_chain *chain,
                             const struct ucb_chain_context *context,
                             const struct ucb_matrix *matrix, const uint8_t *payload,
                             size_t n_bytes, struct ucb_rooms *rooms,
                             struct ucb_resident **out, struct ucb_err *err);
/* Rows [row, row + n_rows) to w. Several workers at a time, each under its own number;
 * rows up to `end` are likely to be asked for next. CORRUPT. */
ucb_status ucb_resident_rows(struct ucb_resident *resident, unsigned worker, uint32_t row,
                             uint32_t n_rows, uint32_t end, float *w, struct ucb_err *err);
/* Rows that are best left to one worker; 0: any number. */
uint32_t ucb_resident_share_rows(const struct ucb_resident *resident);

#endif
