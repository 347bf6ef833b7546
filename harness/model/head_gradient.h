/*
 * head_gradient.h - how far the next-token distributions of two sets of hidden states lie
 * apart, and the gradient: for distillation on a teacher's logits.
 *
 *     P = softmax(head(norm(teacher))),  Q = softmax(head(norm(student)))
 *     loss = mean over rows of KL(P || Q)
 *
 * Logits exist for a block of rows at a time. The same bits for any thread count and path.
 */
#ifndef UCB_MODEL_HEAD_GRADIENT_H
#define UCB_MODEL_HEAD_GRADIENT_H

#include "backend/gradient.h"
#include "model/model.h"

/* The end of a model, all the caller's: the last norm, the head, its bias, its soft cap. */
struct ucb_final {
    const struct ucb_packed *weight; /* [vocabulary][hidden]: ucb_pack_rows() */
    const struct ucb_packed *turned; /* [hidden][vocabulary]: ucb_pack_transposed_rows() */
    const float *bias;               /* [vocabulary], or NULL */
    const float *norm, *norm_bias;   /* [hidden]; norm_bias: of a layer norm */
};

/*
 * *loss and dstudent[n_rows][hidden] = dloss/dstudent of rows before the last norm; `arch`
 * says which norm and cap. dstudent may be student. NOMEM.
 */
ucb_status ucb_head_gradient(struct ucb_backend *backend, const struct ucb_arch *arch,
                             const struct ucb_final *final, const float *teacher,
                             const float *student, size_t n_rows, double *loss,
                             float *dstudent, struct ucb_err *err);

#endif
