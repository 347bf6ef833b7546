/*
 * score.h - from scored positions to samples: the sums of one item, in position order.
 */
#ifndef UCB_EVAL_SCORE_H
#define UCB_EVAL_SCORE_H

#include "backend/backend.h"
#include "core/arena.h"
#include "task/task.h"

/*
 * Sums n positions (n > 0) of one item against the reference's at the same places;
 * target[i] is the id that position i predicts. out->kld comes from `arena`. CORRUPT when a
 * value is not finite (the model's numbers broke down), NOMEM.
 */
ucb_status ucb_score_item(const struct ucb_position *positions,
                          const struct ucb_position *reference, const uint32_t *target,
                          uint32_t n, struct ucb_arena *arena, struct ucb_sample *out,
                          struct ucb_err *err);
/* The item's sum of log-probabilities in half precision, nearest even (struct ucb_items,
 * rounds_nll). CORRUPT when no half is as large. */
ucb_status ucb_score_round_nll(struct ucb_sample *sample, struct ucb_err *err);

#endif
