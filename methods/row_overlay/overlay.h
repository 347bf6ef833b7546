/*
 * overlay.h - what the parts of row_overlay share: the rotated frame of a matrix, banks of
 * codebooks and the search in them, the side data, the rows that are kept.
 */
#ifndef UCB_ROW_OVERLAY_H
#define UCB_ROW_OVERLAY_H

#include "method/method.h"

enum { OVERLAY_D = 8, OVERLAY_BEAM = 8, OVERLAY_BLOCK = 16, OVERLAY_MAX_BITS = 13 };

/* ---- numbers that follow from the job ---- */

struct overlay_plan {
    unsigned b1, b2;        /* bits of an index: K1 = 2^b1, K2 = 2^b2 */
    float alpha;            /* column scale: mean square to this power */
    uint32_t n_fp16, n_fp8; /* rows kept */
    unsigned n_beam;
};
/* Of one matrix; what small models reduce is not in it. */
struct overlay_plan overlay_plan_of(const struct ucb_job *job,
                                    const struct ucb_matrix *matrix);

/* ---- the frame: scaled, rotated, each row in units of its peak ---- */

/* Buffers serve one matrix after the other; they grow to the largest. Zero-initialise. */
struct overlay_frame {
    uint32_t n_out, n_in;
    float *s;                 /* [n_in] column scales, as stored (half precision) */
    float *rs;                /* [n_out] row scales, as stored */
    float *g;                 /* [n_out][n_in] */
    uint16_t *first, *second; /* [n_out * n_in / 8] indices, for the caller to fill */
    float *sign;              /* [n_in] of the rotation */
    size_t most_in, most_out, most;
};
/* Signs of the rotation for rows of n_in: -1 or 1. */
void overlay_signs(uint32_t n_in, float *sign);
/* The largest power of two that divides n_in. */
uint32_t overlay_rotation_block(uint32_t n_in);
/* What makes the rotation orthogonal: 1 / sqrt(block), rounded once. */
float overlay_rotation_scale(uint32_t block);
/* x = x R, and x = x R^T, one row. */
void overlay_rotate(float *x, uint32_t n_in, const float *sign);
void overlay_rotate_back(float *x, uint32_t n_in, const float *sign);
/* Arrays from `arena`. USAGE: n_in is not a multiple of 8. UNSUPPORTED: a scale that half
 * precision cannot hold. NOMEM. */
ucb_status overlay_frame_make(struct ucb_job *job, const struct ucb_source *src,
                              float alpha, struct ucb_arena *arena, struct overlay_frame *f,
                              struct ucb_err *err);

/* ---- banks ---- */

/*
 * A codebook, and the same laid out for the search: of each 16 entries the squared norms,
 * then -2 times dimension 0, 1 ... 7; entries past the last have an infinite norm.
 */
struct overlay_book {
    uint32_t n;
    float *entry; /* [n][8] */
    float *tile;  /* [n_blocks][9][16]; NULL where nothing is searched */
};
struct overlay_bank {
    enum ucb_role role;
    unsigned b1, b2;
    struct overlay_book first, second;
    size_t at; /* where the first book begins in the side data, the second right behind */
};
enum { OVERLAY_TILE = (OVERLAY_D + 1) * OVERLAY_BLOCK };

static inline uint32_t overlay_blocks(uint32_t n)
{
    return (n + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK;
}

/* Room for n entries (and their tiles); false where memory ran out. */
bool overlay_book_alloc(struct ucb_arena *arena, uint32_t n, bool searched,
                        struct overlay_book *out);
/* Fills the tiles from the entries. */
void overlay_book_lay(struct overlay_book *book);

/* ---- the search ---- */

/*
 * One instruction set. Squared distances are |c|^2 - 2 x.c, as a chain of fused
 * multiply-adds over the dimensions in order, the same on every path; of equal ones the
 * lower index is taken.
 */
struct overlay_path {
    const char *name;
    /* The nearest entry to each of x[n][8]. */
    void (*nearest)(const struct overlay_book *book, const float *x, size_t n,
                    uint32_t *index);
    /* The 8 nearest to each, nearest first; of books of fewer, all of them. */
    void (*best)(const struct overlay_book *book, const float *x, size_t n,
                 uint32_t (*index)[OVERLAY_BEAM]);
};
/* The path with `index`, narrowest first, or NULL: there is none, or this machine lacks its
 * instructions. */
const struct overlay_path *overlay_path_at(size_t index);
/* The widest that this machine runs. */
const struct overlay_path *overlay_path_best(void);

/* Indices of x[n][8] by beam search: of the `beam` nearest first entries, each with the
 * second entry that is nearest to what is left, the pair with the least error. */
void overlay_assign(const struct overlay_path *path, const struct overlay_bank *bank,
                    unsigned beam, const float *x, size_t n, struct ucb_pool *pool,
                    uint16_t *first, uint16_t *second);
/* The nearest entry to each of x[n][8], in parallel. */
void overlay_nearest(const struct overlay_path *path, const struct overlay_book *book,
                     const float *x, size_t n, struct ucb_pool *pool, uint32_t *index);

/* ---- side data ---- */

/*
 * The banks of all roles that the stream holds, fitted: see overlay_fit.c. One bank for
 * each, in role order; memory from job->arena.
 */
ucb_status overlay_fit(struct ucb_job *job, struct ucb_stream *stream,
                       struct overlay_bank *banks, uint32_t *n_banks, struct ucb_err *err);
void overlay_banks_put(const struct overlay_bank *banks, uint32_t n_banks,
                       struct ucb_writer *out);
/*
 * The bank of a matrix's role from job->shared, entries as stored, in memory from
 * job->arena. CORRUPT: there is none, a length that does not fit, a value that is not
 * finite. NOMEM.
 */
ucb_status overlay_bank_get(struct ucb_job *job, const struct ucb_matrix *matrix,
                            bool searched, struct overlay_bank *out, struct ucb_err *err);

#endif
