/*
 * survey.h - all weights of a checkpoint in one pass: entropies, the grid detector, what
 * stands in the file twice.
 *
 * One tensor after the other, rows in parallel, from the mapped file: memory is a few
 * megabytes for each thread, whatever the size of the model, and no result depends on
 * their number. Plain types are counted as their bit patterns stand in the file; ggml's
 * block types as the bf16 copy of what they decode to.
 */
#ifndef UCB_MODEL_SURVEY_H
#define UCB_MODEL_SURVEY_H

#include "core/arena.h"
#include "core/pool.h"
#include "core/progress.h"
#include "model/checkpoint.h"
#include "model/grid.h"

struct ucb_survey_tensor {
    const struct ucb_tensor *tensor;
    enum ucb_dtype counted_as; /* UCB_N_DTYPES: not counted (no floating-point weights) */
    uint64_t n_rows, n_columns;
    double distinct[UCB_CENSUS_WIDTHS]; /* mean patterns of a block; 0: no whole block */
    uint32_t distinct_max[UCB_CENSUS_WIDTHS];    /* exact for blocks; rows too */
    uint64_t n_zeros, n_nonfinite, n_rows_again; /* rows whose bytes an earlier one has */
    struct ucb_census_facts facts;
    struct ucb_entropy entropy;
    struct ucb_grid grid;             /* of a block type: by its type */
    struct ucb_grid detected;         /* what the counts say; of a plain type the same */
    const struct ucb_tensor *same_as; /* an earlier tensor with equal bytes, or NULL */
    /* Bits per weight that no coder of sign, exponent and mantissa beats: the entropy, or
     * what a code of the grid takes where that is less. */
    double floor;
};
/* The tensors of one dtype together. Sign and exponent have a table for each tensor (their
 * mean by weights), the mantissa one for all. */
struct ucb_survey_total {
    enum ucb_dtype dtype, counted_as;
    uint64_t n_tensors, n_weights;
    struct ucb_entropy entropy;
    double floor;
};
/* What the detector says of the model. Only tensors it can judge count: matrices. */
struct ucb_lattice {
    bool is_source;               /* more than half of the judged weights lie on a grid */
    double share;                 /* of the judged weights */
    uint64_t n_judged, n_on_grid; /* weights */
    struct ucb_grid grid; /* the one that most of those lie on; DENSE where there is none */
};
struct ucb_survey {
    struct ucb_survey_tensor *tensors; /* in file order */
    size_t n_tensors;
    struct ucb_survey_total totals[UCB_N_DTYPES]; /* in the order of their dtypes */
    size_t n_totals;
    struct ucb_survey_total all; /* dtype UCB_N_DTYPES; entropies added up by weights */
    struct ucb_lattice lattice;
};

/*
 * Surveys every tensor; lists come from `arena`. pool and progress (one unit: one byte) may
 * be NULL. IO when the file was cut short meanwhile, NOMEM.
 */
ucb_status ucb_survey_checkpoint(const struct ucb_checkpoint *checkpoint,
                                 struct ucb_pool *pool, struct ucb_progress *progress,
                                 struct ucb_arena *arena, struct ucb_survey *out,
                                 struct ucb_err *err);

/* "16 values per block of 32: a 4-bit grid", or "" for a model that is no lattice source:
 * what is stored and printed. */
const char *ucb_lattice_text(const struct ucb_lattice *lattice, char out[UCB_GRID_TEXT]);

#endif
