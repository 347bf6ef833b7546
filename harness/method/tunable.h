/*
 * tunable.h - a payload whose continuous parameters move: what a TUNE stage needs of the
 * stages before it, matrix by matrix.
 */
#ifndef UCB_METHOD_TUNABLE_H
#define UCB_METHOD_TUNABLE_H

#include "method/chain.h"

enum { UCB_MAX_TUNABLE_PARAMS = 16 };

/* One matrix, all stages that write bytes. */
struct ucb_tunable {
    uint32_t n_params;
    struct ucb_param param[UCB_MAX_TUNABLE_PARAMS]; /* values are moved in place */
    bool is_base[UCB_MAX_TUNABLE_PARAMS];           /* of the first stage */
    struct ucb_tunable_stages *stages;
};

/* The last stage of a chain where it is a TUNE stage, NULL otherwise; *job (may be NULL)
 * carries its knobs. */
const struct ucb_method *ucb_chain_tuner(const struct ucb_chain *chain,
                                         struct ucb_job *job);
/*
 * Opens a payload of the chain. Everything lives in context->arena, which is not emptied;
 * chain, matrix and payload are borrowed. A stage without continuous parameters stays as it
 * is stored. CORRUPT, NOMEM.
 */
ucb_status ucb_tunable_open(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix,
                            const struct ucb_writer *payload, struct ucb_tunable *out,
                            struct ucb_err *err);
/* w[n_out][n_in] at the parameters' present values: the sum of the stages in fp32, rounded
 * to nothing. Parallel over rows. */
void ucb_tunable_decode(const struct ucb_tunable *t, float *w);
/* gradient[k][param[k].n] of d_weight[n_out][n_in] = dL/dW; an entry that is NULL is not
 * wanted. NOMEM. */
ucb_status ucb_tunable_pull_back(const struct ucb_tunable *t, const float *d_weight,
                                 float *const *gradient, struct ucb_err *err);
/* The payload that holds the present values, rounded as they are stored; `out` is reset
 * first. */
ucb_status ucb_tunable_freeze(const struct ucb_tunable *t, struct ucb_writer *out,
                              struct ucb_err *err);

#endif
