/*
 * labels.c - see labels.h.
 *
 * A state gives every label one of its candidate boxes. Its cost is a sum over labels of
 *     1000 * overlap with other labels / own area     texts over texts cannot be read
 *      400 * overlap with obstacles / own area        texts over points and bars hide data
 *     1000 * share outside the frame
 *       60 for each leader it crosses                 crossed leaders name the wrong point
 *      150 for each text, 60 for each point a leader of it or of the other runs through
 *        1 for each step in the order of preference   right of the point is best, close is
 * better than far Annealing changes one label at a time and starts from the greedy state,
 * so it only ever has to mend.
 */
#include "report/labels.h"

#include <math.h>
#include <string.h>

#include "core/pcg.h"

enum {
    N_DIRECTIONS = 8,
    N_DISTANCES = 4,
    N_CANDIDATES = N_DIRECTIONS * N_DISTANCES,
    STEPS_PER_LABEL = 400,
    GRID = 48
};

static const double distance_of[N_DISTANCES] = {1, 2.6, 4.6, 7};

struct layout {
    struct ucb_label *labels;
    size_t n;
    const struct ucb_box *obstacles;
    size_t n_obstacles;
    struct ucb_box frame;
    double mark_radius;
    int *rank; /* order of preference of each label's present place */
};

double ucb_box_overlap(const struct ucb_box *a, const struct ucb_box *b)
{
    double w = fmin(a->right, b->right) - fmax(a->left, b->left);
    double h = fmin(a->top, b->top) - fmax(a->bottom, b->bottom);
    return w > 0 && h > 0 ? w * h : 0;
}

/* Directions in order of preference: right, left, above, below, then the corners. */
static struct ucb_box candidate(const struct layout *l, const struct ucb_label *label,
                                int which)
{
    static const int dx[N_DIRECTIONS] = {1, -1, 0, 0, 1, 1, -1, -1},
                     dy[N_DIRECTIONS] = {0, 0, 1, -1, 1, -1, 1, -1};
    int direction = which % N_DIRECTIONS;
    double gap = l->mark_radius * 1.5 * distance_of[which / N_DIRECTIONS];
    double left = label->x + dx[direction] * gap - (1 - dx[direction]) * label->width / 2;
    double bottom = label->y + dy[direction] * gap -
                    (1 - dy[direction]) * label->height / 2;
    return (struct ucb_box){left, bottom, left + label->width, bottom + label->height};
}

static struct ucb_box mark_of(const struct layout *l, const struct ucb_label *label)
{
    double r = l->mark_radius;
    return (struct ucb_box){label->x - r, label->y - r, label->x + r, label->y + r};
}

/* Where a leader meets the box: the box's nearest place to the point. */
static void leader_end(const struct ucb_label *label, double *x, double *y)
{
    *x = fmin(fmax(label->x, label->box.left), label->box.right);
    *y = fmin(fmax(label->y, label->box.bottom), label->box.top);
}

static double side(double ax, double ay, double bx, double by, double x, double y)
{
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax);
}

/* Whether the straight line from the point of `a` to its text meets the box (looked at in
 * 32 steps). */
static bool leader_meets(const struct ucb_label *a, const struct ucb_box *box)
{
    enum { PIECES = 32 };
    double x, y;
    leader_end(a, &x, &y);
    for (int k = 1; k < PIECES; k++) {
        double px = a->x + (x - a->x) * k / PIECES, py = a->y + (y - a->y) * k / PIECES;
        if (px > box->left && px < box->right && py > box->bottom && py < box->top)
            return true;
    }
    return false;
}

static bool leaders_cross(const struct ucb_label *a, const struct ucb_label *b)
{
    double ax, ay, bx, by;
    leader_end(a, &ax, &ay);
    leader_end(b, &bx, &by);
    return side(a->x, a->y, ax, ay, b->x, b->y) * side(a->x, a->y, ax, ay, bx, by) < 0 &&
           side(b->x, b->y, bx, by, a->x, a->y) * side(b->x, b->y, bx, by, ax, ay) < 0;
}

/* What a reader could not undo: texts over texts, over data, outside the frame; as shares
 * of the label's area. */
static double hidden_cost(const struct layout *l, size_t i, size_t n_placed)
{
    const struct ucb_label *label = &l->labels[i];
    double area = label->width * label->height, hidden = 0, covered = 0;
    for (size_t k = 0; k < l->n; k++) {
        struct ucb_box mark = mark_of(l, &l->labels[k]);
        covered += ucb_box_overlap(&label->box, &mark);
        if (k != i && k < n_placed)
            hidden += ucb_box_overlap(&label->box, &l->labels[k].box);
    }
    for (size_t k = 0; k < l->n_obstacles; k++)
        covered += ucb_box_overlap(&label->box, &l->obstacles[k]);
    double inside = ucb_box_overlap(&label->box, &l->frame);
    return 1000 * hidden / area + 400 * covered / area + 1000 * (1 - inside / area);
}

/* What makes a reader look twice: leaders through other texts, points and leaders. */
static double leader_cost(const struct layout *l, size_t i, size_t n_placed)
{
    const struct ucb_label *label = &l->labels[i];
    struct ucb_box own = mark_of(l, label);
    double cost = 0;
    for (size_t k = 0; k < l->n; k++) {
        const struct ucb_label *other = &l->labels[k];
        struct ucb_box mark = mark_of(l, other);
        bool apart = ucb_box_overlap(&own, &mark) ==
                     0; /* marks upon each other have no way around */
        if (k == i) continue;
        if (apart && leader_meets(label, &mark)) cost += 60;
        if (k >= n_placed) continue;
        if (apart && leader_meets(other, &own)) cost += 60;
        cost += 60 * leaders_cross(label, other);
        cost += 150 * (leader_meets(label, &other->box) + leader_meets(other, &label->box));
    }
    return cost;
}

/* What label i costs where it is, against the first n_placed labels. */
static double cost_of(const struct layout *l, size_t i, size_t n_placed)
{
    return l->rank[i] + hidden_cost(l, i, n_placed) + leader_cost(l, i, n_placed);
}

static void take(struct layout *l, size_t i, int which)
{
    l->labels[i].box = candidate(l, &l->labels[i], which);
    l->rank[i] = which;
}

static void place_greedily(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++) {
        int best = 0;
        double best_cost = INFINITY;
        for (int which = 0; which < N_CANDIDATES; which++) {
            take(l, i, which);
            double cost = cost_of(l, i, i);
            if (cost < best_cost) {
                best_cost = cost;
                best = which;
            }
        }
        take(l, i, best);
    }
}

static void anneal(struct layout *l, uint64_t seed)
{
    struct ucb_pcg r;
    size_t n_steps = l->n * STEPS_PER_LABEL;
    ucb_pcg_named(&r, seed, "labels");
    for (size_t step = 0; step < n_steps; step++) {
        size_t i = ucb_pcg_below(&r, (uint32_t)l->n);
        int old = l->rank[i];
        double temperature = 20 * (1 - (double)step / (double)n_steps),
               before = cost_of(l, i, l->n);
        take(l, i, (int)ucb_pcg_below(&r, N_CANDIDATES));
        double worse = cost_of(l, i, l->n) - before;
        if (worse > 0 && (double)ucb_pcg_unit(&r) >= exp(-worse / fmax(temperature, 1e-9)))
            take(l, i, old);
    }
}

/* After annealing every label moves to the best of its places until none wants to. */
static void settle(struct layout *l)
{
    bool moved = true;
    for (int round = 0; round < 20 && moved; round++) {
        moved = false;
        for (size_t i = 0; i < l->n; i++) {
            int old = l->rank[i], best = old;
            double best_cost = cost_of(l, i, l->n) - 1e-9;
            for (int which = 0; which < N_CANDIDATES; which++) {
                take(l, i, which);
                double cost = cost_of(l, i, l->n);
                if (cost < best_cost) {
                    best_cost = cost;
                    best = which;
                }
            }
            take(l, i, best);
            moved |= best != old;
        }
    }
}

static bool is_free(const struct layout *l, size_t i)
{
    return hidden_cost(l, i, l->n) < 1e-6;
}

/* For a label that found no free candidate: the nearest free place of a grid over the
 * frame, leaders considered. */
static void place_on_grid(struct layout *l, size_t i)
{
    struct ucb_label *label = &l->labels[i];
    struct ucb_box best = label->box;
    double best_cost = INFINITY;
    for (int k = 0; k < GRID * GRID; k++) {
        double left = l->frame.left + (l->frame.right - l->frame.left - label->width) *
                                          (k % GRID) / (GRID - 1);
        double bottom = l->frame.bottom + (l->frame.top - l->frame.bottom - label->height) *
                                              (k / GRID) / (GRID - 1);
        double distance = hypot(left + label->width / 2 - label->x,
                                bottom + label->height / 2 - label->y);
        label->box = (struct ucb_box){left, bottom, left + label->width,
                                      bottom + label->height};
        if (distance >= best_cost || !is_free(l, i)) continue;
        double cost = distance + leader_cost(l, i, l->n);
        if (cost >= best_cost) continue;
        best_cost = cost;
        best = label->box;
    }
    label->box = best;
}

static void mark_leaders(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++) {
        double x, y;
        leader_end(&l->labels[i], &x, &y);
        l->labels[i].leader = hypot(x - l->labels[i].x, y - l->labels[i].y) >
                              2.5 * l->mark_radius;
    }
}

ucb_status ucb_labels_place(struct ucb_label *labels, size_t n,
                            const struct ucb_box *obstacles, size_t n_obstacles,
                            struct ucb_box frame, double mark_radius, uint64_t seed,
                            struct ucb_arena *arena, struct ucb_err *err)
{
    struct layout l = {
        labels, n, obstacles, n_obstacles, frame, mark_radius, UCB_NEW(arena, int, n)};
    if (l.rank == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory to place %zu labels", n);
    if (n == 0) return UCB_OK;
    place_greedily(&l);
    anneal(&l, seed);
    settle(&l);
    for (size_t i = 0; i < n; i++)
        if (!is_free(&l, i)) place_on_grid(&l, i);
    mark_leaders(&l);
    return UCB_OK;
}
