/*
 * eval_internal.h - what the two halves of an evaluation share: the layers (eval.c) and the
 * head (eval_head.c).
 */
#ifndef UCB_EVAL_EVAL_INTERNAL_H
#define UCB_EVAL_EVAL_INTERNAL_H

#include "eval/eval.h"
#include "eval/pass.h"
#include "eval/states.h"

enum { UCB_EVAL_MAX_GROUP = 4 };

struct ucb_eval {
    struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_eval_options options;
    const struct ucb_items *const *sets;
    size_t n_sets, n_windows, n_rows, n_items, n_scored;
    struct ucb_arena arena;
    size_t *start;      /* [n_windows + 1] first row of each window */
    uint32_t *ids;      /* [n_rows] input of each row */
    size_t *scored_row; /* [n_scored] row of each scored position */
    uint32_t *target;   /* [n_scored] */
    size_t *item_end;   /* [n_items] scored positions up to and including the item */
    size_t longest, longest_item;
    /* [n_scored][hidden], the original's, after the last norm */
    struct ucb_states reference;
    struct ucb_loader *loader;
    struct ucb_loader
        *ahead; /* of the next layer; NULL: it is loaded when its turn comes */
    struct ucb_forward *forward;
    const float *head_bias; /* NULL: none */
    double head_share;      /* of a variant's work, for the progress */
};

/* One method on its way through the layers. */
struct ucb_variant {
    const struct ucb_chain *chain;
    struct ucb_eval_result *result;
    struct ucb_states x;
    double seconds;
    struct ucb_calibrator *calibrator; /* NULL: the chain needs none */
    struct ucb_writer shared;          /* side data; empty: the chain has none */
    struct ucb_layer_work *work;       /* NULL: the chain tunes nothing */
};

/* How far scoring is, told as rows pass. */
struct ucb_scoring {
    struct ucb_progress *progress;
    const char *note;
};

uint64_t ucb_eval_state_bytes(const struct ucb_eval *e, size_t n_rows);
struct ucb_pass ucb_variant_pass(const struct ucb_eval *e, const struct ucb_variant *v);
/* Every layer of every variant that has not failed, layer by layer; the loaders rest then.
 * label: of the progress; NULL: each variant's spec. */
void ucb_eval_layers(struct ucb_eval *e, struct ucb_variant *variants, size_t n,
                     struct ucb_progress *progress, const char *label);
/* A method that failed keeps its error and takes no further part; its states stay until it
 * is finished, because a head pass in progress still reads them. */
void ucb_variant_fail(struct ucb_variant *v, ucb_status status, const char *where);

/* The original's samples, from e->reference; its head is tallied. */
ucb_status ucb_eval_score_original(struct ucb_eval *e, const struct ucb_chain *none,
                                   const struct ucb_scoring *scoring,
                                   struct ucb_variant *original, struct ucb_err *err);
/* The samples of the original in the arithmetic of `other`, against e->reference. */
ucb_status ucb_eval_score_floor(struct ucb_eval *e, struct ucb_eval *other,
                                const struct ucb_chain *none,
                                const struct ucb_scoring *scoring,
                                struct ucb_variant *floor, struct ucb_err *err);
/* The variants' samples, from their states; only what concerns all is an error. */
ucb_status ucb_eval_score_variants(struct ucb_eval *e, const struct ucb_chain *none,
                                   const struct ucb_scoring *scoring,
                                   struct ucb_variant *variants, size_t n,
                                   struct ucb_err *err);

#endif
