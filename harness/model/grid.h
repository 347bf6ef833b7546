/*
 * grid.h - the grid detector: do the weights of a tensor lie on a low-bit grid, as those of
 * a model that was quantized and stored in 16 or 32 bits again?
 *
 * Such a file can be coded without loss in little more than its old size, and flatters a
 * quantizer whose grid it is: whatever is measured on it says "source already quantized".
 * Pure functions of counts (census.h).
 *
 * The rule. Trained weights hardly ever repeat a pattern in 32 neighbours (bf16: 31.6 of 32
 * differ; fp16, fp32: nearly all). Two tests, on weights that are not zero, so that pruned
 * tensors are not taken for quantized ones:
 *   levels   99 blocks of 100 hold at most L patterns, L at most half of the block and at
 *            most 256, and a quarter of the weights repeat one. Of several widths the one
 *            whose code would be shortest (ceil(log2 L) bits and 32 for each block's scale
 *            and minimum) is reported.
 *   repeats  patterns repeat within blocks of a width at least four times as
 *            often as between neighbouring blocks: finer grids (5 to 8 bits), whose blocks
 *            are too short to show all levels. The bits are estimated from how often.
 */
#ifndef UCB_MODEL_GRID_H
#define UCB_MODEL_GRID_H

#include "model/census.h"

/* Raised when a verdict changes: stored verdicts of another revision are made anew. */
enum { UCB_GRID_REVISION = 1 };

enum ucb_grid_kind {
    UCB_GRID_UNKNOWN,  /* a vector, or too few weights to tell */
    UCB_GRID_DENSE,    /* no grid found */
    UCB_GRID_CONSTANT, /* one value */
    UCB_GRID_LEVELS,
    UCB_GRID_REPEATS,
    UCB_GRID_TYPE /* ggml's block types: a grid by construction */
};
const char *ucb_grid_kind_name(
    enum ucb_grid_kind kind); /* "dense", "levels" ...; the words of reports and JSON */

struct ucb_grid {
    enum ucb_grid_kind kind;
    uint32_t width;  /* weights of a block; 0: the row */
    uint32_t levels; /* LEVELS: at most so many values in a block */
    uint32_t bits;   /* of a code, at most (REPEATS: about) */
    /* Bits per weight of a code that stores the grid: of a type its own; else an estimate,
     * `bits` and a scale and a minimum of 16 bits for each block. 0: no grid. */
    double bits_per_weight;
    enum ucb_dtype type; /* TYPE */
};
/* A grid of any kind: the weights have few values by the way they were made. */
static inline bool ucb_grid_found(const struct ucb_grid *grid)
{
    return grid->kind == UCB_GRID_LEVELS || grid->kind == UCB_GRID_REPEATS ||
           grid->kind == UCB_GRID_TYPE;
}

/* n_rows > 1 in the census, or the answer is UNKNOWN. */
struct ucb_grid ucb_grid_of_census(const struct ucb_census *census);
/* `dtype` is a block type. */
struct ucb_grid ucb_grid_of_type(enum ucb_dtype dtype);

/* "16 values per block of 32: a 4-bit grid"; `out` has room
 * for UCB_GRID_TEXT characters. */
enum { UCB_GRID_TEXT = 96 };
const char *ucb_grid_text(const struct ucb_grid *grid, char out[UCB_GRID_TEXT]);

#endif
