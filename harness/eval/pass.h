/*
 * pass.h - a step of a model over hidden states: where they were spilled to a file, stretch
 * by stretch of windows, released behind, so that a pass never holds them all. The results
 * do not depend on it.
 */
#ifndef UCB_EVAL_PASS_H
#define UCB_EVAL_PASS_H

#include "eval/loader.h"
#include "eval/states.h"

/* Rows of windows: window w owns rows [start[w], start[w + 1]) of the states. */
struct ucb_pass {
    size_t n_windows;
    const size_t *start; /* [n_windows + 1], start[0] = 0 */
    uint32_t hidden;
    const struct ucb_states *x;
};
/* As ucb_loader_embed, ucb_forward_layer_tapped and ucb_forward_peek. */
ucb_status ucb_pass_embed(const struct ucb_pass *pass, struct ucb_loader *loader,
                          const struct ucb_chain *chain, struct ucb_tally *tally,
                          const uint32_t *ids, struct ucb_err *err);
ucb_status ucb_pass_layer(const struct ucb_pass *pass, struct ucb_forward *forward,
                          const struct ucb_layer *layer, const struct ucb_tap *tap,
                          struct ucb_err *err);
ucb_status ucb_pass_peek(const struct ucb_pass *pass, struct ucb_forward *forward,
                         const struct ucb_layer *layer, enum ucb_input input,
                         const struct ucb_tap *tap, struct ucb_err *err);

#endif
