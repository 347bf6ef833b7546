/*
 * resident_cost.h - what it costs to multiply by encoded weights: the products of a layer,
 * timed from its encoded matrices and from the same matrices decoded and packed.
 */
#ifndef UCB_EVAL_RESIDENT_COST_H
#define UCB_EVAL_RESIDENT_COST_H

#include "backend/backend.h"
#include "model/forward.h"

enum { UCB_RESIDENT_MATRICES = 16, UCB_RESIDENT_REPEATS = 9 };
struct ucb_resident_cost {
    size_t batch;        /* rows of a product */
    uint32_t n_matrices; /* of the layer, evenly spaced; 0: nothing was measured */
    uint32_t n_repeats;
    /* Of one repeat: a product of each of these matrices. `busy` seconds are those of all
     * processors in this program, which other programs do not lengthen. */
    struct ucb_resident_time {
        double seconds[UCB_RESIDENT_REPEATS], busy_seconds[UCB_RESIDENT_REPEATS], joules;
    } decoded, encoded; /* joules: of all repeats, everything on the machine included; NaN:
                           it does not say */
    bool same_bits;     /* of the two products */
};
/*
 * Measures at most UCB_RESIDENT_MATRICES of the layer's encoded matrices, one in memory
 * decoded at a time. Both ways take turns; 3 to UCB_RESIDENT_REPEATS repeats, as many as
 * take about ten seconds. A layer with no encoded matrix leaves n_matrices at 0. NOMEM.
 */
ucb_status ucb_resident_cost_measure(struct ucb_backend *backend, struct ucb_pool *pool,
                                     const struct ucb_layer *layer, size_t batch,
                                     struct ucb_resident_cost *out, struct ucb_err *err);

#endif
