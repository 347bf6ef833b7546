/*
 * routing.h - which experts a row is sent to, with which weights, and the reverse.
 */
#ifndef UCB_MODEL_ROUTING_H
#define UCB_MODEL_ROUTING_H

#include "model/model.h"

/* From a router's logits scores[n]: experts[used] and weights[used]. */
void ucb_route(const struct ucb_experts *x, const float *scores, uint32_t *experts,
               float *weights);
/*
 * dscores[n] from dweights[used]. The choice is a constant, and of the sparse mixer also
 * which experts count as near; limits by groups take probabilities away before the choice
 * and change no gradient.
 */
void ucb_route_gradient(const struct ucb_experts *x, const float *scores,
                        const float *dweights, float *dscores);

#endif
