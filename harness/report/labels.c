/*
 * labels.c - see labels.h.
 *
 * A state gives every label one of its places: directions around the point at growing
 * distances, and for what finds no room there a grid over the frame. It costs the sum of
 * what labels_cost.c says, and for each label 1 for each step in the order of preference.
 *
 * Annealing changes one label at a time and starts from the greedy state, so it only ever
 * has to mend. It ends in one of many states that no single move improves: of several
 * trials the one of least cost is taken.
 *
 * What a place costs by itself is kept, so that a step looks only at the other labels.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "core/pcg.h"
#include "report/labels_internal.h"

enum {
    N_DIRECTIONS = 16,
    N_DISTANCES = 5,
    N_CANDIDATES = N_DIRECTIONS * N_DISTANCES,
    GRID = 32,
    N_PLACES = N_CANDIDATES + GRID * GRID,
    STEPS_PER_LABEL = 400,
    N_TRIALS = 12
};

static const double distance_of[N_DISTANCES] = {1, 2.6, 4.6, 7, 10};
/* What a trial loses with a label, for each step of its importance from 1 on: more than any
 * place that is no error costs. */
static const double DROPPED_COST = 100;

/* ---- places ---- */

/* Directions in order of preference: right, left, above, below, the corners, then halfway
 * between those; moved into the frame where it would leave it. */
static struct ucb_box candidate(const struct ucb_label_layout *l,
                                const struct ucb_label *label, int which)
{
    static const double dx[N_DIRECTIONS] = {1, -1, 0,  0,  1,  1,  -1,  -1,
                                            1, 1,  -1, -1, .5, .5, -.5, -.5},
                        dy[N_DIRECTIONS] = {0,  0,   1,  -1,  1, -1, 1, -1,
                                            .5, -.5, .5, -.5, 1, -1, 1, -1};
    int direction = which % N_DIRECTIONS;
    double gap = l->mark_radius * 1.5 * distance_of[which / N_DIRECTIONS];
    double left = label->x + dx[direction] * gap - (1 - dx[direction]) * label->width / 2;
    double bottom = label->y + dy[direction] * gap -
                    (1 - dy[direction]) * label->height / 2;
    left = fmax(l->frame.left, fmin(left, l->frame.right - label->width));
    bottom = fmax(l->frame.bottom, fmin(bottom, l->frame.top - label->height));
    return (struct ucb_box){left, bottom, left + label->width, bottom + label->height};
}

static struct ucb_box grid_place(const struct ucb_label_layout *l,
                                 const struct ucb_label *label, int which)
{
    const struct ucb_box *frame = &l->frame;
    double left = frame->left +
                  (frame->right - frame->left - label->width) * (which % GRID) / (GRID - 1),
           bottom = frame->bottom + (frame->top - frame->bottom - label->height) *
                                        (which / GRID) / (GRID - 1);
    return (struct ucb_box){left, bottom, left + label->width, bottom + label->height};
}

/* Puts label i at one of its places. */
static void take(struct ucb_label_layout *l, size_t i, int place)
{
    const struct ucb_label *label = &l->labels[i];
    ucb_label_put(l, i,
                  place < N_CANDIDATES ? candidate(l, label, place)
                                       : grid_place(l, label, place - N_CANDIDATES));
    l->place[i] = place;
}

/* ---- what label i costs where it is ---- */

static const struct ucb_label_cost *cost_alone(const struct ucb_label_layout *l, size_t i)
{
    struct ucb_label_cost *cost = &l->costs[i * N_PLACES + (size_t)l->place[i]];
    if (isnan(cost->error)) *cost = ucb_label_cost_alone(l, i);
    return cost;
}

static bool meet(const struct ucb_box *a, const struct ucb_box *b)
{
    return a->left < b->right && b->left < a->right && a->bottom < b->top &&
           b->bottom < a->top;
}

/* Against the first n_placed labels. */
static double error_of(const struct ucb_label_layout *l, size_t i, size_t n_placed)
{
    double cost = cost_alone(l, i)->error;
    for (size_t k = 0; k < n_placed; k++)
        if (k != i && !l->labels[k].dropped && meet(&l->reach[i], &l->reach[k]))
            cost += ucb_label_cost_beside(l, i, k);
    return cost;
}

/* Of one of the candidates. */
static double cost_of(const struct ucb_label_layout *l, size_t i, size_t n_placed)
{
    return l->place[i] + cost_alone(l, i)->quality + error_of(l, i, n_placed);
}

/* ---- the search ---- */

/* Moves a label to the best of its candidates against the first n_placed labels. */
static void take_best(struct ucb_label_layout *l, size_t i, size_t n_placed)
{
    int best = 0;
    double best_cost = INFINITY;
    for (int which = 0; which < N_CANDIDATES; which++) {
        take(l, i, which);
        if (which + cost_alone(l, i)->error >= best_cost) continue;
        double cost = cost_of(l, i, n_placed);
        if (cost >= best_cost) continue;
        best_cost = cost;
        best = which;
    }
    take(l, i, best);
}

static void place_greedily(struct ucb_label_layout *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->labels[i].dropped) take_best(l, i, i);
}

static void anneal(struct ucb_label_layout *l, uint64_t seed)
{
    struct ucb_pcg r;
    size_t n_steps = l->n * STEPS_PER_LABEL;
    ucb_pcg_named(&r, seed, "labels");
    for (size_t step = 0; step < n_steps; step++) {
        size_t i = ucb_pcg_below(&r, (uint32_t)l->n);
        if (l->labels[i].dropped) continue;
        int old = l->place[i];
        double temperature = 20 * (1 - (double)step / (double)n_steps),
               before = cost_of(l, i, l->n);
        take(l, i, (int)ucb_pcg_below(&r, N_CANDIDATES));
        double worse = cost_of(l, i, l->n) - before;
        if (worse > 0 && (double)ucb_pcg_unit(&r) >= exp(-worse / fmax(temperature, 1e-9)))
            take(l, i, old);
    }
}

/* After annealing every label moves to the best of its places until none wants to. */
static void settle(struct ucb_label_layout *l)
{
    bool moved = true;
    for (int round = 0; round < 20 && moved; round++) {
        moved = false;
        for (size_t i = 0; i < l->n; i++) {
            int old = l->place[i];
            if (l->labels[i].dropped) continue;
            take_best(l, i, l->n);
            moved |= l->place[i] != old;
        }
    }
}

/* ---- what stays ---- */

/* In order of preference; the places of the grid, the nearest first, after the others. */
static double preference(const struct ucb_label_layout *l, size_t i)
{
    const struct ucb_label *label = &l->labels[i];
    if (l->place[i] < N_CANDIDATES) return l->place[i];
    return N_CANDIDATES + hypot((label->box.left + label->box.right) / 2 - label->x,
                                (label->box.bottom + label->box.top) / 2 - label->y);
}

/* The best place without an error; where there is none, it stays. */
static void take_free(struct ucb_label_layout *l, size_t i)
{
    int best = l->place[i];
    double best_cost = INFINITY;
    for (int place = 0; place < N_PLACES; place++) {
        take(l, i, place);
        const struct ucb_label_cost *alone = cost_alone(l, i);
        double cost = preference(l, i) + alone->quality;
        if (alone->error > 0 || cost >= best_cost || error_of(l, i, l->n) > 0) continue;
        best_cost = cost;
        best = place;
    }
    take(l, i, best);
}

/* The next lower importance of a label; false: there is none. */
static bool next_level(const struct ucb_label_layout *l, long *level)
{
    long next = LONG_MIN;
    bool found = false;
    for (size_t i = 0; i < l->n; i++) {
        long importance = l->labels[i].importance;
        if (importance >= *level || importance < next) continue;
        next = importance;
        found = true;
    }
    *level = next;
    return found;
}

/* Adds the labels one after another, the important ones first, of equals those that are
 * right where they are. What is wrong looks for a free place, and is dropped where there is
 * none. `given` tells which are wanted. */
static void keep_what_fits(struct ucb_label_layout *l, const struct ucb_label *given)
{
    long level = LONG_MAX;
    for (size_t i = 0; i < l->n; i++) l->labels[i].dropped = true;
    while (next_level(l, &level))
        for (int round = 0; round < 2; round++)
            for (size_t i = 0; i < l->n; i++) {
                struct ucb_label *label = &l->labels[i];
                if (given[i].dropped || label->importance != level || !label->dropped)
                    continue;
                label->dropped = false;
                if (round > 0) take_free(l, i);
                label->dropped = error_of(l, i, l->n) > 0;
            }
}

/* Of all labels where they are, and in mark radii how far that is from their points. */
static double total_cost(const struct ucb_label_layout *l)
{
    double total = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct ucb_label *label = &l->labels[i];
        total += label->dropped ? DROPPED_COST * (1 + label->importance)
                                : cost_alone(l, i)->quality +
                                      ucb_label_leader_length(label) / l->mark_radius;
    }
    return total;
}

static bool begin(struct ucb_label_layout *l, struct ucb_arena *arena)
{
    l->labels = UCB_NEW(arena, struct ucb_label, l->n);
    l->reach = UCB_NEW(arena, struct ucb_box, l->n);
    l->place = UCB_NEW(arena, int, l->n);
    l->costs = UCB_NEW(arena, struct ucb_label_cost, l->n * N_PLACES);
    if (l->labels == NULL || l->reach == NULL || l->place == NULL || l->costs == NULL)
        return false;
    for (size_t k = 0; k < l->n * N_PLACES; k++) l->costs[k].error = NAN;
    return true;
}

ucb_status ucb_labels_place(struct ucb_label *labels, size_t n,
                            const struct ucb_box *obstacles, size_t n_obstacles,
                            struct ucb_box frame, double mark_radius, uint64_t seed,
                            struct ucb_arena *arena, struct ucb_err *err)
{
    struct ucb_label_layout l = {.n = n,
                                 .obstacles = obstacles,
                                 .n_obstacles = n_obstacles,
                                 .frame = frame,
                                 .mark_radius = mark_radius};
    struct ucb_label *best = UCB_NEW(arena, struct ucb_label, n);
    double best_cost = INFINITY;
    if (best == NULL || !begin(&l, arena))
        return UCB_FAIL(err, UCB_NOMEM, "no memory to place %zu labels", n);
    if (n == 0) return UCB_OK;
    for (uint64_t trial = 0; trial < N_TRIALS; trial++) {
        memcpy(l.labels, labels, n * sizeof(*labels));
        place_greedily(&l);
        anneal(&l, seed + trial);
        settle(&l);
        keep_what_fits(&l, labels);
        double cost = total_cost(&l);
        if (cost >= best_cost) continue;
        best_cost = cost;
        memcpy(best, l.labels, n * sizeof(*best));
    }
    memcpy(labels, best, n * sizeof(*labels));
    for (size_t i = 0; i < n; i++) labels[i].leader &= !labels[i].dropped;
    return UCB_OK;
}
