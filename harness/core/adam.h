/*
 * adam.h - Adam (Kingma and Ba, 2015) over a list of float arrays, by the formula of
 * PyTorch's Adam and AdamW, with gradients clipped by their common norm.
 *
 * Deterministic: elements do not depend on each other, and the norm is summed in one order.
 */
#ifndef UCB_CORE_ADAM_H
#define UCB_CORE_ADAM_H

#include <stddef.h>
#include <stdint.h>

#include "core/pool.h"

/* One array of n parameters, its gradient, and its moments, which begin as zeros. All
 * memory is the caller's; the four do not overlap. */
struct ucb_adam_array {
    float *value, *first, *second;
    const float *gradient;
    size_t n;
};

struct ucb_adam {
    double beta1, beta2, epsilon;
    double weight_decay; /* decoupled: value *= 1 - rate * weight_decay; 0: none */
    double clip;         /* most that the norm of all gradients may be; 0: no limit */
};
static const struct ucb_adam ucb_adam_defaults = {0.9, 0.999, 1e-8, 0, 0};

/*
 * Step number `step`, from 1. With g the gradient times min(1, clip / (norm + 1e-6)):
 *
 *     m += (1 - beta1) (g - m),  v = beta2 v + (1 - beta2) g^2
 *     value -= rate / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + epsilon)
 *
 * Returns the norm before clipping. Where it is not finite nothing is changed. The pool may
 * be NULL.
 */
double ucb_adam_step(const struct ucb_adam *adam, uint64_t step, double rate,
                     const struct ucb_adam_array *arrays, size_t n_arrays,
                     struct ucb_pool *pool);

/* peak (1 + cos(pi step / n_steps)) / 2: the rate of step 0, 1, ..., which falls to 0 at
 * n_steps (PyTorch's CosineAnnealingLR). */
double ucb_cosine(uint64_t step, uint64_t n_steps, double peak);

#endif
