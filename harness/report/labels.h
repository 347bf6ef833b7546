/*
 * labels.h - places the texts of a chart where they cover neither each other nor the
 * points.
 *
 * Lengths are in one unit of the caller's choice (points of a page), y upwards. Pure but
 * for the arena; the same input gives the same places.
 */
#ifndef UCB_REPORT_LABELS_H
#define UCB_REPORT_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"

struct ucb_box {
    double left, bottom, right, top;
};
struct ucb_label {
    double x, y;          /* the point it names */
    double width, height; /* of the text */
    int importance;       /* the least important go first where there is no room for all */
    bool dropped;         /* in: only its point counts, there is no text; out: no room */
    struct ucb_box box;   /* out, unless dropped: where it goes */
    bool leader;          /* out: so far from its point that a line should join them */
};

/*
 * Places labels[0..n) inside `frame`, clear of each other and of obstacles (the points' own
 * marks are kept clear by `mark_radius`). No leader crosses another, a text or a point,
 * except where two points lie upon each other; none runs along an obstacle, and none is
 * longer than 20 mark radii. Sixteen directions at growing distances, greedy first, then
 * annealing with the streams named `labels` from `seed` on; what still collides goes to the
 * best free place, those of a grid included, the important labels first, and is dropped
 * where there is none. Of several such trials the best counts. NOMEM.
 */
ucb_status ucb_labels_place(struct ucb_label *labels, size_t n,
                            const struct ucb_box *obstacles, size_t n_obstacles,
                            struct ucb_box frame, double mark_radius, uint64_t seed,
                            struct ucb_arena *arena, struct ucb_err *err);

/* The area two boxes share. */
double ucb_box_overlap(const struct ucb_box *a, const struct ucb_box *b);

#endif
