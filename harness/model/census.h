/*
 * census.h - counts over the bit patterns of a tensor: how often each occurs, and how many
 * different ones stand in aligned blocks of a row. Entropies and the grid detector
 * (grid.h) are computed from these counts and from nothing else.
 *
 * Weights are bit patterns here, never reals: bf16, fp16 or fp32, as stored. All counts are
 * integers, so sums over rows are the same for any number of threads.
 */
#ifndef UCB_MODEL_CENSUS_H
#define UCB_MODEL_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

/* Aligned blocks along a row of 16, 32, 64, 128 and 256 weights, and the whole row. */
enum { UCB_CENSUS_WIDTHS = 6, UCB_CENSUS_ROW = UCB_CENSUS_WIDTHS - 1 };
enum {
    UCB_CENSUS_MOST = 256,      /* distinct patterns are told apart up to so many */
    UCB_CENSUS_SEGMENT = 65536, /* a longer row counts as several */
    UCB_CENSUS_PATTERNS = 65536 /* upper 16 bits of a pattern; all of a 16-bit one */
};

/* Of the blocks of one width that are whole. A zero of either sign is one pattern. */
struct ucb_census_width {
    uint64_t n_blocks, distinct; /* distinct patterns, summed over the blocks */
    uint64_t n_nonzero;          /* weights that are not zero */
    uint64_t n_repeats; /* of those, whose pattern stood in the block before them */
    uint64_t by_distinct[UCB_CENSUS_MOST + 2]; /* blocks with so many; last: with more */
    uint32_t distinct_max;
};

struct ucb_census {
    enum ucb_dtype dtype; /* UCB_BF16, UCB_F16 or UCB_F32 */
    uint64_t n_rows, n_columns, n_weights;
    uint64_t n_zeros;                      /* of either sign */
    uint64_t pattern[UCB_CENSUS_PATTERNS]; /* fp32: of the upper half */
    uint64_t low[2][256];   /* fp32: bytes 0 and 1 of the lower half; else nothing */
    uint32_t mantissa_bits; /* fp32: OR of the mantissas of normal numbers */
    struct ucb_census_width width[UCB_CENSUS_WIDTHS];
};
uint32_t ucb_census_width_of(unsigned index); /* 16 .. 256; 0 for the row */
/* Sets everything to zero. */
void ucb_census_start(struct ucb_census *census, enum ucb_dtype dtype, uint64_t n_columns);
/* into += from; both of one dtype. */
void ucb_census_add(struct ucb_census *into, const struct ucb_census *from);
bool ucb_census_counts(enum ucb_dtype dtype); /* one of the three dtypes above */

/* What a worker needs to count: where each pattern was last seen. 1 MB; zeroed at first. */
struct ucb_census_memory {
    uint32_t key[2 * UCB_CENSUS_SEGMENT], last[2 * UCB_CENSUS_SEGMENT];
    uint32_t epoch; /* of the current row */
};
/*
 * Counts n_rows whole rows of census->n_columns patterns at `rows` (any alignment).
 * row_hash[n_rows] (may be NULL) gets a 64-bit hash of each row's bytes.
 */
void ucb_census_rows(struct ucb_census *census, struct ucb_census_memory *memory,
                     const uint8_t *rows, size_t n_rows, uint64_t *row_hash);

/*
 * Entropies in bits per weight, order 0: of the sign, of the exponent field, of the
 * mantissa given the exponent. The lower 16 bits of fp32 count with the entropy of each of
 * their two bytes. All 0 for a census without weights.
 */
struct ucb_entropy {
    double sign, exponent, mantissa, total; /* total: the three added */
};
struct ucb_entropy ucb_census_entropy(const struct ucb_census *census);
/* log2-entropy of counts, in bits per event; 0 where nothing was counted. */
double ucb_entropy_of(const uint64_t *counts, size_t n);

struct ucb_census_facts {
    uint64_t n_nonfinite, n_normal; /* normal: neither zero nor subnormal, and finite */
    uint32_t n_patterns;     /* different ones in the tensor (fp32: of their upper half) */
    uint32_t trailing_zeros; /* lowest mantissa bits that are 0 in every normal number */
    double even_share; /* of the normal numbers, those whose last mantissa bit is 0 (fp32:
                          of all); 1/2 in a trained model, 9/16 where fp32 went through
                          fp16 to bf16: one in eight is then a tie, and goes to even */
    double collision;  /* that two weights, neither zero, drawn from the whole tensor have
                          one pattern (fp32: one upper half) */
};
struct ucb_census_facts ucb_census_facts(const struct ucb_census *census);

#endif
