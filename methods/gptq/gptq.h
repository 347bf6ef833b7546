/*
 * gptq.h - the parts of gptq: the factor that spreads a column's error, the sweep over the
 * columns, the words that hold codes and zeros.
 *
 * Positions and columns: the sweep visits positions 0, 1, ...; position p holds column
 * order[p] of the matrix. Without act_order they are the same.
 */
#ifndef UCB_METHODS_GPTQ_H
#define UCB_METHODS_GPTQ_H

#include "method/method.h"

enum { GPTQ_PANEL = 16 }; /* rows of the matrix that are swept together, a lane each */

/* What shape and knobs give; encoder and decoder both start here. */
struct gptq_layout {
    size_t n_out, n_in, group, n_groups, n_panels;
    size_t code_words,
        zero_words; /* 32-bit words of a column's codes, of a group's zeros */
    size_t block;
    unsigned bits;
    bool per_row; /* group=-1: one grid a row, fitted before dead columns are cleared */
    bool symmetric, act_order, static_groups;
    bool has_index; /* the groups are runs of positions: a column's group must be stored */
    double damp;
};

/*
 * What the sweep needs of the inputs, shared by all matrices that read them. `update`
 * holds, for each block of positions [first, last): the corner U[first..last)[first..last),
 * row by row, then the columns right of it, GPTQ_TILE at a time: [tile][last -
 * first][GPTQ_TILE], zeros past the last column.
 */
enum { GPTQ_TILE = 6 };
struct gptq_factor {
    uint32_t *order, *position; /* [n_in], inverse of each other */
    bool *dead;                 /* [n_in], by column: its input is always zero */
    float *update;              /* NULL: no statistics, plain rounding to nearest */
    size_t *start;              /* [blocks], of a block in `update` */
};
/*
 * From statistics (NULL or of no tokens: plain rounding) to the factor, memory from
 * job->scratch. Traces `hessian_diag`, and of small matrices `hessian` and
 * `hinv_upper_fp64`. NOMEM; UNSUPPORTED when the damped Hessian is not positive definite.
 */
ucb_status gptq_factor_make(struct ucb_job *job, const struct gptq_layout *layout,
                            const struct ucb_calib *calib, const char *name,
                            struct gptq_factor *out, struct ucb_err *err);

/* What the sweep finds, panel by panel; lanes past the last row hold nothing of use. */
struct gptq_grids {
    uint8_t *codes;      /* [n_panels][n_in][GPTQ_PANEL], by column */
    float *scale, *zero; /* [n_panels][n_groups][GPTQ_PANEL] */
};
/* w is [n_out][n_in]. Memory from job->scratch; NOMEM names `name`. */
ucb_status gptq_sweep(struct ucb_job *job, const struct gptq_layout *layout,
                      const struct gptq_factor *factor, const float *w, const char *name,
                      struct gptq_grids *out, struct ucb_err *err);

/* ---- words: a stream of n codes, the lowest bits first, in 32-bit words ---- */

static inline size_t gptq_words(size_t n, unsigned bits)
{
    return (n * bits + 31) / 32;
}
/* The bits of the last word that belong to no code. */
static inline uint32_t gptq_stray_bits(size_t n, unsigned bits)
{
    unsigned used = (unsigned)(n * bits % 32);
    return used == 0 ? 0 : ~0u << used;
}
/* Panel codes to words[code_words][n_out], one stream per row of the matrix, whose words
 * lie n_out apart. */
void gptq_pack_codes(const struct gptq_layout *layout, const uint8_t *codes, uint8_t *words,
                     struct ucb_pool *pool);
/* zeros[n] - 1 (0 wraps to all ones) to a stream of gptq_words(n, bits) words. */
void gptq_pack_zeros(const float *zeros, size_t n, unsigned bits, uint8_t *words);
/* Code i of a stream whose words lie `step` words apart. */
uint32_t gptq_code(const uint8_t *words, size_t step, size_t i, unsigned bits);

#endif
