/* text_grid.c - see text_grid.h. Widths are known only when every text is. */
#include "report/text_grid.h"

#include <assert.h>
#include <string.h>

enum { GAP = 2 };

bool ucb_grid_open(struct ucb_grid *grid, struct ucb_arena *arena, size_t n_rows)
{
    *grid = (struct ucb_grid){.arena = arena, .n_rows = n_rows};
    grid->cells = ucb_arena_array(arena, n_rows, sizeof(grid->cells[0]));
    return grid->cells != NULL;
}

void ucb_grid_set(struct ucb_grid *grid, size_t row, size_t column, const char *text)
{
    assert(row < grid->n_rows);
    assert(column < UCB_GRID_COLUMNS);
    if (text == NULL) {
        grid->failed = true;
        return;
    }
    grid->cells[row][column] = text;
    int n = (int)strlen(text);
    if (n > grid->width[column]) grid->width[column] = n;
}

void ucb_grid_print(const struct ucb_grid *grid, size_t row, struct ucb_text *out)
{
    size_t start = out->n_chars;
    for (size_t i = 0; i < grid->n_columns; i++) {
        const char *text = grid->cells[row][i] == NULL ? "" : grid->cells[row][i];
        bool interval = i > 0 && grid->left[i];
        if (i > 0 && !interval) ucb_text_add(out, "%*s", GAP, "");
        ucb_text_add(out, grid->left[i] ? "%-*s" : "%*s", grid->width[i], text);
    }
    while (!out->failed && out->n_chars > start && out->data[out->n_chars - 1] == ' ')
        out->data[--out->n_chars] = '\0';
    ucb_text_add(out, "\n");
}
