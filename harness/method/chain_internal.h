/*
 * chain_internal.h - a parsed chain, shared by chain.c (text to chain) and chain_run.c
 * (chain on a matrix).
 */
#ifndef UCB_METHOD_CHAIN_INTERNAL_H
#define UCB_METHOD_CHAIN_INTERNAL_H

#include "method/chain.h"

enum { UCB_MAX_STAGES = 8 };

struct ucb_stage {
    const struct ucb_method *method;
    double value[UCB_MAX_KNOBS];
};

struct ucb_chain {
    uint32_t n_stages;
    struct ucb_stage stages[UCB_MAX_STAGES];
    const char *spec, *identity;
};

/* A job that carries the stage's values and nothing else: enough for check, decoded_dtype
 * and nominal_bpw. */
struct ucb_job ucb_stage_job(const struct ucb_stage *stage);
/*
 * USAGE for stages that cannot follow each other, UNSUPPORTED for kinds that are not built
 * yet. `spec` stands in the message.
 */
ucb_status ucb_chain_check_order(const struct ucb_chain *chain, const char *spec,
                                 struct ucb_err *err);

#endif
