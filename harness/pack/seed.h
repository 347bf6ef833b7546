/*
 * seed.h - readers of two older containers of compressed weights: `.uc` layers (versions 1
 * to 3) and UCV17. They hold matrices only, no model, and no digest of anything: what is
 * read is checked against itself, never against what was written.
 */
#ifndef UCB_PACK_SEED_H
#define UCB_PACK_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"

/* ---- a .uc layer ---- */

struct ucb_uc_linear {
    const char *name;
    uint32_t n_out, n_in, n_blocks; /* blocks of a row: ceil(n_in / block) */
    uint16_t block, n_grid;         /* n_grid 0 before version 3 */
    uint8_t bits, rank;
    bool half_factors; /* V and U are bf16, else fp32 */
    float alpha;       /* of the correction U V */
    const uint8_t *codes, *scales, *grid, *v, *u,
        *bias; /* into the file; bias may be NULL */
};
struct ucb_uc_extra {
    const char *name;
    uint8_t dtype, n_dims; /* 0 bf16, 1 fp32, 2 fp16 */
    uint32_t shape[8];
    const uint8_t *data;
    uint64_t n_bytes;
};
struct ucb_uc_layer {
    uint16_t version, index;
    uint32_t n_linears, n_extras;
    struct ucb_uc_linear *linears;
    struct ucb_uc_extra *extras;
};
/*
 * Reads a layer's bytes, which outlive it; lists come from `arena`. CORRUPT names the
 * record and what is wrong: cut, trailing bytes, names out of order, a code past its grid,
 * a scale that is not finite. UNSUPPORTED: another version.
 */
ucb_status ucb_uc_parse(const char *path, const uint8_t *bytes, size_t n_bytes,
                        struct ucb_arena *arena, struct ucb_uc_layer *out,
                        struct ucb_err *err);
/* w[n_out][n_in]: the quantized base (version 3: bf16(grid[code] * absmax); before:
 * code * scale), plus alpha U V in fp32, rank ascending. */
void ucb_uc_decode(const struct ucb_uc_layer *layer, const struct ucb_uc_linear *linear,
                   float *w);

/* ---- UCV17 ---- */

struct ucb_v17_role {
    const char *name;
    uint32_t k1, k2;
    const uint8_t *cb1, *cb2; /* fp16, [k1][D], [k2][D] */
};
struct ucb_v17_weight {
    const char *key;
    uint32_t n_out, n_in, role, b1, b2;
    const uint8_t *s, *rs, *codes; /* fp16 [n_in], fp16 [n_out] */
    uint64_t n_groups, codes_bytes;
};
struct ucb_v17 {
    uint32_t dim; /* D: weights of a group */
    double a_attn, a_mlp;
    uint32_t n_roles, n_weights;
    struct ucb_v17_role *roles;
    struct ucb_v17_weight *weights;
};
ucb_status ucb_v17_parse(const char *path, const uint8_t *bytes, size_t n_bytes,
                         struct ucb_arena *arena, struct ucb_v17 *out, struct ucb_err *err);
/* Indices of a group: the codebooks' rows. Within range once parsed. */
void ucb_v17_indices(const struct ucb_v17 *v, const struct ucb_v17_weight *w,
                     uint64_t group, uint32_t *i1, uint32_t *i2);
/* g[n_out][n_in] = (cb1[i1] + cb2[i2]) rs in fp32: the weights in the rotated and scaled
 * space. The signs of the rotation are not in the file. */
void ucb_v17_decode(const struct ucb_v17 *v, const struct ucb_v17_weight *w, float *g);
/* What a file takes after its JSON: the codebooks and one weight of this shape. */
uint64_t ucb_v17_codebook_bytes(uint32_t dim, uint32_t k1, uint32_t k2);
uint64_t ucb_v17_weight_bytes(uint32_t dim, uint32_t k1, uint32_t k2, uint32_t n_out,
                              uint32_t n_in);

/* ---- for info and verify ---- */

/* A .uc file, a folder with manifest.json and layer_NNN.uc, or a UCV17 file. */
bool ucb_seed_is(const char *path);
/* Prints what is there; with `checks`, what was checked and what such files leave
 * unverified. NO where a layer is not there or a check failed; CORRUPT, IO. */
ucb_status ucb_seed_print(const char *path, bool checks, bool as_json, struct ucb_err *err);

#endif
