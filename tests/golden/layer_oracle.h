/*
 * layer_oracle.h - one transformer layer in double, written as slowly and plainly as the
 * specification of the architectures reads: what the engine's layer and its gradients are
 * compared with. It shares no arithmetic with the program, only struct ucb_arch.
 */
#ifndef UCB_TESTS_LAYER_ORACLE_H
#define UCB_TESTS_LAYER_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"

struct layer_oracle {
    const struct ucb_arch *arch;
    uint32_t layer;
    const uint32_t *first; /* slots, see ucb_model_layer_slots */
    double **weight;       /* [slot]: [n_out][n_in] */
    const uint32_t *n_out; /* [slot] */
    double *vector[UCB_N_VECTORS];
    /* The choice of experts, [n_rows][used]: made by the first run, a constant after it. */
    uint32_t *choice;
    bool has_choice;
};

/* y[n_rows][hidden] = layer(x); window w has rows [start[w], start[w + 1]). */
void layer_oracle_run(struct layer_oracle *o, size_t n_windows, const size_t *start,
                      const double *x, double *y);

#endif
