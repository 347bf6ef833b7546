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

/*
 * A multiplication that is not the backend's (LLM.int8 quantizes activations too):
 * y[n_rows][n_out] of x[n_rows][n_in] and bias (may be NULL), the rows of one window.
 * `run` is NULL where there is none.
 */
struct ucb_own_product {
    ucb_status (*run)(void *context, const float *bias, const float *x, size_t n_rows,
                      float *y, struct ucb_err *err);
    void *context;
};

/*
 * The weights of one layer as the engine runs them; all memory is the caller's. Matrices
 * stand in the order of ucb_model_layer_matrices(): ucb_layer_slot finds them.
 */
struct ucb_layer {
    uint32_t index; /* in arch->layers */
    size_t n_matrices;
    const uint32_t *first;           /* [UCB_N_LAYER_ROLES], see ucb_model_layer_slots */
    struct ucb_packed *weight;       /* of one with a product of its own, or given in tiles,
                                        only the shape is looked at */
    struct ucb_own_product *product; /* by slot, like the weights */
    const struct ucb_tiles *tiles; /* by slot: where decode is not NULL, in the place of the
                                      weight; NULL: nowhere */
    const float *vector[UCB_N_VECTORS]; /* NULL: none */
};
static inline size_t ucb_layer_slot(const struct ucb_layer *layer, enum ucb_role role,
                                    uint32_t expert)
{
    return layer->first[role] + (size_t)expert * (role == UCB_ROLE_DOWN ? 1 : 2);
}

struct ucb_forward; /* work buffers and the rope table */
/*
 * batch: rows of one product, at least 1; longest: the most rows a window has. Neither
 * changes a result. NOMEM. The backend and the architecture are borrowed.
 */
ucb_status ucb_forward_open(struct ucb_backend *backend, const struct ucb_arch *arch,
                            size_t batch, size_t longest, struct ucb_forward **out,
                            struct ucb_err *err);
void ucb_forward_close(struct ucb_forward *f); /* before its backend; NULL is fine */

/* x = layer(x), in place, for every window. Of states that the backend keeps (see
 * ucb_backend_keep) a device has the current ones then. */
ucb_status ucb_forward_layer(struct ucb_forward *f, const struct ucb_layer *layer,
                             size_t n_windows, const size_t *start, float *x,
                             struct ucb_err *err);

/*
 * Looks on while a layer runs. Rows come in window order, each once; how many at a time is
 * not defined. Either function may be NULL.
 */
struct ucb_tap {
    /* What matrices are multiplied with: rows of width n_in. Of an expert, the rows that
     * were sent to it; `expert` is 0 elsewhere. */
    ucb_status (*see)(void *context, enum ucb_input input, uint32_t expert, const float *x,
                      size_t n_rows, uint32_t n_in, struct ucb_err *err);
    /* Where a router sent each row: [n_rows][arch->experts.used] experts and weights. */
    ucb_status (*route)(void *context, const uint32_t *experts, const float *weights,
                        size_t n_rows, struct ucb_err *err);
    void *context;
};
/* The same layer, and every input shown to the tap (NULL: to nobody). */
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
