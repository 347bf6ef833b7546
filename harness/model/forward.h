/*
 * forward.h - one transformer layer over many windows, and the tables it needs.
 *
 * Hidden states are x[n_rows][hidden] in fp32; window w owns rows [start[w], start[w + 1]),
 * positions count from 0 in each.
 */
#ifndef UCB_MODEL_FORWARD_H
#define UCB_MODEL_FORWARD_H

#include <stddef.h>

#include "backend/backend.h"
#include "model/model.h"

/* The weights of one layer as the engine runs them; all memory is the caller's. */
struct ucb_layer {
    uint32_t index;                              /* in arch->layers */
    struct ucb_packed weight[UCB_N_LAYER_ROLES]; /* data NULL: the layer has none */
    /* Of experts: [n_experts] each, GATE, UP, DOWN; NULL in a layer without. */
    struct ucb_packed *expert[3];
    const float *vector[UCB_N_VECTORS]; /* NULL: none */
};

struct ucb_forward; /* work buffers and the rope table */
/*
 * batch: rows of one product, at least 1; longest: the most rows a window has. Neither
 * changes a result. NOMEM. The backend and the architecture are borrowed.
 */
ucb_status ucb_forward_open(struct ucb_backend *backend, const struct ucb_arch *arch,
                            size_t batch, size_t longest, struct ucb_forward **out,
                            struct ucb_err *err);
void ucb_forward_close(struct ucb_forward *f); /* NULL is fine */

/* x = layer(x), in place, for every window. */
ucb_status ucb_forward_layer(struct ucb_forward *f, const struct ucb_layer *layer,
                             size_t n_windows, const size_t *start, float *x,
                             struct ucb_err *err);

/*
 * Looks on while a layer runs: what its matrices are multiplied with. Rows come in window
 * order, each once; how many at a time is not defined. n_in is the width of a row.
 */
struct ucb_tap {
    ucb_status (*see)(void *context, enum ucb_input input, const float *x, size_t n_rows,
                      uint32_t n_in, struct ucb_err *err);
    void *context;
};
/* The same layer, and every input shown to the tap. */
ucb_status ucb_forward_layer_tapped(struct ucb_forward *f, const struct ucb_layer *layer,
                                    size_t n_windows, const size_t *start, float *x,
                                    const struct ucb_tap *tap, struct ucb_err *err);
/*
 * Runs the layer only as far as `input` and shows that one; x stays as it is. Weights and
 * biases of roles that read this input or a later one are not looked at, so they need not
 * be filled yet: this is how a layer is compressed from its own compressed beginning.
 * NOMEM.
 */
ucb_status ucb_forward_peek(struct ucb_forward *f, const struct ucb_layer *layer,
                            size_t n_windows, const size_t *start, const float *x,
                            enum ucb_input input, const struct ucb_tap *tap,
                            struct ucb_err *err);

#endif
