/*
 * labels.c - see labels.h.
 *
 * A state gives every label one of its candidate boxes. Its cost is a sum over labels of
 *     1000 * overlap with other labels / own area     texts over texts cannot be read
 *      400 * overlap with obstacles / own area        texts over points and bars hide data
 *     1000 * share outside the frame
 *       60 for each leader it crosses                 crossed leaders name the wrong point
 *      150 for each text, 60 for each point a leader of it or of the other runs through
 *       40 for each other point nearer to it than its own, unless a leader tells
 *        6 for each bar or line its leader crosses
 *       40 for each that it runs along                it cannot be told from the line
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
    N_DISTANCES = 5,
    N_CANDIDATES = N_DIRECTIONS * N_DISTANCES,
    STEPS_PER_LABEL = 400,
    GRID = 32
};

static const double distance_of[N_DISTANCES] = {1, 2.6, 4.6, 7, 10};

struct layout {
    struct ucb_label *labels;
    size_t n;
    const struct ucb_box *obstacles;
    size_t n_obstacles;
    struct ucb_box frame;
    double mark_radius;
    int *rank; /* order of preference of each label's present place */
};

/* Of numbers, so that they need no call as fmin and fmax do, which mind NaN. */
static inline double smaller(double a, double b)
{
    return a < b ? a : b;
}

static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

double ucb_box_overlap(const struct ucb_box *a, const struct ucb_box *b)
{
    double w = smaller(a->right, b->right) - larger(a->left, b->left);
    double h = smaller(a->top, b->top) - larger(a->bottom, b->bottom);
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
    *x = smaller(larger(label->x, label->box.left), label->box.right);
    *y = smaller(larger(label->y, label->box.bottom), label->box.top);
}

static double side(double ax, double ay, double bx, double by, double x, double y)
{
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax);
}

static double leader_length(const struct ucb_label *label)
{
    double x, y;
    leader_end(label, &x, &y);
    return hypot(x - label->x, y - label->y);
}

/* Cuts the part [*from, *to] of a line from `start` by `step` to what lies in (low, high).
 */
static void clip(double start, double step, double low, double high, double *from,
                 double *to)
{
    if (step == 0) {
        if (start <= low || start >= high) *to = -1;
        return;
    }
    double a = (low - start) / step, b = (high - start) / step;
    *from = larger(*from, smaller(a, b));
    *to = smaller(*to, larger(a, b));
}

/* The share of the straight line from the point of `a` to its text that lies inside the box
 * (Liang and Barsky 1984). */
static double share_inside(const struct ucb_label *a, const struct ucb_box *box)
{
    double x, y, from = 0, to = 1;
    leader_end(a, &x, &y);
    clip(a->x, x - a->x, box->left, box->right, &from, &to);
    clip(a->y, y - a->y, box->bottom, box->top, &from, &to);
    return larger(to - from, 0);
}

static bool leader_meets(const struct ucb_label *a, const struct ucb_box *box)
{
    return share_inside(a, box) > 0;
}

/* A line close to a text is read as part of it. */
static bool leader_touches(const struct layout *l, const struct ucb_label *a,
                           const struct ucb_label *other)
{
    double gap = l->mark_radius / 2;
    struct ucb_box around = {other->box.left - gap, other->box.bottom,
                             other->box.right + gap, other->box.top};
    return leader_meets(a, &around);
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
        const struct ucb_label *other = &l->labels[k];
        struct ucb_box mark = mark_of(l, other);
        covered += ucb_box_overlap(&label->box, &mark);
        if (k != i && k < n_placed && !other->dropped)
            hidden += ucb_box_overlap(&label->box, &other->box);
    }
    for (size_t k = 0; k < l->n_obstacles; k++)
        covered += ucb_box_overlap(&label->box, &l->obstacles[k]);
    double inside = ucb_box_overlap(&label->box, &l->frame);
    return 1000 * hidden / area + 400 * covered / area + 1000 * (1 - inside / area);
}

/* Only a line that is drawn can mislead. */
static bool has_leader(const struct layout *l, const struct ucb_label *label)
{
    return leader_length(label) > 2.5 * l->mark_radius;
}

/* The part of a mark that a leader of `other` must not meet: of two marks upon each other
 * so little that there is a way around. */
static struct ucb_box core_of(const struct layout *l, const struct ucb_label *label,
                              const struct ucb_label *other)
{
    double apart = larger(fabs(label->x - other->x), fabs(label->y - other->y)),
           r = smaller(l->mark_radius, 0.6 * apart);
    return (struct ucb_box){label->x - r, label->y - r, label->x + r, label->y + r};
}

static double distance_to(const struct ucb_box *box, const struct ucb_label *point)
{
    return hypot(larger(0, larger(box->left - point->x, point->x - box->right)),
                 larger(0, larger(box->bottom - point->y, point->y - box->top)));
}

/* What makes a reader look twice: leaders through other texts, points and leaders. */
static double leader_cost(const struct layout *l, size_t i, size_t n_placed)
{
    const struct ucb_label *label = &l->labels[i];
    bool leader = has_leader(l, label);
    double cost = 0, own_distance = distance_to(&label->box, label);
    for (size_t k = 0; k < l->n; k++) {
        const struct ucb_label *other = &l->labels[k];
        struct ucb_box mark = core_of(l, other, label), mine = core_of(l, label, other);
        if (k == i) continue;
        if (leader && leader_meets(label, &mark)) cost += 60;
        if (!leader && distance_to(&label->box, other) < own_distance - 0.5) cost += 40;
        if (k >= n_placed || other->dropped) continue;
        bool other_leader = has_leader(l, other);
        if (other_leader && leader_meets(other, &mine)) cost += 60;
        if (leader && other_leader) cost += 60 * leaders_cross(label, other);
        if (leader) cost += 150 * leader_touches(l, label, other);
        if (other_leader) cost += 150 * leader_touches(l, other, label);
    }
    return cost;
}

/* A leader over the frontier or a bar is no error, but one beside them is clearer. */
static double crossing_cost(const struct layout *l, size_t i)
{
    const struct ucb_label *label = &l->labels[i];
    double cost = 0;
    if (!has_leader(l, label)) return 0;
    double length = leader_length(label);
    for (size_t k = 0; k < l->n_obstacles; k++) {
        double share = share_inside(label, &l->obstacles[k]);
        cost += 6 * (share > 0) + 40 * (share * length > 3 * l->mark_radius);
    }
    return cost;
}

/* What label i costs where it is, against the first n_placed labels. */
static double cost_of(const struct layout *l, size_t i, size_t n_placed)
{
    return l->rank[i] + hidden_cost(l, i, n_placed) + leader_cost(l, i, n_placed) +
           crossing_cost(l, i);
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
        if (l->labels[i].dropped) continue;
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
        if (l->labels[i].dropped) continue;
        int old = l->rank[i];
        double temperature = 20 * (1 - (double)step / (double)n_steps),
               before = cost_of(l, i, l->n);
        take(l, i, (int)ucb_pcg_below(&r, N_CANDIDATES));
        double worse = cost_of(l, i, l->n) - before;
        if (worse > 0 &&
            (double)ucb_pcg_unit(&r) >= exp(-worse / larger(temperature, 1e-9)))
            take(l, i, old);
    }
}

/* Moves a label to the best of its places; false: it is there. */
static bool improve(struct layout *l, size_t i)
{
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
    return best != old;
}

/* After annealing every label moves to the best of its places until none wants to. */
static void settle(struct layout *l)
{
    bool moved = true;
    for (int round = 0; round < 20 && moved; round++) {
        moved = false;
        for (size_t i = 0; i < l->n; i++)
            if (!l->labels[i].dropped) moved |= improve(l, i);
    }
}

static bool overlap(const struct ucb_box *a, const struct ucb_box *b)
{
    return ucb_box_overlap(a, b) > 1e-6; /* more than rounding */
}

/* Whether hidden_cost is 0, found out as soon as it is not. */
static bool is_free(const struct layout *l, size_t i)
{
    const struct ucb_label *label = &l->labels[i];
    const struct ucb_box *box = &label->box, *frame = &l->frame;
    if (box->left < frame->left - 1e-6 || box->right > frame->right + 1e-6 ||
        box->bottom < frame->bottom - 1e-6 || box->top > frame->top + 1e-6)
        return false;
    for (size_t k = 0; k < l->n; k++) {
        struct ucb_box mark = mark_of(l, &l->labels[k]);
        if (overlap(box, &mark)) return false;
        if (k != i && !l->labels[k].dropped && overlap(box, &l->labels[k].box))
            return false;
    }
    for (size_t k = 0; k < l->n_obstacles; k++)
        if (overlap(box, &l->obstacles[k])) return false;
    return true;
}

static bool collides(const struct layout *l, size_t i)
{
    return !l->labels[i].dropped && (!is_free(l, i) || leader_cost(l, i, l->n) > 0);
}

/* For a label that found no free candidate: the nearest free place of a grid over the
 * frame, leaders considered. */
static void place_on_grid(struct layout *l, size_t i)
{
    struct ucb_label *label = &l->labels[i];
    struct ucb_box best = label->box;
    double best_cost = is_free(l, i) ? leader_length(label) + leader_cost(l, i, l->n) +
                                           crossing_cost(l, i)
                                     : INFINITY;
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
        double cost = distance + leader_cost(l, i, l->n) + crossing_cost(l, i);
        if (cost >= best_cost) continue;
        best_cost = cost;
        best = label->box;
    }
    label->box = best;
}

/* What collides looks for a better place, the eight directions first. */
static void mend(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (!collides(l, i)) continue;
        struct ucb_box old = l->labels[i].box;
        int rank = l->rank[i];
        if (!improve(l, i)) {
            l->labels[i].box = old; /* it may have been a place of the grid */
            l->rank[i] = rank;
        }
        if (collides(l, i)) place_on_grid(l, i);
    }
}

/* The least important label in a collision, of equals the last; n: none collides. */
static size_t find_worst(const struct layout *l)
{
    size_t worst = l->n;
    for (size_t i = 0; i < l->n; i++)
        if (collides(l, i) &&
            (worst == l->n || l->labels[i].importance <= l->labels[worst].importance))
            worst = i;
    return worst;
}

static void mark_leaders(struct layout *l)
{
    for (size_t i = 0; i < l->n; i++)
        l->labels[i].leader = !l->labels[i].dropped && has_leader(l, &l->labels[i]);
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
    mend(&l);
    for (size_t worst; (worst = find_worst(&l)) < n; mend(&l)) labels[worst].dropped = true;
    mark_leaders(&l);
    return UCB_OK;
}
