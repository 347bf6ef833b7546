/*
 * hqq.h - the parts of hqq: how a matrix is cut into groups, the fit of scale and zero, the
 * packing of codes.
 */
#ifndef UCB_METHODS_HQQ_H
#define UCB_METHODS_HQQ_H

#include "method/method.h"

/*
 * The grouped view of the flat matrix, R rows by C columns. axis 1: C = group, a group is a
 * row of the view; axis 0: R = group, a group is a column, whose members lie C apart in
 * memory. `per_word` codes of rows packed_rows apart share one word.
 */
struct hqq_view {
    size_t n, group, n_groups, rows, columns, packed_rows;
    unsigned bits, per_word, word_bytes;
    bool groups_are_rows;
};
struct hqq_view hqq_view_of(size_t n, size_t group, unsigned bits, bool groups_are_rows);
/* True when the packing works out: whole groups, and rows that fill the words (3-bit words
 * are padded instead). */
bool hqq_view_fits(const struct hqq_view *view);
size_t hqq_packed_bytes(const struct hqq_view *view);

struct hqq_fit {
    unsigned bits, iters; /* iters 0: the start values stand */
    bool round_zero;
    float *inverse_scale, *zero; /* out, [n_groups]: code = w * inverse_scale + zero */
    uint8_t *codes;              /* out, [n_groups][group] */
};
/*
 * w is [n_groups][group]. Temporary memory from `scratch`; NOMEM names `name`. Equal
 * results for any pool.
 */
ucb_status hqq_fit_groups(const float *w, size_t n_groups, size_t group,
                          struct hqq_fit *fit, struct ucb_pool *pool,
                          struct ucb_arena *scratch, const char *name, struct ucb_err *err);

/* codes[rows][columns], a byte each, to words and back. */
void hqq_pack(const struct hqq_view *view, const uint8_t *codes, uint8_t *packed,
              struct ucb_pool *pool);
void hqq_unpack(const struct hqq_view *view, const uint8_t *packed, uint8_t *codes);
/* The word of a code's column and the bits it stands above. */
static inline size_t hqq_word_of(const struct hqq_view *view, size_t row, size_t column,
                                 unsigned *shift)
{
    *shift = (view->per_word - 1 - (unsigned)(row / view->packed_rows)) * view->bits;
    return row % view->packed_rows * view->columns + column;
}
/* False when a bit is set that packing leaves zero. */
bool hqq_packed_valid(const struct hqq_view *view, const uint8_t *packed);

#endif
