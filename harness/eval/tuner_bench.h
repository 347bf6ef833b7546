/*
 * tuner_bench.h - one layer on the bench: its payloads with their parameters unfrozen, the
 * loss of picked windows, and its gradients. Part of the tuner (tuner.h).
 */
#ifndef UCB_EVAL_TUNER_BENCH_H
#define UCB_EVAL_TUNER_BENCH_H

#include "backend/backend.h"
#include "method/chain.h"
#include "method/tunable.h"
#include "model/model.h"

struct ucb_bench_options {
    const struct ucb_model *model;
    struct ucb_backend *backend; /* fp32 */
    struct ucb_pool *pool;
    const struct ucb_chain *chain;
    struct ucb_tune_plan plan;
    uint32_t ctx; /* rows of every window */
    uint64_t memory_bytes;
};
struct ucb_bench;
/* UNSUPPORTED: the head does not fit the memory where the objective wants it. NOMEM. */
ucb_status ucb_bench_open(const struct ucb_bench_options *options, struct ucb_bench **out,
                          struct ucb_err *err);
void ucb_bench_close(struct ucb_bench *bench); /* NULL is fine */

/* What the layer reads and what it should answer: [n_windows][ctx][hidden]. Borrowed. */
struct ucb_bench_states {
    const uint8_t *shared; /* the chain's side data, see struct ucb_chain_context */
    size_t n_shared;
    const float *input, *target;
    uint32_t n_windows;
};
/* Puts a layer on the bench; *tuning lives until ucb_bench_clear(). USAGE when nothing can
 * be moved. */
ucb_status ucb_bench_layer(struct ucb_bench *bench, uint32_t layer,
                           const struct ucb_writer *payload,
                           const struct ucb_bench_states *states,
                           struct ucb_tuning **tuning, struct ucb_err *err);
/* The mean loss of any number of windows as the layer stands, without gradients. */
ucb_status ucb_bench_loss(struct ucb_bench *bench, const uint32_t *windows, uint32_t n,
                          double *loss, struct ucb_err *err);
/* Rewrites the payloads and the gains with the parameters' values as they are stored; from
 * then on the layer stands as a reader of those bytes will see it. */
ucb_status ucb_bench_store(struct ucb_bench *bench, struct ucb_writer *payload,
                           struct ucb_writer *gains, struct ucb_err *err);
void ucb_bench_clear(struct ucb_bench *bench);

#endif
