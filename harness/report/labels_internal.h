/*
 * labels_internal.h - labels while they are placed: labels.c looks for cheap places,
 * labels_cost.c says what a place costs.
 */
#ifndef UCB_REPORT_LABELS_INTERNAL_H
#define UCB_REPORT_LABELS_INTERNAL_H

#include "report/labels.h"

/* What one place costs whatever the other labels do. */
struct ucb_label_cost {
    double error;   /* more than 0: a reader could be misled, the label may not stay */
    double quality; /* what is no error, but can be better */
};
struct ucb_label_layout {
    struct ucb_label *labels; /* box and leader: of the place where each is now */
    struct ucb_box *reach;    /* of each: its text, its leader and the room around them */
    int *place;               /* of each: its number in labels.c's list of places */
    struct ucb_label_cost *costs; /* of each label at each place; NaN: not looked at yet */
    size_t n;
    const struct ucb_box *obstacles;
    size_t n_obstacles;
    struct ucb_box frame;
    double mark_radius;
};

/* From a label's point to its box. */
double ucb_label_leader_length(const struct ucb_label *label);
/* Puts label i at a box: fills its box, leader and reach. */
void ucb_label_put(struct ucb_label_layout *l, size_t i, struct ucb_box box);
/* Of label i where it is. */
struct ucb_label_cost ucb_label_cost_alone(const struct ucb_label_layout *l, size_t i);
/* Of label i because of where label k is, an error; neither is dropped. 0 where they do not
 * reach each other. */
double ucb_label_cost_beside(const struct ucb_label_layout *l, size_t i, size_t k);

#endif
