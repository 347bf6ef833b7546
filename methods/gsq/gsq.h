/*
 * gsq.h - the parts of gsq: how a matrix is cut into blocks, the two ways to a grid of
 * levels, codes in a bit stream, and what a tuning stage may move.
 */
#ifndef UCB_METHODS_GSQ_H
#define UCB_METHODS_GSQ_H

#include "method/method.h"

enum { GSQ_MAX_LEVELS = 64, GSQ_BINS = 4096, GSQ_SAMPLE = 1 << 18 };

/* How the absmax of a block is stored. */
enum gsq_scale { GSQ_BF16, GSQ_F16, GSQ_F32 };

/* The first byte of a payload. */
enum gsq_form {
    GSQ_BLOCKS,     /* blocks of the knob's size */
    GSQ_BLOCKS_128, /* that does not divide a row and 128 does */
    GSQ_ROWS,       /* neither does: round to nearest, one scale a row */
    GSQ_N_FORMS
};

/* The lengths that shape and knobs give; encoder and decoder both start here. */
struct gsq_layout {
    enum gsq_form form;
    enum gsq_scale scale;
    unsigned bits, n_levels;
    size_t n_rows, n_in, block, blocks_per_row, n_blocks;
    /* All passes over a matrix take its rows in these chunks, at most 64 of them: a
     * multiple of 8 rows, so that the codes of each begin on a whole byte. */
    size_t rows_per_chunk, n_chunks;
};
struct gsq_layout gsq_layout_of(const struct ucb_job *job, const struct ucb_matrix *matrix);
/* Rows [*first, *last) of a chunk. */
void gsq_chunk_rows(const struct gsq_layout *l, size_t chunk, size_t *first, size_t *last);
size_t gsq_code_bytes(const struct gsq_layout *l);

/* A block's absmax, floored at 1e-9 (2^-24, the smallest half, with scale=fp16), as it is
 * stored; infinite where the dtype ends below it. */
float gsq_scale_of(float peak, enum gsq_scale scale);
/* Of each block: scale[n_blocks]. */
void gsq_find_scales(const struct gsq_layout *l, const float *w, float *scale,
                     struct ucb_pool *pool);

/* ---- the grid ---- */

/* What falls into a bin, each value counted by the square of its block's scale. */
struct gsq_bin {
    double weight, moment; /* sums of scale^2 and of scale^2 value */
};
/*
 * bins[GSQ_BINS]: the values w / scale in bins of 1/2048 over [-1, 1), the ends of the axis
 * in the outer two. NOMEM names `name`.
 */
ucb_status gsq_histogram(const struct gsq_layout *l, const float *w, const float *scale,
                         struct gsq_bin *bins, struct ucb_pool *pool,
                         struct ucb_arena *scratch, const char *name, struct ucb_err *err);
/*
 * The rising grid[n_levels] with the least weighted squared distance of the bins' means
 * to their nearest level; its last level again where there are fewer means than levels.
 * 1 <= n_bins <= GSQ_BINS; bins are in rising order of their means, and those lighter than
 * 2^-40 of all are passed over; one weighs something. NOMEM names `name`.
 */
ucb_status gsq_grid_optimal(const struct gsq_bin *bins, size_t n_bins, unsigned n_levels,
                            float *grid, struct ucb_arena *scratch, const char *name,
                            struct ucb_err *err);
/* Where the original's iterations start, rising. 4, 8, 16, 32 or 64 levels. */
void gsq_grid_start(unsigned n_levels, float *grid);
/* Up to 50 Lloyd iterations on `value`[n], which rises; `sum` holds n + 1 doubles. */
void gsq_grid_lloyd(const float *value, size_t n, unsigned n_levels, float *grid,
                    double *sum);
/* Both of these on a sample of the matrix drawn with replacement from job->random. */
ucb_status gsq_grid_seed(struct ucb_job *job, const struct gsq_layout *l, const float *w,
                         const float *scale, float *grid, const char *name,
                         struct ucb_err *err);
/* Sorts x[n] upwards; `spare` holds n values too. No NaN. */
void gsq_sort(float *x, float *spare, size_t n);
/* The levels of the form GSQ_ROWS: -1, -1 + 2/K ... 1 - 2/K. */
void gsq_grid_rows(unsigned n_levels, float *grid);

/* ---- codes ---- */

/*
 * Chooses the codes of all weights: the number of midpoints (g[k] + g[k + 1]) / 2, in fp32,
 * that lie below w / scale, so a tie takes the lower level; in the form GSQ_ROWS round half
 * to even. packed[gsq_code_bytes] gets their bit stream in flat order, lowest bits first,
 * zero padded.
 */
ucb_status gsq_encode_codes(const struct gsq_layout *l, const float *w, const float *scale,
                            const float *grid, uint8_t *packed, struct ucb_pool *pool,
                            struct ucb_arena *scratch, const char *name,
                            struct ucb_err *err);
/* Codes [first, first + n) of a stream of n_bytes; writes up to 7 bytes past codes[n]. */
void gsq_unpack(const uint8_t *packed, size_t n_bytes, unsigned bits, size_t first,
                size_t n, uint8_t *codes);
enum { GSQ_PIECE = 256 }; /* weights that are unpacked at a time */

/* ---- the opened payload ---- */

struct gsq_state {
    const struct ucb_matrix *matrix;
    struct gsq_layout layout;
    const uint8_t *packed; /* in the payload */
    float grid[GSQ_MAX_LEVELS];
    float scale[]; /* [n_blocks], widened */
};
/* Rows [row, row + n) by scale[n_blocks] and grid[GSQ_MAX_LEVELS]: the state's own, or
 * others. */
void gsq_decode_rows(const struct gsq_state *s, const float *scale, const float *grid,
                     uint32_t row, uint32_t n, float *out);
/* Everything before the codes. UNSUPPORTED names the block whose scale does not fit, or
 * the level that is not finite. */
ucb_status gsq_put_head(const struct gsq_layout *l, const char *name, const float *grid,
                        const float *scale, struct ucb_writer *out, struct ucb_err *err);

/* The four members of a method that a tuning stage calls (see method.h). */
ucb_status gsq_unfreeze(struct ucb_job *job, const void *state,
                        struct ucb_param list[UCB_MAX_PARAMS], uint32_t *n,
                        struct ucb_err *err);
void gsq_decode_with(const void *state, const struct ucb_param *list, uint32_t row,
                     uint32_t n, float *acc);
ucb_status gsq_pull_back(struct ucb_job *job, const void *state,
                         const struct ucb_param *list, const float *d_weight,
                         float *const *d_param, struct ucb_err *err);
ucb_status gsq_freeze(struct ucb_job *job, const void *state, const struct ucb_param *list,
                      struct ucb_writer *out, struct ucb_err *err);

#endif
