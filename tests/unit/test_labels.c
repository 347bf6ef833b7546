/* Labels of a chart: none covers another, a point, or leaves the frame; the same input
 * gives the same places. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/pcg.h"
#include "report/labels.h"

enum { N_LABELS = 14, MARK = 3 };
static const struct ucb_box frame = {0, 0, 220,
                                     190}; /* a panel of a two-column figure, in points */

static void scatter(struct ucb_label *labels, struct ucb_box *bars, const char *name)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 7, name);
    for (size_t i = 0; i < N_LABELS; i++) {
        double x = 10 + 200 * (double)ucb_pcg_unit(&r),
               y = 10 + 170 * (double)ucb_pcg_unit(&r);
        labels[i] = (struct ucb_label){
            .x = x, .y = y, .width = 20 + 50 * (double)ucb_pcg_unit(&r), .height = 7};
        bars[i] = (struct ucb_box){x - 0.5, y - 8, x + 0.5, y + 8};
    }
}

static void place(struct ucb_label *labels, const struct ucb_box *bars,
                  struct ucb_arena *arena)
{
    struct ucb_err err;
    CHECK_OK(
        ucb_labels_place(labels, N_LABELS, bars, N_LABELS, frame, MARK, 1, arena, &err),
        err);
}

TEST(labels_of_random_points_cover_nothing_and_stay_inside)
{
    struct ucb_label labels[N_LABELS];
    struct ucb_box bars[N_LABELS];
    struct ucb_arena arena;
    size_t n_dropped = 0;
    ucb_arena_init(&arena);
    for (int round = 0; round < 20; round++) {
        scatter(labels, bars, ucb_test_path("round %d", round));
        place(labels, bars, &arena);
        for (size_t i = 0; i < N_LABELS; i++) {
            const struct ucb_label *a = &labels[i];
            n_dropped += a->dropped;
            if (a->dropped) continue;
            CHECK_NEAR(ucb_box_overlap(&a->box, &frame), a->width * a->height,
                       1e-4); /* rounding of a few sums */
            for (size_t k = 0; k < N_LABELS; k++) {
                struct ucb_box mark = {labels[k].x - MARK, labels[k].y - MARK,
                                       labels[k].x + MARK, labels[k].y + MARK};
                if (k != i && !labels[k].dropped)
                    CHECK_NEAR(ucb_box_overlap(&a->box, &labels[k].box), 0, 1e-5);
                CHECK_NEAR(ucb_box_overlap(&a->box, &mark), 0, 1e-5);
                CHECK_NEAR(ucb_box_overlap(&a->box, &bars[k]), 0, 1e-5);
            }
        }
    }
    CHECK(n_dropped <= 20 * N_LABELS / 50); /* marks upon each other */
    ucb_arena_free(&arena);
}

TEST(a_lonely_label_stands_right_of_its_point_without_a_leader)
{
    struct ucb_label label = {.x = 50, .y = 50, .width = 30, .height = 7};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_labels_place(&label, 1, NULL, 0, frame, MARK, 1, &arena, &err), err);
    CHECK_NEAR(label.box.left, 54.5, 1e-9); /* 50 + 1.5 marks */
    CHECK_NEAR((label.box.bottom + label.box.top) / 2, 50, 1e-9);
    CHECK(!label.leader);
    ucb_arena_free(&arena);
}

TEST(labels_are_placed_the_same_every_time)
{
    struct ucb_label one[N_LABELS], two[N_LABELS];
    struct ucb_box bars[N_LABELS];
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    scatter(one, bars, "same");
    memcpy(two, one, sizeof(one));
    place(one, bars, &arena);
    place(two, bars, &arena);
    for (size_t i = 0; i < N_LABELS; i++)
        CHECK(memcmp(&one[i].box, &two[i].box, sizeof(one[i].box)) == 0);
    ucb_arena_free(&arena);
}

/* ---- crowds: what does not fit is dropped, and nothing that is left collides ---- */

enum { CROWD = 40 };

static void leader_of(const struct ucb_label *label, double *x, double *y)
{
    *x = fmin(fmax(label->x, label->box.left), label->box.right);
    *y = fmin(fmax(label->y, label->box.bottom), label->box.top);
}

static double turn(double ax, double ay, double bx, double by, double x, double y)
{
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax);
}

static bool cross(const struct ucb_label *a, const struct ucb_label *b)
{
    double ax, ay, bx, by;
    leader_of(a, &ax, &ay);
    leader_of(b, &bx, &by);
    return turn(a->x, a->y, ax, ay, b->x, b->y) * turn(a->x, a->y, ax, ay, bx, by) < 0 &&
           turn(b->x, b->y, bx, by, a->x, a->y) * turn(b->x, b->y, bx, by, ax, ay) < 0;
}

/* Whether a leader passes through the inside of a box, looked at in 500 steps. */
static bool passes(const struct ucb_label *a, struct ucb_box box)
{
    double x, y;
    leader_of(a, &x, &y);
    for (int k = 1; k < 500; k++) {
        double px = a->x + (x - a->x) * k / 500, py = a->y + (y - a->y) * k / 500;
        if (px > box.left && px < box.right && py > box.bottom && py < box.top) return true;
    }
    return false;
}

static void scatter_crowd(struct ucb_label *labels, struct ucb_box *bars, int round)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 11, ucb_test_path("crowd %d", round));
    for (size_t i = 0; i < CROWD; i++) {
        double x = 6 + 200 * (double)ucb_pcg_unit(&r),
               y = 6 + 170 * (double)ucb_pcg_unit(&r);
        labels[i] = (struct ucb_label){.x = x,
                                       .y = y,
                                       .width = 25 + 60 * (double)ucb_pcg_unit(&r),
                                       .height = 7,
                                       .importance = (int)ucb_pcg_below(&r, 4)};
        bars[i] = (struct ucb_box){x - 0.5, y - 8, x + 0.5, y + 8};
    }
}

static void check_apart(const struct ucb_label *a, const struct ucb_label *b)
{
    struct ucb_box mark = {b->x - MARK, b->y - MARK, b->x + MARK, b->y + MARK};
    double apart = fmax(fabs(a->x - b->x), fabs(a->y - b->y));
    CHECK_NEAR(ucb_box_overlap(&a->box, &mark), 0, 1e-5);
    if (a->leader && apart > 2 * MARK) CHECK(!passes(a, mark));
    if (b->dropped) return;
    CHECK_NEAR(ucb_box_overlap(&a->box, &b->box), 0, 1e-5);
    if (a->leader) CHECK(!passes(a, b->box));
    if (a->leader && b->leader) CHECK(!cross(a, b));
}

TEST(in_a_crowd_labels_are_dropped_until_nothing_collides)
{
    struct ucb_arena arena;
    struct ucb_err err;
    size_t n_kept = 0, n_kept_important = 0, n_important = 0;
    ucb_arena_init(&arena);
    for (int round = 0; round < 12; round++) {
        struct ucb_label labels[CROWD];
        struct ucb_box bars[CROWD];
        scatter_crowd(labels, bars, round);
        CHECK_OK(ucb_labels_place(labels, CROWD, bars, CROWD, frame, MARK, 1, &arena, &err),
                 err);
        for (size_t i = 0; i < CROWD; i++) {
            const struct ucb_label *a = &labels[i];
            n_important += a->importance == 3;
            if (a->dropped) continue;
            n_kept++;
            n_kept_important += a->importance == 3;
            CHECK_NEAR(ucb_box_overlap(&a->box, &frame), a->width * a->height, 1e-4);
            for (size_t k = 0; k < CROWD; k++) {
                CHECK_NEAR(ucb_box_overlap(&a->box, &bars[k]), 0, 1e-5);
                if (k != i) check_apart(a, &labels[k]);
            }
        }
    }
    CHECK(n_kept > 12 * CROWD / 4);
    /* Of the most important, a larger share than of all stays. */
    CHECK(n_kept_important * 12 * CROWD > n_kept * n_important);
    ucb_arena_free(&arena);
}

TEST(a_point_without_a_text_keeps_others_off)
{
    struct ucb_label labels[2] = {{.x = 50, .y = 50, .width = 30, .height = 7},
                                  {.x = 62, .y = 50, .dropped = true}};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_labels_place(labels, 2, NULL, 0, frame, MARK, 1, &arena, &err), err);
    CHECK(!labels[0].dropped && labels[1].dropped && !labels[1].leader);
    CHECK(labels[0].box.right <= 50); /* right of it the other point is in the way */
    ucb_arena_free(&arena);
}

TEST(where_nothing_fits_all_labels_are_dropped)
{
    struct ucb_label labels[N_LABELS];
    struct ucb_box bars[N_LABELS], small = {0, 0, 40, 20};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    scatter(labels, bars, "full");
    for (size_t i = 0; i < N_LABELS; i++) labels[i].width = 50;
    CHECK_OK(ucb_labels_place(labels, N_LABELS, NULL, 0, small, MARK, 1, &arena, &err),
             err);
    for (size_t i = 0; i < N_LABELS; i++) CHECK(labels[i].dropped);
    CHECK_OK(ucb_labels_place(labels, 0, NULL, 0, small, MARK, 1, &arena, &err), err);
    ucb_arena_free(&arena);
}
