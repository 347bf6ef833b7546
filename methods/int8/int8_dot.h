/*
 * int8_dot.h - products of int8 codes with exact int32 sums, a tile at a time, for the
 * instruction sets there are. All give the same integers: sums of integers have no order.
 *
 * Weights stand in panels of UCB_LANES outputs: panel p holds, for each pair of inputs, the
 * two codes of output 16 p, the two of output 16 p + 1 ..., so that one multiply-add serves
 * 16 outputs. Outputs are padded with zero codes to an even number of panels, inputs to a
 * multiple of 16. Activations are rows of int16 codes, padded the same way.
 */
#ifndef UCB_METHODS_INT8_DOT_H
#define UCB_METHODS_INT8_DOT_H

#include <stddef.h>
#include <stdint.h>

#include "core/pool.h"
#include "method/lanes.h"

enum {
    /* This many products of two codes, each at most 127 * 127, still fit int32. */
    INT8_MAX_DOT = INT32_MAX / (127 * 127),
    INT8_MAX_ROWS = 8,  /* rows of the largest tile; every path's rows divide it */
    INT8_MAX_PANELS = 2 /* likewise */
};

/* How many panels n_out outputs take, and how many pairs n_in inputs. */
size_t int8_n_panels(size_t n_out);
size_t int8_n_pairs(size_t n_in);
/* Bytes of all panels. */
size_t int8_panel_bytes(size_t n_out, size_t n_in);
/* Fills zeroed panels from codes[n_out][n_in]. */
void int8_pack(const uint8_t *codes, size_t n_out, size_t n_in, struct ucb_pool *pool,
               int8_t *panels);

/*
 * acc[n_rows][n_panels * 16] = x[n_rows][2 n_pairs] times `n_panels` adjacent panels: rows
 * and panels as many as the path says, no fewer.
 */
typedef void int8_tile(const int8_t *panels, const int16_t *x, size_t n_pairs,
                       int32_t *acc);
struct int8_path {
    const char *name;
    uint32_t n_rows, n_panels;
    int8_tile *tile;
};
/* The paths this CPU runs, slowest first: i from 0; NULL past the last. */
const struct int8_path *int8_path_at(size_t i);
const struct int8_path *int8_path_best(void);

extern const struct int8_path int8_path_avx2, int8_path_avx512;

#endif
