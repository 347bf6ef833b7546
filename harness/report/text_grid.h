/*
 * text_grid.h - a table of texts for a terminal: columns as wide as their widest text.
 *
 * A value and its interval are two columns, so that decimal points stand below each other.
 */
#ifndef UCB_REPORT_TEXT_GRID_H
#define UCB_REPORT_TEXT_GRID_H

#include "core/arena.h"
#include "core/text.h"

enum { UCB_GRID_COLUMNS = 24 };

/* Row 0 is the heading. Zero-initialise, then ucb_grid_open(). */
struct ucb_grid {
    struct ucb_arena *arena;
    size_t n_columns, n_rows;
    const char *(*cells)[UCB_GRID_COLUMNS]; /* NULL: empty */
    bool left[UCB_GRID_COLUMNS]; /* flush left; past column 0 also without a gap before it,
                                    for an interval that belongs to the value on its left */
    int width[UCB_GRID_COLUMNS];
    bool failed; /* memory ran out */
};

/* False when memory ran out. */
bool ucb_grid_open(struct ucb_grid *grid, struct ucb_arena *arena, size_t n_rows);
/* `text` is borrowed; NULL stands for memory that ran out. The column must be below
 * UCB_GRID_COLUMNS. */
void ucb_grid_set(struct ucb_grid *grid, size_t row, size_t column, const char *text);
/* One line, without spaces at its end. */
void ucb_grid_print(const struct ucb_grid *grid, size_t row, struct ucb_text *out);

#endif
