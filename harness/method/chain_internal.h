/*
 * chain_internal.h - a parsed chain, shared by chain.c (text to chain), chain_run.c (chain
 * on a matrix) and chain_shared.c (side data).
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
    uint32_t n_coded; /* those that write bytes: all but a TUNE stage, which is the last */
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

/* Opens the bytes of one stage; the state lives in context->arena. CORRUPT, NOMEM. */
ucb_status ucb_stage_open(const struct ucb_chain *chain, uint32_t index,
                          const struct ucb_chain_context *context,
                          const struct ucb_matrix *matrix, const uint8_t *bytes,
                          size_t n_bytes, void **state, struct ucb_job *job,
                          struct ucb_err *err);
/* CORRUPT for a weight that is not finite, where its bits do not come along; USAGE for a
 * matrix without weights. */
ucb_status ucb_chain_check_source(const struct ucb_chain_context *context,
                                  const struct ucb_source *src, struct ucb_err *err);
/* A stream of random numbers is named after all that the job depends on; two stages of one
 * method must not draw the same numbers. `what`: a matrix, or a word that none is named. */
ucb_status ucb_chain_start_random(const struct ucb_chain *chain, uint32_t index,
                                  const struct ucb_chain_context *context, const char *what,
                                  struct ucb_job *job, struct ucb_err *err);
/* A stage's part of the side data; nothing where that is cut short, which the method
 * refuses by its length. */
void ucb_chain_find_shared(const struct ucb_chain *chain, uint32_t index,
                           const struct ucb_chain_context *context, struct ucb_job *job);
/* A payload of n stages: room for its lengths, the length of a stage that began at `start`,
 * and the cut into stages. */
void ucb_chain_begin_payload(uint32_t n_coded, struct ucb_writer *out);
void ucb_chain_note_length(uint32_t n_coded, uint32_t index, struct ucb_writer *out,
                           size_t start);
ucb_status ucb_chain_split(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                           const uint8_t *payload, size_t n_bytes, const uint8_t **bytes,
                           size_t *lengths, struct ucb_err *err);

/* The stages of a payload, opened; the states live in the arena they were opened in. */
struct ucb_opened {
    const struct ucb_matrix *matrix;
    uint32_t n_stages; /* that are summed: all but an exact one */
    const struct ucb_method *method[UCB_MAX_STAGES]; /* the exact one behind them */
    const void *state[UCB_MAX_STAGES];
    enum ucb_dtype dtype; /* that the sum is rounded to */
    bool
        is_sum; /* rounded here alone; false: a stage that is alone may round its own way */
};
/* Of an exact chain the sum is what its last stage predicts from: not rounded. */
ucb_status ucb_opened_open(const struct ucb_chain *chain,
                           const struct ucb_chain_context *context,
                           const struct ucb_matrix *matrix, const uint8_t *payload,
                           size_t n_bytes, struct ucb_opened *out, struct ucb_err *err);
/* Rows [row, row + n_rows): the sum of the stages, in fp32. Any thread. */
void ucb_opened_sum(const struct ucb_opened *opened, uint32_t row, uint32_t n_rows,
                    float *out);
/* The same rows in the deployed dtype, widened; `sum` is theirs where the caller has it. */
void ucb_opened_rows(const struct ucb_opened *opened, uint32_t row, uint32_t n_rows,
                     const float *sum, float *w);

#endif
