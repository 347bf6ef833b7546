/*
 * hqq_pack.c - codes of the grouped view in words, as the library packs them. With T = rows
 * / per_word, word row i holds code rows i, i + T, i + 2T ..., the first in the highest
 * bits:
 *
 *     8 bit   1 a byte
 *     4 bit   2 a byte, rows i and i + R/2
 *     3 bit   10 an int32, R padded with zero rows to a multiple of 10, top two bits 0
 *     2 bit   4 a byte
 */
#include "hqq.h"

#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"

struct hqq_view hqq_view_of(size_t n, size_t group, unsigned bits, bool groups_are_rows)
{
    struct hqq_view v = {.n = n, .group = group, .n_groups = n / group, .bits = bits};
    v.groups_are_rows = groups_are_rows;
    v.rows = groups_are_rows ? v.n_groups : group;
    v.columns = groups_are_rows ? group : v.n_groups;
    v.per_word = bits == 3 ? 10 : 8 / bits;
    v.word_bytes = bits == 3 ? 4 : 1;
    v.packed_rows = (v.rows + v.per_word - 1) / v.per_word;
    return v;
}

bool hqq_view_fits(const struct hqq_view *view)
{
    if (view->n == 0 || view->n % view->group != 0) return false;
    return view->bits == 3 || view->rows % view->per_word == 0;
}

size_t hqq_packed_bytes(const struct hqq_view *view)
{
    return view->packed_rows * view->columns * view->word_bytes;
}

struct pack_run {
    const struct hqq_view *view;
    const uint8_t *codes;
    uint8_t *packed;
};

/* Words of columns [column, columns) of one word row, one by one: the end of a row, or all
 * of it. */
static void pack_columns(const struct pack_run *run, size_t word_row, size_t column)
{
    const struct hqq_view *v = run->view;
    for (; column < v->columns; column++) {
        uint32_t word = 0;
        for (size_t k = 0, row = word_row; k < v->per_word; k++, row += v->packed_rows)
            word = word << v->bits |
                   (row < v->rows ? run->codes[row * v->columns + column] : 0);
        memcpy(run->packed + (word_row * v->columns + column) * v->word_bytes, &word,
               v->word_bytes);
    }
}

/* The same sixteen columns at a time; answers the first column that is left. */
UCB_CLONES static size_t pack_lanes(const struct pack_run *run, size_t word_row)
{
    const struct hqq_view *v = run->view;
    size_t column = 0;
    for (; column + UCB_LANES <= v->columns; column += UCB_LANES) {
        ucb_u32x16 word = {0};
        for (size_t k = 0, row = word_row; k < v->per_word; k++, row += v->packed_rows) {
            word <<= v->bits;
            if (row < v->rows)
                word |= ucb_lanes_load_u8(run->codes + row * v->columns + column);
        }
        uint8_t *room = run->packed + (word_row * v->columns + column) * v->word_bytes;
        ucb_u8x16 bytes = __builtin_convertvector(word, ucb_u8x16);
        if (v->word_bytes == 4)
            memcpy(room, &word, sizeof(word));
        else
            memcpy(room, &bytes, sizeof(bytes));
    }
    return column;
}

enum { CHUNK_WEIGHTS = 1 << 16 };

static size_t rows_per_chunk(const struct hqq_view *v)
{
    return CHUNK_WEIGHTS / (v->columns * v->per_word) + 1;
}

static void pack_chunk(void *context, size_t chunk)
{
    const struct pack_run *run = context;
    size_t first = chunk * rows_per_chunk(run->view),
           last = first + rows_per_chunk(run->view);
    if (last > run->view->packed_rows) last = run->view->packed_rows;
    for (size_t row = first; row < last; row++)
        pack_columns(run, row, pack_lanes(run, row));
}

void hqq_pack(const struct hqq_view *view, const uint8_t *codes, uint8_t *packed,
              struct ucb_pool *pool)
{
    struct pack_run run = {view, codes, packed};
    size_t step = rows_per_chunk(view);
    ucb_parallel_for(pool, (view->packed_rows + step - 1) / step, pack_chunk, &run);
}

static uint32_t load_word(const struct hqq_view *view, const uint8_t *packed, size_t index)
{
    return view->word_bytes == 4 ? ucb_load_u32(packed + 4 * index) : packed[index];
}

void hqq_unpack(const struct hqq_view *view, const uint8_t *packed, uint8_t *codes)
{
    for (size_t row = 0; row < view->rows; row++)
        for (size_t column = 0; column < view->columns; column++) {
            unsigned shift;
            size_t word = hqq_word_of(view, row, column, &shift);
            codes[row * view->columns + column] = (uint8_t)(load_word(view, packed, word) >>
                                                                shift &
                                                            ((1u << view->bits) - 1));
        }
}

bool hqq_packed_valid(const struct hqq_view *view, const uint8_t *packed)
{
    if (view->bits != 3) return true; /* every bit of a byte is a code's */
    for (size_t i = 0; i < view->packed_rows; i++) {
        uint32_t used = 0, stray = 0;
        for (size_t k = 0, row = i; k < view->per_word; k++, row += view->packed_rows)
            used = used << 3 | (row < view->rows ? 7u : 0u);
        for (size_t c = 0; c < view->columns; c++)
            stray |= ucb_load_u32(packed + 4 * (i * view->columns + c)) & ~used;
        if (stray != 0) return false;
    }
    return true;
}
