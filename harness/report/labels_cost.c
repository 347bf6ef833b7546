/*
 * labels_cost.c - what the place of a label costs, a sum of
 *     1000 * overlap with other labels / own area     texts over texts cannot be read
 *      400 * overlap with obstacles / own area        texts over points and bars hide data
 *     1000 * share outside the frame
 *       60 for each leader it crosses                 crossed leaders name the wrong point
 *      150 for each text that its leader runs through, or whose leader runs through it
 *       60 for each point that its leader runs through
 *       60 for a leader that is too long
 *       60 for each bar or line that it runs along    it cannot be told from the line
 *       40 for each other point nearer to it than its own, unless a leader tells
 *      100 where any of these holds whatever the other labels do
 * which are errors, and of
 *        6 for each bar or line its leader crosses
 *       20 for each other point less than twice as far, unless a leader tells
 */
#include <math.h>

#include "report/labels_internal.h"

/* In mark radii: a text so near needs no leader, and an eye loses one that is longer. */
static const double SHORTEST_LEADER = 2.5, LONGEST_LEADER = 20;
/* So that a state with a small error does not look better than one of long ways. */
static const double ANY_ERROR = 100;

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

/* Beyond what rounding makes of boxes that only touch. */
static double overlap(const struct ucb_box *a, const struct ucb_box *b)
{
    double area = ucb_box_overlap(a, b);
    return area > 1e-6 ? area : 0;
}

static struct ucb_box grown(const struct ucb_box *box, double x, double y)
{
    return (struct ucb_box){box->left - x, box->bottom - y, box->right + x, box->top + y};
}

static struct ucb_box around_point(const struct ucb_label *label, double radius)
{
    return (struct ucb_box){label->x - radius, label->y - radius, label->x + radius,
                            label->y + radius};
}

static double distance_to(const struct ucb_box *box, const struct ucb_label *point)
{
    double x = larger(0, larger(box->left - point->x, point->x - box->right)),
           y = larger(0, larger(box->bottom - point->y, point->y - box->top));
    return sqrt(x * x + y * y); /* hypot is slow, and lengths of a page do not overflow */
}

double ucb_label_leader_length(const struct ucb_label *label)
{
    return distance_to(&label->box, label);
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

/* Cuts the part [*from, *to] of a line from `start` by `step` to what lies
 * in (low, high). */
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

static bool leaders_cross(const struct ucb_label *a, const struct ucb_label *b)
{
    double ax, ay, bx, by;
    leader_end(a, &ax, &ay);
    leader_end(b, &bx, &by);
    return side(a->x, a->y, ax, ay, b->x, b->y) * side(a->x, a->y, ax, ay, bx, by) < 0 &&
           side(b->x, b->y, bx, by, a->x, a->y) * side(b->x, b->y, bx, by, ax, ay) < 0;
}

/* ---- what may not stay ---- */

/* Of the text: over data or outside the frame. */
static double hidden_cost(const struct ucb_label_layout *l, const struct ucb_label *label)
{
    double area = label->width * label->height, covered = 0;
    double outside = area - ucb_box_overlap(&label->box, &l->frame);
    for (size_t k = 0; k < l->n; k++) {
        struct ucb_box mark = around_point(&l->labels[k], l->mark_radius);
        covered += overlap(&label->box, &mark);
    }
    for (size_t k = 0; k < l->n_obstacles; k++)
        covered += overlap(&label->box, &l->obstacles[k]);
    return 400 * covered / area + 1000 * (outside > 1e-6 ? outside : 0) / area;
}

/* The part of a mark that a leader of `other` must not meet: of two marks upon each other
 * so little that there is a way around. */
static struct ucb_box core_of(const struct ucb_label_layout *l,
                              const struct ucb_label *label, const struct ucb_label *other)
{
    double apart = larger(fabs(label->x - other->x), fabs(label->y - other->y)),
           r = smaller(l->mark_radius, 0.6 * apart);
    return around_point(label, r);
}

/* Of a leader that an eye loses: too long, or so close to a line for some way that it is
 * read as part of it. */
static double lost_cost(const struct ucb_label_layout *l, const struct ucb_label *label)
{
    double length = ucb_label_leader_length(label), gap = l->mark_radius / 2,
           cost = 60 * (length > LONGEST_LEADER * l->mark_radius);
    if (!label->leader) return 0;
    for (size_t k = 0; k < l->n_obstacles; k++) {
        struct ucb_box around = grown(&l->obstacles[k], gap, gap);
        cost += 60 * (share_inside(label, &around) * length > 3 * l->mark_radius);
    }
    return cost;
}

/* Of what joins the text to its point: it leads to another one. */
static double mistaken_cost(const struct ucb_label_layout *l, size_t i)
{
    const struct ucb_label *label = &l->labels[i];
    double own_distance = ucb_label_leader_length(label), cost = 0;
    for (size_t k = 0; k < l->n; k++) {
        const struct ucb_label *other = &l->labels[k];
        struct ucb_box mark = core_of(l, other, label);
        if (k == i) continue;
        if (label->leader)
            cost += 60 * leader_meets(label, &mark);
        else
            cost += 40 * (distance_to(&label->box, other) < own_distance - 0.5);
    }
    return cost;
}

/* ---- what can be better ---- */

/* A leader over the frontier or a bar is no error, but one beside them is clearer. */
static double crossing_cost(const struct ucb_label_layout *l, const struct ucb_label *label)
{
    size_t n = 0;
    if (!label->leader) return 0;
    for (size_t k = 0; k < l->n_obstacles; k++) n += leader_meets(label, &l->obstacles[k]);
    return 6 * (double)n;
}

/* Without a leader a name is taken for that of the nearest point, so no other should be
 * nearly as near. Of two marks upon each other a leader would tell no more. */
static double doubt_cost(const struct ucb_label_layout *l, size_t i)
{
    const struct ucb_label *label = &l->labels[i];
    double cost = 0, own_distance = ucb_label_leader_length(label);
    if (label->leader) return 0;
    for (size_t k = 0; k < l->n; k++)
        if (k != i)
            cost += 20 * (distance_to(&label->box, &l->labels[k]) < 2 * own_distance);
    return cost;
}

/* ---- places ---- */

/* A line close to a text is read as part of it. */
static struct ucb_box room_of(const struct ucb_label_layout *l,
                              const struct ucb_label *label)
{
    return grown(&label->box, l->mark_radius / 2, 0);
}

void ucb_label_put(struct ucb_label_layout *l, size_t i, struct ucb_box box)
{
    struct ucb_label *label = &l->labels[i];
    struct ucb_box *reach = &l->reach[i];
    label->box = box;
    label->leader = ucb_label_leader_length(label) > SHORTEST_LEADER * l->mark_radius;
    *reach = room_of(l, label);
    if (!label->leader) return;
    *reach = (struct ucb_box){smaller(reach->left, label->x),
                              smaller(reach->bottom, label->y),
                              larger(reach->right, label->x), larger(reach->top, label->y)};
}

struct ucb_label_cost ucb_label_cost_alone(const struct ucb_label_layout *l, size_t i)
{
    double error = hidden_cost(l, &l->labels[i]) + lost_cost(l, &l->labels[i]) +
                   mistaken_cost(l, i);
    return (struct ucb_label_cost){error > 0 ? ANY_ERROR + error : 0,
                                   crossing_cost(l, &l->labels[i]) + doubt_cost(l, i)};
}

double ucb_label_cost_beside(const struct ucb_label_layout *l, size_t i, size_t k)
{
    const struct ucb_label *a = &l->labels[i], *b = &l->labels[k];
    double cost = 1000 * overlap(&a->box, &b->box) / (a->width * a->height);
    struct ucb_box room_a = room_of(l, a), room_b = room_of(l, b);
    if (a->leader && b->leader) cost += 60 * leaders_cross(a, b);
    if (a->leader) cost += 150 * leader_meets(a, &room_b);
    if (b->leader) cost += 150 * leader_meets(b, &room_a);
    return cost;
}
